//! Services with two families.

use super::*;

#[test]
fn one_family_of_two_is_told_as_an_event() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", |service| {
        service.spec.ip_families = vec!["IPv4".to_owned(), "IPv6".to_owned()];
        service.spec.ip_family_policy = Some("PreferDualStack".to_owned());
    });
    world.settle();
    assert_eq!(
        world.notes,
        ["web: AddressAssigned", "web: PartiallyAssigned"]
    );
}

const TWO: &str = "10.0.0.0/24 2001:db8::/64";

#[test]
fn both_families_come_from_one_pool_or_else_from_two() {
    for (row, pools, policy, expected) in [
        (
            "one pool",
            &[("a", TWO)][..],
            "RequireDualStack",
            "10.0.0.0,2001:db8::",
        ),
        (
            "the one that has both, though it comes later",
            &[("a", "10.9.0.0/24"), ("b", TWO)],
            "RequireDualStack",
            "10.0.0.0,2001:db8::",
        ),
        (
            "two pools",
            &[("a", "2001:db8:9::/64"), ("b", "10.9.0.0/24")],
            "RequireDualStack",
            "10.9.0.0,2001:db8:9::",
        ),
        (
            "two pools, preferred",
            &[("a", "2001:db8:9::/64"), ("b", "10.9.0.0/24")],
            "PreferDualStack",
            "10.9.0.0,2001:db8:9::",
        ),
        (
            "one family, required",
            &[("a", "10.9.0.0/24")],
            "RequireDualStack",
            "NoPool",
        ),
        (
            "one family, preferred",
            &[("a", "10.9.0.0/24")],
            "PreferDualStack",
            "10.9.0.0",
        ),
        (
            "the other one",
            &[("a", "2001:db8:9::/64")],
            "PreferDualStack",
            "2001:db8:9::",
        ),
        ("nothing", &[], "PreferDualStack", "NoPool"),
    ] {
        let mut world = mk_world(pools);
        world.edit("s", dual(policy));
        world.settle();
        world.expect(row, &[("s", expected)]);
        let is_short = !expected.contains(',') && expected.contains(['.', ':']);
        let reason = if is_short {
            "PartiallyAssigned"
        } else {
            expected
        };
        let reason = if expected.contains(',') {
            "Assigned"
        } else {
            reason
        };
        assert_eq!(world.verdict("s").1, reason, "{row}");
    }
}

#[test]
fn automatic_addresses_are_written_ipv4_first_whatever_the_primary_family_is() {
    let mut world = mk_world(&[("p", TWO)]);
    for policy in ["PreferDualStack", "RequireDualStack"] {
        world.edit(policy, |service| {
            dual(policy)(service);
            service.spec.ip_families.reverse();
        });
        world.settle();
        assert!(
            world.ips(policy).starts_with("10.0.0."),
            "{}",
            world.ips(policy)
        );
    }
}

#[test]
fn a_restricted_pool_with_one_family_is_used_before_an_open_one_with_both() {
    for policy in ["PreferDualStack", "RequireDualStack"] {
        let mut world = mk_world(&[("open", TWO)]);
        world.edit_pool("mine", "10.7.0.0/24", |spec| {
            spec.service_allocation = Some(portolan_api::crd::ServiceAllocation {
                namespaces: vec!["shop".to_owned()],
                ..Default::default()
            });
        });
        world.edit("s", dual(policy));
        world.settle();
        world.expect(policy, &[("s", "10.7.0.0,2001:db8::")]);
    }
}

#[test]
fn the_second_family_comes_later_from_the_pool_of_the_first_and_keeps_its_place() {
    let mut world = mk_world(&[("p", "10.0.0.0/24"), ("z", "2001:db8:f::/64")]);
    world.create("single");
    world.edit("six", |service| {
        dual("PreferDualStack")(service);
        ask_pool("z")(service);
    });
    world.settle();
    world.expect(
        "one family",
        &[("single", "10.0.0.0"), ("six", "2001:db8:f::")],
    );
    world.pool("p", TWO);
    world.pool("a", "2001:db8:a::/64");
    world.edit("single", dual("PreferDualStack"));
    world.edit("six", |service| unannotate(service, ADDRESS_POOL));
    world.settle();
    world.expect(
        "completed",
        &[
            ("single", "10.0.0.0,2001:db8::"),
            ("six", "2001:db8:f::,10.0.0.1"),
        ],
    );
    let writes = world.writes;
    world.restart();
    world.settle();
    assert_eq!(world.writes, writes, "a restart keeps the order");
}

