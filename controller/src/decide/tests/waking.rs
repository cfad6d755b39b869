//! Whoever lacks something hears of everything that could help.

use super::*;

#[test]
fn whoever_lacks_an_address_gets_the_one_that_is_given_up() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("first");
    world.create("second");
    world.settle();
    assert_eq!(world.ips("second"), "");
    assert_eq!(
        world.verdict("second"),
        ("False".into(), "Exhausted".into())
    );
    world.settle();
    let failures = world
        .notes
        .iter()
        .filter(|note| note.contains("Failed"))
        .count();
    assert_eq!(failures, 1, "{:?}", world.notes);
    world.delete("first");
    world.settle();
    assert_eq!(world.ips("second"), "10.0.0.0");
}

#[test]
fn whoever_asks_for_what_it_can_not_have_keeps_what_it_has_and_gives_way() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("a");
    world.create("b");
    world.settle();
    world.edit("a", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.1");
    });
    world.settle();
    assert_eq!(world.ips("a"), "10.0.0.0");
    assert_eq!(world.verdict("a"), ("False".into(), "AddressTaken".into()));
    // The two want to change places: without giving way both would wait for ever.
    world.edit("b", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.0");
    });
    world.settle();
    assert_eq!(
        (world.ips("a"), world.ips("b")),
        ("10.0.0.1".into(), "10.0.0.0".into())
    );
    assert_eq!(world.verdict("a").1, "Assigned");
}

#[test]
fn the_oldest_of_those_who_wait_is_served_first() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("holder");
    for name in ["z-first", "m-second", "a-third"] {
        world.create(name);
    }
    world.settle();
    for (gone, next) in [
        ("holder", "z-first"),
        ("z-first", "m-second"),
        ("m-second", "a-third"),
    ] {
        world.delete(gone);
        world.settle();
        world.expect(gone, &[(next, "10.0.0.0")]);
    }
    // Of those who are found waiting at the start too.
    world.create("y");
    world.create("b");
    world.restart();
    world.delete("a-third");
    world.settle();
    world.expect("after a restart", &[("y", "10.0.0.0"), ("b", "Exhausted")]);
}

#[test]
fn everything_that_could_help_wakes_whoever_waits() {
    for (row, help) in [
        (
            "release",
            (|world| world.delete("holder")) as fn(&mut World),
        ),
        ("type change", |world| {
            world.edit("holder", |s| s.spec.kind = Some("ClusterIP".to_owned()));
        }),
        ("a range more", |world| world.pool("p", "10.0.0.0/31")),
        ("a pool more", |world| world.pool("q", "10.1.0.0/32")),
        ("a pool opened", |world| world.pool("manual", "10.2.0.0/32")),
        ("a restriction widened", |world| {
            world.pool("bank", "10.3.0.0/32");
        }),
        ("an exclusion lifted", |world| {
            world.pool("excluded", "10.4.0.0/32");
        }),
        ("a mover", |world| world.edit("holder", ask("10.2.0.0"))),
        ("a holder named to another pool", |world| {
            world.edit("holder", |service| {
                unannotate(service, LOAD_BALANCER_IPS);
                ask_pool("manual")(service);
            });
        }),
        ("a node address that goes", |world| world.node_at("n", &[])),
        ("a reservation lifted", |world| {
            world.pool("reserved", "10.6.0.0/32");
        }),
        ("a family less", |world| {
            world.edit("holder", |service| {
                unannotate(service, LOAD_BALANCER_IPS);
                service.spec.ip_families = vec!["IPv6".to_owned()];
            });
        }),
        ("a stranger that lets go", |world| {
            world.edit("stranger", |s| show(s, &[]));
        }),
    ] {
        let mut world = mk_world(&[
            ("p", "10.0.0.0/32"),
            ("node", "10.5.0.0/32"),
            ("strange", "10.7.0.0/32"),
        ]);
        world.edit_pool("manual", "10.2.0.0/32", |spec| spec.auto_assign = false);
        world.edit_pool("bank", "10.3.0.0/32", |spec| {
            spec.service_allocation = Some(portolan_api::crd::ServiceAllocation {
                namespaces: vec!["bank".to_owned()],
                ..Default::default()
            });
        });
        world.edit_pool("excluded", "10.4.0.0/32", |spec| {
            spec.excluded_addresses = vec!["10.4.0.0".to_owned()];
        });
        world.edit_pool("reserved", "10.6.0.0/32", |spec| {
            spec.reservations = vec![portolan_api::crd::Reservation {
                namespace: "shop".to_owned(),
                name: "vip".to_owned(),
                address: "10.6.0.0".to_owned(),
            }];
        });
        world.node_at("n", &["10.5.0.0"]);
        world.edit("stranger", |service| {
            service.spec.load_balancer_class = Some("other".to_owned());
            show(service, &["10.7.0.0"]);
        });
        world.edit("holder", ask("10.0.0.0"));
        world.create("waiting");
        world.settle();
        world.expect(row, &[("waiting", "Exhausted")]);
        let message = world.message("waiting");
        for pool in [
            "p has no address left",
            "manual serves only who names it",
            "bank is restricted",
            "node has no address left",
        ] {
            assert!(message.contains(pool), "{row}: {message}");
        }
        help(&mut world);
        world.settle();
        assert_eq!(
            world.verdict("waiting").0,
            "True",
            "{row}: {}",
            world.message("waiting")
        );
    }
}

