//! What brings a connection from a node to a pod, on either face.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;

use super::assets::{Binary, find};
use super::stand_in::StandIn;
use crate::lab::{Node, Process, Program, retry_until};

/// From start to the first rules.
const READY: Duration = Duration::from_secs(60);
/// Pods of all nodes, both families: what kube-proxy takes for inside.
const CLUSTER_RANGES: &str = "10.244.0.0/16,fd00:244::/48";

/// The proxy of one node. Dropping it stops it; rules that are in the kernel stay and age.
pub enum ServiceProxy {
    /// The real one, a process in the node's namespace.
    KubeProxy(Process),
    /// A task of this process that writes nftables rules.
    StandIn(StandIn),
}

impl ServiceProxy {
    pub(super) async fn stand_in(client: &Client, node: &Node) -> Result<Self> {
        StandIn::start(client, node).await.map(Self::StandIn)
    }

    /// The default kernel settings of kube-proxy cannot be written in a namespace; those flags leave them alone.
    pub(super) async fn kube_proxy(kubeconfig: &Path, node: &Node) -> Result<Self> {
        let found = tokio::task::spawn_blocking(|| find(Binary::KubeProxy)).await;
        let program = Program::new(found.context("looking for kube-proxy")??)
            .named("kube-proxy")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--hostname-override", node.name()])
            .args(["--proxy-mode", "nftables", "--cluster-cidr", CLUSTER_RANGES])
            .args(["--conntrack-max-per-core", "0"])
            .args(["--conntrack-tcp-timeout-established", "0"])
            .args(["--conntrack-tcp-timeout-close-wait", "0"])
            .args(["--healthz-bind-address", "0.0.0.0:10256"]);
        let mut process = node.host.spawn(program)?;
        retry_until(READY, "kube-proxy to write its tables", async || {
            process.ensure_running()?;
            let tables = node.host.exec(&["nft", "list", "tables"])?;
            let written = ["ip", "ip6"]
                .iter()
                .all(|it| tables.contains(&format!("table {it} kube-proxy")));
            ensure!(written, "tables {tables:?}");
            Ok(())
        })
        .await?;
        Ok(Self::KubeProxy(process))
    }
}
