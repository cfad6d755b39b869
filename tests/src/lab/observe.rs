//! Reads the kernel: routes with their next hops, neighbour entries, hardware addresses.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::netns::Netns;

/// A line of `ip neigh`: what the kernel believes about who has an address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Neighbour {
    /// The address asked for.
    #[serde(rename = "dst")]
    pub address: IpAddr,
    /// The link it was asked on.
    #[serde(rename = "dev")]
    pub link: String,
    /// Hardware address; None while unresolved.
    #[serde(rename = "lladdr")]
    pub mac: Option<String>,
    /// `REACHABLE`, `STALE`, `FAILED`, …
    #[serde(default)]
    pub state: Vec<String>,
}

#[derive(Deserialize)]
struct Route {
    gateway: Option<IpAddr>,
    via: Option<Via>,
    #[serde(default)]
    nexthops: Vec<NextHop>,
}

#[derive(Deserialize)]
struct NextHop {
    gateway: Option<IpAddr>,
    via: Option<Via>,
    #[serde(default)]
    weight: u32,
}

/// A next hop of the other family (RFC 8950).
#[derive(Deserialize)]
struct Via {
    host: IpAddr,
}

#[derive(Deserialize)]
struct LinkInfo {
    address: String,
}

/// Entries of other links are empty.
#[derive(Deserialize)]
struct LinkAddresses {
    #[serde(default)]
    addr_info: Vec<LinkAddress>,
}

#[derive(Deserialize)]
struct LinkAddress {
    local: Option<Ipv6Addr>,
}

pub(super) fn kernel_route(netns: &Netns, prefix: IpNetwork) -> Result<Vec<IpAddr>> {
    let family = if prefix.is_ipv4() { "-4" } else { "-6" };
    let shown = prefix.to_string();
    let json = netns.exec(&["ip", family, "-j", "route", "show", "exact", &shown])?;
    next_hops(&json).with_context(|| format!("reading the route to {prefix}"))
}

pub(super) fn kernel_weights(netns: &Netns, prefix: IpNetwork) -> Result<Vec<(IpAddr, u32)>> {
    let family = if prefix.is_ipv4() { "-4" } else { "-6" };
    let shown = prefix.to_string();
    let json = netns.exec(&["ip", family, "-j", "route", "show", "exact", &shown])?;
    let routes: Vec<Route> = parse(&json)?;
    let hops = routes.into_iter().flat_map(|route| route.nexthops);
    let mut weights: Vec<(IpAddr, u32)> = hops
        .filter_map(|hop| Some((hop.gateway.or(hop.via.map(|via| via.host))?, hop.weight)))
        .collect();
    weights.sort_unstable();
    Ok(weights)
}

fn next_hops(json: &str) -> Result<Vec<IpAddr>> {
    let routes: Vec<Route> = parse(json)?;
    let host = |via: Via| via.host;
    let mut hops: Vec<IpAddr> = routes
        .into_iter()
        .flat_map(|route| {
            let own = route.gateway.or(route.via.map(host));
            let many = route
                .nexthops
                .into_iter()
                .filter_map(move |hop| hop.gateway.or(hop.via.map(host)));
            own.into_iter().chain(many)
        })
        .collect();
    hops.sort_unstable();
    Ok(hops)
}

pub(super) fn neighbours(netns: &Netns) -> Result<Vec<Neighbour>> {
    parse(&netns.exec(&["ip", "-j", "neigh", "show"])?).context("reading the neighbour table")
}

pub(super) fn mac(netns: &Netns, link: &str) -> Result<String> {
    let links: Vec<LinkInfo> = parse(&netns.exec(&["ip", "-j", "link", "show", "dev", link])?)?;
    let first = links.into_iter().next();
    first
        .map(|link| link.address)
        .with_context(|| format!("no link {link}"))
}

pub(super) fn link_local(netns: &Netns, link: &str) -> Result<Option<Ipv6Addr>> {
    let argv = [
        "ip", "-6", "-j", "addr", "show", "dev", link, "scope", "link",
    ];
    let links: Vec<LinkAddresses> = parse(&netns.exec(&argv)?)?;
    let mut addresses = links.into_iter().flat_map(|link| link.addr_info);
    Ok(addresses.find_map(|address| address.local))
}

/// `ip -j` writes nothing at all, or `[]`, when there is nothing.
fn parse<T: for<'de> Deserialize<'de>>(json: &str) -> Result<Vec<T>> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(json).with_context(|| format!("not what `ip -j` writes: {json}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hops_are_read_from_every_form_of_a_route() {
        let single = r#"[{"dst":"192.0.2.1","gateway":"172.30.0.11","dev":"eth0","flags":[]}]"#;
        let multi = r#"[{"dst":"192.0.2.1","nhid":20,"nexthops":[
            {"gateway":"172.30.0.12","dev":"eth0","weight":1,"flags":[]},
            {"via":{"family":"inet6","host":"fd00:30::11"},"dev":"eth0","weight":1,"flags":[]}]}]"#;
        for (row, json, want) in [
            ("no route", "", &[][..]),
            ("empty list", "[]", &[]),
            ("one gateway", single, &["172.30.0.11"]),
            (
                "two, one of the other family",
                multi,
                &["172.30.0.12", "fd00:30::11"],
            ),
        ] {
            let want: Vec<IpAddr> = want.iter().map(|hop| hop.parse().unwrap()).collect();
            assert_eq!(next_hops(json).unwrap(), want, "row {row}");
        }
    }
}
