//! One pool: its ranges, what is free in them, and who may use it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_api::compile;
use portolan_api::crd::{PoolRule, ServiceAllocation, Strategy};
use portolan_api::range::{Family, IpRange, value};
use portolan_api::selector::any_or_empty;

use super::claim::State;
use super::interval::IntervalSet;
use super::quota::Quota;
use super::request::Request;

/// A pool on duty.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) auto_assign: bool,
    pub(super) allocation: Option<ServiceAllocation>,
    /// Whether Services of different namespaces may share an address.
    pub(super) across_namespaces: bool,
    pub(super) quota: Option<Quota>,
    strategy: Strategy,
    avoid_buggy: bool,
    /// Disjoint, ascending.
    excluded: Vec<IpRange>,
    sides: [Side; 2],
}

/// What a pool has of one family.
#[derive(Debug, Clone, Default)]
struct Side {
    /// In written order.
    spans: Vec<Span>,
    /// Spans in which something may be free, in the order in which they are to be used: see [`Span::rank`].
    open: BTreeSet<(Rank, usize)>,
    /// Addresses that may be given out, free or not.
    usable: u128,
    /// Usable addresses that Services have.
    assigned: u128,
    /// Usable addresses that are not to be had, although no Service has them.
    withheld: u128,
}

#[derive(Debug, Clone)]
struct Span {
    range: IpRange,
    free: IntervalSet,
    usable: u128,
    /// Usable addresses that are not free.
    busy: u128,
}

/// The share of a span that is in use, in parts of 2^96, and the addresses in use: of two vast spans with shares that are too
/// small to tell apart, the one that has less in use comes first.
type Rank = (u128, u128);

impl Span {
    /// Spans of the smallest rank are used first.
    fn rank(&self, strategy: Strategy) -> Rank {
        match strategy {
            Strategy::FirstFit => (0, 0),
            // There are never 2^32 addresses in use, but for all of IPv4.
            Strategy::Balanced => {
                let share = self.busy.saturating_mul(1 << 96) / self.usable.max(1);
                (share, self.busy)
            }
        }
    }
}

/// Addresses of a pool in numbers, one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Held by Services.
    pub assigned: u128,
    /// Free to be given out.
    pub available: u128,
    /// All that may be given out: beside the two above, those that nodes use, and those that are reserved, retained, or in
    /// quarantine.
    pub total: u128,
}

impl Pool {
    /// The pool that an accepted rule describes. Ranges that do not parse were refused by compilation.
    pub(super) fn new(rule: &PoolRule) -> Self {
        let mut pool = Self {
            name: rule.name.clone(),
            auto_assign: rule.spec.auto_assign,
            allocation: rule.spec.service_allocation.clone(),
            across_namespaces: rule
                .spec
                .sharing
                .as_ref()
                .is_some_and(|s| s.across_namespaces),
            quota: rule.spec.quota.as_ref().map(Quota::new),
            strategy: rule.spec.strategy,
            avoid_buggy: rule.spec.avoid_buggy_ips,
            excluded: disjoint(compile::excluded_ranges(&rule.spec).unwrap_or_default()),
            sides: [Side::default(), Side::default()],
        };
        for range in compile::ranges(&rule.spec).unwrap_or_default() {
            let mut free = IntervalSet::full(range.first(), range.last());
            for hole in pool.excluded.iter().filter(|hole| hole.overlaps(&range)) {
                free.carve(hole.first(), hole.last());
            }
            let avoid = pool.avoid_buggy && range.family() == Family::V4;
            let usable = free
                .iter()
                .map(|(first, last)| usable(first, last, avoid))
                .fold(0, u128::saturating_add);
            let side = pool.side_mut(range.family());
            side.usable = side.usable.saturating_add(usable);
            side.open.insert(((0, 0), side.spans.len()));
            side.spans.push(Span {
                range,
                free,
                usable,
                busy: 0,
            });
        }
        pool
    }

