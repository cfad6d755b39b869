//! Deciding: from what changed to what has to be written. Pure: `now` is an argument, writes are a result.
//!
//! ```text
//!                 ┌─ config    user objects ─► compile ─► pools and rules in force, SpeakerConfig, verdicts
//! Model, Dirty ──►├─ service   request ─► allocator ─► placement ─► difference to the status ─► Write
//!                 └─ objects   verdicts, counters ─► difference to the status ─► Write
//! ```
//!
//! Only the leader decides. What it decided stays in memory until the Service is gone or the user changes something, so a
//! stale cache changes nothing; when its term begins it forgets all that and reads the cluster afresh, because another
//! leader may have decided since.

mod config;
mod object;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portolan_api::compile::Kind;
use portolan_api::condition::Verdict;
use portolan_api::crd::SpeakerConfigSpec;
use portolan_api::view::Service;

use crate::alloc::{Allocator, ServiceId, Usage};
use crate::ledger::Ledger;
use crate::model::{Dirty, Event, Model, Snapshot, Watch};
use crate::place::{Load, Placement};
use crate::write::{Failure, Outcome, Target, Write};

/// Time between a change of what is taken and the counters in the status of pools.
const COUNTERS_DELAY: Duration = Duration::from_secs(1);

/// The moment of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For deadlines.
    pub now: Instant,
    /// For timestamps that humans read.
    pub wall: Timestamp,
}

/// Figures about the present state, for metrics.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Services of ours that have what they want.
    pub assigned: usize,
    /// Services of ours that lack something, by reason.
    pub refused: BTreeMap<&'static str, usize>,
    /// Services that wait to be decided or written.
    pub waiting: usize,
    /// Addresses by pool, IPv4 and IPv6.
    pub pools: Vec<(String, Usage, Usage)>,
    /// Speakers that are alive.
    pub speakers: usize,
}

/// The decider. See the module.
#[derive(Debug)]
pub struct Core {
    model: Model,
    class: Option<String>,
    leading: bool,
    alloc: Allocator,
    placements: HashMap<ServiceId, Placement>,
    load: Load,
    /// Services of ours that have been decided, with the reason if they lack something.
    decided: BTreeMap<ServiceId, Option<&'static str>>,
    /// Services that have been looked at and wait for their turn.
    waiting: BTreeSet<ServiceId>,
    /// The configuration in force.
    config: SpeakerConfigSpec,
    verdicts: BTreeMap<(Kind, String), Vec<Verdict>>,
    ledger: Ledger,
    counters: Counters,
}

/// When the counters of pools are written next.
#[derive(Debug, Default)]
struct Counters {
    due: Option<Instant>,
    seen: u64,
}

impl Core {
    /// A core that knows nothing. `identity` is ours in the election, `namespace` our own, `class` the `loadBalancerClass`
    /// that we serve.
    #[must_use]
    pub fn new(identity: &str, namespace: &str, class: Option<String>) -> Self {
        let mut model = Model::new(identity);
        model.sources.namespace = Some(namespace.to_owned());
        Self {
            model,
            class,
            leading: false,
            alloc: Allocator::default(),
            placements: HashMap::new(),
            load: Load::default(),
            decided: BTreeMap::new(),
            waiting: BTreeSet::new(),
            config: SpeakerConfigSpec::default(),
            verdicts: BTreeMap::new(),
            ledger: Ledger::default(),
            counters: Counters::default(),
        }
    }

    /// Takes in an event. Returns the watch that has just become complete, if one has.
    pub fn observe(&mut self, event: Event, now: Instant) -> Option<Watch> {
        self.model.apply(event, now)
    }

    /// Takes in what became of a write.
    pub fn finish(&mut self, outcome: Outcome, now: Instant) {
        let Outcome { target, result } = outcome;
        self.ledger.end(&target, result.as_ref().err(), now);
        match result {
            Ok(event) => drop(self.model.apply(event, now)),
            // Its deletion comes with the watch.
            Err(Failure::Gone) => {}
            // Not the leader included: a term that was about to end may have been renewed since, and goes on.
            Err(_) => self.again(target),
        }
    }

