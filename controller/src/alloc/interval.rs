//! Free addresses as disjoint intervals of integers: a full /8 and a /64 cost as much as a /28.
//!
//! Intervals are keyed by their *last* address: taking the lowest address, which is what allocation does all day,
//! changes the value of the first entry and never the shape of the tree.

use std::collections::BTreeMap;

/// A set of integers as disjoint, not adjacent, inclusive intervals.
#[derive(Debug, Clone, Default)]
pub(super) struct IntervalSet {
    /// Last → first.
    by_last: BTreeMap<u128, u128>,
}

impl IntervalSet {
    /// The set of all integers from `first` to `last`, both included.
    pub(super) fn full(first: u128, last: u128) -> Self {
        Self {
            by_last: BTreeMap::from([(last, first)]),
        }
    }

    /// The smallest member.
    pub(super) fn lowest(&self) -> Option<u128> {
        self.by_last.first_key_value().map(|(_, first)| *first)
    }

    /// Takes one member out; `false` if it was none.
    pub(super) fn take(&mut self, value: u128) -> bool {
        let Some((&last, first)) = self.by_last.range_mut(value..).next() else {
            return false;
        };
        if *first > value {
            return false;
        }
        let before = *first;
        if value == last {
            self.by_last.remove(&last);
        } else {
            *first = value + 1;
        }
        if before < value {
            self.by_last.insert(value - 1, before);
        }
        true
    }

    /// Takes out every member from `first` to `last`.
    pub(super) fn carve(&mut self, first: u128, last: u128) {
        let hit: Vec<(u128, u128)> = self
            .by_last
            .range(first..)
            .map(|(end, start)| (*start, *end))
            .take_while(|(start, _)| *start <= last)
            .collect();
        for (start, end) in hit {
            self.by_last.remove(&end);
            if start < first {
                self.by_last.insert(first - 1, start);
            }
            if end > last {
                self.by_last.insert(end, last + 1);
            }
        }
    }

    /// Gives one member back. A value that is a member already stays one.
    pub(super) fn give_back(&mut self, value: u128) {
        let above = self.by_last.range(value..).next();
        let above = above.map(|(end, start)| (*start, *end));
        if above.is_some_and(|(start, _)| start <= value) {
            return;
        }
        let below = value
            .checked_sub(1)
            .and_then(|end| self.by_last.remove(&end));
        let first = below.unwrap_or(value);
        match above {
            Some((start, end)) if start.checked_sub(1) == Some(value) => {
                self.by_last.insert(end, first);
            }
            _ => {
                self.by_last.insert(value, first);
            }
        }
    }

    /// The intervals, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.by_last.iter().map(|(last, first)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn mk_set(intervals: &[(u128, u128)]) -> IntervalSet {
        IntervalSet {
            by_last: intervals
                .iter()
                .map(|(first, last)| (*last, *first))
                .collect(),
        }
    }

    #[test]
    fn neighbours_merge_when_the_gap_between_them_comes_back() {
        let mut set = mk_set(&[(1, 3), (5, 9)]);
        set.give_back(4);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(1, 9)]);
    }

    #[test]
    fn carving_splits_what_it_does_not_cover() {
        let mut set = mk_set(&[(0, 10), (20, 30), (40, 50)]);
        set.carve(5, 44);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, 4), (45, 50)]);
    }

    #[test]
    fn the_ends_of_the_number_line_are_members_like_any_other() {
        let mut set = IntervalSet::full(0, u128::MAX);
        assert!(set.take(0) && set.take(u128::MAX));
        assert!(!set.take(0) && !set.take(u128::MAX));
        set.give_back(u128::MAX);
        set.give_back(0);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, u128::MAX)]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_integers(steps in prop::collection::vec((0_u8..3, 0_u128..64, 0_u128..8), 0..200)) {
            let mut intervals = IntervalSet::full(0, 63);
            let mut model: BTreeSet<u128> = (0..64).collect();
            for (step, value, length) in steps {
                match step {
                    0 => prop_assert_eq!(intervals.take(value), model.remove(&value)),
                    1 => {
                        intervals.give_back(value);
                        model.insert(value);
                    }
                    _ => {
                        intervals.carve(value, value + length);
                        model.retain(|v| !(value..=value + length).contains(v));
                    }
                }
                prop_assert_eq!(intervals.lowest(), model.first().copied());
                let members: Vec<u128> = intervals.iter().flat_map(|(a, b)| a..=b).collect();
                prop_assert_eq!(members, model.iter().copied().collect::<Vec<_>>());
                let mut ends = intervals.iter().peekable();
                while let (Some((_, last)), Some((next, _))) = (ends.next(), ends.peek()) {
                    prop_assert!(last + 1 < *next, "intervals are not merged");
                }
            }
        }
    }
}
