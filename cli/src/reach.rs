//! May this node announce this address, and does it?
//!
//! The same rules as in the daemons, asked from outside, with a reason for each no. What a node really does comes from
//! its NodeReport.

use std::net::IpAddr;

use portolan_api::ObjectKey;
use portolan_api::annotation::L2_NODES;
use portolan_api::crd::{
    AnnouncedVip, BgpRule, InterfaceReport, L2Rule, PeerRule, RouteKind, SessionReport,
    SessionState,
};
use portolan_api::interfaces::Interfaces;
use portolan_api::view::{Node, Service, TrafficPolicy};

use ipnetwork::IpNetwork;

use crate::snapshot::{Snapshot, Speaker};

/// One address of one Service.
#[derive(Clone, Copy)]
pub(crate) struct Vip<'a> {
    /// The cluster.
    pub(crate) snapshot: &'a Snapshot,
    /// Namespace and name of the Service.
    pub(crate) key: &'a ObjectKey,
    /// The Service.
    pub(crate) service: &'a Service,
    /// The address.
    pub(crate) address: IpAddr,
    /// What kind of address it is: `LoadBalancerIP`, `ExternalIP` or `ClusterIP`.
    pub(crate) kind: RouteKind,
}

/// Why a node does not announce, or not to everyone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Obstacle {
    /// Something is broken; otherwise it is as the user configured it.
    pub(crate) fault: bool,
    /// In words, to follow the node's name.
    pub(crate) text: String,
}

/// What a node does for an address by BGP.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach {
    /// Peers that are told.
    pub(crate) peers: Vec<String>,
    /// What stands in the way of the others.
    pub(crate) obstacles: Vec<Obstacle>,
}

impl Obstacle {
    fn configured(text: impl Into<String>) -> Self {
        Self {
            fault: false,
            text: text.into(),
        }
    }

    fn fault(text: impl Into<String>) -> Self {
        Self {
            fault: true,
            text: text.into(),
        }
    }
}

impl Reach {
    fn blocked(obstacle: Obstacle) -> Self {
        Self {
            peers: Vec::new(),
            obstacles: vec![obstacle],
        }
    }
}

