//! The state of the server and its write path, as one value.
//!
//! ```text
//! body ─► identity ─► form ─► strategy ─► validate ─► ownership ─► unchanged? ─► store
//!         name, uid   types,  what only   schema,     managed-     then no new
//!         revision    prune,  the server  CEL,        Fields       revision
//!                     default decides     references
//! ```
//!
//! Everything here is a function of the state, the request and `now`. What only a controller does is not done: there are no
//! endpoints, no garbage collection by owner, no tokens. Deleting a namespace is the exception: its content goes with it.

use std::sync::Arc;

use jiff::Timestamp;
use kube_cel::Validator;
use serde_json::{Map, Value, json};

use super::address::Held;
use super::body::metadata;
use super::error::{Cause, Refusal};
use super::kind::{Kind, Kinds};
use super::ownership::{self, Manager};
use super::store::{Key, Object, Store};
use super::strategy;
use super::uid::Uids;
use super::{body, custom, events, patch};

/// See the module.
pub(super) struct Cluster {
    /// Objects and their history.
    pub store: Store,
    /// What is served.
    pub kinds: Kinds,
    /// ClusterIPs and node ports that are taken.
    pub held: Held,
    validator: Validator,
    uids: Uids,
}

/// Which object a request is about.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its kind.
    pub kind: Arc<Kind>,
    /// Its namespace, or empty.
    pub namespace: String,
    /// Its name; empty for a create.
    pub name: String,
}

impl Target {
    /// Where it is stored.
    #[must_use]
    pub(super) fn key(&self) -> Key {
        Key {
            resource: self.kind.storage(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// There is none.
    pub(super) fn not_found(&self) -> Refusal {
        Refusal::NotFound(self.kind.subject(&self.name))
    }

    /// The object lost a race.
    #[must_use]
    pub(super) fn conflict(&self, why: &str) -> Refusal {
        Refusal::Conflict {
            subject: self.kind.subject(&self.name),
            why: why.to_owned(),
        }
    }

    /// The object is not valid.
    #[must_use]
    pub(super) fn invalid(&self, causes: Vec<Cause>) -> Refusal {
        Refusal::Invalid {
            subject: self.kind.subject(&self.name),
            causes,
        }
    }
}

/// How a write is to be done.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    /// By whom.
    pub manager: Manager,
    /// When.
    pub now: Timestamp,
    /// Everything but the write itself.
    pub dry_run: bool,
    /// Unknown fields are refused, rather than dropped with a warning.
    pub strict: bool,
}

impl Writing {
    /// `now` as metadata shows it.
    #[must_use]
    pub(super) fn timestamp(&self) -> String {
        self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// What a write did.
#[derive(Debug)]
pub(super) struct Written {
    /// The object as it is now.
    pub object: Arc<Object>,
    /// It was created.
    pub created: bool,
    /// It is gone.
    pub deleted: bool,
    /// For the user.
    pub warnings: Vec<String>,
}

/// The ways to change an object by PATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchKind {
    /// application/json-patch+json
    Json,
    /// application/merge-patch+json
    Merge,
    /// application/strategic-merge-patch+json
    Strategic,
    /// application/apply-patch+yaml
    Apply {
        /// Take fields that others own.
        force: bool,
    },
}

/// What must hold for a delete, and who says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Preconditions {
    /// The object's uid.
    pub uid: Option<String>,
    /// The object's resourceVersion.
    pub resource_version: Option<String>,
}

impl Cluster {
    /// A server without objects that remembers `history` changes.
    pub(super) fn new(history: usize) -> anyhow::Result<Self> {
        Ok(Self {
            store: Store::new(history),
            kinds: Kinds::builtin()?,
            held: Held::default(),
            validator: Validator::new(),
            uids: Uids::default(),
        })
    }

    /// The object a request is about.
    pub(super) fn get(&self, target: &Target) -> Result<&Arc<Object>, Refusal> {
        self.store
            .get(&target.key())
            .ok_or_else(|| target.not_found())
    }

    /// Creates an object.
    pub(super) fn create(
        &mut self,
        target: &Target,
        mut body: Value,
        how: &Writing,
    ) -> Result<Written, Refusal> {
        let mut target = target.clone();
        body::check_type(&target.kind, &body)?;
        events::to_stored(&target.kind, &mut body);
        target.name = self.name_of(&target, &mut body)?;
        self.check_namespace(&target)?;
        if self.store.get(&target.key()).is_some() {
            return Err(Refusal::AlreadyExists(target.kind.subject(&target.name)));
        }
        let meta = metadata(&mut body);
        if meta
            .get("resourceVersion")
            .is_some_and(|v| v.as_str().is_some_and(|v| !v.is_empty()))
        {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::BadRequest(why.to_owned()));
        }
        for field in [
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
            "generation",
        ] {
            meta.remove(field);
        }
        meta.insert("uid".to_owned(), json!(self.uids.next()));
        meta.insert("creationTimestamp".to_owned(), json!(how.timestamp()));
        if target.kind.generation {
            meta.insert("generation".to_owned(), json!(1));
        }
        if target.kind.custom.is_some() && target.kind.status {
            remove(&mut body, "status");
        }
        let (mut new, warnings) = body::form(&target.kind, body, how.strict)?;
        strategy::admit(self, &target, &mut new, None, how)?;
        self.validate(&target, &new, None)?;
        record(&target.kind, None, &mut new, how);
        let object = self.commit(&target, new, how);
        Ok(Written {
            object,
            created: true,
            deleted: false,
            warnings,
        })
    }

    /// Replaces an object, or its status.
    pub(super) fn update(
        &mut self,
        target: &Target,
        mut body: Value,
        how: &Writing,
    ) -> Result<Written, Refusal> {
        body::check_type(&target.kind, &body)?;
        events::to_stored(&target.kind, &mut body);
        if target.kind.create_on_update && self.store.get(&target.key()).is_none() {
            // Even with a resourceVersion: so does a real server.
            let meta = metadata(&mut body);
            meta.remove("resourceVersion");
            meta.insert("name".to_owned(), json!(target.name));
            return self.create(target, body, how);
        }
        let old = self.get(target)?.clone();
        body::check_identity(target, &old.value, &mut body)?;
        let unversioned = metadata(&mut body)
            .get("resourceVersion")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty);
        if unversioned && !target.kind.unconditional_update {
            let why = "must be specified for an update";
            let cause = Cause::invalid("metadata.resourceVersion", &json!("0x0"), why);
            return Err(target.invalid(vec![cause]));
        }
        self.finish(target, &old, body, how)
    }

