//! Addresses that stations outside the cluster use.

use portolan_api::crd::{ConflictReport, Quarantined, Quota};
use portolan_api::view::{AnsweredVip, NodeReportStatus};

use super::*;

const MAC: &str = "02:00:00:00:00:66";

/// What a node reports of one address.
fn mk_conflict(world: &World, address: &str, before_use: bool) -> ConflictReport {
    ConflictReport {
        address: address.to_owned(),
        mac: MAC.to_owned(),
        interface: "eth0".to_owned(),
        last: world.moment().wall.to_string(),
        before_use,
    }
}

impl World {
    /// A live speaker changes its report.
    fn tell(&mut self, node: &str, change: impl FnOnce(&mut NodeReportStatus)) {
        if !self.reports.contains_key(node) {
            self.speaker(node, "alive");
        }
        let version = self.next_version();
        let report = self.reports.entry(node.to_owned()).or_default();
        report.metadata.name = Some(node.to_owned());
        report.metadata.resource_version = Some(version);
        change(&mut report.status);
        let report = report.clone();
        self.observe(Event::Report(Change::Apply(report)));
    }

    /// Node n1 finds strangers on addresses that it probes.
    fn strangers(&mut self, addresses: &[&str]) {
        let conflicts = addresses.iter();
        let conflicts = conflicts.map(|address| mk_conflict(self, address, true));
        let conflicts = conflicts.collect();
        self.tell("n1", |status| status.conflicts = conflicts);
    }

    /// Node n1 hears strangers claim addresses that are in use.
    fn rivals(&mut self, addresses: &[&str]) {
        let conflicts = addresses.iter();
        let conflicts = conflicts.map(|address| mk_conflict(self, address, false));
        let conflicts = conflicts.collect();
        self.tell("n1", |status| status.conflicts = conflicts);
    }

    fn answers(&mut self, addresses: &[&str]) {
        let vip = |address: &&str| AnsweredVip {
            address: (*address).to_owned(),
        };
        let vips = addresses.iter().map(vip).collect();
        self.tell("n1", |status| status.l2_vips = vips);
    }

    fn quarantined(&self, pool: &str) -> Vec<Quarantined> {
        let status = self.pools[pool].status.as_ref();
        status
            .map(|status| status.quarantined.clone())
            .unwrap_or_default()
    }

    /// The addresses in quarantine.
    fn shut(&self, pool: &str) -> String {
        let records = self.quarantined(pool);
        let addresses = records.iter().map(|record| record.address.as_str());
        addresses.collect::<Vec<_>>().join(",")
    }
}

/// A pool `p`, and Service `a` that has just got its first address.
fn mk_fresh(addresses: &str) -> World {
    let mut world = mk_world(&[("p", addresses)]);
    world.create("a");
    world.settle();
    world
}

