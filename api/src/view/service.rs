//! Service, as far as addresses and announcements go.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::PortStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize};

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Service")]
pub struct Service {
    /// Name, namespace, labels, annotations, versions.
    #[serde(deserialize_with = "super::lean_metadata")]
    pub metadata: ObjectMeta,
    /// What the user wants.
    #[serde(default)]
    pub spec: ServiceSpec,
    /// What it holds.
    #[serde(default)]
    pub status: ServiceStatus,
}

/// What the user wants of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `LoadBalancer`, `ClusterIP`, …
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// ClusterIPs, the primary family first; `None` for headless Services.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Addresses that somebody else brings to the nodes.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// Families in order, the primary first.
    pub ip_families: Vec<String>,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    pub ip_family_policy: Option<String>,
    /// The deprecated field for one exact address.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<String>,
    /// The class that the Service belongs to.
    pub load_balancer_class: Option<String>,
    /// How traffic from outside is spread.
    pub external_traffic_policy: TrafficPolicy,
    /// How traffic to ClusterIPs is spread.
    pub internal_traffic_policy: TrafficPolicy,
    /// Ports.
    pub ports: Vec<Port>,
    /// Labels of the pods behind it.
    pub selector: BTreeMap<String, String>,
}

/// How traffic is spread over endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Over all endpoints of the cluster.
    #[default]
    Cluster,
    /// Over endpoints of the node that received it.
    Local,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Port number.
    pub port: i32,
}

/// What a Service holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// The addresses.
    pub load_balancer: LoadBalancerStatus,
    /// Conditions, ours and others'.
    pub conditions: Vec<Condition>,
}

/// Addresses of a Service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    /// The entries, in the order in which they were written.
    pub ingress: Vec<Ingress>,
}

/// One address, or one host name, of a Service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// A host name: never ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `VIP` or `Proxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_mode: Option<String>,
    /// What whoever wrote the entry says of ports: never ours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortStatus>,
}

impl Service {
    /// Whether the Service is of type LoadBalancer and of the class that we serve: without a class of ours that is
    /// every Service without a class, else exactly our class.
    #[must_use]
    pub fn wants(&self, class: Option<&str>) -> bool {
        self.spec.kind.as_deref() == Some("LoadBalancer")
            && self.spec.load_balancer_class.as_deref() == class
    }

    /// The addresses in the status, in their order. Host names and unreadable entries are skipped.
    #[must_use]
    pub fn vips(&self) -> Vec<IpAddr> {
        let entries = self.status.load_balancer.ingress.iter();
        entries
            .filter_map(|entry| entry.ip.as_deref()?.parse().ok())
            .collect()
    }

    /// `spec.externalIPs`; unreadable entries are skipped.
    #[must_use]
    pub fn external_ips(&self) -> Vec<IpAddr> {
        let entries = self.spec.external_ips.iter();
        entries.filter_map(|text| text.parse().ok()).collect()
    }

    /// The ClusterIPs; none for a headless Service.
    #[must_use]
    pub fn cluster_ips(&self) -> Vec<IpAddr> {
        let entries = self.spec.cluster_ips.iter();
        entries.filter_map(|text| text.parse().ok()).collect()
    }

    /// Which nodes may take traffic from outside for the ClusterIPs: it is traffic of both kinds, so a policy Local of
    /// either kind counts.
    #[must_use]
    pub fn cluster_ip_policy(&self) -> TrafficPolicy {
        let policies = [
            self.spec.external_traffic_policy,
            self.spec.internal_traffic_policy,
        ];
        if policies.contains(&TrafficPolicy::Local) {
            TrafficPolicy::Local
        } else {
            TrafficPolicy::Cluster
        }
    }

    /// An annotation's value, if it is there and not empty.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let value = self.metadata.annotations.as_ref()?.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Labels, empty when there are none.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.labels.as_ref().unwrap_or(&NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_annotations_only_ours_are_kept() {
        let read = |annotations: &str| -> Service {
            let json = format!(r#"{{"metadata":{{"name":"a","annotations":{annotations}}}}}"#);
            serde_json::from_str(&json).unwrap()
        };
        let service = read(r#"{"portolan.dev/pool":"p","meta.helm.sh/release-name":"r"}"#);
        assert_eq!(service.annotation("portolan.dev/pool"), Some("p"));
        assert_eq!(service.annotation("meta.helm.sh/release-name"), None);
        let without = read(r#"{"meta.helm.sh/release-name":"r"}"#);
        assert_eq!(
            without.metadata.annotations, None,
            "an empty map costs nothing"
        );
    }
}
