//! A peer's view of what is pulled.

mod naive;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::super::{
    Asn, Audience, Community, Frame, HEADER, Kind, NextHops, Peek, Relation, Rib, examine,
};
use super::*;

const V4: Family = Family::V4Unicast;
const V6: Family = Family::V6Unicast;
const ROOM: usize = 256 * 1024;
const PEER: &str = "tor";

fn mk_export() -> Export {
    Export {
        relation: Relation::External,
        local_as: Asn::new(65000).unwrap(),
        as4: true,
        next_hops: NextHops::from(IpAddr::from([192, 0, 2, 1])),
        extended_next_hop: false,
        only_to_customer: false,
    }
}

fn mk_adj() -> AdjOut {
    AdjOut::new(mk_export(), Families::only(V4))
}

fn mk_attrs(community: u16) -> RouteAttrs {
    let communities = BTreeSet::from([Community::new(1, community)]);
    RouteAttrs {
        communities,
        ..RouteAttrs::default()
    }
}

fn mk_route(number: u32, community: u16) -> (Prefix, RouteAttrs) {
    let host = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
    (
        Prefix::from(ipnetwork::IpNetwork::from(host)),
        mk_attrs(community),
    )
}

/// Makes these all routes, for one peer.
fn replace(rib: &mut Rib, routes: impl IntoIterator<Item = (Prefix, RouteAttrs)>) {
    let routes = routes.into_iter().map(|(prefix, attrs)| {
        let audience: Audience = [(PEER, attrs)].into_iter().collect();
        (prefix, Arc::new(audience))
    });
    rib.replace(&routes.collect());
}

fn pull(adj: &mut AdjOut, rib: &mut Rib) -> (usize, usize, usize) {
    let pulled = adj.pull(rib.follower(PEER), ROOM, &mut Vec::new());
    (pulled.messages, pulled.announced, pulled.withdrawn)
}

/// Bytes of a whole message that withdraws one host route.
const WITHDRAWAL: usize = 19 + 2 + 5 + 2;

#[test]
fn a_full_table_is_packed_and_then_there_is_silence() {
    let mut rib = Rib::default();
    replace(&mut rib, (0..5000).map(|number| mk_route(number, 1)));
    let mut adj = mk_adj();
    assert_eq!(pull(&mut adj, &mut rib), (7, 5000, 0));
    assert_eq!(pull(&mut adj, &mut rib), (0, 0, 0));
    assert_eq!(adj.advertised(), 5000);
}

#[test]
fn interleaved_attributes_are_grouped() {
    let mut rib = Rib::default();
    for number in 0..100u32 {
        replace(
            &mut rib,
            (0..=number).map(|each| mk_route(each, u16::from(each % 2 == 0))),
        );
    }
    assert_eq!(pull(&mut mk_adj(), &mut rib), (2, 100, 0));
}

#[test]
fn differences_that_the_peer_is_not_told_do_not_split_messages() {
    let mut rib = Rib::default();
    replace(
        &mut rib,
        (0..10).map(|number| {
            let (prefix, attrs) = mk_route(number, 1);
            (
                prefix,
                RouteAttrs {
                    local_pref: Some(number),
                    ..attrs
                },
            )
        }),
    );
    assert_eq!(pull(&mut mk_adj(), &mut rib), (1, 10, 0));
}

#[test]
fn an_unsent_route_that_goes_again_is_never_mentioned() {
    let mut rib = Rib::default();
    let mut adj = mk_adj();
    replace(&mut rib, [mk_route(1, 1)]);
    replace(&mut rib, []);
    assert_eq!(pull(&mut adj, &mut rib), (0, 0, 0));
}

#[test]
fn a_change_of_attributes_is_one_announcement() {
    let mut rib = Rib::default();
    let mut adj = mk_adj();
    replace(&mut rib, [mk_route(1, 1)]);
    pull(&mut adj, &mut rib);
    replace(&mut rib, [mk_route(1, 2)]);
    assert_eq!(pull(&mut adj, &mut rib), (1, 1, 0));
    replace(&mut rib, []);
    let mut out = Vec::new();
    assert_eq!(adj.pull(rib.follower(PEER), ROOM, &mut out).withdrawn, 1);
    assert_eq!(out.len(), WITHDRAWAL);
}

