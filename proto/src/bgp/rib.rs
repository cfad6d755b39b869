//! What peers should know: one versioned value for all of them instead of a queue of changes for each.
//!
//! Every change of a route gives it the next version, and the log knows each route once, under its newest
//! version. Whoever follows ([`super::AdjOut`]) remembers how far it has come and asks for what is newer. A slow
//! follower therefore costs no more than the withdrawals that it has not heard, one for each route at most, and a stuck
//! one ends with its hold time. When it catches up it sees the present, not the history: of a route that changed ten
//! times it hears once.
//!
//! ```text
//! routes   10.0.0.1/32 ─► #0 v7 audience A: tor-1, tor-2    log   v4 10.0.0.9/32  ◄─ cursor of tor-2
//!          10.0.0.2/32 ─► #1 v9 (withdrawn)                       v7 10.0.0.1/32
//!          10.0.0.9/32 ─► #2 v4 audience A                        v9 10.0.0.2/32  ◄─ cursor of tor-1: knows all
//! ```
//!
//! Each route has a number while anybody may hold it, so that followers can note what they told in a plain list.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{Audience, Family, Prefix, RouteAttrs};

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

/// The place of a route in the lists of followers; given to another one only after all of them heard of its end.
pub(super) type Number = u32;

/// The routes that should be announced.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Rib {
    v4: Table,
    v6: Table,
    synced: bool,
}

/// The [`Rib`] as one peer sees it.
#[derive(Debug)]
pub struct Follower<'a> {
    rib: &'a mut Rib,
    peer: &'a str,
}

/// The routes of one family.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Table {
    routes: BTreeMap<Prefix, Route>,
    log: BTreeMap<Version, Prefix>,
    /// Versions of the log that are withdrawals: the only ones to be forgotten.
    withdrawals: BTreeSet<Version>,
    head: Version,
    /// Numbers that were given back.
    free: Vec<Number>,
    /// How many routes each peer should know.
    wanted: BTreeMap<Box<str>, usize>,
    /// How far each follower ever was. Who is not here holds nothing.
    heard: BTreeMap<Box<str>, Version>,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Route {
    /// `None`: withdrawn, kept until every follower has heard of it.
    audience: Option<Arc<Audience>>,
    version: Version,
    number: Number,
}

/// One route that changed, as one peer sees it.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) version: Version,
    pub(super) prefix: Prefix,
    pub(super) number: Number,
    /// `None`: not for this peer, or no longer.
    pub(super) attrs: Option<&'a Arc<RouteAttrs>>,
}

impl Rib {
    /// Makes `desired` the whole truth; returns how many routes changed. Unchanged routes keep their version, so
    /// nothing is sent for them. Equal audiences should be one (see [`super::Audiences`]): they are kept as they come.
    pub fn replace(&mut self, desired: &BTreeMap<Prefix, Arc<Audience>>) -> usize {
        let mut changed = 0;
        for table in [&mut self.v4, &mut self.v6] {
            for prefix in table.live_but_not_in(desired) {
                changed += usize::from(table.change(prefix, None));
            }
        }
        for (prefix, audience) in desired {
            let table = self.table_mut(prefix.family());
            changed += usize::from(table.change(*prefix, Some(audience)));
        }
        for table in [&mut self.v4, &mut self.v6] {
            table.forget();
        }
        changed
    }

    /// Changes one route, `None` to withdraw it; returns whether that made a difference.
    pub fn set(&mut self, prefix: Prefix, audience: Option<&Arc<Audience>>) -> bool {
        let table = self.table_mut(prefix.family());
        let changed = table.change(prefix, audience);
        table.forget();
        changed
    }

    /// From now on the routes are known to be complete: followers may say so (End-of-RIB).
    pub fn set_synced(&mut self) {
        self.synced = true;
    }

    /// The routes for `peer`, to be pulled from. Until [`Rib::leave`], withdrawals are kept for it.
    #[must_use]
    pub fn follower<'a>(&'a mut self, peer: &'a str) -> Follower<'a> {
        Follower { rib: self, peer }
    }

    /// The session with `peer` is over: it holds nothing any more, and nothing needs to be taken back from it.
    pub fn leave(&mut self, peer: &str) {
        for table in [&mut self.v4, &mut self.v6] {
            if table.heard.remove(peer).is_some() {
                table.forget();
            }
        }
    }

    /// How many routes of `family` should be told to `peer`.
    #[must_use]
    pub fn wanted(&self, peer: &str, family: Family) -> usize {
        let wanted = self.table(family).wanted.get(peer);
        wanted.copied().unwrap_or_default()
    }

