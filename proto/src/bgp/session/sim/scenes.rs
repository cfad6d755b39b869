//! Single stories of a pair.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Both connect at once, with any delays: exactly one connection survives, the same on both sides.
    #[test]
    fn simultaneous_connections_converge(
        low in 1u64..400, high in 1u64..400, lag in 0u64..400, seed: u64, swap: bool,
    ) {
        let ids = if swap { ["10.0.0.2", "10.0.0.1"] } else { ["10.0.0.1", "10.0.0.2"] };
        let mut world = World::both(ids, [low, high], seed);
        world.give(0, Input::Start);
        world.run(Duration::from_millis(lag));
        world.give(1, Input::Start);
        world.run(Duration::from_secs(60));
        prop_assert!(world.is_together());
        let flaps = world.peers[0].established_count();
        world.run(Duration::from_secs(300));
        prop_assert_eq!(world.peers[0].established_count(), flaps, "and it stays");
    }
}

#[test]
fn one_side_that_only_connects_is_enough() {
    let mut world = World::both(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
    world.configs[0].listen = Listen::Active;
    world.start();
    world.run(Duration::from_secs(30));
    assert!(world.are_both(SessionState::Established));
}

#[test]
fn a_cut_wire_is_noticed_at_the_hold_time_and_heals() {
    let mut world = World::both(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
    world.start();
    world.run(Duration::from_secs(20));
    world.cut = true;
    world.run(Duration::from_secs(5));
    assert!(
        world.are_both(SessionState::Established),
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
    assert!(world.are_both(SessionState::Established));
}

#[test]
fn a_stopped_peer_stays_away_and_comes_back_when_started() {
    let mut world = World::both(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
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
    assert!(world.are_both(SessionState::Established));
}

#[test]
fn a_peer_that_refuses_is_not_hammered() {
    let mut world = World::both(["10.0.0.1", "10.0.0.2"], [5, 5], 1);
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
