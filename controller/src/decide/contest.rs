//! Another program that writes the status of our Services: noticed, told, and not fought.
//!
//! A status that somebody changes once is written again: people make mistakes. Whoever does it [`LIMIT`] times within
//! [`WINDOW`] is a program, most likely another load balancer, and two programs that take turns would load the API server
//! and move traffic for ever. So we stop, say so, and try again after [`TRUCE`]. Our annotations and our condition are counted
//! apart: a program that writes the Service as it wants to have it strips them, and the addresses are served all the same.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::alloc::ServiceId;

/// How often somebody must write.
const LIMIT: usize = 3;
/// Within which time.
const WINDOW: Duration = Duration::from_secs(60);
/// How long we leave the status alone then.
const TRUCE: Duration = Duration::from_secs(600);
/// How often we try to say so: whoever writes the status may remove the condition as well.
const TELLINGS: u32 = 3;

/// Services whose status somebody else has written.
#[derive(Debug, Default)]
pub(super) struct Contests(HashMap<(ServiceId, Part), Contest>);

/// What somebody else writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Addresses in the status.
    Addresses,
    /// Our annotations.
    Annotations,
    /// Our condition.
    Condition,
}

#[derive(Debug, Default)]
struct Contest {
    /// When it was rewritten, the latest [`LIMIT`].
    rewrites: Vec<Instant>,
    /// What was found then, for the user.
    found: String,
    /// We leave the status alone until then.
    truce: Option<Instant>,
    told: u32,
}

impl Contests {
    /// Somebody has replaced what we wrote by something that can not stay. Returns whether a truce begins with that.
    pub(super) fn rewritten(
        &mut self,
        service: ServiceId,
        part: Part,
        found: &str,
        now: Instant,
    ) -> bool {
        let held = self.spares(service, part, now);
        let contest = self.0.entry((service, part)).or_default();
        // One more attempt is enough to see that nothing has changed.
        let again = contest.truce.is_some_and(|end| now < end + WINDOW);
        contest
            .rewrites
            .retain(|at| now.duration_since(*at) < WINDOW);
        contest.rewrites.push(now);
        if again || contest.rewrites.len() >= LIMIT {
            contest.truce = Some(now + TRUCE);
            found.clone_into(&mut contest.found);
            contest.told = 0;
        }
        !held && self.spares(service, part, now)
    }

    /// Whether a part is left as others write it now.
    pub(super) fn spares(&self, service: ServiceId, part: Part, now: Instant) -> bool {
        let contest = self.0.get(&(service, part));
        contest.is_some_and(|contest| contest.truce.is_some_and(|end| now < end))
    }

    /// What was found in the status of a Service that we leave alone now.
    pub(super) fn yields(&self, service: ServiceId, now: Instant) -> Option<&str> {
        let contest = self.0.get(&(service, Part::Addresses))?;
        let holds = contest.truce.is_some_and(|end| now < end);
        holds.then_some(contest.found.as_str())
    }

    /// The former leader left the status alone, and kept the addresses: so do we, for a while.
    pub(super) fn resume(&mut self, service: ServiceId, found: &str, now: Instant) {
        let contest = self.0.entry((service, Part::Addresses)).or_default();
        contest.truce = Some(now + TRUCE);
        found.clone_into(&mut contest.found);
    }

    /// Whether a truce holds, or ended a moment ago: then nobody knows yet whether the other program is gone.
    pub(super) fn is_tense(&self, service: ServiceId) -> bool {
        let contest = self.0.get(&(service, Part::Addresses));
        contest.is_some_and(|contest| contest.truce.is_some())
    }

    /// Whether the user may be told now.
    pub(super) fn may_tell(&mut self, service: ServiceId) -> bool {
        let Some(contest) = self.0.get_mut(&(service, Part::Addresses)) else {
            return false;
        };
        contest.told += 1;
        contest.told <= TELLINGS
    }

    /// The Services that are to be tried again. Those that were left in peace are forgotten, and told for the last time.
    pub(super) fn over(&mut self, now: Instant) -> Vec<ServiceId> {
        let truces = self
            .0
            .iter()
            .filter_map(|(id, contest)| Some((id.0, contest.truce?)));
        let over = truces.filter(|(_, end)| now >= *end);
        let over = over.map(|(id, _)| id).collect();
        self.0.retain(|_, contest| {
            let recent = |at: &Instant| now.duration_since(*at) < WINDOW;
            contest.truce.is_some_and(|end| now < end + WINDOW)
                || contest.rewrites.iter().any(recent)
        });
        over
    }

    /// When the next truce ends, or the time after it.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let ends = self.0.values().filter_map(|contest| contest.truce);
        let ends = ends.flat_map(|end| [end, end + WINDOW]);
        ends.filter(|end| *end > now).min()
    }

    pub(super) fn forget(&mut self, service: ServiceId) {
        for part in [Part::Addresses, Part::Annotations, Part::Condition] {
            self.0.remove(&(service, part));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many Services are left alone.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.0
            .keys()
            .filter(|(id, part)| *part == Part::Addresses && self.yields(*id, now).is_some())
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_corrected_and_a_program_is_left_alone_for_a_while() {
        let start = tokio::time::Instant::now().into_std();
        let service = ServiceId(1);
        let mut contests = Contests::default();
        let mut rewrite = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            contests.over(now);
            contests.rewritten(service, Part::Addresses, "10.9.9.9", now);
            contests.yields(service, now).is_some()
        };
        for (row, seconds, yields) in [
            ("a mistake", 0, false),
            ("another one", 30, false),
            ("another one much later", 80, false),
            ("three within a minute", 85, true),
            ("once is enough after the truce", 85 + 601, true),
            ("not after a long peace", 85 + 601 + 3600, false),
        ] {
            assert_eq!(rewrite(seconds), yields, "{row}");
        }
    }

    #[test]
    fn a_truce_ends_and_the_user_is_told_a_few_times_only() {
        let now = tokio::time::Instant::now().into_std();
        let service = ServiceId(1);
        let mut contests = Contests::default();
        for _ in 0..LIMIT {
            contests.rewritten(service, Part::Addresses, "10.9.9.9", now);
        }
        assert_eq!(contests.yields(service, now), Some("10.9.9.9"));
        let told = (0..10).filter(|_| contests.may_tell(service)).count();
        assert_eq!(told, 3);
        assert_eq!(contests.deadline(now), Some(now + TRUCE));
        assert_eq!(contests.over(now + TRUCE), [service]);
        assert_eq!(contests.yields(service, now + TRUCE), None);
    }
}
