//! What a peer's task and the rest of the speaker share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portolan_proto::bgp::session::SessionState;
use portolan_proto::bgp::{Asn, Families, HoldTime, Rib, RouterId};
use tokio::sync::{Notify, watch};

use super::PeerSpec;
use super::chronicle::Entry;
use super::traffic::{Counters, Traffic};
use crate::bfd::BfdStatus;

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
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// What both sides agreed on, while Established.
    pub agreed: Option<Agreed>,
    /// What stands in the way of something while the session may work, in words.
    pub problem: Option<String>,
    /// What our OPEN leaves out because the peer refused it, by name.
    pub left_out: Vec<String>,
    /// How often the session was Established since the peer was configured, whatever its settings; all but the first
    /// are flaps.
    pub established: u64,
    /// How many wanted routes the peer has been told.
    pub advertised: usize,
    /// How many wanted routes cannot be told. Meaningful while Established.
    pub unsent: usize,
    /// Why, in words.
    pub unsent_why: Vec<String>,
    /// UPDATE messages sent since the session was configured.
    pub updates_sent: u64,
    /// What BFD says of the way to the peer, if it watches it.
    pub bfd: Option<BfdStatus>,
    /// The newest events, oldest first.
    pub history: Arc<[Entry]>,
}

/// What both sides of a session agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The peer's identifier.
    pub peer_id: RouterId,
    /// The peer's AS.
    pub peer_as: Asn,
    /// How long silence is endured.
    pub hold: HoldTime,
    /// What is carried.
    pub families: Families,
    /// The peer keeps our routes while we restart.
    pub graceful_restart: bool,
}

/// The wanted routes of all peers.
#[derive(Debug, Default)]
pub(super) struct Wanted(Mutex<Rib>);

impl Wanted {
    /// Never held across an await.
    pub(super) fn rib(&self) -> MutexGuard<'_, Rib> {
        // Nothing in it panics between two writes that belong together: what a panic leaves is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task of one peer needs and reports.
#[derive(Debug)]
pub(super) struct Shared {
    wanted: Arc<Wanted>,
    status: Mutex<SessionStatus>,
    /// Wakes the task when the routes changed.
    pub(super) wake: Notify,
    pub(super) traffic: Counters,
    /// Counts changes of any peer's status.
    changes: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(spec: &PeerSpec, wanted: Arc<Wanted>, changes: watch::Sender<u64>) -> Self {
        let status = SessionStatus {
            name: spec.name.clone(),
            address: spec.remote.to_string(),
            state: SessionState::Idle,
            since: Timestamp::now(),
            last_error: None,
            last_error_at: None,
            agreed: None,
            problem: None,
            left_out: Vec::new(),
            established: 0,
            advertised: 0,
            unsent: 0,
            unsent_why: Vec::new(),
            updates_sent: 0,
            bfd: None,
            history: Arc::default(),
        };
        Self {
            wanted,
            status: Mutex::new(status),
            wake: Notify::new(),
            traffic: Counters::default(),
            changes,
        }
    }

    /// The wanted routes of all peers. Never held across an await.
    pub(super) fn rib(&self) -> MutexGuard<'_, Rib> {
        self.wanted.rib()
    }

    pub(super) fn status(&self) -> SessionStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What went over the connections.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.read()
    }

    /// The task is gone without having said so, and its connection with it.
    pub(super) fn crashed(&self, words: String) {
        let name = self.status().name;
        self.rib().leave(&name);
        self.report(|status| {
            status.state = SessionState::Idle;
            status.advertised = 0;
            status.unsent = 0;
            status.agreed = None;
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
        if status.last_error != before.last_error {
            status.last_error_at = Some(Timestamp::now());
        }
        if *status != before {
            self.changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}
