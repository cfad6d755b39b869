//! Pools: ranges that parse and do not overlap, and reservations that lie in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use super::{Judgement, Kind, Refusal, Sources, accepted, check_selectors, refused, unread};
use crate::condition::{OVERLAPPING, Verdict};
use crate::crd::{IPAddressPool, IPAddressPoolSpec, PoolRule, Reservation, SpeakerConfigSpec};
use crate::duration;
use crate::range::{Family, IpRange};

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

/// How long the pool keeps the address of a deleted Service; `None` for not at all.
#[must_use]
pub fn retention(spec: &IPAddressPoolSpec) -> Option<Duration> {
    let kept = duration::parse(spec.retain.as_deref()?).ok()?;
    (!kept.is_zero()).then_some(kept)
}

/// The reservations of a pool, with the address parsed.
pub fn reservations(spec: &IPAddressPoolSpec) -> impl Iterator<Item = (IpAddr, &Reservation)> {
    let parse = |one| Reservation::address(one).map(|address| (address, one));
    spec.reservations.iter().filter_map(parse)
}

/// A pool on trial.
struct Candidate<'a> {
    name: &'a str,
    spec: &'a IPAddressPoolSpec,
    ranges: Vec<IpRange>,
    last: Option<&'a PoolRule>,
    /// Ranges that nobody else may take while the verdict is open: those in force.
    held: Vec<IpRange>,
}

/// Ranges that pools have, each with the name of its pool.
#[derive(Default)]
struct Taken<'a> {
    /// Family and first address of a range, and the pool → the range.
    ranges: BTreeMap<(Family, u128, &'a str), IpRange>,
    /// Ranges of different pools overlap. That is never accepted, but somebody may have edited the configuration in force.
    tangled: bool,
}

impl<'a> Taken<'a> {
    fn insert(&mut self, name: &'a str, ranges: &[IpRange]) {
        for range in ranges {
            self.tangled |= self.overlap(name, range).is_some();
            let place = (range.family(), range.first(), name);
            self.ranges.insert(place, *range);
        }
    }

    fn remove(&mut self, name: &'a str, ranges: &[IpRange]) {
        for range in ranges {
            self.ranges.remove(&(range.family(), range.first(), name));
        }
    }

    /// The range of another pool that overlaps this one, and that pool.
    fn overlap(&self, name: &str, range: &IpRange) -> Option<(&'a str, IpRange)> {
        // Up to those that begin where the range ends; the name is a tie that must not shut anybody out.
        let before = (range.family(), 0, "")..(range.family(), range.last(), "");
        let at = (range.family(), range.last(), "")..;
        let at = self.ranges.range(at);
        let at = at.take_while(|((family, first, _), _)| {
            *family == range.family() && *first == range.last()
        });
        let mut others = at
            .chain(self.ranges.range(before).rev())
            .filter(|((_, _, other), _)| *other != name)
            .map(|((_, _, other), theirs)| (*other, *theirs));
        if self.tangled {
            return others.find(|(_, theirs)| theirs.overlaps(range));
        }
        // Those before the nearest one end before it begins.
        others.next().filter(|(_, theirs)| theirs.overlaps(range))
    }
}

pub(super) fn compile<'a>(
    sources: &'a Sources,
    last: &'a SpeakerConfigSpec,
    judgements: &mut Vec<Judgement>,
) -> Vec<PoolRule> {
    let mut open = Vec::new();
    let mut taken = Taken::default();
    let mut rules = Vec::new();
    let mut stays = |rule: &'a PoolRule| {
        taken.insert(&rule.name, &ranges(&rule.spec).unwrap_or_default());
        rules.push(rule.clone());
    };
    unread(sources, Kind::Pool, &last.pools, |rule| &rule.name).for_each(&mut stays);
    let in_force: HashMap<&str, &PoolRule> = last
        .pools
        .iter()
        .map(|rule| (rule.name.as_str(), rule))
        .collect();
    for (name, pool) in &sources.pools {
        let last = in_force.get(name.as_str()).copied();
        match check(pool) {
            Ok(ranges) => open.push(Candidate {
                name,
                spec: &pool.spec,
                ranges,
                last,
                held: last
                    .and_then(|rule| self::ranges(&rule.spec).ok())
                    .unwrap_or_default(),
            }),
            Err(refusal) => {
                let mut judgement = refused(Kind::Pool, name, &refusal, last.is_some());
                let why = "not looked at, because the pool is invalid: see condition Accepted";
                judgement
                    .verdicts
                    .push(Verdict::no(OVERLAPPING, "NotAccepted", why));
                judgements.push(judgement);
                last.into_iter().for_each(&mut stays);
            }
        }
    }
    // Those whose ranges did not change come first, then the older object: an edit never takes addresses from a pool
    // that is in force, and the verdict does not depend on the order of events.
    open.sort_by_cached_key(|candidate| {
        let created = sources
            .pools
            .get(candidate.name)
            .and_then(|p| p.metadata.creation_timestamp.clone());
        (
            candidate.held != candidate.ranges,
            created.map(|t| t.0),
            candidate.name,
        )
    });
    for candidate in &open {
        taken.insert(candidate.name, &candidate.held);
    }
    settle(open, taken, &mut rules, judgements);
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules
}

