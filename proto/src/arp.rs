//! ARP for IPv4 over Ethernet (RFC 826), with the probes and announcements of RFC 5227.
//!
//! ```text
//!  0         2         4    5    6         8
//! +---------+---------+----+----+---------+
//! | hw = 1  | 0x0800  | 6  | 4  | operation|
//! +---------+---------+----+----+---------+--------+
//! | sender hardware address (6) | sender IP (4)    |
//! +-----------------------------+------------------+
//! | target hardware address (6) | target IP (4)    |
//! +-----------------------------+------------------+
//! ```

use std::net::Ipv4Addr;

use pnet_packet::arp::ArpPacket;
use thiserror::Error;

use crate::ethernet::{self, Frame, Header, MacAddr};

const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;

/// Why bytes are not an ARP packet that concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Shorter than the 28 bytes of IPv4 over Ethernet.
    #[error("truncated")]
    Truncated,
    /// Hardware type other than Ethernet.
    #[error("hardware type {0}")]
    HardwareType(u16),
    /// Protocol type other than IPv4.
    #[error("protocol type {0:#06x}")]
    ProtocolType(u16),
    /// Address sizes other than 6 and 4.
    #[error("address lengths {0} and {1}")]
    Lengths(u8, u8),
    /// Neither request nor reply.
    #[error("operation {0}")]
    Operation(u16),
    /// The sender's hardware address names no single station; answering it would reach everyone.
    #[error("sender {0} is no station")]
    Sender(MacAddr),
}