#[test]
fn whoever_waits_for_an_exact_address_gets_it_when_its_holder_moves() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("holder");
    world.edit("waiting", ask("10.0.0.0"));
    world.settle();
    world.expect("taken", &[("waiting", "AddressTaken")]);
    assert!(world.message("waiting").contains("shop/holder"));
    world.edit("holder", ask("10.0.0.9"));
    world.settle();
    world.expect("moved", &[("holder", "10.0.0.9"), ("waiting", "10.0.0.0")]);
}

#[test]
fn nobody_gives_way_to_a_service_that_would_not_get_the_address_all_the_same() {
    for (row, spoil) in [
        (
            "a node uses it",
            (|world| world.node_at("n", &["10.0.0.0"])) as fn(&mut World),
        ),
        ("it is reserved", |world| {
            world.edit_pool("p", "10.0.0.0/24", |spec| {
                spec.reservations = vec![portolan_api::crd::Reservation {
                    namespace: "shop".to_owned(),
                    name: "vip".to_owned(),
                    address: "10.0.0.0".to_owned(),
                }];
            });
        }),
        ("the quota is used up", |world| {
            world.namespace("bank", &[]);
            world.create("bank/first");
            world.edit_pool("p", "10.0.0.0/24", |spec| {
                spec.quota = Some(portolan_api::crd::Quota {
                    addresses_per_namespace: 1,
                });
            });
            world.settle();
            world.edit("bank/asking", ask("10.0.0.0"));
        }),
        ("its other address is out of reach", |world| {
            world.edit("asking", |service| {
                dual("RequireDualStack")(service);
                ask("10.0.0.0,2001:db8::1")(service);
            });
        }),
        ("its other address stays with another", |world| {
            world.pool("six", "2001:db8::/64");
            world.edit("keeper", |service| {
                service.spec.ip_families = vec!["IPv6".to_owned()];
                ask("2001:db8::1")(service);
            });
            world.settle();
            world.edit("asking", |service| {
                dual("RequireDualStack")(service);
                ask("10.0.0.0,2001:db8::1")(service);
            });
        }),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        world.create("loose");
        world.create("other");
        world.settle();
        world.edit("loose", ask("10.0.0.1"));
        world.settle();
        spoil(&mut world);
        world.settle();
        let elsewhere = world.services.contains_key(&mk_key("bank/asking"));
        let asking = if elsewhere { "bank/asking" } else { "asking" };
        world.edit(asking, |service| {
            if service.metadata.annotations.is_none() {
                ask("10.0.0.0")(service);
            }
        });
        world.settle();
        world.expect(row, &[("loose", "10.0.0.0"), ("other", "10.0.0.1")]);
        assert_eq!(world.ips(asking), "", "{row}");
    }
}

#[test]
fn whoever_keeps_an_address_in_vain_gives_way_as_soon_as_that_helps() {
    let mut world = mk_world(&[("p", "10.0.0.0/24"), ("six", "2001:db8::/64")]);
    world.create("loose");
    world.create("other");
    world.edit("keeper", |service| {
        service.spec.ip_families = vec!["IPv6".to_owned()];
        ask("2001:db8::1")(service);
    });
    world.settle();
    world.edit("loose", ask("10.0.0.1"));
    world.edit("asking", |service| {
        dual("RequireDualStack")(service);
        ask("10.0.0.0,2001:db8::1")(service);
    });
    world.settle();
    world.expect(
        "in vain",
        &[("loose", "10.0.0.0"), ("asking", "AddressTaken")],
    );
    world.edit("keeper", ask("2001:db8::2"));
    world.settle();
    world.expect(
        "it helps",
        &[
            ("asking", "10.0.0.0,2001:db8::1"),
            ("loose", "AddressTaken"),
        ],
    );
}

#[test]
fn three_services_that_want_each_others_addresses_all_get_them() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    world.settle();
    for (name, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.0")] {
        world.edit(name, ask(address));
        world.settle();
    }
    let turned = [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.0")];
    world.expect("turned", &turned);
    world.restart();
    world.settle();
    world.expect("after a restart", &turned);
}

#[test]
fn what_is_said_to_those_who_wait_does_not_follow_who_has_the_addresses() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/31", |spec| {
        spec.retain = Some("10m".to_owned());
    });
    for name in ["a", "b", "waiting"] {
        world.create(name);
    }
    world.settle();
    let (message, writes) = (world.message("waiting"), world.writes);
    world.delete("b");
    world.settle();
    world.expect("retained", &[("waiting", "Exhausted")]);
    assert_eq!(world.message("waiting"), message);
    assert_eq!(world.writes, writes);
}

#[test]
fn a_release_costs_nothing_for_those_whom_it_can_not_help() {
    let v4 = BTreeSet::from([Family::V4]);
    let v6 = BTreeSet::from([Family::V6]);
    for (row, pools, by_v4, by_v6) in [
        (
            "no pool has the other family",
            &[("p", "10.0.0.0/24")][..],
            0,
            0,
        ),
        (
            "the other family is exhausted",
            &[("p", "10.0.0.0/24"), ("q", "2001:db8::/128")],
            0,
            1,
        ),
        (
            "both are",
            &[("p", "10.0.0.0/32"), ("q", "2001:db8::/128")],
            1,
            1,
        ),
    ] {
        let mut world = mk_world(pools);
        if pools.len() > 1 {
            world.edit("first", dual("PreferDualStack"));
        }
        world.edit("web", dual("PreferDualStack"));
        world.settle();
        let helped = |freed| world.core.standings.waiting_for(freed).len();
        assert_eq!((helped(&v4), helped(&v6)), (by_v4, by_v6), "{row}");
        assert_eq!(
            world.core.standings.worded_by(&BTreeSet::new()),
            [],
            "{row}"
        );
    }
}
