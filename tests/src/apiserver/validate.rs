//! Validation of custom resources by their structural schema.
//!
//! The OpenAPI v3 keywords that structural schemas may use. CEL rules (`x-kubernetes-validations`) come afterwards, see
//! `custom`. Not checked: `format` other than the ranges of integers, and the cost budget of rules.

use serde_json::{Map, Value};

use super::error::Cause;
use super::schema::{
    MAX_DEPTH, Patterns, flag, join, list_map_keys, list_type, property, universal,
};

/// Checks a value against its schema.
#[must_use]
pub(super) fn validate(value: &Value, schema: &Value, patterns: &Patterns) -> Vec<Cause> {
    let mut check = Check {
        patterns,
        causes: Vec::new(),
    };
    check.value(value, schema, "", 0);
    check.causes
}

struct Check<'a> {
    patterns: &'a Patterns,
    causes: Vec<Cause>,
}

impl Check<'_> {
    fn value(&mut self, value: &Value, schema: &Value, path: &str, depth: usize) {
        if depth > MAX_DEPTH {
            self.causes
                .push(Cause::forbidden(path, "nested too deeply"));
            return;
        }
        if value.is_null() && flag(schema, "nullable") {
            return;
        }
        if !self.has_type(value, schema, path) {
            return;
        }
        if let Some(Value::Array(known)) = schema.get("enum")
            && !known.contains(value)
        {
            let known: Vec<String> = known.iter().map(Value::to_string).collect();
            self.causes.push(Cause::not_supported(path, value, &known));
        }
        match value {
            Value::Object(map) => self.object(map, schema, path, depth),
            Value::Array(items) => self.array(items, schema, path, depth),
            Value::String(text) => self.string(text, schema, path),
            Value::Number(number) => self.number(value, number.as_f64(), schema, path),
            _ => {}
        }
        self.combinators(value, schema, path, depth);
    }

    fn has_type(&mut self, value: &Value, schema: &Value, path: &str) -> bool {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = if flag(schema, "x-kubernetes-int-or-string") {
            ["integer", "string"].contains(&found)
        } else {
            match schema.get("type").and_then(Value::as_str) {
                None | Some("") => true,
                Some("number") => ["integer", "number"].contains(&found),
                Some(wanted) => wanted == found,
            }
        };
        if !fits {
            let wanted = schema
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("integer,string");
            let why = format!("{path} in body must be of type {wanted}: {found:?}");
            self.causes.push(Cause {
                reason: "FieldValueTypeInvalid",
                ..Cause::invalid(path, &Value::String(found.to_owned()), &why)
            });
        }
        fits
    }

    fn object(&mut self, map: &Map<String, Value>, schema: &Value, path: &str, depth: usize) {
        for field in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let Some(field) = field.as_str() else {
                continue;
            };
            if !map.contains_key(field) && !universal(path, field) {
                self.causes.push(Cause::required(join(path, field), ""));
            }
        }
        self.count(map.len(), schema, path, "minProperties", "maxProperties");
        for (field, child) in map {
            if universal(path, field) {
                continue;
            }
            if let Some(of_child) = property(schema, field) {
                let declared = schema
                    .get("properties")
                    .is_some_and(|p| p.get(field).is_some());
                let at = if declared {
                    join(path, field)
                } else {
                    format!("{path}[{field}]")
                };
                self.value(child, of_child, &at, depth + 1);
            }
        }
    }

    fn array(&mut self, items: &[Value], schema: &Value, path: &str, depth: usize) {
        self.count(items.len(), schema, path, "minItems", "maxItems");
        let keys: Vec<&str> = list_map_keys(schema);
        let unique = flag(schema, "uniqueItems") || list_type(schema) == Some("set");
        let mut seen = std::collections::BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let at = format!("{path}[{i}]");
            let identity = if keys.is_empty() {
                unique.then(|| item.clone())
            } else {
                Some(
                    keys.iter()
                        .map(|k| item.get(k).cloned().unwrap_or_default())
                        .collect(),
                )
            };
            if identity.is_some_and(|id| !seen.insert(id.to_string())) {
                self.causes.push(Cause::duplicate(&at, item));
            }
            if let Some(of_item) = schema.get("items") {
                self.value(item, of_item, &at, depth + 1);
            }
        }
    }

    fn string(&mut self, text: &str, schema: &Value, path: &str) {
        let value = || Value::String(text.to_owned());
        let length = text.chars().count();
        if let Some(min) = bound(schema, "minLength").filter(|min| length < *min) {
            let why = format!("{path} in body should be at least {min} chars long");
            self.causes.push(Cause::invalid(path, &value(), &why));
        }
        if let Some(max) = bound(schema, "maxLength").filter(|max| length > *max) {
            let message = format!("Too long: may not be more than {max} bytes");
            self.causes.push(Cause {
                reason: "FieldValueTooLong",
                field: path.to_owned(),
                message,
            });
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && self
                .patterns
                .0
                .get(pattern)
                .is_some_and(|p| !p.is_match(text))
        {
            let why = format!("{path} in body should match '{pattern}'");
            self.causes.push(Cause::invalid(path, &value(), &why));
        }
    }

    fn number(&mut self, value: &Value, number: Option<f64>, schema: &Value, path: &str) {
        let Some(number) = number else { return };
        let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
        let mut refuse = |why: String| self.causes.push(Cause::invalid(path, value, &why));
        if let Some(min) = limit("minimum") {
            let exclusive = flag(schema, "exclusiveMinimum");
            if number < min || exclusive && number <= min {
                let or_equal = if exclusive { "" } else { " or equal to" };
                refuse(format!(
                    "{path} in body should be greater than{or_equal} {min}"
                ));
            }
        }
        if let Some(max) = limit("maximum") {
            let exclusive = flag(schema, "exclusiveMaximum");
            if number > max || exclusive && number >= max {
                let or_equal = if exclusive { "" } else { " or equal to" };
                refuse(format!(
                    "{path} in body should be less than{or_equal} {max}"
                ));
            }
        }
        if let Some(step) = limit("multipleOf").filter(|step| number % step != 0.0) {
            refuse(format!("{path} in body should be a multiple of {step}"));
        }
        let fits = match schema.get("format").and_then(Value::as_str) {
            Some("int32") => number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX),
            Some("int64") => value.is_i64(),
            _ => true,
        };
        if !fits {
            refuse(format!("{path} in body does not fit its integer format"));
        }
    }

    fn count(&mut self, have: usize, schema: &Value, path: &str, min: &str, max: &str) {
        let what = if min == "minItems" {
            "items"
        } else {
            "properties"
        };
        if let Some(min) = bound(schema, min).filter(|min| have < *min) {
            let why = format!("{path} in body should have at least {min} {what}");
            self.causes
                .push(Cause::invalid(path, &Value::from(have), &why));
        }
        if let Some(max) = bound(schema, max).filter(|max| have > *max) {
            let message = format!("Too many: {have}: must have at most {max} {what}");
            self.causes.push(Cause {
                reason: "FieldValueTooMany",
                field: path.to_owned(),
                message,
            });
        }
    }

    fn combinators(&mut self, value: &Value, schema: &Value, path: &str, depth: usize) {
        let branches = |name: &str| {
            schema
                .get(name)
                .and_then(Value::as_array)
                .map(Vec::as_slice)
        };
        for branch in branches("allOf").into_iter().flatten() {
            self.value(value, branch, path, depth + 1);
        }
        let patterns = self.patterns;
        let fits = |branch: &Value| {
            let mut check = Check {
                patterns,
                causes: Vec::new(),
            };
            check.value(value, branch, path, depth + 1);
            check.causes.is_empty()
        };
        if branches("anyOf").is_some_and(|any| !any.iter().any(fits)) {
            let why = format!("{path} in body must validate at least one schema (anyOf)");
            self.causes.push(Cause::invalid(path, value, &why));
        }
        if branches("oneOf").is_some_and(|one| one.iter().filter(|b| fits(b)).count() != 1) {
            let why = format!("{path} in body must validate one and only one schema (oneOf)");
            self.causes.push(Cause::invalid(path, value, &why));
        }
        if schema.get("not").is_some_and(fits) {
            let why = format!("{path} in body must not validate the schema (not)");
            self.causes.push(Cause::invalid(path, value, &why));
        }
    }
}

