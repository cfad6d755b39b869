//! Order of choice, and who may use which pool.

use portolan_api::crd::ServiceAllocation;
use portolan_api::selector::LabelSelector;

use super::*;

fn mk_selector(name: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: mk_labels(&[(name, value)]),
        ..LabelSelector::default()
    }
}

fn restrict(priority: i32, namespaces: &[&str]) -> impl FnOnce(&mut IPAddressPoolSpec) {
    let namespaces = namespaces.iter().map(|n| (*n).to_owned()).collect();
    move |spec| {
        spec.service_allocation = Some(ServiceAllocation {
            priority,
            namespaces,
            ..ServiceAllocation::default()
        });
    }
}

fn manual(spec: &mut IPAddressPoolSpec) {
    spec.auto_assign = false;
}

#[test]
fn exact_addresses_come_first_then_the_named_pool_then_restricted_pools_by_priority_then_open_ones_by_name()
 {
    let mut world = mk_world(&[("b-open", "10.1.0.0/32"), ("a-open", "10.2.0.0/32")]);
    world.edit_pool("zero", "10.3.0.0/32", restrict(0, &["shop"]));
    world.edit_pool("two", "10.4.0.0/32", restrict(2, &["shop"]));
    world.edit_pool("one", "10.5.0.0/32", restrict(1, &["shop"]));
    world.edit_pool("bank", "10.6.0.0/32", restrict(1, &["bank"]));
    world.edit_pool("manual", "10.7.0.0/31", manual);
    world.edit("exact", ask("10.7.0.1"));
    world.edit("named", ask_pool("manual"));
    for name in ["s1", "s2", "s3", "s4", "s5", "s6"] {
        world.create(name);
    }
    world.settle();
    world.expect(
        "order",
        &[
            ("exact", "10.7.0.1"),
            ("named", "10.7.0.0"),
            ("s1", "10.5.0.0"),
            ("s2", "10.4.0.0"),
            ("s3", "10.3.0.0"),
            ("s4", "10.2.0.0"),
            ("s5", "10.1.0.0"),
            ("s6", "Exhausted"),
        ],
    );
}

#[test]
fn restricted_pools_of_equal_priority_are_used_by_name_whatever_the_order_of_events() {
    for names in [["x", "y", "z"], ["z", "y", "x"], ["y", "x", "z"]] {
        let mut world = mk_world(&[]);
        for name in names {
            let range = format!("10.0.{}.0/32", name.as_bytes()[0]);
            world.edit_pool(name, &range, restrict(5, &["shop"]));
        }
        world.create("a");
        world.create("b");
        world.settle();
        world.expect(
            &format!("{names:?}"),
            &[("a", "10.0.120.0"), ("b", "10.0.121.0")],
        );
    }
}

#[test]
fn a_pool_serves_namespaces_by_name_or_by_label_and_of_them_the_services_that_a_selector_matches() {
    let admitted = "10.0.0.0";
    for (row, namespace, team, tier, expected) in [
        ("by name, and label", "shop", "none", "web", admitted),
        ("by name, second selector", "shop", "none", "api", admitted),
        ("by label of the namespace", "bank", "a", "web", admitted),
        ("by both", "shop", "a", "web", admitted),
        ("other namespace", "bank", "b", "web", "NoPool"),
        (
            "right namespace, no selector matches",
            "shop",
            "a",
            "db",
            "NoPool",
        ),
        (
            "namespace by label, no selector matches",
            "bank",
            "a",
            "db",
            "NoPool",
        ),
    ] {
        let mut world = mk_world(&[]);
        world.namespace(namespace, &[("team", team)]);
        world.edit_pool("p", "10.0.0.0/24", |spec| {
            spec.service_allocation = Some(ServiceAllocation {
                namespaces: vec!["shop".to_owned()],
                namespace_selectors: vec![mk_selector("team", "a"), mk_selector("team", "c")],
                service_selectors: vec![mk_selector("tier", "web"), mk_selector("tier", "api")],
                ..ServiceAllocation::default()
            });
        });
        let name = format!("{namespace}/s");
        world.edit(&name, |service| {
            service.metadata.labels = Some(mk_labels(&[("tier", tier)]));
        });
        world.settle();
        world.expect(row, &[(&name, expected)]);
    }
}

