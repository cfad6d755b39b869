//! Advertisements by BGP: names resolved, numbers checked; and what any advertisement covers.

use std::collections::BTreeMap;

use super::communities::{Aliases, resolve};
use super::overlaps::disagreement;
use super::rivals::{Refs, Trial};
use super::{Judgement, Kind, Refusal, Sources, check_selectors, pools};
use crate::crd::{
    BGPAdvertisementSpec, BgpRule, Communities, PeerRule, PoolRule, SpeakerConfigSpec,
};
use crate::range::Family;
use crate::selector::LabelSelector;

pub(super) fn compile(
    sources: &Sources,
    pools: &[PoolRule],
    peers: &[PeerRule],
    aliases: &Aliases,
    last: &SpeakerConfigSpec,
    judgements: &mut Vec<Judgement>,
) -> Vec<BgpRule> {
    let mut trial = Trial::new(Kind::Bgp, &last.bgp, |rule| &rule.name);
    trial.keep_unread(sources);
    for (name, object) in &sources.bgp {
        let held = trial.last(name).map_or(&[][..], |rule| &rule.pools);
        let scope = Scope {
            sources,
            pools,
            held,
        };
        let created = object.metadata.creation_timestamp.as_ref();
        let result = rule(name, &object.spec, &scope, peers, aliases);
        trial.hear(name, created, result, judgements);
    }
    trial.settle(|rule, other| disagreement(rule, other, pools), judgements)
}

fn rule(
    name: &str,
    spec: &BGPAdvertisementSpec,
    scope: &Scope<'_>,
    peers: &[PeerRule],
    aliases: &Aliases,
) -> Result<(BgpRule, Refs), Refusal> {
    check_selectors("spec.nodeSelectors", &spec.node_selectors)?;
    check_selectors("spec.serviceSelectors", &spec.service_selectors)?;
    let covered = scope.covered(&spec.ip_address_pools, &spec.ip_address_pool_selectors)?;
    let lengths = aggregation(spec, &covered, scope.pools)?;
    let refs = scope.missing_pools(&spec.ip_address_pools).and_then(|()| {
        missing("spec.peers", "BGPPeer", &spec.peers, |peer| {
            peers.iter().any(|p| p.name == peer)
        })
    });
    let mut routes = spec.routes.clone();
    routes.sort_unstable();
    routes.dedup();
    let rule = BgpRule {
        name: name.to_owned(),
        routes,
        pools: covered,
        node_selectors: spec.node_selectors.clone(),
        service_selectors: spec.service_selectors.clone(),
        peers: spec.peers.clone(),
        aggregation_length: lengths.0,
        aggregation_length_v6: lengths.1,
        local_pref: number("spec.localPref", spec.local_pref)?,
        communities: communities(spec, aliases)?,
        med: number("spec.med", spec.med)?,
        as_path_prepend: prepend(spec)?,
        bandwidth: spec.bandwidth,
        drain: resolve(
            "spec.drainCommunity",
            spec.drain_community.as_slice(),
            aliases,
        )?,
    };
    Ok((rule, Some(refs)))
}

fn number(field: &str, value: Option<i64>) -> Result<Option<u32>, Refusal> {
    let value = value.map(u32::try_from).transpose();
    value.map_err(|_| Refusal::invalid(field, "must be 0 to 4294967295"))
}

fn prepend(spec: &BGPAdvertisementSpec) -> Result<u8, Refusal> {
    let times = spec.as_path_prepend.map_or(Ok(0), u8::try_from);
    let allowed = times
        .ok()
        .filter(|times| spec.as_path_prepend.is_none() || (1..=16).contains(times));
    allowed.ok_or_else(|| Refusal::invalid("spec.asPathPrepend", "must be 1 to 16"))
}

