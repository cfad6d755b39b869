//! Placement by tables, and histories of a cluster in which nodes die and return.

mod history;

use std::collections::BTreeMap;
use std::time::Instant;

use portolan_api::crd::{L2Rule, PreferredNodes};
use portolan_api::selector::LabelSelector;

use super::*;
use crate::alloc::{Holding, ServiceId};

fn mk_nodes(names: &[&str]) -> Nodes {
    names.iter().map(|name| Arc::from(*name)).collect()
}

/// Candidates as words: a name, then of `@zone`, `+score`, `drain` and `new` what applies.
fn mk_candidates<'a>(names: &'a [Arc<str>], words: &[&'a str]) -> Vec<Candidate<'a>> {
    let candidate = |(name, words): (&'a Arc<str>, &&'a str)| {
        let words = words.split(' ').skip(1);
        Candidate {
            name,
            zone: words.clone().find_map(|word| word.strip_prefix('@')),
            score: words
                .clone()
                .find_map(|word| word.strip_prefix('+')?.parse().ok())
                .unwrap_or_default(),
            draining: words.clone().any(|word| word == "drain"),
            unreported: words.clone().any(|word| word == "new"),
            unseen: false,
        }
    };
    names.iter().zip(words).map(candidate).collect()
}

fn mk_wish<'a>(current: &'a [Arc<str>], acting: Option<&'a str>) -> Wish<'a> {
    Wish {
        key: "shop/web",
        current,
        acting,
        review: false,
    }
}

/// Names of the nodes that are placed.
fn placed(current: &[&str], acting: Option<&str>, nodes: &[&str], load: &Load) -> String {
    let names: Vec<&str> = nodes
        .iter()
        .filter_map(|words| words.split(' ').next())
        .collect();
    let names = mk_nodes(&names);
    let candidates = mk_candidates(&names, nodes);
    place(mk_wish(&mk_nodes(current), acting), &candidates, load).join(" ")
}

#[test]
fn whoever_answers_stays_as_long_as_it_can_and_is_followed_by_its_stand_by() {
    type Row = (
        &'static str,
        &'static [&'static str],
        Option<&'static str>,
        &'static [&'static str],
        &'static str,
    );
    let rows: [Row; 14] = [
        (
            "the first stand-by takes over",
            &["a", "b", "c"],
            None,
            &["b", "c", "d"],
            "b c d",
        ),
        (
            "a returning node takes nothing back",
            &["b", "c", "d"],
            None,
            &["a", "b", "c", "d"],
            "b c d",
        ),
        (
            "a lost stand-by is replaced",
            &["a", "b", "c"],
            None,
            &["a", "c", "d"],
            "a c d",
        ),
        ("nobody keeps what was", &["a", "b"], None, &[], "a b"),
        ("one node is enough", &[], None, &["a"], "a"),
        (
            "whoever answers is first, whoever it found dead last",
            &["a", "b", "c"],
            Some("c"),
            &["a", "b", "c"],
            "c a b",
        ),
        (
            "a stranger to the list that answers",
            &["a", "b", "c"],
            Some("d"),
            &["a", "b", "c", "d"],
            "d a b",
        ),
        (
            "one that may not answer is not followed",
            &["a", "b"],
            Some("x"),
            &["a", "b"],
            "a b",
        ),
        (
            "a node that drains is left",
            &["a", "b", "c"],
            None,
            &["a drain", "b", "c", "d"],
            "b c d",
        ),
        (
            "one that drains and answers all the same is left",
            &["a", "b"],
            Some("b"),
            &["a", "b drain", "c"],
            "a c b",
        ),
        (
            "it still stands by where nobody else does",
            &["a", "b"],
            None,
            &["a drain", "b"],
            "b a",
        ),
        (
            "it answers if all drain",
            &["a", "b"],
            None,
            &["a drain", "b drain"],
            "a b",
        ),
        (
            "it answers if it alone can",
            &["b", "a"],
            None,
            &["a drain"],
            "a",
        ),
        (
            "a score moves no answerer, but stand-bys",
            &["a", "b", "c"],
            None,
            &["a", "b", "c +1", "d +9"],
            "a d c",
        ),
    ];
    for (row, current, acting, nodes, expected) in rows {
        let found = placed(current, acting, nodes, &Load::default());
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn a_new_vip_goes_to_preferred_nodes_first_and_stands_by_in_other_zones() {
    let mut load = Load::default();
    for _ in 0..5 {
        load.add(&mk_nodes(&["a"]));
    }
    for (row, nodes, first, zones) in [
        ("the fewest", &["a", "b"][..], "b", ""),
        ("preferred though it has more", &["a +1", "b"], "a", ""),
        ("the sum counts", &["a +3", "b +2"], "a", ""),
        ("known links first", &["a", "b new"], "a", ""),
        ("none that drains", &["a", "b drain"], "a", ""),
        (
            "one zone each",
            &["a @x", "b @y", "c @y", "d @y", "e @z"],
            "",
            "x y z",
        ),
        ("two zones", &["a @x", "b @x", "c @x", "d @y"], "", "x x y"),
        ("one zone", &["a @x", "b @x", "c @x"], "", "x x x"),
    ] {
        let found = placed(&[], None, nodes, &load);
        let zone = |name: &str| {
            let words = nodes.iter().find(|words| words.starts_with(name));
            words
                .and_then(|words| words.split_once('@'))
                .map(|(_, zone)| zone)
        };
        if zones.is_empty() {
            assert_eq!(found.split(' ').next(), Some(first), "{row}");
        } else {
            let mut found: Vec<&str> = found.split(' ').filter_map(zone).collect();
            assert_ne!(
                found.first() == found.get(1),
                row != "one zone",
                "{row}: {found:?}"
            );
            found.sort_unstable();
            assert_eq!(found.join(" "), zones, "{row}");
        }
    }
}

#[test]
fn a_stand_by_in_the_zone_of_the_answerer_is_replaced_when_another_zone_comes() {
    let nodes = ["a @x", "b @x", "c @x", "d @y"];
    assert_eq!(
        placed(&["a", "b", "c"], None, &nodes, &Load::default()),
        "a d b"
    );
}

fn mk_labels(zone: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("zone".to_owned(), zone.to_owned())])
}

