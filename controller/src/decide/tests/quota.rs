//! How many addresses of a pool the Services of one namespace may have.

use portolan_api::crd::Quota;

use super::*;

fn quota(addresses_per_namespace: i64) -> impl FnOnce(&mut IPAddressPoolSpec) {
    move |spec| {
        spec.quota = Some(Quota {
            addresses_per_namespace,
        });
    }
}

#[test]
fn a_namespace_gets_as_many_addresses_as_it_may_have_and_others_are_not_concerned() {
    let mut world = mk_world(&[]);
    world.namespace("bank", &[]);
    world.edit_pool("p", "10.0.0.0/24", quota(2));
    for name in ["a", "b", "c", "bank/a"] {
        world.create(name);
    }
    world.edit("exact", ask("10.0.0.77"));
    world.edit("named", ask_pool("p"));
    world.settle();
    world.expect(
        "two each",
        &[
            ("a", "10.0.0.0"),
            ("b", "10.0.0.1"),
            ("c", "QuotaReached"),
            ("exact", "QuotaReached"),
            ("named", "QuotaReached"),
            ("bank/a", "10.0.0.2"),
        ],
    );
    let message = world.message("c");
    assert!(
        message.contains("IPAddressPool p") && message.contains("addressesPerNamespace"),
        "{message}"
    );
    world.delete("a");
    world.settle();
    world.expect("one went", &[("c", "10.0.0.0"), ("exact", "QuotaReached")]);
    world.edit_pool("p", "10.0.0.0/24", quota(9));
    world.settle();
    world.expect("raised", &[("exact", "10.0.0.77"), ("named", "10.0.0.3")]);
}

#[test]
fn a_pool_whose_quota_is_used_up_is_skipped_for_the_next_one() {
    let mut world = mk_world(&[("q", "10.1.0.0/24")]);
    world.edit_pool("p", "10.0.0.0/24", quota(1));
    world.create("a");
    world.create("b");
    world.settle();
    world.expect("skipped", &[("a", "10.0.0.0"), ("b", "10.1.0.0")]);
}

#[test]
fn a_shared_address_counts_once() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", quota(1));
    world.edit("a", |s| mk_sharer(s, "k", 80));
    world.edit("b", |s| mk_sharer(s, "k", 443));
    world.edit("c", |s| mk_sharer(s, "k", 80));
    world.settle();
    world.expect(
        "shared",
        &[("a", "10.0.0.0"), ("b", "10.0.0.0"), ("c", "QuotaReached")],
    );
    world.delete("a");
    world.settle();
    world.expect("the port is free", &[("b", "10.0.0.0"), ("c", "10.0.0.0")]);
}

#[test]
fn a_retained_address_counts_and_its_own_service_gets_it_back() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", |spec| {
        quota(1)(spec);
        spec.retain = Some("10m".to_owned());
    });
    world.create("a");
    world.settle();
    world.delete("a");
    world.create("b");
    world.settle();
    world.expect("retained", &[("b", "QuotaReached")]);
    world.restart();
    world.settle();
    world.expect("after a restart", &[("b", "QuotaReached")]);
    world.create("a");
    world.settle();
    world.expect("back", &[("a", "10.0.0.0"), ("b", "QuotaReached")]);
    world.delete("a");
    world.settle();
    world.pass(Duration::from_mins(11));
    world.expect("over", &[("b", "10.0.0.1")].map(|(n, _)| (n, "10.0.0.0")));
}

#[test]
fn a_lowered_quota_evicts_nobody_and_refuses_the_next() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    world.settle();
    world.edit_pool("p", "10.0.0.0/24", quota(1));
    world.settle();
    world.restart();
    world.create("d");
    world.settle();
    let held = [
        ("a", "10.0.0.0"),
        ("b", "10.0.0.1"),
        ("c", "10.0.0.2"),
        ("d", "QuotaReached"),
    ];
    world.expect("lowered", &held);
    world.delete("a");
    world.delete("b");
    world.settle();
    world.expect("still one", &[("c", "10.0.0.2"), ("d", "QuotaReached")]);
    world.delete("c");
    world.settle();
    world.expect("none left", &[("d", "10.0.0.0")]);
}

#[test]
fn a_dual_stack_service_counts_two_however_it_asks() {
    let exact = "10.0.0.8,2001:db8::8";
    for (policy, exact, expected) in [
        ("RequireDualStack", "", "QuotaReached"),
        ("RequireDualStack", exact, "QuotaReached"),
        ("PreferDualStack", exact, "QuotaReached"),
        ("PreferDualStack", "", "10.0.0.0"),
    ] {
        let row = format!("{policy} {exact}");
        let mut world = mk_world(&[]);
        world.edit_pool("p", "10.0.0.0/24 2001:db8::/64", quota(1));
        world.edit("s", |service| {
            dual(policy)(service);
            ask(exact)(service);
        });
        world.settle();
        world.expect(&row, &[("s", expected)]);
        world.edit_pool("p", "10.0.0.0/24 2001:db8::/64", quota(2));
        world.settle();
        let both = if exact.is_empty() {
            "10.0.0.0,2001:db8::"
        } else {
            exact
        };
        world.expect(&row, &[("s", both)]);
    }
}

#[test]
fn a_move_inside_the_quota_needs_no_more_room_than_it_frees() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", quota(1));
    world.create("a");
    world.settle();
    world.edit("a", ask("10.0.0.9"));
    world.settle();
    world.expect("moved", &[("a", "10.0.0.9")]);
}

#[test]
fn a_used_up_quota_is_told_together_with_what_the_other_pools_lack() {
    let mut world = mk_world(&[("full", "10.1.0.0/32")]);
    world.edit_pool("p", "10.0.0.0/24", quota(1));
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    world.settle();
    world.expect("all", &[("c", "QuotaReached")]);
    let message = world.message("c");
    for words in [
        "full has no address left",
        "p allows a namespace 1 addresses",
    ] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_reservation_does_not_lift_the_quota() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", |spec| {
        quota(1)(spec);
        spec.reservations = vec![portolan_api::crd::Reservation {
            namespace: "shop".to_owned(),
            name: "vip".to_owned(),
            address: "10.0.0.9".to_owned(),
        }];
    });
    world.create("a");
    world.create("vip");
    world.settle();
    world.expect("used up", &[("a", "10.0.0.0"), ("vip", "QuotaReached")]);
    world.delete("a");
    world.settle();
    world.expect("room", &[("vip", "10.0.0.9")]);
}

#[test]
fn a_quota_too_small_for_both_families_says_so_and_calls_no_free_pool_empty() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24 2001:db8::/64", |spec| {
        spec.quota = Some(Quota {
            addresses_per_namespace: 1,
        });
    });
    world.edit("web", dual("RequireDualStack"));
    world.settle();
    world.expect("one is too few", &[("web", "QuotaReached")]);
    let message = world.message("web");
    assert!(message.contains("too few for both families"), "{message}");
    assert!(!message.contains("has all 1"), "{message}");
    assert!(!message.contains("no address left"), "{message}");
}
