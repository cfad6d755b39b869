//! Placement of layer-2 VIPs: which node answers, and which stand by.
//!
//! ```text
//! current [a b c]    a dies:           [b c d]     the first stand-by takes over, nobody else moves
//!                    a returns:        [b c d]     and takes nothing back
//!                    c took over:      [c a b]     whoever answers stays: the list follows, not the address
//!                    a drains:         [b c d]     it answers only for what nobody else can
//!                    all die:          [a b c]     kept: an answerer in doubt is better than none for sure
//! ```
//!
//! ```text
//! ground   which nodes can answer for an address: rules, links, subnets, zones, drain
//! board    who sits where: groups of Services that share addresses, their nodes and terms
//! load     how many groups each node answers for, and inherits from each other node
//! ```
//!
//! A group is placed as one. A new one goes to the node that answers for the fewest. Its first stand-by is the node that
//! would have the fewest after the death of that node: speakers fail over by themselves, so how even the load is after a
//! failure is decided here, before it. Stand-bys may be chosen anew at any time, because nothing moves on the wire; whoever
//! answers is replaced only when it can not go on, or when the user asks for it.

mod board;
mod ground;
mod load;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use board::{Board, Seat, SeatId};
pub use ground::{Ground, Link, Site};
pub use load::Load;

/// Nodes of one placement: one answers, two stand by.
pub const DEPTH: usize = 3;
/// The part of a load that does not matter when stand-bys are compared: a large cluster is not rewritten for one VIP more.
const SLACK: u32 = 16;

/// The nodes of one VIP in order; the first one answers.
pub type Nodes = Vec<Arc<str>>;

/// A node that can answer for a VIP.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// The failure domain that it is in, if it is in one.
    pub zone: Option<&'a str>,
    /// How much the user prefers it.
    pub score: u32,
    /// It is about to go.
    pub draining: bool,
    /// Its speaker has said nothing of its links yet.
    pub unreported: bool,
    /// Nobody knows yet whether its speaker is there: it may keep what it has.
    pub unseen: bool,
}

/// What is asked of a placement.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Name of the group: decides among equal nodes.
    pub key: &'a str,
    /// The placement so far.
    pub current: &'a [Arc<str>],
    /// The node that answers in truth, where that is known to be another than the first one.
    pub acting: Option<&'a str>,
    /// Stand-bys may be replaced for no other reason than a more even load.
    pub review: bool,
}

/// Places one VIP. `load` is that of all *other* VIPs. Without a candidate the placement stays as it is.
#[must_use]
pub fn place(wish: Wish<'_>, candidates: &[Candidate<'_>], load: &Load) -> Nodes {
    let Some(holder) = holder(wish, candidates, load) else {
        return wish.current.to_vec();
    };
    let held = heirs(wish.current, holder, candidates);
    let mut chosen = vec![holder];
    while chosen.len() < DEPTH
        && let Some(next) = stand_by(wish, &chosen, &held, candidates, load)
    {
        chosen.push(next);
    }
    chosen
        .into_iter()
        .map(|node| Arc::clone(node.name))
        .collect()
}

/// The placement that spreads VIPs more evenly, if another node shall answer for that: one that the user prefers, or one
/// that answers for two less.
#[must_use]
pub fn rebalance(wish: Wish<'_>, candidates: &[Candidate<'_>], load: &Load) -> Option<Nodes> {
    let first = wish.current.first()?;
    let now = candidates.iter().find(|node| node.name == first)?;
    let best = best_holder(wish, candidates, load)?;
    let fewer = || load.answering(best.name) < load.answering(now.name);
    let better = best.merit() < now.merit() || (best.merit() == now.merit() && fewer());
    better.then(|| {
        let acting = Some(&**best.name);
        place(Wish { acting, ..wish }, candidates, load)
    })
}

impl Candidate<'_> {
    /// Smaller is better.
    fn merit(&self) -> impl Ord + use<> {
        (self.draining, Reverse(self.score), self.unreported)
    }
}

