//! The allocator: a value that knows every address that is taken, and gives out those that are not.
//!
//! ```text
//!                  ┌ decided: what we gave (memory outlives a stale status)
//! taken address ◄──┼ shown:   what any Service's status says, ours or not     ── free again only when none holds
//!                  ├ kept:    reserved, or retained for a Service by its name; given up for one that asks for exactly it
//!                  ├ node:    a node uses it itself
//!                  └ quarantined: a station outside the cluster uses it
//! ```
//!
//! An address is free only when all have let go. So a cache that lags behind our own writes frees nothing, an address that a
//! Service is moved away from is given to nobody before its status has followed, and addresses in the status of Services that
//! are not ours are left alone.
//!
//! Cost does not depend on the size of pools: free addresses are intervals, nothing is scanned, and text is compared only
//! where a pool or a Service names the other.
//!
//! | file | what |
//! |---|---|
//! | `request`, `refusal` | what a Service asks for, and why it is refused |
//! | `choose` | the order of choice |
//! | `claim`, `own`, `sharing`, `shelf` | who has an address, alone or with others |
//! | `demand` | who waits for an address that another one has |
//! | `pool`, `interval` | what is free |
//! | `reserve`, `quota` | what is kept for whom, and how much a namespace may have |
//! | `quarantine` | addresses that strangers use, and how Services get off them |
//! | `inventory` | pools as the user sees them: numbers, shadows, what they lack |

mod choose;
mod claim;
mod demand;
mod holding;
mod interval;
mod inventory;
mod own;
mod pool;
mod quarantine;
mod quota;
mod refusal;
mod request;
mod reserve;
mod sharing;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_api::compile;
use portolan_api::crd::PoolRule;
use portolan_api::range::{Family, value};

pub use claim::Collision;
use claim::{Claim, State};
use demand::Demands;
pub use holding::Holding;
use pool::Pool;
pub use pool::Usage;
pub use quarantine::Stranger;
pub use refusal::Refusal;
pub use request::{Families, Request};
use reserve::Kept;
pub use sharing::{Port, Sharing};
use shelf::Shelves;

/// One incarnation of a Service: another UID under the same name is another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

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

/// What a Service was given.
#[derive(Debug, Clone)]
struct Given {
    addresses: Holding,
    namespace: Arc<str>,
    /// It asked for something else, and keeps these until it can have that.
    provisional: Provisional,
}

/// The families of which a Service keeps an address without wanting it.
#[derive(Debug, Clone, Copy, Default)]
struct Provisional {
    v4: bool,
    v6: bool,
}

