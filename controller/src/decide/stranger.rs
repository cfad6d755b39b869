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
pub(super) const HOLD: Duration = Duration::from_mins(10);
/// How long users are told of a stranger after its last report.
const LINGER: Duration = Duration::from_mins(1);
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
        let either = [When::BeforeUse, When::Later].into_iter();
        let either = either.filter_map(|when| Some((when, self.get(address, when)?)));
        either.into_iter().find(|(_, case)| case.told)
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
        let mut reported: BTreeMap<(IpAddr, When), Vec<(Timestamp, Stranger)>> = BTreeMap::new();
        for sighting in sightings {
            let key = (sighting.address, sighting.when);
            let over = later(heard(sighting.heard, moment), HOLD);
            let all = reported.entry(key).or_default();
            all.push((over, sighting.stranger));
        }
        let mut now = BTreeMap::new();
        let mut next: Option<Timestamp> = None;
        for (key, case) in &self.0 {
            let all = reported.remove(key);
            let mut case = case.clone();
            match all
                .as_deref()
                .map(|all| current(all, Some(&case.stranger), wall))
            {
                Some(Some((over, stranger))) => {
                    case = Case {
                        stranger,
                        until: None,
                        told: true,
                        ..case
                    };
                    next = earlier(next, over);
                }
                // It is reported, and nothing new was heard for long.
                Some(None) => continue,
                None => {
                    let end = || whole(later(wall, key.1.hold()));
                    let until = *case.until.get_or_insert_with(end);
                    if until <= wall {
                        continue;
                    }
                    let quiet = signed(key.1.hold().saturating_sub(LINGER));
                    let silence = until.checked_sub(quiet).unwrap_or(until);
                    case.told = silence > wall;
                    next = earlier(next, if case.told { silence } else { until });
                }
            }
            now.insert(*key, case);
        }
        for (key, all) in reported {
            let Some((over, stranger)) = current(&all, None, wall).filter(|_| now.len() < MOST)
            else {
                continue;
            };
            next = earlier(next, over);
            let since = Timestamp::from_second(wall.as_second()).unwrap_or(wall);
            let case = Case {
                stranger,
                since,
                until: None,
                told: true,
            };
            now.insert(key, case);
        }
        let left =
            next.map(|next| Duration::try_from(next.duration_since(wall)).unwrap_or_default());
        (Self(now), left.map(|left| moment.now + left))
    }
}

/// Of those who were heard not too long ago the one that is known, or else the first; and when none counts any more.
fn current(
    all: &[(Timestamp, Stranger)],
    known: Option<&Stranger>,
    wall: Timestamp,
) -> Option<(Timestamp, Stranger)> {
    let fresh = || all.iter().filter(|(over, _)| *over > wall);
    let over = fresh().map(|(over, _)| *over).max()?;
    let strangers = || fresh().map(|(_, stranger)| stranger);
    let same = strangers().find(|stranger| Some(*stranger) == known);
    let stranger = same.or_else(|| strangers().min())?;
    Some((over, stranger.clone()))
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

fn earlier(one: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// Never before its time.
fn whole(at: Timestamp) -> Timestamp {
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(at)
}
