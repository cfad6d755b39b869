//! `SpeakerConfig`: the compiled configuration that speakers follow.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Bandwidth, BfdAuthentication, BgpRole, DynamicAsn, IPAddressPoolSpec, Listen, PreferredNodes,
    RouteKind, SecretReference, TcpAuthenticationOption,
};
use crate::selector::{LabelSelector, Labels, any_or_empty};

/// Configuration as the controller compiled it from every accepted object. One object, `default`, written by the
/// controller only. It is also the memory of the last good version of each object: when a user's edit is refused, the
/// entry made from the version before stays here and in force.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "SpeakerConfig",
    plural = "speakerconfigs",
    derive = "Default",
    derive = "PartialEq",
    doc = "Configuration as the controller compiled it from every accepted object. Written by the controller only.",
    printcolumn(name = "Pools", type_ = "string", json_path = ".spec.pools[*].name"),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.peers[*].name"),
    printcolumn(
        name = "Cluster IP Ranges",
        type_ = "string",
        json_path = ".spec.clusterIPRanges"
    ),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".metadata.generation"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerConfigSpec {
    /// Accepted pools.
    #[serde(default)]
    pub pools: Vec<PoolRule>,
    /// Accepted L2Advertisements.
    #[serde(default)]
    pub l2: Vec<L2Rule>,
    /// Accepted BGPAdvertisements.
    #[serde(default)]
    pub bgp: Vec<BgpRule>,
    /// Accepted BGPPeers.
    #[serde(default)]
    pub peers: Vec<PeerRule>,
    /// Accepted BFDProfiles.
    #[serde(default)]
    pub bfd: Vec<BfdRule>,
    /// Nodes that may take part in a layer-2 placement, as their speakers reported them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRule>,
    /// Ranges that ClusterIPs come from.
    #[serde(default, rename = "clusterIPRanges")]
    #[schemars(with = "Vec<String>")]
    pub cluster_ip_ranges: Vec<IpNetwork>,
}

/// An accepted pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRule {
    /// Name of the IPAddressPool.
    pub name: String,
    /// The accepted specification.
    #[schemars(schema_with = "super::unruled_schema::<IPAddressPoolSpec>")]
    pub spec: IPAddressPoolSpec,
}

/// An accepted L2Advertisement, with its references resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2Rule {
    /// Name of the L2Advertisement.
    pub name: String,
    /// Names of the pools it covers.
    #[serde(default)]
    pub pools: Vec<String>,
    /// Nodes that may announce; empty means all.
    #[serde(default)]
    pub node_selectors: Vec<LabelSelector>,
    /// Services that are announced; empty means all.
    #[serde(default)]
    pub service_selectors: Vec<LabelSelector>,
    /// Interfaces by name. With neither these nor expressions, all.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Interfaces by regular expressions over their whole name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interface_expressions: Vec<String>,
    /// Nodes to prefer; read by the controller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_nodes: Vec<PreferredNodes>,
    /// Seconds between two announcements of an address that has not moved; 0 for never.
    #[serde(default = "default_refresh")]
    pub refresh_seconds: u32,
    /// How the nodes of a placement watch each other.
    #[serde(default)]
    pub detection: DetectionRule,
}

/// Seconds between two announcements of an address that has not moved, unless a rule says otherwise: below the 300 s after
/// which switches forget.
fn default_refresh() -> u32 {
    DEFAULT_REFRESH_SECONDS
}

/// See [`L2Rule::refresh_seconds`].
pub const DEFAULT_REFRESH_SECONDS: u32 = 60;

/// Times of the BFD sessions between speakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DetectionRule {
    /// Milliseconds between two packets.
    pub interval_milliseconds: u32,
    /// Packets that may be missed.
    pub multiplier: u8,
}

impl Default for DetectionRule {
    fn default() -> Self {
        Self {
            interval_milliseconds: 100,
            multiplier: 3,
        }
    }
}

/// A node as other speakers find it on a link that they share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRule {
    /// Name of the Node.
    pub name: String,
    /// Its interfaces that have addresses, as its speaker reported them.
    #[serde(default)]
    pub interfaces: Vec<NodeInterface>,
}

/// An interface of another node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInterface {
    /// Its hardware address, as `02:00:00:00:00:01`.
    pub mac: String,
    /// Its addresses with the length of their subnet.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpNetwork>,
}

