//! The one task that owns everything: events come in, and plans go out.

mod farewell;
mod telling;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use portolan_api::crd::{NodeReportStatus, TakeoverReport};
use portolan_daemon::http::Health;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::bgp::Sessions;
use crate::core::{Due, Event, Model, Plan, PlannedPeer};
use crate::link::{Exclude, Links};
use crate::metrics::Metrics;
use crate::notices::Notice;
use crate::prompt::Prompt;
use crate::report::Owner;
use crate::takeover::shell::Shell;
use crate::unreachable::Unreachable;
use crate::{bfd, heartbeat, watches};

/// Events taken in before a plan is made: bounds how long a flood can hold back an announcement.
const BATCH: usize = 4096;
/// Time between two looks at what sockets and links say, for the report.
const LOOK: Duration = Duration::from_secs(5);
/// From a change to the report of it: whoever waits for a route must not wait for a report first.
const REPORT_PAUSE: Duration = Duration::from_millis(100);

/// The one task that owns everything.
pub(crate) struct Speaker {
    pub(crate) model: Model,
    pub(crate) plan: Plan,
    pub(crate) sessions: Sessions,
    pub(crate) bfd: bfd::Engine,
    pub(crate) shell: Shell,
    pub(crate) links: watch::Receiver<Arc<Links>>,
    pub(crate) exclude: Exclude,
    pub(crate) unreachable: Unreachable,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) report: watch::Sender<(Owner, NodeReportStatus)>,
    /// When the next report is made, if something changed.
    pub(crate) report_at: Option<Instant>,
    pub(crate) last_takeover: Option<TakeoverReport>,
    pub(crate) notices: mpsc::Sender<Notice>,
    pub(crate) client: Client,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) started: bool,
    pub(crate) secrets: bool,
    /// The watch of Services of other types and its generation, if a rule asks for it.
    pub(crate) others: Option<(u32, tokio::task::AbortHandle)>,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) stopping: bool,
    /// VIPs that other nodes have taken from us since we began to stop.
    pub(crate) yielded: usize,
    pub(crate) heart: CancellationToken,
    pub(crate) beating: Option<tokio::task::JoinHandle<()>>,
    /// Last: what runs on it ends before.
    pub(crate) _prompt: Prompt,
}

impl Speaker {
    /// Runs until it is told to stop.
    pub(crate) async fn run(
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
        for (prefix, audience) in &difference.routes {
            self.sessions.route(*prefix, audience.as_ref());
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
            PlannedPeer::Run(spec) => Some((**spec).clone()),
            PlannedPeer::Wait(..) => None,
        });
        self.sessions.apply(specs.collect());
        self.sessions.routes(&plan.routes);
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
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
