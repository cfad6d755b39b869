//! What is configured about a session.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use portolan_api::crd::BfdRule;
use portolan_proto::bfd::auth::Authentication;
use portolan_proto::bgp::session::{Config, GracefulRestart, Listen, PeerAs};
use portolan_proto::bgp::{Asn, Families, Family, HoldTime, PORT, Relation, Role, RouterId};

use super::Signature;

/// An unnumbered peer costs nothing to look for, and is found when it advertises itself.
const UNNUMBERED_RETRY: Duration = Duration::from_secs(1);

/// Everything that makes a session what it is; a change of a field restarts exactly this session, if the
/// field does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpec {
    /// The name of the peer's object; unique.
    pub name: String,
    /// Where the peer is.
    pub remote: Remote,
    /// Its port, normally [`PORT`].
    pub port: u16,
    /// The address of this node to connect from; the kernel's choice if unset.
    pub source: Option<IpAddr>,
    /// The VRF of the session, by the name of its device.
    pub vrf: Option<String>,
    /// Who opens the connection.
    pub listen: Listen,
    /// Our AS.
    pub local_as: Asn,
    /// The AS that the peer must have.
    pub peer_as: PeerAs,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// The hold time that we propose.
    pub hold_time: HoldTime,
    /// Time between keepalives; a third of the negotiated hold time if unset, and never more.
    pub keepalive: Option<Duration>,
    /// Fixed time between attempts to connect; growing from 1 s to 15 s if unset.
    pub connect_time: Option<Duration>,
    /// How segments are signed.
    pub signature: Option<Signature>,
    /// How far away the peer may be.
    pub distance: Distance,
    /// Carry both families; else that of the peer's address.
    pub dual_stack: bool,
    /// Offer IPv4 routes with IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// What we are to an external peer (RFC 9234).
    pub role: Option<Role>,
    /// Offer graceful restart (RFC 4724).
    pub graceful_restart: Option<RestartTimes>,
    /// Largest segment; the kernel's choice if unset.
    pub tcp_mss: Option<u16>,
    /// Watch the way to the peer by BFD. A change does not restart the session.
    pub bfd: Option<Bfd>,
}

/// How BFD watches the way to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bfd {
    /// The accepted profile.
    pub profile: BfdRule,
    /// The key that the profile asks for.
    pub authentication: Option<Authentication>,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// At this address.
    Address(IpAddr),
    /// A router on a link of ours, by its link-local address.
    Interface {
        /// The link.
        name: String,
        /// The router; the one that advertises itself if unset.
        router: Option<Ipv6Addr>,
    },
}

/// How far away a peer may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distance {
    /// An external one is on the link: our packets go no further. An internal one is anywhere.
    #[default]
    Usual,
    /// On the link, and packets from elsewhere are dropped (RFC 5082).
    Secured,
    /// Anywhere.
    Multihop,
}

/// What is offered for a restart of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartTimes {
    /// How long the peer may wait for us.
    pub time: Duration,
    /// How long after that it may keep our routes (RFC 9494).
    pub long_lived: Option<Duration>,
}

/// What a session can know about the time before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// The peer has not been Established since this process started.
    pub(super) restarting: bool,
    /// Time since the node booted.
    pub(super) uptime: Duration,
}

