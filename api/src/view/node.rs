//! Node, Namespace and ServiceCIDR, as far as selection and ranges go.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

use crate::annotation;

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Node")]
pub struct Node {
    /// Name and labels.
    #[serde(deserialize_with = "super::lean_metadata")]
    pub metadata: ObjectMeta,
    /// What it is meant for.
    #[serde(default)]
    pub spec: NodeSpec,
    /// Conditions and addresses.
    #[serde(default)]
    pub status: NodeStatus,
}

/// What a Node is meant for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Cordoned: no new pods.
    pub unschedulable: bool,
    /// What keeps pods away.
    pub taints: Vec<Taint>,
    /// Ranges of the addresses of its pods.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

/// A taint of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// What it is about.
    pub key: String,
}

/// Conditions and addresses of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Conditions.
    pub conditions: Vec<NodeCondition>,
    /// Addresses.
    pub addresses: Vec<NodeAddress>,
}

/// A condition of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCondition {
    /// For example `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// An address of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// For example `InternalIP`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub address: String,
}

impl Node {
    /// Labels, empty when there are none.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    /// Why the node must not announce at all, if so: the exclude label or the condition NetworkUnavailable.
    #[must_use]
    pub fn excluded(&self) -> Option<&'static str> {
        if self.labels().contains_key(annotation::EXCLUDE_NODE) {
            return Some(annotation::EXCLUDE_NODE);
        }
        let down =
            |c: &NodeCondition| c.kind == annotation::NETWORK_UNAVAILABLE && c.status == "True";
        self.status
            .conditions
            .iter()
            .any(down)
            .then_some(annotation::NETWORK_UNAVAILABLE)
    }

    /// Why the node is about to go, if so: by `portolan.dev/drain` as annotation or label (any value but `false`), by a
    /// taint of an autoscaler that removes it, or because it is cordoned.
    #[must_use]
    pub fn draining(&self) -> Option<&'static str> {
        let marks = [&self.metadata.annotations, &self.metadata.labels];
        let mut marks = marks.into_iter().flatten();
        if marks.any(|all| all.get(annotation::DRAIN).is_some_and(|v| v != "false")) {
            return Some(annotation::DRAIN);
        }
        let has = |key: &&str| self.spec.taints.iter().any(|taint| taint.key == *key);
        let leaving = annotation::LEAVING_TAINTS.into_iter().find(has);
        leaving.or_else(|| self.spec.unschedulable.then_some("unschedulable"))
    }
}

/// A Namespace: its labels.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Namespace")]
pub struct Namespace {
    /// Name and labels.
    #[serde(deserialize_with = "super::lean_metadata")]
    pub metadata: ObjectMeta,
}

/// Ranges that ClusterIPs come from.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize)]
#[resource(inherit = "k8s_openapi::api::networking::v1::ServiceCIDR")]
pub struct ServiceCIDR {
    /// Name.
    #[serde(deserialize_with = "super::lean_metadata")]
    pub metadata: ObjectMeta,
    /// The ranges.
    #[serde(default)]
    pub spec: ServiceCIDRSpec,
}

/// The ranges of a ServiceCIDR.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceCIDRSpec {
    /// One range per family.
    pub cidrs: Vec<String>,
}
