//! A node dies and its router learns it by BFD: what clients behind FRR and behind BIRD, that spread over two nodes, see
//! of it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::{Bird, Frr, Neighbour, Router, RouterConfig};
use portolan_tests::lab::{Host, Layout, Link, Node, Prober, Report, retry_until};
use portolan_tests::world::{BGP, NODE_AS, POOL, ROUTER_AS, Shape, World, peer_yaml};

use crate::load::PATIENCE;
use crate::sheet::{Samples, context, in_ms};
use crate::usage::load;

/// BFD of both sides: milliseconds between two packets, and how many may be lost.
const INTERVAL: u16 = 50;
const MULTIPLIER: u8 = 3;
/// A client starts a request this often, and gives one up after that long.
const PACE: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_millis(300);
/// How long clients ask before a node dies and after the routers know.
const AROUND: Duration = Duration::from_millis(400);

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Both cables and all its programs.
    Power,
    /// The cable to the routers; they see no carrier go, as the switch is between.
    Link,
}

/// Kills nodes in turn, by power and by link, and prints how long requests failed.
pub(crate) async fn measure(kills: usize) -> Result<()> {
    let mut world = World::start(Shape {
        layout: Layout {
            nodes: 2,
            routers: 2,
        },
        ..Shape::of(Face::Embedded)
    })
    .await?;
    let [first, second] = &world.lab.routers[..] else {
        bail!("a lab of two routers has two")
    };
    let frr = Frr::start(first, &config(&world, first)).await?;
    let bird = Bird::start(second, &config(&world, second)).await?;
    let peers = [("frr", first), ("bird", second)]
        .map(|(name, host)| peer_yaml(name, host.address().v4.into(), "  bfdProfile: fast\n"));
    let profile = format!(
        "apiVersion: portolan.dev/v1alpha1\nkind: BFDProfile\nmetadata: {{ name: fast }}\n\
         spec: {{ transmitInterval: {INTERVAL}, receiveInterval: {INTERVAL}, detectMultiplier: {MULTIPLIER} }}\n"
    );
    let peers = peers.join("---");
    world
        .apply(&format!("{POOL}---\n{profile}---{BGP}---{peers}"))
        .await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Local", &pods).await?;
    let vip = vips.into_iter().find(std::net::IpAddr::is_ipv4);
    let to = SocketAddr::new(vip.context("an IPv4 address")?, 80);
    let routers: [&dyn Router; 2] = [&frr, &bird];

    let mut gaps = [(); 4].map(|()| Samples::default());
    let mut failed = 0;
    for kill in 0..kills {
        settled(&world, &routers, to).await?;
        let victim = kill % 2;
        let death = if kill / 2 % 2 == 0 {
            Death::Power
        } else {
            Death::Link
        };
        let seen = one(&mut world, to, victim, death).await?;
        for (index, (gap, failures)) in seen.into_iter().enumerate() {
            failed += failures;
            let row = index * 2 + usize::from(death == Death::Link);
            gaps.get_mut(row).context("four rows")?.push(gap);
        }
        eprintln!(
            "kill {}: {death:?} of node-{}: {seen:?}, load {}",
            kill + 1,
            victim + 1,
            load()?
        );
    }
    let names = ["FRR, power", "FRR, link", "BIRD, power", "BIRD, link"];
    for (name, gaps) in names.into_iter().zip(&gaps) {
        let what = format!(
            "BFD {INTERVAL} ms × {MULTIPLIER}, node dies → last request that fails, {name}"
        );
        context(
            &what,
            format!("{gaps}, max {}", in_ms(gaps.percentile(100))),
        );
    }
    context("requests that failed, all kills and both clients", failed);
    Ok(())
}

fn config(world: &World, router: &Host) -> RouterConfig {
    let nodes = world.lab.nodes.iter().map(|node| node.host.address().v4);
    let neighbours = nodes.map(|node| {
        let neighbour = Neighbour::at(node, NODE_AS).passive();
        neighbour.bfd(INTERVAL, MULTIPLIER)
    });
    RouterConfig::new(ROUTER_AS, router.address().v4, neighbours.collect())
}

/// Both nodes are next hops and watched by BFD, and both answer.
async fn settled(world: &World, routers: &[&dyn Router; 2], to: SocketAddr) -> Result<()> {
    for (router, (host, client)) in routers
        .iter()
        .zip(world.lab.routers.iter().zip(&world.lab.clients))
    {
        let what = format!("{} with two nodes watched by BFD", router.name());
        retry_until(PATIENCE, &what, async || {
            let (up, hops) = (
                router.bfd_up()?,
                host.kernel_route(IpNetwork::from(to.ip()))?,
            );
            ensure!(
                up == 2 && hops.len() == 2,
                "{up} BFD sessions, next hops {hops:?}"
            );
            Ok(())
        })
        .await?;
        world.answers(client, to, &["node-1", "node-2"]).await?;
    }
    Ok(())
}

/// For each client: from the death to the start of the last request that failed, and how many did.
async fn one(
    world: &mut World,
    to: SocketAddr,
    victim: usize,
    death: Death,
) -> Result<[(Duration, usize); 2]> {
    let [first, second] = &world.lab.clients[..] else {
        bail!("two clients")
    };
    let clients = [
        first.probe(to, PACE, LIMIT)?,
        second.probe(to, PACE, LIMIT)?,
    ];
    tokio::time::sleep(AROUND).await;
    let node = world.lab.nodes.get(victim).context("no such node")?;
    let began = clients.each_ref().map(Prober::elapsed);
    match death {
        Death::Power => node.cut()?,
        Death::Link => node.host.unplug(Link::Lan)?,
    }
    for host in &world.lab.routers {
        retry_until(PATIENCE, "the router to know", async || {
            let hops = host.kernel_route(IpNetwork::from(to.ip()))?;
            ensure!(hops.len() == 1, "next hops {hops:?}");
            Ok(())
        })
        .await?;
    }
    tokio::time::sleep(AROUND).await;
    let [first, second] = clients;
    let reports = [first.finish().await?, second.finish().await?];
    revive(node, death)?;
    if death == Death::Power {
        let speaker = world.speakers.get_mut(victim).context("no such speaker")?;
        speaker.restart()?;
    }
    let [at_first, at_second] = began;
    let [first, second] = &reports;
    Ok([gap(first, at_first), gap(second, at_second)])
}

fn revive(node: &Node, death: Death) -> Result<()> {
    match death {
        Death::Power => node.heal(),
        Death::Link => node.host.plug(Link::Lan),
    }
}

fn gap(report: &Report, began: Duration) -> (Duration, usize) {
    let last = report.failures().map(|failure| failure.at).max();
    let gap = last.map_or(Duration::ZERO, |last| last.saturating_sub(began));
    (gap, report.failures().count())
}
