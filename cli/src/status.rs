//! Pools, Services and nodes, one table each.

use std::collections::BTreeSet;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use portolan_api::ObjectKey;
use portolan_api::condition::{ACCEPTED, EXHAUSTED_SOON};
use portolan_api::crd::{
    ConflictReport, NodeReportStatus, RouteKind, SessionReport, SessionState, TakeoverReport,
};
use portolan_api::view::Service;

use crate::reach::{Vip, placement};
use crate::snapshot::{Snapshot, Speaker, condition};
use portolan_api::annotation::ASSIGNED;

const POOLS: [&str; 7] = [
    "POOL",
    "ASSIGNED V4",
    "AVAILABLE V4",
    "ASSIGNED V6",
    "AVAILABLE V6",
    "ACCEPTED",
    "REASON",
];
const SERVICES: [&str; 7] = [
    "NAMESPACE",
    "SERVICE",
    "ADDRESSES",
    "POOL",
    "L2",
    "BGP",
    "REASON",
];
const NODES: [&str; 7] = [
    "NODE", "SPEAKER", "SESSIONS", "ROUTES", "L2 VIPS", "CONFIG", "PROBLEMS",
];
const SESSIONS: [&str; 7] = [
    "NODE",
    "PEER",
    "ADDRESS",
    "STATE",
    "PREFIXES",
    "BFD",
    "LAST ERROR",
];
const TAKEOVERS: [&str; 7] = [
    "NODE",
    "LAST TAKEOVER",
    "FROM",
    "ADDRESSES",
    "TOOK",
    "ACTING",
    "CAUSE",
];
/// Nodes named in a cell; more are counted.
const NAMED: usize = 4;

/// What stands in a cell without content.
const NONE: &str = "-";

type Row = [String; 7];

/// The tables; those of sessions and takeovers only where there are any.
pub(crate) fn render(snapshot: &Snapshot) -> String {
    let mut tables = vec![
        table(POOLS, pools(snapshot)),
        table(SERVICES, services(snapshot)),
        table(NODES, nodes(snapshot)),
    ];
    let sessions = sessions(snapshot);
    if !sessions.is_empty() {
        tables.push(table(SESSIONS, sessions));
    }
    let takeovers = takeovers(snapshot);
    if !takeovers.is_empty() {
        tables.push(table(TAKEOVERS, takeovers));
    }
    tables.join("\n")
}

