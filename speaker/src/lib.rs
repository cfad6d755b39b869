//! The speaker of one node.
//!
//! ```text
//! watches ──┐ Event                      ┌─► bgp::Sessions ─► one task per peer ─► UPDATE, KEEPALIVE
//!           ├───────► core::Model ─ Plan ┼─► takeover::Shell ─► l2 ─► one thread per interface ─► ARP, NDP
//! sessions ─┤  (this file's one task     │    (a thread of its own, with BFD, messages of other speakers, links)
//! news ─────┤   owns all state)          └─► report, metrics, events
//! shutdown ─┘
//! heartbeat ─► Lease
//! ```
//!
//! Deciding is `core`: pure, complete plans from what is known. Which of the placed nodes answers for a VIP is `takeover`'s:
//! it goes by who lives, and waits for nobody. This file only carries events in and plans out. The order of an orderly
//! stop: tell the other speakers, and give up the Lease; withdraw and close BGP with words; answer ARP and NDP until each
//! VIP is another node's, at most [`HANDOVER`]; end.

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
pub mod sys;
pub mod takeover;
mod unreachable;
mod watches;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use portolan_api::crd::{NodeReportStatus, TakeoverReport};
use portolan_daemon::http::{self, Health};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::bgp::{KernelFeatures, Sessions};
use crate::core::{Due, Event, Model, Plan, PlannedPeer};
use crate::l2::Layer2;
use crate::link::{Exclude, Links};
use crate::metrics::Metrics;
use crate::notices::Notice;
use crate::prompt::Prompt;
use crate::report::{Findings, Owner};
use crate::takeover::Cause;
use crate::takeover::shell::{News, Shell, Surroundings};
use crate::unreachable::Unreachable;

/// Events that may wait for the core. A full queue makes the watches wait, and TCP the API server.
const EVENTS: usize = 1024;
/// Events taken in before a plan is made: bounds how long a flood can hold back an announcement.
const BATCH: usize = 4096;
/// Longest time to go on answering for VIPs that no other node has taken over yet.
const HANDOVER: Duration = Duration::from_secs(3);
/// Time between two looks at what sockets and links say, for the report.
const LOOK: Duration = Duration::from_secs(5);
/// From a change to the report of it: whoever waits for a route must not wait for a report first.
const REPORT_PAUSE: Duration = Duration::from_millis(100);
/// What the shutdown communication says (RFC 9003).
const GOODBYE: &str = "portolan-speaker is stopping";

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
        heart: CancellationToken::new(),
        beating: None,
        _prompt: prompt,
    };
    speaker.run(rx, shutdown).await
}

/// The one task that owns everything.
struct Speaker {
    model: Model,
    plan: Plan,
    sessions: Sessions,
    bfd: bfd::Engine,
    shell: Shell,
    links: watch::Receiver<Arc<Links>>,
    exclude: Exclude,
    unreachable: Unreachable,
    metrics: Metrics,
    health: Health,
    report: watch::Sender<(Owner, NodeReportStatus)>,
    /// When the next report is made, if something changed.
    report_at: Option<Instant>,
    last_takeover: Option<TakeoverReport>,
    notices: mpsc::Sender<Notice>,
    client: Client,
    events: mpsc::Sender<Event>,
    started: bool,
    secrets: bool,
    /// The watch of Services of other types and its generation, if a rule asks for it.
    others: Option<(u32, tokio::task::AbortHandle)>,
    tasks: JoinSet<()>,
    stopping: bool,
    heart: CancellationToken,
    beating: Option<tokio::task::JoinHandle<()>>,
    /// Last: what runs on it ends before.
    _prompt: Prompt,
}

