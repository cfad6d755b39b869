//! Placement of one Service on nodes, if a layer-2 rule covers it.

use portolan_api::annotation::L2_NODES;
use portolan_api::crd::L2Rule;
use portolan_api::view::TrafficPolicy;

use super::Core;
use crate::alloc::ServiceId;
use crate::model::Service;
use crate::place::{self, Placement};

/// The placement that stands in the annotation.
pub(super) fn written(service: &Service) -> Placement {
    let text = service.annotation(L2_NODES).unwrap_or_default();
    let nodes = text
        .split(',')
        .map(str::trim)
        .filter(|node| !node.is_empty());
    nodes.map(str::to_owned).collect()
}

impl Core {
    /// Places the Service on nodes if a layer-2 rule covers it. Returns the text of the annotation.
    pub(super) fn place_on_nodes(&mut self, id: ServiceId) -> Option<String> {
        let current = self.placements.remove(&id).unwrap_or_default();
        self.load.remove(&current);
        let placement = self.placement(id, &current).unwrap_or_default();
        if placement != current {
            // Whoever shares an address moves along: one address has one answerer.
            let company = self.alloc.company(id);
            self.wait(company.into_iter().filter(|other| *other != id));
        }
        if placement.is_empty() {
            return None;
        }
        self.load.add(&placement);
        let text = placement.join(",");
        self.placements.insert(id, placement);
        Some(text)
    }

    /// Takes the Service off its nodes.
    pub(super) fn unplace(&mut self, id: ServiceId) {
        if let Some(placement) = self.placements.remove(&id) {
            self.load.remove(&placement);
        }
    }

    /// `None` when nobody shall answer: no rule covers the Service, or it has nobody to answer for it.
    fn placement(&self, id: ServiceId, current: &[String]) -> Option<Placement> {
        let mut eligible = self.eligible(id)?;
        let mut company = self.alloc.company(id);
        company.remove(&id);
        for other in company.iter().filter_map(|other| self.eligible(*other)) {
            let common: Vec<&str> = eligible
                .iter()
                .copied()
                .filter(|node| other.contains(node))
                .collect();
            if !common.is_empty() {
                eligible = common;
            }
        }
        let placed = company
            .iter()
            .filter_map(|other| self.placements.get(other));
        let alive = |placement: &&Placement| {
            let first = placement.first();
            first.is_some_and(|node| eligible.contains(&node.as_str()))
        };
        if let Some(shared) = placed.clone().find(alive) {
            return Some(shared.clone());
        }
        let key = self.model.services.name(id);
        Some(place::place(&key, current, &eligible, &self.load))
    }

    /// The nodes that may answer for the addresses of the Service; `None` when nobody shall.
    fn eligible(&self, id: ServiceId) -> Option<Vec<&str>> {
        let addresses = self.alloc.holding(id);
        let entry = self.model.services.get(id)?;
        let service = entry.service.as_deref()?;
        let covers = |rule: &&L2Rule| {
            let mut pools = addresses.iter().filter_map(|a| self.alloc.pool_of(a));
            pools.any(|pool| rule.covers(pool, &service.labels))
        };
        let rules: Vec<&L2Rule> = self.config.l2.iter().filter(covers).collect();
        if rules.is_empty() {
            return None;
        }
        let local = service.external_traffic_policy == TrafficPolicy::Local;
        let endpoints = &self.model.endpoints;
        let served = if local {
            endpoints.on_any_node(&entry.key)
        } else {
            endpoints.any(&entry.key)
        };
        if !served {
            return None;
        }
        let eligible = self.model.nodes.iter().filter(|(name, node)| {
            !node.excluded
                && self.model.speakers.live(name)
                && (!local || endpoints.on(&entry.key, name))
                && rules.iter().any(|rule| rule.is_on(&node.labels))
        });
        Some(eligible.map(|(name, _)| name.as_str()).collect())
    }
}
