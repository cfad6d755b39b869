//! Layer 2: exactly one node answers for an address, and when it goes another takes over.

mod conflict;
mod crowd;
mod failover;
mod links;
mod partition;
mod silence;
mod speakers;
mod trust;
mod wire;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};
use portolan_tests::drill::LAN_POOL as POOL;
use portolan_tests::kubernetes::{Endpoint, Face};
use portolan_tests::lab::{Host, Layout, Report, retry_until};
use portolan_tests::world::{L2, SOON, Shape, World};

fn mk_shape(face: Face) -> Shape {
    Shape {
        layout: Layout {
            nodes: 3,
            routers: 1,
        },
        ..Shape::of(face)
    }
}

async fn mk_world(shape: Shape) -> Result<(World, Vec<IpAddr>)> {
    let world = World::start(shape).await?;
    world.apply(&format!("{POOL}---{L2}")).await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Cluster", &pods).await?;
    Ok((world, vips))
}

/// Hardware addresses of everybody who answers for an address, asked three times.
fn answerers(client: &Host, vip: IpAddr) -> Result<BTreeSet<String>> {
    let target = vip.to_string();
    let text = if vip.is_ipv4() {
        // -w ends it after the answers are in; it exits with 1 when nobody answers.
        client.exec(&[
            "sh",
            "-c",
            &format!("arping -c 3 -w 4 -I eth0 {target} || true"),
        ])?
    } else {
        client.exec(&[
            "sh",
            "-c",
            &format!("ndisc6 -m -r 3 -w 1000 {target} eth0 || true"),
        ])?
    };
    let macs = text
        .split_whitespace()
        .map(|word| word.trim_matches(|c| c == '[' || c == ']').to_lowercase());
    Ok(macs
        .filter(|word| word.len() >= 11 && word.split(':').count() == 6 && !word.contains("::"))
        .map(|mac| padded(&mac))
        .collect())
}

