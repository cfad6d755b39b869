//! Two sessions, a wire that loses, delays and reorders, and a clock that jumps: do they come together, stay, and part
//! when they should?

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::super::auth::{Bytes, Key, Method};
use super::super::packet::Packet;
use super::tests::{mk_config, mk_start};
use super::*;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

struct Wire {
    /// Packets lost, in percent.
    loss: u32,
    /// Shortest and longest delay, in milliseconds: what differs, overtakes.
    delay: (u32, u32),
    /// Nothing overtakes.
    in_order: bool,
    /// From the side of this number nothing arrives any more.
    cut: [bool; 2],
}

/// Arrival, order, receiver, bytes.
type Flight = (Instant, u64, usize, Vec<u8>);

struct World {
    now: Instant,
    sides: [Session; 2],
    wire: Wire,
    flying: BinaryHeap<Reverse<Flight>>,
    /// When what was sent last by each side arrives.
    latest: [Instant; 2],
    sent: [Vec<(Instant, Packet)>; 2],
    changes: [Vec<(Instant, Change)>; 2],
    sequence: u64,
    dice: Dice,
}

impl World {
    fn new(configs: [Config; 2], seed: u64) -> Self {
        let now = mk_start();
        let mut number = 0;
        let sides = configs.map(|config| {
            number += 1;
            let name = Discriminator::new(number).unwrap();
            Session::new(name, config, seed ^ u64::from(number), now)
        });
        Self {
            now,
            sides,
            wire: Wire {
                loss: 0,
                delay: (1, 1),
                in_order: false,
                cut: [false; 2],
            },
            flying: BinaryHeap::new(),
            latest: [now; 2],
            sent: [Vec::new(), Vec::new()],
            changes: [Vec::new(), Vec::new()],
            sequence: 0,
            dice: Dice::new(seed),
        }
    }

    /// Sends what is owed.
    fn flush(&mut self) {
        for side in 0..2 {
            while let Some(packet) = self.sides[side].poll_tx(self.now) {
                self.sent[side].push((self.now, packet));
                if self.wire.cut[side] || self.dice.between(1, 100) <= self.wire.loss {
                    continue;
                }
                let delay = self.dice.between(self.wire.delay.0, self.wire.delay.1);
                let mut bytes = Vec::new();
                packet.encode(&mut bytes);
                self.sequence += 1;
                let mut arrival = self.now + delay * MILLI;
                if self.wire.in_order {
                    arrival = arrival.max(self.latest[side]);
                }
                self.latest[side] = arrival;
                self.flying
                    .push(Reverse((arrival, self.sequence, 1 - side, bytes)));
            }
        }
    }

    fn note(&mut self, side: usize, change: Option<Change>) {
        self.changes[side].extend(change.map(|change| (self.now, change)));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.flush();
        loop {
            let arrival = self.flying.peek().map(|Reverse(flight)| flight.0);
            let deadlines = self.sides.each_ref().map(Session::next_deadline);
            let next = deadlines.into_iter().chain([arrival]).flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while self
                .flying
                .peek()
                .is_some_and(|Reverse(flight)| flight.0 <= self.now)
            {
                let Reverse((_, _, to, bytes)) = self.flying.pop().unwrap();
                let packet = Packet::decode(&bytes).unwrap();
                // What is not believed is dropped, as the driver does.
                let change = self.sides[to]
                    .on_packet(&packet, self.now)
                    .unwrap_or_default();
                self.note(to, change);
            }
            for side in 0..2 {
                let change = self.sides[side].on_timeout(self.now);
                self.note(side, change);
            }
            self.flush();
        }
        self.now = end;
    }

    fn both_up(&self) -> bool {
        self.sides.iter().all(|side| side.state() == State::Up)
    }

    fn failures(&self) -> usize {
        let all = self.changes.iter().flatten();
        all.filter(|(_, change)| change.is_failure()).count()
    }
}

#[test]
fn two_sides_come_up_within_three_seconds_and_agree_on_their_times() {
    let mut world = World::new([mk_config(300, 200, 3), mk_config(100, 500, 5)], 1);
    world.run(3 * SECOND);
    assert!(world.both_up());
    let [first, second] = world.sides.each_ref().map(Session::negotiated);
    assert_eq!(
        first.transmit,
        Some(500 * MILLI),
        "what the other can receive"
    );
    assert_eq!(second.transmit, Some(200 * MILLI));
    assert_eq!(first.detection, Some(1000 * MILLI), "5 × 200");
    assert_eq!(second.detection, Some(1500 * MILLI), "3 × 500");
    assert!(world.sides.iter().all(|side| !side.is_polling()));
    world.run(600 * SECOND);
    assert_eq!(world.failures(), 0);
}

