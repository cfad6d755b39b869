//! What is known of one address: who was given it, whose status shows it, who uses or is promised it otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ServiceId;
use super::sharing::{Port, Sharing};

/// Whether an address can be given out, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has it.
    Free,
    /// No Service has it, but it is not to be had: a node or a stranger uses it, or it is promised to somebody.
    Withheld,
    /// A Service has it.
    Assigned,
}

/// What is known of one address.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    /// The Services that we gave it to.
    pub(super) owners: Owners,
    /// Number of Services whose status shows it.
    pub(super) shown: u32,
    /// Number of names that it is reserved or retained for.
    pub(super) keepers: u32,
    /// A node uses it.
    pub(super) node: bool,
    /// It was given up for somebody who has not got it yet.
    pub(super) promised: bool,
    /// A station outside the cluster uses it.
    pub(super) quarantined: bool,
}

impl Claim {
    /// Whether, and for whom, the address is taken.
    pub(super) fn state(&self) -> State {
        if self.shown > 0 || !self.owners.is_empty() {
            State::Assigned
        } else if self.keepers > 0 || self.node || self.promised || self.quarantined {
            State::Withheld
        } else {
            State::Free
        }
    }
}

/// The Services that we gave an address to. Those of a group may share it with each other: that is an invariant.
#[derive(Debug, Clone, Default)]
pub(super) enum Owners {
    /// Nobody.
    #[default]
    Nobody,
    /// One that does not share.
    One(ServiceId),
    /// One or more that do.
    Group(Box<Group>),
}

/// Services with one sharing key on one address.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) key: Box<str>,
    backend: Box<str>,
    /// With the namespace of each.
    members: BTreeMap<ServiceId, Arc<str>>,
    ports: BTreeMap<Port, ServiceId>,
}

/// Why a Service can not join a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collision {
    /// The holder does not share, or under another key.
    Key,
    /// The holder has another traffic policy, or other pods behind policy Local.
    Backend,
    /// The holder is in another namespace, and the pool does not allow that.
    Namespace,
    /// Both want the same port.
    Port(Port),
}

impl Owners {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    pub(super) fn contains(&self, service: ServiceId) -> bool {
        match self {
            Self::Nobody => false,
            Self::One(owner) => *owner == service,
            Self::Group(group) => group.members.contains_key(&service),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ServiceId> + '_ {
        let (one, group) = match self {
            Self::Nobody => (None, None),
            Self::One(owner) => (Some(*owner), None),
            Self::Group(group) => (None, Some(group)),
        };
        let members = group.into_iter().flat_map(|group| group.members.keys());
        one.into_iter().chain(members.copied())
    }

    /// Somebody else who has it; the oldest.
    pub(super) fn other_than(&self, service: ServiceId) -> Option<ServiceId> {
        self.iter().find(|owner| *owner != service)
    }

    /// Why a Service can not have the address beside those who have it, and who of them stands in its way.
    pub(super) fn collision(
        &self,
        service: ServiceId,
        sharing: Option<&Sharing>,
        across: bool,
    ) -> Option<(Collision, ServiceId)> {
        let holder = self.other_than(service)?;
        let (Self::Group(group), Some(sharing)) = (self, sharing) else {
            return Some((Collision::Key, holder));
        };
        if group.key != sharing.key {
            return Some((Collision::Key, holder));
        }
        if group.backend != sharing.backend {
            return Some((Collision::Backend, holder));
        }
        let foreign = |(_, namespace): &(&ServiceId, &Arc<str>)| ***namespace != *sharing.namespace;
        if !across && let Some((holder, _)) = group.members.iter().find(foreign) {
            return Some((Collision::Namespace, *holder));
        }
        let taken = sharing.ports.iter().find_map(|port| {
            let holder = group.ports.get(port)?;
            (*holder != service).then_some((*port, *holder))
        });
        taken.map(|(port, holder)| (Collision::Port(port), holder))
    }

    /// Everybody who would have to leave before a Service could have the address.
    pub(super) fn blockers(
        &self,
        service: ServiceId,
        sharing: Option<&Sharing>,
        across: bool,
    ) -> Vec<ServiceId> {
        match (self, sharing, self.collision(service, sharing, across)) {
            (_, _, None) => Vec::new(),
            (Self::Group(group), Some(sharing), Some((Collision::Port(_), _))) => {
                let holders = sharing
                    .ports
                    .iter()
                    .filter_map(|port| group.ports.get(port));
                holders
                    .copied()
                    .filter(|holder| *holder != service)
                    .collect()
            }
            (_, _, Some(_)) => self.iter().filter(|owner| *owner != service).collect(),
        }
    }

    /// Adds a Service for which there is no [`Self::collision`].
    pub(super) fn add(
        &mut self,
        service: ServiceId,
        namespace: &Arc<str>,
        sharing: Option<&Sharing>,
    ) {
        match (&mut *self, sharing) {
            (Self::Group(group), Some(sharing)) => group.add(service, namespace, sharing),
            (_, None) => *self = Self::One(service),
            (_, Some(sharing)) => {
                let mut group = Group {
                    key: sharing.key.clone(),
                    backend: sharing.backend.clone(),
                    members: BTreeMap::new(),
                    ports: BTreeMap::new(),
                };
                group.add(service, namespace, sharing);
                *self = Self::Group(Box::new(group));
            }
        }
    }

    /// Removes a Service; `sharing` is what it was added with.
    pub(super) fn remove(&mut self, service: ServiceId, sharing: Option<&Sharing>) {
        match self {
            Self::Group(group) => {
                group.remove(service, sharing);
                if group.members.is_empty() {
                    *self = Self::Nobody;
                }
            }
            Self::One(owner) if *owner == service => *self = Self::Nobody,
            Self::One(_) | Self::Nobody => {}
        }
    }
}

impl Group {
    fn add(&mut self, service: ServiceId, namespace: &Arc<str>, sharing: &Sharing) {
        self.members.insert(service, Arc::clone(namespace));
        let ports = sharing.ports.iter().map(|port| (*port, service));
        self.ports.extend(ports);
    }

    fn remove(&mut self, service: ServiceId, sharing: Option<&Sharing>) {
        self.members.remove(&service);
        for port in sharing.into_iter().flat_map(|sharing| &sharing.ports) {
            if self.ports.get(port) == Some(&service) {
                self.ports.remove(port);
            }
        }
    }
}
