//! The status as others write it: by hand, and by other programs.

use super::*;

#[test]
fn a_host_name_in_the_status_stays() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", |service| {
        service.status.load_balancer.ingress = vec![Ingress {
            hostname: Some("web.example".to_owned()),
            ..Ingress::default()
        }];
    });
    world.settle();
    let ingress = &world.service("web").status.load_balancer.ingress;
    assert_eq!(ingress.len(), 2);
    assert_eq!(ingress[1].hostname.as_deref(), Some("web.example"));
}

#[test]
fn what_others_wrote_into_the_status_is_written_back_word_by_word() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    let theirs = serde_json::json!({
        "hostname": "web.example", "ip": "192.0.2.1", "ipMode": "Proxy",
        "ports": [{ "port": 80, "protocol": "TCP", "error": "NoBackend" }],
    });
    let ready = serde_json::json!({
        "type": "example.com/Ready", "status": "Unknown", "reason": "Waiting", "message": "words",
        "lastTransitionTime": "2026-03-04T05:06:07Z", "observedGeneration": 3,
    });
    world.edit("web", |service| {
        let status = &mut service.status;
        status.load_balancer.ingress = vec![serde_json::from_value(theirs.clone()).unwrap()];
        status.conditions = vec![serde_json::from_value(ready.clone()).unwrap()];
    });
    world.settle();
    let status = serde_json::json!(world.service("web").status);
    let entries = &status["loadBalancer"]["ingress"];
    assert_eq!(entries[0]["ip"], "10.0.0.0");
    assert_eq!(entries[1], theirs);
    assert_eq!(status["conditions"][0], ready);
    assert_eq!(status["conditions"][1]["type"], ASSIGNED);
}

#[test]
fn an_edit_of_the_status_by_hand_is_followed_when_lawful_and_undone_when_not() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.create("other");
    world.settle();
    world.edit("web", |service| show(service, &["10.0.0.77"]));
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.77");
    world.create("third");
    world.settle();
    assert_eq!(world.ips("third"), "10.0.0.0", "what was given up is free");
    for (row, addresses) in [
        ("held by another", &["10.0.0.1"][..]),
        ("in no pool", &["192.0.2.1"]),
    ] {
        world.now += Duration::from_mins(5);
        world.edit("web", |service| show(service, addresses));
        world.settle();
        assert_eq!(world.ips("web"), "10.0.0.77", "{row}");
    }
    assert_eq!(world.ips("other"), "10.0.0.1");
}

#[test]
fn a_contested_service_that_may_not_keep_its_address_wakes_nobody() {
    let mut world = mk_world(&[("p", "10.0.0.0/24 2001:db8::/64")]);
    world.create("web");
    world.settle();
    for _ in 0..3 {
        world.edit("web", |service| show(service, &["2001:db8::6"]));
        world.settle();
    }
    assert_eq!(world.verdict("web").1, "StatusContested");
    world.pool("p", "2001:db8::/64");
    world.settle();
    let due = world.core.deadline().unwrap();
    assert!(due > world.now, "decided over and over");
}

#[test]
fn an_edit_by_hand_is_followed_even_if_nothing_was_decided_since_our_write() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    let moment = Moment {
        now: world.now,
        wall: Timestamp::UNIX_EPOCH,
    };
    for write in world.core.decide(moment) {
        world.land(&write);
    }
    world.edit("web", |service| show(service, &["10.0.0.9"]));
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.9");
}

