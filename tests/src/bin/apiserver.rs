//! The in-memory API server as a process of its own, for the demo and for trying things by hand.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use portolan_tests::apiserver::{ApiServer, Settings};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

/// A Kubernetes API server in memory: for demos and tests, not for anything that matters.
#[derive(Debug, Parser)]
struct Flags {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8001", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Directory of CustomResourceDefinitions to install, every .yaml file in it.
    #[arg(long, value_name = "DIR")]
    crds: Option<PathBuf>,
    /// Where to write a kubeconfig that leads here.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// ClusterIP ranges, the default family first.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    service_ranges: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(log)
        .with_writer(std::io::stderr)
        .init();
    let flags = Flags::parse();
    let crds = flags
        .crds
        .as_deref()
        .map(definitions)
        .transpose()?
        .unwrap_or_default();
    let mut settings = Settings::default();
    if !flags.service_ranges.is_empty() {
        settings.service_ranges = flags.service_ranges;
    }
    let installed = crds.len();
    let mut server = ApiServer::start_with(flags.listen, crds, settings).await?;
    if let Some(file) = &flags.kubeconfig {
        fs::write(file, server.kubeconfig())
            .with_context(|| format!("write {}", file.display()))?;
    }
    tracing::info!(url = server.url(), definitions = installed, "serving");
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listen for SIGINT")?,
        _ = terminate.recv() => {}
    }
    server.stop().await;
    Ok(())
}

/// Every definition in the .yaml files of a directory; other kinds in them are passed over.
fn definitions(directory: &Path) -> anyhow::Result<Vec<CustomResourceDefinition>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .with_context(|| format!("read directory {}", directory.display()))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let value = serde_yaml::Value::deserialize(document)
                .with_context(|| format!("parse {}", file.display()))?;
            if value.get("kind").and_then(serde_yaml::Value::as_str)
                == Some("CustomResourceDefinition")
            {
                let crd = serde_yaml::from_value(value)
                    .with_context(|| format!("read definition in {}", file.display()))?;
                found.push(crd);
            }
        }
    }
    Ok(found)
}
