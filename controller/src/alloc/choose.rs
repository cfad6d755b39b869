//! Which addresses a Service gets that lacks some.
//!
//! Exact addresses; or else those that are kept for its name; or else, of the named pool or of the pools for automatic use
//! in their order, one that it can share, or the first free one. Somebody who wants both families gets them from the first
//! pool that has both, and only if there is none from two.

use std::net::IpAddr;

use portolan_api::range::Family;

use super::pool::Pool;
use super::quota::Exchange;
use super::shelf::Reach;
use super::{Allocator, Collision, Families, Holding, PoolId, Refusal, Request};

/// Why a pool that a Service may use has nothing for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dry {
    /// It has no such family.
    Family,
    /// Everything is taken.
    Exhausted,
    /// The namespace has as many as it may have.
    Quota(usize),
}

impl Allocator {
    /// What a Service gets that keeps some addresses already, with the reason if that is less than it would take.
    pub(super) fn find(
        &mut self,
        request: &Request<'_>,
        kept: Holding,
    ) -> Result<(Holding, Option<Refusal>), Refusal> {
        if request.exact.is_empty() {
            self.choose(request, kept)
        } else {
            self.exactly(request, kept).map(|all| (all, None))
        }
    }

    /// The exact addresses, all of them or none. What is held keeps its place.
    fn exactly(&self, request: &Request<'_>, kept: Holding) -> Result<Holding, Refusal> {
        let held = self.holding(request.holder);
        let exchange = Exchange {
            leaves: held.filter(|address| !request.exact.contains(address)),
            joins: request.exact,
        };
        let missing = request.exact.iter().filter(|one| !kept.contains(*one));
        let refusals = missing.filter_map(|one| self.exact(request, one, exchange).err());
        // What no holder could help comes first, so that nobody gives way in vain.
        match refusals.min_by_key(|refusal| refusal.holder().is_some()) {
            Some(refusal) => Err(refusal),
            None => Ok(kept.iter().chain(request.exact.iter()).collect()),
        }
    }

    /// Whether a Service can have one of the exact addresses that it asks for.
    fn exact(
        &self,
        request: &Request<'_>,
        address: IpAddr,
        exchange: Exchange,
    ) -> Result<(), Refusal> {
        let (pool, _) = self
            .pool_with(address)
            .ok_or(Refusal::NotInAnyPool(address))?;
        let name = || pool.name.clone();
        if let Some(named) = request.pool.filter(|name| *name != pool.name) {
            let pool = named.to_owned();
            return Err(Refusal::NotInNamedPool { address, pool });
        }
        if !pool.admits(request) {
            return Err(Refusal::Restricted { pool: name() });
        }
        if !pool.usable(address) {
            let pool = name();
            return Err(Refusal::KeptBack { address, pool });
        }
        self.obstacle(request, pool, address, exchange)
            .map_or(Ok(()), Err)
    }

    /// Why a Service can not have an address that its pool gives out. What no holder could help comes first.
    pub(super) fn obstacle(
        &self,
        request: &Request<'_>,
        pool: &Pool,
        address: IpAddr,
        exchange: Exchange,
    ) -> Option<Refusal> {
        let (namespace, name) = (request.namespace, request.name);
        if let Some(refusal) = self.barrier(namespace, name, pool, address, exchange) {
            return Some(refusal);
        }
        let claim = self.claims.get(&address)?;
        let service = request.holder;
        let sharing = self.sharing.get(&service);
        let across = pool.across_namespaces;
        if let Some((collision, holder)) = claim.owners.collision(service, sharing, across) {
            return Some(match (collision, sharing) {
                (Collision::Key, None) => Refusal::Taken { address, holder },
                (collision, _) => Refusal::Sharing {
                    address,
                    holder,
                    collision,
                },
            });
        }
        let rival = || self.demands.rival(address, service);
        let holder = self.stranger(address, service);
        let holder = holder.or_else(|| rival().filter(|_| claim.promised));
        holder.map(|holder| Refusal::Taken { address, holder })
    }

