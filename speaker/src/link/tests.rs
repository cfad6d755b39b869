use rtnetlink::packet_route::link::{Inet6DevConf, InfoKind};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn mk_link(index: u32, name: &str, flags: LinkFlags, carrier_ups: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = flags;
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Address(MAC.to_vec()),
        LinkAttribute::CarrierUpCount(carrier_ups),
    ];
    message
}

fn mk_running(index: u32, name: &str) -> LinkMessage {
    mk_link(index, name, running(), 1)
}

fn running() -> LinkFlags {
    LinkFlags::Up | LinkFlags::Running | LinkFlags::Broadcast | LinkFlags::Multicast
}

fn mk_address(index: u32, ip: &str, flags: AddressFlags) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = 64;
    message.attributes = vec![
        AddressAttribute::Address(ip.parse().unwrap()),
        AddressAttribute::Flags(flags),
    ];
    message
}

fn mk_links(messages: Vec<RouteNetlinkMessage>) -> Links {
    let mut links = Links::default();
    for message in messages {
        links.apply(&message);
    }
    links
}

fn new_link(message: LinkMessage) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(message)
}

fn ups(links: &Links) -> u64 {
    links.get(2).unwrap().ups
}

#[test]
fn a_link_is_read_with_its_kind_master_and_mac() {
    let mut message = mk_running(2, "eth0");
    message.attributes.push(LinkAttribute::Controller(5));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
            InfoKind::Veth,
        )]));
    let links = mk_links(vec![new_link(message)]);
    let link = links.named("eth0").unwrap();
    assert_eq!(link.mac, Some(MacAddr(MAC)));
    assert_eq!((link.kind.as_deref(), link.master), (Some("veth"), Some(5)));
}

