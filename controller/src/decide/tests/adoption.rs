//! Addresses that are in a status before the controller has decided anything: at the start of a term, and later.

use portolan_api::crd::{Quota, Reservation, ServiceAllocation};

use super::*;

fn mk_reservation(name: &str, address: &str) -> Reservation {
    Reservation {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        address: address.to_owned(),
    }
}

#[test]
fn of_several_addresses_of_a_family_the_first_lawful_one_stays_at_the_start_of_a_term() {
    type Edit = fn(&mut IPAddressPoolSpec);
    let rows: [(&str, Edit, &[&str], &str); 4] = [
        ("both lawful", |_| {}, &["10.0.0.8", "10.0.0.9"], "10.0.0.8"),
        (
            "the first is excluded",
            |spec| spec.excluded_addresses = vec!["10.0.0.8".to_owned()],
            &["10.0.0.8", "10.0.0.9"],
            "10.0.0.9",
        ),
        (
            "the pool of the first is for others",
            |spec| {
                spec.service_allocation = Some(ServiceAllocation {
                    namespaces: vec!["bank".to_owned()],
                    ..ServiceAllocation::default()
                });
            },
            &["10.0.0.8", "10.1.0.9"],
            "10.1.0.9",
        ),
        (
            "the first is of a family that is not wanted",
            |_| {},
            &["2001:db8::8", "10.0.0.9"],
            "10.0.0.9",
        ),
    ];
    for (row, edit, shown, expected) in rows {
        let mut world = mk_world(&[("q", "10.1.0.0/24 2001:db8::/64")]);
        world.edit_pool("p", "10.0.0.0/24", edit);
        world.edit("web", |service| show(service, shown));
        world.restart();
        world.settle();
        world.expect(row, &[("web", expected)]);
    }
}

#[test]
fn whoever_writes_a_status_gets_nothing_that_portolan_would_not_give() {
    type Edit = fn(&mut World);
    let rows: [(&str, Edit, &str); 4] = [
        ("free", |_| {}, "10.0.0.3"),
        (
            "reserved",
            |world| {
                world.edit_pool("p", "10.0.0.0/24", |spec| {
                    spec.reservations = vec![mk_reservation("vip", "10.0.0.3")];
                });
            },
            "10.0.0.0",
        ),
        (
            "used by a node",
            |world| world.node_at("n", &["10.0.0.3"]),
            "10.0.0.0",
        ),
        (
            "one more than the namespace may have",
            |world| {
                world.edit_pool("p", "10.0.0.0/24", |spec| {
                    spec.quota = Some(Quota {
                        addresses_per_namespace: 1,
                    });
                });
                world.create("first");
            },
            "QuotaReached",
        ),
    ];
    for (row, edit, expected) in rows {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        edit(&mut world);
        world.settle();
        world.edit("web", |service| show(service, &["8.8.8.8"]));
        world.settle();
        world.expect(row, &[("web", "8.8.8.8")]);
        world.edit("web", |service| show(service, &["10.0.0.3"]));
        world.settle();
        world.expect(row, &[("web", expected)]);
    }
}

#[test]
fn of_two_that_show_one_address_of_a_new_pool_the_oldest_has_it_and_sharers_keep_it() {
    let mut world = mk_world(&[]);
    for (name, address) in [("a", "10.0.0.7"), ("b", "10.0.0.7")] {
        world.edit(name, |service| show(service, &[address]));
    }
    for (name, port) in [("c", 80), ("d", 81)] {
        world.edit(name, |service| {
            mk_sharer(service, "k", port);
            show(service, &["10.0.0.8"]);
        });
    }
    world.settle();
    world.pool("p", "10.0.0.0/24");
    world.settle();
    world.expect(
        "adopted",
        &[
            ("a", "10.0.0.7"),
            ("b", "10.0.0.0"),
            ("c", "10.0.0.8"),
            ("d", "10.0.0.8"),
        ],
    );
}

#[test]
fn an_unreadable_request_keeps_what_is_held_unless_the_pool_shuts_the_service_out() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    world.edit("web", ask("garbage"));
    world.settle();
    world.expect("garbage", &[("web", "10.0.0.0")]);
    world.edit_pool("p", "10.0.0.0/24", |spec| {
        spec.service_allocation = Some(ServiceAllocation {
            namespaces: vec!["bank".to_owned()],
            ..ServiceAllocation::default()
        });
    });
    world.settle();
    world.expect("shut out", &[("web", "InvalidRequest")]);
}

#[test]
fn an_unreadable_request_keeps_no_family_that_is_not_wanted_any_more() {
    let mut world = mk_world(&[("p", "10.0.0.0/24 2001:db8::/64")]);
    world.edit("web", dual("RequireDualStack"));
    world.settle();
    world.edit("web", |service| {
        service.spec.ip_families = vec!["IPv4".to_owned()];
        service.spec.ip_family_policy = None;
        ask("garbage")(service);
    });
    world.settle();
    world.expect("one family", &[("web", "10.0.0.0")]);
}
