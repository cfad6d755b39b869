//! What holds when nothing moves any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use portolan_api::ObjectKey;
use portolan_api::annotation::POOL;
use portolan_api::compile;
use portolan_api::crd::IPAddressPoolSpec;
use portolan_api::range::Family;
use portolan_api::view::Service;

use super::rules::{self, is_balancer, is_marked, promised, verdict};
use super::server::{Author, Entry, Kind, Object, State};
use super::strangers;
use super::user::{ADDRESSES, NAMESPACES};
use super::world::{Usage, World};

/// Whatever is due later than this does not keep a cluster from rest.
const SOON: Duration = Duration::from_secs(15);
/// Rounds of decisions and writes in which everything must come to rest.
const ROUNDS: usize = 80;

type Pools<'a> = [(&'a str, &'a IPAddressPoolSpec)];

impl World {
    /// Delivers everything, lets every write happen and every rest pass, and looks at the result.
    pub(crate) fn rest(&mut self) -> Result<(), String> {
        self.calm()?;
        self.look()
    }

    /// The end of a history: rest, whatever is due much later, and a restart.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.rest()?;
        for _ in 0..20 {
            let Some(due) = self.leader.and_then(|who| self.deadline(who)) else {
                break;
            };
            self.wait(due.saturating_duration_since(self.now));
            self.rest()?;
        }
        self.restart()
    }

    /// A controller that starts when everything is at rest has nothing to write, except that a Service which is refused may
    /// hear of another one of its reasons.
    fn restart(&mut self) -> Result<(), String> {
        for who in 0..2 {
            self.kill(who);
        }
        self.lose_stragglers();
        let before = self.server.state.clone();
        self.calm()?;
        for (key, object) in &self.server.state {
            let held = before.get(key).expect("nobody creates anything now");
            if held.meta().resource_version == object.meta().resource_version {
                continue;
            }
            let is_told_why = match (held, object) {
                (Object::Service(held), Object::Service(now)) => {
                    let refused = |s: &Service| verdict(s).is_some_and(|(assigned, _)| !assigned);
                    let same = held.status.load_balancer == now.status.load_balancer
                        && held.metadata.annotations == now.metadata.annotations;
                    let contested = verdict(held).is_some_and(|(_, r)| r == "StatusContested");
                    contested || (same && refused(held) && refused(now))
                }
                _ => false,
            };
            if !is_told_why {
                let name = &key.1;
                return Err(format!("a restart at rest writes to {:?} {name}", key.0));
            }
        }
        self.look()
    }

    fn calm(&mut self) -> Result<(), String> {
        self.lose_stragglers();
        self.land_all()?;
        for _ in 0..ROUNDS {
            let who = self.take_office()?;
            for to in 0..2 {
                self.notice(to);
                self.catch_up(to);
                self.answer(to);
            }
            let decided = self.decide(who) + self.decide(1 - who);
            self.land_all()?;
            if decided > 0 || self.controllers[who].lags(&self.server) {
                continue;
            }
            match self.deadline(who) {
                Some(due) if due <= self.now + SOON => {
                    // A moment that has passed is due now.
                    let left = due.saturating_duration_since(self.now);
                    self.wait(left.max(Duration::from_millis(1)));
                }
                _ => return Ok(()),
            }
        }
        Err(format!("no rest after {ROUNDS} rounds"))
    }

    fn look(&mut self) -> Result<(), String> {
        let state = &self.server.state;
        let pools = rules::in_force(state);
        agree(state, &pools)?;
        self.look_at_retention(&pools)?;
        let addresses: Vec<IpAddr> = ADDRESSES.iter().map(|a| a.parse().unwrap()).collect();
        strangers::look(&self.server, self.wall, &addresses)?;
        let usage = self.look_at_quotas(&pools)?;
        for (key, service) in rules::services(state) {
            let seen = if rules::is_ours(service) {
                self.look_at(&pools, key, service)
            } else if (is_balancer(service) && service.annotation(POOL).is_none())
                || !is_marked(service)
            {
                // A condition alone may be that of a controller of the other class.
                Ok(())
            } else if is_marked(service) {
                Err("it is not ours, and bears our marks".to_owned())
            } else {
                Ok(())
            };
            seen.map_err(|why| {
                let shows = service.vips();
                format!(
                    "at rest: {key} shows {shows:?} and says {:?}: {why}",
                    verdict(service)
                )
            })?;
        }
        let seen = self.seen_at_rest();
        self.seen.extend(seen);
        self.rested = Some((self.server.head(), self.term, usage));
        Ok(())
    }

    /// A Service of ours at rest.
    fn look_at(&self, pools: &Pools<'_>, key: &ObjectKey, service: &Service) -> Result<(), String> {
        let state = &self.server.state;
        let Some((assigned, reason)) = verdict(service) else {
            return Err("it says nothing".to_owned());
        };
        if reason == "StatusContested" {
            return Ok(());
        }
        let shown = service.vips();
        if reason == "AddressOutsidePools" && service.annotation(POOL).is_none() {
            let home = |a: &IpAddr| pools.iter().any(|(_, spec)| rules::offers(spec, *a));
            if !shown.is_empty() && !shown.iter().all(home) {
                return Ok(());
            }
        }
        lawful(state, pools, key, service)?;
        let Ok(exact) = rules::exact(service) else {
            return (!assigned && reason == "InvalidRequest")
                .then_some(())
                .ok_or_else(|| "its request makes no sense".to_owned());
        };
        let wanted = rules::families(service);
        let has = |family: &Family| shown.iter().any(|a| Family::of(*a) == *family);
        let missing: Vec<Family> = wanted.iter().copied().filter(|f| !has(f)).collect();
        let content = shown.iter().all(|a| rules::is_asked(pools, service, *a));
        let partly = rules::one_will_do(service) && exact.is_empty() && !shown.is_empty();
        let expected = match (missing.is_empty(), content) {
            (true, true) if shown.iter().any(|a| rules::is_of_a_node(state, *a)) => {
                (true, "AddressUsedByNode")
            }
            (true, true) => (true, self.content(&shown, reason)),
            (false, true) if partly => (true, "PartiallyAssigned"),
            _ => (false, reason),
        };
        if (assigned, reason) != expected {
            return Err(format!("it should say {expected:?}"));
        }
        let homes: BTreeSet<&str> = homes(pools, &shown).collect();
        let told: BTreeSet<&str> = service
            .annotation(POOL)
            .into_iter()
            .flat_map(|p| p.split(','))
            .collect();
        if homes != told {
            return Err(format!("its pools are {homes:?}, it says {told:?}"));
        }
        if content && missing.is_empty() {
            return Ok(());
        }
        let free = |address: &IpAddr| self.is_free(pools, key, service, *address);
        if !exact.is_empty() {
            let rest = exact.iter().filter(|a| !shown.contains(*a));
            let all = exact.iter().all(|a| rules::is_asked(pools, service, *a));
            let room = |(_, spec): &(&str, &IPAddressPoolSpec)| self.has_room(spec, key, 2);
            return if all && pools.iter().all(room) && rest.clone().all(free) {
                Err(format!("{exact:?} could be given"))
            } else {
                Ok(())
            };
        }
        self.could_be_served(pools, key, service, &missing)
    }

    /// What a Service says that has all it wants, none of it an address of a node; it says `reason`.
    fn content(&self, shown: &[IpAddr], reason: &str) -> &'static str {
        let (state, wall) = (&self.server.state, self.wall);
        let mut lingering = shown
            .iter()
            .filter(|address| strangers::lingers(&self.server, wall, **address));
        let told = reason == "AddressConflict" && lingering.next().is_some();
        let mut shown = shown.iter();
        if told || shown.any(|address| strangers::is_reported(state, wall, *address, None)) {
            "AddressConflict"
        } else {
            "Assigned"
        }
    }

    /// Whether the Service may have the address now, beside those who have it.
    fn is_free(
        &self,
        pools: &Pools<'_>,
        key: &ObjectKey,
        service: &Service,
        address: IpAddr,
    ) -> bool {
        let state = &self.server.state;
        let crosses = rules::crosses(pools, address);
        let mut others = rules::services(state).filter(|(other, _)| *other != key);
        rules::is_open(state, pools, service, address)
            && !rules::is_of_a_node(state, address)
            && !strangers::is_recorded(state, address)
            && !rules::is_reserved_for_others(pools, key, address)
            && !rules::is_retained_for_others(state, self.wall, key, address)
            && others.all(|(_, theirs)| {
                // What another program has overwritten is theirs all the same.
                let kept = is_left_alone(theirs) && promised(theirs).contains(&address);
                let shown = theirs.vips().contains(&address);
                (!shown && !kept)
                    || (rules::is_ours(theirs) && rules::may_share(service, theirs, crosses))
            })
    }

    /// Whether the namespace of the Service may take more addresses of the pool.
    fn has_room(&self, spec: &IPAddressPoolSpec, key: &ObjectKey, more: i64) -> bool {
        let Some(quota) = &spec.quota else {
            return true;
        };
        let taken = self.taken(spec, key).len();
        i64::try_from(taken).unwrap() + more <= quota.addresses_per_namespace
    }

    /// Addresses of the pool that count against the quota of a namespace.
    fn taken(&self, spec: &IPAddressPoolSpec, key: &ObjectKey) -> BTreeSet<IpAddr> {
        let state = &self.server.state;
        let mates = rules::services(state)
            .filter(|(other, theirs)| other.namespace == key.namespace && rules::is_ours(theirs));
        let held = mates.flat_map(|(_, service)| {
            // What another program writes there was not given by us.
            if is_left_alone(service) {
                promised(service)
            } else {
                service.vips()
            }
        });
        let retained = rules::retained(state).into_iter();
        let retained = retained.filter(|(_, owner, _)| owner.namespace == key.namespace);
        let all = held.chain(retained.map(|(at, ..)| at));
        all.filter(|a| rules::offers(spec, *a)).collect()
    }

    /// What is retained is retained for somebody who is gone, and not beyond its time; and nothing is forgotten.
    fn look_at_retention(&self, pools: &Pools<'_>) -> Result<(), String> {
        let state = &self.server.state;
        let retained = rules::retained(state);
        for (address, owner, until) in &retained {
            let home = pools.iter().find(|(_, spec)| in_ranges(spec, *address));
            let Some(kept) = home.and_then(|(_, spec)| compile::retention(spec)) else {
                return Err(format!("{address} is retained for {owner} by no pool"));
            };
            if *until <= self.wall {
                return Err(format!("{address} is retained for {owner} beyond {until}"));
            }
            // The record has whole seconds, and a retention never ends early.
            let longest = Duration::from_secs(3600).max(kept) + Duration::from_secs(1);
            let left = Duration::try_from(until.duration_since(self.wall)).unwrap_or_default();
            if left > longest {
                return Err(format!("{address} is retained for {owner} for {left:?}"));
            }
            let back = rules::service(state, owner);
            if back
                .is_some_and(|service| rules::is_ours(service) && service.vips().contains(address))
            {
                return Err(format!(
                    "{owner} has {address} again, and it is still retained"
                ));
            }
        }
        let deletions = self
            .server
            .log
            .iter()
            .filter(|entry| entry.kind == Kind::Service && entry.object.is_none());
        for gone in deletions {
            self.is_remembered(gone, &retained)?;
        }
        Ok(())
    }

    /// What a Service held that was deleted in quiet times is retained.
    fn is_remembered(
        &self,
        gone: &Entry,
        retained: &[(IpAddr, ObjectKey, Timestamp)],
    ) -> Result<(), String> {
        let of_it = |entry: &&Entry| entry.kind == Kind::Service && entry.key == gone.key;
        let since = self
            .server
            .log
            .iter()
            .filter(|entry| entry.version > gone.version);
        let mut before = self
            .server
            .log
            .iter()
            .filter(|entry| entry.version < gone.version);
        let Some(last) = before.rfind(of_it) else {
            return Ok(());
        };
        let Some(Object::Service(service)) = &last.object else {
            return Ok(());
        };
        let content = rules::is_ours(service)
            && last.author == Author::Controller
            && verdict(service).is_some_and(|(assigned, _)| assigned);
        if !content || self.upset >= last.version || since.clone().any(|entry| of_it(&entry)) {
            return Ok(());
        }
        for address in service.vips() {
            let kept_by = |state: &State| {
                let pools = rules::in_force(state);
                let home = pools.iter().find(|(_, spec)| rules::offers(spec, address));
                let written = rules::written(state);
                let same = |(name, spec): &&(&str, &IPAddressPoolSpec)| {
                    written
                        .iter()
                        .any(|(other, theirs)| other == name && theirs == spec)
                };
                home.filter(same)
                    .and_then(|(_, spec)| compile::retention(spec))
            };
            let mut shortest = kept_by(&self.server.at(last.version));
            for entry in self
                .server
                .log
                .iter()
                .filter(|entry| entry.version > last.version)
            {
                shortest = shortest.min(kept_by(&self.server.at(entry.version)));
            }
            let Some(kept) = shortest else { continue };
            // The record has seconds.
            let passed = Duration::try_from(self.wall.duration_since(gone.at)).unwrap_or_default();
            let due = passed + Duration::from_secs(1) < kept;
            let found = retained
                .iter()
                .any(|(at, owner, _)| *at == address && *owner == gone.key);
            if due && !found {
                return Err(format!("{address} of {} is not retained", gone.key));
            }
        }
        Ok(())
    }

    /// Between two rests without a change of pools, of leaders, or by hand, nobody goes beyond a quota.
    fn look_at_quotas(&self, pools: &Pools<'_>) -> Result<Usage, String> {
        let mut usage = Usage::new();
        for (name, spec) in pools {
            for namespace in NAMESPACES {
                let key = ObjectKey::new(namespace, "");
                let taken = self.taken(spec, &key).len();
                usage.insert(((*name).to_owned(), namespace.to_owned()), taken);
            }
        }
        if let Some((version, term, before)) = &self.rested
            && *term == self.term
            && !self.is_upset_since(*version)
        {
            for (name, spec) in pools.iter().filter(|(_, spec)| spec.quota.is_some()) {
                let limit = spec.quota.as_ref().map_or(0, |q| q.addresses_per_namespace);
                for namespace in NAMESPACES {
                    let index = ((*name).to_owned(), namespace.to_owned());
                    let (old, new) = (before.get(&index).copied().unwrap_or(0), usage[&index]);
                    if new > old && i64::try_from(new).unwrap() > limit {
                        return Err(format!(
                            "{namespace} has {new} addresses of pool {name} now, {limit} are allowed"
                        ));
                    }
                }
            }
        }
        Ok(usage)
    }

    /// Whether pools changed, or a status by hand.
    fn is_upset_since(&self, version: u64) -> bool {
        let mut state = self.server.at(version);
        self.server
            .log
            .iter()
            .filter(|entry| entry.version > version)
            .any(|entry| {
                let key = (entry.kind, entry.key.clone());
                let held = state.remove(&key);
                if let Some(object) = &entry.object {
                    state.insert(key, object.clone());
                }
                match (held, &entry.object) {
                    (Some(Object::Service(held)), Some(Object::Service(now))) => {
                        entry.author == Author::User && held.status != now.status
                    }
                    (Some(Object::Pool(held)), Some(Object::Pool(now))) => held.spec != now.spec,
                    _ => matches!(entry.kind, Kind::Pool | Kind::Config),
                }
            })
    }

    /// What there is to be seen now, for the proof that histories come to it.
    fn seen_at_rest(&self) -> BTreeSet<String> {
        let state = &self.server.state;
        let reasons = rules::services(state).filter_map(|(_, service)| verdict(service));
        let mut seen: BTreeSet<String> = reasons.map(|(_, reason)| reason.to_owned()).collect();
        if !rules::retained(state).is_empty() {
            seen.insert("retained".to_owned());
        }
        let suspect = |address: &&str| {
            let address = address.parse().unwrap();
            strangers::is_shut(state, self.wall, address)
        };
        if ADDRESSES.iter().any(suspect) {
            seen.insert("quarantined".to_owned());
        }
        let assigned = |s: &Service| rules::is_ours(s) && verdict(s).is_some_and(|(yes, _)| yes);
        let holders = rules::services(state).filter(|(_, service)| assigned(service));
        let shown: Vec<IpAddr> = holders.flat_map(|(_, service)| service.vips()).collect();
        let distinct: BTreeSet<&IpAddr> = shown.iter().collect();
        if distinct.len() < shown.len() {
            seen.insert("shared".to_owned());
        }
        seen
    }

    /// Services of ours that have what they want, with their addresses.
    pub(crate) fn content_holders(&self) -> BTreeMap<ObjectKey, Vec<IpAddr>> {
        let pools = rules::in_force(&self.server.state);
        let content = rules::services(&self.server.state).filter(|(_, service)| {
            let asked = service
                .vips()
                .iter()
                .all(|a| rules::is_asked(&pools, service, *a));
            rules::is_ours(service)
                && asked
                && verdict(service).is_some_and(|(assigned, _)| assigned)
        });
        content
            .map(|(key, service)| (key.clone(), service.vips()))
            .collect()
    }

    /// Whether the naive search finds what the Service lacks.
    fn could_be_served(
        &self,
        pools: &Pools<'_>,
        key: &ObjectKey,
        service: &Service,
        missing: &[Family],
    ) -> Result<(), String> {
        // Of a pool with a quota, both addresses at once need room for two.
        let both = missing.len() > 1 && !rules::one_will_do(service);
        let usable = |(name, spec): &&(&str, &IPAddressPoolSpec)| {
            let open = rules::named_pool(service).map_or(spec.auto_assign, |named| named == *name);
            open && self.has_room(spec, key, if both { 2 } else { 1 })
        };
        let candidates: Vec<_> = pools.iter().filter(usable).copied().collect();
        let find = |family: Family| {
            let all = ADDRESSES.iter().map(|text| text.parse::<IpAddr>().unwrap());
            let mut of_family = all.filter(|a| Family::of(*a) == family);
            of_family.find(|a| self.is_free(&candidates, key, service, *a))
        };
        let found: Vec<IpAddr> = missing.iter().filter_map(|family| find(*family)).collect();
        let served = if rules::one_will_do(service) {
            !found.is_empty()
        } else {
            !missing.is_empty() && found.len() == missing.len()
        };
        // Somebody who names another pool moves there as soon as it has everything.
        let moved = missing.is_empty() && {
            let wanted = rules::families(service);
            wanted.len() == 1 && wanted.iter().all(|family| find(*family).is_some())
        };
        if served || moved {
            return Err(format!("it could have {found:?}"));
        }
        Ok(())
    }
}

