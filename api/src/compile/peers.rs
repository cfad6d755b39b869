//! Peers: numbers, addresses and timers that a session can be built from.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::rivals::{Trial, may_meet};
use super::{Judgement, Kind, Refusal, Sources, check_selectors};
use crate::crd::{BGPPeerSpec, Listen, PeerRule, SpeakerConfigSpec};
use crate::duration;

/// Hold time that we propose when the user names none (RFC 4271 section 10).
const DEFAULT_HOLD: Duration = Duration::from_secs(90);
/// Longest key that Linux takes for TCP MD5.
const MAX_KEY: usize = 80;

pub(super) fn compile(
    sources: &Sources,
    last: &SpeakerConfigSpec,
    judgements: &mut Vec<Judgement>,
) -> Vec<PeerRule> {
    let mut trial = Trial::new(Kind::Peer, &last.peers, |rule| &rule.name);
    trial.keep_unread(sources);
    for (name, peer) in &sources.peers {
        let result = rule(name, &peer.spec, sources.namespace.as_deref()).map(|rule| (rule, None));
        let created = peer.metadata.creation_timestamp.as_ref();
        trial.hear(name, created, result, judgements);
    }
    trial.settle(rivalry, judgements)
}

/// Two sessions from one node to one socket would fight for the router's one neighbour entry.
fn rivalry(rule: &PeerRule, other: &PeerRule) -> Option<Refusal> {
    let socket = |rule: &PeerRule| (rule.address, rule.port, rule.source_address);
    if socket(rule) != socket(other) || !may_meet(&rule.node_selectors, &other.node_selectors) {
        return None;
    }
    let why = format!(
        "{} port {} is BGPPeer {} already, on the same nodes: keep one of them, or give them different nodeSelectors",
        rule.address, rule.port, other.name
    );
    Some(Refusal::conflict("spec.peerAddress", why))
}

fn rule(name: &str, spec: &BGPPeerSpec, own: Option<&str>) -> Result<PeerRule, Refusal> {
    unserved(spec)?;
    let my_asn = asn("spec.myASN", spec.my_asn)?;
    let peer_asn = spec
        .peer_asn
        .ok_or_else(|| Refusal::invalid("spec.peerASN", "missing: write the peer's AS number"))?;
    let peer_asn = asn("spec.peerASN", peer_asn)?;
    if spec.ebgp_multi_hop && my_asn == peer_asn {
        let why = "is for external peers, but peerASN equals myASN: remove it";
        return Err(Refusal::invalid("spec.ebgpMultiHop", why));
    }
    let address = spec.peer_address.as_deref().ok_or_else(|| {
        Refusal::invalid(
            "spec.peerAddress",
            "missing: write the peer's IPv4 or IPv6 address",
        )
    })?;
    let address = ip("spec.peerAddress", address)?;
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return Err(Refusal::not_implemented(
            "spec.peerAddress with a link-local address",
        ));
    }
    let source = spec
        .source_address
        .as_deref()
        .map(|text| ip("spec.sourceAddress", text))
        .transpose()?;
    if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
        let why = "is of another family than peerAddress: write an address of the same family";
        return Err(Refusal::invalid("spec.sourceAddress", why));
    }
    let timers = timers(spec)?;
    key(spec)?;
    secret(spec, own)?;
    check_selectors("spec.nodeSelectors", &spec.node_selectors)?;
    Ok(PeerRule {
        name: name.to_owned(),
        my_asn,
        peer_asn,
        address,
        port: u16::try_from(spec.peer_port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| Refusal::invalid("spec.peerPort", "must be 1 to 65535"))?,
        source_address: source,
        hold_time_seconds: timers.hold,
        keepalive_milliseconds: timers.keepalive,
        connect_seconds: timers.connect,
        router_id: spec.router_id.as_deref().map(router_id).transpose()?,
        node_selectors: spec.node_selectors.clone(),
        password: spec.password.clone(),
        password_secret: spec.password_secret.clone(),
        multi_hop: spec.ebgp_multi_hop,
    })
}

