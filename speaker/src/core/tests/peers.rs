//! Which sessions run: neighbours, keys, identifiers.

use portolan_api::crd::SecretReference;

use super::*;
use crate::bgp::{Password, PeerSpec, Signature};

const NAMESPACE: &str = "portolan-system";

fn mk_secret(name: &str, key: &str) -> Event {
    let data = SecretData {
        password: Some(ByteString(key.as_bytes().to_vec())),
        ..SecretData::default()
    };
    Event::Secret(Change::Apply(Secret {
        metadata: mk_meta(NAMESPACE, name),
        data,
    }))
}

fn gone(name: &str) -> Event {
    Event::Secret(Change::Delete((NAMESPACE.into(), name.into())))
}

/// Peer `v4` with its key in this Secret.
fn mk_keyed(secret: &str) -> SpeakerConfigSpec {
    let mut config = mk_config();
    config.peers[0].password_secret = Some(SecretReference {
        name: secret.into(),
        namespace: None,
    });
    config
}

fn mk_created(name: &str, created: i64) -> PeerRule {
    PeerRule {
        created_seconds: Some(created),
        ..mk_peer(name, "10.0.0.1")
    }
}

/// A router on a link: the one at this address, else whoever is found there.
fn mk_on_link(name: &str, created: i64, address: Option<&str>) -> PeerRule {
    PeerRule {
        address: address.map(|text| text.parse().unwrap()),
        interface: Some("eth1".into()),
        ..mk_created(name, created)
    }
}

fn runs(plan: &Plan, name: &str) -> bool {
    let is = |peer: &PlannedPeer| matches!(peer, PlannedPeer::Run(spec) if spec.name == name);
    plan.peers.iter().any(is)
}

fn first(model: &Model) -> Result<PeerSpec, String> {
    match model.plan().peers.into_iter().next() {
        Some(PlannedPeer::Run(spec)) => Ok(*spec),
        Some(PlannedPeer::Wait(_, _, why)) => Err(why),
        None => Err("no peer".to_owned()),
    }
}

fn md5(key: &str) -> Signature {
    Signature::Md5(Password::new(key).unwrap())
}

fn problem(model: &Model) -> String {
    model.plan().problems.join("; ")
}

#[test]
fn a_peer_waits_for_its_secret_and_says_why() {
    let mut fresh = Model::new(NODE.into(), NAMESPACE.into(), None);
    fresh.handle(Event::Node(Change::Apply(mk_node())));
    apply_config(&mut fresh, mk_keyed("md5"));
    assert!(fresh.needs_secrets());
    for (row, event, why) in [
        ("nothing is known yet", None, "has not been read"),
        (
            "they are listed",
            Some(Event::Secret(Change::Synced)),
            "passwordSecret portolan-system/md5 does not exist",
        ),
        (
            "too long",
            Some(mk_secret("md5", &"x".repeat(81))),
            "no usable value",
        ),
        ("empty", Some(mk_secret("md5", "")), "no usable value"),
        ("gone again", Some(gone("md5")), "does not exist"),
    ] {
        if let Some(event) = event {
            fresh.handle(event);
        }
        let said = first(&fresh).unwrap_err();
        assert!(said.contains(why), "{row}: {said}");
        assert_eq!(problem(&fresh), "", "{row}: the session says it");
    }
    fresh.handle(mk_secret("md5", "secret"));
    assert_eq!(first(&fresh).unwrap().signature, Some(md5("secret")));
}

#[test]
fn a_secret_that_is_deleted_or_spoilt_takes_no_session_down_and_another_key_makes_a_new_one() {
    let mut model = mk_model();
    model.handle(Event::Secret(Change::Synced));
    model.handle(mk_secret("md5", "secret"));
    apply_config(&mut model, mk_keyed("md5"));
    let before = first(&model).unwrap();
    for event in [
        mk_secret("md5", ""),
        mk_secret("md5", &"x".repeat(81)),
        gone("md5"),
    ] {
        let row = format!("{event:?}");
        model.handle(event);
        assert_eq!(first(&model).as_ref(), Ok(&before), "{row}");
        let said = problem(&model);
        let words = [
            "BGPPeer v4",
            "passwordSecret portolan-system/md5",
            "keeps the last key",
        ];
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{row}: {said}"
        );
    }
    // Also when other things change meanwhile, and for as long as it takes.
    let mut config = mk_keyed("md5");
    config.peers.remove(1);
    apply_config(&mut model, config);
    assert_eq!(first(&model).as_ref(), Ok(&before));
    model.handle(mk_secret("md5", "other"));
    assert_eq!(first(&model).unwrap().signature, Some(md5("other")));
    assert_eq!(problem(&model), "");
}