#[test]
fn a_pool_with_a_priority_alone_serves_everybody_before_open_pools() {
    let mut world = mk_world(&[("a", "10.1.0.0/32")]);
    world.edit_pool("z", "10.0.0.0/32", restrict(7, &[]));
    world.create("s");
    world.settle();
    world.expect("priority only", &[("s", "10.0.0.0")]);
}

#[test]
fn labels_of_a_namespace_open_and_close_pools_as_they_change() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", |spec| {
        spec.service_allocation = Some(ServiceAllocation {
            namespace_selectors: vec![mk_selector("team", "a")],
            ..ServiceAllocation::default()
        });
    });
    world.create("s");
    world.settle();
    world.expect("no label", &[("s", "NoPool")]);
    world.namespace("shop", &[("team", "a")]);
    world.settle();
    world.expect("labelled", &[("s", "10.0.0.0")]);
    world.namespace("shop", &[]);
    world.settle();
    world.expect("label removed", &[("s", "NoPool")]);
}

#[test]
fn labels_of_a_service_open_and_close_pools_as_they_change() {
    let mut world = mk_world(&[("open", "10.9.0.0/24")]);
    world.edit_pool("p", "10.0.0.0/24", |spec| {
        spec.service_allocation = Some(ServiceAllocation {
            service_selectors: vec![mk_selector("tier", "web")],
            ..ServiceAllocation::default()
        });
    });
    world.edit("s", |service| {
        service.metadata.labels = Some(mk_labels(&[("tier", "web")]));
    });
    world.settle();
    world.expect("labelled", &[("s", "10.0.0.0")]);
    world.edit("s", |service| service.metadata.labels = None);
    world.settle();
    world.expect("label removed: evicted", &[("s", "10.9.0.0")]);
    world.edit("s", |service| {
        service.metadata.labels = Some(mk_labels(&[("tier", "web")]));
    });
    world.settle();
    world.expect("a better pool moves nobody", &[("s", "10.9.0.0")]);
}

#[test]
fn nobody_falls_back_from_an_exact_address_or_a_named_pool() {
    let mut world = mk_world(&[("open", "10.0.0.0/24"), ("full", "10.1.0.0/32")]);
    world.edit_pool("bank", "10.2.0.0/24", restrict(1, &["bank"]));
    world.edit_pool("holes", "10.3.0.0/24", |spec| {
        spec.excluded_addresses = vec!["10.3.0.7".to_owned()];
    });
    world.edit("holder", ask("10.1.0.0"));
    for (name, addresses, pool, field, reason) in [
        ("taken", "10.1.0.0", "", "", "AddressTaken"),
        ("outside", "192.0.2.1", "", "", "AddressOutsidePools"),
        ("excluded", "10.3.0.7", "", "", "AddressExcluded"),
        ("not ours", "10.2.0.1", "", "", "PoolRestricted"),
        ("wrong pool", "10.0.0.9", "holes", "", "AddressOutsidePools"),
        ("wrong family", "2001:db8::1", "", "", "InvalidRequest"),
        (
            "two of one family",
            "10.0.0.1,10.0.0.2",
            "",
            "",
            "InvalidRequest",
        ),
        ("no address", "ten", "", "", "InvalidRequest"),
        ("twice", "10.0.0.1", "", "10.0.0.1", "InvalidRequest"),
        ("bad field", "", "", "10.0.0.256", "InvalidRequest"),
        ("full pool", "", "full", "", "Exhausted"),
        ("foreign pool", "", "bank", "", "PoolRestricted"),
        ("no pool", "", "nowhere", "", "UnknownPool"),
    ] {
        world.edit(name, |service| {
            ask(addresses)(service);
            ask_pool(pool)(service);
            service.spec.load_balancer_ip = (!field.is_empty()).then(|| field.to_owned());
        });
        world.settle();
        world.expect(name, &[(name, reason)]);
        assert_eq!(world.verdict(name).0, "False", "{name}");
        assert_eq!(
            world.noted(&format!("{name}: AllocationFailed")),
            1,
            "{name}"
        );
        world.delete(name);
    }
}

