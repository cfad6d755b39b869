//! Nodes that answer for layer-2 addresses.

use k8s_openapi::api::coordination::v1::Lease;
use portolan_api::annotation::{
    DRAIN, L2_NODES, L2_TERM, REBALANCE, SERVICE_NAME, SPEAKER_LEASE_PREFIX,
};
use portolan_api::crd::{InterfaceReport, L2Advertisement, L2AdvertisementSpec};
use portolan_api::view::{Endpoint, EndpointSlice, NodeReport};

use super::*;

impl World {
    pub(super) fn speaker(&mut self, node: &str, holder: &str) {
        let mut lease = Lease::default();
        lease.metadata.name = Some(format!("{SPEAKER_LEASE_PREFIX}{node}"));
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(holder.to_owned());
        self.observe(Event::Lease(Change::Apply(lease)));
    }

    /// Endpoints of a Service: a node each, ready or not.
    pub(super) fn endpoints(&mut self, service: &str, nodes: &[&str]) {
        let mut slice = EndpointSlice::default();
        slice.metadata.name = Some(format!("{service}-1"));
        slice.metadata.namespace = Some("shop".to_owned());
        slice.metadata.labels = Some(BTreeMap::from([(
            SERVICE_NAME.to_owned(),
            service.to_owned(),
        )]));
        let endpoint = |node: &&str| Endpoint {
            node_name: Some((*node).to_owned()),
            ..Endpoint::default()
        };
        slice.endpoints = nodes.iter().map(endpoint).collect();
        self.observe(Event::Slice(Change::Apply(slice)));
    }

    /// Nobody more comes: whoever is not there yet is not waited for.
    pub(super) fn gather(&mut self) {
        self.settle();
        self.pass(Duration::from_secs(3));
    }

    pub(super) fn l2(&mut self) {
        self.edit_l2(|_| {});
    }

    fn edit_l2(&mut self, change: impl FnOnce(&mut L2Advertisement)) {
        let mut all = L2Advertisement::new("all", L2AdvertisementSpec::default());
        all.metadata.resource_version = Some(self.next_version());
        change(&mut all);
        self.observe(Event::L2(Change::Apply(all)));
    }

    pub(super) fn placement(&self, name: &str) -> Option<&str> {
        self.service(name).annotation(L2_NODES)
    }

    fn term(&self, name: &str) -> u64 {
        let text = self.service(name).annotation(L2_TERM).unwrap();
        text.parse().unwrap()
    }

    /// A node reports its interface eth0, or none, and what it took over.
    fn report(&mut self, node: &str, subnet: Option<&str>, acting: &[&str]) {
        let mut report = NodeReport::default();
        report.metadata.name = Some(node.to_owned());
        report.metadata.resource_version = Some(self.next_version());
        let interface = InterfaceReport {
            name: "eth0".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            running: subnet.is_some(),
            addresses: subnet.into_iter().map(str::to_owned).collect(),
        };
        report.status.interfaces = vec![interface];
        report.status.acting = acting.iter().map(|text| (*text).to_owned()).collect();
        self.observe(Event::Report(Change::Apply(report)));
    }

    fn edit_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let mut node = self.nodes[name].clone();
        change(&mut node);
        self.nodes.insert(name.to_owned(), node.clone());
        self.observe(Event::Node(Change::Apply(node)));
    }
}

/// A pool, a rule, and these nodes with speakers that live.
fn mk_layer2(nodes: &[&str]) -> World {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.l2();
    for node in nodes {
        world.node(node);
        world.speaker(node, node);
    }
    world.gather();
    world
}

/// A Service with endpoints, placed.
fn mk_placed(world: &mut World, name: &str) -> String {
    world.create(name);
    world.endpoints(name, &["a"]);
    world.settle();
    world.placement(name).unwrap().to_owned()
}

