//! One bad object is refused alone, with words; the others go on.

mod steering;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::crd::*;
use crate::selector::LabelSelector;

fn mk_pool(name: &str, born: i64, addresses: &[&str]) -> IPAddressPool {
    let spec = IPAddressPoolSpec {
        addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        auto_assign: true,
        ..Default::default()
    };
    let mut pool = IPAddressPool::new(name, spec);
    pool.metadata.creation_timestamp = Some(Time(Timestamp::from_second(born).unwrap()));
    pool
}

fn mk_peer(name: &str) -> BGPPeer {
    let spec = BGPPeerSpec {
        my_asn: 65000,
        peer_asn: Some(65001),
        peer_address: Some("192.0.2.1".into()),
        peer_port: 179,
        ..Default::default()
    };
    BGPPeer::new(name, spec)
}

fn mk_bgp(name: &str) -> BGPAdvertisement {
    let spec = BGPAdvertisementSpec {
        routes: vec![RouteKind::LoadBalancerIP],
        aggregation_length: 32,
        aggregation_length_v6: 128,
        ..Default::default()
    };
    BGPAdvertisement::new(name, spec)
}

fn mk_sources(pools: Vec<IPAddressPool>) -> Sources {
    let pools = pools
        .into_iter()
        .map(|pool| (pool.metadata.name.clone().unwrap(), pool))
        .collect();
    Sources {
        pools,
        ..Default::default()
    }
}

fn mk_community(name: &str, born: i64, alias: &str, value: &str) -> Community {
    let alias = CommunityAlias {
        name: alias.into(),
        value: value.into(),
    };
    let mut object = Community::new(
        name,
        CommunitySpec {
            communities: vec![alias],
        },
    );
    object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(born).unwrap()));
    object
}

fn verdict<'a>(compiled: &'a Compiled, kind: Kind, name: &str) -> &'a Verdict {
    let judgement = compiled
        .judgements
        .iter()
        .find(|j| j.kind == kind && j.name == name);
    judgement
        .unwrap_or_else(|| panic!("no judgement on {name}"))
        .verdicts
        .first()
        .unwrap()
}

fn names(compiled: &Compiled) -> Vec<(&str, &str)> {
    compiled
        .config
        .pools
        .iter()
        .map(|r| (r.name.as_str(), r.spec.addresses[0].as_str()))
        .collect()
}

#[test]
fn a_malformed_pool_is_refused_alone_and_says_which_entry_and_what_to_write() {
    let sources = mk_sources(vec![
        mk_pool("bad", 1, &["10.0.0.9-10.0.0.1"]),
        mk_pool("good", 2, &["10.1.0.0/24"]),
    ]);
    let compiled = compile(&sources, None);
    assert_eq!(names(&compiled), [("good", "10.1.0.0/24")]);
    let verdict = verdict(&compiled, Kind::Pool, "bad");
    assert_eq!((verdict.status, verdict.reason), (false, "Invalid"));
    for words in [
        "spec.addresses",
        "10.0.0.9-10.0.0.1",
        "smaller address first",
    ] {
        assert!(verdict.message.contains(words), "{}", verdict.message);
    }
}

#[test]
fn a_pool_that_promises_what_it_can_not_keep_is_refused_with_field_and_remedy() {
    type Row = (&'static str, fn(&mut IPAddressPoolSpec), &'static str);
    let reservation = |name: &str, address: &str| Reservation {
        namespace: "shop".into(),
        name: name.into(),
        address: address.into(),
    };
    let rows: [Row; 4] = [
        (
            "retain",
            |s| s.retain = Some("long".into()),
            "spec.retain: \"long\" is not a duration",
        ),
        (
            "quota",
            |s| s.quota = Some(Quota::default()),
            "spec.quota.addressesPerNamespace: must be at least 1",
        ),
        (
            "excluded",
            |s| s.excluded_addresses = vec!["10.0.0.7".into()],
            "spec.reservations[0].address: 10.0.0.7 is never given out",
        ),
        (
            "outside",
            |s| s.addresses = vec!["10.0.1.0/24".into()],
            "spec.reservations[0].address: 10.0.0.7 is in none of spec.addresses",
        ),
    ];
    for (row, change, words) in rows {
        let mut pool = mk_pool("p", 1, &["10.0.0.0/24"]);
        pool.spec.reservations = vec![reservation("web", "10.0.0.7")];
        change(&mut pool.spec);
        let compiled = compile(&mk_sources(vec![pool]), None);
        let message = &compiled.judgements[0].verdicts[0].message;
        assert!(message.starts_with(words), "{row}: {message}");
        assert!(compiled.config.pools.is_empty(), "{row}");
    }
    let mut pool = mk_pool("p", 1, &["10.0.0.0/24"]);
    pool.spec.reservations = vec![
        reservation("web", "10.0.0.7"),
        reservation("web", "10.0.0.8"),
    ];
    let compiled = compile(&mk_sources(vec![pool]), None);
    let message = &compiled.judgements[0].verdicts[0].message;
    assert!(message.contains("spec.reservations[1]"), "{message}");
}