    /// Patches an object, or its status.
    pub(super) fn patch(
        &mut self,
        target: &Target,
        patch: Value,
        kind: PatchKind,
        how: &Writing,
    ) -> Result<Written, Refusal> {
        if let PatchKind::Apply { force } = kind {
            return self.apply(target, patch, force, how);
        }
        let old = self.get(target)?.clone();
        let shown = events::shown(&target.kind, &old.value);
        let mut body = match kind {
            PatchKind::Json => patch::json(&shown, patch)?,
            PatchKind::Strategic => patch::strategic(&shown, &patch, &target.kind.schema),
            PatchKind::Merge | PatchKind::Apply { .. } => patch::merge(&shown, &patch),
        };
        body::check_type(&target.kind, &body)?;
        events::to_stored(&target.kind, &mut body);
        body::check_identity(target, &old.value, &mut body)?;
        self.finish(target, &old, body, how)
    }

    fn apply(
        &mut self,
        target: &Target,
        mut config: Value,
        force: bool,
        how: &Writing,
    ) -> Result<Written, Refusal> {
        body::check_type(&target.kind, &config)?;
        events::to_stored(&target.kind, &mut config);
        if metadata(&mut config)
            .get("managedFields")
            .is_some_and(|m| !m.is_null())
        {
            return Err(Refusal::BadRequest(
                "metadata.managedFields must be nil".to_owned(),
            ));
        }
        let name = metadata(&mut config)
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !name.is_empty() && name != target.name {
            let why = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            );
            return Err(Refusal::BadRequest(why));
        }
        let schema = &target.kind.schema;
        let Some(old) = self.store.get(&target.key()).cloned() else {
            if how.manager.status {
                return Err(target.not_found());
            }
            metadata(&mut config).insert("name".to_owned(), json!(target.name));
            let who = how.manager.clone();
            let nothing = json!({"metadata": {}});
            let own = strategy::own_part(&target.kind, false, &config);
            let owned = ownership::apply(&nothing, &own, &who, true, schema, how.now)?;
            let mut written = self.create(
                target,
                config,
                &Writing {
                    dry_run: true,
                    ..how.clone()
                },
            )?;
            let mut new = written.object.value.clone();
            copy_meta(&owned, &mut new, "managedFields");
            written.object = self.commit(target, new, how);
            return Ok(written);
        };
        body::check_identity(target, &old.value, &mut config)?;
        let own = strategy::own_part(&target.kind, how.manager.status, &config);
        let body = ownership::apply(&old.value, &own, &how.manager, force, schema, how.now)?;
        self.finish(target, &old, body, how)
    }

    /// From the body of a change to the stored object: all that update, patch and apply share.
    fn finish(
        &mut self,
        target: &Target,
        old: &Arc<Object>,
        body: Value,
        how: &Writing,
    ) -> Result<Written, Refusal> {
        let status = how.manager.status;
        let body = strategy::take_part(&target.kind, status, body, &old.value);
        let (mut new, warnings) = body::form(&target.kind, body, how.strict)?;
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
            "name",
            "namespace",
        ] {
            copy_meta(&old.value, &mut new, field);
        }
        strategy::admit(self, target, &mut new, Some(&old.value), how)?;
        self.validate(target, &new, Some(&old.value))?;
        if target.kind.generation && strategy::spec_changed(&target.kind, &old.value, &new) {
            bump_generation(&mut new);
        }
        if !how.manager.applies {
            record(&target.kind, Some(&old.value), &mut new, how);
        }
        let unchanged = |object| Written {
            object,
            created: false,
            deleted: false,
            warnings: warnings.clone(),
        };
        if new == old.value {
            return Ok(unchanged(old.clone()));
        }
        if is_deleting(&new) && finalizers(&new).is_empty() && !how.dry_run {
            let object = self.commit(target, new, how);
            self.remove(target);
            return Ok(Written {
                deleted: true,
                ..unchanged(object)
            });
        }
        let object = self.commit(target, new, how);
        Ok(unchanged(object))
    }

    fn validate(&self, target: &Target, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
        match &target.kind.custom {
            Some(custom) => custom::check(&target.kind, custom, &self.validator, new, old),
            None => Ok(()),
        }
    }

    fn name_of(&mut self, target: &Target, body: &mut Value) -> Result<String, Refusal> {
        let meta = metadata(body);
        let text = |meta: &Map<String, Value>, field: &str| {
            meta.get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let namespace = text(meta, "namespace");
        if !namespace.is_empty() && namespace != target.namespace {
            return Err(Refusal::BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request".to_owned(),
            ));
        }
        if target.kind.namespaced {
            meta.insert("namespace".to_owned(), json!(target.namespace));
        }
        let (mut name, prefix) = (text(meta, "name"), text(meta, "generateName"));
        if name.is_empty() && !prefix.is_empty() {
            name = format!("{prefix}{}", self.uids.suffix());
            meta.insert("name".to_owned(), json!(name));
        }
        let named = Target {
            name: name.clone(),
            ..target.clone()
        };
        match strategy::wrong_name(&target.kind, &name) {
            Some(cause) => Err(named.invalid(vec![cause])),
            None => Ok(name),
        }
    }

    fn check_namespace(&self, target: &Target) -> Result<(), Refusal> {
        if !target.kind.namespaced {
            return Ok(());
        }
        let Some(kind) = self.kinds.get("", "v1", "namespaces") else {
            return Ok(());
        };
        let home = Target {
            kind,
            namespace: String::new(),
            name: target.namespace.clone(),
        };
        if is_deleting(&self.get(&home)?.value) {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                target.namespace
            );
            return Err(Refusal::Forbidden {
                subject: target.kind.subject(&target.name),
                why,
            });
        }
        Ok(())
    }

    /// Writes an object, with all that hangs on it.
    pub(super) fn commit(&mut self, target: &Target, value: Value, how: &Writing) -> Arc<Object> {
        if how.dry_run {
            return Object::unstored(value);
        }
        let key = target.key();
        if *key.resource == *"services" {
            if let Some(old) = self.store.get(&key) {
                self.held.free(&old.value);
            }
            self.held.take(&value);
        }
        if strategy::is_definition(&target.kind) {
            // Checked by `custom::complete` before: cannot fail here.
            let kinds = custom::kinds(&value).unwrap_or_default();
            if let Some(kind) = kinds.first() {
                self.kinds.remove(&kind.group, &kind.plural);
            }
            for kind in kinds {
                self.kinds.insert(kind);
            }
        }
        self.store.put(key, value)
    }
}