#[test]
fn only_segments_of_their_own_right_can_speak_arp() {
    let table = [
        ("plain", running(), None, true),
        (
            "no carrier",
            LinkFlags::Up | LinkFlags::Broadcast,
            None,
            true,
        ),
        ("down", LinkFlags::Broadcast, None, false),
        (
            "bridge port",
            running(),
            Some(LinkAttribute::Controller(3)),
            false,
        ),
        ("NOARP", running() | LinkFlags::Noarp, None, false),
        ("loopback", running() | LinkFlags::Loopback, None, false),
        (
            "point to point",
            LinkFlags::Up | LinkFlags::Running,
            None,
            false,
        ),
        (
            "no MAC",
            running(),
            Some(LinkAttribute::Address(vec![0; 6])),
            false,
        ),
        (
            "infiniband",
            running(),
            Some(LinkAttribute::Address(vec![1; 20])),
            false,
        ),
    ];
    for (name, flags, attribute, expected) in table {
        let mut message = mk_link(2, "eth0", flags, 1);
        message.attributes.extend(attribute);
        let links = mk_links(vec![new_link(message)]);
        assert_eq!(
            links.get(2).unwrap().is_broadcast_segment(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_link_that_comes_up_again_is_counted_even_if_its_going_down_was_missed() {
    let mut links = mk_links(vec![new_link(mk_running(2, "eth0"))]);
    assert_eq!(ups(&links), 0);
    links.apply(&new_link(mk_running(2, "eth0")));
    assert_eq!(ups(&links), 0, "the same again");
    links.apply(&new_link(mk_link(
        2,
        "eth0",
        LinkFlags::Up | LinkFlags::Broadcast,
        1,
    )));
    assert_eq!(ups(&links), 0, "down");
    links.apply(&new_link(mk_running(2, "eth0")));
    assert_eq!(ups(&links), 1, "up again");
    links.apply(&new_link(mk_link(2, "eth0", running(), 3)));
    assert_eq!(ups(&links), 2, "the carrier came back unseen");
}

#[test]
fn a_bond_that_fails_over_counts_as_coming_up() {
    let mut links = mk_links(vec![new_link(mk_running(2, "bond0"))]);
    for (event, expected) in [
        (LinkEvent::Features, 0),
        (LinkEvent::BondingFailover, 1),
        (LinkEvent::NotifyPeers, 2),
    ] {
        let mut message = mk_running(2, "bond0");
        message.attributes.push(LinkAttribute::Event(event));
        links.apply(&new_link(message));
        assert_eq!(ups(&links), expected, "{event:?}");
    }
}

#[test]
fn a_new_dump_continues_the_count() {
    let mut old = mk_links(vec![new_link(mk_running(2, "eth0"))]);
    old.apply(&new_link(mk_link(2, "eth0", running(), 2)));
    let mut same = mk_links(vec![new_link(mk_link(2, "eth0", running(), 2))]);
    same.succeed(&old);
    assert_eq!(same, old);
    let mut flapped = mk_links(vec![new_link(mk_link(2, "eth0", running(), 3))]);
    flapped.succeed(&old);
    assert_eq!(ups(&flapped), 2);
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_a_deleted_link() {
    let mut links = mk_links(vec![new_link(mk_running(2, "eth0"))]);
    let mut left = mk_running(2, "eth0");
    left.header.interface_family = AddressFamily::Bridge;
    links.apply(&RouteNetlinkMessage::DelLink(left));
    assert!(links.get(2).is_some());
    links.apply(&RouteNetlinkMessage::DelLink(mk_running(2, "eth0")));
    assert!(links.get(2).is_none());
}

#[test]
fn the_link_local_address_counts_once_duplicate_detection_is_over() {
    let mut links = mk_links(vec![new_link(mk_running(2, "eth0"))]);
    let none = AddressFlags::empty();
    let both = AddressFlags::Tentative | AddressFlags::Optimistic;
    let local: Ipv6Addr = "fe80::1".parse().unwrap();
    let table = [
        ("2001:db8::1", none, None),
        ("fe80::1", AddressFlags::Tentative, None),
        ("fe80::1", AddressFlags::Dadfailed, None),
        ("fe80::1", both, Some(local)),
        ("fe80::1", AddressFlags::Permanent, Some(local)),
    ];
    for (ip, flags, expected) in table {
        links.apply(&RouteNetlinkMessage::NewAddress(mk_address(2, ip, flags)));
        let link = links.get(2).unwrap();
        assert_eq!(link.link_local(), expected, "{ip} {flags:?}");
    }
    links.apply(&RouteNetlinkMessage::DelAddress(mk_address(
        2, "fe80::1", none,
    )));
    assert_eq!(links.get(2).unwrap().link_local(), None);
    assert!(links.holder("2001:db8::1".parse().unwrap()).is_some());
}

#[test]
fn addresses_survive_changes_of_the_link_and_local_wins_over_the_other_end() {
    let mut links = mk_links(vec![new_link(mk_running(2, "ppp0"))]);
    let mut message = mk_address(2, "192.0.2.2", AddressFlags::empty());
    message
        .attributes
        .push(AddressAttribute::Local("192.0.2.1".parse().unwrap()));
    links.apply(&RouteNetlinkMessage::NewAddress(message));
    links.apply(&new_link(mk_link(2, "ppp0", LinkFlags::Broadcast, 1)));
    let holder = |ip: &str| links.holder(ip.parse().unwrap()).map(|link| link.index);
    assert_eq!((holder("192.0.2.1"), holder("192.0.2.2")), (Some(2), None));
}

#[test]
fn ipv6_is_on_when_the_link_says_so_until_its_link_local_address_goes() {
    let mk_conf = |disabled| {
        let mut conf = Inet6DevConf::default();
        conf.disable_ipv6 = disabled;
        let mut message = mk_running(2, "eth0");
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::DevConf(conf)]);
        message
            .attributes
            .push(LinkAttribute::AfSpecUnspec(vec![inet6]));
        new_link(message)
    };
    let mk = |ip| mk_address(2, ip, AddressFlags::empty());
    let table = [
        (
            "no IPv6 in the kernel",
            new_link(mk_running(2, "eth0")),
            false,
        ),
        ("on", mk_conf(0), true),
        (
            "global address goes",
            RouteNetlinkMessage::DelAddress(mk("2001:db8::1")),
            true,
        ),
        (
            "link-local address goes",
            RouteNetlinkMessage::DelAddress(mk("fe80::1")),
            false,
        ),
        (
            "link-local address comes",
            RouteNetlinkMessage::NewAddress(mk("fe80::1")),
            true,
        ),
        ("off", mk_conf(1), false),
    ];
    let mut links = Links::default();
    for (name, message, expected) in table {
        links.apply(&message);
        assert_eq!(links.get(2).unwrap().ipv6, expected, "{name}");
    }
}