#[test]
fn end_of_rib_waits_for_the_cluster_state_and_comes_once() {
    let mut rib = Rib::default();
    let mut adj = mk_adj();
    replace(&mut rib, [mk_route(1, 1)]);
    assert_eq!(pull(&mut adj, &mut rib), (1, 1, 0));
    rib.set_synced();
    assert_eq!(pull(&mut adj, &mut rib), (1, 0, 0));
    replace(&mut rib, [mk_route(1, 1), mk_route(2, 1)]);
    assert_eq!(pull(&mut adj, &mut rib), (1, 1, 0));
    assert_eq!(
        pull(&mut mk_adj(), &mut Rib::default()),
        (0, 0, 0),
        "not synced, nothing to say"
    );
}

#[test]
fn a_refresh_repeats_everything_and_still_owes_the_unheard_withdrawal() {
    let mut rib = Rib::default();
    let mut adj = mk_adj();
    replace(&mut rib, [mk_route(1, 1), mk_route(2, 1)]);
    pull(&mut adj, &mut rib);
    replace(&mut rib, [mk_route(1, 1)]);
    adj.refresh(V4);
    adj.refresh(V4);
    assert_eq!(pull(&mut adj, &mut rib), (2, 1, 1));
    assert_eq!(pull(&mut adj, &mut rib), (0, 0, 0));
}

#[test]
fn a_family_that_was_not_agreed_is_not_sent() {
    let mut rib = Rib::default();
    let v6: Prefix = "fd00::1/128".parse().unwrap();
    replace(&mut rib, [(v6, mk_attrs(1))]);
    rib.set_synced();
    let mut adj = mk_adj();
    assert_eq!(
        pull(&mut adj, &mut rib),
        (1, 0, 0),
        "just the End-of-RIB of IPv4"
    );
    assert_eq!(adj.advertised(), 0);
}

fn mk_both() -> Rib {
    let mut rib = Rib::default();
    let v6: Prefix = "fd00::7/128".parse().unwrap();
    replace(&mut rib, [mk_route(1, 1), (v6, mk_attrs(1))]);
    rib.set_synced();
    rib
}

#[test]
fn what_is_not_told_has_its_reason() {
    let both = Families::only(V4).with(V6);
    let v4 = Ipv4Addr::new(192, 0, 2, 1);
    let v6: Ipv6Addr = "fd00::1".parse().unwrap();
    let link: Ipv6Addr = "fe80::1".parse().unwrap();
    let hops = |v4, v6, link_local| NextHops { v4, v6, link_local };
    let none = Some(Unsent::NoNextHop);
    for (name, families, hops, extended, why_v4, why_v6) in [
        (
            "both",
            both,
            hops(Some(v4), Some(v6), None),
            false,
            None,
            None,
        ),
        (
            "IPv4 alone",
            both,
            hops(Some(v4), None, None),
            false,
            None,
            none,
        ),
        (
            "IPv6 alone",
            both,
            hops(None, Some(v6), None),
            false,
            none,
            None,
        ),
        (
            "IPv4 over IPv6",
            both,
            hops(None, Some(v6), None),
            true,
            None,
            None,
        ),
        (
            "unnumbered",
            both,
            hops(None, None, Some(link)),
            true,
            None,
            None,
        ),
        (
            "IPv6 not agreed",
            Families::only(V4),
            hops(Some(v4), Some(v6), None),
            false,
            None,
            Some(Unsent::NotAgreed),
        ),
    ] {
        let export = Export {
            next_hops: hops,
            extended_next_hop: extended,
            ..mk_export()
        };
        let mut adj = AdjOut::new(export, families);
        assert_eq!(
            (adj.why_not(V4), adj.why_not(V6)),
            (why_v4, why_v6),
            "{name}"
        );
        let mut rib = mk_both();
        let told = usize::from(why_v4.is_none()) + usize::from(why_v6.is_none());
        let ends = families.iter().count();
        assert_eq!(pull(&mut adj, &mut rib), (told + ends, told, 0), "{name}");
        assert_eq!(adj.advertised(), told, "{name}");
    }
}

#[test]
fn withdrawals_of_a_family_that_is_not_carried_are_not_remembered_for_it() {
    let mut rib = mk_both();
    let mut adj = mk_adj();
    let mut out = Vec::new();
    adj.pull(rib.follower(PEER), 1, &mut out);
    replace(&mut rib, []);
    let mut left = |family| rib.follower(PEER).changes(family, Version::START).count();
    assert_eq!((left(V4), left(V6)), (1, 0));
}

