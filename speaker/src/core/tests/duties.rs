//! Layer-2 placements, and what rules make of them.

use std::time::Duration;

use portolan_api::annotation::{L2_NODES, L2_TERM};
use portolan_api::crd::DetectionRule;

use super::*;
use crate::takeover::Duty;

fn mk_placed(nodes: &str, term: &str) -> Service {
    let mut service = mk_service(TrafficPolicy::Cluster, nodes);
    let annotations = [(L2_NODES, nodes), (L2_TERM, term)];
    let annotations = annotations.map(|(name, value)| (name.to_owned(), value.to_owned()));
    service.metadata.annotations = Some(annotations.into());
    service
}

fn duty(model: &Model) -> Option<Duty> {
    model.plan().l2.remove(&VIP4.parse().unwrap())
}

#[test]
fn a_placement_is_read_with_its_number() {
    for (nodes, term, expected) in [
        ("n1,n2", "7", Some((7, vec!["n1", "n2"]))),
        (
            " n2 , n1,",
            "18446744073709551615",
            Some((u64::MAX, vec!["n2", "n1"])),
        ),
        ("n1", "", Some((0, vec!["n1"]))),
        ("n1", "nonsense", Some((0, vec!["n1"]))),
    ] {
        let mut model = mk_model();
        model.handle(Event::Service(Change::Apply(mk_placed(nodes, term))));
        let duty = duty(&model);
        let found = duty
            .as_ref()
            .map(|duty| (duty.term, duty.nodes.iter().map(String::as_str).collect()));
        assert_eq!(found, expected, "{nodes:?} {term:?}");
    }
}

#[test]
fn a_placement_that_was_ours_is_followed_while_the_service_exists() {
    let mut model = mk_model();
    let mut plan = model.plan();
    model.take_due();
    model.handle(Event::Service(Change::Apply(mk_placed("n2,n3", "8"))));
    let Due::Vips(vips) = model.take_due() else {
        panic!("a change of two addresses");
    };
    assert!(model.replan(&vips, &mut plan).l2);
    assert_eq!(plan.l2[&VIP4.parse().unwrap()].term, 8);
    model.handle(Event::Service(Change::Delete((
        "default".into(),
        "web".into(),
    ))));
    model.handle(Event::Service(Change::Apply(mk_placed("n2,n3", "9"))));
    assert_eq!(
        duty(&model),
        None,
        "another Service of the name never was ours"
    );
    model.take_due();
    model.handle(Event::Service(Change::Apply(mk_placed("n3,n2", "10"))));
    assert_eq!(
        model.take_due(),
        Due::Nothing,
        "placements of others are no news"
    );
}

#[test]
fn of_services_that_share_an_address_the_newest_placement_counts() {
    let mut model = mk_model();
    let mut other = mk_placed("n2,n1", "9");
    other.metadata.name = Some("a-twin".into());
    other.metadata.namespace = Some("default".into());
    let mut slice = mk_slice("a-twin-1", &[(NODE, ready())]);
    let labels = slice.metadata.labels.get_or_insert_default();
    labels.insert(
        portolan_api::annotation::SERVICE_NAME.to_owned(),
        "a-twin".into(),
    );
    model.handle(Event::Slice(Change::Apply(slice)));
    for (term, first) in [("8", "n2"), ("10", "n1")] {
        model.handle(Event::Service(Change::Apply(mk_placed("n1,n2", term))));
        model.handle(Event::Service(Change::Apply(other.clone())));
        assert_eq!(duty(&model).unwrap().nodes[0], first, "own term {term}");
    }
}

#[test]
fn of_several_rules_the_shortest_times_count() {
    let rule = |interval, multiplier, refresh| L2Rule {
        name: "rule".into(),
        pools: vec!["pool".into()],
        detection: DetectionRule {
            interval_milliseconds: interval,
            multiplier,
        },
        refresh_seconds: refresh,
        ..L2Rule::default()
    };
    for (rules, interval, refresh) in [
        (vec![rule(100, 3, 60)], 100, 60),
        (vec![rule(100, 3, 60), rule(50, 4, 30)], 50, 30),
        (vec![rule(50, 4, 0), rule(100, 3, 60)], 50, 60),
        (vec![rule(50, 9, 0), rule(100, 3, 0)], 100, 0),
    ] {
        let mut model = mk_model();
        let mut config = mk_config();
        config.l2.clone_from(&rules);
        apply_config(&mut model, config);
        let duty = duty(&model).unwrap();
        assert_eq!(duty.detection.interval_milliseconds, interval, "{rules:?}");
        assert_eq!(duty.refresh, Duration::from_secs(refresh), "{rules:?}");
    }
}

#[test]
fn an_expression_that_can_not_be_read_is_told_and_its_rule_answers_nowhere() {
    let mut model = mk_model();
    let mut config = mk_config();
    config.l2[0].interface_expressions = vec!["eth(".into()];
    apply_config(&mut model, config.clone());
    assert_eq!(duty(&model), None);
    let problems = model.problems();
    assert!(
        problems
            .iter()
            .any(|problem| problem.starts_with("L2Advertisement l2: interface expressions")),
        "{problems:?}"
    );
    config.l2[0].interface_expressions = vec!["eth[01]".into()];
    apply_config(&mut model, config);
    let interfaces = duty(&model).unwrap().interfaces;
    assert!(interfaces.covers("eth1") && !interfaces.covers("eth2"));
}

#[test]
fn a_deleted_node_still_hands_over() {
    let mut model = mk_model();
    model.handle(Event::Node(Change::Delete((String::new(), NODE.into()))));
    assert!(model.plan().excluded.is_some());
    assert!(duty(&model).is_some());
}

pub(super) fn mk_secret(key: Option<&str>) -> Secret {
    Secret {
        metadata: mk_meta("portolan-system", "portolan-speakers"),
        data: SecretData {
            key: key.map(|key| ByteString(key.as_bytes().to_vec())),
            ..SecretData::default()
        },
    }
}

#[test]
fn the_key_of_the_speakers_outlives_its_secret_and_its_absence_is_told() {
    let mut model = mk_keyless();
    let told = |model: &Model, words: &str| {
        let problems = model.problems();
        problems
            .iter()
            .any(|problem| problem.contains("portolan-speakers") && problem.contains(words))
    };
    assert!(told(&model, "has not been read"), "all else is known");
    model.handle(Event::SpeakerKey(Change::Synced));
    assert!(told(&model, "does not exist") && model.speaker_key().is_none());
    model.handle(Event::SpeakerKey(Change::Apply(mk_secret(Some("short")))));
    assert!(told(&model, "5 bytes"));
    model.handle(Event::SpeakerKey(Change::Apply(mk_secret(Some(
        "sixteen bytes or more",
    )))));
    assert!(!told(&model, "") && model.speaker_key().is_some());
    model.handle(Event::SpeakerKey(Change::Delete((
        "portolan-system".into(),
        "portolan-speakers".into(),
    ))));
    assert!(told(&model, "last usable key") && model.speaker_key().is_some());
}