/// Accepts candidates until none of the rest fits: a range that moves from one pool to another is free for the second as
/// soon as the first has let go, in whatever order they stand.
fn settle<'a>(
    mut open: Vec<Candidate<'a>>,
    mut taken: Taken<'a>,
    rules: &mut Vec<PoolRule>,
    judgements: &mut Vec<Judgement>,
) {
    loop {
        let fits = open
            .iter()
            .position(|candidate| overlap(candidate, &taken).is_none());
        let Some(index) = fits else { break };
        let candidate = open.remove(index);
        let mut judgement = accepted(Kind::Pool, candidate.name, None);
        let apart = "no other pool has any of these addresses";
        judgement
            .verdicts
            .push(Verdict::no(OVERLAPPING, "Apart", apart));
        judgements.push(judgement);
        rules.push(PoolRule {
            name: candidate.name.to_owned(),
            spec: candidate.spec.clone(),
        });
        taken.remove(candidate.name, &candidate.held);
        taken.insert(candidate.name, &candidate.ranges);
    }
    for candidate in &open {
        if let Some(refusal) = overlap(candidate, &taken) {
            let last_good = candidate.last.is_some();
            let mut judgement = refused(Kind::Pool, candidate.name, &refusal, last_good);
            let overlapping = Verdict::yes(OVERLAPPING, "OtherPool", refusal.message);
            judgement.verdicts.push(overlapping);
            judgements.push(judgement);
        }
        rules.extend(candidate.last.cloned());
    }
}

/// The first overlap with a range that another pool has, if any.
fn overlap(candidate: &Candidate<'_>, taken: &Taken<'_>) -> Option<Refusal> {
    candidate.ranges.iter().find_map(|ours| {
        let (name, theirs) = taken.overlap(candidate.name, ours)?;
        let why = format!(
            "{ours} overlaps {theirs} of IPAddressPool {name}: give each address to one pool only"
        );
        Some(Refusal::conflict("spec.addresses", why))
    })
}

fn check(pool: &IPAddressPool) -> Result<Vec<IpRange>, Refusal> {
    let spec = &pool.spec;
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
    let excluded =
        excluded_ranges(spec).map_err(|why| Refusal::invalid("spec.excludedAddresses", why))?;
    check_reservations(spec, &ranges, &excluded)?;
    if let Some(text) = &spec.retain {
        duration::parse(text).map_err(|why| Refusal::invalid("spec.retain", why))?;
    }
    let quota = spec.quota.as_ref();
    if quota.is_some_and(|quota| quota.addresses_per_namespace < 1) {
        let field = "spec.quota.addressesPerNamespace";
        return Err(Refusal::invalid(field, "must be at least 1"));
    }
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

/// Each reserved address must be one that the pool gives out, and nobody has two of one family.
fn check_reservations(
    spec: &IPAddressPoolSpec,
    ranges: &[IpRange],
    excluded: &[IpRange],
) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for (index, one) in spec.reservations.iter().enumerate() {
        let refuse = |why: String| {
            let field = format!("spec.reservations[{index}].address");
            Err(Refusal::invalid(&field, why))
        };
        let Reservation {
            namespace,
            name,
            address: text,
        } = one;
        let Some(address) = one.address() else {
            return refuse(format!("{text:?} is not an IP address"));
        };
        let inside = |ranges: &[IpRange]| ranges.iter().any(|range| range.contains(address));
        if !inside(ranges) {
            return refuse(format!(
                "{address} is in none of spec.addresses: reserve it in the pool that has it"
            ));
        }
        let buggy = spec.avoid_buggy_ips && is_buggy(address);
        if inside(excluded) || buggy {
            return refuse(format!(
                "{address} is never given out (spec.excludedAddresses or spec.avoidBuggyIPs): reserve another one"
            ));
        }
        if !seen.insert((namespace, name, Family::of(address))) {
            return refuse(format!(
                "Service {namespace}/{name} has another reservation of the same family: a Service has one address of each"
            ));
        }
    }
    Ok(())
}

/// Whether the address ends in `.0` or `.255`, which some old routers and firewalls drop.
#[must_use]
pub fn is_buggy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [.., 0 | 255]))
}
