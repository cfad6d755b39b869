//! The allocator: a value that knows every address that is taken, and gives out those that are not.
//!
//! ```text
//!                  ┌ decided: what we gave (memory outlives a stale status)  ┐
//! taken address ◄──┤                                                        ├── free again only when neither holds
//!                  └ shown:   what any Service's status says, ours or not   ┘
//! ```
//!
//! Two sources say that an address is taken, and it is free only when both have let go. So a cache that lags behind our
//! own writes frees nothing, an address that a Service is moved away from is given to nobody before its status has
//! followed, and addresses in the status of Services that are not ours are left alone.
//!
//! Cost does not depend on the size of pools: free addresses are intervals, nothing is scanned, and text is compared only
//! where a pool or a Service names the other.

mod interval;
mod pool;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use portolan_api::crd::PoolRule;
use portolan_api::range::{Family, value};

use pool::Pool;
pub use pool::Usage;
pub use refusal::Refusal;
pub use request::{Families, Request};

/// One incarnation of a Service: another UID under the same name is another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// Addresses of one Service: at most one of each family, in the order in which they stand in the status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding([Option<IpAddr>; 2]);

impl Holding {
    /// The addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.0.into_iter().flatten()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [None, None]
    }

    /// Whether the address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|held| held == address)
    }

    /// The address of a family.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        self.iter().find(|address| Family::of(*address) == family)
    }

    /// Appends an address. A second one of the same family is dropped: nothing here can hold it.
    pub fn push(&mut self, address: IpAddr) {
        if self.of(Family::of(address)).is_some() {
            return;
        }
        let [first, second] = &mut self.0;
        let free = if first.is_none() { first } else { second };
        *free = Some(address);
    }

    /// The addresses for which `keep` holds.
    fn filter(&self, mut keep: impl FnMut(IpAddr) -> bool) -> Self {
        let mut kept = Self::default();
        self.iter()
            .filter(|address| keep(*address))
            .for_each(|address| kept.push(address));
        kept
    }
}

impl FromIterator<IpAddr> for Holding {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut holding = Self::default();
        addresses
            .into_iter()
            .for_each(|address| holding.push(address));
        holding
    }
}

/// What a Service has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Its addresses.
    pub addresses: Holding,
    /// Why it has fewer than it wants, if so.
    pub missing: Option<Refusal>,
}

/// Index of a pool; pools are in order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PoolId(usize);

/// Who has an address.
#[derive(Debug, Clone, Copy, Default)]
struct Claim {
    /// The Service that we gave it to.
    owner: Option<ServiceId>,
    /// Number of Services whose status shows it.
    shown: u32,
}

/// Every pool, and everything that is taken. See the module.
#[derive(Debug, Clone, Default)]
pub struct Allocator {
    pools: Vec<Pool>,
    by_name: HashMap<String, PoolId>,
    /// Pools that Services use without naming them: restricted ones in order of precedence, then open ones by name.
    automatic: Vec<PoolId>,
    /// First address of a range → last address, pool, index of the range in the pool.
    ranges: BTreeMap<(Family, u128), (u128, PoolId, usize)>,
    claims: HashMap<IpAddr, Claim>,
    decided: HashMap<ServiceId, Holding>,
    shown: HashMap<ServiceId, Vec<IpAddr>>,
    changes: u64,
    freed: bool,
}

impl Allocator {
    /// An allocator in which nothing is taken.
    #[must_use]
    pub fn new(rules: &[PoolRule]) -> Self {
        let mut allocator = Self::default();
        allocator.set_pools(rules);
        allocator
    }

