//! Long lives: random trouble, and then quiet, in which all must come right again.
//!
//! `PORTOLAN_CASES` sets how many lives are tried and `PORTOLAN_SEED` which ones; a failure prints the shortest
//! that fails.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::super::super::{Prefix, Refresh};
use super::*;

/// What may happen to a pair.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in milliseconds.
    Wait(u16),
    /// One side wants these routes told: a bit for each.
    Routes(usize, u16),
    /// All connections break, seen by both.
    Snap,
    /// One side asks to hear everything again.
    Refresh(usize, Family),
    /// The process of one side dies and begins anew; its kernel closes the sockets.
    Kill(usize),
    /// The machine of one side dies and comes back: nobody closes anything.
    Crash(usize),
    /// One side is stopped in order, and started again.
    Bounce(usize, bool),
    /// Nothing arrives for so many milliseconds.
    Cut(u16),
    /// BFD takes the path for dead.
    Bfd(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let side = || 0usize..2;
    let family = prop_oneof![Just(Family::V4Unicast), Just(Family::V6Unicast)];
    prop_oneof![
        6 => (0u16..5000).prop_map(Step::Wait),
        6 => (side(), any::<u16>()).prop_map(|(side, bits)| Step::Routes(side, bits)),
        1 => Just(Step::Snap),
        3 => (side(), family).prop_map(|(side, family)| Step::Refresh(side, family)),
        1 => side().prop_map(Step::Kill),
        1 => side().prop_map(Step::Crash),
        1 => (side(), any::<bool>()).prop_map(|(side, restart)| Step::Bounce(side, restart)),
        1 => (0u16..15000).prop_map(Step::Cut),
        1 => side().prop_map(Step::Bfd),
    ]
}

/// How the pair is configured.
#[derive(Clone, Debug)]
struct Setting {
    listen: [Listen; 2],
    restart: [bool; 2],
    swap: bool,
    delay: [u64; 2],
    seed: u64,
}

fn any_setting() -> impl Strategy<Value = Setting> {
    use Listen::{Active, Both, Passive};
    let listen = prop_oneof![
        Just([Active, Passive]),
        Just([Passive, Active]),
        Just([Active, Both]),
        Just([Both, Passive]),
        Just([Both, Both]),
    ];
    let delays = [1u64..300, 1u64..300];
    (
        listen,
        any::<[bool; 2]>(),
        any::<bool>(),
        delays,
        any::<u64>(),
    )
        .prop_map(|(listen, restart, swap, delay, seed)| Setting {
            listen,
            restart,
            swap,
            delay,
            seed,
        })
}

fn mk_world(setting: &Setting) -> World {
    let ids = if setting.swap {
        ["10.0.0.2", "10.0.0.1"]
    } else {
        ["10.0.0.1", "10.0.0.2"]
    };
    let configs = [0, 1].map(|side: usize| Config {
        graceful_restart: setting.restart[side].then_some(GracefulRestart {
            time: Duration::from_secs(120),
            restarting: true,
            forwarding: true,
            long_lived: None,
        }),
        ..mk_side(side, ids[side], setting.listen[side])
    });
    let mut world = World::new(configs, setting.delay, setting.seed);
    world.start();
    world
}

/// Sixteen routes, half of each family.
fn mk_routes(bits: u16) -> BTreeSet<Prefix> {
    let bits = (0..16u16).filter(|bit| bits & (1 << bit) != 0);
    bits.map(|bit| {
        let text = match bit % 2 {
            0 => format!("10.0.0.{bit}/32"),
            _ => format!("fd00::{bit}/128"),
        };
        text.parse().unwrap()
    })
    .collect()
}

fn play(world: &mut World, step: &Step) {
    match step {
        Step::Wait(time) => world.run(Duration::from_millis(u64::from(*time))),
        Step::Routes(side, bits) => world.want(*side, &mk_routes(*bits)),
        Step::Snap => {
            for wire in world.wires() {
                world.snap(wire);
            }
        }
        Step::Refresh(side, family) => ask(world, *side, *family),
        Step::Kill(side) => {
            for wire in std::mem::take(&mut world.names[*side]).into_keys() {
                world.post(*side, wire, Parcel::Fin);
            }
            world.reborn(*side);
        }
        Step::Crash(side) => world.crash(*side),
        Step::Bounce(side, restart) => {
            let reason = if *restart {
                StopReason::Restart("upgrade".into())
            } else {
                StopReason::Reset("asked for".into())
            };
            world.give(*side, Input::Stop(reason));
            assert_eq!(world.peers[*side].next_deadline(), None, "stopped");
            world.give(*side, Input::Start);
        }
        Step::Cut(time) => {
            world.cut = true;
            world.run(Duration::from_millis(u64::from(*time)));
            world.cut = false;
            // TCP would send again what was lost: here the connections are as good as broken.
            for wire in world.wires() {
                world.snap(wire);
            }
        }
        Step::Bfd(side) => world.give(*side, Input::BfdDown),
    }
}

/// Sends a ROUTE-REFRESH if there is a session.
fn ask(world: &mut World, side: usize, family: Family) {
    if let Some(wire) = world.live(side) {
        let mut bytes = Vec::new();
        Refresh::request(family, &mut bytes);
        world.post(side, wire, Parcel::Message(bytes));
    }
}

fn live(setting: &Setting, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = mk_world(setting);
    for step in steps {
        play(&mut world, step);
    }
    world.run(Duration::from_secs(240));
    prop_assert!(
        world.is_together(),
        "not together after four minutes of quiet"
    );
    let count = world.peers[0].established_count();
    world.run(Duration::from_secs(60));
    prop_assert_eq!(world.peers[0].established_count(), count, "and it stays");
    for side in [0usize, 1] {
        let told: Vec<&Prefix> = world.learned[1 - side].prefixes().collect();
        prop_assert!(
            !world.learned[1 - side].is_stale(),
            "stale routes of side {}",
            side
        );
        let wanted: Vec<&Prefix> = world.wanted[side].keys().collect();
        prop_assert_eq!(told, wanted, "routes of side {}", side);
    }
    prop_assert!(world.connects < 400, "{} attempts", world.connects);
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn after_any_trouble_both_are_together_and_know_exactly_the_wanted_routes() {
    let seed = number("PORTOLAN_SEED", 1);
    let cases = number("PORTOLAN_CASES", 64);
    let config = ProptestConfig {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let lives = (any_setting(), proptest::collection::vec(any_step(), 1..40));
    let outcome = TestRunner::new_with_rng(config, rng)
        .run(&lives, |(setting, steps)| live(&setting, &steps));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (setting, steps))) => panic!(
            "PORTOLAN_SEED={seed} PORTOLAN_CASES={cases}\n{setting:?}\n{steps:#?}\nviolated: {why}"
        ),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
