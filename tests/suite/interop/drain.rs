//! A node is drained and then stopped (RFC 8326): routers prefer the other one first, so that nothing is lost when it
//! goes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{Layout, Prober, retry_until};
use portolan_tests::world::{BGP, NODE_AS, POOL, SOON, Shape, World};
use serde_json::json;

use crate::site::{self, Routers};

/// GRACEFUL_SHUTDOWN (RFC 8326 §5).
const GSHUT: &str = "65535:0";

/// How long a request may take on a machine that is busy with other tests.
const OPEN_AT_MOST: Duration = Duration::from_millis(150);

/// Requests all the time, behind FRR and behind BIRD, while a node is cordoned and its speaker is stopped.
pub(super) async fn a_drained_node_is_avoided_before_it_goes(face: Face) -> Result<()> {
    let mut world = World::start(Shape {
        layout: Layout {
            nodes: 2,
            routers: 2,
        },
        ..Shape::of(face)
    })
    .await?;
    let routers = Routers::start(&world.lab, |neighbour| neighbour).await?;
    let peers = site::peers(&world.lab, "");
    world.apply(&format!("{POOL}---{BGP}---{peers}")).await?;
    let vips = {
        let pods: Vec<_> = world.pods.iter().collect();
        world.service("web", "Local", &pods).await?
    };
    let to = SocketAddr::new(vips[0], 80);
    for (host, client) in world.lab.routers.iter().zip(&world.lab.clients) {
        for vip in &vips {
            site::wait_for_kernel(&world.lab, host, *vip, &site::hops(&world.lab, *vip)).await?;
        }
        world.answers(client, to, &["node-1", "node-2"]).await?;
    }
    let clients = site::clients(&world.lab, vips[0])?;

    let nodes: Api<Node> = Api::all(world.cluster.client());
    let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
    nodes
        .patch("node-1", &PatchParams::default(), &cordon)
        .await?;
    for (host, client) in world.lab.routers.iter().zip(&world.lab.clients) {
        for vip in &vips {
            let left = &site::hops(&world.lab, *vip)[1..];
            site::wait_for_kernel(&world.lab, host, *vip, left).await?;
        }
        world.answers(client, to, &["node-2"]).await?;
    }
    let moved: Vec<_> = clients.iter().map(Prober::elapsed).collect();
    for router in routers.both() {
        for vip in &vips {
            let paths = router.rib((*vip).into())?;
            let drained = paths
                .iter()
                .find(|path| path.next_hop == Some(site::hops(&world.lab, *vip)[0]))
                .with_context(|| format!("{} lost the last resort: {paths:?}", router.name()))?;
            ensure!(
                drained.communities.iter().any(|it| it == GSHUT),
                "{drained:?}"
            );
            ensure!(drained.as_path == [NODE_AS; 2], "{drained:?}");
        }
    }
    world.speakers[0].stop(SOON).await?;
    for router in routers.both() {
        let what = format!("{} to forget node-1", router.name());
        retry_until(SOON, &what, async || {
            let paths = router.rib(vips[0].into())?;
            ensure!(paths.len() == 1, "{paths:?}");
            Ok(())
        })
        .await?;
    }
    for ((client, moved), router) in clients.into_iter().zip(moved).zip(routers.both()) {
        let report = client.finish().await?;
        // A router that moves flows from one node to another breaks the connections that are open in that very moment,
        // whatever is announced. They began together, and no other request fails.
        let failed: Vec<_> = report.failures().map(|failure| failure.at).collect();
        let (first, last) = (failed.first(), failed.last());
        let together = first
            .zip(last)
            .is_none_or(|(first, last)| last.saturating_sub(*first) < OPEN_AT_MOST);
        ensure!(
            together && last.is_none_or(|last| *last < moved),
            "behind {}: {report}",
            router.name()
        );
    }
    Ok(())
}