#[test]
fn two_passive_sides_never_meet_but_one_is_enough() {
    let passive = || Config {
        passive: true,
        ..mk_config(300, 300, 3)
    };
    let mut world = World::new([passive(), passive()], 1);
    world.run(60 * SECOND);
    assert!(world.sent.iter().all(Vec::is_empty));
    let mut world = World::new([passive(), mk_config(300, 300, 3)], 1);
    world.run(3 * SECOND);
    assert!(world.both_up());
}

#[test]
fn a_cut_is_noticed_in_the_detection_time_on_both_sides() {
    for cut in [[true, true], [true, false], [false, true]] {
        let mut world = World::new([mk_config(50, 50, 3), mk_config(50, 50, 3)], 1);
        world.run(10 * SECOND);
        let at = world.now;
        world.wire.cut = cut;
        world.run(SECOND);
        for (side, changes) in world.changes.iter().enumerate() {
            let (when, change) = changes
                .iter()
                .find(|(when, _)| *when >= at)
                .unwrap_or_else(|| panic!("{cut:?}: side {side} noticed nothing"));
            let took = *when - at;
            assert!(change.is_failure(), "{cut:?}: {change:?}");
            // The last packet left up to one interval before; the one that still hears is told a moment later.
            assert!(
                (95 * MILLI..=155 * MILLI).contains(&took),
                "{cut:?}: {took:?}"
            );
        }
        world.wire.cut = [false; 2];
        world.run(5 * SECOND);
        assert!(world.both_up(), "{cut:?}: and it heals");
    }
}

#[test]
fn a_peer_that_begins_anew_is_noticed_and_comes_back() {
    let mut world = World::new([mk_config(300, 300, 3), mk_config(300, 300, 3)], 1);
    world.run(5 * SECOND);
    let reborn = Discriminator::new(99).unwrap();
    world.sides[1] = Session::new(reborn, mk_config(300, 300, 3), 4, world.now);
    world.run(3 * SECOND);
    assert!(world.both_up());
    assert_eq!(world.failures(), 1);
    assert_eq!(world.sides[0].remote_discriminator(), Some(reborn));
}

#[test]
fn an_orderly_end_is_no_failure_and_heard_at_once() {
    let mut world = World::new([mk_config(300, 300, 3), mk_config(300, 300, 3)], 1);
    world.run(5 * SECOND);
    world.sides[0].admin_down(Diag::ADMINISTRATIVELY_DOWN);
    world.run(5 * MILLI);
    assert_eq!(world.sides[1].state(), State::Down);
    assert_eq!(world.sides[1].remote_state(), State::AdminDown);
    assert_eq!(world.failures(), 0);
    assert_eq!(
        world.sides[0].remote_state(),
        State::Down,
        "and acknowledged"
    );
}

#[test]
fn keys_are_replaced_in_a_session_that_stays_up() {
    for method in [
        Method::SimplePassword,
        Method::KeyedSha1,
        Method::MeticulousMd5,
    ] {
        let key = |id: u8| {
            let secret = Bytes::new(&[id; 8]).unwrap();
            Key { id, secret }
        };
        let keyed = |sending: u8, other: Option<u8>| {
            let others = other.map(key);
            let authentication = Authentication::new(method, key(sending), others).unwrap();
            Config {
                authentication: Some(authentication),
                ..mk_config(300, 300, 3)
            }
        };
        let mut world = World::new([keyed(1, None), keyed(1, None)], 1);
        world.run(5 * SECOND);
        assert!(world.both_up(), "{method:?}");
        // Both accept the new key, both send it, both forget the old one.
        for (sending, other) in [(1, Some(2)), (2, Some(1)), (2, None)] {
            for side in 0..2 {
                world.sides[side].set_config(keyed(sending, other));
                world.run(5 * SECOND);
                assert_eq!(world.failures(), 0, "{method:?}, {sending} and {other:?}");
            }
        }
        assert!(world.both_up(), "{method:?}");
    }
}

