//! Stations outside the cluster that speakers heard using our addresses.
//!
//! Clocks of nodes do not matter: a report counts from the moment at which we see it change. Only what was there before we
//! looked is as old as it says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;
use portolan_api::crd::ConflictReport;

/// Most strangers that are read of one report.
const MOST: usize = 256;
/// Longest name of anything in a report that is passed on to users.
const LONGEST: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Conflicts(BTreeMap<String, Vec<(IpAddr, Conflict)>>);

/// A station that uses one of our addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The station.
    pub mac: Box<str>,
    /// The interface of the node on which it was heard.
    pub interface: Box<str>,
    /// It answered when the address was probed before its first use.
    pub before_use: bool,
    /// When.
    pub heard: Heard,
    /// The same in the words of the node: when this changes, the station was heard again.
    last: Box<str>,
}

/// When a stranger was heard last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// When we saw the report change.
    Seen(Instant),
    /// Before we looked; the moment is that of the node.
    Before(Timestamp),
    /// Before we looked, and nobody knows when.
    Unknown,
}

impl Conflicts {
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, &str, &Conflict)> {
        self.0.iter().flat_map(|(node, conflicts)| {
            let conflicts = conflicts.iter();
            conflicts.map(|(address, conflict)| (*address, node.as_str(), conflict))
        })
    }

    /// Takes in what a node reports; `seen` is when we saw it change. Returns whether it did.
    pub(super) fn report(
        &mut self,
        node: &str,
        reported: &[ConflictReport],
        seen: Option<Instant>,
    ) -> bool {
        let held = self.0.get(node).map_or(&[][..], Vec::as_slice);
        let reported = reported.iter().filter(|one| is_short(one)).take(MOST);
        let read = reported.filter_map(|one| {
            let address: IpAddr = one.address.parse().ok()?;
            let known = held
                .iter()
                .find(|(at, held)| *at == address && held.is(one));
            let conflict = known.map_or_else(|| conflict(one, seen), |(_, held)| held.clone());
            Some((address, conflict))
        });
        let now: Vec<(IpAddr, Conflict)> = read.collect();
        if now == held {
            return false;
        }
        if now.is_empty() {
            self.0.remove(node);
        } else {
            self.0.insert(node.to_owned(), now);
        }
        true
    }
}

impl Conflict {
    /// Whether this is what is reported, and the station was not heard again since.
    fn is(&self, reported: &ConflictReport) -> bool {
        *self.mac == *reported.mac
            && *self.interface == *reported.interface
            && *self.last == *reported.last
            && self.before_use == reported.before_use
    }
}

fn is_short(reported: &ConflictReport) -> bool {
    let ConflictReport {
        mac,
        interface,
        last,
        ..
    } = reported;
    [mac, interface, last]
        .iter()
        .all(|text| text.len() <= LONGEST)
}

fn conflict(reported: &ConflictReport, seen: Option<Instant>) -> Conflict {
    let before = || {
        let told = reported.last.parse().ok();
        told.map_or(Heard::Unknown, Heard::Before)
    };
    Conflict {
        mac: reported.mac.as_str().into(),
        interface: reported.interface.as_str().into(),
        before_use: reported.before_use,
        heard: seen.map_or_else(before, Heard::Seen),
        last: reported.last.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_report(address: &str, last: &str) -> ConflictReport {
        ConflictReport {
            address: address.to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            interface: "eth0".to_owned(),
            last: last.to_owned(),
            before_use: true,
        }
    }

    #[test]
    fn a_stranger_is_heard_again_when_the_report_says_so_and_not_when_it_is_repeated() {
        let start = tokio::time::Instant::now().into_std();
        let mut conflicts = Conflicts::default();
        let mut report = |last: &str, second: u64| {
            let now = start + std::time::Duration::from_secs(second);
            let news = conflicts.report("a", &[mk_report("10.0.0.1", last)], Some(now));
            let heard = conflicts.iter().next().unwrap().2.heard;
            (news, heard)
        };
        let at = |second: u64| Heard::Seen(start + std::time::Duration::from_secs(second));
        assert_eq!(report("2026-11-21T12:00:00Z", 1), (true, at(1)));
        assert_eq!(report("2026-11-21T12:00:00Z", 2), (false, at(1)));
        assert_eq!(report("1999-01-01T00:00:00Z", 3), (true, at(3)));
    }

    #[test]
    fn what_was_there_before_we_looked_is_as_old_as_it_says() {
        let told = "2026-11-21T12:00:00Z";
        let before = Heard::Before(told.parse().unwrap());
        for (last, heard) in [(told, before), ("yesterday", Heard::Unknown)] {
            let mut conflicts = Conflicts::default();
            conflicts.report("a", &[mk_report("10.0.0.1", last)], None);
            assert_eq!(conflicts.iter().next().unwrap().2.heard, heard, "{last}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_the_rest_is_bounded() {
        let mut conflicts = Conflicts::default();
        let long = "x".repeat(LONGEST + 1);
        let strange = [mk_report("10.0.0.300", ""), mk_report("10.0.0.1", &long)];
        assert!(!conflicts.report("a", &strange, None));
        let many: Vec<_> = (0..300)
            .map(|n| mk_report(&format!("2001:db8::{n:x}"), ""))
            .collect();
        assert!(conflicts.report("a", &many, None));
        assert_eq!(conflicts.iter().count(), MOST);
        assert!(conflicts.report("a", &[], None));
        assert_eq!(conflicts.iter().count(), 0);
    }
}
