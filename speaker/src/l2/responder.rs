//! The thread of one interface: reads questions and answers them, and passes on what others claim.
//!
//! It runs before all ordinary threads, so that an answer does not wait on a busy node, and therefore bounds itself:
//! answers by rate, and its whole work to a quarter of one processor ([`flood`]). What comes faster waits in the
//! kernel's queue, and what does not fit there is dropped and counted. For one frame it takes no lock and
//! allocates nothing, unless there is something to pass on.

use std::io::{self, PipeReader};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portolan_proto::ethernet::MacAddr;
use portolan_proto::flood::{Novelty, Repetitions, Replies, WorkShare};
use portolan_proto::responder::{Heard, Identity};
use tokio::sync::mpsc;

use super::port::{Counters, Note, count};
use super::socket::{PacketSocket, Sockets};
use super::table::Table;
use crate::sys;

/// The largest frame without jumbo frames. Questions are 42 to some hundred bytes (secure
/// neighbour discovery signs them, RFC 3971); longer ones are cut off and thereby refused.
const FRAME_MAX: usize = 1514;
/// Frames taken from one socket before the other one is looked at.
const BATCH: usize = 64;
/// Real-time priority: before all ordinary threads, behind BFD (20), whose packets have no second chance.
const PRIORITY: i32 = 10;

/// What the thread is given.
pub(super) struct Responder {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) identity: Arc<ArcSwap<Identity>>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) counters: Arc<Counters>,
    pub(super) table: Table,
    pub(super) notes: mpsc::Sender<Note>,
}

/// What the thread remembers from frame to frame.
#[derive(Default)]
struct Memory {
    replies: Replies,
    claims: Repetitions,
    /// Apart from claims, which anybody can send at will.
    asked: Repetitions,
    share: WorkShare,
}

impl Responder {
    pub(super) fn run(self, stopped: &PipeReader) {
        let real_time = sys::set_real_time(PRIORITY);
        if let Err(error) = &real_time {
            // BFD warns about the missing capability for the whole process.
            tracing::debug!(interface = %self.name, %error, "responder without real-time priority");
        }
        let counter = &self.counters.real_time;
        counter.store(real_time.is_ok(), Ordering::Relaxed);
        if let Err(error) = self.serve(stopped) {
            tracing::warn!(interface = %self.name, %error, "responder stopped");
        }
    }

    fn serve(&self, stopped: &PipeReader) -> io::Result<()> {
        let Sockets { arp, ndp } = &*self.sockets;
        let mut memory = Memory::default();
        let mut worked = sys::thread_cpu_time()?;
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
                self.answer_waiting(arp, &mut memory)?;
            }
            if ndp_ready {
                self.answer_waiting(ndp, &mut memory)?;
            }
            let before = std::mem::replace(&mut worked, sys::thread_cpu_time()?);
            let pause = memory.share.worked(worked.saturating_sub(before), now());
            if let Some(pause) = pause
                && self.pause(stopped, pause)?
            {
                return Ok(());
            }
        }
    }

    /// Does nothing for a while. Returns whether the end came.
    fn pause(&self, stopped: &PipeReader, pause: Duration) -> io::Result<bool> {
        count(&self.counters.pauses);
        let end = now() + pause;
        loop {
            let mut ready = [PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
            let left = end.saturating_duration_since(now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut ready, timeout) {
                Err(Errno::EINTR) => {}
                Ok(0) => return Ok(false),
                result => return result.map(|_| true).map_err(Into::into),
            }
        }
    }

    fn answer_waiting(&self, socket: &PacketSocket, memory: &mut Memory) -> io::Result<()> {
        let mut buffer = [0; FRAME_MAX];
        let now = now();
        for _ in 0..BATCH {
            match socket.receive(&mut buffer) {
                Ok(length) => {
                    let frame = buffer.get(..length).unwrap_or_default();
                    self.hear(socket, frame, memory, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Said once when the link goes down; the socket works again when it is up.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hear(&self, socket: &PacketSocket, frame: &[u8], memory: &mut Memory, now: Instant) {
        // Held until the answer is out: whoever replaces the table waits for that.
        let view = self.table.load();
        let identity = self.identity.load();
        let port = self.index;
        match identity.hear(frame, |ip| view.role(ip)) {
            Heard::Nothing => {}
            Heard::Malformed => count(&self.counters.malformed),
            Heard::Question {
                requester, answer, ..
            } => {
                count(&self.counters.requests);
                let Some(answer) = answer else { return };
                if !memory.replies.admit(requester, now) {
                    return count(&self.counters.rate_limited);
                }
                match socket.send(answer.as_bytes()) {
                    Ok(()) => count(&self.counters.replies),
                    Err(_) => count(&self.counters.send_failures),
                }
            }
            Heard::Claim { vip, mac } => {
                let claims = &mut memory.claims;
                self.pass_on(claims, (vip, mac), Note::Claim { port, vip, mac }, now);
            }
            Heard::Rival { vip, mac } => {
                let asked = &mut memory.asked;
                self.pass_on(asked, (vip, mac), Note::Rival { port, vip, mac }, now);
            }
            Heard::Witness { ip, mac } => {
                let asked = &mut memory.asked;
                self.pass_on(asked, (ip, mac), Note::Witness { port, ip }, now);
            }
        }
    }

    /// Tells the engine, but not the same again and again, and not more than it can look at.
    fn pass_on(
        &self,
        said: &mut Repetitions,
        (ip, mac): (IpAddr, MacAddr),
        note: Note,
        now: Instant,
    ) {
        let missed = match said.judge(ip, mac, now) {
            Novelty::Repeated => false,
            Novelty::TooMuch => true,
            Novelty::New => self.notes.try_send(note).is_err(),
        };
        if missed {
            count(&self.counters.claims_missed);
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

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
