//! A shared address on the wire: both ports answer, by BGP through a router and by layer 2 from one node, and go on when one
//! of the two Services goes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::{Endpoint, Face};
use portolan_tests::lab::router::{Frr, Neighbour, Router as _, RouterConfig};
use portolan_tests::lab::{Layout, Pod, retry_until};
use portolan_tests::world::{NODE_AS, ROUTER_AS, SOON, Shape, World, peer_yaml};
use serde_json::{Value, json};

use super::{ADDRESS_POOL, and, annotated, has, mk_pool, mk_sharing, put, remove, services};
use crate::layer2::sole_answerer;

const LAN: &str = "172.30.200.1";
const ROUTED: &str = "192.0.2.1";
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

fn mk_advertisement(kind: &str, pool: &str) -> Value {
    json!({
        "apiVersion": "portolan.dev/v1alpha1", "kind": kind,
        "metadata": { "name": pool }, "spec": { "ipAddressPools": [pool] },
    })
}

/// Two Services on one address, ports 80 and 8080, with a pod on each node.
async fn mk_pair(world: &World, pool: &str, address: &str) -> Result<()> {
    for port in [80, 8080] {
        let name = format!("{pool}-{port}");
        let target =
            json!([{ "name": "http", "port": port, "protocol": "TCP", "targetPort": Pod::PORT }]);
        let service = and(
            mk_sharing(&name, pool, "TCP", port),
            &annotated(ADDRESS_POOL, pool),
        );
        put(
            world,
            &[and(service, &json!({ "spec": { "ports": target } }))],
        )
        .await?;
        let endpoints: Vec<Endpoint> = world.pods.iter().map(Endpoint::ready).collect();
        world
            .cluster
            .set_endpoints("default", &name, &endpoints)
            .await?;
        has(world, &name, &[address]).await?;
    }
    Ok(())
}

async fn answers(world: &World, address: &str, ports: &[u16]) -> Result<()> {
    let lab = &world.lab;
    let client = if address == LAN {
        &lab.lan_client
    } else {
        &lab.clients[0]
    };
    for port in ports {
        let to = SocketAddr::new(address.parse()?, *port);
        world.answers(client, to, &NODES).await?;
    }
    Ok(())
}

/// The nodes that a Service is placed on, in order.
async fn placement(world: &World, name: &str) -> Result<String> {
    let annotations = services(world, name).get(name).await?.metadata.annotations;
    let nodes = annotations
        .unwrap_or_default()
        .remove("portolan.dev/l2-nodes");
    nodes.with_context(|| format!("{name} is placed nowhere"))
}

async fn a_shared_address_answers_on_both_ports(face: Face) -> Result<()> {
    let layout = Layout {
        nodes: 3,
        routers: 1,
    };
    let world = World::start(Shape {
        layout,
        ..Shape::of(face)
    })
    .await?;
    let router = &world.lab.routers[0];
    let neighbours = world.lab.nodes.iter();
    let neighbours =
        neighbours.map(|node| Neighbour::at(node.host.address().v4, NODE_AS).passive());
    let config = RouterConfig::new(ROUTER_AS, router.address().v4, neighbours.collect());
    let frr = Frr::start(router, &config).await?;
    world
        .apply(&peer_yaml("router", router.address().v4.into(), ""))
        .await?;
    for (pool, kind, address) in [
        ("lan", "L2Advertisement", LAN),
        ("routed", "BGPAdvertisement", ROUTED),
    ] {
        let spec = json!({ "addresses": [format!("{address}/32")] });
        put(
            &world,
            &[mk_pool(pool, &spec), mk_advertisement(kind, pool)],
        )
        .await?;
        mk_pair(&world, pool, address).await?;
    }
    let (lan, far): (IpAddr, IpAddr) = (LAN.parse()?, ROUTED.parse()?);
    let three_hops = async || {
        retry_until(SOON, "three next hops", async || {
            let hops = frr.next_hops(far.into())?;
            ensure!(hops.len() == 3, "there are {hops:?}");
            Ok(())
        })
        .await
    };
    three_hops().await?;
    answers(&world, ROUTED, &[80, 8080]).await?;

    let answerer = sole_answerer(&world, lan).await?;
    answers(&world, LAN, &[80, 8080]).await?;
    retry_until(SOON, "both to be placed alike", async || {
        let both = [
            placement(&world, "lan-80").await?,
            placement(&world, "lan-8080").await?,
        ];
        ensure!(both[0] == both[1], "they are placed on {both:?}");
        ensure!(
            both[0].starts_with(NODES[answerer]),
            "{} answers: {both:?}",
            NODES[answerer]
        );
        Ok(())
    })
    .await?;

    // One goes, the address stays where it is, and on the wire.
    let lan_prober = world.lab.lan_client.probe(
        SocketAddr::new(lan, 8080),
        Duration::from_millis(20),
        Duration::from_secs(1),
    )?;
    let routed_prober = world.lab.clients[0].probe(
        SocketAddr::new(far, 8080),
        Duration::from_millis(20),
        Duration::from_secs(1),
    )?;
    for name in ["lan-80", "routed-80"] {
        remove(&world, name).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for prober in [lan_prober, routed_prober] {
        let report = prober.finish().await?;
        ensure!(report.failures().count() == 0, "{report}");
    }
    assert_eq!(sole_answerer(&world, lan).await?, answerer);
    three_hops().await?;
    has(&world, "lan-8080", &[LAN]).await?;
    has(&world, "routed-8080", &[ROUTED]).await?;
    answers(&world, LAN, &[8080]).await?;
    answers(&world, ROUTED, &[8080]).await
}

on_both_faces!(a_shared_address_answers_on_both_ports);
