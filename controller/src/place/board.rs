//! Who sits where: groups of Services that share addresses, the nodes that each is placed on, and the term of that.
//!
//! One address has one answerer, so Services that share one, directly or by others, have one placement. Groups grow, merge
//! and fall apart as addresses are given and taken: the newest placement of those that merge counts for all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::{Load, Nodes};
use crate::alloc::{Holding, ServiceId};

/// Terms above this were not made by a clock: nobody can outbid them for ever.
const STRANGE_TERM: u64 = 1 << 62;

/// Which group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(u64);

/// One group and its placement.
#[derive(Debug, Default)]
pub struct Seat {
    /// The Services.
    pub members: BTreeSet<ServiceId>,
    /// The nodes in order; nobody while there is nobody to deliver to.
    pub nodes: Nodes,
    /// The number of the placement; 0 before the first one.
    pub term: u64,
    /// When its first node was changed, or learned.
    pub since: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board {
    seats: HashMap<SeatId, Seat>,
    of: HashMap<ServiceId, (SeatId, Holding)>,
    load: Load,
    next: u64,
}

impl Board {
    /// What stands in the cluster when a term begins.
    pub fn adopt(
        &mut self,
        service: ServiceId,
        holding: Holding,
        nodes: Nodes,
        term: u64,
        now: Instant,
    ) {
        self.leave(service);
        let id = self.seat(&BTreeMap::from([(service, holding)]), nodes, term);
        if let Some(seat) = self.seats.get_mut(&id) {
            // The former leader may have written it a moment ago.
            seat.since = Some(now);
        }
    }

    /// The Service is of the group of these members now, itself among them, each with its addresses. Returns the group, and
    /// whether it is another one than before for any of them.
    pub fn gather(
        &mut self,
        service: ServiceId,
        members: &BTreeMap<ServiceId, Holding>,
    ) -> (SeatId, bool) {
        let (seats, of) = (&self.seats, &self.of);
        let seated = members.keys().filter_map(|member| Some(of.get(member)?.0));
        let newest = seated.max_by_key(|id| (seats.get(id).map(|seat| seat.term), *id));
        let Some(newest) = newest else {
            return (self.seat(members, Nodes::new(), 0), true);
        };
        let held = seats.get(&newest).map(|seat| &seat.members);
        let apart = held.is_some_and(|held| held.iter().any(|one| !members.contains_key(one)));
        if apart && self.of(service) == Some(newest) {
            // Others stay behind.
            return (self.part(service, members), true);
        }
        let mut changed = false;
        for (member, holding) in members {
            if self.of(*member) != Some(newest) {
                self.leave(*member);
                changed = true;
            }
            self.of.insert(*member, (newest, *holding));
            if let Some(seat) = self.seats.get_mut(&newest) {
                seat.members.insert(*member);
            }
        }
        (newest, changed)
    }

    /// A Service leaves its group, and takes along those of it that are its company still. With an address that it had it
    /// stays where it is, with new ones alone it begins anew.
    fn part(&mut self, service: ServiceId, members: &BTreeMap<ServiceId, Holding>) -> SeatId {
        let now = members.get(&service).copied().unwrap_or_default();
        let left = self.of.get(&service).copied();
        let stays = left.is_some_and(|(_, before)| before.iter().any(|a| now.contains(a)));
        let (nodes, term) = left
            .and_then(|(id, _)| self.seats.get(&id))
            .map(|seat| (seat.nodes.clone(), seat.term))
            .unwrap_or_default();
        for member in members.keys() {
            self.leave(*member);
        }
        self.seat(members, if stays { nodes } else { Nodes::new() }, term)
    }

    fn seat(&mut self, members: &BTreeMap<ServiceId, Holding>, nodes: Nodes, term: u64) -> SeatId {
        let id = SeatId(self.next);
        self.next += 1;
        self.load.add(&nodes);
        let seated = members.iter().map(|(member, held)| (*member, (id, *held)));
        self.of.extend(seated);
        let seat = Seat {
            members: members.keys().copied().collect(),
            nodes,
            term,
            since: None,
        };
        self.seats.insert(id, seat);
        id
    }

    /// The Service is not placed any more.
    pub fn leave(&mut self, service: ServiceId) {
        let Some((id, _)) = self.of.remove(&service) else {
            return;
        };
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        seat.members.remove(&service);
        if seat.members.is_empty()
            && let Some(seat) = self.seats.remove(&id)
        {
            self.load.remove(&seat.nodes);
        }
    }

    /// A group.
    #[must_use]
    pub fn get(&self, id: SeatId) -> Option<&Seat> {
        self.seats.get(&id)
    }

    /// The group that a Service is of.
    #[must_use]
    pub fn of(&self, service: ServiceId) -> Option<SeatId> {
        Some(self.of.get(&service)?.0)
    }

    /// All groups.
    pub fn iter(&self) -> impl Iterator<Item = (SeatId, &Seat)> {
        self.seats.iter().map(|(id, seat)| (*id, seat))
    }

    /// The load of all groups.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Asks for a placement of the group under the load of all others, and puts it there. Returns whether anything changed.
    ///
    /// A term begins when another node comes first than before, or than the one that is known to be `acting`. Other
    /// stand-bys alone begin none: one of them may have replaced the first node a moment ago, which we do not know yet, and
    /// a newer term would give that its addresses back.
    /// `unix` are seconds since 1970: terms grow with them, so that whoever has forgotten the last one goes on above it.
    pub fn place(
        &mut self,
        id: SeatId,
        acting: Option<&str>,
        unix: u64,
        now: Instant,
        choose: impl FnOnce(&[Arc<str>], &Load) -> Nodes,
    ) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else {
            return false;
        };
        self.load.remove(&seat.nodes);
        let nodes = choose(&seat.nodes, &self.load);
        self.load.add(&nodes);
        let first = nodes.first().map(|first| &**first);
        let stays = first == seat.nodes.first().map(|first| &**first)
            && acting.is_none_or(|acting| first == Some(acting));
        let moved = !nodes.is_empty() && (!stays || seat.term == 0);
        if moved {
            seat.term = (seat.term + 1).max(unix);
            seat.since = Some(now);
        }
        let changed = moved || nodes != seat.nodes;
        seat.nodes = nodes;
        changed
    }

    /// Somebody else has written a placement of that term: ours has to be newer. Returns whether anything changed.
    pub fn outbid(&mut self, id: SeatId, term: u64, unix: u64) -> bool {
        let seat = self.seats.get_mut(&id);
        let Some(seat) = seat.filter(|seat| (seat.term..STRANGE_TERM).contains(&term)) else {
            return false;
        };
        seat.term = (term + 1).max(unix);
        true
    }

    /// Groups whose first stand-by would have to bear at least two more after the death of their node than another one
    /// of `nodes` would.
    #[must_use]
    pub fn uneven(&self, nodes: &[Arc<str>]) -> Vec<SeatId> {
        let mut least: HashMap<&str, u32> = HashMap::new();
        let mut uneven = Vec::new();
        for (id, seat) in &self.seats {
            let [holder, heir, ..] = seat.nodes.as_slice() else {
                continue;
            };
            let least = *least.entry(holder).or_insert_with(|| {
                let others = nodes.iter().filter(|node| *node != holder);
                let after = others.map(|node| self.load.after(holder, node));
                after.min().unwrap_or(u32::MAX)
            });
            if self.load.after(holder, heir) > least.saturating_add(1) {
                uneven.push(*id);
            }
        }
        uneven.sort_unstable();
        uneven
    }
}