    /// Whether everything that decisions depend on has been seen once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.model.is_synced()
    }

    /// The cluster is going to be read for [`Self::lead`].
    pub fn prepare_lead(&mut self) {
        self.model.prepare_refresh();
    }

    /// A term as leader begins: forgets what was decided in former ones and adopts what the cluster says now.
    pub fn lead(&mut self, snapshot: Snapshot, now: Instant) {
        self.model.refresh(snapshot);
        self.model.speakers.grace(now);
        self.alloc = Allocator::default();
        self.placements.clear();
        self.load = Load::default();
        self.decided.clear();
        self.waiting.clear();
        self.verdicts.clear();
        self.ledger.rest_no_more();
        self.counters = Counters::default();
        self.config = self
            .model
            .config
            .as_ref()
            .map(|c| c.spec.clone())
            .unwrap_or_default();
        self.leading = true;
        self.compile();
        self.adopt_all();
        self.model.dirty.all_services = true;
    }

    /// The term is over: nothing is decided until the next one.
    pub fn follow(&mut self) {
        self.leading = false;
    }

    /// Decides everything that changed, as far as there is room for writes.
    pub fn decide(&mut self, moment: Moment) -> Vec<Write> {
        if !self.leading {
            // A term begins with everything, so what changes before it need not be remembered.
            self.model.dirty = Dirty::default();
            return Vec::new();
        }
        if !self.is_synced() {
            return Vec::new();
        }
        let mut writes = Vec::new();
        self.ledger.rise(moment.now);
        if self.model.dirty.config {
            self.compile();
        }
        self.write_config(moment, &mut writes);
        self.look();
        // Whatever one Service gives up may be what another waits for.
        for _ in 0..2 {
            self.settle(moment, &mut writes);
            if !self.alloc.take_freed() {
                break;
            }
            let lacking = self.decided.iter().filter(|(_, reason)| reason.is_some());
            self.waiting.extend(lacking.map(|(id, _)| *id));
        }
        self.count(moment.now);
        self.write_objects(moment, &mut writes);
        writes
    }

    /// When to decide again even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if !self.leading {
            return None;
        }
        self.ledger
            .next_rest()
            .into_iter()
            .chain(self.counters.due)
            .min()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = Figures {
            waiting: self.waiting.len() + self.model.dirty.services.len(),
            speakers: self.model.speakers.count(),
            ..Figures::default()
        };
        for reason in self.decided.values() {
            match reason {
                Some(reason) => *figures.refused.entry(reason).or_default() += 1,
                None => figures.assigned += 1,
            }
        }
        let pools = self
            .alloc
            .usage()
            .map(|(name, v4, v6)| (name.to_owned(), v4, v6));
        figures.pools = pools.collect();
        figures
    }

    /// Makes every Service of ours the owner of what its status shows, the oldest first.
    fn adopt_all(&mut self) {
        let mut ours = Vec::new();
        for (id, entry) in self.model.services.iter() {
            let Some(service) = &entry.service else {
                continue;
            };
            let vips = vips(service);
            self.alloc.show(id, &vips);
            if service.wants(self.class.as_deref()) {
                let created = service.metadata.creation_timestamp.as_ref().map(|t| t.0);
                ours.push((created, &entry.key, id, vips));
                let placement = service::written_placement(service);
                self.load.add(&placement);
                self.placements.insert(id, placement);
            }
        }
        ours.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        for (_, _, id, vips) in ours {
            // Whoever came too late hears of it when it is decided.
            self.alloc.adopt(id, &vips);
        }
        // Nobody waits yet for what adoption took or left.
        self.alloc.take_freed();
    }

    /// Tells the allocator what every changed Service shows now, before anybody is decided.
    fn look(&mut self) {
        let dirty = std::mem::take(&mut self.model.dirty.services);
        self.waiting.extend(dirty);
        if std::mem::take(&mut self.model.dirty.all_services) {
            self.waiting
                .extend(self.model.services.iter().map(|(id, _)| id));
            self.waiting.extend(self.decided.keys());
        }
        for id in &self.waiting {
            let entry = self.model.services.get(*id);
            let service = entry.and_then(|entry| entry.service.as_deref());
            self.alloc.show(*id, &service.map(vips).unwrap_or_default());
        }
    }

    fn settle(&mut self, moment: Moment, writes: &mut Vec<Write>) {
        for id in std::mem::take(&mut self.waiting) {
            let Some(entry) = self.model.services.get(id) else {
                self.forget(id);
                continue;
            };
            let target = Target::Service(entry.key.clone());
            if !self.ledger.is_free(&target, moment.now) || self.ledger.room() == 0 {
                self.waiting.insert(id);
                continue;
            }
            if let Some(write) = self.settle_one(id, moment) {
                self.ledger.begin(target);
                writes.push(write);
            }
        }
    }

    /// The Service is gone: so is everything that it held.
    fn forget(&mut self, id: ServiceId) {
        self.alloc.show(id, &[]);
        self.alloc.release(id);
        self.decided.remove(&id);
        if let Some(placement) = self.placements.remove(&id) {
            self.load.remove(&placement);
        }
    }

    /// A write failed: look at its target again.
    fn again(&mut self, target: Target) {
        match target {
            Target::Service(key) => {
                let id = self.model.services.id(&key);
                self.model.dirty.services.extend(id);
            }
            Target::Object(kind, name) => {
                self.model.dirty.objects.insert((kind, name));
            }
            // Compared on every pass.
            Target::Config => {}
        }
    }
}

/// Addresses in the status that can be ours: a host name is somebody else's.
fn vips(service: &Service) -> Vec<IpAddr> {
    let entries = service.status.load_balancer.ingress.iter();
    let addresses = entries.filter(|entry| entry.hostname.is_none());
    addresses
        .filter_map(|entry| entry.ip.as_deref()?.parse().ok())
        .collect()
}
