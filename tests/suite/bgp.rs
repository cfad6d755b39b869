//! One Service, end to end, by BGP: address, session, route, ECMP, answer from a pod.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use portolan_api::crd::{NodeReport, SessionReport, SessionState};
use portolan_tests::kubernetes::{Endpoint, Face};
use portolan_tests::lab::router::{Bird, Frr, Gobgp, Router};
use portolan_tests::lab::{Layout, retry_until};
use portolan_tests::world::{BGP, NODE_AS, POOL, ROUTER_AS, SOON, Shape, World, peer_yaml};
use serde_json::json;

use crate::site::{self, wait_for_hops, wait_for_kernel};

const RANGES: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BGPAdvertisement
metadata: { name: ranges }
spec: { routes: [ClusterIPRange] }
";

/// The session of a node with a peer, as the node reports it.
async fn session(world: &World, node: &str, peer: &str) -> Result<SessionReport> {
    let reports: Api<NodeReport> = Api::all(world.cluster.client());
    let status = reports.get(node).await?.status.unwrap_or_default();
    let found = status
        .sessions
        .into_iter()
        .find(|session| session.peer == peer);
    found.with_context(|| format!("{node} reports no session with {peer}"))
}

async fn wait_for_session(
    world: &World,
    peer: &str,
    what: &str,
    holds: impl Fn(&SessionReport) -> bool,
) -> Result<SessionReport> {
    retry_until(SOON, what, async || {
        let seen = session(world, "node-1", peer).await?;
        ensure!(holds(&seen), "it is {seen:?}");
        Ok(seen)
    })
    .await
}

/// Issue row 1: FRR, BIRD and GoBGP learn both families from both nodes, FRR and BIRD install ECMP, clients are answered
/// by pods by way of both nodes, and the whole ClusterIP range is reachable likewise.
async fn every_router_learns_and_spreads_and_clients_are_answered(face: Face) -> Result<()> {
    let shape = Shape {
        layout: Layout {
            nodes: 2,
            routers: 3,
        },
        ..Shape::of(face)
    };
    let world = World::start(shape).await?;
    let lab = &world.lab;
    let frr = Frr::start(&lab.routers[0], &site::config(lab, &lab.routers[0])).await?;
    let bird = Bird::start(&lab.routers[1], &site::config(lab, &lab.routers[1])).await?;
    let gobgp = Gobgp::start(&lab.routers[2], &site::config(lab, &lab.routers[2])).await?;
    world
        .apply(&format!(
            "{POOL}---{BGP}---{RANGES}---{}",
            site::peers(lab, "")
        ))
        .await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Cluster", &pods).await?;

    let cluster_ips = world.cluster_ips("web").await?;
    let ranges: [IpNetwork; 2] = ["10.96.0.0/12".parse()?, "fd00:96::/112".parse()?];
    let prefixes: Vec<IpNetwork> = vips
        .iter()
        .map(|vip| IpNetwork::from(*vip))
        .chain(ranges)
        .collect();
    let routers: [&dyn Router; 3] = [&frr, &bird, &gobgp];
    for (router, host) in routers.iter().zip(&lab.routers) {
        for prefix in &prefixes {
            let hops = site::hops(lab, prefix.ip());
            wait_for_hops(*router, *prefix, &hops).await?;
            if router.has_fib() {
                wait_for_kernel(lab, host, *prefix, &hops).await?;
            }
        }
        for path in router.rib(vips[0].into())? {
            let name = router.name();
            assert_eq!(path.as_path, [NODE_AS], "{name}: four-byte AS");
            assert_eq!(path.communities, ["65000:100"], "{name}");
            assert_eq!(path.large_communities, ["4200000001:1:2"], "{name}");
        }
    }
    for client in &lab.clients[..2] {
        for address in vips.iter().chain(&cluster_ips) {
            let to = SocketAddr::new(*address, 80);
            world
                .answers(client, to, &["node-1", "node-2"])
                .await
                .context(client.name().to_owned())?;
        }
    }
    Ok(())
}

