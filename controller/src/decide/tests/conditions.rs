//! Counters and conditions of pools.

use super::*;

#[test]
fn counters_follow_a_second_later_and_once() {
    let mut world = mk_world(&[("p", "10.0.0.0/30 2001:db8::/64")]);
    world.create("web");
    world.settle();
    assert_eq!(world.core.deadline(), Some(world.now + COUNTERS_DELAY));
    world.now += COUNTERS_DELAY;
    world.settle();
    let status = world.pools["p"].status.clone().unwrap();
    assert_eq!((status.assigned_ipv4, status.available_ipv4), (1, 3));
    assert_eq!((status.assigned_ipv6, status.available_ipv6), (0, i64::MAX));
    assert_eq!(world.core.deadline(), None);
}

fn reason(world: &World, kind: &str) -> String {
    world.condition("p", kind).reason
}

#[test]
fn a_pool_tells_at_thresholds_that_it_will_be_exhausted_and_when_it_is() {
    let mut world = mk_world(&[("p", "10.0.0.0-10.0.0.19")]);
    let mut count = 0;
    for (until, soon, ready) in [
        (15, "Enough", "Available"),
        (16, "Above80Percent", "Available"),
        (18, "Above90Percent", "Available"),
        (20, "Exhausted", "Exhausted"),
    ] {
        while count < until {
            world.create(&format!("s{count:02}"));
            count += 1;
        }
        world.settle();
        world.pass(COUNTERS_DELAY);
        assert_eq!(
            (
                reason(&world, "ExhaustedSoon").as_str(),
                reason(&world, "Ready").as_str()
            ),
            (soon, ready),
            "{until} taken"
        );
    }
    assert_eq!(
        world.noted("p: ExhaustedSoon"),
        3,
        "one event for each step"
    );
    // One that comes and goes is no news.
    let events = world.notes.len();
    for _ in 0..3 {
        world.delete("s19");
        world.settle();
        world.pass(COUNTERS_DELAY);
        assert_eq!(reason(&world, "ExhaustedSoon"), "Above90Percent");
        assert_eq!(reason(&world, "Ready"), "Available");
        world.create("s19");
        world.settle();
        world.pass(COUNTERS_DELAY);
    }
    let soon = world.notes[events..]
        .iter()
        .filter(|note| *note == "p: ExhaustedSoon");
    assert_eq!(soon.count(), 0, "it was told before");
    for index in 0..10 {
        world.delete(&format!("s{index:02}"));
    }
    world.settle();
    world.pass(COUNTERS_DELAY);
    assert_eq!(reason(&world, "ExhaustedSoon"), "Enough");
}

#[test]
fn a_pool_says_which_other_pool_stands_before_it() {
    let restricted = |namespaces: &[&str], priority| {
        let namespaces = namespaces.iter().map(|n| (*n).to_owned()).collect();
        Some(portolan_api::crd::ServiceAllocation {
            namespaces,
            priority,
            ..Default::default()
        })
    };
    for (row, addresses, allocation, own, shadowed) in [
        ("an open one by name", "10.1.0.0/24", None, None, true),
        (
            "one with a priority alone",
            "10.1.0.0/24",
            restricted(&[], 1),
            None,
            true,
        ),
        (
            "one for some only",
            "10.1.0.0/24",
            restricted(&["shop"], 1),
            None,
            false,
        ),
        ("one of another family", "2001:db8::/64", None, None, false),
        (
            "one for the same and more",
            "10.1.0.0/24",
            restricted(&["shop", "bank"], 1),
            restricted(&["shop"], 2),
            true,
        ),
        (
            "one for fewer",
            "10.1.0.0/24",
            restricted(&["shop"], 1),
            restricted(&["shop", "bank"], 2),
            false,
        ),
        (
            "one that comes later",
            "10.1.0.0/24",
            restricted(&["shop"], 2),
            restricted(&["shop"], 1),
            false,
        ),
    ] {
        let mut world = mk_world(&[]);
        world.edit_pool("p", "10.0.0.0/24", |spec| spec.service_allocation = own);
        world.edit_pool("a", addresses, |spec| spec.service_allocation = allocation);
        world.settle();
        world.pass(COUNTERS_DELAY);
        let condition = world.condition("p", "Shadowed");
        assert_eq!(condition.status == "True", shadowed, "{row}");
        assert_eq!(
            condition.message.contains("IPAddressPool a "),
            shadowed,
            "{row}"
        );
    }
}

#[test]
fn what_is_reserved_retained_or_used_by_a_node_is_neither_assigned_nor_available() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/29", |spec| {
        spec.retain = Some("10m".to_owned());
        spec.excluded_addresses = vec!["10.0.0.7".to_owned()];
        spec.reservations = vec![portolan_api::crd::Reservation {
            namespace: "shop".to_owned(),
            name: "vip".to_owned(),
            address: "10.0.0.6".to_owned(),
        }];
    });
    world.node_at("n", &["10.0.0.5"]);
    world.create("a");
    world.create("b");
    world.settle();
    world.delete("a");
    world.settle();
    world.pass(COUNTERS_DELAY);
    let status = world.pools["p"].status.clone().unwrap();
    assert_eq!((status.assigned_ipv4, status.available_ipv4), (1, 3));
}
