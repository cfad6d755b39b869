//! The task of one peer: feeds the state machine, does what it says, and moves bytes.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use portolan_proto::bgp::session::{Close, ConnId, Effect, Event, Input, Out, Peer, StopReason};
use portolan_proto::bgp::{Family, Frame, Peek, Version};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep_until;

use super::PeerSpec;
use super::connection::Connection;
use super::shared::Shared;
use super::socket::{self, SocketError};

/// More UPDATEs are packed when less than this waits to be written.
const LOW_WATER: usize = 64 * 1024;
/// How far the output queue is filled then.
const HIGH_WATER: usize = 256 * 1024;

/// One peer.
pub(super) struct Task {
    spec: PeerSpec,
    shared: Arc<Shared>,
    peer: Peer,
    /// How many times Established of `peer` the status counts: it outlives this task.
    counted: u64,
    effects: Out,
    attempt: Option<(ConnId, BoxFuture<'static, Result<TcpStream, SocketError>>)>,
    connection: Option<(ConnId, Connection)>,
    closing: JoinSet<()>,
}

/// What woke the task.
enum Woken {
    Stop(StopReason),
    Attempt(ConnId, Result<TcpStream, SocketError>),
    Socket,
    /// Routes, a deadline, or a connection that is closed by now: the turn of the loop sees to it.
    Other,
}

impl Task {
    pub(super) fn new(spec: PeerSpec, shared: Arc<Shared>, seed: u64) -> Self {
        let peer = Peer::new(spec.config(), seed);
        Self {
            spec,
            shared,
            peer,
            counted: 0,
            effects: Out::new(),
            attempt: None,
            connection: None,
            closing: JoinSet::new(),
        }
    }

    /// Runs until told to stop, and then until the last words are said.
    pub(super) async fn run(mut self, mut order: watch::Receiver<Option<StopReason>>) {
        self.give(Input::Start);
        loop {
            self.fill();
            self.flush();
            self.publish();
            match self.wait(&mut order).await {
                Woken::Stop(reason) => {
                    self.give(Input::Stop(reason));
                    break;
                }
                Woken::Attempt(id, result) => self.attempted(id, result),
                Woken::Socket => {
                    self.read();
                    // A peer that never stops talking is always ready: the others, and all clocks, come first now.
                    yield_now().await;
                }
                Woken::Other => {}
            }
            // After reading, so that a task that was kept waiting does not take its own lateness for the
            // silence of the peer.
            self.timer().await;
        }
        self.publish();
        while self.closing.join_next().await.is_some() {}
    }

    async fn wait(&mut self, order: &mut watch::Receiver<Option<StopReason>>) -> Woken {
        let deadline = self.peer.next_deadline();
        tokio::select! {
            biased;
            reason = ordered(order) => Woken::Stop(reason),
            (id, result) = attempted(&mut self.attempt) => Woken::Attempt(id, result),
            () = ready(self.connection.as_ref()) => Woken::Socket,
            () = self.shared.wake.notified() => Woken::Other,
            Some(_) = self.closing.join_next() => Woken::Other,
            () = until(deadline) => Woken::Other,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        self.peer.handle(input, now(), &mut self.effects);
        self.act();
    }

    /// A process that was stopped, or kept from running, wakes up to its clocks before the runtime has asked the kernel
    /// about its sockets: what has come since is read first.
    async fn timer(&mut self) {
        if self.due() {
            yield_now().await;
            self.read();
        }
        if self.due() {
            self.give(Input::Timer);
        }
    }

    fn due(&self) -> bool {
        self.peer
            .next_deadline()
            .is_some_and(|deadline| deadline <= now())
    }

    /// Does what the state machine said.
    fn act(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Connect(id) => {
                    self.attempt = Some((id, Box::pin(socket::connect(self.spec.clone()))));
                }
                Effect::Send(id, bytes) => {
                    if let Some((_, connection)) = self.connection.as_mut().filter(|it| it.0 == id)
                    {
                        connection.queue().extend_from_slice(&bytes);
                    }
                }
                Effect::Close(id, close) => self.close(id, close),
                Effect::Event(event) => self.log(&event),
            }
        }
    }

    fn close(&mut self, id: ConnId, close: Close) {
        self.attempt.take_if(|attempt| attempt.0 == id);
        let Some((_, connection)) = self.connection.take_if(|connection| connection.0 == id) else {
            return;
        };
        match close {
            Close::Abort => drop(connection),
            Close::Drain => {
                self.closing.spawn(connection.drain());
            }
        }
    }

