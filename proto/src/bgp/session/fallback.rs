//! What to leave out of the OPEN for peers that refuse it (RFC 5492 §3).
//!
//! Some old routers answer a capability they do not know with a NOTIFICATION instead of ignoring it. Each
//! refusal takes one step down; a stop brings everything back.

use std::fmt;

use super::super::{Capabilities, Code, Family, Notification};
use super::Config;

/// How much the OPEN offers, from all to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// Everything we can.
    #[default]
    Full,
    /// Families and 4-byte AS numbers: what announcing needs.
    Essential,
    /// No capabilities at all; IPv4 only.
    Bare,
}

impl Offer {
    /// What the OPEN says.
    #[must_use]
    pub fn capabilities(self, config: &Config) -> Capabilities {
        let essential = Capabilities {
            multiprotocol: Some(config.families),
            four_octet_as: Some(config.local_as.get()),
            ..Capabilities::default()
        };
        match self {
            Self::Full => Capabilities {
                route_refresh: true,
                ..essential
            },
            Self::Essential => essential,
            Self::Bare => Capabilities::default(),
        }
    }

    /// The next smaller offer, if `refusal` complains about this one and a smaller one still makes sense.
    #[must_use]
    pub fn after(self, refusal: &Notification, config: &Config) -> Option<Self> {
        match refusal.code {
            Code::UNSUPPORTED_OPTIONAL_PARAMETER | Code::UNSUPPORTED_CAPABILITY => {}
            _ => return None,
        }
        match self {
            Self::Full => Some(Self::Essential),
            // Without capabilities there is IPv4 unicast and nothing else.
            Self::Essential => config.families.has(Family::V4Unicast).then_some(Self::Bare),
            Self::Bare => None,
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "all capabilities",
            Self::Essential => "address families and 4-byte AS numbers only",
            Self::Bare => "no capabilities",
        })
    }
}
