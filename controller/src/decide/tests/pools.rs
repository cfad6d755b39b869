//! Edits of pools, and what they force.

use super::*;

#[test]
fn a_bad_edit_of_a_pool_keeps_it_in_force_and_its_deletion_does_not() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    world.pool("p", "10.0.0.0/33");
    world.create("more");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.ips("more"), "10.0.0.1");
    let conditions = &world.pools["p"].status.as_ref().unwrap().conditions;
    assert_eq!(conditions[0].status, "False");
    assert!(
        world.notes.contains(&"p: Invalid".to_owned()),
        "{:?}",
        world.notes
    );
    world.delete_pool("p");
    world.settle();
    assert_eq!(world.ips("web"), "");
    assert_eq!(world.verdict("web"), ("False".into(), "NoPool".into()));
}

#[test]
fn a_pool_that_can_not_be_read_goes_on_serving_and_nothing_is_written_over_and_over() {
    let mut world = mk_world(&[("p", "10.0.0.0/30")]);
    world.node("a");
    world.speaker("a", "a");
    world.l2();
    world.gather();
    world.create("web");
    world.endpoints("web", &["a"]);
    world.settle();
    let config = world.config.clone().map(|config| config.spec);
    let key = (String::new(), "p".to_owned());
    world.observe(Event::Pool(Change::Unreadable(key, "no idea".to_owned())));
    world.settle();
    assert_eq!(world.config.clone().map(|config| config.spec), config);
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.placement("web"), Some("a"));
    world.create("more");
    world.settle();
    assert_eq!(world.ips("more"), "10.0.0.1");
    world.pool("p", "10.0.0.0/30");
    world.settle();
    world.pool("p", "10.0.0.0/29");
    world.settle();
    let pools = &world.config.as_ref().unwrap().spec.pools;
    assert_eq!(
        (pools.len(), &pools[0].spec.addresses[0]),
        (1, &"10.0.0.0/29".to_owned())
    );
}

/// Three Services on 10.0.0.0, 10.0.0.1 and 10.0.0.2.
fn mk_three() -> World {
    let mut world = mk_world(&[("p", "10.0.0.0/29")]);
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    world.settle();
    world
}

const THREE: [(&str, &str); 3] = [("a", "10.0.0.0"), ("b", "10.0.0.1"), ("c", "10.0.0.2")];

#[test]
fn a_pool_that_shrinks_keeps_those_inside_and_moves_those_outside() {
    let mut world = mk_three();
    world.pool("p", "10.0.0.1-10.0.0.2 10.0.0.4/30");
    world.settle();
    world.expect("shrunk", &[("a", "10.0.0.4"), THREE[1], THREE[2]]);
    assert_eq!(world.noted("a: AddressReleased"), 1);
    assert_eq!(world.noted("b: AddressReleased"), 0);
    world.pool("p", "10.0.0.2/32");
    world.settle();
    world.expect(
        "too small",
        &[("a", "Exhausted"), ("b", "Exhausted"), THREE[2]],
    );
}

