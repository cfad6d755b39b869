//! Who answers for an address on layer 2, since when and why, and who stands by.

use std::collections::BTreeMap;

use portolan_api::crd::{AnnouncedVip, NodeReportStatus};

use super::announce::mark;
use super::{Mark, Report, Topic, listed};
use crate::reach::{Obstacle, Vip, placement};

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
        let placed = placement(vip.service);
        match placed.split_first() {
            Some((first, standby)) => {
                self.placed(vip, first, standby);
                self.watched(&placed);
            }
            None => self.add(
                Topic::Layer2,
                Mark::Bad,
                format!("no node is placed for {address}"),
            ),
        }
        self.taken_over(vip);
        self.conflicts(vip);
        self.unfit(vip);
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
        let own = answering.iter().find(|(name, _)| *name == first);
        let others = answering.iter().filter(|(name, _)| *name != first);
        let (acting, others): (Vec<_>, Vec<_>) = others.copied().partition(|(name, vip)| {
            let report = self.snapshot.report(name);
            report.is_some_and(|report| report.acting.contains(&vip.address))
        });
        let (mark, words) = match (self.snapshot.report(first), own) {
            (_, Some((_, vip))) => (
                Mark::Good,
                format!("and reports that it answers{}", details(vip)),
            ),
            _ if !acting.is_empty() => (Mark::Note, "but another node has taken over".to_owned()),
            (None, _) => (Mark::Bad, "but has no NodeReport".to_owned()),
            (Some(report), _) if lists_all(report) => {
                (Mark::Bad, "but does not report that it answers".to_owned())
            }
            (Some(_), _) => (
                Mark::Note,
                "and answers for more addresses than its NodeReport lists".to_owned(),
            ),
        };
        self.add(
            Topic::Layer2,
            mark,
            format!("{address} is placed on {first} {words}; {standing_by}"),
        );
        for (name, vip) in acting {
            let words = format!(
                "{address} is answered by {name}{}: it took over and keeps it; the placement follows within seconds \
                 if a controller leads",
                details(vip)
            );
            self.add(Topic::Layer2, Mark::Note, words);
        }
        let others: Vec<&str> = others.into_iter().map(|(name, _)| name).collect();
        if !others.is_empty() {
            let words = format!(
                "{address} is answered by {} too: a hand-over that lasts longer than seconds means that the nodes \
                 hear neither each other nor the API server",
                listed(&others)
            );
            self.add(Topic::Layer2, Mark::Bad, words);
        }
    }

    /// Nodes of the placement that do not see each other: a takeover between them waits for the controller.
    fn watched(&mut self, placed: &[&str]) {
        for node in placed {
            let report = self.snapshot.report(node);
            let neighbours = report.into_iter().flat_map(|report| &report.neighbours);
            let blind = neighbours
                .filter(|one| placed.contains(&one.node.as_str()) && one.bfd.state != "Up");
            for one in blind.collect::<Vec<_>>() {
                let words = format!(
                    "{node} does not see {} ({} on {}): BFD is {} since {}",
                    one.node, one.address, one.interface, one.bfd.state, one.bfd.since
                );
                self.add(Topic::Layer2, Mark::Note, words);
            }
        }
    }

    /// How those who answer came to it, if by a takeover.
    fn taken_over(&mut self, vip: Vip<'a>) {
        for (name, _) in vip.answering() {
            let report = self.snapshot.report(name);
            let Some(last) = report.and_then(|report| report.last_takeover.as_ref()) else {
                continue;
            };
            let words = format!(
                "the last takeover of {name} was at {}: {} addresses of {} ({}), announced {} ms after its last sign of life",
                last.time, last.addresses, last.from, last.cause, last.milliseconds
            );
            self.add(Topic::Layer2, Mark::Good, words);
        }
    }

    /// Stations outside the cluster that use the address.
    fn conflicts(&mut self, vip: Vip<'a>) {
        let address = vip.address.to_string();
        for (node, report) in &self.snapshot.reports {
            let conflicts = report.status.iter().flat_map(|status| &status.conflicts);
            for one in conflicts.filter(|one| one.address == address) {
                let then = if one.before_use {
                    "so this node does not answer for it"
                } else {
                    "this node defends it"
                };
                let words = format!(
                    "{address} is used by a station outside the cluster, {}, heard by {node} on {}, last at {}; {then}: \
                     find that machine, or take the address out of its pool",
                    one.mac, one.interface, one.last
                );
                self.add(Topic::Layer2, Mark::Bad, words);
            }
        }
    }

    /// Nodes that can not answer, by what stands in the way.
    fn unfit(&mut self, vip: Vip<'a>) {
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
}

/// Where a node answers, and since when, as far as it says.
fn details(vip: &AnnouncedVip) -> String {
    let on = match vip.interfaces.as_slice() {
        [] => String::new(),
        interfaces => format!(" on {}", listed(interfaces)),
    };
    let since = vip.since.as_ref();
    on + &since.map_or_else(String::new, |since| format!(" since {since}"))
}

/// Whether the report names every address that the node answers for, not only the first of many.
fn lists_all(report: &NodeReportStatus) -> bool {
    usize::try_from(report.l2_vip_count).is_ok_and(|count| count == report.l2_vips.len())
}