/// Internal sessions: no AS in the path, local preference carried.
async fn internal_peers_get_local_preference_and_an_empty_path(face: Face) -> Result<()> {
    let world = World::start(Shape {
        data_path: false,
        ..Shape::of(face)
    })
    .await?;
    let lab = &world.lab;
    let router = &lab.routers[0];
    let mut config = site::config(lab, router);
    config.asn = NODE_AS;
    let frr = Frr::start(router, &config).await?;
    let advertisement = BGP.replace("spec: {", "spec: { localPref: 250, ");
    let peer = peer_yaml("internal", router.address().v4.into(), "");
    let peer = peer.replace(
        &format!("peerASN: {ROUTER_AS}"),
        &format!("peerASN: {NODE_AS}"),
    );
    world
        .apply(&format!("{POOL}---{advertisement}---{peer}"))
        .await?;
    let vips = world.service_without_pods("web").await?;
    let vip = vips
        .into_iter()
        .find(IpAddr::is_ipv4)
        .context("an IPv4 address")?;
    wait_for_hops(&frr, vip, &site::hops(lab, vip)).await?;
    for path in frr.rib(vip.into())? {
        assert_eq!((path.as_path, path.local_pref), (vec![], Some(250)));
    }
    Ok(())
}

/// Issue row 2: the right key establishes, and a wrong one never does and says what may be wrong. Keys from Secrets have a
/// file of their own.
async fn the_right_key_establishes_and_a_wrong_one_never_does(face: Face) -> Result<()> {
    let shape = Shape {
        layout: Layout {
            nodes: 1,
            routers: 1,
        },
        data_path: false,
        ..Shape::of(face)
    };
    let world = World::start(shape).await?;
    let router = &world.lab.routers[0];
    let _frr = Frr::start(
        router,
        &site::config_with(&world.lab, router, |peer| peer.password("right")),
    )
    .await?;
    let peer = |more: &str| peer_yaml("keyed", router.address().v4.into(), more);

    world
        .apply(&format!(
            "{POOL}---{BGP}---{}",
            peer("  password: wrong\n  connectTime: 1s")
        ))
        .await?;
    let told = wait_for_session(&world, "keyed", "the report to mention MD5", |session| {
        session
            .last_error
            .as_deref()
            .is_some_and(|why| why.contains("MD5"))
    })
    .await?;
    assert_eq!(
        (
            told.state == SessionState::Established,
            told.established_count
        ),
        (false, 0),
        "{told:?}"
    );

    world
        .apply(&peer("  password: right\n  connectTime: 1s"))
        .await?;
    wait_for_session(&world, "keyed", "the right key to establish", |session| {
        session.state == SessionState::Established
    })
    .await?;
    Ok(())
}

