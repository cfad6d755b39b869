//! The custom resources of `manifests/crds`: read, installed, waited for.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};

use super::objects::MANAGER;
use crate::lab::retry_until;

pub(super) const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds");

/// The definitions of `manifests/crds`, by name of file.
pub fn read() -> Result<Vec<CustomResourceDefinition>> {
    let entries = fs::read_dir(DIRECTORY).with_context(|| format!("reading {DIRECTORY}"))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    // Beside the definitions stands kustomize's own list of them.
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
            && !path.ends_with("kustomization.yaml")
    });
    paths.sort_unstable();
    let crds = paths.iter().map(|path| {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_yaml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
    });
    crds.collect()
}

/// Returns when the API server serves all of them.
pub(super) async fn install(client: &Client, crds: &[CustomResourceDefinition]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let parameters = PatchParams::apply(MANAGER).force();
    for crd in crds {
        let name = crd.name_any();
        let patched = api.patch(&name, &parameters, &Patch::Apply(crd)).await;
        patched.with_context(|| format!("installing {name}"))?;
    }
    for crd in crds {
        let name = crd.name_any();
        let what = format!("{name} to be established");
        retry_until(Duration::from_secs(30), &what, async || {
            let status = api
                .get(&name)
                .await
                .context("reading it back")?
                .status
                .unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let established = conditions
                .iter()
                .any(|it| it.type_ == "Established" && it.status == "True");
            ensure!(established, "conditions {conditions:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
