//! `BFDProfile`: timers of BFD sessions.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::ConditionsStatus;

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
    /// Shortest time between two echo packets, in milliseconds. Of no effect without `echoMode`, which is not implemented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub echo_interval: Option<i32>,
    /// Whether to send echo packets. Not implemented: a profile that sets it to true is refused.
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
}
