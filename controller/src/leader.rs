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

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use portolan_api::annotation::COMPONENT;

/// Name of the Lease.
pub const LEASE: &str = "portolan-controller";
/// A record that has not changed for this long has no holder any more.
const DURATION: Duration = Duration::from_secs(5);
/// The holder stops this long after it began its last successful renewal; what is left to `DURATION` is for requests
/// that are still on their way.
const RENEW_DEADLINE: Duration = Duration::from_millis(3500);
/// Time between two steps.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time to the next step after one that failed: there must be time for it before `RENEW_DEADLINE`.
const RETRY: Duration = Duration::from_millis(250);
/// Longest time for one request.
const REQUEST: Duration = Duration::from_millis(1200);

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
    /// There is none: create it.
    Create(LeaseSpec),
    /// Take it over or renew it.
    Replace(LeaseSpec),
}

/// The state of an election as this candidate sees it.
#[derive(Debug)]
pub struct Election {
    identity: String,
    /// The record, and when we saw it change.
    seen: Option<(LeaseSpec, Instant)>,
    until: Option<Instant>,
    term: u64,
}

impl Election {
    /// A candidate that has seen nothing yet.
    #[must_use]
    pub fn new(identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            seen: None,
            until: None,
            term: 0,
        }
    }

    /// Decides what to do, given the Lease as it was just read. `wall` only tells humans when.
    pub fn step(&mut self, lease: Option<&LeaseSpec>, now: Instant, wall: Timestamp) -> Action {
        let Some(record) = lease else {
            self.seen = None;
            return Action::Create(self.record(None, wall));
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != record) {
            self.seen = Some((record.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let holder = record.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.identity;
        let seconds = record
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok());
        let lasts = seconds.map_or(DURATION, Duration::from_secs);
        if ours || holder.is_empty() || now.duration_since(since) >= lasts {
            return Action::Replace(self.record(Some(record), wall));
        }
        self.until = None;
        Action::Wait
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

/// Why a step of the election failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("reading Lease {LEASE}: {0}")]
    Read(#[source] kube::Error),
    #[error("writing Lease {LEASE}: {0}")]
    Write(#[source] kube::Error),
    #[error("the API server did not answer within {} ms", REQUEST.as_millis())]
    TimedOut,
}

/// Takes part in the election until the token is cancelled, then gives the Lease back.
pub async fn run(
    api: Api<Lease>,
    identity: String,
    leadership: watch::Sender<Leadership>,
    shutdown: CancellationToken,
) {
    let mut election = Election::new(&identity);
    let mut failing = false;
    // A little off the beat of the others, from our name: no randomness needed.
    let jitter = Duration::from_millis(u64::from(identity.bytes().fold(0_u8, u8::wrapping_add)));
    loop {
        match step(&api, &mut election).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "leader election; trying again every second");
                }
            }
        }
        announce(&leadership, election.leadership());
        // Leadership ends by the clock, not by the next step.
        let pause = tokio::time::sleep(if failing { RETRY } else { INTERVAL } + jitter / 4);
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = pause => {}
        }
    }
    let held = election.leadership();
    leadership.send_replace(Leadership::NONE);
    if held.holds(now()) {
        release(&api, &identity).await;
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn announce(leadership: &watch::Sender<Leadership>, new: Leadership) {
    let old = leadership.send_replace(new);
    let (before, after) = (old.holds(now()), new.holds(now()));
    if before != after {
        tracing::info!(leading = after, "leadership changed");
    }
}

async fn step(api: &Api<Lease>, election: &mut Election) -> Result<(), StepError> {
    let read = tokio::time::timeout(REQUEST, api.get_opt(LEASE)).await;
    let lease = read
        .map_err(|_| StepError::TimedOut)?
        .map_err(StepError::Read)?;
    let began = now();
    let spec = lease
        .as_ref()
        .map(|lease| lease.spec.clone().unwrap_or_default());
    let parameters = PostParams::default();
    let write = match election.step(spec.as_ref(), began, Timestamp::now()) {
        Action::Wait => return Ok(()),
        Action::Create(spec) => {
            let mut lease = lease.unwrap_or_default();
            lease.metadata.name = Some(LEASE.to_owned());
            lease
                .metadata
                .labels
                .get_or_insert_default()
                .insert(COMPONENT.to_owned(), "controller".to_owned());
            lease.spec = Some(spec);
            tokio::time::timeout(REQUEST, api.create(&parameters, &lease)).await
        }
        Action::Replace(spec) => {
            let mut lease = lease.unwrap_or_default();
            lease
                .metadata
                .labels
                .get_or_insert_default()
                .insert(COMPONENT.to_owned(), "controller".to_owned());
            lease.spec = Some(spec);
            tokio::time::timeout(REQUEST, api.replace(LEASE, &parameters, &lease)).await
        }
    };
    match write {
        Ok(Ok(_)) => election.renewed(began),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
            election.lost();
        }
        Ok(Err(error)) => return Err(StepError::Write(error)),
        Err(_) => return Err(StepError::TimedOut),
    }
    Ok(())
}

