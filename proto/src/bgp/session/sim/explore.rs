//! Every order in which things can happen to two peers that come together.
//!
//! From the moment both have started, each step delivers one message, lets one timer come, or breaks one connection;
//! messages in one direction of one connection keep their order, all else may interleave in any way. States that
//! differ in nothing but the clock are one.

use std::collections::BTreeSet;

use super::*;

/// What may still go wrong on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Budget {
    timers: u8,
    breaks: u8,
}

/// A point of the exploration.
#[derive(Clone)]
struct Node {
    world: World,
    left: Budget,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    states: usize,
    /// States in which nothing is under way.
    calm: usize,
    /// How many steps the longest path has.
    depth: usize,
}

/// All that matters of a state, in words.
fn key(node: &Node) -> String {
    use std::fmt::Write as _;
    let mut key = format!("{:?}", node.left);
    for side in [0, 1] {
        let peer = &node.world.peers[side];
        let names = &node.world.names[side];
        let _ = write!(key, "|{}", peer.retry.is_some());
        for slot in [&peer.ours, &peer.theirs].into_iter().flatten() {
            let wire = names.iter().find(|(_, id)| **id == slot.id);
            let held = match &slot.state {
                slot::State::OpenConfirm(confirming) => confirming.held.map(|held| held.confirmed),
                _ => None,
            };
            let _ = write!(key, " {:?} {:?} {held:?}", wire.map(|it| it.0), slot.name());
        }
    }
    for (place, queue) in &node.world.queues {
        let _ = write!(key, "|{place:?}");
        for (_, _, parcel) in queue {
            let _ = match parcel {
                Parcel::Message(bytes) => write!(key, " {:?}", kind_of(bytes)),
                Parcel::Syn | Parcel::SynAck | Parcel::Reset | Parcel::Fin => {
                    write!(key, " {parcel:?}")
                }
            };
        }
    }
    key
}

/// Everything that may happen next.
fn successors(node: &Node) -> Vec<Node> {
    let mut next = Vec::new();
    for place in node.world.queues.keys() {
        let mut after = node.clone();
        after.world.deliver(*place);
        next.push(after);
    }
    if node.left.timers > 0 {
        for side in [0, 1] {
            let Some(deadline) = node.world.peers[side].next_deadline() else {
                continue;
            };
            let mut after = node.clone();
            after.left.timers -= 1;
            after.world.now = after.world.now.max(deadline);
            after.world.give(side, Input::Timer);
            next.push(after);
        }
    }
    if node.left.breaks > 0 {
        for wire in node.world.wires() {
            let mut after = node.clone();
            after.left.breaks -= 1;
            after.world.snap(wire);
            next.push(after);
        }
    }
    next
}

/// Goes through all of it; `judge` sees each state once, and whether anything is under way.
fn explore(start: World, budget: Budget, judge: impl Fn(&Node, bool)) -> Seen {
    let mut seen = Seen::default();
    let mut known = BTreeSet::new();
    let mut wave = vec![Node {
        world: start,
        left: budget,
    }];
    while !wave.is_empty() {
        let mut next = Vec::new();
        for node in wave {
            if !known.insert(key(&node)) {
                continue;
            }
            let calm = node.world.queues.is_empty();
            seen.states += 1;
            seen.calm += usize::from(calm);
            judge(&node, calm);
            next.extend(successors(&node));
        }
        wave = next;
        seen.depth += 1;
    }
    seen
}

/// Every pair of roles that can meet, either way round, with and without graceful restart.
fn mk_pairs() -> Vec<(String, World)> {
    use Listen::{Active, Both, Passive};
    let restart = GracefulRestart {
        time: Duration::from_secs(120),
        restarting: false,
        forwarding: true,
        long_lived: None,
    };
    let mut pairs = Vec::new();
    for listen in [
        [Active, Passive],
        [Active, Both],
        [Passive, Both],
        [Both, Both],
    ] {
        for ids in [["10.0.0.1", "10.0.0.2"], ["10.0.0.2", "10.0.0.1"]] {
            if listen == [Both, Both] && ids[0] > ids[1] {
                // The mirror image of the one before.
                continue;
            }
            for graceful_restart in [None, Some(restart)] {
                let configs = [0, 1].map(|side: usize| Config {
                    graceful_restart,
                    ..mk_side(side, ids[side], listen[side])
                });
                let mut world = World::new(configs, [5, 5], 1);
                world.start();
                let agreed = graceful_restart.is_some();
                pairs.push((format!("{listen:?} {ids:?} restart {agreed}"), world));
            }
        }
    }
    pairs
}

#[test]
fn messages_in_any_order_lead_both_to_the_same_connection_without_a_timer() {
    for (name, world) in mk_pairs() {
        let budget = Budget {
            timers: 0,
            breaks: 0,
        };
        let seen = explore(world, budget, |node, calm| {
            let collided: BTreeSet<&Wire> = node.world.collided.iter().collect();
            assert!(collided.len() <= 1, "{name}: each side gave up another one");
            assert!(!calm || node.world.is_together(), "{name}: {}", key(node));
        });
        assert!(seen.calm > 0 && seen.depth > 8, "{name}: {seen:?}");
    }
}

#[test]
fn whatever_breaks_or_is_late_both_come_together_again_and_stay() {
    let budget = |timers, breaks| Budget { timers, breaks };
    for (name, world) in mk_pairs() {
        // Two that both call and listen have by far the most states: one trouble at a time is enough there once.
        let alike = world.configs[0].listen == world.configs[1].listen;
        let budgets = match world.configs[0].graceful_restart {
            None if alike => vec![budget(0, 1), budget(1, 0)],
            None | Some(_) => vec![budget(1, 1)],
        };
        for budget in budgets {
            comes_together_again(&name, world.clone(), budget);
        }
    }
}

fn comes_together_again(name: &str, world: World, budget: Budget) {
    let seen = explore(world, budget, |node, calm| {
        // What is under way will arrive on another path.
        if calm {
            let mut later = node.world.clone();
            later.run(Duration::from_secs(60));
            assert!(later.is_together(), "{name}: {}", key(node));
            let count = later.peers[0].established_count();
            later.run(Duration::from_secs(60));
            assert_eq!(
                later.peers[0].established_count(),
                count,
                "{name}: and it stays"
            );
        }
    });
    assert!(seen.states > 50 && seen.calm > 1, "{name}: {seen:?}");
}

#[test]
fn a_side_that_crashed_and_calls_again_is_met_without_a_timer_if_restarts_are_agreed() {
    for (name, mut world) in mk_pairs() {
        world.run(Duration::from_secs(30));
        assert!(world.is_together(), "{name}");
        let calls = world.configs[0].listen != Listen::Passive;
        let agreed = world.configs[0].graceful_restart.is_some();
        world.crash(0);
        let budget = Budget {
            timers: 0,
            breaks: 0,
        };
        explore(world, budget, |node, calm| {
            let met = node.world.is_together();
            if calm && calls && agreed {
                assert!(met, "{name}: {}", key(node));
            } else if calm {
                let mut later = node.world.clone();
                later.run(Duration::from_secs(60));
                assert!(!met && later.is_together(), "{name}: {}", key(node));
            }
        });
    }
}