fn record(kind: &Kind, before: Option<&Value>, after: &mut Value, how: &Writing) {
    let reset = strategy::reset_fields(kind, how.manager.status);
    ownership::record_update(before, after, &how.manager, &kind.schema, reset, how.now);
}

fn remove(body: &mut Value, field: &str) {
    if let Some(body) = body.as_object_mut() {
        body.remove(field);
    }
}

fn copy_meta(from: &Value, to: &mut Value, field: &str) {
    match from.get("metadata").and_then(|m| m.get(field)).cloned() {
        Some(value) => metadata(to).insert(field.to_owned(), value),
        None => metadata(to).remove(field),
    };
}

/// Counts a change of the desired state.
pub(super) fn bump_generation(object: &mut Value) {
    let meta = metadata(object);
    let generation = meta
        .get("generation")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    meta.insert("generation".to_owned(), json!(generation + 1));
}

/// Deletion was asked for.
pub(super) fn is_deleting(object: &Value) -> bool {
    object
        .get("metadata")
        .is_some_and(|m| m.get("deletionTimestamp").is_some_and(|d| !d.is_null()))
}

/// What holds the object.
pub(super) fn finalizers(object: &Value) -> &[Value] {
    let list = object
        .get("metadata")
        .and_then(|m| m.get("finalizers")?.as_array());
    list.map(Vec::as_slice).unwrap_or_default()
}