#[test]
fn a_service_that_has_just_got_an_address_of_a_stranger_gets_the_next_one_and_is_told() {
    let mut world = mk_fresh("10.0.0.0/29");
    world.notes.clear();
    world.strangers(&["10.0.0.0"]);
    world.settle();
    world.expect("moved", &[("a", "10.0.0.1")]);
    assert_eq!(
        world.verdict("a"),
        ("True".to_owned(), "Assigned".to_owned())
    );
    assert_eq!(world.noted("a: AddressConflict"), 1, "{:?}", world.notes);
    let record = world.quarantined("p").remove(0);
    let wall = world.moment().wall;
    assert_eq!(
        (
            record.address.as_str(),
            record.mac.as_str(),
            record.node.as_str(),
            record.interface.as_str()
        ),
        ("10.0.0.0", MAC, "n1", "eth0")
    );
    assert_eq!((record.since.0, record.until), (wall, None));
    world.pass(Duration::from_secs(2));
    let status = world.pools["p"].status.clone().unwrap();
    assert_eq!(
        (
            status.assigned_ipv4,
            status.available_ipv4,
            status.quarantined_count
        ),
        (1, 6, 1)
    );
    world.create("b");
    world.edit("c", ask("10.0.0.0"));
    world.settle();
    world.expect(
        "nobody gets it",
        &[("b", "10.0.0.2"), ("c", "AddressQuarantined")],
    );
    let words = world.message("c");
    for word in ["10.0.0.0", MAC, "Node n1", "eth0"] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn the_event_of_a_move_names_address_station_node_and_interface() {
    let mut world = mk_fresh("10.0.0.0/29");
    world.strangers(&["10.0.0.0"]);
    let writes = world.core.decide(world.moment());
    let notes = writes.iter().flat_map(|write| &write.notes);
    let warning = notes
        .filter(|note| note.warning)
        .find(|note| note.reason == "AddressConflict");
    let words = &warning.unwrap().message;
    for word in ["10.0.0.0", "10.0.0.1", MAC, "Node n1", "eth0"] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn whoever_asked_by_name_or_was_in_use_keeps_its_address_and_is_told_what_to_do() {
    for (row, prepare) in [
        (
            "asked by annotation",
            (|world| {
                world.edit("a", ask("10.0.0.0"));
            }) as fn(&mut World),
        ),
        ("asked by field", |world| {
            world.edit("a", |service| {
                service.spec.load_balancer_ip = Some("10.0.0.0".to_owned());
            });
        }),
        ("reserved", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| {
                spec.reservations = vec![portolan_api::crd::Reservation {
                    namespace: "shop".to_owned(),
                    name: "a".to_owned(),
                    address: "10.0.0.0".to_owned(),
                }];
            });
            world.create("a");
        }),
        ("answered", |world| {
            world.create("a");
            world.settle();
            world.answers(&["10.0.0.0"]);
        }),
        ("answered, and not any more", |world| {
            world.create("a");
            world.settle();
            world.answers(&["10.0.0.0"]);
            world.settle();
            world.answers(&[]);
        }),
        ("given long ago", |world| {
            world.create("a");
            world.settle();
            world.pass(Duration::from_secs(61));
        }),
        ("given by a former leader", |world| {
            world.create("a");
            world.settle();
            world.restart();
        }),
        ("given back", |world| {
            world.edit_pool("p", "10.0.0.0/29", |spec| {
                spec.retain = Some("10m".to_owned());
            });
            world.create("a");
            world.settle();
            world.delete("a");
            world.settle();
            world.create("a");
        }),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/29")]);
        prepare(&mut world);
        world.settle();
        world.expect(row, &[("a", "10.0.0.0")]);
        world.notes.clear();
        world.strangers(&["10.0.0.0"]);
        world.settle();
        world.expect(row, &[("a", "10.0.0.0")]);
        let told = ("True".to_owned(), "AddressConflict".to_owned());
        assert_eq!(world.verdict("a"), told, "{row}");
        let words = world.message("a");
        for word in ["10.0.0.0", MAC, "Node n1", "eth0", "loadBalancerIPs"] {
            assert!(words.contains(word), "{row}: {words}");
        }
        assert_eq!(world.notes, ["a: AddressConflict"], "{row}");
        assert_eq!(world.shut("p"), "10.0.0.0", "{row}");
        world.create("b");
        world.settle();
        world.expect(row, &[("b", "10.0.0.1")]);
    }
}

#[test]
fn a_quarantine_ends_ten_minutes_after_the_last_report_and_not_while_it_is_renewed() {
    let mut world = mk_fresh("10.0.0.0/29");
    world.strangers(&["10.0.0.0"]);
    world.settle();
    for _ in 0..50 {
        world.pass(Duration::from_secs(30));
        world.strangers(&["10.0.0.0"]);
        world.settle();
    }
    assert_eq!(world.shut("p"), "10.0.0.0", "25 minutes later");
    let writes = world.version;
    world.strangers(&["10.0.0.0"]);
    world.settle();
    assert_eq!(
        world.version,
        writes + 1,
        "a report that goes on costs no write"
    );
    world.strangers(&[]);
    world.settle();
    let until = world.quarantined("p").remove(0).until.unwrap().0;
    assert_eq!(until, world.moment().wall + Duration::from_mins(10));
    world.pass(Duration::from_secs(599));
    world.create("early");
    world.settle();
    world.expect("not yet", &[("early", "10.0.0.2")]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.shut("p"), "");
    assert_eq!(
        world.pools["p"].status.as_ref().unwrap().quarantined_count,
        0
    );
    world.create("late");
    world.settle();
    world.expect("free again", &[("a", "10.0.0.1"), ("late", "10.0.0.0")]);
}

