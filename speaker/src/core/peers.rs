//! The peers of this node: which sessions run, and why others can not.

use std::net::Ipv4Addr;
use std::time::Duration;

use portolan_api::crd::{BgpRole, DynamicAsn, Listen as ListenRule, PeerRule, TcpAoAlgorithm};
use portolan_api::view::Node;
use portolan_proto::bgp::{Asn, HoldTime, Role, RouterId, RouterIdError};

use super::model::Model;
use crate::bgp::{
    Bfd, Distance, Listen, Password, PeerAs, PeerSpec, Remote, RestartTimes, Signature,
};
use crate::sys::AoAlgorithm;
use crate::watches::fnv1a;

/// A peer of this node.
#[derive(Debug)]
pub enum PlannedPeer {
    /// A session must run.
    Run(PeerSpec),
    /// A session can not run: name, who the peer is, why.
    Wait(String, String, String),
}

impl Model {
    /// What is to be done about each of these rules. `problems` stand in the way of nothing yet.
    pub(super) fn peers(
        &self,
        rules: &[&PeerRule],
        problems: &mut Vec<String>,
    ) -> Vec<PlannedPeer> {
        let peers = rules
            .iter()
            .map(|rule| self.peer(rule, self.rival(rule, rules), problems));
        peers.collect()
    }

    /// Before other rules count: who has a session keeps it.
    pub(super) fn keep_sessions(&mut self) {
        let labels = self.node.as_ref().map(Node::labels);
        let on_node = |rule: &&PeerRule| labels.is_some_and(|labels| rule.is_on(labels));
        let rules: Vec<&PeerRule> = self.config.peers.iter().filter(on_node).collect();
        let run = rules
            .iter()
            .filter(|rule| self.rival(rule, &rules).is_none());
        self.incumbents = run.map(|rule| PeerRule::clone(rule)).collect();
    }

    /// The rule that has the neighbour of this one: one whose session runs, else the first by name.
    fn rival<'a>(&self, rule: &PeerRule, rules: &[&'a PeerRule]) -> Option<&'a PeerRule> {
        let runs = |rule: &PeerRule| {
            let mut held = self.incumbents.iter();
            held.any(|held| held.name == rule.name && is_same_neighbour(held, rule))
        };
        let rank = |rule: &PeerRule| (!runs(rule), rule.name.clone());
        let rivals = rules.iter().filter(|other| {
            other.name != rule.name && is_same_neighbour(rule, other) && rank(other) < rank(rule)
        });
        rivals.copied().min_by_key(|other| rank(other))
    }

    fn peer(
        &self,
        rule: &PeerRule,
        rival: Option<&PeerRule>,
        problems: &mut Vec<String>,
    ) -> PlannedPeer {
        let spec = match rival {
            Some(other) => Err(format!(
                "the same neighbour as BGPPeer {} on this node: let nodeSelectors keep them apart, or remove one",
                other.name
            )),
            None => self.peer_spec(rule, problems),
        };
        match spec {
            Ok(spec) => PlannedPeer::Run(spec),
            Err(why) => PlannedPeer::Wait(rule.name.clone(), rule.neighbour(), why),
        }
    }

    fn peer_spec(&self, rule: &PeerRule, problems: &mut Vec<String>) -> Result<PeerSpec, String> {
        let signature = self.signature(rule, problems)?;
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
        let Some(profile) = self.config.bfd.iter().find(|it| it.name == *name) else {
            tell(&format!(
                "there is no accepted BFDProfile {name}: the session runs without BFD"
            ));
            return None;
        };
        let (bfd, problem) = self.bfd_keys.bfd(profile);
        if let Some(problem) = problem {
            tell(&format!("BFDProfile {name}: {problem}"));
        }
        bfd
    }

    /// The key that the rule names, by value or in a Secret.
    fn signature(
        &self,
        rule: &PeerRule,
        problems: &mut Vec<String>,
    ) -> Result<Option<Signature>, String> {
        let mut of_secret = |field, secret| {
            let (key, problem) = self.key(field, secret)?;
            problems.extend(problem.map(|why| format!("BGPPeer {}: {why}", rule.name)));
            Password::new(key).map_err(words)
        };
        if let Some(option) = &rule.tcp_authentication_option {
            let key = of_secret("tcpAuthenticationOption.keySecret", &option.key_secret)?;
            let algorithm = match option.algorithm {
                TcpAoAlgorithm::HmacSha1 => AoAlgorithm::HmacSha1,
                TcpAoAlgorithm::AesCmac => AoAlgorithm::AesCmac,
            };
            let id = u8::try_from(option.key_id).map_err(words)?;
            return Ok(Some(Signature::Ao { key, id, algorithm }));
        }
        if let Some(secret) = &rule.password_secret {
            return Ok(Some(Signature::Md5(of_secret("passwordSecret", secret)?)));
        }
        let password = rule.password.as_deref().map(Password::new);
        Ok(password.transpose().map_err(words)?.map(Signature::Md5))
    }

    /// The configured identifier, else the node's first IPv4 address, else a number made from the node's name, which is
    /// as good: RFC 6286 asks only that it is unique within the AS and not zero.
    fn router_id(&self, rule: &PeerRule) -> Result<RouterId, RouterIdError> {
        let addresses = self.node.iter().flat_map(|node| &node.status.addresses);
        let internal = addresses
            .filter(|address| address.kind == "InternalIP")
            .find_map(|address| address.address.parse::<Ipv4Addr>().ok());
        match rule.router_id.or(internal) {
            Some(id) => RouterId::try_from(id),
            None => RouterId::new(fnv1a(self.node_name()).max(1)),
        }
    }
}

/// Two sessions from one node to one socket would fight for the router's one neighbour entry, and a connection of the
/// peer's could be of either. Their selectors decide per node, so only the node can see it.
fn is_same_neighbour(rule: &PeerRule, other: &PeerRule) -> bool {
    let place = |rule: &PeerRule| (rule.address, rule.interface.clone(), rule.vrf.clone());
    let socket = |rule: &PeerRule| (rule.port, rule.source_address);
    let waits = |rule: &PeerRule| rule.listen != ListenRule::Active;
    place(rule) == place(other)
        && (socket(rule) == socket(other)
            || (waits(rule) && waits(other))
            || rule.interface.is_some())
}

fn remote(rule: &PeerRule) -> Result<Remote, String> {
    match (rule.address, &rule.interface) {
        (Some(address), _) => Ok(Remote::Address(address)),
        (None, Some(interface)) => Ok(Remote::Interface(interface.clone())),
        (None, None) => Err(FOREIGN_RULE.to_owned()),
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
