//! The controller without a cluster: a core, and a status that its writes land in.

mod adoption;
mod class;
mod conditions;
mod contests;
mod dual_stack;
mod giving_way;
mod history;
mod life;
mod node_addresses;
mod order;
mod outcomes;
mod placement;
mod pools;
mod quarantine;
mod quota;
mod ranges;
mod reservations;
mod retention;
mod sharing;
mod status;
mod waking;
mod world;

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use portolan_api::ObjectKey;
use portolan_api::annotation::{ADDRESS_POOL, ALLOW_SHARED_IP, ASSIGNED, LOAD_BALANCER_IPS, POOL};
use portolan_api::crd::{IPAddressPool, IPAddressPoolSpec, SpeakerConfig};
use portolan_api::view::{
    Ingress, Namespace, Node, NodeAddress, NodeReport, Service, TrafficPolicy,
};
use portolan_daemon::watch::Change;

use super::*;
use crate::model::Listed;

/// A cluster that consists of what the core sees of it.
struct World {
    core: Core,
    services: BTreeMap<ObjectKey, Service>,
    pools: BTreeMap<String, IPAddressPool>,
    namespaces: BTreeMap<String, Namespace>,
    nodes: BTreeMap<String, Node>,
    /// Of speakers that are alive.
    reports: BTreeMap<String, NodeReport>,
    config: Option<SpeakerConfig>,
    version: u64,
    start: Instant,
    now: Instant,
    /// Reasons of Events, in order, with the Service.
    notes: Vec<String>,
    /// Status writes to Services.
    writes: usize,
}

fn mk_core() -> Core {
    Core::new("me", "portolan-system", None)
}

fn mk_world(pools: &[(&str, &str)]) -> World {
    let now = tokio::time::Instant::now().into_std();
    let mut world = World {
        core: mk_core(),
        services: BTreeMap::new(),
        pools: BTreeMap::new(),
        namespaces: BTreeMap::from([("shop".to_owned(), mk_namespace("shop"))]),
        nodes: BTreeMap::new(),
        reports: BTreeMap::new(),
        config: None,
        version: 100,
        start: now,
        now,
        notes: Vec::new(),
        writes: 0,
    };
    for (name, addresses) in pools {
        world.pool(name, addresses);
    }
    world.restart();
    world
}

fn mk_labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    labels.iter().map(owned).collect()
}

fn mk_namespace(name: &str) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace
}

fn show(service: &mut Service, addresses: &[&str]) {
    let entry = |address: &&str| Ingress {
        ip: Some((*address).to_owned()),
        ..Ingress::default()
    };
    service.status.load_balancer.ingress = addresses.iter().map(entry).collect();
}

fn listed<T>(items: impl Iterator<Item = T>) -> Listed<T> {
    Listed {
        items: items.collect(),
        version: None,
    }
}

/// `name` of namespace shop, or `namespace/name`.
fn mk_key(name: &str) -> ObjectKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    ObjectKey::new(namespace, name)
}

fn key_of(key: &ObjectKey) -> (String, String) {
    (key.namespace.clone(), key.name.clone())
}

fn annotate(service: &mut Service, name: &str, value: &str) {
    let annotations = service.metadata.annotations.get_or_insert_default();
    annotations.insert(name.to_owned(), value.to_owned());
}

fn mk_sharer(service: &mut Service, key: &str, port: i32) {
    annotate(service, ALLOW_SHARED_IP, key);
    service.spec.ports = vec![portolan_api::view::Port {
        protocol: Some("TCP".to_owned()),
        port,
    }];
}

/// Asks for exact addresses.
fn ask(addresses: &str) -> impl Fn(&mut Service) {
    move |service| annotate(service, LOAD_BALANCER_IPS, addresses)
}

/// Asks for a pool.
fn ask_pool(pool: &str) -> impl Fn(&mut Service) {
    move |service| annotate(service, ADDRESS_POOL, pool)
}

/// A Service with both families.
fn dual(policy: &str) -> impl Fn(&mut Service) {
    move |service| {
        service.spec.ip_families = vec!["IPv4".to_owned(), "IPv6".to_owned()];
        service.spec.ip_family_policy = Some(policy.to_owned());
    }
}

fn unannotate(service: &mut Service, name: &str) {
    service
        .metadata
        .annotations
        .get_or_insert_default()
        .remove(name);
}
