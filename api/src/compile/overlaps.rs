//! Advertisements that put the same prefix to the same peer.
//!
//! Communities of such advertisements add up. Of what can have one value only, two values can not both be right, so the
//! younger object is refused. Which nodes and Services two of them share is known only later; they are held to share some
//! unless their selectors name different things.

use super::Refusal;
use super::pools;
use super::rivals::may_meet;
use crate::crd::{BgpRule, PoolRule, RouteKind};
use crate::range::Family;

/// Why the first rule can not stand beside the second.
pub(super) fn disagreement(rule: &BgpRule, other: &BgpRule, pools: &[PoolRule]) -> Option<Refusal> {
    let values = [
        ("spec.localPref", rule.local_pref == other.local_pref),
        ("spec.med", rule.med == other.med),
        (
            "spec.asPathPrepend",
            rule.as_path_prepend == other.as_path_prepend,
        ),
        ("spec.bandwidth", rule.bandwidth == other.bandwidth),
    ];
    let (field, _) = values.into_iter().find(|(_, same)| !same)?;
    let meets = |a: &[String], b: &[String]| {
        a.is_empty() || b.is_empty() || a.iter().any(|x| b.contains(x))
    };
    let meet = meets(&other.peers, &rule.peers)
        && may_meet(&other.node_selectors, &rule.node_selectors)
        && share_a_prefix(rule, other, pools);
    meet.then(|| {
        let why = format!(
            "differs from that of BGPAdvertisement {}, which announces the same addresses to the same peers: use one value, or different pools, peers or selectors",
            other.name
        );
        Refusal::conflict(field, why)
    })
}

fn share_a_prefix(rule: &BgpRule, other: &BgpRule, pools: &[PoolRule]) -> bool {
    use RouteKind::{ClusterIP, ClusterIPRange, ExternalIP, LoadBalancerIP, PodCIDR};
    let services = may_meet(&other.service_selectors, &rule.service_selectors);
    rule.routes.iter().any(|kind| match kind {
        LoadBalancerIP => {
            services && other.routes.contains(kind) && share_a_pool(rule, other, pools)
        }
        ExternalIP => services && other.routes.contains(kind),
        // A range brings single ClusterIPs with it, whatever the labels of their Services.
        ClusterIP => {
            (services && other.routes.contains(kind)) || other.routes.contains(&ClusterIPRange)
        }
        ClusterIPRange => other
            .routes
            .iter()
            .any(|of| matches!(of, ClusterIPRange | ClusterIP)),
        PodCIDR => other.routes.contains(kind),
    })
}

/// Whether both cover a pool, and announce a family that it has under one length.
fn share_a_pool(rule: &BgpRule, other: &BgpRule, pools: &[PoolRule]) -> bool {
    let same = |family| match family {
        Family::V4 => rule.aggregation_length == other.aggregation_length,
        Family::V6 => rule.aggregation_length_v6 == other.aggregation_length_v6,
    };
    let mut both = pools
        .iter()
        .filter(|pool| rule.pools.contains(&pool.name) && other.pools.contains(&pool.name));
    both.any(|pool| {
        let ranges = pools::ranges(&pool.spec).unwrap_or_default();
        ranges.iter().any(|range| same(range.family()))
    })
}
