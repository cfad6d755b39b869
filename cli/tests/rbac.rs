//! The shipped manifests grant what the code uses, and no more.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy knows it for test functions, not for their fixtures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_yaml::Value;

/// Where a right holds: in the whole cluster, or in Portolan's own namespace only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Cluster,
    Namespace,
}

/// Role, reach, group, resource, verbs: what the code of each daemon asks the API server for.
type Use = (
    &'static str,
    Reach,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const CONTROLLER: &str = "portolan-controller";
const SPEAKER: &str = "portolan-speaker";
const OURS: &str = "portolan.dev";
const WATCH: &[&str] = &["get", "list", "watch"];
const PATCH: &[&str] = &["patch"];
/// Events are told once and not counted up.
const CREATE: &[&str] = &["create"];
/// A compare-and-swap writer: the election and the SpeakerConfig.
const REPLACE: &[&str] = &["get", "list", "watch", "create", "update"];
/// The key of the speakers: looked for by its name, and made when it is missing.
const DRAW: &[&str] = &["get", "create"];
/// A server-side apply writer.
const APPLY: &[&str] = &["create", "patch"];

const USED: &[Use] = &[
    (CONTROLLER, Reach::Cluster, "", "services", WATCH),
    (CONTROLLER, Reach::Cluster, "", "namespaces", WATCH),
    (CONTROLLER, Reach::Cluster, "", "nodes", WATCH),
    (
        CONTROLLER,
        Reach::Cluster,
        "discovery.k8s.io",
        "endpointslices",
        WATCH,
    ),
    (
        CONTROLLER,
        Reach::Cluster,
        "networking.k8s.io",
        "servicecidrs",
        WATCH,
    ),
    (CONTROLLER, Reach::Cluster, "", "services/status", PATCH),
    (CONTROLLER, Reach::Cluster, OURS, "ipaddresspools", WATCH),
    (CONTROLLER, Reach::Cluster, OURS, "l2advertisements", WATCH),
    (CONTROLLER, Reach::Cluster, OURS, "bgpadvertisements", WATCH),
    (CONTROLLER, Reach::Cluster, OURS, "bgppeers", WATCH),
    (CONTROLLER, Reach::Cluster, OURS, "bfdprofiles", WATCH),
    (CONTROLLER, Reach::Cluster, OURS, "communities", WATCH),
    (
        CONTROLLER,
        Reach::Cluster,
        OURS,
        "ipaddresspools/status",
        PATCH,
    ),
    (
        CONTROLLER,
        Reach::Cluster,
        OURS,
        "l2advertisements/status",
        PATCH,
    ),
    (
        CONTROLLER,
        Reach::Cluster,
        OURS,
        "bgpadvertisements/status",
        PATCH,
    ),
    (CONTROLLER, Reach::Cluster, OURS, "bgppeers/status", PATCH),
    (
        CONTROLLER,
        Reach::Cluster,
        OURS,
        "bfdprofiles/status",
        PATCH,
    ),
    (
        CONTROLLER,
        Reach::Cluster,
        OURS,
        "communities/status",
        PATCH,
    ),
    (CONTROLLER, Reach::Cluster, OURS, "speakerconfigs", REPLACE),
    (CONTROLLER, Reach::Cluster, OURS, "nodereports", WATCH),
    (
        CONTROLLER,
        Reach::Cluster,
        "events.k8s.io",
        "events",
        CREATE,
    ),
    (
        CONTROLLER,
        Reach::Namespace,
        "coordination.k8s.io",
        "leases",
        REPLACE,
    ),
    (CONTROLLER, Reach::Namespace, "", "secrets", DRAW),
    (SPEAKER, Reach::Cluster, "", "services", WATCH),
    (SPEAKER, Reach::Cluster, "", "nodes", WATCH),
    (
        SPEAKER,
        Reach::Cluster,
        "discovery.k8s.io",
        "endpointslices",
        WATCH,
    ),
    (SPEAKER, Reach::Cluster, OURS, "speakerconfigs", WATCH),
    (SPEAKER, Reach::Cluster, OURS, "nodereports", APPLY),
    (SPEAKER, Reach::Cluster, OURS, "nodereports/status", PATCH),
    (SPEAKER, Reach::Cluster, "events.k8s.io", "events", CREATE),
    (
        SPEAKER,
        Reach::Namespace,
        "coordination.k8s.io",
        "leases",
        APPLY,
    ),
    (SPEAKER, Reach::Namespace, "", "secrets", WATCH),
];

/// Verbs by role, reach, group and resource.
type Rights = BTreeMap<(String, Reach, String, String), BTreeSet<String>>;

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base")
}

/// Every document of every file that the kustomization of the folder lists.
fn mk_documents() -> Vec<Value> {
    let read = |name: &str| std::fs::read_to_string(base().join(name)).expect(name);
    let kustomization: Value = serde_yaml::from_str(&read("kustomization.yaml")).unwrap();
    let listed = texts(&kustomization["resources"]);
    let mut documents = Vec::new();
    for file in &listed {
        let text = read(file);
        for document in serde_yaml::Deserializer::from_str(&text) {
            documents.push(serde::Deserialize::deserialize(document).expect(file));
        }
    }
    documents
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_sequence().cloned().unwrap_or_default();
    list.iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn of_kind<'a>(documents: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    documents
        .iter()
        .filter(move |document| text(&document["kind"]) == kind)
}

