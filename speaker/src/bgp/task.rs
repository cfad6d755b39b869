//! The task of one peer: feeds the state machine, does what it says, and moves bytes.
//!
//! It holds what the machine may hold: one attempt of ours, and a connection from each side. Each turn of its loop is
//! bounded, a buffer read and a queue filled, and ends by letting the others run, however fast the peer talks.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, select_all};
use portolan_proto::bgp::session::{Close, ConnId, Effect, Event, Input, Out, Peer, StopReason};
use portolan_proto::bgp::{Family, Frame, NextHops, Peek, Version};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep_until, timeout};

use super::connection::Connection;
use super::listen::{Registration, Visit};
use super::shared::Shared;
use super::socket::{self, SocketError};
use super::spec::Past;
use super::surroundings::Surroundings;
use super::unnumbered::{Neighbour, Search};
use super::{PeerSpec, Remote, next_hop};
use crate::link::Links;

/// More UPDATEs are packed when less than this waits to be written.
const LOW_WATER: usize = 64 * 1024;
/// How far the output queue is filled then.
const HIGH_WATER: usize = 256 * 1024;
/// Time between attempts to get a place at the listener.
const REGISTER_RETRY: Duration = Duration::from_secs(2);
/// How long an attempt to connect waits for an unnumbered neighbour to show itself.
const SIGHT_TIME: Duration = Duration::from_secs(4);

/// One peer.
pub(super) struct Task {
    spec: PeerSpec,
    shared: Arc<Shared>,
    surroundings: Surroundings,
    peer: Peer,
    /// How many times Established of `peer` the status counts: it outlives this task.
    counted: u64,
    effects: Out,
    attempt: Option<(ConnId, Connecting)>,
    /// At most one from each side.
    connections: Vec<(ConnId, Connection)>,
    closing: JoinSet<()>,
    /// Our place at the listener.
    place: Option<Registration>,
    /// When to try to get one again.
    register_at: Option<Instant>,
    /// Looks for the neighbour of an unnumbered session.
    search: Option<Search>,
    /// Routes that were packed and do not belong to a connection yet.
    packed: Vec<u8>,
    /// What the machine said last of what went wrong.
    told: Option<String>,
}

type Connecting = BoxFuture<'static, Result<TcpStream, SocketError>>;

/// What woke the task.
enum Woken {
    Stop(StopReason),
    Attempt(ConnId, Result<TcpStream, SocketError>),
    Visit(Visit),
    Sockets,
    Links,
    Register,
    Sighted,
    /// Routes, a deadline, or a connection that is closed by now: the turn of the loop sees to it.
    Other,
}

