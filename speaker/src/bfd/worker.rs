//! The thread: waits for packets, commands and deadlines, and for nothing else.

use std::collections::BTreeMap;
use std::io::{PipeReader, Read as _};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tokio::sync::{mpsc, oneshot};

use super::herald::{Event, Note};
use super::listeners::{Kind, Listener};
use super::roster::{LOOK, Roster};
use super::status::Numbers;
use super::{Carriers, SessionSpec, UserId, priority};

/// Packets taken from one listener before the others and the deadlines get their turn.
const BATCH: usize = 64;
/// Batches taken before peers are declared dead: more than the receive buffers hold.
const LAST_BATCHES: usize = 256;
/// Time until notes are offered again to a herald whose queue was full.
const TELL_AGAIN: Duration = Duration::from_millis(10);

/// While there is much to do, one turn for each such part of the shortest interval: waking up costs more than a packet. What a
/// session loses of its detection time by that is a 64th divided by its multiplier, at most.
const REST: u32 = 64;
/// Shorter rests are not worth their own waking up.
const SHORTEST_REST: Duration = Duration::from_micros(500);
/// Longer ones save nothing more.
const LONGEST_REST: Duration = Duration::from_millis(5);

/// Longest time between two looks whether the end is reached.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// What users want.
#[derive(Debug)]
pub(super) enum Command {
    /// A new user, or another wish of one.
    Put(UserId, SessionSpec),
    /// A user goes.
    Leave(UserId),
    /// The node's links, all of them.
    Carriers(Carriers),
    /// Say AdminDown and end; to be answered when that is done.
    Shutdown(oneshot::Sender<()>),
}

/// All that the thread owns.
pub(super) struct Worker {
    orders: Receiver<Command>,
    /// None once nobody is left who could write.
    woken: Option<PipeReader>,
    notes: mpsc::Sender<Note>,
    numbers: Numbers,
    roster: Roster,
    listeners: BTreeMap<Kind, Listener>,
    /// The one address to listen on, in tests.
    on: Option<IpAddr>,
    /// Why packets of a kind can not reach us.
    troubles: BTreeMap<Kind, String>,
    look_at: Instant,
    /// When the last turn began, and how long none follows it if there was much to do.
    turned: Instant,
    rest: Duration,
    /// Packets and deadlines of this turn.
    work: usize,
    /// Who waits for the end.
    ending: Option<Vec<oneshot::Sender<()>>>,
}

