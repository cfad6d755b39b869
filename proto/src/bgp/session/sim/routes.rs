//! What each side wants told, and how it gets through a socket that takes little.

use std::collections::BTreeSet;

use std::sync::Arc;

use super::super::super::{Audience, RouteAttrs};
use super::*;

/// The other side, in the rib of each.
const PEER: &str = "the other";

/// How much is packed at a time: about one route.
const ROOM: usize = 30;

/// How many messages a socket takes before the other side has read some.
const SOCKET: usize = 4;

impl World {
    /// Makes these all that `side` wants told.
    pub(super) fn want(&mut self, side: usize, routes: &BTreeSet<Prefix>) {
        let now = self.now;
        let wanted = &mut self.wanted[side];
        wanted.retain(|prefix, _| routes.contains(prefix));
        for prefix in routes {
            wanted.entry(*prefix).or_insert(now);
        }
        let audience = [(PEER, RouteAttrs::default())].into_iter().collect();
        let audience: Arc<Audience> = Arc::new(audience);
        let routes = routes.iter().map(|prefix| (*prefix, Arc::clone(&audience)));
        self.ribs[side].replace(&routes.collect());
        self.pull(side);
    }

    /// Sends what routes the other side lacks, as the driver does: a little, as long as the socket takes it.
    pub(super) fn pull(&mut self, side: usize) {
        loop {
            let mut bytes = Vec::new();
            let live = self.live(side);
            let full = live.is_some_and(|wire| {
                let queue = self.queues.get(&(wire, 1 - side));
                queue.is_some_and(|queue| queue.len() >= SOCKET)
            });
            let (Some(wire), false) = (live, full) else {
                break;
            };
            let rib = self.ribs[side].follower(PEER);
            self.peers[side].pull(rib, ROOM, self.now, &mut bytes);
            if bytes.is_empty() || self.cut {
                break;
            }
            let mut rest = &bytes[..];
            while let Ok(Peek::Whole(_, length)) = Frame::peek(rest) {
                let (message, more) = rest.split_at(length);
                self.post(side, wire, Parcel::Message(message.to_vec()));
                rest = more;
            }
        }
        if self.peers[side].adj_out().is_none() {
            self.ribs[side].leave(PEER);
        }
    }

    /// The wire on which a side is Established.
    pub(super) fn live(&self, side: usize) -> Option<Wire> {
        let slots = [&self.peers[side].ours, &self.peers[side].theirs];
        let live = slots
            .into_iter()
            .flatten()
            .find(|slot| slot.name() == SessionState::Established)?;
        Some(self.wire(side, live.id))
    }
}
