//! The rules, one by one.

mod change;
mod claims;
mod homes;
mod turns;
mod wire;

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
    // As on every link with IPv6.
    for address in addresses.iter().chain(&["fe80::1/64"]) {
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