impl Task {
    pub(super) fn new(
        spec: PeerSpec,
        shared: Arc<Shared>,
        surroundings: Surroundings,
        seed: u64,
    ) -> Self {
        let past = Past {
            restarting: shared.status().established == 0,
            uptime: surroundings.uptime(),
        };
        let peer = Peer::new(spec.config(past), seed);
        let search = match &spec.remote {
            Remote::Address(_) => None,
            Remote::Interface(name) => {
                Some(Search::start(name.clone(), surroundings.links.clone()))
            }
        };
        Self {
            search,
            register_at: spec.listens().then(now),
            spec,
            shared,
            surroundings,
            peer,
            counted: 0,
            effects: Out::new(),
            attempt: None,
            connections: Vec::new(),
            closing: JoinSet::new(),
            place: None,
            packed: Vec::new(),
            told: None,
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
                Woken::Visit(visit) => self.visited(visit),
                Woken::Sockets => {
                    self.read();
                    // The socket of a peer that never pauses is always ready.
                    yield_now().await;
                }
                Woken::Links => self.look_at_links(),
                Woken::Register => self.register(),
                Woken::Sighted => self.sighted(),
                Woken::Other => {}
            }
            self.timer().await;
        }
        self.place = None;
        self.publish();
        while self.closing.join_next().await.is_some() {}
    }

    async fn wait(&mut self, order: &mut watch::Receiver<Option<StopReason>>) -> Woken {
        let deadline = self.peer.next_deadline();
        tokio::select! {
            biased;
            reason = ordered(order) => Woken::Stop(reason),
            () = changed(&mut self.surroundings.links) => Woken::Links,
            () = sighted(&mut self.search) => Woken::Sighted,
            (id, result) = attempted(&mut self.attempt) => Woken::Attempt(id, result),
            () = ready(&self.connections) => Woken::Sockets,
            visit = visit(&mut self.place) => Woken::Visit(visit),
            () = self.shared.wake.notified() => Woken::Other,
            Some(_) = self.closing.join_next() => Woken::Other,
            () = until(self.register_at) => Woken::Register,
            () = until(deadline) => Woken::Other,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        self.peer.handle(input, now(), &mut self.effects);
        self.act();
    }

    /// Fires timers that are due, after reading once more what has arrived: a task that was kept waiting, or a process
    /// that was stopped, must not take its own lateness for the silence of the peer.
    async fn timer(&mut self) {
        if !self.is_due() {
            return;
        }
        yield_now().await;
        self.read();
        if self.is_due() {
            self.give(Input::Timer);
        }
    }

    fn is_due(&self) -> bool {
        let deadline = self.peer.next_deadline();
        deadline.is_some_and(|deadline| deadline <= now())
    }

    /// Does what the state machine said.
    fn act(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Connect(id) => self.attempt = Some((id, self.connect())),
                Effect::Send(id, bytes) => {
                    if let Some(connection) = find(&mut self.connections, id) {
                        connection.queue().extend_from_slice(&bytes);
                        self.shared.traffic.count_out(1);
                    }
                }
                Effect::Close(id, close) => self.close(id, close),
                Effect::Event(event) => self.log(&event),
            }
        }
    }

    fn connect(&self) -> Connecting {
        let spec = self.spec.clone();
        let in_vrf = self.surroundings.check_vrf(spec.vrf.as_deref());
        let neighbour = self.search.as_ref().map(|it| it.neighbour.clone());
        async move {
            in_vrf?;
            let remote = match (&spec.remote, neighbour) {
                (Remote::Address(address), _) => SocketAddr::new(*address, spec.port),
                (Remote::Interface(name), Some(neighbour)) => sight(neighbour, spec.port)
                    .await
                    .ok_or_else(|| SocketError::Unseen(name.clone()))?,
                (Remote::Interface(name), None) => return Err(SocketError::Unseen(name.clone())),
            };
            socket::connect(spec, remote).await
        }
        .boxed()
    }

    fn close(&mut self, id: ConnId, close: Close) {
        self.attempt.take_if(|attempt| attempt.0 == id);
        let mut closed = self.connections.extract_if(.., |held| held.0 == id);
        let Some((_, connection)) = closed.next() else {
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
        let connected =
            result.and_then(|stream| Connection::new(stream, None).map_err(SocketError::Connect));
        match connected {
            Ok(connection) => {
                let hops = self.next_hops(&connection);
                self.connections.push((id, connection));
                self.give(Input::Connected(id, hops));
            }
            Err(error) => self.give(Input::ConnectFailed(id, error.into())),
        }
    }

    /// Gets a place at the listener, or says why not.
    fn register(&mut self) {
        self.register_at = None;
        let from = match self.spec.remote {
            Remote::Address(address) => SocketAddr::new(address, 0),
            // Until there is one, nobody can come from it.
            Remote::Interface(_) => match self.neighbour().address {
                Some(address) => address.into(),
                None => return,
            },
        };
        let vrf = self.surroundings.check_vrf(self.spec.vrf.as_deref());
        let listeners = &self.surroundings.listeners;
        let place = vrf
            .map_err(Into::into)
            .and_then(|()| listeners.register(&self.spec, from));
        match place {
            Ok(place) => self.place = Some(place),
            Err(error) => {
                self.complain(&error.to_string());
                self.register_at = Some(now() + REGISTER_RETRY);
            }
        }
    }

    fn neighbour(&self) -> Neighbour {
        let search = self.search.as_ref();
        search.map_or_else(Neighbour::default, |it| it.neighbour.borrow().clone())
    }

    /// The neighbour of an unnumbered session is there, is gone, or is another one. Connections to the former one go on
    /// for as long as they can; new ones are the other's.
    fn sighted(&mut self) {
        self.place = None;
        self.register_at = self.spec.listens().then(now);
        let problem = self.neighbour().problem;
        self.shared.report(|status| status.problem = problem);
    }

    /// A connection from the peer.
    fn visited(&mut self, visit: Visit) {
        let Visit {
            stream,
            from,
            place,
        } = visit;
        let adopted = socket::adopt(&stream, from.ip(), &self.spec)
            .and_then(|()| Connection::new(stream, Some(place)).map_err(SocketError::Connect));
        match adopted {
            Ok(connection) => {
                let hops = self.next_hops(&connection);
                let id = self.peer.mint();
                self.connections.push((id, connection));
                self.give(Input::Accepted(id, hops));
            }
            Err(error) => self.complain(&format!("refused a connection of the peer: {error}")),
        }
    }

    fn next_hops(&self, connection: &Connection) -> NextHops {
        let links = self.surroundings.links();
        next_hop::of(&links, &self.spec, connection.local(), connection.remote())
    }

    /// Ends what can not work any more, and begins anew what would begin with other next hops.
    fn look_at_links(&mut self) {
        let links: Arc<Links> = self.surroundings.links();
        let fault = self.connections.iter().find_map(|(_, connection)| {
            next_hop::fault(&links, &self.spec, connection.local(), connection.remote())
        });
        if let Some(fault) = fault {
            return self.give(Input::LinkDown(fault));
        }
        let Some(connection) = self
            .peer
            .live()
            .and_then(|id| find(&mut self.connections, id))
        else {
            return;
        };
        let fresh = next_hop::of(&links, &self.spec, connection.local(), connection.remote());
        let held = self.peer.next_hops().unwrap_or_default();
        if !next_hop::still_hold(&links, &held, &fresh) {
            let words = "addresses of the interface have changed".to_owned();
            self.give(Input::Stop(StopReason::Reset(words)));
            self.give(Input::Start);
        }
    }

    /// Reads once from each connection and handles all whole messages.
    fn read(&mut self) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(id, _)| *id).collect();
        for id in ids {
            self.read_from(id);
        }
    }

    fn read_from(&mut self, id: ConnId) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let result = connection.read();
        let (mut taken, mut messages) = (0, 0);
        let now = now();
        while self.peer.knows(id) {
            match Frame::peek(connection.received().get(taken..).unwrap_or_default()) {
                Ok(Peek::Partial) => break,
                Ok(Peek::Whole(frame, length)) => {
                    taken += length;
                    messages += 1;
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
        let bytes = *result.as_ref().unwrap_or(&0);
        self.shared.traffic.count_in(messages, bytes);
        self.act();
        if let Err(error) = result {
            self.lost(id, &error);
        }
    }

    /// Packs more UPDATEs if the queue runs low.
    fn fill(&mut self) {
        let live = self.peer.live();
        let Some(connection) = live.and_then(|id| find(&mut self.connections, id)) else {
            return;
        };
        let backlog = connection.backlog();
        if backlog >= LOW_WATER {
            return;
        }
        connection.compact();
        let mut rib = self.shared.rib();
        let room = HIGH_WATER - backlog;
        let Some((target, pulled)) = self.peer.pull(&rib, room, now(), &mut self.packed) else {
            return;
        };
        debug_assert_eq!(live, Some(target), "one connection is live");
        connection.queue().append(&mut self.packed);
        if let Some(adj) = self.peer.adj_out() {
            for family in Family::ALL {
                rib.forget(family, adj.heard(family));
            }
        }
        drop(rib);
        self.shared.traffic.count_out(pulled.messages);
        if pulled.messages > 0 {
            self.shared.report(|status| {
                status.updates_sent += u64::try_from(pulled.messages).unwrap_or(u64::MAX);
            });
        }
    }

    fn flush(&mut self) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some(connection) = find(&mut self.connections, id) else {
                continue;
            };
            let mut sent = 0;
            let result = connection.write(&mut sent);
            self.shared.traffic.count_sent(sent);
            match result {
                Ok(output) => self.give(Input::Output(id, output)),
                Err(error) => {
                    // A peer that closed may have said why.
                    self.read_from(id);
                    self.lost(id, &error);
                }
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
        let told = self.peer.last_error();
        let news = told.filter(|told| self.told.as_deref() != Some(told));
        let news = news.map(str::to_owned);
        let address = self.address();
        self.shared.report(|status| {
            status.name.clone_from(&self.spec.name);
            status.address = address;
            status.state = self.peer.state();
            if news.is_some() {
                status.last_error.clone_from(&news);
            }
            status.established += established - self.counted;
            status.advertised = advertised;
            status.unsent = unsent;
        });
        if let Some(search) = &self.search {
            search.set_calm(self.peer.live().is_some());
        }
        self.told = news.or(self.told.take());
        self.counted = established;
    }

    /// Who the peer is, for people.
    fn address(&self) -> String {
        match self.neighbour().address {
            Some(address) => format!("{}%{}", address.ip(), self.spec.remote),
            None => self.spec.remote.to_string(),
        }
    }

    /// Something that the machine does not know of went wrong.
    fn complain(&self, words: &str) {
        let (peer, address) = (&self.spec.name, &self.spec.remote);
        let status = self.shared.status();
        if status.last_error.as_deref() != Some(words) {
            tracing::warn!(%peer, %address, "bgp: {words}");
        }
        self.shared
            .report(|status| status.last_error = Some(words.to_owned()));
    }

    fn log(&self, event: &Event) {
        let (peer, address) = (&self.spec.name, &self.spec.remote);
        if event.is_error() {
            tracing::warn!(%peer, %address, "bgp: {event}");
        } else {
            tracing::info!(%peer, %address, "bgp: {event}");
        }
    }
}

fn find(connections: &mut [(ConnId, Connection)], id: ConnId) -> Option<&mut Connection> {
    let mut found = connections.iter_mut().filter(|held| held.0 == id);
    found.next().map(|(_, connection)| connection)
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
    attempt: &mut Option<(ConnId, Connecting)>,
) -> (ConnId, Result<TcpStream, SocketError>) {
    match attempt {
        Some((id, connecting)) => (*id, connecting.await),
        None => pending().await,
    }
}

/// Waits until something can be done with any of the connections. An error shows again when the socket is used.
async fn ready(connections: &[(ConnId, Connection)]) {
    let sockets = connections.iter();
    let waits: Vec<_> = sockets
        .map(|(_, connection)| connection.ready().map(drop).boxed())
        .collect();
    if waits.is_empty() {
        return pending().await;
    }
    let ((), _, _) = select_all(waits).await;
}

async fn visit(place: &mut Option<Registration>) -> Visit {
    let visit = match place {
        Some(place) => place.visit().await,
        None => None,
    };
    match visit {
        Some(visit) => visit,
        None => pending().await,
    }
}

/// Waits until an unnumbered neighbour has shown itself.
async fn sight(mut neighbour: watch::Receiver<Neighbour>, port: u16) -> Option<SocketAddr> {
    let seen = neighbour.wait_for(|neighbour| neighbour.address.is_some());
    let seen = timeout(SIGHT_TIME, seen).await.ok()?.ok()?;
    let mut address = seen.address?;
    address.set_port(port);
    Some(address.into())
}

async fn sighted(search: &mut Option<Search>) {
    match search {
        Some(search) => changed(&mut search.neighbour).await,
        None => pending().await,
    }
}

/// Waits for another picture. A watch that has ended shows its last one for ever.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        pending().await
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
