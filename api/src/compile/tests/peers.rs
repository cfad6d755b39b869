//! Peers: fields, timers, Secrets, and two that want the same session.

use super::*;

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
            "name the link in interface as well",
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
    twin.created_seconds = twin.created_seconds.map(|seconds| seconds + 1);
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