#[test]
fn a_service_that_wants_one_family_less_keeps_the_other() {
    for (keep, expected) in [("IPv4", "10.0.0.0"), ("IPv6", "2001:db8::")] {
        let mut world = mk_world(&[("p", TWO)]);
        world.edit("s", dual("RequireDualStack"));
        world.settle();
        world.edit("s", |service| {
            service.spec.ip_families = vec![keep.to_owned()];
            service.spec.ip_family_policy = Some("SingleStack".to_owned());
        });
        world.settle();
        world.expect(keep, &[("s", expected)]);
    }
}

#[test]
fn a_pool_that_loses_a_family_takes_that_one_only() {
    for (policy, status, reason) in [
        ("PreferDualStack", "True", "PartiallyAssigned"),
        ("RequireDualStack", "False", "NoPool"),
    ] {
        let mut world = mk_world(&[("p", TWO)]);
        world.create("before");
        world.edit("s", dual(policy));
        world.settle();
        world.delete("before");
        world.pool("p", "10.0.0.0/24");
        world.settle();
        world.expect(policy, &[("s", "10.0.0.1")]);
        assert_eq!(
            world.verdict("s"),
            (status.into(), reason.into()),
            "{policy}"
        );
        world.pool("q", "2001:db8:7::/64");
        world.settle();
        world.expect(policy, &[("s", "10.0.0.1,2001:db8:7::")]);
        assert_eq!(world.service("s").annotation(POOL), Some("p,q"));
    }
}

#[test]
fn the_order_in_a_status_never_changes_while_its_addresses_stay() {
    let mut world = mk_world(&[("p", TWO)]);
    world.edit("s", dual("RequireDualStack"));
    world.edit("exact", |service| {
        dual("RequireDualStack")(service);
        ask("2001:db8::9,10.0.0.9")(service);
    });
    world.settle();
    let (s, exact) = ("10.0.0.0,2001:db8::", "2001:db8::9,10.0.0.9");
    for (row, edit) in [
        (
            "asked for in another order",
            Box::new(ask("2001:db8::,10.0.0.0")) as Box<dyn Fn(&mut Service)>,
        ),
        (
            "request taken back",
            Box::new(|s| unannotate(s, LOAD_BALANCER_IPS)),
        ),
        (
            "primary family changed",
            Box::new(|s| s.spec.ip_families.reverse()),
        ),
        ("status wiped", Box::new(|s| show(s, &[]))),
        (
            "status in another order",
            Box::new(|s| show(s, &["2001:db8::", "10.0.0.0"])),
        ),
    ] {
        world.edit("s", edit);
        world.settle();
        world.expect(row, &[("s", s), ("exact", exact)]);
        world.restart();
        world.settle();
        world.expect(row, &[("s", s), ("exact", exact)]);
    }
}

#[test]
fn a_move_to_a_pool_with_one_family_costs_no_family() {
    for policy in ["PreferDualStack", "RequireDualStack"] {
        let mut world = mk_world(&[("p", TWO), ("four", "10.4.0.0/24")]);
        world.edit("s", dual(policy));
        world.settle();
        world.edit("s", ask_pool("four"));
        world.settle();
        let ips = world.ips("s");
        assert_eq!(ips.split(',').count(), 2, "{policy}: {ips}");
        assert!(ips.contains("2001:db8::"), "{policy}: {ips}");
    }
}

#[test]
fn exact_addresses_may_be_of_two_pools_and_are_given_both_or_not_at_all() {
    let mut world = mk_world(&[("four", "10.0.0.0/24"), ("six", "2001:db8::/64")]);
    for (name, addresses) in [
        ("both", "10.0.0.7,2001:db8::7"),
        ("half", "10.0.0.8,2001:db8::7"),
    ] {
        world.edit(name, |service| {
            dual("PreferDualStack")(service);
            ask(addresses)(service);
        });
    }
    world.settle();
    world.expect(
        "two pools",
        &[("both", "10.0.0.7,2001:db8::7"), ("half", "AddressTaken")],
    );
}
