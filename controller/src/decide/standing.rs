//! How Services stand: decided and content, decided and lacking something, or waiting for a decision.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use portolan_api::range::Family;

use crate::alloc::{Holding, Refusal, ServiceId};

/// How one decided Service stands.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// Why it lacks something, if it does.
    lack: Option<Box<Lack>>,
    /// What was decided, since its status has shown that. What differs from it was written by somebody else.
    landed: Option<Holding>,
    /// What was written beside the addresses, or found as it should be.
    marks: Marks,
    /// Whether that stands there, as far as we know.
    marked: bool,
}

/// Fingerprints of what we write beside the addresses of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Of our annotations.
    pub(super) annotations: u32,
    /// Of our condition.
    pub(super) condition: u32,
}

/// Why a Service lacks something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lack {
    /// For conditions and metrics.
    pub(super) reason: &'static str,
    /// What may help.
    pub(super) help: Help,
    /// What the allocator said; `None` where it was not asked.
    pub(super) refusal: Option<Refusal>,
    /// When the Service was created: the oldest is served first.
    pub(super) created: Option<Timestamp>,
}

/// All Services of ours that have been decided.
#[derive(Debug, Default)]
pub(super) struct Standings {
    all: BTreeMap<ServiceId, Standing>,
    /// Those that lack something, by what may help them.
    lacking: BTreeMap<Help, BTreeSet<(Option<Timestamp>, ServiceId)>>,
}

/// What may help a Service that lacks something, or change what is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Help {
    /// Its user, another program, or other pools: everybody is decided again then.
    Nobody,
    /// Somebody who gives up an address of the family.
    Family(Family),
    /// Somebody who gives up an address, whatever it is.
    Anybody,
    /// The same, and what is said depends on who has one certain address.
    Holder,
}

impl Help {
    /// `open` are the families of which an address would help.
    pub(super) fn of(refusal: Option<&Refusal>, open: &[Family]) -> Self {
        match refusal {
            None
            | Some(
                Refusal::TwoRequests
                | Refusal::Malformed { .. }
                | Refusal::Strange(_)
                | Refusal::Families { .. }
                | Refusal::NoFamilies
                | Refusal::NotInAnyPool(_)
                | Refusal::KeptBack { .. }
                | Refusal::NotInNamedPool { .. }
                | Refusal::UnknownPool(_)
                | Refusal::Restricted { .. },
            ) => Self::Nobody,
            Some(
                Refusal::Taken { .. }
                | Refusal::Sharing { .. }
                | Refusal::Reserved { .. }
                | Refusal::NodeAddress { .. }
                | Refusal::Quarantined { .. },
            ) => Self::Holder,
            Some(Refusal::Quota { .. } | Refusal::PoolExhausted { .. }) => Self::Anybody,
            Some(Refusal::NoPool(_) | Refusal::Exhausted(_)) => match open {
                [] => Self::Nobody,
                [family] => Self::Family(*family),
                _ => Self::Anybody,
            },
        }
    }
}

impl Standings {
    /// A Service has been decided.
    pub(super) fn decide(&mut self, id: ServiceId, lack: Option<Lack>) {
        let standing = self.all.entry(id).or_default();
        if let Some(before) = &standing.lack {
            let beside = self.lacking.entry(before.help).or_default();
            beside.remove(&(before.created, id));
        }
        if let Some(now) = &lack {
            let beside = self.lacking.entry(now.help).or_default();
            beside.insert((now.created, id));
        }
        standing.lack = lack.map(Box::new);
    }

    /// The status shows what was decided, or does not yet.
    pub(super) fn land(&mut self, id: ServiceId, landed: Option<Holding>) {
        if let Some(standing) = self.all.get_mut(&id) {
            standing.landed = landed;
        }
    }

    /// A Service is to bear these marks; `marked` if it does.
    pub(super) fn mark(&mut self, id: ServiceId, marks: Marks, marked: bool) {
        if let Some(standing) = self.all.get_mut(&id) {
            (standing.marks, standing.marked) = (marks, marked);
        }
    }

    /// The last write to a Service has happened, or somebody has changed the marks since.
    pub(super) fn set_marked(&mut self, id: ServiceId, marked: bool) {
        if let Some(standing) = self.all.get_mut(&id) {
            standing.marked = marked;
        }
    }

    /// The marks that a Service bore when we looked last.
    pub(super) fn marks(&self, id: ServiceId) -> Option<Marks> {
        let standing = self.all.get(&id)?;
        standing.marked.then_some(standing.marks)
    }

    /// What the status has shown since it was decided.
    pub(super) fn landed(&self, id: ServiceId) -> Option<Holding> {
        self.all.get(&id)?.landed
    }

    /// Whether it has been decided as one of ours.
    pub(super) fn has(&self, id: ServiceId) -> bool {
        self.all.contains_key(&id)
    }

    pub(super) fn remove(&mut self, id: ServiceId) {
        let standing = self.all.remove(&id);
        if let Some(lack) = standing.and_then(|standing| standing.lack) {
            let beside = self.lacking.entry(lack.help).or_default();
            beside.remove(&(lack.created, id));
        }
    }

    /// Services that something may help that has become free, the oldest first.
    pub(super) fn waiting_for(&self, freed: &BTreeSet<Family>) -> Vec<ServiceId> {
        self.those(|help| match help {
            Help::Nobody => false,
            Help::Family(family) => freed.contains(&family),
            Help::Anybody | Help::Holder => true,
        })
    }

    /// Services of which something else may have to be said when pools of the families have run dry, or are not any more.
    pub(super) fn worded_by(&self, changed: &BTreeSet<Family>) -> Vec<ServiceId> {
        self.those(|help| match help {
            Help::Nobody => false,
            Help::Family(family) => changed.contains(&family),
            Help::Anybody => !changed.is_empty(),
            Help::Holder => true,
        })
    }

    fn those(&self, which: impl Fn(Help) -> bool) -> Vec<ServiceId> {
        let sets = self.lacking.iter().filter(|(help, _)| which(**help));
        let mut all: Vec<_> = sets.flat_map(|(_, set)| set.iter().copied()).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// What the allocator said when it was asked last for a Service that lacks something.
    pub(super) fn refusal(&self, id: ServiceId) -> Option<&Refusal> {
        self.all.get(&id)?.lack.as_ref()?.refusal.as_ref()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.all.keys().copied()
    }

    /// Why each lacks something, if it does.
    pub(super) fn reasons(&self) -> impl Iterator<Item = Option<&'static str>> + '_ {
        let lacks = self.all.values().map(|standing| standing.lack.as_ref());
        lacks.map(|lack| lack.map(|lack| lack.reason))
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
