//! BFD beside BGP with FRR and BIRD: a node that falls silent is gone long before the hold time.

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::Router;
use portolan_tests::lab::{Layout, Link, retry_until};
use portolan_tests::world::{BGP, POOL, SOON, Shape, World};
use tokio::time::Instant;

use crate::site::{self, Routers};

const PROFILE: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BFDProfile
metadata: { name: fast }
spec: { transmitInterval: 100, receiveInterval: 100, detectMultiplier: 3 }
";

/// Far above three intervals, far below the hold time of 9 s: the routers' and this program's work included.
const FAST: Duration = Duration::from_secs(4);

/// Both families of both nodes with both routers: up, down by silence, up again, and gone in good order.
pub(super) async fn a_silent_node_is_found_by_bfd(face: Face) -> Result<()> {
    let mut world = World::start(Shape {
        layout: Layout {
            nodes: 2,
            routers: 2,
        },
        data_path: false,
        ..Shape::of(face)
    })
    .await?;
    let routers = Routers::start(&world.lab, |neighbour| neighbour.bfd(100, 3)).await?;
    let peers = site::peers(&world.lab, "  bfdProfile: fast\n");
    world
        .apply(&format!("{POOL}---{BGP}---{PROFILE}---{peers}"))
        .await?;
    let vips = world.service_without_pods("web").await?;
    let all_up = async || {
        for (router, host) in routers.both().into_iter().zip(&world.lab.routers) {
            wait_for_bfd(router, 4).await?;
            for vip in &vips {
                site::wait_for_kernel(&world.lab, host, *vip, &site::hops(&world.lab, *vip))
                    .await?;
            }
        }
        anyhow::Ok(())
    };
    all_up().await?;
    world.lab.nodes[0].host.unplug(Link::Lan)?;
    let silent = Instant::now();
    for host in &world.lab.routers {
        for vip in &vips {
            site::wait_for_kernel(&world.lab, host, *vip, &site::hops(&world.lab, *vip)[1..])
                .await?;
        }
    }
    ensure!(silent.elapsed() < FAST, "it took {:?}", silent.elapsed());
    world.lab.nodes[0].host.plug(Link::Lan)?;
    all_up().await?;
    let told = routers.frr.log()?;
    world.speakers[0].stop(SOON).await?;
    for router in routers.both() {
        wait_for_bfd(router, 2).await?;
    }
    let said = routers.frr.log()?;
    let since = said.get(told.len()..).unwrap_or_default();
    ensure!(
        !since.to_lowercase().contains("bfd down"),
        "the stop looked like a failure: {since}"
    );
    Ok(())
}

async fn wait_for_bfd(router: &dyn Router, count: usize) -> Result<()> {
    let what = format!("{count} BFD sessions of {}", router.name());
    retry_until(SOON, &what, async || {
        let up = router.bfd_up()?;
        ensure!(up == count, "{up} are up");
        Ok(())
    })
    .await
}
