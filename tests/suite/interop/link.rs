//! Unnumbered sessions: router advertisements are all that both sides know of each other, or the link-local addresses of
//! several routers on one link.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use kube::Api;
use portolan_api::crd::{NodeReport, SessionReport, SessionState};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::Layout;
use portolan_tests::lab::retry_until;
use portolan_tests::lab::router::{Bird, Frr, Neighbour, Router, RouterConfig};
use portolan_tests::world::{BGP, NODE_AS, POOL, ROUTER_AS, SOON, Shape, World};

/// The defaults.
const PROFILE: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BFDProfile
metadata: { name: plain }
spec: {}
";

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

/// Two routers of one link, FRR and BIRD, each named by its link-local address: of them the advertisements would find one
/// only. FRR's session has a key and GTSM, BIRD opens its own; BFD watches both.
pub(super) async fn routers_of_one_link_are_told_apart_by_their_link_local_addresses(
    face: Face,
) -> Result<()> {
    let world = World::start(Shape {
        layout: Layout {
            nodes: 1,
            routers: 2,
        },
        ..Shape::of(face)
    })
    .await?;
    let [first, second] = &world.lab.routers[..] else {
        anyhow::bail!("two routers")
    };
    let on_link = || Neighbour::on("eth0", NODE_AS).bfd(300, 3);
    let keyed = on_link().password("a-key").ttl_security();
    let config = RouterConfig::new(ROUTER_AS, first.address().v4, vec![keyed]);
    let frr = Frr::start(first, &config).await?;
    let config = RouterConfig::new(ROUTER_AS, second.address().v4, vec![on_link().passive()]);
    let bird = Bird::start(second, &config).await?;
    let mut objects = vec![POOL.to_owned(), BGP.to_owned(), PROFILE.to_owned()];
    for (host, more) in [
        (first, "password: a-key, ttlSecurity: true, listen: both"),
        (second, "listen: active"),
    ] {
        let router = host.link_local()?.context("no link-local address")?;
        objects.push(format!(
            "
apiVersion: portolan.dev/v1alpha1
kind: BGPPeer
metadata: {{ name: {} }}
spec: {{ myASN: {NODE_AS}, peerASN: {ROUTER_AS}, interface: eth0, peerAddress: '{router}', holdTime: 9s, bfdProfile: plain, {more} }}
",
            host.name()
        ));
    }
    world.apply(&objects.join("---")).await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Cluster", &pods).await?;
    let node = world.lab.nodes[0].host.link_local()?;
    let hops = vec![IpAddr::V6(node.context("no link-local address")?)];
    let routers: [&dyn Router; 2] = [&frr, &bird];
    for vip in &vips {
        for (router, host) in routers.iter().zip([first, second]) {
            let what = format!(
                "{vip} at {} by the node's link-local address",
                router.name()
            );
            retry_until(SOON, &what, async || {
                let seen = host.kernel_route(IpNetwork::from(*vip))?;
                ensure!(
                    seen == hops,
                    "{seen:?} in its kernel, sessions {:?}",
                    router.sessions()?
                );
                Ok(())
            })
            .await?;
        }
        for client in &world.lab.clients {
            let to = SocketAddr::new(*vip, 80);
            world.answers(client, to, &["node-1"]).await?;
        }
    }
    let reports: Api<NodeReport> = Api::all(world.cluster.client());
    retry_until(SOON, "BFD beside both sessions", async || {
        let status = reports.get("node-1").await?.status.unwrap_or_default();
        let is_up = |session: &SessionReport| {
            session.state == SessionState::Established
                && session.bfd.as_ref().is_some_and(|bfd| bfd.state == "Up")
        };
        ensure!(
            status.sessions.iter().filter(|it| is_up(it)).count() == 2
                && status.problems.is_empty(),
            "{:?}, {:?}",
            status.problems,
            status.sessions
        );
        Ok(())
    })
    .await
}
