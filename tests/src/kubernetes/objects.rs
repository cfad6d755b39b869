//! What a kubelet and a controller-manager would write: Nodes that are ready, EndpointSlices of Services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node as NodeObject, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Cluster;
use crate::lab::{Dual, Node, Pod};

/// Field manager of everything that the fixture writes.
pub(super) const MANAGER: &str = "portolan-tests";

/// A pod as an EndpointSlice tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses; those of the Service's families are written.
    pub address: Dual,
    /// Name of its node.
    pub node: String,
    /// Takes new connections.
    pub ready: bool,
    /// Would take them if it did not terminate.
    pub serving: bool,
    /// Is being deleted.
    pub terminating: bool,
}

impl Endpoint {
    /// A ready endpoint.
    #[must_use]
    pub fn ready(pod: &Pod) -> Self {
        let (address, node) = (pod.address(), pod.node().to_owned());
        Self {
            address,
            node,
            ready: true,
            serving: true,
            terminating: false,
        }
    }

    /// A ready endpoint without a pod behind it, for scenarios that send no traffic.
    #[must_use]
    pub fn at(address: Dual, node: &str) -> Self {
        let node = node.to_owned();
        Self {
            address,
            node,
            ready: true,
            serving: true,
            terminating: false,
        }
    }

    /// A ready endpoint on a node whose address nobody has, for scenarios that send no traffic.
    #[must_use]
    pub fn without_pod(node: &str) -> Self {
        let address = Dual {
            v4: Ipv4Addr::new(10, 244, 1, 99),
            v6: Ipv6Addr::new(0xfd00, 0x244, 0, 1, 0, 0, 0, 0x99),
        };
        Self::at(address, node)
    }

    /// Not ready, as when its readiness probe fails.
    #[must_use]
    pub fn unready(self) -> Self {
        Self {
            ready: false,
            serving: false,
            ..self
        }
    }

    /// Being deleted and still serving, as during its grace period.
    #[must_use]
    pub fn terminating(self) -> Self {
        Self {
            ready: false,
            serving: true,
            terminating: true,
            ..self
        }
    }
}

impl Cluster {
    /// Creates the Node of a lab node, or overwrites it: with its LAN addresses and pod networks, ready, and
    /// without the taint that admission gives to every new one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create_node(&self, node: &Node) -> Result<()> {
        let address = node.host.address();
        self.create_node_at(node.name(), &address.both(), &node.pod_networks())
            .await
    }

    /// As [`Self::create_node`], for a Node that no lab has.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create_node_at(
        &self,
        name: &str,
        addresses: &[IpAddr],
        pod_networks: &[String],
    ) -> Result<()> {
        let api: Api<NodeObject> = Api::all(self.client());
        let parameters = PatchParams::apply(MANAGER).force();
        let object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
            "spec": { "podCIDR": pod_networks.first(), "podCIDRs": pod_networks },
        });
        let applied = api.patch(name, &parameters, &Patch::Apply(&object)).await;
        applied.with_context(|| format!("creating Node {name}"))?;
        let untaint = Patch::Merge(json!({ "spec": { "taints": null } }));
        let untainted = api.patch(name, &PatchParams::default(), &untaint).await;
        untainted.with_context(|| format!("removing the taint of Node {name}"))?;
        let status = Patch::Merge(node_status(name, addresses));
        let ready = api
            .patch_status(name, &PatchParams::default(), &status)
            .await;
        ready
            .map(drop)
            .with_context(|| format!("setting the status of Node {name}"))
    }

    /// Writes what the node controller does when the kubelet of a node has been silent for too long: its readiness is
    /// unknown.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn mark_node_lost(&self, name: &str) -> Result<()> {
        let api: Api<NodeObject> = Api::all(self.client());
        let status = json!({ "status": { "conditions": conditions("Unknown") } });
        let patched = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await;
        patched
            .map(drop)
            .with_context(|| format!("setting the status of Node {name}"))
    }

    /// Writes the EndpointSlices of a Service, one per family that it has, with the numeric target ports of all
    /// its ports. What was there before is replaced.
    ///
    /// # Errors
    /// When there is no such Service, or a target port has a name.
    pub async fn set_endpoints(
        &self,
        namespace: &str,
        service: &str,
        endpoints: &[Endpoint],
    ) -> Result<()> {
        let services: Api<Service> = Api::namespaced(self.client(), namespace);
        let object = services
            .get(service)
            .await
            .with_context(|| format!("reading Service {service}"))?;
        let spec = object.spec.unwrap_or_default();
        let ports = spec
            .ports
            .iter()
            .flatten()
            .map(slice_port)
            .collect::<Result<Vec<_>>>()?;
        let api: Api<EndpointSlice> = Api::namespaced(self.client(), namespace);
        for family in spec.ip_families.unwrap_or_default() {
            let name = format!("{service}-{}", family.to_lowercase());
            let slice = slice(&name, service, &family, &ports, endpoints);
            let parameters = PatchParams::apply(MANAGER).force();
            let applied = api.patch(&name, &parameters, &Patch::Apply(&slice)).await;
            applied.with_context(|| format!("writing EndpointSlice {name}"))?;
        }
        Ok(())
    }
}

fn node_status(name: &str, addresses: &[IpAddr]) -> Value {
    let internal = addresses
        .iter()
        .map(|ip| json!({ "type": "InternalIP", "address": ip }));
    let hostname = json!({ "type": "Hostname", "address": name });
    json!({ "status": {
        "addresses": internal.chain([hostname]).collect::<Vec<_>>(),
        "conditions": conditions("True"),
    }})
}

fn conditions(ready: &str) -> [Value; 2] {
    let now = jiff::Timestamp::now();
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Lab", "message": "set by the fixture",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    [
        condition("Ready", ready),
        condition("NetworkUnavailable", "False"),
    ]
}

fn slice_port(port: &ServicePort) -> Result<Value> {
    let number = match &port.target_port {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            anyhow::bail!(
                "target port {name} has a name; the fixture has no containers to look it up in"
            )
        }
        None => port.port,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    Ok(json!({ "name": port.name.as_deref().unwrap_or(""), "port": number, "protocol": protocol }))
}

fn slice(
    name: &str,
    service: &str,
    family: &str,
    ports: &[Value],
    endpoints: &[Endpoint],
) -> Value {
    let endpoints = endpoints.iter().map(|endpoint| {
        let Dual { v4, v6 } = endpoint.address;
        let address = if family == "IPv6" {
            IpAddr::from(v6)
        } else {
            v4.into()
        };
        json!({
            "addresses": [address],
            "nodeName": endpoint.node,
            "conditions": {
                "ready": endpoint.ready,
                "serving": endpoint.serving,
                "terminating": endpoint.terminating,
            },
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": MANAGER,
        }},
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}
