//! What other nodes have said that they answer for.
//!
//! Everything that is said is remembered, also of addresses that are no duty of ours yet: our watch of the API server may
//! lag behind the messages. What a node has given up is remembered too, so that an older message that arrives late does
//! not bring it back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use portolan_proto::claim::{Claim, Entry};

/// Most addresses that are remembered of one node: what an authentic but mad one can make us allocate.
const REMEMBERED: usize = 16_384;

/// What one node said about one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) claim: Claim,
    /// It answers; otherwise it has ceased to.
    pub(super) held: bool,
    /// When it was heard last.
    pub(super) at: Instant,
    /// The segment where it was heard last.
    interface: u32,
    sequence: u64,
}

/// The claims of all other nodes.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_vip: BTreeMap<IpAddr, BTreeMap<Arc<str>, Known>>,
    by_node: BTreeMap<Arc<str>, BTreeSet<IpAddr>>,
}

impl Claims {
    /// What is known of an address, by node.
    pub(super) fn of(&self, vip: IpAddr) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        self.by_vip.get(&vip).into_iter().flatten()
    }

    /// The addresses of which the node has spoken.
    pub(super) fn by(&self, node: &str) -> impl Iterator<Item = IpAddr> {
        self.by_node.get(node).into_iter().flatten().copied()
    }

    /// Takes in what a node says. Returns whether that is news.
    pub(super) fn note(
        &mut self,
        node: &Arc<str>,
        entry: &Entry,
        (interface, sequence): (u32, u64),
        now: Instant,
    ) -> bool {
        let vips = self.by_node.entry(node.clone()).or_default();
        if !vips.contains(&entry.vip) {
            if vips.len() >= REMEMBERED {
                return false;
            }
            vips.insert(entry.vip);
        }
        let known = Known {
            claim: entry.claim,
            held: entry.held,
            at: now,
            interface,
            sequence,
        };
        let nodes = self.by_vip.entry(entry.vip).or_default();
        match nodes.insert(node.clone(), known) {
            Some(old) if old.sequence > sequence => {
                nodes.insert(node.clone(), old);
                false
            }
            Some(old) => (old.claim, old.held) != (known.claim, known.held),
            None => true,
        }
    }

    /// A node has named all that it claims on a segment, beginning with the datagram `first`. Returns the addresses that it
    /// answered for before, and no longer does.
    pub(super) fn keep_only(
        &mut self,
        node: &Arc<str>,
        interface: u32,
        named: &BTreeSet<IpAddr>,
        first: u64,
    ) -> Vec<IpAddr> {
        let Some(vips) = self.by_node.get_mut(node) else {
            return Vec::new();
        };
        let mut gone = Vec::new();
        let by_vip = &mut self.by_vip;
        vips.retain(|vip| {
            let Some(nodes) = by_vip.get_mut(vip) else {
                return false;
            };
            let stale = nodes.get(node).is_some_and(|known| {
                known.interface == interface && known.sequence < first && !named.contains(vip)
            });
            if stale {
                nodes.remove(node);
                gone.push(*vip);
                if nodes.is_empty() {
                    by_vip.remove(vip);
                }
            }
            !stale
        });
        gone
    }

    /// The process that said all this is no more. Returns the addresses of which it spoke.
    pub(super) fn forget(&mut self, node: &str) -> BTreeSet<IpAddr> {
        let vips = self.by_node.remove(node).unwrap_or_default();
        for vip in &vips {
            if let Some(nodes) = self.by_vip.get_mut(vip) {
                nodes.remove(node);
                if nodes.is_empty() {
                    self.by_vip.remove(vip);
                }
            }
        }
        vips
    }
}