/// An accepted BGPAdvertisement, with its references resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpRule {
    /// Name of the BGPAdvertisement.
    pub name: String,
    /// What is announced.
    pub routes: Vec<RouteKind>,
    /// Names of the pools it covers.
    #[serde(default)]
    pub pools: Vec<String>,
    /// Nodes that announce; empty means all.
    #[serde(default)]
    pub node_selectors: Vec<LabelSelector>,
    /// Services that are announced; empty means all.
    #[serde(default)]
    pub service_selectors: Vec<LabelSelector>,
    /// Names of the peers; empty means all.
    #[serde(default)]
    pub peers: Vec<String>,
    /// IPv4 prefix length, 1 to 32.
    pub aggregation_length: u8,
    /// IPv6 prefix length, 1 to 128.
    pub aggregation_length_v6: u8,
    /// `LOCAL_PREF` towards internal peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// What rides on the routes.
    #[serde(flatten)]
    pub communities: Communities,
    /// `MULTI_EXIT_DISC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// How many times our AS stands in the path towards external peers, beside the once that it must.
    #[serde(default)]
    pub as_path_prepend: u8,
    /// Where the link bandwidth comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// What rides on the routes as well while the node drains.
    #[serde(default)]
    pub drain: Communities,
}

/// Communities by their form, as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Communities {
    /// Standard communities (RFC 1997).
    #[serde(default, rename = "communities")]
    pub standard: Vec<u32>,
    /// Large communities as three numbers each (RFC 8092).
    #[serde(default, rename = "largeCommunities")]
    pub large: Vec<[u32; 3]>,
    /// Extended communities as their first and last four octets (RFC 4360).
    #[serde(default, rename = "extendedCommunities")]
    pub extended: Vec<[u32; 2]>,
}

/// An accepted BGPPeer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerRule {
    /// Name of the BGPPeer.
    pub name: String,
    /// When it was created, in seconds since 1970: of two peers that are one neighbour of a node, the older one has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_seconds: Option<i64>,
    /// Our AS towards this peer.
    #[serde(rename = "myASN")]
    pub my_asn: u32,
    /// The peer's AS; else `dynamicASN`.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<u32>,
    /// Which AS the peer may have.
    #[serde(
        default,
        rename = "dynamicASN",
        skip_serializing_if = "Option::is_none"
    )]
    pub dynamic_asn: Option<DynamicAsn>,
    /// The peer's address; else `interface`. A link-local one has its link in `interface`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Interface of an unnumbered session: with the router at `address`, else with the one that advertises itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The peer's TCP port.
    pub port: u16,
    /// Address to connect from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// VRF of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Who opens the connection.
    #[serde(default)]
    pub listen: Listen,
    /// Proposed hold time in seconds: 0 or at least 3.
    pub hold_time_seconds: u16,
    /// Time between KEEPALIVEs in milliseconds; unset means a third of the negotiated hold time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_milliseconds: Option<u32>,
    /// Time between attempts to connect in seconds; unset means back-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_seconds: Option<u16>,
    /// BGP identifier; unset means chosen by the speaker.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// Nodes that have this peer; empty means all.
    #[serde(default)]
    pub node_selectors: Vec<LabelSelector>,
    /// TCP MD5 key by value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// TCP MD5 key by Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretReference>,
    /// TCP-AO key by Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_authentication_option: Option<TcpAuthenticationOption>,
    /// The peer may be more than one hop away.
    #[serde(default)]
    pub multi_hop: bool,
    /// Packets that do not come from the link are dropped (RFC 5082).
    #[serde(default)]
    pub ttl_security: bool,
    /// The session carries both families.
    #[serde(default)]
    pub dual_stack: bool,
    /// IPv4 routes with IPv6 next hops are offered (RFC 8950).
    #[serde(default)]
    pub extended_next_hop: bool,
    /// What we are to an external peer (RFC 9234).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<BgpRole>,
    /// Graceful restart, if it is on: seconds that the peer may wait for us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_restart_seconds: Option<u16>,
    /// Seconds after that in which the peer may keep our routes (RFC 9494).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_lived_stale_seconds: Option<u32>,
    /// Largest TCP segment, in octets.
    #[serde(default, rename = "tcpMSS", skip_serializing_if = "Option::is_none")]
    pub tcp_mss: Option<u16>,
    /// Name of the BFDProfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
}

