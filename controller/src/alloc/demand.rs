//! Exact addresses that Services were refused because others have them, and who gives way to them: whoever keeps one without
//! wanting it any more. What was given up for somebody stays promised to it until it has that, or asks for it no longer.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::quota::Exchange;
use super::{Allocator, Holding, Refusal, Request, ServiceId};

/// Who waits for which addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Demands {
    by_address: HashMap<IpAddr, BTreeSet<ServiceId>>,
    by_service: HashMap<ServiceId, Demand>,
    promises: HashMap<IpAddr, Promise>,
    /// What is promised to each.
    promised: HashMap<ServiceId, Holding>,
}

/// What one Service waits for.
#[derive(Debug, Clone)]
struct Demand {
    /// All that it asks for.
    exact: Holding,
    /// What it has not got of that.
    missing: Holding,
    namespace: Arc<str>,
    name: Box<str>,
}

/// An address that Services gave up for others.
#[derive(Debug, Clone, Default)]
struct Promise {
    /// Those who may have it now.
    heirs: BTreeSet<ServiceId>,
    /// Those who gave it up: their status may show it a moment longer.
    givers: BTreeSet<ServiceId>,
}

impl Demands {
    fn add(&mut self, service: ServiceId, demand: Demand) {
        self.withdraw(service);
        for address in demand.missing.iter() {
            self.by_address.entry(address).or_default().insert(service);
        }
        self.by_service.insert(service, demand);
    }

    /// The Service waits for nothing, as far as is known. What is promised to it stays so.
    pub(super) fn withdraw(&mut self, service: ServiceId) {
        let Some(demand) = self.by_service.remove(&service) else {
            return;
        };
        for address in demand.missing.iter() {
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

    /// Somebody else to whom the address is promised, if it is not promised to this Service as well.
    pub(super) fn rival(&self, address: IpAddr, service: ServiceId) -> Option<ServiceId> {
        let heirs = &self.promises.get(&address)?.heirs;
        let first = heirs.first().copied();
        first.filter(|_| !heirs.contains(&service))
    }

    fn has_given_up(&self, service: ServiceId, address: IpAddr) -> bool {
        let promise = self.promises.get(&address);
        promise.is_some_and(|promise| promise.givers.contains(&service))
    }

    /// Somebody has the address now. Whoever else waits for it has to ask again.
    pub(super) fn fulfil(&mut self, address: IpAddr) {
        let heirs = self.promises.remove(&address).unwrap_or_default().heirs;
        for heir in heirs {
            self.strike(heir, address);
        }
    }

    fn strike(&mut self, heir: ServiceId, address: IpAddr) {
        if let Some(promised) = self.promised.get_mut(&heir) {
            *promised = promised.filter(|one| one != address);
            if promised.is_empty() {
                self.promised.remove(&heir);
            }
        }
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
        let demand = Demand {
            exact: request.exact,
            missing,
            namespace: self.intern(request.namespace),
            name: request.name.into(),
        };
        self.demands.add(service, demand);
        let mut loose = Vec::new();
        for address in missing.iter() {
            let others = self.owners(address).filter(|owner| *owner != service);
            loose.extend(others.filter(|owner| {
                let spare = self.spare(*owner);
                spare.contains(address) && !self.heirs(*owner, spare, address).is_empty()
            }));
        }
        self.disturbed.extend(loose);
    }

    /// Those who ask for exactly this address, and would get all that they ask for if the holder let go of what it has to
    /// spare, and whoever else keeps one of those addresses without wanting it: nobody gives way in vain.
    pub(super) fn heirs(
        &self,
        holder: ServiceId,
        spare: Holding,
        address: IpAddr,
    ) -> BTreeSet<ServiceId> {
        let waiting = self.demands.waiting(address).filter(|one| *one != holder);
        let able = waiting.filter(|one| self.is_attainable(*one, Some((holder, spare))));
        able.collect()
    }

    /// Whether a Service could have all that it waits for, if everybody gave up what they keep without wanting it.
    fn is_attainable(&self, service: ServiceId, giver: Option<(ServiceId, Holding)>) -> bool {
        let Some(demand) = self.demands.by_service.get(&service) else {
            return false;
        };
        let exchange = Exchange {
            leaves: self.holding(service).filter(|a| !demand.exact.contains(a)),
            joins: demand.exact,
        };
        demand.missing.iter().all(|address| {
            let gives_way = |other: ServiceId| match giver {
                Some((giver, spare)) if giver == other => spare.contains(address),
                _ => self.spare(other).contains(address),
            };
            let gone = |other: ServiceId| self.demands.has_given_up(other, address);
            let (namespace, name) = (&*demand.namespace, &*demand.name);
            self.pool_with(address).is_some_and(|(pool, _)| {
                self.barrier(namespace, name, pool, address, exchange)
                    .is_none()
                    && self.blockers(service, address).into_iter().all(gives_way)
            }) && self.strangers(address, service).all(gone)
                && self.demands.rival(address, service).is_none()
        })
    }

    /// Promises an address that a Service gave up to those for whom it did.
    pub(super) fn promise(
        &mut self,
        giver: ServiceId,
        address: IpAddr,
        heirs: BTreeSet<ServiceId>,
    ) {
        if heirs.is_empty() {
            return;
        }
        for heir in &heirs {
            let promised = self.demands.promised.entry(*heir).or_default();
            promised.push(address);
        }
        let promise = self.demands.promises.entry(address).or_default();
        promise.heirs.extend(heirs);
        promise.givers.insert(giver);
        self.tighten(address, |claim| claim.promised = true);
    }

    /// Takes back what is promised to a Service, except for some addresses.
    pub(super) fn break_promises(&mut self, heir: ServiceId, except: Holding) {
        let Some(promised) = self.demands.promised.get(&heir).copied() else {
            return;
        };
        for address in promised.iter().filter(|one| !except.contains(*one)) {
            self.demands.strike(heir, address);
            let Some(promise) = self.demands.promises.get_mut(&address) else {
                continue;
            };
            promise.heirs.remove(&heir);
            if promise.heirs.is_empty() {
                self.demands.promises.remove(&address);
                self.loosen(address, |claim| claim.promised = false);
            }
        }
    }

    /// What a refused Service asks for is kept for it only as long as it may come to have all of it.
    pub(super) fn review_promises(&mut self, heir: ServiceId) {
        if self.demands.promised.contains_key(&heir) && !self.is_attainable(heir, None) {
            self.break_promises(heir, Holding::default());
        }
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

    /// What a Service keeps without wanting it.
    fn spare(&self, service: ServiceId) -> Holding {
        let given = self.decided.get(&service);
        given.map_or_else(Holding::default, |given| {
            given
                .addresses
                .filter(|address| given.provisional.contains(address))
        })
    }
}
