//! What is kept of a Service: all that decisions read, and nothing twice.
//!
//! The view that comes off the wire costs three kilobytes, most of it room for what a Service does not have. A cluster may
//! have tens of thousands of them, so it is read once, at the door: addresses and families are parsed, ports and selector
//! become the terms of sharing, and only what must be written back word by word stays as it was.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use portolan_api::annotation::{
    ADDRESS_POOL, ASSIGNED, CLASS, HELD, L2_NODES, L2_TERM, LOAD_BALANCER_IPS, POOL,
};
use portolan_api::view::{self, TrafficPolicy};
use portolan_api::{ObjectKey, selector};

use crate::alloc::{Families, Sharing};

/// Annotations that are kept. The sharing key is part of [`Service::sharing`].
const ANNOTATIONS: [&str; 7] = [
    ADDRESS_POOL,
    LOAD_BALANCER_IPS,
    POOL,
    L2_NODES,
    L2_TERM,
    CLASS,
    HELD,
];

/// A Service that has to do with load balancing.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Namespace and name.
    pub key: Arc<ObjectKey>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether it is of type LoadBalancer.
    balancer: bool,
    class: Option<Box<str>>,
    /// Families that it wants; `None` if it names none and has no address in the cluster.
    pub families: Option<Families>,
    /// The deprecated field for one exact address.
    pub load_balancer_ip: Option<Box<str>>,
    /// How traffic from outside is spread.
    pub external_traffic_policy: TrafficPolicy,
    /// `None` if it does not want to share.
    pub sharing: Option<Box<Sharing>>,
    /// Labels.
    pub labels: Labels,
    annotations: Box<[(&'static str, Box<str>)]>,
    /// What its status shows, in order.
    pub ingress: Box<[Ingress]>,
    conditions: Box<[Condition]>,
}

impl Service {
    /// Keeps what is needed of a Service.
    #[must_use]
    pub fn new(key: Arc<ObjectKey>, service: view::Service) -> Self {
        let families = Families::of(&service);
        let sharing = Sharing::of(&service).map(Box::new);
        let view::Service {
            metadata,
            spec,
            status,
        } = service;
        let mut annotations = metadata.annotations.unwrap_or_default();
        let annotations = ANNOTATIONS.into_iter().filter_map(|name| {
            let value = annotations.remove(name)?;
            Some((name, value.into_boxed_str()))
        });
        let ingress = status.load_balancer.ingress.into_iter();
        let conditions = status.conditions.into_iter();
        Self {
            key,
            created: metadata.creation_timestamp.map(|time| time.0),
            balancer: spec.kind.as_deref() == Some("LoadBalancer"),
            class: spec.load_balancer_class.map(String::into_boxed_str),
            families,
            load_balancer_ip: spec.load_balancer_ip.map(String::into_boxed_str),
            external_traffic_policy: spec.external_traffic_policy,
            sharing,
            labels: metadata.labels.into_iter().flatten().collect(),
            annotations: annotations.collect(),
            ingress: ingress.map(Ingress::from).collect(),
            conditions: conditions.map(Condition::from).collect(),
        }
    }

    /// Whether the Service is of type LoadBalancer, of whatever class.
    #[must_use]
    pub fn is_balancer(&self) -> bool {
        self.balancer
    }

    /// Whether the Service is of type LoadBalancer and of the class that we serve, see [`view::Service::wants`].
    #[must_use]
    pub fn wants(&self, class: Option<&str>) -> bool {
        self.balancer && self.class.as_deref() == class
    }

    /// Addresses in the status that can be ours: a host name is somebody else's.
    #[must_use]
    pub fn vips(&self) -> Vec<IpAddr> {
        self.ingress.iter().filter_map(Ingress::vip).collect()
    }

    /// All addresses in the status, those beside a host name included: they are taken, whoever gave them.
    #[must_use]
    pub fn shown(&self) -> Vec<IpAddr> {
        self.ingress.iter().filter_map(Ingress::address).collect()
    }

    /// The value of one of our annotations, if it is there and not empty.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotated(name).filter(|value| !value.is_empty())
    }

    /// The value of one of our annotations, if it is there.
    #[must_use]
    pub fn annotated(&self, name: &str) -> Option<&str> {
        let (_, value) = self.annotations.iter().find(|(held, _)| *held == name)?;
        Some(value)
    }

    /// Conditions as they stand in the status, ours and others'.
    #[must_use]
    pub fn conditions(&self) -> Vec<v1::Condition> {
        self.conditions.iter().map(v1::Condition::from).collect()
    }

    /// What our condition says, if it is there.
    #[must_use]
    pub fn told(&self) -> Option<&str> {
        self.conditions
            .iter()
            .find_map(|condition| match condition {
                Condition::Ours { message, .. } => Some(&**message),
                Condition::Other(other) => (other.type_ == ASSIGNED).then_some(&*other.message),
            })
    }
}

