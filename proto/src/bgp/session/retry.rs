//! When to try again.
//!
//! Three things pull: a router that was away must be found soon, a router that refuses us must not be hammered,
//! and a thousand nodes must not knock in step. So attempts to connect grow from 1 s to 15 s, refusals and faults
//! from 1 s to 60 s, a session that worked and was cut comes back at once, and everything is jittered. Attempts and
//! faults are counted apart: a router that was away for an hour and then says no once is asked again after 1 s.

use std::time::Duration;

use super::super::{Code, Notification};

/// How a connection ended, as far as the next attempt is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// No TCP connection came about.
    Unreachable,
    /// TCP went away without a word.
    Lost,
    /// It did so after our OPEN and before the session: perhaps because of what the OPEN says.
    Hung,
    /// We found a fault, or heard nothing for too long.
    Fault,
    /// The peer said why.
    Told(Notification),
}

/// First step of all back-offs.
const FIRST: Duration = Duration::from_secs(1);
/// A SYN every 15 s costs nothing, and a router that comes back is found quickly.
const CONNECT_CEILING: Duration = Duration::from_secs(15);
/// For everything that fails after TCP.
const FAULT_CEILING: Duration = Duration::from_secs(60);
/// After a working session was cut, or the operator reset it.
const AT_ONCE: Duration = Duration::from_millis(200);
/// After refusals that only an operator can lift, too many prefixes and a hold time that the peer does not like: at
/// least a minute, jitter included.
const UNTIL_CHANGED: Duration = Duration::from_secs(80);
/// A session that held this long has proved itself.
const PROVEN: Duration = Duration::from_secs(10);

/// The growing distance between attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// Attempts in a row without a TCP connection.
    unreachable: u32,
    /// Connections in a row that did not lead to a proven session.
    faults: u32,
}

impl Backoff {
    /// Forgets all failures.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Forgets attempts without a TCP connection; returns whether the last one was such.
    pub(super) fn reachable_again(&mut self) -> bool {
        std::mem::take(&mut self.unreachable) > 0
    }

    /// How long to wait now. `held` is how long the session was Established, if it was; `fixed` replaces the
    /// growing time between attempts to connect.
    pub(super) fn after(
        &mut self,
        ended: &Ended,
        held: Option<Duration>,
        fixed: Option<Duration>,
    ) -> Duration {
        let long = held.is_some_and(|held| held >= PROVEN);
        if long {
            self.reset();
        }
        let proven = held.is_some() && self.faults == 0;
        let grown = if *ended == Ended::Unreachable {
            grow(&mut self.unreachable)
        } else {
            self.unreachable = 0;
            grow(&mut self.faults)
        };
        match ended {
            Ended::Unreachable => fixed.unwrap_or(grown.min(CONNECT_CEILING)),
            Ended::Lost if proven => AT_ONCE,
            Ended::Lost | Ended::Hung | Ended::Fault => grown.min(FAULT_CEILING),
            Ended::Told(notification) => match notification.cause().code {
                Code::ADMINISTRATIVE_RESET | Code::CONFIGURATION_CHANGE if long => AT_ONCE,
                Code::MAXIMUM_PREFIXES | Code::UNACCEPTABLE_HOLD_TIME => UNTIL_CHANGED,
                _ => grown.min(FAULT_CEILING),
            },
        }
    }
}

/// The time that follows from `failures`, doubled by each; counts one more.
fn grow(failures: &mut u32) -> Duration {
    let grown = FIRST.saturating_mul(1 << (*failures).min(6));
    *failures = failures.saturating_add(1);
    grown
}

