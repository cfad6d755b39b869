//! Capabilities of an OPEN (RFC 5492).
//!
//! What is unknown is counted and ignored, whoever sends it. A known capability with an impossible length is
//! ignored too rather than answered with 2/0: the session then works without that feature, which helps the
//! operator more than no session. Extended messages (6, RFC 8654) are not offered, so nobody may send them: 4096
//! bytes hold enough routes, and bound what a peer can make us keep.

use super::family::UNICAST;
use super::{Families, Family, LongLived, Restart, RoleClaim};
use crate::read::{Reader, Short};
use crate::write::Writer;

/// The codes of the capabilities that mean something here (IANA registry "Capability Codes").
pub(super) mod code {
    pub(crate) const MULTIPROTOCOL: u8 = 1;
    pub(crate) const ROUTE_REFRESH: u8 = 2;
    pub(crate) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(crate) const ROLE: u8 = 9;
    pub(crate) const GRACEFUL_RESTART: u8 = 64;
    pub(crate) const FOUR_OCTET_AS: u8 = 65;
    pub(crate) const ENHANCED_REFRESH: u8 = 70;
    pub(crate) const LONG_LIVED: u8 = 71;
}

/// "IPv4 unicast, by way of an IPv6 next hop", the one triple of capability 5 that matters here (RFC 8950 §4).
const V4_OVER_V6: [u8; 6] = [0, 1, 0, UNICAST, 0, 2];

/// What one side can do, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Families of capability 1; `None` if it did not come, which means IPv4 unicast alone (RFC 4760 §8).
    pub multiprotocol: Option<Families>,
    /// Capability 2 (RFC 2918).
    pub route_refresh: bool,
    /// Capability 5 for IPv4 unicast (RFC 8950).
    pub extended_next_hop: bool,
    /// Capability 9, raw: what is no role must be reported, not skipped (RFC 9234).
    pub role: Option<RoleClaim>,
    /// Capability 64 (RFC 4724).
    pub restart: Option<Restart>,
    /// Capability 65 with its AS number, raw: 0 must be reported, not skipped (RFC 6793, RFC 7607).
    pub four_octet_as: Option<u32>,
    /// Capability 70 (RFC 7313).
    pub enhanced_refresh: bool,
    /// Capability 71 (RFC 9494), which means nothing without 64.
    pub long_lived: Option<LongLived>,
    /// How many others were there.
    pub others: u16,
}

impl Capabilities {
    /// The families that this side can carry.
    #[must_use]
    pub fn families(&self) -> Families {
        self.multiprotocol
            .unwrap_or(Families::only(Family::V4Unicast))
    }

    /// The codes of those that are there and have a meaning here, in ascending order.
    pub fn codes(&self) -> impl Iterator<Item = u8> {
        [
            (code::MULTIPROTOCOL, self.multiprotocol.is_some()),
            (code::ROUTE_REFRESH, self.route_refresh),
            (code::EXTENDED_NEXT_HOP, self.extended_next_hop),
            (code::ROLE, self.role.is_some()),
            (code::GRACEFUL_RESTART, self.restart.is_some()),
            (code::FOUR_OCTET_AS, self.four_octet_as.is_some()),
            (code::ENHANCED_REFRESH, self.enhanced_refresh),
            (code::LONG_LIVED, self.long_lived.is_some()),
        ]
        .into_iter()
        .filter_map(|(code, there)| there.then_some(code))
    }

