//! What layer 2 is asked to do and what it tells, beside its status.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use portolan_proto::ethernet::MacAddr;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::interfaces::Interfaces;

/// How an address is answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where.
    pub interfaces: Interfaces,
    /// Time between two announcements of an address that has not moved, about; zero for never.
    pub refresh: Duration,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A check ([`super::Layer2::check`]) came to its end.
    Checked {
        /// The address.
        vip: IpAddr,
        /// What was found.
        verdict: Checked,
    },
    /// An address that was asked ([`super::Layer2::ask`]) has answered: the link carries frames in both directions.
    Witness {
        /// Where.
        interface: u32,
        /// Who.
        ip: IpAddr,
    },
    /// Another station says that it has an address that is answered here. The same station is reported at most ten
    /// times a second for each address.
    Claim {
        /// Where.
        interface: u32,
        /// The address.
        vip: IpAddr,
        /// By whom.
        mac: MacAddr,
    },
}

/// Whether an address is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nobody objected.
    Free,
    /// Somebody has the address, or is about to take it.
    Taken {
        /// Who.
        mac: MacAddr,
        /// Where it was heard.
        interface: u32,
    },
}

/// The way out. Nothing here waits: what must not be lost is kept until there is room.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    to: Option<mpsc::Sender<Event>>,
    /// Ends of checks that found no room; each check has one.
    waiting: VecDeque<Event>,
}

impl Outbox {
    pub(super) fn set(&mut self, to: mpsc::Sender<Event>) {
        self.to = Some(to);
    }

    /// Sends, or keeps what must not be lost. Returns `false` when it is lost.
    pub(super) fn tell(&mut self, event: Event) -> bool {
        if matches!(event, Event::Checked { .. }) {
            self.waiting.push_back(event);
            self.flush();
            return true;
        }
        self.waiting.is_empty() && self.send(event)
    }

    /// Whether [`Self::flush`] has something to do.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what was kept, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if !self.send(event) {
                return self.waiting.push_front(event);
            }
        }
    }

    /// Returns `false` when there is no room. When nobody listens there is always room.
    fn send(&mut self, event: Event) -> bool {
        let result = self.to.as_ref().map(|to| to.try_send(event));
        !matches!(result, Some(Err(TrySendError::Full(_))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_checked(number: u8) -> Event {
        Event::Checked {
            vip: [192, 0, 2, number].into(),
            verdict: Checked::Free,
        }
    }

    fn mk_witness() -> Event {
        Event::Witness {
            interface: 1,
            ip: [192, 0, 2, 1].into(),
        }
    }

    #[test]
    fn verdicts_wait_for_room_and_keep_their_order() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut outbox = Outbox::default();
        assert!(outbox.tell(mk_checked(0)), "nobody listens yet");
        outbox.set(sender);
        for number in 1..=4 {
            assert!(outbox.tell(mk_checked(number)));
        }
        assert!(!outbox.tell(mk_witness()), "no room for it");
        let mut seen = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            seen.push(event);
            outbox.flush();
        }
        assert_eq!(seen, [1, 2, 3, 4].map(mk_checked));
        assert!(outbox.tell(mk_witness()) && !outbox.is_waiting());
        drop(receiver);
        assert!(outbox.tell(mk_checked(5)) && !outbox.is_waiting());
    }
}
