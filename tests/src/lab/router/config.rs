//! What a router of the lab is told: its AS, its neighbours, how fast to give up. Each daemon's module writes it
//! in that daemon's words.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

/// A neighbour to connect to, or a place to accept connections from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// One address; the router connects and listens.
    Address(IpAddr),
    /// Whoever connects from here.
    Range(IpNetwork),
    /// Whoever sends router advertisements on this link; the session is between link-local addresses.
    Interface(&'static str),
}

/// BFD beside a session (RFC 5880).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bfd {
    /// Milliseconds between two packets, in both directions.
    pub interval: u16,
    /// Packets that may be lost.
    pub multiplier: u8,
    /// With what the daemon offers for neighbours that restart: `check-control-plane-failure` of FRR, `graceful` of BIRD.
    pub restart_aware: bool,
}

/// A BGP neighbour, both families on its session.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one line of a router's configuration"
)]
pub struct Neighbour {
    /// Who.
    pub remote: Remote,
    /// Its AS; that of the router makes the session internal.
    pub asn: u32,
    /// TCP MD5 key (RFC 2385).
    pub password: Option<String>,
    /// Only wait for it to connect.
    pub passive: bool,
    /// IPv4 unicast.
    pub ipv4: bool,
    /// IPv6 unicast.
    pub ipv6: bool,
    /// Take only packets that no router forwarded (GTSM, RFC 5082).
    pub ttl_security: bool,
    /// Take IPv4 routes with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Keep its routes while it restarts (RFC 4724), where the daemon does not do so by itself.
    pub graceful_restart: bool,
    /// Watch it by BFD.
    pub bfd: Option<Bfd>,
}

impl Neighbour {
    /// A neighbour at one address, both families, no password.
    #[must_use]
    pub fn at(address: impl Into<IpAddr>, asn: u32) -> Self {
        Self::new(Remote::Address(address.into()), asn)
    }

    /// Whoever connects from a range, both families, no password.
    #[must_use]
    pub fn within(range: IpNetwork, asn: u32) -> Self {
        Self {
            passive: true,
            ..Self::new(Remote::Range(range), asn)
        }
    }

    /// Whoever is found on a link, both families, no password.
    #[must_use]
    pub fn on(link: &'static str, asn: u32) -> Self {
        Self {
            extended_next_hop: true,
            ..Self::new(Remote::Interface(link), asn)
        }
    }

    fn new(remote: Remote, asn: u32) -> Self {
        Self {
            remote,
            asn,
            password: None,
            passive: false,
            ipv4: true,
            ipv6: true,
            ttl_security: false,
            extended_next_hop: false,
            graceful_restart: false,
            bfd: None,
        }
    }

    /// With this TCP MD5 key.
    #[must_use]
    pub fn password(self, key: impl Into<String>) -> Self {
        Self {
            password: Some(key.into()),
            ..self
        }
    }

    /// That has to connect by itself.
    #[must_use]
    pub fn passive(self) -> Self {
        Self {
            passive: true,
            ..self
        }
    }

    /// Whose packets must come straight from it.
    #[must_use]
    pub fn ttl_security(self) -> Self {
        Self {
            ttl_security: true,
            ..self
        }
    }

    /// That may give IPv6 next hops to IPv4 routes.
    #[must_use]
    pub fn extended_next_hop(self) -> Self {
        Self {
            extended_next_hop: true,
            ..self
        }
    }

    /// Whose routes stay while it restarts.
    #[must_use]
    pub fn graceful_restart(self) -> Self {
        Self {
            graceful_restart: true,
            ..self
        }
    }

    /// Watched by BFD: milliseconds between two packets, and how many may be lost.
    #[must_use]
    pub fn bfd(self, interval: u16, multiplier: u8) -> Self {
        Self {
            bfd: Some(Bfd {
                interval,
                multiplier,
                restart_aware: false,
            }),
            ..self
        }
    }

    /// Watched with a view to graceful restart, if it is watched at all.
    #[must_use]
    pub fn restart_aware(self) -> Self {
        let bfd = self.bfd.map(|bfd| Bfd {
            restart_aware: true,
            ..bfd
        });
        Self { bfd, ..self }
    }

    /// The wanted families, by the names that most daemons have for them.
    pub(super) fn families(&self) -> impl Iterator<Item = &'static str> {
        [("ipv4", self.ipv4), ("ipv6", self.ipv6)]
            .into_iter()
            .filter_map(|(name, wanted)| wanted.then_some(name))
    }
}

/// The configuration of a router, whichever daemon it is.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Its AS.
    pub asn: u32,
    /// Its identifier.
    pub id: Ipv4Addr,
    /// Seconds without a message until a session is given up; keepalives go at a third of it.
    pub hold_time: u16,
    /// With whom it speaks.
    pub neighbours: Vec<Neighbour>,
    /// Lines in the daemon's own language, at the end (for FRR: outside of `router bgp`).
    pub extra: String,
}

impl RouterConfig {
    /// A router with these neighbours and a hold time of 9 seconds.
    #[must_use]
    pub fn new(asn: u32, id: Ipv4Addr, neighbours: Vec<Neighbour>) -> Self {
        Self {
            asn,
            id,
            hold_time: 9,
            neighbours,
            extra: String::new(),
        }
    }
}
