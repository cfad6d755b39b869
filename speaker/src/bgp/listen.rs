//! Connections that peers open: who may come in, and to whose task.
//!
//! ```text
//!               ┌──────────── Listeners ────────────┐
//!   SYN ─► kernel: key, TTL ─► accept ─► guest list ─┼─► task of the peer (bounded channel)
//!                                 │        │         │
//!                                 │        └─ nobody's source, or too many of one: closed without a byte
//!                                 └─ no file descriptor left: a pause
//! ```
//!
//! There is one listener per VRF and family, open only while some peer may come to it. A peer registers itself with its
//! source address, its key and its TTL rule, and is forgotten when it drops the registration. What is on the listener
//! holds from the first packet on; what can not be on it, because peers differ, is checked when the task takes over.

mod door;
mod guests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use self::door::Door;
use self::guests::Source;
use super::PeerSpec;
use super::occupant::Occupants;
use super::signature::SignatureError;
use super::socket::SocketError;

/// A connection that a peer opened.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) stream: TcpStream,
    pub(super) from: SocketAddr,
    /// To be kept as long as the connection.
    pub(super) place: OwnedSemaphorePermit,
}

/// Why a peer can not come to us.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    #[error("cannot listen on port {port}: {source}")]
    Bind { port: u16, source: io::Error },
    #[error(
        "cannot listen on port {port}: {occupant} has it; end it, or let us connect (listen: active)"
    )]
    Occupied { port: u16, occupant: String },
    #[error("cannot listen: {0}")]
    Open(#[from] SocketError),
    #[error("{0}")]
    Sign(#[from] SignatureError),
    #[error(
        "the neighbour {0} of another interface has the same address and not the same key, which a listener can not tell \
         apart: use one key for both, or let us connect (listen: active)"
    )]
    Key(IpAddr),
    #[error("another peer has this address still")]
    Taken,
}

/// How visits fared since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// Handed to a session.
    pub accepted: u64,
    /// Closed: the source is no peer's, or its peer does not wait for it.
    pub strangers: u64,
    /// Closed: the source had too many already.
    pub crowded: u64,
    /// Times that accepting paused, because a resource was used up.
    pub pauses: u64,
}

/// All listeners of the speaker.
#[derive(Clone, Debug)]
pub(super) struct Listeners(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    port: u16,
    /// By VRF; the default one has no name.
    doors: Mutex<BTreeMap<String, Door>>,
    occupants: Mutex<Occupants>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    strangers: AtomicU64,
    crowded: AtomicU64,
    pauses: AtomicU64,
}

/// A peer's place on the guest list; it leaves the list when this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    listeners: Listeners,
    vrf: String,
    source: Source,
    visits: mpsc::Receiver<Visit>,
}

impl Registration {
    /// The next connection of the peer.
    pub(super) async fn visit(&mut self) -> Option<Visit> {
        self.visits.recv().await
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.listeners.leave(&self.vrf, self.source);
    }
}

impl Listeners {
    /// Nothing is open yet.
    pub(super) fn new(port: u16) -> Self {
        Self(Arc::new(Inner {
            port,
            doors: Mutex::default(),
            occupants: Mutex::default(),
            counts: Arc::default(),
        }))
    }

    /// How visits fared.
    pub(super) fn visits(&self) -> Visits {
        let Counts {
            accepted,
            strangers,
            crowded,
            pauses,
        } = &*self.0.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Visits {
            accepted: read(accepted),
            strangers: read(strangers),
            crowded: read(crowded),
            pauses: read(pauses),
        }
    }

    /// Lets the peer of `spec` in, which comes from `from`. Needs a tokio runtime around it.
    pub(super) fn register(
        &self,
        spec: &PeerSpec,
        from: SocketAddr,
    ) -> Result<Registration, ListenError> {
        let source = Source::of(from);
        let vrf = spec.vrf.clone().unwrap_or_default();
        let mut doors = self.doors();
        let door = doors.entry(vrf.clone()).or_insert_with(|| {
            let counts = Arc::clone(&self.0.counts);
            Door::new(spec.vrf.clone(), self.0.port, counts)
        });
        let result = door.expect(spec, source);
        door.close(source.address);
        Self::close_empty(&mut doors, &vrf);
        // Not held while files are read for the words of an error.
        drop(doors);
        let visits = result.map_err(|error| self.occupied(error, source.address))?;
        Ok(Registration {
            listeners: self.clone(),
            vrf,
            source,
            visits,
        })
    }

    /// Says who has the port of a family, where that can be known.
    fn occupied(&self, error: ListenError, family: IpAddr) -> ListenError {
        let ListenError::Bind { port, source } = error else {
            return error;
        };
        let occupant = (source.kind() == io::ErrorKind::AddrInUse).then(|| {
            let occupants = self.0.occupants.lock();
            let mut occupants = occupants.unwrap_or_else(PoisonError::into_inner);
            occupants.of(port, family)
        });
        match occupant.flatten() {
            Some(occupant) => ListenError::Occupied { port, occupant },
            None => ListenError::Bind { port, source },
        }
    }

    fn leave(&self, vrf: &str, source: Source) {
        let mut doors = self.doors();
        if let Some(door) = doors.get_mut(vrf) {
            door.forget(source);
            door.close(source.address);
        }
        Self::close_empty(&mut doors, vrf);
    }

    fn close_empty(doors: &mut BTreeMap<String, Door>, vrf: &str) {
        if doors.get(vrf).is_some_and(Door::is_empty) {
            doors.remove(vrf);
        }
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<String, Door>> {
        let doors = self.0.doors.lock();
        doors.unwrap_or_else(PoisonError::into_inner)
    }
}