/// An accepted BFDProfile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BfdRule {
    /// Name of the BFDProfile.
    pub name: String,
    /// Shortest time between two packets that we send, in milliseconds.
    pub transmit_milliseconds: u32,
    /// Shortest time between two packets that we can receive, in milliseconds.
    pub receive_milliseconds: u32,
    /// Of our packets, how many the peer may miss.
    pub multiplier: u8,
    /// Smallest TTL of packets that are accepted from a peer more than one hop away.
    pub minimum_ttl: u8,
    /// Wait for the peer to begin.
    #[serde(default)]
    pub passive: bool,
    /// How packets are authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<BfdAuthentication>,
}

// What a rule applies to: asked by the controller for placement, by speakers for announcements, by the command-line tool
// for explanations.

impl L2Rule {
    /// Whether the rule announces addresses of this pool for a Service with these labels.
    #[must_use]
    pub fn covers(&self, pool: &str, service: &(impl Labels + ?Sized)) -> bool {
        self.pools.iter().any(|name| name == pool) && any_or_empty(&self.service_selectors, service)
    }

    /// Whether a node with these labels may announce.
    #[must_use]
    pub fn is_on(&self, node: &(impl Labels + ?Sized)) -> bool {
        any_or_empty(&self.node_selectors, node)
    }
}

impl BgpRule {
    /// Whether the rule announces addresses of this pool for a Service of type LoadBalancer with these labels.
    #[must_use]
    pub fn covers(&self, pool: &str, service: &(impl Labels + ?Sized)) -> bool {
        self.routes.contains(&RouteKind::LoadBalancerIP)
            && self.pools.iter().any(|name| name == pool)
            && any_or_empty(&self.service_selectors, service)
    }

    /// Whether the rule announces a single ClusterIP of a Service with these labels. `local_in_range`: it is in an
    /// announced range, and only nodes with endpoints may take its traffic.
    #[must_use]
    pub fn covers_cluster_ip(
        &self,
        local_in_range: bool,
        service: &(impl Labels + ?Sized),
    ) -> bool {
        let with_range = local_in_range && self.routes.contains(&RouteKind::ClusterIPRange);
        with_range || self.covers_own(RouteKind::ClusterIP, service)
    }

    /// Whether the rule announces addresses of this kind that a Service with these labels has without a pool's help.
    #[must_use]
    pub fn covers_own(&self, kind: RouteKind, service: &(impl Labels + ?Sized)) -> bool {
        self.routes.contains(&kind) && any_or_empty(&self.service_selectors, service)
    }

    /// Whether a node with these labels announces.
    #[must_use]
    pub fn is_on(&self, node: &(impl Labels + ?Sized)) -> bool {
        any_or_empty(&self.node_selectors, node)
    }

    /// Whether this peer is told.
    #[must_use]
    pub fn tells(&self, peer: &PeerRule) -> bool {
        self.peers.is_empty() || self.peers.contains(&peer.name)
    }
}

impl PeerRule {
    /// Whether a node with these labels has this peer.
    #[must_use]
    pub fn is_on(&self, node: &(impl Labels + ?Sized)) -> bool {
        any_or_empty(&self.node_selectors, node)
    }

    /// Whether the two are one neighbour of a node that has both. Two sessions from one node to one socket would fight for
    /// the router's one neighbour entry, and a peer that may connect to us is known by its address alone, an unnumbered one
    /// by its interface, and its address if that is named.
    ///
    /// This is not transitive: whoever is found on a link may be any of the routers that other rules name there.
    #[must_use]
    pub fn is_same_neighbour(&self, other: &Self) -> bool {
        let one = |a: Option<IpAddr>, b: Option<IpAddr>| a.is_none() || b.is_none() || a == b;
        let waits = |rule: &Self| rule.listen != Listen::Active;
        let same_socket = (self.port, self.source_address) == (other.port, other.source_address);
        (&self.interface, &self.vrf) == (&other.interface, &other.vrf)
            && one(self.address, other.address)
            && (same_socket || (waits(self) && waits(other)) || self.interface.is_some())
    }

    /// Whether the session carries the family of this address: that of its own address, or both.
    #[must_use]
    pub fn carries(&self, address: IpAddr) -> bool {
        let own = |own: IpAddr| own.is_ipv4() == address.is_ipv4();
        self.dual_stack || self.interface.is_some() || self.address.is_some_and(own)
    }

    /// Who it is, in words: the address, the interface, or both (RFC 4007 section 11).
    #[must_use]
    pub fn neighbour(&self) -> String {
        match (&self.address, &self.interface) {
            (Some(address), Some(interface)) => format!("{address}%{interface}"),
            (Some(address), None) => address.to_string(),
            (None, Some(interface)) => interface.clone(),
            (None, None) => "nobody".to_owned(),
        }
    }
}
