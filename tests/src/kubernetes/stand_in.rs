//! Follows Services and EndpointSlices and keeps the rules of one node, as kube-proxy does where it runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lab::proxy::{Backend, Proxy, ServiceRule};
use crate::lab::{Netns, Node};

/// Changes that come together are written together.
const QUIET: Duration = Duration::from_millis(10);
/// From start to the first rules.
const READY: Duration = Duration::from_secs(60);

/// A running follower. Dropping it stops it.
pub struct StandIn {
    _task: DropGuard,
}

struct Follower {
    node: String,
    netns: Netns,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
}

impl StandIn {
    pub(super) async fn start(client: &Client, node: &Node) -> Result<Self> {
        let (services, service_events) = follow(Api::all(client.clone()));
        let (slices, slice_events) = follow(Api::all(client.clone()));
        let (node, netns) = (node.name().to_owned(), node.host.netns().clone());
        let follower = Follower {
            node,
            netns,
            services,
            slices,
        };
        let (first, written) = oneshot::channel();
        let stop = CancellationToken::new();
        let until = stop.clone();
        tokio::spawn(async move {
            let events = stream::select(service_events, slice_events);
            until.run_until_cancelled(follower.run(events, first)).await;
        });
        let waited = timeout(READY, written)
            .await
            .context("waiting for the first rules")?;
        waited.context("the stand-in of kube-proxy ended")?;
        Ok(Self {
            _task: stop.drop_guard(),
        })
    }
}

/// A store, and one item for every time that it may have changed.
fn follow<K>(api: Api<K>) -> (Store<K>, impl Stream<Item = ()> + Send + 'static)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    K: serde::de::DeserializeOwned,
{
    let (store, writer) = reflector::store();
    let events = watcher(api, watcher::Config::default()).default_backoff();
    // The watcher tries again by itself; until it succeeds, the rules stay as they are.
    (
        store,
        reflector::reflector(writer, events)
            .map(|_event_or_error| ())
            .boxed(),
    )
}

impl Follower {
    async fn run(self, events: impl Stream<Item = ()>, first: oneshot::Sender<()>) {
        let mut first = Some(first);
        let mut events = std::pin::pin!(events);
        while events.next().await.is_some() {
            while let Ok(Some(())) = timeout(QUIET, events.next()).await {}
            if !self.is_filled().await {
                continue;
            }
            if let Err(error) = self.write().await {
                tracing::warn!("rules of {}: {error:#}", self.node);
            } else if let Some(first) = first.take() {
                let _caller_gave_up = first.send(());
            }
        }
    }

    /// Half a picture would take rules away that are right.
    async fn is_filled(&self) -> bool {
        let both = async {
            let services = self.services.wait_until_ready().await.is_ok();
            services && self.slices.wait_until_ready().await.is_ok()
        };
        timeout(Duration::ZERO, both).await.unwrap_or(false)
    }

    async fn write(&self) -> Result<()> {
        let slices = self.slices.state();
        let services = self.services.state();
        let rules: Vec<ServiceRule> = services
            .iter()
            .flat_map(|service| rules_of(service, &slices))
            .collect();
        let (node, netns) = (self.node.clone(), self.netns.clone());
        let written = tokio::task::spawn_blocking(move || Proxy::apply_in(&netns, &node, &rules));
        written.await.context("writing the rules")?
    }
}

/// Per port one rule for what comes from outside and one for the cluster-internal addresses: their policies
/// differ.
fn rules_of(service: &Service, slices: &[Arc<EndpointSlice>]) -> Vec<ServiceRule> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let sides = [
        (
            outside(service, spec),
            is_local(&spec.external_traffic_policy),
        ),
        (
            parse(spec.cluster_ips.iter().flatten()),
            is_local(&spec.internal_traffic_policy),
        ),
    ];
    let slices = slices.iter().map(Arc::as_ref);
    let own: Vec<&EndpointSlice> = slices.filter(|slice| belongs(slice, service)).collect();
    let mut rules = Vec::new();
    for port in spec.ports.iter().flatten() {
        let udp = match port.protocol.as_deref() {
            None | Some("TCP") => false,
            Some("UDP") => true,
            Some(_) => continue,
        };
        let Ok(number) = u16::try_from(port.port) else {
            continue;
        };
        rules.extend(sides.iter().map(|(addresses, local)| ServiceRule {
            addresses: addresses.clone(),
            udp,
            port: number,
            local: *local,
            backends: backends(port, &own, *local),
        }));
    }
    rules
}

/// The addresses that clients outside use: those in the status, and the user's own.
fn outside(service: &Service, spec: &ServiceSpec) -> Vec<IpAddr> {
    let status = service
        .status
        .as_ref()
        .and_then(|it| it.load_balancer.as_ref());
    let ingress = status
        .and_then(|it| it.ingress.as_ref())
        .into_iter()
        .flatten();
    let vips = ingress.filter_map(|it| it.ip.as_ref());
    parse(vips.chain(spec.external_ips.iter().flatten()))
}

fn belongs(slice: &EndpointSlice, service: &Service) -> bool {
    let name = slice.labels().get("kubernetes.io/service-name");
    slice.namespace() == service.namespace() && name == Some(&service.name_any())
}

/// Headless Services say `None` instead of an address.
fn parse<'a>(addresses: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    addresses
        .filter_map(|address| address.parse().ok())
        .collect()
}

/// As kube-proxy chooses: the ready ones, and without any those that terminate but still serve. Policy Local asks
/// this of every node by itself.
fn backends(port: &ServicePort, slices: &[&EndpointSlice], local: bool) -> Vec<Backend> {
    let mut groups: BTreeMap<(String, bool), Group> = BTreeMap::new();
    for slice in slices {
        let Some(number) = port_number(port, slice) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let Some(backend) = backend(endpoint, number) else {
                continue;
            };
            let who = if local {
                backend.node.clone()
            } else {
                String::new()
            };
            groups
                .entry((who, backend.address.is_ipv4()))
                .or_default()
                .add(endpoint, backend);
        }
    }
    groups.into_values().flat_map(Group::chosen).collect()
}

#[derive(Default)]
struct Group {
    ready: Vec<Backend>,
    draining: Vec<Backend>,
}

impl Group {
    fn add(&mut self, endpoint: &Endpoint, backend: Backend) {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        if conditions.ready.unwrap_or(true) {
            self.ready.push(backend);
        } else if conditions.serving == Some(true) && conditions.terminating == Some(true) {
            self.draining.push(backend);
        }
    }

    fn chosen(self) -> Vec<Backend> {
        if self.ready.is_empty() {
            self.draining
        } else {
            self.ready
        }
    }
}

fn port_number(port: &ServicePort, slice: &EndpointSlice) -> Option<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let mut ports = slice.ports.iter().flatten();
    let found = ports.find(|it| it.name.as_deref().unwrap_or_default() == name)?;
    found.port.and_then(|number| u16::try_from(number).ok())
}

fn backend(endpoint: &Endpoint, port: u16) -> Option<Backend> {
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let node = endpoint.node_name.clone().unwrap_or_default();
    Some(Backend {
        address: SocketAddr::new(address, port),
        node,
    })
}
