//! Leader election by Lease: a pure step, and a shell that reads and writes the Lease.
//!
//! ```text
//!  holder       PUT ok        PUT ok                   writes allowed until PUT + 3.5 s
//!               ├── 1 s ──────┼─────────────────────────┤
//!  challenger   .... sees it change ├──────────────── 5 s ────────────────┤ takes over
//! ```
//!
//! No clock of another machine matters: a challenger measures, with its own monotonic clock, how long the record has not
//! changed since *it* saw it change. The holder counts from the moment before it sent the write that succeeded, so its
//! time always ends first. A write carries the `resourceVersion` that it was decided on: of two challengers one wins.
//!
//! The record names the process as well, by a number that it draws when it starts. A process that finds its own name with
//! another number is the heir of the holder (a container that was restarted): it goes on as soon as nothing can be on its
//! way any more of what the dead one sent; one that has led itself has a namesake, and yields.

mod candidate;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

pub use candidate::Candidate;

/// Annotation on the Lease: which process of the holder's name wrote the record.
pub const PROCESS: &str = "portolan.dev/process";
/// Name of the Lease.
pub const LEASE: &str = "portolan-controller";
/// A record that has not changed for this long has no holder any more.
const DURATION: Duration = Duration::from_secs(5);
/// The holder stops this long after it began its last successful renewal; what is left to `DURATION` is for requests
/// that are still on their way.
const RENEW_DEADLINE: Duration = Duration::from_millis(3500);
/// An heir waits that long: the API server may still be reading what the process sent before it was killed, and the first
/// free address that the dead one gave is the first free address of its heir. A busy server may take longer; but a
/// restart is to serve within one and a half seconds.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);

/// Whether we lead, and how long we may act on it without a further renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Writes must be over before this moment.
    pub until: Option<Instant>,
    /// Grows each time that leadership begins anew: what was known before counts for nothing then.
    pub term: u64,
}

impl Leadership {
    /// Not the leader.
    pub const NONE: Self = Self {
        until: None,
        term: 0,
    };

    /// Whether we lead at this moment.
    #[must_use]
    pub fn holds(self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// What to do with the Lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Somebody else holds it.
    Wait,
    /// Another process holds it under our name, and until now we did: two run with one identity.
    Yield,
    /// There is none: create it.
    Create(LeaseSpec),
    /// Take it over or renew it.
    Replace(LeaseSpec),
}

/// The state of an election as this candidate sees it.
#[derive(Debug)]
pub struct Election {
    identity: String,
    /// This process among those of our name.
    process: String,
    /// The record, and when we saw it change.
    seen: Option<(LeaseSpec, Instant)>,
    until: Option<Instant>,
    term: u64,
    /// The holder is a process of our name before us.
    heir: bool,
}

impl Election {
    /// A candidate that has seen nothing yet.
    #[must_use]
    pub fn new(identity: &str, process: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            process: process.to_owned(),
            seen: None,
            until: None,
            term: 0,
            heir: false,
        }
    }

    /// Whether we wait for what a dead process of our name has sent: not for long.
    #[must_use]
    pub const fn is_heir(&self) -> bool {
        self.heir
    }

    /// Decides what to do, given the Lease as it was just read. `wall` only tells humans when.
    pub fn step(&mut self, lease: Option<&Lease>, now: Instant, wall: Timestamp) -> Action {
        let empty = LeaseSpec::default();
        let record = lease.map(|lease| lease.spec.as_ref().unwrap_or(&empty));
        let Some(record) = record else {
            self.seen = None;
            return Action::Create(self.record(None, wall));
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != record) {
            self.seen = Some((record.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let holder = record.holder_identity.as_deref().unwrap_or_default();
        let named = holder == self.identity;
        let other = named && lease.and_then(process) != Some(&self.process);
        let namesake = other && self.term > 0;
        self.heir = other && !namesake;
        let seconds = record
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok());
        let lasts = seconds.map_or(DURATION, Duration::from_secs);
        let lasts = match (named, other) {
            (true, false) => Duration::ZERO,
            (true, true) if self.heir => ON_THEIR_WAY,
            _ => lasts,
        };
        if holder.is_empty() || now.duration_since(since) >= lasts {
            return Action::Replace(self.record(Some(record), wall));
        }
        match self.until.take() {
            Some(_) if namesake => Action::Yield,
            _ => Action::Wait,
        }
    }

    /// The write that was begun at `began` succeeded.
    pub fn renewed(&mut self, began: Instant) {
        // A renewal that came too late begins a new term, even if nobody else led meanwhile.
        if !self.leadership().holds(began) {
            self.term += 1;
        }
        self.until = Some(began + RENEW_DEADLINE);
    }

    /// Somebody else was faster.
    pub fn lost(&mut self) {
        self.until = None;
    }

    /// Whether and how long we lead.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership {
            until: self.until,
            term: self.term,
        }
    }