#[test]
fn of_two_overlapping_pools_the_older_one_serves_whatever_their_names() {
    let sources = mk_sources(vec![
        mk_pool("a", 2, &["10.0.0.0/24"]),
        mk_pool("z", 1, &["10.0.0.128/25"]),
    ]);
    let compiled = compile(&sources, None);
    assert_eq!(names(&compiled), [("z", "10.0.0.128/25")]);
    let verdict = verdict(&compiled, Kind::Pool, "a");
    assert_eq!(verdict.reason, "Conflict");
    assert!(
        verdict.message.contains("IPAddressPool z"),
        "{}",
        verdict.message
    );
}

#[test]
fn an_edit_into_another_pool_is_refused_and_the_last_good_version_stays() {
    let before = compile(
        &mk_sources(vec![
            mk_pool("old", 1, &["10.0.0.0/24"]),
            mk_pool("new", 2, &["10.1.0.0/24"]),
        ]),
        None,
    );
    // The older pool reaches into the newer one: age does not matter against what is in force.
    let edited = mk_sources(vec![
        mk_pool("old", 1, &["10.1.0.0/25"]),
        mk_pool("new", 2, &["10.1.0.0/24"]),
    ]);
    let after = compile(&edited, Some(&before.config));
    assert_eq!(
        names(&after),
        [("new", "10.1.0.0/24"), ("old", "10.0.0.0/24")]
    );
    let verdict = verdict(&after, Kind::Pool, "old");
    assert!(
        verdict
            .message
            .contains("last accepted version stays in force"),
        "{}",
        verdict.message
    );
}

#[test]
fn a_range_may_move_from_one_pool_to_another_in_one_step() {
    for (shrinks, grows) in [("a", "b"), ("b", "a")] {
        let before = compile(
            &mk_sources(vec![
                mk_pool(shrinks, 1, &["10.0.0.0/24", "10.0.1.0/24"]),
                mk_pool(grows, 2, &["10.2.0.0/24"]),
            ]),
            None,
        );
        let moved = mk_sources(vec![
            mk_pool(shrinks, 1, &["10.0.0.0/24"]),
            mk_pool(grows, 2, &["10.2.0.0/24", "10.0.1.0/24"]),
        ]);
        let after = compile(&moved, Some(&before.config));
        assert!(
            after.judgements.iter().all(|j| j.verdicts[0].status),
            "{shrinks} to {grows}: {:?}",
            after.judgements
        );
    }
}

#[test]
fn a_malformed_edit_keeps_the_last_good_pool_and_nobody_else_may_take_its_range() {
    let before = compile(&mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]), None);
    let sources = mk_sources(vec![
        mk_pool("a", 1, &["nonsense"]),
        mk_pool("b", 2, &["10.0.0.0/25"]),
    ]);
    let after = compile(&sources, Some(&before.config));
    assert_eq!(names(&after), [("a", "10.0.0.0/24")]);
    assert_eq!(verdict(&after, Kind::Pool, "b").reason, "Conflict");
}

