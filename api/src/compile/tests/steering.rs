//! What rides on routes, and advertisements that meet.

use super::*;

fn mk_adv(edit: impl FnOnce(&mut BGPAdvertisementSpec)) -> BGPAdvertisement {
    let mut advertisement = mk_bgp("adv");
    edit(&mut advertisement.spec);
    advertisement
}

fn compile_one(advertisement: BGPAdvertisement) -> Compiled {
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]);
    let alias = mk_community("names", 1, "drained", "rt:65000:9");
    sources.communities.insert("names".into(), alias);
    sources.bgp.insert("adv".into(), advertisement);
    compile(&sources, None)
}

#[test]
fn every_kind_of_route_is_accepted() {
    let routes = vec![
        RouteKind::PodCIDR,
        RouteKind::ClusterIPRange,
        RouteKind::ClusterIP,
        RouteKind::ExternalIP,
        RouteKind::LoadBalancerIP,
        RouteKind::PodCIDR,
    ];
    let compiled = compile_one(mk_adv(|spec| spec.routes = routes));
    assert!(verdict(&compiled, Kind::Bgp, "adv").status);
    assert_eq!(compiled.config.bgp[0].routes.len(), 5, "each one once");
}

#[test]
fn what_steers_traffic_reaches_the_speakers() {
    let compiled = compile_one(mk_adv(|spec| {
        spec.med = Some(4_294_967_295);
        spec.as_path_prepend = Some(16);
        spec.bandwidth = Some(Bandwidth::LocalEndpoints);
        spec.drain_community = Some("drained".into());
        spec.communities = vec![
            "no-export".into(),
            "rt:65000:1".into(),
            "large:1:2:3".into(),
            "soo:192.0.2.1:7".into(),
            "no-export".into(),
        ];
    }));
    let rule = &compiled.config.bgp[0];
    assert_eq!(rule.med, Some(u32::MAX));
    assert_eq!(rule.as_path_prepend, 16);
    assert_eq!(rule.bandwidth, Some(Bandwidth::LocalEndpoints));
    assert_eq!(rule.communities.standard, [0xFFFF_FF01]);
    assert_eq!(rule.communities.large, [[1, 2, 3]]);
    assert_eq!(
        rule.communities.extended,
        [[0x0002_FDE8, 1], [0x0103_C000, 0x0201_0007]]
    );
    assert_eq!(rule.drain.extended, [[0x0002_FDE8, 9]]);
    // It must survive the way through the API server.
    let text = serde_json::to_string(&compiled.config).unwrap();
    let read: SpeakerConfigSpec = serde_json::from_str(&text).unwrap();
    assert_eq!(read, compiled.config);
}

#[test]
fn a_value_that_can_not_be_is_refused_with_its_field() {
    type Edit = fn(&mut BGPAdvertisementSpec);
    let table: [(&str, Edit); 9] = [
        ("spec.med", |s| s.med = Some(-1)),
        ("spec.med", |s| s.med = Some(1 << 32)),
        ("spec.localPref", |s| s.local_pref = Some(1 << 32)),
        ("spec.asPathPrepend", |s| s.as_path_prepend = Some(0)),
        ("spec.asPathPrepend", |s| s.as_path_prepend = Some(17)),
        ("spec.asPathPrepend", |s| s.as_path_prepend = Some(-1)),
        ("spec.drainCommunity", |s| {
            s.drain_community = Some("nobody".into());
        }),
        ("spec.communities", |s| s.communities = vec!["1:2:3".into()]),
        ("spec.communities: holds a link bandwidth", |s| {
            s.bandwidth = Some(Bandwidth::LocalEndpoints);
            s.communities = vec!["ext:4004fde84cee6b28".into()];
        }),
    ];
    for (words, edit) in table {
        let compiled = compile_one(mk_adv(edit));
        let verdict = verdict(&compiled, Kind::Bgp, "adv");
        assert!(
            !verdict.status && verdict.message.starts_with(words),
            "{words}: {verdict:?}"
        );
    }
}

#[test]
fn community_texts_have_one_meaning_or_none() {
    use CommunityValue::{Extended, Large, Standard};
    for (text, want) in [
        ("65535:65281", Some(Standard(0xFFFF_FF01))),
        ("large:4200000001:1:2", Some(Large([4_200_000_001, 1, 2]))),
        (
            "rt:65000:4294967295",
            Some(Extended([0, 2, 0xfd, 0xe8, 255, 255, 255, 255])),
        ),
        (
            "rt:4200000001:9",
            Some(Extended([2, 2, 0xfa, 0x56, 0xea, 1, 0, 9])),
        ),
        (
            "rt:192.0.2.1:65535",
            Some(Extended([1, 2, 192, 0, 2, 1, 255, 255])),
        ),
        (
            "soo:65000:1",
            Some(Extended([0, 3, 0xfd, 0xe8, 0, 0, 0, 1])),
        ),
        (
            "ext:0003FDE800000001",
            Some(Extended([0, 3, 0xfd, 0xe8, 0, 0, 0, 1])),
        ),
        ("rt:4200000001:65536", None),
        ("rt:192.0.2.1:65536", None),
        ("rt:65000:4294967296", None),
        ("rt:65000", None),
        ("rt:65000:1:2", None),
        ("rt::1", None),
        ("soo:65000:", None),
        ("ext:0003fde80000001", None),
        ("ext:+003fde800000001", None),
        ("target:65000:1", None),
    ] {
        assert_eq!(parse_community(text).ok(), want, "{text}");
    }
}

