//! Graceful restart (RFC 4724, 8538): the speaker dies or is replaced, and neither the router's kernel nor a client
//! notices.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::DeleteParams;
use portolan_api::crd::BGPPeer;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::Neighbour;
use portolan_tests::lab::{Layout, Prober, retry_until};
use portolan_tests::world::{BGP, POOL, SOON, Shape, World};

use super::witness::Witness;
use crate::site::{self, Routers};

const PEER: &str = "  enableGracefulRestart: true\n  gracefulRestartTime: 60s\n";

/// SIGKILL and SIGTERM of the speaker, on FRR and BIRD: the kernel's route is never gone, no request fails; and a peer
/// that is deleted is withdrawn in spite of it all.
pub(super) async fn a_restart_of_the_speaker_is_not_seen(face: Face) -> Result<()> {
    let mut world = World::start(Shape {
        layout: Layout {
            nodes: 1,
            routers: 2,
        },
        ..Shape::of(face)
    })
    .await?;
    let routers = Routers::start(&world.lab, Neighbour::graceful_restart).await?;
    let peers = site::peers(&world.lab, PEER);
    world.apply(&format!("{POOL}---{BGP}---{peers}")).await?;
    let vips = {
        let pods: Vec<_> = world.pods.iter().collect();
        world.service("web", "Local", &pods).await?
    };
    wait_for_routes(&world, &vips).await?;
    for client in &world.lab.clients {
        let to = std::net::SocketAddr::new(vips[0], 80);
        world.answers(client, to, &["node-1"]).await?;
    }
    let mut witnesses = Vec::new();
    for host in &world.lab.routers {
        witnesses.push(Witness::start(host).await?);
    }
    let clients = site::clients(&world.lab, vips[0])?;

    world.speakers[0].kill()?;
    come_back(&mut world, &routers, &vips)
        .await
        .context("SIGKILL")?;
    world.speakers[0].stop(SOON).await?;
    come_back(&mut world, &routers, &vips)
        .await
        .context("SIGTERM")?;

    for (witness, router) in witnesses.iter().zip(routers.both()) {
        for vip in &vips {
            let gone = witness.gone(*vip)?;
            ensure!(gone.is_empty(), "{}: {gone:?}", router.name());
        }
    }
    for (client, router) in clients.into_iter().zip(routers.both()) {
        let report = Prober::finish(client).await?;
        ensure!(
            report.failures().count() == 0,
            "behind {}: {report}",
            router.name()
        );
    }
    let objects: Api<BGPPeer> = Api::all(world.cluster.client());
    for router in ["router-1", "router-2"] {
        for family in ["v4", "v6"] {
            let name = format!("{router}-{family}");
            objects.delete(&name, &DeleteParams::default()).await?;
        }
    }
    for host in &world.lab.routers {
        for vip in &vips {
            site::wait_for_kernel(&world.lab, host, *vip, &[])
                .await
                .context("a deleted peer is withdrawn")?;
        }
    }
    Ok(())
}

async fn wait_for_routes(world: &World, vips: &[IpAddr]) -> Result<()> {
    for host in &world.lab.routers {
        for vip in vips {
            site::wait_for_kernel(&world.lab, host, *vip, &site::hops(&world.lab, *vip)).await?;
        }
    }
    Ok(())
}

/// The routers have lost their sessions and kept the routes; then the speaker is started, and after its End-of-RIB the
/// routes are still there.
async fn come_back(world: &mut World, routers: &Routers, vips: &[IpAddr]) -> Result<()> {
    for router in routers.both() {
        site::wait_for_sessions(router, 0).await?;
    }
    wait_for_routes(world, vips)
        .await
        .context("kept as stale")?;
    world.speakers[0].restart()?;
    for router in routers.both() {
        site::wait_for_sessions(router, 2).await?;
    }
    for vip in vips {
        let what = format!("{vip} to be fresh at FRR");
        retry_until(SOON, &what, async || {
            let family = if vip.is_ipv4() { "ipv4" } else { "ipv6" };
            let told = routers
                .frr
                .vty(&[format!("show bgp {family} unicast {vip}")])?;
            ensure!(!told.contains("stale"), "{told}");
            Ok(())
        })
        .await?;
    }
    // What a late End-of-RIB would still sweep.
    tokio::time::sleep(Duration::from_secs(1)).await;
    wait_for_routes(world, vips).await.context("fresh")
}
