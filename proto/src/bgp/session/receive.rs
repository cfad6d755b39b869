//! What messages do to a peer: the table of RFC 4271 §8.2.2, one function per message and one arm per state.

use std::time::Instant;

use super::super::{
    Code, Frame, Kind, NextHops, Notification, Open, Refresh, RefreshKind, Verdict, examine,
    write_keepalive,
};
use super::peer::send;
use super::slot::{Clocks, Slot, State, unexpected};
use super::{Close, ConnId, Direction, Effect, Ended, Event, Negotiated, Out, Peer, validate_open};

impl Direction {
    /// The other one.
    #[must_use]
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Ours => Self::Theirs,
            Self::Theirs => Self::Ours,
        }
    }
}

impl Peer {
    pub(super) fn receive(&mut self, id: ConnId, frame: Frame<'_>, now: Instant, out: &mut Out) {
        let Some(direction) = self.find(id) else {
            return;
        };
        match frame.kind {
            Kind::Open => self.on_open(direction, frame.body, now, out),
            Kind::Update => self.on_update(direction, frame.body, now, out),
            Kind::Notification => self.on_notification(direction, frame.body, now, out),
            Kind::Keepalive => self.on_keepalive(direction, now, out),
            Kind::RouteRefresh => self.on_refresh(direction, frame.body, now, out),
        }
    }

    fn on_open(&mut self, direction: Direction, body: &[u8], now: Instant, out: &mut Out) {
        let Some(slot) = self.slot(direction) else {
            return;
        };
        match slot.state {
            // Nothing can come before TCP is there.
            State::Connect { .. } => {}
            State::OpenSent { local, .. } => self.opened(direction, local, body, now, out),
            State::OpenConfirm { .. } | State::Established(_) => {
                self.refuse(direction, Kind::Open, now, out);
            }
        }
    }

    fn on_keepalive(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        match &mut slot.state {
            State::Connect { .. } => {}
            State::OpenSent { .. } => self.refuse(direction, Kind::Keepalive, now, out),
            State::OpenConfirm { .. } => self.establish(direction, now, out),
            State::Established(session) => session.clocks.heard(&session.negotiated, now),
        }
    }

    fn on_update(&mut self, direction: Direction, body: &[u8], now: Instant, out: &mut Out) {
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        match &mut slot.state {
            State::Connect { .. } => {}
            State::OpenSent { .. } | State::OpenConfirm { .. } => {
                self.refuse(direction, Kind::Update, now, out);
            }
            State::Established(session) => {
                session.clocks.heard(&session.negotiated, now);
                let Negotiated { relation, as4, .. } = session.negotiated;
                match examine(body, relation, as4).verdict {
                    // An attribute that is to be ignored is ignored with all the others.
                    Verdict::Fine | Verdict::Discard => {}
                    Verdict::Withdraw => self.note(Event::BrokenRoutes, now, out),
                    Verdict::Reset(answer) => self.fail(direction, answer, now, out),
                }
            }
        }
    }

    fn on_refresh(&mut self, direction: Direction, body: &[u8], now: Instant, out: &mut Out) {
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        match &mut slot.state {
            State::Connect { .. } => {}
            State::OpenSent { .. } | State::OpenConfirm { .. } => {
                self.refuse(direction, Kind::RouteRefresh, now, out);
            }
            State::Established(session) => {
                session.clocks.heard(&session.negotiated, now);
                let Ok(Refresh {
                    family: Some(family),
                    kind: RefreshKind::Request,
                }) = Refresh::decode(body)
                else {
                    // A family that was not agreed, or markers that we never asked for (RFC 7313 §4).
                    return;
                };
                session.adj.refresh(family);
                self.note(Event::Refresh(family), now, out);
            }
        }
    }

