//! What a client sees: single requests, and a steady stream of them that remembers every gap.
//!
//! A prober starts one request per interval whatever became of the ones before, each on a connection of its own.
//! So its clock does not stop while nobody answers, and a gap is measured to one interval.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::netns::Netns;

/// How long a pod bears with a client that says nothing.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// No answer is longer, in bytes.
const ANSWER_LIMIT: u64 = 16 * 1024;

/// What a pod says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Name of the pod.
    pub pod: String,
    /// Name of its node.
    pub node: String,
    /// The address that the pod saw its client have: the real one, or that of a node that masquerades.
    pub client: IpAddr,
}

/// Asks a pod's server from the namespace of the calling thread.
///
/// # Errors
/// No connection, no answer, or not that of a pod, within `limit`.
pub async fn get(to: SocketAddr, limit: Duration) -> Result<Answer> {
    timeout(limit, exchange(to))
        .await
        .unwrap_or_else(|_| Err(anyhow!("no answer from {to} in {limit:?}")))
}

async fn exchange(to: SocketAddr) -> Result<Answer> {
    let mut stream = TcpStream::connect(to)
        .await
        .with_context(|| format!("connecting to {to}"))?;
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .await
        .context("asking")?;
    let mut text = String::new();
    stream
        .take(ANSWER_LIMIT)
        .read_to_string(&mut text)
        .await
        .context("reading the answer")?;
    let (_head, body) = text
        .split_once("\r\n\r\n")
        .context("the answer has no end of headers")?;
    serde_json::from_str(body).with_context(|| format!("not a pod's answer: {body}"))
}

/// One request of a prober.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it started, since the prober did.
    pub at: Duration,
    /// Who answered, or why nobody did.
    pub outcome: Result<Answer, String>,
}

type Attempts = Arc<Mutex<Vec<Attempt>>>;

/// A running stream of requests.
pub struct Prober {
    attempts: Attempts,
    interval: Duration,
    started: Instant,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Prober {
    pub(super) fn start(
        netns: &Netns,
        to: SocketAddr,
        every: Duration,
        limit: Duration,
    ) -> Result<Self> {
        let (attempts, stop) = (Attempts::default(), CancellationToken::new());
        let (inside, log, until) = (netns.clone(), Arc::clone(&attempts), stop.clone());
        let started = Instant::now();
        let thread = std::thread::Builder::new()
            .name("prober".into())
            .spawn(move || inside.run_here(|| ask_steadily(to, every, limit, started, log, until)))
            .context("starting the prober's thread")?;
        Ok(Self {
            attempts,
            interval: every,
            started,
            stop,
            thread: Some(thread),
        })
    }

    /// How long it has run: the clock of [`Attempt::at`], for marking when something was done.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it saw until now, without the requests still under way.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut attempts = self
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        attempts.sort_by_key(|attempt| attempt.at);
        Report {
            attempts,
            interval: self.interval,
        }
    }

    /// Stops asking, waits for the requests under way, and reports.
    ///
    /// # Errors
    /// When the namespace was gone when the prober started, or it panicked.
    pub async fn finish(mut self) -> Result<Report> {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(|| thread.join()).await;
            joined
                .context("waiting for the prober")?
                .map_err(|_| anyhow!("the prober panicked"))??;
        }
        Ok(self.report())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn ask_steadily(
    to: SocketAddr,
    every: Duration,
    limit: Duration,
    started: Instant,
    log: Attempts,
    until: CancellationToken,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    while until.run_until_cancelled(ticks.tick()).await.is_some() {
        let log = Arc::clone(&log);
        under_way.spawn(async move {
            let at = started.elapsed();
            let outcome = get(to, limit).await.map_err(|error| format!("{error:#}"));
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Attempt { at, outcome });
        });
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

/// What a prober saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every request, by time of start.
    pub attempts: Vec<Attempt>,
    interval: Duration,
}

impl Report {
    /// The requests that nobody answered.
    pub fn failures(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts
            .iter()
            .filter(|attempt| attempt.outcome.is_err())
    }

    /// The nodes of the pods that answered.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<&str> {
        self.answers().map(|answer| answer.node.as_str()).collect()
    }

    /// The answers, in order.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.outcome.as_ref().ok())
    }

    /// The longest time without an answer: from the first request that failed to the next one that did not.
    /// Zero when all were answered.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut began = None;
        let mut last = Duration::ZERO;
        for Attempt { at, outcome } in &self.attempts {
            last = *at;
            match (outcome, began) {
                (Err(_), None) => began = Some(*at),
                (Ok(_), Some(start)) => {
                    longest = longest.max(at.saturating_sub(start));
                    began = None;
                }
                _ => {}
            }
        }
        let open = began.map_or(Duration::ZERO, |start| {
            last.saturating_sub(start) + self.interval
        });
        longest.max(open)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, failed) = (self.attempts.len(), self.failures().count());
        write!(
            f,
            "{failed} of {all} requests failed, longest gap {:?}",
            self.longest_gap()
        )?;
        match self
            .failures()
            .next()
            .map(|first| (first.at, &first.outcome))
        {
            Some((at, Err(why))) => write!(f, "; first at {at:?}: {why}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_report(outcomes: &str) -> Report {
        let interval = Duration::from_millis(10);
        let answer = Answer {
            pod: "p".into(),
            node: "n".into(),
            client: [192, 0, 2, 1].into(),
        };
        let attempts = (0u32..)
            .zip(outcomes.chars())
            .map(|(index, outcome)| Attempt {
                at: interval * index,
                outcome: if outcome == '+' {
                    Ok(answer.clone())
                } else {
                    Err("timeout".into())
                },
            });
        Report {
            attempts: attempts.collect(),
            interval,
        }
    }

    #[test]
    fn the_longest_gap_runs_from_the_first_failure_to_the_next_answer() {
        for (outcomes, millis) in [
            ("", 0),
            ("+++", 0),
            ("+-+", 10),
            ("+--+-+", 20),
            ("--+", 20),
            ("+--", 20),
            ("---", 30),
        ] {
            let report = mk_report(outcomes);
            assert_eq!(
                report.longest_gap(),
                Duration::from_millis(millis),
                "row {outcomes}"
            );
            assert_eq!(
                report.failures().count(),
                outcomes.matches('-').count(),
                "row {outcomes}"
            );
        }
    }
}