/// Whether the status of the Service is somebody else's business.
fn is_left_alone(service: &Service) -> bool {
    verdict(service).is_some_and(|(_, reason)| {
        reason == "StatusContested"
            || (reason == "AddressOutsidePools" && service.annotation(POOL).is_none())
    })
}

fn homes<'a>(pools: &'a Pools<'a>, addresses: &'a [IpAddr]) -> impl Iterator<Item = &'a str> {
    let of =
        |(_, spec): &&(&str, &IPAddressPoolSpec)| addresses.iter().any(|a| rules::offers(spec, *a));
    pools.iter().filter(of).map(|(name, _)| *name)
}

/// What a Service shows at rest is lawful.
fn lawful(
    state: &State,
    pools: &Pools<'_>,
    key: &ObjectKey,
    service: &Service,
) -> Result<(), String> {
    let shown = service.vips();
    let mut families = BTreeSet::new();
    for address in &shown {
        if !families.insert(Family::of(*address)) {
            return Err("two addresses of one family".to_owned());
        }
        if !pools.iter().any(|(_, spec)| rules::offers(spec, *address)) {
            return Err(format!("no pool has {address}"));
        }
        if rules::exact(service).is_err() {
            continue;
        }
        if !rules::is_open(state, pools, service, *address) {
            return Err(format!("the pool of {address} is not open to it"));
        }
        if !rules::families(service).contains(&Family::of(*address)) {
            return Err(format!("nobody wants {address}"));
        }
        for (other, theirs) in rules::services(state).filter(|(other, _)| *other != key) {
            let both = rules::is_ours(theirs) && theirs.vips().contains(address);
            if both && !is_left_alone(theirs) && !rules::may_share(service, theirs, true) {
                return Err(format!("{other} has {address} too"));
            }
        }
    }
    Ok(())
}

