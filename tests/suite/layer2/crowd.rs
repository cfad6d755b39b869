//! Five hundred addresses on five nodes: spread evenly, moved only where their node fails, all at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use portolan_tests::drill::Crowd;
use portolan_tests::kubernetes::Face;

/// Twice the budget of the design, for the last of a hundred.
const TAKEOVER: Duration = Duration::from_secs(2);
/// Gratuitous frames for an address that moves: five rounds of a request and a reply.
const FRAMES_EACH: usize = 12;

fn counts(holders: &BTreeMap<std::net::IpAddr, usize>) -> Vec<usize> {
    (0..5)
        .map(|node| holders.values().filter(|holder| **holder == node).count())
        .collect()
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