#[test]
fn services_that_share_an_address_are_placed_on_one_node() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.l2();
    for node in ["n1", "n2", "n3"] {
        world.node(node);
        world.speaker(node, "alive");
    }
    world.gather();
    for (name, port) in [("a", 80), ("b", 443), ("c", 8443)] {
        world.edit(name, |service| mk_sharer(service, "k", port));
        world.endpoints(name, &["n1", "n2"]);
    }
    world.settle();
    let placed = |world: &World, name: &str| world.placement(name).map(str::to_owned);
    let before = placed(&world, "a");
    assert!(before.is_some());
    assert_eq!(placed(&world, "b"), before);
    assert_eq!(placed(&world, "c"), before);
    let first = before.unwrap().split(',').next().unwrap().to_owned();
    world.speaker(&first, "");
    world.settle();
    let after = placed(&world, "c");
    assert_ne!(
        after.as_deref().and_then(|p| p.split(',').next()),
        Some(first.as_str())
    );
    assert_eq!(placed(&world, "a"), after);
    assert_eq!(placed(&world, "b"), after);
}

#[test]
fn placement_follows_endpoints_speakers_and_policy() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    for node in ["a", "b", "c", "d"] {
        world.node(node);
        world.speaker(node, node);
    }
    world.l2();
    world.gather();
    world.create("web");
    world.settle();
    assert_eq!(world.placement("web"), None, "nobody to deliver to");
    world.endpoints("web", &["a", "b"]);
    world.settle();
    let first = world.placement("web").unwrap().to_owned();
    assert_eq!(first.split(',').count(), 3, "{first}");
    let answerer = first.split(',').next().unwrap().to_owned();
    world.speaker(&answerer, "");
    world.settle();
    let second = world.placement("web").unwrap().to_owned();
    assert_eq!(
        second.split(',').next(),
        first.split(',').nth(1),
        "the first standby takes over"
    );
    world.speaker(&answerer, &answerer);
    world.settle();
    assert_eq!(
        world.placement("web"),
        Some(second.as_str()),
        "a returning node takes nothing back"
    );
    world.edit("web", |s| {
        s.spec.external_traffic_policy = TrafficPolicy::Local;
    });
    world.settle();
    let local = world.placement("web").unwrap();
    assert!(
        local.split(',').all(|node| ["a", "b"].contains(&node)),
        "{local}"
    );
    world.endpoints("web", &[]);
    world.settle();
    assert_eq!(world.placement("web"), None);
}

#[test]
fn losing_every_speaker_moves_nothing() {
    let mut world = mk_world(&[("p", "10.0.0.0/24")]);
    world.node("a");
    world.speaker("a", "a");
    world.l2();
    world.create("web");
    world.endpoints("web", &["a"]);
    world.gather();
    world.speaker("a", "");
    world.settle();
    assert_eq!(world.placement("web"), Some("a"));
}

#[test]
fn each_change_of_a_placement_has_a_higher_term_also_for_the_next_leader() {
    let mut world = mk_layer2(&["a", "b", "c"]);
    let first = mk_placed(&mut world, "web");
    let term = world.term("web");
    world.settle();
    assert_eq!(world.term("web"), term);
    let answerer = first.split(',').next().unwrap().to_owned();
    world.speaker(&answerer, "");
    world.settle();
    let next = world.term("web");
    assert!(next > term, "{term} then {next}");
    let writes = world.writes;
    world.restart();
    world.l2();
    for node in ["a", "b", "c"] {
        world.speaker(node, if node == answerer { "" } else { node });
    }
    world.endpoints("web", &["a"]);
    world.settle();
    world.gather();
    assert_eq!((world.term("web"), world.writes), (next, writes));
    world.endpoints("web", &[]);
    world.settle();
    assert_eq!(world.placement("web"), None);
    world.endpoints("web", &["a"]);
    world.settle();
    assert!(world.term("web") > next, "it was nowhere between");
}

