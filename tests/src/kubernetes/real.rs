//! etcd and kube-apiserver as two processes of the root namespace.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::READY;
use super::assets::{Binary, find};
use crate::lab::{Netns, Process, Program, Tool, require, retry_until, run};

/// The ClusterIP ranges of both families, as flag of the API server.
const SERVICE_RANGES: &str = "10.96.0.0/12,fd00:96::/112";
/// Not a secret: the server lives as long as a test, on a network that ends at this machine.
const TOKEN: &str = "lab-admin";
const OPENSSL: Tool = Tool {
    program: "openssl",
    package: "openssl",
};

pub(super) struct RealServer {
    listen: SocketAddr,
    certificates: PathBuf,
    api_server: Process,
    etcd: Process,
}

impl RealServer {
    pub(super) async fn start(listen: SocketAddr, directory: &Path) -> Result<Self> {
        let found = tokio::task::spawn_blocking(|| {
            anyhow::Ok((find(Binary::Etcd)?, find(Binary::ApiServer)?))
        });
        let (etcd, api_server) = found
            .await
            .context("looking for etcd and kube-apiserver")??;
        let certificates = directory.join("certificates");
        let key = directory.join("service-accounts.key");
        let tokens = directory.join("tokens.csv");
        mk_key(&key)?;
        fs::write(&tokens, format!("{TOKEN},admin,admin,\"system:masters\"\n"))
            .context("writing the token file")?;

        let store = format!("http://{}", free_port_beside(listen)?);
        let etcd = Program::new(etcd)
            .named("etcd")
            .args(etcd_flags(&store, directory));
        let flags = api_server_flags(listen, &store, &certificates, &key, &tokens);
        let api_server = Program::new(api_server).named("kube-apiserver").args(flags);
        let etcd = Process::start(&Netns::root(), directory, etcd)?;
        let api_server = Process::start(&Netns::root(), directory, api_server)?;
        Ok(Self {
            listen,
            certificates,
            api_server,
            etcd,
        })
    }

    /// Waits for the certificate, which the server makes for itself as it starts.
    pub(super) async fn kubeconfig(&mut self) -> Result<String> {
        let authority = self.certificates.join("apiserver.crt");
        retry_until(
            READY,
            "kube-apiserver to write its certificate",
            async || {
                self.ensure_running()?;
                let certificate = fs::read_to_string(&authority).unwrap_or_default();
                ensure!(
                    certificate
                        .trim_end()
                        .ends_with("-----END CERTIFICATE-----"),
                    "none yet"
                );
                Ok(())
            },
        )
        .await?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "admin" } }],
            "clusters": [{ "name": "lab", "cluster": {
                "server": format!("https://{}", self.listen),
                "certificate-authority": authority,
            }}],
            "users": [{ "name": "admin", "user": { "token": TOKEN } }],
        });
        serde_yaml::to_string(&config).context("writing the kubeconfig")
    }

    /// SIGKILL: an outage does not say goodbye. Returns when the process, and so its port, is gone.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.api_server.kill().map(drop)
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        self.api_server.restart()
    }

    pub(super) fn ensure_running(&mut self) -> Result<()> {
        self.etcd.ensure_running()?;
        self.api_server.ensure_running()
    }
}

/// No fsync: what this store holds does not have to survive the machine.
fn etcd_flags(store: &str, directory: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={store}"),
        format!("--advertise-client-urls={store}"),
        "--listen-peer-urls=http://127.0.0.1:0".into(),
        "--unsafe-no-fsync".into(),
        "--log-level=error".into(),
    ]
}

/// Without a controller-manager nobody makes service account tokens, and nobody keeps the Endpoints of the
/// Service `kubernetes`: what waits for either is turned off.
fn api_server_flags(
    listen: SocketAddr,
    store: &str,
    certificates: &Path,
    key: &Path,
    tokens: &Path,
) -> Vec<String> {
    vec![
        format!("--etcd-servers={store}"),
        format!("--bind-address={}", listen.ip()),
        format!("--advertise-address={}", listen.ip()),
        format!("--secure-port={}", listen.port()),
        format!("--cert-dir={}", certificates.display()),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        format!("--token-auth-file={}", tokens.display()),
        "--authorization-mode=RBAC".into(),
        format!("--service-cluster-ip-range={SERVICE_RANGES}"),
        "--disable-admission-plugins=ServiceAccount".into(),
        "--endpoint-reconciler-type=none".into(),
    ]
}

/// In the SEC 1 form: the API server reads no public key out of PKCS #8.
fn mk_key(path: &Path) -> Result<()> {
    require(OPENSSL)?;
    let path = path.to_string_lossy();
    let argv = [
        "openssl",
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        &*path,
    ];
    run(&argv).map(drop)
}

/// In a lab nobody else uses this address, so the port is still free a moment later.
fn free_port_beside(listen: SocketAddr) -> Result<SocketAddr> {
    let probe =
        TcpListener::bind(SocketAddr::new(listen.ip(), 0)).context("looking for a free port")?;
    probe.local_addr().context("looking for a free port")
}
