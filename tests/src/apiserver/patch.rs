//! Patches that do not need owners: JSON patch (RFC 6902), merge patch (RFC 7396), strategic merge patch.
//!
//! Strategic merge is the part of upstream's that kubectl sends: merge keys from the schema, `$patch: delete|replace`,
//! `$retainKeys`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…` (ignored, order is not promised).

use serde_json::{Map, Value};

use super::error::Refusal;
use super::schema::property;

/// Applies a JSON patch.
pub(super) fn json(object: &Value, patch: Value) -> Result<Value, Refusal> {
    let patch: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|e| Refusal::BadRequest(format!("error decoding patch: {e}")))?;
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).map_err(|e| {
        let why = format!("the server rejected our request due to an error in our request: {e}");
        Refusal::Unprocessable(why)
    })?;
    Ok(object)
}

/// Applies a merge patch.
#[must_use]
pub(super) fn merge(object: &Value, patch: &Value) -> Value {
    let mut object = object.clone();
    json_patch::merge(&mut object, patch);
    object
}

/// Applies a strategic merge patch.
#[must_use]
pub(super) fn strategic(object: &Value, patch: &Value, schema: &Value) -> Value {
    strategic_at(Some(object), patch, Some(schema)).unwrap_or_default()
}

/// The patched value, or none when the patch deletes it.
fn strategic_at(live: Option<&Value>, patch: &Value, schema: Option<&Value>) -> Option<Value> {
    match patch {
        Value::Null => None,
        Value::Object(patch) => strategic_map(live, patch, schema),
        Value::Array(items) => Some(Value::Array(match merge_key(schema) {
            Some(key) => strategic_list(live, items, key, schema),
            None => items.clone(),
        })),
        scalar => Some(scalar.clone()),
    }
}

fn merge_key(schema: Option<&Value>) -> Option<&str> {
    schema?.get("x-kubernetes-patch-merge-key")?.as_str()
}

fn strategic_map(
    live: Option<&Value>,
    patch: &Map<String, Value>,
    schema: Option<&Value>,
) -> Option<Value> {
    let mut map = live.and_then(Value::as_object).cloned().unwrap_or_default();
    match patch.get("$patch").and_then(Value::as_str) {
        Some("delete") => return None,
        Some("replace") => map.clear(),
        _ => {}
    }
    if let Some(Value::Array(keep)) = patch.get("$retainKeys") {
        map.retain(|field, _| keep.iter().any(|k| k == field));
    }
    for (field, value) in patch {
        if let Some(list) = field.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (map.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
        } else if !field.starts_with('$') {
            let below = schema.and_then(|s| property(s, field));
            match strategic_at(map.get(field), value, below) {
                Some(value) => map.insert(field.clone(), value),
                None => map.remove(field),
            };
        }
    }
    Some(Value::Object(map))
}

fn strategic_list(
    live: Option<&Value>,
    patch: &[Value],
    key: &str,
    schema: Option<&Value>,
) -> Vec<Value> {
    let mut items = live.and_then(Value::as_array).cloned().unwrap_or_default();
    if patch
        .iter()
        .any(|p| p.get("$patch").is_some_and(|d| d == "replace"))
    {
        items.clear();
    }
    let below = schema.and_then(|s| s.get("items"));
    for value in patch
        .iter()
        .filter(|p| p.get("$patch").is_none_or(|d| d != "replace"))
    {
        // An empty key marks a list of scalars, merged as a set.
        let same = |item: &Value| {
            if key.is_empty() {
                item == value
            } else {
                item.get(key).is_some() && item.get(key) == value.get(key)
            }
        };
        let at = items.iter().position(same);
        let live = at.and_then(|at| items.get(at)).cloned();
        match (at, strategic_at(live.as_ref(), value, below)) {
            (Some(at), Some(new)) => {
                if let Some(item) = items.get_mut(at) {
                    *item = new;
                }
            }
            (Some(at), None) => {
                items.remove(at);
            }
            (None, Some(new)) => items.push(new),
            (None, None) => {}
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strategic_merge_follows_keys_and_directives() {
        let schema = json!({"properties": {
            "ports": {"x-kubernetes-patch-merge-key": "port", "items": {}},
            "finalizers": {"x-kubernetes-patch-merge-key": "", "items": {}},
        }});
        let live = json!({"a": 1, "ports": [{"port": 1, "n": "x"}, {"port": 2}], "finalizers": ["p"], "list": [1]});
        for (patch, want) in [
            (
                json!({"a": null, "b": {"c": 2}}),
                json!({"b": {"c": 2}, "ports": live["ports"], "finalizers": ["p"], "list": [1]}),
            ),
            (
                json!({"ports": [{"port": 1, "n": "y"}, {"port": 3}]}),
                json!({"a": 1, "ports": [{"port": 1, "n": "y"}, {"port": 2}, {"port": 3}], "finalizers": ["p"], "list": [1]}),
            ),
            (
                json!({"ports": [{"port": 2, "$patch": "delete"}], "$setElementOrder/ports": [{"port": 1}]}),
                json!({"a": 1, "ports": [{"port": 1, "n": "x"}], "finalizers": ["p"], "list": [1]}),
            ),
            (
                json!({"finalizers": ["q"], "list": [2]}),
                json!({"a": 1, "ports": live["ports"], "finalizers": ["p", "q"], "list": [2]}),
            ),
            (
                json!({"$deleteFromPrimitiveList/finalizers": ["p"]}),
                json!({"a": 1, "ports": live["ports"], "finalizers": [], "list": [1]}),
            ),
            (json!({"$patch": "replace", "z": 1}), json!({"z": 1})),
        ] {
            assert_eq!(strategic(&live, &patch, &schema), want, "{patch}");
        }
    }

    #[test]
    fn a_json_patch_whose_test_fails_is_invalid() {
        let refused = json(
            &json!({"a": 1}),
            json!([{"op": "test", "path": "/a", "value": 2}]),
        )
        .unwrap_err();
        assert_eq!(refused.code(), 422);
    }
}
