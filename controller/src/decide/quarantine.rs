//! Quarantine: addresses that stations outside the cluster use, as speakers report them.
//!
//! ```text
//!                            ┌─ found before first use ─► given to nobody; whoever has just got it moves, or else is told
//! NodeReports ─► strangers ──┤                            record: status.quarantined of the pool
//!                            └─ heard later ────────────► those who have the address are told
//! ```
//!
//! An address that was ever in use moves nobody: clients know it, and only its user can say what shall become of it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portolan_api::annotation::LOAD_BALANCER_IPS;
use portolan_api::compile::Kind;
use portolan_api::crd::Quarantined;
use serde_json::{Map, Value, json};

use super::patch::ADDRESS_CONFLICT;
use super::recent::Recent;
use super::stranger::{Case, Cases, Sighting, When};
use super::{Core, Moment};
use crate::alloc::{Allocator, Assignment, Refusal, Request, ServiceId, Stranger};
use crate::model::Model;

/// Most addresses that the status of a pool names.
const RECORDED: usize = 64;
/// Most times that a Service is moved: whoever meets so many strangers has another problem, for example a router that answers
/// for everything.
const MOVES: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    cases: Cases,
    recent: Recent,
    moves: HashMap<ServiceId, Moves>,
    /// Somebody may have to be moved.
    restless: bool,
    /// When to look again.
    next: Option<Instant>,
}

/// How a Service was moved.
#[derive(Debug, Default)]
struct Moves {
    count: usize,
    /// From where, and what its user is told, until its status has followed.
    untold: Vec<(IpAddr, String)>,
}

impl Quarantine {
    /// When a stranger counts no more, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The Service is gone, or not ours any more.
    pub(super) fn forget(&mut self, service: ServiceId) {
        self.moves.remove(&service);
    }

    /// Places a Service, and remembers what it got without asking for it by name.
    pub(super) fn place(
        &mut self,
        alloc: &mut Allocator,
        request: &Request<'_>,
        now: Instant,
    ) -> Result<Assignment, Refusal> {
        let before = alloc.holding(request.holder);
        let placed = alloc.place(request);
        if request.exact.is_empty() {
            let after = alloc.holding(request.holder);
            let kept = |address| alloc.keeps(address, request.namespace, request.name);
            let fresh = after.iter().filter(|address| !before.contains(*address));
            for address in fresh.filter(|address| !kept(*address)) {
                self.recent.give(request.holder, address, now);
            }
        }
        placed
    }

    /// What a Service is told that was moved, as long as its status shows where it was.
    pub(super) fn farewell(
        &mut self,
        service: ServiceId,
        shown: &[IpAddr],
    ) -> Vec<(bool, &'static str, String)> {
        let Some(moves) = self.moves.get_mut(&service) else {
            return Vec::new();
        };
        moves.untold.retain(|(from, _)| shown.contains(from));
        let words = moves.untold.iter().map(|(_, words)| words.clone());
        words.map(|words| (true, ADDRESS_CONFLICT, words)).collect()
    }

    /// What is said of the first of some addresses that a stranger uses.
    pub(super) fn words(&self, addresses: impl Iterator<Item = IpAddr>) -> Option<String> {
        let mut told = addresses.filter_map(|address| Some((address, self.cases.told(address)?)));
        let (address, (when, case)) = told.next()?;
        let Case { stranger, .. } = case;
        let uses = match when {
            When::BeforeUse => "uses it already, so the node does not answer for it",
            When::Later => "uses it as well",
        };
        Some(format!(
            "{address}: {stranger} {uses}: take it from that station, or ask for another address ({LOAD_BALANCER_IPS})"
        ))
    }
}

impl Core {
    /// Reads what the status of pools says is in quarantine.
    pub(super) fn recall_quarantine(&mut self) {
        self.quarantine = Quarantine::default();
        let pools = self.model.sources.pools.values();
        let records = pools.filter_map(|pool| pool.status.as_ref());
        for record in records.flat_map(|status| &status.quarantined) {
            let Ok(address) = record.address.parse() else {
                continue;
            };
            let case = recorded(record);
            self.alloc.quarantine(address, case.stranger.clone());
            self.quarantine.cases.recall(address, case);
        }
    }

    /// Looks at what speakers report of strangers, if that may have changed.
    pub(super) fn review_strangers(&mut self, moment: Moment) {
        self.quarantine.recent.expire(moment.now);
        for address in std::mem::take(&mut self.model.dirty.answered) {
            self.quarantine.recent.answer(address);
        }
        let due = self.quarantine.next.is_some_and(|next| next <= moment.now);
        // Whether speakers are alive is told to all Services.
        let news = std::mem::take(&mut self.model.dirty.conflicts) || self.model.dirty.all_services;
        if !news && !due {
            return;
        }
        let sightings = sightings(&self.model, &self.alloc);
        let (cases, next) = self.quarantine.cases.review(sightings, moment);
        let before = std::mem::replace(&mut self.quarantine.cases, cases.clone());
        self.quarantine.next = next;
        self.quarantine.restless = true;
        let keys: BTreeSet<(IpAddr, When)> = before
            .iter()
            .chain(cases.iter())
            .map(|(address, when, _)| (address, when))
            .collect();
        for (address, when) in keys {
            let (before, after) = (before.get(address, when), cases.get(address, when));
            if before == after {
                continue;
            }
            if when == When::BeforeUse {
                match after {
                    Some(case) => self.alloc.quarantine(address, case.stranger.clone()),
                    None => self.alloc.absolve(address),
                }
                let pool = self.alloc.pool_of(address).map(str::to_owned);
                let pool = pool.map(|pool| (Kind::Pool, pool));
                self.model.dirty.objects.extend(pool);
            }
            let owners: Vec<ServiceId> = self.alloc.owners(address).collect();
            self.wait(owners);
        }
    }

