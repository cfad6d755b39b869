//! Addresses of deleted Services.

use super::*;

#[test]
fn the_address_of_a_deleted_service_is_kept_for_its_name_and_given_back() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/31", |spec| {
        spec.retain = Some("10m".to_owned());
    });
    world.create("a");
    world.create("b");
    world.settle();
    world.delete("a");
    world.create("c");
    world.settle();
    assert_eq!(world.ips("c"), "", "it is kept for another");
    assert_eq!(world.pools["p"].status.as_ref().unwrap().retained.len(), 1);
    world.restart();
    world.settle();
    assert_eq!(world.ips("c"), "", "a restart does not forget it");
    world.create("a");
    world.settle();
    assert_eq!(world.ips("a"), "10.0.0.0");
    assert!(
        world.pools["p"]
            .status
            .as_ref()
            .unwrap()
            .retained
            .is_empty()
    );
    world.delete("a");
    world.settle();
    world.now += Duration::from_mins(11);
    world.settle();
    assert_eq!(world.ips("c"), "10.0.0.0", "the time is over");
}

#[test]
fn a_retention_never_ends_before_its_time_though_its_record_has_seconds_only() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/32", |spec| {
        spec.retain = Some("4s".to_owned());
    });
    world.create("goes");
    world.settle();
    world.now += Duration::from_millis(900);
    world.delete("goes");
    world.create("waits");
    world.settle();
    world.now += Duration::from_millis(3900);
    world.settle();
    assert_eq!(world.ips("waits"), "", "3.9 s after the deletion");
    world.now += Duration::from_secs(1);
    world.settle();
    assert_eq!(world.ips("waits"), "10.0.0.0", "4.9 s after the deletion");
}

#[test]
fn a_leader_that_saw_the_deletion_as_a_follower_retains_the_address() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/31", |spec| {
        spec.retain = Some("10m".to_owned());
    });
    world.create("a");
    world.settle();
    world.core.follow();
    world.delete("a");
    world.core.decide(world.moment());
    world.core.prepare_lead();
    world.lead();
    world.create("thief");
    world.settle();
    assert_eq!(world.ips("thief"), "10.0.0.1");
    world.create("a");
    world.settle();
    assert_eq!(world.ips("a"), "10.0.0.0");
}

fn keeps(time: &str) -> impl FnOnce(&mut IPAddressPoolSpec) + use<> {
    let time = Some(time.to_owned());
    move |spec| spec.retain = time
}

/// One address, retained for `a`; `b` waits for it.
fn mk_retained() -> World {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/32", keeps("10m"));
    world.create("a");
    world.create("b");
    world.settle();
    world.delete("a");
    world.settle();
    world.expect("retained", &[("b", "Exhausted")]);
    world
}

#[test]
fn a_retained_address_is_recorded_refused_by_name_and_freed_on_time() {
    let mut world = mk_retained();
    let record = world.pools["p"].status.clone().unwrap().retained.remove(0);
    assert_eq!(
        (
            record.address.as_str(),
            record.namespace.as_str(),
            record.name.as_str()
        ),
        ("10.0.0.0", "shop", "a")
    );
    assert_eq!(
        record.until.0,
        world.moment().wall + Duration::from_mins(10)
    );
    world.edit("thief", ask("10.0.0.0"));
    world.settle();
    world.expect("by name", &[("thief", "AddressReserved")]);
    assert!(
        world.message("thief").contains("shop/a"),
        "{}",
        world.message("thief")
    );
    world.pass(Duration::from_secs(599));
    world.expect("a second before", &[("b", "Exhausted")]);
    assert_eq!(
        world.core.deadline(),
        Some(world.now + Duration::from_secs(1))
    );
    world.pass(Duration::from_secs(1));
    world.expect("on time", &[("b", "10.0.0.0")]);
    assert!(
        world.pools["p"]
            .status
            .as_ref()
            .unwrap()
            .retained
            .is_empty()
    );
}

#[test]
fn retention_ends_when_the_pool_ends_it() {
    for (row, edit) in [
        (
            "retain removed",
            (|world| world.pool("p", "10.0.0.0/32")) as fn(&mut World),
        ),
        ("retain 0s", |world| {
            world.edit_pool("p", "10.0.0.0/32", keeps("0s"));
        }),
        ("the range moved to a pool without it", |world| {
            world.delete_pool("p");
            world.pool("q", "10.0.0.0/32");
        }),
    ] {
        let mut world = mk_retained();
        edit(&mut world);
        world.settle();
        world.expect(row, &[("b", "10.0.0.0")]);
        for pool in world.pools.values() {
            assert!(pool.status.as_ref().unwrap().retained.is_empty(), "{row}");
        }
    }
}

