//! The peer itself: starting, stopping, timers and the life of its connections. What messages do is in
//! `receive`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::super::{
    AdjOut, Code, Export, HeaderError, NextHops, Notification, Open, Pulled, Rib, write_keepalive,
};
use super::retry::{Backoff, Jitter};
use super::slot::{Established, Slot, State, due, earliest};
use super::{
    Close, Config, ConnId, ConnectFailure, Direction, Effect, Ended, Event, History, Input,
    Negotiated, Offer, Out, Output, SessionState, StopReason,
};

/// How long a SYN may stay unanswered: three retransmissions by the kernel.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long the peer may take for its OPEN (RFC 4271 §8.2.2 suggests four minutes).
const OPEN_TIME: Duration = Duration::from_secs(240);
/// How long a second connection may live on beside an Established one.
const SECOND_TIME: Duration = Duration::from_secs(10);
/// Shortest send hold time. RFC 9687 says 8 min; a router whose window is shut for that long holds stale
/// routes, so the choice here is that of `OpenBGPD`.
const SEND_HOLD: Duration = Duration::from_secs(90);

/// One neighbour.
#[derive(Debug)]
pub struct Peer {
    pub(super) config: Config,
    pub(super) offer: Offer,
    pub(super) ours: Option<Slot>,
    pub(super) theirs: Option<Slot>,
    pub(super) jitter: Jitter,
    started: bool,
    retry: Option<Instant>,
    backoff: Backoff,
    minted: u64,
    history: History,
    last_error: Option<String>,
    established: u64,
}

