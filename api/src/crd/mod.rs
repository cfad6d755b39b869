//! The custom resources, one file per kind.
//!
//! User kinds keep MetalLB's field names. Text that has a grammar of its own (addresses, ranges, communities, durations)
//! stays text here, so that one malformed object can never break the decoding of a list; [`crate::compile`] parses it and
//! says what is wrong. Doc comments are what `kubectl explain` prints.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    clippy::struct_excessive_bools,
    reason = "derived code; printcolumns repeat the same keys; MetalLB's booleans stay booleans"
)]

mod bfd_profile;
mod bgp_advertisement;
mod bgp_peer;
mod community;
mod ip_address_pool;
mod l2_advertisement;
mod node_report;
mod speaker_config;

pub use bfd_profile::{BFDProfile, BFDProfileSpec, BfdAuthentication, BfdAuthenticationType};
pub use bgp_advertisement::{BGPAdvertisement, BGPAdvertisementSpec, Bandwidth, RouteKind};
pub use bgp_peer::{
    BGPPeer, BGPPeerSpec, BgpRole, DynamicAsn, Listen, SecretReference, TcpAoAlgorithm,
    TcpAuthenticationOption,
};
pub use community::{Community, CommunityAlias, CommunitySpec};
pub use ip_address_pool::{
    IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, Quarantined, Quota, Reservation,
    Retained, ServiceAllocation, Sharing, Strategy,
};
pub use l2_advertisement::{Detection, L2Advertisement, L2AdvertisementSpec, PreferredNodes};
pub use node_report::{
    AnnouncedVip, BfdReport, ConflictReport, InterfaceReport, NeighbourReport, NodeReport,
    NodeReportSpec, NodeReportStatus, SessionAgreement, SessionEvent, SessionReport, SessionState,
    TakeoverReport,
};
pub use speaker_config::{
    BfdRule, BgpRule, Communities, DEFAULT_REFRESH_SECONDS, DetectionRule, L2Rule, NodeInterface,
    NodeRule, PeerRule, PoolRule, SpeakerConfig, SpeakerConfigSpec,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResourceExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Status of a kind that has nothing to say beyond its conditions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionsStatus {
    /// Verdicts of the controller. `Accepted`: the object is valid and in force; when it is not, the last accepted
    /// version stays in force. `ResolvedRefs`: every object that it names exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The schema of `T` without its CEL rules, for a copy of it that only Portolan writes: what was accepted once is not
/// judged again, and in a list of unbounded length the API server would refuse the rules for their cost.
fn unruled_schema<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = T::json_schema(generator);
    drop_rules(&mut schema);
    schema
}

fn drop_rules(schema: &mut schemars::Schema) {
    schema.remove("x-kubernetes-validations");
    schemars::transform::transform_subschemas(&mut drop_rules, schema);
}

/// Schema of a moment: a time as RFC 3339 writes it.
fn time_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}

/// Schema of a list of conditions, keyed by type as everywhere in Kubernetes.
fn conditions_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "Verdicts of the controller. Accepted: the object is valid and in force; when it is not, the last \
                        accepted version stays in force. ResolvedRefs: every object that it names exists.",
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "description": "Kind of verdict."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
                "reason": {"type": "string", "description": "Stable, machine-readable reason."},
                "message": {"type": "string", "description": "The verdict in words: object, field, remedy."},
                "observedGeneration": {"type": "integer", "format": "int64", "description": "The generation of the object that was judged."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When the status last changed."}
            }
        }
    })
}

/// All custom resource definitions, in the order in which they are shipped.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        IPAddressPool::crd(),
        L2Advertisement::crd(),
        BGPAdvertisement::crd(),
        BGPPeer::crd(),
        BFDProfile::crd(),
        Community::crd(),
        SpeakerConfig::crd(),
        NodeReport::crd(),
    ]
}