#[test]
fn a_deleted_pool_leaves_the_configuration() {
    let before = compile(&mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]), None);
    assert_eq!(
        names(&compile(&mk_sources(vec![]), Some(&before.config))),
        []
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_bad_peer_is_refused_with_field_and_remedy() {
    type Edit = fn(&mut BGPPeerSpec);
    let table: &[(&str, Edit, &str, &str)] = &[
        (
            "as 0",
            |s| s.my_asn = 0,
            "Invalid",
            "spec.myASN: 0 is no AS number",
        ),
        (
            "peer as 0",
            |s| s.peer_asn = Some(0),
            "Invalid",
            "spec.peerASN: 0 is no AS number",
        ),
        (
            "no peer as",
            |s| s.peer_asn = None,
            "Invalid",
            "spec.peerASN: missing",
        ),
        (
            "address",
            |s| s.peer_address = Some("router".into()),
            "Invalid",
            "spec.peerAddress: \"router\" is not",
        ),
        (
            "no address",
            |s| s.peer_address = None,
            "Invalid",
            "spec.peerAddress: missing",
        ),
        (
            "link-local",
            |s| s.peer_address = Some("fe80::1".into()),
            "Invalid",
            "name the link in interface",
        ),
        (
            "unspecified",
            |s| s.peer_address = Some("0.0.0.0".into()),
            "Invalid",
            "spec.peerAddress",
        ),
        (
            "source family",
            |s| s.source_address = Some("::1".into()),
            "Invalid",
            "spec.sourceAddress",
        ),
        ("port", |s| s.peer_port = 0, "Invalid", "spec.peerPort"),
        (
            "hold 2s",
            |s| s.hold_time = Some("2s".into()),
            "Invalid",
            "spec.holdTime",
        ),
        (
            "hold text",
            |s| s.hold_time = Some("soon".into()),
            "Invalid",
            "write for example 90s",
        ),
        (
            "keepalive",
            |s| {
                s.hold_time = Some("9s".into());
                s.keepalive_time = Some("10s".into());
            },
            "Invalid",
            "spec.keepaliveTime",
        ),
        (
            "router id",
            |s| s.router_id = Some("0.0.0.0".into()),
            "Invalid",
            "spec.routerID",
        ),
        (
            "multihop ibgp",
            |s| {
                s.peer_asn = Some(65000);
                s.ebgp_multi_hop = true;
            },
            "Invalid",
            "spec.ebgpMultiHop",
        ),
        (
            "long key",
            |s| s.password = Some("x".repeat(81)),
            "Invalid",
            "spec.password",
        ),
        (
            "two keys",
            |s| {
                s.password = Some("x".into());
                s.password_secret = Some(SecretReference::default());
            },
            "Invalid",
            "keep one",
        ),
    ];
    for (row, edit, reason, words) in table {
        let mut sources = Sources::default();
        let mut bad = mk_peer("bad");
        edit(&mut bad.spec);
        sources.peers.insert("bad".into(), bad);
        let mut good = mk_peer("good");
        good.spec.peer_address = Some("192.0.2.99".into());
        sources.peers.insert("good".into(), good);
        let compiled = compile(&sources, None);
        let verdict = verdict(&compiled, Kind::Peer, "bad");
        assert_eq!(
            (verdict.status, verdict.reason),
            (false, *reason),
            "{row}: {}",
            verdict.message
        );
        assert!(
            verdict.message.contains(words),
            "{row}: {}",
            verdict.message
        );
        assert_eq!(
            compiled.config.peers.len(),
            1,
            "{row}: the good peer goes on"
        );
    }
}

#[test]
fn timers_follow_each_other_as_metallb_users_know() {
    for (hold, keepalive, expected) in [
        (None, None, (90, None)),
        (Some("30s"), None, (30, None)),
        (None, Some("10s"), (30, Some(10_000))),
        (Some("0s"), None, (0, None)),
        (Some("9s"), Some("3s"), (9, Some(3_000))),
    ] {
        let mut sources = Sources::default();
        let mut peer = mk_peer("p");
        peer.spec.hold_time = hold.map(str::to_owned);
        peer.spec.keepalive_time = keepalive.map(str::to_owned);
        sources.peers.insert("p".into(), peer);
        let compiled = compile(&sources, None);
        let rule = compiled
            .config
            .peers
            .first()
            .unwrap_or_else(|| panic!("{hold:?} {keepalive:?}"));
        assert_eq!(
            (rule.hold_time_seconds, rule.keepalive_milliseconds),
            expected,
            "{hold:?} {keepalive:?}"
        );
    }
}

#[test]
fn communities_resolve_by_value_and_by_name_and_an_unknown_name_is_refused() {
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]);
    sources
        .communities
        .insert("one".into(), mk_community("one", 1, "drain", "65000:7"));
    sources
        .communities
        .insert("two".into(), mk_community("two", 2, "drain", "65000:8"));
    let mut advertisement = mk_bgp("adv");
    advertisement.spec.communities =
        vec!["drain".into(), "large:65000:1:2".into(), "65000:100".into()];
    sources.bgp.insert("adv".into(), advertisement);
    let compiled = compile(&sources, None);
    let rule = &compiled.config.bgp[0];
    assert_eq!(rule.communities.standard, [0xFDE8_0007, 0xFDE8_0064]);
    assert_eq!(rule.communities.large, [[65000, 1, 2]]);
    assert_eq!(
        verdict(&compiled, Kind::Community, "two").reason,
        "Conflict"
    );

    sources.bgp.get_mut("adv").unwrap().spec.communities = vec!["missing".into()];
    let after = compile(&sources, Some(&compiled.config));
    assert!(!verdict(&after, Kind::Bgp, "adv").status);
    assert_eq!(
        after.config.bgp, compiled.config.bgp,
        "the last good version stays"
    );
}