impl Peer {
    /// A stopped peer. `seed` feeds the jitter; it should differ between nodes and peers.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            offer: Offer::Full,
            ours: None,
            theirs: None,
            jitter: Jitter::new(seed),
            started: false,
            retry: None,
            backoff: Backoff::default(),
            minted: 0,
            history: History::default(),
            last_error: None,
            established: 0,
        }
    }

    /// Takes what happened, and appends what is to be done. Words from connections that are closed already
    /// change nothing.
    pub fn handle(&mut self, input: Input<'_>, now: Instant, out: &mut Out) {
        match input {
            Input::Start => self.start(now, out),
            Input::Stop(reason) => self.stop(reason, now, out),
            Input::Connected(id, local) => self.connected(id, local, now, out),
            Input::ConnectFailed(id, failure) => self.connect_failed(id, &failure, now, out),
            Input::Accepted(id, local) => self.accepted(id, local, now, out),
            Input::Received(id, frame) => self.receive(id, frame, now, out),
            Input::Garbled(id, error) => self.garbled(id, error, now, out),
            Input::Lost(id, words) => self.lost(id, &words, now, out),
            Input::Output(id, output) => self.output(id, output, now),
            Input::Timer => self.timer(now, out),
        }
    }

    /// When [`Input::Timer`] is next worth sending.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let slots = [&self.ours, &self.theirs].map(|slot| slot.as_ref().and_then(Slot::deadline));
        earliest([slots[0], slots[1], self.retry])
    }

    /// Appends UPDATEs that the peer lacks to `out`, of about `room` bytes at most; they belong to the output
    /// queue of the connection returned. `None` unless Established.
    pub fn pull(
        &mut self,
        rib: &Rib,
        room: usize,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<(ConnId, Pulled)> {
        let (id, session) = live_mut(&mut self.ours).or(live_mut(&mut self.theirs))?;
        let pulled = session.adj.pull(rib, room, out);
        if pulled.messages > 0 {
            let interval = session
                .negotiated
                .keepalive
                .map(|time| self.jitter.apply(time));
            session.clocks.said(interval, now);
        }
        Some((id, pulled))
    }

    /// A name for a connection that the peer opened, for [`Input::Accepted`].
    pub fn mint(&mut self) -> ConnId {
        self.minted += 1;
        ConnId(self.minted)
    }

    /// Whether the connection still counts.
    #[must_use]
    pub fn knows(&self, id: ConnId) -> bool {
        self.find(id).is_some()
    }

    /// The state of the connection that has come furthest.
    #[must_use]
    pub fn state(&self) -> SessionState {
        let slots = [&self.ours, &self.theirs]
            .into_iter()
            .flatten()
            .map(Slot::name);
        let idle = if self.started {
            SessionState::Active
        } else {
            SessionState::Idle
        };
        slots.max().unwrap_or(idle)
    }

    /// What the peer has been told, if the session is Established.
    #[must_use]
    pub fn adj_out(&self) -> Option<&AdjOut> {
        self.session().map(|session| &session.adj)
    }

    /// What both sides agreed on, if the session is Established.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.session().map(|session| &session.negotiated)
    }

    /// The last thing that went wrong, in words; kept when things are well again.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// How often the session was Established.
    #[must_use]
    pub const fn established_count(&self) -> u64 {
        self.established
    }

    /// The newest events.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    fn session(&self) -> Option<&Established> {
        [&self.ours, &self.theirs]
            .into_iter()
            .flatten()
            .find_map(|slot| match &slot.state {
                State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm { .. } => None,
                State::Established(session) => Some(&**session),
            })
    }

    fn start(&mut self, now: Instant, out: &mut Out) {
        if self.started {
            return;
        }
        self.started = true;
        self.note(Event::Started, now, out);
        self.connect(now, out);
    }

    fn stop(&mut self, reason: StopReason, now: Instant, out: &mut Out) {
        if !self.started {
            return;
        }
        self.started = false;
        let cease = reason.notification();
        for direction in [Direction::Ours, Direction::Theirs] {
            let Some(slot) = self.slot_mut(direction).take() else {
                continue;
            };
            match slot.state {
                State::Connect { .. } => out.push(Effect::Close(slot.id, Close::Abort)),
                State::OpenSent { .. } | State::OpenConfirm { .. } | State::Established(_) => {
                    send(slot.id, &cease, out);
                    out.push(Effect::Close(slot.id, Close::Drain));
                }
            }
        }
        self.retry = None;
        self.backoff.reset();
        self.offer = Offer::Full;
        self.note(Event::Stopped(reason), now, out);
    }

    fn connect(&mut self, now: Instant, out: &mut Out) {
        self.retry = None;
        if self.ours.is_some() || self.theirs.is_some() {
            return;
        }
        let id = self.mint();
        let until = now + CONNECT_TIME;
        self.ours = Some(Slot {
            id,
            state: State::Connect { until },
        });
        out.push(Effect::Connect(id));
    }

    fn connected(&mut self, id: ConnId, local: IpAddr, now: Instant, out: &mut Out) {
        let Some(slot) = self.ours.as_mut().filter(|slot| slot.id == id) else {
            return;
        };
        match slot.state {
            State::Connect { .. } => {
                slot.state = State::OpenSent {
                    local,
                    until: now + OPEN_TIME,
                };
                self.introduce(id, Direction::Ours, now, out);
            }
            // A connection is made once.
            State::OpenSent { .. } | State::OpenConfirm { .. } | State::Established(_) => {}
        }
    }

    fn accepted(&mut self, id: ConnId, local: IpAddr, now: Instant, out: &mut Out) {
        let other = self.ours.as_ref().map(Slot::name);
        let known = self.theirs.as_ref().map(Slot::name);
        let taken = other == Some(SessionState::Established)
            || matches!(
                known,
                Some(SessionState::OpenConfirm | SessionState::Established)
            );
        if taken || !self.started {
            let code = if taken {
                Code::CONNECTION_COLLISION
            } else {
                Code::CONNECTION_REJECTED
            };
            send(id, &code.bare(), out);
            out.push(Effect::Close(id, Close::Drain));
            return;
        }
        // They gave up the one that never got anywhere.
        if let Some(stale) = self.theirs.take() {
            send(stale.id, &Code::CONNECTION_COLLISION.bare(), out);
            out.push(Effect::Close(stale.id, Close::Drain));
        }
        let state = State::OpenSent {
            local,
            until: now + OPEN_TIME,
        };
        self.theirs = Some(Slot { id, state });
        self.introduce(id, Direction::Theirs, now, out);
    }

    /// Sends our OPEN.
    fn introduce(&mut self, id: ConnId, direction: Direction, now: Instant, out: &mut Out) {
        let Config {
            local_as,
            hold_time,
            router_id,
            ..
        } = self.config;
        let capabilities = self.offer.capabilities(&self.config);
        let mut bytes = Vec::new();
        Open::ours(local_as, hold_time, router_id, capabilities).encode(&mut bytes);
        out.push(Effect::Send(id, bytes));
        self.note(Event::Connected(direction), now, out);
    }

    fn connect_failed(
        &mut self,
        id: ConnId,
        failure: &ConnectFailure,
        now: Instant,
        out: &mut Out,
    ) {
        let Some(slot) = self.ours.as_ref().filter(|slot| slot.id == id) else {
            return;
        };
        match slot.state {
            State::Connect { .. } => {
                self.end(Direction::Ours, Close::Abort, &Ended::Unreachable, now, out);
                self.note(Event::ConnectFailed(failure.to_string()), now, out);
            }
            // It was there, so it did not fail.
            State::OpenSent { .. } | State::OpenConfirm { .. } | State::Established(_) => {}
        }
    }

    fn garbled(&mut self, id: ConnId, error: HeaderError, now: Instant, out: &mut Out) {
        let Some(direction) = self.find(id) else {
            return;
        };
        if let Some(answer) = error.notification() {
            self.fail(direction, answer, now, out);
        } else {
            self.end(direction, Close::Abort, &Ended::Fault, now, out);
            self.note(Event::BrokenNotification, now, out);
        }
    }

    fn lost(&mut self, id: ConnId, words: &str, now: Instant, out: &mut Out) {
        let Some(direction) = self.find(id) else {
            return;
        };
        let state = self.slot(direction).map(Slot::name);
        self.end(direction, Close::Abort, &Ended::Lost, now, out);
        // Routers close like this on a neighbour that they do not know.
        let hint = match state {
            Some(SessionState::OpenSent) => " before its OPEN; is this node a neighbour there?",
            _ => "",
        };
        self.note(Event::Lost(format!("{words}{hint}")), now, out);
    }

    fn output(&mut self, id: ConnId, output: Output, now: Instant) {
        let slots = [&mut self.ours, &mut self.theirs];
        let Some(slot) = slots.into_iter().flatten().find(|slot| slot.id == id) else {
            return;
        };
        match &mut slot.state {
            // Their own deadlines are stricter.
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm { .. } => {}
            State::Established(session) => {
                let twice = session.negotiated.hold.duration().unwrap_or_default() * 2;
                let until = now + twice.max(SEND_HOLD);
                match output {
                    Output::Drained => session.send_hold = None,
                    Output::Moving => session.send_hold = Some(until),
                    Output::Stuck => session.send_hold = session.send_hold.or(Some(until)),
                }
            }
        }
    }

    fn timer(&mut self, now: Instant, out: &mut Out) {
        for direction in [Direction::Ours, Direction::Theirs] {
            self.slot_timer(direction, now, out);
        }
        if due(self.retry, now) {
            self.connect(now, out);
        }
    }

    fn slot_timer(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let Some(slot) = self.slot(direction) else {
            return;
        };
        let silent = |clock| due(clock, now).then(|| Code::HOLD_TIMER_EXPIRED.bare());
        let fault = match &slot.state {
            State::Connect { until } => {
                if due(Some(*until), now) {
                    self.end(direction, Close::Abort, &Ended::Unreachable, now, out);
                    self.note(Event::ConnectFailed(self.no_answer()), now, out);
                }
                return;
            }
            State::OpenSent { until, .. } => silent(Some(*until)),
            State::OpenConfirm { clocks, .. } => silent(clocks.hold),
            State::Established(session) => silent(session.clocks.hold).or_else(|| {
                due(session.send_hold, now).then(|| Code::SEND_HOLD_TIMER_EXPIRED.bare())
            }),
        };
        match fault {
            Some(answer) => self.fail(direction, answer, now, out),
            None => self.keep_alive(direction, now, out),
        }
    }

    /// Sends a KEEPALIVE if one is due.
    fn keep_alive(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let (slot, jitter) = match direction {
            Direction::Ours => (&mut self.ours, &mut self.jitter),
            Direction::Theirs => (&mut self.theirs, &mut self.jitter),
        };
        let Some(slot) = slot else { return };
        let (negotiated, clocks) = match &mut slot.state {
            State::Connect { .. } | State::OpenSent { .. } => return,
            State::OpenConfirm {
                negotiated, clocks, ..
            } => (&*negotiated, clocks),
            State::Established(session) => (&session.negotiated, &mut session.clocks),
        };
        if due(clocks.keepalive, now) {
            clocks.said(negotiated.keepalive.map(|time| jitter.apply(time)), now);
            let mut bytes = Vec::new();
            write_keepalive(&mut bytes);
            out.push(Effect::Send(slot.id, bytes));
        }
    }

    /// The silence of a SYN, with its likely causes: the router says nothing in any of these cases.
    fn no_answer(&self) -> String {
        let seconds = CONNECT_TIME.as_secs();
        let mut words = format!("no answer to the connection attempt within {seconds} s");
        words.push_str(if self.config.authenticated {
            "; a TCP MD5 password that is wrong or missing on the router looks like this"
        } else {
            "; a router that expects a TCP MD5 password looks like this"
        });
        if self.config.single_hop {
            words.push_str(", as does one that is more than one hop away");
        }
        words
    }

    pub(super) fn establish(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let (local_as, relation) = (self.config.local_as, self.config.relation());
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        let State::OpenConfirm {
            local,
            negotiated,
            mut clocks,
        } = std::mem::replace(&mut slot.state, State::Connect { until: now })
        else {
            return;
        };
        clocks.heard(&negotiated, now);
        let next_hops = NextHops::from(local);
        let export = Export {
            relation,
            local_as,
            as4: negotiated.as4,
            next_hops,
        };
        let adj = AdjOut::new(export, negotiated.families);
        let useless = negotiated.families.is_empty();
        slot.state = State::Established(Box::new(Established {
            negotiated,
            clocks,
            send_hold: None,
            since: now,
            adj,
        }));
        self.retry = None;
        self.established += 1;
        self.note(Event::Established, now, out);
        if useless {
            self.note(Event::NoCommonFamily, now, out);
        }
        self.settle(direction, now, out);
    }

    /// The other connection has lost: an attempt is given up, one that waits for an OPEN gets little time.
    fn settle(&mut self, winner: Direction, now: Instant, out: &mut Out) {
        let loser = winner.other();
        let Some(slot) = self.slot_mut(loser) else {
            return;
        };
        match &mut slot.state {
            State::Connect { .. } => {
                out.push(Effect::Close(slot.id, Close::Abort));
                *self.slot_mut(loser) = None;
            }
            State::OpenSent { until, .. } => *until = (*until).min(now + SECOND_TIME),
            // Cannot be: the second good OPEN already decided the collision.
            State::OpenConfirm { .. } | State::Established(_) => {}
        }
    }

    /// Ends a connection because of something the peer did or did not do.
    pub(super) fn fail(
        &mut self,
        direction: Direction,
        answer: Notification,
        now: Instant,
        out: &mut Out,
    ) {
        if let Some(slot) = self.slot(direction) {
            send(slot.id, &answer, out);
        }
        self.end(direction, Close::Drain, &Ended::Fault, now, out);
        self.note(Event::NotificationSent(answer), now, out);
    }

    /// Removes a connection; when it was the last one, the next attempt is scheduled.
    pub(super) fn end(
        &mut self,
        direction: Direction,
        close: Close,
        ended: &Ended,
        now: Instant,
        out: &mut Out,
    ) {
        let Some(slot) = self.slot_mut(direction).take() else {
            return;
        };
        out.push(Effect::Close(slot.id, close));
        if self.started && self.slot(direction.other()).is_none() {
            let wait = self
                .backoff
                .after(ended, slot.held(now), self.config.connect_retry);
            self.retry = Some(now + self.jitter.apply(wait));
        }
    }

    pub(super) fn note(&mut self, event: Event, now: Instant, out: &mut Out) {
        if event.is_error() {
            self.last_error = Some(event.to_string());
        }
        if self.history.push(now, self.state(), event.clone()) {
            out.push(Effect::Event(event));
        }
    }

    pub(super) fn find(&self, id: ConnId) -> Option<Direction> {
        [Direction::Ours, Direction::Theirs]
            .into_iter()
            .find(|direction| self.slot(*direction).is_some_and(|slot| slot.id == id))
    }

    pub(super) const fn slot(&self, direction: Direction) -> Option<&Slot> {
        match direction {
            Direction::Ours => self.ours.as_ref(),
            Direction::Theirs => self.theirs.as_ref(),
        }
    }

    pub(super) const fn slot_mut(&mut self, direction: Direction) -> &mut Option<Slot> {
        match direction {
            Direction::Ours => &mut self.ours,
            Direction::Theirs => &mut self.theirs,
        }
    }
}

fn live_mut(slot: &mut Option<Slot>) -> Option<(ConnId, &mut Established)> {
    let slot = slot.as_mut()?;
    match &mut slot.state {
        State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm { .. } => None,
        State::Established(session) => Some((slot.id, session)),
    }
}

pub(super) fn send(id: ConnId, notification: &Notification, out: &mut Out) {
    let mut bytes = Vec::new();
    notification.encode(&mut bytes);
    out.push(Effect::Send(id, bytes));
}
