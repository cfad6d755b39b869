//! Which addresses a Service gets that lacks some.
//!
//! Exact addresses, or else the first free ones: of the named pool, or of the pools for automatic use in their order.
//! Somebody who wants both families gets them from the first pool that has both, and only if there is none from two.

use std::net::IpAddr;

use portolan_api::range::Family;

use super::{Allocator, Families, Holding, PoolId, Refusal, Request, ServiceId};

impl Allocator {
    /// The exact addresses, all of them or none.
    pub(super) fn exactly(
        &self,
        request: &Request<'_>,
        kept: Holding,
    ) -> Result<(Holding, Option<Refusal>), Refusal> {
        let mut all = kept;
        for address in request.exact.iter() {
            if kept.contains(address) {
                continue;
            }
            let (id, _) = self.locate(address).ok_or(Refusal::NotInAnyPool(address))?;
            let pool = self.pool(id).ok_or(Refusal::NotInAnyPool(address))?;
            if let Some(named) = request.pool.filter(|name| *name != pool.name) {
                let pool = named.to_owned();
                return Err(Refusal::NotInNamedPool { address, pool });
            }
            let pool_name = || pool.name.clone();
            if !pool.admits(request) {
                return Err(Refusal::Restricted { pool: pool_name() });
            }
            if !pool.usable(address) {
                let pool = pool_name();
                return Err(Refusal::KeptBack { address, pool });
            }
            if let Some(holder) = self.other_holder(request.holder, address) {
                return Err(Refusal::Taken { address, holder });
            }
            all.push(address);
        }
        Ok((all, None))
    }

    /// Any free addresses for the families that are missing.
    pub(super) fn choose(
        &mut self,
        request: &Request<'_>,
        kept: Holding,
    ) -> Result<(Holding, Option<Refusal>), Refusal> {
        if let Some(name) = request.pool {
            self.named(request, name)?;
        }
        if kept.is_empty()
            && let Families::Prefer(..) | Families::Require(..) = request.families
            && let Some(both) = self.both_of_one_pool(request)
        {
            return Ok((both, None));
        }
        // IPv4 first, whatever the primary family is; what is held keeps its place.
        let mut all = kept;
        let mut refusals = Vec::new();
        for family in [Family::V4, Family::V6] {
            if !request.families.contains(family) || all.of(family).is_some() {
                continue;
            }
            match self.any(request, family) {
                Ok(address) => all.push(address),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let Some(refusal) = refusals.into_iter().next() else {
            return Ok((all, None));
        };
        match request.families {
            Families::Prefer(..) if !all.is_empty() => Ok((all, Some(refusal))),
            _ => Err(refusal),
        }
    }

    /// Both families from the first pool that has both.
    fn both_of_one_pool(&mut self, request: &Request<'_>) -> Option<Holding> {
        let mut turn = 0;
        while let Some(id) = self.candidate(request, turn) {
            turn += 1;
            if !self.pool(id).is_some_and(|pool| pool.admits(request)) {
                continue;
            }
            if let (Some(v4), Some(v6)) = (self.free(id, Family::V4), self.free(id, Family::V6)) {
                return Some([v4, v6].into_iter().collect());
            }
        }
        None
    }

    /// One address of a family from the first pool that has one.
    fn any(&mut self, request: &Request<'_>, family: Family) -> Result<IpAddr, Refusal> {
        let (mut turn, mut exists) = (0, false);
        while let Some(id) = self.candidate(request, turn) {
            turn += 1;
            let Some(pool) = self.pool(id).filter(|pool| pool.admits(request)) else {
                continue;
            };
            exists |= pool.has(family);
            if let Some(address) = self.free(id, family) {
                return Ok(address);
            }
        }
        Err(match request.pool {
            Some(name) => Refusal::PoolExhausted {
                pool: name.to_owned(),
                family,
            },
            None if exists => Refusal::Exhausted(family),
            None => Refusal::NoPool(family),
        })
    }

    /// The first free address of a pool. Pools that overlap are refused before they come here; should two do so all the
    /// same, then what one of them has given is not given again by the other.
    fn free(&mut self, id: PoolId, family: Family) -> Option<IpAddr> {
        let address = self.pools.get_mut(id.0)?.lowest(family)?;
        (!self.claims.contains_key(&address)).then_some(address)
    }

    /// The pool to try at this turn: the named one only, or those for automatic use in their order.
    fn candidate(&self, request: &Request<'_>, turn: usize) -> Option<PoolId> {
        match request.pool {
            Some(name) if turn == 0 => self.by_name.get(name).copied(),
            Some(_) => None,
            None => self.automatic.get(turn).copied(),
        }
    }

    fn named(&self, request: &Request<'_>, name: &str) -> Result<(), Refusal> {
        let pool = self.by_name.get(name).and_then(|id| self.pool(*id));
        let pool = pool.ok_or_else(|| Refusal::UnknownPool(name.to_owned()))?;
        if pool.admits(request) {
            return Ok(());
        }
        Err(Refusal::Restricted {
            pool: name.to_owned(),
        })
    }

    /// Another Service that was given the address or shows it.
    fn other_holder(&self, service: ServiceId, address: IpAddr) -> Option<ServiceId> {
        let claim = self.claims.get(&address)?;
        if let Some(owner) = claim.owner.filter(|owner| *owner != service) {
            return Some(owner);
        }
        // Rare: an address that is in a status without being ours to give. Only a refusal pays for the search.
        let mine = |id: ServiceId| self.shown.get(&id).is_some_and(|a| a.contains(&address));
        if claim.shown == u32::from(mine(service)) {
            return None;
        }
        let others = self
            .shown
            .iter()
            .filter(|(id, addresses)| **id != service && addresses.contains(&address));
        others.map(|(id, _)| *id).min()
    }
}