/// How many of 128 sessions fail when our key changes first and then that of a router, at another moment each time. We send
/// each 300 ms.
fn failures_of_a_new_key(multiplier: u8, router: u32) -> usize {
    let keyed = |secret: u8, config: Config| {
        let secret = Bytes::new(&[secret; 8]).unwrap();
        let key = Key { id: 1, secret };
        Config {
            authentication: Some(Authentication::new(Method::MeticulousSha1, key, []).unwrap()),
            ..config
        }
    };
    let ours = |secret| keyed(secret, mk_config(300, 100, multiplier));
    let theirs = |secret| keyed(secret, mk_config(router, 300, 3));
    let failures = (0..128).map(|moment| {
        let mut world = World::new([ours(1), theirs(1)], u64::from(moment));
        world.run(10 * SECOND);
        assert!(world.both_up());
        world.sides[0].set_config(ours(2));
        world.run(10 * SECOND + moment * 33 * MILLI);
        assert_eq!(world.failures(), 0, "the router has not followed");
        world.sides[1].set_config(theirs(2));
        // A router knows the former key no more.
        if let Some(authenticator) = &mut world.sides[1].authenticator {
            authenticator.forget();
        }
        world.run(10 * SECOND);
        assert!(world.both_up());
        world.failures().min(1)
    });
    failures.sum()
}

#[test]
fn a_router_takes_a_new_key_without_a_failure_unless_it_speaks_seldom() {
    for (multiplier, router, stays) in [
        (3, 300, true),
        (3, 1200, false),
        (6, 1200, true),
        (6, 2400, false),
    ] {
        let failed = failures_of_a_new_key(multiplier, router);
        assert_eq!(
            failed == 0,
            stays,
            "multiplier {multiplier}, a packet of the router each {router} ms: {failed} failures"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Times change again and again on both sides, on a wire that loses a tenth: nobody goes down. (Multiplier 10: the loss
    /// of ten in a row is out of the question.) The wire keeps the order: BFD has no numbers that would tell a periodic packet
    /// which a Poll overtook from a change back to the times before.
    #[test]
    fn times_change_without_a_flap(
        seed: u64, loss in 0u32..=10, far in 1u32..20,
        steps in prop::collection::vec((0usize..2, 20u32..400, 20u32..400, 0u64..3000), 1..30),
    ) {
        let mut world = World::new([mk_config(100, 100, 10), mk_config(100, 100, 10)], seed);
        world.run(10 * SECOND);
        prop_assert!(world.both_up());
        world.wire = Wire { loss, delay: (1, far), in_order: true, cut: [false; 2] };
        for (side, transmit, receive, pause) in steps {
            world.sides[side].set_config(mk_config(transmit, receive, 10));
            world.run(Duration::from_millis(pause));
            prop_assert_eq!(world.failures(), 0);
        }
        world.wire.loss = 0;
        world.run(20 * SECOND);
        prop_assert!(world.both_up());
        for (mine, other) in [(0, 1), (1, 0)] {
            let (mine, other) = (&world.sides[mine], &world.sides[other]);
            prop_assert!(!mine.is_polling());
            let agreed = mine.config.timing.transmit.max(other.config.timing.receive);
            prop_assert_eq!(mine.negotiated().transmit, Some(agreed.duration()));
            prop_assert_eq!(other.negotiated().detection, Some(agreed.duration() * 10));
        }
    }

    /// On any wire: the pace that was agreed is kept, and after the trouble both are up again.
    #[test]
    fn the_agreed_pace_is_kept_on_any_wire_and_all_heals(
        seed: u64, loss in 0u32..=60, far in 1u32..300, transmit in 10u32..500, receive in 10u32..500,
        multiplier in 1u8..6,
    ) {
        let mut world = World::new([mk_config(transmit, receive, multiplier), mk_config(receive, transmit, 3)], seed);
        world.wire.loss = loss;
        world.wire.delay = (1, far);
        world.run(60 * SECOND);
        for (side, sent) in world.sent.iter().enumerate() {
            let due = sent.iter().filter(|(_, packet)| !packet.is_final);
            let times: Vec<_> = due.collect();
            for pair in times.windows(2) {
                let [(before, earlier), (after, later)] = pair else { continue };
                // News travels out of turn.
                let mut changes = world.changes[side].iter();
                if earlier.poll != later.poll || changes.any(|(at, _)| before <= at && at <= after) {
                    continue;
                }
                let least = earlier.desired_min_tx.duration() * 3 / 4;
                prop_assert!(*after - *before >= least.min(SECOND * 3 / 4), "side {}: {:?}", side, *after - *before);
            }
        }
        world.wire.loss = 0;
        world.wire.delay = (1, 1);
        world.run(10 * SECOND);
        prop_assert!(world.both_up());
    }
}
