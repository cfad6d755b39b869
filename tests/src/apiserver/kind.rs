//! The kinds this server serves: a dozen built in, the rest from CustomResourceDefinitions.
//!
//! A kind is what one (group, version, resource) means: its names, its schema (for merging, validation and documents),
//! its printer columns. Versions of one resource share a storage name; an object is stored as it was written and read
//! with the version asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_cel::CompiledSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::Subject;
use super::schema::Patterns;

/// One served (group, version, resource).
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, as discovery lists them"
)]
#[expect(clippy::struct_field_names, reason = "the API calls it kind")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kind {
    /// API group, empty for core.
    #[serde(default)]
    pub group: String,
    /// Version.
    pub version: String,
    /// Resource name in paths.
    pub plural: String,
    /// Singular name that kubectl accepts.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Short names that kubectl accepts.
    #[serde(default)]
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    #[serde(default)]
    pub categories: Vec<String>,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// There is a /status subresource.
    #[serde(default)]
    pub status: bool,
    /// metadata.generation counts changes of the spec.
    #[serde(default)]
    pub generation: bool,
    /// PUT without resourceVersion overwrites, as most built-in kinds allow.
    #[serde(default = "yes")]
    pub unconditional_update: bool,
    /// PUT of a name that is not there creates it, as a few built-in kinds allow.
    #[serde(default)]
    pub create_on_update: bool,
    /// DELETE answers with the object rather than with a Status.
    #[serde(default)]
    pub shows_deleted: bool,
    /// Fields that field selectors know.
    #[serde(default)]
    pub selectable: Vec<String>,
    /// Storage name when it is not `plural.group`.
    #[serde(default)]
    storage: Option<String>,
    /// OpenAPI v3 schema, metadata included.
    pub schema: Value,
    /// What a custom resource adds.
    #[serde(skip)]
    pub custom: Option<Custom>,
}

/// The parts of a kind that only custom resources have.
#[derive(Debug)]
pub(super) struct Custom {
    /// Schema as the definition wrote it.
    pub schema: Value,
    /// Its regular expressions, compiled.
    pub patterns: Patterns,
    /// Its CEL rules, compiled.
    pub rules: CompiledSchema,
    /// Printer columns.
    pub columns: Vec<Column>,
}

/// An additional printer column of a custom resource.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Column {
    /// Header.
    pub name: String,
    /// OpenAPI type, or `date`.
    #[serde(rename = "type")]
    pub type_: String,
    /// JSONPath, relative to the object.
    pub json_path: String,
    /// Shown by clients that show descriptions.
    #[serde(default)]
    pub description: String,
    /// Zero is always shown, more only by `-o wide`.
    #[serde(default)]
    pub priority: i32,
    /// OpenAPI format.
    #[serde(default)]
    pub format: String,
}

fn yes() -> bool {
    true
}

impl Kind {
    /// A kind of a custom resource, from the names in its definition.
    pub(super) fn custom(names: Value, custom: Custom) -> Result<Self, serde_json::Error> {
        let mut kind: Self = serde_json::from_value(names)?;
        kind.custom = Some(custom);
        kind.complete_schema();
        Ok(kind)
    }