/// Random numbers from a seed (SplitMix64): good enough to keep nodes out of step, and repeatable in tests.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `time` shortened to a random part between 75 % and 100 % (RFC 4271 §10).
    pub(super) fn apply(&mut self, time: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let percent = u32::try_from(mixed % 26).unwrap_or(0);
        time * (75 + percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn failures_grow_to_their_ceilings() {
        for (ended, ceiling) in [
            (Ended::Unreachable, 15),
            (Ended::Hung, 60),
            (Ended::Fault, 60),
            (Ended::Lost, 60),
        ] {
            let mut backoff = Backoff::default();
            let waits: Vec<u64> = (0..8)
                .map(|_| backoff.after(&ended, None, None).as_secs())
                .collect();
            assert_eq!(waits[..4], [1, 2, 4, 8], "{ended:?}");
            assert_eq!(waits[7], ceiling, "{ended:?}");
        }
    }

    #[test]
    fn a_proven_session_comes_back_at_once_but_a_flapping_one_does_not() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.after(&Ended::Lost, Some(60 * SECOND), None),
            AT_ONCE
        );
        assert_eq!(backoff.after(&Ended::Lost, Some(SECOND), None), 2 * SECOND);
        assert_eq!(backoff.after(&Ended::Lost, Some(SECOND), None), 4 * SECOND);
        assert_eq!(
            backoff.after(&Ended::Lost, Some(60 * SECOND), None),
            AT_ONCE
        );
    }

    #[test]
    fn what_the_peer_says_decides() {
        for (code, want) in [
            (Code::ADMINISTRATIVE_RESET, AT_ONCE),
            (Code::MAXIMUM_PREFIXES, UNTIL_CHANGED),
            (Code::UNACCEPTABLE_HOLD_TIME, UNTIL_CHANGED),
            (Code::ADMINISTRATIVE_SHUTDOWN, SECOND),
            (Code::HOLD_TIMER_EXPIRED, SECOND),
        ] {
            let told = Ended::Told(code.bare());
            let got = Backoff::default().after(&told, Some(60 * SECOND), None);
            assert_eq!(got, want, "{code}");
        }
    }

    #[test]
    fn a_reset_of_a_young_session_is_not_followed_at_once() {
        let told = Ended::Told(Code::ADMINISTRATIVE_RESET.bare());
        let got = Backoff::default().after(&told, Some(SECOND), None);
        assert_eq!(got, SECOND);
    }

    #[test]
    fn a_configured_time_replaces_only_the_attempts_to_connect() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.after(&Ended::Unreachable, None, Some(3 * SECOND)),
            3 * SECOND
        );
        assert_eq!(backoff.after(&Ended::Fault, None, Some(3 * SECOND)), SECOND);
    }

    #[test]
    fn a_router_that_was_away_and_then_refuses_is_asked_again_soon() {
        let refused = Ended::Told(Code::BAD_PEER_AS.bare());
        let mut backoff = Backoff::default();
        let mut after = |ended: &Ended| backoff.after(ended, None, None).as_secs();
        let away: Vec<u64> = (0..6).map(|_| after(&Ended::Unreachable)).collect();
        assert_eq!(away, [1, 2, 4, 8, 15, 15]);
        assert_eq!([after(&refused), after(&refused)], [1, 2]);
        assert_eq!(after(&Ended::Unreachable), 1, "TCP was there in between");
        assert_eq!(after(&refused), 4, "it still refuses");
    }

    #[test]
    fn a_link_that_is_back_forgives_what_failed_for_want_of_it_and_no_refusal() {
        let mut backoff = Backoff::default();
        let refused = Ended::Told(Code::BAD_PEER_AS.bare());
        backoff.after(&refused, None, None);
        assert!(!backoff.reachable_again(), "refused");
        backoff.after(&Ended::Unreachable, None, None);
        assert!(backoff.reachable_again());
        assert_eq!(backoff.after(&refused, None, None).as_secs(), 2);
    }

    #[test]
    fn jitter_stays_between_three_quarters_and_one_and_differs() {
        let mut jitter = Jitter::new(1);
        let times: Vec<Duration> = (0..100).map(|_| jitter.apply(100 * SECOND)).collect();
        assert!(
            times
                .iter()
                .all(|time| (75..=100).contains(&time.as_secs())),
            "{times:?}"
        );
        assert!(times.iter().any(|time| *time != times[0]));
    }
}
