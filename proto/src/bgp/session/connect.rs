//! The life of a peer's connections: started, stopped, opened, accepted, established, lost.

use std::time::{Duration, Instant};

use super::super::{AdjOut, Code, Export, HeaderError, NextHops, Notification, Role};
use super::collision::Admission;
use super::peer::send;
use super::refresh::Refreshes;
use super::slot::{Confirming, Established, Slot, State};
use super::timer::CONNECT_TIME;
use super::{
    Close, ConnId, ConnectFailure, Direction, Effect, Ended, Event, Listen, Out, Peer,
    SessionState, StopReason,
};

/// How long the peer may take for its OPEN (RFC 4271 §8.2.2 suggests four minutes), and for its first KEEPALIVE where
/// no hold time bounds that.
pub(super) const OPEN_TIME: Duration = Duration::from_secs(240);
/// How long a second connection may live on beside an Established one.
const SECOND_TIME: Duration = Duration::from_secs(10);

impl Peer {
    pub(super) fn start(&mut self, now: Instant, out: &mut Out) {
        if self.started {
            return;
        }
        self.started = true;
        self.note(Event::Started, now, out);
        self.connect(now, out);
    }

    pub(super) fn stop(&mut self, reason: StopReason, now: Instant, out: &mut Out) {
        if !self.started {
            return;
        }
        self.started = false;
        for direction in [Direction::Ours, Direction::Theirs] {
            let Some(slot) = self.slot_mut(direction).take() else {
                continue;
            };
            match slot.state {
                State::Connect { .. } => out.push(Effect::Close(slot.id, Close::Abort)),
                State::OpenSent { .. } | State::OpenConfirm(_) | State::Established(_) => {
                    if let Some(words) = self.farewell(&slot, &reason) {
                        send(slot.id, &words, out);
                    }
                    out.push(Effect::Close(slot.id, Close::Drain));
                }
            }
        }
        self.retry = None;
        self.backoff.reset();
        self.note(Event::Stopped(reason), now, out);
    }