/// Labels in one piece: a line `key=value` for each. The API server lets no label have a line break, and no key a `=`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<str>);

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(labels: I) -> Self {
        let lines = labels.into_iter().map(|(key, value)| key + "=" + &value);
        Self(lines.collect::<Vec<_>>().join("\n").into_boxed_str())
    }
}

impl selector::Labels for Labels {
    fn value(&self, key: &str) -> Option<&str> {
        let mut lines = self.0.split('\n').filter_map(|line| line.split_once('='));
        lines.find_map(|(held, value)| (held == key).then_some(value))
    }
}

/// One entry of the status.
#[derive(Debug, Clone, PartialEq)]
pub enum Ingress {
    /// An address without a host name: ours, or one that could be.
    Vip(IpAddr),
    /// Anything else, as it stands there.
    Other(Box<view::Ingress>),
}

impl Ingress {
    /// The address, if it could be ours.
    #[must_use]
    pub fn vip(&self) -> Option<IpAddr> {
        match self {
            Self::Vip(address) => Some(*address),
            Self::Other(_) => None,
        }
    }

    /// The address, whosever it is.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Vip(address) => Some(*address),
            Self::Other(entry) => entry.ip.as_deref()?.parse().ok(),
        }
    }

    /// An entry with a host name, which is never ours.
    #[must_use]
    pub fn foreign(&self) -> Option<&view::Ingress> {
        match self {
            Self::Vip(_) => None,
            Self::Other(entry) => entry.hostname.is_some().then_some(entry),
        }
    }

    /// What stands there as an address, whatever it is.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Vip(address) => Some(address.to_string()),
            Self::Other(entry) => entry.ip.clone(),
        }
    }
}

impl From<view::Ingress> for Ingress {
    fn from(entry: view::Ingress) -> Self {
        let text = entry.ip.as_deref().filter(|_| entry.hostname.is_none());
        match text.and_then(|text| text.parse().ok()) {
            Some(address) => Self::Vip(address),
            None => Self::Other(Box::new(entry)),
        }
    }
}

/// One condition of the status.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// Ours, in the form in which we write it.
    Ours {
        status: bool,
        reason: Box<str>,
        message: Box<str>,
        since: Timestamp,
    },
    /// Anything else, as it stands there.
    Other(Box<v1::Condition>),
}

