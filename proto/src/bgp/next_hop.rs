//! Next hops: where the routers are to send the traffic, and how a family's routes say so.
//!
//! | routes | next hop | goes as |
//! |---|---|---|
//! | IPv4 | IPv4 | `NEXT_HOP` and classic NLRI |
//! | IPv4 | IPv6, if both sides agreed (RFC 8950) | `MP_REACH_NLRI` |
//! | IPv6 | IPv6 | `MP_REACH_NLRI` |
//!
//! An IPv6 next hop is the global address, followed by the link-local one if the peer is on the link (RFC 2545 §3),
//! or the link-local one alone where there is no global, which is what unnumbered routers send and take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Family;
use crate::write::Writer;

/// Our addresses as next hops, per family; a family without one cannot be announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    /// `NEXT_HOP` of classic NLRI.
    pub v4: Option<Ipv4Addr>,
    /// Global address in `MP_REACH_NLRI`.
    pub v6: Option<Ipv6Addr>,
    /// Link-local address in `MP_REACH_NLRI`; only where the peer is on the same link (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
}

/// The next hop of one family's routes, which also decides their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The attribute `NEXT_HOP`, with classic NLRI.
    Classic(Ipv4Addr),
    /// One address in `MP_REACH_NLRI`.
    Single(Ipv6Addr),
    /// A global and a link-local address in `MP_REACH_NLRI`.
    Pair(Ipv6Addr, Ipv6Addr),
}

impl From<IpAddr> for NextHops {
    /// The local address of the session serves its own family.
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self {
                v4: Some(v4),
                ..Self::default()
            },
            // A socket of an IPv4 peer may show its address in mapped form.
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Self::from(IpAddr::V4(v4)),
                None if v6.is_unicast_link_local() => Self {
                    link_local: Some(v6),
                    ..Self::default()
                },
                None => Self {
                    v6: Some(v6),
                    ..Self::default()
                },
            },
        }
    }
}

impl NextHops {
    /// The next hop for routes of `family`; `extended` if IPv4 routes may have an IPv6 one (RFC 8950).
    #[must_use]
    pub fn of(&self, family: Family, extended: bool) -> Option<NextHop> {
        match family {
            Family::V4Unicast => match self.v4 {
                Some(v4) => Some(NextHop::Classic(v4)),
                None if extended => self.in_mp_reach(),
                None => None,
            },
            Family::V6Unicast => self.in_mp_reach(),
        }
    }

    fn in_mp_reach(&self) -> Option<NextHop> {
        match (self.v6, self.link_local) {
            (Some(global), Some(link_local)) => Some(NextHop::Pair(global, link_local)),
            (Some(only), None) | (None, Some(only)) => Some(NextHop::Single(only)),
            (None, None) => None,
        }
    }
}

impl NextHop {
    /// Whether the routes go as classic NLRI.
    #[must_use]
    pub const fn is_classic(self) -> bool {
        match self {
            Self::Classic(_) => true,
            Self::Single(_) | Self::Pair(..) => false,
        }
    }

    /// How many octets [`NextHop::encode`] writes.
    pub(super) const fn wire_len(self) -> usize {
        match self {
            Self::Classic(_) => 5,
            Self::Single(_) => 17,
            Self::Pair(..) => 33,
        }
    }

    /// Appends length and addresses, as `MP_REACH_NLRI` has them.
    pub(super) fn encode(self, writer: &mut Writer<'_>) {
        match self {
            Self::Classic(v4) => {
                writer.u8(4);
                writer.bytes(&v4.octets());
            }
            Self::Single(v6) => {
                writer.u8(16);
                writer.bytes(&v6.octets());
            }
            Self::Pair(global, link_local) => {
                writer.u8(32);
                writer.bytes(&global.octets());
                writer.bytes(&link_local.octets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_gets_the_best_next_hop_that_there_is() {
        let v4 = Ipv4Addr::new(192, 0, 2, 1);
        let global: Ipv6Addr = "fd00::1".parse().unwrap();
        let local: Ipv6Addr = "fe80::1".parse().unwrap();
        let (only_v4, only_v6) = (NextHop::Classic(v4), NextHop::Single(global));
        let (pair, link) = (NextHop::Pair(global, local), NextHop::Single(local));
        // v4, v6, link-local; of IPv4, of IPv4 with RFC 8950, of IPv6.
        for (here, plain, extended, v6) in [
            ((true, false, false), Some(only_v4), Some(only_v4), None),
            ((true, true, true), Some(only_v4), Some(only_v4), Some(pair)),
            ((false, true, false), None, Some(only_v6), Some(only_v6)),
            ((false, true, true), None, Some(pair), Some(pair)),
            ((false, false, true), None, Some(link), Some(link)),
            ((false, false, false), None, None, None),
        ] {
            let hops = NextHops {
                v4: here.0.then_some(v4),
                v6: here.1.then_some(global),
                link_local: here.2.then_some(local),
            };
            assert_eq!(hops.of(Family::V4Unicast, false), plain, "{here:?}");
            assert_eq!(hops.of(Family::V4Unicast, true), extended, "{here:?}");
            for agreed in [false, true] {
                assert_eq!(hops.of(Family::V6Unicast, agreed), v6, "{here:?}");
            }
        }
    }

    #[test]
    fn the_address_of_a_socket_is_told_by_its_kind() {
        for (address, want) in [
            ("192.0.2.1", "Classic(192.0.2.1)"),
            ("::ffff:192.0.2.1", "Classic(192.0.2.1)"),
            ("fd00::1", "Single(fd00::1)"),
            ("fe80::1", "Single(fe80::1)"),
        ] {
            let hops = NextHops::from(address.parse::<IpAddr>().unwrap());
            let family = if want.starts_with('C') {
                Family::V4Unicast
            } else {
                Family::V6Unicast
            };
            let got = hops.of(family, false).unwrap();
            assert_eq!(format!("{got:?}"), want, "{address}");
        }
    }

    #[test]
    fn the_wire_form_has_the_announced_length() {
        let v6 = Ipv6Addr::LOCALHOST;
        for hop in [
            NextHop::Classic(Ipv4Addr::LOCALHOST),
            NextHop::Single(v6),
            NextHop::Pair(v6, v6),
        ] {
            let mut out = Vec::new();
            hop.encode(&mut Writer::new(&mut out));
            assert_eq!(out.len(), hop.wire_len(), "{hop:?}");
            assert_eq!(usize::from(out[0]), out.len() - 1, "{hop:?}");
        }
    }
}