#[test]
fn whoever_took_over_is_first_and_stays() {
    let mut world = mk_layer2(&["a", "b", "c"]);
    let first = mk_placed(&mut world, "web");
    let nodes: Vec<&str> = first.split(',').collect();
    let term = world.term("web");
    world.report(nodes[1], Some("192.0.2.1/24"), &["10.0.0.0"]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.placement("web"), Some(&*first), "may not know it yet");
    world.pass(Duration::from_secs(5));
    let after = world.placement("web").unwrap().to_owned();
    assert_eq!(after, [nodes[1], nodes[2], nodes[0]].join(","));
    assert!(world.term("web") > term);
    let writes = world.writes;
    world.pass(Duration::from_secs(30));
    world.report(nodes[1], Some("192.0.2.1/24"), &[]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.writes, writes, "nothing more to say");
    // Of a node whose speaker is dead, nothing is believed.
    world.report(nodes[2], Some("192.0.2.1/24"), &["10.0.0.0"]);
    world.speaker(nodes[2], "");
    world.pass(Duration::from_secs(30));
    assert!(world.placement("web").unwrap().starts_with(nodes[1]));
}

#[test]
fn a_node_that_drains_gives_its_addresses_away_and_takes_none_back() {
    let mut world = mk_layer2(&["a", "b", "c"]);
    let first = mk_placed(&mut world, "web");
    let nodes: Vec<&str> = first.split(',').collect();
    world.edit_node(nodes[0], |node| {
        let annotations = node.metadata.annotations.get_or_insert_default();
        annotations.insert(DRAIN.to_owned(), "true".to_owned());
    });
    world.settle();
    let moved = [nodes[1], nodes[2], nodes[0]].join(",");
    assert_eq!(world.placement("web"), Some(&*moved));
    world.edit_node(nodes[0], |node| node.metadata.annotations = None);
    world.settle();
    assert_eq!(world.placement("web"), Some(&*moved));
}

#[test]
fn placement_follows_links_and_subnets_and_waits_for_a_link_that_flaps() {
    let mut world = mk_layer2(&["a", "b", "c"]);
    world.report("a", Some("10.0.0.201/24"), &[]);
    world.report("b", Some("10.0.0.202/24"), &[]);
    world.report("c", Some("192.0.2.3/24"), &[]);
    let first = mk_placed(&mut world, "web");
    let answerer = &first[..1];
    let other = if answerer == "a" { "b" } else { "a" };
    assert_eq!(first, format!("{answerer},{other}"));
    world.report(answerer, None, &[]);
    world.pass(Duration::from_secs(9));
    world.report(answerer, Some("10.0.0.201/24"), &[]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.placement("web"), Some(&*first), "it flapped");
    world.report(answerer, None, &[]);
    world.pass(Duration::from_secs(11));
    assert_eq!(world.placement("web"), Some(other));
    world.report(other, None, &[]);
    world.pass(Duration::from_secs(11));
    assert_eq!(
        world.placement("web"),
        Some("c"),
        "no node is near: any link will do"
    );
    world.report("c", None, &[]);
    world.pass(Duration::from_secs(11));
    assert_eq!(world.placement("web"), Some("c"), "nobody else is better");
}

