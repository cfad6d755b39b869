//! The rules, one by one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use portolan_api::crd::{DetectionRule, NodeInterface};
use portolan_proto::claim::{Claim, Entry, Message, Statement};
use portolan_proto::ethernet::MacAddr;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
pub(super) fn mk_now() -> Instant {
    Instant::now()
}

/// A duty on all interfaces.
pub(super) fn mk_duty(term: u64, nodes: Arc<[String]>) -> Duty {
    Duty {
        term,
        nodes,
        interfaces: Interfaces::All,
        detection: DetectionRule::default(),
        refresh: Duration::from_secs(60),
    }
}

/// One interface, `eth0` with index 2.
pub(super) fn mk_links(mac: MacAddr, address: &str, carrier: bool, ups: u32) -> Links {
    let mut links = Links::default();
    add_link(&mut links, (2, "eth0"), mac, &[address], carrier, ups);
    links
}

fn add_link(
    links: &mut Links,
    (index, name): (u32, &str),
    mac: MacAddr,
    addresses: &[&str],
    carrier: bool,
    ups: u32,
) {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up | LinkFlags::Broadcast | LinkFlags::Multicast;
    if carrier {
        message.header.flags |= LinkFlags::Running;
    }
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::CarrierUpCount(ups),
    ];
    links.apply(&RouteNetlinkMessage::NewLink(message));
    for address in addresses {
        let network: IpNetwork = address.parse().unwrap();
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = network.prefix();
        message.attributes = vec![AddressAttribute::Address(network.ip())];
        links.apply(&RouteNetlinkMessage::NewAddress(message));
    }
}

/// The machine of node `a`, with nodes `b` and `c` beside it on `eth0`.
struct Bench {
    machine: Takeover,
    now: Instant,
    effects: Vec<Effect>,
    sequence: u64,
    gateway: bool,
}

const VIP: &str = "192.0.2.100";

fn mk_mac(node: &str) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, node.as_bytes()[0]])
}

fn mk_node(name: &str, address: &str) -> NodeRule {
    let interface = NodeInterface {
        mac: mk_mac(name).to_string(),
        addresses: vec![address.parse().unwrap()],
    };
    NodeRule {
        name: name.to_owned(),
        interfaces: vec![interface],
    }
}

fn mk_placed(term: u64, nodes: &[&str]) -> Duty {
    mk_duty(term, nodes.iter().map(|node| (*node).to_owned()).collect())
}

fn mk_entry(vip: &str, term: u64, turn: u32, held: bool) -> Entry {
    let (vip, claim) = (vip.parse().unwrap(), Claim { term, turn });
    Entry { vip, claim, held }
}

impl Bench {
    fn new() -> Self {
        let mut machine = Takeover::new("a".to_owned());
        let now = mk_now();
        let links = mk_links(mk_mac("a"), "192.0.2.1/24", true, 1);
        machine.set_links(&links, &Exclude::usual().unwrap(), now);
        let nodes = [
            mk_node("a", "192.0.2.1/24"),
            mk_node("b", "192.0.2.2/24"),
            mk_node("c", "192.0.2.3/24"),
        ];
        machine.set_nodes(&nodes, now);
        let mut bench = Self {
            machine,
            now,
            effects: Vec::new(),
            sequence: 0,
            gateway: true,
        };
        bench.with(|machine, now| {
            machine.set_witnesses(2, ["192.0.2.254".parse().unwrap()].into(), now);
        });
        bench
    }

    /// All nodes are Up and have said that they hold nothing; nothing is left to be said.
    fn settled(nodes: &[&str]) -> Self {
        let mut bench = Self::new();
        bench.place(1, nodes);
        for node in ["b", "c"] {
            bench.bfd(node, PathState::Up);
            bench.says(node, &[]);
        }
        bench.wait(700);
        bench
    }

    /// As [`Self::settled`], and what was to be looked for was found free.
    fn holding(nodes: &[&str]) -> Self {
        let mut bench = Self::settled(nodes);
        bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
        assert!(bench.holds());
        bench.wait(1500);
        bench
    }

    fn with(&mut self, call: impl FnOnce(&mut Takeover, Instant)) {
        call(&mut self.machine, self.now);
        self.effects
            .extend(std::iter::from_fn(|| self.machine.poll()));
    }

