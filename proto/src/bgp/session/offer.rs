//! What our OPEN offers, and how an offer becomes smaller.
//!
//! What can be done without goes first, and one class at a time (research of what routers refuse, RFC 5492 §3):
//!
//! ```text
//!  all ─► less the young ones (9, 70, 71) ─► less restart (64) ─► less refresh and next hops (2, 5)
//!      ─► only what cannot be spared ─► all
//! ```

use std::fmt;

use super::super::capability::code;
use super::super::{
    Capabilities, Code, Families, Family, LongLived, Notification, Restart, RoleClaim,
};
use super::{Config, GracefulRestart};
use crate::read::Reader;

/// A capability that an OPEN of ours may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    Multiprotocol,
    RouteRefresh,
    ExtendedNextHop,
    GracefulRestart,
    FourOctetAs,
    EnhancedRefresh,
    LongLived,
    Role,
}

/// What is given up together, in this order.
const CLASSES: [&[Feature]; 4] = [
    &[Feature::Role, Feature::EnhancedRefresh, Feature::LongLived],
    &[Feature::GracefulRestart],
    &[Feature::RouteRefresh, Feature::ExtendedNextHop],
    &[Feature::Multiprotocol, Feature::FourOctetAs],
];

/// Which of our capabilities an OPEN offers, as far as they are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// A bit for each [`Feature`] that is left out.
    without: u8,
    /// Families that are left out, while another is still offered.
    refused: Families,
}

impl Feature {
    const ALL: [Self; 8] = [
        Self::Multiprotocol,
        Self::RouteRefresh,
        Self::ExtendedNextHop,
        Self::GracefulRestart,
        Self::FourOctetAs,
        Self::EnhancedRefresh,
        Self::LongLived,
        Self::Role,
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    const fn code(self) -> u8 {
        match self {
            Self::Multiprotocol => code::MULTIPROTOCOL,
            Self::RouteRefresh => code::ROUTE_REFRESH,
            Self::ExtendedNextHop => code::EXTENDED_NEXT_HOP,
            Self::GracefulRestart => code::GRACEFUL_RESTART,
            Self::FourOctetAs => code::FOUR_OCTET_AS,
            Self::EnhancedRefresh => code::ENHANCED_REFRESH,
            Self::LongLived => code::LONG_LIVED,
            Self::Role => code::ROLE,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Multiprotocol => "address families",
            Self::RouteRefresh => "route refresh",
            Self::ExtendedNextHop => "IPv6 next hops of IPv4 routes",
            Self::GracefulRestart => "graceful restart",
            Self::FourOctetAs => "4-byte AS numbers",
            Self::EnhancedRefresh => "enhanced route refresh",
            Self::LongLived => "long-lived graceful restart",
            Self::Role => "role",
        }
    }

    /// Whether no session would be better than one without it, where `families` are offered: without capability 1
    /// there is IPv4 unicast and nothing else (RFC 4760 §8), and without 65 an AS number above 65535 becomes
    /// `AS_TRANS`, which is not the AS that the router expects.
    fn is_needed(self, families: Families, config: &Config) -> bool {
        match self {
            Self::Multiprotocol => !families.has(Family::V4Unicast),
            Self::FourOctetAs => config.local_as.two_byte().is_none(),
            Self::RouteRefresh
            | Self::ExtendedNextHop
            | Self::GracefulRestart
            | Self::EnhancedRefresh
            | Self::LongLived
            | Self::Role => false,
        }
    }
}

impl Offer {
    /// Everything we can.
    pub const FULL: Self = Self {
        without: 0,
        refused: Families::NONE,
    };

    /// What the OPEN says.
    #[must_use]
    pub fn capabilities(self, config: &Config) -> Capabilities {
        let families = self.families(config);
        let restart = config
            .graceful_restart
            .filter(|_| self.has(Feature::GracefulRestart));
        Capabilities {
            multiprotocol: self.has(Feature::Multiprotocol).then_some(families),
            route_refresh: self.has(Feature::RouteRefresh),
            extended_next_hop: self.has(Feature::ExtendedNextHop) && config.extended_next_hop,
            role: config
                .role
                .filter(|_| self.has(Feature::Role))
                .map(|role| RoleClaim::One(role.octet())),
            restart: restart.map(|restart| restart.capability(families)),
            four_octet_as: self
                .has(Feature::FourOctetAs)
                .then_some(config.local_as.get()),
            enhanced_refresh: self.has(Feature::EnhancedRefresh),
            long_lived: restart
                .filter(|_| self.has(Feature::LongLived))
                .and_then(|restart| restart.long_lived_capability(families)),
            ..Capabilities::default()
        }
    }

    /// What to offer to a peer that answered this with a 2/4 or 2/7, or with a close and no word at all.
    #[must_use]
    pub fn after(self, refusal: Option<&Notification>, config: &Config) -> Self {
        let smaller = match refusal.and_then(|refusal| self.named(refusal, config)) {
            Some((features, families)) => Self {
                refused: self.refused.union(families),
                ..self.less(&features, config)
            },
            None => CLASSES
                .into_iter()
                .map(|class| self.less(class, config))
                .find(|smaller| *smaller != self)
                .unwrap_or(self),
        };
        // Nothing left to give up, or the peer misses something: this offer was no better than all.
        if smaller == self { Self::FULL } else { smaller }
    }

