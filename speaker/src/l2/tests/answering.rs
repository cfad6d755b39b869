//! Who is answered, and how addresses are announced and defended.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portolan_proto::announcer::{DEFEND_INTERVAL, REPEAT, ROUNDS};
use portolan_proto::arp::{Operation, Packet};
use portolan_proto::ndp::{self, Body, Message};
use portolan_proto::responder::Identity;
use tokio::time::Instant;

use super::super::*;
use super::lan::{Frames, Host, OTHER, command, next_event, on_a_lan, until};

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const UNHELD4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const CLIENT4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);

fn replies(frames: &[Frames]) -> Vec<Packet> {
    let arp = frames.iter().filter_map(Frames::arp);
    arp.filter(|it| it.operation == Operation::Reply && it.target_mac == OTHER)
        .collect()
}

#[test]
fn each_request_for_a_held_address_gets_one_reply_and_others_none() {
    on_a_lan(|lan| {
        lan.hold(&[VIP4.into()]);
        let table = [
            ("broadcast", CLIENT4, VIP4, MacAddr::BROADCAST, 1),
            ("unicast", CLIENT4, VIP4, US, 1),
            ("probe", Ipv4Addr::UNSPECIFIED, VIP4, MacAddr::BROADCAST, 1),
            ("not held", CLIENT4, UNHELD4, MacAddr::BROADCAST, 0),
            (
                "to another station",
                CLIENT4,
                VIP4,
                MacAddr([2, 0, 0, 0, 0, 0x33]),
                0,
            ),
        ];
        for (name, sender, target, to, expected) in table {
            lan.far
                .send(&Packet::request(sender, target, OTHER).frame(to));
            let replies = replies(&lan.far.until_answered(VIP4.into()));
            assert_eq!(replies.len(), expected, "{name}: {replies:?}");
            for reply in replies {
                let wanted = Packet::request(sender, target, OTHER).reply(US);
                assert_eq!(reply, wanted, "{name}");
            }
        }
    });
}

#[test]
fn a_frame_of_a_vlan_that_has_no_interface_here_is_not_answered() {
    on_a_lan(|lan| {
        lan.hold(&[VIP4.into()]);
        let frame = Packet::request(CLIENT4, VIP4, OTHER).frame(MacAddr::BROADCAST);
        let (addresses, rest) = frame.as_bytes().split_at(12);
        let tagged = [addresses, &[0x81, 0, 0, 7], rest].concat();
        lan.far.send_bytes(&tagged);
        let heard = lan.far.until_answered(VIP4.into());
        assert_eq!(replies(&heard), []);
        // Tagged with VLAN 0 it has a priority and no VLAN (IEEE 802.1Q): it is meant for us.
        let priority = [addresses, &[0x81, 0, 0, 0], rest].concat();
        lan.far.send_bytes(&priority);
        let heard = lan.far.until_answered(VIP4.into());
        assert_eq!(replies(&heard).len(), 1);
    });
}

#[test]
fn solicitations_of_every_kind_are_answered_as_rfc_4861_says() {
    on_a_lan(|lan| {
        lan.hold(&[VIP6.into()]);
        let group = MacAddr::of_group(ndp::solicited_node(VIP6));
        let all = MacAddr::of_group(ndp::ALL_NODES);
        let ask = Message::solicitation(CLIENT6, VIP6, OTHER);
        let silent = Message {
            destination: VIP6,
            body: Body::Solicitation {
                source_mac: None,
                nonce: None,
            },
            ..ask
        };
        let probe = Message::probe(VIP6, [7; 6]);
        let table = [
            ("multicast", ask, group, OTHER, CLIENT6, true),
            ("unicast without option", silent, US, OTHER, CLIENT6, true),
            (
                "duplicate address probe",
                probe,
                group,
                all,
                ndp::ALL_NODES,
                false,
            ),
        ];
        for (name, question, to, back, destination, solicited) in table {
            lan.far.send(&question.frame(OTHER, to));
            let heard = lan.far.until_answered(VIP6.into());
            let answers: Vec<_> = heard
                .iter()
                .filter_map(|frame| Some((frame.header.destination, frame.ndp()?)))
                .filter(|(_, it)| {
                    it.target == VIP6 && matches!(it.body, Body::Advertisement { .. })
                })
                .collect();
            let expected = Message {
                source: VIP6,
                destination,
                target: VIP6,
                body: Body::Advertisement {
                    router: false,
                    solicited,
                    overrides: true,
                    target_mac: Some(US),
                },
            };
            assert_eq!(answers, [(back, expected)], "{name}");
        }
    });
}

