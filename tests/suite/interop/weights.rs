//! Link bandwidth: a node with three endpoints gets three times the traffic of a node with one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use ipnetwork::IpNetwork;
use portolan_tests::kubernetes::{Endpoint, Face};
use portolan_tests::lab::retry_until;
use portolan_tests::lab::router::{Frr, Router};
use portolan_tests::world::{BGP, POOL, SOON, Shape, World};

use crate::site;

/// What one endpoint is worth, in bytes per second.
const ENDPOINT: u64 = 125_000_000;

/// The weights of FRR's next hops in the kernel follow the endpoints, and so do requests.
pub(super) async fn traffic_follows_the_number_of_endpoints(face: Face) -> Result<()> {
    let world = World::start(Shape::of(face)).await?;
    let lab = &world.lab;
    let router = &lab.routers[0];
    let frr = Frr::start(router, &site::config(lab, router)).await?;
    let advertisement = BGP.replace("spec: {", "spec: { bandwidth: LocalEndpoints, ");
    let peers = site::peers(lab, "");
    world
        .apply(&format!("{POOL}---{advertisement}---{peers}"))
        .await?;
    let more = [
        lab.nodes[1].add_pod("second")?,
        lab.nodes[1].add_pod("third")?,
    ];
    let pods: Vec<_> = world.pods.iter().chain(&more).collect();
    let vips = world.service("web", "Local", &pods).await?;
    for vip in &vips {
        wait_for_weights(&world, &frr, *vip, &[1, 3]).await?;
    }
    let client = lab.clients[0].probe(
        SocketAddr::new(vips[0], 80),
        Duration::from_millis(5),
        Duration::from_secs(2),
    )?;
    retry_until(SOON, "four hundred answers", async || {
        let count = client.report().answers().count();
        ensure!(count >= 400, "{count} so far");
        Ok(())
    })
    .await?;
    let report = client.finish().await?;
    let all = report.answers().count();
    let first = report.answers().filter(|it| it.node == "node-1").count();
    let percent = first * 100 / all;
    // A quarter, and six standard deviations of 400 tosses to each side.
    ensure!((12..=38).contains(&percent), "{first} of {all} by node-1");

    let ready: Vec<Endpoint> = world.pods.iter().map(Endpoint::ready).collect();
    world
        .cluster
        .set_endpoints("default", "web", &ready)
        .await?;
    for vip in &vips {
        wait_for_weights(&world, &frr, *vip, &[1, 1]).await?;
    }
    Ok(())
}

/// FRR writes shares of a hundred into the kernel: their ratio is what counts.
async fn wait_for_weights(world: &World, frr: &Frr, vip: IpAddr, endpoints: &[u64]) -> Result<()> {
    let what = format!("{vip} with weights {endpoints:?}");
    retry_until(SOON, &what, async || {
        let paths = frr.rib(vip.into())?;
        let told: Vec<_> = paths.iter().map(|path| path.link_bandwidth).collect();
        let wanted: Vec<_> = endpoints
            .iter()
            .map(|count| Some(count * ENDPOINT))
            .collect();
        ensure!(told == wanted, "{paths:?}");
        let hops = world
            .lab
            .kernel_weights(&world.lab.routers[0], IpNetwork::from(vip))?;
        let [(_, first), (_, second)] = &hops[..] else {
            anyhow::bail!("next hops {hops:?}")
        };
        let (first, second) = (u64::from(*first), u64::from(*second));
        ensure!(first * endpoints[1] == second * endpoints[0], "{hops:?}");
        Ok(())
    })
    .await
}