    /// Lets time pass, deadline by deadline; the gateway answers as long as it is there.
    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(next) = self.machine.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.with(Takeover::handle_timeout);
            let asked = |effect: &Effect| matches!(effect, Effect::Ask { .. });
            if self.gateway && self.effects.iter().any(asked) {
                self.effects.retain(|effect| !asked(effect));
                self.with(|machine, now| machine.witnessed(2, now));
            }
        }
        self.now = end;
    }

    fn place(&mut self, term: u64, nodes: &[&str]) {
        let duty = mk_placed(term, nodes);
        self.with(|machine, now| machine.set_duties([(VIP.parse().unwrap(), duty)].into(), now));
    }

    fn bfd(&mut self, node: &str, state: PathState) {
        let key = SessionKey {
            node: node.to_owned(),
            interface: 2,
        };
        self.with(|machine, now| machine.path(&key, state, now));
        let asked = self
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Ask { .. }));
        if asked && self.gateway {
            self.with(|machine, now| machine.witnessed(2, now));
        }
    }

    fn hears(&mut self, node: &str, statement: Statement) {
        self.sequence += 1;
        let message = Message {
            sender: node.to_owned(),
            boot: 1,
            sequence: self.sequence,
            part: 0,
            parts: 1,
            statement,
        };
        self.with(|machine, now| machine.hear(2, &message, now));
    }

    /// A node says everything that it holds.
    fn says(&mut self, node: &str, entries: &[Entry]) {
        let entries = entries.to_vec();
        self.hears(
            node,
            Statement {
                all: true,
                entries,
                ..Statement::default()
            },
        );
    }

    fn holds(&self) -> bool {
        self.machine
            .held()
            .contains_key(&VIP.parse::<IpAddr>().unwrap())
    }

    fn state(&self) -> State {
        self.machine.standing()[&VIP.parse::<IpAddr>().unwrap()].state
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Whether the address was looked for since the last [`Self::take`].
    fn looks(&self) -> bool {
        self.effects
            .iter()
            .any(|effect| matches!(effect, Effect::Check { .. }))
    }

    /// Entries that were said since the last [`Self::take`].
    fn said(&self) -> Vec<Entry> {
        let statements = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send { statement, .. } => Some(statement.entries.clone()),
            _ => None,
        });
        statements.flatten().collect()
    }
}

#[test]
fn the_first_node_asks_and_looks_before_it_answers() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b"]);
    assert!(
        !bench.looks() && !bench.holds(),
        "nobody has been asked yet"
    );
    bench.wait(499);
    let asks = bench
        .take()
        .into_iter()
        .filter(|effect| matches!(effect, Effect::Send { statement, .. } if statement.ask));
    assert_eq!(asks.count(), 5, "a question each 100 ms");
    bench.wait(1);
    assert!(bench.looks() && !bench.holds());
    assert_eq!(bench.state(), State::Checking);
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
    assert_eq!(bench.state(), State::Holding { acting: false });
    assert!(bench.said().contains(&mk_entry(VIP, 1, 0, true)));
}

#[test]
fn an_answer_of_everybody_ends_the_waiting() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b", "c"]);
    bench.says("b", &[]);
    assert!(!bench.looks(), "c has not answered");
    bench.says("c", &[]);
    assert!(bench.looks());
}

#[test]
fn a_stand_by_takes_over_in_the_moment_when_bfd_sees_the_first_die() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.says("b", &[mk_entry(VIP, 1, 0, true)]);
    assert_eq!(bench.state(), State::StandingBy);
    bench.wait(2000);
    bench.take();
    bench.bfd("b", PathState::Down);
    assert!(bench.holds() && !bench.looks());
    let took = bench.effects.iter().find_map(|effect| match effect {
        Effect::Took(took) => Some((took.from.as_str(), took.cause, took.since_last_sign)),
        _ => None,
    });
    let sign = Some(Duration::from_millis(300));
    assert_eq!(took, Some(("b", Cause::Silent, sign)));
    assert!(
        bench.said().contains(&mk_entry(VIP, 1, 1, true)),
        "a turn more than b"
    );
    let answers = bench
        .effects
        .iter()
        .position(|effect| *effect == Effect::Answers);
    let says = |effect: &Effect| matches!(effect, Effect::Send { statement, .. } if !statement.entries.is_empty());
    let sends = bench.effects.iter().position(says);
    assert!(answers < sends, "answering comes before saying so");
}

