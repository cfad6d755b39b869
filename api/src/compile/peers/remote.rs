//! Who the peer is, and who we are to it: AS numbers, addresses, interface, distance.

use std::net::{IpAddr, Ipv4Addr};

use super::super::Refusal;
use crate::crd::{BGPPeerSpec, DynamicAsn};

/// Longest name of a network device (`IFNAMSIZ` without the final zero).
const MAX_DEVICE: usize = 15;

/// Who the peer is.
pub(super) struct Remote {
    pub(super) my_asn: u32,
    pub(super) peer_asn: Option<u32>,
    pub(super) address: Option<IpAddr>,
    pub(super) interface: Option<String>,
    pub(super) source: Option<IpAddr>,
    pub(super) vrf: Option<String>,
    pub(super) router_id: Option<Ipv4Addr>,
    pub(super) port: u16,
    pub(super) tcp_mss: Option<u16>,
}

pub(super) fn read(spec: &BGPPeerSpec) -> Result<Remote, Refusal> {
    let (my_asn, peer_asn) = numbers(spec)?;
    let (address, interface) = place(spec)?;
    let numbered = address.filter(|_| interface.is_none());
    let port = u16::try_from(spec.peer_port).ok().filter(|port| *port != 0);
    let remote = Remote {
        my_asn,
        peer_asn,
        source: source(spec, numbered)?,
        address,
        interface,
        vrf: device("spec.vrf", spec.vrf.as_deref())?,
        router_id: spec.router_id.as_deref().map(router_id).transpose()?,
        tcp_mss: tcp_mss(spec)?,
        port: port.ok_or_else(|| Refusal::invalid("spec.peerPort", "must be 1 to 65535"))?,
    };
    distance(spec, &remote)?;
    if spec.role.is_some() && is_internal(spec, &remote) {
        let why = "is for external peers, but this one is of our own AS: remove it";
        return Err(Refusal::invalid("spec.role", why));
    }
    Ok(remote)
}

/// Our AS towards the peer, and the peer's if it is fixed.
fn numbers(spec: &BGPPeerSpec) -> Result<(u32, Option<u32>), Refusal> {
    let configured = asn("spec.myASN", spec.my_asn)?;
    let local = spec.local_asn.map(|local| asn("spec.localASN", local));
    let my_asn = local.transpose()?.unwrap_or(configured);
    match (spec.peer_asn, spec.dynamic_asn) {
        (Some(peer), None) => Ok((my_asn, Some(asn("spec.peerASN", peer)?))),
        (None, Some(_)) => Ok((my_asn, None)),
        (Some(_), Some(_)) => {
            let why = "set beside dynamicASN: keep one of them";
            Err(Refusal::invalid("spec.peerASN", why))
        }
        (None, None) => {
            let why = "missing: write the peer's AS number, or dynamicASN";
            Err(Refusal::invalid("spec.peerASN", why))
        }
    }
}

fn asn(field: &str, number: i64) -> Result<u32, Refusal> {
    u32::try_from(number)
        .ok()
        .filter(|asn| *asn != 0)
        .ok_or_else(|| {
            let why =
                format!("{number} is no AS number (RFC 7607 reserves 0): write 1 to 4294967295");
            Refusal::invalid(field, why)
        })
}

/// An address, an interface, or both where the address says nothing without a link.
fn place(spec: &BGPPeerSpec) -> Result<(Option<IpAddr>, Option<String>), Refusal> {
    let interface = device("spec.interface", spec.interface.as_deref())?;
    match (&spec.peer_address, interface) {
        (None, None) => {
            let why = "missing: write the peer's IPv4 or IPv6 address, or the interface of an unnumbered session";
            Err(Refusal::invalid("spec.peerAddress", why))
        }
        (None, interface) => Ok((None, interface)),
        (Some(text), interface) => {
            let address = ip("spec.peerAddress", text)?;
            let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if link_local && interface.is_none() {
                let why = format!(
                    "{address} is link-local, which says nothing without a link: name the link in interface as well"
                );
                return Err(Refusal::invalid("spec.peerAddress", why));
            }
            if !link_local && interface.is_some() {
                let why = format!(
                    "set beside peerAddress {address}, which is no IPv6 link-local address: routing finds the way there, \
                     remove one of them"
                );
                return Err(Refusal::invalid("spec.interface", why));
            }
            Ok((Some(address), interface))
        }
    }
}

