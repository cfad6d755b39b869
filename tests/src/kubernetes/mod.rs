//! A Kubernetes API beside the lab, with two faces behind one interface.
//!
//! - [`Face::Embedded`]: the in-memory server of this crate, in this process; services are proxied by a few
//!   nftables rules ([`lab::proxy`](crate::lab::proxy)).
//!   [`Cluster::start_apart`] runs the same server as a process of its own.
//! - [`Face::Real`]: etcd and kube-apiserver as processes in the root namespace, kube-proxy in the nodes'.
//!
//! ```text
//!   test ── kube::Client ──► API server ◄── kubeconfig ── speakers, kube-proxy in node namespaces
//!                            198.18.S.1:6443 (management network of the lab)
//! ```
//!
//! No kubelet and no controller-manager run. [`Cluster::create_node`] does what the first does for a Node,
//! [`Cluster::set_endpoints`] what the second does for EndpointSlices. The custom resources of `manifests/crds`
//! are there when [`Cluster::start`] returns.

mod apply;
mod assets;
mod crds;
mod embedded;
mod objects;
mod proxy;
mod real;
mod stand_in;

pub use assets::{Binary, find};
pub use crds::read as definitions;
pub use objects::Endpoint;
pub use proxy::ServiceProxy;
pub use stand_in::StandIn;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::lab::{Lab, Node, Process, Program, retry_until, run};
use embedded::EmbeddedServer;
use real::RealServer;

/// From process start to an answer; a loaded machine needs more than the usual 4 seconds.
const READY: Duration = Duration::from_secs(60);
/// The port of the API server on the management network, as in most clusters.
const PORT: u16 = 6443;

/// Which API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Ours, in memory.
    Embedded,
    /// etcd and kube-apiserver.
    Real,
}

impl Face {
    /// Every scenario has to pass on both.
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Real];
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded API server",
            Self::Real => "kube-apiserver",
        })
    }
}

enum Server {
    Embedded(EmbeddedServer),
    Apart(Process),
    Real(Box<RealServer>),
}

/// A running API server with Portolan's custom resources. Dropping it stops it.
pub struct Cluster {
    server: Server,
    client: Client,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// Starts an API server on the management network of a lab.
    ///
    /// # Errors
    /// When it cannot be built, started, or does not get ready within a minute.
    pub async fn start(face: Face, lab: &Lab) -> Result<Self> {
        let listen = SocketAddr::new(lab.management().into(), PORT);
        Self::start_at(face, listen, &lab.directory().join("cluster")).await
    }

