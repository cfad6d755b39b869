//! The address plan: which host has which address in which network. Only this file knows it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One place in the network, in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dual {
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address.
    pub v6: Ipv6Addr,
}

impl Dual {
    /// Both addresses, IPv4 first.
    #[must_use]
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// The address of the family of `like`.
    #[must_use]
    pub fn of_family(self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() {
            self.v4.into()
        } else {
            self.v6.into()
        }
    }
}

impl fmt::Display for Dual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.v4, self.v6)
    }
}

/// Place of the layer-2 client on the LAN; routers have 1 to 8, nodes 11 and up.
pub(super) const LAN_CLIENT: u8 = 9;
/// Place of the station that asks who has which address.
pub(super) const QUESTIONER: u8 = 250;
/// Prefix length of the LAN, IPv4 and IPv6.
pub(super) const LAN_LENGTH: (u8, u8) = (16, 64);
/// Prefix length of the network between a router and its client.
pub(super) const EDGE_LENGTH: (u8, u8) = (28, 64);

/// Place of a node on the LAN and on the management network.
pub(super) fn node_place(number: u8) -> u8 {
    10 + number
}

/// `172.30.0.PLACE`, `fd00:30::PLACE` (the same digits in both, for the reader of a capture).
pub(super) fn lan(place: u8) -> Dual {
    Dual {
        v4: Ipv4Addr::new(172, 30, 0, place),
        v6: Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, same_digits(place)),
    }
}

/// The router's end (`1`) or the client's end (`2`) of the network behind router `router`.
pub(super) fn edge(router: u8, end: u8) -> Dual {
    Dual {
        v4: Ipv4Addr::new(203, 0, 113, (router - 1) * 16 + end),
        v6: Ipv6Addr::new(0x2001, 0xdb8, u16::from(router), 0, 0, 0, 0, end.into()),
    }
}

/// The network behind router `router`, as `ip route` wants it.
pub(super) fn edge_network(router: u8) -> (String, String) {
    let base = edge(router, 0);
    (
        format!("{}/{}", base.v4, EDGE_LENGTH.0),
        format!("{}/{}", base.v6, EDGE_LENGTH.1),
    )
}

/// `198.18.SLOT.PLACE`: benchmark space (RFC 2544), so it hides no address that the machine really uses.
pub(super) fn management(slot: u8, place: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, slot, place)
}

/// Pod `pod` of node `node`; place 1 is the node's own end.
pub(super) fn pod(node: u8, place: u8) -> Dual {
    Dual {
        v4: Ipv4Addr::new(10, 244, node, place),
        v6: Ipv6Addr::new(
            0xfd00,
            0x244,
            0,
            same_digits(node),
            0,
            0,
            0,
            same_digits(place),
        ),
    }
}

/// The pod network of a node, as `ip route` and a Node's `podCIDRs` want it.
pub(super) fn pod_network(node: u8) -> (String, String) {
    let base = pod(node, 0);
    (format!("{}/24", base.v4), format!("{}/64", base.v6))
}

/// The hexadecimal number that is written with the same digits as this decimal one.
fn same_digits(decimal: u8) -> u16 {
    let (hundreds, tens, ones) = (decimal / 100, decimal / 10 % 10, decimal % 10);
    u16::from(hundreds) << 8 | u16::from(tens) << 4 | u16::from(ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_show_the_same_digits() {
        assert_eq!(lan(node_place(2)).to_string(), "172.30.0.12 fd00:30::12");
        assert_eq!(lan(110).to_string(), "172.30.0.110 fd00:30::110");
        assert_eq!(pod(12, 3).to_string(), "10.244.12.3 fd00:244:0:12::3");
    }

    #[test]
    fn networks_behind_two_routers_do_not_overlap() {
        assert_eq!(
            edge_network(1),
            ("203.0.113.0/28".into(), "2001:db8:1::/64".into())
        );
        assert_eq!(
            edge_network(2),
            ("203.0.113.16/28".into(), "2001:db8:2::/64".into())
        );
        assert_eq!(edge(2, 2).to_string(), "203.0.113.18 2001:db8:2::2");
    }
}
