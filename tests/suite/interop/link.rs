//! Unnumbered sessions: neither side has an address of the other; router advertisements are all they know.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use ipnetwork::IpNetwork;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::Layout;
use portolan_tests::lab::retry_until;
use portolan_tests::lab::router::{Frr, Neighbour, Router, RouterConfig};
use portolan_tests::world::{BGP, NODE_AS, POOL, ROUTER_AS, SOON, Shape, World};

/// `neighbor eth0 interface` on FRR, `interface: eth0` on our side: both families over link-local addresses (RFC 8950).
pub(super) async fn unnumbered_sessions_carry_both_families(face: Face) -> Result<()> {
    let world = World::start(Shape {
        layout: Layout {
            nodes: 1,
            routers: 1,
        },
        ..Shape::of(face)
    })
    .await?;
    let router = &world.lab.routers[0];
    let neighbours = vec![Neighbour::on("eth0", NODE_AS)];
    let config = RouterConfig::new(ROUTER_AS, router.address().v4, neighbours);
    let frr = Frr::start(router, &config).await?;
    let peer = format!(
        "
apiVersion: portolan.dev/v1alpha1
kind: BGPPeer
metadata: {{ name: link }}
spec: {{ myASN: {NODE_AS}, peerASN: {ROUTER_AS}, interface: eth0, holdTime: 9s }}
"
    );
    world.apply(&format!("{POOL}---{BGP}---{peer}")).await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Cluster", &pods).await?;
    for vip in &vips {
        let what = format!("{vip} by a link-local address");
        retry_until(SOON, &what, async || {
            let paths = frr.rib((*vip).into())?;
            ensure!(
                paths.len() == 1,
                "{paths:?}, sessions {:?}",
                frr.sessions()?
            );
            let hops = router.kernel_route(IpNetwork::from(*vip))?;
            let is_local =
                |hop: &IpAddr| matches!(hop, IpAddr::V6(hop) if hop.is_unicast_link_local());
            ensure!(hops.len() == 1 && hops.iter().all(is_local), "{hops:?}");
            Ok(())
        })
        .await?;
        let to = SocketAddr::new(*vip, 80);
        world
            .answers(&world.lab.clients[0], to, &["node-1"])
            .await?;
    }
    Ok(())
}