impl Speaker {
    async fn run(
        mut self,
        mut rx: mpsc::Receiver<Event>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut changes = self.sessions.changes();
        let mut picture = self.shell.picture();
        let mut links = self.links.clone();
        let mut look = tokio::time::interval(LOOK);
        let result = loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                // A watch that died would freeze the picture of the cluster while everything looks well: stop in order,
                // and be started again.
                Some(ended) = self.tasks.join_next() => {
                    if ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled) {
                        continue; // A watch that nobody asks for any more.
                    }
                    tracing::error!(?ended, "a task ended that must not: stopping");
                    break Err(anyhow::anyhow!("a task ended unexpectedly: {ended:?}"));
                }
                // Links and foreign claims change without an event of their own.
                _ = look.tick() => self.report(),
                news = self.shell.news() => match news {
                    Some(news) => self.tell(news),
                    None => break Err(anyhow::anyhow!("the takeover task ended unexpectedly")),
                },
                Some(event) = rx.recv() => self.take(event, &mut rx),
                Ok(()) = changes.changed() => self.report_soon(),
                Ok(()) = picture.changed() => self.report_soon(),
                // The controller waits for our interfaces.
                Ok(()) = links.changed() => self.report_soon(),
                () = until(self.report_at) => self.report(),
                () = until(self.model.next_deadline().map(Instant::from_std)) => self.wake(),
            }
        };
        self.stop(rx).await;
        result
    }

    /// Takes in what has arrived, then acts once.
    fn take(&mut self, event: Event, rx: &mut mpsc::Receiver<Event>) {
        self.model.advance(Instant::now().into_std());
        self.model.handle(event);
        for _ in 0..BATCH {
            match rx.try_recv() {
                Ok(event) => self.model.handle(event),
                Err(_) => break,
            }
        }
        // The controller places nothing here before it knows our interfaces.
        if !self.started && self.model.node_uid().is_some() {
            self.report_soon();
        }
        self.follow();
    }

    /// Acts on what is due.
    fn follow(&mut self) {
        self.watch_others();
        match self.model.take_due() {
            Due::Nothing => {}
            Due::Vips(vips) => self.act_on(&vips),
            Due::Everything => self.act(),
        }
    }

    /// Time has passed.
    fn wake(&mut self) {
        self.model.advance(Instant::now().into_std());
        self.follow();
        self.report_soon();
    }

    /// Starts or ends the watch of Services of other types, as rules ask for it.
    fn watch_others(&mut self) {
        let wanted = self.model.others_wanted();
        if self.others.as_ref().map(|(generation, _)| *generation) == wanted {
            return;
        }
        if let Some((_, watch)) = self.others.take() {
            watch.abort();
        }
        self.others = wanted.map(|generation| {
            let node = self.model.node_name();
            let watch = watches::other_services(&self.client, node, generation, &self.events);
            (generation, self.tasks.spawn(watch))
        });
    }

    /// Makes the outside equal to the plan where these addresses have a part in it.
    fn act_on(&mut self, vips: &BTreeSet<IpAddr>) {
        let difference = self.model.replan(vips, &mut self.plan);
        for (peer, prefix, attrs) in difference.routes {
            if self.plan.runs(&peer) {
                self.sessions.route(&peer, prefix, attrs);
            }
        }
        if difference.l2 {
            self.order();
        }
        if difference.attracted {
            self.unreachable.set(&self.plan.attracted);
        }
        self.metrics.planned();
        self.report_soon();
    }

    /// Makes the outside equal to the plan.
    fn act(&mut self) {
        let plan = self.model.plan();
        let specs = plan.peers.iter().filter_map(|peer| match peer {
            PlannedPeer::Run(spec) => Some(spec.clone()),
            PlannedPeer::Wait(..) => None,
        });
        self.sessions.apply(specs.collect());
        for (peer, routes) in &plan.routes {
            if plan.runs(peer) {
                self.sessions.routes(peer, routes.clone());
            }
        }
        self.unreachable.set(&plan.attracted);
        self.metrics.planned();
        self.plan = plan;
        self.order();
        if !std::mem::replace(&mut self.started, true) {
            self.start();
        }
        if self.model.needs_secrets() && !std::mem::replace(&mut self.secrets, true) {
            let (client, node) = (&self.client, self.model.node_name());
            watches::spawn_secrets(
                &mut self.tasks,
                client,
                self.model.namespace(),
                node,
                &self.events,
            );
        }
        self.report_soon();
    }

    /// Tells the takeover machine what is wanted.
    fn order(&self) {
        let duties = Arc::new(self.plan.l2.clone());
        let key = self.model.speaker_key().cloned();
        let leaving = self.stopping || self.plan.excluded.is_some();
        self.shell.order(|orders| {
            orders.duties = duties;
            orders.key = key;
            orders.leaving = leaving;
            if *orders.nodes != *self.model.nodes() {
                orders.nodes = self.model.nodes().into();
            }
        });
    }

    /// After the first complete plan: routes may be called complete, and the controller may count on us.
    fn start(&mut self) {
        self.sessions.set_synced();
        self.health.set("cluster state", true);
        let (namespace, node) = (
            self.model.namespace().to_owned(),
            self.model.node_name().to_owned(),
        );
        let heart = heartbeat::run(self.client.clone(), namespace, node, self.heart.clone());
        self.beating = Some(tokio::spawn(heart));
        tracing::info!("cluster state known, announcing");
    }

    /// Says what the takeover machine did, after it is done.
    fn tell(&mut self, news: News) {
        self.metrics.news(&news);
        let takeover = report::layer2::takeover(self.last_takeover.as_ref(), &news);
        self.last_takeover = takeover.or(self.last_takeover.take());
        match news {
            News::Took {
                from,
                cause,
                vips,
                silence,
                ..
            } => {
                let milliseconds = silence.map(|it| it.as_millis());
                tracing::warn!(from, %cause, vips = vips.len(), milliseconds, "took VIPs over");
                // That a placement was changed is told where it was.
                if cause != Cause::Placed {
                    self.notice(from, cause, &vips, silence);
                }
            }
            News::Yielded { to, vips } => {
                tracing::info!(to, vips = vips.len(), "another node answers for VIPs now");
            }
            News::Conflict(conflict) => {
                let (vip, mac, interface) = (conflict.vip, conflict.mac, conflict.interface);
                tracing::warn!(%vip, %mac, interface, "a station outside the cluster uses a VIP");
            }
            News::Lost(news) => {
                tracing::warn!(news, "takeovers happened faster than they could be told");
            }
        }
        self.report_soon();
    }

    fn notice(&self, from: String, cause: Cause, vips: &[IpAddr], silence: Option<Duration>) {
        let services = self.model.services_of(vips).take(Notice::SERVICES);
        let notice = Notice {
            node: self.owner(),
            from,
            cause,
            vips: vips.len(),
            silence,
            services: services.collect(),
        };
        if self.notices.try_send(notice).is_err() {
            tracing::debug!("no Event of a takeover: others wait");
        }
    }

    fn owner(&self) -> Owner {
        Owner {
            name: self.model.node_name().to_owned(),
            uid: self.model.node_uid().unwrap_or_default().to_owned(),
        }
    }

    fn report_soon(&mut self) {
        self.report_at
            .get_or_insert_with(|| Instant::now() + REPORT_PAUSE);
    }

    fn report(&mut self) {
        self.report_at = None;
        let sessions = self.sessions.status();
        self.metrics.sessions(&self.sessions);
        let generation = self.model.config_generation();
        let layer2 = self.shell.layer2().status();
        let picture = Arc::clone(&self.shell.picture().borrow());
        let interfaces = report::layer2::interfaces(&self.links.borrow(), &self.exclude);
        self.metrics.layer2(&picture, &layer2);
        let mut status = report::make(Findings {
            plan: &self.plan,
            sessions: &sessions,
            layer2: &layer2,
            picture: &picture,
            interfaces,
            last_takeover: self.last_takeover.clone(),
            config_generation: generation,
        });
        status.problems.extend(self.model.problems());
        status.problems.extend(self.unreachable.problem());
        self.metrics.held_back(self.model.held_back());
        self.metrics.reported(&status);
        let owner = self.owner();
        // Without a Node there is nothing to hang a report on.
        if !owner.uid.is_empty() {
            self.report.send_if_modified(|current| {
                let next = (owner, status);
                let differs = *current != next;
                *current = next;
                differs
            });
        }
    }

    /// A speaker that stops is started again, as a rule, and its node goes on forwarding meanwhile: routers that agreed to
    /// it may keep the routes. They must not if the node is to be left alone. Returns whether some router keeps them.
    async fn leave_routers(&mut self) -> bool {
        if self.model.draining().is_some() || self.plan.excluded.is_some() {
            tokio::join!(self.sessions.shutdown(GOODBYE), self.bfd.shutdown());
            false
        } else {
            let keeps = |status: &bgp::SessionStatus| {
                status.agreed.is_some_and(|agreed| agreed.graceful_restart)
            };
            let kept = self.sessions.status().iter().any(keeps);
            // First, or routers would take our silence for a failure and drop the routes.
            self.bfd.shutdown().await;
            self.sessions.restart(GOODBYE).await;
            kept
        }
    }

    async fn stop(mut self, rx: mpsc::Receiver<Event>) {
        self.heart.cancel();
        // The other speakers first: BFD has no farewell left for them once it has ended.
        self.stopping = true;
        self.order();
        let still_announced = self.leave_routers().await;
        if let Some(beating) = self.beating.take() {
            let _ = tokio::time::timeout(HANDOVER, beating).await;
        }
        self.hand_over(rx).await;
        if !still_announced {
            self.unreachable.clear().await;
        }
        self.shell.shutdown().await;
        self.tasks.abort_all();
    }

    /// Waits until each VIP is another node's. New placements without us come in meanwhile.
    async fn hand_over(&mut self, mut rx: mpsc::Receiver<Event>) {
        let deadline = Instant::now() + HANDOVER;
        let mut held = self.shell.held();
        loop {
            let left = *held.borrow_and_update();
            if left == 0 {
                return;
            }
            tokio::select! {
                Some(event) = rx.recv() => {
                    self.model.handle(event);
                    if self.model.take_due() != Due::Nothing {
                        self.plan = self.model.plan();
                        self.order();
                    }
                }
                Some(news) = self.shell.news() => self.tell(news),
                Ok(()) = held.changed() => {}
                () = sleep_until(deadline) => {
                    tracing::warn!(vips = left, "no other node took over within {HANDOVER:?}; stopping anyway");
                    return;
                }
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