impl Provisional {
    fn of(addresses: Holding) -> Self {
        Self {
            v4: addresses.of(Family::V4).is_some(),
            v6: addresses.of(Family::V6).is_some(),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        match Family::of(address) {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// The addresses that one status shows, in order. Nearly always one.
#[derive(Debug, Clone)]
enum Shown {
    One(IpAddr),
    Many(Box<[IpAddr]>),
}

impl Shown {
    fn as_slice(&self) -> &[IpAddr] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Many(addresses) => addresses,
        }
    }

    fn contains(&self, address: &IpAddr) -> bool {
        self.as_slice().contains(address)
    }
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
    decided: HashMap<ServiceId, Given>,
    shown: HashMap<ServiceId, Shown>,
    /// What Services say that want to share, and the addresses that they have.
    sharing: HashMap<ServiceId, Sharing>,
    shelves: Shelves,
    kept: Kept,
    /// Addresses of nodes, with the name of one that has it.
    nodes: BTreeMap<IpAddr, Box<str>>,
    /// Addresses that stations outside the cluster use.
    quarantined: BTreeMap<IpAddr, Stranger>,
    demands: Demands,
    /// Services that keep what somebody else asks for by name.
    disturbed: BTreeSet<ServiceId>,
    /// Each namespace once.
    namespaces: HashSet<Arc<str>>,
    changes: u64,
    freed: BTreeSet<Family>,
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
        for address in self.kept.drop_reservations() {
            self.loosen(address, |claim| {
                claim.keepers = claim.keepers.saturating_sub(1);
            });
        }
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
        self.shelves.unlearn();
        self.note_all();
        for rule in rules {
            for (address, one) in compile::reservations(&rule.spec) {
                if self.kept.reserve(address, &one.namespace, &one.name) {
                    self.tighten(address, |claim| claim.keepers += 1);
                }
            }
        }
        self.changes += 1;
        self.freed.extend([Family::V4, Family::V6]);
    }

    /// Tells fresh pools of everything that is taken.
    fn note_all(&mut self) {
        let taken: Vec<(IpAddr, State)> = self
            .claims
            .iter()
            .map(|(address, claim)| (*address, claim.state()))
            .collect();
        for (address, state) in taken {
            self.note(address, State::Free, state);
        }
        if self.pools.iter().all(|pool| pool.quota.is_none()) {
            return;
        }
        let given = self.decided.values().flat_map(|given| {
            let namespace = &given.namespace;
            given
                .addresses
                .iter()
                .map(move |address| (address, Arc::clone(namespace)))
        });
        let retained = self
            .kept
            .retained()
            .map(|(address, namespace)| (address, namespace.into()));
        let counted: Vec<(IpAddr, Arc<str>)> = given.chain(retained).collect();
        for (address, namespace) in counted {
            self.charge(address, &namespace);
        }
    }

    /// Says what the status of a Service shows, ours or not. Addresses stay taken as long as a status shows them.
    pub fn show(&mut self, service: ServiceId, addresses: &[IpAddr]) {
        let mut now = addresses.to_vec();
        now.sort_unstable();
        now.dedup();
        if self.shown.get(&service).map_or(&[][..], Shown::as_slice) == now {
            return;
        }
        for address in &now {
            self.tighten(*address, |claim| claim.shown += 1);
        }
        let shown = match *now {
            [] => None,
            [address] => Some(Shown::One(address)),
            _ => Some(Shown::Many(now.into_boxed_slice())),
        };
        let before = match shown {
            Some(shown) => self.shown.insert(service, shown),
            None => self.shown.remove(&service),
        };
        for address in before.iter().flat_map(Shown::as_slice) {
            self.loosen(*address, |claim| {
                claim.shown = claim.shown.saturating_sub(1);
            });
        }
    }

    /// Gives a Service what it wants: it keeps what it holds as long as that is lawful, and gets what is missing. Whoever
    /// wants something else than what it holds keeps that until it can have the other, unless somebody asks for exactly that
    /// address. What it may not keep is given up.
    pub fn place(&mut self, request: &Request<'_>) -> Result<Assignment, Refusal> {
        let service = request.holder;
        self.demands.withdraw(service);
        self.break_promises(service, request.exact);
        let held = self.holding(service);
        let permitted = held.filter(|address| self.permits(request, address));
        let fitting = permitted.filter(|address| {
            self.pool_of(address)
                .is_some_and(|pool| request.accepts(address, pool))
        });
        let mut given_up = Vec::new();
        let (addresses, missing) = match self.find(request, fitting) {
            // A move must not cost a family.
            Ok((all, Some(why))) => (all.iter().chain(permitted.iter()).collect(), Some(why)),
            Ok((all, None)) => (all, None),
            Err(refusal) => {
                self.demand(request, &refusal);
                let spare = permitted.filter(|address| !fitting.contains(address));
                let gifts = spare
                    .iter()
                    .map(|one| (one, self.heirs(service, spare, one)));
                given_up = gifts.filter(|(_, heirs)| !heirs.is_empty()).collect();
                let stays = |address| given_up.iter().all(|(one, _)| *one != address);
                (permitted.filter(stays), Some(refusal))
            }
        };
        for address in held.iter().filter(|address| !addresses.contains(*address)) {
            self.leave(service, address);
        }
        for (address, heirs) in given_up {
            self.promise(service, address, heirs);
        }
        let namespace = self.intern(request.namespace);
        for address in addresses.iter().filter(|address| !held.contains(*address)) {
            self.join(service, address, &namespace);
        }
        let provisional = addresses.filter(|a| permitted.contains(a) && !fitting.contains(a));
        self.hold(service, addresses, &namespace, Provisional::of(provisional));
        self.review_promises(service);
        match missing {
            Some(refusal) if addresses.is_empty() => Err(refusal),
            missing => Ok(Assignment { addresses, missing }),
        }
    }

    /// What a Service keeps whose request can not be understood: everything that it may have by what is known of it, see
    /// [`Request::known`].
    pub fn keep(&mut self, known: &Request<'_>) -> Holding {
        let service = known.holder;
        self.demands.withdraw(service);
        self.break_promises(service, Holding::default());
        let held = self.holding(service);
        let kept = held.filter(|address| self.permits(known, address));
        for address in held.iter().filter(|address| !kept.contains(*address)) {
            self.leave(service, address);
        }
        if let Some(given) = self.decided.get(&service) {
            let namespace = Arc::clone(&given.namespace);
            self.hold(service, kept, &namespace, Provisional::default());
        }
        kept
    }

    /// Takes back what we gave to a Service. Its addresses are free as soon as no status shows them.
    pub fn release(&mut self, service: ServiceId) -> Holding {
        self.demands.withdraw(service);
        self.break_promises(service, Holding::default());
        let held = self.holding(service);
        for address in held.iter() {
            self.leave(service, address);
        }
        if let Some(given) = self.decided.remove(&service) {
            self.hold(
                service,
                Holding::default(),
                &given.namespace,
                Provisional::default(),
            );
        }
        held
    }

    /// A Service is gone for good.
    pub fn forget(&mut self, service: ServiceId) {
        self.show(service, &[]);
        self.release(service);
        self.sharing.remove(&service);
    }

    /// Keeps an address for a name, until [`Self::let_go`].
    pub fn retain(&mut self, address: IpAddr, namespace: &str, name: &str) {
        if self.kept.retain(address, namespace, name) {
            self.tighten(address, |claim| claim.keepers += 1);
        }
        self.charge(address, namespace);
    }

    /// Ends the retention of an address for a name.
    pub fn let_go(&mut self, address: IpAddr, namespace: &str, name: &str) {
        self.discharge(address, namespace);
        self.free(address);
        if self.kept.let_go(address, namespace, name) {
            self.loosen(address, |claim| {
                claim.keepers = claim.keepers.saturating_sub(1);
            });
        }
    }

    /// Says which addresses nodes use themselves, with the name of a node for each.
    pub fn set_nodes(&mut self, nodes: BTreeMap<IpAddr, Box<str>>) {
        let old = std::mem::replace(&mut self.nodes, nodes);
        let now: Vec<IpAddr> = self.nodes.keys().copied().collect();
        for address in now {
            self.tighten(address, |claim| claim.node = true);
        }
        for address in old.into_keys() {
            if !self.nodes.contains_key(&address) {
                self.loosen(address, |claim| claim.node = false);
            }
        }
    }

    /// What we gave to a Service.
    #[must_use]
    pub fn holding(&self, service: ServiceId) -> Holding {
        self.decided
            .get(&service)
            .map(|given| given.addresses)
            .unwrap_or_default()
    }

    /// Whether a pool has the address and gives it out.
    #[must_use]
    pub fn gives_out(&self, address: IpAddr) -> bool {
        self.pool_with(address)
            .is_some_and(|(pool, _)| pool.usable(address))
    }

    /// The Services that we gave the address to.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = ServiceId> + '_ {
        let claim = self.claims.get(&address);
        claim.into_iter().flat_map(|claim| claim.owners.iter())
    }

