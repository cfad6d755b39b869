//! The shell of the election: reads and writes the Lease.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use portolan_api::annotation::COMPONENT;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Action, Election, LEASE, Leadership, PROCESS, process};

/// Time between two steps.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time to the next step after one that failed: there must be time for it before `RENEW_DEADLINE`.
const RETRY: Duration = Duration::from_millis(250);
/// Longest time for one request.
const REQUEST: Duration = Duration::from_millis(1200);

/// Why a step of the election failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("reading Lease {LEASE}: {0}")]
    Read(#[source] kube::Error),
    #[error("writing Lease {LEASE}: {0}")]
    Write(#[source] kube::Error),
    #[error("the API server did not answer within {} ms", REQUEST.as_millis())]
    TimedOut,
}

/// One who takes part in the election.
#[derive(Clone)]
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    process: String,
}

impl Candidate {
    /// A candidate of this name, in a process that no other has the number of.
    #[must_use]
    pub fn new(api: Api<Lease>, identity: &str) -> Self {
        // The seed of the standard library's hasher: 64 bits from the kernel.
        let number = RandomState::new().build_hasher().finish();
        Self {
            api,
            identity: identity.to_owned(),
            process: format!("{number:016x}"),
        }
    }

    /// Takes part until the token is cancelled. Returns whether we lead at the end.
    pub async fn run(
        self,
        leadership: watch::Sender<Leadership>,
        resign: CancellationToken,
    ) -> bool {
        let mut election = Election::new(&self.identity, &self.process);
        let mut failing = false;
        // A little off the beat of the others, from our name: no randomness needed.
        let beat = self.identity.bytes().fold(0_u8, u8::wrapping_add);
        let jitter = Duration::from_millis(u64::from(beat));
        loop {
            match self.step(&mut election).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "leader election; trying again every second");
                    }
                }
            }
            announce(&leadership, election.leadership());
            // Leadership ends by the clock, not by the next step.
            let soon = failing || election.is_heir() && !election.leadership().holds(now());
            let pause = tokio::time::sleep(if soon { RETRY } else { INTERVAL } + jitter / 4);
            tokio::select! {
                () = resign.cancelled() => break,
                () = pause => {}
            }
        }
        leadership.send_replace(Leadership::NONE);
        election.leadership().holds(now())
    }

    async fn step(&self, election: &mut Election) -> Result<(), StepError> {
        let read = tokio::time::timeout(REQUEST, self.api.get_opt(LEASE)).await;
        let lease = read
            .map_err(|_| StepError::TimedOut)?
            .map_err(StepError::Read)?;
        let began = now();
        let parameters = PostParams::default();
        let write = match election.step(lease.as_ref(), began, Timestamp::now()) {
            Action::Wait => return Ok(()),
            Action::Yield => {
                tracing::error!(
                    identity = self.identity,
                    "another process leads under our name, so we stop: give each its own --identity"
                );
                return Ok(());
            }
            Action::Create(spec) => {
                let lease = self.signed(lease, spec);
                tokio::time::timeout(REQUEST, self.api.create(&parameters, &lease)).await
            }
            Action::Replace(spec) => {
                let lease = self.signed(lease, spec);
                tokio::time::timeout(REQUEST, self.api.replace(LEASE, &parameters, &lease)).await
            }
        };
        match write {
            Ok(Ok(_)) => election.renewed(began),
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() =>
            {
                election.lost();
            }
            Ok(Err(error)) => return Err(StepError::Write(error)),
            Err(_) => return Err(StepError::TimedOut),
        }
        Ok(())
    }

    /// The Lease with our record.
    fn signed(&self, lease: Option<Lease>, spec: LeaseSpec) -> Lease {
        let mut lease = lease.unwrap_or_default();
        let meta = &mut lease.metadata;
        meta.name = Some(LEASE.to_owned());
        let labels = meta.labels.get_or_insert_default();
        labels.insert(COMPONENT.to_owned(), "controller".to_owned());
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(PROCESS.to_owned(), self.process.clone());
        lease.spec = Some(spec);
        lease
    }

    /// Lets the next one begin at once. Nothing of what we wrote may be on its way any more.
    pub async fn release(&self) {
        let give_back = async {
            let mut lease = self.api.get(LEASE).await?;
            let ours = process(&lease) == Some(&self.process);
            let Some(spec) = lease
                .spec
                .as_mut()
                .filter(|s| ours && s.holder_identity.as_ref() == Some(&self.identity))
            else {
                return Ok(());
            };
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            let parameters = PostParams::default();
            self.api.replace(LEASE, &parameters, &lease).await.map(drop)
        };
        match tokio::time::timeout(REQUEST, give_back).await {
            Ok(Ok(())) => tracing::info!("gave the Lease back"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "giving the Lease back failed: it runs out by itself");
            }
            Err(_) => tracing::warn!("giving the Lease back took too long: it runs out by itself"),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn announce(leadership: &watch::Sender<Leadership>, new: Leadership) {
    let old = leadership.send_replace(new);
    let (before, after) = (old.holds(now()), new.holds(now()));
    if before != after {
        tracing::info!(leading = after, "leadership changed");
    }
}
