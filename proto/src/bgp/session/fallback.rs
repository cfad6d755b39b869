//! What to leave out of the OPEN for peers that refuse it (RFC 5492 §3).
//!
//! Some routers answer a capability that they do not like with a NOTIFICATION instead of ignoring it, and some just
//! close. Each refusal, and each second close in a row, takes one step down ([`Offer::after`]).
//!
//! ```text
//!            refused         refused           session
//!   all ───────────► less ───────────► least ─────────► least, for an hour
//!    ▲                                                    │ an hour is over, or the router was reconfigured
//!    └── a session ◄── all, once ◄────────────────────────┘
//!                       └─ refused ─► least, for another hour
//! ```
//!
//! A refusal may have causes that no OPEN can cure: FRR and BIRD say 2/7 as long as the neighbour's address family
//! is not activated, and close on neighbours that they do not know. So an offer that has never led to a session is soon
//! forgotten: any other failure, five minutes, or a refusal of the smallest one bring everything back.
//!
//! An offer that did lead to one is kept beyond the session, or a router that flaps would be climbed down to each time,
//! which takes 15 s. All is offered again when the router may have learned more: after an hour, as that takes an upgrade
//! of the router, which nobody does more often; and at once when the router says that it was reconfigured. That costs one
//! refused connection, a second, and only where there is no session: an Established one is never given up for it.

use std::time::{Duration, Instant};

use super::super::Code;
use super::{Config, Ended, Offer};

/// How long a refusal is remembered while no offer has led to a session.
const MEMORY: Duration = Duration::from_secs(300);

/// How long a smaller offer that was taken is made before all is offered once more.
const TRUST: Duration = Duration::from_secs(3600);

/// So many closes in a row after nothing but our OPEN are a refusal of it.
const CLOSES: u8 = 2;

/// What the next OPEN offers, and until when that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Fallback {
    offer: Offer,
    until: Option<Instant>,
    /// The smaller offer that led to a session last.
    taken: Option<Offer>,
    /// Closes in a row after nothing but our OPEN.
    closes: u8,
}

impl Fallback {
    pub(super) const NONE: Self = Self {
        offer: Offer::FULL,
        until: None,
        taken: None,
        closes: 0,
    };

    /// For a connection that begins now.
    pub(super) fn offer(&mut self, now: Instant) -> Offer {
        if self.until.is_some_and(|until| until <= now) {
            self.offer_all();
        }
        self.offer
    }

    /// What was learned last, for the history.
    pub(super) const fn learned(&self) -> Offer {
        self.offer
    }

    /// An OPEN with `offer` led to a session.
    pub(super) fn accepted(&mut self, offer: Offer, now: Instant) {
        if offer == Offer::FULL {
            *self = Self::NONE;
            return;
        }
        let known = self.taken == Some(offer);
        let until = self.until.filter(|_| known).unwrap_or(now + TRUST);
        *self = Self {
            offer,
            until: Some(until),
            taken: Some(offer),
            closes: 0,
        };
    }

    /// A session has ended.
    pub(super) fn parted(&mut self, ended: &Ended) {
        let reconfigured = matches!(ended, Ended::Told(told)
            if matches!(told.cause().code, Code::CONFIGURATION_CHANGE | Code::PEER_DECONFIGURED));
        if reconfigured {
            self.offer_all();
        }
    }

    /// An OPEN with `offer` went out and did not lead to a session.
    pub(super) fn failed(&mut self, offer: Offer, ended: &Ended, config: &Config, now: Instant) {
        let retried = self.taken.filter(|_| offer == Offer::FULL);
        let patience = if retried.is_some() { 1 } else { CLOSES };
        let refusal = match ended {
            Ended::Told(refusal) if is_refusal(refusal.code) => Some(refusal),
            Ended::Hung if self.closes + 1 >= patience => None,
            Ended::Hung => {
                self.closes += 1;
                return;
            }
            Ended::Told(_) | Ended::Unreachable | Ended::Lost | Ended::Fault => {
                return self.unsettled();
            }
        };
        if let Some(taken) = retried {
            self.offer = taken;
            self.until = Some(now + TRUST);
        } else {
            // Who says no to what it once took is another router by now.
            if refusal.is_some() {
                self.taken = None;
            }
            self.offer = offer.after(refusal, config);
            self.until = Some(now + MEMORY);
        }
        self.closes = 0;
    }

    /// A connection failed for another reason than what was offered.
    fn unsettled(&mut self) {
        self.closes = 0;
        if self.taken.is_none() {
            self.offer_all();
        }
    }

    fn offer_all(&mut self) {
        self.offer = Offer::FULL;
        self.until = None;
        self.closes = 0;
    }
}

/// Whether the peer complains about what the OPEN offers.
const fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::UNSUPPORTED_OPTIONAL_PARAMETER | Code::UNSUPPORTED_CAPABILITY
    )
}
