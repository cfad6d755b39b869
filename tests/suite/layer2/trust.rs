//! Speakers that can not hear each other, or change the key that they believe each other by.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use portolan_api::annotation::SPEAKER_SECRET;
use portolan_api::crd::{NeighbourReport, NodeReport};
use portolan_proto::ethernet::MacAddr;
use portolan_tests::drill::{Drill, Fault};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{Half, longest_overlap, retry_until, tenures};
use portolan_tests::world::SOON;
use serde_json::json;

const PATIENCE: Duration = Duration::from_millis(200);

/// Whom the nodes watch, by their reports.
async fn watched(drill: &Drill) -> Result<Vec<NeighbourReport>> {
    let reports: Api<NodeReport> = Api::all(drill.world.cluster.client());
    let reports = reports.list(&ListParams::default()).await?;
    let statuses = reports.into_iter().filter_map(|report| report.status);
    Ok(statuses.flat_map(|status| status.neighbours).collect())
}

/// Who answers while nothing is done for a while: one station, and never two at once.
async fn one_all_along(drill: &Drill, time: Duration) -> Result<MacAddr> {
    drill.tap.forget();
    tokio::time::sleep(time).await;
    let mut macs = BTreeSet::new();
    for vip in &drill.vips {
        let claims = drill.tap.heard(Half::Main, *vip);
        let tenures = tenures(&claims, PATIENCE);
        let overlap = longest_overlap(&tenures);
        assert!(
            overlap.is_zero(),
            "{vip}: two answered for {overlap:?}: {tenures:?}"
        );
        macs.extend(claims.iter().map(|claim| claim.mac));
    }
    assert_eq!(macs.len(), 1, "{macs:?}");
    macs.pop_first().context("nobody answered")
}

/// What the speakers say to each other is lost, what clients and the wire say is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_between_speakers_makes_no_second_answerer() -> Result<()> {
    let mut drill = Drill::start(Face::Embedded, "").await?;
    let rules = "table inet firewall { chain input { type filter hook input priority 0; udp dport { 3784, 7473 } drop; }; }";
    for node in &drill.world.lab.nodes {
        node.host.exec(&["nft", rules])?;
    }
    retry_until(SOON, "all to lose sight of each other", async || {
        let up: Vec<_> = watched(&drill).await?;
        ensure!(up.iter().all(|it| it.bfd.state != "Up"), "{up:?}");
        Ok(())
    })
    .await?;
    tokio::time::sleep(SOON / 3).await; // for those who wait for the unseen
    let holder = one_all_along(&drill, SOON / 3).await?;
    // A speaker that has never seen another finds the address in use.
    let other = drill.world.lab.nodes.iter().take(3).position(|node| {
        node.host
            .hardware_address("eth0")
            .is_ok_and(|mac| mac != holder)
    });
    drill.world.speakers[other.context("another node")?].restart()?;
    assert_eq!(one_all_along(&drill, SOON / 3).await?, holder);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_taken_up_without_a_word_on_the_wire() -> Result<()> {
    let mut drill = Drill::start(Face::Embedded, "").await?;
    let holder = drill.settled().await?;
    let secrets: Api<Secret> = Api::namespaced(drill.world.cluster.client(), "portolan-system");
    let before = secrets.get(SPEAKER_SECRET).await?;
    let old = before
        .data
        .unwrap_or_default()
        .remove("key")
        .context("the controller draws a key")?;
    ensure!(old.0.len() >= 16, "{} octets", old.0.len());
    let key = ByteString(b"a key that nobody knows, 32 bytes".to_vec());
    let patch = Patch::Merge(json!({ "data": { "key": key } }));
    secrets
        .patch(SPEAKER_SECRET, &PatchParams::default(), &patch)
        .await?;
    let own = drill.world.lab.nodes[holder]
        .host
        .hardware_address("eth0")?;
    // The old key signs for ten seconds more.
    assert_eq!(one_all_along(&drill, SOON / 2).await?, own);
    for it in watched(&drill).await? {
        assert!(it.bfd.state == "Up" && it.bfd.flaps == 0, "{it:?}");
    }
    // And it is good for a takeover.
    let outcome = drill.run(Fault::PowerLost).await?;
    assert!(outcome.fault.gap() < Duration::from_secs(2), "{outcome}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_detection_time_is_what_the_advertisement_says() -> Result<()> {
    let mut drill = Drill::start(
        Face::Embedded,
        "  detection: { interval: 50ms, multiplier: 4 }\n",
    )
    .await?;
    let all = watched(&drill).await?;
    assert!(!all.is_empty(), "somebody watches somebody");
    for it in all {
        assert_eq!(it.bfd.transmit_milliseconds, Some(50), "{it:?}");
        assert_eq!(it.bfd.detection_milliseconds, Some(200), "{it:?}");
    }
    let outcome = drill.run(Fault::PowerLost).await?;
    println!("figure: power loss, 50 ms × 4: {outcome}");
    assert!(outcome.fault.gap() < Duration::from_secs(2), "{outcome}");
    Ok(())
}