/// `peer` is the address of one that is not unnumbered.
fn source(spec: &BGPPeerSpec, peer: Option<IpAddr>) -> Result<Option<IpAddr>, Refusal> {
    let field = "spec.sourceAddress";
    let Some(text) = spec.source_address.as_deref() else {
        return Ok(None);
    };
    let source = ip(field, text)?;
    match peer {
        None => {
            let why =
                "an unnumbered session has the link-local address of its interface: remove it";
            Err(Refusal::invalid(field, why))
        }
        Some(peer) if peer.is_ipv4() != source.is_ipv4() => {
            let why = "is of another family than peerAddress: write an address of the same family";
            Err(Refusal::invalid(field, why))
        }
        Some(_) => Ok(Some(source)),
    }
}

fn is_internal(spec: &BGPPeerSpec, remote: &Remote) -> bool {
    remote.peer_asn == Some(remote.my_asn) || matches!(spec.dynamic_asn, Some(DynamicAsn::Internal))
}

/// Linux takes 88 octets to 32767; what is below 256 would be a slip.
fn tcp_mss(spec: &BGPPeerSpec) -> Result<Option<u16>, Refusal> {
    let Some(mss) = spec.tcp_mss else {
        return Ok(None);
    };
    let fits = u16::try_from(mss).ok();
    let fits = fits.filter(|mss| (256..=32767).contains(mss));
    let refusal = || Refusal::invalid("spec.tcpMSS", "must be 256 to 32767");
    fits.ok_or_else(refusal).map(Some)
}

/// How far away the peer may be.
fn distance(spec: &BGPPeerSpec, remote: &Remote) -> Result<(), Refusal> {
    if !spec.ebgp_multi_hop {
        return Ok(());
    }
    let field = "spec.ebgpMultiHop";
    if is_internal(spec, remote) {
        let why = "is for external peers, but this one is of our own AS: remove it";
        return Err(Refusal::invalid(field, why));
    }
    if spec.ttl_security {
        let why = "set beside ttlSecurity, which lets in only peers that are one hop away: keep one of them";
        return Err(Refusal::invalid(field, why));
    }
    if remote.interface.is_some() {
        let why = "set beside interface, whose peer is on the link: remove it";
        return Err(Refusal::invalid(field, why));
    }
    Ok(())
}

fn ip(field: &str, text: &str) -> Result<IpAddr, Refusal> {
    let address: IpAddr = text
        .trim()
        .parse()
        .map_err(|_| Refusal::invalid(field, format!("{text:?} is not an IPv4 or IPv6 address")))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(Refusal::invalid(
            field,
            format!("{address} is not the address of one host"),
        ));
    }
    Ok(address)
}

/// A name that the kernel takes for a network device.
fn device(field: &str, name: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(name) = name else { return Ok(None) };
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > MAX_DEVICE || name.contains(bad) || name.starts_with('.') {
        let why = format!("{name:?} is no name of a network device: 1 to {MAX_DEVICE} characters");
        return Err(Refusal::invalid(field, why));
    }
    Ok(Some(name.to_owned()))
}

fn router_id(text: &str) -> Result<Ipv4Addr, Refusal> {
    let id = text
        .trim()
        .parse()
        .ok()
        .filter(|id: &Ipv4Addr| !id.is_unspecified());
    id.ok_or_else(|| {
        let why = format!(
            "{text:?} is not a BGP identifier: write one like an IPv4 address, not 0.0.0.0"
        );
        Refusal::invalid("spec.routerID", why)
    })
}
