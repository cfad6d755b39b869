//! `L2Advertisement`: announce pools by ARP and NDP.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConditionsStatus;
use crate::selector::LabelSelector;

/// Announces addresses on the local link by ARP (IPv4) and NDP (IPv6): one node answers for each address.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "L2Advertisement",
    plural = "l2advertisements",
    status = "ConditionsStatus",
    category = "portolan",
    derive = "Default",
    derive = "PartialEq",
    doc = "Announces addresses on the local link by ARP (IPv4) and NDP (IPv6): one node answers for each address.",
    printcolumn(name = "Pools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(name = "Interfaces", type_ = "string", json_path = ".spec.interfaces"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].reason"
    ),
    printcolumn(
        name = "Node Selectors",
        type_ = "string",
        json_path = ".spec.nodeSelectors",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
    /// Names of the pools that are announced, beside those that `ipAddressPoolSelectors` select. With neither, all pools.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "ipAddressPools"
    )]
    pub ip_address_pools: Vec<String>,
    /// Selectors over labels of pools. One match is enough.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "ipAddressPoolSelectors"
    )]
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Nodes that may announce; one match is enough, and no selector means every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// Services that are announced; one match is enough, and no selector means every Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
    /// Names of the interfaces on which to announce. Empty means every interface with a link to other hosts. Interfaces of
    /// containers and tunnels (docker*, veth*, cali*, cni*, flannel*, …) are never used, named or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 15)))]
    pub interfaces: Vec<String>,
    /// Regular expressions; an interface whose whole name matches one is meant as if it were named in `interfaces`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    pub interface_expressions: Vec<String>,
    /// Nodes to prefer among those that may announce. Not implemented yet: an object that sets it is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_node_selectors: Vec<PreferredNodes>,
    /// Time between two gratuitous announcements of an address that has not moved, for example `60s`. Not implemented
    /// yet: an object that sets it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gratuitous_interval: Option<String>,
    /// How fast the death of a node is noticed. Not implemented yet: an object that sets it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<Detection>,
}

/// A soft preference for some nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodes {
    /// Added to the score of each node that matches.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The nodes to prefer.
    pub preference: LabelSelector,
}

/// How fast the death of a node is noticed by the nodes that stand by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Detection {
    /// Time between two heartbeats, for example `100ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Heartbeats that may be missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub multiplier: Option<i32>,
}
