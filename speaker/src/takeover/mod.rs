//! Which addresses this node answers for: the takeover machine. Pure: no sockets, no clock.
//!
//! ```text
//!   duties, nodes, links ─► homes, sessions wanted ─► BFD
//!   BFD ─► paths Up/Down ──┐
//!   messages ─► claims ────┼─► rules: one judgement per address ─► held ─► ARP and NDP
//!   wire: checks, claims ──┤                    │
//!   witnesses ─► contact ──┘                    └─► speech ─► messages
//!
//!                    ┌──────── a greater claim counts ────────┐
//!                    ▼                                        │
//!   StandingBy ── our turn ─► (looked for on the wire) ─► Holding ── isolated, gone ─► silent
//! ```
//!
//! An address has a *placement*: nodes in order, with a number (term). A node that answers has a *claim*, (term, turn). Claims
//! are totally ordered; who holds goes on until it hears a greater one that counts. A claim counts while BFD sees its node,
//! or the node was heard within a second. Each takeover counts one turn more than all that was heard of, so the latest wins
//! everywhere and a node that returns takes nothing back.
//!
//! *Our turn* it is when no claim of this term or a newer one counts, a segment leads somewhere, the others have been asked
//! (after start, link up and isolation: for half a second at most), and every node before us in the placement is dead by BFD
//! or leaves. A node that BFD has never seen, or that is there and answers nothing, is waited for: five seconds for each.
//!
//! *Looked for on the wire* is an address before its use, unless we know who answered and BFD saw him die, or he says that he
//! leaves, or it is a planned move, or it was ours a moment ago and everybody has told that he did not take it. So a node
//! that a firewall hides still wins, and so does a stranger: that is a conflict.
//!
//! A *planned move* is a newer term that names another node first: it claims, and the old holder lets go when it hears that.
//! A holder that a newer term does not name first keeps its claim as it is. *Leaving* means: claim nothing, answer until
//! somebody else claims, three seconds at most.
//!
//! Any message may be lost: [`speech`] says what is repeated until when. That two hold unknown to each other ends by hellos,
//! which go on until BFD sees everybody and everybody has told all his claims since.

mod alarms;
mod api;
mod claims;
mod decide;
mod hearing;
mod neighbourhood;
mod peer;
mod rules;
mod segment;
mod sessions;
pub(crate) mod shell;
#[cfg(test)]
mod sim;
mod speech;
#[cfg(test)]
mod tests;
mod vip;
pub(crate) mod wire;

pub use api::{
    Cause, Checked, Duty, Effect, PathState, Rival, SessionKey, SessionWish, Standing, State, Took,
};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_api::crd::NodeRule;
use portolan_proto::ethernet::MacAddr;

use self::alarms::Alarms;
use self::claims::Claims;
use self::neighbourhood::Nodes;
use self::peer::{Peer, Watch};
use self::segment::Segment;
use self::vip::Vip;
use crate::l2::Interfaces;
use crate::link::{Exclude, Links};

/// After a session went Down, hellos say everything for so long: the other side may not hear us ask.
const LOUD: Duration = Duration::from_secs(2);

/// The machine of one node.
#[derive(Debug)]
pub struct Takeover {
    node: Arc<str>,
    vips: BTreeMap<IpAddr, Vip>,
    segments: BTreeMap<u32, Segment>,
    /// Witnesses beside the nodes, by interface; they may be known before the interface is.
    stations: BTreeMap<u32, BTreeSet<IpAddr>>,
    macs: BTreeSet<MacAddr>,
    nodes: Nodes,
    sessions: BTreeMap<SessionKey, SessionWish>,
    /// Sessions that nothing needs any more, and when they end.
    lingering: BTreeMap<SessionKey, Instant>,
    peers: BTreeMap<Arc<str>, Peer>,
    claims: Claims,
    leaving: Option<Instant>,
    /// When an address is to be looked at again.
    alarms: Alarms<IpAddr>,
    /// When a node has been silent for too long.
    silences: Alarms<Arc<str>>,
    /// Addresses to be looked at now.
    dirty: BTreeSet<IpAddr>,
    /// Addresses that we hold although their placement does not name us: nobody who is named may know us.
    strays: BTreeSet<IpAddr>,
    /// What is answered for has changed.
    changed: bool,
    took: BTreeMap<(Arc<str>, Cause), Vec<IpAddr>>,
    effects: VecDeque<Effect>,
}

