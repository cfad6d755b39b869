//! Services by id: those that concern us with all that we read of them, the others as a stub.

use std::collections::{BTreeMap, HashMap, HashSet};

use portolan_api::ObjectKey;
use portolan_api::annotation::{L2_NODES, POOL};
use portolan_api::view::Service;

use super::is_older;
use crate::alloc::ServiceId;
use portolan_api::annotation::ASSIGNED;

/// Services that are known.
#[derive(Debug, Default)]
pub struct Services {
    ids: HashMap<ObjectKey, ServiceId>,
    entries: BTreeMap<ServiceId, Entry>,
    next: u32,
}

/// One Service.
#[derive(Debug)]
pub struct Entry {
    /// Namespace and name.
    pub key: ObjectKey,
    uid: Option<String>,
    /// What we read of it; `None` for a Service that has nothing to do with load balancing.
    pub service: Option<Box<Service>>,
    /// Read by a list that ran ahead of the watch: a deletion that the watch reports may be that of its predecessor.
    ahead: bool,
}

impl Services {
    /// The current incarnation of that name.
    #[must_use]
    pub fn id(&self, key: &ObjectKey) -> Option<ServiceId> {
        self.ids.get(key).copied()
    }

    /// A Service, if it still exists.
    #[must_use]
    pub fn get(&self, id: ServiceId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// All Services that exist.
    pub fn iter(&self) -> impl Iterator<Item = (ServiceId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// `namespace/name` for messages.
    #[must_use]
    pub fn name(&self, id: ServiceId) -> String {
        self.get(id)
            .map_or_else(|| "that is gone".to_owned(), |entry| entry.key.to_string())
    }

    /// Takes in a Service. Returns the ids that are concerned: its own, and that of a predecessor of the same name.
    pub(super) fn apply(&mut self, service: Service) -> Vec<ServiceId> {
        self.insert(service, false)
    }

    fn insert(&mut self, service: Service, ahead: bool) -> Vec<ServiceId> {
        let key = ObjectKey::of(&service);
        let mut concerned = Vec::new();
        if let Some(&id) = self.ids.get(&key) {
            let Some(held) = self.entries.get_mut(&id) else {
                return concerned;
            };
            concerned.push(id);
            if held.uid == service.metadata.uid {
                if held
                    .service
                    .as_ref()
                    .is_some_and(|held| is_older(&service, held))
                {
                    return Vec::new();
                }
                held.ahead = ahead;
                held.service = relevant(service);
                return concerned;
            }
            self.entries.remove(&id);
        }
        let id = ServiceId(self.next);
        self.next = self.next.wrapping_add(1);
        self.ids.insert(key.clone(), id);
        let uid = service.metadata.uid.clone();
        let service = relevant(service);
        self.entries.insert(
            id,
            Entry {
                key,
                uid,
                service,
                ahead,
            },
        );
        concerned.push(id);
        concerned
    }

    /// Removes a Service. Returns its id, unless the deletion may be that of a predecessor.
    pub(super) fn delete(&mut self, key: &ObjectKey) -> Option<ServiceId> {
        let id = self.id(key)?;
        let entry = self.entries.get_mut(&id)?;
        if entry.ahead {
            // The next event of the watch tells: an object that is still there is reported, and then confirmed.
            entry.ahead = false;
            return None;
        }
        self.entries.remove(&id);
        self.ids.remove(key);
        Some(id)
    }

    /// Takes in a complete list that is newer than what the watch has told.
    pub(super) fn refresh(&mut self, listed: Vec<Service>) {
        let keys: HashSet<ObjectKey> = listed.iter().map(ObjectKey::of).collect();
        for service in listed {
            let key = ObjectKey::of(&service);
            let known = self.id(&key).and_then(|id| self.get(id));
            let ahead = known.is_none_or(|known| known.uid != service.metadata.uid);
            self.insert(service, ahead);
        }
        let gone: Vec<ObjectKey> = self
            .ids
            .keys()
            .filter(|k| !keys.contains(*k))
            .cloned()
            .collect();
        for key in gone {
            if let Some(id) = self.ids.remove(&key) {
                self.entries.remove(&id);
            }
        }
    }
}

/// Keeps only Services that are load balancers or carry traces of one: a cluster has many more of the others.
fn relevant(service: Service) -> Option<Box<Service>> {
    let balancer = service.spec.kind.as_deref() == Some("LoadBalancer");
    let holds = !service.status.load_balancer.ingress.is_empty();
    let traces = service.annotation(POOL).is_some()
        || service.annotation(L2_NODES).is_some()
        || service
            .status
            .conditions
            .iter()
            .any(|c| c.type_ == ASSIGNED);
    (balancer || holds || traces).then(|| Box::new(service))
}
