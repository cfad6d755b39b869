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

    /// Notes an event; returns whether it is news, not the same as the one before.
    pub(super) fn push(&mut self, at: Instant, state: SessionState, event: Event) -> bool {
        if let Some(last) = self.ring.back_mut().filter(|last| last.event == event) {
            last.at = at;
            last.state = state;
            last.times = last.times.saturating_add(1);
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