    fn complete_schema(&mut self) {
        let Some(schema) = self.schema.as_object_mut() else {
            return;
        };
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("metadata".to_owned(), OBJECT_META.clone());
            for (name, says) in [("apiVersion", API_VERSION), ("kind", KIND)] {
                properties.insert(
                    name.to_owned(),
                    json!({"type": "string", "description": says}),
                );
            }
        }
    }

    /// `group/version`, or `v1` for core.
    #[must_use]
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Name under which objects of all its versions are stored.
    #[must_use]
    pub(super) fn storage(&self) -> Arc<str> {
        match &self.storage {
            Some(storage) => storage.as_str().into(),
            None if self.group.is_empty() => self.plural.as_str().into(),
            None => format!("{}.{}", self.plural, self.group).into(),
        }
    }

    /// The object of this kind called `name`, for refusals.
    #[must_use]
    pub(super) fn subject(&self, name: &str) -> Subject {
        Subject {
            group: self.group.clone(),
            plural: self.plural.clone(),
            kind: self.kind.clone(),
            name: name.to_owned(),
        }
    }

    /// Reads an object as the Rust type of a built-in kind and writes it back: wrong types are an error, unknown
    /// fields are gone.
    pub(super) fn through_type(&self, value: Value) -> Result<Value, serde_json::Error> {
        match (self.group.as_str(), self.plural.as_str()) {
            ("", "namespaces") => through::<Namespace>(value),
            ("", "nodes") => through::<Node>(value),
            ("", "services") => through::<Service>(value),
            ("", "pods") => through::<Pod>(value),
            ("", "secrets") => through::<Secret>(value),
            ("", "configmaps") => through::<ConfigMap>(value),
            ("", "endpoints") => through::<Endpoints>(value),
            // Events of both groups are stored, and so checked, in their core form.
            (_, "events") => through::<Event>(value),
            (_, "endpointslices") => through::<EndpointSlice>(value),
            (_, "leases") => through::<Lease>(value),
            (_, "servicecidrs") => through::<ServiceCIDR>(value),
            (_, "customresourcedefinitions") => through::<CustomResourceDefinition>(value),
            _ => Ok(value),
        }
    }
}

fn through<T: Serialize + DeserializeOwned>(value: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}

/// Every kind served at the moment.
#[derive(Debug)]
pub(super) struct Kinds {
    by_path: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl Kinds {
    /// The built-in kinds.
    pub(super) fn builtin() -> Result<Self, serde_yaml::Error> {
        let kinds: Vec<Kind> = serde_yaml::from_str(include_str!("builtin.yaml"))?;
        let mut all = Self {
            by_path: BTreeMap::new(),
        };
        for mut kind in kinds {
            kind.complete_schema();
            all.insert(kind);
        }
        Ok(all)
    }

    /// Serves a kind from now on.
    pub(super) fn insert(&mut self, kind: Kind) {
        let path = (
            kind.group.clone(),
            kind.version.clone(),
            kind.plural.clone(),
        );
        self.by_path.insert(path, Arc::new(kind));
    }

    /// Stops serving a resource, all versions.
    pub(super) fn remove(&mut self, group: &str, plural: &str) {
        self.by_path
            .retain(|(g, _, p), _| !(g == group && p == plural));
    }

    /// The kind at `/apis/GROUP/VERSION/PLURAL`.
    #[must_use]
    pub(super) fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.by_path
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
            .cloned()
    }

    /// Some version of a resource.
    #[must_use]
    pub(super) fn any_version(&self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        self.iter()
            .find(|k| k.group == group && k.plural == plural)
            .cloned()
    }

    /// All kinds, by group, version and resource.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_path.values()
    }
}

const API_VERSION: &str =
    "APIVersion defines the versioned schema of this representation of an object.";
const KIND: &str = "Kind is a string value representing the REST resource this object represents.";

/// The schema of metadata: how its lists and maps merge, and what `kubectl explain` says.
pub(super) static OBJECT_META: LazyLock<Value> = LazyLock::new(|| {
    let text = |says: &str| json!({"type": "string", "description": says});
    let map = |says: &str| json!({"type": "object", "description": says, "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "description": "Standard object's metadata.",
        "properties": {
            "name": text("Name, unique within a namespace."),
            "generateName": text("Prefix of a name that the server completes."),
            "namespace": text("Namespace."),
            "uid": text("Unique in time and space. Read-only."),
            "resourceVersion": text("Internal version of the object. Read-only."),
            "creationTimestamp": text("When the object was created. Read-only."),
            "deletionTimestamp": text("When deletion was asked for. Read-only."),
            "deletionGracePeriodSeconds": {"type": "integer"},
            "generation": {"type": "integer", "description": "Counts changes of the desired state. Read-only."},
            "labels": map("Map of keys and values to organise and select objects."),
            "annotations": map("Unstructured map that tools store metadata in."),
            "finalizers": {
                "type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set",
                "x-kubernetes-patch-merge-key": "",
                "description": "Must be empty before the object is deleted.",
            },
            "ownerReferences": {
                "type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"], "x-kubernetes-patch-merge-key": "uid",
                "description": "Objects this object depends on.",
            },
            "managedFields": {
                "type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "atomic",
                "description": "Which manager owns which fields.",
            },
        },
    })
});