#[test]
fn a_report_that_nobody_renews_does_not_count_for_ever() {
    let mut world = mk_fresh("10.0.0.0/29");
    world.strangers(&["10.0.0.0"]);
    world.settle();
    world.pass(Duration::from_secs(599));
    assert_eq!(world.shut("p"), "10.0.0.0");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.shut("p"), "");
    world.restart();
    world.settle();
    assert_eq!(world.shut("p"), "", "not even after a restart");
}

#[test]
fn only_speakers_that_are_alive_count() {
    let mut world = mk_fresh("10.0.0.0/29");
    world.tell("n1", |_| {});
    world.speaker("n1", "");
    world.strangers(&["10.0.0.0"]);
    world.settle();
    world.expect("dead", &[("a", "10.0.0.0")]);
    assert_eq!(world.shut("p"), "");
    world.speaker("n1", "again");
    world.settle();
    world.expect("alive", &[("a", "10.0.0.1")]);
    world.speaker("n1", "");
    world.settle();
    assert_eq!(world.shut("p"), "10.0.0.0");
    assert!(
        world.quarantined("p").remove(0).until.is_some(),
        "it runs out"
    );
}

#[test]
fn a_quarantine_outlives_a_restart() {
    for (row, reported) in [("with its report", true), ("without", false)] {
        let mut world = mk_fresh("10.0.0.0/29");
        world.strangers(&["10.0.0.0"]);
        world.settle();
        world.pass(Duration::from_secs(30));
        if !reported {
            world.reports.clear();
        }
        world.restart();
        world.create("b");
        world.settle();
        world.expect(row, &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
        assert_eq!(world.shut("p"), "10.0.0.0", "{row}");
        assert_eq!(
            world.quarantined("p").remove(0).until.is_none(),
            reported,
            "{row}"
        );
        world.restart();
        world.settle();
        world.pass(Duration::from_secs(601));
        assert_eq!(world.shut("p"), "", "{row}");
    }
}

#[test]
fn a_stranger_that_comes_and_goes_moves_nobody_back() {
    let mut world = mk_fresh("10.0.0.0/29");
    for _ in 0..20 {
        world.strangers(&["10.0.0.0"]);
        world.settle();
        world.strangers(&[]);
        world.settle();
        world.expect("stays", &[("a", "10.0.0.1")]);
        world.pass(Duration::from_secs(20));
    }
    assert_eq!(world.noted("a: AddressConflict"), 1, "{:?}", world.notes);
    world.pass(Duration::from_mins(11));
    world.expect("stays", &[("a", "10.0.0.1")]);
}

#[test]
fn whoever_keeps_its_address_is_told_once_of_a_stranger_that_comes_and_goes_quickly() {
    for before_use in [true, false] {
        let mut world = mk_world(&[("p", "10.0.0.0/32")]);
        world.edit("a", ask("10.0.0.0"));
        world.settle();
        world.notes.clear();
        let come = if before_use {
            World::strangers
        } else {
            World::rivals
        };
        let writes = world.writes;
        for _ in 0..20 {
            come(&mut world, &["10.0.0.0"]);
            world.settle();
            world.strangers(&[]);
            world.settle();
            world.pass(Duration::from_secs(20));
        }
        assert_eq!(world.notes, ["a: AddressConflict"], "{before_use}");
        assert_eq!(world.writes, writes + 1, "{before_use}");
        world.pass(Duration::from_mins(1));
        assert_eq!(world.verdict("a").1, "Assigned", "{before_use}");
        world.expect("all the time", &[("a", "10.0.0.0")]);
    }
}

#[test]
fn two_conflicts_at_once_move_two_services_to_two_addresses() {
    let mut world = mk_world(&[("p", "10.0.0.0/29")]);
    world.create("a");
    world.create("b");
    world.settle();
    world.strangers(&["10.0.0.0", "10.0.0.1"]);
    world.settle();
    world.expect("both", &[("a", "10.0.0.2"), ("b", "10.0.0.3")]);
    assert_eq!(world.shut("p"), "10.0.0.0,10.0.0.1");
}

#[test]
fn a_row_of_strangers_is_stepped_over_but_not_without_end() {
    let mut world = mk_fresh("10.0.0.0/24");
    let mut met: Vec<String> = Vec::new();
    for _ in 0..30 {
        met.push(world.ips("a"));
        let strangers: Vec<&str> = met.iter().map(String::as_str).collect();
        world.strangers(&strangers);
        world.settle();
    }
    world.expect("16 moves", &[("a", "10.0.0.16")]);
    assert_eq!(world.verdict("a").1, "AddressConflict");
}

#[test]
fn whoever_has_the_only_address_keeps_it_and_whoever_comes_later_is_told_why_there_is_none() {
    let mut world = mk_fresh("10.0.0.0/31");
    world.strangers(&["10.0.0.0", "10.0.0.1"]);
    world.settle();
    world.expect("nowhere to go", &[("a", "10.0.0.0")]);
    assert_eq!(world.verdict("a").1, "AddressConflict");
    world.create("b");
    world.edit("c", ask_pool("p"));
    world.pass(Duration::from_secs(2));
    for (name, reason) in [("b", "Exhausted"), ("c", "Exhausted")] {
        world.expect("nothing left", &[(name, reason)]);
        let words = world.message(name);
        assert!(words.contains("in quarantine"), "{words}");
    }
    let ready = world.condition("p", "Ready");
    assert_eq!((&*ready.status, &*ready.reason), ("False", "Exhausted"));
    assert!(ready.message.contains("in quarantine"), "{}", ready.message);
    world.strangers(&["10.0.0.0"]);
    world.settle();
    world.pass(Duration::from_secs(600));
    world.expect("one is free again", &[("a", "10.0.0.0"), ("b", "10.0.0.1")]);
}

#[test]
fn those_who_share_an_address_move_together_or_nobody_does() {
    let mk_pair = |second: fn(&mut World)| {
        let mut world = mk_world(&[("p", "10.0.0.0/29")]);
        world.edit("a", |service| mk_sharer(service, "k", 80));
        world.settle();
        second(&mut world);
        world.settle();
        world.expect("shared", &[("a", "10.0.0.0"), ("b", "10.0.0.0")]);
        world.strangers(&["10.0.0.0"]);
        world.settle();
        world
    };
    let world = mk_pair(|world| world.edit("b", |service| mk_sharer(service, "k", 443)));
    world.expect("both are fresh", &[("a", "10.0.0.1"), ("b", "10.0.0.1")]);
    assert_eq!(
        world.noted("a: AddressConflict") + world.noted("b: AddressConflict"),
        2
    );
    let world = mk_pair(|world| {
        world.pass(Duration::from_secs(61));
        world.edit("b", |service| mk_sharer(service, "k", 443));
    });
    world.expect("one is old", &[("a", "10.0.0.0"), ("b", "10.0.0.0")]);
    let mut world = mk_pair(|world| {
        world.edit("b", |service| {
            mk_sharer(service, "k", 443);
            ask("10.0.0.0")(service);
        });
    });
    world.expect("one asked by name", &[("a", "10.0.0.0"), ("b", "10.0.0.0")]);
    world.edit("c", |service| mk_sharer(service, "k", 8080));
    world.settle();
    world.expect("nobody joins them", &[("c", "10.0.0.1")]);
}

#[test]
fn a_quota_that_is_reached_lets_those_who_share_move_together() {
    let mut world = mk_world(&[]);
    world.edit_pool("p", "10.0.0.0/29", |spec| {
        spec.quota = Some(Quota {
            addresses_per_namespace: 1,
        });
    });
    world.edit("a", |service| mk_sharer(service, "k", 80));
    world.edit("b", |service| mk_sharer(service, "k", 443));
    world.settle();
    world.strangers(&["10.0.0.0"]);
    world.settle();
    world.expect("together", &[("a", "10.0.0.1"), ("b", "10.0.0.1")]);
    world.create("c");
    world.settle();
    world.expect("and not beyond", &[("c", "QuotaReached")]);
}

#[test]
fn only_the_family_concerned_moves() {
    for (row, stranger, expected) in [
        ("IPv4", "10.0.0.0", "10.0.0.1,2001:db8::"),
        ("IPv6", "2001:db8::", "10.0.0.0,2001:db8::1"),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/29 2001:db8::/125")]);
        world.edit("a", dual("RequireDualStack"));
        world.settle();
        world.expect(row, &[("a", "10.0.0.0,2001:db8::")]);
        world.strangers(&[stranger]);
        world.settle();
        world.expect(row, &[("a", expected)]);
    }
}

#[test]
fn a_conflict_about_an_address_that_nobody_has_is_noted_if_a_pool_has_it() {
    let mut world = mk_world(&[("p", "10.0.0.0/29")]);
    world.strangers(&["10.0.0.0", "192.0.2.1"]);
    world.create("a");
    world.settle();
    world.expect("stepped over", &[("a", "10.0.0.1")]);
    assert_eq!(world.shut("p"), "10.0.0.0");
}

#[test]
fn a_stranger_that_is_heard_later_moves_nobody_and_shuts_nothing() {
    let mut world = mk_fresh("10.0.0.0/29");
    world.notes.clear();
    world.rivals(&["10.0.0.0"]);
    world.settle();
    world.expect("stays", &[("a", "10.0.0.0")]);
    assert_eq!(
        world.verdict("a"),
        ("True".to_owned(), "AddressConflict".to_owned())
    );
    assert!(world.message("a").contains(MAC), "{}", world.message("a"));
    assert_eq!(world.notes, ["a: AddressConflict"]);
    assert_eq!(world.shut("p"), "");
    world.strangers(&[]);
    world.settle();
    world.pass(Duration::from_secs(59));
    assert_eq!(world.verdict("a").1, "AddressConflict");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.verdict("a").1, "Assigned");
}

