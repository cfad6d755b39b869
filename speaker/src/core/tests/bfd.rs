//! BFDProfiles and their keys.

use portolan_api::crd::{BfdAuthentication, BfdAuthenticationType, BfdRule, SecretReference};

use super::*;

fn mk_secret(name: &str, password: &str) -> Event {
    let data = SecretData {
        password: Some(ByteString(password.as_bytes().to_vec())),
        ..SecretData::default()
    };
    Event::Secret(Change::Apply(Secret {
        metadata: mk_meta("portolan-system", name),
        data,
    }))
}

/// A configuration whose first peer is watched, with the key in this Secret.
fn mk_watched(secret: Option<&str>) -> SpeakerConfigSpec {
    let mut config = mk_config();
    config.peers[0].bfd = Some("fast".into());
    config.bfd = vec![BfdRule {
        name: "fast".into(),
        authentication: secret.map(|name| BfdAuthentication {
            method: BfdAuthenticationType::MeticulousKeyedMD5,
            key_id: 7,
            key_secret: SecretReference {
                name: name.into(),
                namespace: None,
            },
        }),
        ..BfdRule::default()
    }];
    config
}

/// How the first peer is watched: not at all, openly, or with a key; and what is said of it.
fn watched(model: &Model) -> (Option<crate::bgp::Bfd>, String) {
    let plan = model.plan();
    match &plan.peers[0] {
        PlannedPeer::Run(spec) => (spec.bfd.clone(), plan.problems.join("; ")),
        PlannedPeer::Wait(_, _, why) => panic!("the session itself must run: {why}"),
    }
}

#[test]
fn a_profile_without_its_key_watches_nothing_rather_than_openly() {
    let mut model = mk_model();
    model.handle(Event::Secret(Change::Synced));
    apply_config(&mut model, mk_watched(Some("bfd")));
    assert!(model.needs_secrets());
    let (none, problem) = watched(&model);
    assert_eq!(none, None);
    for words in [
        "BGPPeer v4: BFDProfile fast",
        "portolan-system/bfd does not exist",
        "without BFD",
    ] {
        assert!(problem.contains(words), "{words}: {problem}");
    }
    model.handle(mk_secret("bfd", "seventeen bytes!!"));
    let (none, problem) = watched(&model);
    assert_eq!(none, None);
    assert!(problem.contains("must have 1 to 16"), "{problem}");
    assert!(!problem.contains("seventeen"), "{problem}");
    model.handle(mk_secret("bfd", &"x".repeat(21)));
    assert!(watched(&model).1.contains("1 to 16 are possible"));

    model.handle(mk_secret("bfd", "secret"));
    let (keyed, problem) = watched(&model);
    assert!(keyed.unwrap().authentication.is_some());
    assert_eq!(problem, "");
}

#[test]
fn an_edit_without_its_key_leaves_the_whole_version_before_in_force() {
    for (row, before) in [
        ("it had no key", None),
        ("it had another Secret", Some("old")),
        ("its Secret is gone as well", Some("gone")),
    ] {
        let mut model = mk_model();
        model.handle(Event::Secret(Change::Synced));
        model.handle(mk_secret("old", "secret"));
        model.handle(mk_secret("gone", "secret"));
        let mut config = mk_watched(before);
        config.bfd[0].multiplier = 3;
        apply_config(&mut model, config);
        assert_eq!(model.needs_secrets(), before.is_some(), "{row}");
        model.handle(Event::Secret(Change::Delete((
            "portolan-system".into(),
            "gone".into(),
        ))));
        let (first, _) = watched(&model);
        let keyed = first.as_ref().map(|bfd| bfd.authentication.is_some());
        assert_eq!(keyed, Some(before.is_some()), "{row}");

        // A second edit is no reason to forget what stood before the first one.
        for multiplier in [5, 7] {
            let mut edited = mk_watched(Some("new"));
            edited.bfd[0].multiplier = multiplier;
            edited.bfd[0].passive = true;
            apply_config(&mut model, edited);
            let (now, problem) = watched(&model);
            assert_eq!(now, first, "{row}: nothing of it");
            for words in [
                "portolan-system/new does not exist",
                "the version before its last change stays in force",
            ] {
                assert!(problem.contains(words), "{row}: {words}: {problem}");
            }
        }
        model.handle(mk_secret("new", "another"));
        let (now, problem) = watched(&model);
        let now = now.unwrap();
        assert!(now.authentication.is_some(), "{row}");
        assert_ne!(
            now.authentication,
            first.unwrap().authentication,
            "{row}: all of it"
        );
        assert_eq!(
            (now.profile.multiplier, now.profile.passive),
            (7, true),
            "{row}: all of it"
        );
        assert_eq!(problem, "", "{row}");
    }
}

#[test]
fn a_profile_that_was_removed_comes_back_without_its_old_key() {
    let mut model = mk_model();
    model.handle(Event::Secret(Change::Synced));
    model.handle(mk_secret("bfd", "secret"));
    apply_config(&mut model, mk_watched(Some("bfd")));
    model.handle(Event::Secret(Change::Delete((
        "portolan-system".into(),
        "bfd".into(),
    ))));
    let mut without = mk_watched(None);
    without.bfd.clear();
    apply_config(&mut model, without);
    let (none, problem) = watched(&model);
    assert_eq!(none, None);
    assert!(problem.contains("no accepted BFDProfile fast"), "{problem}");
    apply_config(&mut model, mk_watched(Some("bfd")));
    let (none, problem) = watched(&model);
    assert_eq!(none, None);
    assert!(problem.contains("does not exist"), "{problem}");
}

#[test]
fn a_key_that_was_good_stays_until_there_is_another() {
    let mut model = mk_model();
    model.handle(Event::Secret(Change::Synced));
    model.handle(mk_secret("bfd", "secret"));
    apply_config(&mut model, mk_watched(Some("bfd")));
    let first = watched(&model).0;
    assert!(first.as_ref().unwrap().authentication.is_some());
    for (what, event) in [
        ("spoilt", mk_secret("bfd", "")),
        ("too long", mk_secret("bfd", &"x".repeat(30))),
        (
            "deleted",
            Event::Secret(Change::Delete(("portolan-system".into(), "bfd".into()))),
        ),
    ] {
        model.handle(event);
        let (now, problem) = watched(&model);
        assert_eq!(
            now.as_ref().unwrap().authentication,
            first.as_ref().unwrap().authentication,
            "{what}"
        );
        assert!(
            problem.contains("last usable key stays in use"),
            "{what}: {problem}"
        );
    }
    // The profile names another Secret, which is not there yet.
    apply_config(&mut model, mk_watched(Some("next")));
    let (now, problem) = watched(&model);
    assert_eq!(
        now.unwrap().authentication,
        first.as_ref().unwrap().authentication
    );
    assert!(
        problem.contains("portolan-system/next does not exist"),
        "{problem}"
    );
    model.handle(mk_secret("next", "another"));
    let (now, problem) = watched(&model);
    assert_ne!(now.unwrap().authentication, first.unwrap().authentication);
    assert_eq!(problem, "");
}