    /// Leaves out `features`, as far as they are offered now and can be spared.
    fn less(self, features: &[Feature], config: &Config) -> Self {
        let offered: Vec<u8> = self.capabilities(config).codes().collect();
        let families = self.families(config);
        let without = features
            .iter()
            .filter(|feature| {
                offered.contains(&feature.code()) && !feature.is_needed(families, config)
            })
            .fold(self.without, |without, feature| without | feature.bit());
        Self { without, ..self }
    }

    /// The families that are offered.
    const fn families(self, config: &Config) -> Families {
        config.families.without(self.refused)
    }

    /// What of ours the data of a 2/7 names: capabilities as TLVs (RFC 5492 §5), or just the code of one, as some send.
    /// Of several families those that are named, else the whole of capability 1. `None` if it names nothing.
    fn named(self, refusal: &Notification, config: &Config) -> Option<(Vec<Feature>, Families)> {
        if refusal.code != Code::UNSUPPORTED_CAPABILITY || refusal.data.is_empty() {
            return None;
        }
        let feature = |code| Feature::ALL.into_iter().find(|it| it.code() == code);
        if let [code] = refusal.data[..] {
            return Some((feature(code).into_iter().collect(), Families::NONE));
        }
        let offered = self.families(config);
        let (mut features, mut families) = (Vec::new(), Families::NONE);
        let mut reader = Reader::new(&refusal.data);
        while !reader.is_empty() {
            let code = reader.u8().ok()?;
            let length = reader.u8().ok()?;
            match (code, reader.take(usize::from(length)).ok()?) {
                (code::MULTIPROTOCOL, &[high, low, _, safi]) => {
                    let family = Family::from_wire(u16::from_be_bytes([high, low]), safi);
                    // One that we never offered is one that the peer misses, not one that it refuses.
                    families = family
                        .filter(|family| offered.has(*family))
                        .map_or(families, |family| families.with(family));
                }
                (code, _) => features.extend(feature(code)),
            }
        }
        if !families.is_empty() && families == offered {
            features.push(Feature::Multiprotocol);
            families = Families::NONE;
        }
        Some((features, families))
    }

    const fn has(self, feature: Feature) -> bool {
        self.without & feature.bit() == 0
    }

    /// What is left out, by name; nothing if everything is offered.
    #[must_use]
    pub fn left_out(self) -> Vec<String> {
        let features = Feature::ALL
            .into_iter()
            .filter(|feature| !self.has(*feature))
            .map(|feature| feature.name().to_owned());
        let families = self.refused.iter().map(|family| family.to_string());
        features.chain(families).collect()
    }
}

impl GracefulRestart {
    /// Capability 64: we restart and keep forwarding, and we know RFC 8538.
    fn capability(self, families: Families) -> Restart {
        let seconds = u16::try_from(self.time.as_secs()).unwrap_or(u16::MAX);
        Restart {
            restarted: self.restarting,
            notification: true,
            time: seconds.min(Restart::MAX_TIME),
            families,
            forwarding: self.preserved(families),
        }
    }

    /// Capability 71, if it is wished.
    fn long_lived_capability(self, families: Families) -> Option<LongLived> {
        let seconds = u32::try_from(self.long_lived?.as_secs()).unwrap_or(u32::MAX);
        Some(LongLived {
            time: seconds.min(LongLived::MAX_TIME),
            families,
            forwarding: self.preserved(families),
        })
    }

    const fn preserved(self, families: Families) -> Families {
        if self.forwarding {
            families
        } else {
            Families::NONE
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all capabilities")?;
        match &self.left_out()[..] {
            [] => Ok(()),
            names => write!(f, " but {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::mk_config;
    use super::*;

    #[test]
    fn what_is_configured_is_offered() {
        let mut config = mk_config(65000, 65001, "10.0.0.1");
        let codes =
            |config: &Config| -> Vec<u8> { Offer::FULL.capabilities(config).codes().collect() };
        assert_eq!(codes(&config), [1, 2, 65, 70]);
        config.extended_next_hop = true;
        config.graceful_restart = Some(GracefulRestart {
            time: Duration::from_secs(9999),
            restarting: true,
            forwarding: false,
            long_lived: None,
        });
        assert_eq!(codes(&config), [1, 2, 5, 64, 65, 70]);
        let restart = Offer::FULL.capabilities(&config).restart.unwrap();
        assert_eq!(restart.time, 4095, "as much as fits");
        assert!(restart.restarted && restart.notification && restart.forwarding.is_empty());
        if let Some(restart) = &mut config.graceful_restart {
            restart.long_lived = Some(Duration::from_secs(3600));
            restart.forwarding = true;
        }
        assert_eq!(codes(&config), [1, 2, 5, 64, 65, 70, 71]);
        let long_lived = Offer::FULL.capabilities(&config).long_lived.unwrap();
        assert_eq!(
            (long_lived.time, long_lived.forwarding),
            (3600, config.families)
        );
    }
}
