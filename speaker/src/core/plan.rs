//! What this node announces, computed as one complete value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use portolan_api::ObjectKey;
use portolan_api::crd::{BgpRule, Communities, L2Rule, PeerRule, RouteKind};
use portolan_api::range::Family;
use portolan_api::view::{Node, TrafficPolicy};
use portolan_proto::bgp::{
    Asn, Community, ExtendedCommunity, HoldTime, LargeCommunity, RouteAttrs, RouterId,
    RouterIdError,
};

use super::model::Model;
use super::services::KnownService;
use crate::bgp::{Password, PeerAs, PeerSpec};
use crate::l2::Interfaces;
use crate::watches::fnv1a;

/// Marks routes that are about to go (RFC 8326).
const GRACEFUL_SHUTDOWN: Community = Community::new(0xffff, 0);
/// What one ready endpoint counts for in a link bandwidth: 1 Gbit/s. Routers look at the relation of the numbers only.
const ENDPOINT_BANDWIDTH: u64 = 125_000_000;

/// Complete set of announcements of this node.
#[derive(Debug, Default)]
pub struct Plan {
    /// Why the node announces nothing at all, if so.
    pub excluded: Option<String>,
    /// Why its routes are a last resort only, if so.
    pub draining: Option<&'static str>,
    /// Addresses to answer for by ARP and NDP.
    pub l2: BTreeMap<IpAddr, Interfaces>,
    /// Peers of this node.
    pub peers: Vec<PlannedPeer>,
    /// What stands in the way of something, in words; what can go on goes on.
    pub problems: Vec<String>,
    /// Routes for each peer by name.
    pub routes: BTreeMap<String, BTreeMap<IpNetwork, RouteAttrs>>,
    /// Announced prefixes that hold more addresses than are used: nobody else is to have what is sent to the others.
    pub attracted: BTreeSet<IpNetwork>,
}

/// What changed in a plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Routes by peer; without attributes for those to withdraw.
    pub routes: Vec<(String, IpNetwork, Option<RouteAttrs>)>,
    /// Something changed in [`Plan::l2`].
    pub l2: bool,
    /// Something changed in [`Plan::attracted`].
    pub attracted: bool,
}

/// A peer of this node.
#[derive(Debug)]
pub enum PlannedPeer {
    /// A session must run.
    Run(PeerSpec),
    /// A session can not run: name, address, why.
    Wait(String, IpAddr, String),
}

