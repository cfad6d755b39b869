//! What is configured about a session.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan_proto::bgp::session::{Config, Listen, PeerAs};
use portolan_proto::bgp::{Asn, Families, Family, HoldTime, Relation, RouterId};

use crate::sys::MD5_KEY_MAX;

/// Everything that makes a session what it is; a change of any field restarts exactly this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpec {
    /// The name of the peer's object; unique.
    pub name: String,
    /// Where the peer listens.
    pub address: IpAddr,
    /// Its port, normally [`portolan_proto::bgp::PORT`].
    pub port: u16,
    /// The address of this node to connect from; the kernel's choice if unset.
    pub source: Option<IpAddr>,
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
    /// Key of TCP MD5.
    pub password: Option<Password>,
    /// An eBGP peer may be more than one hop away.
    pub multihop: bool,
}

impl PeerSpec {
    /// Where to connect to.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// TTL or hop limit of our packets: 1 keeps eBGP on the link (RFC 4271 §5.1.3 lets it be configured).
    #[must_use]
    pub fn ttl(&self) -> u8 {
        match self.peer_as.relation(self.local_as) {
            Relation::External if !self.multihop => 1,
            Relation::External | Relation::Internal => 255,
        }
    }

    /// What the state machine needs of it.
    #[must_use]
    pub(super) fn config(&self) -> Config {
        Config {
            local_as: self.local_as,
            peer_as: self.peer_as,
            router_id: self.router_id,
            hold_time: self.hold_time,
            keepalive: self.keepalive,
            connect_retry: self.connect_time,
            families: Families::only(Family::of(self.address)),
            listen: Listen::Active,
            extended_next_hop: false,
            graceful_restart: None,
            authenticated: self.password.is_some(),
            single_hop: self.ttl() == 1,
        }
    }
}

/// A TCP MD5 key: 1 to 80 bytes. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

/// Why bytes are not a TCP MD5 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing to sign with.
    #[error("the password is empty")]
    Empty,
    /// More than the kernel takes.
    #[error("the password has {0} bytes, TCP MD5 takes at most {MD5_KEY_MAX}")]
    TooLong(usize),
}

impl Password {
    /// Accepts 1 to 80 bytes.
    pub fn new(key: impl Into<Vec<u8>>) -> Result<Self, PasswordError> {
        let key = key.into();
        match key.len() {
            0 => Err(PasswordError::Empty),
            1..=MD5_KEY_MAX => Ok(Self(key)),
            length => Err(PasswordError::TooLong(length)),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_bounded_and_never_printed() {
        assert_eq!(Password::new(""), Err(PasswordError::Empty));
        assert_eq!(
            Password::new(vec![b'x'; 81]),
            Err(PasswordError::TooLong(81))
        );
        let password = Password::new("s3cret").unwrap();
        assert_eq!(format!("{password:?}"), "Password(…)");
    }
}