#[test]
fn only_the_first_living_stand_by_takes_over() {
    let mut bench = Bench::settled(&["c", "b", "a"]);
    bench.says("c", &[mk_entry(VIP, 1, 0, true)]);
    bench.bfd("c", PathState::Down);
    assert!(!bench.holds(), "b is alive");
    bench.bfd("b", PathState::Down);
    assert!(bench.holds());
}

#[test]
fn a_node_that_comes_back_leaves_the_address_where_it_is() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b"]);
    bench.says("b", &[mk_entry(VIP, 1, 1, true)]);
    bench.bfd("b", PathState::Up);
    bench.wait(20_000);
    assert!(!bench.holds() && !bench.looks());
    bench.bfd("b", PathState::Down);
    assert!(bench.holds(), "until the other dies");
    assert!(bench.said().contains(&mk_entry(VIP, 1, 2, true)));
}

#[test]
fn the_greater_claim_wins_and_equal_ones_by_name() {
    let rows = [
        (1, 0, "c", true, "equal, and a comes before c"),
        (1, 1, "c", false, "a later turn"),
        (2, 0, "c", false, "a newer placement"),
        (0, 9, "c", true, "an older placement"),
    ];
    for (term, turn, node, stays, row) in rows {
        let mut bench = Bench::holding(&["a", "b", "c"]);
        bench.take();
        bench.says(node, &[mk_entry(VIP, term, turn, true)]);
        assert_eq!(bench.holds(), stays, "{row}");
        let yields = bench
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Yielded { .. }));
        assert_eq!(yields, !stays, "{row}");
        bench.take();
        bench.wait(150);
        let said = bench.said().iter().any(|entry| entry.held);
        assert_eq!(said, stays, "{row}: a lesser claim is contested");
    }
}

#[test]
fn a_claim_of_a_node_that_is_gone_does_not_count() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.bfd("b", PathState::Down);
    bench.wait(10);
    bench.says("b", &[mk_entry(VIP, 1, 1, true)]);
    assert!(!bench.holds(), "it speaks, so it lives");
    bench.wait(900);
    assert!(!bench.holds(), "heard less than a second ago");
    bench.wait(100);
    assert!(bench.holds(), "silent, and BFD saw it go");
}

#[test]
fn a_claim_that_was_known_before_bfd_lost_its_node_counts_when_it_is_said_again() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.says("b", &[mk_entry(VIP, 2, 0, true)]);
    bench.bfd("b", PathState::Down);
    assert!(bench.holds());
    bench.wait(10);
    bench.hears("b", Statement::default());
    assert!(bench.holds(), "it lives, and claims nothing");
    bench.says("b", &[mk_entry(VIP, 2, 0, true)]);
    assert!(!bench.holds());
}

#[test]
fn a_message_that_was_overtaken_changes_nothing() {
    let mut bench = Bench::settled(&["a", "b"]);
    let entry = mk_entry(VIP, 1, 1, false);
    bench.hears(
        "b",
        Statement {
            entries: vec![entry],
            ..Statement::default()
        },
    );
    bench.sequence -= 2;
    let entry = mk_entry(VIP, 1, 1, true);
    bench.hears(
        "b",
        Statement {
            entries: vec![entry],
            ..Statement::default()
        },
    );
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
}

#[test]
fn a_planned_move_is_claimed_while_the_old_holder_still_answers() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.says("b", &[mk_entry(VIP, 1, 0, true)]);
    bench.take();
    bench.place(2, &["a", "b"]);
    assert!(bench.holds() && !bench.looks());
    assert!(bench.said().contains(&mk_entry(VIP, 2, 0, true)));
}

#[test]
fn a_holder_keeps_its_claim_until_a_newer_placement_names_it_first() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.take();
    bench.place(2, &["b", "a"]);
    bench.place(3, &["b", "c"]);
    let same = |entry: &Entry| *entry == mk_entry(VIP, 1, 0, true);
    assert!(
        bench.holds() && bench.said().iter().all(same),
        "nobody else has claimed it"
    );
    bench.place(4, &["a", "c"]);
    assert!(bench.said().contains(&mk_entry(VIP, 4, 0, true)));
    bench.says("b", &[mk_entry(VIP, 3, 0, true)]);
    assert!(bench.holds());
}

