//! What a peer should know: one versioned value instead of a queue of changes.
//!
//! Every change of a route gives it the next version, and the log knows each route once, under its newest
//! version. Whoever follows ([`super::AdjOut`]) remembers how far it has come and asks for what is newer. A slow
//! follower therefore costs no memory, and when it catches up it sees the present, not the history: a route that
//! came and went meanwhile is nothing at all.
//!
//! ```text
//! routes   10.0.0.1/32 ─► v7 attrs A        log   v4 10.0.0.9/32
//!          10.0.0.2/32 ─► v9 (withdrawn)          v7 10.0.0.1/32
//!          10.0.0.9/32 ─► v4 attrs B              v9 10.0.0.2/32  ◄─ cursor of a session that knows all
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{Family, Prefix, RouteAttrs};

/// A point in the history of one family's routes; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// Before everything.
    pub const START: Self = Self(0);

    /// After everything there will ever be.
    pub const END: Self = Self(u64::MAX);

    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The routes that should be announced.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Rib {
    v4: Table,
    v6: Table,
    /// Each attribute set once, shared by its routes.
    attrs: BTreeSet<Arc<RouteAttrs>>,
    synced: bool,
}

/// The routes of one family.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Table {
    routes: BTreeMap<Prefix, Route>,
    log: BTreeMap<Version, Prefix>,
    /// Versions of the log that are withdrawals: the only ones to be forgotten.
    withdrawals: BTreeSet<Version>,
    head: Version,
    live: usize,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Route {
    /// `None`: withdrawn, kept until every follower has heard of it.
    attrs: Option<Arc<RouteAttrs>>,
    version: Version,
    /// When it came into being: who had not come that far never heard of it and needs no withdrawal.
    born: Version,
}

/// One route that changed.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) version: Version,
    pub(super) prefix: Prefix,
    /// `None`: withdrawn.
    pub(super) attrs: Option<&'a RouteAttrs>,
    pub(super) born: Version,
}

impl Rib {
    /// Makes `desired` the whole truth; returns how many routes changed. Unchanged routes keep their version, so
    /// nothing is sent for them. If a prefix comes twice, the last one counts.
    pub fn replace(&mut self, desired: impl IntoIterator<Item = (Prefix, RouteAttrs)>) -> usize {
        let desired: BTreeMap<Prefix, RouteAttrs> = desired.into_iter().collect();
        let mut changed = 0;
        for table in [&mut self.v4, &mut self.v6] {
            for prefix in table.live_but_not_in(&desired) {
                table.set(prefix, None);
                changed += 1;
            }
        }
        for (prefix, attrs) in desired {
            changed += usize::from(self.change(prefix, Some(attrs)));
        }
        self.tidy(changed > 0);
        changed
    }

    /// Changes one route, `None` to withdraw it; returns whether that made a difference.
    pub fn set(&mut self, prefix: Prefix, attrs: Option<RouteAttrs>) -> bool {
        let changed = self.change(prefix, attrs);
        self.tidy(changed);
        changed
    }

    fn change(&mut self, prefix: Prefix, attrs: Option<RouteAttrs>) -> bool {
        let family = prefix.family();
        if self.table(family).attrs(prefix) == attrs.as_ref() {
            return false;
        }
        let attrs = attrs.map(|attrs| self.intern(attrs));
        self.table_mut(family).set(prefix, attrs);
        true
    }

    /// Drops attribute sets that no route has any more.
    fn tidy(&mut self, changed: bool) {
        if changed {
            self.attrs.retain(|attrs| Arc::strong_count(attrs) > 1);
        }
    }

    /// From now on the routes are known to be complete: followers may say so (End-of-RIB).
    pub fn set_synced(&mut self) {
        self.synced = true;
    }

    /// Whether the routes are known to be complete.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.synced
    }

    /// How many routes of `family` should be announced.
    #[must_use]
    pub fn len(&self, family: Family) -> usize {
        self.table(family).live
    }

    /// Whether there is no route at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.live + self.v6.live == 0
    }

    pub(super) const fn table(&self, family: Family) -> &Table {
        match family {
            Family::V4Unicast => &self.v4,
            Family::V6Unicast => &self.v6,
        }
    }

    const fn table_mut(&mut self, family: Family) -> &mut Table {
        match family {
            Family::V4Unicast => &mut self.v4,
            Family::V6Unicast => &mut self.v6,
        }
    }

    /// Drops the memory of withdrawals up to `heard`, the version that every follower has passed.
    pub fn forget(&mut self, family: Family, heard: Version) {
        self.table_mut(family).forget(heard);
    }

    /// The newest version of `family`.
    #[must_use]
    pub const fn head(&self, family: Family) -> Version {
        self.table(family).head
    }

    fn intern(&mut self, attrs: RouteAttrs) -> Arc<RouteAttrs> {
        if let Some(known) = self.attrs.get(&attrs) {
            return Arc::clone(known);
        }
        let attrs = Arc::new(attrs);
        self.attrs.insert(Arc::clone(&attrs));
        attrs
    }
}

