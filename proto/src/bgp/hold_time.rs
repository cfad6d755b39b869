//! The hold time and the keepalive interval that follows from it (RFC 4271 §4.2, §4.4, §10).

use std::fmt;
use std::time::Duration;

/// A hold time in whole seconds: 0 (both timers off) or at least 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldTime(u16);

/// Why a number of seconds is not a hold time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldTimeError {
    /// 1 and 2 are illegal (RFC 4271 §4.2).
    #[error("a hold time of {0} s is not allowed: it is 0 or at least 3 s (RFC 4271)")]
    TooShort(u16),
    /// The field has 16 bits.
    #[error("a hold time of {0} s does not fit: it is at most 65535 s")]
    TooLong(u64),
}

/// Shortest send hold time. RFC 9687 says 8 min; a router whose window is shut for that long holds stale routes, so
/// the choice here is that of `OpenBGPD`.
const SEND_HOLD: Duration = Duration::from_secs(90);

impl HoldTime {
    /// What RFC 4271 §10 suggests.
    pub const DEFAULT: Self = Self(90);

    /// Accepts 0 and everything from 3 on.
    pub const fn new(seconds: u16) -> Result<Self, HoldTimeError> {
        match seconds {
            1 | 2 => Err(HoldTimeError::TooShort(seconds)),
            legal => Ok(Self(legal)),
        }
    }

    /// The value of the OPEN's field.
    #[must_use]
    pub const fn seconds(self) -> u16 {
        self.0
    }

    /// How long silence is endured; `None` for ever.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(u64::from(self.0)))
    }

    /// What both sides use: the smaller, and 0 if either says 0 (RFC 4271 §4.2).
    #[must_use]
    pub fn negotiate(self, theirs: Self) -> Self {
        self.min(theirs)
    }

    /// How long output may wait without moving (RFC 9687): twice the hold time, at least 90 s, which also holds
    /// when the hold time is 0.
    #[must_use]
    pub fn send_hold(self) -> Duration {
        (self.duration().unwrap_or_default() * 2).max(SEND_HOLD)
    }

    /// A third of the hold time, at least a second; `None` if keepalives are off.
    #[must_use]
    pub fn keepalive(self) -> Option<Duration> {
        self.duration()
            .map(|hold| (hold / 3).max(Duration::from_secs(1)))
    }
}

impl Default for HoldTime {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<Duration> for HoldTime {
    type Error = HoldTimeError;

    /// Parts of a second are cut off.
    fn try_from(duration: Duration) -> Result<Self, HoldTimeError> {
        let seconds = duration.as_secs();
        Self::new(u16::try_from(seconds).map_err(|_| HoldTimeError::TooLong(seconds))?)
    }
}

impl fmt::Display for HoldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_seconds_cannot_be_written() {
        for (seconds, legal) in [(0, true), (1, false), (2, false), (3, true), (65535, true)] {
            assert_eq!(HoldTime::new(seconds).is_ok(), legal, "{seconds} s");
        }
        assert_eq!(
            HoldTime::try_from(Duration::from_secs(70_000)),
            Err(HoldTimeError::TooLong(70_000))
        );
    }

    #[test]
    fn the_smaller_wins_and_zero_switches_the_timers_off() {
        let hold = |seconds| HoldTime::new(seconds).unwrap();
        assert_eq!(hold(90).negotiate(hold(9)), hold(9));
        assert_eq!(hold(90).negotiate(hold(0)).keepalive(), None);
        assert_eq!(hold(3).keepalive(), Some(Duration::from_secs(1)));
        assert_eq!(hold(4).keepalive(), Some(Duration::from_secs(4) / 3));
    }

    #[test]
    fn output_may_wait_twice_the_hold_time_and_never_less_than_90_seconds() {
        for (seconds, want) in [(0, 90), (9, 90), (45, 90), (90, 180), (65535, 131_070)] {
            let send_hold = HoldTime::new(seconds).unwrap().send_hold();
            assert_eq!(send_hold.as_secs(), want, "{seconds} s");
        }
    }
}
