//! Interfaces that come, go and change.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portolan_proto::announcer::{REPEAT, ROUNDS};
use portolan_proto::arp::Packet;
use portolan_proto::ndp;

use super::super::*;
use super::lan::{Far, Frames, OTHER, command, ip, on_a_lan, until};

const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const CLIENT4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

fn only(name: &str) -> Interfaces {
    Interfaces::Named([name.to_owned()].into())
}

/// Whether the kernel listens to the group of `VIP6` on the interface.
fn is_member(interface: &str) -> bool {
    let group = ndp::solicited_node(VIP6);
    let hex: String = group.segments().map(|it| format!("{it:04x}")).concat();
    let groups = std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap();
    groups
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|words| words.get(1) == Some(&interface) && words.get(2) == Some(&hex.as_str()))
}

#[test]
fn an_interface_that_is_not_meant_stays_silent() {
    on_a_lan(|lan| {
        ip("link add lan1 type veth peer name far1");
        ip("link set lan1 up");
        ip("link set far1 up");
        lan.apply(&[VIP4.into()], &only("lan1"), Duration::ZERO);
        let far1 = Far::open("far1");
        far1.next(|it| it.announced() == Some(VIP4.into()));
        let request = Packet::request(CLIENT4, VIP4, OTHER).frame(MacAddr::BROADCAST);
        lan.far.send(&request);
        assert_eq!(
            far1.until_answered(VIP4.into())
                .iter()
                .filter_map(Frames::arp)
                .filter(|it| it.target_ip == CLIENT4)
                .count(),
            0
        );
        let heard = lan
            .far
            .all(Duration::from_millis(200), |it| it.arp().is_some());
        assert_eq!(heard.len(), 0, "{heard:?}");
    });
}

#[test]
fn a_carrier_that_comes_back_starts_a_new_burst() {
    on_a_lan(|lan| {
        lan.hold(&[VIP4.into()]);
        lan.far.all(REPEAT * u32::from(ROUNDS), |_| false);
        ip("link set far0 down");
        until("the loss to be seen", || {
            lan.l2.status().vips[&VIP4.into()].interfaces.is_empty()
        });
        ip("link set far0 up");
        lan.far.next(|it| it.announced() == Some(VIP4.into()));
        lan.far.until_answered(VIP4.into());
    });
}

#[test]
fn another_hardware_address_is_announced_and_answered_with() {
    on_a_lan(|lan| {
        lan.hold(&[VIP4.into()]);
        lan.far.all(REPEAT * u32::from(ROUNDS), |_| false);
        let new = MacAddr([2, 0, 0, 0, 0, 0x77]);
        ip("link set lan0 address 02:00:00:00:00:77");
        let announced = lan.far.next(|it| it.announced() == Some(VIP4.into()));
        assert_eq!(announced.header.source, new);
        let request = Packet::request(CLIENT4, VIP4, OTHER).frame(new);
        lan.far.send(&request);
        let reply = lan
            .far
            .next(|it| it.arp().is_some_and(|it| it.target_ip == CLIENT4));
        assert_eq!(reply.arp().unwrap().sender_mac, new);
    });
}

#[test]
fn an_interface_that_is_created_again_or_renamed_is_served_again() {
    on_a_lan(|lan| {
        lan.apply(&[VIP4.into()], &only("lan0"), Duration::ZERO);
        lan.far.next(|it| it.announced() == Some(VIP4.into()));
        ip("link del lan0");
        ip("link add lan0 type veth peer name far0");
        ip("link set far0 address 02:00:00:00:00:98");
        ip("link set lan0 up");
        ip("link set far0 up");
        lan.far = Far::open("far0");
        lan.far.next(|it| it.announced() == Some(VIP4.into()));
        lan.far.finds(VIP4);
        ip("link set lan0 down");
        ip("link set lan0 name lan9");
        ip("link set lan9 up");
        until("the old name to be out of service", || {
            lan.l2.status().vips[&VIP4.into()].interfaces.is_empty()
        });
        lan.apply(&[VIP4.into()], &only("lan9"), Duration::ZERO);
        lan.far.next(|it| it.announced() == Some(VIP4.into()));
        lan.far.finds(VIP4);
    });
}

#[test]
fn the_bridge_answers_and_its_ports_do_not() {
    on_a_lan(|lan| {
        lan.hold(&[VIP4.into()]);
        ip("link add br0 address 02:00:00:00:00:b0 type bridge");
        ip("link set lan0 master br0");
        ip("link set br0 up");
        let bridge = MacAddr([2, 0, 0, 0, 0, 0xb0]);
        let announced = lan
            .far
            .next(|it| it.announced() == Some(VIP4.into()) && it.header.source == bridge);
        assert_eq!(announced.arp().unwrap().sender_mac, bridge);
        until("the port to be out of service", || {
            let status = lan.l2.status();
            status.vips[&VIP4.into()].interfaces.keys().eq(["br0"])
        });
        lan.far
            .send(&Packet::request(CLIENT4, VIP4, OTHER).frame(MacAddr::BROADCAST));
        let heard = lan.far.until_answered(VIP4.into());
        let replies: Vec<_> = heard
            .iter()
            .filter_map(Frames::arp)
            .filter(|it| it.target_ip == CLIENT4)
            .map(|it| it.sender_mac)
            .collect();
        assert_eq!(replies, [bridge]);
        // A bridge without an address of its own takes the lowest of its ports; it may change.
        ip("link set br0 address 02:00:00:00:00:b1");
        let changed = MacAddr([2, 0, 0, 0, 0, 0xb1]);
        lan.far
            .next(|it| it.announced() == Some(VIP4.into()) && it.header.source == changed);
    });
}

