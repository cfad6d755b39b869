//! Others who write what is ours: what we remember of it, what the next leader does, and when we stop.

use portolan_api::annotation::HELD;

use super::*;

/// Rewrites the status until it is left alone.
fn contest(world: &mut World, name: &str, address: &str) {
    for _ in 0..4 {
        world.now += Duration::from_secs(1);
        world.edit(name, |service| show(service, &[address]));
        world.settle();
    }
    assert_eq!(world.verdict(name).1, "StatusContested");
}

#[test]
fn a_service_without_our_annotation_is_moved_all_the_same_when_its_pool_moves() {
    for restart in [false, true] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        world.create("web");
        world.settle();
        world.edit("web", |service| unannotate(service, POOL));
        world.pool("p", "10.1.0.0/24");
        if restart {
            world.restart();
        }
        world.settle();
        world.expect(&format!("restart: {restart}"), &[("web", "10.1.0.0")]);
        assert_eq!(world.verdict("web").1, "Assigned");
    }
}

#[test]
fn what_a_service_kept_meanwhile_is_known_as_ours_by_the_next_leader() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    world.edit("web", ask_pool("unknown"));
    world.settle();
    world.expect("keeps", &[("web", "10.0.0.0")]);
    world.edit("web", |service| {
        unannotate(service, POOL);
        unannotate(service, ADDRESS_POOL);
    });
    world.pool("p", "10.1.0.0/24");
    world.restart();
    world.settle();
    world.expect("moved", &[("web", "10.1.0.0")]);
}

#[test]
fn the_address_of_a_contested_service_stays_taken_for_the_next_leader() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    contest(&mut world, "web", "198.51.100.1");
    assert_eq!(world.service("web").annotation(HELD), Some("10.0.0.0"));
    world.restart();
    let writes = world.writes;
    world.settle();
    assert_eq!(world.writes, writes, "the truce goes on");
    world.create("new");
    world.settle();
    world.expect("kept", &[("new", "10.0.0.1"), ("web", "198.51.100.1")]);
    world.pass(Duration::from_secs(601));
    world.expect("tried again", &[("web", "10.0.0.0")]);
    assert_eq!(
        world.service("web").annotation(HELD),
        Some("10.0.0.0"),
        "nobody knows yet whether the other one is gone"
    );
    world.pass(Duration::from_secs(61));
    assert_eq!(world.service("web").annotation(HELD), None);
}

#[test]
fn a_promise_is_not_written_over_and_over_to_whoever_strips_it() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    contest(&mut world, "web", "198.51.100.1");
    let writes = world.writes;
    for _ in 0..50 {
        world.edit("web", |service| unannotate(service, HELD));
        world.settle();
    }
    assert!(world.writes - writes <= 3, "{}", world.writes - writes);
}

#[test]
fn the_holder_that_is_named_is_the_oldest_whatever_order_a_list_has() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for (name, port) in [("z", 80), ("a", 81)] {
        world.edit(name, |service| mk_sharer(service, "k", port));
    }
    world.settle();
    world.expect("share", &[("z", "10.0.0.0"), ("a", "10.0.0.0")]);
    world.edit("wants", ask("10.0.0.0"));
    world.settle();
    assert!(world.message("wants").contains("shop/z"));
    let writes = world.writes;
    // The list comes in order of names.
    world.restart();
    world.settle();
    assert!(world.message("wants").contains("shop/z"));
    assert_eq!(world.writes, writes);
}

#[test]
fn other_pools_that_are_no_help_either_are_no_event() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("web");
    world.create("waits");
    world.settle();
    let told = world.noted("waits: AllocationFailed");
    assert_eq!(told, 1);
    world.edit_pool("q", "10.1.0.0/24", |spec| spec.auto_assign = false);
    world.settle();
    assert!(world.message("waits").contains("q serves only"));
    assert_eq!(world.noted("waits: AllocationFailed"), told);
    world.edit("waits", ask("10.0.0.0"));
    world.settle();
    assert_eq!(world.noted("waits: AllocationFailed"), told + 1);
}

#[test]
fn whoever_strips_our_annotations_or_our_condition_is_told_once_and_not_fought() {
    for (row, strip) in [
        (
            "annotations",
            (|s| s.metadata.annotations = None) as fn(&mut Service),
        ),
        ("condition", |s| s.status.conditions.clear()),
        ("both", |s| {
            s.metadata.annotations = None;
            s.status.conditions.clear();
        }),
        ("another pool", |s| annotate(s, POOL, "other")),
    ] {
        for text in ["10.0.0.0/24", ""] {
            // Served, or waiting.
            let mut world = mk_world(&[("p", "10.0.0.0/24")]);
            world.edit("web", |service| {
                if text.is_empty() {
                    ask_pool("unknown")(service);
                }
            });
            world.settle();
            if text.is_empty() && row != "condition" {
                continue;
            }
            let before = world.writes;
            let ips = world.ips("web");
            for _ in 0..100 {
                world.now += Duration::from_secs(1);
                world.edit("web", strip);
                world.settle();
                assert_eq!(world.ips("web"), ips, "{row}");
            }
            let writes = world.writes - before;
            assert!(writes <= 5, "{row}: {writes} writes");
            let told = if row == "both" { 2 } else { 1 };
            assert_eq!(world.noted("web: AnnotationsContested"), told, "{row}");
            if row == "annotations" {
                assert!(world.message("web").contains("annotations that Portolan"));
                assert_eq!(world.verdict("web").1, "Assigned");
            }
            // It has gone.
            world.pass(Duration::from_mins(11));
            world.settle();
            let service = world.service("web");
            assert_eq!(service.annotation(POOL).is_some(), !ips.is_empty(), "{row}");
            assert!(!world.message("web").contains("annotations that Portolan"));
        }
    }
}