#[test]
fn an_edit_that_names_a_secret_that_is_not_there_changes_nothing_until_it_is() {
    for (row, before) in [
        ("no key before", mk_config()),
        ("another Secret before", mk_keyed("md5")),
        ("that Secret is gone as well", mk_keyed("gone")),
    ] {
        let mut model = mk_model();
        model.handle(Event::Secret(Change::Synced));
        model.handle(mk_secret("md5", "secret"));
        model.handle(mk_secret("gone", "secret"));
        apply_config(&mut model, before);
        model.handle(gone("gone"));
        let spec = first(&model).unwrap();
        // The new version has another address, other timers, and is for another zone.
        let mut edited = mk_keyed("new");
        edited.peers[0].address = Some("10.0.0.2".parse().unwrap());
        edited.peers[0].hold_time_seconds = 9;
        edited.peers[0].node_selectors = vec![LabelSelector {
            match_labels: [("zone".to_owned(), "b".to_owned())].into(),
            ..LabelSelector::default()
        }];
        apply_config(&mut model, edited.clone());
        assert_eq!(first(&model).as_ref(), Ok(&spec), "{row}: nothing of it");
        assert_eq!(routes(&model.plan(), "v4"), ["192.0.2.10/32"], "{row}");
        let said = problem(&model);
        let words = [
            "BGPPeer v4",
            "portolan-system/new does not exist",
            "before its last change",
        ];
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{row}: {said}"
        );
        // A second edit is no reason to forget what stood before the first one.
        edited.peers[0].hold_time_seconds = 12;
        edited.peers[0].node_selectors.clear();
        apply_config(&mut model, edited);
        assert_eq!(first(&model).as_ref(), Ok(&spec), "{row}: the second edit");
        model.handle(mk_secret("new", "new"));
        let next = first(&model).unwrap();
        assert_eq!(next.signature, Some(md5("new")), "{row}: all of it");
        assert_eq!(next.hold_time.seconds(), 12, "{row}: all of it");
        assert_eq!(problem(&model), "", "{row}");
    }
}

#[test]
fn a_peer_that_was_removed_comes_back_without_its_old_key() {
    let mut model = mk_model();
    model.handle(Event::Secret(Change::Synced));
    model.handle(mk_secret("md5", "secret"));
    apply_config(&mut model, mk_keyed("md5"));
    model.handle(gone("md5"));
    let mut without = mk_config();
    without.peers.remove(0);
    apply_config(&mut model, without);
    apply_config(&mut model, mk_keyed("md5"));
    let why = first(&model).unwrap_err();
    assert!(why.contains("does not exist"), "{why}");
}

#[test]
fn secrets_of_other_namespaces_are_not_read_and_an_empty_name_is_none() {
    let mut model = Model::new(NODE.into(), NAMESPACE.into(), None);
    model.handle(Event::Node(Change::Apply(mk_node())));
    model.handle(mk_secret("md5", "secret"));
    let mut config = mk_keyed("md5");
    let mut name = |namespace: &str| {
        config.peers[0].password_secret = Some(SecretReference {
            name: "md5".into(),
            namespace: Some(namespace.into()),
        });
        config.clone()
    };
    apply_config(&mut model, name("other"));
    let why = first(&model).unwrap_err();
    assert!(why.contains("namespace portolan-system only"), "{why}");
    apply_config(&mut model, name(""));
    assert_eq!(first(&model).unwrap().signature, Some(md5("secret")));
}

