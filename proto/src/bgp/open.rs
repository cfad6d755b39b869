//! OPEN: who the two sides are and what they can do (RFC 4271 §4.2, RFC 5492, RFC 9072).
//!
//! ```text
//! | version 4 | my AS (2) | hold time (2) | identifier (4) | length (1) | parameters: type, length, value ...
//! extended:                                                | 255 | 255 | length (2) | type, length (2), value ...
//! ```
//!
//! An [`Open`] is what was on the wire, legal or not; `session::validate_open` is the judge.

use super::frame::{Kind, begin};
use super::{Asn, Capabilities, Code, HoldTime, Notification, RouterId};
use crate::read::{Reader, Short};
use crate::write::Writer;

const VERSION: u8 = 4;
/// Parameter type "capabilities" (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// Length and type that announce the extended form (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// The content of an OPEN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The two-octet field; [`Asn::TRANS`] stands for anything larger.
    pub my_as: u16,
    /// Hold time in seconds, unjudged.
    pub hold_time: u16,
    /// BGP identifier, unjudged.
    pub identifier: u32,
    /// All capabilities of all parameters.
    pub capabilities: Capabilities,
}

/// An OPEN that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not version 4; nothing behind it can be trusted.
    #[error("BGP version {0}")]
    Version(u8),
    /// A length points outside.
    #[error("structure broken: {0}")]
    Structure(#[from] Short),
    /// Bytes behind the parameters.
    #[error("{0} bytes behind the optional parameters")]
    Trailing(usize),
    /// A parameter type that RFC 5492 does not know.
    #[error("optional parameter of type {0}")]
    Parameter(u8),
}

impl OpenError {
    /// What to answer.
    #[must_use]
    pub fn notification(self) -> Notification {
        match self {
            Self::Version(_) => Code::UNSUPPORTED_VERSION.with(&u16::from(VERSION).to_be_bytes()),
            Self::Structure(_) | Self::Trailing(_) => Code::OPEN_UNSPECIFIC.bare(),
            Self::Parameter(_) => Code::UNSUPPORTED_OPTIONAL_PARAMETER.bare(),
        }
    }
}

impl Open {
    /// What we say about ourselves.
    #[must_use]
    pub fn ours(asn: Asn, hold: HoldTime, id: RouterId, capabilities: Capabilities) -> Self {
        Self {
            my_as: asn.two_byte_or_trans(),
            hold_time: hold.seconds(),
            identifier: id.get(),
            capabilities,
        }
    }

    /// Appends the message, with all capabilities in one parameter: some routers read only the first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut capabilities = Vec::new();
        self.capabilities
            .encode(&mut Writer::new(&mut capabilities));

        let mut writer = Writer::new(out);
        let length = begin(&mut writer, Kind::Open);
        writer.u8(VERSION);
        writer.u16(self.my_as);
        writer.u16(self.hold_time);
        writer.u32(self.identifier);
        match u8::try_from(capabilities.len()) {
            Ok(0) => writer.u8(0),
            // 253 and its two octets of header make 255, which would announce the extended form.
            Ok(short @ ..=252) => {
                writer.bytes(&[short + 2, CAPABILITIES, short]);
                writer.bytes(&capabilities);
            }
            Ok(_) | Err(_) => {
                writer.bytes(&[EXTENDED, EXTENDED]);
                let parameters = writer.hole();
                writer.u8(CAPABILITIES);
                let value = writer.hole();
                writer.bytes(&capabilities);
                writer.fill(&value);
                writer.fill(&parameters);
            }
        }
        writer.fill(&length);
    }

    /// Reads the body of a message.
    pub fn decode(body: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(body);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let my_as = reader.u16()?;
        let hold_time = reader.u16()?;
        let identifier = reader.u32()?;
        let capabilities = parameters(&mut reader)?;
        if !reader.is_empty() {
            return Err(OpenError::Trailing(reader.remaining()));
        }
        Ok(Self {
            my_as,
            hold_time,
            identifier,
            capabilities,
        })
    }
}

