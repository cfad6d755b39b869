//! What is on its way to the API server, and what has to rest after a failure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::write::{Failure, OUTSTANDING, Target};

/// Which targets must not be written to now, and why.
#[derive(Debug, Default)]
pub struct Ledger {
    states: HashMap<Target, State>,
    in_flight: usize,
}

#[derive(Debug)]
enum State {
    InFlight {
        failures: u32,
    },
    BackOff {
        until: Instant,
        failures: u32,
    },
    /// Its rest is over; only the count of failures is kept.
    Rested {
        failures: u32,
    },
}

impl Ledger {
    /// First wait after a failure; doubles with each further one.
    const FIRST: Duration = Duration::from_millis(100);
    /// Longest wait.
    const LAST: Duration = Duration::from_secs(10);

    /// Whether the target may be written to.
    #[must_use]
    pub fn is_free(&self, target: &Target, now: Instant) -> bool {
        match self.states.get(target) {
            None | Some(State::Rested { .. }) => true,
            Some(State::InFlight { .. }) => false,
            Some(State::BackOff { until, .. }) => now >= *until,
        }
    }

    /// How many more writes may begin.
    #[must_use]
    pub fn room(&self) -> usize {
        OUTSTANDING.saturating_sub(self.in_flight)
    }

    /// A write begins.
    pub fn begin(&mut self, target: Target) {
        let failures = match self.states.get(&target) {
            Some(State::BackOff { failures, .. } | State::Rested { failures }) => *failures,
            Some(State::InFlight { .. }) | None => 0,
        };
        self.states.insert(target, State::InFlight { failures });
        self.in_flight += 1;
    }

    /// A new term begins: nobody has to rest. What is on its way still comes back.
    pub fn rest_no_more(&mut self) {
        self.states
            .retain(|_, state| matches!(state, State::InFlight { .. }));
    }

    /// A write ended. After a failure the target rests for a while.
    pub fn end(&mut self, target: &Target, failure: Option<&Failure>, now: Instant) {
        let Some(State::InFlight { failures }) = self.states.remove(target) else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.states.len() > 4 * OUTSTANDING {
            // Targets that rested and were never written again: they are gone, most likely.
            self.states
                .retain(|_, state| !matches!(state, State::Rested { .. }));
        }
        // What is gone is written no more; but the SpeakerConfig is, for ever: without its CRD it is always gone.
        let rests = |f: &Failure| *f != Failure::Gone || *target == Target::Config;
        if failure.is_some_and(rests) {
            let wait = Self::FIRST
                .saturating_mul(1 << failures.min(10))
                .min(Self::LAST);
            let until = now + wait;
            let failures = failures.saturating_add(1);
            self.states
                .insert(target.clone(), State::BackOff { until, failures });
        }
    }

    /// Ends the rests that are over. Called before each decision; see [`Self::next_rest`].
    pub fn rise(&mut self, now: Instant) {
        for state in self.states.values_mut() {
            if let State::BackOff { until, failures } = state
                && *until <= now
            {
                *state = State::Rested {
                    failures: *failures,
                };
            }
        }
    }

    /// When the next target may be written to again. A moment that has passed since the last decision is reported as
    /// well: whoever waits for it must be decided now, not with the next event.
    #[must_use]
    pub fn next_rest(&self) -> Option<Instant> {
        let ends = self.states.values().filter_map(|state| match state {
            State::BackOff { until, .. } => Some(*until),
            State::InFlight { .. } | State::Rested { .. } => None,
        });
        ends.min()
    }
}

#[cfg(test)]
mod tests {
    use portolan_api::compile::Kind;

    use super::*;

    fn mk_target() -> Target {
        Target::Object(Kind::Pool, "p".to_owned())
    }

    #[test]
    fn a_target_rests_longer_after_each_failure_and_not_after_a_success() {
        let mut now = mk_start();
        let mut ledger = Ledger::default();
        for wait in [100, 200, 400] {
            ledger.begin(mk_target());
            assert!(!ledger.is_free(&mk_target(), now), "in flight");
            ledger.end(&mk_target(), Some(&Failure::TimedOut), now);
            let rest = Duration::from_millis(wait);
            assert!(
                !ledger.is_free(&mk_target(), now + rest.mul_f64(0.99)),
                "{wait}"
            );
            now += rest;
            assert_eq!(
                ledger.next_rest(),
                Some(now),
                "a moment that is reached still wakes"
            );
            ledger.rise(now);
            assert_eq!(ledger.next_rest(), None, "and only once");
            assert!(ledger.is_free(&mk_target(), now), "{wait}");
        }
        ledger.begin(mk_target());
        ledger.end(&mk_target(), None, now);
        assert!(ledger.is_free(&mk_target(), now));
        assert_eq!(ledger.next_rest(), None);
    }

    #[test]
    fn room_is_bounded_and_comes_back() {
        let now = mk_start();
        let mut ledger = Ledger::default();
        for index in 0..OUTSTANDING {
            ledger.begin(Target::Object(Kind::Pool, index.to_string()));
        }
        assert_eq!(ledger.room(), 0);
        ledger.end(&Target::Object(Kind::Pool, "7".to_owned()), None, now);
        assert_eq!(ledger.room(), 1);
    }

    fn mk_start() -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