impl From<v1::Condition> for Condition {
    fn from(condition: v1::Condition) -> Self {
        let status = match &*condition.status {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        match status {
            Some(status)
                if condition.type_ == ASSIGNED && condition.observed_generation.is_none() =>
            {
                Self::Ours {
                    status,
                    reason: condition.reason.into_boxed_str(),
                    message: condition.message.into_boxed_str(),
                    since: condition.last_transition_time.0,
                }
            }
            _ => Self::Other(Box::new(condition)),
        }
    }
}

impl From<&Condition> for v1::Condition {
    fn from(condition: &Condition) -> Self {
        match condition {
            Condition::Ours {
                status,
                reason,
                message,
                since,
            } => Self {
                last_transition_time: v1::Time(*since),
                message: message.to_string(),
                observed_generation: None,
                reason: reason.to_string(),
                status: if *status { "True" } else { "False" }.to_owned(),
                type_: ASSIGNED.to_owned(),
            },
            Condition::Other(other) => Self::clone(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_api::selector::Labels as _;
    use serde_json::{Value, json};

    use super::*;

    fn mk(json: Value) -> Service {
        let view: view::Service = serde_json::from_value(json).unwrap();
        Service::new(Arc::new(ObjectKey::of(&view)), view)
    }

    #[test]
    fn what_is_written_back_is_what_stood_there() {
        let time = "2026-03-04T05:06:07Z";
        let condition = |kind: &str, status: &str, generation: Option<i64>| {
            let mut condition = json!({
                "type": kind, "status": status, "reason": "Assigned", "message": "words", "lastTransitionTime": time,
            });
            if let Some(generation) = generation {
                condition["observedGeneration"] = json!(generation);
            }
            condition
        };
        for (row, written) in [
            ("ours", condition(ASSIGNED, "True", None)),
            ("ours, not held", condition(ASSIGNED, "False", None)),
            (
                "ours, written by another",
                condition(ASSIGNED, "Unknown", None),
            ),
            (
                "ours with a generation",
                condition(ASSIGNED, "True", Some(3)),
            ),
            ("another", condition("example.com/Ready", "True", Some(3))),
        ] {
            let status = json!({ "conditions": [written.clone()] });
            let service = mk(json!({ "metadata": {}, "status": status }));
            assert_eq!(json!(service.conditions()), json!([written]), "{row}");
            assert_eq!(service.told().is_some(), row.starts_with("ours"), "{row}");
        }
    }

    #[test]
    fn an_entry_with_a_host_name_or_without_an_address_is_no_vip() {
        for (row, entry, vip, foreign, text) in [
            (
                "address",
                json!({ "ip": "10.0.0.1", "ipMode": "VIP" }),
                true,
                false,
                Some("10.0.0.1"),
            ),
            (
                "host name",
                json!({ "hostname": "a.example" }),
                false,
                true,
                None,
            ),
            (
                "both",
                json!({ "ip": "10.0.0.1", "hostname": "a" }),
                false,
                true,
                Some("10.0.0.1"),
            ),
            (
                "garbage",
                json!({ "ip": "10.0.0.256" }),
                false,
                false,
                Some("10.0.0.256"),
            ),
            ("nothing", json!({}), false, false, None),
        ] {
            let entry: view::Ingress = serde_json::from_value(entry).unwrap();
            let kept = Ingress::from(entry.clone());
            assert_eq!(kept.vip().is_some(), vip, "{row}");
            assert_eq!(kept.foreign(), foreign.then_some(&entry), "{row}");
            assert_eq!(kept.text().as_deref(), text, "{row}");
        }
    }

    #[test]
    fn a_label_is_found_by_its_whole_key() {
        let service = mk(
            json!({ "metadata": { "labels": { "app": "web", "app.kubernetes.io/name": "shop", "empty": "" } } }),
        );
        for (key, value) in [
            ("app", Some("web")),
            ("app.kubernetes.io/name", Some("shop")),
            ("empty", Some("")),
            ("name", None),
            ("web", None),
            ("", None),
        ] {
            assert_eq!(service.labels.value(key), value, "{key:?}");
        }
        let without = mk(json!({ "metadata": {} }));
        assert_eq!(without.labels.value(""), None, "no labels at all");
    }

    #[test]
    fn an_empty_annotation_is_there_and_says_nothing() {
        let annotations = json!({ POOL: "", ADDRESS_POOL: "p", "portolan.dev/unknown": "x" });
        let service = mk(json!({ "metadata": { "annotations": annotations } }));
        assert_eq!(service.annotation(ADDRESS_POOL), Some("p"));
        assert_eq!(service.annotation(POOL), None);
        assert_eq!(service.annotated(POOL), Some(""));
        assert_eq!(service.annotated(L2_NODES), None);
    }
}
