//! Metrics, prefix `portolan_controller_`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::alloc::Usage;
use crate::decide::Figures;
use crate::write::Target;

/// Upper bounds of the buckets for the duration of a decision, in seconds.
const SECONDS: [f64; 8] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
    family: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShareLabels {
    pool: String,
    family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    target: &'static str,
    result: &'static str,
}

/// All metrics. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// 1 while this process leads.
    pub leader: Gauge,
    /// Kubernetes Events that were not sent.
    pub events_dropped: Counter,
    services: Family<StateLabels, Gauge>,
    refusals: Family<ReasonLabels, Gauge>,
    addresses: Family<PoolLabels, Gauge<f64, AtomicU64>>,
    share: Family<ShareLabels, Gauge<f64, AtomicU64>>,
    contested: Gauge,
    speakers: Gauge,
    waiting: Gauge,
    writes: Family<WriteLabels, Counter>,
    decide: Histogram,
}

impl Metrics {
    /// Registers all metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            leader: Gauge::default(),
            events_dropped: Counter::default(),
            services: Family::default(),
            refusals: Family::default(),
            addresses: Family::default(),
            share: Family::default(),
            contested: Gauge::default(),
            speakers: Gauge::default(),
            waiting: Gauge::default(),
            writes: Family::default(),
            decide: Histogram::new(SECONDS),
        };
        let registry = registry.sub_registry_with_prefix("portolan_controller");
        registry.register(
            "leader",
            "1 while this process leads",
            metrics.leader.clone(),
        );
        registry.register(
            "services",
            "Services of ours, by state",
            metrics.services.clone(),
        );
        registry.register(
            "refusals",
            "Services that lack something, by reason",
            metrics.refusals.clone(),
        );
        registry.register(
            "addresses",
            "Addresses of pools, by family and state; withheld: reserved, retained, in quarantine, or used by a node",
            metrics.addresses.clone(),
        );
        registry.register(
            "pool_used_ratio",
            "Share of the addresses of a pool that can not be had any more, by family: 0 to 1",
            metrics.share.clone(),
        );
        registry.register(
            "services_contested",
            "Services whose status another program rewrites",
            metrics.contested.clone(),
        );
        registry.register(
            "speakers_alive",
            "Speakers whose Lease is fresh",
            metrics.speakers.clone(),
        );
        registry.register(
            "services_waiting",
            "Services that wait to be decided or written",
            metrics.waiting.clone(),
        );
        registry.register(
            "writes",
            "Writes, by target and result",
            metrics.writes.clone(),
        );
        registry.register(
            "events_dropped",
            "Kubernetes Events that were not sent",
            metrics.events_dropped.clone(),
        );
        registry.register(
            "decide_seconds",
            "Time that one decision took",
            metrics.decide.clone(),
        );
        metrics
    }

    /// Counts a write.
    pub fn write(&self, target: &Target, result: &'static str) {
        let target = match target {
            Target::Service(_) => "service",
            Target::Object(..) => "object",
            Target::Config => "speakerconfig",
        };
        self.writes
            .get_or_create(&WriteLabels { target, result })
            .inc();
    }

    /// Notes how long a decision took.
    pub fn decided(&self, took: Duration) {
        self.decide.observe(took.as_secs_f64());
    }

    /// Shows the present state.
    pub fn show(&self, figures: &Figures) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let services = |state, n| {
            self.services
                .get_or_create(&StateLabels { state })
                .set(number(n))
        };
        services("assigned", figures.assigned);
        services("refused", figures.refused.values().sum());
        self.refusals.clear();
        for (reason, count) in &figures.refused {
            self.refusals
                .get_or_create(&ReasonLabels { reason })
                .set(number(*count));
        }
        self.addresses.clear();
        self.share.clear();
        for (pool, v4, v6) in &figures.pools {
            for (family, usage) in [("ipv4", v4), ("ipv6", v6)] {
                let Usage {
                    assigned,
                    available,
                    total,
                } = *usage;
                let withheld = total.saturating_sub(assigned).saturating_sub(available);
                for (state, count) in [
                    ("assigned", assigned),
                    ("available", available),
                    ("withheld", withheld),
                ] {
                    let labels = PoolLabels {
                        pool: pool.clone(),
                        family,
                        state,
                    };
                    self.addresses.get_or_create(&labels).set(round(count));
                }
                if total > 0 {
                    let labels = ShareLabels {
                        pool: pool.clone(),
                        family,
                    };
                    let share = 1.0 - round(available) / round(total);
                    self.share.get_or_create(&labels).set(share);
                }
            }
        }
        self.waiting.set(number(figures.waiting));
        self.contested.set(number(figures.contested));
        self.speakers.set(number(figures.speakers));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a /64 counts in round numbers")]
fn round(count: u128) -> f64 {
    count as f64
}

/// A registry with all metrics of the controller.
#[must_use]
pub fn registry() -> (Arc<Registry>, Metrics) {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    (Arc::new(registry), metrics)
}
