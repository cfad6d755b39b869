//! Retention: the address of a deleted Service is kept for its name for a while, and given back on recreation.
//!
//! The record is `status.retained` of the pool, so it survives restarts and changes of the leader. Between a deletion and
//! that write every controller that runs knows of the deletion; only if all of them die in that moment is it lost.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portolan_api::ObjectKey;
use portolan_api::annotation::POOL;
use portolan_api::compile::{self, Kind};
use portolan_api::crd::Retained;

use super::{Core, Moment};

/// Most addresses that are retained in one pool, because its status has to hold them; the oldest ones go first.
const MOST: usize = 1000;
/// Most deletions that are remembered by a controller that does not lead.
const REMEMBERED: usize = 4096;

/// What is retained, and what may have to be.
#[derive(Debug, Default)]
pub(super) struct Retention {
    until: BTreeMap<(IpAddr, ObjectKey), Timestamp>,
    departed: VecDeque<Departed>,
    /// Those that this term retains, until the status of their pool has the record.
    unrecorded: Vec<Departed>,
    /// When the first retention ends.
    next: Option<Instant>,
}

/// A Service that went away.
#[derive(Debug)]
struct Departed {
    at: Instant,
    key: ObjectKey,
    addresses: Vec<IpAddr>,
}

impl Retention {
    fn remember(&mut self, departed: Departed) {
        if self.departed.len() >= REMEMBERED {
            self.departed.pop_front();
        }
        self.departed.push_back(departed);
    }

    /// When the first retention ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

impl Core {
    /// Remembers the Services that went away, with what they held.
    pub(super) fn mourn(&mut self, now: Instant) {
        for (id, service) in self.model.services.take_departed() {
            let decided: Vec<IpAddr> = self.alloc.holding(id).iter().collect();
            let written =
                service.annotation(POOL).is_some() && service.wants(self.class.as_deref());
            let addresses = match (self.leading, written) {
                (true, _) => decided,
                (false, true) => service.vips(),
                (false, false) => continue,
            };
            self.retention.remember(Departed {
                at: now,
                key: ObjectKey::clone(&service.key),
                addresses,
            });
        }
    }

    /// Reads what the status of pools says is retained. What the former term could not write any more is retained again.
    pub(super) fn recall(&mut self) {
        for departed in std::mem::take(&mut self.retention.unrecorded) {
            self.retention.remember(departed);
        }
        self.retention.until.clear();
        let pools = self.model.sources.pools.values();
        let records = pools.filter_map(|pool| pool.status.as_ref());
        for record in records.flat_map(|status| &status.retained) {
            if let Ok(address) = record.address.parse() {
                let key = ObjectKey::new(&record.namespace, &record.name);
                self.retention.until.insert((address, key), record.until.0);
            }
        }
        for (address, key) in self.retention.until.keys() {
            self.alloc.retain(*address, &key.namespace, &key.name);
        }
        self.review_retention();
        self.drop_what_came_back();
    }

    /// What a stand-by remembers may be long over: the Service is there again, or another one has its address.
    fn drop_what_came_back(&mut self) {
        let Self {
            retention,
            model,
            alloc,
            ..
        } = self;
        retention.departed.retain_mut(|departed| {
            departed
                .addresses
                .retain(|address| alloc.owners(*address).next().is_none());
            model.services.id(&departed.key).is_none() && !departed.addresses.is_empty()
        });
    }

    /// Retains what departed Services held, and ends what is over.
    pub(super) fn keep_for_the_departed(&mut self, moment: Moment) {
        for departed in std::mem::take(&mut self.retention.departed) {
            let age = moment.now.saturating_duration_since(departed.at);
            for &address in &departed.addresses {
                let kept = self.retain_of(address).unwrap_or_default();
                let left = kept.saturating_sub(age);
                let until = moment
                    .wall
                    .checked_add(SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX));
                if !left.is_zero() {
                    let until = until.unwrap_or(Timestamp::MAX);
                    self.retain(address, &departed.key, until);
                }
            }
            self.retention.unrecorded.push(departed);
        }
        self.forget_the_recorded();
        let over = self
            .retention
            .until
            .iter()
            .filter(|(_, until)| **until <= moment.wall);
        let over: Vec<(IpAddr, ObjectKey)> = over.map(|(one, _)| one.clone()).collect();
        for one in over {
            self.let_go_of(one);
        }
        let next = self.retention.until.values().min();
        self.retention.next = next.map(|until| {
            let left = until.duration_since(moment.wall);
            moment.now + Duration::try_from(left).unwrap_or_default()
        });
    }

