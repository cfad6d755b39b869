//! ROUTE-REFRESH: the peer asks to hear everything again (RFC 2918), and the markers around the answer (RFC 7313).

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

impl RefreshKind {
    const fn from_octet(octet: u8) -> Self {
        match octet {
            0 => Self::Request,
            1 => Self::Begin,
            2 => Self::End,
            later => Self::Unknown(later),
        }
    }

    const fn octet(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::Unknown(later) => later,
        }
    }
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
    /// Length of the body, in all subtypes without ORF (RFC 5291), which is never offered.
    pub const BODY: usize = 4;

    /// Appends a plain request.
    pub fn request(family: Family, out: &mut Vec<u8>) {
        write(family, RefreshKind::Request, out);
    }

    /// Appends BoRR: all routes of `family` follow, and what does not is gone.
    pub fn begin(family: Family, out: &mut Vec<u8>) {
        write(family, RefreshKind::Begin, out);
    }

    /// Appends EoRR: that was all.
    pub fn end(family: Family, out: &mut Vec<u8>) {
        write(family, RefreshKind::End, out);
    }

    /// Reads the body of a message.
    pub fn decode(body: &[u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(body);
        let afi = reader.u16()?;
        let kind = RefreshKind::from_octet(reader.u8()?);
        let family = Family::from_wire(afi, reader.u8()?);
        Ok(Self { family, kind })
    }
}

fn write(family: Family, kind: RefreshKind, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    let length = begin(&mut writer, Kind::RouteRefresh);
    writer.u16(family.afi());
    writer.bytes(&[kind.octet(), super::family::UNICAST]);
    writer.fill(&length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::HEADER;
    use super::*;

    #[test]
    fn requests_and_markers_have_golden_bytes_in_both_directions() {
        type Write = fn(Family, &mut Vec<u8>);
        for (write, kind, bytes) in [
            (
                Refresh::request as Write,
                RefreshKind::Request,
                [0, 2, 0, 1],
            ),
            (Refresh::begin, RefreshKind::Begin, [0, 2, 1, 1]),
            (Refresh::end, RefreshKind::End, [0, 2, 2, 1]),
        ] {
            let mut out = Vec::new();
            write(Family::V6Unicast, &mut out);
            assert_eq!(out.split_off(HEADER), bytes);
            let family = Some(Family::V6Unicast);
            assert_eq!(Refresh::decode(&bytes), Ok(Refresh { family, kind }));
        }
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
