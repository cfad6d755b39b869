//! Who announces an address, who does not, and why: by layer 2 and by BGP.

use std::collections::BTreeMap;

use portolan_api::crd::{NodeReportStatus, RouteKind};
use portolan_api::view::Service;

use super::{Mark, Report, Topic, listed};
use crate::reach::{Obstacle, Reach, Vip, placement};

impl<'a> Report<'a> {
    pub(super) fn layer2(&mut self, vip: Vip<'a>) {
        let rules = vip.l2_rules();
        let Some(pool) = vip.pool() else { return };
        let address = vip.address;
        if rules.is_empty() {
            let words = format!("no L2Advertisement covers {address} (pool {pool})");
            return self.add(Topic::Layer2, Mark::Note, words);
        }
        let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        self.add(
            Topic::Layer2,
            Mark::Good,
            format!("{address} is covered by {}", names.join(", ")),
        );
        match placement(vip.service).split_first() {
            Some((first, standby)) => self.placed(vip, first, standby),
            None => self.add(
                Topic::Layer2,
                Mark::Bad,
                format!("no node is placed for {address}"),
            ),
        }
        let mut unfit: BTreeMap<Obstacle, Vec<&str>> = BTreeMap::new();
        for (name, node) in &self.snapshot.nodes {
            if let Some(obstacle) = vip.l2_obstacle(name, node) {
                unfit.entry(obstacle).or_default().push(name);
            }
        }
        for (obstacle, nodes) in unfit {
            self.add(
                Topic::Layer2,
                mark(&obstacle),
                format!("not on {}: {}", listed(&nodes), obstacle.text),
            );
        }
    }

    /// What the placement says, against what nodes report.
    fn placed(&mut self, vip: Vip<'a>, first: &str, standby: &[&str]) {
        let address = vip.address;
        let standing_by = if standby.is_empty() {
            "nobody stands by".to_owned()
        } else {
            format!("standing by: {}", listed(standby))
        };
        let answering = vip.answering();
        let (mark, words) = match self.snapshot.report(first) {
            _ if answering.contains(&first) => (Mark::Good, "and reports that it answers"),
            None => (Mark::Bad, "but has no NodeReport"),
            Some(report) if lists_all(report) => (Mark::Bad, "but does not report that it answers"),
            Some(_) => (
                Mark::Note,
                "and answers for more addresses than its NodeReport lists",
            ),
        };
        self.add(
            Topic::Layer2,
            mark,
            format!("{address} is placed on {first} {words}; {standing_by}"),
        );
        let others: Vec<&str> = answering
            .into_iter()
            .filter(|name| *name != first)
            .collect();
        if !others.is_empty() {
            let words = format!(
                "{address} is answered by {} too: a hand-over that lasts longer than seconds means that the nodes \
                 do not see the API server",
                listed(&others)
            );
            self.add(Topic::Layer2, Mark::Bad, words);
        }
    }

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

/// Whether the report names every address that the node answers for, not only the first of many.
fn lists_all(report: &NodeReportStatus) -> bool {
    usize::try_from(report.l2_vip_count).is_ok_and(|count| count == report.l2_vips.len())
}

fn mark(obstacle: &Obstacle) -> Mark {
    if obstacle.fault {
        Mark::Bad
    } else {
        Mark::Note
    }
}
