//! Order of choice, what holders keep, and the properties behind invariants 1 and 2.

use std::collections::{BTreeMap, HashMap};

use portolan_api::ObjectKey;
use portolan_api::crd::{IPAddressPoolSpec, ServiceAllocation};
use portolan_api::selector::LabelSelector;
use portolan_api::view::Service;
use proptest::prelude::*;

use super::*;
use crate::model;

fn mk_pool(name: &str, addresses: &[&str]) -> PoolRule {
    PoolRule {
        name: name.to_owned(),
        spec: IPAddressPoolSpec {
            addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
            auto_assign: true,
            ..IPAddressPoolSpec::default()
        },
    }
}

fn mk_restricted(name: &str, addresses: &[&str], priority: i32, namespace: &str) -> PoolRule {
    let mut rule = mk_pool(name, addresses);
    rule.spec.service_allocation = Some(ServiceAllocation {
        priority,
        namespaces: vec![namespace.to_owned()],
        ..ServiceAllocation::default()
    });
    rule
}

const V4: &[&str] = &["IPv4"];
const DUAL: &[&str] = &["IPv4", "IPv6"];

fn mk_service(families: &[&str], policy: &str, annotations: &[(&str, &str)]) -> Service {
    let mut service = Service::default();
    service.metadata.namespace = Some("shop".to_owned());
    service.metadata.annotations = Some(
        annotations
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    );
    service.spec.ip_families = families.iter().map(|f| (*f).to_owned()).collect();
    service.spec.ip_family_policy = Some(policy.to_owned());
    service
}

fn single(annotations: &[(&str, &str)]) -> Service {
    mk_service(V4, "SingleStack", annotations)
}

/// Places and answers with the addresses as text, or the reason.
fn place(allocator: &mut Allocator, id: u32, service: &Service) -> String {
    let labels = BTreeMap::new();
    let key = Arc::new(ObjectKey::of(service));
    let service = model::Service::new(key, service.clone());
    let request = match Request::of(ServiceId(id), &service, Some(&labels)) {
        Ok(request) => request,
        Err(refusal) => return refusal.reason().to_owned(),
    };
    match allocator.place(&request) {
        Ok(assignment) => {
            let texts: Vec<String> = assignment.addresses.iter().map(|a| a.to_string()).collect();
            let missing = assignment.missing.map(|r| format!(" but {}", r.reason()));
            texts.join(",") + &missing.unwrap_or_default()
        }
        Err(refusal) => refusal.reason().to_owned(),
    }
}

#[test]
fn the_order_of_choice_is_precedence_then_open_pools_by_name() {
    let rules = [
        mk_pool("b-open", &["10.1.0.0/32"]),
        mk_pool("a-open", &["10.2.0.0/32"]),
        mk_restricted("last", &["10.3.0.0/32"], 0, "shop"),
        mk_restricted("second", &["10.4.0.0/32"], 2, "shop"),
        mk_restricted("first", &["10.5.0.0/32"], 1, "shop"),
        mk_restricted("foreign", &["10.6.0.0/32"], 1, "bank"),
    ];
    let mut allocator = Allocator::new(&rules);
    let expected = [
        "10.5.0.0",
        "10.4.0.0",
        "10.3.0.0",
        "10.2.0.0",
        "10.1.0.0",
        "Exhausted",
    ];
    for (id, expected) in expected.iter().enumerate() {
        let id = u32::try_from(id).unwrap();
        assert_eq!(
            place(&mut allocator, id, &single(&[])),
            *expected,
            "service {id}"
        );
    }
}

#[test]
fn addresses_come_in_written_order_and_ascend_within_a_range() {
    let mut allocator = Allocator::new(&[mk_pool("p", &["10.9.0.0/31", "10.1.0.0-10.1.0.1"])]);
    let given: Vec<String> = (0..5)
        .map(|id| place(&mut allocator, id, &single(&[])))
        .collect();
    assert_eq!(
        given,
        ["10.9.0.0", "10.9.0.1", "10.1.0.0", "10.1.0.1", "Exhausted"]
    );
}

