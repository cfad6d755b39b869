//! NodeReport, as far as placement and quarantine go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

use crate::crd::{ConflictReport, InterfaceReport};

/// What the speaker of a node says of its links, of the addresses that it answers for, and of strangers who use them. BGP
/// sessions, the bulk of a report and what changes most, are not read.
#[derive(Debug, Clone, Default, PartialEq, Resource, Serialize, Deserialize)]
#[resource(inherit = "crate::crd::NodeReport")]
pub struct NodeReport {
    /// Name of the node, and versions.
    #[serde(deserialize_with = "super::lean_metadata")]
    pub metadata: ObjectMeta,
    /// What is read of the rest.
    #[serde(default, deserialize_with = "super::null_as_default")]
    pub status: NodeReportStatus,
}

/// What is read of the status of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReportStatus {
    /// Interfaces on which layer 2 can be spoken.
    pub interfaces: Vec<InterfaceReport>,
    /// Addresses that the node answers for although their placement names another node first.
    pub acting: Vec<String>,
    /// The addresses that the node answers for, as far as they are listed.
    pub l2_vips: Vec<AnsweredVip>,
    /// Stations outside the cluster that use addresses which are, or were to be, answered here.
    pub conflicts: Vec<ConflictReport>,
}

/// An address that a node answers for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredVip {
    /// The address.
    pub address: String,
}
