//! Which speakers are alive, judged by nothing but what we see.
//!
//! Each speaker renews a Lease of its own. Its clock does not matter: a speaker is dead when its Lease has not *changed*
//! for `leaseDurationSeconds` of time in which our eyes were open. They are open as long as the renewals of our own Lease
//! come back to us through the same watch:
//!
//! ```text
//! own renewals   o   o   o   o   o                     o   o   o      (each proves that the watch works)
//! speaker        x x x x x x x x x                       x x x x      (gap of the watch: everybody gets a new start)
//! judged at      ^   ^   ^   ^   ^                     ^   ^   ^
//! ```
//!
//! So neither an outage of the API server nor a relist nor our own start can move an address.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use portolan_api::annotation::SPEAKER_LEASE_PREFIX;

/// Assumed when a Lease does not say how long it lasts.
const DEFAULT_DURATION: Duration = Duration::from_secs(6);
/// Longest pause between two proofs that does not cost trust: three renewals of our own.
const PROOF_GAP: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug, Default)]
pub struct Speakers {
    identity: String,
    by_node: BTreeMap<String, Speaker>,
    proof: Option<Instant>,
}

#[derive(Debug)]
struct Speaker {
    spec: LeaseSpec,
    /// When we saw the Lease change.
    seen: Instant,
    live: bool,
}

impl Speaker {
    /// An orderly stop leaves the Lease without a holder.
    fn stopped(&self) -> bool {
        self.spec
            .holder_identity
            .as_deref()
            .unwrap_or_default()
            .is_empty()
    }

    fn duration(&self) -> Duration {
        let seconds = self
            .spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok());
        seconds
            .filter(|s| *s > 0)
            .map_or(DEFAULT_DURATION, Duration::from_secs)
    }
}

impl Speakers {
    /// Nobody is known yet.
    #[must_use]
    pub fn new(identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            ..Self::default()
        }
    }

    /// Whether the speaker of the node is alive.
    #[must_use]
    pub fn live(&self, node: &str) -> bool {
        self.by_node.get(node).is_some_and(|speaker| speaker.live)
    }

    /// Number of speakers that are alive.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_node.values().filter(|speaker| speaker.live).count()
    }

    /// Gives every speaker a full period from now: what happened while we were not looking proves nothing.
    pub fn grace(&mut self, now: Instant) {
        self.proof = Some(now);
        for speaker in self.by_node.values_mut() {
            speaker.seen = now;
            speaker.live = !speaker.stopped();
        }
    }

    /// Takes in a Lease of our namespace. Returns whether somebody came alive or died.
    pub(super) fn observe(&mut self, lease: &Lease, now: Instant) -> bool {
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        let spec = lease.spec.clone().unwrap_or_default();
        let Some(node) = name.strip_prefix(SPEAKER_LEASE_PREFIX) else {
            let ours = name == crate::leader::LEASE
                && spec.holder_identity.as_ref() == Some(&self.identity);
            return ours && self.judge(now);
        };
        if self.by_node.get(node).is_some_and(|held| held.spec == spec) {
            return false;
        }
        let mut speaker = Speaker {
            spec,
            seen: now,
            live: true,
        };
        speaker.live = !speaker.stopped();
        let live = speaker.live;
        let before = self.by_node.insert(node.to_owned(), speaker);
        before.is_some_and(|before| before.live) != live
    }

    /// Drops the speaker whose Lease was deleted.
    pub(super) fn remove(&mut self, lease: &str) -> bool {
        let node = lease.strip_prefix(SPEAKER_LEASE_PREFIX);
        node.and_then(|node| self.by_node.remove(node))
            .is_some_and(|speaker| speaker.live)
    }

    /// Our own renewal came back at `now`.
    fn judge(&mut self, now: Instant) -> bool {
        let gap = self
            .proof
            .is_none_or(|proof| now.duration_since(proof) > PROOF_GAP);
        self.proof = Some(now);
        let mut changed = false;
        for speaker in self.by_node.values_mut() {
            if gap {
                speaker.seen = now;
            }
            let expired = now.duration_since(speaker.seen) >= speaker.duration();
            changed |= speaker.live && expired;
            speaker.live &= !expired;
        }
        changed
    }
}

#[cfg(test)]
pub(crate) fn mk_lease(name: &str, holder: &str, tick: i64) -> Lease {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    let mut lease = Lease::default();
    lease.metadata.name = Some(name.to_owned());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(6),
        renew_time: jiff::Timestamp::from_second(tick).ok().map(MicroTime),
        ..LeaseSpec::default()
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `script`, one letter a second: `o` our renewal comes back, `x` the speaker renews, `*` both, `.` nothing.
    fn play(script: &str) -> String {
        let start = mk_start();
        let mut speakers = Speakers::new("me");
        speakers.grace(start);
        let mut states = String::new();
        for (second, letter) in script.chars().enumerate() {
            let tick = i64::try_from(second).unwrap();
            let now = start + Duration::from_secs(second as u64);
            if matches!(letter, 'x' | '*') {
                speakers.observe(&mk_lease("portolan-speaker-a", "a", tick), now);
            }
            if matches!(letter, 'o' | '*') {
                speakers.observe(&mk_lease(crate::leader::LEASE, "me", tick), now);
            }
            states.push(if speakers.live("a") { 'L' } else { '-' });
        }
        states
    }

    #[test]
    fn a_speaker_dies_only_while_our_eyes_are_open() {
        for (why, script, states) in [
            ("renews", "*o*o*o*o*o*o", "LLLLLLLLLLLL"),
            ("stops", "*ooooooooooo", "LLLLLL------"),
            ("comes back", "*ooooooooo*o", "LLLLLL----LL"),
            ("no proof at all", "x...........", "LLLLLLLLLLLL"),
            (
                "outage, then it renews again",
                "*o..........oox",
                "LLLLLLLLLLLLLLL",
            ),
            (
                "outage, then it is dead",
                "*o........ooooooo",
                "LLLLLLLLLLLLLLLL-",
            ),
        ] {
            assert_eq!(play(script), states, "{why}");
        }
    }

    #[test]
    fn an_orderly_stop_counts_at_once() {
        let now = mk_start();
        let mut speakers = Speakers::new("me");
        assert!(speakers.observe(&mk_lease("portolan-speaker-a", "a", 1), now));
        assert!(speakers.observe(&mk_lease("portolan-speaker-a", "", 2), now));
        assert!(!speakers.live("a"));
    }

    fn mk_start() -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
