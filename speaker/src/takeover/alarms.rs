//! Deadlines by key, with the next one at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// At most one deadline for each key.
#[derive(Debug)]
pub(super) struct Alarms<K> {
    queue: BTreeSet<(Instant, K)>,
    set: BTreeMap<K, Instant>,
}

impl<K> Default for Alarms<K> {
    fn default() -> Self {
        Self {
            queue: BTreeSet::new(),
            set: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Alarms<K> {
    /// Replaces the deadline of a key.
    pub(super) fn set(&mut self, key: &K, at: Option<Instant>) {
        if self.set.get(key).copied() == at {
            return;
        }
        if let Some(old) = self.set.remove(key) {
            self.queue.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.set.insert(key.clone(), at);
            self.queue.insert((at, key.clone()));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the earliest key that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.queue.first()?.clone();
        if at > now {
            return None;
        }
        self.queue.remove(&(at, key.clone()));
        self.set.remove(&key);
        Some(key)
    }
}
