//! The routes of this node: what rules, Services and the Node make of each other.
//!
//! A rule announces ranges that hang on no Service, and addresses of Services that this node can deliver to. Everything
//! here only adds to a [`Plan`]; what is not added is not announced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use portolan_api::ObjectKey;
use portolan_api::crd::{BgpRule, Communities, PeerRule, RouteKind};
use portolan_api::range::Family;
use portolan_api::view::{Node, TrafficPolicy};
use portolan_proto::bgp::{
    Audience, Community, ExtendedCommunity, LargeCommunity, Prefix, RouteAttrs,
};

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
        let standing = self.standing();
        let peers: Vec<&PeerRule> = standing.iter().map(|peer| peer.rule).collect();
        let mut words = Vec::new();
        for (key, service) in self.services.iter() {
            let covers = |rule: &BgpRule| rule.covers_own(RouteKind::ExternalIP, &service.labels);
            let taken = |address: &&IpAddr| self.has(**address, &peers);
            for address in service.external.iter().filter(taken) {
                if self.bgp_rules().any(covers) {
                    words.push(format!(
                        "Service {key}: externalIP {address} is an address of this node or of one of its BGPPeers, so it is not announced"
                    ));
                }
            }
        }
        words
    }

    /// Whether it is an address of this node or of one of these peers.
    fn has(&self, address: IpAddr, peers: &[&PeerRule]) -> bool {
        let own = self.node.iter().flat_map(|node| &node.status.addresses);
        let mut own = own.filter_map(|own| own.address.parse::<IpAddr>().ok());
        own.any(|own| own == address) || peers.iter().any(|peer| peer.address == Some(address))
    }
}

impl Plan {
    /// Adds an announcement of a prefix. What Services and ranges say of the same one adds up.
    fn announce(&mut self, prefix: Prefix, audience: &Arc<Audience>) {
        if audience.is_empty() {
            return;
        }
        let audience = match self.routes.get(&prefix) {
            Some(known) => self.audiences.share(Arc::new(merge(known, audience))),
            None => Arc::clone(audience),
        };
        self.routes.insert(prefix, audience);
    }

    /// Notes that a prefix attracts more than the addresses that are used, if it is announced to somebody.
    fn attract(&mut self, prefix: IpNetwork) {
        if self.routes.contains_key(&Prefix::from(prefix)) {
            self.attracted.insert(prefix);
        }
    }
}

/// Communities add up, and so does bandwidth; of what has one value only, compilation lets no two rules differ.
fn merge(one: &Audience, other: &Audience) -> Audience {
    let mut merged = one.clone();
    for (peer, attrs) in other.iter() {
        let mut sum = attrs.clone();
        if let Some(known) = one.attrs(peer) {
            sum.local_pref = sum.local_pref.max(known.local_pref);
            sum.med = sum.med.max(known.med);
            sum.prepend = sum.prepend.max(known.prepend);
            sum.communities.extend(&known.communities);
            sum.large.extend(&known.large);
            sum.extended.extend(&known.extended);
            let bandwidth = [sum.bandwidth, known.bandwidth].into_iter().flatten();
            sum.bandwidth = bandwidth.reduce(u64::saturating_add);
        }
        merged.tell(peer, sum);
    }
    merged
}

/// One announcement: everything that decides who is told what. Of thousands of Services most make the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Announcement {
    /// Rules that make it, by their place among those of the node.
    rules: Vec<usize>,
    family: Family,
    /// In bytes per second, for those rules that tell it.
    bandwidth: Option<u64>,
}

/// This node, adding what it announces.
pub(super) struct Announcing<'a> {
    model: &'a Model,
    peers: &'a [&'a PeerRule],
    rules: Vec<&'a BgpRule>,
    /// What its rules announce.
    kinds: BTreeSet<RouteKind>,
    draining: bool,
    made: BTreeMap<Announcement, Arc<Audience>>,
}

