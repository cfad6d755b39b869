//! One of the two connections that a peer may have, and its state.

use std::time::{Duration, Instant};

use super::super::{AdjOut, Code, Kind, NextHops, Notification};
use super::refresh::Refreshes;
use super::{ConnId, Negotiated, Offer, SessionState};

/// A connection and where it stands. Each state carries what only it knows.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Slot {
    pub(super) id: ConnId,
    /// What our OPEN on it offers.
    pub(super) offer: Offer,
    pub(super) state: State,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) enum State {
    /// Our SYN is out.
    Connect { until: Instant },
    /// Our OPEN is out.
    OpenSent {
        local: NextHops,
        until: Instant,
        /// It came while the other connection was Established: no collision, but perhaps a restart.
        late: bool,
    },
    /// Both OPENs were good.
    OpenConfirm(Box<Confirming>),
    /// Routes flow.
    Established(Box<Established>),
}

#[derive(Clone, Debug)]
pub(super) struct Confirming {
    pub(super) local: NextHops,
    pub(super) negotiated: Negotiated,
    pub(super) clocks: Clocks,
    /// Our KEEPALIVE is kept back until a collision is decided.
    pub(super) held: Option<HoldBack>,
}

/// Why a good OPEN has not been confirmed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct HoldBack {
    pub(super) until: Instant,
    /// The peer's KEEPALIVE has come meanwhile.
    pub(super) confirmed: bool,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Established {
    pub(super) negotiated: Negotiated,
    pub(super) clocks: Clocks,
    /// When output that does not move ends the session (RFC 9687).
    pub(super) send_hold: Option<Instant>,
    pub(super) since: Instant,
    pub(super) adj: AdjOut,
    pub(super) refreshes: Refreshes,
}

/// The two timers of a negotiated session; `None` when the hold time is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clocks {
    /// When silence ends the session.
    pub(super) hold: Option<Instant>,
    /// When our next KEEPALIVE is due.
    pub(super) keepalive: Option<Instant>,
}

impl Clocks {
    /// Something came from the peer.
    pub(super) fn heard(&mut self, negotiated: &Negotiated, now: Instant) {
        self.hold = negotiated.hold.duration().map(|hold| now + hold);
    }

    /// Something went to the peer; `interval` is the jittered keepalive time.
    pub(super) fn said(&mut self, interval: Option<Duration>, now: Instant) {
        self.keepalive = interval.map(|interval| now + interval);
    }
}

impl Slot {
    pub(super) const fn name(&self) -> SessionState {
        match &self.state {
            State::Connect { .. } => SessionState::Connect,
            State::OpenSent { .. } => SessionState::OpenSent,
            State::OpenConfirm(_) => SessionState::OpenConfirm,
            State::Established(_) => SessionState::Established,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Connect { until } | State::OpenSent { until, .. } => Some(*until),
            State::OpenConfirm(confirming) => earliest([
                confirming.clocks.hold,
                confirming.clocks.keepalive,
                confirming.held.map(|held| held.until),
            ]),
            State::Established(session) => earliest([
                session.clocks.hold,
                session.clocks.keepalive,
                session.send_hold,
                session.refreshes.deadline(),
            ]),
        }
    }

    /// Whether both OPENs were good, and we have said so.
    #[cfg(test)]
    pub(super) const fn is_confirmed(&self) -> bool {
        match &self.state {
            State::Connect { .. } | State::OpenSent { .. } => false,
            State::OpenConfirm(confirming) => confirming.held.is_none(),
            State::Established(_) => true,
        }
    }

    /// Whether a new connection of the peer means that it has restarted: it is Established, and the peer has said that it
    /// restarts gracefully, not only that it helps others to (RFC 4724 §5: "with one or more AFIs/SAFIs").
    pub(super) fn may_restart(&self) -> bool {
        match &self.state {
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => false,
            State::Established(session) => {
                let restart = session.negotiated.graceful_restart;
                restart.is_some_and(|restart| !restart.families.is_empty())
            }
        }
    }

    /// `answer` as this session has to say it: where NOTIFICATIONs may leave the routes, one that is to end them says
    /// so (RFC 8538 §4).
    pub(super) fn worded(&self, answer: Notification) -> Notification {
        match &self.state {
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => answer,
            State::Established(session) => {
                let kept = session.negotiated.keeps_routes_on_notification();
                if kept && answer.code.ends_routes() {
                    answer.hard_reset()
                } else {
                    answer
                }
            }
        }
    }

    /// How long it has been Established.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        match &self.state {
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => None,
            State::Established(session) => Some(now.saturating_duration_since(session.since)),
        }
    }
}

/// The earliest of those that are set.
pub(super) fn earliest(times: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    times.into_iter().flatten().min()
}

/// Whether a timer is set and has come.
pub(super) fn due(timer: Option<Instant>, now: Instant) -> bool {
    timer.is_some_and(|at| at <= now)
}

/// The subcode for a message that does not belong into a state (RFC 6608); its data is the type octet.
pub(super) fn unexpected(state: SessionState, kind: Kind) -> Notification {
    let code = match state {
        SessionState::Idle
        | SessionState::Active
        | SessionState::Connect
        | SessionState::OpenSent => Code::UNEXPECTED_IN_OPEN_SENT,
        SessionState::OpenConfirm => Code::UNEXPECTED_IN_OPEN_CONFIRM,
        SessionState::Established => Code::UNEXPECTED_IN_ESTABLISHED,
    };
    code.with(&[kind.octet()])
}
