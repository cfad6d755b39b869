//! `BGPAdvertisement`: announce pools and ranges by BGP.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConditionsStatus;
use crate::selector::LabelSelector;

/// Announces addresses and ranges to BGP peers: every eligible node is a next hop.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "BGPAdvertisement",
    plural = "bgpadvertisements",
    status = "ConditionsStatus",
    category = "portolan",
    derive = "Default",
    derive = "PartialEq",
    doc = "Announces addresses and ranges to BGP peers: every eligible node is a next hop.",
    printcolumn(name = "Routes", type_ = "string", json_path = ".spec.routes"),
    printcolumn(name = "Pools", type_ = "string", json_path = ".spec.ipAddressPools"),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.peers"),
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
#[x_kube(validation = Rule::new(
    "!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || (self.aggregationLength == 32 && self.aggregationLengthV6 == 128)"
).message("serviceSelectors need aggregationLength 32 and aggregationLengthV6 128: an aggregate serves more than the selected Services"))]
pub struct BGPAdvertisementSpec {
    /// What is announced: `LoadBalancerIP` (addresses of Services of type LoadBalancer), `ExternalIP` (each of
    /// `spec.externalIPs` of Services of any type), `ClusterIP` (each single ClusterIP), `ClusterIPRange` (the whole ranges
    /// that ClusterIPs come from, from every node, and beside them each ClusterIP of a Service with a policy Local, from
    /// the nodes that have an endpoint of it), `PodCIDR` (the node's own `spec.podCIDRs`). `serviceSelectors` choose among
    /// Services for the first three; pools and aggregation lengths concern `LoadBalancerIP` only. Addresses of nodes must
    /// not be announced as external IPs: a node leaves out its own and those of its peers, and can not know the others.
    #[serde(default = "load_balancer_ip")]
    #[schemars(length(min = 1, max = 5))]
    pub routes: Vec<RouteKind>,
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
    /// Nodes that announce; one match is enough, and no selector means every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// Services that are announced; one match is enough, and no selector means every Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub service_selectors: Vec<LabelSelector>,
    /// Names of the BGPPeers to announce to. Empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Prefix length under which IPv4 addresses are announced. 32 announces each address alone. An aggregate attracts
    /// the addresses that no Service holds as well: nodes answer for those that they are unreachable.
    #[serde(default = "host_v4")]
    #[schemars(range(min = 1, max = 32))]
    pub aggregation_length: i32,
    /// Prefix length under which IPv6 addresses are announced. 128 announces each address alone.
    #[serde(default = "host_v6")]
    #[schemars(range(min = 1, max = 128))]
    pub aggregation_length_v6: i32,
    /// `LOCAL_PREF` towards internal peers (RFC 4271 section 5.1.5). Unset means 100; external peers never get it. It
    /// must be the same in all advertisements that put the same prefix to the same peer, as must `med`, `asPathPrepend`
    /// and `bandwidth`: the younger one is refused otherwise. Their communities add up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub local_pref: Option<i64>,
    /// Communities: `65000:100` (RFC 1997), `large:65000:1:2` (RFC 8092), the extended ones `rt:65000:1`, `soo:65000:1`
    /// with an AS number or an IPv4 address (RFC 4360, RFC 5668) and `ext:` with 16 hexadecimal digits, a well-known name
    /// (`no-export`, `no-advertise`, `no-export-subconfed`, `no-peer`, `blackhole`, `graceful-shutdown`, `no-llgr`,
    /// `llgr-stale`, `accept-own`), or the name of an alias from a Community object, which goes before a well-known one.
    /// Extended ones of a type that is not transitive are sent to internal peers only (RFC 4360 section 6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 63), inner(length(min = 1, max = 63)))]
    pub communities: Vec<String>,
    /// Multi-exit discriminator (RFC 4271 section 5.1.4); unset means none. Routers spread traffic only over nodes that
    /// send the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub med: Option<i64>,
    /// How many times our AS stands in the path towards external peers, beside the once that it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub as_path_prepend: Option<i32>,
    /// Adds a link-bandwidth community, by which routers that are told to weigh nodes. `LocalEndpoints`: 1 Gbit/s for each
    /// ready endpoint on the node, for Services with externalTrafficPolicy Local. Services with policy Cluster get none,
    /// as every node spreads their traffic evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Community that is added while the node drains, written as in `communities`, beside GRACEFUL_SHUTDOWN (RFC 8326), a
    /// longer AS path and a `LOCAL_PREF` of 0, which every route of such a node gets. A node drains when it is cordoned,
    /// when the cluster autoscaler or Karpenter has marked it with a taint, or when it has the annotation or label
    /// `portolan.dev/drain` with any value but `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub drain_community: Option<String>,
}

fn load_balancer_ip() -> Vec<RouteKind> {
    vec![RouteKind::LoadBalancerIP]
}

fn host_v4() -> i32 {
    32
}

fn host_v6() -> i32 {
    128
}

/// What a `BGPAdvertisement` announces.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RouteKind {
    /// Addresses of Services of type LoadBalancer.
    LoadBalancerIP,
    /// `spec.externalIPs` of Services.
    ExternalIP,
    /// Single ClusterIPs of Services.
    ClusterIP,
    /// The whole ranges that ClusterIPs come from, and single ClusterIPs of Services with a policy Local.
    ClusterIPRange,
    /// The node's own pod ranges.
    PodCIDR,
}

/// Where the value of a link-bandwidth community comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Bandwidth {
    /// 1 Gbit/s for each ready endpoint on the node, of Services with externalTrafficPolicy Local.
    LocalEndpoints,
}