    /// What to say at the end; nothing where a NOTIFICATION would end routes that are to outlive a restart.
    fn farewell(&self, slot: &Slot, reason: &StopReason) -> Option<Notification> {
        let cease = reason.notification();
        match (reason, &slot.state) {
            (StopReason::Restart(_), State::Established(session)) => {
                let agreed = session.negotiated.graceful_restart;
                let silent = agreed.is_some_and(|restart| !restart.notification);
                (!silent).then_some(cease)
            }
            // The peer may still hold what an earlier session told it.
            (
                StopReason::Restart(_),
                State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_),
            ) => self.config.graceful_restart.is_none().then_some(cease),
            (
                StopReason::Shutdown(_)
                | StopReason::Deconfigured
                | StopReason::Reset(_)
                | StopReason::ConfigChange,
                _,
            ) => Some(slot.worded(cease)),
        }
    }

    pub(super) fn connect(&mut self, now: Instant, out: &mut Out) {
        self.retry = None;
        let met = match self.theirs.as_ref().map(Slot::name) {
            None | Some(SessionState::OpenSent) => false,
            Some(_) => true,
        };
        if met || self.ours.is_some() || self.config.listen == Listen::Passive {
            return;
        }
        let id = self.mint();
        let until = now + CONNECT_TIME;
        self.ours = Some(Slot {
            id,
            offer: self.fallback.offer(now),
            state: State::Connect { until },
        });
        out.push(Effect::Connect(id));
    }

    pub(super) fn connected(&mut self, id: ConnId, local: NextHops, now: Instant, out: &mut Out) {
        let met = self.theirs.as_ref().map(Slot::name) >= Some(SessionState::OpenConfirm);
        let Some(slot) = self.ours.as_mut().filter(|slot| slot.id == id) else {
            return;
        };
        match slot.state {
            // Their OPEN is confirmed already: a second connection could only undo that.
            State::Connect { .. } if met => {
                self.ours = None;
                out.push(Effect::Close(id, Close::Abort));
            }
            State::Connect { .. } => {
                slot.state = State::OpenSent {
                    local,
                    until: now + OPEN_TIME,
                    late: false,
                };
                self.introduce(Direction::Ours, now, out);
            }
            // A connection is made once.
            State::OpenSent { .. } | State::OpenConfirm(_) | State::Established(_) => {}
        }
    }

    pub(super) fn accepted(&mut self, id: ConnId, local: NextHops, now: Instant, out: &mut Out) {
        match self.admit(now, out) {
            Admission::Welcome => {}
            Admission::Refused(code) => {
                send(id, &code.bare(), out);
                out.push(Effect::Close(id, Close::Drain));
                return;
            }
        }
        let late = self.ours.as_ref().map(Slot::name) == Some(SessionState::Established);
        let patience = if late { SECOND_TIME } else { OPEN_TIME };
        self.theirs = Some(Slot {
            id,
            offer: self.fallback.offer(now),
            state: State::OpenSent {
                local,
                until: now + patience,
                late,
            },
        });
        self.introduce(Direction::Theirs, now, out);
    }

    /// Sends our OPEN.
    pub(super) fn introduce(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let Some(Slot { id, offer, .. }) = self.slot(direction) else {
            return;
        };
        let capabilities = offer.capabilities(&self.config);
        let mut bytes = Vec::new();
        self.config.open(capabilities).encode(&mut bytes);
        out.push(Effect::Send(*id, bytes));
        self.note(Event::Connected(direction), now, out);
    }

    pub(super) fn connect_failed(
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
            State::OpenSent { .. } | State::OpenConfirm(_) | State::Established(_) => {}
        }
    }

    pub(super) fn garbled(&mut self, id: ConnId, error: HeaderError, now: Instant, out: &mut Out) {
        let Some(direction) = self.find(id) else {
            return;
        };
        match self.slot(direction).map(Slot::name) {
            // Nothing can come before TCP is there.
            None | Some(SessionState::Connect) => return,
            Some(_) => {}
        }
        if let Some(answer) = error.notification() {
            self.fail(direction, answer, now, out);
        } else {
            self.end(direction, Close::Abort, &Ended::Fault, now, out);
            self.note(Event::BrokenNotification, now, out);
        }
    }

    pub(super) fn lost(&mut self, id: ConnId, words: &str, now: Instant, out: &mut Out) {
        let Some(direction) = self.find(id) else {
            return;
        };
        let state = self.slot(direction).map(Slot::name);
        let before = self.fallback.learned();
        let ended = match state {
            Some(SessionState::OpenSent | SessionState::OpenConfirm) => Ended::Hung,
            _ => Ended::Lost,
        };
        self.end(direction, Close::Abort, &ended, now, out);
        // Routers close like this on a neighbour that they do not know.
        let alone = self.slot(direction.other()).is_none();
        let hint = match state {
            Some(SessionState::OpenSent) if alone => {
                " before its OPEN; is this node a neighbour there?"
            }
            _ => "",
        };
        self.note(Event::Lost(format!("{words}{hint}")), now, out);
        self.note_fallback(before, now, out);
    }

    /// Every session with the peer ends: its path is dead, so the words will hardly arrive (RFC 9384).
    pub(super) fn bfd_down(&mut self, now: Instant, out: &mut Out) {
        let mut lost = false;
        for direction in [Direction::Ours, Direction::Theirs] {
            let Some(slot) = self.slot(direction) else {
                continue;
            };
            if slot.name() >= SessionState::OpenSent {
                send(slot.id, &slot.worded(Code::BFD_DOWN.bare()), out);
                self.end(direction, Close::Drain, &Ended::Lost, now, out);
                lost = true;
            }
        }
        if lost {
            self.note(Event::BfdDown, now, out);
        }
    }

    /// Nothing can be said any more over a link that is gone.
    pub(super) fn link_down(&mut self, words: &str, now: Instant, out: &mut Out) {
        let mut lost = false;
        for direction in [Direction::Ours, Direction::Theirs] {
            lost |= self.slot(direction).is_some();
            self.end(direction, Close::Abort, &Ended::Lost, now, out);
        }
        if lost {
            self.note(Event::LinkDown(words.to_owned()), now, out);
        }
    }

    /// An attempt that began without the link has lost its SYN, and one that failed for want of it need not wait. A peer
    /// that refused us must.
    pub(super) fn link_up(&mut self, now: Instant, out: &mut Out) {
        if !self.started || self.theirs.is_some() {
            return;
        }
        let attempt = self
            .ours
            .take_if(|slot| slot.name() == SessionState::Connect);
        if let Some(slot) = &attempt {
            out.push(Effect::Close(slot.id, Close::Abort));
        }
        if self.backoff.reachable_again() || attempt.is_some() {
            self.connect(now, out);
        }
    }

    pub(super) fn establish(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let local_as = self.config.local_as;
        // Whether the peer knows of roles or not (RFC 9234 §5).
        let only_to_customer = self.config.role.is_some_and(Role::marks_routes);
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        let offer = slot.offer;
        let State::OpenConfirm(confirming) =
            std::mem::replace(&mut slot.state, State::Connect { until: now })
        else {
            return;
        };
        let Confirming {
            local,
            negotiated,
            mut clocks,
            held: _,
        } = *confirming;
        clocks.heard(&negotiated, now);
        let export = Export {
            relation: negotiated.relation,
            local_as,
            as4: negotiated.as4,
            next_hops: local,
            extended_next_hop: negotiated.extended_next_hop,
            only_to_customer,
        };
        let adj =
            AdjOut::new(export, negotiated.families).enhanced_refresh(negotiated.enhanced_refresh);
        let useless = negotiated.families.is_empty();
        slot.state = State::Established(Box::new(Established {
            negotiated,
            clocks,
            send_hold: None,
            since: now,
            adj,
            refreshes: Refreshes::default(),
        }));
        self.fallback.accepted(offer, now);
        // From now on the peer knows that we are back.
        if let Some(restart) = &mut self.config.graceful_restart {
            restart.restarting = false;
        }
        self.retry = None;
        self.established += 1;
        self.note(Event::Established, now, out);
        if useless {
            self.note(Event::NoCommonFamily, now, out);
        }
        self.settle(direction, now, out);
    }

    /// The other connection has lost: an attempt is given up, one that waits for an OPEN gets little time.
    pub(super) fn settle(&mut self, winner: Direction, now: Instant, out: &mut Out) {
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
            State::OpenConfirm(_) | State::Established(_) => {}
        }
    }
}
