//! Addresses that stations outside the cluster use: nobody gets them, and whoever has one may be moved off it.

use std::fmt;
use std::net::IpAddr;

use portolan_api::range::Family;

use super::quota::Exchange;
use super::{Allocator, Holding, PoolId, Provisional, Request};

/// A station outside the cluster, and where it was heard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stranger {
    /// The node that heard it.
    pub node: Box<str>,
    /// The interface of the node.
    pub interface: Box<str>,
    /// The station.
    pub mac: Box<str>,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            interface,
            mac,
        } = self;
        write!(
            f,
            "station {mac}, heard on interface {interface} of Node {node},"
        )
    }
}

impl Allocator {
    /// Gives an address to nobody any more, because of a stranger. Whoever has it keeps it.
    pub fn quarantine(&mut self, address: IpAddr, stranger: Stranger) {
        if self.quarantined.insert(address, stranger).is_none() {
            self.tighten(address, |claim| claim.quarantined = true);
        }
        // Held or not: those who wait hear of it.
        self.changes += 1;
    }

    /// The stranger is gone.
    pub fn absolve(&mut self, address: IpAddr) {
        if self.quarantined.remove(&address).is_some() {
            self.changes += 1;
            self.loosen(address, |claim| claim.quarantined = false);
        }
    }

    /// How many addresses of a family are missing because they are in quarantine, in one pool or in all.
    #[must_use]
    pub fn in_quarantine(&self, pool: Option<&str>, family: Family) -> usize {
        let is_missing = |address: &&IpAddr| {
            let home = self.pool_of(**address);
            Family::of(**address) == family
                && home.is_some_and(|home| pool.is_none_or(|pool| pool == home))
                && self.owners(**address).next().is_none()
        };
        self.quarantined.keys().filter(is_missing).count()
    }

    /// Whether an address is reserved, or retained, for a name.
    #[must_use]
    pub fn keeps(&self, address: IpAddr, namespace: &str, name: &str) -> bool {
        self.kept.holds(address, namespace, name)
    }

    /// Moves all Services that have an address to one free address that each of them could be given, of the same pool if it
    /// has one. `requests` are those of all owners, the oldest first. Returns the address; without one nobody moves.
    pub fn relocate(&mut self, address: IpAddr, requests: &[Request<'_>]) -> Option<IpAddr> {
        let first = requests.first()?;
        let turns = (0..).map_while(|turn| self.candidate(first, turn));
        let mut pools: Vec<PoolId> = turns.collect();
        let home = self.locate(address).map(|(id, _)| id);
        pools.sort_by_key(|id| Some(*id) != home);
        // Off it first: a quota that is reached counts what they leave.
        for request in requests {
            self.leave(request.holder, address);
        }
        let family = Family::of(address);
        let mut found = pools.into_iter();
        let found = found.find_map(|id| self.free_for_all(requests, id, family));
        for request in requests {
            let namespace = self.intern(request.namespace);
            let there = found.unwrap_or(address);
            self.join(request.holder, there, &namespace);
            if found.is_some() {
                let held = self.holding(request.holder);
                let now: Holding = held
                    .iter()
                    .map(|one| if one == address { there } else { one })
                    .collect();
                self.hold(request.holder, now, &namespace, Provisional::default());
            }
        }
        found
    }

    /// The first free address of the pool, if every one of the Services could be given it.
    fn free_for_all(
        &mut self,
        requests: &[Request<'_>],
        id: PoolId,
        family: Family,
    ) -> Option<IpAddr> {
        let free = self.pools.get_mut(id.0)?.lowest(family)?;
        let pool = self.pool(id)?;
        let namespace = requests.first()?.namespace;
        let together =
            pool.across_namespaces || requests.iter().all(|one| one.namespace == namespace);
        let open = |request: &Request<'_>| {
            let chosen = request.pool.is_some() || pool.auto_assign;
            let (namespace, name) = (request.namespace, request.name);
            chosen
                && self.permits(request, free)
                && request.accepts(free, &pool.name)
                && self
                    .barrier(namespace, name, pool, free, Exchange::default())
                    .is_none()
        };
        let is_free = !self.claims.contains_key(&free);
        (is_free && together && requests.iter().all(open)).then_some(free)
    }
}
