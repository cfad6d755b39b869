//! ARP and NDP: what comes off the wire of a link.

use std::net::{IpAddr, Ipv6Addr};

use portolan_proto::arp::{Operation, Packet};
use portolan_proto::ethernet::{self, FRAME_MAX, Frame, Header, MacAddr};
use portolan_proto::ndp::{Body, Message};
use portolan_proto::responder::{Heard, Identity, Role};

const OURS: Identity = Identity {
    mac: MacAddr([2, 0, 0, 0, 0, 1]),
    ipv6: true,
};
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn payload(frame: &Frame, ethertype: u16) -> Vec<u8> {
    assert!(
        frame.as_bytes().len() <= FRAME_MAX,
        "a frame of {}",
        frame.as_bytes().len()
    );
    let (header, payload) = Header::split(frame.as_bytes()).expect("our own frame");
    assert_eq!(header.ethertype, ethertype, "its type");
    payload.to_vec()
}

/// Heard on the wire, about addresses that are all ours.
fn hear(ethertype: u16, bytes: &[u8]) -> Heard {
    let mut frame = MacAddr::BROADCAST.0.to_vec();
    frame.extend(OTHER.0);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(bytes);
    for role in [Role::None, Role::Asked, Role::Checked([7; 6])] {
        let heard = OURS.hear(&frame, |_| role);
        assert!(
            !matches!(heard, Heard::Question { .. } | Heard::Claim { .. }),
            "{heard:?} about an address that is not held"
        );
    }
    let heard = OURS.hear(&frame, |_| Role::Held);
    if let Heard::Question {
        answer: Some(answer),
        ..
    } = &heard
    {
        let (header, _) = Header::split(answer.as_bytes()).expect("our own frame");
        assert_eq!(header.source, OURS.mac, "who answers");
        assert_ne!(header.destination, OURS.mac, "an answer to ourselves");
    }
    heard
}

/// An ARP packet: read, written and read again, answered as it should be.
pub fn arp(data: &[u8]) {
    let heard = hear(ethernet::ARP, data);
    let Ok(packet) = Packet::parse(data) else {
        return assert!(
            !matches!(heard, Heard::Question { .. } | Heard::Claim { .. }),
            "{heard:?} of no packet"
        );
    };
    let written = payload(&packet.frame(OTHER), ethernet::ARP);
    assert_eq!(
        Packet::parse(&written).as_ref(),
        Ok(&packet),
        "written and read"
    );
    assert_eq!(written, &data[..written.len()], "written again");
    if let Heard::Question { vip, .. } = heard {
        assert_eq!(
            (packet.operation, vip),
            (Operation::Request, IpAddr::V4(packet.target_ip)),
            "a question"
        );
    }
    let reply = packet.reply(OURS.mac);
    let reply = Packet::parse(&payload(&reply.frame(packet.sender_mac), ethernet::ARP));
    assert_eq!(
        reply.map(|reply| reply.target_mac),
        Ok(packet.sender_mac),
        "an answer"
    );
}

/// An IPv6 packet with a neighbour message; every other one gets its checksum put right, or none would come far.
pub fn ndp(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    if mode & 1 != 0 {
        put_right(&mut bytes, mode & 2 != 0);
    }
    let heard = hear(ethernet::IPV6, &bytes);
    let Ok(message) = Message::parse(&bytes) else {
        return assert!(
            !matches!(heard, Heard::Question { .. } | Heard::Claim { .. }),
            "{heard:?} of no message"
        );
    };
    let written = payload(&message.frame(OURS.mac, OTHER), ethernet::IPV6);
    assert_eq!(
        Message::parse(&written).as_ref(),
        Ok(&message),
        "written and read"
    );
    if let Heard::Question { vip, answer, .. } = heard {
        assert_eq!(vip, IpAddr::V6(message.target), "a question");
        let answer = Message::parse(&payload(
            &answer.expect("the interface speaks IPv6"),
            ethernet::IPV6,
        ));
        let answer = answer.expect("our own answer");
        assert_eq!(
            (answer.source, answer.target),
            (message.target, message.target),
            "an answer"
        );
        let Body::Advertisement {
            router,
            overrides,
            target_mac,
            ..
        } = answer.body
        else {
            panic!("a question for an answer");
        };
        assert_eq!(
            (router, overrides, target_mac),
            (false, true, Some(OURS.mac)),
            "an answer"
        );
    }
}

/// Version, next header, hop limit, length and checksum as they should be.
fn put_right(bytes: &mut [u8], fixed: bool) {
    let Some((head, icmp)) = bytes.split_at_mut_checked(40) else {
        return;
    };
    if icmp.len() < 24 {
        return;
    }
    if fixed {
        (head[0], head[6], head[7]) = (0x60, 58, 255);
        let length = u16::try_from(icmp.len()).unwrap_or_default();
        head[4..6].copy_from_slice(&length.to_be_bytes());
        icmp[0] = 135 + icmp[0] % 2;
    }
    icmp[2..4].fill(0);
    let address = |at: usize| -> Ipv6Addr {
        <[u8; 16]>::try_from(&head[at..at + 16])
            .expect("16 octets")
            .into()
    };
    let mut sum: u32 = 58 + u32::try_from(icmp.len()).unwrap_or_default();
    for segment in address(8)
        .segments()
        .into_iter()
        .chain(address(24).segments())
    {
        sum += u32::from(segment);
    }
    for pair in icmp.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap_or_default();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
}
