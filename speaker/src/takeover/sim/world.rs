//! Nodes, network, clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_api::crd::{NodeInterface, NodeRule};
use portolan_proto::bfd::Dice;
use portolan_proto::claim::{Message, Statement};
use portolan_proto::ethernet::MacAddr;

use super::super::tests::{mk_duty, mk_links, mk_now};
use super::super::{Checked, Effect, Takeover};
use super::oracle::{Side, Verdict};
use crate::link::Exclude;

/// Longest time for which two holders may hear each other.
const DOUBLE: u64 = 1_000_000;
/// Most statements that a node may say within one second.
const CHATTER: u32 = 150;

/// What is about to happen.
#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        from: usize,
        to: usize,
        boot: u64,
        message: Rc<Message>,
    },
    Timer {
        node: usize,
        boot: u64,
    },
    Bfd(Verdict),
    Probe {
        node: usize,
        boot: u64,
        vip: IpAddr,
        check: u64,
        left: u8,
    },
    Witness {
        node: usize,
        boot: u64,
    },
    Claim {
        from: usize,
        to: usize,
        vip: IpAddr,
    },
    /// The API server tells a node the placements.
    Api {
        node: usize,
        boot: u64,
    },
    /// A process that leaves has ended.
    End {
        node: usize,
        boot: u64,
    },
    /// Looks at who holds what.
    Look,
}

struct Queued(u64, u64, Event);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// One node: its machine while the speaker runs.
#[expect(clippy::struct_excessive_bools, reason = "facts of their own")]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) machine: Option<Takeover>,
    /// Grows with each process.
    pub(super) boot: u64,
    sequence: u64,
    pub(super) power: bool,
    pub(super) carrier: bool,
    ups: u32,
    /// It hears the API server.
    pub(super) api: bool,
    /// The version of the placements that it knows.
    knows: Option<u64>,
    pub(super) leaving: bool,
    pub(super) held: BTreeSet<IpAddr>,
    checks: BTreeMap<IpAddr, u64>,
    timer: Option<u64>,
    said: (u64, u32),
}

/// Everything.
pub(super) struct World {
    pub(super) dice: Dice,
    /// Microseconds since the start.
    pub(super) now: u64,
    start: Instant,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    pub(super) nodes: Vec<Node>,
    /// `cut[a][b]`: what `a` sends does not reach `b`. The last one is the router.
    pub(super) cut: Vec<Vec<bool>>,
    /// Nodes that are alone behind a cut.
    pub(super) cut_off: BTreeSet<usize>,
    pub(super) sides: Vec<Vec<Side>>,
    /// There is a router, which nodes can ask whether they are connected.
    pub(super) router: bool,
    /// Of a hundred messages so many are lost.
    pub(super) loss: u32,
    slow: u32,
    pub(super) placements: BTreeMap<IpAddr, (u64, Vec<usize>)>,
    version: u64,
    doubles: BTreeMap<(IpAddr, usize, usize), u64>,
    empty: BTreeMap<IpAddr, u64>,
    /// The longest time that nobody answered, since it was reset.
    pub(super) gap: BTreeMap<IpAddr, u64>,
    /// How often an address was begun.
    pub(super) begun: BTreeMap<IpAddr, u32>,
    rules: Vec<NodeRule>,
    exclude: Exclude,
    telling: bool,
    pub(super) story: Vec<String>,
}

fn mk_mac(node: usize) -> MacAddr {
    let last = u8::try_from(10 + node).unwrap();
    MacAddr([2, 0, 0, 0, 0, last])
}

fn mk_address(node: usize) -> String {
    format!("192.0.2.{}/24", 10 + node)
}