#[test]
fn each_unreasonable_request_has_its_own_reason() {
    let mut rules = vec![
        mk_pool("p", &["10.0.0.0/24"]),
        mk_restricted("bank", &["10.1.0.0/24"], 1, "bank"),
    ];
    rules[0].spec.excluded_addresses = vec!["10.0.0.9/32".to_owned()];
    let ips = portolan_api::annotation::LOAD_BALANCER_IPS;
    let pool = portolan_api::annotation::ADDRESS_POOL;
    let mut two = single(&[(ips, "10.0.0.1")]);
    two.spec.load_balancer_ip = Some("10.0.0.2".to_owned());
    for (service, reason) in [
        (single(&[(ips, "10.0.0.300")]), "InvalidRequest"),
        (single(&[(ips, "10.0.0.1,10.0.0.2")]), "InvalidRequest"),
        (single(&[(ips, "2001:db8::1")]), "InvalidRequest"),
        (two, "InvalidRequest"),
        (single(&[(ips, "192.0.2.1")]), "AddressOutsidePools"),
        (single(&[(ips, "10.0.0.9")]), "AddressExcluded"),
        (single(&[(ips, "10.0.0.5")]), "AddressTaken"),
        (single(&[(ips, "10.1.0.5")]), "PoolRestricted"),
        (single(&[(pool, "bank")]), "PoolRestricted"),
        (single(&[(pool, "none")]), "UnknownPool"),
        (
            single(&[(pool, "bank"), (ips, "10.0.0.1")]),
            "AddressOutsidePools",
        ),
        (mk_service(&[], "SingleStack", &[]), "NoClusterIP"),
        (mk_service(&["IPv6"], "SingleStack", &[]), "NoPool"),
        (
            mk_service(DUAL, "RequireDualStack", &[(ips, "10.0.0.7")]),
            "InvalidRequest",
        ),
    ] {
        let mut allocator = Allocator::new(&rules);
        let holder = single(&[(ips, "10.0.0.5")]);
        assert_eq!(place(&mut allocator, 1, &holder), "10.0.0.5");
        assert_eq!(place(&mut allocator, 2, &service), reason, "{service:?}");
    }
}

#[test]
fn buggy_and_excluded_addresses_are_stepped_over() {
    let mut rule = mk_pool("p", &["10.0.0.254-10.0.1.2"]);
    rule.spec.avoid_buggy_ips = true;
    rule.spec.excluded_addresses = vec!["10.0.1.1".to_owned()];
    let mut allocator = Allocator::new(&[rule]);
    let (_, v4, _) = allocator.usage().next().unwrap();
    assert_eq!(v4.available, 2);
    let given: Vec<String> = (0..3)
        .map(|id| place(&mut allocator, id, &single(&[])))
        .collect();
    assert_eq!(given, ["10.0.0.254", "10.0.1.2", "Exhausted"]);
}

#[test]
fn dual_stack_takes_one_pool_if_one_has_both_and_else_two() {
    let require = mk_service(DUAL, "RequireDualStack", &[]);
    let prefer = mk_service(DUAL, "PreferDualStack", &[]);
    let v4 = mk_pool("a", &["10.0.0.0/32"]);
    let both = mk_pool("b", &["10.1.0.0/32", "2001:db8:1::/128"]);
    let v6 = mk_pool("c", &["2001:db8:2::/128"]);
    for (rules, service, expected) in [
        (
            vec![v4.clone(), both.clone()],
            &require,
            "10.1.0.0,2001:db8:1::",
        ),
        (
            vec![v4.clone(), v6.clone()],
            &require,
            "10.0.0.0,2001:db8:2::",
        ),
        (vec![v4.clone()], &require, "NoPool"),
        (vec![v4.clone()], &prefer, "10.0.0.0 but NoPool"),
        (vec![v6.clone()], &prefer, "2001:db8:2:: but NoPool"),
        (vec![], &prefer, "NoPool"),
    ] {
        let mut allocator = Allocator::new(&rules);
        assert_eq!(place(&mut allocator, 1, service), expected, "{rules:?}");
    }
}