#[test]
fn another_pool_helps_where_that_of_the_address_has_nothing_left_but_not_against_a_name() {
    for (row, name, expected) in [
        ("any pool", None, "10.1.0.0"),
        ("this pool only", Some("p"), "10.0.0.0"),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/32"), ("q", "10.1.0.0/32")]);
        world.edit("a", |service| {
            if let Some(name) = name {
                ask_pool(name)(service);
            }
        });
        world.settle();
        world.expect(row, &[("a", "10.0.0.0")]);
        world.strangers(&["10.0.0.0"]);
        world.settle();
        world.expect(row, &[("a", expected)]);
    }
}

#[test]
fn the_status_of_a_pool_names_64_and_counts_all() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    let strangers: Vec<String> = (0..100).map(|n| format!("10.0.0.{n}")).collect();
    let strangers: Vec<&str> = strangers.iter().map(String::as_str).collect();
    world.strangers(&strangers);
    world.create("a");
    world.pass(Duration::from_secs(2));
    world.expect("after all of them", &[("a", "10.0.0.100")]);
    let status = world.pools["p"].status.clone().unwrap();
    assert_eq!(
        (status.quarantined.len(), status.quarantined_count),
        (64, 100)
    );
    assert_eq!(status.available_ipv4, 155);
}

#[test]
fn two_nodes_that_hear_the_same_stranger_are_one_case() {
    let mut world = mk_fresh("10.0.0.0/29");
    world.strangers(&["10.0.0.0"]);
    world.settle();
    let conflict = mk_conflict(&world, "10.0.0.0", true);
    world.tell("n0", |status| status.conflicts = vec![conflict]);
    let writes = world.version;
    world.settle();
    assert_eq!(world.version, writes, "nothing new");
    world.strangers(&[]);
    world.settle();
    let record = world.quarantined("p").remove(0);
    assert_eq!((record.node.as_str(), record.until), ("n0", None));
}
