//! EndpointSlice, as far as readiness and nodes go.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

use crate::range::Family;
use crate::{ObjectKey, annotation};

/// A slice of a Service's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize)]
#[resource(inherit = "k8s_openapi::api::discovery::v1::EndpointSlice")]
pub struct EndpointSlice {
    /// Name, namespace, labels, versions.
    #[serde(deserialize_with = "super::lean_metadata")]
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(default, rename = "addressType")]
    pub address_type: String,
    /// The endpoints.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Readiness.
    #[serde(default)]
    pub conditions: Conditions,
    /// Node of the endpoint; absent for endpoints outside the cluster.
    pub node_name: Option<String>,
}

/// Readiness of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Ready; absent means ready.
    pub ready: Option<bool>,
    /// Able to serve, terminating or not.
    pub serving: Option<bool>,
    /// On its way out.
    pub terminating: Option<bool>,
}

impl Conditions {
    /// Whether kube-proxy would send traffic here: ready, or still serving while terminating.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.ready.unwrap_or(true)
            || (self.terminating.unwrap_or(false) && self.serving.unwrap_or(false))
    }
}

impl EndpointSlice {
    /// The family of its addresses; `None` for host names.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        match self.address_type.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        }
    }

    /// The Service that the slice belongs to.
    #[must_use]
    pub fn service(&self) -> Option<ObjectKey> {
        let name = self
            .metadata
            .labels
            .as_ref()?
            .get(annotation::SERVICE_NAME)?;
        Some(ObjectKey::new(
            self.metadata.namespace.clone().unwrap_or_default(),
            name,
        ))
    }
}

/// Nodes with a usable endpoint; the empty name stands for endpoints outside the cluster, which count for policy Cluster.
#[must_use]
pub fn usable_nodes(slice: &EndpointSlice) -> BTreeSet<&str> {
    let usable = slice
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.conditions.usable());
    usable
        .map(|endpoint| endpoint.node_name.as_deref().unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_slice_reads_as_the_api_server_writes_it() {
        let json =
            r#"{"metadata":{"name":"a"},"addressType":"IPv4","endpoints":null,"ports":null}"#;
        let slice: EndpointSlice = serde_json::from_str(json).unwrap();
        assert_eq!(slice.endpoints, Vec::new());
    }

    #[test]
    fn an_endpoint_is_usable_as_kube_proxy_sees_it() {
        for (ready, serving, terminating, usable) in [
            (None, None, None, true),
            (Some(true), Some(true), Some(false), true),
            (Some(false), Some(false), Some(false), false),
            (Some(false), Some(true), Some(true), true),
            (Some(false), Some(false), Some(true), false),
            (Some(false), Some(true), Some(false), false),
            (Some(true), Some(true), Some(true), true),
        ] {
            let conditions = Conditions {
                ready,
                serving,
                terminating,
            };
            assert_eq!(conditions.usable(), usable, "{conditions:?}");
        }
    }
}
