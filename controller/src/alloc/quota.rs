//! How many addresses of one pool the Services of each namespace have.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use portolan_api::crd;

use super::Holding;

/// What one decision about a Service changes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Exchange {
    /// What the Service has now, and will not have any more.
    pub(super) leaves: Holding,
    /// What it will have, as far as that is known.
    pub(super) joins: Holding,
}

/// The limit of a pool, and what counts against it.
#[derive(Debug, Clone)]
pub(super) struct Quota {
    /// The most addresses of one namespace.
    pub(super) limit: usize,
    /// By namespace: the addresses, with the number of Services that have it or that it is retained for.
    used: HashMap<Box<str>, BTreeMap<IpAddr, u32>>,
}

impl Quota {
    pub(super) fn new(quota: &crd::Quota) -> Self {
        Self {
            limit: usize::try_from(quota.addresses_per_namespace).unwrap_or(usize::MAX),
            used: HashMap::new(),
        }
    }

    /// Whether a Service of the namespace may have the address, as far as the limit goes, when it is exchanged like this. A
    /// move to another address needs no more room than it frees.
    pub(super) fn admits(&self, namespace: &str, address: IpAddr, exchange: Exchange) -> bool {
        let used = self.used.get(namespace);
        let count = |address: IpAddr| {
            used.and_then(|used| used.get(&address))
                .copied()
                .unwrap_or(0)
        };
        if count(address) > 0 {
            return true;
        }
        let Exchange { leaves, joins } = exchange;
        let freed = leaves.iter().filter(|one| count(*one) == 1).count();
        let others = joins
            .iter()
            .filter(|one| *one != address && count(*one) == 0);
        let now = used.map_or(0, BTreeMap::len);
        now.saturating_sub(freed) + others.count() < self.limit.max(now)
    }

    /// Whether the namespace may have no further address.
    pub(super) fn is_reached(&self, namespace: &str) -> bool {
        let used = self.used.get(namespace);
        used.is_some_and(|used| used.len() >= self.limit)
    }

    /// Another Service of the namespace has the address.
    pub(super) fn add(&mut self, namespace: &str, address: IpAddr) {
        let used = self.used.entry(namespace.into()).or_default();
        *used.entry(address).or_default() += 1;
    }

    /// One Service less of the namespace has the address.
    pub(super) fn remove(&mut self, namespace: &str, address: IpAddr) {
        let Some(used) = self.used.get_mut(namespace) else {
            return;
        };
        if let Some(count) = used.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                used.remove(&address);
            }
        }
        if used.is_empty() {
            self.used.remove(namespace);
        }
    }
}
