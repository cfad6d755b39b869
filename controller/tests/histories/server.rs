//! The API server: objects, one version counter, and the log that every watch and list is answered from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use portolan_api::ObjectKey;
use portolan_api::crd::{IPAddressPool, SpeakerConfig};
use portolan_api::view::{Namespace, Node, NodeReport, Service};
use portolan_controller::model::Event;
use portolan_controller::write::{Body, Failure, Target, Write};
use portolan_daemon::watch::Change;
use serde_json::Value;

/// Kinds that change during a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Service,
    Pool,
    Namespace,
    Node,
    Config,
    Report,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Service,
        Self::Pool,
        Self::Namespace,
        Self::Node,
        Self::Config,
        Self::Report,
    ];
}

/// An object of any of these kinds.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    Service(Service),
    Pool(IPAddressPool),
    Namespace(Namespace),
    Node(Node),
    Config(SpeakerConfig),
    Report(NodeReport),
}

impl Object {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Pool(_) => Kind::Pool,
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Config(_) => Kind::Config,
            Self::Report(_) => Kind::Report,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Service(object) => &mut object.metadata,
            Self::Pool(object) => &mut object.metadata,
            Self::Namespace(object) => &mut object.metadata,
            Self::Node(object) => &mut object.metadata,
            Self::Config(object) => &mut object.metadata,
            Self::Report(object) => &mut object.metadata,
        }
    }

    pub(crate) fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Service(object) => &object.metadata,
            Self::Pool(object) => &object.metadata,
            Self::Namespace(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Config(object) => &object.metadata,
            Self::Report(object) => &object.metadata,
        }
    }

    fn key(&self) -> ObjectKey {
        let meta = self.meta();
        ObjectKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// What a watch says of the object as it is.
    pub(crate) fn event(self) -> Event {
        match self {
            Self::Service(object) => Event::Service(Change::Apply(object)),
            Self::Pool(object) => Event::Pool(Change::Apply(object)),
            Self::Namespace(object) => Event::Namespace(Change::Apply(object)),
            Self::Node(object) => Event::Node(Change::Apply(object)),
            Self::Config(object) => Event::Config(Change::Apply(object)),
            Self::Report(object) => Event::Report(Change::Apply(object)),
        }
    }
}

/// What a watch says when an object is gone.
pub(crate) fn gone(kind: Kind, key: &ObjectKey) -> Event {
    let key = (key.namespace.clone(), key.name.clone());
    match kind {
        Kind::Service => Event::Service(Change::Delete(key)),
        Kind::Pool => Event::Pool(Change::Delete(key)),
        Kind::Namespace => Event::Namespace(Change::Delete(key)),
        Kind::Node => Event::Node(Change::Delete(key)),
        Kind::Config => Event::Config(Change::Delete(key)),
        Kind::Report => Event::Report(Change::Delete(key)),
    }
}

/// What a watch says when it has listed everything.
pub(crate) fn synced(kind: Kind) -> Event {
    match kind {
        Kind::Service => Event::Service(Change::Synced),
        Kind::Pool => Event::Pool(Change::Synced),
        Kind::Namespace => Event::Namespace(Change::Synced),
        Kind::Node => Event::Node(Change::Synced),
        Kind::Config => Event::Config(Change::Synced),
        Kind::Report => Event::Report(Change::Synced),
    }
}

/// Who changed an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    User,
    Controller,
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) author: Author,
    pub(crate) at: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) key: ObjectKey,
    /// `None`: deleted.
    pub(crate) object: Option<Object>,
}

/// All objects of one moment.
pub(crate) type State = BTreeMap<(Kind, ObjectKey), Object>;

/// See the module.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) state: State,
    pub(crate) log: Vec<Entry>,
    version: u64,
}

impl Server {
    /// Version of the last change.
    pub(crate) fn head(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, kind: Kind, key: &ObjectKey) -> Option<&Object> {
        self.state.get(&(kind, key.clone()))
    }

