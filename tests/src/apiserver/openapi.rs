//! OpenAPI v3: enough for `kubectl explain`, and for kubectl to leave validation to the server.
//!
//! Custom resources show the schema of their definition with all its descriptions; built-in kinds show the outline in
//! `builtin.yaml`. Paths say only what kubectl looks for: the kind, and that PATCH takes `fieldValidation`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::kind::{Kind, Kinds, OBJECT_META};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn root_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// `/openapi/v2`, which kubectl before 1.28 cannot do without, but only reads as protobuf: a document that describes
/// nothing (swagger 2.0, empty info, empty paths), so that validation is left to the server.
pub(super) const NOTHING_V2: &[u8] = b"\x0a\x032.0\x12\x00\x42\x00";

/// The content type of [`NOTHING_V2`].
pub(super) const V2_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/v3`. The revision in each address changes when a definition does, since clients cache by it.
#[must_use]
pub(super) fn index(kinds: &Kinds, revision: u64) -> Value {
    let roots: BTreeSet<String> = kinds
        .iter()
        .map(|k| root_of(&k.group, &k.version))
        .collect();
    let paths: Map<String, Value> = roots
        .into_iter()
        .map(|root| {
            let url = format!("/openapi/v3/{root}?hash={revision:016X}");
            (root, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/apis/GROUP/VERSION`.
#[must_use]
pub(super) fn document(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<_> = kinds
        .iter()
        .filter(|k| k.group == group && k.version == version)
        .collect();
    if kinds.is_empty() {
        return None;
    }
    let mut schemas = Map::new();
    schemas.insert(META.to_owned(), OBJECT_META.clone());
    let mut paths = Map::new();
    for kind in kinds {
        schemas.insert(schema_name(kind), schema(kind));
        paths.extend(operations(kind));
    }
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Portolan in-memory API server", "version": "v1.33.0"},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

fn schema_name(kind: &Kind) -> String {
    let group = if kind.group.is_empty() {
        "core"
    } else {
        &kind.group
    };
    let reversed: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn schema(kind: &Kind) -> Value {
    let mut schema = kind.schema.clone();
    if let Some(map) = schema.as_object_mut() {
        map.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!([gvk(kind)]),
        );
    }
    if let Some(metadata) = schema.pointer_mut("/properties/metadata") {
        *metadata = json!({
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": format!("#/components/schemas/{META}")}], "default": {},
        });
    }
    schema
}

fn operations(kind: &Kind) -> Vec<(String, Value)> {
    let scope = if kind.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!(
        "/{}{scope}/{}",
        root_of(&kind.group, &kind.version),
        kind.plural
    );
    let shown = json!({"200": {"description": "OK", "content": {"application/json": {
        "schema": {"$ref": format!("#/components/schemas/{}", schema_name(kind))}}}}});
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters = json!([
        query("dryRun"),
        query("fieldManager"),
        query("fieldValidation"),
        query("force")
    ]);
    let operation = |action: &str| {
        json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(kind),
            "parameters": parameters, "responses": shown,
        })
    };
    let mut patch = operation("patch");
    let any = json!({"schema": {"type": "object"}});
    if let Some(patch) = patch.as_object_mut() {
        patch.insert("requestBody".to_owned(), json!({"content": {
            "application/apply-patch+yaml": any, "application/json-patch+json": any, "application/merge-patch+json": any,
        }}));
    }
    vec![
        (
            collection.clone(),
            json!({"get": operation("list"), "post": operation("post")}),
        ),
        (
            format!("{collection}/{{name}}"),
            json!({"get": operation("get"), "put": operation("put"), "patch": patch, "delete": operation("delete")}),
        ),
    ]
}
