//! Everything that was read from the API server, as one value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portolan_api::ObjectKey;
use portolan_api::annotation::SPEAKER_LEASE_PREFIX;
use portolan_api::compile::ranges;
use portolan_api::condition::{ACCEPTED, is_complaint};
use portolan_api::crd::{
    IPAddressPool, NodeReport, NodeReportStatus, SpeakerConfig, SpeakerConfigSpec,
};
use portolan_api::view::{EndpointSlice, Node, Service, usable_nodes};

/// Lease of the controller that leads.
pub(crate) const CONTROLLER_LEASE: &str = "portolan-controller";

/// The cluster at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The class of Services that Portolan serves; `None` for Services without a class.
    pub(crate) lb_class: Option<String>,
    /// Services of type LoadBalancer, or the one that is asked about, whatever its type.
    pub(crate) services: BTreeMap<ObjectKey, Service>,
    /// Endpoints by Service.
    pub(crate) slices: BTreeMap<ObjectKey, Vec<EndpointSlice>>,
    /// Nodes by name.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Pools by name.
    pub(crate) pools: BTreeMap<String, IPAddressPool>,
    /// Advertisements and peers, with what the controller says of them.
    pub(crate) judged: Vec<Judged>,
    /// What speakers follow; `None` before a controller has written it.
    pub(crate) config: Option<SpeakerConfig>,
    /// Reports by node.
    pub(crate) reports: BTreeMap<String, NodeReport>,
    /// Leases of Portolan's namespace by name; `None` when we may not read them.
    pub(crate) leases: Option<BTreeMap<String, Lease>>,
}

/// A user object, reduced to the controller's verdicts.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    /// For example `BGPPeer`.
    pub(crate) kind: &'static str,
    /// Name of the object.
    pub(crate) name: String,
    /// What the controller says.
    pub(crate) conditions: Vec<Condition>,
}

/// A Lease: who holds it, and whether they still renew it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    /// Identity of the holder; empty when it was given up.
    pub(crate) holder: String,
    /// Whether it was renewed in time, as far as our clock can tell.
    pub(crate) fresh: bool,
}

/// What is known of the speaker of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// It renews its Lease.
    Alive,
    /// It has stopped renewing its Lease, or never began.
    Dead,
    /// We may not read Leases.
    Unknown,
}

impl Snapshot {
    /// The accepted configuration; empty before a controller has written it.
    pub(crate) fn rules(&self) -> &SpeakerConfigSpec {
        static EMPTY: SpeakerConfigSpec = SpeakerConfigSpec {
            pools: Vec::new(),
            l2: Vec::new(),
            bgp: Vec::new(),
            peers: Vec::new(),
            bfd: Vec::new(),
            nodes: Vec::new(),
            cluster_ip_ranges: Vec::new(),
        };
        self.config.as_ref().map_or(&EMPTY, |config| &config.spec)
    }

    /// Generation of the configuration that speakers should follow.
    pub(crate) fn generation(&self) -> i64 {
        let config = self.config.as_ref();
        config
            .and_then(|config| config.metadata.generation)
            .unwrap_or_default()
    }

    /// The accepted pool that has the address.
    pub(crate) fn pool_of(&self, address: IpAddr) -> Option<&str> {
        let has = |spec| {
            let ranges = ranges(spec).unwrap_or_default();
            ranges.iter().any(|range| range.contains(address))
        };
        let pool = self.rules().pools.iter().find(|pool| has(&pool.spec))?;
        Some(&pool.name)
    }

    /// Nodes with a usable endpoint of the Service; the empty name stands for endpoints outside the cluster.
    pub(crate) fn usable(&self, service: &ObjectKey) -> BTreeSet<&str> {
        self.slices
            .get(service)
            .into_iter()
            .flatten()
            .flat_map(usable_nodes)
            .collect()
    }

    /// What the speaker of a node reports.
    pub(crate) fn report(&self, node: &str) -> Option<&NodeReportStatus> {
        self.reports.get(node)?.status.as_ref()
    }

    /// Whether the speaker of a node lives.
    pub(crate) fn speaker(&self, node: &str) -> Speaker {
        let Some(leases) = &self.leases else {
            return Speaker::Unknown;
        };
        match leases.get(&format!("{SPEAKER_LEASE_PREFIX}{node}")) {
            Some(lease) if lease.fresh && !lease.holder.is_empty() => Speaker::Alive,
            _ => Speaker::Dead,
        }
    }
}

/// A condition by type.
pub(crate) fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The words of every verdict that somebody has to look at, and of a verdict that is missing.
pub(crate) fn complaints(conditions: &[Condition]) -> Vec<String> {
    if condition(conditions, ACCEPTED).is_none() {
        return vec!["not judged yet: is portolan-controller running?".to_owned()];
    }
    let bad = conditions.iter().filter(|c| is_complaint(c));
    bad.map(|c| format!("{} is {} ({}): {}", c.type_, c.status, c.reason, c.message))
        .collect()
}
