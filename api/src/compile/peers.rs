//! Peers: numbers, addresses and timers that a session can be built from.

mod authentication;
mod remote;
#[cfg(test)]
mod tests;
mod timers;

pub(super) use authentication::secret as check_secret;

use super::rivals::{Trial, may_meet};
use super::{Judgement, Kind, Refusal, Sources, check_selectors};
use crate::crd::{BGPPeerSpec, PeerRule, SpeakerConfigSpec};

/// `profiles` are the names of the BFDProfiles in force.
pub(super) fn compile(
    sources: &Sources,
    last: &SpeakerConfigSpec,
    profiles: &[&str],
    judgements: &mut Vec<Judgement>,
) -> Vec<PeerRule> {
    let mut trial = Trial::new(Kind::Peer, &last.peers, |rule| &rule.name);
    trial.keep_unread(sources);
    for (name, peer) in &sources.peers {
        let result = rule(name, &peer.spec, sources.namespace.as_deref());
        let created = peer.metadata.creation_timestamp.as_ref();
        let result = result.map(|rule| {
            let refs = Some(references(&rule, profiles));
            let created_seconds = created.map(|time| time.0.as_second());
            let rule = PeerRule {
                created_seconds,
                ..rule
            };
            (rule, refs)
        });
        trial.hear(name, created, result, judgements);
    }
    trial.settle(rivalry, judgements)
}

/// A session runs without a BFDProfile that is not there: worse than with it, better than none.
fn references(rule: &PeerRule, profiles: &[&str]) -> Result<(), String> {
    match &rule.bfd {
        Some(profile) if !profiles.contains(&profile.as_str()) => Err(format!(
            "spec.bfdProfile: no accepted BFDProfile {profile}: the session runs without BFD"
        )),
        _ => Ok(()),
    }
}

/// Whether some node may have both rules, which are one neighbour there.
fn rivalry(rule: &PeerRule, other: &PeerRule) -> Option<Refusal> {
    let meet = || may_meet(&rule.node_selectors, &other.node_selectors);
    if !rule.is_same_neighbour(other) || !meet() {
        return None;
    }
    let neighbour = rule.neighbour();
    let (field, what) = if rule.interface.is_some() {
        ("spec.interface", neighbour)
    } else {
        (
            "spec.peerAddress",
            format!("{neighbour} port {}", rule.port),
        )
    };
    let why = format!(
        "{what} is BGPPeer {} already, on the same nodes: keep one of them, or give them different nodeSelectors",
        other.name
    );
    Some(Refusal::conflict(field, why))
}

fn rule(name: &str, spec: &BGPPeerSpec, own: Option<&str>) -> Result<PeerRule, Refusal> {
    let remote = remote::read(spec)?;
    let timers = timers::read(spec)?;
    authentication::check(spec, own)?;
    check_selectors("spec.nodeSelectors", &spec.node_selectors)?;
    let unnumbered = remote.interface.is_some();
    Ok(PeerRule {
        name: name.to_owned(),
        created_seconds: None,
        my_asn: remote.my_asn,
        peer_asn: remote.peer_asn,
        dynamic_asn: spec.dynamic_asn,
        address: remote.address,
        interface: remote.interface,
        port: remote.port,
        source_address: remote.source,
        vrf: remote.vrf,
        listen: spec.listen,
        hold_time_seconds: timers.hold,
        keepalive_milliseconds: timers.keepalive,
        connect_seconds: timers.connect,
        router_id: remote.router_id,
        node_selectors: spec.node_selectors.clone(),
        password: spec.password.clone(),
        password_secret: spec.password_secret.clone(),
        tcp_authentication_option: spec.tcp_authentication_option.clone(),
        multi_hop: spec.ebgp_multi_hop,
        ttl_security: spec.ttl_security,
        dual_stack: spec.dual_stack_address_family || unnumbered,
        extended_next_hop: spec.extended_next_hop || unnumbered,
        role: spec.role,
        graceful_restart_seconds: timers.restart,
        long_lived_stale_seconds: timers.long_lived,
        tcp_mss: remote.tcp_mss,
        bfd: spec.bfd_profile.clone(),
    })
}