#[test]
fn speakers_are_told_where_to_find_each_other() {
    let mut world = mk_layer2(&["a", "b"]);
    world.report("a", Some("10.0.0.201/24"), &[]);
    world.report("gone", Some("10.0.0.203/24"), &[]);
    world.settle();
    let known = |world: &World| {
        let nodes = &world.config.as_ref().unwrap().spec.nodes;
        let name = |node: &portolan_api::crd::NodeRule| {
            format!("{} {}", node.name, node.interfaces[0].addresses[0])
        };
        nodes.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(known(&world), ["a 10.0.0.201/24"], "not one without a Node");
    world.speaker("a", "");
    world.observe(Event::Report(Change::Delete((
        String::new(),
        "a".to_owned(),
    ))));
    world.report("b", Some("10.0.0.202/24"), &[]);
    world.settle();
    let both = ["a 10.0.0.201/24", "b 10.0.0.202/24"];
    assert_eq!(
        known(&world),
        both,
        "a report that is gone takes nothing back"
    );
    world.observe(Event::Node(Change::Delete((String::new(), "a".to_owned()))));
    world.settle();
    assert_eq!(known(&world), ["b 10.0.0.202/24"]);
}

#[test]
fn a_placement_that_somebody_else_writes_is_outbid_and_one_that_is_stripped_returns() {
    let mut world = mk_layer2(&["a", "b", "c"]);
    let first = mk_placed(&mut world, "web");
    for (row, term, outbid) in [("the same term", 0, true), ("a later one", 1000, true)] {
        let ours = world.term("web");
        world.edit("web", |service| {
            annotate(service, L2_NODES, "x");
            annotate(service, L2_TERM, &(ours + term).to_string());
        });
        world.pass(Duration::from_secs(61));
        assert_eq!(world.placement("web"), Some(&*first), "{row}");
        assert_eq!(world.term("web") > ours + term, outbid, "{row}");
    }
    let ours = world.term("web");
    for (row, annotation) in [("nodes", L2_NODES), ("term", L2_TERM)] {
        world.edit("web", |service| unannotate(service, annotation));
        world.pass(Duration::from_secs(61));
        assert_eq!(world.placement("web"), Some(&*first), "{row}");
        assert_eq!(world.term("web"), ours, "{row}");
    }
    let writes = world.writes;
    for _ in 0..50 {
        world.edit("web", |service| annotate(service, L2_NODES, "x"));
        world.pass(Duration::from_secs(1));
    }
    assert!(
        world.writes - writes <= 5,
        "{} writes",
        world.writes - writes
    );
    assert_eq!(world.noted("web: AnnotationsContested"), 1);
}

#[test]
fn a_new_rebalance_request_moves_one_group_a_second_until_all_is_even() {
    let mut world = mk_layer2(&["a"]);
    for number in 0..9 {
        assert_eq!(mk_placed(&mut world, &format!("s{number}")), "a");
    }
    for node in ["b", "c"] {
        world.node(node);
        world.speaker(node, node);
    }
    world.pass(Duration::from_secs(60));
    let loads = |world: &World| {
        let first = |node: &str| {
            let names = (0..9).map(|number| format!("s{number}"));
            let on = |name: &String| world.placement(name).unwrap().starts_with(node);
            names.filter(on).count()
        };
        [first("a"), first("b"), first("c")]
    };
    assert_eq!(loads(&world), [9, 0, 0], "who returns takes nothing back");
    let ask = |world: &mut World, value: &str| {
        world.edit_l2(|object| {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(REBALANCE.to_owned(), value.to_owned());
        });
        world.settle();
    };
    ask(&mut world, "monday");
    assert_eq!(loads(&world)[0], 8, "one at once");
    for left in [7, 6, 5, 4, 3] {
        world.pass(Duration::from_secs(1));
        assert_eq!(loads(&world)[0], left.max(3));
    }
    world.pass(Duration::from_secs(60));
    assert_eq!(loads(&world), [3, 3, 3]);
    world.speaker("c", "");
    world.settle();
    world.speaker("c", "c");
    world.pass(Duration::from_secs(60));
    ask(&mut world, "monday");
    assert_eq!(loads(&world)[2], 0, "that was done");
    ask(&mut world, "tuesday");
    world.pass(Duration::from_secs(1));
    assert_eq!(loads(&world)[2], 2);
}

/// Of 12 Services, how many each of three nodes answers for; the rest wait.
fn loads(world: &World) -> [usize; 3] {
    ["a", "b", "c"].map(|node| {
        let names = (0..12).map(|number| format!("s{number}"));
        let on = |name: &String| world.placement(name).is_some_and(|it| it.starts_with(node));
        names.filter(on).count()
    })
}

fn mk_twelve(world: &mut World) {
    for number in 0..12 {
        let name = format!("s{number}");
        world.create(&name);
        world.endpoints(&name, &["a"]);
    }
    world.settle();
}

#[test]
fn what_is_not_placed_yet_waits_until_it_is_known_who_is_there() {
    // For each node the second in which its speaker comes and reports.
    for (why, nodes, waits, spread) in [
        ("all at once", [Some(0), Some(0), Some(0)], 0, [4, 4, 4]),
        (
            "one after the other",
            [Some(0), Some(2), Some(4)],
            4,
            [4, 4, 4],
        ),
        ("one never comes", [Some(0), Some(1), None], 4, [6, 6, 0]),
        (
            "one is too late",
            [Some(0), Some(5), Some(5)],
            3,
            [12, 0, 0],
        ),
        (
            "nobody for a minute",
            [Some(60), Some(61), Some(62)],
            62,
            [4, 4, 4],
        ),
    ] {
        let mut world = mk_world(&[("p", "10.0.0.0/24")]);
        world.l2();
        for node in ["a", "b", "c"] {
            world.node(node);
        }
        mk_twelve(&mut world);
        for second in 0..=waits {
            let come = ["a", "b", "c"].iter().zip(nodes);
            for (node, _) in come.filter(|(_, at)| *at == Some(second)) {
                world.speaker(node, node);
                world.report(node, Some("10.0.0.201/24"), &[]);
            }
            world.settle();
            if second < waits {
                assert_eq!(loads(&world), [0, 0, 0], "{why}, second {second}");
                assert_eq!(world.ips("s0"), "10.0.0.0", "{why}: addresses do not wait");
                assert!(world.message("s0").contains("no node answers"), "{why}");
                world.pass(Duration::from_secs(1));
            }
        }
        assert_eq!(loads(&world), spread, "{why}");
        assert!(!world.message("s0").contains("no node answers"), "{why}");
    }
}

#[test]
fn a_cluster_that_starts_again_keeps_its_placements_and_spreads_new_ones() {
    let mut world = mk_layer2(&["a", "b", "c"]);
    mk_twelve(&mut world);
    assert_eq!(loads(&world), [4, 4, 4]);
    for (why, holder) in [("power was lost", "former"), ("an orderly stop", "")] {
        let placements = |world: &World| {
            let names = (0..12).map(|number| format!("s{number}"));
            names
                .map(|name| world.placement(&name).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let before = placements(&world);
        world.start_with(|world| {
            for node in ["a", "b", "c"] {
                world.speaker(node, holder);
            }
        });
        world.l2();
        world.create("new");
        for number in 0..12 {
            world.endpoints(&format!("s{number}"), &["a"]);
        }
        world.endpoints("new", &["a"]);
        for node in ["c", "b", "a"] {
            world.pass(Duration::from_secs(2));
            assert_eq!(placements(&world), before, "{why}");
            assert_eq!(
                world.placement("new"),
                None,
                "{why}, before {node} is there"
            );
            world.speaker(node, node);
        }
        world.gather();
        assert_eq!(placements(&world), before, "{why}");
        assert!(world.placement("new").is_some(), "{why}");
        world.delete("new");
        world.settle();
    }
}

#[test]
fn a_node_that_nobody_has_seen_keeps_what_it_has_and_gets_nothing_new() {
    let mut world = mk_layer2(&["a", "b", "c"]);
    mk_twelve(&mut world);
    world.start_with(|world| world.speaker("a", "former"));
    world.l2();
    for node in ["b", "c"] {
        world.speaker(node, node);
    }
    for number in 0..12 {
        world.endpoints(&format!("s{number}"), &["a"]);
    }
    world.gather();
    assert_eq!(loads(&world), [4, 4, 4]);
    for number in 0..6 {
        let placed = mk_placed(&mut world, &format!("t{number}"));
        assert!(!placed.contains('a'), "{placed}");
    }
}
