//! BFD on this node: one thread that does nothing else, because a peer is declared dead by milliseconds.
//!
//! ```text
//!   Engine::session(spec) ──► SessionHandle ── watch ──► BGP              (async side)
//!            │ commands (bounded) + pipe           ▲
//!            ▼                                     │ notes (bounded)
//!   ┌─ thread `bfd`, SCHED_FIFO when allowed ──────┴─────────────────────┐
//!   │ poll ─► listeners 3784, 4784, v4, v6 ─► Demux ─► Lane (Session)    │
//!   │   └ deadlines ─────────────────────────────────► its own socket ─► │
//!   └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! No packet waits for a lock that an ordinary thread may hold: such a lock would hand real-time work that thread's place in
//! the queue. So the thread does not log either. What users see is kept on the async side, by the *herald*, a task that reads
//! the notes, and logged by another one: a log that nobody reads must not keep users waiting.
//!
//! Users that watch the same peer by the same path share one session, with the smallest times of all, because the first
//! packets of a peer can only be told apart by their path. So it has one authentication, too: that of the user who came
//! first of those who want one; who wants another is told so. A session ends with its last user, and says AdminDown:
//! "no information" rather than a failure (RFC 5882 §3.2), though not to all routers, so that BGP is to be ended before.

mod herald;
mod lane;
mod listeners;
mod outlet;
mod priority;
mod roster;
mod status;
#[cfg(test)]
mod tests;
mod worker;

pub use status::{BfdStatus, Liveness};

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use portolan_api::crd::BfdRule;
use portolan_proto::bfd::auth::Authentication;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::link::Links;
use herald::Entries;
use status::Numbers;
use worker::{Command, Worker};

/// Commands that may wait for the thread, which takes them at once.
const COMMANDS: usize = 1024;
/// Notes that may wait for the herald. When it is full the thread tries again soon; the newest note is what counts.
const NOTES: usize = 1024;
/// Longest time that an orderly end takes: some repetitions of AdminDown, a second apart.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why BFD can not be started.
#[derive(Debug, Error)]
pub enum Error {
    /// The pipe that wakes the thread could not be made.
    #[error("make pipe: {0}")]
    Pipe(#[source] io::Error),
    /// The thread could not be started.
    #[error("start thread: {0}")]
    Thread(#[source] io::Error),
}

/// Times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Shortest time between two packets that we send.
    pub transmit: Duration,
    /// Shortest time between two packets that we can receive.
    pub receive: Duration,
    /// Of our packets, how many the peer may miss; at least 1.
    pub multiplier: u8,
}

/// What to watch, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSpec {
    /// The peer's address.
    pub peer: IpAddr,
    /// Our address; None means the one that the node's routing chooses.
    pub local: Option<IpAddr>,
    /// The interface; needed for a link-local peer. None means any.
    pub interface: Option<String>,
    /// The VRF, by the name of its device; None means the main routing table.
    pub vrf: Option<String>,
    /// The peer is more than one hop away (RFC 5883).
    pub multihop: bool,
    /// Times.
    pub timers: Timers,
    /// Wait for the peer to begin.
    pub passive: bool,
    /// Smallest TTL of multihop packets that are accepted; single-hop packets must have 255.
    pub minimum_ttl: u8,
    /// How packets are authenticated; None means not at all.
    pub authentication: Option<Authentication>,
    /// Whether a single-hop session is down as soon as its link is (see [`Engine::follow_links`]). Not for a user who
    /// follows links itself, and would hear of a failure before it hears that the failure is its own.
    pub follows_link: bool,
}

impl SessionSpec {
    /// A session with a peer as a profile wants it.
    #[must_use]
    pub fn new(peer: IpAddr, rule: &BfdRule) -> Self {
        Self {
            peer,
            local: None,
            interface: None,
            vrf: None,
            multihop: false,
            timers: Timers {
                transmit: Duration::from_millis(rule.transmit_milliseconds.into()),
                receive: Duration::from_millis(rule.receive_milliseconds.into()),
                multiplier: rule.multiplier,
            },
            passive: rule.passive,
            minimum_ttl: rule.minimum_ttl,
            authentication: None,
            follows_link: true,
        }
    }
}

/// Interfaces by index, and whether they can carry packets.
type Carriers = BTreeMap<u32, bool>;

/// A user of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct UserId(u64);

/// BFD on this node. Clones are the same engine; it ends with the last clone and the last session.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commands: SyncSender<Command>,
    wake: io::PipeWriter,
    entries: Entries,
    numbers: Numbers,
    users: AtomicU64,
}

