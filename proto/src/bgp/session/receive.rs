//! What messages do to a peer: the table of RFC 4271 §8.2.2, one function per message and one arm per state.

use std::time::Instant;

use super::super::{
    Code, Family, Frame, HEADER, Kind, NextHops, Notification, Open, Refresh, RefreshKind, Terms,
    Verdict, examine_within,
};
use super::connect::OPEN_TIME;
use super::slot::{Clocks, Confirming, Slot, State, unexpected};
use super::{Close, ConnId, Direction, Ended, Event, Negotiated, Offer, Out, Peer, validate_open};

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
            Kind::RouteRefresh => self.on_refresh(direction, frame, now, out),
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
            State::OpenConfirm(_) | State::Established(_) => {
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
            State::OpenConfirm(confirming) => match &mut confirming.held {
                Some(held) => held.confirmed = true,
                None => self.establish(direction, now, out),
            },
            State::Established(session) => session.clocks.heard(&session.negotiated, now),
        }
    }

    fn on_update(&mut self, direction: Direction, body: &[u8], now: Instant, out: &mut Out) {
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        match &mut slot.state {
            State::Connect { .. } => {}
            State::OpenSent { .. } | State::OpenConfirm(_) => {
                self.refuse(direction, Kind::Update, now, out);
            }
            State::Established(session) => {
                session.clocks.heard(&session.negotiated, now);
                let Negotiated {
                    relation,
                    as4,
                    families,
                    ..
                } = session.negotiated;
                let terms = Terms {
                    relation,
                    as4,
                    families,
                };
                match examine_within(terms, body).verdict {
                    // An attribute that is to be ignored is ignored with all the others.
                    Verdict::Fine | Verdict::Discard => {}
                    Verdict::Withdraw => self.note(Event::BrokenRoutes, now, out),
                    Verdict::Reset(answer) => self.fail(direction, answer, now, out),
                }
            }
        }
    }

    fn on_refresh(&mut self, direction: Direction, frame: Frame<'_>, now: Instant, out: &mut Out) {
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        let odd = frame.body.len() != Refresh::BODY;
        match &mut slot.state {
            State::Connect { .. } => {}
            State::OpenSent { .. } | State::OpenConfirm(_) if odd => {
                self.fail(direction, misshapen(frame, false), now, out);
            }
            State::OpenSent { .. } | State::OpenConfirm(_) => {
                self.refuse(direction, Kind::RouteRefresh, now, out);
            }
            State::Established(session) => {
                session.clocks.heard(&session.negotiated, now);
                let families = session.negotiated.families;
                match requested(frame, session.negotiated.enhanced_refresh) {
                    Ok(Some(family)) if families.has(family) => {
                        if !session.adj.will_refresh(family) {
                            session.refreshes.ask(family, now);
                        }
                        self.send_again(direction, now);
                        self.note(Event::Refresh(family), now, out);
                    }
                    // None, or one that was not agreed.
                    Ok(_) => {}
                    Err(answer) => self.fail(direction, answer, now, out),
                }
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
            State::OpenSent { .. } | State::OpenConfirm(_) | State::Established(_) => {}
        }
        let before = self.fallback.learned();
        let alone = self.slot(direction.other()).is_none();
        let event = match told.cause().code {
            Code::CONNECTION_COLLISION if alone => Event::HeldElsewhere,
            Code::MAXIMUM_PREFIXES => {
                let said = told.prefix_limit();
                Event::PrefixLimit {
                    family: said.and_then(|(family, _)| family),
                    limit: said.map(|(_, limit)| limit),
                }
            }
            _ => Event::NotificationReceived(told.clone()),
        };
        self.end(direction, Close::Abort, &Ended::Told(told), now, out);
        self.note(event, now, out);
        self.note_fallback(before, now, out);
    }

    /// Tells if the next OPEN will be another one.
    pub(super) fn note_fallback(&mut self, before: Offer, now: Instant, out: &mut Out) {
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
            asn: negotiated.peer_as,
            hold: negotiated.hold,
        };
        if self.collide(direction, &negotiated, now, out) == Some(direction) {
            return;
        }
        // A hold time of 0 gives nobody for ever to confirm: until then we would turn all others away.
        let patience = negotiated.hold.duration().unwrap_or(OPEN_TIME);
        let clocks = Clocks {
            hold: Some(now + patience),
            keepalive: None,
        };
        let held = self.hold_back(direction, &negotiated, now);
        let confirms = held.is_none();
        if let Some(slot) = self.slot_mut(direction) {
            slot.state = State::OpenConfirm(Box::new(Confirming {
                local,
                negotiated,
                clocks,
                held,
            }));
        }
        if confirms {
            self.confirm(direction, now, out);
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
        let code = answer.code;
        self.fail(direction, answer, now, out);
        if let (Code::ROLE_MISMATCH, Some(role), Some(claimed)) =
            (code, self.config.role, open.capabilities.role)
        {
            self.note(Event::WrongRole { claimed, role }, now, out);
        }
        if code == Code::BAD_PEER_AS {
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

    /// A message that does not belong into the state (RFC 6608).
    fn refuse(&mut self, direction: Direction, kind: Kind, now: Instant, out: &mut Out) {
        let Some(state) = self.slot(direction).map(Slot::name) else {
            return;
        };
        self.fail(direction, unexpected(state, kind), now, out);
    }
}

/// The family that a ROUTE-REFRESH asks for, if it asks for one of ours; the error is the answer to it.
fn requested(frame: Frame<'_>, enhanced: bool) -> Result<Option<Family>, Notification> {
    // The subtypes of later documents are ignored, and may have another length (RFC 7313 §5).
    if enhanced && matches!(*frame.body, [_, _, subtype, ..] if subtype > 2) {
        return Ok(None);
    }
    match Refresh::decode(frame.body) {
        Ok(Refresh { family, kind }) if frame.body.len() == Refresh::BODY => {
            // Markers are about routes that we do not keep. Without RFC 7313 the octet is reserved (RFC 2918 §3), yet nobody but
            // a peer that means a marker sets it: FRR, BIRD and GoBGP ignore such a message too.
            Ok(family.filter(|_| kind == RefreshKind::Request))
        }
        Ok(_) | Err(_) => Err(misshapen(frame, enhanced)),
    }
}

/// The answer to a ROUTE-REFRESH of impossible length: its own code quotes the message, if that was agreed
/// (RFC 7313 §5).
fn misshapen(frame: Frame<'_>, enhanced: bool) -> Notification {
    if enhanced {
        return Code::INVALID_REFRESH_LENGTH.with(&frame.message());
    }
    let length = u16::try_from(HEADER + frame.body.len()).unwrap_or(u16::MAX);
    Code::BAD_MESSAGE_LENGTH.with(&length.to_be_bytes())
}
