//! Address families: which kinds of routes a session may carry (RFC 4760).

use std::fmt;
use std::net::IpAddr;

/// A family that we announce in. Unicast is the only SAFI there is for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 1.
    V4Unicast,
    /// AFI 2, SAFI 1.
    V6Unicast,
}

/// SAFI "unicast".
pub(super) const UNICAST: u8 = 1;

impl Family {
    /// Both, in the order in which they are offered and sent.
    pub const ALL: [Self; 2] = [Self::V4Unicast, Self::V6Unicast];

    /// The address family identifier.
    #[must_use]
    pub const fn afi(self) -> u16 {
        match self {
            Self::V4Unicast => 1,
            Self::V6Unicast => 2,
        }
    }

    /// The family with these numbers, if it is one of ours.
    #[must_use]
    pub const fn from_wire(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, UNICAST) => Some(Self::V4Unicast),
            (2, UNICAST) => Some(Self::V6Unicast),
            (_, _) => None,
        }
    }

    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4Unicast,
            IpAddr::V6(_) => Self::V6Unicast,
        }
    }

    /// Length of an address in bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4Unicast => 32,
            Self::V6Unicast => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4Unicast => "IPv4 unicast",
            Self::V6Unicast => "IPv6 unicast",
        })
    }
}

/// A set of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    /// No family at all.
    pub const NONE: Self = Self {
        v4: false,
        v6: false,
    };

    /// Just one.
    #[must_use]
    pub fn only(family: Family) -> Self {
        Self::NONE.with(family)
    }

    /// This set and `family`.
    #[must_use]
    pub const fn with(self, family: Family) -> Self {
        match family {
            Family::V4Unicast => Self { v4: true, ..self },
            Family::V6Unicast => Self { v6: true, ..self },
        }
    }

    /// What both sets hold.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self {
            v4: self.v4 && other.v4,
            v6: self.v6 && other.v6,
        }
    }

    /// What either set holds.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            v4: self.v4 || other.v4,
            v6: self.v6 || other.v6,
        }
    }

    /// What this set holds and `other` does not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            v4: self.v4 && !other.v4,
            v6: self.v6 && !other.v6,
        }
    }

    /// Whether `family` is in the set.
    #[must_use]
    pub const fn has(self, family: Family) -> bool {
        match family {
            Family::V4Unicast => self.v4,
            Family::V6Unicast => self.v6,
        }
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        !self.v4 && !self.v6
    }

    /// The members in wire order.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL
            .into_iter()
            .filter(move |family| self.has(*family))
    }
}
