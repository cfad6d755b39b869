//! On which nodes each Service has endpoints that kube-proxy would send traffic to.

use std::collections::HashMap;

use portolan_api::ObjectKey;
use portolan_api::view::{EndpointSlice, usable_nodes};

/// Slices of one Service by name, each with the names of its nodes, sorted. Nearly always one slice and few nodes: lists,
/// because the first entry of a tree costs half a kilobyte.
type Slices = Vec<(String, Box<[String]>)>;

/// Nodes with usable endpoints, by Service and slice. The empty name stands for endpoints outside the cluster.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_service: HashMap<ObjectKey, Slices>,
    /// Which Service a slice belongs to: a deletion names only the slice.
    owners: HashMap<ObjectKey, ObjectKey>,
}

impl Endpoints {
    /// Whether the Service has a usable endpoint anywhere.
    #[must_use]
    pub fn any(&self, service: &ObjectKey) -> bool {
        self.by_service
            .get(service)
            .is_some_and(|slices| slices.iter().any(|(_, nodes)| !nodes.is_empty()))
    }

    /// Whether the Service has a usable endpoint on the node.
    #[must_use]
    pub fn on(&self, service: &ObjectKey, node: &str) -> bool {
        self.by_service
            .get(service)
            .is_some_and(|slices| slices.iter().any(|(_, nodes)| is_among(node, nodes)))
    }

    /// Whether the Service has a usable endpoint on any node of the cluster.
    #[must_use]
    pub fn on_any_node(&self, service: &ObjectKey) -> bool {
        let named =
            |(_, nodes): &(String, Box<[String]>)| nodes.iter().any(|node| !node.is_empty());
        self.by_service
            .get(service)
            .is_some_and(|slices| slices.iter().any(named))
    }

    /// Takes in a slice. Returns the Service if its nodes changed.
    pub(super) fn apply(&mut self, slice: &EndpointSlice) -> Option<ObjectKey> {
        let key = ObjectKey::of(slice);
        let Some(service) = slice.service() else {
            return self.delete(&key);
        };
        // In order, because they come out of a tree.
        let nodes: Box<[String]> = usable_nodes(slice).into_iter().map(str::to_owned).collect();
        self.owners.insert(key.clone(), service.clone());
        let slices = self.by_service.entry(service.clone()).or_default();
        let held = slices.iter_mut().find(|(name, _)| *name == key.name);
        let changed = if let Some((_, held)) = held {
            let news = *held != nodes;
            *held = nodes;
            news
        } else {
            let news = !nodes.is_empty();
            slices.reserve_exact(1);
            slices.push((key.name, nodes));
            news
        };
        changed.then_some(service)
    }

    /// Drops a slice. Returns its Service.
    pub(super) fn delete(&mut self, slice: &ObjectKey) -> Option<ObjectKey> {
        let service = self.owners.remove(slice)?;
        let slices = self.by_service.get_mut(&service)?;
        slices.retain(|(name, _)| *name != slice.name);
        if slices.is_empty() {
            self.by_service.remove(&service);
        }
        Some(service)
    }
}

fn is_among(node: &str, nodes: &[String]) -> bool {
    nodes
        .binary_search_by(|name| name.as_str().cmp(node))
        .is_ok()
}
