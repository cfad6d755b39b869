//! One of the two connections that a peer may have, and its state.

use std::time::{Duration, Instant};

use super::super::{AdjOut, Kind, NextHops};
use super::{ConnId, Negotiated, Offer, SessionState};

/// A connection and where it stands. Each state carries what only it knows.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: ConnId,
    /// What our OPEN on it offers.
    pub(super) offer: Offer,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// Our SYN is out.
    Connect { until: Instant },
    /// Our OPEN is out.
    OpenSent { local: NextHops, until: Instant },
    /// Both OPENs were good.
    OpenConfirm {
        local: NextHops,
        negotiated: Negotiated,
        clocks: Clocks,
    },
    /// Routes flow.
    Established(Box<Established>),
}

#[derive(Debug)]
pub(super) struct Established {
    pub(super) negotiated: Negotiated,
    pub(super) clocks: Clocks,
    /// When output that does not move ends the session (RFC 9687).
    pub(super) send_hold: Option<Instant>,
    pub(super) since: Instant,
    pub(super) adj: AdjOut,
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
            State::OpenConfirm { .. } => SessionState::OpenConfirm,
            State::Established(_) => SessionState::Established,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Connect { until } | State::OpenSent { until, .. } => Some(*until),
            State::OpenConfirm { clocks, .. } => earliest([clocks.hold, clocks.keepalive]),
            State::Established(session) => earliest([
                session.clocks.hold,
                session.clocks.keepalive,
                session.send_hold,
            ]),
        }
    }

    /// How long it has been Established.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        match &self.state {
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm { .. } => None,
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
pub(super) fn unexpected(state: SessionState, kind: Kind) -> super::super::Notification {
    use super::super::Code;
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
