//! Random histories of a cluster against the controller, without a cluster: what holds at every step and at rest.
//!
//! ```text
//! users ──► Server (truth, one version counter, log) ──watch, list──► 2 × Core ──Write──► in flight ──► Server
//!                │                                                        election, kills, clock
//!                └──► oracle (plain sets, linear scans; shares no code with the allocator) ──► violations
//! ```
//!
//! A history is a list of steps. Every number in a step is taken modulo what there is, so a history that lost some of its
//! steps is a history still: proptest shrinks it. `PORTOLAN_CASES` sets the number of histories, `PORTOLAN_SEED` which
//! ones; a failure names both, and prints the shortest history that fails with one line per step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "fixtures fail loudly as well; clippy.toml exempts only the test functions themselves"
)]

mod controller;
mod generate;
mod oracle;
mod rest;
mod rules;
mod server;
mod step;
mod strangers;
mod user;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use generate::any_first_pool;
use step::Step;
use user::{PoolEdit, User};
use world::World;

/// Steps of the longest history.
const LONGEST: usize = 60;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs histories until one violates something, and shrinks that one. Returns what all of them together came to.
fn run<S>(
    cases: u64,
    histories: &S,
    play: impl Fn(&S::Value) -> (World, Result<(), String>),
) -> BTreeSet<String>
where
    S: Strategy,
{
    let seed = number("PORTOLAN_SEED", 1);
    let config = Config {
        cases: u32::try_from(number("PORTOLAN_CASES", cases)).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let cases = config.cases;
    let mut runner = TestRunner::new_with_rng(config, rng);
    let reached = RefCell::new(BTreeSet::new());
    let outcome = runner.run(histories, |history| {
        let (world, result) = play(&history);
        reached.borrow_mut().extend(world.seen);
        result.map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => reached.into_inner(),
        Err(TestError::Fail(_, history)) => {
            let (world, result) = play(&history);
            let why = result.err().unwrap_or_else(|| {
                "(it does not fail again: something is not a function of the history)".to_owned()
            });
            panic!(
                "PORTOLAN_SEED={seed} PORTOLAN_CASES={cases}\n{}\nviolated: {why}",
                world.journal.join("\n")
            );
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Plays the steps and lets the cluster come to rest.
fn play(first: &[PoolEdit], steps: &[Step]) -> (World, Result<(), String>) {
    let mut world = World::new(first);
    let result = steps
        .iter()
        .try_for_each(|step| world.step(step))
        .and_then(|()| world.end());
    (world, result)
}

/// Whatever comes in whatever order: who held an address when things began still holds it when they are over.
fn play_harmless(
    first: &[PoolEdit],
    before: &[Step],
    after: &[Step],
) -> (World, Result<(), String>) {
    let mut world = World::new(first);
    let mut all = || {
        before.iter().try_for_each(|step| world.step(step))?;
        // Numbers 4 and 5 are those who come later.
        for newcomer in [4, 5] {
            world.step(&Step::User(User::Delete(newcomer)))?;
        }
        world.rest()?;
        let held = world.content_holders();
        after.iter().try_for_each(|step| world.step(step))?;
        world.end()?;
        let now = world.content_holders();
        for (key, addresses) in held {
            let shown = now.get(&key).cloned().unwrap_or_default();
            if !addresses.iter().all(|address| shown.contains(address)) {
                return Err(format!("{key} held {addresses:?}, and has {shown:?} now"));
            }
        }
        Ok(())
    };
    let result = all();
    (world, result)
}

#[test]
fn holders_keep_their_addresses_through_whatever_does_not_concern_them() {
    let histories = (
        any_first_pool(),
        prop::collection::vec(step::any_step(), 1..LONGEST / 2),
        prop::collection::vec(step::any_harmless_step(), 1..LONGEST / 2),
    );
    run(200, &histories, |(first, before, after)| {
        play_harmless(first, before, after)
    });
}

#[test]
fn no_history_breaks_a_promise() {
    let histories = (
        any_first_pool(),
        prop::collection::vec(step::any_step(), 1..LONGEST),
    );
    let reached = run(1000, &histories, |(first, steps)| play(first, steps));
    for what in [
        "shared",
        "retained",
        "Assigned",
        "PartiallyAssigned",
        "QuotaReached",
        "AddressReserved",
        "Exhausted",
        "StatusContested",
        "AddressConflict",
        "quarantined",
        "moved",
    ] {
        assert!(
            reached.contains(what),
            "no history came to {what}: {reached:?}"
        );
    }
}
