//! Flags that both daemons have, each also as an environment variable `PORTOLAN_…`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Where the pod's own namespace stands.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Namespace of the shipped manifests.
const DEFAULT_NAMESPACE: &str = "portolan-system";
/// Longest time that connecting to the API server may take: a dead server must not hide behind TCP's own two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence on a connection. A server that vanished without a word is noticed after it; a living one breaks it with
/// a bookmark every minute or so, and a watch that was cut for nothing resumes where it was.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest time that the server may leave our bytes unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags that both daemons have.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// File that says how to reach the API server. Without it: the file that KUBECONFIG names, else the in-cluster
    /// service account
    #[arg(long, env = "PORTOLAN_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Portolan's own namespace, where its Secrets and Leases live. Without it: the namespace of the service account,
    /// else portolan-system
    #[arg(long, env = "PORTOLAN_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Serve only Services of this loadBalancerClass. Without it: only Services without a class
    #[arg(long, env = "PORTOLAN_LB_CLASS", value_name = "CLASS")]
    pub lb_class: Option<String>,

    /// Address that serves /metrics, /healthz and /readyz. The default takes both address families, and only IPv4 where
    /// the kernel has no IPv6
    #[arg(
        long,
        env = "PORTOLAN_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "[::]:7472"
    )]
    pub listen: SocketAddr,

    /// What to log: a level (error, warn, info, debug, trace) or a filter such as
    /// info,portolan_speaker=debug; with "json:" in front, one JSON object a line
    #[arg(
        long,
        env = "PORTOLAN_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
}

/// Why a client could not be made from the flags.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of `--kubeconfig` can not be used.
    #[error("--kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// Neither KUBECONFIG nor a service account is usable.
    #[error(
        "no way to reach an API server: give --kubeconfig, set KUBECONFIG, or run in a pod: {0}"
    )]
    Infer(#[source] kube::config::InferConfigError),
    /// The configuration does not make a client.
    #[error("client: {0}")]
    Client(#[source] kube::Error),
}

/// The address of `--listen` is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("--listen {address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// `EAFNOSUPPORT` or `EADDRNOTAVAIL`: what binding `[::]` gives without IPv6.
fn no_such_family(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

impl CommonArgs {
    /// A client for the API server. Nothing is sent yet.
    pub async fn client(&self) -> Result<Client, ClientError> {
        let mut config = match &self.kubeconfig {
            Some(path) => self.read(path).await?,
            None => Config::infer().await.map_err(ClientError::Infer)?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        config.write_timeout = Some(WRITE_TIMEOUT);
        Client::try_from(config).map_err(ClientError::Client)
    }

    async fn read(&self, path: &PathBuf) -> Result<Config, ClientError> {
        let wrap = |source| ClientError::Kubeconfig {
            path: path.clone(),
            source,
        };
        let file = Kubeconfig::read_from(path).map_err(wrap)?;
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(wrap)
    }

    /// Opens the listener of `--listen`.
    pub async fn listener(&self) -> Result<TcpListener, ListenError> {
        let wrap = |source| ListenError {
            address: self.listen,
            source,
        };
        match TcpListener::bind(self.listen).await {
            Ok(listener) => Ok(listener),
            // A kernel without IPv6: the unspecified address of the other family means the same there.
            Err(error) if self.listen.ip() == Ipv6Addr::UNSPECIFIED && no_such_family(&error) => {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.listen.port()));
                TcpListener::bind(v4).await.map_err(wrap)
            }
            Err(error) => Err(wrap(error)),
        }
    }

    /// Portolan's own namespace.
    #[must_use]
    pub fn namespace(&self) -> String {
        let of_pod = || {
            let text = std::fs::read_to_string(NAMESPACE_FILE).ok()?;
            Some(text.trim().to_owned()).filter(|name| !name.is_empty())
        };
        self.namespace
            .clone()
            .or_else(of_pod)
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
    }

    /// Starts logging to standard error. An unreadable filter is an error: it must not silence the daemon.
    pub fn init_logging(&self) -> Result<(), tracing_subscriber::filter::ParseError> {
        let (json, filter) = match self.log.strip_prefix("json:") {
            Some(filter) => (true, filter),
            None => (false, self.log.as_str()),
        };
        // The client logs each failed request at ERROR, also those that we retry; whoever sent it says so once, in words.
        let filter =
            EnvFilter::builder().parse(format!("kube_client::client::builder=off,{filter}"))?;
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        if json {
            lines.json().init();
        } else {
            lines.with_ansi(false).init();
        }
        Ok(())
    }
}
