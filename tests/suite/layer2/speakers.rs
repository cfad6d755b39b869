//! What speakers need from each other and tell of each other: a key, a farewell, a word about who took over.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use portolan_api::annotation::{EXCLUDE_NODE, SPEAKER_SECRET};
use portolan_api::crd::{NodeReport, NodeReportStatus};
use portolan_tests::drill::page;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::json;

use super::{mk_shape, mk_world, sole_answerer};

/// "another key of the speakers".
const OTHER_KEY: &str = "YW5vdGhlciBrZXkgb2YgdGhlIHNwZWFrZXJz";

async fn report(world: &World, node: usize) -> Result<NodeReportStatus> {
    let reports: Api<NodeReport> = Api::all(world.cluster.client());
    let name = world.lab.nodes.get(node).context("no such node")?.name();
    let status = reports.get(name).await?.status;
    status.context("a report without a status")
}

/// Waits until each of the nodes sees both others by BFD; returns how often a session failed so far.
async fn flaps(world: &World) -> Result<i64> {
    let what = "all speakers to see each other";
    retry_until(SOON, what, async || {
        let mut flaps = 0;
        for node in 0..world.lab.nodes.len() {
            let neighbours = report(world, node).await?.neighbours;
            let up = neighbours.iter().filter(|it| it.bfd.state == "Up").count();
            ensure!(up == 2, "node {node} sees {neighbours:?}");
            flaps += neighbours.iter().map(|it| it.bfd.flaps).sum::<i64>();
        }
        Ok(flaps)
    })
    .await
}

/// A key that leaked is replaced: nobody is taken for dead meanwhile, and the new key counts afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_interrupts_nothing() -> Result<()> {
    let (mut world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    let vip = vips[0];
    let holder = sole_answerer(&world, vip).await?;
    let before = flaps(&world).await?;
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client(), "portolan-system");
    let other = Patch::Merge(json!({ "data": { "key": OTHER_KEY } }));
    secrets
        .patch(SPEAKER_SECRET, &PatchParams::default(), &other)
        .await?;
    // The old one signs for 10 s more.
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(flaps(&world).await?, before, "no session failed");
    assert_eq!(sole_answerer(&world, vip).await?, holder);
    // Whoever starts now knows nothing but the new key.
    let stranger = (holder + 1) % 3;
    world.speakers[stranger].restart()?;
    flaps(&world).await?;
    world.speakers[holder].kill()?;
    assert_ne!(sole_answerer(&world, vip).await?, holder);
    Ok(())
}

/// Who took what over from whom, why, and how long nobody answered: on the Node, on the Service, in the report.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_is_told() -> Result<()> {
    let (mut world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    let holder = sole_answerer(&world, vips[0]).await?;
    flaps(&world).await?;
    world.speakers[holder].kill()?;
    let taker = retry_until(SOON, "another node to answer", async || {
        let answerer = sole_answerer(&world, vips[0]).await?;
        ensure!(answerer != holder, "still node {answerer}");
        Ok(answerer)
    })
    .await?;
    let from = world.lab.nodes[holder].name();
    let takeover = retry_until(SOON, "a report of the takeover", async || {
        report(&world, taker).await?.last_takeover.context("none")
    })
    .await?;
    assert_eq!((&*takeover.from, takeover.addresses), (from, 2));
    assert!((200..1000).contains(&takeover.milliseconds), "{takeover:?}");
    println!(
        "figure: last sign of life to announcement: {} ms",
        takeover.milliseconds
    );
    let address = world.lab.nodes[taker].host.management();
    let address = SocketAddr::new(address.context("a managed node")?.into(), 7472);
    let (_, metrics) = page::get(address, "/metrics").await?;
    for series in [
        "portolan_l2_takeovers_total{cause=\"silent\"} 1",
        "portolan_l2_vips_held 2",
        "portolan_l2_peers_wanted 2",
    ] {
        assert!(metrics.contains(series), "no {series} in:\n{metrics}");
    }
    let (_, page) = page::get(address, "/debug/layer2").await?;
    let page: serde_json::Value = serde_json::from_str(&page)?;
    let vip = &page["vips"][vips[0].to_string()];
    // Whether it still acts for the other depends on how quickly the controller has confirmed it.
    let state = vip["state"].as_str().unwrap_or_default();
    assert!(state.starts_with("Holding"), "{page:#}");
    assert_eq!(page["neighbours"].as_array().map(Vec::len), Some(2));
    let events: Api<Event> = Api::all(world.cluster.client());
    for kind in ["Node", "Service"] {
        retry_until(SOON, &format!("an event on the {kind}"), async || {
            let all = events.list(&ListParams::default()).await?;
            let told = all.iter().any(|event| {
                let regarding = event.regarding.as_ref().and_then(|it| it.kind.as_deref());
                let note = event.note.as_deref().unwrap_or_default();
                regarding == Some(kind)
                    && event.reason.as_deref() == Some("TakenOver")
                    && note.contains(from)
            });
            ensure!(told, "{} other events", all.items.len());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A node that is taken out hands over without a gap, and stands by again when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_excluded_node_hands_over_and_takes_part_again() -> Result<()> {
    let (mut world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    let vip = vips[0];
    let holder = sole_answerer(&world, vip).await?;
    flaps(&world).await?;
    let nodes: Api<Node> = Api::all(world.cluster.client());
    let name = world.lab.nodes[holder].name().to_owned();
    let label = async |value: serde_json::Value| {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { EXCLUDE_NODE: value } } }));
        nodes.patch(&name, &PatchParams::default(), &patch).await
    };
    let prober = world.lab.lan_client.probe(
        SocketAddr::new(vip, 80),
        Duration::from_millis(10),
        Duration::from_secs(1),
    )?;
    label(json!("")).await?;
    let taker = retry_until(SOON, "another node to answer", async || {
        let answerer = sole_answerer(&world, vip).await?;
        ensure!(answerer != holder, "still node {answerer}");
        Ok(answerer)
    })
    .await?;
    super::only_connections_in_flight_may_fail(&prober.finish().await?);
    label(serde_json::Value::Null).await?;
    flaps(&world).await?;
    assert_eq!(
        sole_answerer(&world, vip).await?,
        taker,
        "nothing moves back"
    );
    // It is good for something again.
    for other in (0..3).filter(|other| *other != holder) {
        world.speakers[other].kill()?;
    }
    retry_until(SOON, "the node to answer again", async || {
        let answerer = sole_answerer(&world, vip).await?;
        ensure!(answerer == holder, "node {answerer} does");
        Ok(())
    })
    .await
}
