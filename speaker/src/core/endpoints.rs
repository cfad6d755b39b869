//! Usable endpoints of Services, counted as this node needs to know them.

use std::collections::HashMap;

use portolan_api::ObjectKey;
use portolan_api::range::Family;
use portolan_api::view::EndpointSlice;

/// Usable endpoints of a Service, or of one slice, in one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// There is one on this node.
    pub(super) here: bool,
    /// There is one somewhere else: on another node, or outside the cluster.
    pub(super) elsewhere: bool,
    /// How many on this node are ready. Usable ones that are on their way out are not.
    pub(super) ready: u32,
}

impl Reach {
    /// There is one at all.
    pub(super) const fn anywhere(self) -> bool {
        self.here || self.elsewhere
    }

    fn and(self, other: Self) -> Self {
        Self {
            here: self.here || other.here,
            elsewhere: self.elsewhere || other.elsewhere,
            ready: self.ready.saturating_add(other.ready),
        }
    }

    fn of(slice: &EndpointSlice, node: &str) -> Self {
        let usable = slice.endpoints.iter().filter(|e| e.conditions.usable());
        usable.fold(Self::default(), |reach, endpoint| {
            let here = endpoint.node_name.as_deref() == Some(node);
            let ready = here && endpoint.conditions.ready.unwrap_or(true);
            reach.and(Self {
                here,
                elsewhere: !here,
                ready: u32::from(ready),
            })
        })
    }
}

/// What is known of all EndpointSlices.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    slices: HashMap<ObjectKey, HashMap<String, (Family, Reach)>>,
    owners: HashMap<ObjectKey, ObjectKey>,
}

impl Endpoints {
    /// The Service that a slice belongs to, as far as is known.
    pub(super) fn owner(&self, slice: &ObjectKey) -> Option<&ObjectKey> {
        self.owners.get(slice)
    }

    /// Usable endpoints of a Service in one family.
    pub(super) fn reach(&self, service: &ObjectKey, family: Family) -> Reach {
        let slices = self.slices.get(service);
        let slices = slices.into_iter().flat_map(HashMap::values);
        let of_family = slices.filter(|(of, _)| *of == family);
        of_family.fold(Reach::default(), |sum, (_, reach)| sum.and(*reach))
    }

    /// Takes a slice in.
    pub(super) fn apply(&mut self, slice: &EndpointSlice, node: &str) {
        let key = ObjectKey::of(slice);
        let (Some(family), Some(owner)) = (slice.family(), slice.service()) else {
            return self.forget(&key);
        };
        if self.owners.get(&key) != Some(&owner) {
            self.forget(&key);
        }
        let slices = self.slices.entry(owner.clone()).or_default();
        slices.insert(key.name.clone(), (family, Reach::of(slice, node)));
        self.owners.insert(key, owner);
    }

    /// A slice is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        let Some(owner) = self.owners.remove(key) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(&key.name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
    }
}
