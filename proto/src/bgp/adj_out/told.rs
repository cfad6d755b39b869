//! What a peer holds of one family, by the numbers that the [`super::super::Rib`] gives to routes.

use std::sync::Arc;

use super::super::RouteAttrs;
use super::super::rib::Number;

/// The attributes of each route that the peer holds, shared with the routes. The list is as long as the highest number that
/// was ever told, at eight bytes each, and ends with the session: numbers are used again, so that is about the most routes
/// that there were at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    attrs: Vec<Option<Arc<RouteAttrs>>>,
    count: usize,
}

impl Told {
    /// How many routes the peer holds.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Whether the peer holds the route with these attributes.
    pub(super) fn is(&self, number: Number, attrs: &Arc<RouteAttrs>) -> bool {
        let held = self.attrs.get(place(number)).and_then(Option::as_ref);
        held == Some(attrs)
    }

    /// The peer holds the route with these attributes from now on.
    pub(super) fn tell(&mut self, number: Number, attrs: &Arc<RouteAttrs>) {
        let place = place(number);
        if place >= self.attrs.len() {
            self.attrs.resize(place + 1, None);
        }
        if let Some(held) = self.attrs.get_mut(place) {
            self.count += usize::from(held.is_none());
            *held = Some(Arc::clone(attrs));
        }
    }

    /// The peer does not hold the route any more. Returns whether it did.
    pub(super) fn take_back(&mut self, number: Number) -> bool {
        let held = self.attrs.get_mut(place(number));
        let held = held.and_then(Option::take).is_some();
        self.count -= usize::from(held);
        held
    }
}

const fn place(number: Number) -> usize {
    number as usize
}