impl Model {
    /// What this node must announce, as far as is known.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut plan = Plan {
            excluded: self.excluded(),
            draining: self.draining(),
            ..Plan::default()
        };
        let Some(node) = &self.node else { return plan };
        let rules = self.config.peers.iter();
        let ours: Vec<&PeerRule> = rules.filter(|peer| peer.is_on(node.labels())).collect();
        for (index, rule) in ours.iter().enumerate() {
            let before = ours.get(..index).unwrap_or_default();
            let peer = self.peer(rule, before, &mut plan.problems);
            plan.peers.push(peer);
        }
        for peer in &ours {
            plan.routes.insert(peer.name.clone(), BTreeMap::new());
        }
        // An excluded node keeps its sessions and withdraws: the router sees an orderly empty table, not a flap.
        if plan.excluded.is_some() {
            return plan;
        }
        self.ranges(&ours, &mut plan);
        self.not_announced(&ours, &mut plan.problems);
        let node = Announcing {
            model: self,
            peers: &ours,
            kinds: self.kinds(),
        };
        for (key, service) in self.services.iter() {
            node.service(key, service, |_| true, &mut plan);
        }
        plan
    }

    /// Brings a plan up to date for changes that concern these addresses only. Returns what is different now.
    ///
    /// Another Service may have a part in the same prefix, by a shared address or an aggregate; so prefixes are made anew
    /// from every Service that has an address inside, and nothing has to be remembered of what a Service once added.
    #[must_use]
    pub fn replan(&self, vips: &BTreeSet<IpAddr>, plan: &mut Plan) -> Difference {
        let prefixes = self.prefixes_of(vips);
        let mut fresh = Plan {
            draining: self.draining(),
            ..Plan::default()
        };
        let rules = self.config.peers.iter();
        let labels = self.node.as_ref().map(Node::labels);
        let ours: Vec<&PeerRule> = rules
            .filter(|peer| labels.is_some_and(|labels| peer.is_on(labels)))
            .collect();
        if self.excluded().is_none() {
            self.ranges(&ours, &mut fresh);
            let touches = |vip: &IpAddr| {
                vips.contains(vip) || prefixes.iter().any(|prefix| prefix.contains(*vip))
            };
            let node = Announcing {
                model: self,
                peers: &ours,
                kinds: self.kinds(),
            };
            for (key, service) in self.services.iter() {
                node.service(key, service, touches, &mut fresh);
            }
        }
        plan.take_over(&mut fresh, vips, &prefixes)
    }

    /// The prefixes that these addresses are announced in, by any rule of this node: aggregates, and each one alone.
    fn prefixes_of(&self, vips: &BTreeSet<IpAddr>) -> BTreeSet<IpNetwork> {
        let of_rule = |rule: &BgpRule| -> Vec<IpNetwork> {
            vips.iter().map(|vip| announced(rule, *vip)).collect()
        };
        let alone = vips.iter().map(|vip| IpNetwork::from(*vip));
        self.bgp_rules().flat_map(of_rule).chain(alone).collect()
    }

    fn excluded(&self) -> Option<String> {
        match &self.node {
            None => Some(format!("Node {} does not exist", self.node_name())),
            Some(node) => node.excluded().map(str::to_owned),
        }
    }

    fn bgp_rules(&self) -> impl Iterator<Item = &BgpRule> {
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
    fn ranges(&self, peers: &[&PeerRule], plan: &mut Plan) {
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
    /// way to the node, or to itself, away.
    fn not_announced(&self, peers: &[&PeerRule], problems: &mut Vec<String>) {
        let rules: Vec<&BgpRule> = self
            .bgp_rules()
            .filter(|rule| rule.routes.contains(&RouteKind::ExternalIP))
            .collect();
        if rules.is_empty() {
            return;
        }
        for (key, service) in self.services.iter() {
            let covered = |rule: &&BgpRule| rule.covers_own(RouteKind::ExternalIP, &service.labels);
            let taken = |address: &&IpAddr| self.has(**address, peers);
            for address in service.external.iter().filter(taken) {
                if rules.iter().any(covered) {
                    problems.push(format!(
                        "externalIP {address} of Service {key} is an address of this node or of a BGPPeer: it is not announced"
                    ));
                }
            }
        }
    }

    /// Whether it is an address of this node or of a peer.
    fn has(&self, address: IpAddr, peers: &[&PeerRule]) -> bool {
        let own = self.node.iter().flat_map(|node| &node.status.addresses);
        let mut own = own.filter_map(|own| own.address.parse::<IpAddr>().ok());
        own.any(|own| own == address) || peers.iter().any(|peer| peer.address == address)
    }

    fn vip_l2(&self, service: &KnownService, vip: IpAddr, plan: &mut Plan) {
        let Some(node) = self.node.as_ref().filter(|_| service.answers) else {
            return;
        };
        let Some(pool) = self.pools.of(vip) else {
            return;
        };
        let covers =
            |rule: &&L2Rule| rule.is_on(node.labels()) && rule.covers(pool, &service.labels);
        for rule in self.config.l2.iter().filter(covers) {
            let named = (!rule.interfaces.is_empty())
                .then(|| rule.interfaces.iter().cloned().collect::<BTreeSet<_>>());
            plan.answer(vip, named);
        }
    }

    fn peer(
        &self,
        rule: &PeerRule,
        before: &[&PeerRule],
        problems: &mut Vec<String>,
    ) -> PlannedPeer {
        // Two sessions from one node to one socket would fight for the router's one neighbour entry. Their selectors
        // decide per node, so only the node can see it.
        let same = |other: &&&PeerRule| {
            (other.address, other.port, other.source_address)
                == (rule.address, rule.port, rule.source_address)
        };
        let spec = match before.iter().find(same) {
            Some(other) => Err(format!(
                "the same neighbour as BGPPeer {} on this node: let nodeSelectors keep them apart, or remove one",
                other.name
            )),
            None => self.peer_spec(rule, problems),
        };
        match spec {
            Ok(spec) => PlannedPeer::Run(spec),
            Err(why) => PlannedPeer::Wait(
                rule.name.clone(),
                rule.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
                why,
            ),
        }
    }

    fn peer_spec(&self, rule: &PeerRule, problems: &mut Vec<String>) -> Result<PeerSpec, String> {
        let key = match &rule.password_secret {
            Some(secret) => {
                let (key, problem) = self.key(secret)?;
                problems.extend(problem.map(|why| format!("BGPPeer {}: {why}", rule.name)));
                Some(key.to_owned())
            }
            None => rule.password.clone(),
        };
        let words = |why: &dyn std::fmt::Display| why.to_string();
        Ok(PeerSpec {
            name: rule.name.clone(),
            address: rule.address.ok_or("peers by interface do not run yet")?,
            port: rule.port,
            source: rule.source_address,
            local_as: Asn::new(rule.my_asn).map_err(|why| words(&why))?,
            peer_as: PeerAs::Exactly(
                Asn::new(rule.peer_asn.unwrap_or_default()).map_err(|why| words(&why))?,
            ),
            router_id: self.router_id(rule).map_err(|why| words(&why))?,
            hold_time: HoldTime::new(rule.hold_time_seconds).map_err(|why| words(&why))?,
            keepalive: rule
                .keepalive_milliseconds
                .map(|ms| std::time::Duration::from_millis(ms.into())),
            connect_time: rule
                .connect_seconds
                .map(|s| std::time::Duration::from_secs(s.into())),
            password: key
                .map(Password::new)
                .transpose()
                .map_err(|why| words(&why))?,
            multihop: rule.multi_hop,
        })
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

impl Plan {
    /// Whether a session with this peer is to run.
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        let is = |peer: &PlannedPeer| matches!(peer, PlannedPeer::Run(spec) if spec.name == name);
        self.peers.iter().any(is)
    }

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

    /// Makes the entries for these addresses and prefixes equal to those of `fresh`.
    fn take_over(
        &mut self,
        fresh: &mut Self,
        vips: &BTreeSet<IpAddr>,
        prefixes: &BTreeSet<IpNetwork>,
    ) -> Difference {
        let mut difference = Difference::default();
        for (peer, routes) in &mut self.routes {
            let mut wanted = fresh.routes.remove(peer).unwrap_or_default();
            for prefix in prefixes {
                let attrs = wanted.remove(prefix);
                if routes.get(prefix) != attrs.as_ref() {
                    put(routes, *prefix, attrs.clone());
                    difference.routes.push((peer.clone(), *prefix, attrs));
                }
            }
        }
        for prefix in prefixes {
            let attracts = fresh.attracted.contains(prefix);
            if attracts != self.attracted.contains(prefix) {
                put_in(&mut self.attracted, *prefix, attracts);
                difference.attracted = true;
            }
        }
        for vip in vips {
            let interfaces = fresh.l2.remove(vip);
            if self.l2.get(vip) != interfaces.as_ref() {
                put(&mut self.l2, *vip, interfaces);
                difference.l2 = true;
            }
        }
        difference
    }

    /// Adds interfaces for an address; no names means all.
    fn answer(&mut self, vip: IpAddr, named: Option<BTreeSet<String>>) {
        let wanted = named.map_or(Interfaces::All, Interfaces::Named);
        match (self.l2.get_mut(&vip), wanted) {
            (Some(Interfaces::Named(held)), Interfaces::Named(more)) => held.extend(more),
            (Some(Interfaces::All), _) => {}
            (_, wanted) => {
                self.l2.insert(vip, wanted);
            }
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
struct Announcing<'a> {
    model: &'a Model,
    peers: &'a [&'a PeerRule],
    /// What its rules announce.
    kinds: BTreeSet<RouteKind>,
}

impl Announcing<'_> {
    /// Adds the addresses of a Service that `concerns` picks.
    fn service(
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
                self.model.vip_l2(service, vip, plan);
            }
        }
        if self.kinds.contains(&RouteKind::ExternalIP) {
            for address in service.external.iter().copied().filter(&concerns) {
                if delivers(service.policy, address) && !self.model.has(address, self.peers) {
                    let mut share = self.share(key, service, address);
                    for rule in self.model.bgp_rules() {
                        if rule.covers_own(RouteKind::ExternalIP, &service.labels) {
                            plan.announce(rule, address.into(), self.peers, share.as_mut());
                        }
                    }
                }
            }
        }
        if self.kinds.contains(&RouteKind::ClusterIP)
            || self.kinds.contains(&RouteKind::ClusterIPRange)
        {
            for address in service.cluster.iter().copied().filter(&concerns) {
                if delivers(service.cluster_policy, address) {
                    self.cluster_ip(service, address, plan);
                }
            }
        }
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
            if prefix != IpNetwork::from(vip) {
                plan.attract(prefix, self.peers);
            }
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
        for rule in self.model.bgp_rules() {
            let alone = rule.covers_own(RouteKind::ClusterIP, &service.labels);
            if alone || (in_range && rule.routes.contains(&RouteKind::ClusterIPRange)) {
                plan.announce(rule, address.into(), self.peers, None);
            }
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

/// Sets or removes one entry.
fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// Adds to a set, or takes out.
fn put_in<K: Ord>(set: &mut BTreeSet<K>, key: K, there: bool) {
    if there {
        set.insert(key);
    } else {
        set.remove(&key);
    }
}

/// The prefix that a rule announces an address in.
fn announced(rule: &BgpRule, vip: IpAddr) -> IpNetwork {
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
