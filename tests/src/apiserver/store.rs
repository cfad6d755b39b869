//! What the server remembers: one ordered map, one revision counter, and the last changes.
//!
//! ```text
//! objects   (resource, namespace, name) ─► object          ordered, so a list is a range and a page starts anywhere
//! history   [ change 1001 ][ change 1002 ] … [ change N ]   contiguous revisions, bounded; what watches read
//! ```
//!
//! Watchers own no queue here. Each remembers the last revision it saw and asks for what came after; one that asks for
//! changes that are forgotten has lagged and is told so. So memory does not depend on how slow, or how many, they are.
//! Pure: no clock, no lock, no I/O.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use hyper::body::Bytes;
use serde_json::Value;

/// Changes remembered unless told otherwise: enough for a burst of 5000 objects, each created and written twice.
pub(super) const HISTORY: usize = 16_384;

/// Where an object lives. Namespace is empty for cluster-scoped resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Storage name of the resource, shared by all its versions.
    pub resource: Arc<str>,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One version of an object: immutable, shared by map, history and responses.
#[derive(Debug)]
pub(super) struct Object {
    /// The object, with its resourceVersion.
    pub value: Value,
    json: OnceLock<Bytes>,
    untyped: OnceLock<Bytes>,
}

impl Object {
    fn new(value: Value) -> Arc<Self> {
        Arc::new(Self {
            value,
            json: OnceLock::new(),
            untyped: OnceLock::new(),
        })
    }

    /// A version that is shown but not kept: the answer to a dry run.
    #[must_use]
    pub(super) fn unstored(value: Value) -> Arc<Self> {
        Self::new(value)
    }

    /// Its JSON without apiVersion and kind: as lists of built-in kinds carry it, once for all readers.
    pub(super) fn untyped(&self) -> &Bytes {
        self.untyped.get_or_init(|| {
            let fields = self.value.as_object().into_iter().flatten();
            let kept =
                fields.filter(|(field, _)| !["apiVersion", "kind"].contains(&field.as_str()));
            Bytes::from(
                kept.map(|(k, v)| (k.clone(), v.clone()))
                    .collect::<Value>()
                    .to_string(),
            )
        })
    }

    /// Its JSON, serialised once for all readers.
    pub(super) fn json(&self) -> &Bytes {
        self.json
            .get_or_init(|| Bytes::from(self.value.to_string()))
    }
}

/// One step of the store.
#[derive(Debug)]
pub(super) struct Change {
    /// The resourceVersion it made.
    pub revision: u64,
    /// The object it happened to.
    pub key: Key,
    /// The object before, unless it was created.
    pub before: Option<Arc<Object>>,
    /// The object after; for a deletion its last state, stamped with the revision of the deletion.
    pub after: Arc<Object>,
    /// The object is gone.
    pub deleted: bool,
}

/// The changes asked for are no longer remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub(super) struct Compacted {
    /// Revision the caller had seen.
    pub asked: u64,
    /// Oldest revision from which changes can still be told.
    pub oldest: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Arc<Change>>,
    revision: u64,
    capacity: usize,
}

