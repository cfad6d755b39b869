//! Ethernet II: addresses, the 14-byte header, and the buffer in which small frames are built.
//!
//! ```text
//!  0                   6                   12        14
//! +-------------------+-------------------+---------+- - - - -
//! | destination       | source            | type    | payload
//! +-------------------+-------------------+---------+- - - - -
//! ```
//!
//! A frame with an 802.1Q tag in its bytes has another type and is left alone: a VLAN has an
//! interface of its own, which sees the frame without the tag.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use pnet_packet::Packet as _;
use pnet_packet::ethernet::EthernetPacket;

/// Frame type of ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// Frame type of IPv6 (RFC 2464 §3).
pub const IPV6: u16 = 0x86dd;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All stations of the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// What fills the target hardware address of an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// The group bit is set: broadcast or multicast, never the address of one station.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// May name one station: neither a group nor all zeroes.
    #[must_use]
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Self::ZERO
    }

    /// The Ethernet group that carries an IPv6 multicast group (RFC 2464 §7).
    #[must_use]
    pub const fn of_group(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

/// Not six octets in hexadecimal with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address like 02:00:00:00:00:01")]
pub struct MacAddrError;

impl FromStr for MacAddr {
    type Err = MacAddrError;

    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let mut octets = [0; 6];
        let mut words = text.split(':');
        for octet in &mut octets {
            let digits =
                |word: &&str| word.len() == 2 && word.bytes().all(|it| it.is_ascii_hexdigit());
            let word = words.next().filter(digits).ok_or(MacAddrError)?;
            *octet = u8::from_str_radix(word, 16).map_err(|_| MacAddrError)?;
        }
        match words.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(MacAddrError),
        }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who shall receive it: one station or a group.
    pub destination: MacAddr,
    /// Who sent it.
    pub source: MacAddr,
    /// What the payload is: [`ARP`], [`IPV6`] or something else.
    pub ethertype: u16,
}

impl Header {
    /// Splits a frame into header and payload; `None` when it is shorter than a header.
    #[must_use]
    pub fn split(frame: &[u8]) -> Option<(Self, &[u8])> {
        let view = EthernetPacket::new(frame)?;
        let header = Self {
            destination: MacAddr(view.get_destination().into()),
            source: MacAddr(view.get_source().into()),
            ethertype: view.get_ethertype().0,
        };
        frame
            .get(view.packet().len() - view.payload().len()..)
            .map(|payload| (header, payload))
    }
}

/// Size of the largest frame built here: Ethernet 14, IPv6 40, neighbour solicitation 24, options
/// with a link-layer address 8 and a nonce 8.
pub const FRAME_MAX: usize = 14 + 40 + 24 + 8 + 8;

/// A frame under construction, in place: answers are built without touching the allocator.
///
/// The padding to 60 bytes is left to the driver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    bytes: [u8; FRAME_MAX],
    len: usize,
}

impl Frame {
    /// A frame that has only its header.
    #[must_use]
    pub fn new(header: Header) -> Self {
        let mut frame = Self {
            bytes: [0; FRAME_MAX],
            len: 0,
        };
        frame.push(&header.destination.0);
        frame.push(&header.source.0);
        frame.push(&header.ethertype.to_be_bytes());
        frame
    }

    /// Appends bytes. What does not fit is cut off; everything built in this crate fits, which
    /// the golden frames of the tests prove.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        } else {
            debug_assert!(false, "a frame outgrew FRAME_MAX");
        }
    }

    /// Overwrites bytes that were pushed before, such as a checksum over what came after it.
    pub(crate) fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }

    /// The frame as it goes on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:02x?})", self.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_prints_the_way_tools_print_it() {
        assert_eq!(
            MacAddr([2, 0, 0xab, 0, 1, 0xff]).to_string(),
            "02:00:ab:00:01:ff"
        );
    }

    #[test]
    fn groups_and_stations_are_told_apart() {
        let table = [
            (MacAddr::BROADCAST, true, false),
            (MacAddr([0x33, 0x33, 0, 0, 0, 1]), true, false),
            (MacAddr::ZERO, false, false),
            (MacAddr([2, 0, 0, 0, 0, 1]), false, true),
        ];
        for (mac, group, station) in table {
            assert_eq!(
                (mac.is_group(), mac.is_station()),
                (group, station),
                "{mac}"
            );
        }
    }

    #[test]
    fn an_ipv6_group_maps_to_its_ethernet_group() {
        let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
        assert_eq!(
            MacAddr::of_group(group),
            MacAddr([0x33, 0x33, 0xff, 0x12, 0x34, 0x56])
        );
    }

    #[test]
    fn a_header_survives_the_round_trip_and_a_short_frame_has_none() {
        let header = Header {
            destination: MacAddr::BROADCAST,
            source: MacAddr([2, 0, 0, 0, 0, 1]),
            ethertype: ARP,
        };
        let mut frame = Frame::new(header);
        frame.push(b"payload");
        assert_eq!(
            Header::split(frame.as_bytes()),
            Some((header, &b"payload"[..]))
        );
        assert_eq!(Header::split(&frame.as_bytes()[..13]), None);
        assert_eq!(
            Header::split(&frame.as_bytes()[..14]),
            Some((header, &b""[..]))
        );
    }
}
