//! What time does to a peer.

use std::time::{Duration, Instant};

use super::super::{Code, Family, write_keepalive};
use super::slot::{State, due};
use super::{Close, ConnId, Direction, Effect, Ended, Event, Out, Output, Peer};

/// How long a SYN may stay unanswered: three retransmissions by the kernel.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(10);

impl Peer {
    pub(super) fn output(&mut self, id: ConnId, output: Output, now: Instant) {
        let slots = [&mut self.ours, &mut self.theirs];
        let Some(slot) = slots.into_iter().flatten().find(|slot| slot.id == id) else {
            return;
        };
        match &mut slot.state {
            // Their own deadlines are stricter.
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => {}
            State::Established(session) => {
                let until = now + session.negotiated.hold.send_hold();
                match output {
                    Output::Drained => session.send_hold = None,
                    Output::Moving => session.send_hold = Some(until),
                    Output::Stuck => session.send_hold = session.send_hold.or(Some(until)),
                }
            }
        }
    }

    pub(super) fn timer(&mut self, now: Instant, out: &mut Out) {
        for direction in [Direction::Ours, Direction::Theirs] {
            self.slot_timer(direction, now, out);
        }
        if due(self.retry, now) {
            self.connect(now, out);
        }
    }

    pub(super) fn slot_timer(&mut self, direction: Direction, now: Instant, out: &mut Out) {
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
            State::OpenConfirm(confirming) => silent(confirming.clocks.hold),
            State::Established(session) => silent(session.clocks.hold).or_else(|| {
                due(session.send_hold, now).then(|| Code::SEND_HOLD_TIMER_EXPIRED.bare())
            }),
        };
        if let Some(answer) = fault {
            self.fail(direction, answer, now, out);
        } else {
            self.send_again(direction, now);
            self.keep_alive(direction, now, out);
        }
    }

    /// Begins the resend that the peer is owed, if it is due.
    pub(super) fn send_again(&mut self, direction: Direction, now: Instant) {
        let Some(slot) = self.slot_mut(direction) else {
            return;
        };
        match &mut slot.state {
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => {}
            State::Established(session) => {
                for family in Family::ALL {
                    if session.refreshes.answer(family, now) {
                        session.adj.refresh(family);
                    }
                }
            }
        }
    }

    /// Sends a KEEPALIVE if one is due.
    pub(super) fn keep_alive(&mut self, direction: Direction, now: Instant, out: &mut Out) {
        let (slot, jitter) = self.slot_and_jitter(direction);
        let Some(slot) = slot else { return };
        let (negotiated, clocks) = match &mut slot.state {
            State::Connect { .. } | State::OpenSent { .. } => return,
            // The first one is not said by the clock.
            State::OpenConfirm(confirming) if confirming.held.is_some() => return,
            State::OpenConfirm(confirming) => (&confirming.negotiated, &mut confirming.clocks),
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
    pub(super) fn no_answer(&self) -> String {
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
}
