//! One interface: its sockets, what is sent on it, and what was counted. The thread that answers is in
//! [`super::responder`].

use std::io::{self, PipeWriter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use portolan_proto::ethernet::{Frame, MacAddr};
use portolan_proto::ndp::Nonce;
use portolan_proto::responder::Identity;
use tokio::sync::mpsc;

use super::responder::Responder;
use super::socket::{Error, Sockets};
use super::table::Table;

/// What a thread has to say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// Another station claims an address that is held here.
    Claim {
        port: u32,
        vip: IpAddr,
        mac: MacAddr,
    },
    /// Another station has, or wants, an address that is under check.
    Rival {
        port: u32,
        vip: IpAddr,
        mac: MacAddr,
    },
    /// An address that was asked has answered.
    Witness { port: u32, ip: IpAddr },
    /// A thread has ended, orderly or not: look which.
    Ended,
}

/// Counts since the interface was taken into service.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) rate_limited: AtomicU64,
    pub(super) announcements: AtomicU64,
    pub(super) probes: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) send_failures: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) pauses: AtomicU64,
    pub(super) claims_missed: AtomicU64,
    pub(super) real_time: AtomicBool,
    pub(super) ended: AtomicBool,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An interface in service. Dropping it stops the thread and waits for it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) counters: Arc<Counters>,
    pub(super) table: Table,
    sockets: Arc<Sockets>,
    identity: Arc<ArcSwap<Identity>>,
    /// Closing the pipe is what stops the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    /// Opens the sockets and starts a thread that answers what the table will hold.
    pub(super) fn open(
        name: &str,
        index: u32,
        identity: Identity,
        notes: mpsc::Sender<Note>,
    ) -> Result<Self, Error> {
        let sockets = Arc::new(Sockets::open(name, index)?);
        let counters = Arc::new(Counters::default());
        let identity = Arc::new(ArcSwap::from_pointee(identity));
        let table = Table::default();
        let (stopped, stop) = io::pipe().map_err(Error::Pipe)?;
        let responder = Responder {
            index,
            name: name.to_owned(),
            identity: identity.clone(),
            sockets: sockets.clone(),
            counters: counters.clone(),
            table: table.clone(),
            notes,
        };
        let thread = thread::Builder::new()
            .name(format!("l2-{name}"))
            .spawn(move || responder.run(&stopped))
            .map_err(Error::Thread)?;
        Ok(Self {
            name: name.to_owned(),
            counters,
            table,
            sockets,
            identity,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn identity(&self) -> Identity {
        **self.identity.load()
    }

    /// From the next frame on, answers are given in this name.
    pub(super) fn set_identity(&self, identity: Identity) {
        self.identity.store(Arc::new(identity));
    }

    /// Whether the thread has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.counters.ended.load(Ordering::Acquire)
    }

    /// Frames that the kernel dropped because they came faster than they were read.
    pub(super) fn dropped(&self) -> u64 {
        self.sockets.take_drops(&self.counters.dropped);
        self.counters.dropped.load(Ordering::Relaxed)
    }

    /// Something that was heard could not be told.
    pub(super) fn count_missed(&self) {
        count(&self.counters.claims_missed);
    }

    /// Tells everyone on the link that the address is here.
    pub(super) fn announce(&self, vip: IpAddr) {
        for frame in self.identity().announcement(vip) {
            self.send(vip, &frame, &self.counters.announcements);
        }
    }

    /// Asks everyone on the link whether they use the address.
    pub(super) fn probe(&self, vip: IpAddr, nonce: Nonce) {
        if let Some(frame) = self.identity().probe(vip, nonce) {
            self.send(vip, &frame, &self.counters.probes);
        }
    }

    /// Asks an address whether it is there, from an address of ours on this link.
    pub(super) fn ask4(&self, source: Ipv4Addr, target: Ipv4Addr) {
        let frame = self.identity().ask4(source, target);
        self.send(target.into(), &frame, &self.counters.probes);
    }

    /// See [`Self::ask4`].
    pub(super) fn ask6(&self, source: Ipv6Addr, target: Ipv6Addr) {
        let frame = self.identity().ask6(source, target);
        self.send(target.into(), &frame, &self.counters.probes);
    }

    fn send(&self, about: IpAddr, frame: &Frame, counter: &AtomicU64) {
        let socket = if about.is_ipv4() {
            &self.sockets.arp
        } else {
            &self.sockets.ndp
        };
        match socket.send(frame.as_bytes()) {
            Ok(()) => count(counter),
            // A full queue or a link that just went down; everything sent here is sent again.
            Err(error) => {
                count(&self.counters.send_failures);
                tracing::debug!(interface = %self.name, %about, %error, "not sent");
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Nothing in the thread blocks but the poll that the pipe ends.
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!(interface = %self.name, "responder thread panicked");
        }
    }
}
