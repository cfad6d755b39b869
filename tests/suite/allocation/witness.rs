//! A watch of all Services and pools that misses nothing.
//!
//! It is never listed anew: it goes on from the last version, so every state that the API server ever had is there, in
//! the order in which it came to be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One state of one object, or its end.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    /// Its resourceVersion: the order of all events, of both kinds.
    pub(super) version: u64,
    /// When the watch told of it.
    pub(super) at: Instant,
    /// Whether it is the end.
    pub(super) deleted: bool,
    /// Whether it is a pool, else a Service.
    pub(super) pool: bool,
    /// `namespace/name` of a Service, name of a pool.
    pub(super) name: String,
    /// What it wants: labels and annotations that are not ours, and the specification.
    pub(super) wish: Value,
    /// The addresses in its status.
    pub(super) addresses: Vec<IpAddr>,
}

/// A running watch. Dropping it ends it.
pub(super) struct Witness {
    log: Arc<Mutex<Vec<Sighting>>>,
    apis: [Api<DynamicObject>; 2],
    tasks: JoinSet<Result<()>>,
}

impl Witness {
    /// Returns when it sees: whatever happens from now on is in its log, after what there is already.
    pub(super) async fn start(world: &World) -> Result<Self> {
        let service = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        let apis = [service, super::pool_resource()]
            .map(|kind| Api::<DynamicObject>::all_with(world.cluster.client(), &kind));
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for api in apis.clone() {
            let list = api.list(&ListParams::default()).await?;
            let version = list.metadata.resource_version.unwrap_or_default();
            let present = list.items.iter().map(|object| sighting(object, false));
            log.lock().unwrap().extend(present);
            tasks.spawn(follow(api, version, Arc::clone(&log)));
        }
        Ok(Self { log, apis, tasks })
    }

    /// All that was seen, in order, up to what the API server has now.
    pub(super) async fn log(&mut self) -> Result<Vec<Sighting>> {
        let mut newest = [0, 0];
        for (api, newest) in self.apis.iter().zip(&mut newest) {
            let list = api.list_metadata(&ListParams::default()).await?;
            *newest = list.items.iter().map(version).max().unwrap_or_default();
        }
        retry_until(SOON, "the witness to see the present", async || {
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
            }
            let log = self.log.lock().unwrap();
            for (pool, newest) in [(false, newest[0]), (true, newest[1])] {
                let seen = log.iter().filter(|it| it.pool == pool);
                let seen = seen.map(|it| it.version).max().unwrap_or_default();
                ensure!(seen >= newest, "it has seen {seen} of {newest}");
            }
            Ok(())
        })
        .await?;
        let mut log = self.log.lock().unwrap().clone();
        log.sort_by_key(|it| it.version);
        Ok(log)
    }

    /// The addresses that a Service showed one after another, each list once.
    pub(super) async fn history(&mut self, name: &str) -> Result<Vec<Vec<IpAddr>>> {
        let (namespace, name) = super::parts(name);
        let name = format!("{namespace}/{name}");
        let log = self.log().await?;
        let mut shown: Vec<_> = log
            .into_iter()
            .filter(|it| !it.pool && !it.deleted && it.name == name)
            .map(|it| it.addresses)
            .collect();
        shown.dedup();
        Ok(shown)
    }

    /// When a Service showed an address first.
    pub(super) async fn given(&mut self, name: &str, address: &str) -> Result<Instant> {
        let (namespace, name) = super::parts(name);
        let name = format!("{namespace}/{name}");
        let address = address.parse()?;
        let log = self.log().await?;
        let first = log
            .iter()
            .find(|it| !it.pool && it.name == name && it.addresses.contains(&address));
        Ok(first
            .with_context(|| format!("{name} never had {address}"))?
            .at)
    }
}

async fn follow(
    api: Api<DynamicObject>,
    mut from: String,
    log: Arc<Mutex<Vec<Sighting>>>,
) -> Result<()> {
    loop {
        let parameters = WatchParams::default().timeout(240);
        let events = api.watch(&parameters, &from).await?;
        let mut events = events.boxed();
        while let Some(event) = events.try_next().await? {
            let (object, deleted) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(mark) => {
                    from = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => {
                    anyhow::bail!("the witness lost its place: {status:?}")
                }
            };
            from = object.resource_version().unwrap_or_default();
            log.lock().unwrap().push(sighting(&object, deleted));
        }
    }
}

fn version(object: &impl kube::Resource) -> u64 {
    let text = object
        .meta()
        .resource_version
        .as_deref()
        .unwrap_or_default();
    text.parse().unwrap()
}

fn sighting(object: &DynamicObject, deleted: bool) -> Sighting {
    let theirs = |(name, _): &(&String, &String)| {
        !["portolan.dev/pool", "portolan.dev/l2-nodes"].contains(&name.as_str())
    };
    let annotations: BTreeMap<_, _> = object.annotations().iter().filter(theirs).collect();
    let name = object.name_any();
    let pool = object.namespace().is_none();
    let entries = &object.data["status"]["loadBalancer"]["ingress"];
    let entries = entries.as_array().into_iter().flatten();
    Sighting {
        version: version(object),
        at: Instant::now(),
        deleted,
        pool,
        name: object
            .namespace()
            .map_or(name.clone(), |namespace| format!("{namespace}/{name}")),
        wish: json!({ "labels": object.labels(), "annotations": annotations, "spec": object.data["spec"] }),
        addresses: entries
            .filter_map(|entry| entry["ip"].as_str()?.parse().ok())
            .collect(),
    }
}
