//! Five hundred addresses on five nodes: spread evenly, moved only where their node fails, all at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::{Patch, PatchParams};
use portolan_api::annotation::REBALANCE;
use portolan_api::crd::L2Advertisement;
use portolan_tests::drill::Crowd;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{now, retry_until};
use portolan_tests::world::SOON;
use serde_json::json;

/// Twice the budget of the design, for the last of a hundred.
const TAKEOVER: Duration = Duration::from_secs(2);
/// Gratuitous frames for an address that moves: five rounds of a request and a reply.
const FRAMES_EACH: usize = 12;

fn counts(holders: &BTreeMap<std::net::IpAddr, usize>) -> Vec<usize> {
    (0..5)
        .map(|node| holders.values().filter(|holder| **holder == node).count())
        .collect()
}

/// Who wants the addresses back on a node that has returned says so, and they come one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_moves_as_few_as_possible_and_one_a_second() -> Result<()> {
    let mut crowd = Crowd::start(Face::Embedded, 3, 12).await?;
    crowd.power_lost(0).await?;
    crowd.power_returns(0).await?;
    let before = crowd.holders().await?;
    assert_eq!(counts(&before)[..3], [0, 6, 6]);
    let rules: Api<L2Advertisement> = Api::all(crowd.world.cluster.client());
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { REBALANCE: "now" } } }));
    let begun = now();
    rules.patch("l2", &PatchParams::default(), &patch).await?;
    let after = retry_until(SOON * 2, "four addresses on each node", async || {
        let holders = crowd.holders().await?;
        ensure!(counts(&holders)[..3] == [4, 4, 4], "{:?}", counts(&holders));
        Ok(holders)
    })
    .await?;
    let took = now().saturating_sub(begun);
    assert!(took >= Duration::from_secs(3), "four moves in {took:?}");
    let moved = after
        .iter()
        .filter(|(vip, holder)| before[*vip] != **holder);
    assert_eq!(moved.count(), 4, "no more than needed");
    Ok(())
}

/// Speakers come one by one, and the controller before all of them. The Services are older than any of them knows.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_nothing_has_moved_and_new_addresses_are_spread() -> Result<()> {
    let mut crowd = Crowd::start(Face::Embedded, 3, 12).await?;
    let before = crowd.holders().await?;
    assert_eq!(counts(&before)[..3], [4, 4, 4]);
    crowd.blackout()?;
    crowd.add(6).await?;
    crowd.world.controllers[0].restart()?;
    // Longer than Leases last.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(crowd.placed().await?, before, "nobody is there");
    for speaker in crowd.world.speakers.iter_mut().rev() {
        speaker.restart()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = crowd.holders().await?;
    for (vip, holder) in &before {
        assert_eq!(after[vip], *holder, "{vip} has moved");
    }
    assert_eq!(counts(&after)[..3], [6, 6, 6]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_addresses_on_five_nodes() -> Result<()> {
    let mut crowd = Crowd::start(Face::Embedded, 5, 500).await?;
    let before = crowd.holders().await?;
    let spread = counts(&before);
    println!("figure: 500 VIPs on five nodes: {spread:?}");
    assert!(spread.iter().all(|count| *count == 100), "{spread:?}");

    let taken = crowd.power_lost(0).await?;
    println!("figure: {taken}");
    assert!(taken.last < TAKEOVER, "{taken}");
    assert!(taken.announcements <= 100 * FRAMES_EACH, "{taken}");
    let after = crowd.holders().await?;
    for (vip, holder) in &after {
        let old = before[vip];
        assert!(
            old == 0 || old == *holder,
            "{vip} moved from node-{} to node-{}",
            old + 1,
            holder + 1
        );
    }
    let spread = counts(&after);
    println!("figure: one node dead: {spread:?}");
    assert_eq!(spread[0], 0);
    assert!(
        spread[1..].iter().all(|count| (115..=135).contains(count)),
        "{spread:?}"
    );

    crowd.power_returns(0).await?;
    assert_eq!(crowd.holders().await?, after, "a return moves nothing");
    Ok(())
}
