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
//! forgotten: five minutes or a refusal of the smallest one bring everything back, and any other failure what the router
//! took last, or everything if there was nothing.
//!
//! An offer that did lead to one is kept beyond the session, or a router that flaps would be climbed down to each time,
//! which takes 15 s. All is offered again when the router may have learned more: after an hour, as that takes an upgrade
//! of the router, which nobody does more often; and at once when the router says that it was reconfigured. That costs one
//! refused connection, a second, and only where there is no session: an Established one is never given up for it.
//!
//! The hour is for what the router said in words. A close is a guess: FRR closes on all its neighbours whenever it starts,
//! until its configuration is loaded, and then the next session would do without graceful restart for nothing. So an offer
//! that a close had a part in is kept for five minutes, and when all is offered again, one close does not count.

use std::time::{Duration, Instant};

use super::super::{Code, Notification};
use super::{Config, Ended, Offer};

/// How long a refusal is remembered while no offer has led to a session, and what closes made us guess in any case.
const MEMORY: Duration = Duration::from_secs(300);

/// How long a smaller offer that the router asked for in words, and took, is made before all is offered once more.
const TRUST: Duration = Duration::from_secs(3600);

/// So many closes in a row after nothing but our OPEN are a refusal of it.
const CLOSES: u8 = 2;

/// What the next OPEN offers, and until when that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Fallback {
    /// `None`: all is offered.
    less: Option<Less>,
    /// The smaller offer that led to a session last.
    taken: Option<Less>,
    /// Closes in a row after nothing but our OPEN.
    closes: u8,
}

/// An offer that is smaller than all.
#[derive(Clone, Copy, Debug)]
struct Less {
    offer: Offer,
    /// A close without a word had a part in it.
    guessed: bool,
    until: Instant,
}

impl Less {
    /// The same, as taken or confirmed now.
    fn trusted(self, now: Instant) -> Self {
        let time = if self.guessed { MEMORY } else { TRUST };
        Self {
            until: now + time,
            ..self
        }
    }
}

impl Fallback {
    pub(super) const NONE: Self = Self {
        less: None,
        taken: None,
        closes: 0,
    };

    /// For a connection that begins now.
    pub(super) fn offer(&mut self, now: Instant) -> Offer {
        if self.less.is_some_and(|less| less.until <= now) {
            self.offer_all();
        }
        self.learned()
    }

    /// What was learned last, for the history.
    pub(super) const fn learned(&self) -> Offer {
        match self.less {
            Some(less) => less.offer,
            None => Offer::FULL,
        }
    }

    /// An OPEN with `offer` led to a session.
    pub(super) fn accepted(&mut self, offer: Offer, now: Instant) {
        if offer == Offer::FULL {
            *self = Self::NONE;
            return;
        }
        let known = self.taken.filter(|taken| taken.offer == offer);
        let taken = known.unwrap_or_else(|| {
            let guessed = self.less.is_some_and(|less| less.guessed);
            let taken = Less {
                offer,
                guessed,
                until: now,
            };
            taken.trusted(now)
        });
        *self = Self {
            less: Some(taken),
            taken: Some(taken),
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
        let patience = match retried {
            Some(Less { guessed: false, .. }) => 1,
            _ => CLOSES,
        };
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
        self.closes = 0;
        match retried {
            // What was guessed is worth nothing where the router speaks.
            Some(taken) if !taken.guessed || refusal.is_none() => {
                self.taken = Some(taken.trusted(now));
                self.less = self.taken;
            }
            _ => self.step_down(offer, refusal, config, now),
        }
    }

    /// The peer does not want `offer`, and there is nothing better than to offer less.
    fn step_down(
        &mut self,
        offer: Offer,
        refusal: Option<&Notification>,
        config: &Config,
        now: Instant,
    ) {
        // Who says no to what it once took is another router by now.
        if refusal.is_some() {
            self.taken = None;
        }
        let before = self.less.filter(|_| offer != Offer::FULL);
        let next = Less {
            offer: offer.after(refusal, config),
            guessed: refusal.is_none() || before.is_some_and(|before| before.guessed),
            until: now + MEMORY,
        };
        self.less = (next.offer != Offer::FULL).then_some(next);
    }

    /// A connection failed for another reason than what was offered: what has never led to a session is forgotten.
    fn unsettled(&mut self) {
        self.closes = 0;
        if self.less.is_some() {
            self.less = self.taken;
        }
    }

    fn offer_all(&mut self) {
        self.less = None;
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
