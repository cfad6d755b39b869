//! Nodes, network, clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_api::crd::{NodeInterface, NodeRule};
use portolan_proto::bfd::Dice;
use portolan_proto::ethernet::MacAddr;

use super::super::Takeover;
use super::super::tests::mk_now;
use super::events::{Event, Queued};
use super::oracle::Side;
use crate::link::Exclude;

/// One node: its machine while the speaker runs.
#[expect(clippy::struct_excessive_bools, reason = "facts of their own")]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) machine: Option<Takeover>,
    /// Grows with each process.
    pub(super) boot: u64,
    pub(super) sequence: u64,
    pub(super) power: bool,
    pub(super) carrier: bool,
    pub(super) ups: u32,
    /// It hears the API server.
    pub(super) api: bool,
    /// The version of the placements that it knows.
    pub(super) knows: Option<u64>,
    pub(super) leaving: bool,
    pub(super) held: BTreeSet<IpAddr>,
    pub(super) checks: BTreeMap<IpAddr, u64>,
    pub(super) timer: Option<u64>,
    pub(super) said: (u64, u32),
}

/// Everything.
pub(super) struct World {
    pub(super) dice: Dice,
    /// Microseconds since the start.
    pub(super) now: u64,
    pub(super) start: Instant,
    pub(super) queue: BinaryHeap<Reverse<Queued>>,
    pub(super) sequence: u64,
    pub(super) nodes: Vec<Node>,
    /// `cut[a][b]`: what `a` sends does not reach `b`. The last one is the router.
    pub(super) cut: Vec<Vec<bool>>,
    /// Nodes that are alone behind a cut, and whether they can know it.
    pub(super) cut_off: BTreeMap<usize, bool>,
    pub(super) sides: Vec<Vec<Side>>,
    /// There is a router, which nodes can ask whether they are connected.
    pub(super) router: bool,
    /// Of a hundred messages so many are lost.
    pub(super) loss: u32,
    pub(super) slow: u32,
    pub(super) placements: BTreeMap<IpAddr, (u64, Vec<usize>)>,
    pub(super) version: u64,
    pub(super) doubles: BTreeMap<(IpAddr, usize, usize), u64>,
    pub(super) empty: BTreeMap<IpAddr, u64>,
    /// The longest time that nobody answered, since it was reset.
    pub(super) gap: BTreeMap<IpAddr, u64>,
    /// How often an address was begun.
    pub(super) begun: BTreeMap<IpAddr, u32>,
    pub(super) rules: Vec<NodeRule>,
    pub(super) exclude: Exclude,
    pub(super) telling: bool,
    pub(super) story: Vec<String>,
}

pub(super) fn mk_mac(node: usize) -> MacAddr {
    let last = u8::try_from(10 + node).unwrap();
    MacAddr([2, 0, 0, 0, 0, last])
}

pub(super) fn mk_address(node: usize) -> String {
    format!("192.0.2.{}/24", 10 + node)
}

pub(super) const ROUTER: &str = "192.0.2.1";

impl World {
    pub(super) fn new(seed: u64, telling: bool) -> Self {
        let mut dice = Dice::new(seed);
        let count = dice.between(2, 5) as usize;
        let rules = (0..count)
            .map(|node| NodeRule {
                name: format!("n{node}"),
                interfaces: vec![NodeInterface {
                    mac: mk_mac(node).to_string(),
                    addresses: vec![mk_address(node).parse().unwrap()],
                }],
            })
            .collect();
        let mk_node = |node: usize| Node {
            name: format!("n{node}"),
            machine: None,
            boot: 0,
            sequence: 0,
            power: true,
            carrier: true,
            ups: 1,
            api: true,
            knows: None,
            leaving: false,
            held: BTreeSet::new(),
            checks: BTreeMap::new(),
            timer: None,
            said: (0, 0),
        };
        let mut world = Self {
            now: 0,
            start: mk_now(),
            queue: BinaryHeap::new(),
            sequence: 0,
            nodes: (0..count).map(mk_node).collect(),
            cut: vec![vec![false; count + 1]; count + 1],
            cut_off: BTreeMap::new(),
            sides: vec![vec![Side::default(); count]; count],
            router: dice.between(0, 2) > 0,
            loss: [0, 0, 5, 10][dice.between(0, 3) as usize],
            slow: [1, 5, 20][dice.between(0, 2) as usize],
            placements: BTreeMap::new(),
            version: 1,
            doubles: BTreeMap::new(),
            empty: BTreeMap::new(),
            gap: BTreeMap::new(),
            begun: BTreeMap::new(),
            rules,
            exclude: Exclude::usual().unwrap(),
            telling,
            story: Vec::new(),
            dice,
        };
        for last in 100..=100 + world.pick(4) {
            let vip = format!("192.0.2.{last}").parse().unwrap();
            let nodes = world.mk_placement();
            world.placements.insert(vip, (1, nodes));
        }
        let (router, loss, slow) = (world.router, world.loss, world.slow);
        let placements = world.placements.clone();
        world.tell(|| {
            format!("{count} nodes, router {router}, loss {loss} %, {slow} ms; {placements:?}")
        });
        world
    }

    /// Up to three nodes in any order.
    pub(super) fn mk_placement(&mut self) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..self.nodes.len()).collect();
        for at in (1..nodes.len()).rev() {
            nodes.swap(at, self.pick(at + 1));
        }
        nodes.truncate(3);
        nodes
    }

    /// A number below that one.
    pub(super) fn pick(&mut self, count: usize) -> usize {
        let last = u32::try_from(count - 1).unwrap();
        self.dice.between(0, last) as usize
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.telling {
            let (millis, micros) = (self.now / 1000, self.now % 1000);
            let line = format!("{millis:>6}.{micros:03} ms  {}", what());
            self.story.push(line);
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    pub(super) fn after(&mut self, micros: u64, event: Event) {
        self.sequence += 1;
        self.queue
            .push(Reverse(Queued(self.now + micros, self.sequence, event)));
    }

    pub(super) fn delay(&mut self) -> u64 {
        u64::from(self.dice.between(100, self.slow * 1000))
    }

    pub(super) fn is_lost(&mut self) -> bool {
        self.dice.between(1, 100) <= self.loss
    }

    pub(super) fn attached(&self, node: usize) -> bool {
        self.nodes
            .get(node)
            .map_or(self.router, |node| node.power && node.carrier)
    }

    /// Whether what `from` sends reaches `node`.
    pub(super) fn hears(&self, node: usize, from: usize) -> bool {
        self.attached(node) && self.attached(from) && !self.cut[from][node]
    }

    pub(super) fn both_ways(&self, one: usize, other: usize) -> bool {
        self.hears(one, other) && self.hears(other, one)
    }

    pub(super) fn runs(&self, node: usize) -> bool {
        self.nodes[node].machine.is_some()
    }

    /// Runs, and has been told its duties.
    pub(super) fn serves(&self, node: usize) -> bool {
        self.runs(node) && self.nodes[node].knows.is_some() && !self.nodes[node].leaving
    }
}