    /// Never answered with a NOTIFICATION, in any state (RFC 4271 §6.4).
    fn on_notification(&mut self, direction: Direction, body: &[u8], now: Instant, out: &mut Out) {
        let Some(slot) = self.slot(direction) else {
            return;
        };
        let Ok(told) = Notification::decode(body) else {
            self.end(direction, Close::Abort, &Ended::Fault, now, out);
            self.note(Event::BrokenNotification, now, out);
            return;
        };
        match slot.state {
            State::Connect { .. } => return,
            State::OpenSent { .. } | State::OpenConfirm { .. } | State::Established(_) => {}
        }
        let before = self.fallback.learned();
        let rival =
            told.code == Code::CONNECTION_COLLISION && self.slot(direction.other()).is_none();
        self.end(
            direction,
            Close::Abort,
            &Ended::Told(told.clone()),
            now,
            out,
        );
        let event = if rival {
            Event::HeldElsewhere
        } else {
            Event::NotificationReceived(told)
        };
        self.note(event, now, out);
        let next = self.fallback.learned();
        if next != before {
            self.note(Event::FallBack(next), now, out);
        }
    }

    /// An OPEN where one is expected.
    fn opened(
        &mut self,
        direction: Direction,
        local: NextHops,
        body: &[u8],
        now: Instant,
        out: &mut Out,
    ) {
        let Some(slot) = self.slot(direction) else {
            return;
        };
        let offered = slot.offer.capabilities(&self.config);
        let open = match Open::decode(body) {
            Ok(open) => open,
            Err(error) => return self.fail(direction, error.notification(), now, out),
        };
        let negotiated = match validate_open(&self.config, &offered, &open) {
            Ok(negotiated) => negotiated,
            Err(answer) => return self.reject(direction, &open, answer, now, out),
        };
        let event = Event::Opened {
            peer: negotiated.peer_id,
            hold: negotiated.hold,
        };
        if self.collide(direction, &negotiated, now, out) == Some(direction) {
            return;
        }
        let mut clocks = Clocks::default();
        clocks.heard(&negotiated, now);
        clocks.said(
            negotiated.keepalive.map(|time| self.jitter.apply(time)),
            now,
        );
        if let Some(slot) = self.slot_mut(direction) {
            slot.state = State::OpenConfirm {
                local,
                negotiated,
                clocks,
            };
            let mut bytes = Vec::new();
            write_keepalive(&mut bytes);
            out.push(Effect::Send(slot.id, bytes));
        }
        self.note(event, now, out);
    }

    fn reject(
        &mut self,
        direction: Direction,
        open: &Open,
        answer: Notification,
        now: Instant,
        out: &mut Out,
    ) {
        let wrong_as = answer.code == Code::BAD_PEER_AS;
        self.fail(direction, answer, now, out);
        if wrong_as {
            let claimed = open
                .capabilities
                .four_octet_as
                .unwrap_or(u32::from(open.my_as));
            let configured = self.config.peer_as;
            self.note(
                Event::WrongAs {
                    claimed,
                    configured,
                },
                now,
                out,
            );
        }
    }

    /// Collision detection (RFC 4271 §6.8, RFC 6286 §2.3) when a good OPEN came on `direction`. Returns the
    /// connection that was closed.
    ///
    /// Only identifiers and AS numbers enter the comparison, so both sides come to the same verdict. An attempt
    /// whose OPEN has not come is left alone: the one that looks better now may be dead.
    fn collide(
        &mut self,
        direction: Direction,
        negotiated: &Negotiated,
        now: Instant,
        out: &mut Out,
    ) -> Option<Direction> {
        let loser = match &self.slot(direction.other())?.state {
            State::Connect { .. } | State::OpenSent { .. } => return None,
            State::OpenConfirm { .. } => {
                let us = (self.config.router_id, self.config.local_as);
                let them = (negotiated.peer_id, negotiated.peer_as);
                if us > them {
                    Direction::Theirs
                } else {
                    Direction::Ours
                }
            }
            State::Established(_) => direction,
        };
        let Slot { id, .. } = self.slot_mut(loser).take()?;
        let cease = Code::CONNECTION_COLLISION.bare();
        send(id, &cease, out);
        out.push(Effect::Close(id, Close::Drain));
        self.note(Event::NotificationSent(cease), now, out);
        Some(loser)
    }

    /// A message that does not belong into the state (RFC 6608).
    fn refuse(&mut self, direction: Direction, kind: Kind, now: Instant, out: &mut Out) {
        let Some(state) = self.slot(direction).map(Slot::name) else {
            return;
        };
        self.fail(direction, unexpected(state, kind), now, out);
    }
}