    /// Moves Services off addresses that strangers answered for before anybody used them.
    pub(super) fn move_off(&mut self, moment: Moment) {
        if !std::mem::take(&mut self.quarantine.restless) {
            return;
        }
        let found = self.quarantine.cases.iter();
        let found =
            found.filter(|(_, when, case)| *when == When::BeforeUse && case.until.is_none());
        let found: Vec<(IpAddr, Stranger)> = found
            .map(|(address, _, case)| (address, case.stranger.clone()))
            .collect();
        for (address, stranger) in found {
            let owners: Vec<ServiceId> = self.alloc.owners(address).collect();
            if owners.is_empty() || !self.may_move(address, &owners, moment.now) {
                continue;
            }
            let Some(there) = self.relocate(address, &owners) else {
                continue;
            };
            for owner in &owners {
                self.quarantine.recent.give(*owner, there, moment.now);
                let moves = self.quarantine.moves.entry(*owner).or_default();
                moves.count += 1;
                let words = format!(
                    "{address}: {stranger} uses it already: this Service gets {there} instead, and nobody gets {address} \
                     before the station is gone"
                );
                moves.untold.push((address, words));
            }
            self.wait(owners);
        }
    }

    /// Whether nobody would notice if the Services had another address.
    fn may_move(&self, address: IpAddr, owners: &[ServiceId], now: Instant) -> bool {
        let Quarantine { recent, moves, .. } = &self.quarantine;
        let settled = |id: &ServiceId| {
            let count = moves.get(id).map_or(0, |moves| moves.count);
            count < MOVES && self.contests.yields(*id, now).is_none()
        };
        recent.is_fresh(address, owners)
            && !self.model.reports.answers(address)
            && owners.iter().all(settled)
    }

    /// Gives those who have an address another one, unless one of them asks for addresses by name.
    fn relocate(&mut self, address: IpAddr, owners: &[ServiceId]) -> Option<IpAddr> {
        let Self {
            model,
            alloc,
            class,
            ..
        } = self;
        let mut requests = Vec::new();
        for id in owners {
            let entry = model.services.get(*id)?;
            let service = entry.service.as_deref()?;
            let labels = &model.namespaces.get(&entry.key.namespace)?.labels;
            let request = Request::of(*id, service, Some(labels)).ok()?;
            let ours = service.wants(class.as_deref()) && request.exact.is_empty();
            let age = ours.then_some((service.created, &entry.key))?;
            requests.push((age, request));
        }
        requests.sort_by_key(|(age, _)| *age);
        let requests: Vec<Request<'_>> = requests.into_iter().map(|(_, request)| request).collect();
        alloc.relocate(address, &requests)
    }

    /// The record of what is in quarantine in a pool, as far as it differs from that in its status.
    pub(super) fn quarantined_of(&self, name: &str) -> Map<String, Value> {
        let mut changes = Map::new();
        let Some(pool) = self.model.sources.pools.get(name) else {
            return changes;
        };
        let cases = self.quarantine.cases.iter();
        let here = cases.filter(|(address, when, _)| {
            *when == When::BeforeUse && self.alloc.pool_of(*address) == Some(name)
        });
        let mut now: Vec<Quarantined> = here
            .map(|(address, _, case)| record(address, case))
            .collect();
        let count = i64::try_from(now.len()).unwrap_or(i64::MAX);
        now.truncate(RECORDED);
        let held = pool.status.clone().unwrap_or_default();
        if held.quarantined != now {
            let list = if now.is_empty() {
                Value::Null
            } else {
                json!(now)
            };
            changes.insert("quarantined".to_owned(), list);
        }
        if held.quarantined_count != count {
            changes.insert("quarantinedCount".to_owned(), json!(count));
        }
        changes
    }
}

/// What speakers that are alive report of addresses of pools.
fn sightings(model: &Model, alloc: &Allocator) -> Vec<Sighting> {
    let conflicts = model.reports.conflicts();
    let conflicts = conflicts.filter(|(address, node, _)| {
        model.speakers.live(node) && alloc.pool_of(*address).is_some()
    });
    let sighting = |(address, node, conflict): (IpAddr, &str, &crate::model::Conflict)| Sighting {
        address,
        when: if conflict.before_use {
            When::BeforeUse
        } else {
            When::Later
        },
        stranger: Stranger {
            node: node.into(),
            interface: conflict.interface.clone(),
            mac: conflict.mac.clone(),
        },
        heard: conflict.heard,
    };
    conflicts.map(sighting).collect()
}

fn record(address: IpAddr, case: &Case) -> Quarantined {
    let Case {
        stranger,
        since,
        until,
        ..
    } = case;
    Quarantined {
        address: address.to_string(),
        mac: stranger.mac.to_string(),
        node: stranger.node.to_string(),
        interface: stranger.interface.to_string(),
        since: Time(*since),
        until: until.map(Time),
    }
}

fn recorded(record: &Quarantined) -> Case {
    Case {
        stranger: Stranger {
            node: record.node.as_str().into(),
            interface: record.interface.as_str().into(),
            mac: record.mac.as_str().into(),
        },
        since: record.since.0,
        until: record.until.as_ref().map(|until| until.0),
        // Turns out at the first review.
        told: false,
    }
}