    /// Starts an API server anywhere in the root namespace, for tests without a lab. Its data and logs go to
    /// `directory`, which is created.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(face: Face, listen: SocketAddr, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let crds = crds::read()?;
        let (server, text) = match face {
            Face::Embedded => {
                let server = EmbeddedServer::start(listen, crds.clone()).await?;
                let text = server.kubeconfig();
                (Server::Embedded(server), text)
            }
            Face::Real => {
                let mut server = RealServer::start(listen, directory).await?;
                let text = server.kubeconfig().await?;
                (Server::Real(Box::new(server)), text)
            }
        };
        let kubeconfig = directory.join("kubeconfig");
        fs::write(&kubeconfig, text).context("writing the kubeconfig")?;
        let mut cluster = Self {
            server,
            client: connect(&kubeconfig).await?,
            kubeconfig,
        };
        cluster.wait_until_ready().await?;
        crds::install(&cluster.client, &crds).await?;
        Ok(cluster)
    }

    /// Starts the embedded API server as a process of its own, on the management network of a lab: for the demo, where
    /// people look at processes. `program` is the binary `apiserver` of this crate.
    ///
    /// # Errors
    /// When it does not get ready within a minute.
    pub async fn start_apart(lab: &Lab, program: &Path) -> Result<Self> {
        let listen = SocketAddr::new(lab.management().into(), PORT);
        let kubeconfig = lab.directory().join("cluster").join("kubeconfig");
        let directory = kubeconfig.parent().unwrap_or(lab.directory());
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let program = Program::new(program)
            .args(["--listen", &listen.to_string(), "--crds", crds::DIRECTORY])
            .arg("--kubeconfig")
            .arg(&kubeconfig);
        let mut process = lab.outside.spawn(program)?;
        // It writes the file once it listens.
        let client = retry_until(READY, "a kubeconfig of the API server", async || {
            process.ensure_running()?;
            connect(&kubeconfig).await
        });
        let client = client.await?;
        let mut cluster = Self {
            server: Server::Apart(process),
            client,
            kubeconfig,
        };
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    /// Which of the two it is.
    #[must_use]
    pub fn face(&self) -> Face {
        match self.server {
            Server::Embedded(_) | Server::Apart(_) => Face::Embedded,
            Server::Real(_) => Face::Real,
        }
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A kubeconfig with all rights, valid in the root namespace and in those of nodes.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl, of the version of the real face, and returns what it prints.
    ///
    /// # Errors
    /// When it cannot be built, or fails; the error carries its words.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        let kubeconfig = self.kubeconfig.clone();
        let ran = tokio::task::spawn_blocking(move || {
            let mut argv = vec![find(Binary::Kubectl)?.into_os_string()];
            argv.extend(["--kubeconfig".into(), kubeconfig.into_os_string()]);
            argv.extend(arguments);
            run(&argv)
        });
        ran.await.context("running kubectl")?
    }

    /// The server of the embedded face, for what only that one can do (sever, compact, count requests).
    #[must_use]
    pub fn embedded(&self) -> Option<&crate::apiserver::ApiServer> {
        match &self.server {
            Server::Embedded(server) => Some(server.api()),
            Server::Apart(_) | Server::Real(_) => None,
        }
    }

    /// An outage: when this returns, the port is closed and all connections are gone. The data stays.
    ///
    /// # Errors
    /// When the process does not end, or is one of [`Self::start_apart`].
    pub async fn stop_api(&mut self) -> Result<()> {
        match &mut self.server {
            Server::Embedded(server) => server.stop().await,
            Server::Apart(_) => Err(memory_is_in_the_process()),
            Server::Real(server) => server.stop(),
        }
    }

    /// The end of the outage: same port, same data.
    ///
    /// # Errors
    /// When the server does not get ready again, or is one of [`Self::start_apart`].
    pub async fn start_api(&mut self) -> Result<()> {
        match &mut self.server {
            Server::Embedded(server) => server.resume().await?,
            Server::Apart(_) => return Err(memory_is_in_the_process()),
            Server::Real(server) => server.resume()?,
        }
        self.wait_until_ready().await
    }

    /// Starts what brings connections from a node to pods: kube-proxy, or on the embedded face its stand-in. The
    /// Node object has to exist. Returns when the first rules are in place.
    ///
    /// # Errors
    /// When it does not get there within a minute.
    pub async fn start_proxy(&self, node: &Node) -> Result<ServiceProxy> {
        match self.server {
            Server::Embedded(_) | Server::Apart(_) => {
                ServiceProxy::stand_in(&self.client, node).await
            }
            Server::Real(_) => ServiceProxy::kube_proxy(&self.kubeconfig, node).await,
        }
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let (client, server) = (self.client.clone(), &mut self.server);
        retry_until(READY, "the API server to be ready", async || {
            match &mut *server {
                Server::Real(real) => real.ensure_running()?,
                Server::Apart(process) => process.ensure_running()?,
                Server::Embedded(_) => {}
            }
            let request = http::Request::get("/readyz")
                .body(Vec::new())
                .context("asking /readyz")?;
            let answer = client
                .request_text(request)
                .await
                .context("asking /readyz")?;
            ensure!(answer.starts_with("ok"), "/readyz says {answer}");
            Ok(())
        })
        .await
    }
}

fn memory_is_in_the_process() -> anyhow::Error {
    anyhow::anyhow!(
        "the API server of its own process loses its data with it: no outage can be played"
    )
}

async fn connect(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).context("reading the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("loading the kubeconfig")?).context("making a client")
}
