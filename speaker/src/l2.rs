//! Layer 2: answers ARP and NDP for virtual addresses, and announces them unasked.
//!
//! ```text
//!   core ── apply, check, ask ──► Engine ◄── links, timers (one task)
//!        ◄──────── events ──────── │ ▲
//!                 immutable table  │ │ what others claim and answer (bounded)
//!                                  ▼ │
//!                    one thread for each interface ◄──► ARP and NDP packet sockets
//! ```
//!
//! An answer never waits for the core or the engine: the threads look addresses up in a table that
//! is replaced as a whole. Nothing is configured in the kernel, no address, no sysctl, except the
//! multicast groups of IPv6, joined so that switches which snoop MLD deliver the questions.

mod engine;
mod event;
mod filter;
mod group;
mod inquiry;
mod interfaces;
mod port;
mod responder;
mod served;
mod socket;
mod status;
mod table;

pub use event::{Answer, Checked, Event};
pub use group::Error as GroupError;
pub use interfaces::{Expressions, Interfaces};
pub use socket::Error;
pub use status::{ForeignClaim, InterfaceStatus, L2Status, VipStatus};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portolan_proto::ethernet::MacAddr;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::link::{Exclude, Links};
use engine::Engine;
use port::Note;

/// Notes from the threads that wait to be read. Beyond it claims are only counted as missed: the
/// same claimant will be heard again.
const NOTES_MAX: usize = 1024;
/// Events that wait to be read.
const EVENTS_MAX: usize = 1024;

/// The layer-2 announcer of this node. Dropping it stops everything; [`Self::shutdown`] also waits.
#[derive(Debug)]
pub struct Layer2 {
    engine: Arc<Mutex<Engine>>,
    changed: Arc<Notify>,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Layer2 {
    /// Starts without addresses. Fails when packet sockets are not permitted (`CAP_NET_RAW`).
    ///
    /// Interfaces are taken from `links` as they come and go, except those that `exclude` matches.
    /// Must be called inside a tokio runtime.
    pub fn start(links: watch::Receiver<Arc<Links>>, exclude: Exclude) -> Result<Self, Error> {
        socket::probe()?;
        let (notes_in, notes) = mpsc::channel(NOTES_MAX);
        let engine = Arc::new(Mutex::new(Engine::new(
            exclude,
            notes_in,
            Instant::now().into_std(),
        )));
        let changed = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let follower = Follower {
            engine: engine.clone(),
            changed: changed.clone(),
            links,
            notes,
        };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(follower.run()).await;
        });
        Ok(Self {
            engine,
            changed,
            stop: stop.drop_guard(),
            task,
        })
    }

    /// Replaces the set of announced addresses.
    ///
    /// An address that is new, or new on an interface, is answered and announced at once. One that
    /// is gone is not answered any more when this returns, not even a question already received.
    pub fn apply(&mut self, vips: BTreeMap<IpAddr, Answer>) {
        lock(&self.engine).set_vips(vips, Instant::now().into_std());
        self.changed.notify_one();
    }

    /// Addresses that may have to be answered soon, and where: sockets are opened and multicast groups joined, so that
    /// nothing but the answer itself is left to do. Replaces what was said before; addresses that are answered need
    /// not be told again.
    pub fn stand_by(&mut self, vips: BTreeMap<IpAddr, Interfaces>) {
        lock(&self.engine).set_stand_by(vips, Instant::now().into_std());
        self.changed.notify_one();
    }

    /// Asks the links whether anybody uses the address: three probes in 300 ms on each interface (RFC 5227 §2.1.1, RFC
    /// 4862 §5.4), then [`Event::Checked`]; at once when somebody objects. A check that runs goes on when it is asked
    /// for again on the same interfaces, and begins anew on others. Many checks at once are spread over time. Where no
    /// interface is usable, nobody is asked, and the address is free after the same time.
    pub fn check(&mut self, vip: IpAddr, interfaces: Interfaces) {
        lock(&self.engine).check(vip, interfaces, Instant::now().into_std());
        self.changed.notify_one();
    }

    /// Asks each of these addresses once whether it is there; those that answer within a second become
    /// [`Event::Witness`]. At most 64 are waited for on one interface; IPv6 ones are asked once there is a link-local
    /// address to ask from.
    pub fn ask(&mut self, interface: u32, witnesses: &[IpAddr]) {
        lock(&self.engine).ask(interface, witnesses, Instant::now().into_std());
        self.changed.notify_one();
    }

    /// The hardware addresses of the other nodes. When one of them claims an address that is answered here, the nodes
    /// have to agree first; a stranger is contradicted at once (RFC 5227 §2.4).
    pub fn set_peers(&mut self, peers: BTreeSet<MacAddr>) {
        lock(&self.engine).set_peers(peers);
    }

    /// Announces addresses that are answered here once more from the beginning: somebody else did until now, and may
    /// be believed still.
    pub fn announce(&mut self, vips: &[IpAddr]) {
        lock(&self.engine).announce(vips, Instant::now().into_std());
        self.changed.notify_one();
    }

    /// What is heard from now on. A receiver that was taken before ends.
    ///
    /// Ends of checks are never lost; claims and witnesses are, when more of them wait than fit, and will be heard
    /// again.
    pub fn events(&mut self) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        lock(&self.engine).set_events(events);
        receiver
    }

    /// For those who only look on.
    #[must_use]
    pub fn inspector(&self) -> Inspector {
        Inspector(Arc::clone(&self.engine))
    }

    /// What is answered and announced where, and what was heard.
    #[must_use]
    pub fn status(&self) -> L2Status {
        status(&self.engine)
    }

    /// Whether the task has ended, which it does by a defect only: links are not followed any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops answering and announcing, and waits until all threads are gone.
    pub async fn shutdown(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "layer-2 task failed");
        }
        lock(&self.engine).close();
    }
}

/// Shows what layer 2 does, to whoever does not own it.
#[derive(Clone, Debug)]
pub struct Inspector(Arc<Mutex<Engine>>);

impl Inspector {
    /// See [`Layer2::status`].
    #[must_use]
    pub fn status(&self) -> L2Status {
        status(&self.0)
    }
}

/// Made when the lock has been given back: whoever looks on has no priority, and a takeover must not wait for it.
fn status(engine: &Mutex<Engine>) -> L2Status {
    let sight = lock(engine).sight();
    sight.status()
}

/// A panic while the lock was held has been reported; the engine's state is a cache that the next
/// reconciliation puts right, so answering goes on.
fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Tells the engine what happens outside.
struct Follower {
    engine: Arc<Mutex<Engine>>,
    changed: Arc<Notify>,
    links: watch::Receiver<Arc<Links>>,
    notes: mpsc::Receiver<Note>,
}

impl Follower {
    async fn run(mut self) {
        let mut links_known = true;
        self.links.mark_changed();
        loop {
            let deadline = lock(&self.engine).deadline();
            tokio::select! {
                changed = self.links.changed(), if links_known => {
                    // Whoever watched the links is gone, so what was known last stays true.
                    links_known = changed.is_ok();
                    let links = self.links.borrow_and_update().clone();
                    lock(&self.engine).set_links(links, Instant::now().into_std());
                }
                Some(note) = self.notes.recv() => {
                    lock(&self.engine).note(note, Instant::now().into_std());
                }
                () = until(deadline) => {}
                () = self.changed.notified() => {}
            }
            lock(&self.engine).run_due(Instant::now().into_std());
        }
    }
}

#[cfg(test)]
mod tests;
