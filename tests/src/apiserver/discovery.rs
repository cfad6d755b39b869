//! Discovery: which groups, versions and resources there are, in the old documents and in the aggregated one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::kind::{Kind, Kinds};

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// `/version`.
#[must_use]
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+portolan-memory", "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
#[must_use]
pub(super) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
#[must_use]
pub(super) fn groups(kinds: &Kinds) -> Value {
    let groups: Vec<Value> = by_group(kinds)
        .keys()
        .filter_map(|name| group(kinds, name))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
#[must_use]
pub(super) fn group(kinds: &Kinds, name: &str) -> Option<Value> {
    if name.is_empty() {
        return None;
    }
    let groups = by_group(kinds);
    let version =
        |v: &Version<'_>| json!({"groupVersion": format!("{name}/{}", v.name), "version": v.name});
    let versions: Vec<Value> = groups.get(name)?.keys().map(version).collect();
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions,
        "preferredVersion": versions.first(),
    }))
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
#[must_use]
pub(super) fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let groups = by_group(kinds);
    let kinds = groups.get(group)?.get(&Version::of(version))?;
    let group_version = kinds.first()?.api_version();
    let resources: Vec<Value> = kinds.iter().flat_map(|k| resource(k)).collect();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

fn resource(kind: &Kind) -> Vec<Value> {
    let main = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": VERBS, "shortNames": kind.short_names, "categories": kind.categories,
    });
    let status = json!({
        "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": ["get", "patch", "update"],
    });
    if kind.status {
        vec![main, status]
    } else {
        vec![main]
    }
}

/// `/api` and `/apis` as `APIGroupDiscoveryList`: one group (core), or all others.
#[must_use]
pub(super) fn aggregated(kinds: &Kinds, core: bool) -> Value {
    let groups = by_group(kinds);
    let items: Vec<Value> = groups
        .iter()
        .filter(|(name, _)| name.is_empty() == core)
        .map(|(name, versions)| {
            let version = |(version, kinds): (&Version<'_>, &Vec<&Arc<Kind>>)| {
                let resources: Vec<Value> = kinds.iter().map(|k| aggregated_resource(k)).collect();
                json!({"version": version.name, "freshness": "Current", "resources": resources})
            };
            json!({"metadata": {"name": name}, "versions": versions.iter().map(version).collect::<Vec<_>>()})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let subresources = if kind.status {
        json!([{"subresource": "status", "responseKind": response, "verbs": ["get", "patch", "update"]}])
    } else {
        json!([])
    };
    json!({
        "resource": kind.plural, "responseKind": response, "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "shortNames": kind.short_names, "categories": kind.categories, "verbs": VERBS, "subresources": subresources,
    })
}

type Groups<'a> = BTreeMap<&'a str, BTreeMap<Version<'a>, Vec<&'a Arc<Kind>>>>;

fn by_group(kinds: &Kinds) -> Groups<'_> {
    let mut groups = Groups::new();
    for kind in kinds.iter() {
        let versions = groups.entry(kind.group.as_str()).or_default();
        versions
            .entry(Version::of(&kind.version))
            .or_default()
            .push(kind);
    }
    groups
}

/// Sorts as clients prefer: stable, then beta, then alpha, the newest of each first (apimachinery/pkg/version).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version<'a> {
    rank: (u8, Reverse<u32>, Reverse<u32>),
    name: &'a str,
}

impl<'a> Version<'a> {
    fn of(name: &'a str) -> Self {
        let digits = |s: &str| s.parse::<u32>().unwrap_or_default();
        let text = name.strip_prefix('v').unwrap_or(name);
        let rank = if let Some((major, minor)) = text.split_once("beta") {
            (1, Reverse(digits(major)), Reverse(digits(minor)))
        } else if let Some((major, minor)) = text.split_once("alpha") {
            (2, Reverse(digits(major)), Reverse(digits(minor)))
        } else {
            (0, Reverse(digits(text)), Reverse(0))
        };
        Self { rank, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_by_maturity_and_then_by_age() {
        let mut versions = ["v1alpha1", "v1beta1", "v1", "v1beta2", "v2"].map(Version::of);
        versions.sort();
        assert_eq!(
            versions.map(|v| v.name),
            ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1"]
        );
    }
}
