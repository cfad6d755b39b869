//! How much of a session goes to the log: what a person can read, whatever the peer does.
//!
//! A peer that connects and leaves a thousand times a second has a thousand reasons for a line. The first ones are
//! written, then one a second, with the number of those that were not.

use std::time::{Duration, Instant};

/// Lines that may come at once: two sessions from their begin to their end.
const BURST: u32 = 32;
/// Time for one more.
const PACE: Duration = Duration::from_secs(1);

/// What one session may still write.
#[derive(Debug)]
pub(super) struct Diary {
    room: u32,
    /// Until when `room` is worked out.
    counted: Instant,
    skipped: u64,
}

impl Diary {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            room: BURST,
            counted: now,
            skipped: 0,
        }
    }

    /// Asks for a line: `None` if there is no room for it, else how many were skipped before it.
    pub(super) fn line(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.counted);
        let more = u32::try_from(passed.as_secs() / PACE.as_secs()).unwrap_or(u32::MAX);
        if more > 0 {
            self.counted += PACE * more;
        }
        self.room = self.room.saturating_add(more).min(BURST);
        if self.room == 0 {
            self.skipped += 1;
            return None;
        }
        self.room -= 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_burst_and_then_one_line_a_second() {
        let start = tokio::time::Instant::now().into_std();
        let mut diary = Diary::new(start);
        let mut written = 0;
        // A thousand a second, for ten seconds.
        for step in 0..10_000 {
            let line = diary.line(start + PACE * step / 1000);
            written += u32::from(line.is_some());
        }
        assert_eq!(written, BURST + 9);
        let later = diary.line(start + 60 * PACE);
        assert!(later.is_some_and(|skipped| skipped > 900), "{later:?}");
        assert_eq!(diary.line(start + 60 * PACE), Some(0));
    }
}
