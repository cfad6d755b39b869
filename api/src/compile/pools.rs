//! Pools: ranges that parse, do not overlap, and use no field that is not served yet.

use std::net::IpAddr;

use super::{Judgement, Kind, Refusal, Sources, accepted, check_selectors, refused, unread};
use crate::crd::{IPAddressPool, IPAddressPoolSpec, PoolRule, SpeakerConfigSpec};
use crate::range::IpRange;

/// The ranges of a pool, in the order in which they are written.
pub fn ranges(spec: &IPAddressPoolSpec) -> Result<Vec<IpRange>, crate::range::RangeError> {
    spec.addresses.iter().map(|text| text.parse()).collect()
}

/// The ranges that a pool keeps back. A single address may stand without a prefix length.
pub fn excluded_ranges(spec: &IPAddressPoolSpec) -> Result<Vec<IpRange>, crate::range::RangeError> {
    let parse = |text: &String| match text.trim().parse::<IpAddr>() {
        Ok(address) => IpRange::new(address, address),
        Err(_) => text.parse(),
    };
    spec.excluded_addresses.iter().map(parse).collect()
}

/// A pool on trial.
struct Candidate<'a> {
    name: &'a str,
    spec: &'a IPAddressPoolSpec,
    ranges: Vec<IpRange>,
    last: Option<&'a PoolRule>,
}

impl Candidate<'_> {
    /// Ranges that nobody else may take while the verdict is open: those in force.
    fn held(&self) -> Vec<IpRange> {
        self.last
            .and_then(|rule| ranges(&rule.spec).ok())
            .unwrap_or_default()
    }
}

pub(super) fn compile(
    sources: &Sources,
    last: &SpeakerConfigSpec,
    judgements: &mut Vec<Judgement>,
) -> Vec<PoolRule> {
    let mut open = Vec::new();
    let mut taken: Vec<(String, Vec<IpRange>)> = Vec::new();
    let mut rules = Vec::new();
    let mut stays = |rule: &PoolRule| {
        taken.push((rule.name.clone(), ranges(&rule.spec).unwrap_or_default()));
        rules.push(rule.clone());
    };
    unread(sources, Kind::Pool, &last.pools, |rule| &rule.name).for_each(&mut stays);
    for (name, pool) in &sources.pools {
        let last = last.pools.iter().find(|rule| &rule.name == name);
        match check(pool) {
            Ok(ranges) => open.push(Candidate {
                name,
                spec: &pool.spec,
                ranges,
                last,
            }),
            Err(refusal) => {
                judgements.push(refused(Kind::Pool, name, &refusal, last.is_some()));
                last.into_iter().for_each(&mut stays);
            }
        }
    }
    // Those whose ranges did not change come first, then the older object: an edit never takes addresses from a pool
    // that is in force, and the verdict does not depend on the order of events.
    open.sort_by_key(|candidate| {
        let created = sources
            .pools
            .get(candidate.name)
            .and_then(|p| p.metadata.creation_timestamp.clone());
        (
            candidate.held() != candidate.ranges,
            created.map(|t| t.0),
            candidate.name,
        )
    });
    settle(open, &mut taken, &mut rules, judgements);
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules
}

/// Accepts candidates until none of the rest fits: a range that moves from one pool to another is free for the second as
/// soon as the first has let go, in whatever order they stand.
fn settle(
    mut open: Vec<Candidate<'_>>,
    taken: &mut Vec<(String, Vec<IpRange>)>,
    rules: &mut Vec<PoolRule>,
    judgements: &mut Vec<Judgement>,
) {
    loop {
        let fits = open
            .iter()
            .position(|candidate| overlap(candidate, taken, &open).is_none());
        let Some(index) = fits else { break };
        let candidate = open.remove(index);
        judgements.push(accepted(Kind::Pool, candidate.name, None));
        rules.push(PoolRule {
            name: candidate.name.to_owned(),
            spec: candidate.spec.clone(),
        });
        taken.push((candidate.name.to_owned(), candidate.ranges));
    }
    for candidate in &open {
        if let Some(refusal) = overlap(candidate, taken, &open) {
            let last_good = candidate.last.is_some();
            judgements.push(refused(Kind::Pool, candidate.name, &refusal, last_good));
        }
        rules.extend(candidate.last.cloned());
    }
}

/// The first overlap with a pool in force, if any.
fn overlap(
    candidate: &Candidate<'_>,
    taken: &[(String, Vec<IpRange>)],
    open: &[Candidate<'_>],
) -> Option<Refusal> {
    let in_force = taken
        .iter()
        .map(|(name, ranges)| (name.as_str(), ranges.clone()));
    let undecided = open
        .iter()
        .filter(|other| other.name != candidate.name && other.held() != Vec::new())
        .map(|other| (other.name, other.held()));
    for (name, ranges) in in_force.chain(undecided) {
        for theirs in &ranges {
            if let Some(ours) = candidate.ranges.iter().find(|ours| ours.overlaps(theirs)) {
                let why = format!(
                    "{ours} overlaps {theirs} of IPAddressPool {name}: give each address to one pool only"
                );
                return Some(Refusal::conflict("spec.addresses", why));
            }
        }
    }
    None
}

fn check(pool: &IPAddressPool) -> Result<Vec<IpRange>, Refusal> {
    let spec = &pool.spec;
    let unserved = [
        ("spec.sharing", spec.sharing.is_some()),
        ("spec.quota", spec.quota.is_some()),
        ("spec.retain", spec.retain.is_some()),
    ];
    if let Some((field, _)) = unserved.into_iter().find(|(_, set)| *set) {
        return Err(Refusal::not_implemented(field));
    }
    let ranges = ranges(spec).map_err(|why| Refusal::invalid("spec.addresses", why))?;
    if ranges.is_empty() {
        return Err(Refusal::invalid(
            "spec.addresses",
            "empty: write at least one range",
        ));
    }
    for (index, range) in ranges.iter().enumerate() {
        let before = ranges
            .iter()
            .take(index)
            .find(|other| other.overlaps(range));
        if let Some(other) = before {
            let why = format!("{range} overlaps {other} of the same pool: write each address once");
            return Err(Refusal::invalid("spec.addresses", why));
        }
    }
    excluded_ranges(spec).map_err(|why| Refusal::invalid("spec.excludedAddresses", why))?;
    if let Some(allocation) = &spec.service_allocation {
        let field = "spec.serviceAllocation";
        if allocation.priority < 0 {
            return Err(Refusal::invalid(
                &format!("{field}.priority"),
                "must not be negative",
            ));
        }
        check_selectors(
            &format!("{field}.namespaceSelectors"),
            &allocation.namespace_selectors,
        )?;
        check_selectors(
            &format!("{field}.serviceSelectors"),
            &allocation.service_selectors,
        )?;
    }
    Ok(ranges)
}
