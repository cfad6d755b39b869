//! What the NodeReport and `/debug/layer2` say about layer 2.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_api::crd::{
    AnnouncedVip, BfdReport, ConflictReport, InterfaceReport, NeighbourReport, TakeoverReport,
};
use serde_json::{Value, json};

use super::{count, session};
use crate::l2::{Inspector, InterfaceStatus, L2Status, VipStatus};
use crate::link::{Exclude, Link, Links};
use crate::takeover::shell::{News, Picture, Watched};
use crate::takeover::{Standing, State};

/// Addresses of one interface that are reported; nodes have a few.
const ADDRESSES: usize = 32;
/// Other nodes, addresses that are acted for, and conflicts that are reported.
const LISTED: usize = 100;
/// Takeovers from one node that are no further apart count as one: addresses go in steps when segments fail in steps.
const SAME_SECONDS: i64 = 2;

/// Addresses that are really answered: on at least one interface.
pub(super) fn answered(layer2: &L2Status) -> Vec<AnnouncedVip> {
    let on_some = layer2
        .vips
        .iter()
        .filter(|(_, vip)| !vip.interfaces.is_empty());
    let vip = |(address, vip): (&IpAddr, &VipStatus)| AnnouncedVip {
        address: address.to_string(),
        interfaces: vip.interfaces.keys().cloned().collect(),
        since: vip.interfaces.values().min().map(ToString::to_string),
    };
    on_some.map(vip).collect()
}

/// Interfaces on which layer 2 can be spoken.
pub(crate) fn interfaces(links: &Links, exclude: &Exclude) -> Vec<InterfaceReport> {
    let usable = |link: &&Link| link.is_broadcast_segment() && !exclude.matches(&link.name);
    let report = |link: &Link| InterfaceReport {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        running: link.is_running(),
        addresses: addresses(link),
    };
    let mut reports: Vec<InterfaceReport> = links.iter().filter(usable).map(report).collect();
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    reports
}

fn addresses(link: &Link) -> Vec<String> {
    let is_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let ready = link.addresses.iter().filter(|(_, address)| address.ready);
    let far = ready.filter(|(ip, _)| !is_local(ip));
    let text = far.map(|(ip, address)| format!("{ip}/{}", address.prefix_len));
    text.take(ADDRESSES).collect()
}

/// Addresses that are answered although another node is to.
pub(super) fn acting(picture: &Picture) -> Vec<String> {
    let acts = |standing: &Standing| matches!(standing.state, State::Holding { acting: true });
    let acting = picture.standing.iter().filter(|(_, it)| acts(it));
    acting
        .map(|(vip, _)| vip.to_string())
        .take(LISTED)
        .collect()
}

pub(super) fn neighbours(picture: &Picture) -> Vec<NeighbourReport> {
    let neighbour = |watched: &Watched| NeighbourReport {
        node: watched.key.node.clone(),
        interface: watched.wish.interface.clone(),
        address: watched.wish.peer.to_string(),
        bfd: watched
            .status
            .as_ref()
            .map_or_else(BfdReport::default, session::bfd),
    };
    picture.watched.iter().take(LISTED).map(neighbour).collect()
}

/// Stations that use our addresses, heard before or after we began to answer.
pub(super) fn conflicts(picture: &Picture) -> Vec<ConflictReport> {
    let conflicts = picture.conflicts.iter().map(|conflict| ConflictReport {
        address: conflict.vip.to_string(),
        mac: conflict.mac.to_string(),
        interface: conflict.interface.clone(),
        last: session::time(conflict.last),
        before_use: conflict.before_use,
    });
    conflicts.take(LISTED).collect()
}