/// Issue row 3: only nodes with a usable endpoint announce; the last one going away withdraws; one that terminates but
/// serves keeps the route.
async fn policy_local_follows_endpoints(face: Face) -> Result<()> {
    let world = World::start(Shape::of(face)).await?;
    let lab = &world.lab;
    let frr = Frr::start(&lab.routers[0], &site::config(lab, &lab.routers[0])).await?;
    world
        .apply(&format!("{POOL}---{BGP}---{}", site::peers(lab, "")))
        .await?;
    let [first, second] = &world.pods[..] else {
        panic!("a pod per node")
    };
    let vips = world.service("web", "Local", &[first]).await?;
    let only = |index: usize, vip: IpAddr| vec![lab.nodes[index].host.address().of_family(vip)];
    for vip in &vips {
        wait_for_kernel(lab, &lab.routers[0], *vip, &only(0, *vip)).await?;
        world
            .answers(&lab.clients[0], SocketAddr::new(*vip, 80), &["node-1"])
            .await?;
    }
    let steps = [
        (
            "ready on both",
            vec![Endpoint::ready(first), Endpoint::ready(second)],
            vec![0, 1],
        ),
        (
            "terminating but serving",
            vec![
                Endpoint::ready(first).terminating(),
                Endpoint::ready(second),
            ],
            vec![0, 1],
        ),
        (
            "gone from the first",
            vec![Endpoint::ready(second)],
            vec![1],
        ),
        (
            "not ready on the second",
            vec![Endpoint::ready(second).unready()],
            vec![],
        ),
        (
            "terminating and alone",
            vec![Endpoint::ready(second).terminating()],
            vec![1],
        ),
        ("none at all", vec![], vec![]),
    ];
    for (step, endpoints, nodes) in steps {
        world
            .cluster
            .set_endpoints("default", "web", &endpoints)
            .await?;
        for vip in &vips {
            let hops: Vec<IpAddr> = nodes.iter().flat_map(|index| only(*index, *vip)).collect();
            wait_for_hops(&frr, *vip, &hops).await.context(step)?;
            if step == "ready on both" {
                // With policy Local the pod that answers is on the node that was passed: ECMP really uses both.
                let to = SocketAddr::new(*vip, 80);
                world
                    .answers(&lab.clients[0], to, &["node-1", "node-2"])
                    .await?;
            }
        }
    }
    Ok(())
}

/// Node selectors, the exclude label, an orderly stop and a kill: each takes exactly that node out of the route.
async fn a_node_leaves_and_comes_back(face: Face) -> Result<()> {
    let mut world = World::start(Shape::of(face)).await?;
    let frr = Frr::start(
        &world.lab.routers[0],
        &site::config(&world.lab, &world.lab.routers[0]),
    )
    .await?;
    world
        .apply(&format!("{POOL}---{BGP}---{}", site::peers(&world.lab, "")))
        .await?;
    let vips = {
        let pods: Vec<_> = world.pods.iter().collect();
        world.service("web", "Cluster", &pods).await?
    };
    let vip = vips[0];
    let both = site::hops(&world.lab, vip);
    wait_for_hops(&frr, vip, &both).await?;

    let nodes: Api<Node> = Api::all(world.cluster.client());
    let label = async |value: Option<&str>| {
        let labels = json!({ "node.kubernetes.io/exclude-from-external-load-balancers": value });
        let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
        nodes.patch("node-1", &PatchParams::default(), &patch).await
    };
    label(Some("")).await?;
    wait_for_hops(&frr, vip, &both[1..])
        .await
        .context("excluded")?;
    label(None).await?;
    wait_for_hops(&frr, vip, &both)
        .await
        .context("included again")?;

    world.speakers[0].stop(SOON).await?;
    wait_for_hops(&frr, vip, &both[1..])
        .await
        .context("stopped")?;
    let log = frr.log()?;
    assert!(
        log.contains("portolan-speaker is stopping") || log.contains("Administrative"),
        "FRR heard no reason: {log}"
    );
    world.speakers[0].restart()?;
    wait_for_hops(&frr, vip, &both)
        .await
        .context("started again")?;

    // The node dies: traffic goes on through the other one once the hold time has told the router.
    let to = SocketAddr::new(vip, 80);
    let endpoints = [Endpoint::ready(&world.pods[1])];
    world
        .cluster
        .set_endpoints("default", "web", &endpoints)
        .await?;
    world.lab.nodes[0].cut()?;
    wait_for_kernel(&world.lab, &world.lab.routers[0], vip, &both[1..])
        .await
        .context("cut")?;
    world
        .answers(&world.lab.clients[0], to, &["node-2"])
        .await?;
    Ok(())
}

on_both_faces!(
    every_router_learns_and_spreads_and_clients_are_answered,
    internal_peers_get_local_preference_and_an_empty_path,
    the_right_key_establishes_and_a_wrong_one_never_does,
    policy_local_follows_endpoints,
    a_node_leaves_and_comes_back
);
