//! The peers of this node: which sessions run, and why others can not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use portolan_api::crd::{BgpRole, DynamicAsn, Listen as ListenRule, PeerRule};
use portolan_proto::bgp::{Asn, HoldTime, Role, RouterId, RouterIdError};

use super::model::Model;
use super::standing::Standing;
use crate::bgp::{Bfd, Distance, Listen, PeerAs, PeerSpec, Remote, RestartTimes, Signature};
use crate::watches::fnv1a;

/// A peer of this node.
#[derive(Debug)]
pub enum PlannedPeer {
    /// A session must run.
    Run(Box<PeerSpec>),
    /// A session can not run: name, who the peer is, why.
    Wait(String, String, String),
}

impl Model {
    /// What is to be done about each of these peers. `problems` stand in the way of nothing yet.
    pub(super) fn peers(
        &self,
        standing: &[Standing<'_>],
        problems: &mut Vec<String>,
    ) -> Vec<PlannedPeer> {
        let rivals = rivals(standing);
        let rival = |peer: &Standing<'_>| rivals.get(peer.rule.name.as_str()).copied();
        let peers = standing
            .iter()
            .map(|peer| self.peer(peer, rival(peer), problems));
        peers.collect()
    }

    fn peer(
        &self,
        peer: &Standing<'_>,
        rival: Option<&PeerRule>,
        problems: &mut Vec<String>,
    ) -> PlannedPeer {
        let rule = peer.rule;
        problems.extend(peer.problem.clone());
        let spec = match (rival, &peer.signature) {
            (Some(other), _) => Err(format!(
                "the same neighbour as BGPPeer {} on this node, which is older: let nodeSelectors keep them apart, or remove one",
                other.name
            )),
            (None, Err(why)) => Err(why.clone()),
            (None, Ok(signature)) => self.peer_spec(rule, signature.clone(), problems),
        };
        match spec {
            Ok(spec) => PlannedPeer::Run(Box::new(spec)),
            Err(why) => PlannedPeer::Wait(rule.name.clone(), rule.neighbour(), why),
        }
    }

    fn peer_spec(
        &self,
        rule: &PeerRule,
        signature: Option<Signature>,
        problems: &mut Vec<String>,
    ) -> Result<PeerSpec, String> {
        let local_as = Asn::new(rule.my_asn).map_err(words)?;
        let router_id = self.router_id(rule).map_err(words)?;
        let milliseconds = |ms: u32| Duration::from_millis(ms.into());
        let seconds = |s: u16| Duration::from_secs(s.into());
        Ok(PeerSpec {
            port: rule.port,
            source: rule.source_address,
            vrf: rule.vrf.clone(),
            listen: match rule.listen {
                ListenRule::Active => Listen::Active,
                ListenRule::Passive => Listen::Passive,
                ListenRule::Both => Listen::Both,
            },
            hold_time: HoldTime::new(rule.hold_time_seconds).map_err(words)?,
            keepalive: rule.keepalive_milliseconds.map(milliseconds),
            connect_time: rule.connect_seconds.map(seconds),
            signature,
            distance: match (rule.ttl_security, rule.multi_hop) {
                (true, _) => Distance::Secured,
                (false, true) => Distance::Multihop,
                (false, false) => Distance::Usual,
            },
            dual_stack: rule.dual_stack,
            extended_next_hop: rule.extended_next_hop,
            role: rule.role.map(role),
            graceful_restart: rule.graceful_restart_seconds.map(|time| RestartTimes {
                time: seconds(time),
                long_lived: rule
                    .long_lived_stale_seconds
                    .map(|time| Duration::from_secs(time.into())),
            }),
            tcp_mss: rule.tcp_mss,
            bfd: self.bfd(rule, problems),
            ..PeerSpec::new(
                &rule.name,
                remote(rule)?,
                local_as,
                peer_as(rule)?,
                router_id,
            )
        })
    }

    /// The BFDProfile that the rule names, with its key. Without them the session runs all the same.
    fn bfd(&self, rule: &PeerRule, problems: &mut Vec<String>) -> Option<Bfd> {
        let name = rule.bfd.as_ref()?;
        let mut tell = |what: &str| problems.push(format!("BGPPeer {}: {what}", rule.name));
        let Some((bfd, problem)) = self.bfd_profiles.get(name) else {
            tell(&format!(
                "there is no accepted BFDProfile {name}: the session runs without BFD"
            ));
            return None;
        };
        if let Some(problem) = problem {
            tell(&format!("BFDProfile {name}: {problem}"));
        }
        bfd
    }

    /// The configured identifier, else the node's first IPv4 address, else one made from the node's name, which is as
    /// good: RFC 6286 asks only that it is unique within the AS and not zero.
    fn router_id(&self, rule: &PeerRule) -> Result<RouterId, RouterIdError> {
        let addresses = self.node.iter().flat_map(|node| &node.status.addresses);
        let internal = addresses
            .filter(|address| address.kind == "InternalIP")
            .find_map(|address| address.address.parse::<Ipv4Addr>().ok());
        match rule.router_id.or(internal) {
            Some(id) => RouterId::try_from(id),
            None => RouterId::try_from(made_id(fnv1a(self.node_name()))),
        }
    }
}

/// A number as the address of a host: a router that never heard of RFC 6286 may refuse any other identifier (2/3), as RFC
/// 4271 §6.2 wants it to.
pub(super) fn made_id(number: u32) -> Ipv4Addr {
    let [first, rest @ ..] = number.to_be_bytes();
    let [b, c, d] = rest;
    // 1 to 126 and 128 to 223: 222 of them.
    let first = first % 222 + 1;
    Ipv4Addr::new(first + u8::from(first > 126), b, c, d)
}

/// Gives each neighbour to one rule: the older BGPPeer, else the first by name. So it is on every node, and after every
/// restart. Returns, for each rule that has none, the one that has its neighbour: one that waits keeps nobody out.
fn rivals<'a>(standing: &[Standing<'a>]) -> BTreeMap<&'a str, &'a PeerRule> {
    let mut rules: Vec<&'a PeerRule> = standing.iter().map(|peer| peer.rule).collect();
    let rank = |rule: &'a PeerRule| (rule.created_seconds, rule.name.as_str());
    rules.sort_by_key(|rule| rank(rule));
    let mut holders: Vec<&'a PeerRule> = Vec::new();
    let mut without = BTreeMap::new();
    for rule in rules {
        match holders.iter().find(|it| it.is_same_neighbour(rule)) {
            Some(holder) => {
                without.insert(rule.name.as_str(), *holder);
            }
            None => holders.push(rule),
        }
    }
    without
}

