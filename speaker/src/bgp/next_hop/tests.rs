use portolan_proto::bgp::Asn;
use portolan_proto::bgp::session::PeerAs;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::super::Distance;
use super::super::tests::{mk_spec, mk_unnumbered};
use super::*;

const UP: LinkFlags = LinkFlags::Up.union(LinkFlags::Running);

/// A node with `eth0` (index 2) and these addresses on it.
fn mk_links(flags: LinkFlags, addresses: &[(&str, u8, AddressFlags)]) -> Links {
    let mut links = Links::default();
    let mut link = LinkMessage::default();
    link.header.index = 2;
    link.header.flags = flags;
    link.attributes = vec![LinkAttribute::IfName("eth0".into())];
    links.apply(&RouteNetlinkMessage::NewLink(link));
    for (address, prefix_len, flags) in addresses {
        let mut message = AddressMessage::default();
        message.header.index = 2;
        message.header.prefix_len = *prefix_len;
        message.attributes = vec![
            AddressAttribute::Address(ip(address)),
            AddressAttribute::Flags(*flags),
        ];
        links.apply(&RouteNetlinkMessage::NewAddress(message));
    }
    links
}

fn mk_dual_stack() -> PeerSpec {
    PeerSpec {
        dual_stack: true,
        ..mk_spec("tor", 179)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const NONE: AddressFlags = AddressFlags::empty();

fn usual() -> Links {
    mk_links(
        UP,
        &[
            ("10.0.0.2", 24, NONE),
            ("192.0.2.80", 32, NONE),
            ("2001:db8::2", 64, NONE),
            ("fe80::2", 64, NONE),
        ],
    )
}

#[test]
fn each_family_has_an_address_of_the_sessions_interface() {
    let (v4, v6, fe80) = ("10.0.0.2", "2001:db8::2", "fe80::2");
    let both = mk_dual_stack();
    let single = mk_spec("tor", 179);
    let eth0 = PeerSpec {
        remote: mk_unnumbered("eth0"),
        ..mk_spec("tor", 179)
    };
    for (row, spec, local, remote, want) in [
        (
            "IPv4 alone",
            &single,
            v4,
            "10.0.0.1",
            [Some(v4), None, None],
        ),
        (
            "IPv6 alone, on the link",
            &single,
            v6,
            "2001:db8::1",
            [None, Some(v6), Some(fe80)],
        ),
        (
            "IPv6 alone, far away",
            &single,
            v6,
            "2001:db8:1::1",
            [None, Some(v6), None],
        ),
        (
            "both by IPv4",
            &both,
            v4,
            "10.0.0.1",
            [Some(v4), Some(v6), Some(fe80)],
        ),
        (
            "both by IPv6",
            &both,
            v6,
            "2001:db8::1",
            [Some(v4), Some(v6), Some(fe80)],
        ),
        (
            "unnumbered",
            &eth0,
            fe80,
            "fe80::1",
            [None, Some(v6), Some(fe80)],
        ),
        (
            "an address that no link has",
            &both,
            "10.9.9.9",
            "10.0.0.1",
            [Some("10.9.9.9"), None, None],
        ),
    ] {
        let got = of(&usual(), spec, ip(local), ip(remote));
        let got = [
            got.v4.map(IpAddr::V4),
            got.v6.map(IpAddr::V6),
            got.link_local.map(IpAddr::V6),
        ];
        assert_eq!(got, want.map(|address| address.map(ip)), "{row}");
    }
}

#[test]
fn an_address_that_is_not_ready_or_about_to_go_is_the_last_choice() {
    let table: &[(&str, [AddressFlags; 2], Option<&str>)] = &[
        ("both good", [NONE, NONE], Some("2001:db8::2")),
        (
            "the first is deprecated",
            [AddressFlags::Deprecated, NONE],
            Some("2001:db8::3"),
        ),
        (
            "the first is tentative",
            [AddressFlags::Tentative, NONE],
            Some("2001:db8::3"),
        ),
        (
            "both are deprecated",
            [AddressFlags::Deprecated, AddressFlags::Deprecated],
            Some("2001:db8::2"),
        ),
        (
            "neither is ready",
            [AddressFlags::Tentative, AddressFlags::Dadfailed],
            None,
        ),
    ];
    for (row, [first, second], want) in table {
        let addresses = [
            ("10.0.0.2", 24, NONE),
            ("2001:db8::2", 64, *first),
            ("2001:db8::3", 64, *second),
        ];
        let links = mk_links(UP, &addresses);
        let got = of(&links, &mk_dual_stack(), ip("10.0.0.2"), ip("10.0.0.1"));
        assert_eq!(got.v6.map(IpAddr::V6), want.map(ip), "{row}");
    }
}

#[test]
fn a_session_ends_with_its_link_or_its_address() {
    let direct = mk_spec("tor", 179);
    let far = PeerSpec {
        distance: Distance::Multihop,
        ..direct.clone()
    };
    let internal = PeerSpec {
        peer_as: PeerAs::Exactly(Asn::new(65001).unwrap()),
        ..direct.clone()
    };
    let address = [("10.0.0.2", 24, NONE)];
    let up = mk_links(UP, &address);
    let down = mk_links(LinkFlags::Up, &address);
    let bare = mk_links(UP, &[]);
    for (row, links, spec, remote, want) in [
        ("all is well", &up, &direct, "10.0.0.1", None),
        ("no carrier", &down, &direct, "10.0.0.1", Some("eth0")),
        ("no address", &bare, &direct, "10.0.0.1", Some("10.0.0.2")),
        ("no carrier, far peer", &down, &far, "10.9.0.1", None),
        (
            "no address, far peer",
            &bare,
            &far,
            "10.9.0.1",
            Some("10.0.0.2"),
        ),
        (
            "no carrier, internal beside us",
            &down,
            &internal,
            "10.0.0.1",
            Some("eth0"),
        ),
        (
            "no carrier, internal far away",
            &down,
            &internal,
            "10.9.0.1",
            None,
        ),
        (
            "nobody watches",
            &Links::default(),
            &direct,
            "10.0.0.1",
            None,
        ),
    ] {
        let fault = fault(links, spec, ip("10.0.0.2"), ip(remote));
        match want {
            None => assert_eq!(fault, None, "{row}"),
            Some(word) => assert!(fault.is_some_and(|it| it.contains(word)), "{row}"),
        }
    }
}

#[test]
fn an_address_on_two_links_is_there_as_long_as_one_of_them_is() {
    let mut links = mk_links(LinkFlags::Up, &[("10.0.0.2", 32, NONE)]);
    let mut second = LinkMessage::default();
    second.header.index = 3;
    second.header.flags = UP;
    second.attributes = vec![LinkAttribute::IfName("eth1".into())];
    links.apply(&RouteNetlinkMessage::NewLink(second));
    let mut message = AddressMessage::default();
    message.header.index = 3;
    message.header.prefix_len = 24;
    message.attributes = vec![AddressAttribute::Address(ip("10.0.0.2"))];
    links.apply(&RouteNetlinkMessage::NewAddress(message));
    let spec = mk_dual_stack();
    let fault = fault(&links, &spec, ip("10.0.0.2"), ip("10.0.0.1"));
    assert_eq!(fault, None, "eth1 is up");

    let mut message = AddressMessage::default();
    message.header.index = 3;
    message.header.prefix_len = 64;
    message.attributes = vec![AddressAttribute::Address(ip("2001:db8::3"))];
    links.apply(&RouteNetlinkMessage::NewAddress(message));
    let hops = of(&links, &spec, ip("10.0.0.2"), ip("10.0.0.1"));
    assert_eq!(hops.v6.map(IpAddr::V6), Some(ip("2001:db8::3")));
}

#[test]
fn only_a_next_hop_that_is_gone_or_was_missing_is_a_reason_to_begin_anew() {
    let links = usual();
    let hops = |v4: Option<&str>, v6: Option<&str>| NextHops {
        v4: v4.map(|text| text.parse().unwrap()),
        v6: v6.map(|text| text.parse().unwrap()),
        link_local: None,
    };
    let fresh = hops(Some("10.0.0.2"), Some("2001:db8::2"));
    for (row, held, holds) in [
        ("the same", fresh, true),
        (
            "another that is still there",
            hops(Some("192.0.2.80"), Some("2001:db8::2")),
            true,
        ),
        (
            "one is gone",
            hops(Some("10.0.0.2"), Some("2001:db8::9")),
            false,
        ),
        ("one has come", hops(Some("10.0.0.2"), None), false),
    ] {
        assert_eq!(still_hold(&links, &held, &fresh), holds, "{row}");
    }
    let none = hops(Some("10.0.0.2"), None);
    let lost = hops(Some("10.0.0.2"), Some("2001:db8::9"));
    assert!(
        !still_hold(&links, &lost, &none),
        "the router would go on sending to an address that nobody has"
    );
    let checked = [("2001:db8::9", 64, AddressFlags::Tentative)];
    assert!(
        still_hold(
            &mk_links(UP, &checked),
            &hops(None, Some("2001:db8::9")),
            &hops(None, None)
        ),
        "it is about to be there again"
    );
}

#[test]
fn the_way_to_a_direct_peer_is_an_interface_that_is_up_and_has_an_address() {
    let spec = PeerSpec {
        source: None,
        remote: Remote::Address(ip("10.0.0.1")),
        ..mk_spec("tor", 179)
    };
    let far = PeerSpec {
        source: None,
        remote: Remote::Address(ip("10.9.0.1")),
        ..mk_spec("tor", 179)
    };
    let unnumbered = PeerSpec {
        source: None,
        remote: mk_unnumbered("eth0"),
        ..mk_spec("tor", 179)
    };
    let from = |source: &str, remote: &str| PeerSpec {
        source: Some(ip(source)),
        remote: Remote::Address(ip(remote)),
        ..mk_spec("tor", 179)
    };
    let six = PeerSpec {
        source: None,
        remote: Remote::Address(ip("2001:db8::1")),
        ..mk_spec("tor", 179)
    };
    let with_v6 = |flags| mk_links(UP, &[("10.0.0.2", 24, NONE), ("2001:db8::2", 64, flags)]);
    let down = mk_links(LinkFlags::Up, &[("10.0.0.2", 24, NONE)]);
    let bare = mk_links(UP, &[]);
    for (row, links, spec, want) in [
        ("up", usual(), &spec, Some(2)),
        ("no carrier", down, &spec, None),
        ("no address", bare.clone(), &spec, None),
        ("behind a router", usual(), &far, None),
        (
            "its own address is there",
            usual(),
            &from("192.0.2.80", "10.0.0.1"),
            Some(2),
        ),
        (
            "its own address is gone",
            usual(),
            &from("10.0.0.3", "10.0.0.1"),
            None,
        ),
        (
            "its own address is there, the peer is not near",
            usual(),
            &from("10.0.0.2", "10.9.0.1"),
            Some(2),
        ),
        ("IPv6", with_v6(NONE), &six, Some(2)),
        (
            "IPv6, checked for duplicates still",
            with_v6(AddressFlags::Tentative),
            &six,
            None,
        ),
        ("by name", usual(), &unnumbered, Some(2)),
        ("by name, no address", bare, &unnumbered, None),
    ] {
        assert_eq!(way(&links, spec).map(|(index, _)| index), want, "{row}");
    }
}
