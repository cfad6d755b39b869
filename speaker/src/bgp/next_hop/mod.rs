//! Which of our addresses routers are to send traffic to, and whether a session's link is still there. Pure: all that is
//! known of links comes as one picture.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_proto::bgp::NextHops;

use super::{PeerSpec, Remote};
use crate::link::{Address, Link, Links};

/// Our addresses as next hops for a connection between `local` and `remote`.
///
/// The session's own address serves its own family. The other family gets an address of the same interface, if the
/// session carries it: what the router reaches by the one, it should reach by the other. On an unnumbered session IPv4
/// has none, and goes by the IPv6 one (RFC 8950): what IPv4 addresses the link has, if any, is not the router's business.
pub(super) fn of(links: &Links, spec: &PeerSpec, local: IpAddr, remote: IpAddr) -> NextHops {
    let mut hops = NextHops::from(local);
    let Some(link) = link_of(links, spec, local, remote) else {
        return hops;
    };
    let both = spec.dual_stack || matches!(spec.remote, Remote::Interface { .. });
    if (both || local.is_ipv6()) && is_on_link(link, remote) {
        hops.link_local = hops.link_local.or(link.link_local());
    }
    if both {
        hops.v6 = hops.v6.or(global_v6(link));
        if matches!(spec.remote, Remote::Address(_)) {
            hops.v4 = hops.v4.or(v4(link));
        }
    }
    hops
}

/// Why a connection between `local` and `remote` can not work any more, as far as our links tell.
pub(super) fn fault(
    links: &Links,
    spec: &PeerSpec,
    local: IpAddr,
    remote: IpAddr,
) -> Option<String> {
    // Without any link, nobody watches them.
    links.iter().next()?;
    let Some(link) = link_of(links, spec, local, remote) else {
        return Some(format!("our address {local} is gone"));
    };
    let direct = spec.is_single_hop() || is_on_link(link, remote);
    (direct && !link.is_running()).then(|| format!("interface {} is down", link.name))
}

/// The interface that reaches a peer now, with the number of times that it came up: that of a directly connected peer, else
/// the one that has the configured source. None if there is no such interface, or it is down or without an address that
/// can be used yet, or the configured source can not.
pub(super) fn way(links: &Links, spec: &PeerSpec) -> Option<(u32, u64)> {
    let ready = |link: &Link, good: &dyn Fn(IpAddr) -> bool| {
        let mut addresses = link.addresses.iter();
        link.is_running() && addresses.any(|(own, about)| about.ready && good(*own))
    };
    let like = |peer: IpAddr| move |own: IpAddr| own.is_ipv4() == peer.is_ipv4();
    let mut near = links.iter().filter(|link| match &spec.remote {
        Remote::Address(remote) => is_on_link(link, *remote) && ready(link, &like(*remote)),
        Remote::Interface { name, .. } => link.name == *name && ready(link, &|own| own.is_ipv6()),
    });
    let near = near.next();
    let link = match spec.source {
        Some(source) => {
            let holder = links
                .iter()
                .find(|link| ready(link, &|own| own == source))?;
            near.unwrap_or(holder)
        }
        None => near?,
    };
    Some((link.index, link.ups))
}

/// Whether next hops that a session began with are still what it would begin with now: none is gone, and none has come
/// where there was none. A better one is no reason to begin again, and neither is one that is being checked for duplicates,
/// if there is no other.
pub(super) fn still_hold(links: &Links, held: &NextHops, fresh: &NextHops) -> bool {
    let holds = |held: Option<IpAddr>, fresh: Option<IpAddr>| {
        let Some(address) = held else {
            return fresh.is_none();
        };
        let found = links.iter().find_map(|link| link.addresses.get(&address));
        found.is_some_and(|address| address.ready || fresh.is_none())
    };
    holds(held.v4.map(IpAddr::V4), fresh.v4.map(IpAddr::V4))
        && holds(held.v6.map(IpAddr::V6), fresh.v6.map(IpAddr::V6))
}

/// The link of a connection. Several may have the same link-local address, such as a device and its VLANs; and the same
/// global one, such as the loopback interface and the uplinks of a node without subnets.
fn link_of<'a>(
    links: &'a Links,
    spec: &PeerSpec,
    local: IpAddr,
    remote: IpAddr,
) -> Option<&'a Link> {
    match &spec.remote {
        Remote::Address(_) => {
            let holders = links
                .iter()
                .filter(|link| link.addresses.contains_key(&local));
            holders.min_by_key(|link| (!is_on_link(link, remote), !link.is_running()))
        }
        Remote::Interface { name, .. } => links
            .named(name)
            .filter(|link| link.addresses.contains_key(&local)),
    }
}

/// Whether an address is within reach of any of our links without a router.
pub(super) fn is_near(links: &Links, address: IpAddr) -> bool {
    links.iter().any(|link| is_on_link(link, address))
}

/// Whether an address is within reach of a link without a router.
fn is_on_link(link: &Link, address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => true,
        _ => link.addresses.iter().any(|(own, about)| {
            own.is_ipv4() == address.is_ipv4() && same_subnet(*own, address, about.prefix_len)
        }),
    }
}

fn same_subnet(a: IpAddr, b: IpAddr, prefix_len: u8) -> bool {
    let network = |address| ipnetwork::IpNetwork::new(address, prefix_len).ok();
    network(a).is_some_and(|network| network.contains(b))
}

/// The best of a link's addresses that satisfy `good`: one that is not about to go, with the shortest prefix, as host
/// addresses are often somebody's VIP; then the smallest, so that the choice stands.
fn best<T>(link: &Link, good: impl Fn(IpAddr) -> Option<T>) -> Option<T> {
    let usable = link.addresses.iter().filter(|(_, about)| about.ready);
    let rank = |about: &Address| (about.deprecated, about.prefix_len);
    let ranked = usable.filter_map(|(own, about)| Some((rank(about), good(*own)?)));
    let best = ranked.min_by_key(|(rank, _)| *rank);
    best.map(|(_, address)| address)
}

fn v4(link: &Link) -> Option<Ipv4Addr> {
    best(link, |address| match address {
        IpAddr::V4(v4) if !v4.is_link_local() && !v4.is_loopback() => Some(v4),
        _ => None,
    })
}

fn global_v6(link: &Link) -> Option<Ipv6Addr> {
    best(link, |address| match address {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() && !v6.is_loopback() => Some(v6),
        _ => None,
    })
}
