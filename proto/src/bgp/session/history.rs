//! The last things that happened to a session, for status and bug reports.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Event, SessionState};

/// One event.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// Where the peer stood after it.
    pub state: SessionState,
    /// What.
    pub event: Event,
    /// How often in a row; `at` is the last time.
    pub times: u32,
}

/// A ring of the newest events.
#[derive(Clone, Debug, Default)]
pub struct History {
    ring: VecDeque<Record>,
}

impl History {
    /// How many events are kept.
    pub const CAPACITY: usize = 64;

    /// Notes an event; returns whether it is news, not the same as the one before. What a peer can say as often as it
    /// likes within one session is the same across other such events: it must not push out the rest.
    pub(super) fn push(&mut self, at: Instant, state: SessionState, event: Event) -> bool {
        let chatter = event.is_chatter();
        let passed = self
            .ring
            .iter()
            .rev()
            .take_while(|record| record.event != event && chatter && record.event.is_chatter());
        let newer = passed.count();
        let place = self.ring.len().checked_sub(newer + 1);
        let same = place.filter(|place| {
            let found = self.ring.get(*place);
            found.is_some_and(|record| record.event == event)
        });
        if let Some(mut record) = same.and_then(|place| self.ring.remove(place)) {
            record.at = at;
            record.state = state;
            record.times = record.times.saturating_add(1);
            self.ring.push_back(record);
            return false;
        }
        if self.ring.len() == Self::CAPACITY {
            self.ring.pop_front();
        }
        self.ring.push_back(Record {
            at,
            state,
            event,
            times: 1,
        });
        true
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.ring.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Family;
    use super::super::tests::mk_start;
    use super::*;

    #[test]
    fn who_asks_for_one_family_after_the_other_fills_two_places() {
        let mut history = History::default();
        let now = mk_start();
        let mut push = |event| history.push(now, SessionState::Established, event);
        assert!(push(Event::Established));
        let round = [
            Event::Refresh(Family::V4Unicast),
            Event::Refresh(Family::V6Unicast),
            Event::BrokenRoutes,
        ];
        for event in &round {
            assert!(push(event.clone()), "{event} is news");
        }
        for event in round.iter().cycle().take(3000) {
            assert!(!push(event.clone()), "{event} is no news");
        }
        assert!(push(Event::Established), "other events are");
        assert!(push(Event::BrokenRoutes), "and what follows them");
        let times: Vec<u32> = history.iter().map(|record| record.times).collect();
        assert_eq!(times, [1, 1001, 1001, 1001, 1, 1]);
    }
}
