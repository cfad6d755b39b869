//! Two peers in memory, with wires that delay, break and go dead, and a clock that jumps.
//!
//! ```text
//!  Peer 0 ── Effect ──► World ── Input ──► Peer 1        each end of a wire: a socket with its own name
//!                         │                              each direction: a queue, in order, as TCP has it
//!                         └─ what each learned: Learned
//! ```
//!
//! [`explore`] goes through every order in which things can happen to a pair that comes together; [`long`] lets a
//! pair live through random trouble; [`scenes`] holds single stories.

mod explore;
mod learned;
mod long;
mod routes;
mod scenes;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::{Families, Family, Frame, HoldTime, Kind, NextHops, Peek, Prefix, Rib};
use super::tests::{mk_config, mk_start};
use super::*;
use learned::Learned;

/// What travels to the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Parcel {
    Syn,
    SynAck,
    /// The connection was refused, or is not known there (any more).
    Reset,
    Message(Vec<u8>),
    Fin,
}

/// Connections are named by their opener and its id.
type Wire = (usize, ConnId);

/// What travels on one wire to one side, with the time of arrival and a number that orders equal times.
type Queue = VecDeque<(Instant, u64, Parcel)>;

/// The pair and all that lies between.
#[derive(Clone)]
struct World {
    now: Instant,
    configs: [Config; 2],
    peers: [Peer; 2],
    ribs: [Rib; 2],
    learned: [Learned; 2],
    /// Since when each side wants each route told, and since when it is Established.
    wanted: [BTreeMap<Prefix, Instant>; 2],
    up: [Instant; 2],
    queues: BTreeMap<(Wire, usize), Queue>,
    /// What each side calls a connection whose socket it has open.
    names: [BTreeMap<Wire, ConnId>; 2],
    delay: [Duration; 2],
    /// Nothing that is sent now arrives.
    cut: bool,
    sequence: u64,
    connects: usize,
    /// How often a process began anew.
    births: usize,
    /// Connections that a side closed because of a collision.
    collided: Vec<Wire>,
}

