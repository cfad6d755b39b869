//! What each side wants told, and how it gets through a socket that takes little.

use std::collections::BTreeSet;

use super::super::super::RouteAttrs;
use super::*;

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
        let attrs = RouteAttrs::default;
        self.ribs[side].replace(routes.iter().map(|prefix| (*prefix, attrs())));
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
            self.peers[side].pull(&self.ribs[side], ROOM, self.now, &mut bytes);
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
        for family in Family::ALL {
            let heard = match self.peers[side].adj_out() {
                Some(adj) => adj.heard(family),
                None => self.ribs[side].head(family),
            };
            self.ribs[side].forget(family, heard);
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