#[test]
fn a_program_that_rewrites_the_status_is_told_and_not_fought() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    let writes = world.writes;
    for _ in 0..20 {
        world.now += Duration::from_secs(1);
        world.edit("web", |service| show(service, &["198.51.100.1"]));
        world.settle();
    }
    assert_eq!(world.ips("web"), "198.51.100.1", "the other one has won");
    assert_eq!(
        world.verdict("web"),
        ("False".into(), "StatusContested".into())
    );
    assert!(
        world.writes - writes <= 4,
        "{} writes",
        world.writes - writes
    );
    let told = world
        .notes
        .iter()
        .filter(|note| note.contains("StatusContested"));
    assert_eq!(told.count(), 1);
    world.create("new");
    world.settle();
    assert_eq!(world.ips("new"), "10.0.0.1", "its address stays taken");
    // The other program has gone.
    world.now += Duration::from_mins(11);
    world.settle();
    assert_eq!(world.ips("web"), "10.0.0.0");
    assert_eq!(world.verdict("web").1, "Assigned");
}

#[test]
fn addresses_of_another_load_balancer_stay_until_a_pool_has_them() {
    let mut world = mk_world(&[]);
    world.edit("one", |s| show(s, &["192.0.2.7"]));
    world.edit("many", |s| {
        show(s, &["192.0.2.8", "198.51.100.1", "198.51.100.2"]);
    });
    world.restart();
    world.settle();
    let outside = ("False".to_owned(), "AddressOutsidePools".to_owned());
    for (name, ips) in [
        ("one", "192.0.2.7"),
        ("many", "192.0.2.8,198.51.100.1,198.51.100.2"),
    ] {
        assert_eq!(world.ips(name), ips);
        assert_eq!(world.verdict(name), outside, "{name}");
    }
    world.pool("p", "192.0.2.0/24");
    world.settle();
    assert_eq!(world.ips("one"), "192.0.2.7");
    assert_eq!(world.service("one").annotation(POOL), Some("p"));
    assert_eq!(world.verdict("one"), ("True".into(), "Assigned".into()));
    assert_eq!(world.ips("many"), "192.0.2.8,198.51.100.1,198.51.100.2");
    // What we gave is ours to take back when its pool goes.
    world.delete_pool("p");
    world.settle();
    assert_eq!(world.ips("one"), "");
    // A Service that leaves us keeps what was never ours, all of it.
    world.edit("many", |s| {
        s.spec.load_balancer_class = Some("other".to_owned());
    });
    world.settle();
    assert_eq!(world.ips("many"), "192.0.2.8,198.51.100.1,198.51.100.2");
    assert!(world.service("many").status.conditions.is_empty());
    world.edit("many", |s| {
        s.spec.load_balancer_class = None;
        show(s, &[]);
    });
    world.pool("p", "192.0.2.0/24");
    world.settle();
    assert_eq!(world.verdict("many").0, "True");
}

#[test]
fn a_wiped_status_gets_the_held_address_again_although_a_lower_one_is_free() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("low");
    world.create("web");
    world.settle();
    world.delete("low");
    world.settle();
    world.edit("web", |s| {
        s.status = portolan_api::view::ServiceStatus::default();
    });
    world.settle();
    world.expect("wiped", &[("web", "10.0.0.1")]);
}

#[test]
fn of_three_or_more_entries_the_first_lawful_one_of_each_family_is_kept() {
    for (row, entries, expected) in [
        (
            "three of one family",
            &["10.0.0.9", "10.0.0.8", "10.0.0.7"][..],
            "10.0.0.9",
        ),
        (
            "the first is held by another",
            &["10.0.0.0", "10.0.0.8", "10.0.0.7"],
            "10.0.0.8",
        ),
        ("twice the same", &["10.0.0.9", "10.0.0.9"], "10.0.0.9"),
        (
            "a family that it does not want",
            &["2001:db8::1", "10.0.0.9"],
            "10.0.0.9",
        ),
    ] {
        for after_restart in [true, false] {
            let mut world = mk_world(&[("p", "10.0.0.0/24 2001:db8::/64")]);
            world.create("other");
            world.settle();
            world.edit("web", |service| show(service, entries));
            if after_restart {
                world.restart();
            }
            world.settle();
            world.expect(row, &[("web", expected), ("other", "10.0.0.0")]);
        }
    }
    let mut world = mk_world(&[("p", "10.0.0.0/24 2001:db8::/64")]);
    world.edit("web", |service| {
        dual("RequireDualStack")(service);
        show(
            service,
            &["2001:db8::5", "2001:db8::4", "10.0.0.3", "10.0.0.2"],
        );
    });
    world.restart();
    world.settle();
    world.expect("both families", &[("web", "2001:db8::5,10.0.0.3")]);
}

