//! Lean views of core objects: the API identity of the real kind, and only the fields that we read.
//!
//! serde skips what a struct does not name, so a watch of 20 000 EndpointSlices costs what these few fields cost. Views
//! are never written back whole: writes are patches that carry the `resourceVersion`.

mod endpoint_slice;
mod node;
mod node_report;
mod service;

pub use endpoint_slice::{Conditions, Endpoint, EndpointSlice, usable_nodes};
pub use node::{
    Namespace, Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, ServiceCIDR,
    ServiceCIDRSpec, Taint,
};
pub use node_report::{AnsweredVip, NodeReport, NodeReportStatus};
pub use service::{
    Ingress, LoadBalancerStatus, Port, Service, ServiceSpec, ServiceStatus, TrafficPolicy,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer};

use crate::annotation;

/// Reads metadata without `managedFields`, owners, finalizers and what others annotate, which are most of its bytes.
fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lean {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        labels: Option<std::collections::BTreeMap<String, String>>,
        annotations: Option<std::collections::BTreeMap<String, String>>,
    }
    let lean = Lean::deserialize(deserializer)?;
    // What kubectl keeps for itself is often larger than the object, and nobody's annotations but ours are read.
    let annotations = lean.annotations.and_then(|mut annotations| {
        annotations.retain(|name, _| name.starts_with(annotation::PREFIX));
        (!annotations.is_empty()).then_some(annotations)
    });
    Ok(ObjectMeta {
        name: lean.name,
        namespace: lean.namespace,
        uid: lean.uid,
        resource_version: lean.resource_version,
        generation: lean.generation,
        creation_timestamp: lean.creation_timestamp,
        deletion_timestamp: lean.deletion_timestamp,
        labels: lean.labels,
        annotations,
        ..ObjectMeta::default()
    })
}

/// Reads an explicit `null` as the empty value: the API server writes `"endpoints": null` for an empty slice.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
