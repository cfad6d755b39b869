//! One bad object is refused alone, with words; the others go on.

mod advertisements;
mod peers;
mod pools;
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
