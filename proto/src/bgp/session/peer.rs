//! The peer itself: what goes in, what comes out, what can be asked. The transitions are in `connect`, `receive`
//! and `timer`.

use std::time::{Duration, Instant};

use super::super::{AdjOut, Follower, NextHops, Notification, Pulled};
use super::fallback::Fallback;
use super::retry::{Backoff, Jitter};
use super::slot::{Established, Slot, State, earliest};
use super::{
    Close, Config, ConnId, Direction, Effect, Ended, Event, History, Input, Listen, Negotiated,
    Offer, Out, SessionState,
};

/// One neighbour.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Peer {
    pub(super) config: Config,
    pub(super) fallback: Fallback,
    pub(super) ours: Option<Slot>,
    pub(super) theirs: Option<Slot>,
    pub(super) jitter: Jitter,
    pub(super) started: bool,
    pub(super) retry: Option<Instant>,
    pub(super) backoff: Backoff,
    minted: u64,
    history: History,
    last_error: Option<String>,
    pub(super) established: u64,
}

impl Peer {
    /// A stopped peer. `seed` feeds the jitter; it should differ between nodes and peers.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            fallback: Fallback::NONE,
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
            Input::BfdDown => self.bfd_down(now, out),
            Input::LinkDown(words) => self.link_down(&words, now, out),
            Input::LinkUp => self.link_up(now, out),
            Input::Timer => self.timer(now, out),
        }
        self.release(now, out);
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
        rib: Follower<'_>,
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

    /// The state of the connection that has come furthest. Without one, Active if the peer may connect, else Idle.
    #[must_use]
    pub fn state(&self) -> SessionState {
        let slots = [&self.ours, &self.theirs]
            .into_iter()
            .flatten()
            .map(Slot::name);
        slots.max().unwrap_or(match self.config.listen {
            Listen::Passive | Listen::Both if self.started => SessionState::Active,
            Listen::Active | Listen::Passive | Listen::Both => SessionState::Idle,
        })
    }

    /// What the peer has been told, if the session is Established.
    #[must_use]
    pub fn adj_out(&self) -> Option<&AdjOut> {
        self.session().map(|session| &session.adj)
    }

    /// The connection that routes flow on, if the session is Established.
    #[must_use]
    pub fn live(&self) -> Option<ConnId> {
        let slots = [&self.ours, &self.theirs].into_iter().flatten();
        let mut live = slots.filter(|slot| slot.name() == SessionState::Established);
        live.next().map(|slot| slot.id)
    }

    /// Our addresses that routes are told with, if the session is Established.
    #[must_use]
    pub fn next_hops(&self) -> Option<NextHops> {
        Some(self.session()?.adj.next_hops())
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

    /// What the next OPEN offers, as far as it is known now: less than all to a peer that refused more.
    #[must_use]
    pub const fn offer(&self) -> Offer {
        self.fallback.learned()
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
                State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => None,
                State::Established(session) => Some(&**session),
            })
    }

    /// Ends a connection because of something the peer did or did not do.
    pub(super) fn fail(
        &mut self,
        direction: Direction,
        answer: Notification,
        now: Instant,
        out: &mut Out,
    ) {
        let Some(slot) = self.slot(direction) else {
            return;
        };
        let answer = slot.worded(answer);
        send(slot.id, &answer, out);
        self.end(direction, Close::Drain, &Ended::Fault, now, out);
        self.note(Event::NotificationSent(answer.abridged()), now, out);
    }

    /// Removes a connection; if none is left that has come further than our own OPEN, the next attempt is scheduled.
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
        let other = self.slot(direction.other()).map(Slot::name);
        match slot.state {
            State::Connect { .. } => {}
            // One of two may just have lost against the other.
            State::OpenSent { .. } | State::OpenConfirm(_)
                if *ended == Ended::Hung && other.is_some() => {}
            State::OpenSent { .. } | State::OpenConfirm(_) => {
                self.fallback.failed(slot.offer, ended, &self.config, now);
            }
            State::Established(_) => self.fallback.parted(ended),
        }
        // A silent connection from the peer does not keep us from trying.
        let seeks = match other {
            None => true,
            Some(SessionState::OpenSent) => direction == Direction::Ours,
            Some(_) => false,
        };
        if self.started && seeks {
            let wait = self
                .backoff
                .after(ended, slot.held(now), self.config.connect_retry);
            self.seek(wait, now);
        }
    }

    /// Schedules an attempt of ours, if we make any. Connections of theirs that come and go never put one off.
    pub(super) fn seek(&mut self, wait: Duration, now: Instant) {
        let next = Some(now + self.jitter.apply(wait));
        self.retry = match self.config.listen {
            Listen::Passive => None,
            Listen::Active | Listen::Both => earliest([self.retry, next]),
        };
    }

    pub(super) fn note(&mut self, event: Event, now: Instant, out: &mut Out) {
        // What happens to a second connection is no trouble while the first one works.
        let harmless = self.live().is_some() && event != Event::NoCommonFamily;
        if event.is_error() && !harmless {
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

    pub(super) const fn slot_and_jitter(
        &mut self,
        direction: Direction,
    ) -> (&mut Option<Slot>, &mut Jitter) {
        match direction {
            Direction::Ours => (&mut self.ours, &mut self.jitter),
            Direction::Theirs => (&mut self.theirs, &mut self.jitter),
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
        State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => None,
        State::Established(session) => Some((slot.id, session)),
    }
}

pub(super) fn send(id: ConnId, notification: &Notification, out: &mut Out) {
    let mut bytes = Vec::new();
    notification.encode(&mut bytes);
    out.push(Effect::Send(id, bytes));
}
