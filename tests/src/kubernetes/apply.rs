//! `kubectl apply -f -` for tests: YAML in, objects in the API server.

use anyhow::{Context, Result};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, ResourceExt};
use serde::Deserialize;

use super::Cluster;
use super::objects::MANAGER;

impl Cluster {
    /// Applies every document of a YAML text by server-side apply, in order; namespaced objects without a
    /// namespace go to `default`.
    ///
    /// # Errors
    /// The first document that is no object or that the API server refuses; those before it are applied.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        let mut applied = Vec::new();
        for document in serde_yaml::Deserializer::from_str(yaml) {
            let value = serde_yaml::Value::deserialize(document).context("parsing the YAML")?;
            if value.is_null() {
                continue;
            }
            let object: DynamicObject =
                serde_yaml::from_value(value).context("reading an object")?;
            let api = self.api_of(&object).await?;
            let name = object.name_any();
            let parameters = PatchParams::apply(MANAGER).force();
            let answer = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
            applied.push(answer.with_context(|| format!("applying {name}"))?);
        }
        Ok(applied)
    }

    /// The place in the API that an object belongs to.
    async fn api_of(&self, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object.types.as_ref().context("an object without kind")?;
        let kind = GroupVersionKind::try_from(types).context("reading apiVersion")?;
        let found = pinned_kind(&self.client, &kind).await;
        let (resource, capabilities) = found.with_context(|| format!("no such kind: {kind:?}"))?;
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client(), &resource),
            Scope::Namespaced => {
                let namespace = object.namespace().unwrap_or_else(|| "default".into());
                Api::namespaced_with(self.client(), &namespace, &resource)
            }
        })
    }
}