/// Who answers: whoever does so already, the first stand-by after it, or the best of all.
fn holder<'a>(
    wish: Wish<'_>,
    candidates: &'a [Candidate<'a>],
    load: &Load,
) -> Option<&'a Candidate<'a>> {
    let mut before = wish.acting.into_iter();
    let mut before = before
        .by_ref()
        .chain(wish.current.iter().map(|name| &**name));
    let stays = before.find_map(|name| fit(candidates).find(|node| **node.name == *name));
    stays.or_else(|| best_holder(wish, candidates, load))
}

fn best_holder<'a>(
    wish: Wish<'_>,
    candidates: &'a [Candidate<'a>],
    load: &Load,
) -> Option<&'a Candidate<'a>> {
    fit(candidates).min_by_key(|node| {
        let count = load.answering(node.name);
        let near = !wish.current.contains(node.name);
        let heirs = load.first(node.name);
        (
            node.merit(),
            count,
            near,
            heirs,
            spread(wish.key, node.name),
        )
    })
}

/// Those that may answer: nodes that drain do so only when there is no other.
fn fit<'a>(candidates: &'a [Candidate<'a>]) -> impl Iterator<Item = &'a Candidate<'a>> {
    let all_drain = candidates.iter().all(|node| node.draining);
    candidates
        .iter()
        .filter(move |node| all_drain || !node.draining)
}

/// The stand-bys so far, the next one first. Those that stood before whoever answers now are last: it found them dead.
fn heirs<'a>(
    current: &[Arc<str>],
    holder: &Candidate<'_>,
    candidates: &'a [Candidate<'a>],
) -> Vec<&'a Candidate<'a>> {
    let place = current.iter().position(|name| name == holder.name);
    let (before, after) = current.split_at(place.unwrap_or_default());
    let order = after.iter().chain(before);
    let others = order.filter(|name| *name != holder.name);
    others
        .filter_map(|name| candidates.iter().find(|node| node.name == name))
        .collect()
}

/// The next stand-by of those that are chosen. The one that stands there stays unless another one is better by what it is,
/// or, in a review, by what it would have to bear.
fn stand_by<'a>(
    wish: Wish<'_>,
    chosen: &[&Candidate<'_>],
    held: &[&'a Candidate<'a>],
    candidates: &'a [Candidate<'a>],
    load: &Load,
) -> Option<&'a Candidate<'a>> {
    let is_free =
        |node: &&Candidate<'_>| !chosen.iter().any(|one| Arc::ptr_eq(one.name, node.name));
    let merit = |node: &Candidate<'_>| {
        let beside = |one: &&&Candidate<'_>| one.zone.is_some() && one.zone == node.zone;
        let Candidate {
            draining,
            score,
            unreported,
            ..
        } = *node;
        let crowd = chosen.iter().filter(beside).count();
        (draining, Reverse(score), crowd, unreported)
    };
    let holder = chosen.first()?.name;
    // The first one inherits from one node, the second only when two have died.
    let burden = |node: &Candidate<'_>| match chosen {
        [_] => (load.after(holder, node.name), load.first(node.name)),
        _ => (load.second(node.name), load.answering(node.name)),
    };
    let free = || candidates.iter().filter(is_free);
    let highest = free().map(merit).min()?;
    let kept = held.iter().copied().find(|node| is_free(node));
    let kept = kept.filter(|node| merit(node) == highest);
    let review = wish.review && chosen.len() == 1;
    if kept.is_some() && !review {
        return kept;
    }
    let best = free().filter(|node| merit(node) == highest);
    let best = best.min_by_key(|node| (burden(node), spread(wish.key, node.name)))?;
    let Some(kept) = kept else {
        return Some(best);
    };
    let (bears, could) = (burden(kept).0, burden(best).0);
    let lighter = could + bears / SLACK < bears;
    Some(if lighter { best } else { kept })
}

/// A number that differs from group to group and from node to node, and is the same in every process.
fn spread(group: &str, node: &str) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    group.hash(&mut hasher);
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
