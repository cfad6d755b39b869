//! Which strangers count: stations outside the cluster that speakers report to use our addresses.
//!
//! ```text
//!           reported                 not reported any more
//! case    ├──────────────────────────┼──────── hold ─────────┤
//! told    ├──────────────────────────┼─ linger ─┤
//! ```
//!
//! Nobody is told of every breath of a stranger that comes and goes: it is told of a little longer than it is there, and an
//! address that it answered for before we used it is left alone for much longer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Moment;
use crate::alloc::Stranger;
use crate::model::Heard;

/// How long an address stays in quarantine after the last report of the stranger. A report that says nothing new for so long
/// does not count.
pub(super) const HOLD: Duration = Duration::from_secs(600);
/// How long users are told of a stranger after its last report.
const LINGER: Duration = Duration::from_secs(60);
/// Most cases that are remembered.
const MOST: usize = 4096;

/// When a stranger was found to use an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    /// When the address was probed before its first use.
    BeforeUse,
    /// While it was in use.
    Later,
}

impl When {
    fn hold(self) -> Duration {
        match self {
            Self::BeforeUse => HOLD,
            Self::Later => LINGER,
        }
    }
}

/// What a node says.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    pub(super) address: IpAddr,
    pub(super) when: When,
    pub(super) stranger: Stranger,
    pub(super) heard: Heard,
}

/// A stranger that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) stranger: Stranger,
    /// Whole seconds, as its record has them.
    pub(super) since: Timestamp,
    /// When it counts no more; `None` while it is reported.
    pub(super) until: Option<Timestamp>,
    /// Whether users are told of it.
    pub(super) told: bool,
}

/// All of them. See the module.
#[derive(Debug, Default, Clone)]
pub(super) struct Cases(BTreeMap<(IpAddr, When), Case>);

impl Cases {
    pub(super) fn get(&self, address: IpAddr, when: When) -> Option<&Case> {
        self.0.get(&(address, when))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, When, &Case)> {
        self.0
            .iter()
            .map(|((address, when), case)| (*address, *when, case))
    }

    /// What users are told of an address.
    pub(super) fn told(&self, address: IpAddr) -> Option<(When, &Case)> {
        let of_it = self
            .0
            .range((address, When::BeforeUse)..=(address, When::Later));
        let mut told = of_it.filter(|(_, case)| case.told);
        told.next().map(|((_, when), case)| (*when, case))
    }

    /// Takes in what a former leader has recorded. Whether it is still reported turns out at the next review.
    pub(super) fn recall(&mut self, address: IpAddr, case: Case) {
        if self.0.len() < MOST {
            self.0.insert((address, When::BeforeUse), case);
        }
    }

    /// The cases after a look at what is reported now, and when to look again.
    pub(super) fn review(
        &self,
        sightings: impl IntoIterator<Item = Sighting>,
        moment: Moment,
    ) -> (Self, Option<Instant>) {
        let wall = moment.wall;
        let mut reported: BTreeMap<(IpAddr, When), Vec<Heeded>> = BTreeMap::new();
        for sighting in sightings {
            let key = (sighting.address, sighting.when);
            let heeded = Heeded {
                until: later(heard(sighting.heard, moment), HOLD),
                stranger: sighting.stranger,
            };
            reported.entry(key).or_default().push(heeded);
        }
        let mut now = BTreeMap::new();
        let mut turns = Vec::new();
        for (key, case) in &self.0 {
            let all = reported.remove(key);
            if let Some((case, turn)) = case.review(key.1, all.as_deref(), wall) {
                now.insert(*key, case);
                turns.push(turn);
            }
        }
        for (key, all) in reported {
            let found = Heeded::choose(&all, None, wall).filter(|_| now.len() < MOST);
            if let Some(Heeded { until, stranger }) = found {
                now.insert(key, Case::open(stranger, wall));
                turns.push(until);
            }
        }
        let next = turns.into_iter().min().map(|turn| {
            let left = turn.duration_since(wall);
            moment.now + Duration::try_from(left).unwrap_or_default()
        });
        (Self(now), next)
    }
}

impl Case {
    fn open(stranger: Stranger, wall: Timestamp) -> Self {
        Self {
            stranger,
            since: Timestamp::from_second(wall.as_second()).unwrap_or(wall),
            until: None,
            told: true,
        }
    }

    /// What becomes of the case, and when to look again; `None` when it is over. `reported` is what is said of the address.
    fn review(
        &self,
        when: When,
        reported: Option<&[Heeded]>,
        wall: Timestamp,
    ) -> Option<(Self, Timestamp)> {
        let mut case = self.clone();
        if let Some(all) = reported {
            // It is over as well if nothing new was heard for long.
            let found = Heeded::choose(all, Some(&self.stranger), wall)?;
            (case.stranger, case.until, case.told) = (found.stranger, None, true);
            return Some((case, found.until));
        }
        let until = self
            .until
            .unwrap_or_else(|| whole(later(wall, when.hold())));
        if until <= wall {
            return None;
        }
        let quiet = signed(when.hold().saturating_sub(LINGER));
        let silence = until.checked_sub(quiet).unwrap_or(until);
        (case.until, case.told) = (Some(until), silence > wall);
        let turn = if case.told { silence } else { until };
        Some((case, turn))
    }
}

/// A sighting with the moment from which on it does not count, unless it is renewed.
#[derive(Debug, Clone)]
struct Heeded {
    until: Timestamp,
    stranger: Stranger,
}