#[test]
fn a_half_served_dual_stack_service_is_completed_later_and_keeps_its_order() {
    let prefer = mk_service(DUAL, "PreferDualStack", &[]);
    let v6 = mk_pool("six", &["2001:db8::/128"]);
    let v4 = mk_pool("four", &["10.0.0.0/32"]);
    let mut allocator = Allocator::new(std::slice::from_ref(&v6));
    assert_eq!(place(&mut allocator, 1, &prefer), "2001:db8:: but NoPool");
    allocator.set_pools(&[v6, v4]);
    assert_eq!(place(&mut allocator, 1, &prefer), "2001:db8::,10.0.0.0");
}

#[test]
fn a_holder_keeps_its_address_through_everything_that_does_not_forbid_it() {
    let mut allocator = Allocator::new(&[mk_pool("p", &["10.0.0.0/24"])]);
    let ips = portolan_api::annotation::LOAD_BALANCER_IPS;
    assert_eq!(
        place(&mut allocator, 1, &single(&[(ips, "10.0.0.7")])),
        "10.0.0.7"
    );
    let mut manual = mk_pool("p", &["10.0.0.0/28"]);
    manual.spec.auto_assign = false;
    for (step, rules) in [
        ("request removed", vec![mk_pool("p", &["10.0.0.0/24"])]),
        (
            "pool shrunk around it",
            vec![mk_pool("p", &["10.0.0.4/30"])],
        ),
        ("pool renamed", vec![mk_pool("q", &["10.0.0.0/24"])]),
        ("pool for manual use only", vec![manual]),
        (
            "a better pool",
            vec![
                mk_pool("p", &["10.0.0.0/24"]),
                mk_restricted("a", &["10.5.0.0/24"], 1, "shop"),
            ],
        ),
    ] {
        allocator.set_pools(&rules);
        assert_eq!(place(&mut allocator, 1, &single(&[])), "10.0.0.7", "{step}");
    }
    allocator.set_pools(&[mk_pool("p", &["10.0.0.0/30"])]);
    assert_eq!(
        place(&mut allocator, 1, &single(&[])),
        "10.0.0.0",
        "pool shrunk away from it"
    );
}

#[test]
fn a_restriction_that_shuts_a_holder_out_evicts_it() {
    let mut allocator = Allocator::new(&[mk_pool("p", &["10.0.0.0/24"])]);
    assert_eq!(place(&mut allocator, 1, &single(&[])), "10.0.0.0");
    let mut rule = mk_pool("p", &["10.0.0.0/24"]);
    rule.spec.service_allocation = Some(ServiceAllocation {
        namespace_selectors: vec![LabelSelector {
            match_labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
            ..LabelSelector::default()
        }],
        ..ServiceAllocation::default()
    });
    allocator.set_pools(&[rule]);
    assert_eq!(place(&mut allocator, 1, &single(&[])), "NoPool");
    assert!(allocator.holding(ServiceId(1)).is_empty());
}

#[test]
fn an_address_stays_taken_until_the_status_has_let_go_too() {
    let mut allocator = Allocator::new(&[mk_pool("p", &["10.0.0.0/32"])]);
    assert_eq!(place(&mut allocator, 1, &single(&[])), "10.0.0.0");
    let shown = ["10.0.0.0".parse().unwrap()];
    allocator.show(ServiceId(1), &shown);
    allocator.release(ServiceId(1));
    assert_eq!(place(&mut allocator, 2, &single(&[])), "Exhausted");
    allocator.show(ServiceId(1), &[]);
    assert_eq!(place(&mut allocator, 2, &single(&[])), "10.0.0.0");
}

#[test]
fn of_two_services_that_show_one_address_the_first_adopted_has_it() {
    let mut allocator = Allocator::new(&[mk_pool("p", &["10.0.0.0/30"])]);
    let shown = ["10.0.0.0".parse().unwrap()];
    for id in [1, 2] {
        allocator.show(ServiceId(id), &shown);
    }
    assert!(
        allocator
            .adopt(ServiceId(1), "shop", None, &shown)
            .is_empty()
    );
    assert_eq!(
        allocator.adopt(ServiceId(2), "shop", None, &shown),
        [(shown[0], ServiceId(1))]
    );
    assert_eq!(place(&mut allocator, 1, &single(&[])), "10.0.0.0");
    assert_eq!(place(&mut allocator, 2, &single(&[])), "10.0.0.1");
}

