//! The routes of this node: what rules, Services and the Node make of each other.
//!
//! A rule announces ranges that hang on no Service, and addresses of Services that this node can deliver to. Everything
//! here only adds to a [`Plan`]; what is not added is not announced.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use portolan_api::ObjectKey;
use portolan_api::crd::{BgpRule, Communities, PeerRule, RouteKind};
use portolan_api::range::Family;
use portolan_api::view::{Node, TrafficPolicy};
use portolan_proto::bgp::{Community, ExtendedCommunity, LargeCommunity, RouteAttrs};

use super::model::Model;
use super::plan::Plan;
use super::services::KnownService;

/// Marks routes that are about to go (RFC 8326).
const GRACEFUL_SHUTDOWN: Community = Community::new(0xffff, 0);
/// What one ready endpoint counts for in a link bandwidth: 1 Gbit/s. Routers look at the relation of the numbers only.
const ENDPOINT_BANDWIDTH: u64 = 125_000_000;

impl Model {
    pub(super) fn bgp_rules(&self) -> impl Iterator<Item = &BgpRule> {
        let labels = self.node.as_ref().map(Node::labels);
        self.config
            .bgp
            .iter()
            .filter(move |rule| labels.is_some_and(|labels| rule.is_on(labels)))
    }

    /// What the rules of this node announce.
    fn kinds(&self) -> BTreeSet<RouteKind> {
        let kinds = self.bgp_rules().flat_map(|rule| &rule.routes);
        kinds.copied().collect()
    }

    /// Routes that hang on no Service.
    pub(super) fn ranges(&self, peers: &[&PeerRule], plan: &mut Plan) {
        for rule in self.bgp_rules() {
            if rule.routes.contains(&RouteKind::ClusterIPRange) {
                for range in &self.config.cluster_ip_ranges {
                    let range = masked(*range, range.prefix());
                    plan.announce(rule, range, peers, None);
                    plan.attract(range, peers);
                }
            }
            if rule.routes.contains(&RouteKind::PodCIDR) {
                for range in self.pod_ranges() {
                    plan.announce(rule, range, peers, None);
                }
            }
        }
    }

    fn pod_ranges(&self) -> impl Iterator<Item = IpNetwork> {
        let texts = self.node.iter().flat_map(|node| &node.spec.pod_cidrs);
        let ranges = texts.filter_map(|text| text.parse::<IpNetwork>().ok());
        ranges.map(|range| masked(range, range.prefix()))
    }

    /// External IPs that are addresses of this node or of a router are left out: the route would take the router's own
    /// way to the node, or to itself, away. In words.
    pub(super) fn left_out(&self) -> Vec<String> {
        if !self.kinds().contains(&RouteKind::ExternalIP) {
            return Vec::new();
        }
        let peers: Vec<&PeerRule> = self.config.peers.iter().collect();
        let mut words = Vec::new();
        for (key, service) in self.services.iter() {
            let covers = |rule: &BgpRule| rule.covers_own(RouteKind::ExternalIP, &service.labels);
            let taken = |address: &&IpAddr| self.has(**address, &peers);
            for address in service.external.iter().filter(taken) {
                if self.bgp_rules().any(covers) {
                    words.push(format!(
                        "Service {key}: externalIP {address} is an address of this node or of a BGPPeer, so it is not announced"
                    ));
                }
            }
        }
        words
    }

    /// Whether it is an address of this node or of a peer.
    fn has(&self, address: IpAddr, peers: &[&PeerRule]) -> bool {
        let own = self.node.iter().flat_map(|node| &node.status.addresses);
        let mut own = own.filter_map(|own| own.address.parse::<IpAddr>().ok());
        own.any(|own| own == address) || peers.iter().any(|peer| peer.address == Some(address))
    }
}

