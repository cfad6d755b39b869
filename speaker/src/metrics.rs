//! Metrics of a speaker, set from the same values that the report is made from.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use portolan_api::crd::NodeReportStatus;
use portolan_proto::bgp::session::SessionState;

use crate::bgp::SessionStatus;

/// The peer that a number is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: String,
}

/// All numbers.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    session_up: Family<Peer, Gauge>,
    established: Family<Peer, Gauge>,
    prefixes: Family<Peer, Gauge>,
    l2_vips: Gauge,
    problems: Gauge,
    held_back: Gauge,
    plans: Counter,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("portolan_speaker");
        registry.register(
            "bgp_session_up",
            "1 while the session is established",
            self.session_up.clone(),
        );
        registry.register(
            "bgp_session_established_times",
            "Times that the session came up",
            self.established.clone(),
        );
        registry.register(
            "bgp_prefixes",
            "Prefixes announced to the peer",
            self.prefixes.clone(),
        );
        registry.register(
            "l2_vips",
            "Addresses answered for by ARP and NDP",
            self.l2_vips.clone(),
        );
        registry.register(
            "problems",
            "Problems in the NodeReport",
            self.problems.clone(),
        );
        registry.register(
            "held_back",
            "Services (by family) whose routes wait because their endpoints came and went too often",
            self.held_back.clone(),
        );
        registry.register(
            "plans",
            "Times that announcements were computed",
            self.plans.clone(),
        );
    }

    pub(crate) fn planned(&self) {
        self.plans.inc();
    }

    pub(crate) fn held_back(&self, services: usize) {
        self.held_back
            .set(i64::try_from(services).unwrap_or(i64::MAX));
    }

    pub(crate) fn reported(&self, report: &NodeReportStatus) {
        self.l2_vips.set(report.l2_vip_count);
        self.problems
            .set(i64::try_from(report.problems.len()).unwrap_or(i64::MAX));
    }

    pub(crate) fn sessions(&self, sessions: &[SessionStatus]) {
        self.session_up.clear();
        self.established.clear();
        self.prefixes.clear();
        for session in sessions {
            let peer = Peer {
                peer: session.name.clone(),
            };
            self.session_up
                .get_or_create(&peer)
                .set(i64::from(session.state == SessionState::Established));
            let established = i64::try_from(session.established).unwrap_or(i64::MAX);
            self.established.get_or_create(&peer).set(established);
            let prefixes = i64::try_from(session.advertised).unwrap_or(i64::MAX);
            self.prefixes.get_or_create(&peer).set(prefixes);
        }
    }
}
