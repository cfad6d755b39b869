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
    /// Nodes to prefer among those that may announce. A preference decides where an address is placed first and who stands
    /// by for it; an address that is answered is not moved for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub preferred_node_selectors: Vec<PreferredNodes>,
    /// Time between two gratuitous announcements of an address that has not moved, from `1s` to `1h`, or `0s` for never.
    /// Default `60s`: switches and routers forget what they have not heard for some minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s|ms))+$') && (duration(self) == duration('0s') || (duration(self) >= duration('1s') && duration(self) <= duration('1h')))")
        .message("must be a duration from 1s to 1h, or 0s for never"))]
    pub gratuitous_interval: Option<String>,
    /// How fast the death of a node is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<Detection>,
}

/// A soft preference for some nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodes {
    /// Added to the score of each node that matches, 1 to 100. Nodes with the highest sum are preferred.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The nodes to prefer.
    pub preference: LabelSelector,
}

/// How fast the death of a node is noticed by the nodes that stand by: after `interval` times `multiplier` without a
/// packet from it (BFD, RFC 5880). Where several rules cover an address that two nodes share, the shortest time counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Detection {
    /// Time between two packets, from `10ms` to `10s`. Default `100ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s|ms))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('10s')")
        .message("must be a duration from 10ms to 10s"))]
    pub interval: Option<String>,
    /// Packets in a row that may be missed, 2 to 255. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub multiplier: Option<i32>,
}
