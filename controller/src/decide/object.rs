//! Status of user objects: verdicts at once, counters of pools and how they stand a moment later.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::Resource;
use portolan_api::compile::Kind;
use portolan_api::condition::{self, ACCEPTED, EXHAUSTED_SOON, READY, RESERVATIONS_HELD};
use portolan_api::crd::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement,
};
use portolan_api::range::Family;
use serde_json::{Map, json};

use super::pool::fullness;
use super::{COUNTERS_DELAY, Core, Dry, Moment};
use crate::alloc::{ServiceId, Usage};
use crate::write::{Body, Note, Target, Write};

/// A pool that hovers at a threshold, one Service that comes and goes, is not told again within this time.
const WARNED: Duration = Duration::from_secs(3600);

/// What we read of any user object.
struct Facts<'a> {
    meta: &'a ObjectMeta,
    conditions: &'a [Condition],
    kind: String,
    api_version: String,
}

fn facts<'a, K: Resource<DynamicType = ()>>(
    object: &'a K,
    conditions: Option<&'a Vec<Condition>>,
) -> Facts<'a> {
    Facts {
        meta: object.meta(),
        conditions: conditions.map_or(&[], Vec::as_slice),
        kind: K::kind(&()).into_owned(),
        api_version: K::api_version(&()).into_owned(),
    }
}

impl Core {
    /// Notices when the counters of pools have to be written.
    pub(super) fn count(&mut self, now: Instant) {
        if self.alloc.changes() != self.counters.seen && self.counters.due.is_none() {
            self.counters.due = Some(now + COUNTERS_DELAY);
        }
        if self.counters.due.is_some_and(|due| now >= due) {
            self.counters.due = None;
            self.counters.seen = self.alloc.changes();
            // What stands in the way of those who lack something may be something else now.
            let stale = self.stale_words();
            if !stale.is_empty() {
                self.wait(stale);
                self.soon = Some(now);
            }
            let pools = self.model.sources.pools.keys();
            self.model
                .dirty
                .objects
                .extend(pools.map(|name| (Kind::Pool, name.clone())));
        }
    }

    /// The Services that wait, and whose condition may have to say something else: a pool has run dry, or is not any more.
    fn stale_words(&mut self) -> Vec<ServiceId> {
        let mut changed = BTreeSet::new();
        for family in [Family::V4, Family::V6] {
            let now = self.dry(family);
            if self.counters.dry.get(&family) != Some(&now) {
                self.counters.dry.insert(family, now);
                changed.insert(family);
            }
        }
        self.standings.worded_by(&changed)
    }

    fn dry(&self, family: Family) -> Vec<Dry> {
        let limited = |name: &str| {
            let mut rules = self.config.pools.iter();
            rules.any(|rule| rule.name == name && rule.spec.quota.is_some())
        };
        let of_family = self.alloc.usage().map(|(name, v4, v6)| match family {
            Family::V4 => (name, v4),
            Family::V6 => (name, v6),
        });
        let pools = of_family.filter(|(_, usage)| usage.total > 0);
        let dry = |(name, usage): (&str, Usage)| Dry {
            pool: name.to_owned(),
            exhausted: usage.available == 0,
            quarantined: self.alloc.in_quarantine(Some(name), family),
            change: limited(name).then(|| self.alloc.changes()),
        };
        pools.map(dry).collect()
    }

    /// Writes the status of user objects that differ from what we have to say.
    pub(super) fn write_objects(&mut self, moment: Moment, writes: &mut Vec<Write>) {
        self.warned
            .retain(|_, given| moment.now.duration_since(*given) < WARNED);
        for (kind, name) in std::mem::take(&mut self.model.dirty.objects) {
            let target = Target::Object(kind, name.clone());
            if !self.ledger.is_free(&target, moment.now) || self.ledger.room() == 0 {
                self.model.dirty.objects.insert((kind, name));
                continue;
            }
            if let Some(mut write) = self.object_status(kind, &name, moment, target.clone()) {
                write.notes.retain(|note| {
                    let warning = (name.clone(), note.message.clone());
                    note.reason != EXHAUSTED_SOON
                        || self.warned.insert(warning, moment.now).is_none()
                });
                self.ledger.begin(target);
                writes.push(write);
            }
        }
    }