fn mk_used() -> Rights {
    let mut used = Rights::new();
    for (role, reach, group, resource, verbs) in USED {
        let right = (
            (*role).to_owned(),
            *reach,
            (*group).to_owned(),
            (*resource).to_owned(),
        );
        used.entry(right)
            .or_default()
            .extend(verbs.iter().map(|verb| (*verb).to_owned()));
    }
    used
}

fn mk_granted(documents: &[Value]) -> Rights {
    let mut rights = Rights::new();
    for (kind, reach) in [("ClusterRole", Reach::Cluster), ("Role", Reach::Namespace)] {
        for role in of_kind(documents, kind) {
            let name = text(&role["metadata"]["name"]).to_owned();
            for rule in role["rules"].as_sequence().unwrap() {
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        let right = (name.clone(), reach, group.clone(), resource);
                        rights
                            .entry(right)
                            .or_default()
                            .extend(texts(&rule["verbs"]));
                    }
                }
            }
        }
    }
    rights
}

#[test]
fn each_daemon_may_do_what_its_code_does_and_nothing_else() {
    let (used, granted) = (mk_used(), mk_granted(&mk_documents()));
    for (right, verbs) in &used {
        assert_eq!(
            granted.get(right),
            Some(verbs),
            "granted and used differ: {right:?}"
        );
    }
    for (right, verbs) in &granted {
        assert!(
            used.contains_key(right),
            "granted, but not used: {right:?} {verbs:?}"
        );
    }
}

#[test]
fn the_controller_reads_no_secret_but_the_one_that_it_draws() {
    let documents = mk_documents();
    let mut roles = of_kind(&documents, "Role");
    let role = roles.find(|role| text(&role["metadata"]["name"]) == CONTROLLER);
    for rule in role.unwrap()["rules"].as_sequence().unwrap() {
        let verbs = texts(&rule["verbs"]);
        if texts(&rule["resources"]).contains(&"secrets".to_owned()) && verbs != CREATE {
            assert_eq!(texts(&rule["resourceNames"]), ["portolan-speakers"]);
        }
    }
}

#[test]
fn every_manifest_stands_in_the_kustomization() {
    let kustomization = std::fs::read_to_string(base().join("kustomization.yaml")).unwrap();
    let kustomization: Value = serde_yaml::from_str(&kustomization).unwrap();
    let listed = texts(&kustomization["resources"]);
    for entry in std::fs::read_dir(base()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "kustomization.yaml" || listed.contains(&name),
            "{name} is not listed"
        );
    }
}

#[test]
fn every_role_is_bound_to_the_account_that_its_pods_run_as() {
    let documents = mk_documents();
    for (kind, binding) in [
        ("ClusterRole", "ClusterRoleBinding"),
        ("Role", "RoleBinding"),
    ] {
        for role in of_kind(&documents, kind) {
            let name = text(&role["metadata"]["name"]);
            let bound = of_kind(&documents, binding).any(|binding| {
                let (reference, subject) = (&binding["roleRef"], &binding["subjects"][0]);
                text(&reference["kind"]) == kind
                    && text(&reference["name"]) == name
                    && text(&subject["name"]) == name
                    && text(&subject["namespace"]) == "portolan-system"
            });
            assert!(bound, "{kind} {name} is not bound");
        }
    }
    for (kind, name) in [("Deployment", CONTROLLER), ("DaemonSet", SPEAKER)] {
        let workload = of_kind(&documents, kind).next().expect(kind);
        let account = &workload["spec"]["template"]["spec"]["serviceAccountName"];
        assert_eq!(text(account), name, "{kind}");
        let exists =
            of_kind(&documents, "ServiceAccount").any(|a| text(&a["metadata"]["name"]) == name);
        assert!(exists, "there is no ServiceAccount {name}");
    }
}

#[test]
fn containers_hold_the_least_privileges() {
    let documents = mk_documents();
    let speaker = [
        "NET_RAW",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "SYS_NICE",
        "IPC_LOCK",
    ];
    for (kind, added) in [("Deployment", &[][..]), ("DaemonSet", &speaker[..])] {
        let workload = of_kind(&documents, kind).next().expect(kind);
        let container = &workload["spec"]["template"]["spec"]["containers"][0];
        let security = &container["securityContext"];
        assert_eq!(texts(&security["capabilities"]["drop"]), ["ALL"], "{kind}");
        assert_eq!(texts(&security["capabilities"]["add"]), added, "{kind}");
        assert_eq!(
            security["readOnlyRootFilesystem"],
            Value::Bool(true),
            "{kind}"
        );
        assert_eq!(
            security["allowPrivilegeEscalation"],
            Value::Bool(false),
            "{kind}"
        );
    }
}
