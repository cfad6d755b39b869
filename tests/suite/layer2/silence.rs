//! Who must not answer: a speaker that knows nothing yet, and everybody on interfaces that no rule names.

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::drill::Drill;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{Half, frames, now, retry_until};
use portolan_tests::world::SOON;

use super::{mk_shape, mk_world};

/// Far longer than any timer of a takeover.
const LONG: Duration = Duration::from_secs(4);

/// The API server is away when the speaker that held everything starts again: what it held before does not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_speaker_that_starts_blind_stays_silent() -> Result<()> {
    let mut drill = Drill::start(Face::Embedded, "").await?;
    let holder = drill.settled().await?;
    let own = drill.world.lab.nodes[holder]
        .host
        .hardware_address("eth0")?;
    drill.world.cluster.stop_api().await?;
    drill.world.speakers[holder].kill()?;
    let killed = now();
    retry_until(SOON, "another to answer", async || {
        let now_holds = drill.holder()?;
        ensure!(now_holds != holder, "node-{} does", holder + 1);
        Ok(())
    })
    .await?;
    drill.world.speakers[holder].restart()?;
    tokio::time::sleep(LONG).await;
    drill.world.speakers[holder].ensure_running()?;
    for vip in &drill.vips {
        let said = drill.tap.said(*vip).into_iter();
        let blind: Vec<_> = said
            .filter(|claim| claim.mac == own && claim.at > killed)
            .collect();
        assert!(blind.is_empty(), "{vip}: it said {blind:?}");
    }
    let taker = drill.holder()?;
    drill.world.cluster.start_api().await?;
    assert_eq!(
        drill.settled().await?,
        taker,
        "and takes nothing back when it sees"
    );
    Ok(())
}

/// The management network is asked, the LAN answers.
#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_no_rule_names_is_silent() -> Result<()> {
    let (world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    let tap = world.lab.tap()?;
    let _questions = world
        .lab
        .question(Half::Main, &vips, Duration::from_millis(50))?;
    let outside = world.lab.outside.station(&world.lab.uplink())?;
    let from = world.lab.management().into();
    retry_until(SOON, "answers on the LAN", async || {
        let silent = vips
            .iter()
            .filter(|vip| tap.heard(Half::Main, **vip).is_empty());
        ensure!(silent.count() == 0, "none for some of {vips:?}");
        Ok(())
    })
    .await?;
    for vip in &vips {
        let from = if vip.is_ipv4() {
            from
        } else {
            "fe80::1".parse()?
        };
        for _ in 0..20 {
            outside.send(&frames::question(outside.mac(), from, *vip))?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let seen = tap.seen();
    let asked = seen
        .iter()
        .filter(|it| it.port.contains("mgmt") && it.meaning == frames::Meaning::Asks(vips[0]));
    assert!(asked.count() >= 20, "the questions reached the nodes");
    let answers: Vec<_> = seen
        .iter()
        .filter(|it| it.port.contains("mgmt") || &*it.port == "root")
        .filter(|it| {
            it.meaning
                .claim()
                .is_some_and(|(vip, _)| vips.contains(&vip))
        })
        .collect();
    assert!(answers.is_empty(), "{answers:?}");
    Ok(())
}
