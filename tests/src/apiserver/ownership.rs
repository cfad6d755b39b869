//! Who owns which fields: `metadata.managedFields`, and server-side apply on top of it.
//!
//! An ordinary write owns what it changes and takes it from everybody else. An apply owns exactly what it sends: what it
//! sent before and does not send now goes, unless somebody else owns it too; what it changes although another manager
//! owns it is a conflict, unless forced. The algorithm is upstream's (structured-merge-diff, merge/update.go) on the sets
//! of `fields`. Coarser than upstream in two ways: ordinary creates own defaulted and allocated fields as well, and
//! there is one schema, that of the version written, so sets are not converted between versions.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::error::{Cause, Refusal};
use super::fields::{FieldSet, Shape, below, item_step, shape};

/// Who writes.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    /// `fieldManager` of the request, else the first word of its user agent.
    pub name: String,
    /// It applies; otherwise it updates.
    pub applies: bool,
    /// It writes the status subresource.
    pub status: bool,
    /// Version of the API that it speaks.
    pub api_version: String,
}

#[derive(Clone, Debug)]
struct Entry {
    manager: Manager,
    time: Value,
    fields: FieldSet,
}

impl Entry {
    fn is(&self, who: &Manager) -> bool {
        self.manager.name == who.name
            && self.manager.applies == who.applies
            && self.manager.status == who.status
    }

    fn read(entry: &Value) -> Self {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        Self {
            manager: Manager {
                name: text("manager").to_owned(),
                applies: text("operation") == "Apply",
                status: text("subresource") == "status",
                api_version: text("apiVersion").to_owned(),
            },
            time: entry.get("time").cloned().unwrap_or_default(),
            fields: entry
                .get("fieldsV1")
                .map(FieldSet::from_json)
                .unwrap_or_default(),
        }
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager.name,
            "operation": if self.manager.applies { "Apply" } else { "Update" },
            "apiVersion": self.manager.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_json(),
        });
        if self.manager.status
            && let Some(entry) = entry.as_object_mut()
        {
            entry.insert("subresource".to_owned(), json!("status"));
        }
        entry
    }
}

fn read(object: &Value) -> Vec<Entry> {
    let entries = object
        .get("metadata")
        .and_then(|m| m.get("managedFields")?.as_array());
    entries.into_iter().flatten().map(Entry::read).collect()
}

fn write(object: &mut Value, entries: &[Entry]) {
    let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let entries = entries
        .iter()
        .filter(|e| !e.fields.is_empty())
        .map(Entry::write)
        .collect();
    meta.insert("managedFields".to_owned(), Value::Array(entries));
}

/// Fields that belong to nobody.
fn owned_fields(mut set: FieldSet) -> FieldSet {
    set.forget(&["f:apiVersion"]);
    set.forget(&["f:kind"]);
    for field in [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "managedFields",
    ] {
        set.forget(&["f:metadata", &format!("f:{field}")]);
    }
    set
}

/// Records in `after` that `who` made it from `before` by an ordinary write. `reset` are steps that this endpoint does not
/// write, whatever it is sent: nobody owns them by it.
pub(super) fn record_update(
    before: Option<&Value>,
    after: &mut Value,
    who: &Manager,
    schema: &Value,
    reset: &[&str],
    now: Timestamp,
) {
    let nothing = json!({});
    let (changed, removed) = FieldSet::difference(before.unwrap_or(&nothing), after, Some(schema));
    let (mut changed, mut removed) = (owned_fields(changed), owned_fields(removed));
    for field in reset {
        changed.forget(&[field]);
        removed.forget(&[field]);
    }
    let mut entries = before.map(read).unwrap_or_default();
    if !changed.is_empty() || !removed.is_empty() {
        for entry in &mut entries {
            entry.fields = entry.fields.minus(&changed).minus(&removed);
        }
        match entries.iter_mut().find(|e| e.is(who)) {
            Some(own) => {
                own.fields = std::mem::take(&mut own.fields).union(&changed);
                own.time = timestamp(now);
            }
            None => entries.push(Entry {
                manager: who.clone(),
                time: timestamp(now),
                fields: changed,
            }),
        }
    }
    write(after, &entries);
}

/// Applies `config` to `live`: the object that results, managedFields included.
pub(super) fn apply(
    live: &Value,
    config: &Value,
    who: &Manager,
    force: bool,
    schema: &Value,
    now: Timestamp,
) -> Result<Value, Refusal> {
    let schema = Some(schema);
    let mut entries = read(live);
    let applied = owned_fields(FieldSet::of(config, schema));
    let mut merged = merge(live, config, schema);
    if let Some(own) = entries.iter().find(|e| e.is(who)) {
        let mut dropped = own.fields.minus(&applied);
        for other in entries.iter().filter(|e| !e.is(who)) {
            dropped = dropped.minus(&other.fields);
        }
        dropped.erase_from(&mut merged, schema);
    }
    let (changed, removed) = FieldSet::difference(live, &merged, schema);
    let touched = owned_fields(changed.union(&removed));
    let conflicts: Vec<Cause> = entries
        .iter()
        .filter(|e| !e.is(who))
        .flat_map(|e| conflict(e, &touched))
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(Refusal::FieldManagerConflict(conflicts));
    }
    for other in entries.iter_mut().filter(|e| !e.is(who)) {
        other.fields = other.fields.minus(&touched);
    }
    match entries.iter_mut().find(|e| e.is(who)) {
        Some(own) if own.fields == applied && touched.is_empty() => {}
        Some(own) => {
            own.fields = applied;
            own.time = timestamp(now);
            own.manager.api_version.clone_from(&who.api_version);
        }
        None => entries.push(Entry {
            manager: who.clone(),
            time: timestamp(now),
            fields: applied,
        }),
    }
    write(&mut merged, &entries);
    Ok(merged)
}

