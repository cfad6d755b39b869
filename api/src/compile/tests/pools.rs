//! Ranges: malformed, overlapping, edited, moved, and in force.

use super::*;

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
