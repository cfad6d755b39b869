//! How objects go: at once, when their finalizers allow it, or with their namespace or definition.

use std::sync::Arc;

use serde_json::{Value, json};

use super::body::metadata;
use super::cluster::{
    Cluster, Preconditions, Target, Writing, Written, bump_generation, finalizers, is_deleting,
};
use super::error::Refusal;
use super::kind::Kind;
use super::store::{Key, Object};
use super::strategy;

impl Cluster {
    /// Deletes an object, or marks it when finalizers hold it.
    pub(super) fn delete(
        &mut self,
        target: &Target,
        only_if: &Preconditions,
        how: &Writing,
    ) -> Result<Written, Refusal> {
        let object = self.get(target)?.clone();
        let meta = |field: &str| {
            object
                .value
                .get("metadata")
                .and_then(|m| m.get(field)?.as_str())
        };
        for (name, wanted, found) in [
            ("UID", &only_if.uid, meta("uid")),
            (
                "resourceVersion",
                &only_if.resource_version,
                meta("resourceVersion"),
            ),
        ] {
            if wanted
                .as_deref()
                .is_some_and(|wanted| Some(wanted) != found)
            {
                let why = format!(
                    "the {name} in the precondition ({}) does not match the {name} in record ({}). The object might have been deleted and then recreated",
                    wanted.as_deref().unwrap_or_default(),
                    found.unwrap_or_default()
                );
                return Err(target.conflict(&why));
            }
        }
        let written = |object, deleted| Written {
            object,
            created: false,
            deleted,
            warnings: Vec::new(),
        };
        if how.dry_run {
            return Ok(written(object, true));
        }
        let empties = strategy::is_namespace(&target.kind) && self.holds_objects(&target.name);
        if finalizers(&object.value).is_empty() && !empties {
            let object = self.remove(target).ok_or_else(|| target.not_found())?;
            return Ok(written(object, true));
        }
        if is_deleting(&object.value) {
            return Ok(written(object, false));
        }
        let mut new = object.value.clone();
        let meta = metadata(&mut new);
        meta.insert("deletionTimestamp".to_owned(), json!(how.timestamp()));
        meta.insert("deletionGracePeriodSeconds".to_owned(), json!(0));
        if target.kind.generation {
            bump_generation(&mut new);
        }
        if strategy::is_namespace(&target.kind) {
            strategy::set(&mut new, "/status/phase", json!("Terminating"));
        }
        let object = self.commit(target, new, how);
        if empties {
            self.empty_namespace(&target.name, how);
        }
        let deleted = self.store.get(&target.key()).is_none();
        Ok(written(object, deleted))
    }

    fn holds_objects(&self, namespace: &str) -> bool {
        !self.namespaced_keys(namespace).is_empty()
    }

    fn namespaced_keys(&self, namespace: &str) -> Vec<(Arc<Kind>, Key)> {
        let mut keys = Vec::new();
        for kind in self.kinds.iter().filter(|k| k.namespaced) {
            let resource = kind.storage();
            let objects = self.store.range(&resource, namespace, None);
            keys.extend(objects.map(|(key, _)| (kind.clone(), key.clone())));
        }
        keys
    }

    fn empty_namespace(&mut self, namespace: &str, how: &Writing) {
        for (kind, key) in self.namespaced_keys(namespace) {
            let target = Target {
                kind,
                namespace: key.namespace,
                name: key.name,
            };
            // Shared storage lists an event twice; what is gone already is what we want.
            if let Err(refusal) = self.delete(&target, &Preconditions::default(), how) {
                tracing::debug!(%refusal, "already gone with its namespace");
            }
        }
    }

    /// Removes an object for good, with all that hangs on it.
    pub(super) fn remove(&mut self, target: &Target) -> Option<Arc<Object>> {
        let object = self.store.remove(&target.key())?;
        if *target.key().resource == *"services" {
            self.held.free(&object.value);
        }
        if strategy::is_definition(&target.kind) {
            self.forget_kind(&object.value);
        }
        self.finish_namespace(&target.namespace);
        Some(object)
    }

    fn forget_kind(&mut self, definition: &Value) {
        let text = |pointer| {
            definition
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
        if let Some(kind) = self.kinds.any_version(group, plural) {
            let keys: Vec<Key> = self
                .store
                .range(&kind.storage(), "", None)
                .map(|(k, _)| k.clone())
                .collect();
            for key in keys {
                self.store.remove(&key);
            }
        }
        self.kinds.remove(group, plural);
    }

    /// A namespace that is going away is gone when its last object is.
    fn finish_namespace(&mut self, namespace: &str) {
        let key = Key {
            resource: "namespaces".into(),
            namespace: String::new(),
            name: namespace.to_owned(),
        };
        let leaving = |n: &Arc<Object>| is_deleting(&n.value) && finalizers(&n.value).is_empty();
        if self.store.get(&key).is_some_and(leaving) && !self.holds_objects(namespace) {
            self.store.remove(&key);
        }
    }
}
