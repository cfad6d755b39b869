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

fn held(address: IpAddr) -> Role {
    if address == VIP4 || address == VIP6 {
        Role::Held
    } else {
        Role::None
    }
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
        body: Body::Solicitation {
            source_mac,
            nonce: None,
        },
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
    } = mk_identity().hear(frame.as_bytes(), held)
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
        requester: OTHER,
        answer: None,
    };
    assert_eq!(mute.hear(frame.as_bytes(), held), expected);
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
            mk_identity().hear(frame.as_bytes(), held),
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
            mk_identity().hear(frame.as_bytes(), held),
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

const NONCE: Nonce = [1, 2, 3, 4, 5, 6];

#[test]
fn whoever_has_or_wants_an_address_under_check_is_a_rival() {
    let checked = |ip| {
        if held(ip) == Role::Held {
            Role::Checked(NONCE)
        } else {
            Role::None
        }
    };
    let all = MacAddr::of_group(ndp::ALL_NODES);
    let group = MacAddr::of_group(ndp::solicited_node(VIP6));
    let gratuitous = |form| arp::Packet::gratuitous(form, VIP4, OTHER).frame(MacAddr::BROADCAST);
    let request = |sender| mk_arp(Operation::Request, sender, VIP4).frame(MacAddr::BROADCAST);
    let answer = mk_arp(Operation::Reply, VIP4, Ipv4Addr::UNSPECIFIED).frame(US);
    let sourced = Message {
        source: VIP6,
        ..mk_solicitation(PEER6, Some(OTHER))
    };
    let probe = |nonce| {
        let body = Body::Solicitation {
            source_mac: None,
            nonce,
        };
        let probe = Message {
            body,
            ..Message::probe(VIP6, NONCE)
        };
        probe.frame(OTHER, group)
    };
    let rival = |vip| Heard::Rival { vip, mac: OTHER };
    let (v4, v6) = (IpAddr::V4(VIP4), IpAddr::V6(VIP6));
    let table = [
        ("the answer of its owner", answer, rival(v4)),
        ("announced", gratuitous(Operation::Request), rival(v4)),
        (
            "announced by a reply",
            gratuitous(Operation::Reply),
            rival(v4),
        ),
        ("another's probe", request(Ipv4Addr::UNSPECIFIED), rival(v4)),
        ("somebody looks for it", request(PEER4), Heard::Nothing),
        (
            "advertised",
            mk_advertisement(Some(OTHER)).frame(OTHER, all),
            rival(v6),
        ),
        ("solicits from it", sourced.frame(OTHER, group), rival(v6)),
        ("probe without nonce", probe(None), rival(v6)),
        ("probe with another nonce", probe(Some([0; 6])), rival(v6)),
        (
            "our own probe come back",
            probe(Some(NONCE)),
            Heard::Nothing,
        ),
        (
            "somebody looks for it by NDP",
            mk_solicitation(VIP6, Some(OTHER)).frame(OTHER, group),
            Heard::Nothing,
        ),
    ];
    for (name, frame, expected) in table {
        let heard = mk_identity().hear(frame.as_bytes(), checked);
        assert_eq!(heard, expected, "{name}");
    }
}

#[test]
fn only_an_answer_to_us_is_a_witness() {
    let asked = |ip: IpAddr| match held(ip) {
        Role::None if ip == PEER4 || ip == PEER6 => Role::Asked,
        role => role,
    };
    let reply = |target| arp::Packet {
        target_mac: target,
        ..mk_arp(Operation::Reply, PEER4, Ipv4Addr::UNSPECIFIED)
    };
    let advertised = |solicited| Message {
        destination: if solicited { PEER6 } else { ndp::ALL_NODES },
        target: PEER6,
        body: Body::Advertisement {
            router: true,
            solicited,
            overrides: true,
            target_mac: Some(OTHER),
        },
        ..Message::unsolicited(VIP6, OTHER)
    };
    let all = MacAddr::of_group(ndp::ALL_NODES);
    let gratuitous = arp::Packet::gratuitous(Operation::Reply, PEER4, OTHER);
    let witness = |ip| Heard::Witness { ip, mac: OTHER };
    let table = [
        ("reply", reply(US).frame(US), witness(IpAddr::V4(PEER4))),
        (
            "reply to another",
            reply(THIRD).frame(MacAddr::BROADCAST),
            Heard::Nothing,
        ),
        (
            "gratuitous",
            gratuitous.frame(MacAddr::BROADCAST),
            Heard::Nothing,
        ),
        (
            "advertised",
            advertised(true).frame(OTHER, US),
            witness(IpAddr::V6(PEER6)),
        ),
        (
            "unsolicited",
            advertised(false).frame(OTHER, all),
            Heard::Nothing,
        ),
    ];
    for (name, frame, expected) in table {
        let heard = mk_identity().hear(frame.as_bytes(), asked);
        assert_eq!(heard, expected, "{name}");
    }
    let question = mk_arp(Operation::Request, PEER4, VIP4).frame(US);
    let heard = mk_identity().hear(question.as_bytes(), asked);
    assert!(
        matches!(heard, Heard::Question { .. }),
        "whom we ask may ask us: {heard:?}"
    );
}

#[test]
fn probes_and_questions_go_to_everyone_who_may_have_the_address() {
    let us = mk_identity();
    let parse4 = |frame: &Frame| arp::Packet::parse(&frame.as_bytes()[14..]).unwrap();
    let probe = us.probe(VIP4.into(), NONCE).unwrap();
    assert_eq!(
        (parse4(&probe).sender_ip, parse4(&probe).target_ip),
        (Ipv4Addr::UNSPECIFIED, VIP4)
    );
    assert_eq!(parse4(&us.ask4(PEER4, VIP4)).sender_ip, PEER4);
    let group = MacAddr::of_group(ndp::solicited_node(VIP6));
    let table = [
        (us.probe(VIP6.into(), NONCE).unwrap(), None, Some(NONCE)),
        (us.ask6(PEER6, VIP6), Some(US), None),
    ];
    for (frame, source_mac, nonce) in table {
        let (header, payload) = Header::split(frame.as_bytes()).unwrap();
        assert_eq!(header.destination, group);
        let body = Message::parse(payload).unwrap().body;
        assert_eq!(body, Body::Solicitation { source_mac, nonce });
    }
    let mute = Identity { ipv6: false, ..us };
    assert_eq!(mute.probe(VIP6.into(), NONCE), None);
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
        if let Heard::Question { answer: Some(answer), .. } = mk_identity().hear(&frame, |_| Role::Held) {
            let (header, _) = Header::split(answer.as_bytes()).unwrap();
            let all_nodes = MacAddr::of_group(ndp::ALL_NODES);
            prop_assert!(header.destination.is_station() || header.destination == all_nodes);
        }
    }
}