#[test]
fn an_address_that_is_no_more_is_let_go_at_once() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.take();
    bench.with(|machine, now| machine.set_duties(BTreeMap::new(), now));
    assert!(bench.machine.held().is_empty() && bench.effects.contains(&Effect::Answers));
    assert_eq!(bench.said(), [mk_entry(VIP, 1, 0, false)]);
}

#[test]
fn a_leaving_node_answers_until_another_claims_and_three_seconds_at_most() {
    for claimed in [true, false] {
        let mut bench = Bench::holding(&["a", "b"]);
        bench.with(Takeover::leave);
        assert!(bench.machine.sessions().is_empty());
        bench.wait(2900);
        assert!(bench.holds());
        if claimed {
            // Even by a claim that is not greater: that node knew nothing of ours.
            bench.says("b", &[mk_entry(VIP, 1, 0, true)]);
        } else {
            bench.wait(100);
        }
        assert!(!bench.holds(), "claimed: {claimed}");
        bench.bfd("b", PathState::Down);
        bench.wait(10_000);
        assert!(!bench.holds(), "it takes nothing any more");
    }
}

#[test]
fn a_node_that_says_that_it_leaves_is_followed_at_once() {
    for by_bfd in [true, false] {
        let mut bench = Bench::settled(&["b", "a"]);
        let entry = mk_entry(VIP, 1, 0, true);
        bench.says("b", &[entry]);
        if by_bfd {
            bench.bfd("b", PathState::Leaving);
        } else {
            let entries = vec![entry];
            bench.hears(
                "b",
                Statement {
                    all: true,
                    leaving: true,
                    entries,
                    ..Statement::default()
                },
            );
        }
        assert!(bench.holds(), "by BFD: {by_bfd}");
        let took =
            |effect: &Effect| matches!(effect, Effect::Took(took) if took.cause == Cause::Stops);
        assert!(bench.effects.iter().any(took), "by BFD: {by_bfd}");
    }
}

#[test]
fn a_node_that_said_that_it_leaves_is_waited_for_again_when_it_has_been_silent_for_a_second() {
    for (silent, passed_over) in [(0, true), (999, true), (1000, false), (60_000, false)] {
        // While it shared nothing with us: if it came back meanwhile, nobody told us.
        let mut bench = Bench::settled(&["c", "a"]);
        bench.says("c", &[mk_entry(VIP, 1, 0, true)]);
        bench.hears(
            "b",
            Statement {
                leaving: true,
                ..Statement::default()
            },
        );
        bench.wait(silent);
        bench.place(2, &["b", "a"]);
        assert_eq!(bench.holds(), passed_over, "silent for {silent} ms");
    }
}

#[test]
fn a_holder_that_nobody_answers_is_isolated_and_stops() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.gateway = false;
    bench.bfd("b", PathState::Down);
    bench.wait(299);
    assert!(bench.holds());
    bench.wait(1);
    assert_eq!(bench.state(), State::Isolated);
    bench.with(|machine, now| machine.witnessed(2, now));
    assert!(
        !bench.holds(),
        "others may have it now: they are asked first"
    );
    bench.says("b", &[mk_entry(VIP, 1, 1, true)]);
    bench.wait(2000);
    assert!(!bench.holds());
}

#[test]
fn a_stand_by_that_nobody_answers_takes_nothing_over() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.gateway = false;
    bench.bfd("b", PathState::Down);
    assert!(!bench.holds(), "in doubt");
    bench.wait(5000);
    assert_eq!(bench.state(), State::Isolated);
}

#[test]
fn without_any_witness_a_node_counts_as_connected() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.gateway = false;
    bench.with(|machine, now| machine.set_witnesses(2, BTreeSet::new(), now));
    bench.bfd("b", PathState::Down);
    assert!(bench.holds());
    bench.wait(5000);
    assert!(bench.holds());
}

#[test]
fn a_witness_counts_for_a_second() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.bfd("b", PathState::Down);
    bench.wait(5000);
    assert!(bench.holds(), "the gateway answers each time");
    bench.gateway = false;
    bench.wait(1100);
    assert!(!bench.holds());
}

