//! Two connections with one peer, and which of them stays (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §5).
//!
//! ```text
//!  both sides open at once:   a (by us) ──OPEN──►     ◄──OPEN── b (by them)
//!  higher identifier opened b ⇒ b stays, a gets 6/7, on both sides
//! ```
//!
//! Only identifiers and AS numbers enter the comparison, so both sides come to the same verdict. Where the RFC lets
//! them differ is an Established connection, which wins against everything: one side may have come so far on the
//! connection that the other has just given up, and both die. So whoever knows already that a connection will lose
//! against one whose OPEN is on its way does not confirm it: without our KEEPALIVE the peer cannot reach
//! Established on it. The KEEPALIVE follows if the other connection goes away, or its OPEN does not come.

use std::time::{Duration, Instant};

use super::super::{Code, write_keepalive};
use super::peer::send;
use super::slot::{HoldBack, Slot, State, due};
use super::{Close, Direction, Effect, Event, Negotiated, Out, Peer, SessionState};

/// How long the OPEN of a connection that would win is waited for.
const HOLD_BACK: Duration = Duration::from_secs(1);

/// A connection of theirs, and its OPEN, that comes so soon after ours is Established may have been on its way before.
const CROSSING: Duration = Duration::from_millis(100);

/// How long the OPEN of a peer that has restarted is waited for before we try to reach it ourselves: what ended its
/// session may have been a stray connection from its address.
const RETURN: Duration = Duration::from_secs(1);

/// What to do with a connection that the peer opened.
pub(super) enum Admission {
    /// Go on with it.
    Welcome,
    /// Turn it away with these words.
    Refused(Code),
}

impl Peer {
    /// Judges a new connection from the peer by what there is already.
    pub(super) fn admit(&mut self, now: Instant, out: &mut Out) -> Admission {
        if !self.started {
            return Admission::Refused(Code::CONNECTION_REJECTED);
        }
        let state = |slot: &Option<Slot>| slot.as_ref().map(Slot::name);
        let restartable = |slot: &Option<Slot>| slot.as_ref().is_some_and(Slot::may_restart);
        match (state(&self.ours), state(&self.theirs)) {
            // They opened the one that is Established: only a restart makes them open another.
            (_, Some(SessionState::Established)) if restartable(&self.theirs) => {
                self.supersede(Direction::Theirs, now, out);
                Admission::Welcome
            }
            (Some(SessionState::Established), _) if !restartable(&self.ours) => {
                Admission::Refused(Code::CONNECTION_COLLISION)
            }
            (Some(SessionState::Established), None) if !self.crosses(now) => {
                self.supersede(Direction::Ours, now, out);
                Admission::Welcome
            }
            (_, Some(SessionState::OpenConfirm | SessionState::Established)) => {
                Admission::Refused(Code::CONNECTION_COLLISION)
            }
            (_, Some(_)) => {
                // They gave up the one that never got anywhere.
                self.dismiss(Direction::Theirs, out);
                Admission::Welcome
            }
            (_, None) => Admission::Welcome,
        }
    }

    /// Whether an attempt of theirs may have crossed ours: then neither it nor an OPEN that came along shows that they
    /// mean it.
    fn crosses(&self, now: Instant) -> bool {
        let held = self.ours.as_ref().and_then(|slot| slot.held(now));
        held.is_some_and(|held| held < CROSSING)
    }

