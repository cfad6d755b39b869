//! Spreads frames to everyone over time, so that a node that has to say much at once does not flood the switches' own
//! processors, which read every broadcast.

use std::time::{Duration, Instant};

/// At most [`PACE_BURST`] frames (or pairs of frames) in each [`PACE`]: 6400 a second, so that 400 addresses of a dead
/// node are all announced in 65 ms, and 5000 in less than a second.
pub const PACE: Duration = Duration::from_millis(5);
/// See [`PACE`].
pub const PACE_BURST: u32 = 32;

/// What was admitted in the present window.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since: Option<Instant>,
    sent: u32,
}

impl Pace {
    /// Whether one more may go now; it counts if so.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        match self.since {
            Some(since) if now.saturating_duration_since(since) < PACE => {
                let admitted = self.sent < PACE_BURST;
                self.sent += u32::from(admitted);
                admitted
            }
            _ => {
                (self.since, self.sent) = (Some(now), 1);
                true
            }
        }
    }

    /// When something that is due at `due` can go.
    pub(crate) fn not_before(&self, due: Instant) -> Instant {
        match self.since {
            Some(since) if self.sent >= PACE_BURST => due.max(since + PACE),
            _ => due,
        }
    }
}
