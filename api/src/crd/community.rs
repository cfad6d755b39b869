//! `Community`: names for community values.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ConditionsStatus;

/// Names for BGP community values, for use in BGPAdvertisements.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "Community",
    plural = "communities",
    status = "ConditionsStatus",
    category = "portolan",
    derive = "Default",
    derive = "PartialEq",
    doc = "Names for BGP community values, for use in BGPAdvertisements.",
    printcolumn(
        name = "Names",
        type_ = "string",
        json_path = ".spec.communities[*].name"
    ),
    printcolumn(
        name = "Values",
        type_ = "string",
        json_path = ".spec.communities[*].value"
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
pub struct CommunitySpec {
    /// The names and their values. A name may stand in one Community object only.
    #[schemars(length(min = 1, max = 256))]
    pub communities: Vec<CommunityAlias>,
}

/// A name for a community value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommunityAlias {
    /// The name; it has no colon.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[^:]+$"))]
    pub name: String,
    /// `65000:100` (RFC 1997), `large:65000:1:2` (RFC 8092), or an extended one (RFC 4360): `rt:65000:1`, `soo:65000:1`,
    /// `ext:` with 16 hexadecimal digits.
    #[schemars(length(min = 3, max = 63))]
    pub value: String,
}
