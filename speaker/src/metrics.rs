//! Metrics of a speaker, set from the same values that the report is made from.

mod bgp;
mod layer2;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use portolan_api::crd::NodeReportStatus;

use crate::bgp::{KernelFeatures, Sessions};
use crate::l2::L2Status;
use crate::takeover::shell::{News, Picture};
use crate::takeover::wire;

/// All numbers.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    bgp: bgp::Numbers,
    layer2: layer2::Numbers,
    messages: wire::Numbers,
    l2_vips: Gauge,
    problems: Gauge,
    held_back: Gauge,
    plans: Counter,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.bgp
            .register(registry.sub_registry_with_prefix("portolan_bgp"));
        let of_layer2 = registry.sub_registry_with_prefix("portolan_l2");
        self.layer2.register(of_layer2);
        self.messages.register(of_layer2);
        let registry = registry.sub_registry_with_prefix("portolan_speaker");
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

    pub(crate) fn kernel(&self, features: KernelFeatures) {
        self.bgp.set_features(features);
    }

    /// Those of the messages between speakers, which are counted where they happen.
    pub(crate) fn messages(&self) -> &wire::Numbers {
        &self.messages
    }

    pub(crate) fn layer2(&self, picture: &Picture, layer2: &L2Status) {
        self.layer2.set(picture, layer2);
    }

    /// What happened to addresses.
    pub(crate) fn news(&self, news: &News) {
        match news {
            News::Took { cause, vips, .. } => self.layer2.took(*cause, vips.len()),
            News::Yielded { vips, .. } => self.layer2.yielded(vips.len()),
            News::Conflict(_) | News::Lost(_) => {}
        }
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

    pub(crate) fn sessions(&self, sessions: &Sessions) {
        self.bgp.set(sessions);
    }
}