    /// Collision detection when a good OPEN came on `direction`. Returns the connection that was closed.
    ///
    /// An attempt whose OPEN has not come is left alone: the one that looks better now may be dead.
    pub(super) fn collide(
        &mut self,
        direction: Direction,
        negotiated: &Negotiated,
        now: Instant,
        out: &mut Out,
    ) -> Option<Direction> {
        let other = direction.other();
        let late = matches!(
            self.slot(direction)?.state,
            State::OpenSent { late: true, .. }
        );
        let rival = self.slot(other)?;
        let loser = match &rival.state {
            State::Connect { .. } | State::OpenSent { .. } => return None,
            State::OpenConfirm(_) if self.prefers(negotiated) == direction => other,
            // Whether it is meant shows soon: until then it is held back.
            State::Established(_) if late && rival.may_restart() && self.crosses(now) => {
                return None;
            }
            State::Established(_) if late && rival.may_restart() => {
                self.supersede(other, now, out);
                return Some(other);
            }
            State::OpenConfirm(_) | State::Established(_) => direction,
        };
        self.dismiss(loser, out);
        let cease = Code::CONNECTION_COLLISION.bare();
        self.note(Event::NotificationSent(cease), now, out);
        Some(loser)
    }

    /// Whose connection stays: the one that the higher identifier opened, and of equal ones the higher AS.
    fn prefers(&self, negotiated: &Negotiated) -> Direction {
        let us = (self.config.router_id, self.config.local_as);
        let them = (negotiated.peer_id, negotiated.peer_as);
        if us > them {
            Direction::Ours
        } else {
            Direction::Theirs
        }
    }

    /// Whether to keep our KEEPALIVE on `direction` back: the other connection will win if its OPEN comes, or is
    /// Established and will win if this one crossed it and goes away.
    pub(super) fn hold_back(
        &self,
        direction: Direction,
        negotiated: &Negotiated,
        now: Instant,
    ) -> Option<HoldBack> {
        let other = self.slot(direction.other())?;
        let until = match &other.state {
            State::OpenSent { .. } if self.prefers(negotiated) != direction => now + HOLD_BACK,
            State::Established(session) => session.since + CROSSING,
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => return None,
        };
        Some(HoldBack {
            until,
            confirmed: false,
        })
    }

    /// Confirms the connection that had to wait, when there is nothing to wait for any more.
    pub(super) fn release(&mut self, now: Instant, out: &mut Out) {
        for direction in [Direction::Ours, Direction::Theirs] {
            let rival = self.slot(direction.other()).map(Slot::name);
            let free = !matches!(
                rival,
                Some(SessionState::OpenSent | SessionState::Established)
            );
            let ready = |held: &mut HoldBack| free || due(Some(held.until), now);
            let Some(State::OpenConfirm(confirming)) = self
                .slot_mut(direction)
                .as_mut()
                .map(|slot| &mut slot.state)
            else {
                continue;
            };
            let Some(held) = confirming.held.take_if(ready) else {
                continue;
            };
            if rival == Some(SessionState::Established) {
                self.supersede(direction.other(), now, out);
            }
            self.confirm(direction, now, out);
            if held.confirmed {
                self.establish(direction, now, out);
            }
        }
    }

    /// Sends the KEEPALIVE that says yes to the peer's OPEN.
    pub(super) fn confirm(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let (slot, jitter) = self.slot_and_jitter(direction);
        let Some(Slot { id, state, .. }) = slot else {
            return;
        };
        let State::OpenConfirm(confirming) = state else {
            return;
        };
        let interval = confirming.negotiated.keepalive;
        let interval = interval.map(|time| jitter.apply(time));
        confirming.clocks.said(interval, now);
        let mut bytes = Vec::new();
        write_keepalive(&mut bytes);
        out.push(Effect::Send(*id, bytes));
    }

    /// The peer has restarted and has a new connection: the old one ends without a word (RFC 4724 §5).
    fn supersede(&mut self, old: Direction, now: Instant, out: &mut Out) {
        if let Some(Slot { id, .. }) = self.slot_mut(old).take() {
            out.push(Effect::Close(id, Close::Abort));
            self.seek(RETURN, now);
            self.note(Event::PeerRestarted, now, out);
        }
    }

    /// The loser of a collision.
    fn dismiss(&mut self, loser: Direction, out: &mut Out) {
        if let Some(Slot { id, .. }) = self.slot_mut(loser).take() {
            send(id, &Code::CONNECTION_COLLISION.bare(), out);
            out.push(Effect::Close(id, Close::Drain));
        }
    }
}