/// What an ARP packet asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: MacAddr,
    /// IP address of the sender; unspecified in a probe (RFC 5227 §1.1).
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the target; meaningless in a request.
    pub target_mac: MacAddr,
    /// The address that is asked for, or the one who is answered.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Reads the payload of a frame of type [`ethernet::ARP`]; padding behind it is normal.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let view = ArpPacket::new(payload).ok_or(Error::Truncated)?;
        if view.get_hardware_type().0 != HARDWARE_ETHERNET {
            return Err(Error::HardwareType(view.get_hardware_type().0));
        }
        if view.get_protocol_type().0 != PROTOCOL_IPV4 {
            return Err(Error::ProtocolType(view.get_protocol_type().0));
        }
        let lengths = (view.get_hw_addr_len(), view.get_proto_addr_len());
        if lengths != (6, 4) {
            return Err(Error::Lengths(lengths.0, lengths.1));
        }
        let operation = match view.get_operation().0 {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => return Err(Error::Operation(other)),
        };
        let sender_mac = MacAddr(view.get_sender_hw_addr().into());
        if !sender_mac.is_station() {
            return Err(Error::Sender(sender_mac));
        }
        Ok(Self {
            operation,
            sender_mac,
            sender_ip: view.get_sender_proto_addr(),
            target_mac: MacAddr(view.get_target_hw_addr().into()),
            target_ip: view.get_target_proto_addr(),
        })
    }

    /// The reply of `mac` to this request. Its target is the requester as it named itself, so a
    /// probe (sender 0.0.0.0) is answered to 0.0.0.0: that defends the address (RFC 5227 §2.1.1).
    #[must_use]
    pub fn reply(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// The question who has `target`, asked by `mac` with the address `sender`; unspecified in a
    /// probe, which no cache learns from (RFC 5227 §1.1).
    #[must_use]
    pub fn request(sender: Ipv4Addr, target: Ipv4Addr, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: sender,
            target_mac: MacAddr::ZERO,
            target_ip: target,
        }
    }

    /// Gratuitous ARP: `mac` tells everyone that it has `vip`.
    ///
    /// The request form is RFC 5227's announcement; some old devices believe only the reply form,
    /// so announcers send both.
    #[must_use]
    pub fn gratuitous(operation: Operation, vip: Ipv4Addr, mac: MacAddr) -> Self {
        let target_mac = match operation {
            Operation::Request => MacAddr::ZERO,
            Operation::Reply => MacAddr::BROADCAST,
        };
        Self {
            operation,
            sender_mac: mac,
            sender_ip: vip,
            target_mac,
            target_ip: vip,
        }
    }

    /// The frame that carries this packet to `destination`.
    #[must_use]
    pub fn frame(&self, destination: MacAddr) -> Frame {
        let mut frame = Frame::new(Header {
            destination,
            source: self.sender_mac,
            ethertype: ethernet::ARP,
        });
        frame.push(&HARDWARE_ETHERNET.to_be_bytes());
        frame.push(&PROTOCOL_IPV4.to_be_bytes());
        frame.push(&[
            6,
            4,
            0,
            if self.operation == Operation::Request {
                1
            } else {
                2
            },
        ]);
        frame.push(&self.sender_mac.0);
        frame.push(&self.sender_ip.octets());
        frame.push(&self.target_mac.0);
        frame.push(&self.target_ip.octets());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    fn mk_request(sender_ip: Ipv4Addr) -> Packet {
        Packet {
            operation: Operation::Request,
            sender_mac: CLIENT,
            sender_ip,
            target_mac: MacAddr::ZERO,
            target_ip: VIP,
        }
    }

    /// Frames as tcpdump shows them, and what they mean.
    fn golden() -> Vec<(&'static str, Packet, MacAddr, Vec<u8>)> {
        let client = Ipv4Addr::new(192, 0, 2, 99);
        vec![
            (
                "request",
                mk_request(client),
                MacAddr::BROADCAST,
                b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x99\x08\x06\0\x01\x08\0\x06\x04\0\x01\
                  \x02\0\0\0\0\x99\xc0\0\x02\x63\0\0\0\0\0\0\xc0\0\x02\x0a"
                    .to_vec(),
            ),
            (
                "reply",
                mk_request(client).reply(US),
                CLIENT,
                b"\x02\0\0\0\0\x99\x02\0\0\0\0\x01\x08\x06\0\x01\x08\0\x06\x04\0\x02\
                  \x02\0\0\0\0\x01\xc0\0\x02\x0a\x02\0\0\0\0\x99\xc0\0\x02\x63"
                    .to_vec(),
            ),
            (
                "answer to a probe",
                mk_request(Ipv4Addr::UNSPECIFIED).reply(US),
                CLIENT,
                b"\x02\0\0\0\0\x99\x02\0\0\0\0\x01\x08\x06\0\x01\x08\0\x06\x04\0\x02\
                  \x02\0\0\0\0\x01\xc0\0\x02\x0a\x02\0\0\0\0\x99\0\0\0\0"
                    .to_vec(),
            ),
            (
                "probe",
                Packet::request(Ipv4Addr::UNSPECIFIED, VIP, US),
                MacAddr::BROADCAST,
                b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\x06\0\x01\x08\0\x06\x04\0\x01\
                  \x02\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\xc0\0\x02\x0a"
                    .to_vec(),
            ),
            (
                "gratuitous request",
                Packet::gratuitous(Operation::Request, VIP, US),
                MacAddr::BROADCAST,
                b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\x06\0\x01\x08\0\x06\x04\0\x01\
                  \x02\0\0\0\0\x01\xc0\0\x02\x0a\0\0\0\0\0\0\xc0\0\x02\x0a"
                    .to_vec(),
            ),
            (
                "gratuitous reply",
                Packet::gratuitous(Operation::Reply, VIP, US),
                MacAddr::BROADCAST,
                b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\x06\0\x01\x08\0\x06\x04\0\x02\
                  \x02\0\0\0\0\x01\xc0\0\x02\x0a\xff\xff\xff\xff\xff\xff\xc0\0\x02\x0a"
                    .to_vec(),
            ),
        ]
    }

    #[test]
    fn golden_frames_hold_in_both_directions() {
        for (name, packet, destination, bytes) in golden() {
            assert_eq!(packet.frame(destination).as_bytes(), bytes, "emit: {name}");
            let (header, payload) = Header::split(&bytes).unwrap();
            assert_eq!(header.destination, destination, "destination: {name}");
            assert_eq!(Packet::parse(payload), Ok(packet), "parse: {name}");
        }
    }

    #[test]
    fn padding_behind_the_packet_is_ignored() {
        let mut bytes = mk_request(VIP).frame(MacAddr::BROADCAST).as_bytes()[14..].to_vec();
        bytes.extend([0xee; 18]);
        assert_eq!(Packet::parse(&bytes), Ok(mk_request(VIP)));
    }

    #[test]
    fn what_is_not_ipv4_over_ethernet_is_refused() {
        let table: [(&str, usize, &[u8], Error); 7] = [
            ("token ring", 0, &[0, 6], Error::HardwareType(6)),
            ("IPv6", 2, &[0x86, 0xdd], Error::ProtocolType(0x86dd)),
            ("long hardware address", 4, &[8], Error::Lengths(8, 4)),
            ("long protocol address", 5, &[16], Error::Lengths(6, 16)),
            ("reverse ARP", 6, &[0, 3], Error::Operation(3)),
            (
                "broadcast sender",
                8,
                &[0xff; 6],
                Error::Sender(MacAddr::BROADCAST),
            ),
            ("zero sender", 8, &[0; 6], Error::Sender(MacAddr::ZERO)),
        ];
        for (name, offset, patch, error) in table {
            let mut bytes = mk_request(VIP).frame(MacAddr::BROADCAST).as_bytes()[14..].to_vec();
            bytes[offset..offset + patch.len()].copy_from_slice(patch);
            assert_eq!(Packet::parse(&bytes), Err(error), "{name}");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let frame = mk_request(VIP).frame(MacAddr::BROADCAST);
        for len in 0..28 {
            assert_eq!(
                Packet::parse(&frame.as_bytes()[14..14 + len]),
                Err(Error::Truncated)
            );
        }
    }

    proptest! {
        #[test]
        fn what_parses_emits_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                let frame = packet.frame(MacAddr::BROADCAST);
                prop_assert_eq!(&frame.as_bytes()[14..], &bytes[..28]);
            }
        }

        #[test]
        fn a_valid_head_with_any_addresses_round_trips(tail in any::<[u8; 20]>(), op in 1u8..=2) {
            let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, op];
            bytes.extend(tail);
            if let Ok(packet) = Packet::parse(&bytes) {
                let frame = packet.frame(MacAddr::BROADCAST);
                prop_assert_eq!(&frame.as_bytes()[14..], &bytes[..]);
            }
        }
    }
}
