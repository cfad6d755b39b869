//! On which nodes each Service has endpoints that kube-proxy would send traffic to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use portolan_api::ObjectKey;
use portolan_api::view::{EndpointSlice, usable_nodes};

/// Slices of one Service by name, each with the names of its nodes, sorted. Nearly always one slice and few nodes: lists,
/// because the first entry of a tree costs half a kilobyte.
type Slices = Vec<(Arc<ObjectKey>, Box<[Arc<str>]>)>;

/// Nodes with usable endpoints, by Service and slice. The empty name stands for endpoints outside the cluster. Names that
/// stand in several places are shared: a cluster has about as many slices as Services.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_service: HashMap<Arc<ObjectKey>, Slices>,
    /// Which Service a slice belongs to: a deletion names only the slice.
    owners: HashMap<Arc<ObjectKey>, Arc<ObjectKey>>,
    nodes: HashSet<Arc<str>>,
}

impl Endpoints {
    /// Whether the Service has a usable endpoint anywhere.
    #[must_use]
    pub fn any(&self, service: &ObjectKey) -> bool {
        self.of(service).any(|nodes| !nodes.is_empty())
    }

    /// Whether the Service has a usable endpoint on the node.
    #[must_use]
    pub fn on(&self, service: &ObjectKey, node: &str) -> bool {
        self.of(service).any(|nodes| is_among(node, nodes))
    }

    /// Whether the Service has a usable endpoint on any node of the cluster.
    #[must_use]
    pub fn on_any_node(&self, service: &ObjectKey) -> bool {
        self.of(service).flatten().any(|node| !node.is_empty())
    }

    /// The one copy of the key of a Service that has slices.
    pub(super) fn key(&self, service: &ObjectKey) -> Option<Arc<ObjectKey>> {
        let (key, _) = self.by_service.get_key_value(service)?;
        Some(Arc::clone(key))
    }

    /// The nodes of each slice of the Service.
    fn of(&self, service: &ObjectKey) -> impl Iterator<Item = &[Arc<str>]> {
        let slices = self.by_service.get(service).into_iter().flatten();
        slices.map(|(_, nodes)| &**nodes)
    }

    /// Takes in a slice; `known` is the key of its Service, if that is known. Returns the Service if its nodes changed.
    pub(super) fn apply(
        &mut self,
        slice: &EndpointSlice,
        known: Option<Arc<ObjectKey>>,
    ) -> Option<ObjectKey> {
        let key = ObjectKey::of(slice);
        let Some(service) = slice.service() else {
            return self.delete(&key);
        };
        // In order, because they come out of a tree.
        let nodes: Box<[Arc<str>]> = usable_nodes(slice)
            .into_iter()
            .map(|node| self.node(node))
            .collect();
        let held = self.by_service.get_key_value(&service);
        let owner = held.map(|(held, _)| held.clone()).or(known);
        let owner = owner.unwrap_or_else(|| Arc::new(service.clone()));
        let held = self.owners.get_key_value(&key);
        let key = held.map_or_else(|| Arc::new(key), |(held, _)| held.clone());
        self.owners.insert(key.clone(), owner.clone());
        let slices = self.by_service.entry(owner).or_default();
        let held = slices.iter_mut().find(|(slice, _)| *slice == key);
        let changed = if let Some((_, held)) = held {
            let news = *held != nodes;
            *held = nodes;
            news
        } else {
            let news = !nodes.is_empty();
            slices.reserve_exact(1);
            slices.push((key, nodes));
            news
        };
        changed.then_some(service)
    }

    /// Drops a slice. Returns its Service.
    pub(super) fn delete(&mut self, slice: &ObjectKey) -> Option<ObjectKey> {
        let service = self.owners.remove(slice)?;
        let slices = self.by_service.get_mut(&service)?;
        slices.retain(|(key, _)| **key != *slice);
        if slices.is_empty() {
            self.by_service.remove(&service);
        }
        Some(ObjectKey::clone(&service))
    }

    /// The one copy of a node's name.
    fn node(&mut self, name: &str) -> Arc<str> {
        if let Some(held) = self.nodes.get(name) {
            return held.clone();
        }
        if self.nodes.len() == self.nodes.capacity() {
            // Instead of growing: forget nodes that no slice names any more.
            self.nodes.retain(|name| Arc::strong_count(name) > 1);
        }
        let name: Arc<str> = name.into();
        self.nodes.insert(name.clone());
        name
    }
}

fn is_among(node: &str, nodes: &[Arc<str>]) -> bool {
    nodes.binary_search_by(|name| (**name).cmp(node)).is_ok()
}
