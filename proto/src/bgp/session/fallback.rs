//! What to leave out of the OPEN for peers that refuse it (RFC 5492 §3).
//!
//! Some routers answer a capability that they do not like with a NOTIFICATION instead of ignoring it. Each refusal
//! takes one step down:
//!
//! ```text
//!  all ── 2/7 naming some of ours ──► all but those ─┐
//!   │                                                │ refused again
//!   └─ 2/4, 2/7 without names ──► no route refresh ──┴──► only what cannot be spared ──► all
//! ```
//!
//! A refusal may have causes that no OPEN can cure: FRR and BIRD say 2/7 as long as the neighbour's address family
//! is not activated. So a smaller offer never outlives its use: any other failure, the end of a session that was
//! Established, five minutes, or a refusal of the smallest one bring everything back.

use std::fmt;
use std::time::{Duration, Instant};

use super::super::{Capabilities, Code, Family, Notification};
use super::{Config, Ended};
use crate::read::Reader;

/// How long a peer's refusal is remembered.
const MEMORY: Duration = Duration::from_secs(300);

/// Which of our capabilities an OPEN offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    multiprotocol: bool,
    route_refresh: bool,
    four_octet_as: bool,
}

impl Offer {
    /// Everything we can.
    pub const FULL: Self = Self {
        multiprotocol: true,
        route_refresh: true,
        four_octet_as: true,
    };

    /// What the OPEN says.
    #[must_use]
    pub fn capabilities(self, config: &Config) -> Capabilities {
        Capabilities {
            multiprotocol: self.multiprotocol.then_some(config.families),
            route_refresh: self.route_refresh,
            four_octet_as: self.four_octet_as.then_some(config.local_as.get()),
            ..Capabilities::default()
        }
    }

    /// What to offer to a peer that answered this with `refusal`, a 2/4 or 2/7.
    #[must_use]
    pub fn after(self, refusal: &Notification, config: &Config) -> Self {
        let smaller = match named(refusal) {
            Some(named) => self.without(&named, config),
            None => self.smaller(config),
        };
        // Nothing left to give up, or the peer misses something: this offer was no better than all.
        if smaller == self { Self::FULL } else { smaller }
    }

    /// Leaves out what is named, as far as it can be spared.
    fn without(self, named: &Capabilities, config: &Config) -> Self {
        let needed = Self::needed(config);
        // A family that we never offered is one that the peer misses (RFC 5492 §5), not one that it refuses.
        let ours = named
            .multiprotocol
            .is_some_and(|families| !families.common(config.families).is_empty());
        Self {
            multiprotocol: self.multiprotocol && (needed.multiprotocol || !ours),
            route_refresh: self.route_refresh && !named.route_refresh,
            four_octet_as: self.four_octet_as
                && (needed.four_octet_as || named.four_octet_as.is_none()),
        }
    }

    /// First what announcing can do without, then all that can be spared.
    fn smaller(self, config: &Config) -> Self {
        if self.route_refresh {
            Self {
                route_refresh: false,
                ..self
            }
        } else {
            Self::needed(config)
        }
    }

    /// What cannot be spared: without capability 1 there is IPv4 unicast and nothing else (RFC 4760 §8), and
    /// without 65 an AS number above 65535 becomes `AS_TRANS`, which is not the AS that the router expects.
    fn needed(config: &Config) -> Self {
        Self {
            multiprotocol: !config.families.has(Family::V4Unicast),
            route_refresh: false,
            four_octet_as: config.local_as.two_byte().is_none(),
        }
    }
}

/// The capabilities in the data of a 2/7; `None` if it names none.
fn named(refusal: &Notification) -> Option<Capabilities> {
    if refusal.code != Code::UNSUPPORTED_CAPABILITY || refusal.data.is_empty() {
        return None;
    }
    let mut named = Capabilities::default();
    named.decode(Reader::new(&refusal.data)).ok()?;
    Some(named)
}

/// What the next OPEN offers, and until when that is remembered.
#[derive(Debug)]
pub(super) struct Fallback {
    offer: Offer,
    until: Option<Instant>,
}

impl Fallback {
    pub(super) const NONE: Self = Self {
        offer: Offer::FULL,
        until: None,
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
        *self = match ended {
            Ended::Told(refusal) if is_refusal(refusal.code) => Self {
                offer: offer.after(refusal, config),
                until: Some(now + MEMORY),
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

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = [
            (self.multiprotocol, "address families"),
            (self.route_refresh, "route refresh"),
            (self.four_octet_as, "4-byte AS numbers"),
        ]
        .into_iter()
        .filter_map(|(offered, name)| offered.then_some(name))
        .collect();
        match names.len() {
            0 => f.write_str("no capabilities"),
            3 => f.write_str("all capabilities"),
            _ => write!(f, "{} only", names.join(" and ")),
        }
    }
}