    /// Changes the pools. Everything taken stays taken; [`Self::place`] says for each Service what it may not keep.
    pub fn set_pools(&mut self, rules: &[PoolRule]) {
        let mut pools: Vec<Pool> = rules.iter().map(Pool::new).collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        self.by_name.clear();
        self.ranges.clear();
        for (index, pool) in pools.iter().enumerate() {
            self.by_name.insert(pool.name.clone(), PoolId(index));
            for (span, range) in pool.spans() {
                let entry = (range.last(), PoolId(index), span);
                self.ranges.insert((range.family(), range.first()), entry);
            }
        }
        let automatic = pools
            .iter()
            .enumerate()
            .filter(|(_, pool)| pool.auto_assign);
        let (mut restricted, open): (Vec<_>, Vec<_>) =
            automatic.partition(|(_, pool)| pool.allocation.is_some());
        restricted.sort_by_key(|(_, pool)| pool::precedence(pool));
        let order = restricted.into_iter().chain(open);
        self.automatic = order.map(|(index, _)| PoolId(index)).collect();
        self.pools = pools;
        let taken: Vec<IpAddr> = self.claims.keys().copied().collect();
        for address in taken {
            self.mark(address, true);
        }
        self.changes += 1;
    }

    /// Says what the status of a Service shows, ours or not. Addresses stay taken as long as a status shows them.
    pub fn show(&mut self, service: ServiceId, addresses: &[IpAddr]) {
        let mut now = addresses.to_vec();
        now.sort_unstable();
        now.dedup();
        if self.shown.get(&service).map_or(&[][..], Vec::as_slice) == now {
            return;
        }
        for address in &now {
            self.claim(*address, |claim| claim.shown += 1);
        }
        for address in self.shown.remove(&service).unwrap_or_default() {
            self.unclaim(address, |claim| claim.shown = claim.shown.saturating_sub(1));
        }
        if !now.is_empty() {
            self.shown.insert(service, now);
        }
    }

    /// Makes a Service the owner of the addresses that its status shows. Of several Services that show the same address
    /// the first to be adopted has it. Returns what it can not have, with the owner.
    pub fn adopt(&mut self, service: ServiceId, shown: &[IpAddr]) -> Vec<(IpAddr, ServiceId)> {
        let mut conflicts = Vec::new();
        let mut holding = self.holding(service);
        for &address in shown {
            match self.claims.get(&address).and_then(|claim| claim.owner) {
                Some(owner) if owner != service => conflicts.push((address, owner)),
                None if holding.of(Family::of(address)).is_none() => {
                    holding.push(address);
                    self.claim(address, |claim| claim.owner = Some(service));
                }
                _ => {}
            }
        }
        if !holding.is_empty() {
            self.decided.insert(service, holding);
        }
        conflicts
    }

    /// Gives a Service what it wants: it keeps what it holds as long as that is lawful, and gets what is missing. What it
    /// may not keep is given up.
    pub fn place(&mut self, request: &Request<'_>) -> Result<Assignment, Refusal> {
        let held = self.holding(request.holder);
        let kept = held.filter(|address| self.lawful(request, address));
        for address in held.iter().filter(|address| !kept.contains(*address)) {
            self.disown(request.holder, address);
        }
        let chosen = if request.exact.is_empty() {
            self.choose(request, kept)
        } else {
            self.exactly(request, kept)
        };
        let (addresses, missing) = match chosen {
            Ok(found) => found,
            Err(refusal) if kept.is_empty() => return Err(refusal),
            Err(refusal) => (kept, Some(refusal)),
        };
        for address in addresses.iter().filter(|address| !kept.contains(*address)) {
            self.claim(address, |claim| claim.owner = Some(request.holder));
        }
        self.decided.insert(request.holder, addresses);
        Ok(Assignment { addresses, missing })
    }

    /// What a Service keeps whose request can not be understood: everything that a pool still has.
    pub fn keep(&mut self, service: ServiceId) -> Holding {
        let held = self.holding(service);
        let kept = held.filter(|address| self.usable_pool(address).is_some());
        for address in held.iter().filter(|address| !kept.contains(*address)) {
            self.disown(service, address);
        }
        kept
    }

    /// Takes back what we gave to a Service. Its addresses are free as soon as no status shows them.
    pub fn release(&mut self, service: ServiceId) -> Holding {
        let held = self.holding(service);
        for address in held.iter() {
            self.disown(service, address);
        }
        held
    }

