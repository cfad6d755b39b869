//! Placement of layer-2 VIPs: which node answers, and which stand by.
//!
//! ```text
//! current [a b c]    a dies:        [b c d]     the first standby takes over, nobody else moves
//!                    a returns:     [b c d]     and takes nothing back
//!                    b, c, d die:   [a …]       the least loaded of those left
//!                    all die:       [b c d]     kept: an answerer in doubt is better than none for sure
//! ```
//!
//! Load is the number of VIPs that a node answers for; new VIPs and new standbys go where it is smallest, and among equals
//! to the node that a hash of Service and node names, so that the standbys of one node are spread over all others.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// Nodes of one placement: one answers, two stand by.
pub const DEPTH: usize = 3;

/// The nodes of one VIP in order; the first one answers.
pub type Placement = Vec<String>;

/// How many VIPs each node answers for and stands by for.
#[derive(Debug, Default)]
pub struct Load {
    by_node: HashMap<String, [u32; DEPTH]>,
}

impl Load {
    /// Counts a placement in.
    pub fn add(&mut self, placement: &[String]) {
        for (rank, node) in placement.iter().enumerate().take(DEPTH) {
            let counts = self.by_node.entry(node.clone()).or_default();
            if let Some(count) = counts.get_mut(rank) {
                *count += 1;
            }
        }
    }

    /// Counts a placement out.
    pub fn remove(&mut self, placement: &[String]) {
        for (rank, node) in placement.iter().enumerate().take(DEPTH) {
            let counts = self.by_node.entry(node.clone()).or_default();
            if let Some(count) = counts.get_mut(rank) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// VIPs that the node answers for.
    #[must_use]
    pub fn answering(&self, node: &str) -> u32 {
        self.by_node.get(node).map_or(0, |[first, ..]| *first)
    }

    /// VIPs that the node stands by for.
    fn standing_by(&self, node: &str) -> u32 {
        self.by_node
            .get(node)
            .map_or(0, |[_, rest @ ..]| rest.iter().sum())
    }
}

/// Places one VIP. `eligible` are the nodes that may answer; `load` is that of all *other* VIPs. An empty `eligible`
/// keeps the current placement.
#[must_use]
pub fn place(service: &str, current: &[String], eligible: &[&str], load: &Load) -> Placement {
    if eligible.is_empty() {
        return current.to_vec();
    }
    let stays = current
        .iter()
        .filter(|node| eligible.contains(&node.as_str()));
    let mut placement: Placement = stays.take(DEPTH).cloned().collect();
    while placement.len() < DEPTH {
        let free = eligible
            .iter()
            .filter(|node| !placement.iter().any(|held| held == **node));
        let answerer = placement.is_empty();
        let cost = |node: &str| {
            let (answering, standing_by) = (load.answering(node), load.standing_by(node));
            if answerer {
                (answering, standing_by)
            } else {
                (standing_by, answering)
            }
        };
        let Some(best) = free.min_by_key(|node| (cost(node), spread(service, node), **node)) else {
            break;
        };
        placement.push((*best).to_owned());
    }
    placement
}

/// A number that differs from Service to Service and from node to node, and is the same in every process.
fn spread(service: &str, node: &str) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    service.hash(&mut hasher);
    node.hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a: short names, no adversary, and the same result everywhere.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mk(nodes: &[&str]) -> Placement {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn placement_is_sticky_and_never_on_nobody() {
        let load = Load::default();
        for (why, current, eligible, first) in [
            (
                "the first standby takes over",
                &["a", "b", "c"][..],
                &["b", "c", "d"][..],
                &["b", "c", "d"][..],
            ),
            (
                "a returning node takes nothing back",
                &["b", "c", "d"],
                &["a", "b", "c", "d"],
                &["b", "c", "d"],
            ),
            (
                "a lost standby is replaced at the end",
                &["a", "b", "c"],
                &["a", "c", "d"],
                &["a", "c", "d"],
            ),
            (
                "nobody eligible keeps what was",
                &["a", "b"],
                &[],
                &["a", "b"],
            ),
            ("one node is enough", &[], &["a"], &["a"]),
        ] {
            assert_eq!(
                place(
                    "shop/web",
                    current
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .as_slice(),
                    eligible,
                    &load
                ),
                mk(first),
                "{why}"
            );
        }
    }

    /// Places `count` VIPs over the nodes, one after the other.
    fn fill(count: usize, nodes: &[&str]) -> (Vec<Placement>, Load) {
        let mut load = Load::default();
        let mut all = Vec::new();
        for index in 0..count {
            let placement = place(&format!("shop/s{index}"), &[], nodes, &load);
            load.add(&placement);
            all.push(placement);
        }
        (all, load)
    }

    #[test]
    fn the_vips_of_a_dead_node_are_spread_over_the_others() {
        let nodes = ["a", "b", "c", "d", "e"];
        let (all, mut load) = fill(400, &nodes);
        let rest: Vec<&str> = nodes.into_iter().filter(|node| *node != "a").collect();
        for (index, before) in all.iter().enumerate() {
            load.remove(before);
            let after = place(&format!("shop/s{index}"), before, &rest, &load);
            load.add(&after);
            if before[0] != "a" {
                assert_eq!(after[0], before[0], "VIP {index} moved without need");
            }
        }
        for node in rest {
            let share = load.answering(node);
            assert!(
                (85..=115).contains(&share),
                "{node} answers for {share} of 400"
            );
        }
    }

    proptest! {
        #[test]
        fn load_is_balanced_to_within_one(count in 1_usize..200, nodes in 1_usize..12) {
            let names: Vec<String> = (0..nodes).map(|n| format!("node-{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (all, load) = fill(count, &names);
            let counts: Vec<u32> = names.iter().map(|node| load.answering(node)).collect();
            let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            prop_assert!(max - min <= 1, "{counts:?}");
            prop_assert!(all.iter().all(|p| p.len() == nodes.min(DEPTH)));
        }
    }
}
