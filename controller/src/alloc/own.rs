//! Who owns an address: how Services come to it otherwise than by choice, and how owners, keys and quotas are kept in step.

use std::net::IpAddr;
use std::sync::Arc;

use portolan_api::range::Family;

use super::quota::Exchange;
use super::{Allocator, Given, Holding, Provisional, Request, ServiceId, Sharing, quota};

impl Allocator {
    /// Says how a Service shares now. What it holds together with others it gives up if that is not lawful any more: the one
    /// that changes leaves. Alone on an address it may change as it likes.
    pub fn describe(&mut self, service: ServiceId, sharing: Option<Sharing>) {
        // It has changed: what it asks for is known when it is placed again.
        self.demands.withdraw(service);
        if self.sharing.get(&service) == sharing.as_ref() {
            return;
        }
        let given = self.decided.get(&service).cloned();
        let held = given
            .as_ref()
            .map(|given| given.addresses)
            .unwrap_or_default();
        for address in held.iter() {
            self.leave(service, address);
        }
        match sharing {
            Some(sharing) => drop(self.sharing.insert(service, sharing)),
            None => drop(self.sharing.remove(&service)),
        }
        let Some(given) = given else { return };
        let kept = held.filter(|address| {
            // Neither a namespace nor a quota ever takes away what is held.
            let lawful = self.collision(service, address).is_none();
            if lawful {
                self.join(service, address, &given.namespace);
            }
            lawful
        });
        self.hold(service, kept, &given.namespace, given.provisional);
    }

    /// A term begins: makes a Service of the namespace the owner of the addresses that its status shows. Of several Services
    /// that show the same address, and can not share it, the first to be adopted has it. Of several addresses of one family
    /// the first that the Service may have by its request, if that can be read, or else the first. Returns what it can not
    /// have, with the owner.
    pub fn adopt(
        &mut self,
        service: ServiceId,
        namespace: &str,
        request: Option<&Request<'_>>,
        shown: &[IpAddr],
    ) -> Vec<(IpAddr, ServiceId)> {
        let namespace = self.intern(namespace);
        let mut holding = self.holding(service);
        let conflicts = self.conflicts(service, shown);
        let open: Vec<IpAddr> = shown
            .iter()
            .copied()
            .filter(|one| self.pool_with(*one).is_some() && self.collision(service, *one).is_none())
            .collect();
        for family in families(shown) {
            let of_family = || open.iter().copied().filter(|a| Family::of(*a) == family);
            let lawful = |one: &IpAddr| request.is_none_or(|request| self.permits(request, *one));
            let first = of_family().find(lawful).or_else(|| of_family().next());
            if let Some(address) = first.filter(|_| holding.of(family).is_none()) {
                holding.push(address);
                self.join(service, address, &namespace);
            }
        }
        self.hold(service, holding, &namespace, Provisional::default());
        conflicts
    }

    /// The status of a Service that holds nothing shows addresses that we did not give: they become its own as far as it
    /// could have been given them. `peer` says whether another Service that shows the same is undecided like this one.
    /// Returns what others have, with the owner.
    pub fn take_over(
        &mut self,
        request: &Request<'_>,
        shown: &[IpAddr],
        peer: impl Fn(ServiceId) -> bool,
    ) -> Vec<(IpAddr, ServiceId)> {
        let conflicts = self.conflicts(request.holder, shown);
        self.follow(request, shown, peer);
        conflicts
    }

    /// Somebody edited the status of a Service by hand: what it shows now instead of what the Service holds becomes its
    /// own, if it could have been given that.
    pub fn follow_edit(&mut self, request: &Request<'_>, shown: &[IpAddr]) {
        self.follow(request, shown, |_| false);
    }

    fn follow(
        &mut self,
        request: &Request<'_>,
        shown: &[IpAddr],
        peer: impl Fn(ServiceId) -> bool,
    ) {
        let service = request.holder;
        for family in families(shown) {
            let held = self.holding(service).of(family);
            let mut others = shown.iter().copied().filter(|a| Family::of(*a) == family);
            if held.is_some_and(|held| shown.contains(&held)) {
                continue;
            }
            let exchange = Exchange {
                leaves: held.into_iter().collect(),
                joins: self.holding(service).filter(|one| Some(one) != held),
            };
            let lawful = |address: &IpAddr| self.could_have(request, *address, exchange, &peer);
            if let Some(address) = others.find(lawful) {
                self.exchange(service, held, address, request.namespace);
            }
        }
    }

    /// Whether a Service could be given an address, but for peers whose status shows it too.
    fn could_have(
        &self,
        request: &Request<'_>,
        address: IpAddr,
        exchange: Exchange,
        peer: impl Fn(ServiceId) -> bool,
    ) -> bool {
        let service = request.holder;
        let Some((pool, _)) = self.pool_with(address) else {
            return false;
        };
        let (namespace, name) = (request.namespace, request.name);
        let sharing = self.sharing.get(&service);
        let across = pool.across_namespaces;
        let collision = self
            .claims
            .get(&address)
            .and_then(|claim| claim.owners.collision(service, sharing, across));
        self.permits(request, address)
            && request.accepts(address, &pool.name)
            && collision.is_none()
            && self
                .barrier(namespace, name, pool, address, exchange)
                .is_none()
            && self.demands.rival(address, service).is_none()
            && self
                .strangers(address, service)
                .all(|one| self.holding(one).is_empty() && peer(one))
    }

    /// What a status shows that others have, with the owner.
    fn conflicts(&self, service: ServiceId, shown: &[IpAddr]) -> Vec<(IpAddr, ServiceId)> {
        let held = self.holding(service);
        let foreign = shown.iter().copied().filter(|one| !held.contains(*one));
        let in_pools = foreign.filter(|one| self.pool_with(*one).is_some());
        in_pools
            .filter_map(|one| Some((one, self.collision(service, one)?)))
            .collect()
    }

