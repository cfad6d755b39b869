//! The control packet (RFC 5880 §4).
//!
//! ```text
//!   0                   1                   2                   3
//!   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!  +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//!  |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//!  +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//!  |                       My Discriminator                        |
//!  |                      Your Discriminator                       |
//!  |                 Desired Min TX Interval  (µs)                 |
//!  |                Required Min RX Interval  (µs)                 |
//!  |              Required Min Echo RX Interval  (µs)              |
//!  +---------------------------------------------------------------+
//!  |            authentication section, if A is set …              |
//! ```
//!
//! Decoding is a bounded walk over at most 52 bytes that can not panic and does not allocate. What it returns encodes to
//! the same bytes again, so that a digest can be checked on the value.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::auth::{Section, SectionError};
use crate::read::{Reader, Short};
use crate::write::Writer;

/// The only version there is (0 was a draft).
const VERSION: u8 = 1;
/// Length of a packet without authentication.
const LENGTH: u8 = 24;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// Session state (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Held down by somebody's decision; says nothing about the path.
    AdminDown,
    /// Nothing heard, or heard that the peer is down.
    #[default]
    Down,
    /// The peer is heard, and does not yet say that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a session was last brought down: a number of five bits (RFC 5880 §4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Diag(u8);

impl Diag {
    /// Nothing to tell.
    pub const NONE: Self = Self(0);
    /// No packet came for a detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// Our echo packets did not come back.
    pub const ECHO_FAILED: Self = Self(2);
    /// The peer said that it is down.
    pub const NEIGHBOR_DOWN: Self = Self(3);
    /// The forwarding plane was reset.
    pub const FORWARDING_PLANE_RESET: Self = Self(4);
    /// The path is known to be down by other means, for example the link.
    pub const PATH_DOWN: Self = Self(5);
    /// A path further on is down.
    pub const CONCATENATED_PATH_DOWN: Self = Self(6);
    /// By decision of an operator or of the program.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
    /// A path back is down.
    pub const REVERSE_CONCATENATED_PATH_DOWN: Self = Self(8);

    /// A diagnostic by its number; only five bits of it count.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number & 0x1f)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::NONE => "no diagnostic",
            Self::DETECTION_TIME_EXPIRED => "detection time expired",
            Self::ECHO_FAILED => "echo failed",
            Self::NEIGHBOR_DOWN => "neighbor signaled session down",
            Self::FORWARDING_PLANE_RESET => "forwarding plane reset",
            Self::PATH_DOWN => "path down",
            Self::CONCATENATED_PATH_DOWN => "concatenated path down",
            Self::ADMINISTRATIVELY_DOWN => "administratively down",
            Self::REVERSE_CONCATENATED_PATH_DOWN => "reverse concatenated path down",
            Self(number) => return write!(f, "diagnostic {number}"),
        })
    }
}

impl fmt::Debug for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0)
    }
}

/// What one side calls a session; unique on that side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Discriminator(NonZeroU32);

impl Discriminator {
    /// A discriminator; 0 is none.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// A time in microseconds, as packets carry it: at most 71 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u32);

impl Micros {
    /// That many milliseconds, or as many as fit.
    #[must_use]
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(milliseconds.saturating_mul(1000))
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0 as u64)
    }
}

/// A control packet.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of the header, one by one"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session was last brought down.
    pub diag: Diag,
    /// The sender's state.
    pub state: State,
    /// P: the sender wants an answer with F.
    pub poll: bool,
    /// F: the answer to P.
    pub is_final: bool,
    /// C: the sender's BFD goes on when its control plane restarts.
    pub control_plane_independent: bool,
    /// D: the sender wants us to stop sending periodically while both are up.
    pub demand: bool,
    /// Packets that may be missed.
    pub detect_multiplier: NonZeroU8,
    /// What the sender calls the session.
    pub my_discriminator: Discriminator,
    /// What the receiver calls it, if the sender knows.
    pub your_discriminator: Option<Discriminator>,
    /// Shortest time between two packets that the sender would like to send.
    pub desired_min_tx: Micros,
    /// Shortest time between two packets that the sender can receive; 0: none, please.
    pub required_min_rx: Micros,
    /// The same for echo packets; 0: none.
    pub required_min_echo_rx: Micros,
    /// Proof of who sent it.
    pub auth: Option<Section>,
}

