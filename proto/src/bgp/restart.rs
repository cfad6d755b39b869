//! What a speaker says about its own restart: capabilities 64 and 71 (RFC 4724 §3, RFC 8538 §2, RFC 9494 §4.1).
//!
//! ```text
//! 64: | R N 0 0 | restart time (12 bits) | AFI (2), SAFI, flags: F 0x80 | ...
//! 71: | AFI (2), SAFI, flags: F 0x80, stale time (24 bits) | ...
//! ```

use super::family::UNICAST;
use super::{Families, Family};
use crate::read::Reader;
use crate::write::Writer;

/// R: the speaker has just restarted.
const RESTARTED: u16 = 0x8000;
/// N: NOTIFICATIONs keep routes too, unless they say Hard Reset.
const NOTIFICATION: u16 = 0x4000;
/// F, per family: traffic was forwarded all the while.
const FORWARDING: u8 = 0x80;

/// The content of capability 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// Bit R: this is the first OPEN after a restart.
    pub restarted: bool,
    /// Bit N: NOTIFICATIONs keep routes too (RFC 8538).
    pub notification: bool,
    /// How long to wait for a new session, in seconds; 12 bits.
    pub time: u16,
    /// The families whose routes are to be kept.
    pub families: Families,
    /// Those of them whose forwarding went on (bit F).
    pub forwarding: Families,
}

/// The content of capability 71.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongLived {
    /// How long stale routes are a last resort, in seconds; 24 bits.
    pub time: u32,
    /// The families that it is about.
    pub families: Families,
    /// Those of them whose forwarding went on (bit F).
    pub forwarding: Families,
}

impl Restart {
    /// The longest time that fits.
    pub const MAX_TIME: u16 = 0x0fff;

    pub(super) fn encode(self, writer: &mut Writer<'_>) {
        let mut head = self.time.min(Self::MAX_TIME);
        if self.restarted {
            head |= RESTARTED;
        }
        if self.notification {
            head |= NOTIFICATION;
        }
        writer.u16(head);
        for family in self.families.iter() {
            writer.u16(family.afi());
            writer.bytes(&[UNICAST, forwarding(self.forwarding.has(family))]);
        }
    }

    /// `None` for a value of impossible length.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let head = reader.u16().ok()?;
        let mut restart = Self {
            restarted: head & RESTARTED != 0,
            notification: head & NOTIFICATION != 0,
            time: head & Self::MAX_TIME,
            ..Self::default()
        };
        while !reader.is_empty() {
            let (afi, safi) = (reader.u16().ok()?, reader.u8().ok()?);
            let flags = reader.u8().ok()?;
            let Some(family) = Family::from_wire(afi, safi) else {
                continue;
            };
            restart.families = restart.families.with(family);
            if flags & FORWARDING != 0 {
                restart.forwarding = restart.forwarding.with(family);
            }
        }
        Some(restart)
    }
}

impl LongLived {
    /// The longest time that fits.
    pub const MAX_TIME: u32 = 0x00ff_ffff;

    pub(super) fn encode(self, writer: &mut Writer<'_>) {
        let [_, high, middle, low] = self.time.min(Self::MAX_TIME).to_be_bytes();
        for family in self.families.iter() {
            let flags = forwarding(self.forwarding.has(family));
            writer.u16(family.afi());
            writer.bytes(&[UNICAST, flags, high, middle, low]);
        }
    }

    /// `None` for a value of impossible length. Of unequal times the longest counts.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let mut long = Self::default();
        while !reader.is_empty() {
            let (afi, safi) = (reader.u16().ok()?, reader.u8().ok()?);
            let [flags, high, middle, low] = reader.array().ok()?;
            let Some(family) = Family::from_wire(afi, safi) else {
                continue;
            };
            long.time = long.time.max(u32::from_be_bytes([0, high, middle, low]));
            long.families = long.families.with(family);
            if flags & FORWARDING != 0 {
                long.forwarding = long.forwarding.with(family);
            }
        }
        Some(long)
    }
}

const fn forwarding(on: bool) -> u8 {
    if on { FORWARDING } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_capability_has_golden_bytes_in_both_directions() {
        let both = Families::only(Family::V4Unicast).with(Family::V6Unicast);
        for (name, bytes, restart) in [
            (
                "restarted, forwarding",
                &[0xc0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0x80][..],
                Restart {
                    restarted: true,
                    notification: true,
                    time: 120,
                    families: both,
                    forwarding: both,
                },
            ),
            (
                "longest time, rebooted",
                &[0x4f, 0xff, 0, 1, 1, 0],
                Restart {
                    notification: true,
                    time: 4095,
                    families: Families::only(Family::V4Unicast),
                    ..Restart::default()
                },
            ),
            ("a mere helper", &[0, 0], Restart::default()),
        ] {
            let mut out = Vec::new();
            restart.encode(&mut Writer::new(&mut out));
            assert_eq!(out, bytes, "{name}");
            assert_eq!(Restart::decode(bytes), Some(restart), "{name}");
        }
    }

    #[test]
    fn a_long_lived_capability_has_golden_bytes_in_both_directions() {
        let v6 = Families::only(Family::V6Unicast);
        let long = LongLived {
            time: 86_400,
            families: v6,
            forwarding: v6,
        };
        let bytes = [0, 2, 1, 0x80, 1, 0x51, 0x80];
        let mut out = Vec::new();
        long.encode(&mut Writer::new(&mut out));
        assert_eq!(out, bytes);
        assert_eq!(LongLived::decode(&bytes), Some(long));
    }

    #[test]
    fn impossible_lengths_and_foreign_families_are_told_apart() {
        for bytes in [&[][..], &[0], &[0, 1, 0], &[0, 1, 0, 1, 1]] {
            assert_eq!(Restart::decode(bytes), None, "{bytes:?}");
        }
        let foreign = Restart::decode(&[0, 1, 0, 25, 70, 0x80]).unwrap();
        assert_eq!((foreign.time, foreign.families), (1, Families::NONE));
        assert_eq!(LongLived::decode(&[0, 1, 1, 0, 0, 0]), None);
    }
}