impl Takeover {
    /// A node that knows nothing yet, and answers for nothing.
    #[must_use]
    pub fn new(node: String) -> Self {
        Self {
            node: Arc::from(node),
            vips: BTreeMap::new(),
            segments: BTreeMap::new(),
            stations: BTreeMap::new(),
            macs: BTreeSet::new(),
            nodes: Nodes::default(),
            sessions: BTreeMap::new(),
            lingering: BTreeMap::new(),
            peers: BTreeMap::new(),
            claims: Claims::default(),
            leaving: None,
            alarms: Alarms::default(),
            silences: Alarms::default(),
            dirty: BTreeSet::new(),
            strays: BTreeSet::new(),
            changed: false,
            took: BTreeMap::new(),
            effects: VecDeque::new(),
        }
    }

    /// Replaces the duties: the VIPs whose placement names us, and those that we hold whose placement names us no longer
    /// although they still exist. What is not among them is not answered for any more on return.
    ///
    /// Not to be called before everything is known: blind is silent.
    pub fn set_duties(&mut self, duties: BTreeMap<IpAddr, Duty>, now: Instant) {
        let gone: Vec<IpAddr> = self
            .vips
            .keys()
            .filter(|ip| !duties.contains_key(ip))
            .copied()
            .collect();
        let mut changed = !gone.is_empty();
        for ip in gone {
            self.release(ip, now);
            self.vips.remove(&ip);
            self.alarms.set(&ip, None);
        }
        for (ip, duty) in duties {
            match self.vips.get_mut(&ip) {
                Some(vip) if vip.duty == duty => continue,
                Some(vip) => vip.assign(duty, &self.node, now),
                None => drop(self.vips.insert(ip, Vip::new(duty, &self.node, now))),
            }
            changed = true;
            self.dirty.insert(ip);
        }
        if changed {
            self.arrange(now);
        }
        self.finish(now);
    }

    /// Replaces what is known of the nodes that take part in placements (`SpeakerConfigSpec::nodes`).
    pub fn set_nodes(&mut self, nodes: &[NodeRule], now: Instant) {
        self.nodes = Nodes::new(nodes);
        self.arrange(now);
        self.finish(now);
    }

    /// Replaces the links of this node.
    pub fn set_links(&mut self, links: &Links, exclude: &Exclude, now: Instant) {
        self.macs = links.iter().filter_map(|link| link.mac).collect();
        let own = links
            .iter()
            .filter(|link| link.master.is_none() && link.mac.is_some_and(MacAddr::is_station));
        let present: BTreeMap<u32, _> = own
            .filter(|link| !exclude.matches(&link.name))
            .map(|link| (link.index, link))
            .collect();
        self.segments.retain(|index, _| present.contains_key(index));
        for (index, link) in present {
            let stations = self.stations.get(&index);
            let segment = self.segments.entry(index).or_insert_with(|| {
                let mut segment = Segment::new(link);
                segment.stations = stations.cloned().unwrap_or_default();
                segment
            });
            // What is held is answered for by name.
            self.changed |= segment.name != link.name;
            segment.follow(link, now);
        }
        self.arrange(now);
        self.dirty.extend(self.vips.keys());
        self.finish(now);
    }

    /// Replaces the stations of a segment that can be asked whether we are still connected, beside the nodes: gateways, and
    /// neighbours that the kernel knows and that were there a moment ago. Without any, a segment with a carrier always counts
    /// as connected.
    pub fn set_witnesses(&mut self, interface: u32, stations: BTreeSet<IpAddr>, now: Instant) {
        if let Some(segment) = self.segments.get_mut(&interface) {
            segment.stations.clone_from(&stations);
        }
        if stations.is_empty() {
            self.stations.remove(&interface);
        } else {
            self.stations.insert(interface, stations);
        }
        self.finish(now);
    }

    /// The BFD sessions that are wanted, by node and interface. None while we leave.
    #[must_use]
    pub fn sessions(&self) -> &BTreeMap<SessionKey, SessionWish> {
        &self.sessions
    }