fn mk_selector(zone: &str) -> LabelSelector {
    LabelSelector {
        match_labels: mk_labels(zone),
        ..LabelSelector::default()
    }
}

fn mk_link(name: &str, subnets: &[&str]) -> Link {
    Link {
        name: name.into(),
        addresses: subnets.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

#[test]
fn a_node_is_able_with_a_link_that_the_rule_means_and_near_if_any_is() {
    let labels = [mk_labels("x"), mk_labels("y")];
    let [x, y] = &labels;
    let lan = [mk_link("eth0", &["10.0.0.1/24", "2001:db8::1/64"])];
    let far = [mk_link("eth0", &["10.9.0.1/24"])];
    let other = [mk_link("eth1", &["10.0.0.2/24"])];
    let site = |name, labels, links| Site {
        name,
        labels,
        draining: false,
        links,
        unseen: false,
    };
    let sites = [
        site("lan", x, Some(&lan[..])),
        site("far", x, Some(&far[..])),
        site("other", y, Some(&other[..])),
        site("none", x, Some(&[][..])),
        site("new", x, None),
    ];
    let rule = |change: fn(&mut L2Rule)| {
        let mut rule = L2Rule::default();
        change(&mut rule);
        rule
    };
    let rules = [
        rule(|_| {}),
        rule(|rule| rule.interfaces = vec!["eth0".to_owned()]),
        rule(|rule| rule.interface_expressions = vec!["eth[12]".to_owned()]),
        rule(|rule| rule.node_selectors = vec![mk_selector("y")]),
    ];
    let ground = Ground::new(sites.into_iter(), &rules);
    for (row, rules, vip, expected) in [
        ("in a subnet", &[0][..], "10.0.0.100", "lan other new"),
        ("in another one", &[0], "10.9.0.100", "far new"),
        ("IPv6", &[0], "2001:db8::100", "lan new"),
        (
            "in none: routed to whoever answers",
            &[0],
            "192.0.2.1",
            "lan far other new",
        ),
        ("by name", &[1], "10.0.0.100", "lan new"),
        ("by name, in none", &[1], "192.0.2.1", "lan far new"),
        ("by expression", &[2], "10.0.0.100", "other new"),
        ("by selector", &[3], "10.0.0.100", "other"),
        ("either rule", &[1, 3], "10.0.0.100", "lan other new"),
        ("the nearer of a selector's", &[3], "10.9.0.100", "other"),
    ] {
        let able = ground.able(vip.parse().unwrap(), rules, |_| true);
        let candidates = ground.candidates(&able, rules);
        let names: Vec<&str> = candidates.iter().map(|one| &**one.name).collect();
        assert_eq!(names.join(" "), expected, "{row}");
    }
    let serves = |node: &str| node != "lan" && node != "other";
    let able = ground.able("10.0.0.100".parse().unwrap(), &[0], serves);
    let names: Vec<_> = ground
        .candidates(&able, &[0])
        .iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(
        names.len(),
        2,
        "those near have nobody to deliver to: {names:?}"
    );
}

#[test]
fn the_scores_of_rules_that_prefer_a_node_add_up() {
    let labels = [mk_labels("x"), mk_labels("y")];
    let sites = labels.iter().zip(["a", "b"]).map(|(labels, name)| Site {
        name,
        labels,
        draining: false,
        links: None,
        unseen: false,
    });
    let prefers = |weight, zone| PreferredNodes {
        weight,
        preference: mk_selector(zone),
    };
    let rule = |preferred: Vec<PreferredNodes>| L2Rule {
        preferred_nodes: preferred,
        ..L2Rule::default()
    };
    let rules = [
        rule(vec![prefers(3, "x"), prefers(4, "x"), prefers(1, "y")]),
        rule(vec![prefers(5, "y")]),
    ];
    let ground = Ground::new(sites, &rules);
    for (rules, expected) in [(&[0][..], [7, 1]), (&[1], [0, 5]), (&[0, 1], [7, 6])] {
        let scores = ground.candidates(&[true, true], rules);
        let scores: Vec<u32> = scores.iter().map(|one| one.score).collect();
        assert_eq!(scores, expected, "{rules:?}");
    }
}

fn mk_holding(text: &str) -> Holding {
    text.split(' ').map(|text| text.parse().unwrap()).collect()
}

fn mk_members(members: &[(u32, &str)]) -> BTreeMap<ServiceId, Holding> {
    let member = |(id, addresses): &(u32, &str)| (ServiceId(*id), mk_holding(addresses));
    members.iter().map(member).collect()
}

fn mk_start() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Puts a group on nodes.
fn put(board: &mut Board, seat: SeatId, unix: u64, nodes: &[&str]) -> u64 {
    board.place(seat, None, unix, mk_start(), |_, _| mk_nodes(nodes));
    board.get(seat).unwrap().term
}

#[test]
fn another_first_node_has_a_higher_term_and_what_stays_has_the_same() {
    let mut board = Board::default();
    let (seat, _) = board.gather(ServiceId(1), &mk_members(&[(1, "10.0.0.1")]));
    for (row, unix, nodes, term) in [
        ("first", 100, &["a", "b"][..], 100),
        ("the same", 200, &["a", "b"], 100),
        ("another stand-by", 250, &["a", "c", "b"], 100),
        ("another one later", 300, &["b", "c"], 300),
        ("another one at once", 300, &["c", "b"], 301),
        ("the clock went back", 50, &["b", "c"], 302),
        ("nobody", 400, &[], 302),
        ("and back within the second", 302, &["b", "c"], 303),
    ] {
        assert_eq!(put(&mut board, seat, unix, nodes), term, "{row}");
    }
    let acting = |board: &mut Board, node| {
        board.place(seat, Some(node), 0, mk_start(), |_, _| {
            mk_nodes(&["b", "d"])
        });
        board.get(seat).unwrap().term
    };
    assert_eq!(acting(&mut board, "c"), 304, "c answers, and b shall");
    assert_eq!(acting(&mut board, "b"), 304, "b answers, and shall");
    for (row, seen, changed, term) in [
        ("older", 303, false, 304),
        ("the same number", 304, true, 305),
        ("from the future", 1 << 40, true, (1 << 40) + 1),
        ("beyond all clocks", u64::MAX, false, (1 << 40) + 1),
    ] {
        assert_eq!(board.outbid(seat, seen, 0), changed, "{row}");
        assert_eq!(board.get(seat).unwrap().term, term, "{row}");
    }
}

#[test]
fn groups_merge_on_the_newest_placement_and_part_without_moving() {
    let mut board = Board::default();
    let alone = |id| mk_members(&[(id, "10.0.0.1 2001:db8::1")]);
    let (one, _) = board.gather(ServiceId(1), &alone(1));
    put(&mut board, one, 100, &["a", "b"]);
    let (two, _) = board.gather(ServiceId(2), &mk_members(&[(2, "10.0.0.2")]));
    put(&mut board, two, 200, &["c", "d"]);
    assert_eq!(board.load().answering("a"), 1);
    let both = mk_members(&[(1, "10.0.0.2"), (2, "10.0.0.2")]);
    let (merged, changed) = board.gather(ServiceId(1), &both);
    assert!(changed);
    assert_eq!(board.get(merged).unwrap().nodes, mk_nodes(&["c", "d"]));
    assert_eq!(board.gather(ServiceId(2), &both), (merged, false));
    let counts = ["a", "c"].map(|node| board.load().answering(node));
    assert_eq!(counts, [0, 1], "one group, counted once");
    // The second keeps the address that both had, the first gets another one.
    let (left, changed) = board.gather(ServiceId(1), &mk_members(&[(1, "10.0.0.3")]));
    assert!(changed && left != merged);
    assert!(board.get(left).unwrap().nodes.is_empty(), "begins anew");
    assert_eq!(board.get(merged).unwrap().nodes, mk_nodes(&["c", "d"]));
    let (again, _) = board.gather(ServiceId(2), &mk_members(&[(2, "10.0.0.2")]));
    assert_eq!(board.get(again).unwrap().nodes, mk_nodes(&["c", "d"]));
    // Three of one chain: when its middle goes, both ends stay where they are.
    let chain = mk_members(&[
        (4, "10.0.0.4"),
        (5, "10.0.0.4 2001:db8::5"),
        (6, "2001:db8::5"),
    ]);
    let (seat, _) = board.gather(ServiceId(5), &chain);
    put(&mut board, seat, 300, &["e", "f"]);
    board.leave(ServiceId(5));
    for (id, address) in [(4, "10.0.0.4"), (6, "2001:db8::5")] {
        let (seat, _) = board.gather(ServiceId(id), &mk_members(&[(id, address)]));
        assert_eq!(
            board.get(seat).unwrap().nodes,
            mk_nodes(&["e", "f"]),
            "{id}"
        );
    }
    assert_eq!(board.load().answering("e"), 2);
    for id in [1, 2, 4, 6] {
        board.leave(ServiceId(id));
    }
    assert_eq!(board.iter().count(), 0);
    assert_eq!(board.load().answering("e") + board.load().answering("c"), 0);
}
