//! What a client sees: single requests, and a steady stream of them that remembers every gap.
//!
//! A prober starts one request per interval whatever became of the ones before, each on a connection of its own.
//! So its clock does not stop while nobody answers, and a gap is measured to one interval. A prober that dawdles says half
//! of each question and the rest later: there are always connections under way.

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::netns::Netns;

/// How long a pod bears with a client that says nothing.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// No answer is longer, in bytes.
const ANSWER_LIMIT: u64 = 16 * 1024;
/// Where questions come from: below the ports that the kernel gives to others.
const PORTS: Range<u16> = 1024..32_768;
/// HTTP/1.0, so that the connection ends with the answer.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

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
    Question::open(to)?.ask(Duration::ZERO, limit).await
}

/// A request that is about to be made.
struct Question {
    socket: TcpSocket,
    from: u16,
    to: SocketAddr,
}

impl Question {
    /// From a port that no question of this process came from lately: whoever sees the packets knows whose they are.
    fn open(to: SocketAddr) -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        loop {
            let (socket, any): (_, IpAddr) = match to {
                SocketAddr::V4(_) => (TcpSocket::new_v4(), Ipv4Addr::UNSPECIFIED.into()),
                SocketAddr::V6(_) => (TcpSocket::new_v6(), Ipv6Addr::UNSPECIFIED.into()),
            };
            let socket = socket.context("a socket to ask from")?;
            let from =
                PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
            match socket.bind(SocketAddr::new(any, from)) {
                Ok(()) => return Ok(Self { socket, from, to }),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).context("a port to ask from"),
            }
        }
    }

    async fn ask(self, pause: Duration, limit: Duration) -> Result<Answer> {
        let to = self.to;
        timeout(limit, self.exchange(pause))
            .await
            .unwrap_or_else(|_| Err(anyhow!("no answer from {to} in {limit:?}")))
    }

    async fn exchange(self, pause: Duration) -> Result<Answer> {
        let connecting = self.socket.connect(self.to).await;
        let mut stream = connecting.with_context(|| format!("connecting to {}", self.to))?;
        let (first, rest) = if pause.is_zero() {
            (REQUEST, &[][..])
        } else {
            REQUEST.split_at(REQUEST.len() / 2)
        };
        stream.write_all(first).await.context("asking")?;
        if !rest.is_empty() {
            sleep(pause).await;
            stream.write_all(rest).await.context("asking the rest")?;
        }
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
}

/// One request of a prober.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it started, since the prober did.
    pub at: Duration,
    /// The port that it was asked from; None when the kernel gave none.
    pub from: Option<u16>,
    /// Who answered, or why nobody did.
    pub outcome: Result<Answer, String>,
}

/// How a prober asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Between the beginnings of two requests.
    pub(super) every: Duration,
    /// Between the halves of a request; not halved when zero.
    pub(super) pause: Duration,
    /// An answer later than this counts as none.
    pub(super) limit: Duration,
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
    pub(super) fn start(netns: &Netns, to: SocketAddr, manner: Manner) -> Result<Self> {
        let (attempts, stop) = (Attempts::default(), CancellationToken::new());
        let (inside, log, until) = (netns.clone(), Arc::clone(&attempts), stop.clone());
        let started = Instant::now();
        let thread = std::thread::Builder::new()
            .name("prober".into())
            .spawn(move || inside.run_here(|| ask_steadily(to, manner, started, log, until)))
            .context("starting the prober's thread")?;
        Ok(Self {
            attempts,
            interval: manner.every,
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
    manner: Manner,
    started: Instant,
    log: Attempts,
    until: CancellationToken,
) {
    let mut ticks = interval(manner.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    while until.run_until_cancelled(ticks.tick()).await.is_some() {
        let log = Arc::clone(&log);
        under_way.spawn(async move {
            let at = started.elapsed();
            let question = Question::open(to);
            let from = question.as_ref().ok().map(|question| question.from);
            let outcome = match question {
                Ok(question) => question.ask(manner.pause, manner.limit).await,
                Err(error) => Err(error),
            };
            let outcome = outcome.map_err(|error| format!("{error:#}"));
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Attempt { at, from, outcome });
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
        for Attempt { at, outcome, .. } in &self.attempts {
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
                from: None,
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
