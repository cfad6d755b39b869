//! What to leave out of the OPEN for peers that refuse it (RFC 5492 §3).
//!
//! Some routers answer a capability that they do not like with a NOTIFICATION instead of ignoring it, and some just
//! close. Each refusal, and each second close in a row, takes one step down ([`Offer::after`]).
//!
//! A refusal may have causes that no OPEN can cure: FRR and BIRD say 2/7 as long as the neighbour's address family
//! is not activated, and close on neighbours that they do not know. So a smaller offer never outlives its use: any
//! other failure, the end of a session that was Established, five minutes, or a refusal of the smallest one bring
//! everything back.

use std::time::{Duration, Instant};

use super::super::Code;
use super::{Config, Ended, Offer};

/// How long a peer's refusal is remembered.
const MEMORY: Duration = Duration::from_secs(300);

/// So many closes in a row after nothing but our OPEN are a refusal of it.
const CLOSES: u8 = 2;

/// What the next OPEN offers, and until when that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Fallback {
    offer: Offer,
    until: Option<Instant>,
    /// Closes in a row after nothing but our OPEN.
    closes: u8,
}

impl Fallback {
    pub(super) const NONE: Self = Self {
        offer: Offer::FULL,
        until: None,
        closes: 0,
    };

    /// For a connection that begins now.
    pub(super) fn offer(&mut self, now: Instant) -> Offer {
        if self.until.is_some_and(|until| until <= now) {
            *self = Self::NONE;
        }
        self.offer
    }

    /// What was learned last, for the history.
    pub(super) const fn learned(&self) -> Offer {
        self.offer
    }

    /// An OPEN with `offer` went out and did not lead to a session.
    pub(super) fn failed(&mut self, offer: Offer, ended: &Ended, config: &Config, now: Instant) {
        let step = |refusal| Self {
            offer: offer.after(refusal, config),
            until: Some(now + MEMORY),
            closes: 0,
        };
        *self = match ended {
            Ended::Told(refusal) if is_refusal(refusal.code) => step(Some(refusal)),
            Ended::Hung if self.closes + 1 >= CLOSES => step(None),
            Ended::Hung => Self {
                closes: self.closes + 1,
                ..self.clone()
            },
            Ended::Told(_) | Ended::Unreachable | Ended::Lost | Ended::Fault => Self::NONE,
        };
    }
}

/// Whether the peer complains about what the OPEN offers.
const fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::UNSUPPORTED_OPTIONAL_PARAMETER | Code::UNSUPPORTED_CAPABILITY
    )
}