#[test]
fn holders_keep_their_addresses_through_every_edit_that_does_not_take_them_away() {
    for (row, edit) in [
        (
            "grown",
            (|world| world.pool("p", "10.0.0.0/24")) as fn(&mut World),
        ),
        ("ranges in another order", |world| {
            world.pool("p", "10.9.0.0/24 10.0.0.2/32 10.0.0.0/31");
        }),
        ("written otherwise", |world| {
            world.pool("p", "10.0.0.0-10.0.0.7");
        }),
        ("autoAssign off", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| spec.auto_assign = false);
        }),
        ("strategy", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| {
                spec.strategy = portolan_api::crd::Strategy::Balanced;
            });
        }),
        ("restricted to them", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| {
                spec.service_allocation = Some(portolan_api::crd::ServiceAllocation {
                    namespaces: vec!["shop".to_owned()],
                    priority: 3,
                    ..Default::default()
                });
            });
        }),
        ("a pool that comes first", |world| {
            world.pool("a", "10.5.0.0/24");
        }),
        ("another excluded address", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| {
                spec.excluded_addresses = vec!["10.0.0.3-10.0.0.5".to_owned()];
            });
        }),
        ("retain", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| {
                spec.retain = Some("1h".to_owned());
            });
        }),
        ("renamed at once", |world| {
            world.delete_pool("p");
            world.pool("q", "10.0.0.0/29");
        }),
        ("split at once", |world| {
            world.pool("p", "10.0.0.0/31");
            world.pool("q", "10.0.0.2-10.0.0.7");
        }),
        ("split, the new one first", |world| {
            world.pool("q", "10.0.0.2-10.0.0.7");
            world.settle();
            world.pool("p", "10.0.0.0/31");
        }),
        ("renamed, the new one first", |world| {
            world.pool("q", "10.0.0.0/29");
            world.settle();
            world.delete_pool("p");
        }),
    ] {
        let mut world = mk_three();
        edit(&mut world);
        world.settle();
        world.expect(row, &THREE);
        assert!(
            !world.notes.iter().any(|note| note.contains("Released")),
            "{row}: {:?}",
            world.notes
        );
        let c = world
            .core
            .alloc
            .pool_of("10.0.0.2".parse().unwrap())
            .map(str::to_owned);
        assert_eq!(
            world.service("c").annotation(POOL),
            c.as_deref(),
            "{row}: annotation follows"
        );
        world.restart();
        world.settle();
        world.expect(row, &THREE);
    }
}

#[test]
fn a_service_that_names_a_pool_keeps_its_address_when_the_pool_gets_another_name() {
    let mut world = mk_world(&[("p", "10.0.0.0/29")]);
    world.edit("s", ask_pool("p"));
    world.settle();
    world.delete_pool("p");
    world.pool("q", "10.0.0.0/29");
    world.settle();
    assert_eq!(world.ips("s"), "10.0.0.0");
    assert_eq!(world.verdict("s"), ("False".into(), "UnknownPool".into()));
    assert_eq!(world.service("s").annotation(POOL), Some("q"));
    world.edit("s", ask_pool("q"));
    world.settle();
    assert_eq!(
        (world.ips("s").as_str(), world.verdict("s").1.as_str()),
        ("10.0.0.0", "Assigned")
    );
}

#[test]
fn a_pool_that_shuts_its_holders_out_or_goes_away_loses_them() {
    for (row, edit) in [
        (
            "deleted",
            (|world| world.delete_pool("p")) as fn(&mut World),
        ),
        ("restricted to others", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| {
                spec.service_allocation = Some(portolan_api::crd::ServiceAllocation {
                    namespaces: vec!["bank".to_owned()],
                    ..Default::default()
                });
            });
        }),
        ("other addresses", |world| world.pool("p", "10.7.0.0/32")),
    ] {
        let mut world = mk_three();
        world.pool("z", "10.6.0.0/30");
        world.settle();
        edit(&mut world);
        world.settle();
        for (name, held) in THREE {
            assert_ne!(world.ips(name), held, "{row}: {name}");
            assert_eq!(
                world.verdict(name).0,
                "True",
                "{row}: {name} is served by another pool"
            );
            assert_eq!(world.noted(&format!("{name}: AddressReleased")), 1, "{row}");
        }
    }
}

#[test]
fn one_overlapping_pool_is_refused_alone_and_says_with_whom() {
    let mut world = mk_three();
    world.pool("q", "10.0.0.4/30 10.1.0.0/24");
    world.create("d");
    world.edit("from-q", ask("10.1.0.1"));
    world.settle();
    world.expect("others go on", &THREE);
    world.expect(
        "new ones are served",
        &[("d", "10.0.0.3"), ("from-q", "AddressOutsidePools")],
    );
    let overlapping = world.condition("q", "Overlapping");
    assert_eq!(overlapping.status, "True");
    assert!(
        overlapping.message.contains("IPAddressPool p"),
        "{}",
        overlapping.message
    );
    assert_eq!(world.condition("p", "Overlapping").status, "False");
    assert_eq!(world.condition("p", "Accepted").status, "True");
    world.pool("q", "10.1.0.0/24");
    world.settle();
    world.expect("repaired", &[("from-q", "10.1.0.1")]);
    assert_eq!(world.condition("q", "Overlapping").status, "False");
}
