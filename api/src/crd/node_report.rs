//! `NodeReport`: what one node really does.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the speaker of one node does: the configuration it follows, its BGP sessions, the addresses that it answers for.
/// Written by that speaker only, at most once a second; deleting it loses nothing.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "NodeReport",
    plural = "nodereports",
    status = "NodeReportStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "What the speaker of one node does: configuration, BGP sessions, addresses it answers for. Written by that speaker only.",
    printcolumn(
        name = "Sessions",
        type_ = "string",
        json_path = ".status.sessionsSummary"
    ),
    printcolumn(name = "Routes", type_ = "integer", json_path = ".status.routes"),
    printcolumn(name = "L2 VIPs", type_ = "integer", json_path = ".status.l2VipCount"),
    printcolumn(
        name = "Config",
        type_ = "integer",
        json_path = ".status.configGeneration"
    ),
    printcolumn(
        name = "Excluded",
        type_ = "string",
        json_path = ".status.excluded",
        priority = 1
    ),
    printcolumn(
        name = "Draining",
        type_ = "string",
        json_path = ".status.draining",
        priority = 1
    )
)]
pub struct NodeReportSpec {}

/// What the speaker of one node does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeReportStatus {
    /// Generation of the SpeakerConfig that the node follows.
    #[serde(default)]
    pub config_generation: i64,
    /// Why the node announces nothing, if it is excluded (label or condition of the Node).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// Why the node's routes are a last resort only, if it is about to go: `unschedulable` (cordoned), the key of a taint,
    /// or `portolan.dev/drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<String>,
    /// Established and configured sessions, as `2/3`.
    #[serde(default)]
    pub sessions_summary: String,
    /// BGP sessions by peer.
    #[serde(default)]
    pub sessions: Vec<SessionReport>,
    /// Prefixes that the node announces by BGP to at least one peer.
    #[serde(default)]
    pub routes: i64,
    /// Addresses that the node answers for by ARP or NDP.
    #[serde(default)]
    pub l2_vip_count: i64,
    /// The addresses that the node answers for by ARP or NDP, the first hundred.
    #[serde(default)]
    pub l2_vips: Vec<AnnouncedVip>,
    /// Interfaces on which layer 2 can be spoken, named by no exclusion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<InterfaceReport>,
    /// Addresses that the node answers for although their placement names another node first: it took them over, and keeps
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acting: Vec<String>,
    /// The last time that the node took addresses over from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_takeover: Option<TakeoverReport>,
    /// Other nodes that this one watches, or is watched by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<NeighbourReport>,
    /// Stations outside the cluster that were heard to use addresses which are, or were to be, answered here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<ConflictReport>,
    /// What stands in the way, in words: for example a Secret that does not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A BGP session of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionReport {
    /// Name of the BGPPeer.
    pub peer: String,
    /// The peer's address; for an unnumbered session the interface, with the address before it once that is known.
    pub address: String,
    /// State of the session (RFC 4271 section 8.2.2).
    pub state: SessionState,
    /// When the session came into this state (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Times that the session came up since the speaker started.
    #[serde(default)]
    pub established_count: i64,
    /// What both sides agreed on, while the session is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<SessionAgreement>,
    /// Prefixes announced to the peer.
    #[serde(default)]
    pub prefixes: i64,
    /// Prefixes that are to be announced to the peer and can not be.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsent: i64,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsent_reasons: Vec<String>,
    /// Capabilities and address families that our OPEN leaves out, as the peer refused a session with them. All are offered
    /// again when the router says that it was reconfigured, an hour after the last refusal (five minutes if it only closed
    /// without a word), and when the BGPPeer changes; never to a session that is up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld_capabilities: Vec<String>,
    /// The last thing that went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_time: Option<String>,
    /// BFD with the peer, if a BFDProfile asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdReport>,
    /// The newest events, oldest first. More of them are at `/debug/sessions` of the speaker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<SessionEvent>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What both sides of a BGP session agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionAgreement {
    /// The peer's AS number.
    #[serde(rename = "peerASN")]
    pub peer_asn: i64,
    /// The peer's BGP identifier.
    #[serde(rename = "peerRouterID")]
    pub peer_router_id: String,
    /// Seconds of silence after which the session ends; 0 for never.
    pub hold_time_seconds: i64,
    /// Address families that are carried.
    pub families: Vec<String>,
    /// The peer keeps our routes while the speaker restarts (RFC 4724).
    #[serde(default)]
    pub graceful_restart: bool,
}

/// A BFD session of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BfdReport {
    /// State (RFC 5880 section 6.2): Up, Init, Down or AdminDown.
    pub state: String,
    /// When the session came into this state (RFC 3339).
    pub since: String,
    /// The peer's state, as it says.
    pub remote_state: String,
    /// Why the session was last brought down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostic: Option<String>,
    /// Milliseconds between two of our packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transmit_milliseconds: Option<i64>,
    /// Milliseconds of silence after which the peer is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection_milliseconds: Option<i64>,
    /// Times that a path that worked has failed.
    #[serde(default)]
    pub flaps: i64,
}

/// Something that happened to a BGP session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionEvent {
    /// When; of several in a row, the last.
    pub time: String,
    /// State of the session after it.
    pub state: SessionState,
    /// What, in words.
    pub event: String,
    /// How often in a row.
    pub times: i64,
}

/// State of a BGP session (RFC 4271 section 8.2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// Not trying: waiting out a back-off, or without a key.
    #[default]
    Idle,
    /// Connecting.
    Connect,
    /// Waiting for the peer to connect.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received, waiting for KEEPALIVE.
    OpenConfirm,
    /// Up.
    Established,
}

/// An address that a node answers for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnouncedVip {
    /// The address.
    pub address: String,
    /// The interfaces on which it is answered.
    pub interfaces: Vec<String>,
    /// Since when, on the interface where it is answered longest (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// An interface of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// It is up and the other end is there.
    pub running: bool,
    /// Its addresses with the length of their subnet, without link-local ones.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// Addresses that a node took over from another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TakeoverReport {
    /// When (RFC 3339).
    pub time: String,
    /// The node that answered before.
    pub from: String,
    /// Why, in words.
    pub cause: String,
    /// How many addresses.
    pub addresses: i64,
    /// Milliseconds from the last sign of life of the other node to the last announcement.
    pub milliseconds: i64,
}

/// Another node of a layer-2 placement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NeighbourReport {
    /// Its name.
    pub node: String,
    /// The interface over which it is watched.
    pub interface: String,
    /// The address that is watched.
    pub address: String,
    /// BFD with it.
    pub bfd: BfdReport,
}

/// A station outside the cluster that uses one of our addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConflictReport {
    /// The address.
    pub address: String,
    /// The station.
    pub mac: String,
    /// Where it was heard.
    pub interface: String,
    /// When it was heard last (RFC 3339).
    pub last: String,
    /// It was heard when the address was probed before its first use, so the address is not answered here.
    #[serde(default)]
    pub before_use: bool,
}