    /// Why a Service of this name can not have an address, whoever has it.
    pub(super) fn barrier(
        &self,
        namespace: &str,
        name: &str,
        pool: &Pool,
        address: IpAddr,
        exchange: Exchange,
    ) -> Option<Refusal> {
        if let Some(node) = self.nodes.get(&address) {
            let node = node.to_string();
            return Some(Refusal::NodeAddress { address, node });
        }
        if let Some(stranger) = self.quarantined.get(&address) {
            let stranger = stranger.clone();
            return Some(Refusal::Quarantined { address, stranger });
        }
        let claim = self.claims.get(&address);
        let kept = claim.is_some_and(|claim| claim.keepers > 0);
        if kept && !self.kept.holds(address, namespace, name) {
            let keeper = self.kept.keeper(address).unwrap_or_default();
            return Some(Refusal::Reserved { address, keeper });
        }
        let limit = self.over_quota(namespace, pool, address, exchange)?;
        Some(refused_by_quota(
            pool,
            namespace,
            Family::of(address),
            limit,
        ))
    }

    /// The limit of the pool, if the namespace would have more addresses of it than it may.
    fn over_quota(
        &self,
        namespace: &str,
        pool: &Pool,
        address: IpAddr,
        mut exchange: Exchange,
    ) -> Option<usize> {
        let quota = pool.quota.as_ref()?;
        let here = |address| self.pool_of(address) == Some(&pool.name);
        exchange.joins = exchange.joins.filter(here);
        (!quota.admits(namespace, address, exchange)).then_some(quota.limit)
    }