#[test]
fn entries_that_are_no_addresses_are_removed_and_host_names_stay() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", |service| {
        show(service, &["10.0.0.9", "not an address"]);
        service.status.load_balancer.ingress.push(Ingress {
            hostname: Some("web.example".to_owned()),
            ..Ingress::default()
        });
    });
    world.settle();
    let ingress = &world.service("web").status.load_balancer.ingress;
    let found: Vec<_> = ingress
        .iter()
        .map(|e| e.ip.as_deref().or(e.hostname.as_deref()).unwrap())
        .collect();
    assert_eq!(found, ["10.0.0.9", "web.example"]);
}

#[test]
fn an_address_written_by_hand_is_adopted_only_if_the_service_could_have_asked_for_it() {
    for (row, address, expected) in [
        ("free", "10.0.0.50", "10.0.0.50"),
        ("excluded", "10.0.0.99", "10.0.0.0"),
        ("used by a node", "10.0.0.98", "10.0.0.0"),
        ("reserved for another", "10.0.0.97", "10.0.0.0"),
        ("in a pool for others", "10.1.0.1", "10.0.0.0"),
        ("in a pool by name only", "10.2.0.1", "10.2.0.1"),
        ("outside", "192.0.2.1", "10.0.0.0"),
    ] {
        let mut world = mk_world(&[]);
        world.edit_pool("p", "10.0.0.0/24", |spec| {
            spec.excluded_addresses = vec!["10.0.0.99".to_owned()];
            spec.reservations = vec![portolan_api::crd::Reservation {
                namespace: "shop".to_owned(),
                name: "vip".to_owned(),
                address: "10.0.0.97".to_owned(),
            }];
        });
        world.edit_pool("bank", "10.1.0.0/24", |spec| {
            spec.service_allocation = Some(portolan_api::crd::ServiceAllocation {
                namespaces: vec!["bank".to_owned()],
                ..Default::default()
            });
        });
        world.edit_pool("manual", "10.2.0.0/24", |spec| spec.auto_assign = false);
        world.node_at("n", &["10.0.0.98"]);
        world.create("web");
        world.settle();
        world.edit("web", |service| show(service, &[address]));
        world.settle();
        world.expect(row, &[("web", expected)]);
    }
    // Who asked for an address does not get another one by hand.
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("web", ask("10.0.0.5"));
    world.settle();
    world.edit("web", |service| show(service, &["10.0.0.6"]));
    world.settle();
    world.expect("asked for another", &[("web", "10.0.0.5")]);
}

#[test]
fn every_kind_of_rewriting_over_and_over_is_left_alone_in_the_end() {
    for (row, write) in [
        ("wiped", (|s| show(s, &[])) as fn(&mut Service)),
        ("another address", |s| {
            show(s, &["198.51.100.1", "2001:db8:f::1"]);
        }),
        ("one more address", |s| {
            show(s, &["10.0.0.0", "2001:db8::", "198.51.100.1"]);
        }),
        ("another order", |s| show(s, &["2001:db8::", "10.0.0.0"])),
        ("an entry that is no address", |s| {
            show(s, &["10.0.0.0", "2001:db8::", "rubbish"]);
        }),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/24 2001:db8::/64")]);
        world.edit("web", dual("RequireDualStack"));
        world.settle();
        let before = world.writes;
        for _ in 0..20 {
            world.now += Duration::from_secs(1);
            world.edit("web", write);
            world.settle();
        }
        assert_eq!(world.verdict("web").1, "StatusContested", "{row}");
        assert!(
            world.writes - before <= 4,
            "{row}: {} writes",
            world.writes - before
        );
        assert_eq!(world.core.figures(world.now).contested, 1, "{row}");
        world.create("new");
        world.settle();
        world.expect("its address stays taken", &[("new", "10.0.0.1")]);
    }
}