    const fn table(&self, family: Family) -> &Table {
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
}

impl Follower<'_> {
    /// What changed after `cursor`, oldest first.
    pub(super) fn changes(
        &self,
        family: Family,
        cursor: Version,
    ) -> impl Iterator<Item = Change<'_>> {
        let table = self.rib.table(family);
        let newer = (Bound::Excluded(cursor), Bound::Unbounded);
        table.log.range(newer).filter_map(|(version, prefix)| {
            let route = table.routes.get(prefix)?;
            let audience = route.audience.as_ref();
            Some(Change {
                version: *version,
                prefix: *prefix,
                number: route.number,
                attrs: audience.and_then(|audience| audience.attrs(self.peer)),
            })
        })
    }

    /// The newest version of `family`.
    pub(super) const fn head(&self, family: Family) -> Version {
        self.rib.table(family).head
    }

    /// Whether the routes are known to be complete.
    pub(super) const fn is_synced(&self) -> bool {
        self.rib.synced
    }

    /// The peer has been told everything up to `version`: withdrawals before need not be kept for it.
    pub(super) fn heard(&mut self, family: Family, version: Version) {
        let table = self.rib.table_mut(family);
        match table.heard.get_mut(self.peer) {
            Some(heard) => *heard = version,
            None => drop(table.heard.insert(self.peer.into(), version)),
        }
        table.forget();
    }
}

impl Table {
    fn live_but_not_in(&self, desired: &BTreeMap<Prefix, Arc<Audience>>) -> Vec<Prefix> {
        self.routes
            .iter()
            .filter(|(prefix, route)| route.audience.is_some() && !desired.contains_key(prefix))
            .map(|(prefix, _)| *prefix)
            .collect()
    }

    fn change(&mut self, prefix: Prefix, audience: Option<&Arc<Audience>>) -> bool {
        let audience = audience.filter(|audience| !audience.is_empty());
        let known = self.routes.get(&prefix);
        let before = known.and_then(|route| route.audience.as_ref());
        if before == audience {
            return false;
        }
        let before = before.cloned();
        let known = known.map(|route| (route.number, route.version));
        self.recount(before.as_deref(), audience.map(|audience| &**audience));
        self.head = self.head.next();
        if let Some((_, version)) = known {
            self.log.remove(&version);
            self.withdrawals.remove(&version);
        }
        if audience.is_none() {
            self.withdrawals.insert(self.head);
        }
        let route = Route {
            audience: audience.cloned(),
            version: self.head,
            number: known.map_or_else(|| self.unused_number(), |(number, _)| number),
        };
        self.routes.insert(prefix, route);
        self.log.insert(self.head, prefix);
        true
    }

    fn recount(&mut self, before: Option<&Audience>, after: Option<&Audience>) {
        for (peer, _) in before.into_iter().flat_map(Audience::iter) {
            match self.wanted.get_mut(peer) {
                Some(1) | None => drop(self.wanted.remove(peer)),
                Some(count) => *count -= 1,
            }
        }
        for (peer, _) in after.into_iter().flat_map(Audience::iter) {
            match self.wanted.get_mut(peer) {
                Some(count) => *count += 1,
                None => drop(self.wanted.insert(peer.into(), 1)),
            }
        }
    }

    /// Without one that was given back, all up to the number of routes are taken.
    fn unused_number(&mut self) -> Number {
        let next = || Number::try_from(self.routes.len()).unwrap_or(Number::MAX);
        self.free.pop().unwrap_or_else(next)
    }