/// A step of a random history of one of eight Services.
#[derive(Debug, Clone)]
enum Step {
    Place(u32),
    Exact(u32, u8),
    Release(u32),
    /// The status catches up with what was decided, or not: `u8` picks what it shows.
    Show(u32, Option<u8>),
    Pools(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    let id = 0_u32..8;
    prop_oneof![
        4 => id.clone().prop_map(Step::Place),
        2 => (id.clone(), 0_u8..16).prop_map(|(id, a)| Step::Exact(id, a)),
        2 => id.clone().prop_map(Step::Release),
        2 => (id, prop::option::of(0_u8..16)).prop_map(|(id, a)| Step::Show(id, a)),
        1 => (0_u8..4).prop_map(Step::Pools),
    ]
}

fn mk_rules(variant: u8) -> Vec<PoolRule> {
    let mut rules = vec![
        mk_pool("a", &["10.0.0.0/30"]),
        mk_pool("b", &["10.0.0.8/29"]),
    ];
    if variant & 1 == 1 {
        rules[0] = mk_pool("a", &["10.0.0.2-10.0.0.6"]);
    }
    if variant & 2 == 2 {
        rules[1].spec.excluded_addresses = vec!["10.0.0.9".to_owned()];
    }
    rules
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

proptest! {
    #[test]
    fn no_history_gives_one_address_to_two_services(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut allocator = Allocator::new(&mk_rules(0));
        let mut shown: HashMap<u32, IpAddr> = HashMap::new();
        for step in steps {
            match step {
                Step::Place(id) => { place(&mut allocator, id, &single(&[])); }
                Step::Exact(id, last) => {
                    let before = allocator.holding(ServiceId(id));
                    let text = address(last).to_string();
                    let service = single(&[(portolan_api::annotation::LOAD_BALANCER_IPS, &text)]);
                    let answer = place(&mut allocator, id, &service);
                    if answer == text && !before.contains(address(last)) {
                        let other = shown.iter().find(|(other, a)| **other != id && **a == address(last));
                        prop_assert!(other.is_none(), "{text} is shown by {other:?}");
                    }
                }
                Step::Release(id) => { allocator.release(ServiceId(id)); }
                Step::Show(id, last) => {
                    let now: Vec<IpAddr> = last.map(address).into_iter().collect();
                    allocator.show(ServiceId(id), &now);
                    shown.remove(&id);
                    shown.extend(now.first().map(|a| (id, *a)));
                }
                Step::Pools(variant) => allocator.set_pools(&mk_rules(variant)),
            }
            let mut owners: HashMap<IpAddr, u32> = HashMap::new();
            for id in 0..8 {
                for held in allocator.holding(ServiceId(id)).iter() {
                    prop_assert_eq!(owners.insert(held, id), None, "{} has two owners", held);
                }
            }
            for pool in &mut allocator.pools {
                if let Some(free) = pool.lowest(Family::V4) {
                    prop_assert!(!owners.contains_key(&free), "{free} is free and owned");
                    prop_assert!(!shown.values().any(|a| *a == free), "{free} is free and shown");
                }
            }
        }
    }

    #[test]
    fn counters_agree_with_what_is_taken(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut allocator = Allocator::new(&mk_rules(0));
        for step in steps {
            match step {
                Step::Place(id) | Step::Exact(id, _) => { place(&mut allocator, id, &single(&[])); }
                Step::Release(id) => { allocator.release(ServiceId(id)); }
                Step::Show(id, last) => {
                    let now: Vec<IpAddr> = last.map(address).into_iter().collect();
                    allocator.show(ServiceId(id), &now);
                }
                Step::Pools(variant) => allocator.set_pools(&mk_rules(variant)),
            }
            let claims = allocator.claims.keys().filter(|a| allocator.pool_with(**a).is_some_and(|(pool, _)| pool.usable(**a)));
            let taken: u128 = allocator.usage().map(|(_, v4, _)| v4.assigned).sum();
            prop_assert_eq!(claims.count() as u128, taken);
        }
    }
}

#[test]
fn two_pools_that_overlap_never_give_one_address_twice() {
    let twins = [
        mk_pool("p", &["10.0.0.0/31"]),
        mk_pool("p", &["10.0.0.0/31"]),
    ];
    let overlapping = [
        mk_pool("p", &["10.0.0.0/31"]),
        mk_pool("q", &["10.0.0.0/30"]),
    ];
    for rules in [twins, overlapping] {
        let mut allocator = Allocator::new(&rules);
        let given: Vec<String> = (0..6)
            .map(|id| place(&mut allocator, id, &single(&[])))
            .filter(|text| text != "Exhausted")
            .collect();
        let distinct: BTreeSet<&String> = given.iter().collect();
        assert_eq!(given.len(), distinct.len(), "{given:?}");
    }
}

#[test]
fn a_balanced_pool_uses_ranges_by_their_share_in_either_family() {
    for (row, ranges, expected) in [
        (
            "two /64",
            ["2001:db8:1::/64", "2001:db8:2::/64"],
            [
                "2001:db8:1::",
                "2001:db8:2::",
                "2001:db8:1::1",
                "2001:db8:2::1",
            ],
        ),
        (
            "a /64 and a /126",
            ["2001:db8:1::/126", "2001:db8:2::/64"],
            [
                "2001:db8:1::",
                "2001:db8:2::",
                "2001:db8:2::1",
                "2001:db8:2::2",
            ],
        ),
        (
            "two /32",
            ["2001:db8::/32", "2001:db9::/32"],
            ["2001:db8::", "2001:db9::", "2001:db8::1", "2001:db9::1"],
        ),
        (
            "all of IPv4 and more",
            ["2001:db8::/127", "::/3"],
            ["2001:db8::", "::", "::1", "::2"],
        ),
    ] {
        let mut rule = mk_pool("p", &ranges);
        rule.spec.strategy = portolan_api::crd::Strategy::Balanced;
        let mut allocator = Allocator::new(&[rule]);
        let service = mk_service(&["IPv6"], "SingleStack", &[]);
        let given: Vec<String> = (0..4)
            .map(|id| place(&mut allocator, id, &service))
            .collect();
        assert_eq!(given, expected, "{row}");
    }
}

#[test]
fn a_sharer_comes_first_to_the_range_that_is_written_first_and_to_the_lowest_address_with_room() {
    let key = portolan_api::annotation::ALLOW_SHARED_IP;
    let mut allocator = Allocator::new(&[mk_pool("p", &["10.9.0.0/27", "10.1.0.0/24"])]);
    let mut come = |id: u32, ports: &[i32]| {
        let mut service = single(&[(key, "k")]);
        let port = |port: &i32| portolan_api::view::Port {
            protocol: None,
            port: *port,
        };
        service.spec.ports = ports.iter().map(port).collect();
        if ports.is_empty() {
            allocator.forget(ServiceId(id));
            return String::new();
        }
        allocator.describe(ServiceId(id), Sharing::of(&service));
        place(&mut allocator, id, &service)
    };
    for id in 0..32 {
        assert_eq!(come(id, &[80]), format!("10.9.0.{id}"));
        assert_eq!(come(100 + id, &[443]), format!("10.9.0.{id}"));
    }
    assert_eq!(come(200, &[80, 443]), "10.1.0.0");
    assert_eq!(come(201, &[8080]), "10.9.0.0");
    come(105, &[]);
    assert_eq!(come(202, &[80, 443]), "10.1.0.1", "port 80 is taken there");
    assert_eq!(come(203, &[443]), "10.9.0.5", "port 443 is open again");
    come(7, &[]);
    come(107, &[]);
    assert_eq!(come(204, &[80, 443]), "10.9.0.7", "free again");
}
