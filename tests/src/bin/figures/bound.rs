//! The lower bound: a plain loop that writes the statuses that are there once more, and does nothing else.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use portolan_api::annotation::POOL;
use portolan_api::view;
use serde_json::{Value, json};

use crate::load::now;

/// Objects in one page of a list.
const PAGE: u32 = 1000;

/// The statuses of all Services of namespace default that have an address.
pub(crate) struct Statuses {
    /// With the result in the form that the controller reads.
    services: Api<view::Service>,
    held: Vec<Held>,
}

struct Held {
    name: String,
    version: String,
    pool: Option<String>,
    load_balancer: Value,
    conditions: Vec<Value>,
}

impl Statuses {
    /// Reads them.
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let all = Api::<Service>::default_namespaced(client.clone());
        let mut parameters = ListParams::default().limit(PAGE);
        let mut held = Vec::new();
        loop {
            let page = all.list(&parameters).await.context("listing Services")?;
            held.extend(page.items.into_iter().filter_map(Held::of));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => break,
            }
        }
        let services = Api::default_namespaced(client.clone());
        Ok(Self { services, held })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.held.len()
    }

    /// Writes the first `count`, with so many requests on their way at the same time; returns how long that took. `mark` is
    /// added to the words of each condition, so that every write changes something; without a mark all is as it was.
    pub(crate) async fn write(
        &mut self,
        count: usize,
        concurrency: usize,
        mark: &str,
    ) -> Result<Duration> {
        let began = now();
        let services = &self.services;
        futures::stream::iter(self.held.iter_mut().take(count))
            .map(|held| held.write(services, mark))
            .buffer_unordered(concurrency)
            .try_collect::<()>()
            .await?;
        Ok(now() - began)
    }
}

impl Held {
    fn of(service: Service) -> Option<Self> {
        let status = service.status?;
        let load_balancer = status.load_balancer.filter(|held| held.ingress.is_some())?;
        let conditions = status.conditions.unwrap_or_default();
        let annotations = service.metadata.annotations.unwrap_or_default();
        Some(Self {
            name: service.metadata.name?,
            version: service.metadata.resource_version?,
            pool: annotations.get(POOL).cloned(),
            load_balancer: json!(load_balancer),
            conditions: conditions.iter().map(|one| json!(one)).collect(),
        })
    }

    /// The same merge patch of the status subresource as the controller's.
    async fn write(&mut self, services: &Api<view::Service>, mark: &str) -> Result<()> {
        let mut conditions = self.conditions.clone();
        for condition in &mut conditions {
            if let Some(Value::String(message)) = condition.get_mut("message") {
                message.push_str(mark);
            }
        }
        let patch = json!({
            "metadata": { "resourceVersion": self.version, "annotations": { POOL: self.pool } },
            "status": { "loadBalancer": self.load_balancer, "conditions": conditions },
        });
        let parameters = PatchParams {
            field_manager: Some("portolan-controller".to_owned()),
            ..PatchParams::default()
        };
        let written = services
            .patch_status(&self.name, &parameters, &Patch::Merge(patch))
            .await;
        let written = written.with_context(|| format!("the status of Service {}", self.name))?;
        let version = written.metadata.resource_version;
        self.version = version.context("a Service without a version")?;
        Ok(())
    }
}