const LOCAL: NextHops = NextHops {
    v4: Some(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    v6: Some(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    link_local: None,
};

/// A side of the pair: AS 65000 or 65001, hold time 9 s, both families.
fn mk_side(side: usize, id: &str, listen: Listen) -> Config {
    Config {
        hold_time: HoldTime::new(9).unwrap(),
        families: Families::only(Family::V4Unicast).with(Family::V6Unicast),
        listen,
        ..mk_config([65000, 65001][side], [65001, 65000][side], id)
    }
}

impl World {
    fn new(configs: [Config; 2], delay: [u64; 2], seed: u64) -> Self {
        let [first, second] = configs.clone();
        let ribs = [0, 1].map(|_| {
            let mut rib = Rib::default();
            rib.set_synced();
            rib
        });
        Self {
            now: mk_start(),
            peers: [Peer::new(first, seed), Peer::new(second, !seed)],
            configs,
            ribs,
            learned: Default::default(),
            wanted: Default::default(),
            up: [mk_start(); 2],
            queues: BTreeMap::new(),
            names: Default::default(),
            delay: delay.map(Duration::from_millis),
            cut: false,
            sequence: 0,
            connects: 0,
            births: 0,
            collided: Vec::new(),
        }
    }

    /// Both sides take connections, and open some.
    fn both(ids: [&str; 2], delay: [u64; 2], seed: u64) -> Self {
        let side = |side: usize| mk_side(side, ids[side], Listen::Both);
        Self::new([side(0), side(1)], delay, seed)
    }

    fn start(&mut self) {
        self.give(0, Input::Start);
        self.give(1, Input::Start);
    }

    fn give(&mut self, side: usize, input: Input<'_>) {
        let timer = matches!(input, Input::Timer);
        let before = self.peers[side].established_count();
        let mut out = Out::new();
        self.peers[side].handle(input, self.now, &mut out);
        for effect in out {
            self.act(side, effect);
        }
        if self.peers[side].established_count() > before {
            self.learned[side].session();
            self.up[side] = self.now;
        }
        self.pull(side);
        self.check(side);
        let next = self.peers[side].next_deadline();
        assert!(
            !timer || next.is_none_or(|next| next > self.now),
            "a deadline stays due"
        );
    }

    fn act(&mut self, side: usize, effect: Effect) {
        match effect {
            Effect::Connect(id) => {
                self.connects += 1;
                self.names[side].insert((side, id), id);
                self.post(side, (side, id), Parcel::Syn);
            }
            Effect::Send(id, bytes) => {
                let wire = self.wire(side, id);
                if bytes[18..] == [3, 6, 7] {
                    self.collided.push(wire);
                }
                self.post(side, wire, Parcel::Message(bytes));
            }
            Effect::Close(id, _) => {
                let wire = self.wire(side, id);
                self.names[side].remove(&wire);
                self.post(side, wire, Parcel::Fin);
            }
            Effect::Event(_) => {}
        }
    }

    /// The wire of a socket; there must be one: nobody acts on a connection that is gone.
    fn wire(&self, side: usize, id: ConnId) -> Wire {
        let named = self.names[side].iter().find(|(_, name)| **name == id);
        *named.expect("an effect on a connection that is gone").0
    }

    /// What must hold for each side at any time.
    fn check(&self, side: usize) {
        let peer = &self.peers[side];
        let far = |slot: &Option<slot::Slot>| slot.as_ref().is_some_and(slot::Slot::is_confirmed);
        assert!(!(far(&peer.ours) && far(&peer.theirs)), "two winners");
        if let Some(negotiated) = peer.negotiated() {
            assert!(!matches!(negotiated.hold.seconds(), 1 | 2));
        }
        let sockets = self.names[side].values().copied();
        for id in sockets {
            assert!(peer.knows(id), "side {side} left {id:?} open");
        }
    }

    fn post(&mut self, from: usize, wire: Wire, parcel: Parcel) {
        if self.cut {
            return;
        }
        self.sequence += 1;
        let arrival = self.now + self.delay[from];
        let queue = self.queues.entry((wire, 1 - from)).or_default();
        queue.push_back((arrival, self.sequence, parcel));
    }

    /// Takes the next parcel of a queue and hands it over.
    fn deliver(&mut self, (wire, to): (Wire, usize)) {
        let Some(queue) = self.queues.get_mut(&(wire, to)) else {
            return;
        };
        let front = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&(wire, to));
        }
        if let Some((_, _, parcel)) = front {
            self.arrive(wire, to, parcel);
        }
        self.pull(1 - to);
    }

    fn arrive(&mut self, wire: Wire, to: usize, parcel: Parcel) {
        let known = self.names[to].get(&wire).copied();
        match (parcel, known) {
            (Parcel::Syn, _) if self.configs[to].listen == Listen::Active => {
                self.post(to, wire, Parcel::Reset);
            }
            (Parcel::Syn, _) => {
                self.post(to, wire, Parcel::SynAck);
                let id = self.peers[to].mint();
                self.names[to].insert(wire, id);
                self.give(to, Input::Accepted(id, LOCAL));
            }
            (Parcel::SynAck, Some(id)) => self.give(to, Input::Connected(id, LOCAL)),
            (Parcel::Message(bytes), Some(id)) => self.receive(to, id, &bytes),
            (Parcel::Reset | Parcel::Fin, Some(id)) => self.lose(to, id),
            // Nobody has that socket open: the kernel says so.
            (Parcel::SynAck | Parcel::Message(_), None) => self.post(to, wire, Parcel::Reset),
            (Parcel::Reset | Parcel::Fin, None) => {}
        }
    }

    fn receive(&mut self, to: usize, id: ConnId, bytes: &[u8]) {
        let Ok(Peek::Whole(frame, _)) = Frame::peek(bytes) else {
            panic!("{bytes:?}")
        };
        self.give(to, Input::Received(id, frame));
        if self.peers[to].negotiated().is_some() {
            let from = 1 - to;
            for prefix in self.learned[to].take_in(frame) {
                let wanted = self.wanted[from].get(&prefix);
                let all_along = wanted.is_some_and(|since| *since < self.up[from]);
                assert!(
                    !all_along,
                    "{prefix} was dropped while side {from} wanted it"
                );
            }
        }
    }

    fn lose(&mut self, side: usize, id: ConnId) {
        let connecting = self.peers[side]
            .ours
            .as_ref()
            .is_some_and(|slot| slot.id == id && slot.name() == SessionState::Connect);
        if connecting {
            let refused = ConnectFailure::Refused("refused".into());
            self.give(side, Input::ConnectFailed(id, refused));
        } else {
            self.give(side, Input::Lost(id, "closed".into()));
        }
    }

    /// A connection breaks: both ends see it, and what was under way is lost.
    fn snap(&mut self, wire: Wire) {
        for side in [0, 1] {
            self.queues.remove(&(wire, side));
        }
        for side in [0, 1] {
            if let Some(id) = self.names[side].get(&wire).copied() {
                self.lose(side, id);
            }
            self.queues.remove(&(wire, 1 - side));
        }
    }

    /// A machine dies and comes back: nobody closes its sockets.
    fn crash(&mut self, side: usize) {
        self.names[side].clear();
        self.reborn(side);
    }

    /// A new process in the place of the old one: it has learned nothing, and wants the same routes told.
    fn reborn(&mut self, side: usize) {
        let mut peer = Peer::new(self.configs[side].clone(), self.sequence);
        // Its wires have other names than those of the old one.
        self.births += 1;
        for _ in 0..1000 * self.births {
            peer.mint();
        }
        self.peers[side] = peer;
        self.learned[side] = Learned::default();
        self.give(side, Input::Start);
    }

    fn wires(&self) -> Vec<Wire> {
        let mut wires: Vec<Wire> = self
            .names
            .iter()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        wires.sort_unstable();
        wires.dedup();
        wires
    }

    /// Lets the world turn for `time`.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let fronts = self.queues.iter().filter_map(|(key, queue)| {
                let (at, number, _) = queue.front()?;
                Some((*at, *number, *key))
            });
            let parcel = fronts.min();
            let arrival = parcel.map(|parcel| parcel.0);
            let [first, second] = [0, 1].map(|side: usize| self.peers[side].next_deadline());
            let Some(next) = [arrival, first, second].into_iter().flatten().min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            match parcel {
                Some((at, _, key)) if at <= self.now => self.deliver(key),
                Some(_) | None => {
                    for side in [0, 1] {
                        let due = self.peers[side].next_deadline();
                        if due.is_some_and(|due| due <= self.now) {
                            self.give(side, Input::Timer);
                        }
                    }
                }
            }
        }
        self.now = end;
    }

    fn are_both(&self, state: SessionState) -> bool {
        self.peers.iter().all(|peer| peer.state() == state)
    }

    /// Both are Established, on the same and only connection.
    fn is_together(&self) -> bool {
        let [first, second] = &self.names;
        self.are_both(SessionState::Established)
            && first.len() == 1
            && first.keys().eq(second.keys())
    }
}

/// The type octet of a message.
fn kind_of(bytes: &[u8]) -> Option<Kind> {
    Kind::ALL
        .into_iter()
        .find(|kind| bytes.get(18) == Some(&kind.octet()))
}
