//! What a fresh server holds, and how clients find it.

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::cluster::{Cluster, Target, Writing};
use super::ownership::Manager;
use super::store;

/// What a server can be started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// ClusterIP ranges, the default family first: the ServiceCIDR object `kubernetes`.
    pub service_ranges: Vec<String>,
    /// Changes remembered for watches to resume.
    pub history: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_ranges: vec!["10.96.0.0/12".to_owned(), "fd00:96::/112".to_owned()],
            history: store::HISTORY,
        }
    }
}

/// A cluster as a new one is: its namespaces, its ranges, the Service `kubernetes`; and the given definitions.
pub(super) fn cluster(
    crds: Vec<CustomResourceDefinition>,
    settings: &Settings,
) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::new(settings.history)?;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        add(
            &mut cluster,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        )?;
    }
    add(
        &mut cluster,
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": settings.service_ranges},
        }),
    )?;
    add(
        &mut cluster,
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP", "clusterIP": first_address(settings),
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            },
        }),
    )?;
    for crd in crds {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let crd = serde_json::to_value(crd).with_context(|| format!("write definition {name}"))?;
        add(&mut cluster, crd).with_context(|| format!("install definition {name}"))?;
    }
    Ok(cluster)
}

/// The address that the Service `kubernetes` has by convention.
fn first_address(settings: &Settings) -> Option<String> {
    let range: ipnetwork::IpNetwork = settings.service_ranges.first()?.parse().ok()?;
    range.iter().nth(1).map(|ip| ip.to_string())
}

fn add(cluster: &mut Cluster, object: Value) -> anyhow::Result<()> {
    let text = |pointer| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let kind = cluster
        .kinds
        .iter()
        .find(|k| k.api_version() == api_version && k.kind == kind)
        .with_context(|| format!("unknown kind {kind} in {api_version}"))?
        .clone();
    let manager = Manager {
        name: "kube-apiserver".to_owned(),
        applies: false,
        status: false,
        api_version,
    };
    let how = Writing {
        manager,
        now: Timestamp::now(),
        dry_run: false,
        strict: false,
    };
    let target = Target {
        kind,
        namespace: text("/metadata/namespace"),
        name: String::new(),
    };
    cluster.create(&target, object, &how)?;
    Ok(())
}

/// A kubeconfig for a server without credentials.
pub(super) fn kubeconfig(url: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: portolan\n\
         clusters:\n- name: portolan\n  cluster:\n    server: {url}\n\
         contexts:\n- name: portolan\n  context:\n    cluster: portolan\n    user: portolan\n    namespace: default\n\
         users:\n- name: portolan\n  user: {{}}\n"
    )
}
