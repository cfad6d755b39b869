//! Writing: everything that leaves for the API server goes through here.
//!
//! ```text
//! Core ──► Write ──(bounded)──► 16 in flight, each within the leader's time ──► Outcome ──► Core
//!                                          └── on success: Notes ──► outbox ──(few, may drop)──► Events
//! ```
//!
//! Each write carries the `resourceVersion` that it was decided on, so a stale decision fails (409) instead of undoing
//! somebody's change. Nothing is retried here: an outcome goes back, and the core decides again on what it knows then.

mod outbox;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use portolan_api::ObjectKey;
use portolan_api::compile::Kind;
use portolan_api::crd::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement, SpeakerConfig,
};
use portolan_api::view::Service;
use portolan_daemon::watch::Change;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::complaint::Log;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::model::Event;

/// Writes that are on their way to the API server at the same time.
const IN_FLIGHT: usize = 16;
/// Writes that may be waiting or on their way. The core never has more outstanding.
pub const OUTSTANDING: usize = 256;
/// Longest time for one write.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// A write that has less time than this left to its leader is not begun.
const SHORTEST: Duration = Duration::from_millis(50);
/// Name of this controller in Events and managed fields.
const CONTROLLER: &str = "portolan-controller";

/// What is written to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Status and annotations of a Service.
    Service(ObjectKey),
    /// Status of a user object.
    Object(Kind, String),
    /// The SpeakerConfig.
    Config,
}

/// What is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A JSON merge patch of the status subresource.
    Status(Value),
    /// The whole SpeakerConfig: created if it has no `resourceVersion`, else replaced.
    Config(Box<SpeakerConfig>),
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// What is written to.
    pub target: Target,
    /// What is written.
    pub body: Body,
    /// What the user is told once it is written.
    pub notes: Vec<Note>,
}

/// A Kubernetes Event to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// The object that it is about.
    pub regarding: ObjectReference,
    /// Something is wrong.
    pub warning: bool,
    /// Stable reason, for example `AddressAssigned`.
    pub reason: &'static str,
    /// Words for a human.
    pub message: String,
}

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The object changed since the decision.
    #[error("the object changed meanwhile")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    Gone,
    /// We are not the leader any more, or not for long enough.
    #[error("not the leader")]
    NotLeader,
    /// The API server did not answer in time; whether the write happened is unknown.
    #[error("no answer in time")]
    TimedOut,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// Label for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::NotLeader => "not_leader",
            Self::TimedOut => "timeout",
            Self::Failed(_) => "error",
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
                Self::Conflict
            }
            kube::Error::Api(status) if status.is_not_found() => Self::Gone,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// What became of a write.
#[derive(Debug)]
pub struct Outcome {
    /// What was written to.
    pub target: Target,
    /// The object as it is now, in the form in which a watch would report it.
    pub result: Result<Event, Failure>,
}

/// What is left to do after a write.
struct Ended {
    target: Target,
    /// Why it did not happen.
    failure: Option<Failure>,
    /// What the user is told.
    notes: Vec<Note>,
}

/// The task that writes.
pub struct Writer {
    /// Client to write with.
    pub client: Client,
    /// Whether and how long we may write.
    pub leadership: watch::Receiver<Leadership>,
    /// Where outcomes go; has room for [`OUTSTANDING`].
    pub outcomes: mpsc::Sender<Outcome>,
    /// Metrics.
    pub metrics: Metrics,
}

