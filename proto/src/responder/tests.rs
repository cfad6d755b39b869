use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const THIRD: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x33]);
const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const PEER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const PEER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);

fn mk_identity() -> Identity {
    Identity {
        mac: US,
        ipv6: true,
    }
}

fn holds(address: IpAddr) -> bool {
    address == VIP4 || address == VIP6
}

fn mk_arp(operation: Operation, sender: Ipv4Addr, target: Ipv4Addr) -> arp::Packet {
    arp::Packet {
        operation,
        sender_mac: OTHER,
        sender_ip: sender,
        target_mac: MacAddr::ZERO,
        target_ip: target,
    }
}

fn mk_solicitation(target: Ipv6Addr, source_mac: Option<MacAddr>) -> Message {
    Message {
        source: PEER6,
        destination: ndp::solicited_node(target),
        target,
        body: Body::Solicitation { source_mac },
    }
}

fn mk_advertisement(target_mac: Option<MacAddr>) -> Message {
    Message {
        body: Body::Advertisement {
            router: false,
            solicited: false,
            overrides: true,
            target_mac,
        },
        ..Message::unsolicited(VIP6, OTHER)
    }
}

fn answer_to(frame: &Frame) -> (MacAddr, MacAddr) {
    let Heard::Question {
        answer: Some(answer),
        ..
    } = mk_identity().hear(frame.as_bytes(), holds)
    else {
        panic!("no answer to {frame:?}");
    };
    let (header, _) = Header::split(answer.as_bytes()).unwrap();
    (header.source, header.destination)
}

#[test]
fn arp_requests_and_probes_are_answered_to_the_sender_alone() {
    for (name, sender, destination) in [
        ("broadcast", PEER4, MacAddr::BROADCAST),
        ("unicast", PEER4, US),
        ("probe", Ipv4Addr::UNSPECIFIED, MacAddr::BROADCAST),
    ] {
        let frame = mk_arp(Operation::Request, sender, VIP4).frame(destination);
        assert_eq!(answer_to(&frame), (US, OTHER), "{name}");
    }
}

#[test]
fn solicitations_are_answered_to_the_one_who_asks() {
    let group = MacAddr::of_group(ndp::solicited_node(VIP6));
    let probe = Message {
        source: Ipv6Addr::UNSPECIFIED,
        ..mk_solicitation(VIP6, None)
    };
    let unicast = Message {
        destination: VIP6,
        ..mk_solicitation(VIP6, None)
    };
    let strange = mk_solicitation(VIP6, Some(MacAddr::BROADCAST));
    let all = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    let table = [
        (
            "multicast",
            mk_solicitation(VIP6, Some(OTHER)),
            group,
            OTHER,
        ),
        (
            "option differs from frame",
            mk_solicitation(VIP6, Some(THIRD)),
            group,
            THIRD,
        ),
        ("unicast without option", unicast, US, OTHER),
        ("duplicate address probe", probe, group, all),
        ("option that names everyone", strange, group, OTHER),
    ];
    for (name, message, destination, to) in table {
        assert_eq!(
            answer_to(&message.frame(OTHER, destination)),
            (US, to),
            "{name}"
        );
    }
}

#[test]
fn where_ipv6_is_off_a_question_is_seen_but_not_answered() {
    let mute = Identity {
        ipv6: false,
        ..mk_identity()
    };
    let frame = mk_solicitation(VIP6, None).frame(OTHER, US);
    let expected = Heard::Question {
        vip: VIP6.into(),
        answer: None,
    };
    assert_eq!(mute.hear(frame.as_bytes(), holds), expected);
    assert!(!mute.speaks_for(VIP6.into()) && mute.speaks_for(VIP4.into()));
    assert_eq!(mute.announcement(VIP6.into()).count(), 0);
}

#[test]
fn frames_that_are_not_for_us_are_left_alone() {
    let request = mk_arp(Operation::Request, PEER4, VIP4);
    let own = arp::Packet {
        sender_mac: US,
        ..request
    };
    let foreign = mk_arp(Operation::Request, PEER4, PEER4);
    let unheld = mk_solicitation(PEER6, None);
    let table = [
        ("unicast to another station", request.frame(THIRD)),
        ("our own, looped back", own.frame(MacAddr::BROADCAST)),
        (
            "for an address that is not ours",
            foreign.frame(MacAddr::BROADCAST),
        ),
        (
            "somebody's reply",
            mk_arp(Operation::Reply, PEER4, VIP4).frame(US),
        ),
        (
            "solicitation for another",
            unheld.frame(OTHER, MacAddr::of_group(ndp::ALL_NODES)),
        ),
        (
            "our own advertisement",
            mk_advertisement(Some(US)).frame(US, MacAddr::BROADCAST),
        ),
    ];
    for (name, frame) in table {
        assert_eq!(
            mk_identity().hear(frame.as_bytes(), holds),
            Heard::Nothing,
            "{name}"
        );
    }
}

#[test]
fn whoever_else_uses_our_address_is_a_claimant() {
    let gratuitous = |form| arp::Packet::gratuitous(form, VIP4, OTHER).frame(MacAddr::BROADCAST);
    let sourced = Message {
        source: VIP6,
        ..mk_solicitation(PEER6, Some(OTHER))
    };
    let all = MacAddr::of_group(ndp::ALL_NODES);
    let table: [(&str, Frame, IpAddr); 6] = [
        (
            "gratuitous request",
            gratuitous(Operation::Request),
            VIP4.into(),
        ),
        (
            "gratuitous reply",
            gratuitous(Operation::Reply),
            VIP4.into(),
        ),
        (
            "asks from it",
            mk_arp(Operation::Request, VIP4, PEER4).frame(all),
            VIP4.into(),
        ),
        (
            "advertisement",
            mk_advertisement(Some(OTHER)).frame(OTHER, all),
            VIP6.into(),
        ),
        (
            "no option",
            mk_advertisement(None).frame(OTHER, all),
            VIP6.into(),
        ),
        ("solicits from it", sourced.frame(OTHER, all), VIP6.into()),
    ];
    for (name, frame, vip) in table {
        let expected = Heard::Claim { vip, mac: OTHER };
        assert_eq!(
            mk_identity().hear(frame.as_bytes(), holds),
            expected,
            "{name}"
        );
    }
}

#[test]
fn ipv4_is_announced_in_both_forms_and_ipv6_once() {
    let us = mk_identity();
    let forms: Vec<_> = us
        .announcement(VIP4.into())
        .map(|frame| {
            arp::Packet::parse(&frame.as_bytes()[14..])
                .unwrap()
                .operation
        })
        .collect();
    assert_eq!(forms, [Operation::Request, Operation::Reply]);
    assert_eq!(us.announcement(VIP6.into()).count(), 1);
}

proptest! {
    #[test]
    fn hostile_frames_never_panic_and_never_get_an_answer_to_a_group(
        head in proptest::sample::select(vec![ethernet::ARP, ethernet::IPV6]),
        rest in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = [MacAddr::BROADCAST.0, OTHER.0].concat();
        frame.extend(head.to_be_bytes());
        frame.extend(rest);
        if let Heard::Question { answer: Some(answer), .. } = mk_identity().hear(&frame, |_| true) {
            let (header, _) = Header::split(answer.as_bytes()).unwrap();
            let all_nodes = MacAddr::of_group(ndp::ALL_NODES);
            prop_assert!(header.destination.is_station() || header.destination == all_nodes);
        }
    }
}
