//! Deciding: from what changed to what has to be written. Pure: `now` is an argument, writes are a result.
//!
//! ```text
//!                 ┌─ config    user objects ─► compile ─► pools and rules in force, SpeakerConfig, verdicts
//! Model, Dirty ──►├─ retention deletions ─► what is kept for whom
//!                 ├─ quarantine strangers ─► what nobody gets, and who moves
//!                 ├─ service   request ─► allocator ─► placement ─► patch: difference to the status ─► Write
//!                 └─ object    verdicts, pool: counters and conditions ─► difference to the status ─► Write
//! ```
//!
//! Only the leader decides. What it decided stays in memory until the Service is gone or the user changes something, so a
//! stale cache changes nothing; when its term begins it forgets all that and reads the cluster afresh, because another
//! leader may have decided since.

mod agenda;
mod config;
mod contest;
mod muster;
mod object;
mod patch;
mod placement;
mod pool;
mod quarantine;
mod recent;
mod retention;
mod service;
mod spread;
mod standing;
mod stranger;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portolan_api::ObjectKey;
use portolan_api::annotation::HELD;
use portolan_api::compile::Kind;
use portolan_api::condition::Verdict;
use portolan_api::crd::SpeakerConfigSpec;
use portolan_api::range::Family;

use crate::alloc::{Allocator, Holding, Request, ServiceId, Usage};
use crate::ledger::Ledger;
use crate::model::{Dirty, Event, Model, Service, Snapshot, Watch};
use crate::place::{Board, Ground};
use crate::write::{Failure, Outcome, Target, Write};
use agenda::Agenda;
use contest::Contests;
use muster::Muster;
use quarantine::Quarantine;
use retention::Retention;
use standing::{Standings, Waiting};

/// Time between a change of what is taken and the counters in the status of pools.
const COUNTERS_DELAY: Duration = Duration::from_secs(1);

/// Writes that Services leave for other objects.
const FOR_OBJECTS: usize = 16;
/// How often one decision follows what it has set free.
const ROUNDS: usize = 4;

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
    /// Services whose status another program rewrites.
    pub contested: usize,
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
    /// Who may answer on layer 2, and who does.
    ground: Ground,
    board: Board,
    agenda: Agenda,
    muster: Muster,
    /// Services of ours that have been decided.
    standings: Standings,
    contests: Contests,
    retention: Retention,
    quarantine: Quarantine,
    /// Services that have been looked at and wait for their turn.
    waiting: Waiting,
    /// When somebody has to be decided again.
    soon: Option<Instant>,
    /// The configuration in force.
    config: SpeakerConfigSpec,
    verdicts: BTreeMap<(Kind, String), Vec<Verdict>>,
    ledger: Ledger,
    counters: Counters,
    /// Warnings about pools, and when they were given.
    warned: HashMap<(String, String), Instant>,
}

/// What the words for a Service that waits say of a pool.
#[derive(Debug, PartialEq, Eq)]
struct Dry {
    pool: String,
    exhausted: bool,
    /// Addresses that strangers use.
    quarantined: usize,
    /// With a quota, any change may matter to some namespace.
    change: Option<u64>,
}