#[test]
fn an_aggregate_may_not_reach_beyond_its_pool() {
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]);
    let mut advertisement = mk_bgp("adv");
    advertisement.spec.aggregation_length = 23;
    sources.bgp.insert("adv".into(), advertisement);
    let verdict_23 = compile(&sources, None);
    let message = &verdict(&verdict_23, Kind::Bgp, "adv").message;
    assert!(message.contains("use at least 24"), "{message}");
    sources.bgp.get_mut("adv").unwrap().spec.aggregation_length = 24;
    assert!(verdict(&compile(&sources, None), Kind::Bgp, "adv").status);
}

#[test]
fn a_name_that_does_not_exist_yet_is_reported_and_does_not_refuse() {
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]);
    let mut advertisement = mk_bgp("adv");
    advertisement.spec.ip_address_pools = vec!["a".into(), "later".into()];
    sources.bgp.insert("adv".into(), advertisement);
    let compiled = compile(&sources, None);
    let judgement = compiled
        .judgements
        .iter()
        .find(|j| j.kind == Kind::Bgp)
        .unwrap();
    assert!(judgement.verdicts[0].status);
    assert!(!judgement.verdicts[1].status && judgement.verdicts[1].message.contains("later"));
    assert_eq!(compiled.config.bgp[0].pools, ["a"]);
}

#[test]
fn pools_are_selected_by_name_or_label_and_by_default_all() {
    let mut labelled = mk_pool("b", 2, &["10.1.0.0/24"]);
    labelled.metadata.labels = Some([("tier".to_owned(), "gold".to_owned())].into());
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"]), labelled]);
    let gold = LabelSelector {
        match_labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ..Default::default()
    };
    let none = LabelSelector {
        match_labels: [("tier".to_owned(), "tin".to_owned())].into(),
        ..Default::default()
    };
    for (pools, selectors, expected) in [
        (vec![], vec![], vec!["a", "b"]),
        (vec!["a".to_owned()], vec![], vec!["a"]),
        (vec![], vec![gold.clone()], vec!["b"]),
        (vec!["a".to_owned()], vec![gold], vec!["a", "b"]),
        (vec![], vec![none], vec![]),
    ] {
        let spec = L2AdvertisementSpec {
            ip_address_pools: pools.clone(),
            ip_address_pool_selectors: selectors,
            ..Default::default()
        };
        sources
            .l2
            .insert("adv".into(), L2Advertisement::new("adv", spec));
        assert_eq!(
            compile(&sources, None).config.l2[0].pools,
            expected,
            "{pools:?}"
        );
    }
}

#[test]
fn conflicting_local_preferences_are_refused_unless_selectors_keep_them_apart() {
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]);
    let mut one = mk_bgp("one");
    one.spec.local_pref = Some(100);
    let mut two = mk_bgp("two");
    two.spec.local_pref = Some(200);
    sources.bgp.insert("one".into(), one);
    sources.bgp.insert("two".into(), two);
    let message = verdict(&compile(&sources, None), Kind::Bgp, "two")
        .message
        .clone();
    assert!(
        message.contains("spec.localPref") && message.contains("one"),
        "{message}"
    );
    let on = |zone: &str| LabelSelector {
        match_labels: [("zone".to_owned(), zone.to_owned())].into(),
        ..Default::default()
    };
    sources.bgp.get_mut("one").unwrap().spec.node_selectors = vec![on("a")];
    sources.bgp.get_mut("two").unwrap().spec.node_selectors = vec![on("b")];
    assert!(verdict(&compile(&sources, None), Kind::Bgp, "two").status);
}

