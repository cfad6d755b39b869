//! Status of user objects: verdicts at once, counters of pools a moment later.

use std::time::Instant;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::Resource;
use portolan_api::compile::Kind;
use portolan_api::condition::{self, ACCEPTED};
use portolan_api::crd::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement,
};
use serde_json::{Map, Value, json};

use super::{COUNTERS_DELAY, Core, Moment};
use crate::alloc::Usage;
use crate::write::{Body, Note, Target, Write};

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
            let pools = self.model.sources.pools.keys();
            self.model
                .dirty
                .objects
                .extend(pools.map(|name| (Kind::Pool, name.clone())));
        }
    }

    /// Writes the status of user objects that differ from what we have to say.
    pub(super) fn write_objects(&mut self, moment: Moment, writes: &mut Vec<Write>) {
        for (kind, name) in std::mem::take(&mut self.model.dirty.objects) {
            let target = Target::Object(kind, name.clone());
            if !self.ledger.is_free(&target, moment.now) || self.ledger.room() == 0 {
                self.model.dirty.objects.insert((kind, name));
                continue;
            }
            if let Some(write) = self.object_status(kind, &name, moment, target.clone()) {
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
        if let Some(verdicts) = self.verdicts.get(&(kind, name.to_owned())) {
            let time = Time(moment.wall);
            let generation = facts.meta.generation;
            if let Some(merged) = condition::merge(facts.conditions, verdicts, generation, &time) {
                let said = |c: &Condition| (c.type_.clone(), c.status.clone(), c.message.clone());
                let before: Vec<_> = facts.conditions.iter().map(said).collect();
                let news = merged.iter().filter(|c| {
                    c.type_ == ACCEPTED && c.status == "False" && !before.contains(&said(c))
                });
                notes = news.map(|c| refused(&facts, c)).collect();
                status.insert("conditions".to_owned(), json!(merged));
            }
        }
        if kind == Kind::Pool && self.counters.due.is_none() {
            status.extend(self.counters_of(name));
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

    /// Counters of a pool, if they differ from those in its status.
    fn counters_of(&self, name: &str) -> Map<String, Value> {
        let mut changes = Map::new();
        let Some(pool) = self.model.sources.pools.get(name) else {
            return changes;
        };
        let usage = self.alloc.usage().find(|(pool, ..)| *pool == name);
        let (v4, v6) = usage.map_or_else(Default::default, |(_, v4, v6)| (v4, v6));
        let held = pool.status.clone().unwrap_or_default();
        let number = |n: u128| i64::try_from(n).unwrap_or(i64::MAX);
        let Usage { taken, available } = v4;
        for (field, old, new) in [
            ("assignedIPv4", held.assigned_ipv4, number(taken)),
            ("availableIPv4", held.available_ipv4, number(available)),
            ("assignedIPv6", held.assigned_ipv6, number(v6.taken)),
            ("availableIPv6", held.available_ipv6, number(v6.available)),
        ] {
            if old != new || pool.status.is_none() {
                changes.insert(field.to_owned(), json!(new));
            }
        }
        changes
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

fn refused(facts: &Facts<'_>, condition: &Condition) -> Note {
    let reason = match condition.reason.as_str() {
        "NotImplemented" => "NotImplemented",
        "Conflict" => "Conflict",
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