impl Table {
    /// What changed after `cursor`, oldest first.
    pub(super) fn changes(&self, cursor: Version) -> impl Iterator<Item = Change<'_>> {
        let newer = (Bound::Excluded(cursor), Bound::Unbounded);
        self.log.range(newer).filter_map(|(version, prefix)| {
            let route = self.routes.get(prefix)?;
            let attrs = route.attrs.as_deref();
            Some(Change {
                version: *version,
                prefix: *prefix,
                attrs,
                born: route.born,
            })
        })
    }

    /// How many live routes a follower at `cursor` has heard of.
    pub(super) fn live_up_to(&self, cursor: Version) -> usize {
        if cursor >= self.head {
            return self.live;
        }
        let unheard = self
            .changes(cursor)
            .filter(|change| change.attrs.is_some())
            .count();
        self.live - unheard
    }

    pub(super) const fn head(&self) -> Version {
        self.head
    }

    fn attrs(&self, prefix: Prefix) -> Option<&RouteAttrs> {
        self.routes
            .get(&prefix)
            .and_then(|route| route.attrs.as_deref())
    }

    fn live_but_not_in(&self, desired: &BTreeMap<Prefix, RouteAttrs>) -> Vec<Prefix> {
        self.routes
            .iter()
            .filter(|(prefix, route)| route.attrs.is_some() && !desired.contains_key(prefix))
            .map(|(prefix, _)| *prefix)
            .collect()
    }

    fn set(&mut self, prefix: Prefix, attrs: Option<Arc<RouteAttrs>>) {
        let version = self.head.next();
        self.head = version;
        let lives = attrs.is_some();
        let route = self.routes.entry(prefix).or_insert(Route {
            attrs: None,
            version,
            born: version,
        });
        self.log.remove(&route.version);
        self.withdrawals.remove(&route.version);
        if !lives {
            self.withdrawals.insert(version);
        }
        self.live -= usize::from(route.attrs.is_some());
        self.live += usize::from(lives);
        route.attrs = attrs;
        route.version = version;
        self.log.insert(version, prefix);
    }

    fn forget(&mut self, heard: Version) {
        let later = self.withdrawals.split_off(&heard.next());
        for version in std::mem::replace(&mut self.withdrawals, later) {
            if let Some(prefix) = self.log.remove(&version) {
                self.routes.remove(&prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Family = Family::V4Unicast;

    fn mk_routes(routes: &[(&str, u32)]) -> Vec<(Prefix, RouteAttrs)> {
        let route = |(prefix, preference): &(&str, u32)| {
            let attrs = RouteAttrs {
                local_pref: Some(*preference),
                ..RouteAttrs::default()
            };
            (prefix.parse().unwrap(), attrs)
        };
        routes.iter().map(route).collect()
    }

    fn changes(rib: &Rib, cursor: Version) -> Vec<(String, Option<u32>)> {
        let seen = |change: Change<'_>| {
            (
                change.prefix.to_string(),
                change.attrs.and_then(|attrs| attrs.local_pref),
            )
        };
        rib.table(V4).changes(cursor).map(seen).collect()
    }

    #[test]
    fn only_differences_make_history() {
        let mut rib = Rib::default();
        assert_eq!(
            rib.replace(mk_routes(&[("10.0.0.1/32", 1), ("10.0.0.2/32", 1)])),
            2
        );
        let before = rib.head(V4);
        assert_eq!(
            rib.replace(mk_routes(&[("10.0.0.1/32", 1), ("10.0.0.2/32", 1)])),
            0
        );
        assert_eq!(rib.head(V4), before, "the same again is no change");
        assert_eq!(
            rib.replace(mk_routes(&[("10.0.0.2/32", 2), ("10.0.0.3/32", 1)])),
            3
        );
        assert_eq!(
            changes(&rib, before),
            [
                ("10.0.0.1/32".to_owned(), None),
                ("10.0.0.2/32".to_owned(), Some(2)),
                ("10.0.0.3/32".to_owned(), Some(1)),
            ]
        );
        assert_eq!(rib.len(V4), 2);
    }

    #[test]
    fn one_route_can_change_alone() {
        let mut rib = Rib::default();
        let prefix = "10.0.0.1/32".parse().unwrap();
        assert!(!rib.set(prefix, None), "there was none");
        assert!(rib.set(prefix, Some(RouteAttrs::default())));
        assert!(!rib.set(prefix, Some(RouteAttrs::default())));
        assert!(rib.set(prefix, None));
        assert!(rib.is_empty());
    }

    #[test]
    fn the_log_holds_each_route_once() {
        let mut rib = Rib::default();
        for preference in 0..100 {
            rib.replace(mk_routes(&[("10.0.0.1/32", preference)]));
        }
        assert_eq!(
            changes(&rib, Version::START),
            [("10.0.0.1/32".to_owned(), Some(99))]
        );
        assert_eq!(
            rib.attrs.len(),
            1,
            "attribute sets that nobody uses are gone"
        );
    }

    #[test]
    fn withdrawals_are_forgotten_once_heard() {
        let mut rib = Rib::default();
        rib.replace(mk_routes(&[("10.0.0.1/32", 1), ("10.0.0.2/32", 1)]));
        rib.replace(mk_routes(&[("10.0.0.2/32", 1)]));
        rib.forget(V4, Version(2));
        assert_eq!(
            changes(&rib, Version(2)),
            [("10.0.0.1/32".to_owned(), None)]
        );
        rib.forget(V4, rib.head(V4));
        assert_eq!(
            changes(&rib, Version::START),
            [("10.0.0.2/32".to_owned(), Some(1))]
        );
        assert_eq!(rib.table(V4).routes.len(), 1);
    }

    #[test]
    fn host_bits_do_not_make_two_routes() {
        let mut rib = Rib::default();
        rib.replace(mk_routes(&[("10.0.0.1/24", 1), ("10.0.0.2/24", 2)]));
        assert_eq!(
            changes(&rib, Version::START),
            [("10.0.0.0/24".to_owned(), Some(2))]
        );
    }
}