#[test]
fn what_was_ours_before_a_flap_is_ours_after_it_when_nobody_took_it() {
    let mut bench = Bench::holding(&["a", "b"]);
    let exclude = Exclude::usual().unwrap();
    let down = mk_links(mk_mac("a"), "192.0.2.1/24", false, 1);
    bench.with(|machine, now| machine.set_links(&down, &exclude, now));
    assert!(!bench.holds(), "no carrier");
    bench.wait(100);
    let up = mk_links(mk_mac("a"), "192.0.2.1/24", true, 2);
    bench.take();
    bench.with(|machine, now| machine.set_links(&up, &exclude, now));
    assert!(!bench.holds(), "b has not been asked");
    bench.says("b", &[]);
    assert!(bench.holds() && !bench.looks());
}

#[test]
fn an_address_that_a_stranger_uses_is_a_conflict_and_looked_for_again_later() {
    let mut bench = Bench::settled(&["a", "b"]);
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    let taken = Checked::Taken { mac, interface: 2 };
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), taken, now));
    assert_eq!(bench.state(), State::Conflict { mac, interface: 2 });
    bench.take();
    bench.wait(29_999);
    assert!(!bench.looks());
    bench.wait(1);
    assert!(bench.looks());
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
}

#[test]
fn a_node_that_a_firewall_hides_keeps_what_it_holds() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b"]);
    bench.wait(500);
    assert!(bench.looks());
    let taken = Checked::Taken {
        mac: mk_mac("b"),
        interface: 2,
    };
    for _ in 0..5 {
        bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), taken, now));
        assert_eq!(bench.state(), State::StandingBy);
        bench.take();
        bench.wait(40_000);
        assert!(bench.looks() && !bench.holds());
    }
}

#[test]
fn a_node_that_was_never_seen_is_waited_for_and_then_looked_for() {
    let mut bench = Bench::new();
    bench.place(1, &["b", "a"]);
    bench.wait(4999);
    assert!(!bench.looks());
    bench.wait(1);
    assert!(bench.looks() && !bench.holds());
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
}

#[test]
fn a_node_that_lives_but_does_not_answer_is_passed_over_after_a_look() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.wait(3000);
    assert!(!bench.looks());
    bench.wait(2000);
    assert!(bench.looks());
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert_eq!(bench.state(), State::Holding { acting: true });
}

#[test]
fn of_two_that_know_each_other_only_from_the_wire_the_later_one_stays() {
    for (nodes, stays) in [(["a", "b"], false), (["b", "a"], true)] {
        let mut bench = Bench::holding(&["a"]);
        bench.place(2, &nodes);
        bench.with(|machine, now| {
            let rival = machine.heard_on_wire(2, VIP.parse().unwrap(), mk_mac("b"), now);
            assert_eq!(rival, Rival::Node("b".to_owned()));
        });
        bench.wait(999);
        assert!(bench.holds(), "{nodes:?}: it may still say something");
        bench.wait(1);
        assert_eq!(bench.holds(), stays, "{nodes:?}");
    }
}

#[test]
fn a_stranger_on_the_wire_is_told_apart_from_nodes_and_from_ourselves() {
    let mut bench = Bench::holding(&["a", "b"]);
    let rows = [
        (mk_mac("a"), Rival::Node("a".to_owned())),
        (mk_mac("c"), Rival::Node("c".to_owned())),
        (MacAddr([2, 9, 9, 9, 9, 9]), Rival::Stranger),
    ];
    for (mac, expected) in rows {
        bench.with(|machine, now| {
            let rival = machine.heard_on_wire(2, VIP.parse().unwrap(), mac, now);
            assert_eq!(rival, expected, "{mac}");
        });
    }
    assert!(bench.holds());
}

