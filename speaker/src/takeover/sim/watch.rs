//! Who answers for what, and for how long nobody or two did.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::events::Event;
use super::world::World;

/// Longest time for which two holders may hear each other.
const DOUBLE: u64 = 1_000_000;

impl World {
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
            .filter(|node| self.attached(*node) && !self.cut_off.contains_key(node))
            .collect()
    }

    /// Gaps are counted from now on.
    pub(super) fn reset(&mut self) {
        self.gap.clear();
        self.empty.clear();
        self.begun.clear();
        self.look();
    }

    pub(super) fn look(&mut self) {
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
}
