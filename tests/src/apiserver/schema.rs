//! Structural schemas of custom resources: prune and default. `validate` checks what remains.
//!
//! Follows apiextensions: unknown fields are dropped (unless preserved), and defaults are filled in where a parent exists.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

/// Deeper than any structural schema in the field; bounds recursion on hostile input.
pub(super) const MAX_DEPTH: usize = 64;

/// The regular expressions of a schema, compiled once.
#[derive(Debug, Default)]
pub(super) struct Patterns(pub(super) HashMap<String, Regex>);

impl Patterns {
    /// Compiles every `pattern` in the schema.
    pub(super) fn compile(schema: &Value) -> Result<Self, regex::Error> {
        let mut patterns = Self::default();
        patterns.collect(schema)?;
        Ok(patterns)
    }

    fn collect(&mut self, schema: &Value) -> Result<(), regex::Error> {
        match schema {
            Value::Object(map) => {
                if let Some(Value::String(pattern)) = map.get("pattern") {
                    self.0.insert(pattern.clone(), Regex::new(pattern)?);
                }
                map.values().try_for_each(|child| self.collect(child))
            }
            Value::Array(items) => items.iter().try_for_each(|child| self.collect(child)),
            _ => Ok(()),
        }
    }
}

/// A boolean keyword, false unless set.
pub(super) fn flag(schema: &Value, name: &str) -> bool {
    schema
        .get(name)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The schema of a field of an object, if the object's schema knows the field.
#[must_use]
pub(super) fn property<'a>(schema: &'a Value, field: &str) -> Option<&'a Value> {
    schema
        .get("properties")
        .and_then(|p| p.get(field))
        .or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()))
}

/// True for fields of the root object that every object has, whatever its schema says.
pub(super) fn universal(path: &str, field: &str) -> bool {
    path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&field)
}

/// The path of a field of the object at `path`.
pub(super) fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// Drops unknown fields and returns their paths.
pub(super) fn prune(value: &mut Value, schema: &Value) -> Vec<String> {
    let mut dropped = Vec::new();
    prune_at(value, schema, "", &mut dropped);
    dropped
}

fn prune_at(value: &mut Value, schema: &Value, path: &str, dropped: &mut Vec<String>) {
    match value {
        Value::Object(map) => prune_object(map, schema, path, dropped),
        Value::Array(items) => {
            let Some(of_item) = schema.get("items") else {
                return;
            };
            for (i, item) in items.iter_mut().enumerate() {
                prune_at(item, of_item, &format!("{path}[{i}]"), dropped);
            }
        }
        _ => {}
    }
}

fn prune_object(
    map: &mut Map<String, Value>,
    schema: &Value,
    path: &str,
    dropped: &mut Vec<String>,
) {
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields")
        || schema
            .get("additionalProperties")
            .and_then(Value::as_bool)
            .unwrap_or_default();
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    map.retain(|field, child| {
        if universal(path, field) || embedded && universal("", field) {
            return true;
        }
        if let Some(of_child) = property(schema, field) {
            prune_at(child, of_child, &join(path, field), dropped);
            return true;
        }
        if !preserve {
            dropped.push(join(path, field));
        }
        preserve
    });
}

/// Fills in defaults, where the object that holds the field exists.
pub(super) fn default(value: &mut Value, schema: &Value) {
    default_at(value, schema, 0);
}

fn default_at(value: &mut Value, schema: &Value, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (field, of_child) in properties.into_iter().flatten() {
                let Some(default) = of_child.get("default") else {
                    continue;
                };
                let null =
                    map.get(field).is_some_and(Value::is_null) && !flag(of_child, "nullable");
                if null || !map.contains_key(field) {
                    map.insert(field.clone(), default.clone());
                }
            }
            for (field, child) in map.iter_mut() {
                if let Some(of_child) = property(schema, field) {
                    default_at(child, of_child, depth + 1);
                }
            }
        }
        Value::Array(items) => {
            let Some(of_item) = schema.get("items") else {
                return;
            };
            for item in items {
                default_at(item, of_item, depth + 1);
            }
        }
        _ => {}
    }
}

/// Drops fields that are null and may not be: a real server treats them as unset.
pub(super) fn drop_nulls(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            map.retain(|field, child| {
                !child.is_null() || property(schema, field).is_none_or(|s| flag(s, "nullable"))
            });
            for (field, child) in map.iter_mut() {
                if let Some(of_child) = property(schema, field) {
                    drop_nulls(child, of_child);
                }
            }
        }
        Value::Array(items) => {
            let Some(of_item) = schema.get("items") else {
                return;
            };
            for item in items {
                drop_nulls(item, of_item);
            }
        }
        _ => {}
    }
}

/// `x-kubernetes-list-type`.
#[must_use]
pub(super) fn list_type(schema: &Value) -> Option<&str> {
    schema.get("x-kubernetes-list-type").and_then(Value::as_str)
}

/// `x-kubernetes-list-map-keys`, empty unless the list is a map.
#[must_use]
pub(super) fn list_map_keys(schema: &Value) -> Vec<&str> {
    if list_type(schema) != Some("map") {
        return Vec::new();
    }
    let keys = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array);
    keys.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn mk_schema() -> Value {
        json!({"type": "object", "properties": {"spec": {
            "type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
                "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                "port": {"type": "integer", "minimum": 1, "maximum": 9, "format": "int32"},
                "either": {"x-kubernetes-int-or-string": true},
                "gone": {"type": "string", "nullable": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 7}}},
                "list": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                          "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
                "one": {"oneOf": [{"type": "integer"}, {"type": "string"}], "not": {"enum": ["no"]}},
            },
        }}})
    }

    #[test]
    fn unknown_fields_are_dropped_unless_preserved() {
        let mut value = json!({"apiVersion": "v", "metadata": {"x": 1}, "odd": 1,
            "spec": {"name": "ab", "what": 1, "free": {"any": 1}, "labels": {"any": "x"}, "keyed": [{"k": "a", "z": 1}]}});
        let dropped = prune(&mut value, &mk_schema());
        assert_eq!(dropped, ["odd", "spec.keyed[0].z", "spec.what"]);
        assert_eq!(value.pointer("/spec/free/any"), Some(&json!(1)));
        assert_eq!(value.pointer("/metadata/x"), Some(&json!(1)));
    }

    #[test]
    fn defaults_reach_into_objects_that_defaults_made() {
        let mut value = json!({"spec": {"mode": null}});
        default(&mut value, &mk_schema());
        assert_eq!(value, json!({"spec": {"mode": "a", "nested": {"deep": 7}}}));
        let mut absent = json!({});
        default(&mut absent, &mk_schema());
        assert_eq!(absent, json!({}), "no parent, no default");
    }
}