#[test]
fn cluster_ranges_survive_a_server_that_does_not_show_them() {
    let mut sources = Sources::default();
    let mut object = ServiceCIDR::default();
    object.spec.cidrs = vec!["10.96.0.0/12".into(), "fd00:96::/112".into()];
    sources.service_cidrs.insert("kubernetes".into(), object);
    let compiled = compile(&sources, None);
    assert_eq!(compiled.config.cluster_ip_ranges.len(), 2);
    assert_eq!(
        compile(&Sources::default(), Some(&compiled.config))
            .config
            .cluster_ip_ranges
            .len(),
        2
    );
}

fn born<K: kube::Resource>(mut object: K, second: i64) -> K {
    object.meta_mut().creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
    object
}

#[test]
fn a_pool_that_can_not_be_read_stays_in_force_with_its_range_and_its_advertisements() {
    let mut labelled = mk_pool("a", 1, &["10.0.0.0/24"]);
    labelled.metadata.labels = Some([("tier".to_owned(), "gold".to_owned())].into());
    let mut sources = mk_sources(vec![labelled]);
    let gold = LabelSelector {
        match_labels: [("tier".to_owned(), "gold".to_owned())].into(),
        ..Default::default()
    };
    for (name, pools, selectors) in [
        ("all", vec![], vec![]),
        ("named", vec!["a".to_owned()], vec![]),
        ("selected", vec![], vec![gold]),
    ] {
        let mut bgp = mk_bgp(name);
        bgp.spec.ip_address_pools.clone_from(&pools);
        bgp.spec.ip_address_pool_selectors.clone_from(&selectors);
        sources.bgp.insert(name.into(), bgp);
        let spec = L2AdvertisementSpec {
            ip_address_pools: pools,
            ip_address_pool_selectors: selectors,
            ..Default::default()
        };
        sources
            .l2
            .insert(name.into(), L2Advertisement::new(name, spec));
    }
    let before = compile(&sources, None);
    sources.pools.clear();
    sources.unreadable.insert((Kind::Pool, "a".to_owned()));
    let mut after = compile(&sources, Some(&before.config));
    assert_eq!(after.config, before.config);
    assert!(
        after
            .judgements
            .iter()
            .all(|j| j.verdicts.iter().all(|v| v.status)),
        "{:?}",
        after.judgements
    );
    after = compile(&sources, Some(&after.config));
    assert_eq!(after.config, before.config, "once more changes nothing");
    sources
        .pools
        .insert("b".into(), mk_pool("b", 2, &["10.0.0.128/25"]));
    after = compile(&sources, Some(&after.config));
    assert_eq!(verdict(&after, Kind::Pool, "b").reason, "Conflict");
    assert_eq!(names(&after), [("a", "10.0.0.0/24")]);
}

#[test]
fn peers_and_advertisements_that_can_not_be_read_stay_in_force() {
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]);
    sources.peers.insert("p".into(), mk_peer("p"));
    sources.bgp.insert("b".into(), mk_bgp("b"));
    let l2 = L2Advertisement::new("l", L2AdvertisementSpec::default());
    sources.l2.insert("l".into(), l2);
    let before = compile(&sources, None);
    let gone = Sources {
        pools: sources.pools.clone(),
        unreadable: [
            (Kind::Peer, "p".to_owned()),
            (Kind::Bgp, "b".to_owned()),
            (Kind::L2, "l".to_owned()),
        ]
        .into(),
        ..Default::default()
    };
    assert_eq!(compile(&gone, Some(&before.config)).config, before.config);
    // The one that can not be read is in force, so a second session to its socket is refused.
    let mut more = gone;
    more.peers.insert("another".into(), mk_peer("another"));
    let after = compile(&more, Some(&before.config));
    assert_eq!(verdict(&after, Kind::Peer, "another").reason, "Conflict");
}

