//! Messages as bytes, legal or not: every length can be lied about.

use std::net::Ipv4Addr;

/// Message types (RFC 4271 §4.1, RFC 2918).
pub mod kind {
    /// RFC 4271 §4.2.
    pub const OPEN: u8 = 1;
    /// RFC 4271 §4.3.
    pub const UPDATE: u8 = 2;
    /// RFC 4271 §4.5.
    pub const NOTIFICATION: u8 = 3;
    /// RFC 4271 §4.4.
    pub const KEEPALIVE: u8 = 4;
    /// RFC 2918.
    pub const REFRESH: u8 = 5;
}

/// Length of a header.
pub const HEADER: usize = 19;
/// Longest message without RFC 8654.
pub const MAX: usize = 4096;

/// A header that claims this length, true or not.
#[must_use]
pub fn header(length: u16, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend(length.to_be_bytes());
    bytes.push(kind);
    bytes
}

/// A whole message with its true length.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(two(HEADER + body.len()), kind);
    bytes.extend(body);
    bytes
}

/// KEEPALIVE.
#[must_use]
pub fn keepalive() -> Vec<u8> {
    header(19, kind::KEEPALIVE)
}

/// NOTIFICATION.
#[must_use]
pub fn notification(code: u8, subcode: u8, data: &[u8]) -> Vec<u8> {
    message(kind::NOTIFICATION, &[&[code, subcode], data].concat())
}

/// ROUTE-REFRESH; subtype 0 asks, 1 begins, 2 ends (RFC 7313).
#[must_use]
pub fn refresh(afi: u16, subtype: u8, safi: u8) -> Vec<u8> {
    let [high, low] = afi.to_be_bytes();
    message(kind::REFRESH, &[high, low, subtype, safi])
}

/// An UPDATE of three blocks with true lengths.
#[must_use]
pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = two(withdrawn.len()).to_be_bytes().to_vec();
    body.extend(withdrawn);
    body.extend(two(attributes.len()).to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    message(kind::UPDATE, &body)
}

/// End-of-RIB for IPv4 unicast (RFC 4724 §2): also the shortest UPDATE there is.
#[must_use]
pub fn end_of_rib() -> Vec<u8> {
    update(&[], &[], &[])
}

/// A path attribute; the extended length is used if `flags` say so (0x10).
#[must_use]
pub fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags, kind];
    if flags & 0x10 == 0 {
        bytes.push(one(value.len()));
    } else {
        bytes.extend(two(value.len()).to_be_bytes());
    }
    bytes.extend(value);
    bytes
}

/// ORIGIN IGP, the AS_PATH of an eBGP peer with four-octet numbers, NEXT_HOP: a route needs no more.
#[must_use]
pub fn mandatory(asn: u32) -> Vec<u8> {
    [
        attribute(0x40, 1, &[0]),
        attribute(0x40, 2, &sequence(&[asn])),
        attribute(0x40, 3, &[172, 30, 0, 1]),
    ]
    .concat()
}

/// An AS_SEQUENCE of four-octet numbers.
#[must_use]
pub fn sequence(path: &[u32]) -> Vec<u8> {
    let mut bytes = vec![2, one(path.len())];
    bytes.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
    bytes
}

/// An OPEN, to be spoilt in any way.
#[derive(Clone, Debug)]
pub struct Open {
    /// Version octet.
    pub version: u8,
    /// Two-octet AS field.
    pub my_as: u16,
    /// Hold time in seconds.
    pub hold: u16,
    /// Identifier.
    pub id: Ipv4Addr,
    /// The length octet of the parameters, when it is to lie.
    pub claimed: Option<u8>,
    /// Everything behind the length octet.
    pub parameters: Vec<u8>,
}

impl Open {
    /// What an ordinary router in this AS says: both families it can have, route refresh, four-octet AS numbers.
    #[must_use]
    pub fn good(asn: u32) -> Self {
        Self::offering(
            asn,
            &[ipv4(), capability(2, &[]), four_octets(asn)].concat(),
        )
    }

    /// With these capabilities in one parameter.
    #[must_use]
    pub fn offering(asn: u32, capabilities: &[u8]) -> Self {
        Self {
            version: 4,
            my_as: u16::try_from(asn).unwrap_or(23456),
            hold: 9,
            id: Ipv4Addr::new(10, 99, 0, 1),
            claimed: None,
            parameters: parameter(2, capabilities),
        }
    }

