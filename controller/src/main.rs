//! `portolan-controller`: flags, logging, and [`portolan_controller::run`].

use anyhow::Context as _;
use clap::Parser;
use portolan_controller::run::{self, Settings};
use portolan_daemon::args::CommonArgs;
use portolan_daemon::shutdown;

/// Gives addresses to Services of type LoadBalancer, compiles the configuration that speakers follow, and places layer-2
/// addresses on nodes. Several may run: one leads, the others stand by.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,

    /// Name in the leader election. A process that starts with the name of the leader takes over at once. Without it:
    /// the name of the pod (POD_NAME), else the name of the host
    #[arg(long, env = "PORTOLAN_IDENTITY", value_name = "NAME")]
    identity: Option<String>,
}

impl Args {
    fn identity(&self) -> anyhow::Result<String> {
        let given = self
            .identity
            .clone()
            .or_else(|| std::env::var("POD_NAME").ok());
        if let Some(name) = given.filter(|name| !name.is_empty()) {
            return Ok(name);
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
        let host =
            host.context("no --identity, no POD_NAME, and the host's name can not be read")?;
        Ok(host.trim().to_owned())
    }
}

// One core task and waiting for the network: more threads would only keep more memory, each a heap of its own.
#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.common.init_logging().context("--log")?;
    let shutdown = shutdown::token().context("signal handlers")?;
    let settings = Settings {
        namespace: args.common.namespace(),
        identity: args.identity()?,
        class: args.common.lb_class.clone(),
    };
    let client = args.common.client().await?;
    let listener = args.common.listener().await?;
    tracing::info!(
        identity = settings.identity,
        namespace = settings.namespace,
        "starting"
    );
    run::run(client, settings, listener, shutdown).await;
    Ok(())
}