    /// Appends the capabilities as TLVs, without a parameter around them.
    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        for family in self.multiprotocol.into_iter().flat_map(Families::iter) {
            writer.bytes(&[code::MULTIPROTOCOL, 4]);
            writer.u16(family.afi());
            writer.bytes(&[0, UNICAST]);
        }
        if self.route_refresh {
            writer.bytes(&[code::ROUTE_REFRESH, 0]);
        }
        if self.extended_next_hop {
            tlv(writer, code::EXTENDED_NEXT_HOP, |value| {
                value.bytes(&V4_OVER_V6);
            });
        }
        if let Some(RoleClaim::One(octet)) = self.role {
            writer.bytes(&[code::ROLE, 1, octet]);
        }
        if let Some(restart) = &self.restart {
            tlv(writer, code::GRACEFUL_RESTART, |value| {
                restart.encode(value);
            });
        }
        if let Some(asn) = self.four_octet_as {
            writer.bytes(&[code::FOUR_OCTET_AS, 4]);
            writer.u32(asn);
        }
        if self.enhanced_refresh {
            writer.bytes(&[code::ENHANCED_REFRESH, 0]);
        }
        if let Some(long_lived) = &self.long_lived {
            tlv(writer, code::LONG_LIVED, |value| long_lived.encode(value));
        }
    }

    /// Reads one parameter's worth of capabilities; an OPEN may carry them in many.
    pub(super) fn decode(&mut self, mut reader: Reader<'_>) -> Result<(), Short> {
        while !reader.is_empty() {
            let code = reader.u8()?;
            let length = usize::from(reader.u8()?);
            if !self.note(code, reader.take(length)?) {
                self.others = self.others.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Takes in one of them; whether it meant anything.
    fn note(&mut self, code: u8, value: &[u8]) -> bool {
        match (code, value) {
            (code::MULTIPROTOCOL, &[high, low, _reserved, safi]) => {
                let known = self.multiprotocol.unwrap_or(Families::NONE);
                let family = Family::from_wire(u16::from_be_bytes([high, low]), safi);
                self.multiprotocol = Some(family.map_or(known, |family| known.with(family)));
            }
            (code::ROUTE_REFRESH, []) => self.route_refresh = true,
            (code::EXTENDED_NEXT_HOP, triples) if triples.len().is_multiple_of(6) => {
                self.extended_next_hop |= triples.chunks(6).any(|triple| triple == V4_OVER_V6);
            }
            (code::ROLE, &[octet]) => self.role = Some(RoleClaim::and(self.role, octet)),
            (code::GRACEFUL_RESTART, value) => {
                let restart = Restart::decode(value);
                self.restart = restart.or(self.restart);
                return restart.is_some();
            }
            (code::FOUR_OCTET_AS, &[a, b, c, d]) => {
                self.four_octet_as = Some(u32::from_be_bytes([a, b, c, d]));
            }
            (code::ENHANCED_REFRESH, []) => self.enhanced_refresh = true,
            (code::LONG_LIVED, value) => {
                let long_lived = LongLived::decode(value);
                self.long_lived = long_lived.or(self.long_lived);
                return long_lived.is_some();
            }
            (_, _) => return false,
        }
        true
    }
}

/// One capability whose length is not known before it is written. Ours are far shorter than 255 bytes.
fn tlv(writer: &mut Writer<'_>, code: u8, value: impl FnOnce(&mut Writer<'_>)) {
    let mut bytes = Vec::new();
    value(&mut Writer::new(&mut bytes));
    if let Ok(length) = u8::try_from(bytes.len()) {
        writer.bytes(&[code, length]);
        writer.bytes(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.decode(Reader::new(bytes)).unwrap();
        capabilities
    }

    #[test]
    fn all_of_them_have_golden_bytes_in_both_directions() {
        let v4 = Families::only(Family::V4Unicast);
        let capabilities = Capabilities {
            multiprotocol: Some(v4),
            route_refresh: true,
            extended_next_hop: true,
            role: Some(RoleClaim::One(3)),
            restart: Some(Restart {
                notification: true,
                time: 120,
                families: v4,
                ..Restart::default()
            }),
            four_octet_as: Some(65000),
            enhanced_refresh: true,
            long_lived: Some(LongLived {
                time: 60,
                families: v4,
                forwarding: Families::NONE,
            }),
            others: 0,
        };
        let want: &[u8] = &[
            1, 4, 0, 1, 0, 1, // IPv4 unicast
            2, 0, // route refresh
            5, 6, 0, 1, 0, 1, 0, 2, // IPv4 over IPv6
            9, 1, 3, // customer
            64, 6, 0x40, 120, 0, 1, 1, 0, // graceful restart
            65, 4, 0, 0, 0xfd, 0xe8, // AS 65000
            70, 0, // enhanced refresh
            71, 7, 0, 1, 1, 0, 0, 0, 60, // long-lived
        ];
        let mut out = Vec::new();
        capabilities.encode(&mut Writer::new(&mut out));
        assert_eq!(out, want);
        assert_eq!(read(want), capabilities);
        assert!(capabilities.codes().eq([1, 2, 5, 9, 64, 65, 70, 71]));
    }

    #[test]
    fn what_is_unknown_misshapen_or_of_other_families_does_no_harm() {
        let plain = Capabilities::default();
        for (name, bytes, want) in [
            ("add-path", &[69, 4, 0, 1, 1, 3][..], 1),
            ("ORF", &[3, 7, 0, 1, 0, 1, 1, 64, 3], 1),
            ("role of no octet", &[9, 0], 1),
            ("role of two octets", &[9, 2, 0, 0], 1),
            ("extended messages", &[6, 0], 1),
            ("route refresh with a value", &[2, 1, 0], 1),
            ("4-byte AS of two bytes", &[65, 2, 0, 1], 1),
            ("graceful restart of a byte", &[64, 1, 0], 1),
            ("graceful restart cut short", &[64, 5, 0, 0, 0, 1, 1], 1),
            ("long-lived cut short", &[71, 2, 0, 1], 1),
            ("next hop triple cut short", &[5, 5, 0, 1, 0, 1, 0], 1),
            ("VPN over IPv6", &[5, 6, 0, 1, 0, 128, 0, 2], 0),
        ] {
            let got = read(bytes);
            let others = got.others;
            assert_eq!(Capabilities { others: 0, ..got }, plain, "{name}");
            assert_eq!(others, want, "{name}");
        }
    }

    #[test]
    fn duplicates_are_one() {
        let twice = [1, 4, 0, 1, 0, 1, 1, 4, 0, 1, 0, 1, 2, 0, 2, 0];
        let got = read(&twice);
        assert_eq!(got.multiprotocol, Some(Families::only(Family::V4Unicast)));
        assert!(got.route_refresh);
        assert_eq!(got.others, 0);
    }
}