impl Plan {
    /// Puts a prefix to every peer that the rule names, or to all. Where several rules put the same prefix to the same
    /// peer, communities add up; of what has one value only, compilation lets no two differ.
    fn announce(
        &mut self,
        rule: &BgpRule,
        prefix: IpNetwork,
        peers: &[&PeerRule],
        mut share: Option<&mut Share>,
    ) {
        let draining = self.draining.is_some();
        let takes = |peer: &&&PeerRule| peer.carries(prefix.ip()) && rule.tells(peer);
        for (index, peer) in peers.iter().enumerate().filter(|(_, peer)| takes(peer)) {
            let routes = self.routes.entry(peer.name.clone()).or_default();
            let attrs = routes.entry(prefix).or_default();
            attrs.local_pref = attrs.local_pref.max(rule.local_pref);
            attrs.med = attrs.med.max(rule.med);
            attrs.prepend = attrs.prepend.max(rule.as_path_prepend);
            attach(&rule.communities, attrs);
            if let Some(share) = share.as_deref_mut().filter(|_| rule.bandwidth.is_some()) {
                share.add(index, prefix, attrs);
            }
            if draining {
                attrs.local_pref = Some(0);
                attrs.prepend = attrs.prepend.max(rule.as_path_prepend.saturating_add(1));
                attrs.communities.insert(GRACEFUL_SHUTDOWN);
                attach(&rule.drain, attrs);
            }
        }
    }

    /// Notes that a prefix attracts more than the addresses that are used, if it is announced to somebody.
    fn attract(&mut self, prefix: IpNetwork, peers: &[&PeerRule]) {
        let told = |peer: &&PeerRule| {
            let routes = self.routes.get(&peer.name);
            routes.is_some_and(|routes| routes.contains_key(&prefix))
        };
        if peers.iter().any(told) {
            self.attracted.insert(prefix);
        }
    }
}

/// What one address of a Service adds to the bandwidth of routes, once for each, however many rules announce it.
struct Share {
    bytes_per_second: u64,
    /// Peers by index, and prefixes.
    added: BTreeSet<(usize, IpNetwork)>,
}

impl Share {
    fn of(endpoints: u32) -> Self {
        Self {
            bytes_per_second: u64::from(endpoints) * ENDPOINT_BANDWIDTH,
            added: BTreeSet::new(),
        }
    }

    fn add(&mut self, peer: usize, prefix: IpNetwork, attrs: &mut RouteAttrs) {
        if self.added.insert((peer, prefix)) {
            let sum = attrs.bandwidth.unwrap_or_default();
            attrs.bandwidth = Some(sum.saturating_add(self.bytes_per_second));
        }
    }
}

/// This node, adding what it announces for Services.
pub(super) struct Announcing<'a> {
    model: &'a Model,
    peers: &'a [&'a PeerRule],
    /// What its rules announce.
    kinds: BTreeSet<RouteKind>,
}

