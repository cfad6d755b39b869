//! The history of a session, for people: the machine's ring with times of day, across tasks.

use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use portolan_proto::bgp::session::{History, SessionState};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When; of several in a row, the last.
    pub at: Timestamp,
    /// Where the session stood after it.
    pub state: SessionState,
    /// What.
    pub event: String,
    /// Something went wrong.
    pub is_error: bool,
    /// How often in a row.
    pub times: u32,
}

/// Keeps the entries up to date with the machine.
#[derive(Debug)]
pub(super) struct Chronicle {
    /// From the tasks before.
    past: Arc<[Entry]>,
    /// The same moment on both clocks.
    start: (Instant, Timestamp),
    /// The newest record that was taken over.
    newest: Option<(Instant, u32)>,
}

impl Chronicle {
    pub(super) fn new(past: Arc<[Entry]>, now: Instant) -> Self {
        Self {
            past,
            start: (now, Timestamp::now()),
            newest: None,
        }
    }

    /// All entries, if there is a new one.
    pub(super) fn update(&mut self, history: &History) -> Option<Arc<[Entry]>> {
        let newest = history
            .iter()
            .last()
            .map(|record| (record.at, record.times));
        if newest == self.newest {
            return None;
        }
        self.newest = newest;
        let fresh = history.iter().map(|record| Entry {
            at: self.time_of(record.at),
            state: record.state,
            event: record.event.to_string(),
            is_error: record.event.is_error(),
            times: record.times,
        });
        let all: Vec<Entry> = self.past.iter().cloned().chain(fresh).collect();
        let surplus = all.len().saturating_sub(History::CAPACITY);
        Some(all.into_iter().skip(surplus).collect())
    }

    /// A record may be a little older than the chronicle.
    fn time_of(&self, at: Instant) -> Timestamp {
        let (begin, time) = self.start;
        let after = SignedDuration::try_from(at.saturating_duration_since(begin));
        after
            .ok()
            .and_then(|after| time.checked_add(after).ok())
            .unwrap_or(time)
    }
}