fn unserved(spec: &BGPPeerSpec) -> Result<(), Refusal> {
    let fields = [
        ("spec.dynamicASN", spec.dynamic_asn.is_some()),
        ("spec.localASN", spec.local_asn.is_some()),
        ("spec.interface", spec.interface.is_some()),
        ("spec.bfdProfile", spec.bfd_profile.is_some()),
        ("spec.enableGracefulRestart", spec.enable_graceful_restart),
        ("spec.vrf", spec.vrf.is_some()),
        (
            "spec.dualStackAddressFamily",
            spec.dual_stack_address_family,
        ),
        ("spec.ttlSecurity", spec.ttl_security),
        (
            "spec.tcpAuthenticationOption",
            spec.tcp_authentication_option.is_some(),
        ),
        (
            "spec.listen other than active",
            spec.listen != Listen::Active,
        ),
    ];
    match fields.into_iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(Refusal::not_implemented(field)),
        None => Ok(()),
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

struct Timers {
    hold: u16,
    keepalive: Option<u32>,
    connect: Option<u16>,
}

fn timers(spec: &BGPPeerSpec) -> Result<Timers, Refusal> {
    let read = |field: &'static str, text: &Option<String>| {
        let parse =
            |text: &String| duration::parse(text).map_err(|why| Refusal::invalid(field, why));
        text.as_ref().map(parse).transpose()
    };
    let keepalive = read("spec.keepaliveTime", &spec.keepalive_time)?;
    let hold = read("spec.holdTime", &spec.hold_time)?
        .or(keepalive.map(|keepalive| keepalive * 3))
        .unwrap_or(DEFAULT_HOLD);
    let seconds = u16::try_from(hold.as_secs())
        .ok()
        .filter(|s| *s == 0 || *s >= 3);
    let hold_seconds = seconds
        .filter(|_| hold.subsec_millis() == 0)
        .ok_or_else(|| {
            let why = "must be 0s, or whole seconds from 3s to 65535s (RFC 4271 section 4.2)";
            Refusal::invalid("spec.holdTime", why)
        })?;
    if keepalive.is_some_and(|k| k > hold || (k.is_zero() && !hold.is_zero())) {
        let why = "must be more than 0s and at most holdTime";
        return Err(Refusal::invalid("spec.keepaliveTime", why));
    }
    let connect = read("spec.connectTime", &spec.connect_time)?;
    let connect = connect.map(|time| {
        let seconds = u16::try_from(time.as_secs()).ok().filter(|s| *s != 0);
        seconds.ok_or_else(|| Refusal::invalid("spec.connectTime", "must be 1s to 65535s"))
    });
    Ok(Timers {
        hold: hold_seconds,
        keepalive: keepalive.and_then(|k| u32::try_from(k.as_millis()).ok()),
        connect: connect.transpose()?,
    })
}

fn key(spec: &BGPPeerSpec) -> Result<(), Refusal> {
    if spec.password.is_some() && spec.password_secret.is_some() {
        let why = "set beside passwordSecret: keep one of them";
        return Err(Refusal::invalid("spec.password", why));
    }
    if spec
        .password
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > MAX_KEY)
    {
        let why = "a TCP MD5 key has 1 to 80 bytes";
        return Err(Refusal::invalid("spec.password", why));
    }
    Ok(())
}

/// `own` is Portolan's namespace, where it is known.
fn secret(spec: &BGPPeerSpec, own: Option<&str>) -> Result<(), Refusal> {
    let Some(secret) = &spec.password_secret else {
        return Ok(());
    };
    if secret.name.is_empty() {
        let why = "missing: name the Secret";
        return Err(Refusal::invalid("spec.passwordSecret.name", why));
    }
    let named = secret.namespace.as_deref().filter(|name| !name.is_empty());
    match (named, own) {
        (Some(named), Some(own)) if named != own => {
            let why = format!(
                "Secrets are read from {own}, Portolan's own namespace, only, not from {named}: put the Secret there \
                 and remove the field"
            );
            Err(Refusal::invalid("spec.passwordSecret.namespace", why))
        }
        _ => Ok(()),
    }
}