    /// The interfaces on which messages are to be heard, by index, with their names.
    #[must_use]
    pub fn segments(&self) -> BTreeMap<u32, String> {
        let used = self.segments.iter().filter(|(_, segment)| segment.used);
        used.map(|(index, segment)| (*index, segment.name.clone()))
            .collect()
    }

    /// A session changed its state. Reports of sessions that are not wanted change nothing.
    pub fn path(&mut self, key: &SessionKey, state: PathState, now: Instant) {
        let Some(wish) = self.sessions.get(key) else {
            return;
        };
        let node: Arc<str> = Arc::from(key.node.as_str());
        let peer = self.peers.entry(node.clone()).or_default();
        let path = peer.paths.entry(key.interface).or_default();
        if !path.watched(state, wish.detection(), now) {
            return;
        }
        if path.watch == Watch::Up {
            peer.stays();
        }
        if let Some(segment) = self.segments.get_mut(&key.interface) {
            match state {
                PathState::Up => {}
                PathState::Down => segment.speech.be_loud(now + LOUD),
                PathState::Leaving => segment.left_in_order(now),
            }
        }
        self.touch_shared(&node);
        // What nothing needs any more says nothing either, once it is Down.
        if state != PathState::Up && self.lingering.contains_key(key) {
            self.arrange(now);
        }
        self.finish(now);
    }

    /// A station that was asked by [`Effect::Ask`] answered.
    pub fn witnessed(&mut self, interface: u32, now: Instant) {
        if let Some(segment) = self.segments.get_mut(&interface) {
            segment.answered(now);
            self.finish(now);
        }
    }

    /// The speaker stops in order, or the node is to be left alone: others are told, nothing is claimed, and each address is
    /// answered for until another node claims it, three seconds at most. It is done when [`Self::held`] is empty.
    pub fn leave(&mut self, now: Instant) {
        self.leaving.get_or_insert(now);
        self.say_whether_we_leave(now);
    }

    /// The node is to take part again after [`Self::leave`].
    pub fn stay(&mut self, now: Instant) {
        self.leaving = None;
        let paths = self
            .peers
            .values_mut()
            .flat_map(|peer| peer.paths.values_mut());
        paths.for_each(peer::Path::unwatch);
        self.say_whether_we_leave(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(ip) = self.alarms.pop(now) {
            self.dirty.insert(ip);
        }
        while let Some(node) = self.silences.pop(now) {
            self.touch_shared(&node);
        }
        self.end_lingering(now);
        self.finish(now);
    }

    /// When [`Self::handle_timeout`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let segments = self.segments.values();
        let segments = segments.flat_map(|segment| [segment.next_review(), segment.speech.next()]);
        segments
            .chain([self.alarms.next(), self.silences.next()])
            .chain([self.lingering.values().min().copied()])
            .flatten()
            .min()
    }

    /// The next thing to do, in order. To be emptied after each call of any other method.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What is to be answered for, and on which interfaces: always by name.
    #[must_use]
    pub fn held(&self) -> BTreeMap<IpAddr, Interfaces> {
        let held = self.vips.iter().filter(|(_, vip)| vip.claim().is_some());
        held.map(|(ip, vip)| (*ip, self.interfaces(vip))).collect()
    }

    /// How it stands with each VIP, for reports and explanations.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<IpAddr, Standing> {
        let standing = |(ip, vip): (&IpAddr, &Vip)| (*ip, self.stand(vip));
        self.vips.iter().map(standing).collect()
    }

    fn interfaces(&self, vip: &Vip) -> Interfaces {
        let homes = vip.homes.iter().filter_map(|home| self.segments.get(home));
        Interfaces::Named(homes.map(|segment| segment.name.clone()).collect())
    }

    fn look_at(&mut self, ip: IpAddr, now: Instant) {
        self.dirty.insert(ip);
        self.finish(now);
    }

    /// Everything that a node has to do with is to be looked at again.
    fn touch_shared(&mut self, node: &str) {
        let placed = self
            .vips
            .iter()
            .filter(|(_, vip)| vip.duty.nodes.iter().any(|it| it == node));
        self.dirty.extend(placed.map(|(ip, _)| *ip));
        self.dirty.extend(self.claims.by(node));
    }
}
