//! Sets of fields: what `managedFields` records and what conflicts are computed from.
//!
//! A set is a tree of steps as in FieldsV1: `f:name` for a field, `k:{"type":"Ready"}` for an item of a keyed list,
//! `v:"x"` for an item of a set. Leaves are scalars, atomic lists and maps, and empty maps; items of keyed lists are
//! members themselves. (sigs.k8s.io/structured-merge-diff, fieldpath.)

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{list_map_keys, list_type, property};

/// A set of field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    member: bool,
    children: BTreeMap<String, FieldSet>,
}

/// How a value is divided for ownership and merging.
pub(super) enum Shape<'a> {
    /// One leaf.
    Atomic,
    /// Fields, each with its own schema.
    Map(&'a Map<String, Value>),
    /// Items, each known by its step.
    List(Vec<(String, &'a Value)>),
}

/// How `value` divides under `schema`; without schema, maps divide and lists do not.
#[must_use]
pub(super) fn shape<'a>(value: &'a Value, schema: Option<&Value>) -> Shape<'a> {
    let atomic_map = schema
        .and_then(|s| s.get("x-kubernetes-map-type"))
        .is_some_and(|map_type| map_type == "atomic");
    match value {
        Value::Object(map) if !atomic_map => Shape::Map(map),
        Value::Array(items) => match schema.and_then(list_type) {
            Some("map" | "set") if !items.is_empty() => Shape::List(
                items
                    .iter()
                    .map(|item| (item_step(item, schema), item))
                    .collect(),
            ),
            _ => Shape::Atomic,
        },
        _ => Shape::Atomic,
    }
}

/// The step that names an item of a keyed list or a set.
#[must_use]
pub(super) fn item_step(item: &Value, schema: Option<&Value>) -> String {
    let keys = schema.map(list_map_keys).unwrap_or_default();
    if keys.is_empty() {
        return format!("v:{item}");
    }
    let default = |key: &str| {
        schema?
            .get("items")?
            .get("properties")?
            .get(key)?
            .get("default")
            .cloned()
    };
    let of = |key: &str| {
        item.get(key)
            .cloned()
            .or_else(|| default(key))
            .unwrap_or_default()
    };
    let identity: Map<String, Value> = keys
        .into_iter()
        .map(|key| (key.to_owned(), of(key)))
        .collect();
    format!("k:{}", Value::Object(identity))
}

/// The schema below one step.
#[must_use]
pub(super) fn below<'a>(schema: Option<&'a Value>, step: &str) -> Option<&'a Value> {
    match step.strip_prefix("f:") {
        Some(field) => property(schema?, field),
        None => schema?.get("items"),
    }
}

impl FieldSet {
    /// All fields of a value.
    #[must_use]
    pub(super) fn of(value: &Value, schema: Option<&Value>) -> Self {
        let children: BTreeMap<String, Self> = match shape(value, schema) {
            Shape::Atomic => {
                return Self {
                    member: true,
                    children: BTreeMap::new(),
                };
            }
            Shape::Map(map) => map
                .iter()
                .map(|(field, child)| {
                    let step = format!("f:{field}");
                    let set = Self::of(child, below(schema, &step));
                    (step, set)
                })
                .collect(),
            Shape::List(items) => items
                .into_iter()
                .map(|(step, item)| {
                    let mut set = Self::of(item, below(schema, &step));
                    set.member = true;
                    (step, set)
                })
                .collect(),
        };
        Self {
            member: false,
            children,
        }
    }

    /// Fields whose value differs: new or changed in `after`, and those that are only in `before`.
    #[must_use]
    pub(super) fn difference(
        before: &Value,
        after: &Value,
        schema: Option<&Value>,
    ) -> (Self, Self) {
        if before == after {
            return (Self::default(), Self::default());
        }
        let steps = |shape| match shape {
            Shape::Atomic => None,
            Shape::Map(map) => Some(map.iter().map(|(k, v)| (format!("f:{k}"), v)).collect()),
            Shape::List(items) => Some(items.into_iter().collect::<BTreeMap<_, _>>()),
        };
        let (old, new) = (steps(shape(before, schema)), steps(shape(after, schema)));
        let (Some(old), Some(new)) = (old, new) else {
            let after = Self::of(after, schema);
            let removed = Self::of(before, schema).minus(&after);
            return (after, removed);
        };
        let mut changed = Self::default();
        let mut removed = Self::default();
        for (step, value) in &new {
            if let Some(was) = old.get(step) {
                let (c, r) = Self::difference(was, value, below(schema, step));
                changed.graft(step, c);
                removed.graft(step, r);
            } else {
                let mut set = Self::of(value, below(schema, step));
                set.member |= !step.starts_with("f:");
                changed.graft(step, set);
            }
        }
        for (step, value) in old.iter().filter(|(step, _)| !new.contains_key(*step)) {
            let mut set = Self::of(value, below(schema, step));
            set.member |= !step.starts_with("f:");
            removed.graft(step, set);
        }
        (changed, removed)
    }

    fn graft(&mut self, step: &str, set: Self) {
        if !set.is_empty() {
            self.children.insert(step.to_owned(), set);
        }
    }

    /// True without any field.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// Fields of either.
    #[must_use]
    pub(super) fn union(mut self, other: &Self) -> Self {
        self.member |= other.member;
        for (step, theirs) in &other.children {
            let ours = self.children.remove(step).unwrap_or_default();
            self.children.insert(step.clone(), ours.union(theirs));
        }
        self
    }