    /// What we gave to a Service.
    #[must_use]
    pub fn holding(&self, service: ServiceId) -> Holding {
        self.decided.get(&service).copied().unwrap_or_default()
    }

    /// Name of the pool that has the address in one of its ranges.
    #[must_use]
    pub fn pool_of(&self, address: IpAddr) -> Option<&str> {
        let (id, _) = self.locate(address)?;
        Some(&self.pool(id)?.name)
    }

    /// Names of the pools with what is taken and free in them, by family.
    pub fn usage(&self) -> impl Iterator<Item = (&str, Usage, Usage)> {
        let numbers = |pool: &Pool| (pool.usage(Family::V4), pool.usage(Family::V6));
        self.pools.iter().map(move |pool| {
            let (v4, v6) = numbers(pool);
            (pool.name.as_str(), v4, v6)
        })
    }

    /// Number that grows with every change of what is taken.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether an address has become free since this was asked last: somebody may be waiting for it.
    pub fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// Whether there is no pool at all.
    #[must_use]
    pub fn is_without_pools(&self) -> bool {
        self.pools.is_empty()
    }

    /// Whether a Service may keep an address that it holds.
    fn lawful(&self, request: &Request<'_>, address: IpAddr) -> bool {
        let Some(pool) = self.usable_pool(address) else {
            return false;
        };
        pool.admits(request)
            && request.pool.is_none_or(|name| name == pool.name)
            && request.families.contains(Family::of(address))
            && (request.exact.is_empty() || request.exact.contains(address))
    }

    /// The exact addresses, all of them or none.
    fn exactly(
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
    fn choose(
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
            let Some(pool) = self.pools.get_mut(id.0).filter(|pool| pool.admits(request)) else {
                continue;
            };
            if let (Some(v4), Some(v6)) = (pool.lowest(Family::V4), pool.lowest(Family::V6)) {
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
            let Some(pool) = self.pools.get_mut(id.0).filter(|pool| pool.admits(request)) else {
                continue;
            };
            exists |= pool.has(family);
            if let Some(address) = pool.lowest(family) {
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

    fn disown(&mut self, service: ServiceId, address: IpAddr) {
        let rest = self.holding(service).filter(|held| held != address);
        if rest.is_empty() {
            self.decided.remove(&service);
        } else {
            self.decided.insert(service, rest);
        }
        self.unclaim(address, |claim| claim.owner = None);
    }

    fn claim(&mut self, address: IpAddr, change: impl FnOnce(&mut Claim)) {
        let claim = self.claims.entry(address).or_default();
        let fresh = claim.owner.is_none() && claim.shown == 0;
        change(claim);
        if fresh {
            self.mark(address, true);
        }
    }

    fn unclaim(&mut self, address: IpAddr, change: impl FnOnce(&mut Claim)) {
        let Some(claim) = self.claims.get_mut(&address) else {
            return;
        };
        change(claim);
        if claim.owner.is_none() && claim.shown == 0 {
            self.claims.remove(&address);
            self.freed = true;
            self.mark(address, false);
        }
    }

    /// Keeps the free addresses of the pool in step with the claims.
    fn mark(&mut self, address: IpAddr, taken: bool) {
        self.changes += 1;
        let Some((id, span)) = self.locate(address) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(id.0) {
            if taken {
                pool.take(span, address);
            } else {
                pool.give_back(span, address);
            }
        }
    }

    /// The pool, and the index of its range, that has the address.
    fn locate(&self, address: IpAddr) -> Option<(PoolId, usize)> {
        let (family, at) = (Family::of(address), value(address));
        let before = self.ranges.range(..=(family, at)).next_back();
        let ((found, _), (last, id, span)) = before?;
        (*found == family && at <= *last).then_some((*id, *span))
    }

    fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(id.0)
    }

    /// The pool that has the address and gives it out.
    fn usable_pool(&self, address: IpAddr) -> Option<&Pool> {
        let (id, _) = self.locate(address)?;
        self.pool(id).filter(|pool| pool.usable(address))
    }
}
