//! ClusterIPs and node ports: which are taken, and the next free one.
//!
//! A real server picks at random; here the next free one after the last is taken, so that runs repeat.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use serde_json::Value;

/// First and last node port of a default cluster.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

/// How far after the first address of a range automatic ones begin: below is left for those who ask for an address
/// (a real server prefers the upper band likewise; KEP-3070).
const RESERVED: u128 = 15;

/// What Services hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    addresses: BTreeSet<IpAddr>,
    /// The address taken last, of IPv4 and of IPv6.
    last: [Option<IpAddr>; 2],
    ports: BTreeSet<u16>,
}

impl Held {
    /// Marks what a Service holds as taken.
    pub(super) fn take(&mut self, service: &Value) {
        for address in cluster_ips(service) {
            let [v4, v6] = &mut self.last;
            *(if address.is_ipv4() { v4 } else { v6 }) = Some(address);
            self.addresses.insert(address);
        }
        self.ports.extend(node_ports(service));
    }

    /// Frees what a Service holds.
    pub(super) fn free(&mut self, service: &Value) {
        for address in cluster_ips(service) {
            self.addresses.remove(&address);
        }
        for port in node_ports(service) {
            self.ports.remove(&port);
        }
    }

    /// Whether the address is given to some Service.
    #[must_use]
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether the port is given to some Service.
    #[must_use]
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// The next free address of a range.
    #[must_use]
    pub(super) fn next_address(&self, range: IpNetwork) -> Option<IpAddr> {
        let (first, last) = bounds(range);
        let low = first
            .checked_add(RESERVED)
            .filter(|s| *s <= last)
            .unwrap_or(first);
        let [v4, v6] = self.last;
        let after = if range.is_ipv4() { v4 } else { v6 }.map_or(low, |ip| to_number(ip) + 1);
        let start = if (low..=last).contains(&after) {
            after
        } else {
            low
        };
        // Only a full range is searched to its end, and ranges are never full by then unless they are small.
        let from = |start: u128| (start..=last).map(move |n| to_address(n, range.is_ipv4()));
        from(start)
            .chain(from(low))
            .chain(from(first))
            .find(|a| !self.has_address(*a))
    }

    /// The next node port that neither this nor `other` holds.
    #[must_use]
    pub(super) fn next_port(&self, other: &Self) -> Option<u16> {
        (NODE_PORTS.0..=NODE_PORTS.1).find(|p| !self.has_port(*p) && !other.has_port(*p))
    }
}

/// Whether a node port lies in the range.
#[must_use]
pub(super) fn is_node_port(port: u16) -> bool {
    (NODE_PORTS.0..=NODE_PORTS.1).contains(&port)
}

/// First and last usable address, as numbers: without network and, for IPv4, broadcast address.
fn bounds(range: IpNetwork) -> (u128, u128) {
    match range {
        IpNetwork::V4(v4) => (
            u128::from(v4.network().to_bits()) + 1,
            u128::from(v4.broadcast().to_bits()) - 1,
        ),
        IpNetwork::V6(v6) => (v6.network().to_bits() + 1, v6.broadcast().to_bits()),
    }
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn to_address(number: u128, v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(bits) if v4 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

fn cluster_ips(service: &Value) -> impl Iterator<Item = IpAddr> {
    let list = service
        .pointer("/spec/clusterIPs")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|ip| ip.as_str()?.parse().ok())
}

fn node_ports(service: &Value) -> impl Iterator<Item = u16> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let ports = ports
        .into_iter()
        .flatten()
        .filter_map(|p| p.get("nodePort"));
    let port = |v: &Value| {
        v.as_u64()
            .and_then(|p| u16::try_from(p).ok())
            .filter(|p| *p != 0)
    };
    ports
        .chain(service.pointer("/spec/healthCheckNodePort"))
        .filter_map(port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_small_range_gives_every_usable_address_and_then_none() {
        let mut held = Held::default();
        let range: IpNetwork = "10.0.0.0/29".parse().unwrap();
        let mut given = Vec::new();
        while let Some(address) = held.next_address(range) {
            held.take(&json!({"spec": {"clusterIPs": [address]}}));
            given.push(address.to_string());
        }
        assert_eq!(
            given,
            [
                "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"
            ]
        );
    }

    #[test]
    fn what_a_service_held_is_free_after_it() {
        let mut held = Held::default();
        let service = json!({"spec": {"clusterIPs": ["fd00::11"], "healthCheckNodePort": 30_001, "ports": [{"nodePort": 30_000}]}});
        held.take(&service);
        assert_eq!(held.next_port(&Held::default()), Some(30_002));
        assert!(held.has_address("fd00::11".parse().unwrap()));
        held.free(&service);
        assert_eq!(held.next_port(&Held::default()), Some(30_000));
        assert_eq!(
            held.next_address("fd00::/112".parse().unwrap()),
            Some("fd00::12".parse().unwrap())
        );
    }
}
