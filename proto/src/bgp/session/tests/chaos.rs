//! Anything in any order: what must hold whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Start,
    Stop,
    Connected,
    ConnectFailed,
    Accepted,
    Lost(Direction),
    Garbled(Direction),
    /// A sound message, by its place in the list.
    Sound(Direction, usize),
    /// A body of random bytes.
    Random(Direction, Kind, Vec<u8>),
    Stuck(Direction),
    Time,
}

fn any_direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Ours), Just(Direction::Theirs)]
}

fn any_step() -> impl Strategy<Value = Step> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        2 => Just(Step::Start),
        1 => Just(Step::Stop),
        6 => Just(Step::Connected),
        1 => Just(Step::ConnectFailed),
        3 => Just(Step::Accepted),
        1 => any_direction().prop_map(Step::Lost),
        1 => any_direction().prop_map(Step::Garbled),
        12 => (any_direction(), 0usize..5).prop_map(|(direction, which)| Step::Sound(direction, which)),
        2 => (any_direction(), 0usize..5, bytes)
            .prop_map(|(direction, kind, body)| Step::Random(direction, Kind::ALL[kind], body)),
        1 => any_direction().prop_map(Step::Stuck),
        4 => Just(Step::Time),
    ]
}

/// Does one step, if the peer has the connection that it needs.
fn apply(bench: &mut Bench, step: &Step, sound: &[Vec<u8>; 5]) {
    let id = |bench: &Bench, direction: Direction| bench.peer.slot(direction).map(|slot| slot.id);
    let refused = ConnectFailure::Refused("no".into());
    match step {
        Step::Start => bench.give(Input::Start),
        Step::Stop => bench.give(Input::Stop(StopReason::Deconfigured)),
        Step::Connected => {
            let Some(id) = id(bench, Direction::Ours) else {
                return;
            };
            bench.give(Input::Connected(id, LOCAL));
        }
        Step::ConnectFailed => {
            let Some(id) = id(bench, Direction::Ours) else {
                return;
            };
            bench.give(Input::ConnectFailed(id, refused));
        }
        Step::Accepted => {
            let id = bench.peer.mint();
            bench.give(Input::Accepted(id, LOCAL));
        }
        Step::Lost(direction) => {
            let Some(id) = id(bench, *direction) else {
                return;
            };
            bench.give(Input::Lost(id, "gone".into()));
        }
        Step::Garbled(direction) => {
            let Some(id) = id(bench, *direction) else {
                return;
            };
            bench.give(Input::Garbled(id, HeaderError::Marker));
        }
        Step::Sound(direction, which) => {
            let Some(id) = id(bench, *direction) else {
                return;
            };
            bench.receive(id, &sound[*which]);
        }
        Step::Random(direction, kind, body) => {
            let Some(id) = id(bench, *direction) else {
                return;
            };
            bench.give(Input::Received(id, Frame { kind: *kind, body }));
        }
        Step::Stuck(direction) => {
            let Some(id) = id(bench, *direction) else {
                return;
            };
            bench.give(Input::Output(id, Output::Stuck));
        }
        Step::Time => {
            if bench.peer.next_deadline().is_some() {
                bench.advance();
            }
        }
    }
}

proptest! {
    #[test]
    fn invariants_hold_whatever_happens(
        steps in proptest::collection::vec(any_step(), 1..120), high: bool, restart: bool, silent: bool,
    ) {
        let our_id = if high { "10.0.0.200" } else { "10.0.0.1" };
        // With and without graceful restart, and with a peer that wants no keepalives.
        let graceful_restart = restart.then_some(GracefulRestart {
            time: 120 * SECOND,
            restarting: false,
            forwarding: true,
            long_lived: None,
        });
        let with = |config: Config| Config { graceful_restart, ..config };
        let mut bench = Bench::with(with(mk_config(65000, 65001, our_id)));
        let open = mk_open_of(&Config {
            hold_time: if silent { HoldTime::new(0).unwrap() } else { HoldTime::DEFAULT },
            ..with(mk_config(65001, 65000, "10.0.0.9"))
        });
        let cease = mk_notification(Code::ADMINISTRATIVE_RESET);
        let sound = [open, mk_keepalive(), mk_update(), mk_refresh(), cease];
        let mut closed = BTreeSet::new();
        for step in &steps {
            bench.out.clear();
            apply(&mut bench, step, &sound);
            for effect in &bench.out {
                match effect {
                    Effect::Send(id, _) | Effect::Connect(id) => {
                        prop_assert!(!closed.contains(id), "{step:?}: {effect:?} after close");
                    }
                    Effect::Close(id, _) => {
                        prop_assert!(closed.insert(*id), "{step:?}: {id:?} closed twice");
                        prop_assert!(!bench.peer.knows(*id), "{step:?}: {id:?} still known");
                    }
                    Effect::Event(_) => {}
                }
            }
            let far = |slot: &Option<Slot>| slot.as_ref().is_some_and(Slot::is_confirmed);
            prop_assert!(!(far(&bench.peer.ours) && far(&bench.peer.theirs)), "{step:?}: two winners");
            let at_rest = !bench.peer.started || silent && bench.peer.state() == SessionState::Established;
            prop_assert!(bench.peer.next_deadline().is_some() || at_rest, "{step:?}: stuck");
            prop_assert!(bench.peer.next_deadline().is_none() || bench.peer.started, "{step:?}: a timer runs on");
        }
    }
}