#[test]
fn a_takeover_is_announced_at_once_in_both_forms_and_repeated() {
    on_a_lan(|lan| {
        let vips = [IpAddr::from(VIP4), VIP6.into()];
        let interfaces = Interfaces::All;
        lan.l2
            .stand_by(vips.map(|vip| (vip, Interfaces::All)).into());
        until("the interface to be ready", || {
            lan.interface("lan0").mac == US
        });
        let decided = Instant::now();
        lan.apply(&vips, &interfaces, Duration::ZERO);
        let took = decided.elapsed();
        let heard = lan.far.all(REPEAT * u32::from(ROUNDS) + REPEAT / 2, |it| {
            it.announced().is_some()
        });
        for (vip, forms) in [(vips[0], 2), (vips[1], 1)] {
            let own: Vec<_> = heard
                .iter()
                .filter(|it| it.announced() == Some(vip))
                .collect();
            assert_eq!(own.len(), forms * usize::from(ROUNDS), "{vip}");
            for round in own.chunks(forms).collect::<Vec<_>>().windows(2) {
                let gap = round[1][0].at - round[0][0].at;
                assert!(
                    gap > Duration::from_secs(1),
                    "{vip}: {gap:?} is within a locktime"
                );
            }
        }
        assert!(took < Duration::from_millis(50), "{took:?}");
    });
}

#[test]
fn a_quiet_address_is_announced_again_and_again() {
    on_a_lan(|lan| {
        lan.apply(&[VIP4.into()], &Interfaces::All, Duration::from_secs(2));
        let burst = REPEAT * u32::from(ROUNDS - 1);
        let heard = lan.far.all(burst + Duration::from_secs(5), |it| {
            it.announced() == Some(VIP4.into())
        });
        let rounds = heard.len() / 2;
        assert!(
            (7..=9).contains(&rounds),
            "{rounds} rounds in a burst and 5 s"
        );
    });
}

#[test]
fn what_is_let_go_is_not_answered_from_that_moment_on() {
    on_a_lan(|lan| {
        let other = IpAddr::from(UNHELD4);
        lan.hold(&[VIP4.into(), other]);
        lan.apply(&[other], &Interfaces::All, Duration::ZERO);
        lan.far
            .send(&Packet::request(CLIENT4, VIP4, OTHER).frame(MacAddr::BROADCAST));
        let heard = lan.far.until_answered(other);
        assert_eq!(replies(&heard), []);
    });
}

#[test]
fn a_stranger_that_claims_an_address_is_contradicted_once_in_ten_seconds() {
    on_a_lan(|lan| {
        let mut events = lan.l2.events();
        lan.hold(&[VIP4.into()]);
        lan.far.all(REPEAT * u32::from(ROUNDS), |_| false);
        let claim = Packet::gratuitous(Operation::Request, VIP4, OTHER).frame(MacAddr::BROADCAST);
        let begin = Instant::now();
        lan.far.send(&claim);
        let defence = lan.far.next(|it| it.announced() == Some(VIP4.into()));
        assert!(defence.at - begin < Duration::from_secs(1));
        let interface = super::lan::Lan::index("lan0");
        let expected = Event::Claim {
            interface,
            vip: VIP4.into(),
            mac: OTHER,
        };
        assert_eq!(next_event(&mut events), expected);
        let (mut said, mut defended) = (0, 0);
        while begin.elapsed() < DEFEND_INTERVAL / 3 {
            lan.far.send(&claim);
            let heard = lan
                .far
                .all(Duration::from_millis(10), |it| it.announced().is_some());
            // The second frame of the first defence is still on its way at first.
            defended += heard
                .iter()
                .filter(|it| it.at - begin > Duration::from_secs(1))
                .count();
            said += u32::from(events.try_recv().is_ok());
        }
        assert_eq!(defended, 0, "defended again too soon");
        let spent = u32::try_from(begin.elapsed().as_millis()).unwrap();
        assert!(said <= spent / 100 + 1, "{said} events in {spent} ms");
        assert!(lan.interface("lan0").conflicts >= 2);
        let claims = lan.interface("lan0").foreign_claims;
        assert_eq!((claims.len(), claims[0].mac), (1, OTHER));
    });
}

