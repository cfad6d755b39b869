//! One interface: its sockets, the thread that answers, and what it counted.

use std::io::{self, PipeReader, PipeWriter};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portolan_proto::ethernet::MacAddr;
use portolan_proto::responder::{Heard, Identity};
use tokio::sync::mpsc;

use super::socket::{Error, PacketSocket, Sockets};
use super::table::Table;

/// The largest frame without jumbo frames. Questions are 42 to some hundred bytes (secure
/// neighbour discovery signs them, RFC 3971); longer ones are cut off and thereby refused.
const FRAME_MAX: usize = 1514;
/// Frames taken from one socket before the other one is looked at.
const BATCH: usize = 64;

/// What a thread has to say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// Another station claims an address that is held here.
    Claim {
        port: u32,
        vip: IpAddr,
        mac: MacAddr,
    },
    /// A thread has ended, orderly or not: look which.
    Ended,
}

/// Counts since the interface was taken into service.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) announcements: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) send_failures: AtomicU64,
    pub(super) claims_missed: AtomicU64,
    ended: AtomicBool,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An interface in service. Dropping it stops the thread and waits for it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) counters: Arc<Counters>,
    sockets: Arc<Sockets>,
    identity: Arc<ArcSwap<Identity>>,
    /// Closing the pipe is what stops the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    /// Opens the sockets and starts answering what `table` holds.
    pub(super) fn open(
        name: &str,
        index: u32,
        identity: Identity,
        table: Table,
        notes: mpsc::Sender<Note>,
    ) -> Result<Self, Error> {
        let sockets = Arc::new(Sockets::open(name, index)?);
        let counters = Arc::new(Counters::default());
        let identity = Arc::new(ArcSwap::from_pointee(identity));
        let (stopped, stop) = io::pipe().map_err(Error::Pipe)?;
        let responder = Responder {
            index,
            name: name.to_owned(),
            identity: identity.clone(),
            sockets: sockets.clone(),
            counters: counters.clone(),
            table,
            notes,
        };
        let thread = thread::Builder::new()
            .name(format!("l2-{name}"))
            .spawn(move || responder.run(&stopped))
            .map_err(Error::Thread)?;
        Ok(Self {
            name: name.to_owned(),
            counters,
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

    /// Tells everyone on the link that the address is here.
    pub(super) fn announce(&self, vip: IpAddr) {
        let socket = if vip.is_ipv4() {
            &self.sockets.arp
        } else {
            &self.sockets.ndp
        };
        for frame in self.identity().announcement(vip) {
            match socket.send(frame.as_bytes()) {
                Ok(()) => count(&self.counters.announcements),
                // A full queue or a link that just went down; the burst repeats it.
                Err(error) => {
                    count(&self.counters.send_failures);
                    tracing::debug!(interface = %self.name, %vip, %error, "not announced");
                }
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

/// The thread's side.
struct Responder {
    index: u32,
    name: String,
    identity: Arc<ArcSwap<Identity>>,
    sockets: Arc<Sockets>,
    counters: Arc<Counters>,
    table: Table,
    notes: mpsc::Sender<Note>,
}

impl Responder {
    fn run(self, stopped: &PipeReader) {
        if let Err(error) = self.serve(stopped) {
            tracing::warn!(interface = %self.name, %error, "responder stopped");
        }
    }

    fn serve(&self, stopped: &PipeReader) -> io::Result<()> {
        let Sockets { arp, ndp } = &*self.sockets;
        loop {
            let mut ready = [
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
                PollFd::new(arp.as_fd(), PollFlags::POLLIN),
                PollFd::new(ndp.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let [stop, arp_ready, ndp_ready] = ready.map(|it| it.any().unwrap_or(true));
            if stop {
                return Ok(());
            }
            if arp_ready {
                self.answer_waiting(arp)?;
            }
            if ndp_ready {
                self.answer_waiting(ndp)?;
            }
        }
    }

    fn answer_waiting(&self, socket: &PacketSocket) -> io::Result<()> {
        let mut buffer = [0; FRAME_MAX];
        for _ in 0..BATCH {
            match socket.receive(&mut buffer) {
                Ok(length) => self.hear(socket, buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Said once when the link goes down; the socket works again when it is up.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hear(&self, socket: &PacketSocket, frame: &[u8]) {
        // Held until the answer is out: whoever replaces the table waits for that.
        let vips = self.table.load();
        let identity = self.identity.load();
        match identity.hear(frame, |vip| vips.holds(vip, &self.name)) {
            Heard::Nothing => {}
            Heard::Malformed => count(&self.counters.malformed),
            Heard::Question { answer, .. } => {
                count(&self.counters.requests);
                match answer.map(|answer| socket.send(answer.as_bytes())) {
                    Some(Ok(())) => count(&self.counters.replies),
                    Some(Err(_)) => count(&self.counters.send_failures),
                    None => {}
                }
            }
            Heard::Claim { vip, mac } => {
                let note = Note::Claim {
                    port: self.index,
                    vip,
                    mac,
                };
                if self.notes.try_send(note).is_err() {
                    count(&self.counters.claims_missed);
                }
            }
        }
    }
}

impl Drop for Responder {
    /// Wakes the engine, which looks which thread is gone. When the queue is full it is awake.
    fn drop(&mut self) {
        self.counters.ended.store(true, Ordering::Release);
        let _full_or_closed = self.notes.try_send(Note::Ended);
    }
}
