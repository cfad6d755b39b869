//! Who is told of a route, and with which attributes.
//!
//! Thousands of routes have the same audience. So a route points to one, and [`Audiences`] holds each different one
//! once, however many peers there are.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::RouteAttrs;

/// The peers that are told of a route, by name, each with the attributes that it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Audience(BTreeMap<Box<str>, Arc<RouteAttrs>>);

impl Audience {
    /// What `peer` is told, if it is told of the route at all.
    #[must_use]
    pub fn attrs(&self, peer: &str) -> Option<&Arc<RouteAttrs>> {
        self.0.get(peer)
    }

    /// The peers and what they are told, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RouteAttrs)> {
        self.0.iter().map(|(peer, attrs)| (&**peer, &**attrs))
    }

    /// Whether nobody is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells one more peer, or the same one something else.
    pub fn tell(&mut self, peer: &str, attrs: RouteAttrs) {
        self.0.insert(peer.into(), Arc::new(attrs));
    }
}

impl<'a> FromIterator<(&'a str, RouteAttrs)> for Audience {
    fn from_iter<I: IntoIterator<Item = (&'a str, RouteAttrs)>>(told: I) -> Self {
        let mut audience = Self::default();
        for (peer, attrs) in told {
            audience.tell(peer, attrs);
        }
        audience
    }
}

/// Audiences that routes have, each different one once.
#[derive(Debug, Default)]
pub struct Audiences {
    known: HashSet<Arc<Audience>>,
    /// Grown to this, those without a route are dropped.
    limit: usize,
}

impl Audiences {
    /// Below that many there is nothing to gain by looking for unused ones.
    const FEW: usize = 64;

    /// The one that is equal to `audience`.
    pub fn share(&mut self, audience: Arc<Audience>) -> Arc<Audience> {
        if let Some(known) = self.known.get(&audience) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.limit {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.limit = Self::FEW.max(2 * self.known.len());
        }
        self.known.insert(Arc::clone(&audience));
        audience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_audience(preference: u32) -> Arc<Audience> {
        let attrs = RouteAttrs {
            local_pref: Some(preference),
            ..RouteAttrs::default()
        };
        Arc::new([("a", attrs.clone()), ("b", attrs)].into_iter().collect())
    }

    #[test]
    fn equal_audiences_are_one_and_unused_ones_go() {
        let mut audiences = Audiences::default();
        let first = audiences.share(mk_audience(1));
        assert!(Arc::ptr_eq(&first, &audiences.share(mk_audience(1))));
        for preference in 2..10_000 {
            audiences.share(mk_audience(preference));
        }
        assert!(audiences.known.len() <= Audiences::FEW);
        assert!(Arc::ptr_eq(&first, &audiences.share(mk_audience(1))));
    }
}
