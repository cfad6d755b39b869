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

use super::model::{KnownService, Model};
use crate::bgp::{Password, PeerAs, PeerSpec};
use crate::l2::Interfaces;
use crate::watches::fnv1a;

/// Complete set of announcements of this node.
#[derive(Debug, Default)]
pub struct Plan {
    /// Why the node announces nothing at all, if so.
    pub excluded: Option<String>,
    /// Addresses to answer for by ARP and NDP.
    pub l2: BTreeMap<IpAddr, Interfaces>,
    /// Peers of this node.
    pub peers: Vec<PlannedPeer>,
    /// What stands in the way of something, in words; what can go on goes on.
    pub problems: Vec<String>,
    /// Routes for each peer by name.
    pub routes: BTreeMap<String, BTreeMap<IpNetwork, RouteAttrs>>,
}

/// What changed in a plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Routes by peer; without attributes for those to withdraw.
    pub routes: Vec<(String, IpNetwork, Option<RouteAttrs>)>,
    /// Something changed in [`Plan::l2`].
    pub l2: bool,
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
        self.cluster_ranges(&ours, &mut plan);
        for (key, service) in &self.services {
            for vip in &service.vips {
                if self.attracts(key, service, *vip) {
                    self.vip_routes(service, *vip, &ours, &mut plan);
                    self.vip_l2(service, *vip, &mut plan);
                }
            }
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
        let mut fresh = Plan::default();
        let rules = self.config.peers.iter();
        let labels = self.node.as_ref().map(Node::labels);
        let ours: Vec<&PeerRule> = rules
            .filter(|peer| labels.is_some_and(|labels| peer.is_on(labels)))
            .collect();
        if self.excluded().is_none() {
            self.cluster_ranges(&ours, &mut fresh);
            for (key, service) in &self.services {
                let touches = |vip: &&IpAddr| {
                    vips.contains(*vip) || prefixes.iter().any(|prefix| prefix.contains(**vip))
                };
                for vip in service.vips.iter().filter(touches) {
                    if self.attracts(key, service, *vip) {
                        self.vip_routes(service, *vip, &ours, &mut fresh);
                        self.vip_l2(service, *vip, &mut fresh);
                    }
                }
            }
        }
        plan.take_over(&mut fresh, vips, &prefixes)
    }

    /// The prefixes that these addresses are announced in, by any rule of this node.
    fn prefixes_of(&self, vips: &BTreeSet<IpAddr>) -> BTreeSet<IpNetwork> {
        let of_rule = |rule: &BgpRule| -> Vec<IpNetwork> {
            vips.iter().map(|vip| announced(rule, *vip)).collect()
        };
        self.bgp_rules().flat_map(of_rule).collect()
    }

    fn excluded(&self) -> Option<String> {
        match &self.node {
            None => Some(format!("Node {} does not exist", self.node_name())),
            Some(node) => node.excluded().map(str::to_owned),
        }
    }

    /// A node attracts traffic only if it can deliver it: for policy Local to an endpoint of its own, for policy Cluster
    /// to any endpoint, of the address's own family.
    fn attracts(&self, key: &ObjectKey, service: &KnownService, vip: IpAddr) -> bool {
        let (anywhere, here) = self.usable(key, Family::of(vip));
        match service.policy {
            TrafficPolicy::Cluster => anywhere,
            TrafficPolicy::Local => here,
        }
    }

    fn bgp_rules(&self) -> impl Iterator<Item = &BgpRule> {
        let labels = self.node.as_ref().map(Node::labels);
        self.config
            .bgp
            .iter()
            .filter(move |rule| labels.is_some_and(|labels| rule.is_on(labels)))
    }

    fn cluster_ranges(&self, peers: &[&PeerRule], plan: &mut Plan) {
        for rule in self
            .bgp_rules()
            .filter(|rule| rule.routes.contains(&RouteKind::ClusterIPRange))
        {
            for range in &self.config.cluster_ip_ranges {
                plan.announce(rule, masked(*range, range.prefix()), peers);
            }
        }
    }

    fn vip_routes(
        &self,
        service: &KnownService,
        vip: IpAddr,
        peers: &[&PeerRule],
        plan: &mut Plan,
    ) {
        let Some(pool) = self.pools.of(vip) else {
            return;
        };
        let covers = |rule: &&BgpRule| rule.covers(pool, &service.labels);
        for rule in self.bgp_rules().filter(covers) {
            plan.announce(rule, announced(rule, vip), peers);
        }
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
    fn announce(&mut self, rule: &BgpRule, prefix: IpNetwork, peers: &[&PeerRule]) {
        let takes = |peer: &&&PeerRule| peer.carries(prefix.ip()) && rule.tells(peer);
        for peer in peers.iter().filter(takes) {
            let routes = self.routes.entry(peer.name.clone()).or_default();
            let attrs = routes.entry(prefix).or_default();
            attrs.local_pref = attrs.local_pref.max(rule.local_pref);
            attrs.med = attrs.med.max(rule.med);
            attrs.prepend = attrs.prepend.max(rule.as_path_prepend);
            attach(&rule.communities, attrs);
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
