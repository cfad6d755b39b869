//! Addresses that are reserved for Services by name.

use portolan_api::crd::Reservation;

use super::*;

fn reserve(name: &str, address: &str) -> Reservation {
    let key = mk_key(name);
    Reservation {
        namespace: key.namespace,
        name: key.name,
        address: address.to_owned(),
    }
}

fn reserving(reservations: &[(&str, &str)]) -> impl FnOnce(&mut IPAddressPoolSpec) {
    let all = reservations
        .iter()
        .map(|(name, address)| reserve(name, address))
        .collect();
    move |spec| spec.reservations = all
}

#[test]
fn a_reserved_address_waits_for_its_service_and_nobody_else_gets_it() {
    let mut world = mk_world(&[]);
    world.namespace("bank", &[]);
    world.edit_pool("p", "10.0.0.0/30", reserving(&[("web", "10.0.0.0")]));
    world.create("other");
    world.edit("thief", ask("10.0.0.0"));
    world.create("bank/web");
    world.settle();
    world.expect(
        "before it exists",
        &[
            ("other", "10.0.0.1"),
            ("thief", "AddressReserved"),
            ("bank/web", "10.0.0.2"),
        ],
    );
    assert!(
        world.message("thief").contains("shop/web"),
        "{}",
        world.message("thief")
    );
    world.create("web");
    world.settle();
    world.expect("created", &[("web", "10.0.0.0")]);
    world.restart();
    world.settle();
    world.delete("web");
    world.settle();
    world.expect("gone again", &[("thief", "AddressReserved")]);
    world.pool("p", "10.0.0.0/30");
    world.settle();
    world.expect("reservation removed", &[("thief", "10.0.0.0")]);
}

#[test]
fn a_reservation_is_served_first_whatever_the_pool_and_in_both_families() {
    let mut world = mk_world(&[("a", "10.0.0.0/24 2001:db8::/64")]);
    world.edit_pool("z", "10.1.0.0/24 2001:db8:1::/64", |spec| {
        spec.auto_assign = false;
        reserving(&[
            ("both", "10.1.0.5"),
            ("both", "2001:db8:1::5"),
            ("four", "10.1.0.6"),
            ("exact", "10.1.0.7"),
            ("named", "10.1.0.8"),
        ])(spec);
    });
    world.edit("both", dual("PreferDualStack"));
    world.edit("four", dual("RequireDualStack"));
    world.edit("exact", ask("10.0.0.9"));
    world.edit("named", ask_pool("a"));
    world.settle();
    world.expect(
        "order",
        &[
            ("both", "10.1.0.5,2001:db8:1::5"),
            ("four", "10.1.0.6,2001:db8::"),
            ("exact", "10.0.0.9"),
            ("named", "10.0.0.0"),
        ],
    );
}

#[test]
fn whoever_holds_an_address_keeps_it_from_a_reservation_and_the_pool_says_so() {
    let mut world = mk_world(&[("p", "10.0.0.0/30")]);
    world.create("squatter");
    world.settle();
    world.edit_pool("p", "10.0.0.0/30", reserving(&[("web", "10.0.0.0")]));
    world.create("web");
    world.settle();
    world.pass(COUNTERS_DELAY);
    world.expect("kept", &[("squatter", "10.0.0.0"), ("web", "10.0.0.1")]);
    let held = world.condition("p", "ReservationsHeld");
    assert_eq!(
        (held.status.as_str(), held.reason.as_str()),
        ("False", "HeldByAnother")
    );
    assert!(held.message.contains("shop/squatter"), "{}", held.message);
    world.delete("squatter");
    world.settle();
    world.pass(COUNTERS_DELAY);
    assert_eq!(world.condition("p", "ReservationsHeld").status, "True");
    world.expect(
        "web holds another address and keeps it",
        &[("web", "10.0.0.1")],
    );
    world.create("next");
    world.settle();
    world.expect("still kept for web", &[("next", "10.0.0.2")]);
}

#[test]
fn services_that_share_an_address_may_all_have_it_reserved() {
    let mut world = mk_world(&[]);
    let both = [("a", "10.0.0.5"), ("b", "10.0.0.5")];
    world.edit_pool("p", "10.0.0.0/24", reserving(&both));
    for (name, port) in [("a", 80), ("b", 443), ("c", 8080)] {
        world.edit(name, |service| mk_sharer(service, "k", port));
    }
    world.settle();
    world.expect(
        "shared",
        &[("a", "10.0.0.5"), ("b", "10.0.0.5"), ("c", "10.0.0.0")],
    );
}

#[test]
fn a_reservation_that_can_not_be_kept_is_refused_when_it_is_written() {
    for (row, reservations) in [
        ("outside", &[("web", "192.0.2.1")][..]),
        ("excluded", &[("web", "10.0.0.9")]),
        ("no address", &[("web", "ten")]),
        (
            "two of one family",
            &[("web", "10.0.0.1"), ("web", "10.0.0.2")],
        ),
    ] {
        let mut world = mk_world(&[]);
        world.edit_pool("p", "10.0.0.0/24", |spec| {
            spec.excluded_addresses = vec!["10.0.0.9".to_owned()];
            reserving(reservations)(spec);
        });
        world.settle();
        let accepted = world.condition("p", "Accepted");
        assert_eq!(accepted.status, "False", "{row}");
        assert!(
            accepted.message.contains("spec.reservations["),
            "{row}: {}",
            accepted.message
        );
    }
}

#[test]
fn a_reservation_that_appears_serves_the_service_that_waits_for_an_address() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", |spec| spec.auto_assign = false);
    world.create("web");
    world.settle();
    world.expect("no pool", &[("web", "NoPool")]);
    world.edit_pool("p", "10.0.0.0/24", |spec| {
        spec.auto_assign = false;
        reserving(&[("web", "10.0.0.9")])(spec);
    });
    world.settle();
    world.expect("reserved", &[("web", "10.0.0.9")]);
}
