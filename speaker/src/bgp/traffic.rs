//! What goes over a session's connections, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portolan_proto::bgp::{HEADER, Kind};

/// The octet that says that a message is a NOTIFICATION.
const NOTIFICATION: u8 = Kind::Notification.octet();

/// Codes that are counted one by one; a peer that makes up more is counted under none.
const CODES: usize = 64;

/// What went over a session's connections since the session was configured. Counted apart from the status, whose changes
/// are told: these change all the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Whole messages read.
    pub messages_received: u64,
    /// Messages queued for sending.
    pub messages_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Bytes that the kernel took.
    pub bytes_sent: u64,
    /// NOTIFICATIONs received, by code and subcode.
    pub notifications_received: BTreeMap<(u8, u8), u64>,
    /// NOTIFICATIONs sent.
    pub notifications_sent: BTreeMap<(u8, u8), u64>,
}

/// [`Traffic`] while it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    messages_received: AtomicU64,
    messages_sent: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    notifications_received: Mutex<BTreeMap<(u8, u8), u64>>,
    notifications_sent: Mutex<BTreeMap<(u8, u8), u64>>,
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

    /// Counts a message of ours if it is a NOTIFICATION.
    pub(super) fn count_farewell(&self, message: &[u8]) {
        if message.get(HEADER - 1) == Some(&NOTIFICATION) {
            let body = message.get(HEADER..).unwrap_or_default();
            bump(&self.notifications_sent, body);
        }
    }

    /// Counts a NOTIFICATION of the peer's by its body.
    pub(super) fn count_told(&self, body: &[u8]) {
        bump(&self.notifications_received, body);
    }

    pub(super) fn read(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            messages_received: read(&self.messages_received),
            messages_sent: read(&self.messages_sent),
            bytes_received: read(&self.bytes_received),
            bytes_sent: read(&self.bytes_sent),
            notifications_received: lock(&self.notifications_received).clone(),
            notifications_sent: lock(&self.notifications_sent).clone(),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

type Codes = BTreeMap<(u8, u8), u64>;

fn bump(codes: &Mutex<Codes>, body: &[u8]) {
    let code = match body {
        [code, subcode, ..] => (*code, *subcode),
        _ => (0, 0),
    };
    let mut codes = lock(codes);
    let known = codes.contains_key(&code) || codes.len() < CODES;
    *codes.entry(if known { code } else { (0, 0) }).or_default() += 1;
}

fn lock(codes: &Mutex<Codes>) -> MutexGuard<'_, Codes> {
    codes.lock().unwrap_or_else(PoisonError::into_inner)
}
