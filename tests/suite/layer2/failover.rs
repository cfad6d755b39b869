//! Everything that can happen to the node that answers: somebody else does within the budget, never two for long, and
//! nothing moves back.

use std::time::Duration;

use anyhow::Result;
use portolan_tests::drill::{Drill, Fault, Outcome};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::Attempt;

/// Twice the budget of the design, on a machine that is busy with other tests; the figures hold the budget itself.
const GAP: Duration = Duration::from_secs(2);
/// Two who hear each other may answer for this long (design section 6).
const OVERLAP: Duration = Duration::from_secs(1);
/// A planned move, or the end of a fault, costs nothing but what a busy machine delays.
const MOVE: Duration = Duration::from_secs(1);
/// Connections that may be open in the moment of a move, one every 20 ms: on a busy machine they take long.
const IN_FLIGHT: usize = 8;

async fn play(drill: &mut Drill, fault: Fault) -> Result<()> {
    let outcome = drill.run(fault).await?;
    println!("figure: {}: {outcome}", fault.name());
    judge(fault, &outcome);
    Ok(())
}

fn judge(fault: Fault, outcome: &Outcome) {
    let name = fault.name();
    let gap = if fault.is_orderly() { MOVE } else { GAP };
    for view in &outcome.fault.views {
        let seen = view.rhythm.longest_gap();
        assert!(
            seen < gap,
            "{name}: {}, {}: {seen:?}\n{outcome}",
            view.place,
            view.vip
        );
    }
    for (phase, part) in [("fault", &outcome.fault), ("heal", &outcome.heal)] {
        assert!(
            part.overlap() < OVERLAP,
            "{name}: two answer in phase {phase}\n{outcome}"
        );
    }
    assert!(
        outcome.heal.gap() < MOVE,
        "{name}: its end is noticed\n{outcome}"
    );
    assert_eq!(
        outcome.heal.holder, outcome.fault.holder,
        "{name}: nothing moves back\n{outcome}"
    );
    if fault.is_orderly() {
        in_flight_only(fault, outcome);
    }
}

/// A connection that is open in the moment of a move reaches a node that does not know it and is reset: translation state is
/// kept per node. Nothing else may fail.
fn in_flight_only(fault: Fault, outcome: &Outcome) {
    let moves = if fault == Fault::Upgrade { 2 } else { 1 };
    for view in &outcome.fault.views {
        let failures: Vec<_> = view.requests.failures().collect();
        let is_reset = |it: &&Attempt| matches!(&it.outcome, Err(why) if why.contains("reset"));
        let reset = failures.iter().copied().filter(is_reset).count();
        let (name, place, vip) = (fault.name(), view.place, view.vip);
        assert_eq!(
            reset,
            failures.len(),
            "{name}: {place}, {vip}: lost\n{outcome}"
        );
        assert!(
            reset <= moves * IN_FLIGHT,
            "{name}: {place}, {vip}\n{outcome}"
        );
    }
}

/// All in one cluster, one after the other.
async fn play_all(face: Face, faults: &[Fault]) -> Result<()> {
    let mut drill = Drill::start(face, "").await?;
    for fault in faults {
        play(&mut drill, *fault).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_power_is_replaced_and_takes_nothing_back() -> Result<()> {
    play_all(Face::Embedded, &[Fault::PowerLost; 2]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_speaker_is_replaced_while_its_node_goes_on_forwarding() -> Result<()> {
    play_all(Face::Embedded, &[Fault::SpeakerKilled; 2]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_loses_its_lan_falls_silent_while_it_reaches_the_api_server() -> Result<()> {
    play_all(Face::Embedded, &[Fault::CableLost, Fault::SilentlyCut]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cable_that_loses_one_direction_is_as_good_as_none() -> Result<()> {
    play_all(Face::Embedded, &[Fault::SentLost, Fault::ReceivedLost]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_flaps_leaves_one_answerer() -> Result<()> {
    play_all(Face::Embedded, &[Fault::PortFlap; 2]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn takeover_needs_neither_api_server_nor_controller() -> Result<()> {
    let faults = [
        Fault::PowerLostWithoutApi,
        Fault::PowerLostWithoutController,
    ];
    play_all(Face::Embedded, &faults).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_and_an_orderly_stop_hand_over_before_they_let_go() -> Result<()> {
    play_all(Face::Embedded, &[Fault::Drained, Fault::Stopped]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_all_speakers_fails_no_request() -> Result<()> {
    play_all(Face::Embedded, &[Fault::Upgrade]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_a_real_api_server() -> Result<()> {
    let faults = [Fault::PowerLost, Fault::PowerLostWithoutApi, Fault::Stopped];
    play_all(Face::Real, &faults).await
}
