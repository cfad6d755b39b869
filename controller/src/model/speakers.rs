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
//!
//! A Lease that we find tells of the past. Until it changes under our eyes its speaker is *unseen*: it loses nothing for
//! half a minute, and gets nothing new. When a whole cluster starts at once, some speakers take that long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use portolan_api::annotation::SPEAKER_LEASE_PREFIX;

/// Assumed when a Lease does not say how long it lasts.
const DEFAULT_DURATION: Duration = Duration::from_secs(6);
/// Longest pause between two proofs that does not cost trust: three renewals of our own.
const PROOF_GAP: Duration = Duration::from_secs(3);
/// How long a speaker may be unseen before it is dead: stand-bys do not wait for us, so we can wait for a node to start.
const UNSEEN: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub struct Speakers {
    identity: String,
    by_node: BTreeMap<String, Speaker>,
    proof: Option<Instant>,
    /// When our eyes were opened.
    opened: Option<Instant>,
    /// Every Lease has been seen once: one that comes from now on is new.
    complete: bool,
}

#[derive(Debug)]
struct Speaker {
    spec: LeaseSpec,
    /// When we saw the Lease change.
    seen: Instant,
    live: bool,
    /// Nothing has told us since our eyes were opened that it is there.
    unseen: bool,
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

    /// How long it may say nothing.
    fn patience(&self) -> Duration {
        let duration = self.duration();
        if self.unseen {
            duration.max(UNSEEN)
        } else {
            duration
        }
    }

    /// Our eyes are opened: only what was seen a moment ago still counts as seen.
    fn start_anew(&mut self, now: Instant) {
        self.unseen |= now.duration_since(self.seen) >= self.duration();
        self.seen = now;
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

    /// Whether the speaker of the node is alive, and has shown so under our eyes.
    #[must_use]
    pub fn seen(&self, node: &str) -> bool {
        let speaker = self.by_node.get(node);
        speaker.is_some_and(|speaker| speaker.live && !speaker.unseen)
    }

    /// When our eyes were opened: at the begin of the term, or after a gap.
    #[must_use]
    pub fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// Number of speakers that are alive.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_node.values().filter(|speaker| speaker.live).count()
    }

    /// Every Lease has been seen once.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Gives every speaker a full period from now: what happened while we were not looking proves nothing.
    pub fn grace(&mut self, now: Instant) {
        self.proof = Some(now);
        self.opened = Some(now);
        for speaker in self.by_node.values_mut() {
            speaker.start_anew(now);
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
        let held = self.by_node.get(node);
        if held.is_some_and(|held| held.spec == spec) {
            return false;
        }
        let unseen = held.is_none() && !self.complete;
        let mut speaker = Speaker {
            spec,
            seen: now,
            live: true,
            unseen,
        };
        speaker.live = !speaker.stopped();
        let state = (speaker.live, unseen);
        let before = self.by_node.insert(node.to_owned(), speaker);
        let before = before.map(|before| (before.live, before.unseen));
        before.unwrap_or((false, unseen)) != state
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
        // Whoever is unseen now is so for placement as well.
        let mut changed = gap;
        if gap {
            self.opened = Some(now);
        }
        for (node, speaker) in &mut self.by_node {
            if gap {
                speaker.start_anew(now);
            }
            let expired = now.duration_since(speaker.seen) >= speaker.patience();
            if speaker.live && expired {
                tracing::info!(node, "the speaker of a node says nothing any more");
                changed = true;
            }
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

    /// Feeds `script`, one letter a second: `o` our renewal comes back, `x` the speaker renews, `*` both, `.` nothing. Its
    /// Lease stands there before that if it was `found`. `L` it lives, `?` nobody has seen it, `-` it is dead.
    fn play(found: bool, script: &str) -> String {
        let start = mk_start();
        let mut speakers = Speakers::new("me");
        if found {
            speakers.observe(&mk_lease("portolan-speaker-a", "a", -1), start);
        }
        speakers.complete();
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
            states.push(match (speakers.live("a"), speakers.seen("a")) {
                (_, true) => 'L',
                (true, false) => '?',
                (false, false) => '-',
            });
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
                "LLLLLLLLLLLL??L",
            ),
            (
                "short outage, then it is dead",
                "*o...oooooooo",
                "LLLLLLLLLLL--",
            ),
        ] {
            assert_eq!(play(false, script), states, "{why}");
        }
    }

    #[test]
    fn a_speaker_that_nobody_has_seen_is_waited_for() {
        let (silent, unseen) = ("o".repeat(32), "?".repeat(30));
        for (why, found, script, states) in [
            (
                "there is no Lease",
                false,
                "ooo".to_owned(),
                "---".to_owned(),
            ),
            (
                "found, and dead",
                true,
                silent.clone(),
                format!("{unseen}--"),
            ),
            (
                "found, and starts late",
                true,
                format!("{}*oooooooo", "o".repeat(20)),
                format!("{}LLLLLL---", "?".repeat(20)),
            ),
            (
                "long outage, then it is dead",
                false,
                format!("*o.......{silent}"),
                format!("LLLLLLLLL{unseen}--"),
            ),
        ] {
            assert_eq!(play(found, &script), states, "{why}");
        }
    }

    #[test]
    fn whoever_was_seen_a_moment_before_a_term_begins_is_seen_in_it() {
        for (before, seen) in [(2, true), (5, true), (6, false), (60, false)] {
            let now = mk_start();
            let mut speakers = Speakers::new("me");
            speakers.observe(&mk_lease("portolan-speaker-a", "a", 1), now);
            speakers.complete();
            assert!(!speakers.seen("a"), "a Lease that was there tells nothing");
            assert!(speakers.observe(&mk_lease("portolan-speaker-a", "a", 2), now));
            speakers.grace(now + Duration::from_secs(before));
            assert_eq!(speakers.seen("a"), seen, "{before} s before");
            assert!(speakers.live("a"), "{before} s before");
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