    /// Creates or replaces. A new object gets a UID and its time.
    pub(crate) fn put(&mut self, mut object: Object, author: Author, wall: Timestamp) {
        self.version += 1;
        let version = self.version;
        let (kind, key) = (object.kind(), object.key());
        let is_new = self.get(kind, &key).is_none();
        let meta = object.meta_mut();
        meta.resource_version = Some(version.to_string());
        if is_new {
            meta.uid = Some(format!("uid-{version}"));
            // The API server writes whole seconds.
            meta.creation_timestamp = Timestamp::from_second(wall.as_second()).ok().map(Time);
        }
        self.state.insert((kind, key.clone()), object.clone());
        let object = Some(object);
        self.log.push(Entry {
            version,
            author,
            at: wall,
            kind,
            key,
            object,
        });
    }

    pub(crate) fn delete(
        &mut self,
        kind: Kind,
        key: &ObjectKey,
        wall: Timestamp,
    ) -> Option<Object> {
        let object = self.state.remove(&(kind, key.clone()))?;
        self.version += 1;
        self.log.push(Entry {
            version: self.version,
            author: Author::User,
            at: wall,
            kind,
            key: key.clone(),
            object: None,
        });
        Some(object)
    }

    /// All objects as they were at a version.
    pub(crate) fn at(&self, version: u64) -> State {
        let mut state = State::new();
        for entry in self.log.iter().take_while(|entry| entry.version <= version) {
            let key = (entry.kind, entry.key.clone());
            match &entry.object {
                Some(object) => drop(state.insert(key, object.clone())),
                None => drop(state.remove(&key)),
            }
        }
        state
    }

    /// A controller's write.
    pub(crate) fn write(&mut self, write: &Write, wall: Timestamp) -> Result<Event, Failure> {
        let (kind, key) = place(&write.target);
        let held = self.get(kind, &key).cloned();
        let object = match (&write.body, held) {
            (Body::Config(config), held) => {
                let held = held.map(|held| held.meta().clone()).unwrap_or_default();
                if held.resource_version != config.metadata.resource_version {
                    return Err(Failure::Conflict);
                }
                let mut config = (**config).clone();
                config.metadata.uid = held.uid;
                Object::Config(config)
            }
            (Body::Status(_), None) => return Err(Failure::Gone),
            (Body::Status(patch), Some(Object::Service(held))) => {
                Object::Service(patched(&held, patch)?)
            }
            (Body::Status(patch), Some(Object::Pool(held))) => Object::Pool(patched(&held, patch)?),
            (Body::Status(_), Some(_)) => panic!("nobody writes a status there: {write:?}"),
        };
        self.put(object, Author::Controller, wall);
        Ok(self.state[&(kind, key)].clone().event())
    }
}

/// Where a write goes.
pub(crate) fn place(target: &Target) -> (Kind, ObjectKey) {
    match target {
        Target::Service(key) => (Kind::Service, key.clone()),
        Target::Object(portolan_api::compile::Kind::Pool, name) => {
            (Kind::Pool, ObjectKey::new("", name))
        }
        Target::Object(kind, name) => panic!("there is no {kind:?} {name}"),
        Target::Config => (
            Kind::Config,
            ObjectKey::new("", portolan_api::SPEAKER_CONFIG),
        ),
    }
}

/// A merge patch that must name the version that it was made for.
fn patched<K>(held: &K, patch: &Value) -> Result<K, Failure>
where
    K: serde::Serialize + serde::de::DeserializeOwned,
{
    let mut json = serde_json::to_value(held).unwrap();
    let version = &patch["metadata"]["resourceVersion"];
    assert!(version.is_string(), "a write without a version: {patch}");
    if json["metadata"]["resourceVersion"] != *version {
        return Err(Failure::Conflict);
    }
    merge(&mut json, patch);
    Ok(serde_json::from_value(json).expect("a patch that fits the schema"))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
