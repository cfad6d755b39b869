//! What a peer's task and the rest of the speaker share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portolan_proto::bgp::Rib;
use portolan_proto::bgp::session::SessionState;
use tokio::sync::{Notify, watch};

use super::PeerSpec;

/// How a session fares, for reports and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Name of the peer's object.
    pub name: String,
    /// Address of the peer, or the interface of an unnumbered one.
    pub address: String,
    /// Where the session stands.
    pub state: SessionState,
    /// Since when it stands there.
    pub since: Timestamp,
    /// The last thing that went wrong, in words; kept when things are well again, and when the peer's settings change.
    pub last_error: Option<String>,
    /// What stands in the way of something while the session may work, in words.
    pub problem: Option<String>,
    /// How often the session was Established since the peer was configured, whatever its settings; all but the first
    /// are flaps.
    pub established: u64,
    /// How many wanted routes the peer has been told.
    pub advertised: usize,
    /// How many wanted routes cannot be told: of a family that was not agreed on, or with too many attributes.
    /// Meaningful while Established.
    pub unsent: usize,
    /// UPDATE messages sent since the session was configured.
    pub updates_sent: u64,
}

/// What went over a session's connections since the session was configured. Counted apart from the status, whose changes
/// are told: these change all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Whole messages read.
    pub messages_received: u64,
    /// Messages queued for sending.
    pub messages_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Bytes that the kernel took.
    pub bytes_sent: u64,
}

/// [`Traffic`] while it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    messages_received: AtomicU64,
    messages_sent: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
}

impl Counters {
    pub(super) fn count_in(&self, messages: usize, bytes: usize) {
        add(&self.messages_received, messages);
        add(&self.bytes_received, bytes);
    }

    pub(super) fn count_out(&self, messages: usize) {
        add(&self.messages_sent, messages);
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        add(&self.bytes_sent, bytes);
    }

    pub(super) fn read(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            messages_received: read(&self.messages_received),
            messages_sent: read(&self.messages_sent),
            bytes_received: read(&self.bytes_received),
            bytes_sent: read(&self.bytes_sent),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// The wanted routes of one peer, and what its task reports.
#[derive(Debug)]
pub(super) struct Shared {
    rib: Mutex<Rib>,
    status: Mutex<SessionStatus>,
    /// Wakes the task when the routes changed.
    pub(super) wake: Notify,
    pub(super) traffic: Counters,
    /// Counts changes of any peer's status.
    changes: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(spec: &PeerSpec, changes: watch::Sender<u64>) -> Self {
        let status = SessionStatus {
            name: spec.name.clone(),
            address: spec.remote.to_string(),
            state: SessionState::Idle,
            since: Timestamp::now(),
            last_error: None,
            problem: None,
            established: 0,
            advertised: 0,
            unsent: 0,
            updates_sent: 0,
        };
        Self {
            rib: Mutex::default(),
            status: Mutex::new(status),
            wake: Notify::new(),
            traffic: Counters::default(),
            changes,
        }
    }

    /// The wanted routes. Never held across an await.
    pub(super) fn rib(&self) -> MutexGuard<'_, Rib> {
        // A panic while it was held cannot leave it half-changed for longer than until the next `replace`.
        self.rib.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> SessionStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The task is gone without having said so, and its connection with it.
    pub(super) fn crashed(&self, words: String) {
        self.report(|status| {
            status.state = SessionState::Idle;
            status.advertised = 0;
            status.unsent = 0;
            status.last_error = Some(words);
        });
    }

    /// Changes the status, and tells those who watch if it is different then.
    pub(super) fn report(&self, change: impl FnOnce(&mut SessionStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let before = status.clone();
        change(&mut status);
        if status.state != before.state {
            status.since = Timestamp::now();
        }
        if *status != before {
            self.changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}