#[test]
fn what_the_peer_holds_already_is_not_sent() {
    let mut rib = Rib::default();
    let mut adj = mk_adj();
    replace(&mut rib, [mk_route(1, 1), mk_route(2, 1)]);
    pull(&mut adj, &mut rib);
    replace(&mut rib, [mk_route(1, 2)]);
    replace(&mut rib, [mk_route(1, 1), mk_route(2, 1)]);
    assert_eq!(
        pull(&mut adj, &mut rib),
        (0, 0, 0),
        "changed and changed back"
    );
    let (prefix, attrs) = mk_route(1, 1);
    let both: Audience = [(PEER, attrs.clone()), ("other", attrs)]
        .into_iter()
        .collect();
    assert!(rib.set(prefix, Some(&Arc::new(both))));
    assert_eq!(pull(&mut adj, &mut rib), (0, 0, 0), "another peer came");
}

#[test]
fn ipv4_goes_classic_whenever_it_can() {
    let v4 = Ipv4Addr::new(192, 0, 2, 1);
    for (v4, classic) in [(Some(v4), true), (None, false)] {
        let next_hops = NextHops {
            v4,
            v6: Some(Ipv6Addr::LOCALHOST),
            link_local: None,
        };
        let export = Export {
            next_hops,
            extended_next_hop: true,
            ..mk_export()
        };
        let mut adj = AdjOut::new(export, Families::only(V4));
        let mut rib = mk_both();
        for _ in 0..2 {
            let mut out = Vec::new();
            adj.pull(rib.follower(PEER), ROOM, &mut out);
            // The attributes of an announcement begin behind header and two lengths; a withdrawal has it sooner.
            let mp = out[HEADER + 4] == 0x90;
            assert_eq!(mp, !classic, "{out:?}");
            replace(&mut rib, []);
        }
    }
}

#[test]
fn a_resend_that_is_asked_for_again_begins_again() {
    let mut rib = Rib::default();
    replace(&mut rib, (0..3000).map(|number| mk_route(number, 1)));
    rib.set_synced();
    let mut adj = mk_adj().enhanced_refresh(true);
    pull(&mut adj, &mut rib);
    let markers = |out: &[u8]| -> Vec<u8> {
        let (mut rest, mut seen) = (out, Vec::new());
        while let Ok(Peek::Whole(frame, taken)) = Frame::peek(rest) {
            if frame.kind == Kind::RouteRefresh {
                seen.push(frame.body[2]);
            }
            rest = &rest[taken..];
        }
        seen
    };
    adj.refresh(V4);
    let mut out = Vec::new();
    adj.pull(rib.follower(PEER), 5000, &mut out);
    assert_eq!(markers(&out), [1], "begun and not ended");
    adj.refresh(V4);
    let mut out = Vec::new();
    assert_eq!(adj.pull(rib.follower(PEER), ROOM, &mut out).announced, 3000);
    assert_eq!(markers(&out), [1, 2]);
}

#[test]
fn attributes_that_fill_a_message_withdraw_the_route_and_are_counted() {
    let communities = (0..1100).map(|value| Community::new(1, value)).collect();
    let huge = RouteAttrs {
        communities,
        ..RouteAttrs::default()
    };
    let (prefix, attrs) = mk_route(1, 1);
    let mut rib = Rib::default();
    let mut adj = mk_adj();
    replace(&mut rib, [(prefix, attrs.clone())]);
    pull(&mut adj, &mut rib);
    replace(&mut rib, [(prefix, huge)]);
    assert_eq!(pull(&mut adj, &mut rib), (1, 0, 1));
    assert_eq!((adj.oversized(), adj.advertised()), (1, 0));
    replace(&mut rib, [(prefix, attrs)]);
    assert_eq!(pull(&mut adj, &mut rib), (1, 1, 0));
    assert_eq!((adj.oversized(), adj.advertised()), (0, 1));
}

#[test]
fn little_room_makes_small_steps_to_the_same_end() {
    let mut rib = Rib::default();
    replace(&mut rib, (0..5000).map(|number| mk_route(number, 1)));
    let mut adj = mk_adj();
    let mut announced = 0;
    for _ in 0..1000 {
        let mut out = Vec::new();
        announced += adj.pull(rib.follower(PEER), 1000, &mut out).announced;
        assert!(out.len() <= 1000 + 100, "{} bytes", out.len());
    }
    assert_eq!(announced, 5000);
}
