//! `BGPPeer`: a BGP neighbour.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConditionsStatus;
use crate::selector::LabelSelector;

/// A BGP neighbour of the nodes.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "BGPPeer",
    plural = "bgppeers",
    status = "ConditionsStatus",
    category = "portolan",
    derive = "Default",
    derive = "PartialEq",
    doc = "A BGP neighbour of the nodes.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "Interface", type_ = "string", json_path = ".spec.interface"),
    printcolumn(name = "ASN", type_ = "integer", json_path = ".spec.peerASN"),
    printcolumn(name = "Local ASN", type_ = "integer", json_path = ".spec.myASN"),
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
        name = "Multi Hops",
        type_ = "boolean",
        json_path = ".spec.ebgpMultiHop",
        priority = 1
    ),
    printcolumn(
        name = "BFD Profile",
        type_ = "string",
        json_path = ".spec.bfdProfile",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.peerASN) != has(self.dynamicASN)")
    .message("set exactly one of peerASN and dynamicASN"))]
#[x_kube(validation = Rule::new("has(self.peerAddress) || has(self.interface)")
    .message("set peerAddress or interface"))]
#[x_kube(validation = Rule::new("!has(self.peerAddress) || !isIP(self.peerAddress) || (ip(self.peerAddress).family() == 6 && ip(self.peerAddress).isLinkLocalUnicast()) == has(self.interface)")
    .message("an IPv6 link-local peerAddress needs interface, the link that it is on; another one goes without"))]
#[x_kube(validation = Rule::new("!(has(self.password) && has(self.passwordSecret))")
    .message("set at most one of password and passwordSecret"))]
#[x_kube(validation = Rule::new("!(has(self.tcpAuthenticationOption) && (has(self.password) || has(self.passwordSecret)))")
    .message("set at most one of tcpAuthenticationOption and password or passwordSecret: a connection is signed one way"))]
#[x_kube(validation = Rule::new("!self.ebgpMultiHop || !has(self.peerASN) || self.peerASN != (has(self.localASN) ? self.localASN : self.myASN)")
    .message("ebgpMultiHop is for external peers: peerASN is our own AS"))]
#[x_kube(validation = Rule::new("!self.ebgpMultiHop || !has(self.dynamicASN) || self.dynamicASN == 'external'")
    .message("ebgpMultiHop is for external peers: dynamicASN is internal"))]
#[x_kube(validation = Rule::new("!has(self.role) || !has(self.peerASN) || self.peerASN != (has(self.localASN) ? self.localASN : self.myASN)")
    .message("role is for external peers: peerASN is our own AS"))]
#[x_kube(validation = Rule::new("!has(self.role) || !has(self.dynamicASN) || self.dynamicASN == 'external'")
    .message("role is for external peers: dynamicASN is internal"))]
#[x_kube(validation = Rule::new("!(self.ebgpMultiHop && (self.ttlSecurity || has(self.interface)))")
    .message("ebgpMultiHop is for peers more than one hop away: set it without ttlSecurity and interface"))]
#[x_kube(validation = Rule::new("!(has(self.interface) && has(self.sourceAddress))")
    .message("an unnumbered session has its interface's link-local address: set at most one of interface and sourceAddress"))]
#[x_kube(validation = Rule::new("self.enableGracefulRestart || !(has(self.gracefulRestartTime) || has(self.longLivedStaleTime))")
    .message("gracefulRestartTime and longLivedStaleTime need enableGracefulRestart"))]