#[test]
fn an_address_is_answered_for_in_its_own_subnet_even_when_that_is_down() {
    let mk = |carrier: bool, up: bool| {
        let mut links = Links::default();
        add_link(
            &mut links,
            (2, "eth0"),
            mk_mac("a"),
            &["192.0.2.1/24"],
            carrier,
            1,
        );
        add_link(
            &mut links,
            (3, "eth1"),
            mk_mac("x"),
            &["198.51.100.1/24"],
            true,
            1,
        );
        if !up {
            let mut message = LinkMessage::default();
            message.header.index = 2;
            message.header.flags = LinkFlags::Broadcast;
            message.attributes = vec![
                LinkAttribute::IfName("eth0".into()),
                LinkAttribute::Address(mk_mac("a").0.to_vec()),
            ];
            links.apply(&RouteNetlinkMessage::NewLink(message));
        }
        links
    };
    let exclude = Exclude::usual().unwrap();
    let mut bench = Bench::holding(&["a"]);
    bench.with(|machine, now| machine.set_links(&mk(true, true), &exclude, now));
    let on =
        |names: &[&str]| Interfaces::Named(names.iter().map(|name| (*name).to_owned()).collect());
    let vip = VIP.parse::<IpAddr>().unwrap();
    assert_eq!(bench.machine.held().get(&vip), Some(&on(&["eth0"])));
    bench.with(|machine, now| machine.set_links(&mk(true, false), &exclude, now));
    assert_eq!(bench.state(), State::Nowhere);
    let elsewhere = "203.0.113.9".parse::<IpAddr>().unwrap();
    let duty = mk_placed(1, &["a"]);
    bench.with(|machine, now| machine.set_links(&mk(true, true), &exclude, now));
    bench.with(|machine, now| machine.set_duties([(elsewhere, duty)].into(), now));
    bench.wait(600);
    bench.with(|machine, now| machine.checked(elsewhere, Checked::Free, now));
    assert_eq!(
        bench.machine.held().get(&elsewhere),
        Some(&on(&["eth0", "eth1"])),
        "no subnet has it"
    );
}

#[test]
fn nodes_watch_each_other_with_the_quickest_detection_that_they_share() {
    let mut bench = Bench::new();
    let mut quick = mk_placed(1, &["b", "a"]);
    quick.detection = DetectionRule {
        interval_milliseconds: 50,
        multiplier: 3,
    };
    let duties = [
        (VIP.parse().unwrap(), mk_placed(1, &["a", "b", "c"])),
        ("192.0.2.101".parse().unwrap(), quick),
    ];
    bench.with(|machine, now| machine.set_duties(duties.into(), now));
    let wishes: Vec<_> = bench
        .machine
        .sessions()
        .iter()
        .map(|(key, wish)| {
            (
                key.node.as_str(),
                wish.peer.to_string(),
                wish.interval.as_millis(),
            )
        })
        .collect();
    let expected = [
        ("b", "192.0.2.2".to_owned(), 50),
        ("c", "192.0.2.3".to_owned(), 100),
    ];
    assert_eq!(wishes, expected);
}

#[test]
fn a_session_that_is_up_outlives_its_use_and_one_that_is_not_does_not() {
    let mut bench = Bench::settled(&["a", "b", "c"]);
    bench.bfd("c", PathState::Down);
    bench.place(2, &["a"]);
    let peers = |bench: &Bench| -> Vec<String> {
        bench
            .machine
            .sessions()
            .keys()
            .map(|key| key.node.clone())
            .collect()
    };
    assert_eq!(peers(&bench), ["b"]);
    bench.wait(59_000);
    assert_eq!(peers(&bench), ["b"]);
    bench.wait(1000);
    assert!(peers(&bench).is_empty());
}

#[test]
fn four_hundred_addresses_are_taken_over_in_one_call_with_one_statement() {
    let vips: Vec<IpAddr> = (0..400)
        .map(|n| format!("192.0.2.{}", n % 250).parse::<IpAddr>().unwrap())
        .collect();
    let vips: BTreeSet<IpAddr> = vips
        .into_iter()
        .chain((0..150).map(|n| format!("fd00::{n}").parse().unwrap()))
        .collect();
    let mut bench = Bench::settled(&["b", "a"]);
    let duties = vips.iter().map(|vip| (*vip, mk_placed(1, &["b", "a"])));
    bench.with(|machine, now| machine.set_duties(duties.collect(), now));
    let claim = Claim { term: 1, turn: 0 };
    let entries: Vec<Entry> = vips
        .iter()
        .map(|vip| Entry {
            vip: *vip,
            claim,
            held: true,
        })
        .collect();
    bench.says("b", &entries);
    bench.take();
    bench.bfd("b", PathState::Down);
    assert_eq!(bench.machine.held().len(), 400);
    let sends = bench
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Send { .. }));
    assert!(sends.count() <= 2, "news, and a hello that says everything");
    let answers = bench
        .effects
        .iter()
        .filter(|effect| **effect == Effect::Answers);
    assert_eq!(answers.count(), 1);
}
