//! Terms, restarts, stale events and lost writes.

use super::*;

#[test]
fn a_new_service_gets_address_annotation_condition_and_one_event() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.service("web").annotation(POOL), Some("p"));
    assert_eq!(world.verdict("web"), ("True".into(), "Assigned".into()));
    assert_eq!(
        world.service("web").status.load_balancer.ingress[0]
            .ip_mode
            .as_deref(),
        Some("VIP")
    );
    world.settle();
    assert_eq!(
        (world.notes.as_slice(), world.writes),
        (&["web: AddressAssigned".to_owned()][..], 1)
    );
}

#[test]
fn a_restart_adopts_and_writes_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for name in ["a", "b", "c"] {
        world.create(name);
    }
    world.settle();
    world.delete("a");
    world.settle();
    let writes = world.writes;
    world.restart();
    world.create("d");
    world.settle();
    assert_eq!(world.writes, writes + 1, "only the new Service is written");
    let held = ["b", "c", "d"].map(|name| world.ips(name));
    assert_eq!(held, ["10.0.0.1", "10.0.0.2", "10.0.0.0"]);
}

#[test]
fn a_status_that_looks_empty_gets_the_same_address_again() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    world.edit("web", |service| {
        service.status = portolan_api::view::ServiceStatus::default();
    });
    world.create("other");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.ips("other"), "10.0.0.1");
}

#[test]
fn an_event_older_than_what_is_known_is_ignored() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    let stale = world.service("web").clone();
    world.settle();
    let writes = world.writes;
    world.observe(Event::Service(Change::Apply(stale)));
    world.settle();
    assert_eq!(world.writes, writes);
}

#[test]
fn of_two_holders_of_one_address_the_older_keeps_it() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for name in ["old", "new"] {
        world.edit(name, |service| {
            service.status.load_balancer.ingress = vec![Ingress {
                ip: Some("10.0.0.7".to_owned()),
                ..Ingress::default()
            }];
        });
    }
    world.restart();
    world.settle();
    assert_eq!(world.ips("old"), "10.0.0.7");
    assert_eq!(world.ips("new"), "10.0.0.0");
    assert!(
        world.notes.contains(&"new: AddressConflict".to_owned()),
        "{:?}",
        world.notes
    );
}

#[test]
fn another_service_under_the_same_name_inherits_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.9");
    });
    world.settle();
    // Deleted and created again while the watch was away: one Apply with another UID.
    world.services.remove(&mk_key("web"));
    world.create("web");
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    world.edit("second", |service| {
        annotate(service, LOAD_BALANCER_IPS, "10.0.0.9");
    });
    world.settle();
    assert_eq!(world.ips("second"), "10.0.0.9");
}

#[test]
fn a_term_forgets_what_the_former_one_decided_but_did_not_write() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("mine");
    let moment = Moment {
        now: world.now,
        wall: Timestamp::UNIX_EPOCH,
    };
    let lost = world.core.decide(moment);
    for write in lost {
        let outcome = Outcome {
            target: write.target,
            result: Err(Failure::NotLeader),
        };
        world.core.finish(outcome, world.now);
    }
    // Meanwhile another leader gave 10.0.0.0 to somebody else; our watch has not told us yet.
    let mut theirs = world.service("mine").clone();
    theirs.metadata.name = Some("theirs".to_owned());
    theirs.metadata.uid = Some("theirs".to_owned());
    theirs.status.load_balancer.ingress = vec![Ingress {
        ip: Some("10.0.0.0".to_owned()),
        ..Ingress::default()
    }];
    world.services.insert(mk_key("theirs"), theirs);
    let snapshot = Snapshot {
        services: listed(world.services.values().cloned()),
        pools: listed(world.pools.values().cloned().map(Change::Apply)),
        ..Snapshot::default()
    };
    world.core.lead(snapshot, world.now);
    world.settle();
    assert_eq!(world.ips("theirs"), "10.0.0.0");
    assert_eq!(world.ips("mine"), "10.0.0.1");
}

#[test]
fn a_follower_writes_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.core.follow();
    world.create("web");
    world.settle();
    assert_eq!(world.writes, 0);
}

#[test]
fn a_write_that_its_term_had_no_time_for_is_decided_again_when_the_term_goes_on() {
    for failure in [Failure::NotLeader, Failure::TimedOut, Failure::Conflict] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        world.create("web");
        let moment = Moment {
            now: world.now,
            wall: Timestamp::UNIX_EPOCH,
        };
        let writes = world.core.decide(moment);
        for write in writes {
            let outcome = Outcome {
                target: write.target,
                result: Err(failure.clone()),
            };
            world.core.finish(outcome, world.now);
        }
        // No event comes; only the deadline wakes.
        world.now = world
            .core
            .deadline()
            .unwrap_or_else(|| panic!("{failure}: nothing wakes"));
        world.settle();
        assert_eq!(world.ips("web"), "10.0.0.0", "{failure}");
    }
}

#[test]
fn a_service_waits_until_its_namespace_is_known() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    let gone = (String::new(), "shop".to_owned());
    world.observe(Event::Namespace(Change::Delete(gone)));
    world.create("web");
    world.settle();
    assert_eq!((world.ips("web").as_str(), world.writes), ("", 0));
    world.observe(Event::Namespace(Change::Apply(mk_namespace("shop"))));
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
}

#[test]
fn a_follower_does_not_remember_what_changed() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.core.follow();
    for name in ["a", "b", "c"] {
        world.create(name);
        world.settle();
        world.delete(name);
        world.settle();
    }
    assert!(world.core.model.dirty.services.is_empty());
}
