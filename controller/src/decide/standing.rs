//! How Services stand: decided and content, decided and lacking something, or waiting for a decision.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::alloc::ServiceId;

/// How one decided Service stands.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// Why it lacks something, if it does.
    reason: Option<&'static str>,
    /// Its status has shown what was decided. What differs from then on was written by somebody else.
    landed: bool,
}

/// All Services of ours that have been decided.
#[derive(Debug, Default)]
pub(super) struct Standings {
    all: BTreeMap<ServiceId, Standing>,
    lacking: BTreeSet<ServiceId>,
}

impl Standings {
    /// A Service has been decided.
    pub(super) fn decide(&mut self, id: ServiceId, reason: Option<&'static str>) {
        self.all.entry(id).or_default().reason = reason;
        if reason.is_some() {
            self.lacking.insert(id);
        } else {
            self.lacking.remove(&id);
        }
    }

    /// The status has, or has not yet, what was decided.
    pub(super) fn land(&mut self, id: ServiceId, landed: bool) {
        if let Some(standing) = self.all.get_mut(&id) {
            standing.landed = landed;
        }
    }

    pub(super) fn has_landed(&self, id: ServiceId) -> bool {
        self.all.get(&id).is_some_and(|standing| standing.landed)
    }

    pub(super) fn remove(&mut self, id: ServiceId) {
        self.all.remove(&id);
        self.lacking.remove(&id);
    }

    /// Services that lack something.
    pub(super) fn lacking(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.lacking.iter().copied()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.all.keys().copied()
    }

    /// Why each lacks something, if it does.
    pub(super) fn reasons(&self) -> impl Iterator<Item = Option<&'static str>> + '_ {
        self.all.values().map(|standing| standing.reason)
    }
}

/// Services that wait to be decided. Those that are gone come first, because they set something free, then the oldest.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeSet<(Option<Timestamp>, ServiceId)>);

impl Waiting {
    /// Adds a Service; `created` is `None` for one that is gone.
    pub(super) fn insert(&mut self, id: ServiceId, created: Option<Timestamp>) {
        self.0.insert((created, id));
    }

    pub(super) fn pop(&mut self) -> Option<ServiceId> {
        self.0.pop_first().map(|(_, id)| id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