impl Shared {
    /// A thread that is gone needs no command; everybody is told that it is gone.
    fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            let _gone = (&self.wake).write(&[0]);
        } else {
            self.entries.end(herald::ENDED);
        }
    }
}

impl Engine {
    /// Starts without sessions. Must be called inside a tokio runtime, which carries the notes to the users.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(&Handle::current(), None)
    }

    /// As [`Self::start`], but notes are carried by `prompt`, a runtime that nothing keeps busy; only the log is left to
    /// the one around.
    pub fn start_on(prompt: &Handle) -> Result<Self, Error> {
        Self::start_with(prompt, None)
    }

    fn start_with(prompt: &Handle, address: Option<IpAddr>) -> Result<Self, Error> {
        let (commands, orders) = sync_channel(COMMANDS);
        let (woken, wake) = io::pipe().map_err(Error::Pipe)?;
        let (notes, news) = mpsc::channel(NOTES);
        let entries = Entries::default();
        let numbers = Numbers::default();
        let worker = Worker::new(orders, woken, notes, numbers.clone(), address);
        std::thread::Builder::new()
            .name("bfd".into())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        let (log, to_log) = mpsc::channel(NOTES);
        tokio::spawn(herald::log(to_log));
        prompt.spawn(herald::run(news, entries.clone(), log));
        Ok(Self(Arc::new(Shared {
            commands,
            wake,
            entries,
            numbers,
            users: AtomicU64::new(0),
        })))
    }

    /// From now on a session whose link loses its carrier, or is taken down, is down at once instead of after the detection
    /// time, and speaks as soon as the link is back. Runs on `prompt`, for as long as somebody watches links.
    pub fn follow_links(&self, prompt: &Handle, mut links: watch::Receiver<Arc<Links>>) {
        let shared = Arc::downgrade(&self.0);
        links.mark_changed();
        prompt.spawn(async move {
            let mut before = Carriers::new();
            while links.changed().await.is_ok() {
                let carriers: Carriers = {
                    let links = links.borrow_and_update();
                    links.iter().map(|it| (it.index, it.is_running())).collect()
                };
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                if carriers != before {
                    before.clone_from(&carriers);
                    shared.send(Command::Carriers(carriers));
                }
            }
        });
    }

    /// Watches a peer until the handle is dropped.
    #[must_use]
    pub fn session(&self, spec: SessionSpec) -> SessionHandle {
        let user = UserId(self.0.users.fetch_add(1, Ordering::Relaxed));
        self.0.entries.add(user, &spec);
        self.0.send(Command::Put(user, spec));
        SessionHandle {
            user,
            shared: self.0.clone(),
        }
    }

    /// All sessions, one entry for each user, in the order in which they were asked for.
    #[must_use]
    pub fn status(&self) -> Vec<BfdStatus> {
        self.0.entries.status()
    }

    /// Wakes whenever some session is different; which one is for the users to see.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.entries.changes()
    }

    /// Whether the thread runs with real-time priority. Without it, times below 100 ms are a risk on a busy node.
    #[must_use]
    pub fn is_real_time(&self) -> bool {
        self.0.numbers.real_time.get() == 1
    }

    /// Adds the numbers of all sessions.
    pub fn register(&self, registry: &mut Registry) {
        self.0.numbers.register(registry);
    }

    /// Says AdminDown to all peers and waits until they have heard it, at most three seconds. Sessions asked for later
    /// stay in AdminDown.
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        self.0.send(Command::Shutdown(done));
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tracing::warn!("BFD: not every peer acknowledged AdminDown within {FAREWELL:?}");
        }
    }
}

/// A user's hold on a session. Dropping it gives the session up; the last user's end is told to the peer as AdminDown.
#[derive(Debug)]
pub struct SessionHandle {
    user: UserId,
    shared: Arc<Shared>,
}

impl SessionHandle {
    /// Follows the session. See [`Liveness`] for what to do when it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Liveness> {
        self.shared.entries.watch(self.user)
    }

    /// The session as it is now.
    #[must_use]
    pub fn status(&self) -> Option<BfdStatus> {
        self.shared.entries.status_of(self.user)
    }

    /// Follows another specification. Other times do not interrupt a session: the peer is asked to take note of them.
    pub fn set(&self, spec: SessionSpec) {
        self.shared.send(Command::Put(self.user, spec));
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.shared.entries.remove(self.user);
        self.shared.send(Command::Leave(self.user));
    }
}