    fn record(&self, before: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
        let ours = before.filter(|b| b.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|b| b.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: ours.map_or(Some(MicroTime(wall)), |b| b.acquire_time.clone()),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(if ours.is_some() || before.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }
}

/// Which process wrote the record.
fn process(lease: &Lease) -> Option<&String> {
    lease.metadata.annotations.as_ref()?.get(PROCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn mk_record(holder: &str, tick: i64) -> Lease {
        mk_record_of(holder, "7", tick)
    }

    fn mk_record_of(holder: &str, process: &str, tick: i64) -> Lease {
        let mut lease = Lease::default();
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(PROCESS.to_owned(), process.to_owned());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(5),
            renew_time: Timestamp::from_second(tick).ok().map(MicroTime),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        });
        lease
    }

    fn wall() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn a_record_that_changes_is_respected_and_one_that_does_not_is_taken_over() {
        let start = mk_start();
        let mut election = Election::new("me", "7");
        for second in 0..8 {
            let record = mk_record("other", i64::from(second));
            let action = election.step(Some(&record), start + SECOND * second, wall());
            assert_eq!(action, Action::Wait, "second {second}");
        }
        let last = mk_record("other", 7);
        for second in 8..12 {
            let action = election.step(Some(&last), start + SECOND * second, wall());
            assert_eq!(action, Action::Wait, "second {second}");
        }
        let Action::Replace(record) = election.step(Some(&last), start + SECOND * 12, wall())
        else {
            panic!("five seconds without a change");
        };
        assert_eq!(record.holder_identity.as_deref(), Some("me"));
        assert_eq!(record.lease_transitions, Some(4));
    }

    #[test]
    fn a_clock_of_the_future_in_the_record_changes_nothing() {
        let start = mk_start();
        let mut election = Election::new("me", "7");
        let record = mk_record("other", 4_000_000_000);
        assert_eq!(election.step(Some(&record), start, wall()), Action::Wait);
        let action = election.step(Some(&record), start + SECOND * 5, wall());
        assert!(matches!(action, Action::Replace(_)));
    }

    #[test]
    fn an_absent_a_released_and_our_own_record_are_taken_at_once() {
        let now = mk_start();
        assert!(matches!(
            Election::new("me", "7").step(None, now, wall()),
            Action::Create(_)
        ));
        for holder in ["", "me"] {
            let record = mk_record_of(holder, "7", 1);
            let action = Election::new("me", "7").step(Some(&record), now, wall());
            assert!(matches!(action, Action::Replace(_)), "holder {holder:?}");
        }
    }

    #[test]
    fn the_holder_always_stops_before_a_challenger_begins() {
        let start = mk_start();
        let mut holder = Election::new("holder", "7");
        holder.renewed(start);
        let until = holder.leadership().until.unwrap();
        // The challenger saw the record at the earliest when the write was sent.
        let mut challenger = Election::new("challenger", "7");
        let record = mk_record("holder", 1);
        assert_eq!(challenger.step(Some(&record), start, wall()), Action::Wait);
        assert_eq!(
            challenger.step(Some(&record), until + SECOND, wall()),
            Action::Wait
        );
        assert!(!holder.leadership().holds(until));
    }

    #[test]
    fn a_renewal_that_comes_too_late_begins_a_new_term() {
        let now = mk_start();
        let mut election = Election::new("me", "7");
        for (after, term) in [(0, 1), (1, 1), (3, 1), (10, 2)] {
            election.renewed(now + SECOND * after);
            assert_eq!(election.leadership().term, term, "after {after} s");
        }
    }

    #[test]
    fn seeing_somebody_else_ends_leadership() {
        let now = mk_start();
        let mut election = Election::new("me", "7");
        election.renewed(now);
        assert!(election.leadership().holds(now));
        election.step(Some(&mk_record("other", 1)), now, wall());
        assert!(!election.leadership().holds(now));
    }

    #[test]
    fn the_heir_of_a_holder_goes_on_when_nothing_is_on_its_way_any_more() {
        let now = mk_start();
        let mut election = Election::new("me", "2");
        let record = mk_record_of("me", "1", 1);
        assert_eq!(election.step(Some(&record), now, wall()), Action::Wait);
        assert!(election.is_heir());
        let early = now + ON_THEIR_WAY.checked_sub(SECOND / 100).unwrap();
        assert_eq!(election.step(Some(&record), early, wall()), Action::Wait);
        let action = election.step(Some(&record), now + ON_THEIR_WAY, wall());
        assert!(matches!(action, Action::Replace(_)), "{action:?}");
        election.renewed(now + ON_THEIR_WAY);
        let own = mk_record_of("me", "2", 2);
        let action = election.step(Some(&own), now + SECOND * 3, wall());
        assert!(matches!(action, Action::Replace(_)), "{action:?}");
        assert!(!election.is_heir());
    }

    #[test]
    fn whoever_has_led_yields_to_a_namesake_and_takes_over_when_that_one_is_gone() {
        let start = mk_start();
        let mut election = Election::new("me", "1");
        let own = mk_record_of("me", "1", 1);
        election.renewed(start);
        let renewal = election.step(Some(&own), start, wall());
        assert!(matches!(renewal, Action::Replace(_)), "{renewal:?}");
        let theirs = mk_record_of("me", "2", 2);
        let first = election.step(Some(&theirs), start, wall());
        assert_eq!(first, Action::Yield);
        assert!(!election.leadership().holds(start), "at once");
        let second = election.step(Some(&theirs), start + SECOND, wall());
        assert_eq!(second, Action::Wait, "said once");
        let expired = election.step(Some(&theirs), start + SECOND * 5, wall());
        assert!(matches!(expired, Action::Replace(_)), "{expired:?}");
    }

    fn mk_start() -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
