//! The watches of a speaker: five for ever, one more once a peer takes its key from a Secret, and one while a rule announces
//! addresses that Services of any type have.
//!
//! ```text
//! Services (type LoadBalancer)   ─┐
//! EndpointSlices (not headless)  ─┤
//! SpeakerConfig default          ─┼──► Event ──► the one task that owns the model
//! own Node                       ─┤
//! Secret of the speakers         ─┤
//! Secrets of our namespace       ─┤  (on demand)
//! Services (of other types)      ─┘  (on demand)
//! ```

use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client};
use portolan_api::annotation::SPEAKER_SECRET;
use portolan_api::crd::SpeakerConfig;
use portolan_api::view::{EndpointSlice, Node, Service};
use portolan_daemon::watch::{watch, watch_guarded};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::core::{Event, Secret};

/// Starts the permanent watches.
pub(crate) fn spawn(
    tasks: &mut JoinSet<()>,
    client: &Client,
    namespace: &str,
    node: &str,
    tx: &mpsc::Sender<Event>,
) {
    let spread = spread(node);
    let key = watcher::Config::default().fields(&format!("metadata.name={SPEAKER_SECRET}"));
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    tasks.spawn(watch(secrets, key, spread, tx.clone(), Event::SpeakerKey));
    let services = watcher::Config::default().fields("spec.type=LoadBalancer");
    tasks.spawn(watch::<Service, _>(
        Api::all(client.clone()),
        services,
        spread,
        tx.clone(),
        Event::Service,
    ));
    let slices = watcher::Config::default().labels("!service.kubernetes.io/headless");
    tasks.spawn(watch::<EndpointSlice, _>(
        Api::all(client.clone()),
        slices,
        spread,
        tx.clone(),
        Event::Slice,
    ));
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={}", portolan_api::SPEAKER_CONFIG));
    let configs: Api<DeserializeGuard<SpeakerConfig>> = Api::all(client.clone());
    tasks.spawn(watch_guarded(
        configs,
        config,
        spread,
        tx.clone(),
        Event::Config,
    ));
    let own = watcher::Config::default().fields(&format!("metadata.name={node}"));
    tasks.spawn(watch::<Node, _>(
        Api::all(client.clone()),
        own,
        spread,
        tx.clone(),
        Event::Node,
    ));
}

/// The watch of Services of other types than LoadBalancer.
pub(crate) fn other_services(
    client: &Client,
    node: &str,
    generation: u32,
    tx: &mpsc::Sender<Event>,
) -> impl Future<Output = ()> + Send + 'static {
    let others = watcher::Config::default().fields("spec.type!=LoadBalancer");
    let services: Api<Service> = Api::all(client.clone());
    watch(services, others, spread(node), tx.clone(), move |change| {
        Event::OtherService(generation, change)
    })
}

/// Starts the watch of Secrets. Their content is never logged.
pub(crate) fn spawn_secrets(
    tasks: &mut JoinSet<()>,
    client: &Client,
    namespace: &str,
    node: &str,
    tx: &mpsc::Sender<Event>,
) {
    let basic_auth = watcher::Config::default().fields("type=kubernetes.io/basic-auth");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    tasks.spawn(watch(
        secrets,
        basic_auth,
        spread(node),
        tx.clone(),
        Event::Secret,
    ));
}

/// A number in 0..1 that is this node's own: it moves requests of nodes that start together apart.
pub(crate) fn spread(node: &str) -> f64 {
    f64::from(fnv1a(node) % 1000) / 1000.0
}

/// FNV-1a, 32 bits: stable across versions, unlike the standard library's hasher.
pub(crate) fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