    /// The Services that have an address together with this one, directly or by others, this one included.
    #[must_use]
    pub fn company(&self, service: ServiceId) -> BTreeSet<ServiceId> {
        let mut company = BTreeSet::from([service]);
        let mut open = vec![service];
        while let Some(one) = open.pop() {
            for address in self.holding(one).iter() {
                open.extend(self.owners(address).filter(|owner| company.insert(*owner)));
            }
        }
        company
    }

    /// The node that uses the address itself.
    #[must_use]
    pub fn node_of(&self, address: IpAddr) -> Option<&str> {
        self.nodes.get(&address).map(|name| &**name)
    }

    /// Name of the pool that has the address in one of its ranges.
    #[must_use]
    pub fn pool_of(&self, address: IpAddr) -> Option<&str> {
        Some(&self.pool_with(address)?.0.name)
    }

    /// Number that grows with every change of what is taken.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The families of which something has become free since this was asked last: somebody may be waiting for it.
    pub fn take_freed(&mut self) -> BTreeSet<Family> {
        std::mem::take(&mut self.freed)
    }

    /// The Services that keep provisionally what others ask for by name since this was asked last: to be placed again.
    pub fn take_disturbed(&mut self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.disturbed)
    }

    /// Whether there is no pool at all.
    #[must_use]
    pub fn is_without_pools(&self) -> bool {
        self.pools.is_empty()
    }

    /// Whether a Service may have the address at all, whatever it asks for.
    fn permits(&self, request: &Request<'_>, address: IpAddr) -> bool {
        request.families.contains(Family::of(address))
            && self
                .pool_with(address)
                .is_some_and(|(pool, _)| pool.usable(address) && pool.admits(request))
    }

    fn tighten(&mut self, address: IpAddr, change: impl FnOnce(&mut Claim)) {
        let claim = self.claims.entry(address).or_default();
        let before = claim.state();
        change(claim);
        let after = claim.state();
        self.note(address, before, after);
    }

    fn loosen(&mut self, address: IpAddr, change: impl FnOnce(&mut Claim)) {
        let Some(claim) = self.claims.get_mut(&address) else {
            return;
        };
        let before = claim.state();
        change(claim);
        let after = claim.state();
        if after == State::Free {
            self.claims.remove(&address);
        }
        self.free(address);
        self.note(address, before, after);
    }

    /// Something about the address has become free; room under a quota is for either family.
    fn free(&mut self, address: IpAddr) {
        let quota = self
            .pool_with(address)
            .is_some_and(|(pool, _)| pool.quota.is_some());
        self.freed.insert(Family::of(address));
        if quota {
            self.freed.extend([Family::V4, Family::V6]);
        }
    }

    /// Keeps the free addresses of the pool in step with the claims.
    fn note(&mut self, address: IpAddr, before: State, after: State) {
        if before == after {
            return;
        }
        self.changes += 1;
        if let Some((id, span)) = self.locate(address)
            && let Some(pool) = self.pools.get_mut(id.0)
        {
            pool.note(span, address, before, after);
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

    fn pool_with(&self, address: IpAddr) -> Option<(&Pool, PoolId)> {
        let (id, _) = self.locate(address)?;
        Some((self.pool(id)?, id))
    }
}
