//! Events have two faces: core/v1 and events.k8s.io/v1. They are stored in the core form, as in a real server.

use serde_json::{Map, Value};

use super::kind::Kind;

/// (core/v1, events.k8s.io/v1); fields not listed have one name.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}

/// An object as its store keeps it.
pub(super) fn to_stored(kind: &Kind, value: &mut Value) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    if kind.group == "events.k8s.io" {
        object.insert("apiVersion".to_owned(), Value::from("v1"));
        for (core, new) in NAMES {
            rename(object, new, core);
        }
    }
}

/// Whether stored objects can be shown as they are.
#[must_use]
pub(super) fn shown_as_stored(kind: &Kind, value: &Value) -> bool {
    value.get("apiVersion").and_then(Value::as_str) == Some(kind.api_version().as_str())
}

/// A stored object as `kind` shows it.
#[must_use]
pub(super) fn shown(kind: &Kind, value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".to_owned(), Value::from(kind.api_version()));
        if kind.group == "events.k8s.io" {
            for (core, new) in NAMES {
                rename(object, core, new);
            }
        }
    }
    value
}