fn table(header: [&str; 7], rows: Vec<Row>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

fn pools(snapshot: &Snapshot) -> Vec<Row> {
    let row = |(name, pool): (&String, &portolan_api::crd::IPAddressPool)| {
        let status = pool.status.clone().unwrap_or_default();
        let (accepted, reason) = match condition(&status.conditions, ACCEPTED) {
            Some(verdict) if verdict.status == "True" => {
                let soon = condition(&status.conditions, EXHAUSTED_SOON);
                let soon = soon.filter(|soon| soon.status == "True");
                ("True", soon.map_or(NONE, |soon| soon.message.as_str()))
            }
            Some(verdict) => (verdict.status.as_str(), verdict.message.as_str()),
            None => ("Unknown", "not judged yet"),
        };
        let shut = (status.quarantined_count > 0).then(|| {
            let count = status.quarantined_count;
            format!(
                "{count} in quarantine: stations outside the cluster use them (status.quarantined)"
            )
        });
        let said = (reason != NONE).then(|| reason.to_owned());
        let reasons: Vec<String> = said.into_iter().chain(shut).collect();
        let reason = if reasons.is_empty() {
            NONE.to_owned()
        } else {
            reasons.join("; ")
        };
        [
            name.clone(),
            status.assigned_ipv4.to_string(),
            status.available_ipv4.to_string(),
            status.assigned_ipv6.to_string(),
            status.available_ipv6.to_string(),
            accepted.to_owned(),
            reason,
        ]
    };
    snapshot.pools.iter().map(row).collect()
}

fn services(snapshot: &Snapshot) -> Vec<Row> {
    let class = snapshot.lb_class.as_deref();
    let ours = snapshot
        .services
        .iter()
        .filter(|(_, service)| service.wants(class));
    ours.map(|(key, service)| service_row(snapshot, key, service))
        .collect()
}

fn service_row(snapshot: &Snapshot, key: &ObjectKey, service: &Service) -> Row {
    let vips = service.vips();
    let vips = vips.into_iter().map(|address| Vip {
        snapshot,
        key,
        service,
        address,
        kind: RouteKind::LoadBalancerIP,
    });
    let (mut addresses, mut pools, mut bgp, mut l2) =
        (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
    for vip in vips {
        addresses.push(vip.address.to_string());
        pools.extend(vip.pool());
        if !vip.l2_rules().is_empty() {
            l2.insert(answerer(vip));
        }
        if !vip.bgp_rules().is_empty() {
            let nodes = snapshot.nodes.iter();
            let told = nodes.filter(|(name, node)| !vip.bgp(name, node).peers.is_empty());
            bgp.extend(told.map(|(name, _)| name.as_str()));
        }
    }
    pools.sort_unstable();
    pools.dedup();
    bgp.sort_unstable();
    bgp.dedup();
    let l2: Vec<&str> = l2.iter().map(String::as_str).collect();
    let reason = match condition(&service.status.conditions, ASSIGNED) {
        Some(verdict) if verdict.status != "True" || verdict.reason == "AddressConflict" => {
            verdict.message.as_str()
        }
        None if addresses.is_empty() => "not judged yet",
        _ => NONE,
    };
    [
        key.namespace.clone(),
        key.name.clone(),
        cell(&addresses.iter().map(String::as_str).collect::<Vec<_>>()),
        cell(&pools),
        cell(&l2),
        cell(&bgp),
        reason.to_owned(),
    ]
}

/// Who answers for an address: the node that is placed first, or whoever reports to do so instead.
fn answerer(vip: Vip<'_>) -> String {
    let placed = placement(vip.service).first().copied();
    let answering: Vec<&str> = vip.answering().into_iter().map(|(name, _)| name).collect();
    match placed {
        // It may answer for more addresses than its report lists.
        Some(first) if answering.is_empty() || answering == [first] => first.to_owned(),
        Some(first) => format!("{} (placed: {first})", answering.join("+")),
        None if answering.is_empty() => NONE.to_owned(),
        None => format!("{} (not placed)", answering.join("+")),
    }
}

/// What nodes took over from each other.
fn takeovers(snapshot: &Snapshot) -> Vec<Row> {
    let reports = snapshot.reports.keys();
    let reports = reports.filter_map(|name| Some((name, snapshot.report(name)?)));
    let row = |(node, report): (&String, &NodeReportStatus)| {
        let acting = report.acting.len();
        let last = report.last_takeover.as_ref();
        if last.is_none() && acting == 0 {
            return None;
        }
        let text = |of: fn(&TakeoverReport) -> String| last.map_or_else(|| NONE.to_owned(), of);
        Some([
            node.clone(),
            text(|last| last.time.clone()),
            text(|last| last.from.clone()),
            text(|last| last.addresses.to_string()),
            text(|last| format!("{} ms", last.milliseconds)),
            acting.to_string(),
            text(|last| last.cause.clone()),
        ])
    };
    reports.filter_map(row).collect()
}

fn nodes(snapshot: &Snapshot) -> Vec<Row> {
    // A report of a Node that is gone is shown too: it says why an address may still be answered.
    let mut names: Vec<&String> = snapshot
        .nodes
        .keys()
        .chain(snapshot.reports.keys())
        .collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| node_row(snapshot, name))
        .collect()
}

fn node_row(snapshot: &Snapshot, name: &str) -> Row {
    let speaker = match snapshot.speaker(name) {
        Speaker::Alive => "alive",
        Speaker::Dead => "silent",
        Speaker::Unknown => "unknown",
    };
    let Some(report) = snapshot.report(name) else {
        let none = || NONE.to_owned();
        let words = "no NodeReport: is portolan-speaker running there?".to_owned();
        return [
            name.to_owned(),
            speaker.to_owned(),
            none(),
            none(),
            none(),
            none(),
            words,
        ];
    };
    let wanted = snapshot.generation();
    let config = if report.config_generation == wanted {
        wanted.to_string()
    } else {
        format!("{} of {wanted}", report.config_generation)
    };
    [
        name.to_owned(),
        speaker.to_owned(),
        report.sessions_summary.clone(),
        report.routes.to_string(),
        report.l2_vip_count.to_string(),
        config,
        problems(report),
    ]
}

/// BGP sessions of all nodes, each with the last thing that went wrong, be it over or not.
fn sessions(snapshot: &Snapshot) -> Vec<Row> {
    let reports = snapshot.reports.keys();
    let reports = reports.filter_map(|name| Some((name, snapshot.report(name)?)));
    let rows = reports.flat_map(|(node, report)| {
        let sessions = report.sessions.iter();
        sessions.map(move |session| session_row(node, session))
    });
    rows.collect()
}

fn session_row(node: &str, session: &SessionReport) -> Row {
    let bfd = session.bfd.as_ref();
    let prefixes = match session.unsent {
        0 => session.prefixes.to_string(),
        unsent => format!("{} ({unsent} unsent)", session.prefixes),
    };
    let error = match (&session.last_error, &session.last_error_time) {
        (Some(error), Some(time)) => format!("{time} {error}"),
        (Some(error), None) => error.clone(),
        (None, _) => NONE.to_owned(),
    };
    [
        node.to_owned(),
        session.peer.clone(),
        session.address.clone(),
        format!("{:?}", session.state),
        prefixes,
        bfd.map_or(NONE, |bfd| bfd.state.as_str()).to_owned(),
        error,
    ]
}

/// Everything that stands in the way of a node, in one cell.
fn problems(report: &NodeReportStatus) -> String {
    let excluded = report.excluded.iter().map(|why| format!("excluded: {why}"));
    let draining = report.draining.iter();
    let draining = draining.map(|why| format!("draining ({why}): a last resort for routers"));
    let conflicts = report.conflicts.iter();
    let conflicts = conflicts.map(|one| {
        let ConflictReport {
            address,
            mac,
            interface,
            last,
            ..
        } = one;
        format!("{address} is used by {mac}, outside the cluster, on {interface} (last at {last})")
    });
    let blind = report.neighbours.iter().filter(|one| one.bfd.state != "Up");
    let blind = blind.map(|one| format!("{} is not seen on {}", one.node, one.interface));
    let down = report
        .sessions
        .iter()
        .filter(|session| session.state != SessionState::Established);
    let down = down.map(|session| {
        let error = session.last_error.as_deref().unwrap_or("no error so far");
        format!("{} is {:?}: {error}", session.peer, session.state)
    });
    let all: Vec<String> = excluded
        .chain(draining)
        .chain(report.problems.iter().cloned())
        .chain(conflicts)
        .chain(blind)
        .chain(down)
        .collect();
    if all.is_empty() {
        NONE.to_owned()
    } else {
        all.join("; ")
    }
}

/// Names in a cell.
fn cell(names: &[&str]) -> String {
    let shown = names
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(",");
    match names.len() {
        0 => NONE.to_owned(),
        n if n > NAMED => format!("{shown},+{}", n - NAMED),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use portolan_api::crd::BfdReport;

    use super::*;
    use crate::fixture::{mk_condition, mk_key, mk_neighbour, mk_snapshot};

    #[test]
    fn a_healthy_cluster_reads_as_such() {
        let snapshot = mk_snapshot();
        assert_eq!(
            pools(&snapshot),
            [["public", "1", "9", "0", "0", "True", "-"]]
        );
        let web = ["demo", "web", "192.0.2.10", "public", "n1", "n1,n2", "-"];
        assert_eq!(services(&snapshot), [web]);
        let healthy = |name, vips| [name, "alive", "1/1", "1", vips, "5", "-"];
        assert_eq!(nodes(&snapshot), [healthy("n1", "1"), healthy("n2", "0")]);
    }

    #[test]
    fn a_service_without_an_address_shows_why() {
        let mut snapshot = mk_snapshot();
        let service = snapshot.services.get_mut(&mk_key()).unwrap();
        service.status.load_balancer.ingress.clear();
        service.status.conditions = vec![mk_condition(ASSIGNED, false, "Exhausted", "add a range")];
        let row = services(&snapshot).remove(0);
        assert_eq!(row, ["demo", "web", "-", "-", "-", "-", "add a range"]);
    }

    #[test]
    fn strangers_are_shown_at_the_pool_that_lacks_an_address_and_at_the_service_that_has_one() {
        let mut snapshot = mk_snapshot();
        let pool = snapshot.pools.get_mut("public").unwrap();
        pool.status.as_mut().unwrap().quarantined_count = 3;
        let words = "3 in quarantine: stations outside the cluster use them (status.quarantined)";
        assert_eq!(pools(&snapshot)[0][6], words);
        let service = snapshot.services.get_mut(&mk_key()).unwrap();
        service.status.conditions = vec![mk_condition(
            ASSIGNED,
            true,
            "AddressConflict",
            "a stranger",
        )];
        assert_eq!(services(&snapshot)[0][6], "a stranger");
    }

    #[test]
    fn a_node_shows_what_stands_in_its_way() {
        let mut snapshot = mk_snapshot();
        let report = snapshot
            .reports
            .get_mut("n1")
            .unwrap()
            .status
            .as_mut()
            .unwrap();
        report.config_generation = 4;
        report.sessions_summary = "0/1".to_owned();
        report.sessions[0].state = SessionState::Active;
        report.sessions[0].last_error = Some("connection refused".to_owned());
        snapshot.reports.remove("n2");
        snapshot.leases = Some(std::collections::BTreeMap::new());
        let [n1, n2] = nodes(&snapshot).try_into().unwrap();
        assert_eq!(n1[1..4], ["silent", "0/1", "1"]);
        assert_eq!(n1[5..], ["4 of 5", "tor is Active: connection refused"]);
        assert_eq!(n2[6], "no NodeReport: is portolan-speaker running there?");
    }

    #[test]
    fn a_session_shows_bfd_what_is_unsent_and_its_last_error() {
        let mut snapshot = mk_snapshot();
        let report = snapshot.reports.get_mut("n1").unwrap();
        let session = &mut report.status.as_mut().unwrap().sessions[0];
        session.unsent = 2;
        session.bfd = Some(BfdReport {
            state: "Up".to_owned(),
            ..BfdReport::default()
        });
        session.last_error = Some("hold timer expired".to_owned());
        session.last_error_time = Some("2026-11-21T12:00:00Z".to_owned());
        let [n1, n2] = sessions(&snapshot).try_into().unwrap();
        let error = "2026-11-21T12:00:00Z hold timer expired";
        assert_eq!(
            n1,
            [
                "n1",
                "tor",
                "10.0.0.1",
                "Established",
                "1 (2 unsent)",
                "Up",
                error
            ]
        );
        assert_eq!(n2[4..], ["1", "-", "-"]);
    }

    fn report<'a>(snapshot: &'a mut Snapshot, node: &str) -> &'a mut NodeReportStatus {
        let report = snapshot.reports.get_mut(node).unwrap();
        report.status.as_mut().unwrap()
    }

    #[test]
    fn a_takeover_is_shown_with_who_answers_now() {
        let mut snapshot = mk_snapshot();
        assert_eq!(takeovers(&snapshot), Vec::<Row>::new());
        report(&mut snapshot, "n2").l2_vips =
            std::mem::take(&mut report(&mut snapshot, "n1").l2_vips);
        assert_eq!(services(&snapshot)[0][4], "n2 (placed: n1)");
        let n2 = report(&mut snapshot, "n2");
        n2.acting = vec!["192.0.2.10".to_owned()];
        n2.last_takeover = Some(TakeoverReport {
            time: "2026-11-21T12:00:00Z".to_owned(),
            from: "n1".to_owned(),
            cause: "BFD went down".to_owned(),
            addresses: 7,
            milliseconds: 312,
        });
        let row = [
            "n2",
            "2026-11-21T12:00:00Z",
            "n1",
            "7",
            "312 ms",
            "1",
            "BFD went down",
        ];
        assert_eq!(takeovers(&snapshot), [row]);
        service(&mut snapshot).metadata.annotations = None;
        assert_eq!(services(&snapshot)[0][4], "n2 (not placed)");
        report(&mut snapshot, "n2").l2_vips.clear();
        assert_eq!(services(&snapshot)[0][4], "-");
    }

    fn service(snapshot: &mut Snapshot) -> &mut Service {
        snapshot.services.get_mut(&mk_key()).unwrap()
    }

    #[test]
    fn strangers_and_neighbours_that_are_not_seen_are_problems_of_the_node() {
        let mut snapshot = mk_snapshot();
        let n1 = report(&mut snapshot, "n1");
        n1.conflicts = vec![ConflictReport {
            address: "192.0.2.10".to_owned(),
            mac: "02:00:00:00:00:09".to_owned(),
            interface: "eth0".to_owned(),
            last: "2026-11-21T12:00:00Z".to_owned(),
            before_use: false,
        }];
        n1.neighbours = ["Up", "Down"].map(|state| mk_neighbour("n2", state)).into();
        assert_eq!(
            nodes(&snapshot)[0][6],
            "192.0.2.10 is used by 02:00:00:00:00:09, outside the cluster, on eth0 (last at 2026-11-21T12:00:00Z); \
             n2 is not seen on eth0"
        );
    }

    #[test]
    fn services_of_another_class_are_not_shown() {
        let mut snapshot = mk_snapshot();
        snapshot.lb_class = Some("other".to_owned());
        assert_eq!(services(&snapshot), Vec::<Row>::new());
    }

    #[test]
    fn tables_have_one_line_a_row_and_no_frame() {
        let text = render(&mk_snapshot());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("POOL"), "{text}");
        assert!(lines[1].starts_with("public"), "{text}");
        assert_eq!(lines[2], "", "{text}");
        assert_eq!(lines.len(), 2 + 1 + 2 + 1 + 3 + 1 + 3, "{text}");
    }

    #[test]
    fn a_cell_counts_the_names_that_it_does_not_show() {
        assert_eq!(cell(&["a", "b", "c", "d", "e", "f"]), "a,b,c,d,+2");
        assert_eq!(cell(&["a", "b", "c", "d"]), "a,b,c,d");
    }
}