fn remote(rule: &PeerRule) -> Result<Remote, String> {
    match (rule.address, &rule.interface) {
        (Some(address), None) => Ok(Remote::Address(address)),
        (Some(IpAddr::V6(router)), Some(interface)) => Ok(Remote::Interface {
            name: interface.clone(),
            router: Some(router),
        }),
        (None, Some(interface)) => Ok(Remote::Interface {
            name: interface.clone(),
            router: None,
        }),
        (Some(IpAddr::V4(_)), Some(_)) | (None, None) => Err(FOREIGN_RULE.to_owned()),
    }
}

const fn role(role: BgpRole) -> Role {
    match role {
        BgpRole::Customer => Role::Customer,
        BgpRole::Peer => Role::Peer,
        BgpRole::Provider => Role::Provider,
        BgpRole::RouteServerClient => Role::RouteServerClient,
        BgpRole::RouteServer => Role::RouteServer,
    }
}

fn peer_as(rule: &PeerRule) -> Result<PeerAs, String> {
    match (rule.peer_asn, rule.dynamic_asn) {
        (Some(asn), _) => Ok(PeerAs::Exactly(Asn::new(asn).map_err(words)?)),
        (None, Some(DynamicAsn::Internal)) => Ok(PeerAs::Internal),
        (None, Some(DynamicAsn::External)) => Ok(PeerAs::External),
        (None, None) => Err(FOREIGN_RULE.to_owned()),
    }
}

/// What the controller of this version never writes.
const FOREIGN_RULE: &str =
    "this speaker does not understand the peer: is the controller of another version?";

fn words(why: impl std::fmt::Display) -> String {
    why.to_string()
}
