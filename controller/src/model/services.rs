//! Services by id: those that concern us with all that we read of them, the others as a stub.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portolan_api::ObjectKey;
use portolan_api::annotation::{ASSIGNED, CLASS, HELD, L2_NODES, L2_TERM, POOL};
use portolan_api::view;

use super::{Listed, Service, is_older};
use crate::alloc::ServiceId;

/// Services that are known.
#[derive(Debug, Default)]
pub struct Services {
    ids: HashMap<Arc<ObjectKey>, ServiceId>,
    entries: BTreeMap<ServiceId, Entry>,
    next: u32,
    /// Load balancers that went away since this was asked last.
    departed: Vec<(ServiceId, Box<Service>)>,
}

/// One Service.
#[derive(Debug)]
pub struct Entry {
    /// Namespace and name.
    pub key: Arc<ObjectKey>,
    uid: Option<Box<str>>,
    version: Version,
    /// What is kept of it; `None` for a Service that has nothing to do with load balancing.
    pub service: Option<Box<Service>>,
    /// Read by a list that ran ahead of the watch: a deletion that the watch reports may be that of its predecessor.
    ahead: bool,
    /// A list of the watch lacked it while it was ahead.
    doubted: bool,
    /// The list that is being read has one of this name.
    read: bool,
}

impl Entry {
    /// The UID.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// The `resourceVersion`, as the API server wrote it.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        match &self.version {
            Version::Unknown => None,
            Version::Number(number) => Some(number.to_string()),
            Version::Text(text) => Some(text.to_string()),
        }
    }
}

/// A `resourceVersion`. It is written back as it was, and compared if it is a number, which it nearly always is.
#[derive(Debug, PartialEq)]
enum Version {
    Unknown,
    Number(u64),
    Text(Box<str>),
}

impl Version {
    fn of(service: &view::Service) -> Self {
        let Some(text) = &service.metadata.resource_version else {
            return Self::Unknown;
        };
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == *text => Self::Number(number),
            _ => Self::Text(text.as_str().into()),
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Unknown | Self::Text(_) => None,
        }
    }
}

impl Services {
    /// The current incarnation of that name.
    #[must_use]
    pub fn id(&self, key: &ObjectKey) -> Option<ServiceId> {
        self.ids.get(key).copied()
    }