impl Store {
    /// An empty store that remembers `capacity` changes.
    #[must_use]
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            revision: 1,
            capacity,
        }
    }

    /// The current resourceVersion.
    #[must_use]
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision from which a watch can resume.
    #[must_use]
    pub(super) fn oldest(&self) -> u64 {
        self.history
            .front()
            .map_or(self.revision, |c| c.revision - 1)
    }

    /// The object at `key`.
    #[must_use]
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Writes `value` under a new revision, which it is stamped with.
    pub(super) fn put(&mut self, key: Key, value: Value) -> Arc<Object> {
        let after = self.stamp(value);
        let before = self.objects.insert(key.clone(), after.clone());
        self.remember(Change {
            revision: self.revision,
            key,
            before,
            after: after.clone(),
            deleted: false,
        });
        after
    }

    /// Removes the object and returns its last state.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Object>> {
        let before = self.objects.remove(key)?;
        let after = self.stamp(before.value.clone());
        self.remember(Change {
            revision: self.revision,
            key: key.clone(),
            before: Some(before),
            after: after.clone(),
            deleted: true,
        });
        Some(after)
    }

    /// Objects of a resource, by namespace and name, from after `start` if given.
    pub(super) fn range<'a>(
        &'a self,
        resource: &Arc<str>,
        namespace: &'a str,
        start: Option<Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> {
        let first = Key {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let lower = start.map_or(Bound::Included(first), Bound::Excluded);
        let resource = resource.clone();
        self.objects
            .range((lower, Bound::Unbounded))
            .take_while(move |(key, _)| {
                key.resource == resource && (namespace.is_empty() || key.namespace == namespace)
            })
    }

    /// The objects of a resource as they were at `revision`, from after `start`: what makes the pages of one list
    /// agree with each other.
    pub(super) fn range_at(
        &self,
        resource: &Arc<str>,
        namespace: &str,
        start: Option<&Key>,
        revision: u64,
    ) -> Result<Vec<(Key, Arc<Object>)>, Compacted> {
        let undone = self.before_each_change(resource, revision)?;
        let within = |key: &Key| {
            (namespace.is_empty() || key.namespace == namespace)
                && start.is_none_or(|start| key > start)
        };
        let mut then: BTreeMap<Key, Arc<Object>> = self
            .range(resource, namespace, start.cloned())
            .filter(|(key, _)| !undone.contains_key(key))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        then.extend(
            undone
                .into_iter()
                .filter_map(|(k, before)| Some((k, before?)))
                .filter(|(k, _)| within(k)),
        );
        Ok(then.into_iter().collect())
    }

    fn before_each_change(
        &self,
        resource: &Arc<str>,
        revision: u64,
    ) -> Result<BTreeMap<Key, Option<Arc<Object>>>, Compacted> {
        let mut before = BTreeMap::new();
        for change in self
            .changes(revision)?
            .filter(|c| c.key.resource == *resource)
        {
            before
                .entry(change.key.clone())
                .or_insert_with(|| change.before.clone());
        }
        Ok(before)
    }

    /// What happened after `since`, oldest first.
    pub(super) fn changes(
        &self,
        since: u64,
    ) -> Result<impl Iterator<Item = &Arc<Change>>, Compacted> {
        let oldest = self.oldest();
        if since < oldest || since > self.revision {
            return Err(Compacted {
                asked: since,
                oldest,
            });
        }
        // Every revision is one change, so the distance is the index.
        let skip = usize::try_from(since - oldest).unwrap_or(usize::MAX);
        Ok(self.history.iter().skip(skip))
    }

    /// Forgets all changes: who has not seen them must list again.
    pub(super) fn compact(&mut self) {
        self.history.clear();
    }

    fn stamp(&mut self, mut value: Value) -> Arc<Object> {
        self.revision += 1;
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.insert(
                "resourceVersion".to_owned(),
                Value::String(self.revision.to_string()),
            );
        }
        Object::new(value)
    }

    fn remember(&mut self, change: Change) {
        while self.history.len() >= self.capacity.max(1) {
            self.history.pop_front();
        }
        self.history.push_back(Arc::new(change));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mk_key(namespace: &str, name: &str) -> Key {
        Key {
            resource: "things".into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn mk_value(x: u32) -> Value {
        json!({"metadata": {}, "x": x})
    }

    fn names(objects: &[(Key, Arc<Object>)]) -> Vec<String> {
        objects
            .iter()
            .map(|(k, o)| format!("{}={}", k.name, o.value["x"]))
            .collect()
    }

    #[test]
    fn every_write_gets_the_next_revision_and_carries_it() {
        let mut store = Store::new(8);
        let first =
            store.put(mk_key("a", "x"), mk_value(1)).value["metadata"]["resourceVersion"].clone();
        let second = store.remove(&mk_key("a", "x")).unwrap();
        assert_eq!(first, json!("2"));
        assert_eq!(second.value["metadata"]["resourceVersion"], json!("3"));
        assert_eq!(store.revision(), 3);
        assert!(store.get(&mk_key("a", "x")).is_none());
    }

    #[test]
    fn changes_resume_exactly_after_the_revision_seen() {
        let mut store = Store::new(8);
        for x in 0..5 {
            store.put(mk_key("a", "x"), mk_value(x));
        }
        let seen: Vec<u64> = store.changes(4).unwrap().map(|c| c.revision).collect();
        assert_eq!(seen, [5, 6]);
        assert_eq!(store.changes(6).unwrap().count(), 0);
    }

    #[test]
    fn changes_older_than_the_bound_or_from_the_future_are_refused() {
        let mut store = Store::new(3);
        for x in 0..5 {
            store.put(mk_key("a", "x"), mk_value(x));
        }
        assert_eq!(store.oldest(), 3);
        assert_eq!(
            store.changes(2).err(),
            Some(Compacted {
                asked: 2,
                oldest: 3
            })
        );
        assert_eq!(store.changes(3).unwrap().count(), 3);
        assert!(store.changes(7).is_err());
    }

    #[test]
    fn compaction_forgets_the_past_but_not_the_present() {
        let mut store = Store::new(8);
        store.put(mk_key("a", "x"), mk_value(1));
        let now = store.revision();
        store.compact();
        assert!(store.changes(now - 1).is_err());
        store.put(mk_key("a", "x"), mk_value(2));
        assert_eq!(store.changes(now).unwrap().count(), 1);
    }

    #[test]
    fn a_range_keeps_to_its_resource_and_namespace() {
        let mut store = Store::new(8);
        store.put(mk_key("a", "1"), mk_value(1));
        store.put(mk_key("b", "2"), mk_value(2));
        store.put(
            Key {
                resource: "zebras".into(),
                ..mk_key("a", "3")
            },
            mk_value(3),
        );
        let list = |ns| {
            store
                .range(&"things".into(), ns, None)
                .map(|(k, _)| k.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(list(""), ["1", "2"]);
        assert_eq!(list("b"), ["2"]);
    }

    #[test]
    fn a_later_page_shows_the_state_of_the_first() {
        let mut store = Store::new(16);
        for (x, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            store.put(mk_key("n", name), mk_value(u32::try_from(x).unwrap()));
        }
        let first_page = store.revision();
        store.remove(&mk_key("n", "c"));
        store.put(mk_key("n", "d"), mk_value(9));
        store.put(mk_key("n", "bb"), mk_value(8));
        let rest = store
            .range_at(&"things".into(), "n", Some(&mk_key("n", "a")), first_page)
            .unwrap();
        assert_eq!(names(&rest), ["b=1", "c=2", "d=3"]);
        store.compact();
        assert!(
            store
                .range_at(&"things".into(), "n", None, first_page)
                .is_err()
        );
    }
}
