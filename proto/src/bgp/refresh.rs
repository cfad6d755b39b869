//! ROUTE-REFRESH: the peer asks to hear everything again (RFC 2918, RFC 7313).

use super::Family;
use super::frame::{Kind, begin};
use crate::read::{Reader, Short};
use crate::write::Writer;

/// The subtype octet (RFC 7313 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// Send all again.
    Request,
    /// Begin of a resend.
    Begin,
    /// End of a resend.
    End,
    /// Something later; to be ignored.
    Unknown(u8),
}

/// The content of a ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Which family; `None` for one that we never announce, to be ignored.
    pub family: Option<Family>,
    /// Request or marker.
    pub kind: RefreshKind,
}

impl Refresh {
    /// Appends a plain request.
    pub fn request(family: Family, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let length = begin(&mut writer, Kind::RouteRefresh);
        writer.u16(family.afi());
        writer.bytes(&[0, super::family::UNICAST]);
        writer.fill(&length);
    }

    /// Reads the body of a message.
    pub fn decode(body: &[u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(body);
        let afi = reader.u16()?;
        let kind = match reader.u8()? {
            0 => RefreshKind::Request,
            1 => RefreshKind::Begin,
            2 => RefreshKind::End,
            later => RefreshKind::Unknown(later),
        };
        let family = Family::from_wire(afi, reader.u8()?);
        Ok(Self { family, kind })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::HEADER;
    use super::*;

    #[test]
    fn a_request_has_golden_bytes_in_both_directions() {
        let mut out = Vec::new();
        Refresh::request(Family::V6Unicast, &mut out);
        assert_eq!(out.split_off(HEADER), [0, 2, 0, 1]);
        let want = Refresh {
            family: Some(Family::V6Unicast),
            kind: RefreshKind::Request,
        };
        assert_eq!(Refresh::decode(&[0, 2, 0, 1]), Ok(want));
    }

    #[test]
    fn foreign_families_and_later_subtypes_are_told_apart() {
        let foreign = Refresh {
            family: None,
            kind: RefreshKind::Request,
        };
        assert_eq!(Refresh::decode(&[0, 99, 0, 1]), Ok(foreign));
        let later = Refresh {
            family: Some(Family::V4Unicast),
            kind: RefreshKind::Unknown(9),
        };
        assert_eq!(Refresh::decode(&[0, 1, 9, 1]), Ok(later));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            let _ = Refresh::decode(&bytes);
        }
    }
}
