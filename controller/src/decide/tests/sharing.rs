//! Addresses that several Services have.

use portolan_api::crd::Sharing as PoolSharing;
use portolan_api::view::Port;

use super::*;

#[test]
fn services_with_one_key_share_an_address_as_long_as_their_ports_differ() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("a", |service| mk_sharer(service, "k", 80));
    world.edit("b", |service| mk_sharer(service, "k", 443));
    world.edit("c", |service| mk_sharer(service, "k", 80));
    world.edit("d", |service| mk_sharer(service, "other", 8080));
    world.settle();
    let held = ["a", "b", "c", "d"].map(|name| world.ips(name));
    assert_eq!(held, ["10.0.0.0", "10.0.0.0", "10.0.0.1", "10.0.0.2"]);
    let writes = world.writes;
    world.restart();
    world.settle();
    assert_eq!(world.writes, writes, "a restart finds them as they are");
    // The one that changes leaves.
    world.edit("b", |service| mk_sharer(service, "k", 80));
    world.settle();
    assert_eq!(
        (world.ips("a"), world.ips("b")),
        ("10.0.0.0".into(), "10.0.0.3".into())
    );
    // Alone on its address, a Service may change its key.
    world.edit("b", |service| mk_sharer(service, "mine", 80));
    world.settle();
    assert_eq!(world.ips("b"), "10.0.0.3");
}

