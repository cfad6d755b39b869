//! The Services that everything is measured with, and a watch that writes down when each got its address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client};
use portolan_api::view;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Requests on their way at the same time when many objects are made or written: as many as the controller's.
pub(crate) const CONCURRENCY: usize = 16;
/// Longest time for anything that is measured in seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// When a Service was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    /// The request was about to leave.
    pub(crate) sent: Instant,
    /// The answer had come.
    pub(crate) answered: Instant,
}

/// Addresses that Services hold, and when the watch said so first.
pub(crate) type Addresses = HashMap<String, (IpAddr, Instant)>;

/// Makes Services and endpoints in namespace default.
pub(crate) struct Load {
    services: Api<Service>,
    slices: Api<EndpointSlice>,
    node: String,
    addresses: watch::Receiver<Addresses>,
    /// Ends with the load, before the API server does.
    _watch: JoinSet<()>,
}

impl Load {
    /// Endpoints will be on `node`.
    pub(crate) fn new(client: &Client, node: &str) -> Self {
        let (sender, addresses) = watch::channel(Addresses::default());
        let mut watch = JoinSet::new();
        watch.spawn(follow(Api::default_namespaced(client.clone()), sender));
        Self {
            services: Api::default_namespaced(client.clone()),
            slices: Api::default_namespaced(client.clone()),
            node: node.to_owned(),
            addresses,
            _watch: watch,
        }
    }

    /// Creates a Service; `policy` is its externalTrafficPolicy.
    pub(crate) async fn create(&self, name: &str, policy: &str) -> Result<Created> {
        self.create_of_class(name, policy, None).await
    }

    /// As [`Self::create`], of a `loadBalancerClass`.
    pub(crate) async fn create_of_class(
        &self,
        name: &str,
        policy: &str,
        class: Option<&str>,
    ) -> Result<Created> {
        let service = json!({
            "metadata": { "name": name },
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": class,
                "allocateLoadBalancerNodePorts": false,
                "externalTrafficPolicy": policy,
                "ipFamilyPolicy": "SingleStack",
                "ipFamilies": ["IPv4"],
                "ports": [{ "name": "http", "port": 80 }],
            },
        });
        let service = serde_json::from_value(service).context("making a Service")?;
        let parameters = PostParams::default();
        let sent = now();
        let made = self.services.create(&parameters, &service).await;
        made.with_context(|| format!("creating Service {name}"))?;
        let answered = now();
        Ok(Created { sent, answered })
    }

    /// Gives a Service an endpoint on the node, before or after it is made.
    pub(crate) async fn give_endpoint(&self, service: &str) -> Result<()> {
        let slice = json!({
            "metadata": { "name": service, "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "portolan-figures",
            }},
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
            "endpoints": [endpoint(&self.node, true)],
        });
        let slice = serde_json::from_value(slice).context("making an EndpointSlice")?;
        let made = self.slices.create(&PostParams::default(), &slice).await;
        made.map(drop)
            .with_context(|| format!("creating EndpointSlice {service}"))
    }

    /// Makes the endpoint of a Service ready or not; returns when the request was about to leave, and when the answer came.
    pub(crate) async fn turn(&self, service: &str, ready: bool) -> Result<Created> {
        let patch = Patch::Merge(json!({ "endpoints": [endpoint(&self.node, ready)] }));
        let sent = now();
        let patched = self
            .slices
            .patch(service, &PatchParams::default(), &patch)
            .await;
        patched.with_context(|| format!("changing EndpointSlice {service}"))?;
        let answered = now();
        Ok(Created { sent, answered })
    }

    /// Patches the status of a Service as the controller does: what this takes, nobody can go below.
    pub(crate) async fn patch_status(&self, service: &str, round: usize) -> Result<Duration> {
        let condition = json!({
            "type": "figures.example/Round", "status": "True", "reason": "Measured",
            "message": round.to_string(), "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let patch = Patch::Merge(json!({ "status": { "conditions": [condition] } }));
        let sent = now();
        let patched = self
            .services
            .patch_status(service, &PatchParams::default(), &patch)
            .await;
        patched.with_context(|| format!("patching the status of Service {service}"))?;
        Ok(now() - sent)
    }

    /// Gives all of these an endpoint.
    pub(crate) async fn give_endpoints(&self, names: &[String]) -> Result<()> {
        futures::stream::iter(names)
            .map(|name| self.give_endpoint(name))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Creates all of these; returns when the answer to the last came.
    pub(crate) async fn create_all(&self, names: &[String]) -> Result<Instant> {
        let created: Vec<Created> = futures::stream::iter(names)
            .map(|name| self.create(name, "Cluster"))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let last = created.iter().map(|created| created.answered).max();
        last.context("no Service to create")
    }

    /// Waits for the address of a Service; returns it and when the watch said so.
    pub(crate) async fn address(&self, name: &str) -> Result<(IpAddr, Instant)> {
        let mut addresses = self.addresses.clone();
        let known = addresses.wait_for(|held| held.contains_key(name));
        let held = tokio::time::timeout(PATIENCE, known).await;
        let held = held.with_context(|| format!("{name} got no address"))??;
        held.get(name).copied().context("it was there")
    }

    /// Waits until all of these have an address; returns when the last one got it.
    pub(crate) async fn all_addresses(&self, names: &[String]) -> Result<Instant> {
        let mut last = None;
        for name in names {
            last = last.max(Some(self.address(name).await?.1));
        }
        last.context("no Service to wait for")
    }

    /// When the watch saw the first address of all.
    pub(crate) fn first_address(&self) -> Result<Instant> {
        let addresses = self.addresses.borrow();
        let first = addresses.values().map(|(_, at)| *at).min();
        first.context("no Service has an address")
    }

    /// The `resourceVersion` of every Service: what has not been written keeps it.
    pub(crate) async fn versions(&self) -> Result<HashMap<String, String>> {
        let list = self.services.list_metadata(&ListParams::default()).await;
        let versions = list.context("listing Services")?.items.into_iter();
        Ok(versions
            .filter_map(|item| Some((item.metadata.name?, item.metadata.resource_version?)))
            .collect())
    }
}

/// The present moment, by the clock of all figures.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn endpoint(node: &str, ready: bool) -> serde_json::Value {
    json!({
        "addresses": ["10.244.1.99"], "nodeName": node,
        "conditions": { "ready": ready, "serving": ready, "terminating": false },
    })
}

async fn follow(services: Api<view::Service>, addresses: watch::Sender<Addresses>) {
    let events = watcher(services, Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => note(event, &addresses),
            Err(error) => eprintln!("the watch of Services: {error}"),
        }
    }
}

fn note(event: Event<view::Service>, addresses: &watch::Sender<Addresses>) {
    let (Event::Apply(service) | Event::InitApply(service)) = event else {
        return;
    };
    let (Some(vip), Some(name)) = (service.vips().first().copied(), service.metadata.name) else {
        return;
    };
    addresses.send_if_modified(|held| {
        let news = !held.contains_key(&name);
        held.entry(name).or_insert((vip, now()));
        news
    });
}
