//! Who is where: the nodes of the cluster, the homes of an address, and the BFD sessions that follow from both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;
use portolan_api::crd::{DetectionRule, NodeRule};
use portolan_proto::ethernet::MacAddr;

use super::api::{Duty, SessionKey, SessionWish};
use super::segment::Segment;
use super::vip::Vip;

/// The other nodes, as their speakers reported them.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    addresses: BTreeMap<Arc<str>, Vec<IpNetwork>>,
    macs: BTreeMap<MacAddr, Arc<str>>,
}

impl Nodes {
    pub(super) fn new(rules: &[NodeRule]) -> Self {
        let mut nodes = Self::default();
        for rule in rules {
            let name: Arc<str> = Arc::from(rule.name.as_str());
            let addresses = nodes.addresses.entry(name.clone()).or_default();
            for interface in &rule.interfaces {
                addresses.extend(&interface.addresses);
                if let Some(mac) = parse_mac(&interface.mac) {
                    nodes.macs.insert(mac, name.clone());
                }
            }
        }
        nodes
    }

    pub(super) fn know(&self, node: &str) -> bool {
        self.addresses.contains_key(node)
    }

    pub(super) fn by_mac(&self, mac: MacAddr) -> Option<&Arc<str>> {
        self.macs.get(&mac)
    }

    /// Our address and that of the node through which they watch each other: IPv4 if there is a common subnet, and the
    /// lowest ones, so that both sides choose the same.
    pub(super) fn pair(&self, segment: &Segment, node: &str) -> Option<(IpAddr, IpAddr)> {
        let theirs = self.addresses.get(node)?;
        let pairs = segment.locals.iter().flat_map(|local| {
            let common = move |peer: &&IpNetwork| {
                local.contains(peer.ip()) && peer.contains(local.ip()) && peer.ip() != local.ip()
            };
            theirs
                .iter()
                .filter(common)
                .map(|peer| (local.ip(), peer.ip()))
        });
        pairs.min_by_key(|(local, peer)| (local.is_ipv6(), *local.min(peer), *local.max(peer)))
    }
}

/// `02:00:00:00:00:01`; anything else names nobody.
fn parse_mac(text: &str) -> Option<MacAddr> {
    let mut octets = text
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).ok());
    let mut mac = [0; 6];
    for octet in &mut mac {
        *octet = octets.next()??;
    }
    octets.next().is_none().then_some(MacAddr(mac))
}

/// The segments where an address is answered for: those that the rule covers and, if one of these has a subnet that
/// contains the address, only such. None where its family is off: whoever claims it there would keep it from the others.
pub(super) fn homes(vip: IpAddr, duty: &Duty, segments: &BTreeMap<u32, Segment>) -> BTreeSet<u32> {
    let covered = || {
        segments
            .iter()
            .filter(|(_, it)| duty.interfaces.covers(&it.name))
    };
    // Even one that is down: its addresses are not to be answered for elsewhere.
    let in_subnet = covered().any(|(_, segment)| segment.contains(vip));
    covered()
        .filter(|(_, segment)| segment.speaks_for(vip) && (!in_subnet || segment.contains(vip)))
        .map(|(index, _)| *index)
        .collect()
}

/// What follows from all duties for one other node on one segment: the quickest detection that any of them asks for.
type Shares = BTreeMap<(Arc<str>, u32), DetectionRule>;

fn shares(me: &str, vips: &BTreeMap<IpAddr, Vip>) -> Shares {
    let mut names: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    let mut shares = Shares::new();
    // Only where we are named: sessions must be wanted by both sides.
    for vip in vips.values().filter(|vip| vip.rank.is_some()) {
        let others = vip.duty.nodes.iter().filter(|node| *node != me);
        for node in others {
            let name = names
                .entry(node)
                .or_insert_with(|| Arc::from(node.as_str()));
            for home in &vip.homes {
                let rule = shares
                    .entry((name.clone(), *home))
                    .or_insert(vip.duty.detection);
                if detection(vip.duty.detection) < detection(*rule) {
                    *rule = vip.duty.detection;
                }
            }
        }
    }
    shares
}

fn detection(rule: DetectionRule) -> Duration {
    Duration::from_millis(rule.interval_milliseconds.into()) * rule.multiplier.into()
}

/// Tells each segment who shares addresses with us there. Returns the sessions that follow.
pub(super) fn connect(
    me: &str,
    vips: &BTreeMap<IpAddr, Vip>,
    nodes: &Nodes,
    segments: &mut BTreeMap<u32, Segment>,
) -> BTreeMap<SessionKey, SessionWish> {
    for segment in segments.values_mut() {
        segment.peers.clear();
        segment.nodes.clear();
    }
    let mut sessions = BTreeMap::new();
    for ((node, interface), rule) in shares(me, vips) {
        let Some(segment) = segments.get_mut(&interface) else {
            continue;
        };
        let pair = nodes.pair(segment, &node);
        segment.peers.insert(node.clone(), pair.is_some());
        let Some((local, peer)) = pair else {
            continue;
        };
        segment.nodes.insert(peer);
        let wish = SessionWish {
            peer,
            local,
            interface: segment.name.clone(),
            interval: Duration::from_millis(rule.interval_milliseconds.into()),
            multiplier: rule.multiplier,
        };
        let node = node.to_string();
        sessions.insert(SessionKey { node, interface }, wish);
    }
    sessions
}

impl SessionWish {
    /// Silence after which the session goes Down.
    pub(super) fn detection(&self) -> Duration {
        self.interval * self.multiplier.into()
    }
}