fn in_ranges(spec: &IPAddressPoolSpec, address: IpAddr) -> bool {
    let ranges = compile::ranges(spec).unwrap_or_default();
    ranges.iter().any(|range| range.contains(address))
}

/// The pools in force are those that users wrote, as far as they make sense and do not overlap.
fn agree(state: &State, pools: &Pools<'_>) -> Result<(), String> {
    let addresses: Vec<IpAddr> = ADDRESSES.iter().map(|a| a.parse().unwrap()).collect();
    let of = |spec: &IPAddressPoolSpec| -> BTreeSet<IpAddr> {
        let ranges = compile::ranges(spec).unwrap_or_default();
        let has = |a: &IpAddr| ranges.iter().any(|range| range.contains(*a));
        addresses.iter().copied().filter(has).collect()
    };
    for (index, (name, spec)) in pools.iter().enumerate() {
        for (other, theirs) in pools.iter().skip(index + 1) {
            if !of(spec).is_disjoint(&of(theirs)) {
                return Err(format!("pools {name} and {other} in force overlap"));
            }
        }
    }
    let written = rules::written(state);
    for (name, _) in pools {
        if !written.iter().any(|(other, _)| other == name) {
            return Err(format!("pool {name} is in force, and there is none"));
        }
    }
    for (name, spec) in &written {
        let held = pools.iter().find(|(other, _)| other == name);
        if held.is_some_and(|(_, held)| held == spec) || !makes_sense(spec) {
            continue;
        }
        let others = written
            .iter()
            .chain(pools)
            .filter(|(other, _)| other != name);
        let mut others = others.map(|(_, spec)| of(spec));
        if others.all(|other| other.is_disjoint(&of(spec))) {
            return Err(format!(
                "pool {name} stands in nobody's way, and is not in force"
            ));
        }
    }
    Ok(())
}

/// Whether a pool can be in force as it is written.
fn makes_sense(spec: &IPAddressPoolSpec) -> bool {
    let Ok(ranges) = compile::ranges(spec) else {
        return false;
    };
    let mut seen = BTreeSet::new();
    let reservations = compile::reservations(spec).all(|(address, one)| {
        let name = (&one.namespace, &one.name, Family::of(address));
        rules::offers(spec, address) && seen.insert(name)
    });
    let apart = ranges.iter().enumerate().all(|(index, range)| {
        let mut rest = ranges.iter().skip(index + 1);
        rest.all(|other| !other.overlaps(range))
    });
    reservations && apart
}