    /// Drops withdrawals that every follower has heard.
    fn forget(&mut self) {
        let heard = self.heard.values().min().copied().unwrap_or(Version::END);
        if self.withdrawals.first().is_none_or(|first| *first > heard) {
            return;
        }
        let later = self.withdrawals.split_off(&heard.next());
        for version in std::mem::replace(&mut self.withdrawals, later) {
            let route = self.log.remove(&version);
            if let Some(route) = route.and_then(|prefix| self.routes.remove(&prefix)) {
                self.free.push(route.number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Family = Family::V4Unicast;
    const PEER: &str = "tor";

    fn mk_audience(preference: u32) -> Arc<Audience> {
        let attrs = RouteAttrs {
            local_pref: Some(preference),
            ..RouteAttrs::default()
        };
        Arc::new([(PEER, attrs)].into_iter().collect())
    }

    fn mk_routes(routes: &[(&str, u32)]) -> BTreeMap<Prefix, Arc<Audience>> {
        let route = |(prefix, preference): &(&str, u32)| {
            (prefix.parse().unwrap(), mk_audience(*preference))
        };
        routes.iter().map(route).collect()
    }

    /// A rib with somebody who holds everything since the beginning.
    fn mk_rib() -> Rib {
        let mut rib = Rib::default();
        rib.follower("silent").heard(V4, Version::START);
        rib
    }

    fn changes(rib: &mut Rib, cursor: Version) -> Vec<(String, Option<u32>)> {
        let seen = |change: Change<'_>| {
            let preference = change.attrs.and_then(|attrs| attrs.local_pref);
            (change.prefix.to_string(), preference)
        };
        let follower = rib.follower(PEER);
        follower.changes(V4, cursor).map(seen).collect()
    }

    fn head(rib: &mut Rib) -> Version {
        rib.follower(PEER).head(V4)
    }

    #[test]
    fn only_differences_make_history() {
        let mut rib = mk_rib();
        let two = mk_routes(&[("10.0.0.1/32", 1), ("10.0.0.2/32", 1)]);
        assert_eq!(rib.replace(&two), 2);
        let before = head(&mut rib);
        assert_eq!(rib.replace(&two), 0);
        assert_eq!(head(&mut rib), before, "the same again is no change");
        let others = mk_routes(&[("10.0.0.2/32", 2), ("10.0.0.3/32", 1)]);
        assert_eq!(rib.replace(&others), 3);
        assert_eq!(
            changes(&mut rib, before),
            [
                ("10.0.0.1/32".to_owned(), None),
                ("10.0.0.2/32".to_owned(), Some(2)),
                ("10.0.0.3/32".to_owned(), Some(1)),
            ]
        );
        assert_eq!((rib.wanted(PEER, V4), rib.wanted("silent", V4)), (2, 0));
    }

    #[test]
    fn one_route_can_change_alone() {
        let mut rib = mk_rib();
        let prefix = "10.0.0.1/32".parse().unwrap();
        assert!(!rib.set(prefix, None), "there was none");
        assert!(rib.set(prefix, Some(&mk_audience(1))));
        assert!(!rib.set(prefix, Some(&mk_audience(1))));
        assert_eq!(rib.wanted(PEER, V4), 1);
        assert!(rib.set(prefix, None));
        assert_eq!(rib.wanted(PEER, V4), 0);
    }

    #[test]
    fn the_log_holds_each_route_once() {
        let mut rib = mk_rib();
        for preference in 0..100 {
            rib.replace(&mk_routes(&[("10.0.0.1/32", preference)]));
        }
        assert_eq!(
            changes(&mut rib, Version::START),
            [("10.0.0.1/32".to_owned(), Some(99))]
        );
    }

    #[test]
    fn withdrawals_are_forgotten_once_everybody_heard_or_left() {
        for (first, second) in [("slow", "quick"), ("quick", "slow")] {
            let mut rib = Rib::default();
            rib.follower("slow").heard(V4, Version::START);
            rib.follower("quick").heard(V4, Version::START);
            rib.replace(&mk_routes(&[("10.0.0.1/32", 1), ("10.0.0.2/32", 1)]));
            rib.replace(&mk_routes(&[("10.0.0.2/32", 1)]));
            let now = head(&mut rib);
            rib.follower(first).heard(V4, now);
            assert_eq!(changes(&mut rib, Version(2)).len(), 1, "{second} has not");
            rib.leave(second);
            assert_eq!(
                changes(&mut rib, Version::START),
                [("10.0.0.2/32".to_owned(), Some(1))]
            );
            assert_eq!(rib.v4.routes.len(), 1);
        }
    }

    #[test]
    fn numbers_are_used_again_once_everybody_heard() {
        let mut rib = mk_rib();
        let routes = mk_routes(&[("10.0.0.1/32", 1), ("10.0.0.2/32", 1), ("10.0.0.3/32", 1)]);
        let number = |rib: &Rib, prefix: &str| rib.v4.routes[&prefix.parse().unwrap()].number;
        rib.replace(&routes);
        let freed = number(&rib, "10.0.0.2/32");
        rib.set("10.0.0.2/32".parse().unwrap(), None);
        rib.set("10.0.0.4/32".parse().unwrap(), Some(&mk_audience(1)));
        assert_eq!(number(&rib, "10.0.0.4/32"), 3, "not yet");
        rib.leave("silent");
        rib.set("10.0.0.5/32".parse().unwrap(), Some(&mk_audience(1)));
        assert_eq!(number(&rib, "10.0.0.5/32"), freed);
        rib.set("10.0.0.6/32".parse().unwrap(), Some(&mk_audience(1)));
        assert_eq!(number(&rib, "10.0.0.6/32"), 4);
    }
}