    /// Fields of this one that the other has not.
    #[must_use]
    pub(super) fn minus(&self, other: &Self) -> Self {
        self.keep(other, false)
    }

    /// Fields of both.
    #[must_use]
    pub(super) fn common(&self, other: &Self) -> Self {
        self.keep(other, true)
    }

    fn keep(&self, other: &Self, shared: bool) -> Self {
        let mut kept = Self {
            member: self.member && other.member == shared,
            ..Self::default()
        };
        let nothing = Self::default();
        for (step, ours) in &self.children {
            kept.graft(
                step,
                ours.keep(other.children.get(step).unwrap_or(&nothing), shared),
            );
        }
        kept
    }

    /// Drops everything below the given fields.
    pub(super) fn forget(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                self.children.remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.forget(rest);
                    if child.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    /// Removes these fields from a value, and the maps and lists that this leaves empty.
    pub(super) fn erase_from(&self, value: &mut Value, schema: Option<&Value>) {
        match value {
            Value::Object(map) => {
                for (step, set) in &self.children {
                    let Some(field) = step.strip_prefix("f:") else {
                        continue;
                    };
                    let Some(child) = map.get_mut(field) else {
                        continue;
                    };
                    set.erase_from(child, below(schema, step));
                    if set.member || hollow(child) {
                        map.remove(field);
                    }
                }
            }
            Value::Array(items) => items.retain_mut(|item| {
                let step = item_step(item, schema);
                let Some(set) = self.children.get(&step) else {
                    return true;
                };
                set.erase_from(item, below(schema, &step));
                !set.member
            }),
            _ => {}
        }
    }

    /// FieldsV1.
    #[must_use]
    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, set) in &self.children {
            map.insert(step.clone(), set.to_json());
        }
        Value::Object(map)
    }

    /// Reads FieldsV1.
    #[must_use]
    pub(super) fn from_json(fields: &Value) -> Self {
        let Some(map) = fields.as_object() else {
            return Self::default();
        };
        Self {
            member: map.is_empty() || map.contains_key("."),
            children: map
                .iter()
                .filter(|(step, _)| *step != ".")
                .map(|(step, below)| (step.clone(), Self::from_json(below)))
                .collect(),
        }
    }

    /// Every field as kubectl writes it, for example `.spec.ports[port=80,protocol="TCP"].name`.
    #[must_use]
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.member {
            paths.push(prefix.to_owned());
        }
        for (step, set) in &self.children {
            set.collect_paths(&format!("{prefix}{}", readable(step)), paths);
        }
    }
}

fn hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn readable(step: &str) -> String {
    match step.split_once(':') {
        Some(("f", field)) => format!(".{field}"),
        Some(("k", identity)) => {
            let identity: Map<String, Value> = serde_json::from_str(identity).unwrap_or_default();
            let keys: Vec<String> = identity.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some((_, item)) => format!("[={item}]"),
        None => step.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mk_schema() -> Value {
        json!({"properties": {
            "ports": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                      "items": {"properties": {"protocol": {"default": "TCP"}}}},
            "names": {"x-kubernetes-list-type": "set", "items": {}},
            "whole": {"x-kubernetes-map-type": "atomic"},
        }})
    }

    #[test]
    fn fields_are_divided_as_the_schema_says() {
        let value = json!({"ports": [{"port": 80, "name": "web"}], "names": ["a"], "list": [1, 2], "whole": {"x": 1}, "map": {"y": 1}});
        let set = FieldSet::of(&value, Some(&mk_schema()));
        let mut paths = set.paths();
        paths.sort();
        assert_eq!(
            paths,
            [
                ".list",
                ".map.y",
                ".names[=\"a\"]",
                ".ports[port=80,protocol=\"TCP\"]",
                ".ports[port=80,protocol=\"TCP\"].name",
                ".ports[port=80,protocol=\"TCP\"].port",
                ".whole",
            ]
        );
        assert_eq!(FieldSet::from_json(&set.to_json()), set);
    }

    #[test]
    fn a_difference_names_what_changed_and_what_went() {
        let before = json!({"a": 1, "b": 2, "ports": [{"port": 1}, {"port": 2}]});
        let after = json!({"a": 1, "b": 3, "c": 4, "ports": [{"port": 2}, {"port": 3}]});
        let (changed, removed) = FieldSet::difference(&before, &after, Some(&mk_schema()));
        let mut changed = changed.paths();
        changed.sort();
        let three = ".ports[port=3,protocol=\"TCP\"]";
        assert_eq!(changed, [".b", ".c", three, &format!("{three}.port")]);
        let one = ".ports[port=1,protocol=\"TCP\"]";
        assert_eq!(removed.paths(), [one.to_owned(), format!("{one}.port")]);
    }

    #[test]
    fn erasing_removes_items_and_the_maps_left_empty() {
        let schema = mk_schema();
        let part = json!({"map": {"y": 1}, "names": ["a"], "ports": [{"port": 1}]});
        let mut value =
            json!({"keep": 1, "map": {"y": 1}, "names": ["a", "b"], "ports": [{"port": 1}]});
        FieldSet::of(&part, Some(&schema)).erase_from(&mut value, Some(&schema));
        assert_eq!(value, json!({"keep": 1, "names": ["b"]}));
    }
}
