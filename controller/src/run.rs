//! The shell: watches, the election and the writer around one core.
//!
//! ```text
//! 14 watches ──Event──┐                       ┌──Write──► writer ──► API server
//! writer ────Outcome──┼──► core (one task) ───┘             │
//! election ─Leadership┤                                     └── Outcome ──► core
//! snapshot ───────────┘   (read once per term, before its first decision)
//! ```
//!
//! Events are drained before anything is decided: a burst costs one decision, and nothing waits for a pause that a busy
//! cluster never makes.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::Config;
use portolan_api::annotation::COMPONENT;
use portolan_api::view::Service;
use portolan_daemon::http::{self, Health};
use portolan_daemon::watch::{watch, watch_guarded, watch_optional};
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch as state};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::decide::{Core, Moment};
use crate::leader::{Candidate, Leadership};
use crate::metrics::{self, Metrics};
use crate::model::{Event, Snapshot, Watch};
use crate::snapshot::{self, SnapshotError};
use crate::speaker_key;
use crate::write::{self, Failure, OUTSTANDING, Outcome, Write, Writer};

/// Events between the watches and the core. Each may carry an object of some kilobytes.
const EVENTS: usize = 1024;
/// Events taken in before the next decision.
const BATCH: usize = 512;
/// Time to the next attempt to read the cluster at the begin of a term.
const SNAPSHOT_RETRY: Duration = Duration::from_millis(500);
/// Time between two updates of the metrics that show the present state.
const FIGURES_INTERVAL: Duration = Duration::from_secs(1);
/// Time for the writes that are on their way when we stop.
const DRAIN_TIMEOUT: Duration = write::TIMEOUT.saturating_add(Duration::from_millis(500));
/// Time for the election to end after that.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What the controller is told by its flags.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Own namespace: where the Leases are.
    pub namespace: String,
    /// Who we are in the election.
    pub identity: String,
    /// The `loadBalancerClass` that we serve.
    pub class: Option<String>,
}

/// Runs the controller until the token is cancelled.
pub async fn run(
    client: Client,
    settings: Settings,
    listener: TcpListener,
    shutdown: CancellationToken,
) {
    let (registry, metrics) = metrics::registry();
    let health = Health::waiting_for(&Watch::ALL.map(|(_, name)| name));
    tokio::spawn(http::serve(
        listener,
        registry,
        health.clone(),
        Vec::new(),
        shutdown.clone(),
    ));

    let (events_tx, events) = mpsc::channel(EVENTS);
    let watches = watches(&client, &settings, &events_tx);
    drop(events_tx);

    let (leadership_tx, leadership) = state::channel(Leadership::NONE);
    let leases = Api::<Lease>::namespaced(client.clone(), &settings.namespace);
    let candidate = Candidate::new(leases, &settings.identity);
    let resign = CancellationToken::new();
    let election = tokio::spawn(candidate.clone().run(leadership_tx, resign.clone()));

    let secrets = Api::<Secret>::namespaced(client.clone(), &settings.namespace);
    let key = tokio::spawn(speaker_key::keep(secrets, leadership.clone()));

    let (writes, queue) = mpsc::channel(OUTSTANDING);
    let (outcomes_tx, outcomes) = mpsc::channel(OUTSTANDING);
    let sink = Writer {
        client: client.clone(),
        leadership: leadership.clone(),
        outcomes: outcomes_tx,
        metrics: metrics.clone(),
    };
    let writing = tokio::spawn(sink.run(queue, shutdown.clone()));

    let core = Core::new(&settings.identity, &settings.namespace, settings.class);
    let shell = Shell {
        core,
        client,
        health,
        metrics,
        writes,
        term: None,
        reading: None,
    };
    tokio::select! {
        () = shell.run(events, outcomes, leadership) => {}
        () = shutdown.cancelled() => {}
    }
    // The core is gone with its future: nothing more is decided.
    drop(watches);
    key.abort();
    let quiet = drained(writing).await;
    resign.cancel();
    give_back(&candidate, election, quiet).await;
}

