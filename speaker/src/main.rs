//! `portolan-speaker`: parse, build, run.

use anyhow::Context as _;
use clap::Parser;
use portolan_daemon::args::CommonArgs;
use portolan_speaker::Options;

/// Announces the addresses of Services from one node: by ARP and NDP on the local link, by BGP to routers.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,

    /// Name of the Node that this speaker runs on
    #[arg(long, env = "PORTOLAN_NODE_NAME", value_name = "NAME")]
    node_name: String,

    /// Port that BGP peers connect to, where a BGPPeer says that they may
    #[arg(
        long,
        env = "PORTOLAN_BGP_LISTEN_PORT",
        value_name = "PORT",
        default_value_t = portolan_proto::bgp::PORT,
        hide = true
    )]
    bgp_listen_port: u16,
}

fn main() -> anyhow::Result<()> {
    // First: before anything starts a thread.
    let returns_memory = portolan_speaker::sys::return_freed_memory();
    run(returns_memory)
}

#[tokio::main(flavor = "current_thread")]
async fn run(returns_memory: bool) -> anyhow::Result<()> {
    let Args {
        common,
        node_name,
        bgp_listen_port,
    } = Args::parse();
    common.init_logging().context("--log")?;
    if !returns_memory {
        tracing::debug!("the allocator decides by itself how much free memory it keeps");
    }
    let shutdown = portolan_daemon::shutdown::token().context("signal handlers")?;
    let listener = common.listener().await?;
    let options = Options {
        client: common.client().await?,
        namespace: common.namespace(),
        node_name,
        lb_class: common.lb_class.clone(),
        listener,
        bgp_port: bgp_listen_port,
        shutdown,
    };
    portolan_speaker::run(options).await
}
