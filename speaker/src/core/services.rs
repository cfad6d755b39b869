//! Services, reduced to what announcements depend on.
//!
//! Services of type LoadBalancer are always known. The others come from a watch of their own, which runs only while a rule
//! announces addresses that they have; see [`Demand`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use portolan_api::ObjectKey;
use portolan_api::crd::{BgpRule, RouteKind};
use portolan_api::selector::Labels;
use portolan_api::view::{Service, TrafficPolicy};

use super::duties::Placement;
use super::index::Index;

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownService {
    /// Addresses of type LoadBalancer; none for one that is not ours to announce.
    pub(super) vips: Box<[IpAddr]>,
    /// `spec.externalIPs`.
    pub(super) external: Box<[IpAddr]>,
    /// ClusterIPs.
    pub(super) cluster: Box<[IpAddr]>,
    /// Who may take traffic for the first two.
    pub(super) policy: TrafficPolicy,
    /// Who may take traffic for ClusterIPs.
    pub(super) cluster_policy: TrafficPolicy,
    pub(super) labels: PackedLabels,
    /// The layer-2 placement, if it names this node, or has since the speaker started. Others are nothing to it, and most
    /// of their changes no news.
    pub(super) placement: Option<Box<Placement>>,
}

/// Labels in one piece, each as its key, its value and a line's end after both: most are never looked at, and a map of
/// strings would be ten times as large.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PackedLabels(Box<str>);

impl From<&BTreeMap<String, String>> for PackedLabels {
    fn from(labels: &BTreeMap<String, String>) -> Self {
        let pieces = labels
            .iter()
            .flat_map(|(key, value)| [key, "\n", value, "\n"]);
        Self(pieces.collect::<String>().into_boxed_str())
    }
}

impl Labels for PackedLabels {
    fn value(&self, key: &str) -> Option<&str> {
        let mut pieces = self.0.split('\n');
        // Neither half can contain a line's end.
        while let Some((held, value)) = pieces.next().zip(pieces.next()) {
            if held == key {
                return Some(value);
            }
        }
        None
    }
}

/// Addresses beside those of type LoadBalancer that rules announce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Demand {
    external: bool,
    cluster: bool,
    /// ClusterIPs of Services with a policy Local, beside whole ranges.
    local: bool,
}

impl Demand {
    pub(super) fn of(rules: &[BgpRule]) -> Self {
        let some = |kind| rules.iter().any(|rule| rule.routes.contains(&kind));
        Self {
            external: some(RouteKind::ExternalIP),
            cluster: some(RouteKind::ClusterIP),
            local: some(RouteKind::ClusterIPRange),
        }
    }

    pub(super) fn any(self) -> bool {
        self != Self::default()
    }

    /// Whether some rule may announce an address that the Service has whatever its type.
    fn concerns(self, service: &KnownService) -> bool {
        let local = service.cluster_policy == TrafficPolicy::Local;
        let cluster = self.cluster || (self.local && local);
        (self.external && !service.external.is_empty()) || (cluster && !service.cluster.is_empty())
    }
}

impl KnownService {
    /// Reduces a Service as this node sees it; `ours` if it is of the class that we serve.
    pub(super) fn of(service: &Service, ours: bool, node: &str) -> Self {
        let spec = &service.spec;
        Self {
            vips: if ours {
                service.vips().into()
            } else {
                Box::default()
            },
            external: service.external_ips().into(),
            cluster: service.cluster_ips().into(),
            policy: spec.external_traffic_policy,
            cluster_policy: service.cluster_ip_policy(),
            labels: service.labels().into(),
            placement: Placement::of(service, node).filter(|_| ours).map(Box::new),
        }
    }

    /// Every address that it has.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let own = self.external.iter().chain(&self.cluster);
        self.vips.iter().chain(own).copied()
    }
}

/// All Services that are known.
#[derive(Debug, Default)]
pub(super) struct Services {
    load_balancers: Index,
    others: Index,
    demand: Demand,
    generation: u32,
}

