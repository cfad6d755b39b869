//! What two ASes are to each other, so that routes do not leak (RFC 9234).
//!
//! ```text
//!   ours:    Provider     RouteServer          RouteServerClient   Customer   Peer
//!   theirs:  Customer     RouteServerClient    RouteServer         Provider   Peer
//! ```
//!
//! Routes that go down or sideways carry the attribute Only-to-Customer: whoever gets such a route back from below
//! knows that it has leaked. A node that announces Services to its router is a customer of the router, as a rule.

use std::fmt;

/// What one side of an external session is to the other (RFC 9234 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sells transit to the other.
    Provider,
    /// Brings routes of its clients together, and forwards nothing.
    RouteServer,
    /// Is served by a route server.
    RouteServerClient,
    /// Buys transit from the other.
    Customer,
    /// Exchanges its own routes and those of its customers.
    Peer,
}

/// What capability 9 of an OPEN says, be it a role or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleClaim {
    /// The octet of one role, which may not exist.
    One(u8),
    /// Several capabilities that do not agree.
    Several,
}

impl Role {
    const ALL: [Self; 5] = [
        Self::Provider,
        Self::RouteServer,
        Self::RouteServerClient,
        Self::Customer,
        Self::Peer,
    ];

    /// The value of capability 9 (RFC 9234 §4.1).
    #[must_use]
    pub const fn octet(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
        }
    }

    fn from_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.octet() == octet)
    }

    /// What the other side must be (RFC 9234 §4.2, table 2).
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Customer => Self::Provider,
            Self::Peer => Self::Peer,
        }
    }

    /// Whether routes to the other side are marked Only-to-Customer (RFC 9234 §5, egress 1).
    #[must_use]
    pub const fn marks_routes(self) -> bool {
        match self {
            Self::Provider | Self::RouteServer | Self::Peer => true,
            Self::RouteServerClient | Self::Customer => false,
        }
    }
}

impl RoleClaim {
    /// The claim, after another capability 9 of the same OPEN said `octet` (RFC 9234 §4.2).
    pub(super) fn and(claim: Option<Self>, octet: u8) -> Self {
        match claim {
            None => Self::One(octet),
            Some(same) if same == Self::One(octet) => same,
            Some(Self::One(_) | Self::Several) => Self::Several,
        }
    }

    /// Whether it is this role.
    #[must_use]
    pub fn is(self, role: Role) -> bool {
        self == Self::One(role.octet())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::RouteServer => "route server",
            Self::RouteServerClient => "route server client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        })
    }
}

impl fmt::Display for RoleClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(octet) => match Role::from_octet(*octet) {
                Some(role) => role.fmt(f),
                None => write!(f, "role {octet}, which does not exist"),
            },
            Self::Several => f.write_str("several things at once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_one_counterpart_and_is_its() {
        for role in Role::ALL {
            assert_eq!(role.counterpart().counterpart(), role);
            assert_eq!(Role::from_octet(role.octet()), Some(role));
        }
    }

    #[test]
    fn routes_that_go_up_are_not_marked() {
        let marked: Vec<Role> = Role::ALL
            .into_iter()
            .filter(|role| role.marks_routes())
            .collect();
        assert_eq!(marked, [Role::Provider, Role::RouteServer, Role::Peer]);
    }

    #[test]
    fn equal_claims_are_one_and_others_contradict() {
        let claim = |octets: &[u8]| {
            octets
                .iter()
                .fold(None, |claim, octet| Some(RoleClaim::and(claim, *octet)))
        };
        assert_eq!(claim(&[]), None);
        assert_eq!(claim(&[0, 0, 0]), Some(RoleClaim::One(0)));
        assert_eq!(claim(&[0, 3]), Some(RoleClaim::Several));
        assert_eq!(claim(&[0, 3, 3]), Some(RoleClaim::Several));
    }
}
