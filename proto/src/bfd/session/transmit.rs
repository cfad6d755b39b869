//! What is sent, and when (RFC 5880 §6.8.7).

use std::time::{Duration, Instant};

use super::super::packet::{Micros, Packet, State};
use super::Session;

impl Session {
    /// The next packet to send now, if there is one. Ask until there is none.
    pub fn poll_tx(&mut self, now: Instant) -> Option<Packet> {
        if std::mem::take(&mut self.owes_final) {
            // Out of turn and unlimited: the peer's clock runs. It carries our news as well as any other.
            self.owes_news = self.polling && self.owes_news;
            return Some(self.packet(true));
        }
        let news = self.owes_news && self.may_speak();
        if !news && self.due().is_none_or(|due| now < due) {
            return None;
        }
        self.owes_news = false;
        self.last_tx = Some(now);
        // With one packet to miss, a peer must get it before its detection time is over. Of the 100 and 90 % that the RFC lets
        // pass, the last two are for those who come to send it a little late.
        let longest = if self.config.multiplier.get() == 1 {
            880
        } else {
            980
        };
        self.spread = self.dice.between(750, longest);
        Some(self.packet(false))
    }

    /// When the next packet in turn is due. It is counted from the last one sent, never from one received, and so follows
    /// at once when the interval changes.
    pub(super) fn due(&self) -> Option<Instant> {
        if !self.transmits() {
            return None;
        }
        let Some(last) = self.last_tx else {
            return Some(self.started);
        };
        Some(last + self.interval() * self.spread / 1000)
    }

    /// Time between two packets before jitter.
    pub(super) fn interval(&self) -> Duration {
        self.in_force.transmit.max(self.remote.min_rx).duration()
    }

    /// Whether packets are sent periodically.
    pub(super) fn transmits(&self) -> bool {
        let demanded =
            self.remote.demand && self.state == State::Up && self.remote.state == State::Up;
        self.may_speak() && self.remote.min_rx != Micros(0) && (!demanded || self.polling)
    }

    /// The passive side is silent until it has heard the other.
    fn may_speak(&self) -> bool {
        !self.config.passive || self.remote.discriminator.is_some()
    }

    fn packet(&mut self, is_final: bool) -> Packet {
        let mut packet = Packet {
            diag: self.diag,
            state: self.state,
            poll: self.polling && !is_final,
            is_final,
            control_plane_independent: self.config.control_plane_independent,
            demand: false,
            detect_multiplier: self.config.multiplier,
            my_discriminator: self.local,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.offer.transmit,
            required_min_rx: self.offer.receive,
            required_min_echo_rx: Micros(0),
            auth: None,
        };
        if let Some(authenticator) = &mut self.authenticator {
            authenticator.sign(&mut packet);
        }
        packet
    }
}
