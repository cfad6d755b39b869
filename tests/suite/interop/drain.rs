//! A node is drained and then stopped (RFC 8326): routers prefer the other one first, so that nothing is lost when it
//! goes.
//!
//! What a router can not spare is a connection that is under way on the node which it is told to avoid: its next packet
//! comes to a node that does not know it. So requests here take their time, many are under way always, and the switch sees
//! which node gets each packet: those that fail are those that were moved, each of them once, and no other. Both routers
//! change their kernel's route once, in place, and the stop of the drained node changes nothing any more.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::Router;
use portolan_tests::lab::{Attempt, Flows, Layout, Passage, Prober, now};
use portolan_tests::world::{BGP, NODE_AS, POOL, SOON, Shape, World};
use serde_json::json;

use super::witness::Witness;
use crate::site::{self, Routers};

/// GRACEFUL_SHUTDOWN (RFC 8326 §5).
const GSHUT: &str = "65535:0";
/// Between two requests, between the halves of one, and how long an answer is waited for.
const PACE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(300);
const LIMIT: Duration = Duration::from_secs(5);

/// Requests all the time, in both families, behind FRR and behind BIRD, while a node is cordoned and its speaker is
/// stopped.
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
    wait_for_nodes(&world, &vips, &["node-1", "node-2"]).await?;
    let mut witnesses = Vec::new();
    for host in &world.lab.routers {
        witnesses.push(Witness::start(host).await?);
    }
    let flows = world.lab.flows(80)?;
    let clients = clients(&world, &vips)?;
    tokio::time::sleep(2 * PAUSE).await; // requests in every stage

    let nodes: Api<Node> = Api::all(world.cluster.client());
    let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
    let asked = now();
    nodes
        .patch("node-1", &PatchParams::default(), &cordon)
        .await?;
    wait_for_nodes(&world, &vips, &["node-2"]).await?;
    for router in routers.both() {
        for vip in &vips {
            last_resort(&world, router, *vip)?;
        }
    }
    tokio::time::sleep(2 * PAUSE).await; // those that were under way have spoken, and ended
    let moved = now();
    world.speakers[0].stop(SOON).await?;
    for router in routers.both() {
        for vip in &vips {
            site::wait_for_hops(router, *vip, &site::hops(&world.lab, *vip)[1..]).await?;
        }
    }
    tokio::time::sleep(2 * PAUSE).await; // what the stop broke would have been found
    for (witness, router) in witnesses.iter().zip(routers.both()) {
        for vip in &vips {
            let entries = witness.entries(*vip)?;
            let once = matches!(&entries[..], [only] if !only.starts_with("Deleted"));
            ensure!(
                once,
                "{} did not change the route to {vip} once, in place: {entries:?}",
                router.name()
            );
        }
    }
    for client in clients {
        client.judge(&flows, asked..moved).await?;
    }
    Ok(())
}

/// Waits until both routers forward to exactly these nodes.
async fn wait_for_nodes(world: &World, vips: &[IpAddr], names: &[&str]) -> Result<()> {
    let nodes = world.lab.nodes.iter().map(|node| &node.host);
    let wanted: Vec<_> = nodes.filter(|node| names.contains(&node.name())).collect();
    for (host, client) in world.lab.routers.iter().zip(&world.lab.clients) {
        for vip in vips {
            let hops: Vec<_> = wanted
                .iter()
                .map(|node| node.address().of_family(*vip))
                .collect();
            site::wait_for_kernel(&world.lab, host, *vip, &hops).await?;
            world
                .answers(client, SocketAddr::new(*vip, 80), names)
                .await?;
        }
    }
    Ok(())
}

/// The drained node is still announced, as worse than any other.
fn last_resort(world: &World, router: &dyn Router, vip: IpAddr) -> Result<()> {
    let paths = router.rib(vip.into())?;
    let drained = paths
        .iter()
        .find(|path| path.next_hop == Some(site::hops(&world.lab, vip)[0]))
        .with_context(|| format!("{} lost the last resort: {paths:?}", router.name()))?;
    ensure!(
        drained.communities.iter().any(|it| it == GSHUT),
        "{drained:?}"
    );
    ensure!(drained.as_path == [NODE_AS; 2], "{drained:?}");
    Ok(())
}

/// Who asks one address from behind one router.
struct Client {
    name: String,
    address: IpAddr,
    to: SocketAddr,
    prober: Prober,
}

fn clients(world: &World, vips: &[IpAddr]) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for host in &world.lab.clients {
        for vip in vips {
            let to = SocketAddr::new(*vip, 80);
            clients.push(Client {
                name: format!("{} to {vip}", host.name()),
                address: host.address().of_family(*vip),
                to,
                prober: host.dawdle(to, PACE, PAUSE, LIMIT)?,
            });
        }
    }
    Ok(clients)
}

impl Client {
    async fn judge(self, flows: &Flows, drain: std::ops::Range<Duration>) -> Result<()> {
        let report = self.prober.finish().await?;
        let ways = ways(flows, self.to);
        let mut broken = 0;
        for attempt in &report.attempts {
            let from = attempt.from.context("no port was left")?;
            let way = ways.get(&SocketAddr::new(self.address, from));
            let way = way.map_or(&[][..], Vec::as_slice);
            let verdict = judge(attempt, way, &drain);
            verdict.with_context(|| format!("{}: {attempt:?} by {way:?}; {report}", self.name))?;
            broken += usize::from(attempt.outcome.is_err());
        }
        ensure!(
            broken > 0,
            "{}: nothing was under way on the drained node: {report}",
            self.name
        );
        Ok(())
    }
}

/// The nodes that got packets of each connection to this end, in order, each with the first packet after a move.
fn ways(flows: &Flows, to: SocketAddr) -> BTreeMap<SocketAddr, Vec<Passage>> {
    let mut ways: BTreeMap<SocketAddr, Vec<Passage>> = BTreeMap::new();
    for passage in flows.to_nodes().into_iter().filter(|it| it.to == to) {
        let way = ways.entry(passage.from).or_default();
        if way.last().is_none_or(|last| last.port != passage.port) {
            way.push(passage);
        }
    }
    ways
}

/// A request that stayed on one node was answered there; one that failed was moved off the drained node, once, while the
/// router was told so.
fn judge(attempt: &Attempt, way: &[Passage], drain: &std::ops::Range<Duration>) -> Result<()> {
    let ports: Vec<&str> = way.iter().map(|it| &*it.port).collect();
    match (&ports[..], &attempt.outcome) {
        ([port], Ok(answer)) => ensure!(
            port.strip_suffix("-lan") == Some(&answer.node),
            "another node answered"
        ),
        // The answer was there already: what was moved is the end of the connection.
        (["node-1-lan", "node-2-lan"], Ok(answer)) => {
            ensure!(answer.node == "node-1", "the new node answered");
        }
        (["node-1-lan", "node-2-lan"], Err(_)) => {}
        ([], _) => bail!("no packet of it came to a node"),
        (_, Err(_)) => bail!("it failed without having been moved off the drained node"),
        _ => bail!("it was moved in vain"),
    }
    let is_late = way.get(1).is_some_and(|it| !drain.contains(&it.at));
    ensure!(!is_late, "it was moved when nothing was to move");
    Ok(())
}
