//! One Service: its addresses, its placement, and what has to change in its status.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use portolan_api::ObjectKey;
use portolan_api::annotation::{ASSIGNED, L2_NODES, POOL};
use portolan_api::condition::{self, Verdict};
use portolan_api::crd::L2Rule;
use portolan_api::view::{Ingress, Service, TrafficPolicy};
use serde_json::{Map, Value, json};

use super::{Core, Moment, vips};
use crate::alloc::{Families, Holding, Refusal, Request, ServiceId};
use crate::place::{self, Placement};
use crate::write::{Body, Note, Target, Write};

/// Reason for a Service that would take both families, and has one.
const PARTIALLY_ASSIGNED: &str = "PartiallyAssigned";

/// What the status and annotations of a Service shall say.
#[derive(Debug, PartialEq)]
struct Wanted {
    /// `None` leaves those in the status as they are.
    addresses: Option<Holding>,
    pools: Option<String>,
    nodes: Option<String>,
    /// `None` for a Service that is not ours: then our condition goes too.
    verdict: Option<Verdict>,
    notes: Vec<(bool, &'static str, String)>,
}

/// The placement that stands in the annotation.
pub(super) fn written_placement(service: &Service) -> Placement {
    let text = service.annotation(L2_NODES).unwrap_or_default();
    let nodes = text
        .split(',')
        .map(str::trim)
        .filter(|node| !node.is_empty());
    nodes.map(str::to_owned).collect()
}

impl Core {
    /// Decides one Service. Returns what has to be written, if anything.
    pub(super) fn settle_one(&mut self, id: ServiceId, moment: Moment) -> Option<Write> {
        let entry = self.model.services.get(id)?;
        let Some(service) = entry.service.as_deref() else {
            self.forget(id);
            return None;
        };
        let ours = service.wants(self.class.as_deref());
        let key = entry.key.clone();
        let wanted = if ours {
            self.serve(id)
        } else {
            self.let_go(id)
        }?;
        let service = self.model.services.get(id)?.service.as_deref()?;
        difference(&key, service, &wanted, moment.wall)
    }

    /// What a Service of ours gets.
    fn serve(&mut self, id: ServiceId) -> Option<Wanted> {
        let entry = self.model.services.get(id)?;
        let service = entry.service.as_deref()?;
        // Which pools are open to it is known with the labels of its namespace only, whose event wakes it.
        let labels = &self.model.namespaces.get(&entry.key.namespace)?.labels;
        let strange = self.strange(service);
        if !strange.is_empty() {
            return Some(self.leave(id, &Refusal::Strange(strange)));
        }
        let mut words = Vec::new();
        if self.alloc.holding(id).is_empty() {
            for (address, owner) in self.alloc.adopt(id, &vips(service)) {
                let owner = self.model.services.name(owner);
                let why = format!(
                    "{address} in the status belongs to the older Service {owner}: it gets another address"
                );
                words.push((true, "AddressConflict", why));
            }
        }
        let (addresses, refusal, partial_is_fine) = match Request::of(id, service, Some(labels)) {
            Ok(request) => {
                let fine =
                    matches!(request.families, Families::Prefer(..)) && request.exact.is_empty();
                match self.alloc.place(&request) {
                    Ok(assignment) => (assignment.addresses, assignment.missing, fine),
                    Err(refusal) => (Holding::default(), Some(refusal), false),
                }
            }
            Err(refusal) => (self.alloc.keep(id), Some(refusal), false),
        };
        let pools = self.pools_of(addresses);
        let verdict = self.verdict(
            addresses,
            pools.as_deref(),
            refusal.as_ref(),
            partial_is_fine,
        );
        self.decided
            .insert(id, refusal.map(|refusal| refusal.reason()));
        let nodes = self.place_on_nodes(id, addresses);
        Some(Wanted {
            addresses: Some(addresses),
            pools,
            nodes,
            verdict: Some(verdict),
            notes: words,
        })
    }

    /// Addresses in the status that no pool has, of a Service that never had one from us: another load balancer gave
    /// them, before us or beside us.
    fn strange(&self, service: &Service) -> Vec<IpAddr> {
        if service.annotation(POOL).is_some() {
            return Vec::new();
        }
        let mut shown = vips(service);
        shown.retain(|address| self.alloc.pool_of(*address).is_none());
        shown
    }

    /// Says why a Service is not served, and changes nothing else about it.
    fn leave(&mut self, id: ServiceId, refusal: &Refusal) -> Wanted {
        self.alloc.release(id);
        if let Some(placement) = self.placements.remove(&id) {
            self.load.remove(&placement);
        }
        self.decided.insert(id, Some(refusal.reason()));
        let verdict = self.verdict(Holding::default(), None, Some(refusal), false);
        Wanted {
            addresses: None,
            pools: None,
            nodes: None,
            verdict: Some(verdict),
            notes: Vec::new(),
        }
    }