    /// The ranges with the index that [`Self::note`] knows them by.
    pub(super) fn spans(&self) -> impl Iterator<Item = (usize, IpRange)> + '_ {
        self.sides
            .iter()
            .flat_map(|side| side.spans.iter().map(|span| span.range).enumerate())
    }

    /// Whether the pool has any range of the family.
    pub(super) fn has(&self, family: Family) -> bool {
        !self.side(family).spans.is_empty()
    }

    /// Whether the address, which lies in a range of the pool, may be given out.
    pub(super) fn usable(&self, address: IpAddr) -> bool {
        if self.avoid_buggy && compile::is_buggy(address) {
            return false;
        }
        let at = (Family::of(address), value(address));
        let next = self
            .excluded
            .partition_point(|range| (range.family(), range.last()) < at);
        !self
            .excluded
            .get(next)
            .is_some_and(|range| range.contains(address))
    }

    /// Whether every Service that `other` admits is admitted by this pool too, as far as that can be said without looking
    /// at labels.
    pub(super) fn admits_all_of(&self, other: &Self) -> bool {
        let Some(ours) = &self.allocation else {
            return true;
        };
        if *ours
            == (ServiceAllocation {
                priority: ours.priority,
                ..ServiceAllocation::default()
            })
        {
            return true;
        }
        other.allocation.as_ref().is_some_and(|theirs| {
            let anywhere = ours.namespaces.is_empty() && ours.namespace_selectors.is_empty();
            let listed = theirs.namespace_selectors == ours.namespace_selectors
                && !theirs.namespaces.is_empty()
                && theirs
                    .namespaces
                    .iter()
                    .all(|n| ours.namespaces.contains(n));
            let same = theirs.namespaces == ours.namespaces
                && theirs.namespace_selectors == ours.namespace_selectors;
            let services = ours.service_selectors.is_empty()
                || ours.service_selectors == theirs.service_selectors;
            (anywhere || listed || same) && services
        })
    }

    /// Whether the restriction of the pool, if any, lets the Service in.
    pub(super) fn admits(&self, request: &Request<'_>) -> bool {
        let Some(allocation) = &self.allocation else {
            return true;
        };
        let anywhere =
            allocation.namespaces.is_empty() && allocation.namespace_selectors.is_empty();
        let namespace = anywhere
            || allocation.namespaces.iter().any(|n| n == request.namespace)
            || allocation
                .namespace_selectors
                .iter()
                .any(|selector| selector.matches(request.namespace_labels));
        namespace && any_or_empty(&allocation.service_selectors, request.labels)
    }

    /// The free address that comes first.
    pub(super) fn lowest(&mut self, family: Family) -> Option<IpAddr> {
        let avoid = self.avoid_buggy && family == Family::V4;
        let side = self.side_mut(family);
        while let Some(&(rank, index)) = side.open.first() {
            let span = side.spans.get_mut(index)?;
            while let Some(lowest) = span.free.lowest() {
                if !(avoid && buggy(lowest)) {
                    return Some(family.address(lowest));
                }
                // Never to be given out: gone for good, so that nobody steps over it twice.
                span.free.take(lowest);
            }
            side.open.remove(&(rank, index));
        }
        None
    }

    /// Takes note of an address of the pool whose state changes.
    pub(super) fn note(&mut self, index: usize, address: IpAddr, before: State, after: State) {
        let usable = self.usable(address);
        let strategy = self.strategy;
        let side = self.side_mut(Family::of(address));
        let Some(span) = side.spans.get_mut(index) else {
            return;
        };
        let rank = span.rank(strategy);
        if after != State::Free {
            span.free.take(value(address));
        }
        if !usable {
            return;
        }
        if after == State::Free {
            span.free.give_back(value(address));
        }
        for (state, count) in [(before, false), (after, true)] {
            let number = match state {
                State::Free => continue,
                State::Withheld => &mut side.withheld,
                State::Assigned => &mut side.assigned,
            };
            let step = |n: u128| if count { n + 1 } else { n.saturating_sub(1) };
            *number = step(*number);
            span.busy = step(span.busy);
        }
        let next = span.rank(strategy);
        if after == State::Free || (next != rank && side.open.contains(&(rank, index))) {
            side.open.remove(&(rank, index));
            side.open.insert((next, index));
        }
    }

    /// Numbers for the pool's status and the metrics.
    pub(super) fn usage(&self, family: Family) -> Usage {
        let side = self.side(family);
        let gone = side.assigned.saturating_add(side.withheld);
        Usage {
            assigned: side.assigned,
            available: side.usable.saturating_sub(gone),
            total: side.usable,
        }
    }

    fn side(&self, family: Family) -> &Side {
        let [v4, v6] = &self.sides;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    fn side_mut(&mut self, family: Family) -> &mut Side {
        let [v4, v6] = &mut self.sides;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }
}

/// Restricted pools in order of precedence: 1, 2, 3, …, then 0; equal ones by name.
pub(super) fn precedence(pool: &Pool) -> (u32, &str) {
    let priority = pool.allocation.as_ref().map_or(0, |a| a.priority);
    // 0 wraps to the largest value, which is what "lowest precedence" means.
    let rank = u32::try_from(priority).unwrap_or(0).wrapping_sub(1);
    (rank, &pool.name)
}

/// Addresses ending in `.0` or `.255`, which some old routers and firewalls drop.
fn buggy(value: u128) -> bool {
    matches!(value & 0xff, 0 | 0xff)
}

/// The same addresses as disjoint ranges, ascending.
fn disjoint(mut ranges: Vec<IpRange>) -> Vec<IpRange> {
    ranges.sort_unstable();
    let mut merged: Vec<IpRange> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| last.overlaps(&range)) {
            Some(last) => *last = last.hull(&range),
            None => merged.push(range),
        }
    }
    merged
}

/// How many addresses of an interval may be given out, without looking at them one by one.
fn usable(first: u128, last: u128, avoid_buggy: bool) -> u128 {
    let count = (last - first).saturating_add(1);
    if !avoid_buggy {
        return count;
    }
    // Buggy addresses below a bound: two for each whole block of 256, one for a block that has begun.
    let below = |bound: u128| bound / 256 * 2 + u128::from(!bound.is_multiple_of(256));
    count - (below(last + 1) - below(first))
}

/// Labels of a namespace that nobody has seen yet.
pub(super) static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_without_looking_agrees_with_looking() {
        for (first, last) in [
            (0, 0),
            (0, 255),
            (1, 254),
            (255, 256),
            (0, 65_535),
            (300, 900),
            (255, 255),
        ] {
            let counted = (first..=last).filter(|v| !buggy(*v)).count() as u128;
            assert_eq!(usable(first, last, true), counted, "{first} to {last}");
        }
    }
}
