//! What is heard of other nodes: their messages, and the ARP and NDP of their stations.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_proto::claim::Message;
use portolan_proto::ethernet::MacAddr;

use super::Takeover;
use super::api::{Checked, Rival};
use super::peer::{Complete, Path, SIGN_OF_LIFE};
use super::vip::{Duel, Occupant, Phase};

/// Shortest time between two complete statements on a segment, when asked, and when only greeted.
const ASKED: Duration = Duration::from_millis(20);
const GREETED: Duration = Duration::from_millis(250);
/// An address that a node uses is looked for again after this, and in growing steps; one that a stranger uses, rarely.
const AGAIN: Duration = Duration::from_secs(2);
const CONFLICT: Duration = Duration::from_secs(30);
/// Other speakers that are listened to.
pub(super) const PEERS: usize = 1024;
/// Silence after which a node that the cluster does not know any more makes room for others.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(60);

impl Takeover {
    /// An authentic message arrived, be it twice: the machine sorts out repetitions.
    pub fn hear(&mut self, interface: u32, message: &Message, now: Instant) {
        let sender = message.sender.as_str();
        if sender == &*self.node || !self.segments.contains_key(&interface) {
            return;
        }
        let full = self.peers.len() >= PEERS && !self.peers.contains_key(sender);
        if full && !self.forget_a_peer(now) {
            return;
        }
        let node: Arc<str> = Arc::from(sender);
        let Some(heard) = self
            .peers
            .entry(node.clone())
            .or_default()
            .hear(interface, message, now)
        else {
            return;
        };
        if heard.reborn {
            let void = self.claims.forget(&node);
            self.dirty.extend(void);
        }
        if heard.matters {
            self.touch_shared(&node);
        }
        // What was said before the session went Down did not count; the same, said again, does.
        let seen = self.sees(interface, &node);
        for entry in &message.statement.entries {
            let news = self
                .claims
                .note(&node, entry, (interface, message.sequence), now);
            if news || !seen {
                self.dirty.insert(entry.vip);
            }
        }
        if let Some(complete) = heard.complete {
            self.told_all(interface, &node, &complete);
        }
        self.silences.set(&node, Some(now + SIGN_OF_LIFE));
        self.answer(interface, &node, message, now);
        self.finish(now);
    }

    /// A station was heard to use an address by ARP or NDP. Says whose station it is.
    pub fn heard_on_wire(
        &mut self,
        interface: u32,
        ip: IpAddr,
        mac: MacAddr,
        now: Instant,
    ) -> Rival {
        if self.macs.contains(&mac) {
            return Rival::Node(self.node.to_string());
        }
        let Some(node) = self.nodes.by_mac(mac).cloned() else {
            return Rival::Stranger;
        };
        self.peers
            .entry(node.clone())
            .or_default()
            .seen_on_wire(now);
        if let Some(vip) = self.vips.get_mut(&ip) {
            vip.vacant = now;
            let speech = self
                .segments
                .get_mut(&interface)
                .map(|segment| &mut segment.speech);
            if vip.claim().is_some() && vip.duel.is_none() {
                vip.duel = Some(Duel {
                    node: node.clone(),
                    asked: now,
                });
            }
            if let Some(speech) = speech {
                speech.ask_once(now);
                speech.tell_all(GREETED, now);
            }
            self.dirty.insert(ip);
            self.finish(now);
        }
        Rival::Node(node.to_string())
    }

    /// The result of an [`Effect::Check`].
    pub fn checked(&mut self, ip: IpAddr, verdict: Checked, now: Instant) {
        let Some(vip) = self
            .vips
            .get_mut(&ip)
            .filter(|vip| matches!(vip.phase, Phase::Checking { .. }))
        else {
            return;
        };
        let Checked::Taken { mac, interface } = verdict else {
            vip.phase = Phase::Free { at: now };
            return self.look_at(ip, now);
        };
        if self.macs.contains(&mac) {
            vip.phase = Phase::Free { at: now };
            return self.look_at(ip, now);
        }
        vip.vacant = now;
        let all_known = vip
            .duty
            .nodes
            .iter()
            .all(|node| **node == *self.node || self.nodes.know(node));
        let soon = AGAIN * (1 << vip.disappointments.min(4));
        let (by, pause) = match self.nodes.by_mac(mac) {
            Some(node) => {
                vip.holder = Some(node.clone());
                self.peers
                    .entry(node.clone())
                    .or_default()
                    .seen_on_wire(now);
                (Occupant::Node, soon)
            }
            // A node whose speaker has not reported yet has a station that nobody knows.
            None if !all_known => (Occupant::Node, soon),
            None => (Occupant::Stranger { mac, interface }, CONFLICT),
        };
        // Two that look for the same address at the same time find each other; not twice in a row.
        let apart = Duration::from_millis(u64::from(vip.rank.unwrap_or_default()) * 450);
        vip.disappointments = vip.disappointments.saturating_add(1);
        vip.phase = Phase::Taken {
            again: now + pause + apart,
            by,
        };
        if let Some(segment) = self.segments.get_mut(&interface) {
            segment.speech.ask_once(now);
        }
        self.look_at(ip, now);
    }

    /// A node has said all that it claims on a segment.
    fn told_all(&mut self, interface: u32, node: &Arc<str>, (named, first): &Complete) {
        for ip in self.claims.keep_only(node, interface, named, *first) {
            let vip = self.vips.get_mut(&ip);
            if let Some(vip) = vip.filter(|vip| vip.holder.as_ref() == Some(node)) {
                vip.holder = None;
            }
            self.dirty.insert(ip);
        }
        let waited = self
            .segments
            .get_mut(&interface)
            .is_some_and(|segment| segment.told_all(node));
        if waited {
            let here = self
                .vips
                .iter()
                .filter(|(_, vip)| vip.homes.contains(&interface));
            self.dirty.extend(here.map(|(ip, _)| *ip));
        }
    }

    /// Makes room for a node: of those that the cluster has no longer, the one that was silent for the longest time is
    /// forgotten.
    fn forget_a_peer(&mut self, now: Instant) -> bool {
        let peers = self
            .peers
            .iter()
            .map(|(node, it)| (it.last_sign(now), node));
        let gone = peers.filter(|(sign, node)| {
            !self.nodes.know(node)
                && sign.is_none_or(|sign| now.saturating_duration_since(sign) > FORGOTTEN)
        });
        let Some(node) = gone.min().map(|(_, node)| node.clone()) else {
            return false;
        };
        self.peers.remove(&node);
        self.silences.set(&node, None);
        self.dirty.extend(self.claims.forget(&node));
        true
    }

    /// Whether BFD sees the node on the segment.
    fn sees(&self, interface: u32, node: &str) -> bool {
        let path = self
            .peers
            .get(node)
            .and_then(|peer| peer.paths.get(&interface));
        path.is_some_and(Path::is_up)
    }

    /// Says what we hold to whoever asks, and to a node that BFD does not see: it may have come back this moment.
    fn answer(&mut self, interface: u32, node: &Arc<str>, message: &Message, now: Instant) {
        let seen = self.sees(interface, node);
        let Some(segment) = self.segments.get_mut(&interface) else {
            return;
        };
        if message.statement.ask {
            segment.speech.tell_all(ASKED, now);
        } else if !message.statement.all && !seen && segment.peers.contains_key(node) {
            segment.speech.tell_all(GREETED, now);
        }
    }
}