    /// What a Service that is not ours, or not any more, must lose of what we once wrote.
    fn let_go(&mut self, id: ServiceId) -> Option<Wanted> {
        let held = self.alloc.release(id);
        self.decided.remove(&id);
        if let Some(placement) = self.placements.remove(&id) {
            self.load.remove(&placement);
        }
        let service = self.model.services.get(id)?.service.as_deref()?;
        let marked = service.annotation(POOL).is_some()
            || service
                .status
                .conditions
                .iter()
                .any(|c| c.type_ == ASSIGNED);
        if held.is_empty() && !marked {
            return None;
        }
        // Another load balancer may have written its own addresses before or since.
        let shown = vips(service);
        let is_ours =
            |address: &IpAddr| held.contains(*address) || self.alloc.pool_of(*address).is_some();
        let theirs = shown.iter().copied().filter(|address| !is_ours(address));
        let changes = shown.iter().any(is_ours);
        Some(Wanted {
            addresses: changes.then(|| theirs.collect()),
            pools: None,
            nodes: None,
            verdict: None,
            notes: Vec::new(),
        })
    }

    fn pools_of(&self, addresses: Holding) -> Option<String> {
        let mut names: Vec<&str> = addresses
            .iter()
            .filter_map(|a| self.alloc.pool_of(a))
            .collect();
        names.dedup();
        (!names.is_empty()).then(|| names.join(","))
    }

    fn verdict(
        &self,
        addresses: Holding,
        pools: Option<&str>,
        refusal: Option<&Refusal>,
        partial_is_fine: bool,
    ) -> Verdict {
        let words = |refusal: &Refusal| refusal.message(|id| self.model.services.name(id));
        let held = format!(
            "{} from IPAddressPool {}",
            texts(addresses),
            pools.unwrap_or_default()
        );
        match refusal {
            None => Verdict::yes(ASSIGNED, "Assigned", held),
            Some(refusal) if addresses.is_empty() => {
                Verdict::no(ASSIGNED, refusal.reason(), words(refusal))
            }
            Some(refusal) if partial_is_fine => Verdict::yes(
                ASSIGNED,
                PARTIALLY_ASSIGNED,
                format!("{held}; {}", words(refusal)),
            ),
            Some(refusal) => {
                let message = format!("{}; meanwhile it keeps {held}", words(refusal));
                Verdict::no(ASSIGNED, refusal.reason(), message)
            }
        }
    }

    /// Places the Service on nodes if a layer-2 rule covers it. Returns the text of the annotation.
    fn place_on_nodes(&mut self, id: ServiceId, addresses: Holding) -> Option<String> {
        let current = self.placements.remove(&id).unwrap_or_default();
        self.load.remove(&current);
        let placement = self.placement(id, addresses, &current).unwrap_or_default();
        if placement.is_empty() {
            return None;
        }
        self.load.add(&placement);
        let text = placement.join(",");
        self.placements.insert(id, placement);
        Some(text)
    }