const ROUTER: &str = "192.0.2.1";

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
            cut_off: BTreeSet::new(),
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

    fn is_lost(&mut self) -> bool {
        self.dice.between(1, 100) <= self.loss
    }

    fn attached(&self, node: usize) -> bool {
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

    /// Calls a machine and does what it asks for.
    pub(super) fn with(&mut self, node: usize, call: impl FnOnce(&mut Takeover)) {
        let Some(mut machine) = self.nodes[node].machine.take() else {
            return;
        };
        call(&mut machine);
        let mut effects = Vec::new();
        while let Some(effect) = machine.poll() {
            effects.push(effect);
        }
        let next = machine.next_deadline();
        let held = effects
            .contains(&Effect::Answers)
            .then(|| machine.held().into_keys().collect());
        self.nodes[node].machine = Some(machine);
        if let Some(held) = held {
            self.holds(node, held);
        }
        for effect in effects {
            self.act(node, effect);
        }
        let next = next.map(|next| {
            let micros = next
                .saturating_duration_since(self.start)
                .as_nanos()
                .div_ceil(1000);
            u64::try_from(micros).unwrap().max(self.now)
        });
        if next != self.nodes[node].timer {
            self.nodes[node].timer = next;
            if let Some(at) = next {
                let boot = self.nodes[node].boot;
                self.after(at - self.now, Event::Timer { node, boot });
            }
        }
    }

    fn holds(&mut self, node: usize, held: BTreeSet<IpAddr>) {
        let before = std::mem::replace(&mut self.nodes[node].held, held);
        let held = self.nodes[node].held.clone();
        for vip in held.difference(&before) {
            self.tell(|| format!("n{node} begins {vip}"));
            *self.begun.entry(*vip).or_default() += 1;
            for to in (0..self.nodes.len()).filter(|to| *to != node) {
                for pause in [0, 300_000, 900_000] {
                    let delay = self.delay();
                    self.after(
                        pause + delay,
                        Event::Claim {
                            from: node,
                            to,
                            vip: *vip,
                        },
                    );
                }
            }
        }
        for vip in before.difference(&held) {
            self.tell(|| format!("n{node} stops {vip}"));
        }
        self.look();
    }

    fn act(&mut self, node: usize, effect: Effect) {
        let boot = self.nodes[node].boot;
        match effect {
            Effect::Answers => {}
            Effect::Send { statement, .. } => self.send(node, statement),
            Effect::Check { vip, .. } => {
                self.sequence += 1;
                let check = self.sequence;
                self.nodes[node].checks.insert(vip, check);
                self.tell(|| format!("n{node} looks for {vip}"));
                self.after(
                    0,
                    Event::Probe {
                        node,
                        boot,
                        vip,
                        check,
                        left: 3,
                    },
                );
            }
            Effect::Ask { witnesses, .. } => {
                for witness in witnesses {
                    let of = |at: &usize| mk_address(*at).starts_with(&format!("{witness}/"));
                    let at = (0..self.nodes.len()).find(of).unwrap_or(self.nodes.len());
                    if self.both_ways(node, at) && !self.is_lost() {
                        let delay = self.delay();
                        self.after(delay, Event::Witness { node, boot });
                    }
                }
            }
            Effect::Took(took) => self.tell(|| format!("n{node} took {took:?}")),
            Effect::Yielded { vip, to } => self.tell(|| format!("n{node} yields {vip} to {to}")),
        }
    }

    fn send(&mut self, from: usize, statement: Statement) {
        let second = self.now / 1_000_000;
        let node = &mut self.nodes[from];
        node.sequence += 1;
        if node.said.0 != second {
            node.said = (second, 0);
        }
        node.said.1 += 1;
        let said = node.said.1;
        assert!(
            said <= CHATTER,
            "I5: n{from} said {said} statements in a second"
        );
        let message = Message {
            sender: node.name.clone(),
            boot: node.boot,
            sequence: node.sequence,
            part: 0,
            parts: 1,
            statement,
        };
        if self.telling {
            let Statement {
                ask,
                all,
                leaving,
                entries,
            } = &message.statement;
            let entries: Vec<String> = entries
                .iter()
                .map(|it| {
                    format!(
                        "{}{}=({},{})",
                        if it.held { "" } else { "!" },
                        it.vip,
                        it.claim.term,
                        it.claim.turn
                    )
                })
                .collect();
            let line = format!("n{from} says ask {ask} all {all} leaving {leaving} {entries:?}");
            self.tell(|| line);
        }
        let message = Rc::new(message);
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.hears(to, from) && self.runs(to) && !self.is_lost() {
                let (delay, boot) = (self.delay(), self.nodes[to].boot);
                self.after(
                    delay,
                    Event::Deliver {
                        from,
                        to,
                        boot,
                        message: message.clone(),
                    },
                );
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Deliver {
                from,
                to,
                boot,
                message,
            } => {
                if self.nodes[to].boot == boot && self.hears(to, from) {
                    self.with(to, |machine| machine.hear(2, &message, now));
                }
            }
            Event::Timer { node, boot } => {
                if self.nodes[node].boot == boot && self.nodes[node].timer == Some(self.now) {
                    self.nodes[node].timer = None;
                    self.with(node, |machine| machine.handle_timeout(now));
                    let machine = self.nodes[node].machine.as_ref();
                    let next = machine.and_then(Takeover::next_deadline);
                    assert!(
                        next.is_none_or(|next| next > now),
                        "n{node}: a deadline stays due"
                    );
                }
            }
            Event::Bfd(verdict) => self.pronounce(verdict),
            Event::Probe {
                node,
                boot,
                vip,
                check,
                left,
            } => self.probe(node, boot, vip, check, left),
            Event::Witness { node, boot } => {
                if self.nodes[node].boot == boot {
                    self.with(node, |machine| machine.witnessed(2, now));
                }
            }
            Event::Claim { from, to, vip } => {
                let both =
                    self.nodes[from].held.contains(&vip) && self.nodes[to].held.contains(&vip);
                if both && self.hears(to, from) {
                    self.with(to, |machine| {
                        drop(machine.heard_on_wire(2, vip, mk_mac(from), now));
                    });
                }
            }
            Event::Api { node, boot } => self.inform(node, boot),
            Event::End { node, boot } => {
                if self.nodes[node].boot == boot && self.nodes[node].leaving {
                    self.stop(node);
                }
            }
            Event::Look => self.look(),
        }
    }

    fn probe(&mut self, node: usize, boot: u64, vip: IpAddr, check: u64, left: u8) {
        let current = self.nodes[node].checks.get(&vip) == Some(&check);
        if self.nodes[node].boot != boot || !current {
            return;
        }
        let now = self.instant();
        if left == 0 {
            self.nodes[node].checks.remove(&vip);
            self.with(node, |machine| machine.checked(vip, Checked::Free, now));
            return;
        }
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let users: Vec<usize> = others
            .filter(|other| {
                let it = &self.nodes[*other];
                it.held.contains(&vip) && self.both_ways(node, *other)
                    || it.checks.contains_key(&vip) && self.hears(node, *other)
            })
            .collect();
        for user in users {
            if !self.is_lost() {
                self.nodes[node].checks.remove(&vip);
                let verdict = Checked::Taken {
                    mac: mk_mac(user),
                    interface: 2,
                };
                self.tell(|| format!("n{node} finds {vip} at n{user}"));
                return self.with(node, |machine| machine.checked(vip, verdict, now));
            }
        }
        self.after(
            100_000,
            Event::Probe {
                node,
                boot,
                vip,
                check,
                left: left - 1,
            },
        );
    }

    /// A node hears of the newest placements, if it hears the API server at all.
    fn inform(&mut self, node: usize, boot: u64) {
        let known = self.nodes[node].knows;
        if self.nodes[node].boot != boot || !self.nodes[node].api || known == Some(self.version) {
            return;
        }
        self.nodes[node].knows = Some(self.version);
        let name = self.nodes[node].name.clone();
        let mut duties = BTreeMap::new();
        for (vip, (term, nodes)) in &self.placements {
            let names: Arc<[String]> = nodes.iter().map(|node| format!("n{node}")).collect();
            if names.contains(&name) || self.nodes[node].held.contains(vip) {
                duties.insert(*vip, mk_duty(*term, names));
            }
        }
        self.tell(|| format!("n{node} learns its duties"));
        let now = self.instant();
        self.with(node, |machine| machine.set_duties(duties, now));
        self.consult();
    }

    /// The controller changes its mind.
    pub(super) fn place(&mut self, vip: IpAddr, nodes: Vec<usize>) {
        self.tell(|| format!("placement of {vip} is now {nodes:?}"));
        if let Some(placement) = self.placements.get_mut(&vip) {
            *placement = (placement.0 + 1, nodes);
        }
        self.version += 1;
        self.publish();
    }

    /// All nodes are told the newest placements, each after some time.
    pub(super) fn publish(&mut self) {
        for node in 0..self.nodes.len() {
            if self.runs(node) {
                let delay = u64::from(self.dice.between(1, 100)) * 1000;
                let boot = self.nodes[node].boot;
                self.after(delay, Event::Api { node, boot });
            }
        }
    }

    /// The speaker of a node starts, blind; it is told its duties after so many milliseconds.
    pub(super) fn begin(&mut self, node: usize, blind: u32) {
        if !self.nodes[node].power || self.runs(node) {
            return;
        }
        self.tell(|| format!("n{node} starts"));
        let boot = self.now + 1 + u64::from(node == 0);
        let it = &mut self.nodes[node];
        it.machine = Some(Takeover::new(it.name.clone()));
        it.boot = boot.max(it.boot + 1);
        it.sequence = 0;
        it.knows = None;
        it.leaving = false;
        it.timer = None;
        let (boot, rules) = (it.boot, self.rules.clone());
        let now = self.instant();
        self.relink(node);
        let router = self.router;
        self.with(node, |machine| {
            machine.set_nodes(&rules, now);
            if router {
                machine.set_witnesses(2, [ROUTER.parse().unwrap()].into(), now);
            }
        });
        self.after(u64::from(blind) * 1000, Event::Api { node, boot });
    }

    fn relink(&mut self, node: usize) {
        let it = &self.nodes[node];
        let links = mk_links(mk_mac(node), &mk_address(node), it.carrier, it.ups);
        let (exclude, now) = (self.exclude.clone(), self.instant());
        self.with(node, |machine| machine.set_links(&links, &exclude, now));
    }

    /// The process is gone, with or without words before.
    pub(super) fn stop(&mut self, node: usize) {
        self.tell(|| format!("n{node} is gone"));
        let it = &mut self.nodes[node];
        it.machine = None;
        it.boot += 1;
        it.leaving = false;
        it.knows = None;
        it.held.clear();
        it.checks.clear();
        self.look();
        self.consult();
    }

    pub(super) fn set_power(&mut self, node: usize, power: bool) {
        if !power && self.runs(node) {
            self.stop(node);
        }
        self.tell(|| format!("n{node} has power: {power}"));
        self.nodes[node].power = power;
        self.consult();
    }

    pub(super) fn set_carrier(&mut self, node: usize, carrier: bool) {
        if self.nodes[node].carrier == carrier {
            return;
        }
        self.tell(|| format!("n{node} has a carrier: {carrier}"));
        self.nodes[node].carrier = carrier;
        self.nodes[node].ups += u32::from(carrier);
        if self.runs(node) {
            self.relink(node);
        }
        self.look();
        self.consult();
    }

    pub(super) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from][to] = cut;
    }

    /// The network has changed.
    pub(super) fn rewired(&mut self) {
        let cut = self.cut.clone();
        let list = (0..cut.len()).flat_map(|a| (0..cut.len()).map(move |b| (a, b)));
        let list: Vec<_> = list.filter(|(a, b)| cut[*a][*b]).collect();
        self.tell(|| format!("cut: {list:?}"));
        self.look();
        self.consult();
    }

    pub(super) fn leave(&mut self, node: usize) {
        if !self.serves(node) {
            return;
        }
        self.tell(|| format!("n{node} leaves"));
        self.nodes[node].leaving = true;
        let (boot, now) = (self.nodes[node].boot, self.instant());
        self.say_goodbye(node);
        self.with(node, |machine| machine.leave(now));
        self.consult();
        self.after(3_100_000, Event::End { node, boot });
    }

    /// Lets the world turn for so many milliseconds.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + millis * 1000;
        while let Some(Reverse(Queued(at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            if let Some(Reverse(Queued(at, _, event))) = self.queue.pop() {
                self.now = at;
                self.happen(event);
            }
        }
        self.now = end;
        self.look();
    }

    /// The nodes that answer.
    pub(super) fn holders(&self, vip: IpAddr) -> Vec<usize> {
        let nodes = 0..self.nodes.len();
        nodes
            .filter(|node| self.nodes[*node].held.contains(&vip))
            .collect()
    }

    /// The nodes that answer so that the rest of the world can hear it.
    pub(super) fn answering(&self, vip: IpAddr) -> Vec<usize> {
        let holders = self.holders(vip).into_iter();
        holders
            .filter(|node| self.attached(*node) && !self.cut_off.contains(node))
            .collect()
    }

    fn look(&mut self) {
        let mut doubles = BTreeMap::new();
        let vips: Vec<IpAddr> = self.placements.keys().copied().collect();
        for vip in vips {
            let holders = self.holders(vip);
            for (at, one) in holders.iter().enumerate() {
                for other in &holders[at + 1..] {
                    if self.both_ways(*one, *other) {
                        let key = (vip, *one, *other);
                        let since = self.doubles.get(&key).copied();
                        doubles.insert(key, since.unwrap_or(self.now));
                        if since.is_none() {
                            self.after(DOUBLE + 1, Event::Look);
                        }
                        let time = self.now - since.unwrap_or(self.now);
                        assert!(
                            time <= DOUBLE,
                            "I1: n{one} and n{other} have both held {vip} for {time} µs"
                        );
                    }
                }
            }
            if self.answering(vip).is_empty() {
                let since = *self.empty.entry(vip).or_insert(self.now);
                let gap = self.gap.entry(vip).or_default();
                *gap = (*gap).max(self.now - since);
            } else if let Some(since) = self.empty.remove(&vip) {
                let gap = self.gap.entry(vip).or_default();
                *gap = (*gap).max(self.now - since);
            }
        }
        self.doubles = doubles;
    }

    /// Gaps are counted from now on.
    pub(super) fn reset(&mut self) {
        self.gap.clear();
        self.empty.clear();
        self.begun.clear();
        self.look();
    }
}