/// Lets the next one begin at once.
async fn release(api: &Api<Lease>, identity: &str) {
    let give_back = async {
        let mut lease = api.get(LEASE).await?;
        let Some(spec) = lease
            .spec
            .as_mut()
            .filter(|s| s.holder_identity.as_deref() == Some(identity))
        else {
            return Ok(());
        };
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        api.replace(LEASE, &PostParams::default(), &lease)
            .await
            .map(drop)
    };
    match tokio::time::timeout(REQUEST, give_back).await {
        Ok(Ok(())) => tracing::info!("gave the Lease back"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "giving the Lease back failed: it runs out by itself");
        }
        Err(_) => tracing::warn!("giving the Lease back took too long: it runs out by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn mk_record(holder: &str, tick: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(5),
            renew_time: Timestamp::from_second(tick).ok().map(MicroTime),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }
    }

    fn wall() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn a_record_that_changes_is_respected_and_one_that_does_not_is_taken_over() {
        let start = mk_start();
        let mut election = Election::new("me");
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
        let mut election = Election::new("me");
        let record = mk_record("other", 4_000_000_000);
        assert_eq!(election.step(Some(&record), start, wall()), Action::Wait);
        let action = election.step(Some(&record), start + SECOND * 5, wall());
        assert!(matches!(action, Action::Replace(_)));
    }

    #[test]
    fn an_absent_a_released_and_our_own_record_are_taken_at_once() {
        let now = mk_start();
        assert!(matches!(
            Election::new("me").step(None, now, wall()),
            Action::Create(_)
        ));
        for holder in ["", "me"] {
            let record = mk_record(holder, 1);
            let action = Election::new("me").step(Some(&record), now, wall());
            assert!(matches!(action, Action::Replace(_)), "holder {holder:?}");
        }
    }

    #[test]
    fn the_holder_always_stops_before_a_challenger_begins() {
        let start = mk_start();
        let mut holder = Election::new("holder");
        holder.renewed(start);
        let until = holder.leadership().until.unwrap();
        // The challenger saw the record at the earliest when the write was sent.
        let mut challenger = Election::new("challenger");
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
        let mut election = Election::new("me");
        for (after, term) in [(0, 1), (1, 1), (3, 1), (10, 2)] {
            election.renewed(now + SECOND * after);
            assert_eq!(election.leadership().term, term, "after {after} s");
        }
    }

    #[test]
    fn seeing_somebody_else_ends_leadership() {
        let now = mk_start();
        let mut election = Election::new("me");
        election.renewed(now);
        assert!(election.leadership().holds(now));
        election.step(Some(&mk_record("other", 1)), now, wall());
        assert!(!election.leadership().holds(now));
    }

    fn mk_start() -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