impl Services {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&KnownService> {
        let other = || self.others.get(key);
        self.load_balancers.get(key).or_else(other)
    }

    /// All of them. One that changes its type may be there twice for a moment, which adds nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &KnownService)> {
        self.load_balancers.iter().chain(self.others.iter())
    }

    /// Those that have an address in one of these networks.
    pub(super) fn within(
        &self,
        networks: &BTreeSet<IpNetwork>,
    ) -> BTreeMap<(&ObjectKey, bool), &KnownService> {
        let mut found = BTreeMap::new();
        for network in networks {
            let ours = self.load_balancers.within(*network);
            found.extend(ours.map(|(key, known)| ((key, true), known)));
            let others = self.others.within(*network);
            found.extend(others.map(|(key, known)| ((key, false), known)));
        }
        found
    }

    /// Sets or removes one of type LoadBalancer. Returns the addresses that this concerns: none if nothing is different.
    pub(super) fn load_balancer(
        &mut self,
        key: ObjectKey,
        mut known: Option<KnownService>,
    ) -> BTreeSet<IpAddr> {
        let before = self.load_balancers.get(&key);
        if let Some(known) = &mut known {
            let had = before.is_some_and(|before| before.placement.is_some());
            known.placement = known.placement.take().filter(|it| had || it.here);
        }
        if before == known.as_ref() {
            return BTreeSet::new();
        }
        let mut concerned: BTreeSet<_> = known.iter().flat_map(KnownService::addresses).collect();
        let before = self.load_balancers.set(key, known.map(|known| (0, known)));
        concerned.extend(before.iter().flat_map(KnownService::addresses));
        concerned
    }

    /// The generation of the watch of the other Services that must run now, if one must.
    pub(super) fn others_wanted(&self) -> Option<u32> {
        self.demand.any().then_some(self.generation)
    }

    /// Follows the rules. Other rules may want what was not kept so far: then the watch starts anew, and what it does not
    /// confirm goes when it is complete. Returns whether there is something to wait for.
    pub(super) fn follow(&mut self, rules: &[BgpRule]) -> bool {
        let demand = Demand::of(rules);
        if demand == self.demand {
            return false;
        }
        self.demand = demand;
        self.generation = self.generation.wrapping_add(1);
        if !demand.any() {
            self.others.clear();
        }
        demand.any()
    }

    /// As [`Services::load_balancer`], for a Service of another type. What a former watch still says is void.
    pub(super) fn other(
        &mut self,
        generation: u32,
        key: ObjectKey,
        known: Option<KnownService>,
    ) -> BTreeSet<IpAddr> {
        if self.others_wanted() != Some(generation) {
            return BTreeSet::new();
        }
        let known = known.filter(|known| self.demand.concerns(known));
        let mut concerned: BTreeSet<_> = known.iter().flat_map(KnownService::addresses).collect();
        let same = self.others.get(&key) == known.as_ref();
        let known = known.map(|known| (generation, known));
        let before = self.others.set(key, known);
        if same {
            return BTreeSet::new();
        }
        concerned.extend(before.iter().flat_map(KnownService::addresses));
        concerned
    }

    /// A watch of the other Services is complete. Returns the addresses of those that it did not confirm, or nothing if the
    /// watch is a former one.
    pub(super) fn others_complete(&mut self, generation: u32) -> Option<BTreeSet<IpAddr>> {
        if self.others_wanted() != Some(generation) {
            return None;
        }
        let mut gone = BTreeSet::new();
        for key in self.others.not_of(generation) {
            let known = self.others.set(key, None);
            gone.extend(known.iter().flat_map(KnownService::addresses));
        }
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_labels_are_found_by_key_alone() {
        let labels = [("app", "web"), ("web", "app"), ("empty", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let packed = PackedLabels::from(&labels.into());
        for (key, value) in [
            ("app", Some("web")),
            ("web", Some("app")),
            ("empty", Some("")),
            ("", None),
            ("ap", None),
        ] {
            assert_eq!(packed.value(key), value, "{key}");
        }
        assert_eq!(PackedLabels::default().value(""), None);
    }
}