/// ndisc6 and arping may print `2:0:..`; the kernel prints two digits.
fn padded(mac: &str) -> String {
    mac.split(':')
        .map(|byte| format!("{byte:0>2}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// Waits until exactly the `eth0` of one node answers for the address, and returns the node's index.
pub(crate) async fn sole_answerer(world: &World, vip: IpAddr) -> Result<usize> {
    let macs = world
        .lab
        .nodes
        .iter()
        .map(|node| node.host.mac("eth0"))
        .collect::<Result<Vec<_>>>()?;
    retry_until(
        SOON,
        &format!("exactly one node to answer for {vip}"),
        async || {
            let seen = answerers(&world.lab.lan_client, vip)?;
            ensure!(seen.len() == 1, "{seen:?} answered");
            let index = macs.iter().position(|mac| seen.contains(mac));
            index.with_context(|| format!("{seen:?} is no node's: {macs:?}"))
        },
    )
    .await
}

/// The node that the placement in the Service's annotation names first.
async fn placed(world: &World) -> Result<usize> {
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    let service = services.get("web").await?;
    let list = service
        .annotations()
        .get("portolan.dev/l2-nodes")
        .cloned()
        .unwrap_or_default();
    let first = list.split(',').next().unwrap_or_default();
    let index = world.lab.nodes.iter().position(|node| node.name() == first);
    index.with_context(|| format!("the placement is {list:?}"))
}

/// The hardware address that the client believes in.
fn believed(client: &Host, vip: IpAddr) -> Result<Option<String>> {
    let entry = client
        .neighbours()?
        .into_iter()
        .find(|entry| entry.address == vip);
    Ok(entry.and_then(|entry| entry.mac))
}

/// Issue row 4, first half.
async fn exactly_one_node_answers_and_clients_are_served(face: Face) -> Result<()> {
    let (world, vips) = mk_world(mk_shape(face)).await?;
    for vip in &vips {
        let answerer = sole_answerer(&world, *vip).await?;
        assert_eq!(
            answerer,
            placed(&world).await?,
            "the placed node answers for {vip}"
        );
        let to = SocketAddr::new(*vip, 80);
        world
            .answers(&world.lab.lan_client, to, &["node-1", "node-2", "node-3"])
            .await?;
        world
            .answers(&world.lab.clients[0], to, &["node-1", "node-2", "node-3"])
            .await?;
    }
    Ok(())
}

/// A connection that is open in the moment of a move reaches a node that does not know it and is reset: translation state
/// is kept per node. Nothing else may fail.
fn only_connections_in_flight_may_fail(report: &Report) {
    let began: Vec<Duration> = report.failures().map(|failure| failure.at).collect();
    let first_to_last = began.last().zip(began.first());
    let moment = first_to_last.map_or(Duration::ZERO, |(last, first)| last.saturating_sub(*first));
    assert!(moment < Duration::from_millis(200), "{report}");
    assert!(
        report.longest_gap() < Duration::from_millis(200),
        "{report}"
    );
}

/// Issue row 4, second half: killing the speaker moves the address, the client's neighbour entry follows, and traffic goes
/// on (the node that lost its speaker still forwards what reaches it).
async fn killing_the_speaker_moves_the_address(face: Face) -> Result<()> {
    let (mut world, vips) = mk_world(mk_shape(face)).await?;
    for vip in vips {
        sole_answerer(&world, vip).await?;
        let old = placed(&world).await?;
        let old_mac = world.lab.nodes[old].host.mac("eth0")?;
        let client = &world.lab.lan_client;
        let prober = client.probe(
            SocketAddr::new(vip, 80),
            Duration::from_millis(10),
            Duration::from_secs(1),
        )?;
        retry_until(SOON, "the client to talk to the placed node", async || {
            let mac = believed(client, vip)?;
            ensure!(mac.as_ref() == Some(&old_mac), "it believes in {mac:?}");
            Ok(())
        })
        .await?;
        let killed = prober.elapsed();
        world.speakers[old].kill()?;
        let client = &world.lab.lan_client;
        retry_until(SOON, "the client's neighbour entry to follow", async || {
            let mac = believed(client, vip)?;
            ensure!(
                mac.is_some() && mac.as_ref() != Some(&old_mac),
                "it still believes in {mac:?}"
            );
            Ok(())
        })
        .await?;
        println!(
            "figure: {face}: speaker killed, {vip} moved after {:?}",
            prober.elapsed().saturating_sub(killed)
        );
        assert_ne!(sole_answerer(&world, vip).await?, old);
        only_connections_in_flight_may_fail(&prober.finish().await?);
        world.speakers[old].restart()?;
    }
    Ok(())
}

/// An orderly stop hands over before it ends: no request fails.
async fn an_orderly_stop_hands_over(face: Face) -> Result<()> {
    let (mut world, vips) = mk_world(mk_shape(face)).await?;
    let vip = vips[0];
    sole_answerer(&world, vip).await?;
    let old = placed(&world).await?;
    let prober = world.lab.lan_client.probe(
        SocketAddr::new(vip, 80),
        Duration::from_millis(5),
        Duration::from_secs(1),
    )?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.speakers[old].stop(SOON).await?;
    assert_ne!(sole_answerer(&world, vip).await?, old);
    only_connections_in_flight_may_fail(&prober.finish().await?);
    Ok(())
}

/// Policy Local: only a node with a usable endpoint answers, and the address follows the endpoint.
async fn policy_local_answers_where_the_endpoint_is(face: Face) -> Result<()> {
    let world = World::start(mk_shape(face)).await?;
    world.apply(&format!("{POOL}---{L2}")).await?;
    let vips = world.service("web", "Local", &[&world.pods[2]]).await?;
    assert_eq!(sole_answerer(&world, vips[0]).await?, 2);
    world
        .cluster
        .set_endpoints("default", "web", &[Endpoint::ready(&world.pods[1])])
        .await?;
    retry_until(SOON, "the address to follow its endpoint", async || {
        let answerer = sole_answerer(&world, vips[0]).await?;
        ensure!(answerer == 1, "node-{} answers", answerer + 1);
        Ok(())
    })
    .await?;
    world.cluster.set_endpoints("default", "web", &[]).await?;
    retry_until(SOON, "nobody to answer without an endpoint", async || {
        let seen = answerers(&world.lab.lan_client, vips[0])?;
        ensure!(seen.is_empty(), "{seen:?} answer");
        Ok(())
    })
    .await
}

on_both_faces!(
    exactly_one_node_answers_and_clients_are_served,
    killing_the_speaker_moves_the_address,
    an_orderly_stop_hands_over,
    policy_local_answers_where_the_endpoint_is
);
