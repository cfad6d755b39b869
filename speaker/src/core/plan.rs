//! What this node announces, computed as one complete value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use portolan_api::crd::{BgpRule, PeerRule};
use portolan_proto::bgp::{Audience, Audiences, Prefix};

use super::model::Model;
use super::peers::PlannedPeer;
use super::routes::{Announcing, announced, is_host};
use crate::takeover::Duty;

/// Complete set of announcements of this node.
#[derive(Debug, Default)]
pub struct Plan {
    /// Why the node announces nothing at all, if so.
    pub excluded: Option<String>,
    /// Why its routes are a last resort only, if so.
    pub draining: Option<&'static str>,
    /// Addresses that the node may have to answer for by ARP and NDP: those whose placement names it, and those whose
    /// placement did since the speaker started. A node that is excluded is to hand them over.
    pub l2: BTreeMap<IpAddr, Duty>,
    /// Peers of this node.
    pub peers: Vec<PlannedPeer>,
    /// What stands in the way of something, in words; what can go on goes on.
    pub problems: Vec<String>,
    /// Routes, and which peers are told what of each.
    pub routes: BTreeMap<Prefix, Arc<Audience>>,
    /// Announced prefixes that hold more addresses than are used: nobody else is to have what is sent to the others.
    pub attracted: BTreeSet<IpNetwork>,
    /// Those of the routes.
    pub(super) audiences: Audiences,
}

/// What changed in a plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Routes, without an audience for those to withdraw.
    pub routes: Vec<(Prefix, Option<Arc<Audience>>)>,
    /// Something changed in [`Plan::l2`].
    pub l2: bool,
    /// Something changed in [`Plan::attracted`].
    pub attracted: bool,
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
        for (key, service) in self.services.iter() {
            self.duties(key, service, |_| true, &mut plan);
        }
        let standing = self.standing();
        let ours: Vec<&PeerRule> = standing.iter().map(|peer| peer.rule).collect();
        plan.peers = self.peers(&standing, &mut plan.problems);
        // An excluded node keeps its sessions and withdraws: the router sees an orderly empty table, not a flap.
        if plan.excluded.is_some() {
            return plan;
        }
        let mut node = Announcing::on(self, &ours);
        node.ranges(&mut plan);
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
        let standing = self.standing();
        let ours: Vec<&PeerRule> = standing.iter().map(|peer| peer.rule).collect();
        // Not all Services: what one change costs must not depend on how many there are.
        let found = self.services.within(&prefixes);
        for ((key, _), service) in &found {
            self.duties(key, service, |vip| vips.contains(vip), &mut fresh);
        }
        if self.excluded().is_none() {
            let mut node = Announcing::on(self, &ours);
            node.ranges(&mut fresh);
            // Asked for every address of those: the addresses themselves are the short way.
            let wide = prefixes.iter().filter(|prefix| !is_host(**prefix));
            let wide: Vec<IpNetwork> = wide.copied().collect();
            let concerned = |vip: &IpAddr| {
                vips.contains(vip) || wide.iter().any(|prefix| prefix.contains(*vip))
            };
            for ((key, _), service) in &found {
                node.service(key, service, concerned, &mut fresh);
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
}

impl Plan {
    /// Makes the entries for these addresses and prefixes equal to those of `fresh`.
    fn take_over(
        &mut self,
        fresh: &mut Self,
        vips: &BTreeSet<IpAddr>,
        prefixes: &BTreeSet<IpNetwork>,
    ) -> Difference {
        let mut difference = Difference::default();
        for prefix in prefixes {
            let route = Prefix::from(*prefix);
            let audience = fresh.routes.remove(&route);
            if self.routes.get(&route) != audience.as_ref() {
                let audience = audience.map(|audience| self.audiences.share(audience));
                put(&mut self.routes, route, audience.clone());
                difference.routes.push((route, audience));
            }
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