/// The takeover that a report shows, if this is one. What follows it soon adds to it.
pub(crate) fn takeover(last: Option<&TakeoverReport>, news: &News) -> Option<TakeoverReport> {
    let News::Took {
        from,
        cause,
        vips,
        silence,
        at,
    } = news
    else {
        return None;
    };
    let milliseconds = silence.unwrap_or_default().as_millis();
    let mut report = TakeoverReport {
        time: session::time(*at),
        from: from.clone(),
        cause: cause.to_string(),
        addresses: count(vips.len()),
        milliseconds: i64::try_from(milliseconds).unwrap_or(i64::MAX),
    };
    let is_same = |last: &&TakeoverReport| {
        let before = last.time.parse::<jiff::Timestamp>();
        let near = before.is_ok_and(|before| {
            (0..=SAME_SECONDS).contains(&(at.as_second() - before.as_second()))
        });
        near && last.from == report.from && last.cause == report.cause
    };
    if let Some(last) = last.filter(is_same) {
        report.time.clone_from(&last.time);
        report.addresses = report.addresses.saturating_add(last.addresses);
        report.milliseconds = report.milliseconds.max(last.milliseconds);
    }
    Some(report)
}

/// What stands in the way, in words that change only when the matter does.
pub(super) fn problems(picture: &Picture, layer2: &L2Status) -> Vec<String> {
    let mut problems = picture.problems.clone();
    problems.extend(picture.watched.iter().filter_map(unwatched));
    problems.extend(isolated(picture));
    for (vip, standing) in &picture.standing {
        problems.extend(unanswered(*vip, standing));
    }
    for conflict in picture.conflicts.iter().filter(|it| !it.before_use) {
        problems.push(format!(
            "{} is also used by {} on {}: find out who has the address",
            conflict.vip, conflict.mac, conflict.interface
        ));
    }
    for (address, vip) in &layer2.vips {
        problems.extend(vip.bound_to.as_ref().map(|interface| format!(
            "{address} is also an address of interface {interface}: the kernel may answer for it on every such node (set arp_ignore=1)"
        )));
    }
    for (name, interface) in &layer2.interfaces {
        let error = interface.error.iter();
        problems.extend(error.map(|error| format!("interface {name}: {error}")));
    }
    problems
}

fn unwatched(watched: &Watched) -> Option<String> {
    let problem = watched.status.as_ref()?.problem.as_ref()?;
    let (node, interface) = (&watched.key.node, &watched.wish.interface);
    Some(format!("BFD with node {node} on {interface}: {problem}"))
}

fn unanswered(vip: IpAddr, standing: &Standing) -> Option<String> {
    match &standing.state {
        State::Nowhere if standing.rank == Some(0) => Some(format!(
            "{vip} is placed here, but no interface of its L2Advertisement is usable{}: set one up, or choose others there",
            if vip.is_ipv6() { " with IPv6" } else { "" }
        )),
        State::Conflict { mac, .. } => Some(format!(
            "{vip} is not answered: station {mac}, which is no node of the cluster, uses the address: find out who has it"
        )),
        _ => None,
    }
}

/// One line for all: a cable that is out concerns every address.
fn isolated(picture: &Picture) -> Option<String> {
    let is_isolated = |it: &&Standing| it.state == State::Isolated;
    let vips = picture.standing.values().filter(is_isolated).count();
    (vips > 0).then(|| {
        format!("not answered here, as no station can be reached on their interfaces: {vips} of the addresses; check carrier, cable and switch")
    })
}

/// Everything that is known, at `/debug/layer2`.
pub(super) fn in_full(picture: &Picture, inspector: &Inspector) -> Value {
    let layer2 = inspector.status();
    let vips: BTreeMap<String, Value> = picture
        .standing
        .iter()
        .map(|(vip, standing)| {
            (
                vip.to_string(),
                vip_in_full(*vip, standing, picture, &layer2),
            )
        })
        .collect();
    let interfaces: BTreeMap<&String, Value> = layer2
        .interfaces
        .iter()
        .map(|(name, status)| (name, interface_in_full(status)))
        .collect();
    json!({
        "signsMessages": picture.signs,
        "vips": vips,
        "neighbours": neighbours(picture),
        "interfaces": interfaces,
        "conflicts": conflicts(picture),
        "problems": problems(picture, &layer2),
    })
}