/// Why a datagram is no control packet, in the order of RFC 5880 §6.8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error(transparent)]
    Short(#[from] Short),
    /// Another version of the protocol.
    #[error("version {0}")]
    Version(u8),
    /// The length field is impossible.
    #[error("length {0}")]
    Length(u8),
    /// Zero packets may be missed.
    #[error("detect multiplier 0")]
    Multiplier,
    /// The M bit is reserved for point-to-multipoint.
    #[error("multipoint bit")]
    Multipoint,
    /// The sender has no name for the session.
    #[error("my discriminator 0")]
    Discriminator,
    /// P and F at once.
    #[error("poll and final at once")]
    PollAndFinal,
    /// The authentication section is malformed.
    #[error("authentication section: {0}")]
    Section(#[from] SectionError),
}

impl Packet {
    /// Reads the payload of a UDP datagram. What follows the packet's own length is ignored.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let [first, flags, multiplier, length] = reader.array()?;
        if first >> 5 != VERSION {
            return Err(DecodeError::Version(first >> 5));
        }
        let rest = length
            .checked_sub(4)
            .filter(|_| length >= LENGTH)
            .ok_or(DecodeError::Length(length))?;
        let mut body = reader.within(usize::from(rest))?;
        let detect_multiplier = NonZeroU8::new(multiplier).ok_or(DecodeError::Multiplier)?;
        if flags & MULTIPOINT != 0 {
            return Err(DecodeError::Multipoint);
        }
        let mine = Discriminator::new(body.u32()?).ok_or(DecodeError::Discriminator)?;
        let (poll, is_final) = (flags & POLL != 0, flags & FINAL != 0);
        if poll && is_final {
            return Err(DecodeError::PollAndFinal);
        }
        Ok(Self {
            diag: Diag::new(first),
            state: State::from_bits(flags >> 6),
            poll,
            is_final,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            detect_multiplier,
            my_discriminator: mine,
            your_discriminator: Discriminator::new(body.u32()?),
            desired_min_tx: Micros(body.u32()?),
            required_min_rx: Micros(body.u32()?),
            required_min_echo_rx: Micros(body.u32()?),
            auth: if flags & AUTHENTICATION == 0 {
                None
            } else {
                Some(Section::decode(body)?)
            },
        })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let section = self.auth.as_ref().map_or(0, Section::length);
        let bits = [
            (POLL, self.poll),
            (FINAL, self.is_final),
            (CONTROL_PLANE_INDEPENDENT, self.control_plane_independent),
            (AUTHENTICATION, self.auth.is_some()),
            (DEMAND, self.demand),
        ];
        let flags = bits.iter().filter(|(_, set)| *set);
        let flags = flags.fold((self.state as u8) << 6, |flags, (bit, _)| flags | bit);
        let mut writer = Writer::new(out);
        writer.u8(VERSION << 5 | self.diag.number());
        writer.u8(flags);
        writer.u8(self.detect_multiplier.get());
        writer.u8(LENGTH + section);
        writer.u32(self.my_discriminator.get());
        writer.u32(self.your_discriminator.map_or(0, Discriminator::get));
        writer.u32(self.desired_min_tx.0);
        writer.u32(self.required_min_rx.0);
        writer.u32(self.required_min_echo_rx.0);
        if let Some(section) = &self.auth {
            section.encode(&mut writer);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An Up packet with P, multiplier 3, 300 ms both ways, as FRR sends it.
    pub(in crate::bfd) const GOLDEN: [u8; 24] = [
        0x20, 0xe0, 3, 24, 0, 0, 0, 7, 0, 0, 0, 9, 0, 4, 0x93, 0xe0, 0, 4, 0x93, 0xe0, 0, 0, 0, 0,
    ];

    pub(in crate::bfd) fn mk_packet() -> Packet {
        Packet {
            diag: Diag::NONE,
            state: State::Up,
            poll: true,
            is_final: false,
            control_plane_independent: false,
            demand: false,
            detect_multiplier: NonZeroU8::new(3).unwrap(),
            my_discriminator: Discriminator::new(7).unwrap(),
            your_discriminator: Discriminator::new(9),
            desired_min_tx: Micros::from_millis(300),
            required_min_rx: Micros::from_millis(300),
            required_min_echo_rx: Micros(0),
            auth: None,
        }
    }

    fn mk_bytes(packet: &Packet) -> Vec<u8> {
        let mut out = Vec::new();
        packet.encode(&mut out);
        out
    }

    #[test]
    fn the_golden_packet_reads_and_writes() {
        assert_eq!(Packet::decode(&GOLDEN), Ok(mk_packet()));
        assert_eq!(mk_bytes(&mk_packet()), GOLDEN);
    }

    #[test]
    fn every_fault_has_its_name() {
        let with = |at: usize, value: u8| {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] = value;
            bytes
        };
        for (name, bytes, want) in [
            ("nothing", vec![], DecodeError::Short(Short { missing: 4 })),
            ("version 0", with(0, 0), DecodeError::Version(0)),
            ("version 2", with(0, 0x40), DecodeError::Version(2)),
            ("length 23", with(3, 23), DecodeError::Length(23)),
            ("length 0", with(3, 0), DecodeError::Length(0)),
            (
                "longer than the datagram",
                with(3, 25),
                DecodeError::Short(Short { missing: 1 }),
            ),
            ("multiplier 0", with(2, 0), DecodeError::Multiplier),
            ("multipoint", with(1, 0xc1), DecodeError::Multipoint),
            ("no name", with(7, 0), DecodeError::Discriminator),
            ("poll and final", with(1, 0xf0), DecodeError::PollAndFinal),
            (
                "A without a section",
                with(1, 0xc4),
                DecodeError::Section(SectionError::Short(Short { missing: 2 })),
            ),
        ] {
            assert_eq!(Packet::decode(&bytes), Err(want), "{name}");
        }
    }

    #[test]
    fn what_follows_the_packet_is_ignored() {
        let mut bytes = GOLDEN.to_vec();
        bytes.extend([0xff; 30]);
        assert_eq!(Packet::decode(&bytes), Ok(mk_packet()));
        bytes[3] = 30;
        assert_eq!(
            Packet::decode(&bytes),
            Ok(mk_packet()),
            "inside its length too"
        );
    }

    #[test]
    fn diagnostics_have_words() {
        for number in 0..=0xff {
            let diag = Diag::new(number);
            assert!(diag.number() < 32);
            assert!(!diag.to_string().is_empty(), "{number}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_not_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _verdict = Packet::decode(&bytes);
        }

        /// The digest of a section covers the bytes; so no bit of a packet may be lost in its value.
        #[test]
        fn what_was_decoded_encodes_to_the_same_bytes(
            mut bytes in prop::collection::vec(any::<u8>(), 24..60), method in 1u8..=5, length in 0u8..=20,
            authentic: bool,
        ) {
            let section = match method {
                1 => 3 + length.clamp(1, 16),
                2 | 3 => 24,
                _ => 28,
            };
            let total = if authentic { 24 + section } else { 24 };
            bytes.resize(usize::from(total), 0x5a);
            bytes[0] = 0x20 | bytes[0] & 0x1f;
            bytes[1] = bytes[1] & 0xca | if authentic { 4 } else { 0 };
            bytes[2] = bytes[2].max(1);
            bytes[3] = total;
            bytes[4] = bytes[4].max(1);
            if authentic {
                bytes[24] = method;
                bytes[25] = section;
            }
            let packet = Packet::decode(&bytes).unwrap();
            prop_assert_eq!(mk_bytes(&packet), bytes);
        }
    }
}
