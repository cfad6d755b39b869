//! What has to be written to a Service so that it says what was decided, and what its user is told.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use portolan_api::ObjectKey;
use portolan_api::annotation::{ASSIGNED, CLASS, HELD, L2_NODES, L2_TERM, POOL};
use portolan_api::condition::{self, Verdict};
use portolan_api::view;
use serde_json::{Map, Value, json};

use super::standing::Marks;
use crate::alloc::Holding;
use crate::model::{Entry, Ingress, Service};
use crate::write::{Body, Note, Target, Write};

/// Reason for a Service that would take both families, and has one.
pub(super) const PARTIALLY_ASSIGNED: &str = "PartiallyAssigned";
/// Reason for a Service with an address that a node uses as well.
pub(super) const USED_BY_NODE: &str = "AddressUsedByNode";
/// Reason for a Service with an address that somebody else has as well.
pub(super) const ADDRESS_CONFLICT: &str = "AddressConflict";
/// Reason for a Service whose status another program rewrites.
pub(super) const STATUS_CONTESTED: &str = "StatusContested";

/// Reason of the event about a Service whose annotations or condition another program rewrites.
pub(super) const MARKS_CONTESTED: &str = "AnnotationsContested";

/// What the status and annotations of a Service shall say.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    /// `None` leaves those in the status as they are.
    pub(super) addresses: Option<Holding>,
    /// Those that are not named are left as they are.
    pub(super) annotations: Annotations,
    /// What others keep rewriting, and is left as it is for a while.
    pub(super) spared: Spared,
    /// `None` for a Service that is not ours: then our condition goes too.
    pub(super) verdict: Option<Verdict>,
    /// Whether it is a warning, the reason, and the words.
    pub(super) notes: Vec<(bool, &'static str, String)>,
}

/// What is not written although it differs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spared {
    pub(super) annotations: bool,
    pub(super) condition: bool,
}

/// What we write beside the status: annotations by name; `None` removes one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Annotations(pub(super) Vec<(&'static str, Option<String>)>);

impl Annotations {
    /// None of ours stays.
    pub(super) fn gone() -> Self {
        Self(MARKS.map(|name| (name, None)).into())
    }

    /// The value that one gets.
    fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(held, _)| *held == name)?;
        value.as_deref()
    }
}

/// The addresses as a user writes them.
pub(super) fn texts(addresses: Holding) -> String {
    let texts: Vec<String> = addresses
        .iter()
        .map(|address| address.to_string())
        .collect();
    texts.join(", ")
}

/// What a Service bears of ours beside its addresses.
pub(super) fn marks(service: &Service) -> Marks {
    let annotations = MARKS.map(|name| service.annotated(name));
    let conditions = service.conditions();
    let ours = conditions.iter().find(|c| c.type_ == ASSIGNED);
    let said = ours.map(|c| (c.status == "True", &*c.reason, &*c.message));
    Marks {
        annotations: fingerprint(&annotations),
        condition: fingerprint(&said),
    }
}

/// What it shall bear.
pub(super) fn wanted_marks(service: &Service, wanted: &Wanted) -> Marks {
    let Wanted {
        annotations: Annotations(named),
        spared,
        verdict,
        ..
    } = wanted;
    let now = marks(service);
    let annotations = MARKS.map(|name| match named.iter().find(|(held, _)| *held == name) {
        Some((_, value)) => value.as_deref(),
        None => service.annotated(name),
    });
    let said = verdict.as_ref().map(|v| (v.status, v.reason, &*v.message));
    let either = |spared: bool, now: u32, wanted: u32| if spared { now } else { wanted };
    Marks {
        annotations: either(
            spared.annotations,
            now.annotations,
            fingerprint(&annotations),
        ),
        condition: either(spared.condition, now.condition, fingerprint(&said)),
    }
}

/// The annotations that we write.
const MARKS: [&str; 5] = [POOL, L2_NODES, L2_TERM, CLASS, HELD];

/// Half a hash: enough to notice a change, and there are many Services.
fn fingerprint(value: &impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}

