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

    /// Makes a Service of the namespace the owner of the addresses that its status shows. Of several Services that show the
    /// same address, and can not share it, the first to be adopted has it. Returns what it can not have, with the owner.
    pub fn adopt(
        &mut self,
        service: ServiceId,
        namespace: &str,
        shown: &[IpAddr],
    ) -> Vec<(IpAddr, ServiceId)> {
        let mut conflicts = Vec::new();
        let namespace = self.intern(namespace);
        let mut holding = self.holding(service);
        for &address in shown {
            if holding.contains(address) || self.pool_with(address).is_none() {
                continue;
            }
            if let Some(owner) = self.collision(service, address) {
                conflicts.push((address, owner));
            } else if holding.of(Family::of(address)).is_none() {
                holding.push(address);
                self.join(service, address, &namespace);
            }
        }
        self.hold(service, holding, &namespace, Provisional::default());
        conflicts
    }

    /// Somebody edited the status of a Service by hand: what it shows now instead of what the Service holds becomes its
    /// own, if it could have been given that.
    pub fn follow_edit(
        &mut self,
        service: ServiceId,
        request: Option<&Request<'_>>,
        shown: &[IpAddr],
    ) {
        let Some(request) = request else { return };
        for family in [Family::V4, Family::V6] {
            let held = self.holding(service).of(family);
            let mut others = shown.iter().copied().filter(|a| Family::of(*a) == family);
            if held.is_some_and(|held| shown.contains(&held)) {
                continue;
            }
            let exchange = Exchange {
                leaves: held.into_iter().collect(),
                joins: self.holding(service).filter(|one| Some(one) != held),
            };
            let lawful = |address: &IpAddr| {
                self.permits(request, *address)
                    && self.pool_with(*address).is_some_and(|(pool, _)| {
                        request.accepts(*address, &pool.name)
                            && self.obstacle(request, pool, *address, exchange).is_none()
                    })
            };
            if let Some(address) = others.find(lawful) {
                self.exchange(service, held, address, request.namespace);
            }
        }
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
            let shared = self.by_key.entry(sharing.key.clone()).or_default();
            shared.insert(address);
        }
        let mut promised = false;
        self.tighten(address, |claim| {
            claim.owners.add(service, namespace, sharing.as_ref());
            promised = std::mem::take(&mut claim.promised);
        });
        if promised {
            self.demands.fulfil(address);
            self.freed = true;
        }
        self.charge(address, namespace);
    }

    /// Removes a Service from the owners of an address.
    pub(super) fn leave(&mut self, service: ServiceId, address: IpAddr) {
        let sharing = self.sharing.get(&service).cloned();
        self.loosen(address, |claim| {
            claim.owners.remove(service, sharing.as_ref());
        });
        let alone = self
            .claims
            .get(&address)
            .is_none_or(|claim| claim.owners.is_empty());
        if let Some(sharing) = sharing.filter(|_| alone)
            && let Some(shared) = self.by_key.get_mut(&sharing.key)
        {
            shared.remove(&address);
            if shared.is_empty() {
                self.by_key.remove(&sharing.key);
            }
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
        if addresses.iter().any(settles) {
            self.freed = true;
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
