//! What is done to nodes: processes start and end, links and the network fail, the controller changes its mind.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::Takeover;
use super::super::tests::{mk_duty, mk_links};
use super::events::Event;
use super::world::{ROUTER, World, mk_address, mk_mac};

impl World {
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

    /// A node hears of the newest placements, if it hears the API server at all.
    pub(super) fn inform(&mut self, node: usize, boot: u64) {
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
        if let Some((term, before)) = self.placements.get_mut(&vip) {
            // As the controller does: other stand-bys are no move.
            *term += u64::from(before.first() != nodes.first());
            *before = nodes;
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
}
