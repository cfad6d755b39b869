//! CustomResourceDefinitions: what a definition makes the server serve, and the rules its objects must keep.
//!
//! CEL rules (`x-kubernetes-validations`) are evaluated by the kube-cel crate, transition rules (`oldSelf`) included. A
//! definition whose rule or pattern does not compile is refused, so that no rule is silently skipped. Versions of one
//! definition convert by name only (`strategy: None`).

use kube_cel::{CompiledSchema, RootContext, Validator, compile_schema};
use serde_json::{Value, json};

use super::error::{Cause, Refusal};
use super::kind::{Column, Custom, Kind};
use super::schema::{self, Patterns};
use super::validate;

/// The kinds of all served versions of a definition.
pub(super) fn kinds(definition: &Value) -> Result<Vec<Kind>, Vec<Cause>> {
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    let mut kinds = Vec::new();
    let mut causes = Vec::new();
    for (i, version) in versions.into_iter().flatten().enumerate() {
        if !version
            .get("served")
            .and_then(Value::as_bool)
            .unwrap_or_default()
        {
            continue;
        }
        match kind(definition, version) {
            Ok(kind) => kinds.push(kind),
            Err(why) => {
                let field = format!("spec.versions[{i}].schema.openAPIV3Schema");
                causes.push(Cause::invalid(field, &json!(text(version, "/name")), &why));
            }
        }
    }
    if kinds.is_empty() && causes.is_empty() {
        causes.push(Cause::required(
            "spec.versions",
            "must have a served version",
        ));
    }
    if causes.is_empty() {
        Ok(kinds)
    } else {
        Err(causes)
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn kind(definition: &Value, version: &Value) -> Result<Kind, String> {
    let schema = version
        .pointer("/schema/openAPIV3Schema")
        .cloned()
        .unwrap_or_else(|| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let patterns = Patterns::compile(&schema).map_err(|e| format!("pattern: {e}"))?;
    let rules = compile_schema(&schema);
    if let Some(error) = first_error(&rules) {
        return Err(format!("x-kubernetes-validations: {error}"));
    }
    let columns = version
        .get("additionalPrinterColumns")
        .cloned()
        .unwrap_or_else(|| json!([]));
    let columns: Vec<Column> = serde_json::from_value(columns).map_err(|e| e.to_string())?;
    let names = definition
        .pointer("/spec/names")
        .cloned()
        .unwrap_or_default();
    let kind = text(&names, "/kind");
    let singular = Some(text(&names, "/singular")).filter(|s| !s.is_empty());
    let selectable = version.get("selectableFields").and_then(Value::as_array);
    let selectable: Vec<&str> = selectable
        .into_iter()
        .flatten()
        .map(|f| text(f, "/jsonPath"))
        .collect();
    let names = json!({
        "group": text(definition, "/spec/group"),
        "version": text(version, "/name"),
        "plural": text(&names, "/plural"),
        "singular": singular.map_or_else(|| kind.to_lowercase(), str::to_owned),
        "shortNames": texts(&names, "/shortNames"),
        "categories": texts(&names, "/categories"),
        "kind": kind,
        "namespaced": text(definition, "/spec/scope") == "Namespaced",
        "status": version.pointer("/subresources/status").is_some(),
        "generation": true,
        "unconditionalUpdate": false,
        "selectable": selectable,
        "schema": schema,
    });
    Kind::custom(
        names,
        Custom {
            schema,
            patterns,
            rules,
            columns,
        },
    )
    .map_err(|e| e.to_string())
}

fn first_error(rules: &CompiledSchema) -> Option<String> {
    if let Some(error) = rules.compilation_errors().first() {
        return Some(error.to_string());
    }
    let nested = rules
        .items
        .iter()
        .chain(&rules.additional_properties)
        .map(AsRef::as_ref);
    let branches = rules
        .all_of
        .iter()
        .chain(&rules.any_of)
        .chain(&rules.one_of);
    rules
        .properties
        .values()
        .chain(nested)
        .chain(branches)
        .find_map(first_error)
}

/// Fills in and completes a definition: names, conditions, stored versions.
pub(super) fn complete(definition: &mut Value, now: &str) -> Result<(), Vec<Cause>> {
    let name = text(definition, "/metadata/name").to_owned();
    let expected = format!(
        "{}.{}",
        text(definition, "/spec/names/plural"),
        text(definition, "/spec/group")
    );
    if name != expected {
        let why = "must be spec.names.plural+\".\"+spec.group";
        return Err(vec![Cause::invalid("metadata.name", &json!(name), why)]);
    }
    kinds(definition)?;
    let kind = text(definition, "/spec/names/kind").to_owned();
    let stored = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .and_then(|v| v.iter().find(|v| v.get("storage") == Some(&json!(true))))
        .map(|v| text(v, "/name").to_owned());
    if let Some(names) = definition
        .pointer_mut("/spec/names")
        .and_then(Value::as_object_mut)
    {
        names
            .entry("singular")
            .or_insert_with(|| json!(kind.to_lowercase()));
        names
            .entry("listKind")
            .or_insert_with(|| json!(format!("{kind}List")));
    }
    if let Some(spec) = definition
        .pointer_mut("/spec")
        .and_then(Value::as_object_mut)
    {
        spec.entry("conversion")
            .or_insert_with(|| json!({"strategy": "None"}));
    }
    let condition = |type_: &str, reason: &str, message: &str| json!({"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    let names = definition
        .pointer("/spec/names")
        .cloned()
        .unwrap_or_default();
    let old = definition.get("status").cloned().unwrap_or_default();
    let conditions = old
        .get("conditions")
        .filter(|c| c.as_array().is_some_and(|c| !c.is_empty()))
        .cloned();
    let status = json!({
        "acceptedNames": names,
        "storedVersions": [stored],
        "conditions": conditions.unwrap_or_else(|| json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ])),
    });
    if let Some(definition) = definition.as_object_mut() {
        definition.insert("status".to_owned(), status);
    }
    Ok(())
}

/// Prunes and defaults a custom object; the paths of dropped fields.
pub(super) fn conform(kind: &Kind, custom: &Custom, value: &mut Value) -> Vec<String> {
    let dropped = schema::prune(value, &custom.schema);
    schema::default(value, &custom.schema);
    if kind.status {
        // A subresource may have no defaults of its own before it is first written.
        schema::drop_nulls(value, &custom.schema);
    }
    dropped
}

/// Checks a custom object by schema, then by rules.
pub(super) fn check(
    kind: &Kind,
    custom: &Custom,
    validator: &Validator,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let mut causes = validate::validate(new, &custom.schema, &custom.patterns);
    if causes.is_empty() {
        let root = RootContext {
            api_version: kind.api_version(),
            api_group: kind.group.clone(),
            kind: kind.kind.clone(),
        };
        let judged = validator.validate_compiled_with_context(&custom.rules, new, old, Some(&root));
        causes.extend(
            judged
                .err()
                .into_iter()
                .flat_map(kube_cel::ValidationErrors::into_vec)
                .map(|e| {
                    let at = e.field_path.split('.').filter(|s| !s.is_empty());
                    let found = at
                        .clone()
                        .try_fold(new, |v, step| v.get(step))
                        .cloned()
                        .unwrap_or_default();
                    let shown = if found.is_object() {
                        json!("object")
                    } else {
                        found
                    };
                    Cause::invalid(e.field_path, &shown, &e.message)
                }),
        );
    }
    if causes.is_empty() {
        return Ok(());
    }
    let name = text(new, "/metadata/name");
    Err(Refusal::Invalid {
        subject: kind.subject(name),
        causes,
    })
}