#[test]
fn an_alias_goes_before_a_well_known_name() {
    let mut sources = mk_sources(vec![mk_pool("a", 1, &["10.0.0.0/24"])]);
    let alias = mk_community("names", 1, "blackhole", "65000:666");
    sources.communities.insert("names".into(), alias);
    let adv = mk_adv(|s| s.communities = vec!["blackhole".into(), "no-peer".into()]);
    sources.bgp.insert("adv".into(), adv);
    let compiled = compile(&sources, None);
    let standard = &compiled.config.bgp[0].communities.standard;
    assert_eq!(*standard, [0xFDE8_029A, 0xFFFF_FF04]);
}

type Edit = fn(&mut BGPAdvertisementSpec);

/// Two advertisements, the second one younger.
fn verdict_on_younger(one: Edit, two: Edit) -> Verdict {
    let mut sources = mk_sources(vec![
        mk_pool("v4", 1, &["10.0.0.0/24"]),
        mk_pool("v6", 2, &["2001:db8::/112"]),
    ]);
    for (name, age, edit) in [("z-older", 1, one), ("a-younger", 2, two)] {
        let mut object = born(mk_bgp(name), age);
        edit(&mut object.spec);
        sources.bgp.insert(name.into(), object);
    }
    let compiled = compile(&sources, None);
    assert!(verdict(&compiled, Kind::Bgp, "z-older").status);
    verdict(&compiled, Kind::Bgp, "a-younger").clone()
}

#[test]
fn of_two_values_for_one_prefix_and_peer_the_younger_is_refused_by_its_field() {
    let table: [(&str, Edit); 4] = [
        ("spec.localPref", |s| s.local_pref = Some(7)),
        ("spec.med", |s| s.med = Some(0)),
        ("spec.asPathPrepend", |s| s.as_path_prepend = Some(1)),
        ("spec.bandwidth", |s| {
            s.bandwidth = Some(Bandwidth::LocalEndpoints);
        }),
    ];
    for (field, edit) in table {
        for (one, two) in [(edit, (|_| {}) as Edit), ((|_| {}) as Edit, edit)] {
            let verdict = verdict_on_younger(one, two);
            assert!(!verdict.status, "{field}");
            assert!(
                verdict.message.starts_with(field) && verdict.message.contains("z-older"),
                "{field}: {}",
                verdict.message
            );
        }
        assert!(verdict_on_younger(edit, edit).status, "{field}: equal");
    }
}

#[test]
fn only_advertisements_that_can_share_a_prefix_and_a_peer_have_to_agree() {
    use RouteKind::{ClusterIP, ClusterIPRange, ExternalIP, PodCIDR};
    // Each pair, with a MED of its own in the second one.
    let table: [(&str, Edit, Edit, bool); 10] = [
        ("the same of everything", |_| {}, |_| {}, false),
        (
            "other pools",
            |s| s.ip_address_pools = vec!["v4".into()],
            |s| s.ip_address_pools = vec!["v6".into()],
            true,
        ),
        (
            "other lengths in the family of the pool",
            |s| s.ip_address_pools = vec!["v4".into()],
            |s| {
                s.ip_address_pools = vec!["v4".into()];
                s.aggregation_length = 28;
            },
            true,
        ),
        (
            "other lengths in the other family only",
            |_| {},
            |s| s.aggregation_length = 28,
            false,
        ),
        (
            "other peers",
            |s| s.peers = vec!["x".into()],
            |s| s.peers = vec!["y".into()],
            true,
        ),
        (
            "other kinds",
            |s| s.routes = vec![PodCIDR],
            |s| s.routes = vec![ExternalIP, ClusterIPRange],
            true,
        ),
        (
            "pod ranges",
            |s| s.routes = vec![PodCIDR],
            |s| s.routes = vec![PodCIDR, ExternalIP],
            false,
        ),
        (
            "external addresses",
            |s| s.routes = vec![ExternalIP],
            |s| s.routes = vec![ExternalIP],
            false,
        ),
        (
            "external addresses of other Services",
            |s| {
                s.routes = vec![ExternalIP];
                s.service_selectors = vec![mk_tier("gold")];
            },
            |s| {
                s.routes = vec![ExternalIP];
                s.service_selectors = vec![mk_tier("tin")];
            },
            true,
        ),
        (
            "a range and the single addresses that it brings",
            |s| {
                s.routes = vec![ClusterIP];
                s.service_selectors = vec![mk_tier("gold")];
            },
            |s| s.routes = vec![ClusterIPRange],
            false,
        ),
    ];
    for (row, one, two, beside) in table {
        let mut sources = mk_sources(vec![
            mk_pool("v4", 1, &["10.0.0.0/24"]),
            mk_pool("v6", 2, &["2001:db8::/112"]),
        ]);
        let mut first = born(mk_bgp("one"), 1);
        one(&mut first.spec);
        let mut second = born(mk_bgp("two"), 2);
        two(&mut second.spec);
        second.spec.med = Some(5);
        sources.bgp.insert("one".into(), first);
        sources.bgp.insert("two".into(), second);
        let compiled = compile(&sources, None);
        assert_eq!(verdict(&compiled, Kind::Bgp, "two").status, beside, "{row}");
    }
}

fn mk_tier(tier: &str) -> LabelSelector {
    LabelSelector {
        match_labels: [("tier".to_owned(), tier.to_owned())].into(),
        ..Default::default()
    }
}
