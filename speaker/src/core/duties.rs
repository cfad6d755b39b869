//! What this node may have to answer for by ARP and NDP: the VIPs whose placement names it, and what rules say of them.
//!
//! Whether it does answer is for `takeover` to say, which knows who lives. An excluded node keeps its duties, because it
//! hands them over rather than drop them.

use std::net::IpAddr;
use std::time::Duration;

use portolan_api::ObjectKey;
use portolan_api::annotation::{L2_NODES, L2_TERM};
use portolan_api::crd::{DetectionRule, L2Rule};
use portolan_api::range::Family;
use portolan_api::view::Service;

use super::model::Model;
use super::plan::Plan;
use super::services::KnownService;
use crate::l2::Interfaces;
use crate::takeover::Duty;

/// A layer-2 placement, as the annotations of a Service say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    /// Its number; 0 when nobody numbered it.
    term: u64,
    /// The nodes in order, comma separated: most placements are never looked at again.
    nodes: Box<str>,
    /// Names this node.
    pub(super) here: bool,
}

impl Placement {
    pub(super) fn of(service: &Service, node: &str) -> Option<Self> {
        let nodes = service.annotation(L2_NODES)?;
        let term = service.annotation(L2_TERM);
        Some(Self {
            term: term.and_then(|term| term.parse().ok()).unwrap_or(0),
            nodes: nodes.into(),
            here: names(nodes).any(|name| name == node),
        })
    }
}

fn names(nodes: &str) -> impl Iterator<Item = &str> {
    nodes
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Where each rule wants addresses to be answered, in the order of the rules; its expressions are compiled once.
#[derive(Debug, Default)]
pub(super) struct Segments(Vec<Result<Interfaces, String>>);

impl Segments {
    pub(super) fn of(rules: &[L2Rule]) -> Self {
        let compile = |rule: &L2Rule| {
            let chosen = Interfaces::chosen(&rule.interfaces, &rule.interface_expressions);
            chosen.map_err(|error| {
                // The whole error is a drawing over several lines.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                format!(
                    "L2Advertisement {}: interface expressions: {last}",
                    rule.name
                )
            })
        };
        Self(rules.iter().map(compile).collect())
    }

    /// What is wrong with them, in words.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|segments| segments.clone().err())
    }
}

impl Model {
    /// Adds the duties that a Service brings, for the addresses that `concerns` picks.
    pub(super) fn duties(
        &self,
        key: &ObjectKey,
        service: &KnownService,
        concerns: impl Fn(&IpAddr) -> bool,
        plan: &mut Plan,
    ) {
        let Some(placement) = &service.placement else {
            return;
        };
        let vips = service.vips.iter().copied().filter(concerns);
        for vip in vips.filter(|vip| self.delivers(key, service.policy, Family::of(*vip))) {
            for duty in self.duties_of(service, placement, vip) {
                plan.answer(vip, duty);
            }
        }
    }

    /// A duty for each rule that covers the address.
    fn duties_of(
        &self,
        service: &KnownService,
        placement: &Placement,
        vip: IpAddr,
    ) -> impl Iterator<Item = Duty> {
        let node = self.node.as_ref().or(self.former_node.as_ref());
        let covers = move |rule: &L2Rule| {
            let pool = self.pools.of(vip);
            node.is_some_and(|node| rule.is_on(node.labels()))
                && pool.is_some_and(|pool| rule.covers(pool, &service.labels))
        };
        let rules = self.config.l2.iter().zip(&self.segments.0);
        rules
            .filter(move |(rule, _)| covers(rule))
            .filter_map(|(rule, segments)| {
                Some(Duty {
                    term: placement.term,
                    nodes: names(&placement.nodes).map(str::to_owned).collect(),
                    interfaces: segments.as_ref().ok()?.clone(),
                    detection: rule.detection,
                    refresh: Duration::from_secs(rule.refresh_seconds.into()),
                })
            })
    }
}

impl Plan {
    /// Adds a duty. Of several rules, all interfaces count, and the shortest times; of Services that share an address and
    /// have not all got its new placement yet, the newest.
    fn answer(&mut self, vip: IpAddr, duty: Duty) {
        let merged = match self.l2.remove(&vip) {
            Some(known) => merge(known, duty),
            None => duty,
        };
        self.l2.insert(vip, merged);
    }
}

fn merge(one: Duty, other: Duty) -> Duty {
    let (term, nodes) = if one.term >= other.term {
        (one.term, one.nodes)
    } else {
        (other.term, other.nodes)
    };
    let refresh = [one.refresh, other.refresh];
    Duty {
        term,
        nodes,
        interfaces: one.interfaces.or(other.interfaces),
        detection: quicker(one.detection, other.detection),
        refresh: refresh
            .into_iter()
            .filter(|it| !it.is_zero())
            .min()
            .unwrap_or_default(),
    }
}

fn quicker(one: DetectionRule, other: DetectionRule) -> DetectionRule {
    let time =
        |rule: &DetectionRule| u64::from(rule.interval_milliseconds) * u64::from(rule.multiplier);
    if time(&other) < time(&one) {
        other
    } else {
        one
    }
}
