//! Who keeps an address without wanting it gives way to a Service that asks for exactly that, and to nobody else.

use super::*;

/// A full pool; `holder` has 10.0.0.1 and keeps it only because the pool that it names does not exist.
fn mk_full(world_of: &[(&str, &str)]) -> World {
    let mut world = mk_world(world_of);
    world.edit("first", ask("10.0.0.0"));
    world.edit("holder", ask("10.0.0.1"));
    world.settle();
    world
}

fn loosen(world: &mut World) {
    world.edit("holder", |service| {
        unannotate(service, LOAD_BALANCER_IPS);
        annotate(service, ADDRESS_POOL, "none");
    });
    world.settle();
    assert_eq!(world.ips("holder"), "10.0.0.1", "it keeps what it has");
}

#[test]
fn what_is_given_up_goes_to_whom_it_was_given_up_for() {
    for asked_before in [false, true] {
        let mut world = mk_full(&[("p", "10.0.0.0/31")]);
        world.create("older-auto");
        if asked_before {
            world.edit("wants", ask("10.0.0.1"));
            world.settle();
            world.expect("waits", &[("wants", "AddressTaken")]);
        }
        world.edit("holder", |service| {
            unannotate(service, LOAD_BALANCER_IPS);
            annotate(service, ADDRESS_POOL, "none");
        });
        world.settle();
        if !asked_before {
            assert_eq!(world.ips("holder"), "10.0.0.1", "it keeps what it has");
            world.edit("wants", ask("10.0.0.1"));
            world.settle();
        }
        world.expect(
            if asked_before {
                "asked before"
            } else {
                "asked after"
            },
            &[
                ("wants", "10.0.0.1"),
                ("older-auto", "Exhausted"),
                ("holder", "UnknownPool"),
            ],
        );
    }
}

#[test]
fn a_promise_ends_when_nobody_claims_it() {
    type Change = fn(&mut World);
    let rows: [(&str, Change); 3] = [
        ("deleted", |world| world.delete("wants")),
        ("asks for another one", |world| {
            world.edit("wants", ask("10.0.0.0"));
        }),
        ("asks for a pool", |world| {
            world.edit("wants", |service| {
                unannotate(service, LOAD_BALANCER_IPS);
                annotate(service, ADDRESS_POOL, "none");
            });
        }),
    ];
    for (row, change) in rows {
        let mut world = mk_full(&[("p", "10.0.0.0/31")]);
        world.create("older-auto");
        loosen(&mut world);
        world.edit("wants", ask("10.0.0.1"));
        // The holder is told to let go, and the one that it did so for changes its mind before that has happened.
        let writes = world.core.decide(world.moment());
        change(&mut world);
        for write in writes {
            world.land(&write);
        }
        world.settle();
        world.expect(row, &[("older-auto", "10.0.0.1")]);
    }
}

#[test]
fn nobody_gives_way_while_something_else_refuses_the_address_all_the_same() {
    type Change = fn(&mut World);
    let rows: [(&str, Change, &str); 3] = [
        (
            "a stranger shows it",
            |world| {
                world.edit("stranger", |service| {
                    service.spec.load_balancer_class = Some("other".to_owned());
                    show(service, &["10.0.0.1"]);
                });
            },
            "AddressTaken",
        ),
        (
            "a node uses it",
            |world| world.node_at("n", &["10.0.0.1"]),
            "AddressUsedByNode",
        ),
        (
            "it is reserved for another",
            |world| {
                world.edit_pool("p", "10.0.0.0/31", |spec| {
                    spec.reservations = vec![portolan_api::crd::Reservation {
                        namespace: "shop".to_owned(),
                        name: "vip".to_owned(),
                        address: "10.0.0.1".to_owned(),
                    }];
                });
            },
            "AddressReserved",
        ),
    ];
    for (row, change, reason) in rows {
        let mut world = mk_full(&[("p", "10.0.0.0/31")]);
        loosen(&mut world);
        change(&mut world);
        world.edit("wants", ask("10.0.0.1"));
        world.settle();
        world.expect(row, &[("holder", "10.0.0.1"), ("wants", reason)]);
    }
}

#[test]
fn a_demand_that_has_become_hopeless_moves_nobody() {
    let mut world = mk_full(&[("p", "10.0.0.0/31")]);
    world.edit("wants", ask("10.0.0.1"));
    world.settle();
    world.expect("waits", &[("wants", "AddressTaken")]);
    world.edit_pool("p", "10.0.0.0/31", |spec| {
        spec.quota = Some(portolan_api::crd::Quota {
            addresses_per_namespace: 1,
        });
    });
    world.node_at("n", &["10.0.0.1"]);
    loosen(&mut world);
    world.expect("nodes come first", &[("wants", "AddressUsedByNode")]);
}

#[test]
fn one_that_wants_one_of_its_two_addresses_does_not_make_others_give_way_for_that() {
    let mut world = mk_world(&[("p", "10.0.0.0/31 2001:db8::/127")]);
    world.edit("both", |service| {
        dual("RequireDualStack")(service);
        ask("10.0.0.0,2001:db8::")(service);
    });
    world.settle();
    // Its IPv6 address is the one that it asks for still; of IPv4 it asks for what nobody has.
    world.edit("both", ask("192.0.2.1,2001:db8::"));
    world.settle();
    world.edit("wants", |service| {
        dual("RequireDualStack")(service);
        ask("10.0.0.0,2001:db8::")(service);
    });
    world.settle();
    world.expect(
        "in vain",
        &[("both", "10.0.0.0,2001:db8::"), ("wants", "AddressTaken")],
    );
}