#[test]
fn the_claim_of_another_node_is_told_and_answered_when_the_nodes_had_time_to_agree() {
    on_a_lan(|lan| {
        let mut events = lan.l2.events();
        lan.l2.set_peers([OTHER].into());
        lan.hold(&[VIP6.into()]);
        lan.far.all(REPEAT * u32::from(ROUNDS), |_| false);
        let us = Identity {
            mac: OTHER,
            ipv6: true,
        };
        let begin = Instant::now();
        for frame in us.announcement(VIP6.into()) {
            lan.far.send(&frame);
        }
        let claim = next_event(&mut events);
        assert!(
            matches!(claim, Event::Claim { mac: OTHER, .. }),
            "{claim:?}"
        );
        let again = lan.far.next(|it| it.announced() == Some(VIP6.into()));
        assert!(
            again.at - begin >= Duration::from_millis(90),
            "{:?}",
            again.at - begin
        );
        assert_eq!(lan.interface("lan0").conflicts, 0, "a node is no stranger");
    });
}

#[test]
fn the_tools_of_other_hosts_find_the_address_taken_and_resolve_it() {
    on_a_lan(|lan| {
        lan.hold(&[VIP4.into(), VIP6.into()]);
        let host = Host::with(&["192.0.2.99/24", "2001:db8::99/64"]);
        until("arping to see a duplicate", || {
            // With -D it is content when nobody answers.
            !host.run(|| command("arping -D -c 1 -w 1 -I far0 192.0.2.10").0)
        });
        let (resolved, said) = host.run(|| command("arping -c 1 -w 5 -I far0 192.0.2.10"));
        assert!(
            resolved && said.to_lowercase().contains("02:00:00:00:00:01"),
            "{said}"
        );
        let (resolved, said) = host.run(|| command("ndisc6 -q 2001:db8::10 far0"));
        assert!(
            resolved && said.trim().eq_ignore_ascii_case("02:00:00:00:00:01"),
            "{said}"
        );
    });
}

#[test]
fn neighbours_that_check_again_and_again_find_the_address_reachable() {
    on_a_lan(|lan| {
        lan.hold(&[VIP4.into(), VIP6.into()]);
        let host = Host::with(&["192.0.2.99/24", "2001:db8::99/64"]);
        // A neighbour asks for an entry that it uses when it has not been confirmed for some 30 s; here for 0.5 s.
        host.run(|| {
            for family in ["ipv4", "ipv6"] {
                for (name, value) in [
                    ("base_reachable_time_ms", "500"),
                    ("delay_first_probe_time", "1"),
                ] {
                    let path = format!("/proc/sys/net/{family}/neigh/far0/{name}");
                    std::fs::write(path, value).unwrap();
                }
            }
        });
        let asked = |lan: &super::lan::Lan| lan.interface("lan0").requests;
        let seen = move || {
            host.run(|| {
                for (from, to) in [
                    ("192.0.2.99:0", "192.0.2.10:9"),
                    ("[2001:db8::99]:0", "[2001:db8::10]:9"),
                ] {
                    let socket = std::net::UdpSocket::bind(from).unwrap();
                    socket.send_to(b"x", to).unwrap();
                }
                command("ip neigh show dev far0").1
            })
        };
        let is_known = |table: &str| {
            ["192.0.2.10", "2001:db8::10"].iter().all(|vip| {
                let known = format!("{vip} lladdr 02:00:00:00:00:01");
                table.lines().any(|line| line.starts_with(&known))
            })
        };
        until("both addresses to be resolved", || is_known(&seen()));
        // Each family is checked about every 1.5 s from now on.
        let before = asked(lan);
        until("four more questions", || {
            let table = seen();
            assert!(is_known(&table), "{table}");
            asked(lan) >= before + 4
        });
    });
}