/// Key, protocol and port, policy, selector.
type Row = (&'static str, &'static str, i32, TrafficPolicy, &'static str);

fn sharer(row: Row) -> impl Fn(&mut Service) {
    let (key, protocol, port, policy, app) = row;
    move |service| {
        annotate(service, ALLOW_SHARED_IP, key);
        let protocol = Some(protocol.to_owned());
        service.spec.ports = vec![Port { protocol, port }];
        service.spec.external_traffic_policy = policy;
        let selector = (!app.is_empty()).then(|| ("app".to_owned(), app.to_owned()));
        service.spec.selector = selector.into_iter().collect();
    }
}

const CLUSTER: TrafficPolicy = TrafficPolicy::Cluster;
const LOCAL: TrafficPolicy = TrafficPolicy::Local;

fn across(spec: &mut IPAddressPoolSpec) {
    spec.sharing = Some(PoolSharing {
        across_namespaces: true,
    });
}

const A: Row = ("k", "TCP", 80, CLUSTER, "x");

/// Two Services, the namespace of the second one, whether the pool lets namespaces share, and the words of the refusal.
type Pair = (&'static str, Row, Row, &'static str, bool, &'static str);

const PAIRS: [Pair; 15] = [
    (
        "other port",
        A,
        ("k", "TCP", 443, CLUSTER, "x"),
        "shop",
        false,
        "",
    ),
    (
        "other protocol",
        A,
        ("k", "UDP", 80, CLUSTER, "x"),
        "shop",
        false,
        "",
    ),
    (
        "SCTP",
        A,
        ("k", "SCTP", 80, CLUSTER, "x"),
        "shop",
        false,
        "",
    ),
    (
        "other pods, policy Cluster",
        A,
        ("k", "TCP", 81, CLUSTER, "y"),
        "shop",
        false,
        "",
    ),
    (
        "same port",
        A,
        ("k", "TCP", 80, CLUSTER, "x"),
        "shop",
        false,
        "TCP port 80",
    ),
    (
        "other key",
        A,
        ("l", "TCP", 443, CLUSTER, "x"),
        "shop",
        false,
        "allow-shared-ip",
    ),
    (
        "no key",
        A,
        ("", "TCP", 443, CLUSTER, "x"),
        "shop",
        false,
        "is held by Service shop/a",
    ),
    (
        "two without a key",
        ("", "TCP", 80, CLUSTER, ""),
        ("", "TCP", 443, CLUSTER, ""),
        "shop",
        false,
        "is held by Service shop/a",
    ),
    (
        "Cluster and Local",
        A,
        ("k", "TCP", 443, LOCAL, "x"),
        "shop",
        false,
        "externalTrafficPolicy",
    ),
    (
        "Local, other pods",
        ("k", "TCP", 80, LOCAL, "x"),
        ("k", "TCP", 81, LOCAL, "y"),
        "shop",
        false,
        "pods behind",
    ),
    (
        "Local, same pods",
        ("k", "TCP", 80, LOCAL, "x"),
        ("k", "TCP", 81, LOCAL, "x"),
        "shop",
        false,
        "",
    ),
    (
        "Local without a selector",
        A,
        ("k", "TCP", 81, LOCAL, ""),
        "shop",
        false,
        "",
    ),
    (
        "other namespace",
        A,
        ("k", "TCP", 81, CLUSTER, "x"),
        "bank",
        false,
        "acrossNamespaces",
    ),
    (
        "other namespace, allowed",
        A,
        ("k", "TCP", 81, CLUSTER, "x"),
        "bank",
        true,
        "",
    ),
    (
        "other namespace, same port",
        A,
        ("k", "TCP", 80, CLUSTER, "x"),
        "bank",
        true,
        "TCP port 80",
    ),
];

#[test]
fn two_services_share_an_address_exactly_when_key_policy_ports_and_namespace_allow_it() {
    for (row, first, second, namespace, crossing, words) in PAIRS {
        let mut world = mk_world(&[]);
        world.namespace("bank", &[]);
        world.edit_pool("p", "10.0.0.0/24", |spec| {
            if crossing {
                across(spec);
            }
        });
        let b = format!("{namespace}/b");
        let exact = format!("{namespace}/exact");
        world.edit("a", sharer(first));
        world.edit(&b, sharer(second));
        world.settle();
        let shared = words.is_empty();
        world.expect(
            row,
            &[
                ("a", "10.0.0.0"),
                (&b, if shared { "10.0.0.0" } else { "10.0.0.1" }),
            ],
        );
        if !shared {
            world.edit(&exact, |service| {
                sharer(second)(service);
                ask("10.0.0.0")(service);
            });
            world.settle();
            let refusal = world.verdict(&exact).1;
            assert!(
                ["SharingConflict", "AddressTaken"].contains(&refusal.as_str()),
                "{row}: {refusal}"
            );
            assert!(
                world.message(&exact).contains(words),
                "{row}: {}",
                world.message(&exact)
            );
        }
        let writes = world.writes;
        world.restart();
        world.settle();
        assert_eq!(world.writes, writes, "{row}: a restart finds it as it is");
    }
}

#[test]
fn of_services_that_share_the_one_whose_change_makes_them_collide_leaves() {
    let b = ("k", "TCP", 443, CLUSTER, "x");
    for (row, change, expected) in [
        ("same port", ("k", "TCP", 80, CLUSTER, "x"), "10.0.0.1"),
        ("other key", ("l", "TCP", 443, CLUSTER, "x"), "10.0.0.1"),
        (
            "annotation removed",
            ("", "TCP", 443, CLUSTER, "x"),
            "10.0.0.1",
        ),
        ("policy", ("k", "TCP", 443, LOCAL, "x"), "10.0.0.1"),
        (
            "another free port",
            ("k", "TCP", 444, CLUSTER, "x"),
            "10.0.0.0",
        ),
        (
            "selector, policy Cluster",
            ("k", "TCP", 443, CLUSTER, "y"),
            "10.0.0.0",
        ),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        world.edit("a", sharer(("k", "TCP", 80, CLUSTER, "x")));
        world.edit("b", sharer(b));
        world.settle();
        world.expect(row, &[("b", "10.0.0.0")]);
        world.edit("b", sharer(change));
        world.settle();
        world.expect(row, &[("a", "10.0.0.0"), ("b", expected)]);
    }
}

#[test]
fn the_only_holder_of_an_address_changes_key_ports_and_policy_in_place() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("a", sharer(("k", "TCP", 80, CLUSTER, "x")));
    world.settle();
    for row in [
        ("l", "TCP", 80, CLUSTER, "x"),
        ("l", "UDP", 81, LOCAL, "y"),
        ("", "TCP", 80, LOCAL, "y"),
        ("k", "TCP", 80, CLUSTER, "x"),
    ] {
        world.edit("a", sharer(row));
        world.settle();
        world.expect(&format!("{row:?}"), &[("a", "10.0.0.0")]);
    }
    world.edit("b", sharer(("k", "TCP", 81, CLUSTER, "x")));
    world.settle();
    world.expect("others find it under its new key", &[("b", "10.0.0.0")]);
}

#[test]
fn whoever_shares_an_address_keeps_it_when_another_goes_and_when_crossing_is_forbidden() {
    let mut world = mk_world(&[]);
    world.namespace("bank", &[]);
    world.edit_pool("p", "10.0.0.0/24", across);
    world.edit("a", |s| mk_sharer(s, "k", 80));
    world.edit("bank/b", |s| mk_sharer(s, "k", 81));
    world.edit("c", |s| mk_sharer(s, "k", 82));
    world.settle();
    let all = [("a", "10.0.0.0"), ("bank/b", "10.0.0.0"), ("c", "10.0.0.0")];
    world.expect("crossing", &all);
    world.pass(COUNTERS_DELAY);
    assert_eq!(
        world.pools["p"].status.as_ref().unwrap().assigned_ipv4,
        1,
        "counted once"
    );
    world.pool("p", "10.0.0.0/24");
    world.settle();
    world.expect("forbidden: holders keep", &all);
    world.restart();
    world.settle();
    world.expect("forbidden, restarted: holders keep", &all);
    world.delete("a");
    world.edit("d", |s| mk_sharer(s, "k", 83));
    world.settle();
    world.expect(
        "one is gone",
        &[("bank/b", "10.0.0.0"), ("c", "10.0.0.0"), ("d", "10.0.0.1")],
    );
}

#[test]
fn of_sharers_that_are_found_colliding_at_the_start_the_oldest_keeps_the_address() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for (name, port) in [("z-old", 80), ("m", 443), ("a-new", 80)] {
        world.edit(name, |service| {
            mk_sharer(service, "k", port);
            show(service, &["10.0.0.7"]);
        });
    }
    world.restart();
    world.settle();
    world.expect(
        "",
        &[
            ("z-old", "10.0.0.7"),
            ("m", "10.0.0.7"),
            ("a-new", "10.0.0.0"),
        ],
    );
    assert_eq!(world.noted("a-new: AddressConflict"), 1);
}