    fn object_status(
        &self,
        kind: Kind,
        name: &str,
        moment: Moment,
        target: Target,
    ) -> Option<Write> {
        let facts = self.facts(kind, name)?;
        let mut status = Map::new();
        let mut notes = Vec::new();
        let mut verdicts = self.verdicts.get(&(kind, name.to_owned())).cloned();
        if let Some(verdicts) = verdicts.as_mut().filter(|_| kind == Kind::Pool) {
            // How it stands changes with the counters, a moment later; at first it is told at once.
            if self.counters.due.is_none() || !facts.conditions.iter().any(|c| c.type_ == READY) {
                verdicts.extend(self.pool_verdicts(name, facts.conditions));
                status.extend(self.counters_of(name));
            }
            status.extend(
                self.retained_of(name)
                    .map(|record| ("retained".to_owned(), record)),
            );
            status.extend(self.quarantined_of(name));
        }
        if let Some(verdicts) = &verdicts {
            let time = Time(moment.wall);
            let generation = facts.meta.generation;
            if let Some(merged) = condition::merge(facts.conditions, verdicts, generation, &time) {
                let said = |c: &Condition| (c.type_.clone(), c.status.clone(), c.message.clone());
                let before: Vec<_> = facts.conditions.iter().map(said).collect();
                let told = |c: &Condition| {
                    matches!(
                        c.type_.as_str(),
                        ACCEPTED | EXHAUSTED_SOON | RESERVATIONS_HELD
                    ) && condition::is_complaint(c)
                };
                let news = merged
                    .iter()
                    .filter(|c| told(c) && !before.contains(&said(c)));
                let news = news.filter(|c| !is_relief(facts.conditions, c));
                notes = news.map(|c| warning(&facts, c)).collect();
                status.insert("conditions".to_owned(), json!(merged));
            }
        }
        if status.is_empty() {
            return None;
        }
        let version = &facts.meta.resource_version;
        let body = json!({ "metadata": { "resourceVersion": version }, "status": status });
        Some(Write {
            target,
            body: Body::Status(body),
            notes,
        })
    }

    fn facts(&self, kind: Kind, name: &str) -> Option<Facts<'_>> {
        let sources = &self.model.sources;
        macro_rules! of {
            ($table:ident: $kind:ty) => {{
                let object: &$kind = sources.$table.get(name)?;
                facts(
                    object,
                    object.status.as_ref().map(|status| &status.conditions),
                )
            }};
        }
        Some(match kind {
            Kind::Pool => of!(pools: IPAddressPool),
            Kind::L2 => of!(l2: L2Advertisement),
            Kind::Bgp => of!(bgp: BGPAdvertisement),
            Kind::Peer => of!(peers: BGPPeer),
            Kind::BfdProfile => of!(bfd_profiles: BFDProfile),
            Kind::Community => of!(communities: Community),
        })
    }
}

/// Whether a pool that is exhausted soon is less so than it was.
fn is_relief(before: &[Condition], now: &Condition) -> bool {
    let before = before.iter().find(|c| c.type_ == now.type_);
    now.type_ == EXHAUSTED_SOON
        && before.is_some_and(|before| fullness(&now.reason) < fullness(&before.reason))
}

fn warning(facts: &Facts<'_>, condition: &Condition) -> Note {
    let reason = match (condition.type_.as_str(), condition.reason.as_str()) {
        (EXHAUSTED_SOON, _) => EXHAUSTED_SOON,
        (RESERVATIONS_HELD, _) => "ReservedAddressTaken",
        (_, "NotImplemented") => "NotImplemented",
        (_, "Conflict") => "Conflict",
        _ => "Invalid",
    };
    Note {
        regarding: ObjectReference {
            api_version: Some(facts.api_version.clone()),
            kind: Some(facts.kind.clone()),
            name: facts.meta.name.clone(),
            uid: facts.meta.uid.clone(),
            ..ObjectReference::default()
        },
        warning: true,
        reason,
        message: condition.message.clone(),
    }
}
