//! The speaker of one node.
//!
//! ```text
//! watches ──┐ Event                      ┌─► bgp::Sessions ─► one task per peer ─► UPDATE, KEEPALIVE
//!           ├───────► core::Model ─ Plan ┼─► takeover::Shell ─► l2 ─► one thread per interface ─► ARP, NDP
//! sessions ─┤  (`speaker`, one task,     │    (a thread of its own, with BFD, messages of other speakers, links)
//! news ─────┤   owns all state)          └─► report, metrics, events
//! shutdown ─┘
//! heartbeat ─► Lease
//! ```
//!
//! Deciding is `core`: pure, complete plans from what is known. Which of the placed nodes answers for a VIP is `takeover`'s:
//! it goes by who lives, and waits for nobody. `speaker` only carries events in and plans out. The order of an orderly
//! stop: tell the other speakers, and give up the Lease; withdraw and close BGP with words; say AdminDown by BFD; answer ARP and NDP until each
//! VIP is another node's, at most three seconds; end.

pub mod bfd;
pub mod bgp;
pub mod core;
mod heartbeat;
pub mod l2;
pub mod link;
mod metrics;
mod notices;
mod prompt;
mod report;
mod speaker;
pub mod sys;
pub mod takeover;
mod unreachable;
mod watches;

use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use portolan_api::crd::NodeReportStatus;
use portolan_daemon::http::{self, Health};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bgp::{KernelFeatures, Sessions};
use crate::core::{Model, Plan};
use crate::l2::Layer2;
use crate::link::Exclude;
use crate::metrics::Metrics;
use crate::prompt::Prompt;
use crate::report::Owner;
use crate::speaker::Speaker;
use crate::takeover::shell::{Shell, Surroundings};
use crate::unreachable::Unreachable;

/// Events that may wait for the core. A full queue makes the watches wait, and TCP the API server.
const EVENTS: usize = 1024;

/// What a speaker needs from outside.
pub struct Options {
    /// Access to the API server.
    pub client: Client,
    /// Our own namespace.
    pub namespace: String,
    /// The Node that we run on.
    pub node_name: String,
    /// The class of Services that we serve.
    pub lb_class: Option<String>,
    /// Serves metrics and health.
    pub listener: TcpListener,
    /// The port that BGP peers connect to.
    pub bgp_port: u16,
    /// Cancelled to stop.
    pub shutdown: CancellationToken,
}

/// Runs a speaker until it is told to stop.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let Options {
        client,
        namespace,
        node_name,
        lb_class,
        listener,
        bgp_port,
        shutdown,
    } = options;
    let mut tasks = JoinSet::new();
    let mut registry = Registry::default();
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    let kernel = KernelFeatures::probe().context("TCP socket")?;
    tracing::info!(
        tcp_md5 = kernel.tcp_md5,
        tcp_ao = kernel.tcp_ao,
        "what this kernel can sign connections with"
    );
    metrics.kernel(kernel);
    let prompt = Prompt::start().context("takeover thread")?;
    let bfd = bfd::Engine::start_on(prompt.handle()).context("BFD")?;
    bfd.register(&mut registry);
    let links = prompt
        .handle()
        .spawn(link::watch(CancellationToken::new()))
        .await?
        .context("netlink")?;
    bfd.follow_links(prompt.handle(), links.clone());
    let exclude = Exclude::usual().context("interfaces to leave alone")?;
    let layer2 = {
        let _on_prompt = prompt.handle().enter();
        Layer2::start(links.clone(), exclude.clone()).context("layer 2")?
    };
    let surroundings = Surroundings {
        node: node_name.clone(),
        links: links.clone(),
        exclude: exclude.clone(),
        layer2,
        bfd: bfd.clone(),
        numbers: metrics.messages().clone(),
    };
    let shell = Shell::start(prompt.handle(), surroundings);
    let health = Health::waiting_for(&["cluster state"]);
    let sessions = Sessions::new(&node_name)
        .with_bfd(bfd.clone())
        .with_links(links.clone())
        .listening_on(bgp_port);
    tasks.spawn(http::serve(
        listener,
        Arc::new(registry),
        health.clone(),
        vec![
            report::page(sessions.board()),
            report::layer2_page(shell.picture(), shell.layer2().clone()),
        ],
        shutdown.clone(),
    ));

    let (tx, rx) = mpsc::channel(EVENTS);
    watches::spawn(&mut tasks, &client, &namespace, &node_name, &tx);
    let (report, reports) = watch::channel((Owner::default(), NodeReportStatus::default()));
    tasks.spawn(report::write(client.clone(), reports));
    let (notices, sending) = notices::start(client.clone());
    tasks.spawn(sending);

    let speaker = Speaker {
        sessions,
        bfd,
        model: Model::new(node_name, namespace, lb_class),
        plan: Plan::default(),
        shell,
        links,
        exclude,
        unreachable: Unreachable::start(),
        metrics,
        health,
        report,
        report_at: None,
        last_takeover: None,
        notices,
        client,
        events: tx,
        started: false,
        secrets: false,
        others: None,
        tasks,
        stopping: false,
        yielded: 0,
        heart: CancellationToken::new(),
        beating: None,
        _prompt: prompt,
    };
    speaker.run(rx, shutdown).await
}