/// The patch that makes the Service say what is wanted; `None` when it says so already.
pub(super) fn difference(
    entry: &Entry,
    service: &Service,
    wanted: &Wanted,
    wall: Timestamp,
) -> Option<Write> {
    let annotations = annotations(service, wanted);
    let ingress = wanted
        .addresses
        .and_then(|addresses| ingress(service, addresses));
    let conditions = conditions(&service.conditions(), wanted.verdict.as_ref(), wall);
    let conditions = conditions.filter(|_| !wanted.spared.condition);
    let must_tell = wanted
        .notes
        .iter()
        .any(|(_, reason, _)| *reason == MARKS_CONTESTED);
    if annotations.is_empty() && ingress.is_none() && conditions.is_none() && !must_tell {
        return None;
    }
    let told = notes(entry, service, wanted, conditions.is_some());
    let mut metadata = Map::new();
    // A decision on a stale object must fail.
    metadata.insert("resourceVersion".to_owned(), json!(entry.version()));
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
        target: Target::Service(ObjectKey::clone(&entry.key)),
        body: Body::Status(json!({ "metadata": metadata, "status": status })),
        notes: told,
    })
}

fn annotations(service: &Service, wanted: &Wanted) -> Map<String, Value> {
    let mut changes = Map::new();
    if wanted.spared.annotations {
        return changes;
    }
    for (name, value) in &wanted.annotations.0 {
        if service.annotated(name) != value.as_deref() {
            changes.insert((*name).to_owned(), json!(value));
        }
    }
    changes
}

/// Whether the status shows exactly these addresses, in this order, and nothing else of ours.
pub(super) fn shows(service: &Service, addresses: Holding) -> bool {
    ingress(service, addresses).is_none()
}

/// The new list of entries, if it differs. Entries with a host name are not ours and stay as they are.
fn ingress(service: &Service, wanted: Holding) -> Option<Vec<view::Ingress>> {
    let entries = service.ingress.iter();
    let held = entries.clone().filter(|entry| entry.foreign().is_none());
    let held: Vec<Option<IpAddr>> = held.map(Ingress::vip).collect();
    if held == wanted.iter().map(Some).collect::<Vec<_>>() {
        return None;
    }
    let vip = |address: IpAddr| view::Ingress {
        ip: Some(address.to_string()),
        hostname: None,
        ip_mode: Some("VIP".to_owned()),
        ports: Vec::new(),
    };
    let foreign = entries.filter_map(Ingress::foreign).cloned();
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

/// Whether a verdict says something else than the condition in the status, in essence: what stands after the first semicolon
/// is detail, like the list of the pools that are no help.
fn is_news(service: &Service, verdict: &Verdict) -> bool {
    let essence = |message: &str| message.split("; ").next().map(str::to_owned);
    let conditions = service.conditions();
    let before = conditions.iter().find(|c| c.type_ == ASSIGNED);
    before.is_none_or(|before| {
        (before.status == "True") != verdict.status
            || before.reason != verdict.reason
            || essence(&before.message) != essence(&verdict.message)
    })
}

/// What the user is told: each change once.
fn notes(entry: &Entry, service: &Service, wanted: &Wanted, news: bool) -> Vec<Note> {
    let before: Holding = service.vips().into_iter().collect();
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
        let pools = wanted.annotations.value(POOL).unwrap_or_default();
        notes.push((
            false,
            "AddressAssigned",
            format!("{} from IPAddressPool {pools}", texts(fresh)),
        ));
    }
    let news = news
        && wanted
            .verdict
            .as_ref()
            .is_some_and(|verdict| is_news(service, verdict));
    if let Some(verdict) = wanted.verdict.as_ref().filter(|_| news) {
        let told = match (verdict.status, verdict.reason) {
            (true, PARTIALLY_ASSIGNED) => Some((false, PARTIALLY_ASSIGNED)),
            (true, USED_BY_NODE) => Some((true, USED_BY_NODE)),
            (true, ADDRESS_CONFLICT) => Some((true, ADDRESS_CONFLICT)),
            (true, _) => None,
            (false, STATUS_CONTESTED) => Some((true, STATUS_CONTESTED)),
            (false, _) => Some((true, "AllocationFailed")),
        };
        notes.extend(told.map(|(warning, reason)| (warning, reason, verdict.message.clone())));
    }
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        name: Some(entry.key.name.clone()),
        namespace: Some(entry.key.namespace.clone()),
        uid: entry.uid().map(str::to_owned),
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