    /// What the status of a pool says of the departed need not be remembered here.
    fn forget_the_recorded(&mut self) {
        if self.retention.unrecorded.is_empty() {
            return;
        }
        let pools = self.model.sources.pools.values();
        let records = pools.filter_map(|pool| pool.status.as_ref());
        let recorded: HashSet<(IpAddr, &str, &str)> = records
            .flat_map(|status| &status.retained)
            .filter_map(|one| Some((one.address.parse().ok()?, &*one.namespace, &*one.name)))
            .collect();
        let Retention {
            until, unrecorded, ..
        } = &mut self.retention;
        unrecorded.retain(|departed| {
            let Departed { key, addresses, .. } = departed;
            addresses.iter().any(|address| {
                until.contains_key(&(*address, key.clone()))
                    && !recorded.contains(&(*address, &*key.namespace, &*key.name))
            })
        });
    }

    /// Ends what no pool retains any more.
    pub(super) fn review_retention(&mut self) {
        let over = self
            .retention
            .until
            .keys()
            .filter(|(address, _)| self.retain_of(*address).is_none());
        for one in over.cloned().collect::<Vec<_>>() {
            self.let_go_of(one);
        }
    }

    /// The Service has its address back.
    pub(super) fn give_back(&mut self, key: &ObjectKey, address: IpAddr) {
        if !self.retention.until.is_empty() {
            self.let_go_of((address, key.clone()));
        }
    }

    /// What the status of the pool has to say.
    pub(super) fn retained_in(&self, pool: &str) -> Vec<Retained> {
        let all = self.retention.until.iter();
        let here = all.filter(|((address, _), _)| self.alloc.pool_of(*address) == Some(pool));
        let record = |((address, key), until): (&(IpAddr, ObjectKey), &Timestamp)| Retained {
            address: address.to_string(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            until: Time(*until),
        };
        here.map(record).collect()
    }

    fn retain(&mut self, address: IpAddr, key: &ObjectKey, until: Timestamp) {
        let Some(pool) = self.alloc.pool_of(address).map(str::to_owned) else {
            return;
        };
        if self.retention.until.len() >= MOST {
            let all = self.retention.until.iter();
            let here = all.filter(|((other, _), _)| self.alloc.pool_of(*other) == Some(&pool));
            let first = here.clone().min_by_key(|(_, until)| **until);
            let first = first
                .map(|(one, _)| one.clone())
                .filter(|_| here.count() >= MOST);
            if let Some(first) = first {
                self.let_go_of(first);
            }
        }
        // The record has seconds; a retention never ends before its time.
        let whole = until.as_second() + i64::from(until.subsec_nanosecond() > 0);
        let until = Timestamp::from_second(whole).unwrap_or(until);
        let known = self.retention.until.insert((address, key.clone()), until);
        if known.is_none() {
            self.alloc.retain(address, &key.namespace, &key.name);
        }
        self.model.dirty.objects.insert((Kind::Pool, pool));
    }

    fn let_go_of(&mut self, one: (IpAddr, ObjectKey)) {
        if self.retention.until.remove(&one).is_none() {
            return;
        }
        let (address, key) = one;
        self.alloc.let_go(address, &key.namespace, &key.name);
        let pool = self.alloc.pool_of(address).map(str::to_owned);
        let dirty = pool.map(|pool| (Kind::Pool, pool));
        self.model.dirty.objects.extend(dirty);
    }

    /// How long the pool that has the address retains it. One that it does not give out any more would only use up a quota.
    fn retain_of(&self, address: IpAddr) -> Option<Duration> {
        if !self.alloc.gives_out(address) {
            return None;
        }
        let pool = self.alloc.pool_of(address)?;
        let rule = self.config.pools.iter().find(|rule| rule.name == pool)?;
        compile::retention(&rule.spec)
    }
}