#[test]
fn the_older_of_two_peers_has_their_neighbour_whatever_their_names_and_whatever_came_first() {
    let peers = [
        mk_created("c4", 1),
        mk_created("a4", 2),
        mk_created("b4", 2),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let mut model = mk_model();
        // One after the other, as somebody writes them, or labels bring them to the node.
        let mut config = mk_config();
        config.peers.clear();
        for index in order {
            config.peers.push(peers[index].clone());
            config.peers.sort_by(|a, b| a.name.cmp(&b.name));
            apply_config(&mut model, config.clone());
        }
        let runs = |plan: &Plan| ["a4", "b4", "c4"].map(|name| runs(plan, name));
        let plan = model.plan();
        assert_eq!(runs(&plan), [false, false, true], "{order:?}");
        let PlannedPeer::Wait(name, _, why) = &plan.peers[0] else {
            panic!("it runs")
        };
        assert!(name == "a4" && why.contains("BGPPeer c4"), "{name}: {why}");
        // Of the same second, the name decides.
        config.peers.retain(|peer| peer.name != "c4");
        apply_config(&mut model, config);
        assert_eq!(runs(&model.plan()), [true, false, false], "{order:?}");
    }
}

#[test]
fn a_peer_that_waits_for_its_rival_keeps_no_other_peer_waiting() {
    let mut config = mk_config();
    config.peers = vec![
        mk_on_link("a", 1, Some("fe80::1")),
        mk_on_link("b", 2, None),
        mk_on_link("c", 3, Some("fe80::2")),
    ];
    let mut model = mk_model();
    apply_config(&mut model, config.clone());
    let all = |model: &Model| ["a", "b", "c"].map(|name| runs(&model.plan(), name));
    assert_eq!(all(&model), [true, false, true]);
    // Whoever is found on the link is older than both.
    config.peers[1].created_seconds = Some(0);
    apply_config(&mut model, config);
    assert_eq!(all(&model), [false, true, false]);
}

#[test]
fn the_router_id_is_configured_or_the_nodes_address_or_made_from_its_name() {
    let id = |model: &Model| match &model.plan().peers[0] {
        PlannedPeer::Run(spec) => spec.router_id.to_string(),
        PlannedPeer::Wait(..) => String::new(),
    };
    let mut model = mk_model();
    assert_eq!(id(&model), "10.0.0.11");
    let mut only_v6 = mk_node();
    only_v6.status.addresses = Vec::new();
    model.handle(Event::Node(Change::Apply(only_v6)));
    let made = id(&model);
    assert!(made != "0.0.0.0" && made != "10.0.0.11", "{made}");
    let mut config = mk_config();
    config.peers[0].router_id = Some("9.9.9.9".parse().unwrap());
    apply_config(&mut model, config);
    assert_eq!(id(&model), "9.9.9.9");
}

#[test]
fn a_made_router_id_looks_like_the_address_of_a_host() {
    for (number, id) in [
        (0, "1.0.0.0"),
        (0x7d00_0001, "126.0.0.1"),
        (0x7e00_0001, "128.0.0.1"),
        (0xdd00_0001, "223.0.0.1"),
        (0xde00_0001, "1.0.0.1"),
        (u32::MAX, "34.255.255.255"),
    ] {
        let made = super::super::peers::made_id(number).to_string();
        assert_eq!(made, id, "{number:#x}");
    }
}

#[test]
fn a_router_on_a_link_is_the_one_that_is_named_or_the_one_that_is_found() {
    let on_link = |address: Option<&str>| PeerRule {
        address: address.map(|address| address.parse().unwrap()),
        interface: Some("eth1".into()),
        ..mk_peer("v4", "10.0.0.1")
    };
    let mut model = mk_model();
    let mut config = mk_config();
    for (address, remote) in [(None, "eth1"), (Some("fe80::1"), "fe80::1%eth1")] {
        config.peers[0] = on_link(address);
        apply_config(&mut model, config.clone());
        let spec = first(&model).unwrap();
        assert_eq!(spec.remote.to_string(), remote);
        assert_eq!(routes(&model.plan(), "v4").len(), 2, "both families");
    }
    // Others on that link are others, but not whoever is found there.
    for (other, runs) in [
        (Some("fe80::2"), true),
        (Some("fe80::1"), false),
        (None, false),
    ] {
        config.peers[1] = PeerRule {
            name: "v6".into(),
            ..on_link(other)
        };
        apply_config(&mut model, config.clone());
        let mut peers = model.plan().peers.into_iter();
        let is = |peer: PlannedPeer| matches!(peer, PlannedPeer::Run(spec) if spec.name == "v6");
        assert_eq!(peers.any(is), runs, "{other:?}");
    }
}
