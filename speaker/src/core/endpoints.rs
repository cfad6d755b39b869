//! Usable endpoints of Services, counted as this node needs to know them.
//!
//! A cluster has more slices than anything else, so little is kept of each: what it adds to the counts of its Service.

use std::collections::HashMap;
use std::sync::Arc;

use portolan_api::ObjectKey;
use portolan_api::range::Family;
use portolan_api::view::EndpointSlice;

/// Usable endpoints of a Service in one family.
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
}

/// Usable endpoints, counted.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    here: u32,
    elsewhere: u32,
    ready: u32,
}

impl Count {
    fn of(slice: &EndpointSlice, node: &str) -> Self {
        let mut count = Self::default();
        for endpoint in slice.endpoints.iter().filter(|e| e.conditions.usable()) {
            let here = endpoint.node_name.as_deref() == Some(node);
            let ready = here && endpoint.conditions.ready.unwrap_or(true);
            count.here += u32::from(here);
            count.elsewhere += u32::from(!here);
            count.ready += u32::from(ready);
        }
        count
    }

    fn add(&mut self, other: Self) {
        self.here += other.here;
        self.elsewhere += other.elsewhere;
        self.ready += other.ready;
    }

    fn subtract(&mut self, other: Self) {
        self.here -= other.here;
        self.elsewhere -= other.elsewhere;
        self.ready -= other.ready;
    }
}

#[derive(Debug)]
struct Slice {
    service: Arc<ObjectKey>,
    family: Family,
    count: Count,
}

/// The slices of a Service, added up.
#[derive(Debug, Default)]
struct Sums {
    slices: u32,
    v4: Count,
    v6: Count,
}

impl Sums {
    const fn of(&mut self, family: Family) -> &mut Count {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// What is known of all EndpointSlices.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// By namespace and name, in one piece.
    slices: HashMap<Box<str>, Slice>,
    services: HashMap<Arc<ObjectKey>, Sums>,
}

impl Endpoints {
    /// The Service that a slice belongs to, as far as is known.
    pub(super) fn owner(&self, slice: &ObjectKey) -> Option<&ObjectKey> {
        let slice = self.slices.get(&pack(slice))?;
        Some(&slice.service)
    }

    /// Usable endpoints of a Service in one family.
    pub(super) fn reach(&self, service: &ObjectKey, family: Family) -> Reach {
        let Some(sums) = self.services.get(service) else {
            return Reach::default();
        };
        let count = match family {
            Family::V4 => sums.v4,
            Family::V6 => sums.v6,
        };
        Reach {
            here: count.here > 0,
            elsewhere: count.elsewhere > 0,
            ready: count.ready,
        }
    }

    /// Takes a slice in.
    pub(super) fn apply(&mut self, slice: &EndpointSlice, node: &str) {
        let key = ObjectKey::of(slice);
        self.forget(&key);
        let (Some(family), Some(owner)) = (slice.family(), slice.service()) else {
            return;
        };
        let known = self.services.get_key_value(&owner);
        let service = known.map_or_else(|| Arc::new(owner), |(known, _)| Arc::clone(known));
        let count = Count::of(slice, node);
        let sums = self.services.entry(Arc::clone(&service)).or_default();
        sums.slices += 1;
        sums.of(family).add(count);
        let slice = Slice {
            service,
            family,
            count,
        };
        self.slices.insert(pack(&key), slice);
    }

    /// A slice is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        let Some(slice) = self.slices.remove(&pack(key)) else {
            return;
        };
        if let Some(sums) = self.services.get_mut(&slice.service) {
            sums.slices -= 1;
            sums.of(slice.family).subtract(slice.count);
            if sums.slices == 0 {
                self.services.remove(&slice.service);
            }
        }
    }
}

/// Neither half can contain a slash.
fn pack(ObjectKey { namespace, name }: &ObjectKey) -> Box<str> {
    format!("{namespace}/{name}").into_boxed_str()
}
