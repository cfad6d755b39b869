//! Who is there? Asked when a term begins, before anything is placed that is not placed yet.
//!
//! ```text
//! term begins      first speaker                                       over: every node has one that reported,
//! ├────────────────┼────────┼──────┼─────────────┤                     or nobody more came for 3 s,
//!                           second third         + 3 s                 or 15 s have passed since the first
//! ```
//!
//! Placements are sticky. Whoever placed a fresh cluster on the first node that speaks would leave everything there for
//! ever, and likewise after a power cut. Addresses are given at once all the same: only who answers is open for a moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_api::condition::Verdict;

use super::Core;
use crate::alloc::ServiceId;
use crate::place::Seat;

/// Time without another speaker after which those who are there are taken for all.
const QUIET: Duration = Duration::from_secs(3);
/// The longest that anybody waits from the first speaker on.
const LIMIT: Duration = Duration::from_secs(15);

/// Said of a Service that waits.
const WAITS: &str = "no node answers for it on layer 2 yet: it is placed when the speakers of all nodes are there, or at the \
    latest 15 s after the first one";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Muster {
    /// When our eyes were opened for it.
    opened: Option<Instant>,
    over: bool,
    /// Nodes whose speakers came.
    came: BTreeSet<String>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What can be seen of speakers on nodes that may announce.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// When our eyes were opened.
    opened: Option<Instant>,
    /// Nodes with a speaker that is there.
    there: BTreeSet<String>,
    /// How many more there are, or have not reported yet.
    missing: usize,
}

impl Muster {
    /// Takes in who is there. It begins anew when our eyes are opened anew, and when nobody is there.
    fn call(&mut self, roll: Roll, now: Instant) {
        if roll.there.is_empty() || self.opened != roll.opened {
            *self = Self {
                opened: roll.opened,
                ..Self::default()
            };
        }
        if self.over || roll.there.is_empty() {
            return;
        }
        if !roll.there.is_subset(&self.came) {
            self.first.get_or_insert(now);
            self.last = Some(now);
            self.came.extend(roll.there);
        }
        self.over = roll.missing == 0 || self.deadline().is_some_and(|due| due <= now);
    }

    /// When it is over at the latest if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (first, last) = self.first.zip(self.last).filter(|_| !self.over)?;
        Some((last + QUIET).min(first + LIMIT))
    }
}

impl Core {
    /// Looks who is there. When that is known, everybody who waited for it is placed.
    pub(super) fn call_the_roll(&mut self, now: Instant) {
        let was_over = self.muster.over;
        if was_over && !self.model.dirty.all_services {
            return;
        }
        self.muster.call(self.roll(), now);
        if self.muster.over && !was_over {
            self.model.dirty.all_services = true;
        }
    }

    fn roll(&self) -> Roll {
        let (speakers, rules) = (&self.model.speakers, &self.config.l2);
        let nodes = self.model.nodes.iter();
        let may = nodes.filter(|(_, node)| {
            !node.excluded && rules.iter().any(|rule| rule.is_on(&node.labels))
        });
        let mut roll = Roll {
            opened: speakers.opened(),
            ..Roll::default()
        };
        for (name, _) in may {
            let is_there = speakers.seen(name);
            if is_there {
                roll.there.insert(name.clone());
            }
            roll.missing += usize::from(!is_there || self.model.reports.links(name).is_none());
        }
        roll
    }

    /// Whether a group has to wait until it is known who is there: it is not placed yet, or the speaker of a node that it
    /// is placed on may be about to come.
    pub(super) fn awaits(&self, seat: &Seat) -> bool {
        let here = |node: &Arc<str>| self.model.speakers.live(node);
        !self.muster.over && (seat.nodes.is_empty() || !seat.nodes.iter().all(here))
    }

    /// Says that a Service waits for a node, if it does.
    pub(super) fn mention_muster(&self, id: ServiceId, mut verdict: Verdict) -> Verdict {
        let seat = self.board.of(id).and_then(|seat| self.board.get(seat));
        let waits = seat.is_some_and(|seat| seat.nodes.is_empty() && self.awaits(seat));
        if waits && self.is_served(id) {
            verdict.message = format!("{}; {WAITS}", verdict.message);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays one letter a second: so many speakers are there, of `all`; with `*` one is, and our eyes are opened anew.
    /// Returns for each second whether the muster is over.
    fn play(all: usize, script: &str) -> String {
        let start = tokio::time::Instant::now().into_std();
        let mut muster = Muster::default();
        let mut opened = start;
        let seconds = script.chars().enumerate();
        let states = seconds.map(|(second, letter)| {
            let now = start + Duration::from_secs(second as u64);
            if letter == '*' {
                opened = now;
            }
            let there = letter.to_digit(10).unwrap_or(1) as usize;
            let roll = Roll {
                opened: Some(opened),
                there: (0..there).map(|node| format!("n{node}")).collect(),
                missing: all - there,
            };
            muster.call(roll, now);
            if muster.over { 'o' } else { '.' }
        });
        states.collect()
    }

    #[test]
    fn it_is_over_when_all_are_there_or_nobody_more_comes() {
        for (why, all, script, states) in [
            ("all are there", 3, "33", "oo"),
            ("one after the other", 3, "11223", "....o"),
            ("one never comes", 3, "12222", "....o"),
            ("nobody for a long time", 2, "00000001111", "..........o"),
            ("it stays over", 3, "3311111", "ooooooo"),
            ("all go", 3, "3001111", "o.....o"),
            (
                "a whole cluster, slowly",
                9,
                "11223344556677889",
                "...............oo",
            ),
            ("our eyes are opened anew", 2, "22*1111", "oo...oo"),
        ] {
            assert_eq!(play(all, script), states, "{why}");
        }
    }
}
