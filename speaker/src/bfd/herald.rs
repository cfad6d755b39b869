//! Carries what the thread says to those who asked for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portolan_proto::bfd::{Change, Diag, Negotiated, State};
use tokio::sync::{mpsc, watch};

use super::{BfdStatus, Liveness, SessionSpec, UserId};

/// What is said of sessions without the thread.
pub(super) const ENDED: &str = "BFD has ended on this node";

/// What the thread says.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// How a user's session is.
    Told(UserId, Told),
    /// What happened, for the log.
    Event(Event),
}

/// What happened. The thread does not log: whoever reads the log could make it wait.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A session has another state.
    Changed {
        peer: IpAddr,
        local: IpAddr,
        change: Change,
    },
    /// A defect of the program ended a session.
    Panicked { peer: IpAddr, words: String },
    /// Packets can not be received.
    Deaf(String),
}

impl Event {
    fn write(self) {
        match self {
            Self::Changed {
                peer,
                local,
                change,
            } => {
                let Change {
                    from,
                    to,
                    diag,
                    remote_state,
                } = change;
                if change.is_failure() {
                    tracing::warn!(%peer, %local, %from, %to, %diag, %remote_state, "BFD session failed");
                } else {
                    tracing::info!(%peer, %local, %from, %to, %diag, %remote_state, "BFD session");
                }
            }
            Self::Panicked { peer, words } => {
                tracing::error!(%peer, panic = words, "a BFD session panicked; it begins anew");
            }
            Self::Deaf(words) => tracing::warn!("{words}"),
        }
    }
}

/// A session as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) peer: IpAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) multihop: bool,
    pub(super) live: Liveness,
    pub(super) remote_diag: Diag,
    pub(super) negotiated: Negotiated,
    pub(super) ups: u64,
    pub(super) problem: Option<String>,
}

/// All users. Locked on the async side only.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    users: Arc<Mutex<BTreeMap<UserId, Entry>>>,
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct Entry {
    watch: watch::Sender<Liveness>,
    status: BfdStatus,
}

impl Entries {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<UserId, Entry>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(super) fn add(&self, user: UserId, spec: &SessionSpec) {
        let status = BfdStatus {
            peer: spec.peer,
            local: spec.local,
            multihop: spec.multihop,
            state: State::Down,
            diag: Diag::NONE,
            remote_state: State::Down,
            remote_diag: Diag::NONE,
            transmit: None,
            detection: None,
            since: Timestamp::now(),
            ups: 0,
            flaps: 0,
            problem: None,
        };
        let (watch, _) = watch::channel(Liveness::default());
        self.lock().insert(user, Entry { watch, status });
    }

    pub(super) fn remove(&self, user: UserId) {
        self.lock().remove(&user);
    }

    /// Whoever is gone sees a session in AdminDown that never changes.
    pub(super) fn watch(&self, user: UserId) -> watch::Receiver<Liveness> {
        let entries = self.lock();
        let sender = entries.get(&user).map(|entry| &entry.watch);
        sender.map_or_else(|| watch::channel(gone(0)).1, watch::Sender::subscribe)
    }

    pub(super) fn status(&self) -> Vec<BfdStatus> {
        let entries = self.lock();
        entries.values().map(|entry| entry.status.clone()).collect()
    }

    pub(super) fn status_of(&self, user: UserId) -> Option<BfdStatus> {
        self.lock().get(&user).map(|entry| entry.status.clone())
    }

    fn take(&self, user: UserId, told: Told) {
        let mut entries = self.lock();
        let Some(Entry { watch, status }) = entries.get_mut(&user) else {
            return;
        };
        let since = if status.state == told.live.state {
            status.since
        } else {
            Timestamp::now()
        };
        *status = BfdStatus {
            peer: told.peer,
            local: told.local,
            multihop: told.multihop,
            state: told.live.state,
            diag: told.live.diag,
            remote_state: told.live.remote_state,
            remote_diag: told.remote_diag,
            transmit: told.negotiated.transmit,
            detection: told.negotiated.detection,
            since,
            ups: told.ups,
            flaps: told.live.failures,
            problem: told.problem,
        };
        let differs =
            watch.send_if_modified(|live| std::mem::replace(live, told.live) != told.live);
        if differs {
            self.changes.send_replace(());
        }
    }

    /// Without the thread nothing is known of any path; that is no failure of theirs.
    pub(super) fn end(&self, why: &str) {
        for Entry { watch, status } in self.lock().values_mut() {
            status.state = State::AdminDown;
            status.problem = Some(why.to_owned());
            watch.send_modify(|live| *live = gone(live.failures));
        }
        self.changes.send_replace(());
    }
}

fn gone(failures: u64) -> Liveness {
    Liveness {
        state: State::AdminDown,
        failures,
        ..Liveness::default()
    }
}

/// Reads notes until the thread has ended. Of a log that nobody reads, what does not fit is lost.
pub(super) async fn run(
    mut news: mpsc::Receiver<Note>,
    entries: Entries,
    log: mpsc::Sender<Event>,
) {
    // However this ends, be it by a defect: nobody is to believe the last news for ever.
    let _end = AtEnd(&entries);
    while let Some(note) = news.recv().await {
        match note {
            Note::Told(user, told) => entries.take(user, told),
            Note::Event(event) => drop(log.try_send(event)),
        }
    }
}

struct AtEnd<'a>(&'a Entries);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.end(ENDED);
    }
}

/// Logs what happened, until there is nobody who could say more.
pub(super) async fn log(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        event.write();
    }
}