impl<'a> Announcing<'a> {
    pub(super) fn on(model: &'a Model, peers: &'a [&'a PeerRule]) -> Self {
        let kinds = model.kinds();
        Self {
            model,
            peers,
            kinds,
        }
    }

    /// Adds the addresses of a Service that `concerns` picks.
    pub(super) fn service(
        &self,
        key: &ObjectKey,
        service: &KnownService,
        concerns: impl Fn(&IpAddr) -> bool,
        plan: &mut Plan,
    ) {
        let delivers = |policy, address| self.model.delivers(key, policy, Family::of(address));
        for vip in service.vips.iter().copied().filter(&concerns) {
            if delivers(service.policy, vip) {
                self.vip(key, service, vip, plan);
            }
        }
        if self.announces(RouteKind::ExternalIP) {
            for address in service.external.iter().copied().filter(&concerns) {
                if delivers(service.policy, address) {
                    self.external_ip(key, service, address, plan);
                }
            }
        }
        if self.announces(RouteKind::ClusterIP) || self.announces(RouteKind::ClusterIPRange) {
            for address in service.cluster.iter().copied().filter(&concerns) {
                if delivers(service.cluster_policy, address) {
                    self.cluster_ip(service, address, plan);
                }
            }
        }
    }

    fn announces(&self, kind: RouteKind) -> bool {
        self.kinds.contains(&kind)
    }

    fn vip(&self, key: &ObjectKey, service: &KnownService, vip: IpAddr, plan: &mut Plan) {
        let Some(pool) = self.model.pools.of(vip) else {
            return;
        };
        let mut share = self.share(key, service, vip);
        let covers = |rule: &&BgpRule| rule.covers(pool, &service.labels);
        for rule in self.model.bgp_rules().filter(covers) {
            let prefix = announced(rule, vip);
            plan.announce(rule, prefix, self.peers, share.as_mut());
            if !is_host(prefix) {
                plan.attract(prefix, self.peers);
            }
        }
    }

    fn external_ip(
        &self,
        key: &ObjectKey,
        service: &KnownService,
        address: IpAddr,
        plan: &mut Plan,
    ) {
        if self.model.has(address, self.peers) {
            return;
        }
        let mut share = self.share(key, service, address);
        let covers = |rule: &&BgpRule| rule.covers_own(RouteKind::ExternalIP, &service.labels);
        for rule in self.model.bgp_rules().filter(covers) {
            plan.announce(rule, address.into(), self.peers, share.as_mut());
        }
    }

    /// Policy Cluster spreads evenly over all nodes, wherever the endpoints are.
    fn share(&self, key: &ObjectKey, service: &KnownService, address: IpAddr) -> Option<Share> {
        let weighs = service.policy == TrafficPolicy::Local;
        weighs.then(|| Share::of(self.model.weight(key, Family::of(address))))
    }

    /// A range is announced by every node, so an address in it that only some nodes can serve needs a route of its own.
    fn cluster_ip(&self, service: &KnownService, address: IpAddr, plan: &mut Plan) {
        let local = service.cluster_policy == TrafficPolicy::Local;
        let in_range = local && {
            let mut ranges = self.model.config.cluster_ip_ranges.iter();
            ranges.any(|range| range.contains(address))
        };
        let covers = |rule: &&BgpRule| rule.covers_cluster_ip(in_range, &service.labels);
        for rule in self.model.bgp_rules().filter(covers) {
            plan.announce(rule, address.into(), self.peers, None);
        }
    }
}

/// Adds communities to a route.
fn attach(communities: &Communities, attrs: &mut RouteAttrs) {
    let standard = communities.standard.iter();
    attrs.communities.extend(standard.map(|bits| {
        let [a, b, c, d] = bits.to_be_bytes();
        Community::new(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    }));
    let large = communities.large.iter();
    attrs.large.extend(
        large.map(|[global, local1, local2]| LargeCommunity::new(*global, *local1, *local2)),
    );
    let extended = communities.extended.iter();
    attrs.extended.extend(extended.map(|[head, tail]| {
        let octets = u64::from(*head) << 32 | u64::from(*tail);
        ExtendedCommunity::new(octets.to_be_bytes())
    }));
}

/// The prefix that a rule announces an address in.
pub(super) fn announced(rule: &BgpRule, vip: IpAddr) -> IpNetwork {
    let length = match vip {
        IpAddr::V4(_) => rule.aggregation_length,
        IpAddr::V6(_) => rule.aggregation_length_v6,
    };
    masked(IpNetwork::from(vip), length)
}

/// The prefix of this length that holds the network's address, host bits cleared.
fn masked(network: IpNetwork, length: u8) -> IpNetwork {
    IpNetwork::new(network.ip(), length)
        .and_then(|wide| IpNetwork::new(wide.network(), length))
        .unwrap_or(network)
}

/// Whether it is one address alone.
pub(super) fn is_host(prefix: IpNetwork) -> bool {
    match prefix {
        IpNetwork::V4(prefix) => prefix.prefix() == 32,
        IpNetwork::V6(prefix) => prefix.prefix() == 128,
    }
}