    /// `None` when nobody shall answer: no rule covers the Service, or it has nobody to answer for it.
    fn placement(
        &self,
        id: ServiceId,
        addresses: Holding,
        current: &[String],
    ) -> Option<Placement> {
        let entry = self.model.services.get(id)?;
        let service = entry.service.as_deref()?;
        let covers = |rule: &&L2Rule| {
            let mut pools = addresses.iter().filter_map(|a| self.alloc.pool_of(a));
            pools.any(|pool| rule.covers(pool, service.labels()))
        };
        let rules: Vec<&L2Rule> = self.config.l2.iter().filter(covers).collect();
        if rules.is_empty() {
            return None;
        }
        let local = service.spec.external_traffic_policy == TrafficPolicy::Local;
        let endpoints = &self.model.endpoints;
        let served = if local {
            endpoints.on_any_node(&entry.key)
        } else {
            endpoints.any(&entry.key)
        };
        if !served {
            return None;
        }
        let eligible = self.model.nodes.iter().filter(|(name, node)| {
            !node.excluded
                && self.model.speakers.live(name)
                && (!local || endpoints.on(&entry.key, name))
                && rules.iter().any(|rule| rule.is_on(&node.labels))
        });
        let eligible: Vec<&str> = eligible.map(|(name, _)| name.as_str()).collect();
        Some(place::place(
            &entry.key.to_string(),
            current,
            &eligible,
            &self.load,
        ))
    }
}

fn texts(addresses: Holding) -> String {
    let texts: Vec<String> = addresses
        .iter()
        .map(|address| address.to_string())
        .collect();
    texts.join(", ")
}

/// The patch that makes the Service say what is wanted; `None` when it says so already.
fn difference(
    key: &ObjectKey,
    service: &Service,
    wanted: &Wanted,
    wall: Timestamp,
) -> Option<Write> {
    let annotations = annotations(service, wanted);
    let ingress = wanted
        .addresses
        .and_then(|addresses| ingress(service, addresses));
    let conditions = conditions(&service.status.conditions, wanted.verdict.as_ref(), wall);
    if annotations.is_empty() && ingress.is_none() && conditions.is_none() {
        return None;
    }
    let told = notes(key, service, wanted, conditions.is_some());
    let mut metadata = Map::new();
    // A decision on a stale object must fail.
    metadata.insert(
        "resourceVersion".to_owned(),
        json!(service.metadata.resource_version),
    );
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    let mut status = Map::new();
    if let Some(ingress) = ingress {
        let list = if ingress.is_empty() {
            Value::Null
        } else {
            json!(ingress)
        };
        status.insert("loadBalancer".to_owned(), json!({ "ingress": list }));
    }
    if let Some(conditions) = conditions {
        status.insert("conditions".to_owned(), json!(conditions));
    }
    Some(Write {
        target: Target::Service(key.clone()),
        body: Body::Status(json!({ "metadata": metadata, "status": status })),
        notes: told,
    })
}

fn annotations(service: &Service, wanted: &Wanted) -> Map<String, Value> {
    let mut changes = Map::new();
    for (name, value) in [(POOL, &wanted.pools), (L2_NODES, &wanted.nodes)] {
        let held = service
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(name));
        if held != value.as_ref() {
            changes.insert(name.to_owned(), json!(value));
        }
    }
    changes
}

/// The new list of entries, if it differs. Entries with a host name are not ours and stay as they are.
fn ingress(service: &Service, wanted: Holding) -> Option<Vec<Ingress>> {
    let entries = &service.status.load_balancer.ingress;
    let held = entries.iter().filter(|entry| entry.hostname.is_none());
    let held: Vec<Option<IpAddr>> = held
        .map(|entry| entry.ip.as_deref()?.parse().ok())
        .collect();
    if held == wanted.iter().map(Some).collect::<Vec<_>>() {
        return None;
    }
    let vip = |address: IpAddr| Ingress {
        ip: Some(address.to_string()),
        hostname: None,
        ip_mode: Some("VIP".to_owned()),
    };
    let foreign = entries
        .iter()
        .filter(|entry| entry.hostname.is_some())
        .cloned();
    Some(wanted.iter().map(vip).chain(foreign).collect())
}

/// The new list of conditions, if it differs.
fn conditions(
    current: &[Condition],
    verdict: Option<&Verdict>,
    wall: Timestamp,
) -> Option<Vec<Condition>> {
    if let Some(verdict) = verdict {
        return condition::merge(current, std::slice::from_ref(verdict), None, &Time(wall));
    }
    let rest = current.iter().filter(|c| c.type_ != ASSIGNED);
    let rest: Vec<Condition> = rest.cloned().collect();
    (rest.len() != current.len()).then_some(rest)
}

/// What the user is told: each change once.
fn notes(key: &ObjectKey, service: &Service, wanted: &Wanted, news: bool) -> Vec<Note> {
    let before: Holding = vips(service).into_iter().collect();
    let after = wanted.addresses.unwrap_or(before);
    let lost: Holding = before.iter().filter(|a| !after.contains(*a)).collect();
    let fresh: Holding = after.iter().filter(|a| !before.contains(*a)).collect();
    let mut notes = wanted.notes.clone();
    if !lost.is_empty() {
        notes.push((
            false,
            "AddressReleased",
            format!("{} is no longer held", texts(lost)),
        ));
    }
    if !fresh.is_empty() {
        let pools = wanted.pools.as_deref().unwrap_or_default();
        notes.push((
            false,
            "AddressAssigned",
            format!("{} from IPAddressPool {pools}", texts(fresh)),
        ));
    }
    if let Some(verdict) = wanted.verdict.as_ref().filter(|_| news) {
        let told = match (verdict.status, verdict.reason) {
            (true, PARTIALLY_ASSIGNED) => Some((false, PARTIALLY_ASSIGNED)),
            (true, _) => None,
            (false, "NotImplemented") => Some((true, "NotImplemented")),
            (false, _) => Some((true, "AllocationFailed")),
        };
        notes.extend(told.map(|(warning, reason)| (warning, reason, verdict.message.clone())));
    }
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid: service.metadata.uid.clone(),
        ..ObjectReference::default()
    };
    let note = |(warning, reason, message)| Note {
        regarding: regarding.clone(),
        warning,
        reason,
        message,
    };
    notes.into_iter().map(note).collect()
}
