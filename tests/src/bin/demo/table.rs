//! A snapshot as text.

use std::net::IpAddr;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use crate::snapshot::{Answers, Row, Snapshot};

const HEADER: [&str; 5] = [
    "SERVICE",
    "ADDRESS",
    "ANNOUNCED BY",
    "ROUTER'S NEXT HOPS",
    "A CLIENT'S ANSWERS CAME FROM",
];
/// Columns when nobody says how wide the paper is.
const WIDTH: u16 = 132;
/// What stands in a cell without content.
const NONE: &str = "-";

/// How answers are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// How many from each node: different every time.
    Counts,
    /// From which nodes: the same until something happens.
    Nodes,
}

/// The table, with the words of refusals and a line on the sessions below.
pub(crate) fn render(snapshot: &Snapshot, detail: Detail) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(HEADER);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    for row in &snapshot.rows {
        table.add_row(cells(row, detail));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let (up, all) = snapshot.sessions;
    let more = match snapshot.more {
        0 => String::new(),
        more => format!("and {more} more addresses\n"),
    };
    format!(
        "{}\n{more}{}BGP sessions at the router: {up} of {all} established\n",
        table.trim_fmt(),
        refusals(&snapshot.rows)
    )
}

/// Too long for a cell.
fn refusals(rows: &[Row]) -> String {
    let lines = rows.iter().filter_map(|row| match &row.answers {
        Answers::Refused { message, .. } => Some(format!("{}: {message}\n", row.service)),
        Answers::Nothing | Answers::Counted { .. } => None,
    });
    lines.collect()
}

fn cells(row: &Row, detail: Detail) -> [String; 5] {
    let address = row.address.map(|address| address.to_string());
    [
        row.service.clone(),
        address.unwrap_or_else(|| NONE.into()),
        or_none(row.announcers.join(" ")),
        or_none(route(row)),
        answers(&row.answers, detail),
    ]
}

/// The prefix is named where it is not the address itself.
fn route(row: &Row) -> String {
    let hops = short(&row.hops);
    match row.prefix {
        Some(prefix) if !hops.is_empty() && row.address.map(Into::into) != Some(prefix) => {
            format!("{prefix}: {hops}")
        }
        _ => hops,
    }
}

/// `172.30.0.11 .12 .13`: what is the same is said once.
fn short(hops: &[IpAddr]) -> String {
    let mut words = Vec::new();
    let mut shared = String::new();
    for hop in hops.iter().map(IpAddr::to_string) {
        let (network, host) = hop.split_at(hop.rfind(['.', ':']).unwrap_or_default());
        let gap = if network.ends_with(':') { ":" } else { "" };
        words.push(if shared == network {
            format!("{gap}{host}")
        } else {
            hop.clone()
        });
        network.clone_into(&mut shared);
    }
    words.join(" ")
}

fn answers(answers: &Answers, detail: Detail) -> String {
    match answers {
        Answers::Refused { reason, .. } => format!("refused: {reason}"),
        Answers::Nothing => NONE.into(),
        Answers::Counted { asked, by_node } => {
            let got: usize = by_node.values().sum();
            let from = by_node.iter().map(|(node, count)| match detail {
                Detail::Counts => format!("{node} {count}"),
                Detail::Nodes => node.clone(),
            });
            let from = from.collect::<Vec<_>>().join(", ");
            let lost = match (asked.saturating_sub(got), detail) {
                (0, _) => return or_none(from),
                (lost, Detail::Counts) => format!("{lost} of {asked} NOT ANSWERED"),
                (_, Detail::Nodes) => "some NOT ANSWERED".to_owned(),
            };
            if from.is_empty() {
                "NO ANSWER".into()
            } else {
                format!("{from}, {lost}")
            }
        }
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { NONE.into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_of_one_network_are_shortened() {
        for (hops, want) in [
            (vec![], ""),
            (vec!["172.30.0.11"], "172.30.0.11"),
            (vec!["172.30.0.11", "172.30.0.12"], "172.30.0.11 .12"),
            (
                vec!["fd00:30::11", "fd00:30::12", "fd00:31::1"],
                "fd00:30::11 ::12 fd00:31::1",
            ),
        ] {
            let parsed: Vec<IpAddr> = hops.iter().map(|hop| hop.parse().unwrap()).collect();
            assert_eq!(short(&parsed), want, "row {hops:?}");
        }
    }

    #[test]
    fn missing_answers_are_told_in_both_details() {
        let some = Answers::Counted {
            asked: 5,
            by_node: [("node-1".to_owned(), 3)].into(),
        };
        assert_eq!(
            answers(&some, Detail::Counts),
            "node-1 3, 2 of 5 NOT ANSWERED"
        );
        assert_eq!(answers(&some, Detail::Nodes), "node-1, some NOT ANSWERED");
        let none = Answers::Counted {
            asked: 5,
            by_node: [].into(),
        };
        assert_eq!(answers(&none, Detail::Counts), "NO ANSWER");
    }
}
