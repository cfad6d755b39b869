//! Router discovery for IPv6 (RFC 4861 §4.1, §4.2), as far as neighbours without addresses need it to find each other:
//! solicitations and advertisements, without what they say about prefixes.
//!
//! ```text
//! solicitation   type 133 | code 0 | checksum | reserved (4)                                     | options
//! advertisement  type 134 | code 0 | checksum | hops | flags | lifetime (2) | two timers (4 + 4) | options
//! ```
//!
//! These are ICMPv6 payloads: the kernel makes and checks the IPv6 header and the checksum.

use std::net::Ipv6Addr;

use thiserror::Error;

use crate::ethernet::MacAddr;
use crate::read::{Reader, Short};
use crate::write::Writer;

/// All routers of the link (RFC 4291 §2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// ICMP type of a router solicitation.
pub const SOLICITATION: u8 = 133;
/// ICMP type of a router advertisement.
pub const ADVERTISEMENT: u8 = 134;

/// Only a neighbour can send this: every router on the way takes one off (RFC 4861 §6.1).
pub const HOP_LIMIT: u8 = 255;

/// Option "source link-layer address", of one unit of eight octets.
const SOURCE_LINK_LAYER: [u8; 2] = [1, 1];
/// Options are counted in units of this many octets.
const UNIT: usize = 8;

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Which routers are there?
    Solicitation,
    /// The sender is a router. Whether it wants to be a default router does not matter here.
    Advertisement,
}

/// Why bytes are not a message that may be believed (RFC 4861 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Shorter than its fixed part.
    #[error("truncated: {0}")]
    Truncated(#[from] Short),
    /// It came through a router.
    #[error("hop limit {0}")]
    HopLimit(u8),
    /// Routers advertise from link-local addresses.
    #[error("advertised by {0}, which is not link-local")]
    Source(Ipv6Addr),
    /// Neither solicitation nor advertisement.
    #[error("ICMPv6 type {0}")]
    Type(u8),
    /// A code other than 0.
    #[error("code {0}")]
    Code(u8),
    /// An option has length 0 or runs over the end.
    #[error("option {0} with length {1}")]
    Option(u8, u8),
}

impl Message {
    /// Reads an ICMPv6 message that came from `source` with this hop limit.
    pub fn parse(payload: &[u8], source: Ipv6Addr, hop_limit: u8) -> Result<Self, Error> {
        if hop_limit != HOP_LIMIT {
            return Err(Error::HopLimit(hop_limit));
        }
        let mut reader = Reader::new(payload);
        let [kind, code, _, _] = reader.array()?;
        let (message, fixed) = match kind {
            SOLICITATION => (Self::Solicitation, 4),
            ADVERTISEMENT => (Self::Advertisement, 12),
            other => return Err(Error::Type(other)),
        };
        if code != 0 {
            return Err(Error::Code(code));
        }
        reader.take(fixed)?;
        while !reader.is_empty() {
            let [kind, units] = reader.array()?;
            let rest = (usize::from(units) * UNIT).checked_sub(2);
            let rest = rest.ok_or(Error::Option(kind, units))?;
            reader.take(rest).map_err(|_| Error::Option(kind, units))?;
        }
        if message == Self::Advertisement && !source.is_unicast_link_local() {
            return Err(Error::Source(source));
        }
        Ok(message)
    }

    /// Writes it, with our link-layer address if we have one. An advertisement has lifetime 0: we are a neighbour, and
    /// nobody's default router.
    #[must_use]
    pub fn encode(self, mac: Option<MacAddr>) -> Vec<u8> {
        let (kind, fixed): (u8, &[u8]) = match self {
            Self::Solicitation => (SOLICITATION, &[0; 4]),
            Self::Advertisement => (ADVERTISEMENT, &[0; 12]),
        };
        let mut out = Vec::with_capacity(24);
        let mut writer = Writer::new(&mut out);
        writer.bytes(&[kind, 0, 0, 0]);
        writer.bytes(fixed);
        if let Some(MacAddr(octets)) = mac {
            writer.bytes(&SOURCE_LINK_LAYER);
            writer.bytes(&octets);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    /// As FRR sends it: lifetime 0, one prefix-free option.
    const FROM_FRR: [u8; 24] = [
        134, 0, 0x5b, 0x1c, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1,
    ];

    #[test]
    fn what_is_written_is_read() {
        for message in [Message::Solicitation, Message::Advertisement] {
            for mac in [None, Some(MAC)] {
                let bytes = message.encode(mac);
                assert_eq!(Message::parse(&bytes, ROUTER, 255), Ok(message), "{mac:?}");
            }
        }
        assert_eq!(
            Message::parse(&FROM_FRR, ROUTER, 255),
            Ok(Message::Advertisement)
        );
    }

    #[test]
    fn what_may_not_be_believed_is_refused() {
        let edited = |at: usize, octet: u8| {
            let mut bytes = FROM_FRR;
            bytes[at] = octet;
            bytes.to_vec()
        };
        let global = "2001:db8::1".parse().unwrap();
        for (row, bytes, source, hops, want) in [
            (
                "routed",
                FROM_FRR.to_vec(),
                ROUTER,
                254,
                Error::HopLimit(254),
            ),
            (
                "global",
                FROM_FRR.to_vec(),
                global,
                255,
                Error::Source(global),
            ),
            ("code", edited(1, 1), ROUTER, 255, Error::Code(1)),
            ("type", edited(0, 135), ROUTER, 255, Error::Type(135)),
            ("length 0", edited(17, 0), ROUTER, 255, Error::Option(1, 0)),
            ("overrun", edited(17, 2), ROUTER, 255, Error::Option(1, 2)),
            (
                "short",
                FROM_FRR[..15].to_vec(),
                ROUTER,
                255,
                Error::Truncated(Short { missing: 1 }),
            ),
            (
                "empty",
                vec![],
                ROUTER,
                255,
                Error::Truncated(Short { missing: 4 }),
            ),
        ] {
            assert_eq!(Message::parse(&bytes, source, hops), Err(want), "{row}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 130_u8..138) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let _ = Message::parse(&bytes, ROUTER, 255);
        }
    }
}