/// Waits for the end of the election, and gives the Lease back if we held it and none of our writes can happen any more.
async fn give_back(candidate: &Candidate, election: JoinHandle<bool>, quiet: bool) {
    match tokio::time::timeout(STOP_TIMEOUT, election).await {
        Ok(Ok(true)) if quiet => candidate.release().await,
        Ok(Ok(true)) => {
            tracing::warn!("a write may still happen: the Lease is not given back, it runs out");
        }
        Ok(Ok(false)) => {}
        Ok(Err(error)) => tracing::error!(%error, "the election ended by a defect"),
        Err(_) => tracing::warn!("the election did not end in time"),
    }
}

/// Waits for the writes that are on their way: the next leader must not read the cluster before they have happened.
/// Returns whether none can happen any more.
async fn drained(mut writing: JoinHandle<bool>) -> bool {
    if let Ok(ended) = tokio::time::timeout(DRAIN_TIMEOUT, &mut writing).await {
        return ended.unwrap_or(false);
    }
    writing.abort();
    false
}

/// Starts all watches. They end when the set is dropped.
fn watches(client: &Client, settings: &Settings, tx: &mpsc::Sender<Event>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    let spread = f64::from(settings.identity.bytes().fold(0_u8, u8::wrapping_add)) / 256.0;
    let all = Config::default();
    // Endpoints of headless Services never concern a load balancer.
    let slices = Config::default().labels("!service.kubernetes.io/headless");
    // Our own Lease is among them: seeing it renewed proves that the watch works.
    let leases = Config::default().labels(COMPONENT);
    let ours = Api::namespaced(client.clone(), &settings.namespace);
    macro_rules! spawn {
        ($watch:ident, $event:expr, $config:expr) => {
            set.spawn($watch(
                Api::all(client.clone()),
                $config,
                spread,
                tx.clone(),
                $event,
            ))
        };
    }
    spawn!(watch, Event::Service, all.clone());
    spawn!(watch, Event::Namespace, all.clone());
    spawn!(watch, Event::Node, all.clone());
    // Speakers of another version write them.
    spawn!(watch_guarded, Event::Report, all.clone());
    spawn!(watch, Event::Slice, slices);
    spawn!(watch_optional, Event::ServiceCidr, all.clone());
    spawn!(watch_guarded, Event::Pool, all.clone());
    spawn!(watch_guarded, Event::L2, all.clone());
    spawn!(watch_guarded, Event::Bgp, all.clone());
    spawn!(
        watch_guarded,
        |change| Event::Peer(Box::new(change)),
        all.clone()
    );
    spawn!(watch_guarded, Event::BfdProfile, all.clone());
    spawn!(watch_guarded, Event::Community, all.clone());
    spawn!(watch_guarded, Event::Config, all);
    set.spawn(watch(ours, leases, spread, tx.clone(), Event::Lease));
    set
}

/// The core with its channels.
struct Shell {
    core: Core,
    client: Client,
    health: Health,
    metrics: Metrics,
    writes: mpsc::Sender<Write>,
    /// The term that the core leads in.
    term: Option<u64>,
    /// The reading of the cluster that the next term waits for.
    reading: Option<Reading>,
}

/// A reading of the cluster.
struct Reading {
    /// The term that waits for it.
    term: u64,
    pages: mpsc::Receiver<Vec<Service>>,
    task: JoinHandle<Result<Snapshot, SnapshotError>>,
}

/// What a reading brings.
enum Read {
    /// Some of the Services.
    Page(Vec<Service>),
    /// The rest, for the term of this number.
    End(u64, Result<Box<Snapshot>, String>),
}

