//! Capabilities of an OPEN (RFC 5492).
//!
//! What is unknown is counted and ignored, whoever sends it. A known capability with an impossible length is
//! ignored too rather than answered with 2/0: the session then works without that feature, which helps the
//! operator more than no session.

use super::family::UNICAST;
use super::{Families, Family};
use crate::read::{Reader, Short};
use crate::write::Writer;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const FOUR_OCTET_AS: u8 = 65;
const GRACEFUL_RESTART: u8 = 64;
const ENHANCED_REFRESH: u8 = 70;

/// What one side can do, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Families of capability 1; `None` if it did not come, which means IPv4 unicast alone (RFC 4760 §8).
    pub multiprotocol: Option<Families>,
    /// Capability 2 (RFC 2918).
    pub route_refresh: bool,
    /// Capability 65 with its AS number, raw: 0 must be reported, not skipped (RFC 6793, RFC 7607).
    pub four_octet_as: Option<u32>,
    /// Capability 64 was there (RFC 4724). Tolerated, not offered.
    pub graceful_restart: bool,
    /// Capability 70 (RFC 7313). Tolerated, not offered.
    pub enhanced_refresh: bool,
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

    /// Appends the capabilities as TLVs, without a parameter around them.
    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        for family in self.multiprotocol.into_iter().flat_map(Families::iter) {
            writer.bytes(&[MULTIPROTOCOL, 4]);
            writer.u16(family.afi());
            writer.bytes(&[0, UNICAST]);
        }
        if self.route_refresh {
            writer.bytes(&[ROUTE_REFRESH, 0]);
        }
        if let Some(asn) = self.four_octet_as {
            writer.bytes(&[FOUR_OCTET_AS, 4]);
            writer.u32(asn);
        }
    }

    /// Reads one parameter's worth of capabilities; an OPEN may carry them in many.
    pub(super) fn decode(&mut self, mut reader: Reader<'_>) -> Result<(), Short> {
        while !reader.is_empty() {
            let code = reader.u8()?;
            let length = usize::from(reader.u8()?);
            self.note(code, reader.take(length)?);
        }
        Ok(())
    }

    fn note(&mut self, code: u8, value: &[u8]) {
        match (code, value) {
            (MULTIPROTOCOL, &[high, low, _reserved, safi]) => {
                let known = self.multiprotocol.unwrap_or(Families::NONE);
                let family = Family::from_wire(u16::from_be_bytes([high, low]), safi);
                self.multiprotocol = Some(family.map_or(known, |family| known.with(family)));
            }
            (ROUTE_REFRESH, []) => self.route_refresh = true,
            (FOUR_OCTET_AS, &[a, b, c, d]) => {
                self.four_octet_as = Some(u32::from_be_bytes([a, b, c, d]));
            }
            (GRACEFUL_RESTART, [_, _, ..]) => self.graceful_restart = true,
            (ENHANCED_REFRESH, []) => self.enhanced_refresh = true,
            (_, _) => self.others = self.others.saturating_add(1),
        }
    }
}