    /// Any addresses for the families that are missing.
    fn choose(
        &mut self,
        request: &Request<'_>,
        kept: Holding,
    ) -> Result<(Holding, Option<Refusal>), Refusal> {
        if let Some(name) = request.pool {
            self.named(request, name)?;
        }
        let held = self.holding(request.holder);
        let leaves = held.filter(|address| !kept.contains(address));
        let mut all = kept;
        self.take_kept(request, leaves, &mut all);
        if all.is_empty()
            && let Families::Prefer(..) | Families::Require(..) = request.families
            && let Some(both) = self.both_of_one_pool(request, leaves)
        {
            return Ok((both, None));
        }
        // IPv4 first, whatever the primary family is; what is held keeps its place.
        let mut refusal = None;
        for family in [Family::V4, Family::V6] {
            if !request.families.contains(family) || all.of(family).is_some() {
                continue;
            }
            let joins = all;
            match self.any(request, family, Exchange { leaves, joins }) {
                Ok(address) => all.push(address),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        match (refusal, request.families) {
            (None, _) => Ok((all, None)),
            (refusal, Families::Prefer(..)) if !all.is_empty() => Ok((all, refusal)),
            (Some(refusal), _) => Err(refusal),
        }
    }

    /// Adds the addresses that are kept for the name of the Service.
    fn take_kept(&self, request: &Request<'_>, leaves: Holding, all: &mut Holding) {
        if self.kept.is_empty() {
            return;
        }
        for address in self.kept.of(request.namespace, request.name) {
            let joins = *all;
            let fits = self.permits(request, address)
                && all.of(Family::of(address)).is_none()
                && self.pool_with(address).is_some_and(|(pool, _)| {
                    request.accepts(address, &pool.name)
                        && self
                            .obstacle(request, pool, address, Exchange { leaves, joins })
                            .is_none()
                });
            if fits {
                all.push(address);
            }
        }
    }

    /// Both families from the first pool that has both. Pools that are restricted to the Service come before all open ones:
    /// when they have one of the families, no open pool is asked for both.
    fn both_of_one_pool(&mut self, request: &Request<'_>, leaves: Holding) -> Option<Holding> {
        let (mut turn, mut partial) = (0, false);
        while let Some(id) = self.candidate(request, turn) {
            turn += 1;
            let restricted = self.pool(id)?.allocation.is_some();
            if partial && !restricted {
                return None;
            }
            let mut exchange = Exchange {
                leaves,
                joins: Holding::default(),
            };
            let v4 = self.of_pool(request, id, Family::V4, exchange);
            exchange.joins = v4.iter().copied().collect();
            let v6 = self.of_pool(request, id, Family::V6, exchange);
            partial |= restricted && (v4.is_ok() || v6.is_ok());
            if let (Ok(v4), Ok(v6)) = (v4, v6) {
                return Some([v4, v6].into_iter().collect());
            }
        }
        None
    }

    /// One address of a family: of the pool that the Service has its other family from, else of the first that has one.
    fn any(
        &mut self,
        request: &Request<'_>,
        family: Family,
        exchange: Exchange,
    ) -> Result<IpAddr, Refusal> {
        let near = exchange
            .joins
            .iter()
            .find_map(|other| self.locate(other))
            .map(|(id, _)| id);
        let near = near.filter(|id| request.pool.is_none() && self.serves(*id));
        if let Some(address) = near.and_then(|id| self.of_pool(request, id, family, exchange).ok())
        {
            return Ok(address);
        }
        let (mut turn, mut exists, mut quota) = (0, false, None);
        while let Some(id) = self.candidate(request, turn) {
            turn += 1;
            match self.of_pool(request, id, family, exchange) {
                Ok(address) => return Ok(address),
                Err(None | Some(Dry::Family)) => {}
                Err(Some(Dry::Exhausted)) => exists = true,
                Err(Some(Dry::Quota(limit))) => quota = quota.or(Some((id, limit))),
            }
        }
        let limited = quota.and_then(|(id, limit)| Some((self.pool(id)?, limit)));
        Err(match (limited, request.pool) {
            (Some((pool, limit)), _) => refused_by_quota(pool, request.namespace, family, limit),
            (None, Some(name)) => Refusal::PoolExhausted {
                pool: name.to_owned(),
                family,
            },
            (None, None) if exists => Refusal::Exhausted(family),
            (None, None) => Refusal::NoPool(family),
        })
    }

    /// An address of a pool: one to share, or else the first free one. `Err(None)`: the pool does not admit the Service.
    fn of_pool(
        &mut self,
        request: &Request<'_>,
        id: PoolId,
        family: Family,
        exchange: Exchange,
    ) -> Result<IpAddr, Option<Dry>> {
        let pool = self
            .pool(id)
            .filter(|pool| pool.admits(request))
            .ok_or(None)?;
        if !pool.has(family) {
            return Err(Some(Dry::Family));
        }
        if let Some(shared) = self.joinable(request, id, family, exchange) {
            return Ok(shared);
        }
        // Pools that overlap are refused before they come here; should two do so all the same, then what one of them has
        // given is not given again by the other.
        let free = self
            .pools
            .get_mut(id.0)
            .and_then(|pool| pool.lowest(family));
        let free = free.filter(|address| !self.claims.contains_key(address));
        let address = free.ok_or(Some(Dry::Exhausted))?;
        let limit = self
            .pool(id)
            .and_then(|pool| self.over_quota(request.namespace, pool, address, exchange));
        limit.map_or(Ok(address), |limit| Err(Some(Dry::Quota(limit))))
    }

    /// The first address of the pool that the Service can share.
    fn joinable(
        &mut self,
        request: &Request<'_>,
        id: PoolId,
        family: Family,
        exchange: Exchange,
    ) -> Option<IpAddr> {
        let sharing = self.sharing.get(&request.holder)?;
        let pool = self.pools.get(id.0)?;
        let ranges = pool.spans().map(|(_, range)| range);
        let accept = |address| {
            // Looked at before the obstacles: to name a keeper takes time.
            let kept = self
                .claims
                .get(&address)
                .is_some_and(|claim| claim.keepers > 0);
            self.locate(address).is_some_and(|(at, _)| at == id)
                && pool.usable(address)
                && (!kept || self.kept.holds(address, request.namespace, request.name))
                && self.obstacle(request, pool, address, exchange).is_none()
        };
        let mut searches = Vec::new();
        for range in ranges.filter(|range| range.family() == family) {
            let reach = Reach {
                first: family.address(range.first()),
                last: family.address(range.last()),
                across: pool.across_namespaces,
            };
            let search = self.shelves.search(sharing, reach, accept);
            searches.push((reach, search));
            if search.found.is_some() {
                break;
            }
        }
        for (reach, search) in &searches {
            self.shelves.learn(sharing, *reach, *search);
        }
        searches.last().and_then(|(_, search)| search.found)
    }

    /// The pool to try at this turn: the named one only, or those for automatic use in their order.
    pub(super) fn candidate(&self, request: &Request<'_>, turn: usize) -> Option<PoolId> {
        match request.pool {
            Some(name) if turn == 0 => self.by_name.get(name).copied(),
            Some(_) => None,
            None => self.automatic.get(turn).copied(),
        }
    }

    /// Whether the pool is for automatic use.
    fn serves(&self, id: PoolId) -> bool {
        self.pool(id).is_some_and(|pool| pool.auto_assign)
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
}

fn refused_by_quota(pool: &Pool, namespace: &str, family: Family, limit: usize) -> Refusal {
    let quota = pool.quota.as_ref();
    Refusal::Quota {
        pool: pool.name.clone(),
        family,
        limit,
        pair: quota.is_some_and(|quota| !quota.is_reached(namespace)),
    }
}