#[test]
fn the_condition_of_a_contested_status_names_what_was_found_and_what_is_kept() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    for _ in 0..5 {
        world.now += Duration::from_secs(1);
        world.edit("web", |s| show(s, &["198.51.100.1"]));
        world.settle();
    }
    let message = world.message("web");
    for words in ["198.51.100.1", "10.0.0.0", "spec.loadBalancerClass"] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn four_mistakes_in_four_minutes_are_corrected_each_time() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.create("web");
    world.settle();
    for _ in 0..4 {
        world.now += Duration::from_mins(1);
        world.edit("web", |s| show(s, &[]));
        world.settle();
        world.expect("corrected", &[("web", "10.0.0.0")]);
    }
}

#[test]
fn addresses_that_another_load_balancer_wrote_from_our_pools_are_adopted_with_no_change() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for (name, address) in [("a", "10.0.0.8"), ("b", "10.0.0.9")] {
        world.edit(name, |service| show(service, &[address]));
    }
    world.create("new");
    world.restart();
    world.settle();
    world.expect(
        "adopted",
        &[("a", "10.0.0.8"), ("b", "10.0.0.9"), ("new", "10.0.0.0")],
    );
    assert_eq!(world.noted("a: AddressAssigned"), 0, "nothing changed");
}

#[test]
fn what_a_service_gains_and_loses_itself_is_not_taken_for_the_work_of_another_program() {
    let mut world = mk_world(&[("p", "10.0.0.0/32")]);
    world.create("first");
    world.create("second");
    world.settle();
    for (held, next) in [("10.0.0.0", "10.0.1.0"), ("10.0.1.0", "10.0.0.0")].repeat(3) {
        world.now += Duration::from_secs(2);
        world.edit("first", |s| s.spec.kind = Some("ClusterIP".to_owned()));
        world.settle();
        world.expect("gains", &[("second", held)]);
        world.pool("p", &format!("{next}/32"));
        world.edit("first", |s| s.spec.kind = Some("LoadBalancer".to_owned()));
        world.settle();
        world.expect("loses", &[("first", next), ("second", "Exhausted")]);
    }
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.edit("a", |s| mk_sharer(s, "k", 80));
    world.edit("b", |s| mk_sharer(s, "k", 81));
    world.settle();
    for round in 0..5 {
        world.now += Duration::from_secs(2);
        world.edit("b", |s| mk_sharer(s, "k", 80));
        world.settle();
        world.expect(&format!("round {round}"), &[("b", "10.0.0.1")]);
        world.edit("b", |service| {
            mk_sharer(service, "k", 81);
            ask("10.0.0.0")(service);
        });
        world.settle();
        world.expect(&format!("round {round}"), &[("b", "10.0.0.0")]);
        world.edit("b", |service| unannotate(service, LOAD_BALANCER_IPS));
    }
}

#[test]
fn whoever_waits_gets_nothing_by_hand_that_it_could_not_have_asked_for() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/31", |spec| {
        spec.auto_assign = false;
        spec.reservations = vec![portolan_api::crd::Reservation {
            namespace: "shop".to_owned(),
            name: "vip".to_owned(),
            address: "10.0.0.0".to_owned(),
        }];
    });
    world.create("web");
    world.settle();
    world.expect("waits", &[("web", "NoPool")]);
    world.edit("web", |service| show(service, &["10.0.0.0"]));
    world.settle();
    world.expect("reserved for another", &[("web", "NoPool")]);
    world.edit("web", |service| show(service, &["10.0.0.1"]));
    world.settle();
    world.expect("free, in a pool by name only", &[("web", "10.0.0.1")]);
}