    /// The one copy of the key of a Service.
    pub(super) fn key(&self, key: &ObjectKey) -> Option<Arc<ObjectKey>> {
        let (key, _) = self.ids.get_key_value(key)?;
        Some(Arc::clone(key))
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
    pub(super) fn apply(&mut self, key: Arc<ObjectKey>, service: view::Service) -> Vec<ServiceId> {
        self.insert(key, service, false)
    }

    /// Takes in what the API server answered to a write. Returns the id, if the Service is still there.
    pub(super) fn update(&mut self, service: view::Service) -> Vec<ServiceId> {
        let known = self
            .id(&ObjectKey::of(&service))
            .and_then(|id| self.get(id));
        let same = known.filter(|known| known.uid() == service.metadata.uid.as_deref());
        match same.map(|known| Arc::clone(&known.key)) {
            // Whether the watch has told of it is as open as before.
            Some(key) => self.insert(key, service, true),
            None => Vec::new(),
        }
    }

    /// Removes a Service that the API server does not have, if only a list has told of it.
    pub(super) fn miss(&mut self, key: &ObjectKey) -> Vec<ServiceId> {
        self.remove(|entry| entry.ahead && *entry.key == *key)
    }

    fn insert(
        &mut self,
        key: Arc<ObjectKey>,
        service: view::Service,
        ahead: bool,
    ) -> Vec<ServiceId> {
        let version = Version::of(&service);
        let mut concerned = Vec::new();
        let mut read = false;
        if let Some(&id) = self.ids.get(&key)
            && let Some(held) = self.entries.get_mut(&id)
        {
            let same = held.uid() == service.metadata.uid.as_deref();
            held.ahead &= ahead || !same;
            if is_older(version.number(), held.version.number()) {
                return Vec::new();
            }
            concerned.push(id);
            if same {
                // The lists of the watch and of a new leader tell the same: nothing is gained by a fresh copy.
                if version.number().is_none() || version != held.version {
                    held.version = version;
                    held.service = relevant(&held.key, service);
                }
                return concerned;
            }
            read = held.read;
            self.entries
                .remove(&id)
                .into_iter()
                .for_each(|entry| self.bid_farewell(id, entry));
        }
        let id = ServiceId(self.next);
        self.next = self.next.wrapping_add(1);
        self.ids.insert(Arc::clone(&key), id);
        let entry = Entry {
            uid: service.metadata.uid.as_deref().map(Into::into),
            version,
            service: relevant(&key, service),
            key,
            ahead,
            doubted: false,
            read,
        };
        self.entries.insert(id, entry);
        concerned.push(id);
        concerned
    }

    /// Removes a Service. Returns its id and UID, unless the deletion is that of a predecessor: a watch tells that an
    /// object is there before it tells that it is gone.
    pub(super) fn delete(&mut self, key: &ObjectKey) -> Option<(ServiceId, Option<Box<str>>)> {
        let id = self.id(key)?;
        if self.get(id)?.ahead {
            return None;
        }
        self.ids.remove(key);
        let entry = self.entries.remove(&id)?;
        let uid = entry.uid.clone();
        self.bid_farewell(id, entry);
        Some((id, uid))
    }

    /// The watch has listed everything. What it has not told of in two lists is gone; one alone may be older than the
    /// list that knew it. Returns the ids of what is gone.
    pub(super) fn confirm(&mut self) -> Vec<ServiceId> {
        let gone = self.remove(|entry| entry.ahead && entry.doubted);
        for entry in self.entries.values_mut() {
            entry.doubted = entry.ahead;
        }
        gone
    }

    /// A complete list begins, see [`super::Model::refresh`].
    pub(super) fn prepare_read(&mut self) {
        for entry in self.entries.values_mut() {
            entry.read = false;
        }
    }

    /// Takes in a page of it.
    pub(super) fn read(&mut self, page: Vec<view::Service>, buried: &HashSet<String>) {
        for service in page {
            let key = Arc::new(ObjectKey::of(&service));
            let uid = service.metadata.uid.as_deref();
            if uid.is_none_or(|uid| !buried.contains(uid)) {
                let known = self.id(&key).and_then(|id| self.get(id));
                let ahead = known.is_none_or(|known| known.ahead || known.uid() != uid);
                self.insert(Arc::clone(&key), service, ahead);
            }
            let entry = self.id(&key).and_then(|id| self.entries.get_mut(&id));
            if let Some(entry) = entry {
                entry.read = true;
            }
        }
    }

    /// The list is complete with these.
    pub(super) fn refresh(&mut self, mut listed: Listed<view::Service>, buried: &HashSet<String>) {
        self.read(std::mem::take(&mut listed.items), buried);
        self.remove(|entry| !entry.read && listed.proves_gone(entry.version.number()));
    }

    fn remove(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<ServiceId> {
        let ids = self.entries.iter().filter(|(_, entry)| gone(entry));
        let ids: Vec<ServiceId> = ids.map(|(id, _)| *id).collect();
        for id in &ids {
            if let Some(entry) = self.entries.remove(id) {
                self.ids.remove(&entry.key);
                self.bid_farewell(*id, entry);
            }
        }
        ids
    }

    fn bid_farewell(&mut self, id: ServiceId, entry: Entry) {
        if let Some(service) = entry.service {
            self.departed.push((id, service));
        }
    }

    /// Load balancers that went away since this was asked last, as they were.
    pub fn take_departed(&mut self) -> Vec<(ServiceId, Box<Service>)> {
        std::mem::take(&mut self.departed)
    }
}

/// Keeps only Services that are load balancers or carry traces of one: a cluster has many more of the others.
fn relevant(key: &Arc<ObjectKey>, service: view::Service) -> Option<Box<Service>> {
    let balancer = service.spec.kind.as_deref() == Some("LoadBalancer");
    let holds = !service.status.load_balancer.ingress.is_empty();
    let mut conditions = service.status.conditions.iter();
    let marks = [POOL, L2_NODES, L2_TERM, CLASS, HELD];
    let traces = marks.iter().any(|mark| service.annotation(mark).is_some())
        || conditions.any(|c| c.type_ == ASSIGNED);
    (balancer || holds || traces).then(|| Box::new(Service::new(Arc::clone(key), service)))
}
