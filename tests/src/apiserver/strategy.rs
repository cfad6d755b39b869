//! What differs from kind to kind: names, which part of a write counts, what the server itself decides.
//!
//! The registry strategies of a real server, for the kinds that are here.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Map, Value, json};

use super::cluster::{Cluster, Target, Writing};
use super::custom;
use super::error::{Cause, Refusal};
use super::kind::Kind;
use super::{service, service_rules};

/// Namespace objects of the core group.
#[must_use]
pub(super) fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "namespaces"
}

/// CustomResourceDefinition.
#[must_use]
pub(super) fn is_definition(kind: &Kind) -> bool {
    kind.plural == "customresourcedefinitions" && kind.custom.is_none()
}

/// Why an object of this kind cannot be called so.
#[must_use]
pub(super) fn wrong_name(kind: &Kind, name: &str) -> Option<Cause> {
    if name.is_empty() {
        return Some(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    }
    let core = |plural: &str| kind.group.is_empty() && kind.plural == plural;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |l: &str| l.chars().all(inner) && l.starts_with(edge) && l.ends_with(edge);
    if core("services") {
        let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
        let why = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        let fine = letter && label(name) && name.len() <= 63;
        return (!fine).then(|| Cause::invalid("metadata.name", &json!(name), why));
    }
    if is_namespace(kind) {
        let why = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
        let fine = label(name) && name.len() <= 63;
        return (!fine).then(|| Cause::invalid("metadata.name", &json!(name), why));
    }
    let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
    let fine = name.len() <= 253 && name.split('.').all(label);
    (!fine).then(|| Cause::invalid("metadata.name", &json!(name), why))
}

/// The object in a field, made if it is missing.
pub(super) fn object_at<'a>(body: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    as_object(as_object(body).entry(field).or_insert_with(|| json!({})))
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

/// Sets a value two levels deep, such as `/status/phase`.
pub(super) fn set(object: &mut Value, pointer: &str, value: Value) {
    if let Some((outer, inner)) = pointer.trim_start_matches('/').split_once('/') {
        object_at(object, outer).insert(inner.to_owned(), value);
    }
}

/// The part of an applied configuration that this endpoint listens to.
#[must_use]
pub(super) fn own_part(kind: &Kind, status: bool, config: &Value) -> Value {
    let mut config = config.clone();
    let custom = kind.custom.is_some();
    if let Some(config) = config.as_object_mut() {
        if status {
            let kept = |field: &str| match field {
                "apiVersion" | "kind" | "status" => true,
                "metadata" => !custom,
                _ => false,
            };
            config.retain(|field, _| kept(field));
        } else if kind.status {
            config.remove("status");
        }
    }
    config
}

/// Steps that an endpoint does not write.
#[must_use]
pub(super) fn reset_fields(kind: &Kind, status: bool) -> &'static [&'static str] {
    if kind.status && !status {
        &["f:status"]
    } else {
        &[]
    }
}

/// The change that `body` means: the status endpoint writes the status (and, for built-in kinds, metadata), the main
/// endpoint everything but the status.
#[must_use]
pub(super) fn take_part(kind: &Kind, status: bool, mut body: Value, old: &Value) -> Value {
    if !kind.status || is_definition(kind) && !status {
        return body;
    }
    let take = |from: &Value, to: &mut Value| {
        let to = as_object(to);
        match from.get("status") {
            Some(status) => to.insert("status".to_owned(), status.clone()),
            None => to.remove("status"),
        };
    };
    if !status {
        take(old, &mut body);
        return body;
    }
    let mut new = old.clone();
    take(&body, &mut new);
    let given = object_at(&mut body, "metadata");
    let meta = object_at(&mut new, "metadata");
    for (field, value) in given
        .iter()
        .filter(|(f, _)| kind.custom.is_none() || *f == "managedFields")
    {
        meta.insert(field.clone(), value.clone());
    }
    if kind.custom.is_none() {
        meta.retain(|field, _| given.contains_key(field));
    }
    new
}

/// Whether a change counts for metadata.generation.
#[must_use]
pub(super) fn spec_changed(kind: &Kind, old: &Value, new: &Value) -> bool {
    let relevant = |value: &Value| {
        let mut value = value.clone();
        let map = as_object(&mut value);
        map.remove("metadata");
        if kind.status {
            map.remove("status");
        }
        value
    };
    relevant(old) != relevant(new)
}

/// What only the server decides, and rules that are not in a schema.
pub(super) fn admit(
    cluster: &Cluster,
    target: &Target,
    new: &mut Value,
    old: Option<&Value>,
    how: &Writing,
) -> Result<(), Refusal> {
    let kind = &target.kind;
    if kind.custom.is_some() {
        return Ok(());
    }
    match kind.plural.as_str() {
        "namespaces" => {
            set_if_absent(new, "/spec/finalizers", json!(["kubernetes"]));
            set_if_absent(new, "/status/phase", json!("Active"));
            let name = json!(target.name);
            let labels = object_at_path(new, "metadata", "labels");
            labels.insert("kubernetes.io/metadata.name".to_owned(), name);
            Ok(())
        }
        "nodes" if old.is_none() => {
            taint_until_ready(new);
            Ok(())
        }
        "pods" if old.is_none() => {
            set(new, "/status/phase", json!("Pending"));
            Ok(())
        }
        "secrets" => {
            finish_secret(new);
            Ok(())
        }
        "services" => admit_service(cluster, target, new, old, how),
        "servicecidrs" => admit_range(target, new, old, how),
        "endpointslices" => admit_slice(target, new, old),
        "customresourcedefinitions" if !how.manager.status => {
            custom::complete(new, &how.timestamp()).map_err(|causes| target.invalid(causes))
        }
        _ => Ok(()),
    }
}