/// The edge: the one place of this thread that reads a clock.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Worker {
    pub(super) fn new(
        orders: Receiver<Command>,
        woken: PipeReader,
        notes: mpsc::Sender<Note>,
        numbers: Numbers,
        on: Option<IpAddr>,
    ) -> Self {
        // The standard library's own source of keys for hash tables: random for every process.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        Self {
            orders,
            woken: Some(woken),
            notes,
            roster: Roster::new(seed, numbers.clone()),
            numbers,
            listeners: BTreeMap::new(),
            on,
            troubles: BTreeMap::new(),
            look_at: clock(),
            turned: clock(),
            rest: Duration::ZERO,
            work: 0,
            ending: None,
        }
    }

    pub(super) fn run(mut self) {
        priority::claim(&self.numbers.real_time);
        while !self.turn() {}
        for waiting in self.ending.take().into_iter().flatten() {
            let _gone = waiting.send(());
        }
    }

    /// Waits for something, and does what follows from it. Returns whether this was the last turn.
    fn turn(&mut self) -> bool {
        let (ordered, ready) = self.wait();
        self.work = 0;
        let flooded = self.receive(&ready);
        if ordered {
            self.take_orders();
        }
        let now = clock();
        // A thread that was not let run must not take waiting packets for silence.
        if self.roster.would_expire(now) {
            let kinds: Vec<Kind> = self.listeners.keys().copied().collect();
            for _ in 0..LAST_BATCHES {
                if !self.receive(&kinds) {
                    break;
                }
            }
        }
        self.work += self.roster.run_due(now);
        if self.look_at <= now {
            self.look_at = now + LOOK;
            self.roster.look(now);
            self.listen();
        }
        self.tell();
        self.rest(ordered || flooded);
        self.ending.is_some() && self.roster.has_ended(clock())
    }

    /// Sleeps until it is worth it, if turns come thick and fast. Orders are heard all the while; who is flooded with packets
    /// does not sleep.
    fn rest(&mut self, busy: bool) {
        let before = std::mem::replace(&mut self.turned, clock());
        let dense = self.work > 1 || self.turned.duration_since(before) < self.rest;
        if busy || !dense || self.rest.is_zero() || self.ending.is_some() {
            return;
        }
        let Some(pipe) = &self.woken else { return };
        let mut pipe = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        // However it ends, the next turn looks for itself.
        let _early = ppoll(&mut pipe, Some(TimeSpec::from(self.rest)), None);
    }

    fn tell(&mut self) {
        let notes = &self.notes;
        self.roster
            .tell(&self.troubles, |note| notes.try_send(note).is_ok());
    }

    /// Returns whether commands wait, and which listeners have packets.
    fn wait(&self) -> (bool, Vec<Kind>) {
        let now = clock();
        let again = self.roster.has_news().then(|| now + TELL_AGAIN);
        let last = self.ending.is_some().then(|| now + LAST_LOOK);
        let deadlines = [self.roster.next_deadline(), Some(self.look_at), again, last];
        let deadline = deadlines.into_iter().flatten().min();
        let timeout = deadline.map(|at| TimeSpec::from(at.saturating_duration_since(now)));
        let sockets = self.listeners.values().map(Listener::as_fd);
        let pipe = self.woken.as_ref().map(PipeReader::as_fd);
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut ready: Vec<PollFd<'_>> = sockets.chain(pipe).map(readable).collect();
        // Interrupted or not, the turn goes on and looks for itself.
        if ppoll(&mut ready, timeout, None).is_err() {
            return (false, Vec::new());
        }
        let mut ready = ready.iter().map(|it| it.any().unwrap_or(true));
        let kinds = self.listeners.keys().zip(&mut ready);
        let kinds = kinds.filter(|it| it.1).map(|it| *it.0).collect();
        (ready.next().unwrap_or(false), kinds)
    }

    /// Takes a batch from each of these listeners; returns whether there may be more.
    fn receive(&mut self, kinds: &[Kind]) -> bool {
        let mut more = false;
        for kind in kinds {
            for turn in 1..=BATCH {
                let Some(listener) = self.listeners.get(kind) else {
                    break;
                };
                match listener.receive() {
                    Ok(Some(arrival)) => {
                        self.work += 1;
                        let verdict = self.roster.packet(&arrival, clock());
                        if let Err(why) = verdict {
                            self.numbers.dropped(why);
                        }
                        more |= turn == BATCH;
                    }
                    Ok(None) => break,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    // Opened anew at the next look; never tried in a circle.
                    Err(error) => {
                        self.listeners.remove(kind);
                        self.trouble(*kind, &error);
                        break;
                    }
                }
            }
        }
        more
    }

    fn take_orders(&mut self) {
        let mut bytes = [0; 256];
        let read = self.woken.as_mut().map(|pipe| pipe.read(&mut bytes));
        let silent = matches!(read, Some(Ok(0) | Err(_)));
        if silent {
            self.woken = None;
        }
        loop {
            let now = clock();
            match self.orders.try_recv() {
                Ok(Command::Put(user, spec)) => self.roster.put(user, spec, now),
                Ok(Command::Leave(user)) => self.roster.leave(user, now),
                Ok(Command::Carriers(carriers)) => self.roster.follow_links(carriers, now),
                Ok(Command::Shutdown(done)) => {
                    self.ending.get_or_insert_default().push(done);
                    self.roster.end(now);
                }
                Err(TryRecvError::Empty) if !silent => break,
                // Nobody is left who could want something.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    self.ending.get_or_insert_default();
                    self.roster.end(now);
                    break;
                }
            }
        }
        self.listen();
    }

    /// Opens the listeners that sessions need, and closes the others.
    fn listen(&mut self) {
        let shortest = self.roster.shortest_interval().unwrap_or_default();
        let rest = (shortest / REST).min(LONGEST_REST);
        self.rest = Some(rest)
            .filter(|rest| *rest >= SHORTEST_REST)
            .unwrap_or_default();
        let wanted = self.roster.kinds();
        self.listeners.retain(|kind, _| wanted.contains(kind));
        self.troubles.retain(|kind, _| wanted.contains(kind));
        for kind in wanted {
            if self.listeners.contains_key(&kind) {
                continue;
            }
            match Listener::open(kind, self.on) {
                Ok(listener) => {
                    self.listeners.insert(kind, listener);
                    if self.troubles.remove(&kind).is_some() {
                        self.roster.tell_all();
                    }
                }
                Err(error) => self.trouble(kind, &error),
            }
        }
    }

    fn trouble(&mut self, kind: Kind, error: &std::io::Error) {
        let words = format!("BFD packets can not be received: {kind}: {error}");
        if self.troubles.get(&kind) != Some(&words) {
            self.roster.note(Event::Deaf(words.clone()));
            self.troubles.insert(kind, words);
            self.roster.tell_all();
        }
    }
}
