//! Takes each datagram of a sender once.

use std::time::{Duration, Instant};

/// How far a datagram may be overtaken by later ones and still be taken: the parts of a few statements.
const WIDTH: u64 = 64;

/// Silence after which a process that seems older than the last one is believed: a clock was set back before a restart, and
/// its node must not stay unheard for ever. Whoever replays a datagram later than this gains what the sender said then,
/// until the sender speaks.
pub const FORGET: Duration = Duration::from_secs(5);

/// What was taken of one sender on one segment: IPv4 and IPv6 carry the same datagrams, and neither order nor number is
/// guaranteed.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Process, highest sequence, and which of those below it were taken: bit 0 is the highest itself.
    last: Option<(u64, u64, u64)>,
    heard: Option<Instant>,
}

impl Window {
    /// Whether the datagram is new; then it is remembered.
    pub fn take(&mut self, boot: u64, sequence: u64, now: Instant) -> bool {
        let taken = self.advance(boot, sequence, now);
        if let Some(last) = taken {
            self.last = Some(last);
            self.heard = Some(now);
        }
        taken.is_some()
    }

    fn advance(&self, boot: u64, sequence: u64, now: Instant) -> Option<(u64, u64, u64)> {
        let fresh = Some((boot, sequence, 1));
        let Some((process, highest, seen)) = self.last else {
            return fresh;
        };
        if boot > process {
            return fresh;
        }
        if boot < process {
            let silent = self
                .heard
                .is_none_or(|heard| now.saturating_duration_since(heard) > FORGET);
            return if silent { fresh } else { None };
        }
        if let Some(ahead) = sequence.checked_sub(highest).filter(|ahead| *ahead > 0) {
            let shifted = u32::try_from(ahead)
                .ok()
                .and_then(|by| seen.checked_shl(by));
            return Some((boot, sequence, shifted.unwrap_or(0) | 1));
        }
        let behind = highest - sequence;
        let bit = 1 << behind.min(WIDTH - 1);
        (behind < WIDTH && seen & bit == 0).then_some((boot, highest, seen | bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn mk_now() -> Instant {
        Instant::now()
    }

    #[test]
    fn each_datagram_is_taken_once_even_out_of_order() {
        let now = mk_now();
        let mut window = Window::default();
        let table = [
            (1, 10, true),
            (1, 10, false),
            (1, 12, true),
            (1, 11, true),
            (1, 11, false),
            (1, 12, false),
            (1, 200, true),
            (1, 137, true),
            (1, 136, false),
            (1, 10, false),
            (0, 900, false),
            (2, 1, true),
            (1, 201, false),
            (2, u64::MAX, true),
            (2, u64::MAX, false),
            (2, 1, false),
        ];
        for (row, (boot, sequence, expected)) in table.into_iter().enumerate() {
            assert_eq!(
                window.take(boot, sequence, now),
                expected,
                "row {row}: {boot} {sequence}"
            );
        }
    }

    #[test]
    fn a_clock_that_was_set_back_silences_a_node_for_seconds_only() {
        let now = mk_now();
        let mut window = Window::default();
        assert!(window.take(7, 1, now));
        assert!(!window.take(6, 1, now + FORGET));
        let later = now + FORGET + Duration::from_millis(1);
        assert!(window.take(6, 1, later));
        assert!(!window.take(6, 1, later), "again");
        assert!(window.take(6, 2, later));
    }
}