    fn exchange(&mut self, service: ServiceId, old: Option<IpAddr>, new: IpAddr, namespace: &str) {
        let held = self.holding(service);
        let namespace = self.intern(namespace);
        if let Some(old) = old {
            self.leave(service, old);
        }
        self.join(service, new, &namespace);
        let swap = |one| if Some(one) == old { new } else { one };
        let mut now: Holding = held.iter().map(swap).collect();
        now.push(new);
        self.hold(service, now, &namespace, Provisional::default());
    }

    /// Who stands in the way of a Service that shows or holds the address. Only ports and keys count: no namespace or quota
    /// takes away what is held.
    fn collision(&self, service: ServiceId, address: IpAddr) -> Option<ServiceId> {
        let claim = self.claims.get(&address)?;
        let sharing = self.sharing.get(&service);
        let collision = claim.owners.collision(service, sharing, true);
        collision.map(|(_, holder)| holder)
    }

    /// The first of [`Self::strangers`].
    pub(super) fn stranger(&self, address: IpAddr, service: ServiceId) -> Option<ServiceId> {
        self.strangers(address, service).min()
    }

    /// Services whose status shows the address although it is not, or not any more, given to them.
    pub(super) fn strangers(
        &self,
        address: IpAddr,
        service: ServiceId,
    ) -> impl Iterator<Item = ServiceId> + '_ {
        let shows = |id: ServiceId| self.shown.get(&id).is_some_and(|a| a.contains(&address));
        let claim = self.claims.get(&address).filter(|claim| {
            let known = claim.owners.iter().filter(|owner| *owner != service);
            let known = known.filter(|owner| shows(*owner)).count() + usize::from(shows(service));
            usize::try_from(claim.shown) != Ok(known)
        });
        // Rare, and only a refusal pays for the search.
        claim.into_iter().flat_map(move |claim| {
            let strangers = self.shown.iter().filter(move |(id, addresses)| {
                **id != service && addresses.contains(&address) && !claim.owners.contains(**id)
            });
            strangers.map(|(id, _)| *id)
        })
    }

    /// Adds a Service to the owners of an address.
    pub(super) fn join(&mut self, service: ServiceId, address: IpAddr, namespace: &Arc<str>) {
        let sharing = self.sharing.get(&service).cloned();
        if let Some(sharing) = &sharing {
            self.shelves.add(sharing, address);
        }
        let mut promised = false;
        // Whether it was shown before or not: who owns it is told of reserved addresses.
        self.changes += 1;
        self.tighten(address, |claim| {
            claim.owners.add(service, namespace, sharing.as_ref());
            promised = std::mem::take(&mut claim.promised);
        });
        if promised {
            self.demands.fulfil(address);
            self.free(address);
        }
        self.charge(address, namespace);
    }

    /// Removes a Service from the owners of an address.
    pub(super) fn leave(&mut self, service: ServiceId, address: IpAddr) {
        let sharing = self.sharing.get(&service).cloned();
        self.changes += 1;
        self.loosen(address, |claim| {
            claim.owners.remove(service, sharing.as_ref());
        });
        if let Some(sharing) = &sharing {
            self.shelves.remove(sharing, address);
        }
        if let Some(given) = self.decided.get(&service) {
            let namespace = Arc::clone(&given.namespace);
            self.discharge(address, &namespace);
        }
    }

    /// Remembers what a Service holds after it joined and left owners.
    pub(super) fn hold(
        &mut self,
        service: ServiceId,
        addresses: Holding,
        namespace: &Arc<str>,
        provisional: Provisional,
    ) {
        if addresses.is_empty() {
            self.decided.remove(&service);
            // Ours, and that of the set: nobody else has it. Clusters that run for years see many.
            if Arc::strong_count(namespace) == 2 {
                self.namespaces.remove(namespace);
            }
            return;
        }
        let given = Given {
            addresses,
            namespace: Arc::clone(namespace),
            provisional,
        };
        let before = self.decided.insert(service, given);
        // It wants again what it only kept: whoever relied on getting that has to look again.
        let settles = |address| {
            let loose = before
                .as_ref()
                .is_some_and(|b| b.provisional.contains(address));
            loose
                && !provisional.contains(address)
                && self.demands.waiting(address).next().is_some()
        };
        let settled: Vec<IpAddr> = addresses
            .iter()
            .filter(|address| settles(*address))
            .collect();
        for address in settled {
            self.free(address);
        }
    }

    /// Counts an address against the quota of the namespace.
    pub(super) fn charge(&mut self, address: IpAddr, namespace: &str) {
        if let Some(quota) = self.quota_mut(address) {
            quota.add(namespace, address);
        }
    }

    pub(super) fn discharge(&mut self, address: IpAddr, namespace: &str) {
        if let Some(quota) = self.quota_mut(address) {
            quota.remove(namespace, address);
        }
    }

    fn quota_mut(&mut self, address: IpAddr) -> Option<&mut quota::Quota> {
        let (id, _) = self.locate(address)?;
        self.pools.get_mut(id.0)?.quota.as_mut()
    }

    pub(super) fn intern(&mut self, namespace: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(namespace) {
            return Arc::clone(known);
        }
        let fresh: Arc<str> = namespace.into();
        self.namespaces.insert(Arc::clone(&fresh));
        fresh
    }
}

/// The families of some addresses, in order.
fn families(addresses: &[IpAddr]) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::with_capacity(2);
    for family in addresses.iter().copied().map(Family::of) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}
