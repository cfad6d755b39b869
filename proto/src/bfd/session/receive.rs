//! What a packet does to its session (RFC 5880 §6.8.6).

use std::time::Instant;

use super::super::auth::AuthError;
use super::super::packet::{Diag, Packet, State};
use super::{Change, Remote, Session};

/// The state that follows when a packet in state `received` comes. No wildcard: every pair is a decision.
#[must_use]
#[expect(
    clippy::match_same_arms,
    reason = "a row for each state, as in the RFC"
)]
pub const fn transition(local: State, received: State) -> State {
    use State::{AdminDown, Down, Init, Up};
    match (local, received) {
        (AdminDown, AdminDown | Down | Init | Up) => AdminDown,
        (Down, Down) => Init,
        (Down, Init) => Up,
        (Down, AdminDown | Up) => Down,
        (Init, AdminDown) => Down,
        (Init, Down) => Init,
        (Init, Init | Up) => Up,
        (Up, AdminDown | Down) => Down,
        (Up, Init | Up) => Up,
    }
}

impl Session {
    /// Takes in a packet that the demultiplexer found to be ours. A packet that is not believed changes nothing.
    pub fn on_packet(
        &mut self,
        packet: &Packet,
        now: Instant,
    ) -> Result<Option<Change>, AuthError> {
        match &mut self.authenticator {
            Some(authenticator) => authenticator.check(packet)?,
            None if packet.auth.is_some() => return Err(AuthError::Unexpected),
            None => {}
        }
        self.learn(packet, now);
        if self.state == State::AdminDown {
            return Ok(None);
        }
        let before = self.state;
        let next = transition(before, packet.state);
        if next != before {
            let diag = match next {
                State::Down => Diag::NEIGHBOR_DOWN,
                // What brought it down before is still of interest until it is Up.
                State::Init => self.diag,
                State::Up | State::AdminDown => Diag::NONE,
            };
            self.enter(next, diag);
        }
        self.owes_final |= packet.poll;
        Ok(self.change_from(before))
    }

    /// Copies what the peer says, and ends the Poll Sequence that it answers.
    fn learn(&mut self, packet: &Packet, now: Instant) {
        self.remote = Remote {
            discriminator: Some(packet.my_discriminator),
            state: packet.state,
            diag: packet.diag,
            min_tx: packet.desired_min_tx,
            min_rx: packet.required_min_rx,
            multiplier: packet.detect_multiplier.get(),
            demand: packet.demand,
        };
        if packet.is_final && self.polling {
            self.polling = false;
            self.in_force = self.offer;
            self.retime();
        }
        self.heard = Some(now);
        let forgets = self.authenticator.is_some();
        self.forget_at = forgets.then(|| now + 2 * self.detection_time());
    }
}
