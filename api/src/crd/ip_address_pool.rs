//! `IPAddressPool`: addresses that may be given to Services.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::selector::LabelSelector;

/// Addresses that may be given to Services of type LoadBalancer.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "portolan.dev",
    version = "v1alpha1",
    kind = "IPAddressPool",
    plural = "ipaddresspools",
    status = "IPAddressPoolStatus",
    category = "portolan",
    derive = "Default",
    derive = "PartialEq",
    doc = "Addresses that may be given to Services of type LoadBalancer.",
    printcolumn(
        name = "Auto Assign",
        type_ = "boolean",
        json_path = ".spec.autoAssign"
    ),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(
        name = "Assigned V4",
        type_ = "integer",
        json_path = ".status.assignedIPv4"
    ),
    printcolumn(
        name = "Available V4",
        type_ = "integer",
        json_path = ".status.availableIPv4"
    ),
    printcolumn(
        name = "Assigned V6",
        type_ = "integer",
        json_path = ".status.assignedIPv6"
    ),
    printcolumn(
        name = "Available V6",
        type_ = "integer",
        json_path = ".status.availableIPv6"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].reason",
        priority = 1
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Exhausted Soon",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ExhaustedSoon')].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// The addresses: each entry is a CIDR such as `192.0.2.0/24`, or the first and last address of a range such as
    /// `192.0.2.10-192.0.2.20`. IPv4 and IPv6 entries may stand side by side. No address may be in two pools.
    #[schemars(length(min = 1, max = 1024), inner(length(min = 3, max = 96)))]
    #[x_kube(validation = Rule::new(
        // Both halves by index: a nested `all` multiplies the cost that the API server estimates beyond its budget.
        "self.all(a, isCIDR(a.trim()) || (a.split('-').size() == 2 && isIP(a.split('-')[0].trim()) && isIP(a.split('-')[1].trim())))"
    ).message("every entry must be a CIDR such as 192.0.2.0/24 or a range such as 192.0.2.10-192.0.2.20"))]
    pub addresses: Vec<String>,

    /// Addresses inside `addresses` that are never given out, in the same forms; a single address is written as `/32`
    /// or `/128`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 3, max = 96)))]
    pub excluded_addresses: Vec<String>,

    /// Whether Services that do not ask for this pool may get addresses from it. With `false` a Service must name the
    /// pool or an address of it.
    #[serde(default = "yes")]
    pub auto_assign: bool,

    /// Never use IPv4 addresses that end in `.0` or `.255`: some old routers and firewalls drop them.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,

    /// Restricts the pool to some Services and orders it among the pools that are restricted to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,

    /// How the next free address is chosen.
    #[serde(default)]
    pub strategy: Strategy,

    /// Rules for Services that share one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharing: Option<Sharing>,

    /// Limits per namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// How long the address of a deleted Service is kept for a Service of the same namespace and name, for example
    /// `10m`. Unset: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(h|m|s|ms))+$')")
        .message("must be a duration such as 90s, 10m or 1h30m"))]
    #[schemars(length(max = 32))]
    pub retain: Option<String>,

    /// Addresses of this pool that only certain Services get, whether they exist already or not. Such a Service gets its
    /// address without asking for it, also from a pool without `autoAssign`. A Service that holds the address already
    /// keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub reservations: Vec<Reservation>,
}

/// How the next free address of a pool is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// The first free one: ranges in the order in which they are written, each ascending.
    #[default]
    FirstFit,
    /// The first free one of the range of which the smallest share is in use.
    Balanced,
}

/// An address that only one Service gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Namespace of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The address: in a range of `addresses`, and not in `excludedAddresses`. Services that share it each have an entry.
    #[schemars(length(min = 2, max = 45))]
    pub address: String,
}

fn yes() -> bool {
    true
}

impl Reservation {
    /// The address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address.trim().parse().ok()
    }
}

/// Which Services may use a pool, and with which precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Precedence among restricted pools: the smallest number greater than zero is tried first; 0 is the lowest
    /// precedence.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub priority: i32,
    /// Namespaces whose Services may use the pool, beside those that `namespaceSelectors` select.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Selectors over labels of namespaces, beside `namespaces`. One match is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Selectors over labels of Services; one match is enough, and the namespace must fit as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

/// Rules for Services that share one address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sharing {
    /// Whether Services of different namespaces may share an address of this pool. Those of one namespace always may.
    #[serde(default)]
    pub across_namespaces: bool,
}

/// Limits per namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// The most addresses of this pool that Services of one namespace may hold. A shared address counts once, one that
    /// is kept for a deleted Service counts too. Lowering it takes nothing away.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub addresses_per_namespace: i64,
}

/// What the controller reports about a pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolStatus {
    /// IPv4 addresses held by Services.
    #[serde(default, rename = "assignedIPv4")]
    pub assigned_ipv4: i64,
    /// IPv6 addresses held by Services.
    #[serde(default, rename = "assignedIPv6")]
    pub assigned_ipv6: i64,
    /// IPv4 addresses that can still be given out.
    #[serde(default, rename = "availableIPv4")]
    pub available_ipv4: i64,
    /// IPv6 addresses that can still be given out; stops counting at 2^63-1.
    #[serde(default, rename = "availableIPv6")]
    pub available_ipv6: i64,
    /// Addresses that are kept for Services that were deleted, see `spec.retain`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<Retained>,
    /// Addresses that stations outside the cluster use, so that no Service gets them; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
    /// How many such addresses there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quarantined_count: i64,
    /// Verdicts of the controller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// An address that is kept for a Service that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retained {
    /// The address.
    pub address: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// End of the retention.
    #[schemars(schema_with = "super::time_schema")]
    pub until: Time,
}

/// An address that a station outside the cluster was found to use when it was probed before its first use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// The address.
    pub address: String,
    /// The station.
    pub mac: String,
    /// The node that found it.
    pub node: String,
    /// The interface of the node on which.
    pub interface: String,
    /// Begin of the quarantine.
    #[schemars(schema_with = "super::time_schema")]
    pub since: Time,
    /// Its end; not set while the node reports the station.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::time_schema")]
    pub until: Option<Time>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