pub struct BGPPeerSpec {
    /// Our autonomous system number, 1 to 4294967295.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub my_asn: i64,
    /// The peer's autonomous system number. Exactly one of `peerASN` and `dynamicASN` must be set.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub peer_asn: Option<i64>,
    /// Accept whatever AS the peer has, as long as it is ours (`internal`) or not ours (`external`).
    #[serde(
        default,
        rename = "dynamicASN",
        skip_serializing_if = "Option::is_none"
    )]
    pub dynamic_asn: Option<DynamicAsn>,
    /// AS to show to this peer instead of `myASN`, in OPEN and in the path of routes; `myASN` is not seen there. A peer
    /// of this AS is an internal one.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub local_asn: Option<i64>,
    /// The peer's address, IPv4 or IPv6. The session carries the routes of the same family, and of both with
    /// `dualStackAddressFamily`. An IPv6 link-local address needs `interface`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 45))]
    #[x_kube(validation = Rule::new("isIP(self)").message("must be an IPv4 or IPv6 address"))]
    pub peer_address: Option<String>,
    /// Interface of an unnumbered session, for example `eth1`: the peer is the one router that advertises itself there
    /// (RFC 4861), by its link-local address; with several routers on the link, a BGPPeer for each, with its link-local
    /// address in `peerAddress`. The session carries both families, IPv4 with IPv6 next hops (RFC 8950).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub interface: Option<String>,
    /// Address of the node to connect from. Unset means that the node's routing decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 45))]
    #[x_kube(validation = Rule::new("isIP(self)").message("must be an IPv4 or IPv6 address"))]
    pub source_address: Option<String>,
    /// TCP port of the peer, for connections that we open.
    #[serde(default = "bgp_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: i32,
    /// Hold time that we propose (RFC 4271 section 4.2), for example `90s`: `0s`, or whole seconds between 3 and 65535.
    /// Default three times `keepaliveTime` if that is set, else 90s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub hold_time: Option<String>,
    /// Time between two KEEPALIVE messages, at most the hold time. Default a third of the negotiated hold time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub keepalive_time: Option<String>,
    /// Time between attempts to connect while nothing answers, whole seconds from 1s to 65535s. Unset backs off from 1 to
    /// 15 seconds. Who refuses us is asked again after 1 to 60 seconds in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub connect_time: Option<String>,
    /// BGP identifier (RFC 6286), written as an IPv4 address, of every node that has this peer: routers may take nodes with
    /// the same one for one. Default: the node's first IPv4 `InternalIP`, else one made from the node's name.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 7, max = 15))]
    pub router_id: Option<String>,
    /// Nodes that have this peer; one match is enough, and no selector means every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,
    /// Key of TCP MD5 (RFC 2385), at most 80 bytes. Prefer `passwordSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 80))]
    pub password: Option<String>,
    /// Secret of type `kubernetes.io/basic-auth` with the TCP MD5 key under `password`, in Portolan's own namespace.
    /// While it is not there, a session that runs goes on as it was, with the key that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretReference>,
    /// Name of a BFDProfile: BFD then watches the path to the peer, and the session ends when it breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub bfd_profile: Option<String>,
    /// What we are to this peer, for routers that know BGP roles (RFC 9234): mostly `Customer`, as our router is our
    /// `Provider`. A router that says another role than the one that belongs to it is refused (2/11), one that says none is
    /// not. Routes to a customer, a peer or a client of a route server are marked Only-to-Customer. For external peers;
    /// unset means that no role is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<BgpRole>,
    /// Graceful restart (RFC 4724, RFC 8538): the peer keeps using our routes while the speaker restarts.
    #[serde(default)]
    pub enable_graceful_restart: bool,
    /// How long the peer may wait for the speaker to come back: whole seconds up to 4095s, default 120s. Needs
    /// `enableGracefulRestart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub graceful_restart_time: Option<String>,
    /// How long after that the peer may keep our routes as a last resort (RFC 9494): whole seconds up to 16777215s.
    /// Unset means not at all. Needs `enableGracefulRestart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub long_lived_stale_time: Option<String>,
    /// The external peer is more than one hop away.
    #[serde(default)]
    pub ebgp_multi_hop: bool,
    /// VRF of the session: the name of a device of kind vrf on the node. Unset means the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub vrf: Option<String>,
    /// Carry both address families on this session. Routes of the family that `peerAddress` is not of have an address of
    /// the same interface as their next hop.
    #[serde(default)]
    pub dual_stack_address_family: bool,
    /// Offer IPv4 routes with IPv6 next hops (RFC 8950), used where the session's interface has no IPv4 address. Always on
    /// with `interface`.
    #[serde(default)]
    pub extended_next_hop: bool,
    /// Largest TCP segment in both directions, 256 to 32767 octets, for a path with a smaller MTU than its ends that drops
    /// what is too large without saying so: 40 octets less than the MTU over IPv4, 60 over IPv6, and 20 less again with
    /// a key. Where we listen, the smallest of all peers counts. Unset leaves it to the kernel.
    #[serde(default, rename = "tcpMSS", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 256, max = 32767))]
    pub tcp_mss: Option<i32>,
    /// Generalized TTL security (RFC 5082): the peer is one hop away and sends with TTL 255, and packets from further away
    /// are dropped.
    #[serde(default)]
    pub ttl_security: bool,
    /// Sign the connection with TCP-AO (RFC 5925). Needs Linux 6.7 with CONFIG_TCP_AO; the session stays down on a node
    /// without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_authentication_option: Option<TcpAuthenticationOption>,
    /// Who opens the connection: `active` (we do), `passive` (the peer does, to port 179 of the node), or `both`.
    #[serde(default)]
    pub listen: Listen,
}

fn bgp_port() -> i32 {
    179
}

/// Which AS a peer may have when its number is not fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DynamicAsn {
    /// The same AS as ours.
    Internal,
    /// Any AS but ours.
    External,
}

/// Who opens the TCP connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Listen {
    /// We connect to the peer.
    #[default]
    Active,
    /// The peer connects to us.
    Passive,
    /// Whoever comes first.
    Both,
}

/// What one side of an external session is to the other (RFC 9234).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BgpRole {
    /// We buy transit from the peer.
    Customer,
    /// We and the peer exchange our own routes.
    Peer,
    /// We sell transit to the peer.
    Provider,
    /// The peer is a route server, and we are a client of it.
    RouteServerClient,
    /// We are a route server, and the peer is a client of it.
    RouteServer,
}

/// A Secret in Portolan's own namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Secret. Secrets are read from Portolan's own namespace only: a peer that names another one is
    /// refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Keys of TCP-AO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpAuthenticationOption {
    /// The Secret of type `kubernetes.io/basic-auth` with the master key (1 to 80 bytes) under `password`, in Portolan's own
    /// namespace.
    pub key_secret: SecretReference,
    /// Key identifier, 0 to 255, the same in both directions.
    #[serde(rename = "keyID")]
    #[schemars(range(min = 0, max = 255))]
    pub key_id: i32,
    /// MAC algorithm (RFC 5926).
    pub algorithm: TcpAoAlgorithm,
}

/// MAC algorithm of TCP-AO (RFC 5926).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TcpAoAlgorithm {
    /// HMAC-SHA-1-96.
    #[serde(rename = "HMAC-SHA-1-96")]
    HmacSha1,
    /// AES-128-CMAC-96.
    #[serde(rename = "AES-128-CMAC-96")]
    AesCmac,
}
