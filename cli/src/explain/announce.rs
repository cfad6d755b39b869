//! Who announces an address by BGP, who does not, and why.

use std::collections::BTreeMap;

use portolan_api::crd::RouteKind;
use portolan_api::view::Service;

use super::{Mark, Report, Topic, listed};
use crate::reach::{Obstacle, Reach, Vip};

impl<'a> Report<'a> {
    /// External IPs, covered by a rule or not, and ClusterIPs that a rule covers one by one.
    pub(super) fn own_addresses(&self, service: &'a Service) -> Vec<Vip<'a>> {
        let vip = |address, kind| Vip {
            snapshot: self.snapshot,
            key: self.key,
            service,
            address,
            kind,
        };
        let external = service.external_ips().into_iter();
        let external = external.map(|address| vip(address, RouteKind::ExternalIP));
        let cluster = service.cluster_ips().into_iter();
        let cluster = cluster.map(|address| vip(address, RouteKind::ClusterIP));
        let covered = cluster.filter(|vip| !vip.bgp_rules().is_empty());
        external.chain(covered).collect()
    }

    /// What nodes report to hold the Service's routes back, and nodes whose routes routers avoid.
    pub(super) fn hindrances(&mut self) {
        let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let name = format!("Service {}: ", self.key);
        for (node, report) in &self.snapshot.reports {
            let problems = report.status.iter().flat_map(|status| &status.problems);
            for problem in problems.filter(|problem| problem.starts_with(&name)) {
                said.entry(problem).or_default().push(node);
            }
        }
        for (problem, nodes) in said {
            self.add(
                Topic::Bgp,
                Mark::Bad,
                format!("{}: {problem}", listed(&nodes)),
            );
        }
        let mut draining: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, node) in &self.snapshot.nodes {
            if let Some(why) = node.draining() {
                draining.entry(why).or_default().push(name);
            }
        }
        for (why, nodes) in draining {
            let words = format!(
                "{}: a last resort for routers, as the Node drains ({why})",
                listed(&nodes)
            );
            self.add(Topic::Bgp, Mark::Note, words);
        }
    }

    pub(super) fn bgp(&mut self, vip: Vip<'a>) {
        let rules = vip.bgp_rules();
        let address = vip.address;
        if rules.is_empty() {
            let what = match vip.pool() {
                Some(pool) => format!("pool {pool}"),
                None => "an external IP; routes: [ExternalIP] would announce it".to_owned(),
            };
            let words = format!("no BGPAdvertisement covers {address} ({what})");
            return self.add(Topic::Bgp, Mark::Note, words);
        }
        let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        self.add(
            Topic::Bgp,
            Mark::Good,
            format!("{address} is covered by {}", names.join(", ")),
        );
        let mut told: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
        let mut silent: BTreeMap<Obstacle, Vec<&str>> = BTreeMap::new();
        for (name, node) in &self.snapshot.nodes {
            let Reach { peers, obstacles } = vip.bgp(name, node);
            if !peers.is_empty() {
                told.entry(peers).or_default().push(name);
            }
            for obstacle in obstacles {
                silent.entry(obstacle).or_default().push(name);
            }
        }
        if told.is_empty() {
            self.add(
                Topic::Bgp,
                Mark::Bad,
                format!("no node announces {address}"),
            );
        }
        for (peers, nodes) in told {
            let words = format!(
                "{address} is announced to {} by {}",
                peers.join(", "),
                listed(&nodes)
            );
            self.add(Topic::Bgp, Mark::Good, words);
        }
        for (obstacle, nodes) in silent {
            self.add(
                Topic::Bgp,
                mark(&obstacle),
                format!("{}: {}", listed(&nodes), obstacle.text),
            );
        }
    }

    /// An address that neither way covers is given, and unreachable.
    pub(super) fn coverage(&mut self, vip: Vip<'a>) {
        if vip.l2_rules().is_empty() && vip.bgp_rules().is_empty() {
            let words = format!(
                "{} is announced in no way: create an L2Advertisement or a BGPAdvertisement for its pool",
                vip.address
            );
            self.add(Topic::Address, Mark::Bad, words);
        }
    }
}

pub(super) fn mark(obstacle: &Obstacle) -> Mark {
    if obstacle.fault {
        Mark::Bad
    } else {
        Mark::Note
    }
}