    fn attempted(&mut self, id: ConnId, result: Result<TcpStream, SocketError>) {
        self.attempt = None;
        let connected = result.and_then(|stream| {
            let connection = Connection::new(stream);
            let local = connection.local().map_err(SocketError::Connect)?;
            Ok((connection, local))
        });
        match connected {
            Ok((connection, local)) => {
                self.connection = Some((id, connection));
                self.give(Input::Connected(id, local));
            }
            Err(error) => self.give(Input::ConnectFailed(id, error.into())),
        }
    }

    /// Reads once and handles all whole messages.
    fn read(&mut self) {
        let Some((id, connection)) = &mut self.connection else {
            return;
        };
        let id = *id;
        let result = connection.read();
        let mut taken = 0;
        let now = now();
        while self.peer.knows(id) {
            match Frame::peek(connection.received().get(taken..).unwrap_or_default()) {
                Ok(Peek::Partial) => break,
                Ok(Peek::Whole(frame, length)) => {
                    taken += length;
                    self.peer
                        .handle(Input::Received(id, frame), now, &mut self.effects);
                }
                Err(error) => {
                    self.peer
                        .handle(Input::Garbled(id, error), now, &mut self.effects);
                }
            }
        }
        connection.consume(taken);
        self.act();
        if let Err(error) = result {
            self.lost(id, &error);
        }
    }

    /// Packs more UPDATEs if the queue runs low.
    fn fill(&mut self) {
        let Some((id, connection)) = &mut self.connection else {
            return;
        };
        let backlog = connection.backlog();
        if backlog >= LOW_WATER {
            return;
        }
        connection.compact();
        let mut rib = self.shared.rib();
        let queue = connection.queue();
        let Some((target, pulled)) = self.peer.pull(&rib, HIGH_WATER - backlog, now(), queue)
        else {
            return;
        };
        debug_assert_eq!(*id, target, "there is one connection");
        if let Some(adj) = self.peer.adj_out() {
            for family in Family::ALL {
                rib.forget(family, adj.heard(family));
            }
        }
        drop(rib);
        if pulled.messages > 0 {
            self.shared.report(|status| {
                status.updates_sent += u64::try_from(pulled.messages).unwrap_or(u64::MAX);
            });
        }
    }

    fn flush(&mut self) {
        let Some((id, connection)) = &mut self.connection else {
            return;
        };
        let id = *id;
        match connection.write() {
            Ok(output) => self.give(Input::Output(id, output)),
            Err(error) => {
                // A peer that closed may have said why.
                self.read();
                self.lost(id, &error);
            }
        }
    }

    fn lost(&mut self, id: ConnId, error: &io::Error) {
        self.give(Input::Lost(id, error.to_string()));
    }

    fn publish(&mut self) {
        let mut rib = self.shared.rib();
        let wanted: usize = Family::ALL.iter().map(|family| rib.len(*family)).sum();
        let (advertised, unsent) = if let Some(adj) = self.peer.adj_out() {
            let carried = Family::ALL.iter().filter(|family| adj.carries(**family));
            let sendable: usize = carried.map(|family| rib.len(*family)).sum();
            (adj.advertised(&rib), wanted - sendable + adj.oversized())
        } else {
            // Nobody holds anything of ours: there is nothing to take back.
            for family in Family::ALL {
                let head: Version = rib.head(family);
                rib.forget(family, head);
            }
            (0, 0)
        };
        drop(rib);
        let established = self.peer.established_count();
        self.shared.report(|status| {
            status.name.clone_from(&self.spec.name);
            status.address = self.spec.address;
            status.state = self.peer.state();
            if let Some(error) = self.peer.last_error() {
                status.last_error = Some(error.to_owned());
            }
            status.established += established - self.counted;
            status.advertised = advertised;
            status.unsent = unsent;
        });
        self.counted = established;
    }

    fn log(&self, event: &Event) {
        let (peer, address) = (&self.spec.name, self.spec.address);
        if event.is_error() {
            tracing::warn!(%peer, %address, "bgp: {event}");
        } else {
            tracing::info!(%peer, %address, "bgp: {event}");
        }
    }
}

/// Tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits for the order to stop. Nobody left to give orders is an order too.
async fn ordered(order: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    match order
        .wait_for(Option::is_some)
        .await
        .map(|reason| reason.clone())
    {
        Ok(Some(reason)) => reason,
        Ok(None) | Err(_) => StopReason::Shutdown("speaker stopped".into()),
    }
}

async fn attempted(
    attempt: &mut Option<(ConnId, BoxFuture<'static, Result<TcpStream, SocketError>>)>,
) -> (ConnId, Result<TcpStream, SocketError>) {
    match attempt {
        Some((id, connecting)) => (*id, connecting.await),
        None => pending().await,
    }
}

async fn ready(connection: Option<&(ConnId, Connection)>) {
    match connection {
        // An error shows again when the socket is used.
        Some((_, connection)) => drop(connection.ready().await),
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
