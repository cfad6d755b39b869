//! The task of one peer: feeds the state machine, does what it says, and moves bytes.
//!
//! It holds what the machine may hold: one attempt of ours, and a connection from each side. Each turn of its loop is
//! bounded, a buffer read and a queue filled, and ends by letting the others run, however fast the peer talks.

mod bytes;
mod diary;
mod publish;
mod reach;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, select_all};
use portolan_proto::bgp::session::{Close, ConnId, Effect, Input, Out, Peer, StopReason};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep_until, timeout};

use self::diary::Diary;
use super::chronicle::Chronicle;
use super::connection::Connection;
use super::listen::{Registration, Visit};
use super::path::Path;
use super::shared::Shared;
use super::socket::{self, SocketError};
use super::spec::Past;
use super::surroundings::Surroundings;
use super::unnumbered::{Neighbour, Search};
use super::{Bfd, PeerSpec, Remote, next_hop};

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
    /// Why there is none, in words.
    unregistered: Option<String>,
    /// Looks for the neighbour of an unnumbered session.
    search: Option<Search>,
    /// The BFDProfile to follow.
    profile: Profile,
    /// The interface to the peer, as it was last.
    way: Option<(u32, u64)>,
    /// BFD's eye on the way to the peer.
    path: Option<Path>,
    chronicle: Chronicle,
    diary: Diary,
    /// Routes that were packed and do not belong to a connection yet.
    packed: Vec<u8>,
    /// What the machine said last of what went wrong.
    told: Option<String>,
}

/// The BFDProfile that a session is to follow.
pub(super) type Profile = watch::Receiver<Option<Bfd>>;

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
    Profile,
    Liveness,
    /// Routes, a deadline, or a connection that is closed by now: the turn of the loop sees to it.
    Other,
}

impl Task {
    pub(super) fn new(
        spec: PeerSpec,
        shared: Arc<Shared>,
        surroundings: Surroundings,
        profile: Profile,
        seed: u64,
    ) -> Self {
        let past = Past {
            restarting: shared.status().established == 0,
            uptime: surroundings.uptime(),
        };
        let peer = Peer::new(spec.config(past), seed);
        let search = match &spec.remote {
            Remote::Address(_) => None,
            Remote::Interface { name, router } => {
                let links = surroundings.links.clone();
                Some(Search::start(name.clone(), *router, links))
            }
        };
        Self {
            search,
            profile,
            path: None,
            way: next_hop::way(&surroundings.links(), &spec),
            chronicle: Chronicle::new(shared.status().history, now()),
            diary: Diary::new(now()),
            register_at: spec.listens().then(now),
            unregistered: None,
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
        // Whom we knock at may knock back at once.
        if self.register_at.is_some() {
            self.register();
        }
        self.watch_path();
        self.give(Input::Start);
        loop {
            let more = self.fill();
            self.flush();
            self.publish();
            // Nothing will wake us for the rest when the kernel has just taken everything.
            if more && self.has_room() {
                yield_now().await;
                self.timer().await;
                continue;
            }
            match self.wait(&mut order).await {
                Woken::Stop(reason) => {
                    let reason = self.fitting(reason);
                    self.give(Input::Stop(reason));
                    break;
                }
                Woken::Attempt(id, result) => self.attempted(id, result),
                Woken::Visit(visit) => self.visited(visit),
                Woken::Sockets => {
                    self.read();
                    yield_now().await;
                }
                Woken::Links => self.look_at_links(),
                Woken::Register => self.register(),
                Woken::Sighted => self.sighted(),
                Woken::Profile => self.watch_path(),
                Woken::Liveness => self.judge_path(),
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
            () = liveness(&mut self.path) => Woken::Liveness,
            () = sighted(&mut self.search) => Woken::Sighted,
            () = changed(&mut self.profile) => Woken::Profile,
            (id, result) = attempted(&mut self.attempt) => Woken::Attempt(id, result),
            visit = visit(&mut self.place) => Woken::Visit(visit),
            () = until(self.register_at) => Woken::Register,
            // The socket of a peer that never pauses is always ready: what must not wait for it stands before.
            () = ready(&self.connections) => Woken::Sockets,
            () = self.shared.wake.notified() => Woken::Other,
            Some(_) = self.closing.join_next() => Woken::Other,
            () = until(deadline) => Woken::Other,
        }
    }

    /// A restart that the peer will not bridge is an end like any other.
    fn fitting(&self, reason: StopReason) -> StopReason {
        let bridged = match self.peer.negotiated() {
            Some(negotiated) => negotiated.graceful_restart.is_some(),
            None => self.spec.graceful_restart.is_some(),
        };
        match reason {
            StopReason::Restart(words) if !bridged => StopReason::Shutdown(words),
            reason => reason,
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
                        self.shared.traffic.count_farewell(&bytes);
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
                (Remote::Interface { name, router }, neighbour) => {
                    sight(neighbour, spec.port).await.ok_or_else(|| {
                        let name = name.clone();
                        match router {
                            Some(_) => SocketError::NoLink(name),
                            None => SocketError::Unseen(name),
                        }
                    })?
                }
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
async fn sight(neighbour: Option<watch::Receiver<Neighbour>>, port: u16) -> Option<SocketAddr> {
    let mut neighbour = neighbour?;
    let seen = neighbour.wait_for(|neighbour| neighbour.address.is_some());
    let seen = timeout(SIGHT_TIME, seen).await.ok()?.ok()?;
    let mut address = seen.address?;
    address.set_port(port);
    Some(address.into())
}

async fn liveness(path: &mut Option<Path>) {
    match path {
        Some(path) => changed(&mut path.liveness).await,
        None => pending().await,
    }
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
        pending::<()>().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
