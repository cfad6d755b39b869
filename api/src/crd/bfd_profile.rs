//! `BFDProfile`: timers of BFD sessions.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConditionsStatus, SecretReference};

/// Timers of BFD sessions (RFC 5880), for the BGPPeers that name the profile.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "BFDProfile",
    plural = "bfdprofiles",
    status = "ConditionsStatus",
    category = "portolan",
    derive = "Default",
    derive = "PartialEq",
    doc = "Timers of BFD sessions (RFC 5880), for the BGPPeers that name the profile in bfdProfile.",
    printcolumn(
        name = "Transmit Interval",
        type_ = "integer",
        json_path = ".spec.transmitInterval"
    ),
    printcolumn(
        name = "Receive Interval",
        type_ = "integer",
        json_path = ".spec.receiveInterval"
    ),
    printcolumn(
        name = "Multiplier",
        type_ = "integer",
        json_path = ".spec.detectMultiplier"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].status"
    ),
    printcolumn(
        name = "Effective",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Effective')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].reason"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// Shortest time between two packets that we can receive, in milliseconds: 10 to 60000, default 300. The peer is
    /// down when nothing came for its own multiplier times the longer of this time and the one that it sends at.
    /// Below 100 ms a busy node needs a speaker with real-time priority (CAP_SYS_NICE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub receive_interval: Option<i32>,
    /// Shortest time between two packets that we send, in milliseconds: 10 to 60000, default 300. While a session is not
    /// up, packets are sent once a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub transmit_interval: Option<i32>,
    /// Packets that may be missed before the session is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub detect_multiplier: Option<i32>,
    /// Shortest time between two echo packets, in milliseconds. Of no effect, as none are sent: see `echoMode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub echo_interval: Option<i32>,
    /// Whether to send echo packets. Accepted and not followed: sessions run without echo, which finds the same failures in
    /// the same time, and condition `Effective` says so.
    #[serde(default)]
    pub echo_mode: bool,
    /// Whether to wait for the peer to begin. One side of a session must not wait.
    #[serde(default)]
    pub passive_mode: bool,
    /// Smallest TTL of packets that are accepted from a peer more than one hop away: 1 to 254, default 254, which is one
    /// router in between. Packets leave with 255 from most routers, with 64 from BIRD. From a peer on the same link only
    /// 255 is accepted, whatever is written here.
    #[serde(
        default,
        rename = "minimumTtl",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1, max = 254))]
    pub minimum_ttl: Option<i32>,
    /// How packets are authenticated, on both sides. Without it anybody on the link can end or feign a session. While its
    /// Secret is missing, a new profile starts no session, and an edit leaves the version before in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<BfdAuthentication>,
}

/// How BFD packets are authenticated (RFC 5880 §6.7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BfdAuthentication {
    /// What signs packets; the same on the router. Simple passwords are not served, as anybody on the link could read them.
    #[serde(rename = "type")]
    pub method: BfdAuthenticationType,
    /// Number of the key, 0 to 255; the same on the router.
    #[serde(rename = "keyID")]
    #[schemars(range(min = 0, max = 255))]
    pub key_id: i32,
    /// The Secret of type `kubernetes.io/basic-auth` with the key under `password`, in Portolan's own namespace: 1 to 16
    /// bytes for MD5, 1 to 20 for SHA1. When it changes, the former key stays good until the router uses the new one.
    pub key_secret: SecretReference,
}

/// What signs BFD packets (RFC 5880 §4.3, §4.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BfdAuthenticationType {
    /// MD5; a packet can be repeated by others while its contents do not change.
    KeyedMD5,
    /// MD5, every packet with its own number.
    MeticulousKeyedMD5,
    /// SHA1; a packet can be repeated by others while its contents do not change.
    KeyedSHA1,
    /// SHA1, every packet with its own number: the strongest of these.
    #[default]
    MeticulousKeyedSHA1,
}