#[test]
fn retention_outlives_restarts_and_a_pool_that_gets_another_name() {
    let mut world = mk_retained();
    world.pass(Duration::from_mins(5));
    world.restart();
    world.settle();
    world.edit_pool("q", "10.0.0.0/32", keeps("10m"));
    world.delete_pool("p");
    world.settle();
    world.expect("renamed", &[("b", "Exhausted")]);
    assert_eq!(world.pools["q"].status.as_ref().unwrap().retained.len(), 1);
    world.pass(Duration::from_mins(4));
    world.expect("not yet", &[("b", "Exhausted")]);
    world.pass(Duration::from_mins(1));
    world.expect("the clock went on", &[("b", "10.0.0.0")]);
}

#[test]
fn a_deletion_whose_record_was_never_written_is_not_lost_with_the_term() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/32", keeps("10m"));
    world.create("a");
    world.settle();
    world.delete("a");
    let writes = world.core.decide(world.moment());
    assert!(!writes.is_empty(), "the record");
    for write in writes {
        let (target, result) = (write.target, Err(Failure::NotLeader));
        world.core.finish(Outcome { target, result }, world.now);
    }
    world.core.follow();
    world.core.prepare_lead();
    world.lead();
    world.create("b");
    world.pass(Duration::from_secs(30));
    world.expect("retained", &[("b", "Exhausted")]);
    assert_eq!(world.pools["p"].status.as_ref().unwrap().retained.len(), 1);
}

#[test]
fn both_families_are_retained_and_given_back_and_a_sharer_that_stays_is_not_disturbed() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24 2001:db8::/64", keeps("10m"));
    world.edit("a", |service| {
        dual("RequireDualStack")(service);
        mk_sharer(service, "k", 80);
    });
    world.edit("b", |service| mk_sharer(service, "k", 443));
    world.settle();
    world.delete("a");
    world.create("thief");
    world.edit("join", |service| mk_sharer(service, "k", 80));
    world.settle();
    world.expect(
        "kept for a",
        &[
            ("b", "10.0.0.0"),
            ("thief", "10.0.0.1"),
            ("join", "10.0.0.2"),
        ],
    );
    world.edit("a", |service| {
        dual("RequireDualStack")(service);
        mk_sharer(service, "k", 80);
    });
    world.settle();
    world.expect("back", &[("a", "10.0.0.0,2001:db8::"), ("b", "10.0.0.0")]);
}

#[test]
fn nothing_is_retained_of_services_that_only_change_type_or_never_had_an_address() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/32", keeps("10m"));
    world.create("a");
    world.create("b");
    world.settle();
    world.delete("b");
    world.edit("a", |s| s.spec.kind = Some("ClusterIP".to_owned()));
    world.create("c");
    world.settle();
    world.expect("free at once", &[("c", "10.0.0.0")]);
    assert!(
        world.pools["p"]
            .status
            .as_ref()
            .unwrap()
            .retained
            .is_empty()
    );
}

#[test]
fn a_service_that_comes_back_asking_for_something_else_gets_that() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/24", keeps("10m"));
    world.create("a");
    world.settle();
    world.delete("a");
    world.settle();
    world.edit("a", ask("10.0.0.9"));
    world.create("b");
    world.settle();
    world.expect("exact wins", &[("a", "10.0.0.9"), ("b", "10.0.0.1")]);
    world.pass(Duration::from_mins(11));
    world.create("c");
    world.settle();
    world.expect("and the old one is free in the end", &[("c", "10.0.0.0")]);
}

#[test]
fn an_address_that_its_pool_no_longer_gives_out_is_not_retained() {
    let mut world = mk_world(&[]);
    let rules = |spec: &mut IPAddressPoolSpec| {
        spec.retain = Some("10m".to_owned());
        spec.quota = Some(portolan_api::crd::Quota {
            addresses_per_namespace: 1,
        });
    };
    world.edit_pool("p", "10.0.0.0/30", rules);
    world.create("a");
    world.settle();
    world.delete("a");
    world.settle();
    world.edit_pool("p", "10.0.0.0/30", |spec| {
        rules(spec);
        spec.avoid_buggy_ips = true;
    });
    world.create("a");
    world.settle();
    assert_eq!(world.ips("a"), "10.0.0.1");
}