fn communities(spec: &BGPAdvertisementSpec, aliases: &Aliases) -> Result<Communities, Refusal> {
    let communities = resolve("spec.communities", &spec.communities, aliases)?;
    // Link bandwidth, within an AS or not: routers would see two of them.
    let weighs = |[head, _]: &[u32; 2]| matches!(head >> 16, 0x0004 | 0x4004);
    if spec.bandwidth.is_some() && communities.extended.iter().any(weighs) {
        let why = "holds a link bandwidth, which spec.bandwidth adds as well: remove one of them";
        return Err(Refusal::invalid("spec.communities", why));
    }
    Ok(communities)
}

/// Both families' aggregation lengths. An aggregate must not reach beyond the pool: it would attract addresses that are
/// somebody else's.
fn aggregation(
    spec: &BGPAdvertisementSpec,
    covered: &[String],
    pools: &[PoolRule],
) -> Result<(u8, u8), Refusal> {
    let field_v4 = "spec.aggregationLength";
    let field_v6 = "spec.aggregationLengthV6";
    let v4 = u8::try_from(spec.aggregation_length)
        .ok()
        .filter(|length| (1..=32).contains(length));
    let v4 = v4.ok_or_else(|| Refusal::invalid(field_v4, "must be 1 to 32"))?;
    let v6 = u8::try_from(spec.aggregation_length_v6)
        .ok()
        .filter(|length| (1..=128).contains(length));
    let v6 = v6.ok_or_else(|| Refusal::invalid(field_v6, "must be 1 to 128"))?;
    if !spec.service_selectors.is_empty() && (v4, v6) != (32, 128) {
        let why = "needs aggregationLength 32 and aggregationLengthV6 128: an aggregate serves more than the selected Services";
        return Err(Refusal::invalid("spec.serviceSelectors", why));
    }
    for pool in pools.iter().filter(|pool| covered.contains(&pool.name)) {
        for range in pools::ranges(&pool.spec).unwrap_or_default() {
            let (field, length) = match range.family() {
                Family::V4 => (field_v4, v4),
                Family::V6 => (field_v6, v6),
            };
            if length < range.largest_prefix() {
                let why = format!(
                    "{length} reaches beyond {range} of IPAddressPool {}: use at least {}",
                    pool.name,
                    range.largest_prefix()
                );
                return Err(Refusal::invalid(field, why));
            }
        }
    }
    Ok((v4, v6))
}

/// What an advertisement can cover.
pub(super) struct Scope<'a> {
    pub(super) sources: &'a Sources,
    /// Pools in force.
    pub(super) pools: &'a [PoolRule],
    /// Pools that the last good version of the advertisement covered.
    pub(super) held: &'a [String],
}

impl Scope<'_> {
    /// Names of the pools in force that an advertisement covers: listed or selected; all when it says neither.
    pub(super) fn covered(
        &self,
        names: &[String],
        selectors: &[LabelSelector],
    ) -> Result<Vec<String>, Refusal> {
        check_selectors("spec.ipAddressPoolSelectors", selectors)?;
        let everything = names.is_empty() && selectors.is_empty();
        let covers =
            |name: &&String| everything || names.contains(name) || self.selects(selectors, name);
        let pools = self.pools.iter().map(|pool| &pool.name);
        Ok(pools.filter(covers).cloned().collect())
    }

    fn selects(&self, selectors: &[LabelSelector], pool: &String) -> bool {
        let Some(object) = self.sources.pools.get(pool) else {
            // Nobody can read its labels: it is selected if it was.
            return !selectors.is_empty() && self.held.contains(pool);
        };
        let empty = BTreeMap::new();
        let labels = object.metadata.labels.as_ref().unwrap_or(&empty);
        selectors.iter().any(|selector| selector.matches(labels))
    }

    pub(super) fn missing_pools(&self, names: &[String]) -> Result<(), String> {
        let exists = |pool: &str| self.sources.has_pool(pool);
        missing("spec.ipAddressPools", "IPAddressPool", names, exists)
    }
}

fn missing(
    field: &str,
    kind: &str,
    names: &[String],
    exists: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let absent: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !exists(name))
        .collect();
    if absent.is_empty() {
        return Ok(());
    }
    Err(format!("{field}: no accepted {kind} {}", absent.join(", ")))
}