#[test]
fn an_exact_address_is_asked_for_by_annotation_or_by_field_and_an_empty_one_is_none() {
    let mut world = mk_world(&[("p", "10.0.0.0/24 2001:db8::/64")]);
    world.edit("field", |s| {
        s.spec.load_balancer_ip = Some("10.0.0.7".to_owned());
    });
    world.edit("empty", |s| {
        s.spec.load_balancer_ip = Some(String::new());
        ask("")(s);
    });
    world.edit("both", |s| {
        dual("RequireDualStack")(s);
        ask(" 10.0.0.9 , 2001:db8::9 ")(s);
    });
    world.edit("both by field", |s| {
        dual("PreferDualStack")(s);
        s.spec.load_balancer_ip = Some("10.0.0.11".to_owned());
    });
    world.settle();
    world.expect(
        "requests",
        &[
            ("field", "10.0.0.7"),
            ("empty", "10.0.0.0"),
            ("both", "10.0.0.9,2001:db8::9"),
            ("both by field", "InvalidRequest"),
        ],
    );
}

#[test]
fn a_changed_request_moves_and_a_request_taken_back_moves_nothing() {
    let mut world = mk_world(&[("a", "10.0.0.0/24"), ("b", "10.1.0.0/24")]);
    world.create("s");
    world.settle();
    for (row, edit, expected) in [
        (
            "another pool",
            Box::new(ask_pool("b")) as Box<dyn Fn(&mut Service)>,
            "10.1.0.0",
        ),
        (
            "pool taken back",
            Box::new(|s| unannotate(s, ADDRESS_POOL)),
            "10.1.0.0",
        ),
        ("exact", Box::new(ask("10.0.0.5")), "10.0.0.5"),
        ("another exact", Box::new(ask("10.0.0.6")), "10.0.0.6"),
        (
            "exact taken back",
            Box::new(|s| unannotate(s, LOAD_BALANCER_IPS)),
            "10.0.0.6",
        ),
        ("its own pool named", Box::new(ask_pool("a")), "10.0.0.6"),
        (
            "what it has asked for exactly",
            Box::new(ask("10.0.0.6")),
            "10.0.0.6",
        ),
        (
            "a pool that does not exist",
            Box::new(ask_pool("c")),
            "10.0.0.6",
        ),
        ("nonsense", Box::new(ask("nonsense")), "10.0.0.6"),
    ] {
        world.edit("s", edit);
        world.settle();
        world.expect(row, &[("s", expected)]);
    }
    assert_eq!(
        world.verdict("s"),
        ("False".into(), "InvalidRequest".into())
    );
    assert!(world.message("s").contains("meanwhile it keeps 10.0.0.6"));
}

#[test]
fn ranges_of_a_pool_are_used_as_written_or_evenly_and_each_ascends() {
    for (strategy, expected) in [
        (
            portolan_api::crd::Strategy::FirstFit,
            "10.9.0.0 10.9.0.1 10.1.0.0 10.1.0.1",
        ),
        (
            portolan_api::crd::Strategy::Balanced,
            "10.9.0.0 10.1.0.0 10.9.0.1 10.1.0.1",
        ),
    ] {
        let mut world = mk_world(&[]);
        world.edit_pool("p", "10.9.0.0/31 10.1.0.0/31", |spec| {
            spec.strategy = strategy;
        });
        for name in ["a", "b", "c", "d"] {
            world.create(name);
        }
        world.settle();
        let given = ["a", "b", "c", "d"].map(|name| world.ips(name)).join(" ");
        assert_eq!(given, expected, "{strategy:?}");
        // Whoever comes next gets what was left, and nobody else moves.
        world.delete("a");
        world.create("e");
        world.settle();
        world.expect(
            "refill",
            &[
                ("e", "10.9.0.0"),
                ("b", expected.split(' ').nth(1).unwrap()),
            ],
        );
        world.restart();
        world.settle();
        assert_eq!(world.ips("e"), "10.9.0.0", "{strategy:?}");
    }
}

#[test]
fn a_balanced_pool_fills_a_small_range_and_a_large_one_by_their_share() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/30 10.1.0.0/28", |spec| {
        spec.strategy = portolan_api::crd::Strategy::Balanced;
    });
    for index in 0..10 {
        world.create(&format!("s{index}"));
    }
    world.settle();
    let small = (0..10).filter(|i| world.ips(&format!("s{i}")).starts_with("10.0."));
    assert_eq!(small.count(), 2, "half of each");
}