#[test]
fn a_key_is_shared_inside_the_chosen_pool_only_and_in_both_families() {
    let mut world = mk_world(&[("a", "10.0.0.0/24 2001:db8::/64"), ("b", "10.1.0.0/24")]);
    world.edit("in-b", |service| {
        mk_sharer(service, "k", 80);
        ask_pool("b")(service);
    });
    for (name, port) in [("one", 81), ("two", 82)] {
        world.edit(name, |service| {
            mk_sharer(service, "k", port);
            dual("RequireDualStack")(service);
        });
    }
    world.settle();
    world.expect(
        "the order of pools comes first",
        &[
            ("in-b", "10.1.0.0"),
            ("one", "10.0.0.0,2001:db8::"),
            ("two", "10.0.0.0,2001:db8::"),
        ],
    );
}

#[test]
fn an_exact_address_is_shared_as_well_and_the_one_who_changes_its_request_leaves_alone() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for (name, port) in [("a", 80), ("b", 81)] {
        world.edit(name, |service| {
            mk_sharer(service, "k", port);
            ask("10.0.0.9")(service);
        });
    }
    world.settle();
    world.expect("shared", &[("a", "10.0.0.9"), ("b", "10.0.0.9")]);
    world.edit("b", ask("10.0.0.10"));
    world.settle();
    world.expect("moved", &[("a", "10.0.0.9"), ("b", "10.0.0.10")]);
}

#[test]
fn a_sharer_that_leaves_a_port_serves_the_one_that_waits_for_it() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("a", |s| mk_sharer(s, "k", 80));
    world.edit("b", |service| {
        mk_sharer(service, "k", 80);
        ask("10.0.0.0")(service);
    });
    world.settle();
    world.expect("same port", &[("b", "SharingConflict")]);
    world.edit("a", |s| mk_sharer(s, "k", 81));
    world.settle();
    world.expect("free", &[("a", "10.0.0.0"), ("b", "10.0.0.0")]);
}
