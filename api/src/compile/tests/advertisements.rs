//! BGP advertisements: communities, aggregates, preferences, and names that do not exist.

use super::*;

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