impl PeerSpec {
    /// A peer with nothing but defaults.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        remote: Remote,
        local_as: Asn,
        peer_as: PeerAs,
        router_id: RouterId,
    ) -> Self {
        Self {
            name: name.into(),
            remote,
            port: PORT,
            source: None,
            vrf: None,
            listen: Listen::Active,
            local_as,
            peer_as,
            router_id,
            hold_time: HoldTime::DEFAULT,
            keepalive: None,
            connect_time: None,
            signature: None,
            distance: Distance::Usual,
            dual_stack: false,
            extended_next_hop: false,
            role: None,
            graceful_restart: None,
            tcp_mss: None,
            bfd: None,
        }
    }

    /// Whether a session of the one can go on as one of the other.
    #[must_use]
    pub(super) fn is_same_session(&self, other: &Self) -> bool {
        let without = |spec: &Self| Self {
            bfd: None,
            ..spec.clone()
        };
        without(self) == without(other)
    }

    /// TTL or hop limit of our packets: 1 keeps eBGP on the link (RFC 4271 §5.1.3 lets it be configured). Link-local
    /// packets stay there anyway, and 255 lets the peer ask for it (RFC 5082).
    #[must_use]
    pub fn ttl(&self) -> u8 {
        let external = self.relation() == Relation::External;
        match (self.distance, &self.remote) {
            (Distance::Usual, Remote::Address(_)) if external => 1,
            _ => 255,
        }
    }

    /// Smallest TTL or hop limit of packets that are let in; 0 lets all in.
    #[must_use]
    pub const fn min_ttl(&self) -> u8 {
        match self.distance {
            Distance::Secured => 255,
            Distance::Usual | Distance::Multihop => 0,
        }
    }

    /// The peer is a neighbour on a link of this node, so that the session ends with the link.
    #[must_use]
    pub fn is_single_hop(&self) -> bool {
        match (self.distance, &self.remote) {
            (Distance::Secured, _) | (_, Remote::Interface { .. }) => true,
            (Distance::Usual, _) => self.relation() == Relation::External,
            (Distance::Multihop, _) => false,
        }
    }

    /// Whether the peer may connect to us.
    #[must_use]
    pub const fn listens(&self) -> bool {
        matches!(self.listen, Listen::Passive | Listen::Both)
    }

    fn relation(&self) -> Relation {
        self.peer_as.relation(self.local_as)
    }

    fn families(&self) -> Families {
        match self.remote {
            Remote::Address(address) if !self.dual_stack => Families::only(Family::of(address)),
            Remote::Address(_) | Remote::Interface { .. } => both(),
        }
    }

    /// What the state machine needs of it.
    #[must_use]
    pub(super) fn config(&self, past: Past) -> Config {
        let unnumbered = matches!(self.remote, Remote::Interface { .. });
        let retry = unnumbered.then_some(UNNUMBERED_RETRY);
        Config {
            local_as: self.local_as,
            peer_as: self.peer_as,
            router_id: self.router_id,
            hold_time: self.hold_time,
            keepalive: self.keepalive,
            connect_retry: self.connect_time.or(retry),
            families: self.families(),
            listen: self.listen,
            extended_next_hop: self.extended_next_hop || unnumbered,
            role: self.role,
            graceful_restart: self.graceful_restart.map(|times| GracefulRestart {
                time: times.time,
                restarting: past.restarting,
                forwarding: self.kept_forwarding(past, times),
                long_lived: times.long_lived,
            }),
            authenticated: self.signature.is_some(),
            single_hop: self.ttl() == 1,
        }
    }

    /// Whether a peer may go on with stale routes of ours. It must not if the node itself was away, and the node was
    /// not: a peer that held routes from before the boot has dropped them, when the node has been up for longer than
    /// it takes to notice the loss and to wait for a restart.
    fn kept_forwarding(&self, past: Past, times: RestartTimes) -> bool {
        let notice = self.hold_time.duration().unwrap_or_default();
        past.uptime > notice + times.time
    }
}

fn both() -> Families {
    Families::only(Family::V4Unicast).with(Family::V6Unicast)
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Interface {
                name,
                router: Some(router),
            } => write!(f, "{router}%{name}"),
            Self::Interface { name, router: None } => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mk_spec, mk_unnumbered};
    use super::*;

    #[test]
    fn packets_go_as_far_as_the_peer_may_be() {
        let asn = |number| PeerAs::Exactly(Asn::new(number).unwrap());
        let eth = || mk_unnumbered("eth1");
        let at = || mk_spec("tor", 179).remote;
        for (row, remote, peer_as, distance, ttl, min, single) in [
            ("external", at(), asn(65000), Distance::Usual, 1, 0, true),
            ("internal", at(), asn(65001), Distance::Usual, 255, 0, false),
            (
                "any external",
                at(),
                PeerAs::External,
                Distance::Usual,
                1,
                0,
                true,
            ),
            (
                "any internal",
                at(),
                PeerAs::Internal,
                Distance::Usual,
                255,
                0,
                false,
            ),
            (
                "secured",
                at(),
                asn(65000),
                Distance::Secured,
                255,
                255,
                true,
            ),
            ("far", at(), asn(65000), Distance::Multihop, 255, 0, false),
            (
                "unnumbered",
                eth(),
                asn(65000),
                Distance::Usual,
                255,
                0,
                true,
            ),
        ] {
            let spec = PeerSpec {
                remote,
                peer_as,
                distance,
                ..mk_spec("tor", 179)
            };
            let got = (spec.ttl(), spec.min_ttl(), spec.is_single_hop());
            assert_eq!(got, (ttl, min, single), "{row}");
        }
    }

    #[test]
    fn stale_routes_are_good_only_if_the_node_was_not_away() {
        let times = RestartTimes {
            time: Duration::from_secs(120),
            long_lived: None,
        };
        let spec = PeerSpec {
            graceful_restart: Some(times),
            ..mk_spec("tor", 179)
        };
        for (uptime, forwarding) in [(10, false), (210, false), (211, true)] {
            let past = Past {
                restarting: true,
                uptime: Duration::from_secs(uptime),
            };
            let offer = spec.config(past).graceful_restart.unwrap();
            assert_eq!(offer.forwarding, forwarding, "up for {uptime} s");
            assert!(offer.restarting);
        }
    }

    #[test]
    fn an_unnumbered_peer_carries_both_families() {
        let past = Past {
            restarting: true,
            uptime: Duration::ZERO,
        };
        let mut spec = mk_spec("tor", 179);
        assert_eq!(
            spec.config(past).families,
            Families::only(Family::V4Unicast)
        );
        spec.dual_stack = true;
        assert_eq!(spec.config(past).families, both());
        spec.dual_stack = false;
        spec.remote = mk_unnumbered("eth1");
        let config = spec.config(past);
        assert_eq!(config.families, both());
        assert!(config.extended_next_hop);
    }
}