fn object_at_path<'a>(
    value: &'a mut Value,
    outer: &str,
    inner: &str,
) -> &'a mut Map<String, Value> {
    as_object(
        object_at(value, outer)
            .entry(inner)
            .or_insert_with(|| json!({})),
    )
}

fn set_if_absent(value: &mut Value, pointer: &str, default: Value) {
    if value.pointer(pointer).is_none_or(Value::is_null) {
        set(value, pointer, default);
    }
}

/// New nodes carry this taint until somebody, elsewhere the node lifecycle controller, sees them ready
/// (admission plugin TaintNodesByCondition).
fn taint_until_ready(node: &mut Value) {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let spec = object_at(node, "spec");
    let taints = spec.entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut()
        && !taints.contains(&taint)
    {
        taints.push(taint);
    }
}

fn finish_secret(secret: &mut Value) {
    let map = as_object(secret);
    map.entry("type").or_insert_with(|| json!("Opaque"));
    let Some(Value::Object(plain)) = map.remove("stringData") else {
        return;
    };
    let data = object_at(secret, "data");
    for (name, text) in plain {
        let bytes = ByteString(text.as_str().unwrap_or_default().as_bytes().to_vec());
        data.insert(name, json!(bytes));
    }
}

fn admit_service(
    cluster: &Cluster,
    target: &Target,
    new: &mut Value,
    old: Option<&Value>,
    how: &Writing,
) -> Result<(), Refusal> {
    let typed = |value: &Value| {
        serde_json::from_value::<Service>(value.clone())
            .map_err(|e| Refusal::Internal(e.to_string()))
    };
    let mut service = typed(new)?;
    let causes = if how.manager.status {
        service_rules::check_status(&mut service)
    } else {
        let old = old.map(typed).transpose()?;
        service::admit(
            &mut service,
            old.as_ref(),
            &cluster.held,
            &cluster.service_ranges(),
        )
    };
    if !causes.is_empty() {
        return Err(target.invalid(causes));
    }
    *new = serde_json::to_value(service).map_err(|e| Refusal::Internal(e.to_string()))?;
    Ok(())
}

impl Cluster {
    /// Ranges of all ServiceCIDRs, oldest object first: its first range is the default family.
    #[must_use]
    pub(super) fn service_ranges(&self) -> Vec<IpNetwork> {
        let resource: Arc<str> = "servicecidrs.networking.k8s.io".into();
        let mut objects: Vec<&Value> = self
            .store
            .range(&resource, "", None)
            .map(|(_, o)| &o.value)
            .collect();
        objects.sort_by_key(|o| o.pointer("/metadata/name") != Some(&json!("kubernetes")));
        service::ranges(objects.into_iter())
    }
}

fn admit_range(
    target: &Target,
    new: &mut Value,
    old: Option<&Value>,
    how: &Writing,
) -> Result<(), Refusal> {
    let cidrs = |v: &Value| v.pointer("/spec/cidrs").cloned().unwrap_or_default();
    if old.is_some_and(|old| cidrs(old) != cidrs(new)) {
        let cause = Cause::invalid("spec.cidrs", &cidrs(new), "field is immutable");
        return Err(target.invalid(vec![cause]));
    }
    for (i, cidr) in cidrs(new).as_array().into_iter().flatten().enumerate() {
        if cidr
            .as_str()
            .and_then(|c| c.parse::<IpNetwork>().ok())
            .is_none()
        {
            let cause = Cause::invalid(
                format!("spec.cidrs[{i}]"),
                cidr,
                "must be a valid CIDR value",
            );
            return Err(target.invalid(vec![cause]));
        }
    }
    let ready = json!([{"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready",
        "lastTransitionTime": how.timestamp()}]);
    set_if_absent(new, "/status/conditions", ready);
    Ok(())
}

fn admit_slice(target: &Target, new: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
    let family = new
        .get("addressType")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if old.is_some_and(|old| old.get("addressType") != new.get("addressType")) {
        let cause = Cause::invalid("addressType", &json!(family), "field is immutable");
        return Err(target.invalid(vec![cause]));
    }
    for port in items_mut(new, "ports") {
        port.entry("name").or_insert_with(|| json!(""));
        port.entry("protocol").or_insert_with(|| json!("TCP"));
    }
    for endpoint in items_mut(new, "endpoints") {
        endpoint.entry("conditions").or_insert_with(|| json!({}));
    }
    let endpoints = new.get("endpoints").and_then(Value::as_array);
    for (i, endpoint) in endpoints.into_iter().flatten().enumerate() {
        let addresses = endpoint.get("addresses").and_then(Value::as_array);
        for (j, address) in addresses.into_iter().flatten().enumerate() {
            let ip = address.as_str().and_then(|a| a.parse::<IpAddr>().ok());
            let fine = match family.as_str() {
                "IPv4" => ip.is_some_and(|ip| ip.is_ipv4()),
                "IPv6" => ip.is_some_and(|ip| ip.is_ipv6()),
                _ => true,
            };
            if !fine {
                let field = format!("endpoints[{i}].addresses[{j}]");
                let cause = Cause::invalid(field, address, "must be an address of the addressType");
                return Err(target.invalid(vec![cause]));
            }
        }
    }
    Ok(())
}

/// The objects in a list of an object.
fn items_mut<'a>(
    object: &'a mut Value,
    list: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let items = object.get_mut(list).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut)
}