/// When the counters of pools are written next.
#[derive(Debug, Default)]
struct Counters {
    due: Option<Instant>,
    seen: u64,
    /// By family, what the words for those who wait depend on.
    dry: BTreeMap<Family, Vec<Dry>>,
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
            ground: Ground::default(),
            board: Board::default(),
            agenda: Agenda::default(),
            muster: Muster::default(),
            standings: Standings::default(),
            contests: Contests::default(),
            retention: Retention::default(),
            quarantine: Quarantine::default(),
            waiting: Waiting::default(),
            soon: None,
            config: SpeakerConfigSpec::default(),
            verdicts: BTreeMap::new(),
            ledger: Ledger::default(),
            counters: Counters::default(),
            warned: HashMap::new(),
        }
    }

    /// Takes in an event. Returns the watch that has just become complete, if one has.
    pub fn observe(&mut self, event: Event, now: Instant) -> Option<Watch> {
        let complete = self.model.apply(event, now);
        self.mourn(now);
        complete
    }

    /// Takes in what became of a write.
    pub fn finish(&mut self, outcome: Outcome, now: Instant) {
        let Outcome { target, result } = outcome;
        self.ledger.end(&target, result.as_ref().err(), now);
        match result {
            Ok(event) => {
                self.model.learn(event, now);
                self.mourn(now);
                self.landed(&target);
            }
            // Its deletion comes with the watch.
            Err(Failure::Gone) => {
                if let Target::Service(key) = &target {
                    self.model.miss(key);
                    self.mourn(now);
                }
            }
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
        self.mourn(now);
        self.model.speakers.grace(now);
        self.alloc = Allocator::default();
        self.board = Board::default();
        self.agenda = Agenda::default();
        self.standings = Standings::default();
        self.contests.clear();
        self.waiting = Waiting::default();
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
        self.note_requests();
        self.adopt_all(now);
        self.recall();
        self.recall_quarantine();
        self.model.dirty.nodes = true;
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
        self.model.expire(moment.now);
        self.call_the_roll(moment.now);
        if self.model.dirty.all_services {
            self.survey();
        }
        self.notice_requests(moment.now);
        self.keep_for_the_departed(moment);
        self.write_config(moment, &mut writes);
        self.follow_agenda(moment);
        self.review_strangers(moment);
        self.look(moment.now);
        self.move_off(moment);
        self.settle(moment, &mut writes);
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
        let rest = self.ledger.next_rest().into_iter();
        let deadlines = rest.chain(self.counters.due).chain(self.soon);
        let placement = self.agenda.deadline().into_iter();
        let placement = placement
            .chain(self.model.reports.deadline())
            .chain(self.muster.deadline());
        deadlines
            .chain(self.retention.deadline())
            .chain(self.quarantine.deadline())
            .chain(placement)
            .min()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn figures(&self, now: Instant) -> Figures {
        let mut figures = Figures {
            waiting: self.waiting.len() + self.model.dirty.services.len(),
            contested: self.contests.count(now),
            speakers: self.model.speakers.count(),
            ..Figures::default()
        };
        for reason in self.standings.reasons() {
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
    fn adopt_all(&mut self, now: Instant) {
        let mut ours = Vec::new();
        for (id, entry) in self.model.services.iter() {
            let Some(service) = &entry.service else {
                continue;
            };
            self.alloc.show(id, &service.shown());
            if service.wants(self.class.as_deref()) {
                ours.push((service.created, &entry.key, id, service));
            }
        }
        ours.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let ids: Vec<ServiceId> = ours.iter().map(|(_, _, id, _)| *id).collect();
        for (_, key, id, service) in ours {
            self.alloc.describe(id, service.sharing.as_deref().cloned());
            let promised = service.annotation(HELD).map(service::parsed);
            let promised = promised.filter(|promised| !patch::shows(service, *promised));
            if let Some(promised) = promised.filter(|promised| !promised.is_empty()) {
                // Another program had rewritten the status: what it shows is not ours.
                let promised: Vec<IpAddr> = promised.iter().collect();
                self.alloc.adopt(id, &key.namespace, None, &promised);
                self.contests.resume(id, &service::found(service), now);
            } else if service::strange(&self.alloc, service, Holding::default()).is_empty() {
                // Whoever came too late hears of it when it is decided.
                let namespace = self.model.namespaces.get(&key.namespace);
                let request = namespace
                    .and_then(|namespace| Request::of(id, service, Some(&namespace.labels)).ok());
                let shown = service.vips();
                self.alloc
                    .adopt(id, &key.namespace, request.as_ref(), &shown);
            }
        }
        self.adopt_placements(&ids, now);
    }

    /// Tells the allocator what every changed Service shows and says now, before anybody is decided.
    fn look(&mut self, now: Instant) {
        if std::mem::take(&mut self.model.dirty.nodes) {
            let nodes = self.model.nodes.iter();
            let own =
                nodes.flat_map(|(name, facts)| facts.addresses.iter().map(move |a| (*a, &**name)));
            self.alloc
                .set_nodes(own.map(|(address, name)| (address, name.into())).collect());
        }
        let mut changed = std::mem::take(&mut self.model.dirty.services);
        for address in std::mem::take(&mut self.model.dirty.acting) {
            changed.extend(self.alloc.owners(address));
        }
        if std::mem::take(&mut self.model.dirty.all_services) {
            changed.extend(self.model.services.iter().map(|(id, _)| id));
            changed.extend(self.standings.ids());
        }
        for id in &changed {
            let entry = self.model.services.get(*id);
            let service = entry.and_then(|entry| entry.service.as_deref());
            self.alloc
                .show(*id, &service.map(Service::shown).unwrap_or_default());
            let ours = service.filter(|service| service.wants(self.class.as_deref()));
            let sharing = ours.and_then(|service| service.sharing.as_deref());
            self.alloc.describe(*id, sharing.cloned());
        }
        changed.extend(self.contests.over(now));
        self.wait(changed);
    }

    fn wait(&mut self, services: impl IntoIterator<Item = ServiceId>) {
        for id in services {
            let entry = self.model.services.get(id);
            let service = entry.and_then(|entry| entry.service.as_deref());
            let created = service.and_then(|service| service.created);
            self.waiting.insert(id, created);
        }
    }

    /// Decides everybody who waits. Whatever one Service gives up may be what another waits for.
    fn settle(&mut self, moment: Moment, writes: &mut Vec<Write>) {
        self.soon = None;
        for _ in 0..ROUNDS {
            self.settle_waiting(moment, writes);
            let mut woken = Vec::new();
            let freed = self.alloc.take_freed();
            if !freed.is_empty() {
                woken = self.helped(&freed, moment.now);
            }
            woken.extend(self.alloc.take_disturbed());
            if woken.is_empty() || self.ledger.room() <= FOR_OBJECTS {
                self.wait(woken);
                self.soon = self.contests.deadline(moment.now);
                return;
            }
            self.wait(woken);
        }
        self.soon = Some(moment.now);
    }

    /// The Services that lack something and can be helped now. There may be thousands who can not: they cost a look at the
    /// pools, and no words.
    fn helped(&mut self, freed: &BTreeSet<Family>, now: Instant) -> Vec<ServiceId> {
        let lacking = self.standings.waiting_for(freed);
        let mut helped = Vec::new();
        for id in lacking {
            // Without one, it waits for nothing that others could give up: for its user, or for another program.
            let Some(refusal) = self.standings.refusal(id) else {
                continue;
            };
            let entry = self.model.services.get(id);
            let service = entry.and_then(|entry| entry.service.as_deref());
            let labels = entry.and_then(|entry| self.model.namespaces.get(&entry.key.namespace));
            let request = service.zip(labels).and_then(|(service, namespace)| {
                Request::of(id, service, Some(&namespace.labels)).ok()
            });
            let before = self.alloc.holding(id);
            let placed =
                request.map(|request| self.quarantine.place(&mut self.alloc, &request, now));
            let same = placed.is_none_or(|placed| match placed {
                Ok(now) => now.addresses == before && now.missing.as_ref() == Some(refusal),
                Err(now) => before.is_empty() && now == *refusal,
            });
            if !same {
                helped.push(id);
            }
        }
        helped
    }

    fn settle_waiting(&mut self, moment: Moment, writes: &mut Vec<Write>) {
        let mut busy = Vec::new();
        // A burst of Services must not hold up what is said of pools, and the record of what is retained.
        while self.ledger.room() > FOR_OBJECTS
            && let Some(id) = self.waiting.pop()
        {
            let Some(entry) = self.model.services.get(id) else {
                self.forget(id);
                continue;
            };
            let target = Target::Service(ObjectKey::clone(&entry.key));
            if !self.ledger.is_free(&target, moment.now) {
                busy.push(id);
                continue;
            }
            if let Some(write) = self.settle_one(id, moment) {
                self.ledger.begin(target);
                writes.push(write);
            }
        }
        self.wait(busy);
    }

    /// The Service is gone: so is everything that it held.
    fn forget(&mut self, id: ServiceId) {
        self.alloc.forget(id);
        self.standings.remove(id);
        self.contests.forget(id);
        self.quarantine.forget(id);
        self.board.leave(id);
    }

    /// A write has happened: what differs from it from now on was written by somebody else, even if that is told before
    /// anything is decided again.
    fn landed(&mut self, target: &Target) {
        let Target::Service(key) = target else { return };
        let Some(id) = self.model.services.id(key) else {
            return;
        };
        let service = self.model.services.get(id);
        let service = service.and_then(|entry| entry.service.as_deref());
        self.standings.set_marked(id, true);
        let held = self.alloc.holding(id);
        if service.is_some_and(|service| patch::shows(service, held)) {
            self.standings.land(id, Some(held));
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
                // Its warnings were not given.
                self.warned.retain(|(held, _), _| *held != name);
                self.model.dirty.objects.insert((kind, name));
            }
            // Compared on every pass.
            Target::Config => {}
        }
    }
}
