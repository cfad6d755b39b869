//! What a router of the lab is told: its AS, its neighbours, how fast to give up. Each daemon's module writes it
//! in that daemon's words.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

/// A neighbour to connect to, or a range to accept connections from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// One address; the router connects and listens.
    Address(IpAddr),
    /// Whoever connects from here.
    Range(IpNetwork),
}

/// A BGP neighbour, both families on its session.
#[derive(Clone, Debug)]
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

    fn new(remote: Remote, asn: u32) -> Self {
        Self {
            remote,
            asn,
            password: None,
            passive: false,
            ipv4: true,
            ipv6: true,
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