fn vip_in_full(vip: IpAddr, standing: &Standing, picture: &Picture, layer2: &L2Status) -> Value {
    let duty = picture.duties.get(&vip);
    let answered = layer2.vips.get(&vip);
    let since = answered.map(|vip| {
        let since = vip.interfaces.iter();
        since
            .map(|(name, since)| (name.clone(), since.to_string()))
            .collect()
    });
    let since: BTreeMap<String, String> = since.unwrap_or_default();
    json!({
        "state": format!("{:?}", standing.state),
        "rank": standing.rank,
        "holder": standing.holder,
        "term": duty.map(|duty| duty.term),
        "nodes": duty.map(|duty| duty.nodes.to_vec()),
        "answeredSince": since,
    })
}

fn interface_in_full(status: &InterfaceStatus) -> Value {
    json!({
        "mac": status.mac.to_string(),
        "ipv6": status.ipv6,
        "requests": status.requests,
        "replies": status.replies,
        "announcements": status.announcements,
        "malformed": status.malformed,
        "sendFailures": status.send_failures,
        "claimsMissed": status.claims_missed,
        "rateLimited": status.rate_limited,
        "dropped": status.dropped,
        "pauses": status.pauses,
        "probes": status.probes,
        "strangerClaims": status.conflicts,
        "realTime": status.real_time,
        "error": status.error,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::takeover::Cause;

    fn mk_took(second: i64, from: &str, vips: u8, milliseconds: u64) -> News {
        News::Took {
            from: from.to_owned(),
            cause: Cause::Silent,
            vips: (0..vips).map(|last| [192, 0, 2, last].into()).collect(),
            silence: Some(Duration::from_millis(milliseconds)),
            at: jiff::Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn addresses_that_come_in_steps_are_one_takeover() {
        let first = takeover(None, &mk_took(100, "n1", 3, 310)).unwrap();
        assert_eq!((first.addresses, first.milliseconds), (3, 310));
        for (row, next, addresses, milliseconds) in [
            ("soon after", mk_took(101, "n1", 2, 305), 5, 310),
            ("slower", mk_took(102, "n1", 2, 400), 5, 400),
            ("later", mk_took(103, "n1", 2, 305), 2, 305),
            ("a clock set back", mk_took(50, "n1", 2, 305), 2, 305),
            ("another node", mk_took(100, "n2", 2, 305), 2, 305),
        ] {
            let report = takeover(Some(&first), &next).unwrap();
            assert_eq!(
                (report.addresses, report.milliseconds),
                (addresses, milliseconds),
                "{row}"
            );
        }
        assert_eq!(takeover(Some(&first), &News::Lost(1)), None);
    }

    fn mk_picture(standing: &[(&str, State, Option<u16>)]) -> Picture {
        let standing = standing.iter().map(|(vip, state, rank)| {
            let standing = Standing {
                state: *state,
                rank: *rank,
                holder: None,
            };
            (vip.parse().unwrap(), standing)
        });
        Picture {
            standing: standing.collect(),
            ..Picture::default()
        }
    }

    #[test]
    fn what_is_not_answered_is_told_and_many_isolated_addresses_in_one_line() {
        let mac = "02:00:00:00:00:09".parse().unwrap();
        let picture = mk_picture(&[
            ("192.0.2.1", State::Isolated, Some(0)),
            ("192.0.2.2", State::Isolated, Some(0)),
            ("192.0.2.3", State::Nowhere, Some(0)),
            ("192.0.2.4", State::Nowhere, Some(1)),
            ("192.0.2.5", State::Conflict { mac, interface: 3 }, Some(0)),
            ("192.0.2.6", State::Holding { acting: true }, Some(1)),
            ("192.0.2.7", State::Holding { acting: false }, Some(0)),
        ]);
        let problems = problems(&picture, &L2Status::default());
        assert_eq!(problems.len(), 3, "{problems:?}");
        for words in [
            "2 of the addresses",
            "192.0.2.3 is placed here",
            "station 02:00:00:00:00:09",
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(words)),
                "{words}"
            );
        }
        assert_eq!(acting(&picture), ["192.0.2.6"]);
    }
}