impl Writer {
    /// Runs until `stop`, or until no more writes can come. What is waiting then is dropped, what is on its way is waited
    /// for. Returns whether it is certain that no write of ours can happen any more.
    pub async fn run(self, mut writes: mpsc::Receiver<Write>, stop: CancellationToken) -> bool {
        let (mut outbox, waiting) = outbox::open();
        let events = outbox::publish(self.client.clone(), waiting, self.metrics.clone());
        tokio::spawn(events);
        let dropped = self.metrics.events_dropped.clone();
        let shared = Arc::new(self);
        // When this future is dropped, so is all that is on its way.
        let mut in_flight = JoinSet::new();
        let mut log = Log::default();
        let mut end = |ended: Result<Ended, JoinError>| {
            let ended = ended.map(|ended| {
                for note in ended.notes {
                    if !outbox.post(note, now()) {
                        dropped.inc();
                    }
                }
                (ended.target, ended.failure)
            });
            log.note(ended, now());
        };
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = in_flight.join_next() => end(ended),
                write = writes.recv(), if in_flight.len() < IN_FLIGHT => {
                    let Some(write) = write else { break };
                    in_flight.spawn(Arc::clone(&shared).one(write));
                }
            }
        }
        while let Some(ended) = in_flight.join_next().await {
            end(ended);
        }
        log.is_certain(now())
    }

    /// One write, whose outcome goes to the core.
    async fn one(self: Arc<Self>, write: Write) -> Ended {
        let result = self.within_term(&write).await;
        let failure = result.as_ref().err().cloned();
        let kind = failure.as_ref().map_or("ok", Failure::kind);
        self.metrics.write(&write.target, kind);
        let target = write.target;
        let outcome = Outcome {
            target: target.clone(),
            result,
        };
        // The receiver is gone only when the process ends.
        self.outcomes.send(outcome).await.ok();
        let notes = if failure.is_none() {
            write.notes
        } else {
            Vec::new()
        };
        Ended {
            target,
            failure,
            notes,
        }
    }

    /// Writes, and gives up before our time as the leader ends.
    async fn within_term(&self, write: &Write) -> Result<Event, Failure> {
        let now = now();
        let left = self
            .leadership
            .borrow()
            .until
            .map(|until| until.saturating_duration_since(now));
        let left = left
            .filter(|left| *left >= SHORTEST)
            .ok_or(Failure::NotLeader)?;
        let write = self.send(write);
        tokio::time::timeout(left.min(TIMEOUT), write)
            .await
            .map_err(|_| Failure::TimedOut)?
    }

    async fn send(&self, write: &Write) -> Result<Event, Failure> {
        let client = self.client.clone();
        match (&write.target, &write.body) {
            (Target::Service(key), Body::Status(patch)) => {
                let api = Api::<Service>::namespaced(client, &key.namespace);
                Ok(Event::Service(Change::Apply(
                    status(&api, &key.name, patch).await?,
                )))
            }
            (Target::Object(kind, name), Body::Status(patch)) => {
                object_status(client, *kind, name, patch).await
            }
            (_, Body::Config(config)) => {
                let api = Api::<SpeakerConfig>::all(client);
                let parameters = PostParams::default();
                let written = if config.metadata.resource_version.is_some() {
                    api.replace(portolan_api::SPEAKER_CONFIG, &parameters, config)
                        .await?
                } else {
                    api.create(&parameters, config).await?
                };
                Ok(Event::Config(Change::Apply(written)))
            }
            (Target::Config, Body::Status(_)) => {
                Err(Failure::Failed("SpeakerConfig has no status".to_owned()))
            }
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn object_status(
    client: Client,
    kind: Kind,
    name: &str,
    patch: &Value,
) -> Result<Event, Failure> {
    async fn one<K>(client: Client, name: &str, patch: &Value) -> Result<Change<K>, Failure>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>,
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        Ok(Change::Apply(
            status(&Api::<K>::all(client), name, patch).await?,
        ))
    }
    Ok(match kind {
        Kind::Pool => Event::Pool(one::<IPAddressPool>(client, name, patch).await?),
        Kind::L2 => Event::L2(one::<L2Advertisement>(client, name, patch).await?),
        Kind::Bgp => Event::Bgp(one::<BGPAdvertisement>(client, name, patch).await?),
        Kind::Peer => Event::Peer(Box::new(one::<BGPPeer>(client, name, patch).await?)),
        Kind::BfdProfile => Event::BfdProfile(one::<BFDProfile>(client, name, patch).await?),
        Kind::Community => Event::Community(one::<Community>(client, name, patch).await?),
    })
}

async fn status<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<K, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let parameters = PatchParams {
        field_manager: Some(CONTROLLER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_status(name, &parameters, &Patch::Merge(patch))
        .await
}