fn conflict(owner: &Entry, touched: &FieldSet) -> Vec<Cause> {
    let version = &owner.manager.api_version;
    let using = if owner.manager.applies {
        String::new()
    } else {
        format!(" using {version}")
    };
    let status = if owner.manager.status {
        " with subresource \"status\""
    } else {
        ""
    };
    let message = format!("conflict with \"{}\"{status}{using}", owner.manager.name);
    let cause = |field| Cause {
        reason: "FieldManagerConflict",
        field,
        message: message.clone(),
    };
    owner
        .fields
        .common(touched)
        .paths()
        .into_iter()
        .map(cause)
        .collect()
}

fn timestamp(now: Timestamp) -> Value {
    Value::String(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// `config` laid over `live`: maps and keyed lists by member, everything else replaced.
fn merge(live: &Value, config: &Value, schema: Option<&Value>) -> Value {
    match (live, shape(config, schema)) {
        (Value::Object(live), Shape::Map(config)) => {
            let mut merged: Map<String, Value> = live.clone();
            for (field, value) in config {
                let schema = below(schema, &format!("f:{field}"));
                let was = live.get(field).unwrap_or(&Value::Null);
                merged.insert(field.clone(), merge(was, value, schema));
            }
            Value::Object(merged)
        }
        (Value::Array(live), Shape::List(config)) => {
            let items = schema.and_then(|s| s.get("items"));
            let mut merged = live.clone();
            for (step, value) in config {
                match merged
                    .iter_mut()
                    .find(|item| item_step(item, schema) == step)
                {
                    Some(item) => *item = merge(item, value, items),
                    None => merged.push(value.clone()),
                }
            }
            Value::Array(merged)
        }
        _ => config.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_manager(name: &str, applies: bool) -> Manager {
        Manager {
            name: name.into(),
            applies,
            status: false,
            api_version: "v1".into(),
        }
    }

    fn mk_schema() -> Value {
        json!({"properties": {"conditions": {
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": {},
        }}})
    }

    fn applying(live: &Value, who: &str, config: &Value, force: bool) -> Result<Value, Refusal> {
        apply(
            live,
            config,
            &mk_manager(who, true),
            force,
            &mk_schema(),
            Timestamp::UNIX_EPOCH,
        )
    }

    fn without_owners(mut value: Value) -> Value {
        value["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
        value
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let live = applying(&json!({"metadata": {}}), "a", &json!({"x": 1}), false).unwrap();
        let again = applying(&live, "a", &json!({"x": 1}), false).unwrap();
        assert_eq!(live, again);
    }

    #[test]
    fn a_field_no_longer_applied_goes_unless_another_owns_it() {
        let live = applying(
            &json!({"metadata": {}}),
            "a",
            &json!({"x": 1, "y": 2}),
            false,
        )
        .unwrap();
        let live = applying(&live, "b", &json!({"y": 2}), false).unwrap();
        let live = applying(&live, "a", &json!({}), false).unwrap();
        assert_eq!(without_owners(live), json!({"metadata": {}, "y": 2}));
    }

    #[test]
    fn a_different_value_conflicts_and_force_takes_the_field() {
        let live = applying(&json!({"metadata": {}}), "a", &json!({"x": 1}), false).unwrap();
        let refused = applying(&live, "b", &json!({"x": 2}), false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Apply failed with 1 conflict: conflict with \"a\": .x"
        );
        let live = applying(&live, "b", &json!({"x": 2}), true).unwrap();
        let live = applying(&live, "a", &json!({}), false).unwrap();
        assert_eq!(live["x"], 2, "a owns it no more");
    }

    #[test]
    fn an_update_takes_what_it_changes_from_those_who_applied_it() {
        let before = applying(
            &json!({"metadata": {}}),
            "a",
            &json!({"x": 1, "y": 1}),
            false,
        )
        .unwrap();
        let mut after = before.clone();
        after["x"] = json!(2);
        let editor = mk_manager("editor", false);
        record_update(
            Some(&before),
            &mut after,
            &editor,
            &mk_schema(),
            &[],
            Timestamp::UNIX_EPOCH,
        );
        let refused = applying(&after, "a", &json!({"x": 1, "y": 1}), false).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("conflict with \"editor\" using v1: .x"),
            "{refused}"
        );
    }

    #[test]
    fn items_of_a_keyed_list_have_their_own_owners() {
        let one = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let two = json!({"conditions": [{"type": "Valid", "status": "True"}]});
        let live = applying(&json!({"metadata": {}}), "a", &one, false).unwrap();
        let live = applying(&live, "b", &two, false).unwrap();
        assert_eq!(live["conditions"].as_array().unwrap().len(), 2);
        let live = applying(&live, "a", &json!({}), false).unwrap();
        assert_eq!(live["conditions"], two["conditions"]);
    }
}