#[test]
fn a_new_peer_never_refuses_the_one_that_is_in_force_whatever_their_names() {
    for (old, new) in [("a", "b"), ("b", "a")] {
        let mut sources = Sources::default();
        sources.peers.insert(old.into(), born(mk_peer(old), 1));
        let before = compile(&sources, None);
        sources.peers.insert(new.into(), born(mk_peer(new), 2));
        for last in [None, Some(&before.config)] {
            let after = compile(&sources, last);
            assert!(verdict(&after, Kind::Peer, old).status, "{old} is older");
            let message = &verdict(&after, Kind::Peer, new).message;
            assert!(message.contains(&format!("BGPPeer {old}")), "{message}");
            assert_eq!(after.config.peers, before.config.peers);
        }
        // An older object that is edited into one that is in force is refused all the same.
        let mut elder = born(mk_peer(new), 0);
        elder.spec.peer_address = Some("192.0.2.9".into());
        sources.peers.insert(new.into(), elder.clone());
        let both = compile(&sources, None);
        elder.spec.peer_address = Some("192.0.2.1".into());
        sources.peers.insert(new.into(), elder);
        let after = compile(&sources, Some(&both.config));
        assert!(verdict(&after, Kind::Peer, old).status);
        assert!(!verdict(&after, Kind::Peer, new).status);
        assert_eq!(after.config.peers, both.config.peers);
    }
}

#[test]
fn a_session_on_all_nodes_and_one_on_some_conflict() {
    let on = |zone: &str| LabelSelector {
        match_labels: [("zone".to_owned(), zone.to_owned())].into(),
        ..Default::default()
    };
    for (row, one, two, conflict) in [
        ("no selector", vec![], vec![on("a")], true),
        (
            "empty selector",
            vec![LabelSelector::default()],
            vec![on("a")],
            true,
        ),
        (
            "a selector of both",
            vec![on("a"), on("b")],
            vec![on("b")],
            true,
        ),
        ("different", vec![on("a")], vec![on("b")], false),
    ] {
        let mut sources = Sources::default();
        for (name, age, selectors) in [("one", 1, one), ("two", 2, two)] {
            let mut peer = born(mk_peer(name), age);
            peer.spec.node_selectors = selectors;
            sources.peers.insert(name.into(), peer);
        }
        let status = verdict(&compile(&sources, None), Kind::Peer, "two").status;
        assert_eq!(status, !conflict, "{row}");
    }
}

#[test]
fn two_peers_that_were_in_force_and_may_not_be_any_more_end_as_one() {
    let mut sources = Sources::default();
    sources.peers.insert("old".into(), born(mk_peer("old"), 1));
    let mut before = compile(&sources, None);
    let mut twin = before.config.peers[0].clone();
    twin.name = "twin".into();
    before.config.peers.push(twin);
    sources
        .peers
        .insert("twin".into(), born(mk_peer("twin"), 2));
    let after = compile(&sources, Some(&before.config));
    assert!(verdict(&after, Kind::Peer, "old").status);
    let twin = verdict(&after, Kind::Peer, "twin");
    assert!(!twin.status && !twin.message.contains("stays in force"));
    assert_eq!(after.config.peers.len(), 1);
}

#[test]
fn a_new_advertisement_never_refuses_the_one_that_is_in_force_whatever_their_names() {
    for (old, new) in [("a", "b"), ("b", "a")] {
        let mut sources = mk_sources(vec![mk_pool("p", 1, &["10.0.0.0/24"])]);
        sources.bgp.insert(old.into(), born(mk_bgp(old), 1));
        let before = compile(&sources, None);
        let mut rival = born(mk_bgp(new), 2);
        rival.spec.local_pref = Some(200);
        rival.spec.node_selectors = vec![LabelSelector {
            match_labels: [("zone".to_owned(), "a".to_owned())].into(),
            ..Default::default()
        }];
        sources.bgp.insert(new.into(), rival);
        for last in [None, Some(&before.config)] {
            let after = compile(&sources, last);
            assert!(verdict(&after, Kind::Bgp, old).status, "{old} is older");
            assert_eq!(verdict(&after, Kind::Bgp, new).reason, "Conflict");
            assert_eq!(after.config.bgp, before.config.bgp);
        }
    }
}