impl<'a> Vip<'a> {
    /// The pool that has the address.
    pub(crate) fn pool(self) -> Option<&'a str> {
        self.snapshot.pool_of(self.address)
    }

    /// Layer-2 rules that cover the address, on whichever nodes.
    pub(crate) fn l2_rules(self) -> Vec<&'a L2Rule> {
        let Some(pool) = self.pool() else {
            return Vec::new();
        };
        let covers = |rule: &&L2Rule| rule.covers(pool, self.service.labels());
        self.snapshot.rules().l2.iter().filter(covers).collect()
    }

    /// BGP rules that cover the address, on whichever nodes.
    pub(crate) fn bgp_rules(self) -> Vec<&'a BgpRule> {
        let (rules, labels) = (self.snapshot.rules(), self.service.labels());
        let covers = |rule: &&BgpRule| match self.kind {
            RouteKind::ClusterIP => {
                let mut ranges = rules.cluster_ip_ranges.iter();
                let in_range = ranges.any(|range| range.contains(self.address));
                let local = self.policy() == TrafficPolicy::Local;
                rule.covers_cluster_ip(local && in_range, labels)
            }
            RouteKind::ExternalIP => rule.covers_own(self.kind, labels),
            _ => self.pool().is_some_and(|pool| rule.covers(pool, labels)),
        };
        rules.bgp.iter().filter(covers).collect()
    }

    /// Which nodes may take its traffic.
    fn policy(self) -> TrafficPolicy {
        match self.kind {
            RouteKind::ClusterIP => self.service.cluster_ip_policy(),
            _ => self.service.spec.external_traffic_policy,
        }
    }

    /// Why the node can not be placed for the address by layer 2, if so.
    pub(crate) fn l2_obstacle(self, name: &str, node: &Node) -> Option<Obstacle> {
        let rules = self.l2_rules();
        if !rules.iter().any(|rule| rule.is_on(node.labels())) {
            let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
            return Some(not_selected("L2Advertisement", &names));
        }
        if let Some(obstacle) = self.undeliverable(name, node) {
            return Some(obstacle);
        }
        if self.snapshot.speaker(name) == Speaker::Dead {
            let words = "its speaker does not renew its Lease: is the pod running?";
            return Some(Obstacle::fault(words));
        }
        self.unlinked(name, node).or_else(|| {
            let answers = placement(self.service).first() == Some(&name);
            let why = node.draining().filter(|_| !answers)?;
            let words = format!("the Node drains ({why}): it answers only for what no other can");
            Some(Obstacle::configured(words))
        })
    }

    /// Why the links of the node are none to answer on, if its speaker has reported any.
    fn unlinked(self, name: &str, node: &Node) -> Option<Obstacle> {
        let reported = &self.snapshot.report(name)?.interfaces;
        if reported.is_empty() {
            return None;
        }
        let links = self.links(name, node);
        if links.is_empty() {
            let names: Vec<&str> = self
                .l2_rules()
                .iter()
                .map(|rule| rule.name.as_str())
                .collect();
            let has = |interface: &InterfaceReport| {
                let down = if interface.running { "" } else { " (down)" };
                interface.name.clone() + down
            };
            let has: Vec<String> = reported.iter().map(has).collect();
            let words = format!(
                "no interface that works is one that L2Advertisement {} means (it has {})",
                names.join(", "),
                has.join(", ")
            );
            return Some(Obstacle::fault(words));
        }
        let near = |links: &[&InterfaceReport]| links.iter().any(|link| self.is_in(link));
        let mut nodes = self.snapshot.nodes.iter();
        let elsewhere = || nodes.find(|(name, node)| near(&self.links(name, node)));
        let (other, _) = (!near(&links)).then(elsewhere).flatten()?;
        Some(Obstacle::configured(format!(
            "it has no address in the subnet of {}, and others, like {other}, have",
            self.address
        )))
    }

    /// The interfaces of the node that work and that a rule means, as reported.
    fn links(self, name: &str, node: &Node) -> Vec<&'a InterfaceReport> {
        let rules = self.l2_rules().into_iter();
        let rules = rules.filter(|rule| rule.is_on(node.labels()));
        let meant =
            rules.map(|rule| Interfaces::new(&rule.interfaces, &rule.interface_expressions));
        let meant: Vec<Interfaces> = meant.filter_map(Result::ok).collect();
        let reported = self.snapshot.report(name).into_iter();
        let reported = reported.flat_map(|report| &report.interfaces);
        let is_link = |one: &&InterfaceReport| {
            one.running && meant.iter().any(|meant| meant.matches(&one.name))
        };
        reported.filter(is_link).collect()
    }

    /// Whether the address is in a subnet of the interface.
    fn is_in(self, interface: &InterfaceReport) -> bool {
        let subnets = interface.addresses.iter();
        let mut subnets = subnets.filter_map(|text| text.parse::<IpNetwork>().ok());
        subnets.any(|subnet| subnet.contains(self.address))
    }

    /// Nodes that report to answer for the address by ARP or NDP, and what they say of it.
    pub(crate) fn answering(self) -> Vec<(&'a str, &'a AnnouncedVip)> {
        let address = self.address.to_string();
        let reports = self.snapshot.reports.iter();
        let answers = reports.filter_map(|(name, report)| {
            let vips = &report.status.as_ref()?.l2_vips;
            let vip = vips.iter().find(|vip| vip.address == address)?;
            Some((name.as_str(), vip))
        });
        answers.collect()
    }

    /// What the node does for the address by BGP.
    pub(crate) fn bgp(self, name: &str, node: &Node) -> Reach {
        let covering = self.bgp_rules();
        let on_node = |rule: &&BgpRule| rule.is_on(node.labels());
        let rules: Vec<&BgpRule> = covering.iter().copied().filter(on_node).collect();
        if rules.is_empty() {
            let names: Vec<&str> = covering.iter().map(|rule| rule.name.as_str()).collect();
            return Reach::blocked(not_selected("BGPAdvertisement", &names));
        }
        if let Some(obstacle) = self.undeliverable(name, node) {
            return Reach::blocked(obstacle);
        }
        let peers = self.peers(&rules, node);
        let family = if self.address.is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        };
        if peers.is_empty() {
            return Reach::blocked(Obstacle::configured(format!(
                "no BGPPeer that carries {family} and that its advertisement names has it among its nodes"
            )));
        }
        let Some(report) = self.snapshot.report(name) else {
            return Reach::blocked(Obstacle::fault(
                "it has no NodeReport: is portolan-speaker running there?",
            ));
        };
        let mut reach = Reach::default();
        for peer in peers {
            match session_obstacle(peer, &report.sessions, family) {
                None => reach.peers.push(peer.name.clone()),
                Some(obstacle) => reach.obstacles.push(obstacle),
            }
        }
        reach
    }

    /// Peers of the node that the rules send the address to. A session carries the family of its own address.
    fn peers(self, rules: &[&BgpRule], node: &Node) -> Vec<&'a PeerRule> {
        let told = |peer: &PeerRule| rules.iter().any(|rule| rule.tells(peer));
        let peers = self.snapshot.rules().peers.iter();
        peers
            .filter(|peer| peer.is_on(node.labels()) && peer.carries(self.address) && told(peer))
            .collect()
    }

    /// A node attracts traffic only if it can deliver it.
    fn undeliverable(self, name: &str, node: &Node) -> Option<Obstacle> {
        if let Some(why) = node.excluded() {
            return Some(Obstacle::configured(format!(
                "the Node is excluded by {why}"
            )));
        }
        let usable = self.snapshot.usable(self.key);
        match self.policy() {
            TrafficPolicy::Cluster if usable.is_empty() => {
                Some(Obstacle::fault("the Service has no usable endpoint"))
            }
            TrafficPolicy::Local if !usable.contains(name) => Some(Obstacle::configured(
                "no usable endpoint on it (externalTrafficPolicy Local)",
            )),
            _ => None,
        }
    }
}

/// The layer-2 placement of a Service: nodes in order, the first answers.
pub(crate) fn placement(service: &Service) -> Vec<&str> {
    let text = service.annotation(L2_NODES).unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

fn not_selected(kind: &str, rules: &[&str]) -> Obstacle {
    let rules = rules.join(", ");
    Obstacle::configured(format!("nodeSelectors of {kind} {rules} do not select it"))
}

/// Why routes of a family do not reach a peer, if so.
fn session_obstacle(peer: &PeerRule, sessions: &[SessionReport], family: &str) -> Option<Obstacle> {
    let (name, address) = (&peer.name, peer.neighbour());
    let Some(session) = sessions.iter().find(|session| session.peer == peer.name) else {
        return Some(Obstacle::fault(format!(
            "its speaker reports no session to {name} ({address}) yet"
        )));
    };
    if session.state == SessionState::Established {
        let mut unsent = session.unsent_reasons.iter();
        let why = unsent.find(|why| why.contains(family))?;
        return Some(Obstacle::fault(format!(
            "session to {name} ({address}) is Established, but {why}"
        )));
    }
    let error = session.last_error.as_deref().unwrap_or("no error so far");
    let state = session.state;
    Some(Obstacle::fault(format!(
        "session to {name} ({address}) is {state:?}: {error}"
    )))
}
