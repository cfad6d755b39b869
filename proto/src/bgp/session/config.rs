//! What is configured about a neighbour, as far as the state machine needs to know it.

use std::fmt;
use std::time::Duration;

use super::super::{Asn, Capabilities, Families, Family, HoldTime, Open, Relation, Role, RouterId};

/// Everything about a neighbour that the state machine needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our AS towards this peer.
    pub local_as: Asn,
    /// The AS that the peer must have.
    pub peer_as: PeerAs,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// The hold time that we propose.
    pub hold_time: HoldTime,
    /// Time between keepalives; never more than a third of the negotiated hold time, which is the default.
    pub keepalive: Option<Duration>,
    /// Fixed time between attempts to connect instead of the growing one.
    pub connect_retry: Option<Duration>,
    /// The families that we offer.
    pub families: Families,
    /// Who opens the TCP connection.
    pub listen: Listen,
    /// Offer IPv4 routes with IPv6 next hops (RFC 8950); some routers choke on the offer.
    pub extended_next_hop: bool,
    /// What we are to a peer of another AS (RFC 9234); not offered when unset.
    pub role: Option<Role>,
    /// Offer graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// TCP MD5 is in use: a silent peer may have another key.
    pub authenticated: bool,
    /// Our packets reach directly connected routers only.
    pub single_hop: bool,
}

impl Config {
    /// A directly connected neighbour with nothing but defaults, for IPv4.
    #[must_use]
    pub fn new(local_as: Asn, peer_as: PeerAs, router_id: RouterId) -> Self {
        Self {
            local_as,
            peer_as,
            router_id,
            hold_time: HoldTime::DEFAULT,
            keepalive: None,
            connect_retry: None,
            families: Families::only(Family::V4Unicast),
            listen: Listen::Active,
            extended_next_hop: false,
            role: None,
            graceful_restart: None,
            authenticated: false,
            single_hop: true,
        }
    }

    /// Our OPEN with these capabilities (RFC 4271 §4.2).
    #[must_use]
    pub fn open(&self, capabilities: Capabilities) -> Open {
        Open::ours(self.local_as, self.hold_time, self.router_id, capabilities)
    }
}

/// Which AS a peer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAs {
    /// This one.
    Exactly(Asn),
    /// Ours.
    Internal,
    /// Any but ours.
    External,
}

impl PeerAs {
    /// Whether a peer that claims `claimed` is the one that is meant, given our own AS.
    #[must_use]
    pub fn accepts(self, claimed: Asn, local_as: Asn) -> bool {
        match self {
            Self::Exactly(asn) => claimed == asn,
            Self::Internal => claimed == local_as,
            Self::External => claimed != local_as,
        }
    }

    /// eBGP or iBGP, which is known before the peer has said its number.
    #[must_use]
    pub fn relation(self, local_as: Asn) -> Relation {
        match self {
            Self::Exactly(asn) => local_as.relation(asn),
            Self::Internal => Relation::Internal,
            Self::External => Relation::External,
        }
    }
}

impl fmt::Display for PeerAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(asn) => write!(f, "AS {asn}"),
            Self::Internal => f.write_str("our own AS"),
            Self::External => f.write_str("any AS but ours"),
        }
    }
}

/// Who opens the TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// We do.
    #[default]
    Active,
    /// The peer does.
    Passive,
    /// Whoever comes first.
    Both,
}

/// What we offer as the side that restarts (RFC 4724 §3). We help nobody: there are no routes of theirs to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long the peer may wait for us, at most 4095 s.
    pub time: Duration,
    /// This process has just started: the first OPEN says so (bit R).
    pub restarting: bool,
    /// Traffic was forwarded all the while (bit F).
    pub forwarding: bool,
    /// How long the peer may keep our routes as a last resort after that (RFC 9494).
    pub long_lived: Option<Duration>,
}

impl Config {
    /// eBGP or iBGP.
    #[must_use]
    pub fn relation(&self) -> Relation {
        self.peer_as.relation(self.local_as)
    }
}
