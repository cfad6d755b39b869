//! An API server in memory: enough of Kubernetes, over real HTTP, that kubectl, kube-rs and our daemons work against it.
//!
//! It makes the demo, the simulator and most tests independent of a cluster. It proves nothing by itself: what passes
//! here must pass on a real kube-apiserver as well.
//!
//! ```text
//! TCP ─► http ─► route ─┬─► discovery, openapi           what is served
//!                       ├─► list, watch ─► form ─► table  reading: whole objects, metadata or printed rows
//!                       └─► cluster                       writing: identity, schema, strategy, ownership
//!                             │  ├ strategy ─► service, address, custom ─► schema
//!                             │  └ ownership ─► fields     managedFields, server-side apply
//!                             ▼
//!                           store  ordered map, one revision, bounded history
//! ```
//!
//! Below `http` and `watch` everything is a function of state, request and time. One lock guards the state; nothing is
//! awaited under it.
//!
//! What differs from a real server, beyond what the modules say: no authentication, TLS, OpenAPI v2, admission
//! webhooks, garbage collection by owner or built-in controllers (so no endpoints, and pods that nobody runs); field ownership is
//! recorded in the version written; protobuf is read for a few kinds and never written.

mod address;
mod allocation;
mod body;
mod call;
mod cluster;
mod custom;
mod deletion;
mod discovery;
mod error;
mod events;
mod fields;
mod form;
mod http;
mod jsonpath;
mod kind;
mod list;
mod objects;
mod openapi;
mod ownership;
mod patch;
mod protobuf;
mod requests;
mod route;
mod schema;
mod selector;
mod service;
mod service_rules;
mod start;
mod store;
mod strategy;
mod table;
#[cfg(test)]
mod tests;
mod uid;
mod validate;
mod watch;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use cluster::Cluster;
use error::Refusal;
pub use requests::Counts;
pub use start::Settings;

/// How often binding is tried again when an address is still busy, and how long between.
const BIND_ATTEMPTS: (u32, Duration) = (50, Duration::from_millis(100));

/// State and what hangs on it, shared by all connections.
struct Shared {
    cluster: Mutex<Cluster>,
    moved: tokio::sync::watch::Sender<u64>,
    counts: Mutex<Counts>,
    address: SocketAddr,
}

/// A panic of one request must not end the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        lock(&self.cluster)
    }

    fn write<T>(&self, act: impl FnOnce(&mut Cluster) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut cluster = self.cluster();
        let done = act(&mut cluster);
        self.moved.send_replace(cluster.store.revision());
        done
    }

    fn moved(&self) -> tokio::sync::watch::Receiver<u64> {
        self.moved.subscribe()
    }

    fn count(&self, verb: &'static str, resource: &route::Resource) {
        lock(&self.counts).add(verb, resource);
    }

    fn address(&self) -> String {
        self.address.to_string()
    }
}

/// A running server; dropping it ends it.
pub struct ApiServer {
    shared: Arc<Shared>,
    listening: CancellationToken,
    connections: Arc<Mutex<CancellationToken>>,
    tasks: TaskTracker,
}

impl ApiServer {
    /// Serves on `listen` (port 0 picks one), with these definitions installed.
    pub async fn start(
        listen: SocketAddr,
        crds: Vec<CustomResourceDefinition>,
    ) -> anyhow::Result<Self> {
        Self::start_with(listen, crds, Settings::default()).await
    }

    /// The same with other settings.
    pub async fn start_with(
        listen: SocketAddr,
        crds: Vec<CustomResourceDefinition>,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let cluster = start::cluster(crds, &settings)?;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listen on {listen}"))?;
        let shared = Arc::new(Shared {
            moved: tokio::sync::watch::Sender::new(cluster.store.revision()),
            cluster: Mutex::new(cluster),
            counts: Mutex::default(),
            address: listener
                .local_addr()
                .context("read the address listened on")?,
        });
        let mut server = Self {
            shared,
            listening: CancellationToken::new(),
            connections: Arc::new(Mutex::new(CancellationToken::new())),
            tasks: TaskTracker::new(),
        };
        server.serve(listener);
        Ok(server)
    }

    /// Where it listens, for example `http://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address())
    }

    /// A kubeconfig, YAML.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        start::kubeconfig(&self.url())
    }

    /// An outage: listener and connections are gone, data is kept.
    pub async fn stop(&mut self) {
        // Connections hang on the listener's token, also those that are accepted just now.
        self.listening.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The end of the outage: the same data at the same address.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let address = self.shared.address;
        let (mut left, pause) = BIND_ATTEMPTS;
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) if left == 0 => {
                    return Err(error).with_context(|| format!("listen on {address} again"));
                }
                Err(_) => left -= 1,
            }
            tokio::time::sleep(pause).await;
        };
        self.tasks.reopen();
        self.serve(listener);
        Ok(())
    }

    /// Forgets the history: who resumes a watch from before now gets 410 Gone and lists again.
    pub fn compact(&self) {
        self.shared.cluster().store.compact();
    }

    /// Drops all connections. Clients may come back at once.
    pub fn sever(&self) {
        let mut connections = lock(&self.connections);
        connections.cancel();
        *connections = self.listening.child_token();
    }

    /// Requests so far, by verb and resource.
    #[must_use]
    pub fn requests(&self) -> Counts {
        lock(&self.shared.counts).clone()
    }

    fn serve(&mut self, listener: TcpListener) {
        self.listening = CancellationToken::new();
        *lock(&self.connections) = self.listening.child_token();
        let (shared, tasks, connections) = (
            self.shared.clone(),
            self.tasks.clone(),
            self.connections.clone(),
        );
        let accepting = accept(listener, shared, tasks, connections);
        let listening = self.listening.clone();
        self.tasks
            .spawn(async move { listening.run_until_cancelled(accepting).await });
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.listening.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    connections: Arc<Mutex<CancellationToken>>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Small writes are the rule: without this, Nagle's algorithm delays watch events.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY");
        }
        let shared = shared.clone();
        let service = service_fn(move |request| {
            let shared = shared.clone();
            async move { Ok::<_, std::convert::Infallible>(http::handle(shared, request).await) }
        });
        // No header timeout: hyper counts idle time between requests as well, and clients keep connections.
        let mut http = http1::Builder::new();
        http.header_read_timeout(None);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let alive = lock(&connections).clone();
        tasks.spawn(async move {
            if let Some(Err(error)) = alive.run_until_cancelled(connection).await {
                tracing::debug!(%error, "connection");
            }
        });
    }
}
