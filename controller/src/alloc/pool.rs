//! One pool: its ranges, what is free in them, and who may use it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_api::compile;
use portolan_api::crd::{PoolRule, ServiceAllocation};
use portolan_api::range::{Family, IpRange, value};
use portolan_api::selector::any_or_empty;

use super::interval::IntervalSet;
use super::request::Request;

/// A pool on duty.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) auto_assign: bool,
    pub(super) allocation: Option<ServiceAllocation>,
    avoid_buggy: bool,
    excluded: Vec<IpRange>,
    sides: [Side; 2],
}

/// What a pool has of one family.
#[derive(Debug, Clone, Default)]
struct Side {
    /// In written order: the order in which addresses are given.
    spans: Vec<Span>,
    /// Indices of spans in which something may be free.
    open: BTreeSet<usize>,
    /// Addresses that may be given out, free or not.
    usable: u128,
    /// Usable addresses that are taken.
    taken: u128,
}

#[derive(Debug, Clone)]
struct Span {
    range: IpRange,
    free: IntervalSet,
}

/// Addresses of a pool in numbers, one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Taken by Services.
    pub taken: u128,
    /// Free to be given out.
    pub available: u128,
}

impl Pool {
    /// The pool that an accepted rule describes. Ranges that do not parse were refused by compilation.
    pub(super) fn new(rule: &PoolRule) -> Self {
        let mut pool = Self {
            name: rule.name.clone(),
            auto_assign: rule.spec.auto_assign,
            allocation: rule.spec.service_allocation.clone(),
            avoid_buggy: rule.spec.avoid_buggy_ips,
            excluded: compile::excluded_ranges(&rule.spec).unwrap_or_default(),
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
            side.open.insert(side.spans.len());
            side.spans.push(Span { range, free });
        }
        pool
    }

    /// The ranges with the index that [`Self::take`] and [`Self::give_back`] know them by.
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
        let buggy = self.avoid_buggy && address.is_ipv4() && buggy(value(address));
        !buggy && !self.excluded.iter().any(|range| range.contains(address))
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
        while let Some(&index) = side.open.first() {
            let span = side.spans.get_mut(index)?;
            while let Some(lowest) = span.free.lowest() {
                if !(avoid && buggy(lowest)) {
                    return Some(family.address(lowest));
                }
                // Never to be given out: gone for good, so that nobody steps over it twice.
                span.free.take(lowest);
            }
            side.open.remove(&index);
        }
        None
    }

    /// Takes an address out of the free ones.
    pub(super) fn take(&mut self, span: usize, address: IpAddr) {
        let usable = self.usable(address);
        let side = self.side_mut(Family::of(address));
        if let Some(span) = side.spans.get_mut(span) {
            span.free.take(value(address));
            side.taken += u128::from(usable);
        }
    }

    /// Makes an address free again, unless it may not be given out any more.
    pub(super) fn give_back(&mut self, span: usize, address: IpAddr) {
        if !self.usable(address) {
            return;
        }
        let side = self.side_mut(Family::of(address));
        if let Some(held) = side.spans.get_mut(span) {
            held.free.give_back(value(address));
            side.open.insert(span);
            side.taken = side.taken.saturating_sub(1);
        }
    }

    /// Numbers for the pool's status and the metrics.
    pub(super) fn usage(&self, family: Family) -> Usage {
        let side = self.side(family);
        Usage {
            taken: side.taken,
            available: side.usable.saturating_sub(side.taken),
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