impl Heeded {
    /// Of the strangers that count the one that is known, or else the first; and when none counts any more.
    fn choose(all: &[Self], known: Option<&Stranger>, wall: Timestamp) -> Option<Self> {
        let fresh = || all.iter().filter(|one| one.until > wall);
        let until = fresh().map(|one| one.until).max()?;
        let strangers = || fresh().map(|one| &one.stranger);
        let same = strangers().find(|stranger| Some(*stranger) == known);
        let stranger = same.or_else(|| strangers().min())?.clone();
        Some(Self { until, stranger })
    }
}

/// When that was by our clock.
fn heard(heard: Heard, moment: Moment) -> Timestamp {
    match heard {
        Heard::Seen(at) => {
            let age = signed(moment.now.saturating_duration_since(at));
            moment.wall.checked_sub(age).unwrap_or(moment.wall)
        }
        Heard::Before(told) => told.min(moment.wall),
        Heard::Unknown => moment.wall,
    }
}

fn later(at: Timestamp, time: Duration) -> Timestamp {
    at.checked_add(signed(time)).unwrap_or(Timestamp::MAX)
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

/// Never before its time.
fn whole(at: Timestamp) -> Timestamp {
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One address through time, a letter for every 30 seconds: `n` a node reports something new, `r` it reports the same
    /// again, `.` it reports nothing. Says `T` while users are told, `h` while it is only held, `-` when it is over.
    fn play(when: When, script: &str) -> String {
        let start = tokio::time::Instant::now().into_std();
        let address = IpAddr::from([10, 0, 0, 1]);
        let mut cases = Cases::default();
        let mut seen = start;
        let state = |(step, letter): (usize, char)| {
            let passed = Duration::from_secs(30 * step as u64);
            let moment = Moment {
                now: start + passed,
                wall: Timestamp::UNIX_EPOCH + passed,
            };
            if letter == 'n' {
                seen = moment.now;
            }
            let sighting = Sighting {
                address,
                when,
                stranger: mk_stranger("n1"),
                heard: Heard::Seen(seen),
            };
            let (next, turn) = cases.review((letter != '.').then_some(sighting), moment);
            assert!(
                turn.is_none_or(|turn| turn > moment.now),
                "{script}, {step}"
            );
            assert_eq!(turn.is_none(), next.0.is_empty(), "{script}, {step}");
            cases = next;
            match cases.get(address, when) {
                Some(case) if case.told => 'T',
                Some(_) => 'h',
                None => '-',
            }
        };
        script.chars().enumerate().map(state).collect()
    }

    fn mk_stranger(node: &str) -> Stranger {
        Stranger {
            node: node.into(),
            interface: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
        }
    }

    #[test]
    fn a_case_is_told_a_little_longer_than_it_is_reported_and_held_much_longer() {
        use When::{BeforeUse, Later};
        let silence = ".".repeat(21);
        let held = format!("TTT{}-", "h".repeat(18));
        let same = format!("n{}", "r".repeat(20));
        let stale = format!("{}-", "T".repeat(20));
        for (row, when, script, states) in [
            ("once", BeforeUse, format!("n{silence}"), held.clone()),
            (
                "renewed",
                BeforeUse,
                format!("nnn{silence}"),
                format!("TT{held}"),
            ),
            (
                "it comes and goes",
                BeforeUse,
                "n.n...n....".to_owned(),
                "TTTTThTTThh".to_owned(),
            ),
            (
                "nothing new for ten minutes",
                BeforeUse,
                same.clone(),
                stale.clone(),
            ),
            ("heard later", Later, "n....".to_owned(), "TTT--".to_owned()),
            ("heard later, nothing new", Later, same, stale),
            (
                "nobody was there",
                Later,
                "...".to_owned(),
                "---".to_owned(),
            ),
        ] {
            assert_eq!(play(when, &script), states, "{row}");
        }
    }

    #[test]
    fn the_stranger_that_is_known_stays_as_long_as_it_is_reported() {
        let now = tokio::time::Instant::now().into_std();
        let wall = Timestamp::UNIX_EPOCH;
        let review = |cases: &Cases, nodes: &[&str]| {
            let sightings = nodes.iter().map(|node| Sighting {
                address: IpAddr::from([10, 0, 0, 1]),
                when: When::Later,
                stranger: mk_stranger(node),
                heard: Heard::Unknown,
            });
            let (cases, _) = cases.review(sightings, Moment { now, wall });
            let node = cases.iter().next().unwrap().2.stranger.node.to_string();
            (cases, node)
        };
        let (cases, node) = review(&Cases::default(), &["n2", "n3"]);
        assert_eq!(node, "n2");
        let (cases, node) = review(&cases, &["n1", "n2"]);
        assert_eq!(node, "n2");
        let (cases, node) = review(&cases, &["n3", "n1"]);
        assert_eq!(node, "n1");
        assert_eq!(review(&cases, &[]).1, "n1");
    }

    #[test]
    fn cases_are_bounded() {
        let now = tokio::time::Instant::now().into_std();
        let wall = Timestamp::UNIX_EPOCH;
        let sightings = (0..MOST + 10).map(|n| Sighting {
            address: IpAddr::from(std::net::Ipv6Addr::from_bits(n as u128)),
            when: When::BeforeUse,
            stranger: mk_stranger("n1"),
            heard: Heard::Seen(now),
        });
        let (cases, _) = Cases::default().review(sightings, Moment { now, wall });
        assert_eq!(cases.0.len(), MOST);
    }
}
