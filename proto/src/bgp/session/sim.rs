//! Two peers in memory, with a wire that delays and a clock that jumps: do they come together, and stay?

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{Frame, HoldTime, Peek};
use super::tests::{LOCAL, mk_config, mk_start};
use super::*;

/// What travels to the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Parcel {
    Syn,
    SynAck,
    Reset,
    Bytes(Vec<u8>),
    Fin,
}

/// Connections are named by their opener and its id.
type Wire = (usize, ConnId);

/// Arrival, order, receiver, connection, content.
type Flight = (Instant, u64, usize, Wire, Parcel);

struct World {
    now: Instant,
    peers: [Peer; 2],
    flying: BinaryHeap<Reverse<Flight>>,
    /// What each side calls a connection.
    names: [BTreeMap<Wire, ConnId>; 2],
    delay: [Duration; 2],
    listening: [bool; 2],
    cut: bool,
    sequence: u64,
    connects: usize,
}

impl World {
    fn new(ids: [&str; 2], delay: [u64; 2], seed: u64) -> Self {
        let config = |me: usize| Config {
            hold_time: HoldTime::new(9).unwrap(),
            ..mk_config([65000, 65001][me], [65001, 65000][me], ids[me])
        };
        Self {
            now: mk_start(),
            peers: [Peer::new(config(0), seed), Peer::new(config(1), !seed)],
            flying: BinaryHeap::new(),
            names: [BTreeMap::new(), BTreeMap::new()],
            delay: delay.map(Duration::from_millis),
            listening: [true, true],
            cut: false,
            sequence: 0,
            connects: 0,
        }
    }

    fn give(&mut self, side: usize, input: Input<'_>) {
        let mut out = Out::new();
        self.peers[side].handle(input, self.now, &mut out);
        for effect in out {
            self.act(side, effect);
        }
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
                self.post(side, wire, Parcel::Bytes(bytes));
            }
            Effect::Close(id, _) => {
                let wire = self.wire(side, id);
                self.names[side].remove(&wire);
                self.post(side, wire, Parcel::Fin);
            }
            Effect::Event(_) => {}
        }
    }

    fn wire(&self, side: usize, id: ConnId) -> Wire {
        *self.names[side]
            .iter()
            .find(|(_, name)| **name == id)
            .unwrap()
            .0
    }

    fn post(&mut self, from: usize, wire: Wire, parcel: Parcel) {
        if self.cut {
            return;
        }
        self.sequence += 1;
        let arrival = self.now + self.delay[from];
        self.flying
            .push(Reverse((arrival, self.sequence, 1 - from, wire, parcel)));
    }

    fn deliver(&mut self, to: usize, wire: Wire, parcel: Parcel) {
        let known = self.names[to].get(&wire).copied();
        match (parcel, known) {
            (Parcel::Syn, _) if self.listening[to] => {
                self.post(to, wire, Parcel::SynAck);
                let id = self.peers[to].mint();
                self.names[to].insert(wire, id);
                self.give(to, Input::Accepted(id, LOCAL));
            }
            (Parcel::Syn, _) => self.post(to, wire, Parcel::Reset),
            (Parcel::SynAck, Some(id)) => self.give(to, Input::Connected(id, LOCAL)),
            (Parcel::Reset, Some(id)) => {
                let refused = ConnectFailure::Refused("refused".into());
                self.give(to, Input::ConnectFailed(id, refused));
            }
            (Parcel::Bytes(bytes), Some(id)) => {
                let Ok(Peek::Whole(frame, _)) = Frame::peek(&bytes) else {
                    panic!("{bytes:?}")
                };
                self.give(to, Input::Received(id, frame));
            }
            (Parcel::Fin, Some(id)) => self.give(to, Input::Lost(id, "closed".into())),
            // The receiver closed it already.
            (_, None) => {}
        }
    }

    /// Lets the world turn for `time`.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.peek().map(|Reverse(parcel)| parcel.0);
            let deadlines = [0, 1].map(|side: usize| self.peers[side].next_deadline());
            let [first, second] = deadlines;
            let Some(next) = [arrival, first, second].into_iter().flatten().min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                let Some(Reverse((_, _, to, wire, parcel))) = self.flying.pop() else {
                    break;
                };
                self.deliver(to, wire, parcel);
            } else {
                self.give(0, Input::Timer);
                self.give(1, Input::Timer);
            }
        }
        self.now = end;
    }

    fn both(&self, state: SessionState) -> bool {
        self.peers.iter().all(|peer| peer.state() == state)
    }

    fn start(&mut self) {
        self.give(0, Input::Start);
        self.give(1, Input::Start);
    }
}

proptest! {
    /// Both connect at once, with any delays: exactly one connection survives, the same on both sides.
    #[test]
    fn simultaneous_connections_converge(
        low in 1u64..400, high in 1u64..400, lag in 0u64..400, seed: u64, swap: bool,
    ) {
        let ids = if swap { ["10.0.0.2", "10.0.0.1"] } else { ["10.0.0.1", "10.0.0.2"] };
        let mut world = World::new(ids, [low, high], seed);
        world.give(0, Input::Start);
        world.run(Duration::from_millis(lag));
        world.give(1, Input::Start);
        world.run(Duration::from_secs(60));
        prop_assert!(world.both(SessionState::Established));
        let wires: Vec<_> = world.names.iter().map(|names| names.keys().collect::<Vec<_>>()).collect();
        prop_assert_eq!(wires[0].len(), 1);
        prop_assert_eq!(&wires[0], &wires[1]);
        let flaps = world.peers[0].established_count();
        world.run(Duration::from_secs(300));
        prop_assert_eq!(world.peers[0].established_count(), flaps, "and it stays");
    }
}

#[test]
fn one_side_that_only_connects_is_enough() {
    let mut world = World::new(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
    world.listening = [false, true];
    world.start();
    world.run(Duration::from_secs(30));
    assert!(world.both(SessionState::Established));
}

#[test]
fn a_cut_wire_is_noticed_at_the_hold_time_and_heals() {
    let mut world = World::new(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
    world.start();
    world.run(Duration::from_secs(20));
    world.cut = true;
    world.run(Duration::from_secs(5));
    assert!(
        world.both(SessionState::Established),
        "not before the hold time"
    );
    world.run(Duration::from_secs(6));
    assert!(
        world
            .peers
            .iter()
            .all(|peer| peer.state() != SessionState::Established)
    );
    world.cut = false;
    world.run(Duration::from_secs(30));
    assert!(world.both(SessionState::Established));
}

#[test]
fn a_stopped_peer_stays_away_and_comes_back_when_started() {
    let mut world = World::new(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
    world.start();
    world.run(Duration::from_secs(20));
    world.give(0, Input::Stop(StopReason::Shutdown("maintenance".into())));
    world.run(Duration::from_secs(60));
    assert_eq!(world.peers[0].state(), SessionState::Idle);
    let error = world.peers[1]
        .history()
        .iter()
        .any(|record| record.event.to_string().contains("maintenance"));
    assert!(error, "the other side knows why");
    world.give(0, Input::Start);
    world.run(Duration::from_secs(30));
    assert!(world.both(SessionState::Established));
}

#[test]
fn a_peer_that_refuses_is_not_hammered() {
    let mut world = World::new(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
    world.give(0, Input::Start);
    world.run(Duration::from_secs(3600));
    assert_eq!(
        world.peers[1].state(),
        SessionState::Idle,
        "never started, rejects everything"
    );
    assert!(
        world.connects < 100,
        "{} attempts in an hour",
        world.connects
    );
}
