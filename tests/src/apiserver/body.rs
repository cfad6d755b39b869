//! What a request's body must be before it means anything: of the right type, about the right object, in the form in
//! which objects are stored.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::cluster::Target;
use super::custom;
use super::error::Refusal;
use super::kind::Kind;
use super::strategy;

const STALE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// The metadata of an object, made if it is missing.
pub(super) fn metadata(body: &mut Value) -> &mut Map<String, Value> {
    strategy::object_at(body, "metadata")
}

/// The body is an object of this kind and version.
pub(super) fn check_type(kind: &Kind, body: &Value) -> Result<(), Refusal> {
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
    if !body.is_object() {
        return Err(Refusal::BadRequest("the body is not an object".to_owned()));
    }
    if text("kind") != kind.kind || text("apiVersion") != kind.api_version() {
        let why = format!(
            "the object provided is unrecognized (must be {}, Kind={}): got apiVersion={:?}, kind={:?}",
            kind.api_version(),
            kind.kind,
            text("apiVersion"),
            text("kind"),
        );
        return Err(Refusal::BadRequest(why));
    }
    Ok(())
}

/// Name, uid and resourceVersion of a change are those of the object, where they are given.
pub(super) fn check_identity(
    target: &Target,
    old: &Value,
    body: &mut Value,
) -> Result<(), Refusal> {
    let meta = metadata(body);
    let given = |field: &str| {
        meta.get(field)
            .and_then(Value::as_str)
            .filter(|v| !v.is_empty())
    };
    let have = |field: &str| old.get("metadata").and_then(|m| m.get(field)?.as_str());
    if let Some(name) = given("name").filter(|name| *name != target.name) {
        let url = &target.name;
        let why =
            format!("the name of the object ({name}) does not match the name on the URL ({url})");
        return Err(Refusal::BadRequest(why));
    }
    if let Some(uid) = given("uid").filter(|uid| Some(*uid) != have("uid")) {
        let have = have("uid").unwrap_or_default();
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {have}");
        return Err(target.conflict(&why));
    }
    if given("resourceVersion").is_some_and(|rv| Some(rv) != have("resourceVersion")) {
        return Err(target.conflict(STALE));
    }
    Ok(())
}

/// The form in which an object is stored: typed or pruned, with defaults; and a warning for each field that is unknown.
pub(super) fn form(
    kind: &Kind,
    mut body: Value,
    strict: bool,
) -> Result<(Value, Vec<String>), Refusal> {
    let unreadable = |why: &str| {
        let why = format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            kind.kind, kind.version, kind.kind
        );
        Refusal::BadRequest(why)
    };
    let (formed, dropped) = if let Some(custom) = &kind.custom {
        let mut dropped = typed_metadata(&mut body).map_err(|e| unreadable(&e.to_string()))?;
        dropped.extend(custom::conform(kind, custom, &mut body));
        (body, dropped)
    } else {
        let formed = kind
            .through_type(body.clone())
            .map_err(|e| unreadable(&e.to_string()))?;
        let dropped = lost(&body, &formed, "");
        (formed, dropped)
    };
    let unknown: Vec<String> = dropped
        .iter()
        .map(|path| format!("unknown field {path:?}"))
        .collect();
    if strict && !unknown.is_empty() {
        return Err(unreadable(&format!(
            "strict decoding error: {}",
            unknown.join(", ")
        )));
    }
    Ok((formed, unknown))
}

fn typed_metadata(body: &mut Value) -> Result<Vec<String>, serde_json::Error> {
    let meta = Value::Object(std::mem::take(metadata(body)));
    let typed = serde_json::to_value(serde_json::from_value::<ObjectMeta>(meta.clone())?)?;
    let dropped = lost(&meta, &typed, "metadata");
    if let Value::Object(typed) = typed {
        *metadata(body) = typed;
    }
    Ok(dropped)
}

/// Paths of `before` that `after` does not have.
fn lost(before: &Value, after: &Value, path: &str) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .filter(|(_, value)| !is_nothing(value))
            .flat_map(|(field, value)| {
                let path = if path.is_empty() {
                    field.clone()
                } else {
                    format!("{path}.{field}")
                };
                match after.get(field) {
                    Some(kept) => lost(value, kept, &path),
                    None => vec![path],
                }
            })
            .collect(),
        (Value::Array(before), Value::Array(after)) => before
            .iter()
            .zip(after)
            .enumerate()
            .flat_map(|(i, (before, after))| lost(before, after, &format!("{path}[{i}]")))
            .collect(),
        _ => Vec::new(),
    }
}

/// What a typed object may leave out without losing anything.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
