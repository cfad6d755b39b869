//! How often the peer may have everything again (RFC 2918).
//!
//! The first request is answered at once. More of them are answered together, after a second at the earliest and when
//! the peer has been quiet for a moment: one that asks twenty times in a row is served twice, and holds what it wanted
//! when it asked last.

use std::time::{Duration, Instant};

use super::super::Family;
use super::slot::{due, earliest};

/// The shortest time between two answers.
const PACE: Duration = Duration::from_secs(1);

/// An owed answer waits for so much quiet, but never longer than twice [`PACE`].
const QUIET: Duration = Duration::from_millis(300);

/// The requests of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Refreshes {
    v4: Requests,
    v6: Requests,
}

#[derive(Clone, Debug, Default)]
struct Requests {
    answered: Option<Instant>,
    /// When the next answer is due, if one is owed.
    owed: Option<Instant>,
}

impl Refreshes {
    /// The peer asks; it is owed an answer, perhaps at once.
    pub(super) fn ask(&mut self, family: Family, now: Instant) {
        let requests = self.requests(family);
        requests.owed = Some(match requests.answered {
            Some(at) if requests.owed.is_some() || now < at + PACE => {
                (now + QUIET).max(at + PACE).min(at + 2 * PACE)
            }
            Some(_) | None => now,
        });
    }

    /// Whether an answer is due now; it counts as given then.
    pub(super) fn answer(&mut self, family: Family, now: Instant) -> bool {
        let requests = self.requests(family);
        let answer = due(requests.owed, now);
        if answer {
            requests.owed = None;
            requests.answered = Some(now);
        }
        answer
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest([self.v4.owed, self.v6.owed])
    }

    const fn requests(&mut self, family: Family) -> &mut Requests {
        match family {
            Family::V4Unicast => &mut self.v4,
            Family::V6Unicast => &mut self.v6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mk_start;
    use super::*;

    #[test]
    fn twenty_requests_in_a_second_get_two_answers() {
        let start = mk_start();
        let mut refreshes = Refreshes::default();
        let mut answers = Vec::new();
        // A little slower than that, as sockets and schedulers are.
        for step in 0..=40 {
            let passed = step * PACE * 11 / 200;
            if step < 20 {
                refreshes.ask(Family::V4Unicast, start + passed);
            }
            if refreshes.answer(Family::V4Unicast, start + passed) {
                answers.push(passed);
            }
        }
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!(answers[0], Duration::ZERO);
        assert!(answers[1] <= 3 * PACE / 2, "{answers:?}");
        assert_eq!(refreshes.deadline(), None);
    }

    #[test]
    fn who_never_stops_asking_is_answered_every_two_seconds() {
        let start = mk_start();
        let mut refreshes = Refreshes::default();
        let answers = (0..1000u32).filter(|step| {
            let now = start + *step * PACE / 100;
            refreshes.ask(Family::V4Unicast, now);
            refreshes.answer(Family::V4Unicast, now)
        });
        assert_eq!(answers.count(), 5, "in ten seconds");
    }

    #[test]
    fn families_do_not_wait_for_each_other() {
        let now = mk_start();
        let mut refreshes = Refreshes::default();
        for family in Family::ALL {
            refreshes.ask(family, now);
            assert!(refreshes.answer(family, now), "{family}");
        }
        refreshes.ask(Family::V4Unicast, now);
        assert_eq!(refreshes.deadline(), Some(now + PACE));
    }
}
