//! Exact addresses that Services were refused because others have them, and who gives way to them: whoever keeps one without
//! wanting it any more.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::{Allocator, Holding, Refusal, Request, ServiceId};

/// Who waits for which addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Demands {
    by_address: HashMap<IpAddr, BTreeSet<ServiceId>>,
    by_service: HashMap<ServiceId, Holding>,
}

impl Demands {
    pub(super) fn add(&mut self, service: ServiceId, addresses: Holding) {
        self.withdraw(service);
        self.by_service.insert(service, addresses);
        for address in addresses.iter() {
            self.by_address.entry(address).or_default().insert(service);
        }
    }

    pub(super) fn withdraw(&mut self, service: ServiceId) {
        for address in self.by_service.remove(&service).unwrap_or_default().iter() {
            if let Some(services) = self.by_address.get_mut(&address) {
                services.remove(&service);
                if services.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
    }

    /// Who waits for the address.
    pub(super) fn waiting(&self, address: IpAddr) -> impl Iterator<Item = ServiceId> + '_ {
        self.by_address.get(&address).into_iter().flatten().copied()
    }

    /// All that a Service waits for.
    pub(super) fn of(&self, service: ServiceId) -> Holding {
        self.by_service.get(&service).copied().unwrap_or_default()
    }
}

impl Allocator {
    /// Notes that a Service asks for exact addresses that others have. Those who must give way are to be placed again.
    pub(super) fn demand(&mut self, request: &Request<'_>, refusal: &Refusal) {
        if refusal.holder().is_none() {
            return;
        }
        let service = request.holder;
        let held = self.holding(service);
        let missing = request.exact.filter(|address| !held.contains(address));
        self.demands.add(service, missing);
        let mut loose = Vec::new();
        for address in missing.iter() {
            let others = self.owners(address).filter(|owner| *owner != service);
            loose.extend(others.filter(|owner| {
                self.is_provisional(*owner) && self.must_give_way(*owner, address)
            }));
        }
        self.disturbed.extend(loose);
    }

    /// Whether somebody asks for exactly this address, and would get all that it asks for if the holder let go, and whoever
    /// else keeps one of those addresses without wanting it: nobody gives way in vain.
    pub(super) fn must_give_way(&self, holder: ServiceId, address: IpAddr) -> bool {
        let gives_way = |other: ServiceId| other == holder || self.is_provisional(other);
        let mut waiting = self.demands.waiting(address).filter(|one| *one != holder);
        waiting.any(|one| {
            let mut wanted = self.demands.of(one).iter();
            wanted.all(|address| self.blockers(one, address).into_iter().all(gives_way))
        })
    }

    /// Everybody who would have to leave before the Service could have the address.
    fn blockers(&self, service: ServiceId, address: IpAddr) -> Vec<ServiceId> {
        let pool = self.pool_with(address);
        let across = pool.is_some_and(|(pool, _)| pool.across_namespaces);
        let sharing = self.sharing.get(&service);
        let claim = self.claims.get(&address);
        claim.map_or_else(Vec::new, |claim| {
            claim.owners.blockers(service, sharing, across)
        })
    }

    fn is_provisional(&self, service: ServiceId) -> bool {
        let given = self.decided.get(&service);
        given.is_some_and(|given| given.provisional)
    }
}