#[test]
fn a_refused_advertisement_does_not_claim_that_its_names_exist() {
    let mut sources = mk_sources(vec![mk_pool("p", 1, &["10.0.0.0/24"])]);
    let mut bad = mk_bgp("adv");
    bad.spec.aggregation_length = 99;
    sources.bgp.insert("adv".into(), bad);
    let compiled = compile(&sources, None);
    let judgement = compiled.judgements.iter().find(|j| j.kind == Kind::Bgp);
    let refs = judgement
        .unwrap()
        .verdicts
        .iter()
        .find(|v| v.kind == RESOLVED_REFS)
        .unwrap();
    assert!(!refs.status, "{refs:?}");
}

#[test]
fn a_secret_of_another_namespace_is_refused_with_field_and_remedy() {
    for (own, named, served) in [
        (Some("portolan-system"), None, true),
        (Some("portolan-system"), Some("portolan-system"), true),
        (Some("portolan-system"), Some("other"), false),
        (None, Some("other"), true),
    ] {
        let mut sources = Sources {
            namespace: own.map(str::to_owned),
            ..Default::default()
        };
        let mut peer = mk_peer("p");
        peer.spec.password_secret = Some(SecretReference {
            name: "key".into(),
            namespace: named.map(str::to_owned),
        });
        sources.peers.insert("p".into(), peer);
        let compiled = compile(&sources, None);
        let verdict = verdict(&compiled, Kind::Peer, "p");
        assert_eq!(verdict.status, served, "{own:?} {named:?}");
        if !served {
            for words in ["spec.passwordSecret.namespace", "portolan-system", "remove"] {
                assert!(verdict.message.contains(words), "{}", verdict.message);
            }
        }
    }
}

#[test]
fn an_overlap_is_found_wherever_the_two_ranges_meet() {
    for (row, other, overlaps) in [
        ("the same", "10.0.1.0-10.0.1.9", true),
        ("the first address", "10.0.0.0-10.0.1.0", true),
        ("the last address", "10.0.1.9-10.0.2.0", true),
        ("inside", "10.0.1.4-10.0.1.5", true),
        ("around", "10.0.0.0/16", true),
        ("begins where it begins", "10.0.1.0/32", true),
        ("before", "10.0.0.0-10.0.0.255", false),
        ("after", "10.0.1.10-10.0.1.20", false),
        ("another family", "::a00:100/120", false),
    ] {
        for (name, ranges) in [("a", &[other][..]), ("z", &["10.9.0.0/24", other])] {
            let pools = vec![
                mk_pool("m", 1, &["10.0.1.0-10.0.1.9", "10.8.0.0/24"]),
                mk_pool("far", 1, &["10.0.255.0/32", "10.7.0.0/24"]),
                mk_pool(name, 2, ranges),
            ];
            let outcome = compile(&mk_sources(pools), None);
            let accepted = outcome.config.pools.iter().any(|rule| rule.name == name);
            // The one around everything meets the far one as well.
            assert_eq!(accepted, !overlaps, "{row}, pool {name}");
        }
    }
}

#[test]
fn an_overlap_in_the_configuration_in_force_hides_no_other_one() {
    let wide = mk_pool("wide", 1, &["10.0.0.0/16"]);
    let inside = mk_pool("inside", 2, &["10.0.1.0/24"]);
    let rule = |pool: &IPAddressPool| PoolRule {
        name: pool.metadata.name.clone().unwrap(),
        spec: pool.spec.clone(),
    };
    let last = SpeakerConfigSpec {
        pools: vec![rule(&wide), rule(&inside)],
        ..Default::default()
    };
    let fresh = mk_pool("fresh", 3, &["10.0.2.0/24"]);
    let outcome = compile(&mk_sources(vec![wide, inside, fresh]), Some(&last));
    assert!(outcome.config.pools.iter().all(|rule| rule.name != "fresh"));
}

#[test]
fn many_pools_that_do_not_change_stay_in_force_as_they_are() {
    let pools: Vec<IPAddressPool> = (0..800)
        .map(|n| {
            mk_pool(
                &format!("p{n}"),
                n,
                &[&format!("10.{}.{}.0/24", n / 200, n % 200)],
            )
        })
        .collect();
    let sources = mk_sources(pools);
    let last = compile(&sources, None).config;
    assert_eq!(last.pools.len(), 800);
    assert_eq!(compile(&sources, Some(&last)).config.pools, last.pools);
}