fn parameters(reader: &mut Reader<'_>) -> Result<Capabilities, OpenError> {
    let length = reader.u8()?;
    // RFC 9072 §2: the type octet decides, not the length. Some send 255 ordinary bytes.
    let extended = length != 0 && reader.rest().first() == Some(&EXTENDED);
    let mut block = if extended {
        reader.u8()?;
        let length = reader.u16()?;
        reader.within(usize::from(length))?
    } else {
        reader.within(usize::from(length))?
    };
    let mut capabilities = Capabilities::default();
    while !block.is_empty() {
        let kind = block.u8()?;
        let length = if extended {
            usize::from(block.u16()?)
        } else {
            usize::from(block.u8()?)
        };
        let value = block.within(length)?;
        if kind != CAPABILITIES {
            return Err(OpenError::Parameter(kind));
        }
        capabilities.decode(value)?;
    }
    Ok(capabilities)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Families, Family, HEADER};
    use super::*;

    const GOLDEN: &[u8] = &[
        4, 0x5b, 0xa0, 0, 90, 10, 0, 0, 1, 22, 2, 20, // AS_TRANS, 90 s, 10.0.0.1
        1, 4, 0, 1, 0, 1, // IPv4 unicast
        1, 4, 0, 2, 0, 1, // IPv6 unicast
        2, 0, // route refresh
        65, 4, 0xfa, 0x56, 0xea, 0x01, // AS 4200000001
    ];

    fn mk_open() -> Open {
        Open::ours(
            Asn::new(4_200_000_001).unwrap(),
            HoldTime::DEFAULT,
            "10.0.0.1".parse().unwrap(),
            Capabilities {
                multiprotocol: Some(Families::only(Family::V4Unicast).with(Family::V6Unicast)),
                route_refresh: true,
                four_octet_as: Some(4_200_000_001),
                ..Capabilities::default()
            },
        )
    }

    fn body(open: &Open) -> Vec<u8> {
        let mut out = Vec::new();
        open.encode(&mut out);
        out.split_off(HEADER)
    }

    fn with_parameters(parameters: &[u8]) -> Vec<u8> {
        let mut bytes = GOLDEN[..9].to_vec();
        bytes.extend(parameters);
        bytes
    }

    #[test]
    fn golden_bytes_hold_in_both_directions() {
        assert_eq!(body(&mk_open()), GOLDEN);
        assert_eq!(Open::decode(GOLDEN), Ok(mk_open()));
    }

    #[test]
    fn faults_get_their_own_answers() {
        let mut version = GOLDEN.to_vec();
        version[0] = 3;
        for (name, bytes, want) in [
            (
                "version 3",
                version,
                Code::UNSUPPORTED_VERSION.with(&[0, 4]),
            ),
            (
                "block beyond body",
                with_parameters(&[4, 2, 0]),
                Code::OPEN_UNSPECIFIC.bare(),
            ),
            (
                "bytes after",
                with_parameters(&[0, 1]),
                Code::OPEN_UNSPECIFIC.bare(),
            ),
            (
                "parameter overruns",
                with_parameters(&[2, 2, 1]),
                Code::OPEN_UNSPECIFIC.bare(),
            ),
            (
                "capability overruns",
                with_parameters(&[4, 2, 2, 1, 9]),
                Code::OPEN_UNSPECIFIC.bare(),
            ),
            (
                "authentication parameter",
                with_parameters(&[3, 1, 1, 0]),
                Code::UNSUPPORTED_OPTIONAL_PARAMETER.bare(),
            ),
        ] {
            assert_eq!(
                Open::decode(&bytes).unwrap_err().notification(),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn every_way_to_pack_capabilities_is_read() {
        let refresh = Capabilities {
            route_refresh: true,
            ..Capabilities::default()
        };
        let both = Capabilities {
            four_octet_as: Some(7),
            ..refresh.clone()
        };
        for (name, parameters, want) in [
            ("none", &[0][..], Capabilities::default()),
            (
                "one each",
                &[12, 2, 2, 2, 0, 2, 6, 65, 4, 0, 0, 0, 7],
                both.clone(),
            ),
            (
                "extended",
                &[255, 255, 0, 11, 2, 0, 8, 2, 0, 65, 4, 0, 0, 0, 7],
                both,
            ),
            (
                "extended, odd length octet",
                &[9, 255, 0, 5, 2, 0, 2, 2, 0],
                refresh.clone(),
            ),
            (
                "unknown and misshapen",
                &[9, 2, 7, 200, 1, 0, 65, 0, 2, 0],
                Capabilities {
                    others: 2,
                    ..refresh
                },
            ),
        ] {
            let open = Open::decode(&with_parameters(parameters)).map(|open| open.capabilities);
            assert_eq!(open, Ok(want), "{name}");
        }
    }

    #[test]
    fn no_multiprotocol_capability_means_ipv4_alone() {
        let v4 = Families::only(Family::V4Unicast);
        assert_eq!(Capabilities::default().families(), v4);
        let other = Open::decode(&with_parameters(&[8, 2, 6, 1, 4, 0, 25, 0, 70])).unwrap();
        assert_eq!(
            other.capabilities.families(),
            Families::NONE,
            "only EVPN was offered"
        );
    }

    proptest! {
        #[test]
        fn any_open_survives_the_wire(
            my_as: u16, hold_time: u16, identifier: u32, asn in any::<Option<u32>>(),
            route_refresh: bool, v4: bool, v6: bool,
        ) {
            let mut families = Families::NONE;
            if v4 { families = families.with(Family::V4Unicast); }
            if v6 { families = families.with(Family::V6Unicast); }
            let capabilities = Capabilities {
                multiprotocol: (v4 || v6).then_some(families),
                four_octet_as: asn,
                route_refresh,
                ..Capabilities::default()
            };
            let open = Open { my_as, hold_time, identifier, capabilities };
            prop_assert_eq!(Open::decode(&body(&open)), Ok(open));
        }

        #[test]
        fn random_bytes_never_panic(
            head in proptest::collection::vec(any::<u8>(), 0..12),
            bytes in proptest::collection::vec(prop_oneof![Just(2u8), Just(255), any::<u8>()], 0..300),
        ) {
            let _ = Open::decode(&head);
            let _ = Open::decode(&bytes);
            let _ = Open::decode(&with_parameters(&bytes));
        }
    }
}
