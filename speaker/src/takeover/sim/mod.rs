//! A cluster in one process: two to five machines, a network that delays, loses and splits, an oracle in the place of BFD,
//! a controller that is heard late or not at all, and a clock that jumps.
//!
//! ```text
//!   life (what happens) ─► World ─ calls ─► Takeover of each node
//!                            ▲                   │ effects
//!                            └── queue ◄─────────┘   messages, probes, witnesses, timers, BFD
//! ```
//!
//! What must hold, at every step: no two holders that hear each other, both ways, for longer than a second (I1); and at the
//! end of each scene what that scene promises (I2: somebody answers within the budget; I3: who returns takes nothing back;
//! I4: exactly one holder, and all agree who; I5: messages are few).
//!
//! `PORTOLAN_CASES` sets how many lives are tried and `PORTOLAN_SEED` the first; a failure prints the story of its seed.

mod acts;
mod events;
mod fate;
mod life;
mod oracle;
mod watch;
mod world;

use world::World;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs the lives of a range of seeds on all cores; panics with the story of the first that fails.
fn explore(scene: fn(&mut World)) {
    let first = number("PORTOLAN_SEED", 1);
    let cases = number("PORTOLAN_CASES", 300);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let seeds = (first..first + cases).skip(worker).step_by(threads);
                scope.spawn(move || seeds.into_iter().find(|seed| fails(*seed, scene)))
            })
            .collect();
        let found = workers
            .into_iter()
            .filter_map(|worker| worker.join().expect("a worker"));
        found.min()
    });
    if let Some(seed) = failed {
        let mut world = World::new(seed, true);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene(&mut world)));
        let story = world.story.join("\n");
        let why = outcome.expect_err("it fails again");
        let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
        panic!("PORTOLAN_SEED={seed} PORTOLAN_CASES=1\n{story}\nviolated: {why}");
    }
}

fn fails(seed: u64, scene: fn(&mut World)) -> bool {
    let mut world = World::new(seed, false);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene(&mut world))).is_err()
}

#[test]
fn after_any_trouble_one_node_answers_and_all_agree() {
    explore(life::chaos);
}

#[test]
fn one_failure_at_a_time_is_bridged_within_a_second_and_no_return_moves_anything() {
    explore(life::failures);
}