impl<'a> Announcing<'a> {
    pub(super) fn on(model: &'a Model, peers: &'a [&'a PeerRule]) -> Self {
        Self {
            model,
            peers,
            rules: model.bgp_rules().collect(),
            kinds: model.kinds(),
            draining: model.draining().is_some(),
            made: BTreeMap::new(),
        }
    }

    /// Adds routes that hang on no Service.
    pub(super) fn ranges(&mut self, plan: &mut Plan) {
        let model = self.model;
        let whole = |range: &IpNetwork| masked(*range, range.prefix());
        for range in model.config.cluster_ip_ranges.iter().map(whole) {
            let rules = self.which(|rule| rule.routes.contains(&RouteKind::ClusterIPRange));
            self.announce(range, rules, None, plan);
            plan.attract(range);
        }
        for range in model.pod_ranges() {
            let rules = self.which(|rule| rule.routes.contains(&RouteKind::PodCIDR));
            self.announce(range, rules, None, plan);
        }
    }

    /// Adds the addresses of a Service that `concerns` picks.
    pub(super) fn service(
        &mut self,
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

    fn vip(&mut self, key: &ObjectKey, service: &KnownService, vip: IpAddr, plan: &mut Plan) {
        let Some(pool) = self.model.pools.of(vip) else {
            return;
        };
        let bandwidth = self.bandwidth(key, service, vip);
        let mut rules = self.which(|rule| rule.covers(pool, &service.labels));
        // Some may announce the address alone, and others what it lies in.
        while let Some(first) = rules.first().and_then(|first| self.rules.get(*first)) {
            let prefix = announced(first, vip);
            let same = |rule: &usize| {
                let rule = self.rules.get(*rule);
                rule.is_some_and(|rule| announced(rule, vip) == prefix)
            };
            let alike = rules.extract_if(.., |rule| same(rule)).collect();
            self.announce(prefix, alike, bandwidth, plan);
            if !is_host(prefix) {
                plan.attract(prefix);
            }
        }
    }

    fn external_ip(
        &mut self,
        key: &ObjectKey,
        service: &KnownService,
        address: IpAddr,
        plan: &mut Plan,
    ) {
        if self.model.has(address, self.peers) {
            return;
        }
        let bandwidth = self.bandwidth(key, service, address);
        let rules = self.which(|rule| rule.covers_own(RouteKind::ExternalIP, &service.labels));
        self.announce(address.into(), rules, bandwidth, plan);
    }

    /// A range is announced by every node, so an address in it that only some nodes can serve needs a route of its own.
    fn cluster_ip(&mut self, service: &KnownService, address: IpAddr, plan: &mut Plan) {
        let local = service.cluster_policy == TrafficPolicy::Local;
        let in_range = local && {
            let mut ranges = self.model.config.cluster_ip_ranges.iter();
            ranges.any(|range| range.contains(address))
        };
        let rules = self.which(|rule| rule.covers_cluster_ip(in_range, &service.labels));
        self.announce(address.into(), rules, None, plan);
    }

    /// What an address of a Service adds to the bandwidth of its routes. Policy Cluster spreads evenly over all nodes,
    /// wherever the endpoints are.
    fn bandwidth(&self, key: &ObjectKey, service: &KnownService, address: IpAddr) -> Option<u64> {
        let weighs = self.model.weighs && service.policy == TrafficPolicy::Local;
        let endpoints = weighs.then(|| self.model.weight(key, Family::of(address)))?;
        Some(u64::from(endpoints) * ENDPOINT_BANDWIDTH)
    }

    fn which(&self, covers: impl Fn(&BgpRule) -> bool) -> Vec<usize> {
        let rules = self.rules.iter().enumerate();
        let covering = rules.filter(|(_, rule)| covers(rule));
        covering.map(|(place, _)| place).collect()
    }

    fn announce(
        &mut self,
        prefix: IpNetwork,
        rules: Vec<usize>,
        bandwidth: Option<u64>,
        plan: &mut Plan,
    ) {
        let announcement = Announcement {
            rules,
            family: Family::of(prefix.ip()),
            bandwidth,
        };
        if let Some(made) = self.made.get(&announcement) {
            return plan.announce(prefix.into(), made);
        }
        let audience = Arc::new(self.audience(&announcement, prefix.ip()));
        plan.announce(prefix.into(), &audience);
        self.made.insert(announcement, audience);
    }

    /// Who is told of an announcement, and what.
    fn audience(&self, announcement: &Announcement, address: IpAddr) -> Audience {
        let rules = || announcement.rules.iter();
        let rules = || rules().filter_map(|place| self.rules.get(*place).copied());
        let peers = self.peers.iter().filter(|peer| peer.carries(address));
        peers
            .filter_map(|peer| {
                let telling: Vec<&BgpRule> = rules().filter(|rule| rule.tells(peer)).collect();
                let attrs = self.attrs(&telling, announcement.bandwidth);
                (!telling.is_empty()).then_some((peer.name.as_str(), attrs))
            })
            .collect()
    }

    /// Where several rules tell the same peer, communities add up; of what has one value only, compilation lets no two
    /// differ.
    fn attrs(&self, rules: &[&BgpRule], bandwidth: Option<u64>) -> RouteAttrs {
        let mut attrs = RouteAttrs::default();
        for rule in rules {
            attrs.local_pref = attrs.local_pref.max(rule.local_pref);
            attrs.med = attrs.med.max(rule.med);
            attrs.prepend = attrs.prepend.max(rule.as_path_prepend);
            attach(&rule.communities, &mut attrs);
            if rule.bandwidth.is_some() {
                attrs.bandwidth = bandwidth;
            }
            if self.draining {
                attrs.prepend = attrs.prepend.max(rule.as_path_prepend.saturating_add(1));
                attrs.communities.insert(GRACEFUL_SHUTDOWN);
                attach(&rule.drain, &mut attrs);
            }
        }
        if self.draining {
            attrs.local_pref = Some(0);
        }
        attrs
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