impl Shell {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut outcomes: mpsc::Receiver<Outcome>,
        mut leadership: state::Receiver<Leadership>,
    ) {
        let mut figures = tokio::time::interval(FIGURES_INTERVAL);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wake = self.wake(*leadership.borrow());
            tokio::select! {
                received = events.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                Some(outcome) = outcomes.recv() => self.core.finish(outcome, now()),
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                read = reading(&mut self.reading) => match read {
                    Read::Page(page) => self.observe(Event::Page(page)),
                    Read::End(term, read) => self.begin(term, read),
                },
                _ = figures.tick() => self.metrics.show(&self.core.figures(now())),
                () = sleep_until(wake) => {}
            }
            for event in batch.drain(..) {
                self.observe(event);
            }
            while let Ok(outcome) = outcomes.try_recv() {
                self.core.finish(outcome, now());
            }
            let state = *leadership.borrow_and_update();
            self.follow_election(state);
            self.decide();
        }
    }

    /// When to wake without an event: when something is due, or when our time as the leader ends.
    fn wake(&self, leadership: Leadership) -> Option<Instant> {
        let ends = leadership.until.filter(|_| self.term.is_some());
        self.core.deadline().into_iter().chain(ends).min()
    }

    fn observe(&mut self, event: Event) {
        let complete = self.core.observe(event, now());
        for (watch, name) in Watch::ALL {
            if complete == Some(watch) {
                self.health.set(name, true);
            }
        }
    }

    /// Ends the term that is over, and prepares the one that begins.
    fn follow_election(&mut self, leadership: Leadership) {
        let term = leadership.holds(now()).then_some(leadership.term);
        if self.term.is_some() && self.term != term {
            self.term = None;
            self.core.follow();
            self.metrics.leader.set(0);
        }
        let Some(term) = term.filter(|term| self.term != Some(*term)) else {
            return;
        };
        let wanted = self
            .reading
            .as_ref()
            .is_none_or(|reading| reading.term != term);
        if wanted && self.core.is_synced() {
            if let Some(old) = self.reading.take() {
                old.task.abort();
            }
            self.read(term, Duration::ZERO);
        }
    }

    fn read(&mut self, term: u64, after: Duration) {
        self.core.prepare_lead();
        let client = self.client.clone();
        // One page is on its way while the next is fetched.
        let (tx, pages) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            Box::pin(snapshot::read(&client, tx)).await
        });
        self.reading = Some(Reading { term, pages, task });
    }

    /// The cluster has been read: the term begins.
    fn begin(&mut self, term: u64, read: Result<Box<Snapshot>, String>) {
        match read {
            Ok(snapshot) => {
                tracing::info!(term, "leading");
                self.core.lead(*snapshot, now());
                self.term = Some(term);
                self.metrics.leader.set(1);
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    "reading the cluster at the begin of a term; trying again"
                );
                self.read(term, SNAPSHOT_RETRY);
            }
        }
    }

    fn decide(&mut self) {
        let began = now();
        let moment = Moment {
            now: began,
            wall: Timestamp::now(),
        };
        let writes = self.core.decide(moment);
        if writes.is_empty() {
            return;
        }
        self.metrics.decided(now().duration_since(began));
        for write in writes {
            // The core never has more outstanding than the queue takes.
            if let Err(error) = self.writes.try_send(write) {
                tracing::error!(%error, "the queue of writes is full: this is a defect");
                let (TrySendError::Full(write) | TrySendError::Closed(write)) = error;
                let why = Failure::Failed("the queue of writes is full".to_owned());
                let outcome = Outcome {
                    target: write.target,
                    result: Err(why),
                };
                self.core.finish(outcome, now());
            }
        }
    }
}

/// Waits for the next page of the reading of the cluster, or its end, if one is going on.
async fn reading(slot: &mut Option<Reading>) -> Read {
    let Some(reading) = slot else {
        return std::future::pending().await;
    };
    // The task holds the other end of the pages: it is over when they are.
    if let Some(page) = reading.pages.recv().await {
        return Read::Page(page);
    }
    let result = match (&mut reading.task).await {
        Ok(read) => read.map(Box::new).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let term = reading.term;
    *slot = None;
    Read::End(term, result)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