#[test]
fn an_interface_on_top_of_another_answers_for_itself_alone() {
    on_a_lan(|lan| {
        ip("link add link lan0 name top0 address 02:00:00:00:00:70 type macvlan mode bridge");
        ip("link set top0 up");
        lan.apply(&[VIP4.into()], &only("top0"), Duration::ZERO);
        let top = MacAddr([2, 0, 0, 0, 0, 0x70]);
        lan.far.next(|it| it.announced() == Some(VIP4.into()));
        for to in [MacAddr::BROADCAST, top] {
            lan.far
                .send(&Packet::request(CLIENT4, VIP4, OTHER).frame(to));
            let reply = lan
                .far
                .next(|it| it.arp().is_some_and(|it| it.target_ip == CLIENT4));
            assert_eq!(reply.arp().unwrap().sender_mac, top, "asked {to}");
            let more = lan.far.until_answered(VIP4.into());
            let more = more
                .iter()
                .filter_map(Frames::arp)
                .filter(|it| it.target_ip == CLIENT4);
            assert_eq!(more.count(), 0, "a second answer to {to}");
        }
    });
}

#[test]
fn interfaces_that_cannot_speak_arp_are_left_alone() {
    on_a_lan(|lan| {
        ip("link set lan0 down");
        ip("link set lan0 arp off");
        ip("link set lan0 up");
        until("the flag to be seen", || {
            lan.apply(&[VIP4.into()], &Interfaces::All, Duration::ZERO);
            !lan.l2.status().interfaces.contains_key("lan0")
        });
        ip("link set lan0 arp on");
        lan.far.next(|it| it.announced() == Some(VIP4.into()));
    });
}

#[test]
fn the_group_of_an_address_is_joined_reported_and_left() {
    on_a_lan(|lan| {
        assert!(!is_member("lan0"), "before");
        lan.hold(&[VIP6.into()]);
        until("the group to be joined", || is_member("lan0"));
        // MLDv2 reports go to ff02::16 (RFC 3810 §5.2.14), with a hop-by-hop header before ICMP type 143.
        let group = ndp::solicited_node(VIP6).octets();
        lan.far.next(|it| {
            let report = it.payload.get(48) == Some(&143);
            report && it.payload.windows(16).any(|octets| octets == group)
        });
        lan.apply(&[], &Interfaces::All, Duration::ZERO);
        until("the group to be left", || !is_member("lan0"));
    });
}

#[test]
fn whoever_stands_by_is_in_the_group_already_and_silent() {
    on_a_lan(|lan| {
        lan.l2.stand_by([(VIP6.into(), Interfaces::All)].into());
        until("the group to be joined", || is_member("lan0"));
        let us = portolan_proto::responder::Identity {
            mac: OTHER,
            ipv6: true,
        };
        lan.far.send(&us.ask6("fe80::99".parse().unwrap(), VIP6));
        let heard = lan.far.all(Duration::from_millis(300), |it| {
            it.ndp().is_some_and(|it| it.target == VIP6)
        });
        assert_eq!(heard.len(), 0, "{heard:?}");
        lan.l2.stand_by(BTreeMap::new());
        until("the group to be left", || !is_member("lan0"));
    });
}

#[test]
fn ipv6_that_is_switched_off_and_on_again_is_served_again() {
    on_a_lan(|lan| {
        lan.hold(&[VIP6.into()]);
        let switch = |to| std::fs::write("/proc/sys/net/ipv6/conf/lan0/disable_ipv6", to).unwrap();
        switch("1");
        until("the loss to be seen", || {
            lan.l2.status().vips[&VIP6.into()].interfaces.is_empty()
        });
        lan.far.all(Duration::from_millis(100), |_| false);
        switch("0");
        lan.far.next(|it| it.announced() == Some(VIP6.into()));
        until("the group to be joined again", || is_member("lan0"));
        lan.far.until_answered(VIP6.into());
    });
}

#[test]
fn ipv6_is_served_while_the_interface_checks_its_own_address() {
    on_a_lan(|lan| {
        ip("link set lan0 down");
        for (name, value) in [("accept_dad", "1"), ("dad_transmits", "60")] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/lan0/{name}"), value).unwrap();
        }
        ip("link set lan0 up");
        lan.hold(&[VIP6.into()]);
        lan.far.until_answered(VIP6.into());
        let (_, addresses) = command("ip -6 address show dev lan0 tentative");
        assert!(
            addresses.contains("fe80"),
            "it is still checking: {addresses}"
        );
    });
}
