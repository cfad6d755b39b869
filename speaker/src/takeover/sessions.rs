//! Which segments addresses live on, and which BFD sessions follow: when they are wanted, and when no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Takeover;
use super::api::{SessionKey, SessionWish};
use super::neighbourhood;
use super::peer::Path;

/// How long a session outlives its use: longer than the API server's news of the same change take to two nodes.
const LINGER: Duration = Duration::from_secs(60);

impl Takeover {
    /// Follows a change of who is where.
    pub(super) fn arrange(&mut self, now: Instant) {
        for (ip, vip) in &mut self.vips {
            let homes = neighbourhood::homes(*ip, &vip.duty, &self.segments);
            if homes != vip.homes {
                vip.homes = homes;
                self.changed |= vip.claim().is_some();
                self.dirty.insert(*ip);
            }
        }
        for (index, segment) in &mut self.segments {
            let used = self.vips.values().any(|vip| vip.homes.contains(index));
            segment.set_used(used, now);
        }
        self.watch_peers(now);
    }

    /// Wants the sessions that follow from all this.
    fn watch_peers(&mut self, now: Instant) {
        let mut sessions =
            neighbourhood::connect(&self.node, &self.vips, &self.nodes, &mut self.segments);
        if self.leaving.is_some() {
            sessions.clear();
        }
        let before = std::mem::replace(&mut self.sessions, sessions);
        for (key, wish) in before {
            let same = |now: &SessionWish| (now.peer, now.local) == (wish.peer, wish.local);
            if self.sessions.get(&key).is_some_and(same) {
                self.lingering.remove(&key);
            } else if self.leaving.is_none() && !self.lingers(&key, &wish, now) {
                let peer = self.peers.get_mut(key.node.as_str());
                if let Some(path) = peer.and_then(|peer| peer.paths.get_mut(&key.interface)) {
                    path.unwatch();
                }
                self.touch_shared(&key.node);
            }
        }
        for key in self.sessions.keys() {
            let peer = match self.peers.get_mut(key.node.as_str()) {
                Some(peer) => peer,
                None => self.peers.entry(Arc::from(key.node.as_str())).or_default(),
            };
            peer.paths.entry(key.interface).or_default().watch(now);
        }
    }

    /// A session that is Up stays for a while after nothing needs it any more. The other side may not have heard yet that
    /// nothing does, and would take the end of the session for ours.
    fn lingers(&mut self, key: &SessionKey, wish: &SessionWish, now: Instant) -> bool {
        let peer = self.peers.get(key.node.as_str());
        let path = peer.and_then(|peer| peer.paths.get(&key.interface));
        let segment = self.segments.get(&key.interface);
        let pair = segment.and_then(|segment| self.nodes.pair(segment, &key.node));
        let end = *self.lingering.entry(key.clone()).or_insert(now + LINGER);
        let lingers = path.is_some_and(Path::is_up)
            && pair == Some((wish.local, wish.peer))
            && !self.sessions.contains_key(key)
            && end > now;
        if lingers {
            self.sessions.insert(key.clone(), wish.clone());
        } else {
            self.lingering.remove(key);
        }
        lingers
    }

    /// Ends sessions that have lingered for long enough.
    pub(super) fn end_lingering(&mut self, now: Instant) {
        if self.lingering.values().any(|end| *end <= now) {
            self.arrange(now);
        }
    }
}