fn bound(schema: &Value, name: &str) -> Option<usize> {
    schema
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::tests::mk_schema;
    use super::*;

    fn fields_refused(spec: &Value) -> Vec<String> {
        let schema = mk_schema();
        let patterns = Patterns::compile(&schema).unwrap();
        validate(&json!({"spec": spec}), &schema, &patterns)
            .into_iter()
            .map(|c| c.field)
            .collect()
    }

    #[test]
    fn each_keyword_refuses_what_it_forbids() {
        for (spec, wrong) in [
            (json!({"name": "abc"}), ""),
            (json!({}), "spec.name"),
            (json!({"name": 1}), "spec.name"),
            (json!({"name": "a"}), "spec.name"),
            (json!({"name": "abcdef"}), "spec.name"),
            (json!({"name": "AB"}), "spec.name"),
            (json!({"name": "ab", "mode": "c"}), "spec.mode"),
            (json!({"name": "ab", "port": 0}), "spec.port"),
            (json!({"name": "ab", "port": 10}), "spec.port"),
            (json!({"name": "ab", "port": 1.5}), "spec.port"),
            (json!({"name": "ab", "either": 1}), ""),
            (json!({"name": "ab", "either": "x"}), ""),
            (json!({"name": "ab", "either": true}), "spec.either"),
            (json!({"name": "ab", "gone": null}), ""),
            (json!({"name": "ab", "mode": null}), "spec.mode"),
            (json!({"name": "ab", "labels": {"x": 1}}), "spec.labels[x]"),
            (json!({"name": "ab", "list": ["a", "b", "c"]}), "spec.list"),
            (json!({"name": "ab", "list": ["a", "a"]}), "spec.list[1]"),
            (json!({"name": "ab", "keyed": [{"k": "x"}, {"k": "y"}]}), ""),
            (
                json!({"name": "ab", "keyed": [{"k": "x"}, {"k": "x"}]}),
                "spec.keyed[1]",
            ),
            (json!({"name": "ab", "one": "yes"}), ""),
            (json!({"name": "ab", "one": "no"}), "spec.one"),
            (json!({"name": "ab", "one": []}), "spec.one"),
        ] {
            let want: Vec<&str> = Some(wrong).filter(|w| !w.is_empty()).into_iter().collect();
            assert_eq!(fields_refused(&spec), want, "{spec}");
        }
    }
}