    /// With exactly these bytes as parameters.
    #[must_use]
    pub fn with(asn: u32, parameters: &[u8]) -> Self {
        Self {
            parameters: parameters.to_vec(),
            ..Self::offering(asn, &[])
        }
    }

    /// As a message.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = vec![self.version];
        body.extend(self.my_as.to_be_bytes());
        body.extend(self.hold.to_be_bytes());
        body.extend(self.id.octets());
        body.push(self.claimed.unwrap_or_else(|| one(self.parameters.len())));
        body.extend(&self.parameters);
        message(kind::OPEN, &body)
    }
}

/// An optional parameter (RFC 5492 §4).
#[must_use]
pub fn parameter(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, one(value.len())], value].concat()
}

/// An optional parameter with a two-octet length (RFC 9072 §2).
#[must_use]
pub fn long_parameter(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &two(value.len()).to_be_bytes(), value].concat()
}

/// Parameters in the extended form (RFC 9072 §2): what follows the length octet, which has to be 255.
#[must_use]
pub fn extended(parameters: &[u8]) -> Vec<u8> {
    [&[255][..], &two(parameters.len()).to_be_bytes(), parameters].concat()
}

/// A capability (RFC 5492 §4).
#[must_use]
pub fn capability(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, one(value.len())], value].concat()
}

/// Capability 1 for IPv4 unicast.
#[must_use]
pub fn ipv4() -> Vec<u8> {
    capability(1, &[0, 1, 0, 1])
}

/// Capability 1 for IPv6 unicast.
#[must_use]
pub fn ipv6() -> Vec<u8> {
    capability(1, &[0, 2, 0, 1])
}

/// Capability 65 (RFC 6793).
#[must_use]
pub fn four_octets(asn: u32) -> Vec<u8> {
    capability(65, &asn.to_be_bytes())
}

fn one(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn two(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// An UPDATE that came, cut into its blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Withdrawn routes as they came.
    pub withdrawn: Vec<u8>,
    /// Flags, type and value of each attribute, in the order in which they came.
    pub attributes: Vec<(u8, u8, Vec<u8>)>,
    /// Prefixes of IPv4 as they came.
    pub nlri: Vec<u8>,
}

impl Update {
    /// Cuts the body of an UPDATE; `None` if that can not be done.
    #[must_use]
    pub fn cut(body: &[u8]) -> Option<Self> {
        let (withdrawn, rest) = block(body)?;
        let (mut attributes, nlri) = block(rest)?;
        let mut update = Self {
            withdrawn: withdrawn.to_vec(),
            nlri: nlri.to_vec(),
            ..Self::default()
        };
        while let &[flags, kind, ref rest @ ..] = attributes {
            let (value, rest) = if flags & 0x10 == 0 {
                let (length, rest) = rest.split_first()?;
                rest.split_at_checked(usize::from(*length))?
            } else {
                block(rest)?
            };
            update.attributes.push((flags, kind, value.to_vec()));
            attributes = rest;
        }
        attributes.is_empty().then_some(update)
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, kind: u8) -> Option<&[u8]> {
        let found = self.attributes.iter().find(|attribute| attribute.1 == kind);
        found.map(|(_, _, value)| &**value)
    }

    /// Whether it ends a family's table and says nothing else (RFC 4724 §2).
    #[must_use]
    pub fn ends_rib(&self) -> bool {
        let silent = self.withdrawn.is_empty() && self.nlri.is_empty();
        silent
            && matches!(&*self.attributes, [] | [(_, 15, _)])
            && self.attribute(15).is_none_or(|value| value.len() == 3)
    }

    /// Prefixes of IPv4 that it announces.
    #[must_use]
    pub fn announced(&self) -> Vec<(u8, Vec<u8>)> {
        prefixes(&self.nlri)
    }

    /// Prefixes of IPv4 that it withdraws.
    #[must_use]
    pub fn gone(&self) -> Vec<(u8, Vec<u8>)> {
        prefixes(&self.withdrawn)
    }
}

/// Lengths and octets of prefixes.
fn prefixes(mut block: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((length, rest)) = block.split_first() {
        let Some((octets, rest)) = rest.split_at_checked(usize::from(*length).div_ceil(8)) else {
            break;
        };
        found.push((*length, octets.to_vec()));
        block = rest;
    }
    found
}

/// What a two-octet length in front says, and the rest.
fn block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
