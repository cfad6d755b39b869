//! Hundreds of Services with an address each, spread over nodes, without traffic: who holds what, and how fast all that one
//! node had is taken over.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use portolan_api::annotation::L2_NODES;
use portolan_api::crd::NodeReport;
use portolan_proto::ethernet::MacAddr;
use serde_json::json;

use super::SOON;
use crate::kubernetes::{Endpoint, Face};
use crate::lab::frames::Meaning;
use crate::lab::{Half, Layout, Tap, Way, now, retry_until};
use crate::world::{L2, Shape, World};

/// Requests on their way at the same time while Services are made.
const CONCURRENCY: usize = 16;
/// All addresses are asked for this often when it is to be known who answers.
const QUESTION: Duration = Duration::from_millis(500);
/// How long gratuitous announcements are counted after a takeover: all rounds of a burst.
const BURST: Duration = Duration::from_secs(7);

/// Room for more than a thousand addresses of each family.
const POOL: &str = "
apiVersion: portolan.dev/v1alpha1
kind: IPAddressPool
metadata: { name: lan }
spec: { addresses: [172.30.200.0/22, 'fd00:30::b000/118'] }
";

/// A cluster with many Services.
pub struct Crowd {
    /// The cluster.
    pub world: World,
    tap: Tap,
    macs: Vec<MacAddr>,
    count: usize,
}

/// All that a node held was taken over.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Addresses.
    pub count: usize,
    /// From the loss until the first of them was announced by another node.
    pub first: Duration,
    /// From the loss until the last was.
    pub last: Duration,
    /// Gratuitous frames of all nodes since the loss.
    pub announcements: usize,
    /// Those of them about addresses that did not move.
    pub idle: usize,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            first,
            last,
            announcements,
            idle,
        } = self;
        write!(
            f,
            "{count} VIPs of a dead node: first announced after {first:?}, last after {last:?}; {announcements} gratuitous \
             frames, {idle} of them about others"
        )
    }
}

impl Crowd {
    /// `count` Services on `nodes` nodes, half of them of each family, and waits until all are placed.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn start(face: Face, nodes: u8, count: usize) -> Result<Self> {
        let layout = Layout { nodes, routers: 1 };
        let world = World::start(Shape {
            layout,
            data_path: false,
            ..Shape::of(face)
        })
        .await?;
        world.apply(&format!("{POOL}---{L2}")).await?;
        all_report(&world).await?;
        let hosts = world
            .lab
            .nodes
            .iter()
            .map(|node| node.host.hardware_address("eth0"));
        let (macs, tap) = (hosts.collect::<Result<_>>()?, world.lab.tap()?);
        let mut crowd = Self {
            world,
            tap,
            macs,
            count: 0,
        };
        crowd.add(count).await?;
        retry_until(SOON * 4, "a placement for every address", async || {
            let placed = crowd.placed().await?;
            ensure!(
                placed.len() == count,
                "{} of {count} have one",
                placed.len()
            );
            Ok(())
        })
        .await?;
        crowd.holders().await?;
        Ok(crowd)
    }

    /// Makes that many more Services, and waits for nothing.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn add(&mut self, count: usize) -> Result<()> {
        let first = self.count;
        self.count += count;
        stream::iter(first..self.count)
            .map(|number| make(&self.world, number))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Power loss of all that is ours: every speaker and every controller.
    ///
    /// # Errors
    /// When one can not be killed.
    pub fn blackout(&mut self) -> Result<()> {
        let world = &mut self.world;
        for process in world.speakers.iter_mut().chain(&mut world.controllers) {
            process.kill()?;
        }
        Ok(())
    }

    /// The node that answers for each address, as heard on the wire: exactly one each, the one that the placement names first.
    ///
    /// # Errors
    /// When it does not become so in time.
    pub async fn holders(&self) -> Result<BTreeMap<IpAddr, usize>> {
        retry_until(
            SOON * 2,
            "every address to be answered for by its node",
            async || {
                let placed = self.placed().await?;
                let vips: Vec<IpAddr> = placed.keys().copied().collect();
                self.tap.forget();
                let questions = self.world.lab.question(Half::Main, &vips, QUESTION)?;
                tokio::time::sleep(QUESTION * 2).await;
                drop(questions);
                let answering = self.answering()?;
                let wrong = placed
                    .iter()
                    .find(|(vip, node)| answering.get(vip) != Some(&vec![**node]));
                if let Some((vip, node)) = wrong {
                    let seen = answering.get(vip);
                    let count = placed
                        .iter()
                        .filter(|(vip, node)| answering.get(vip) != Some(&vec![**node]))
                        .count();
                    anyhow::bail!(
                        "{count} wrong; {vip} is placed on node-{}, and {seen:?} answer",
                        node + 1
                    );
                }
                ensure!(
                    placed.len() == self.count,
                    "{} of {} placed",
                    placed.len(),
                    self.count
                );
                Ok(placed)
            },
        )
        .await
    }

    /// Power loss of a node; waits until all that it held has been announced by others.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn power_lost(&mut self, index: usize) -> Result<Taken> {
        let before = self.holders().await?;
        let orphans: Vec<IpAddr> = before
            .iter()
            .filter(|(_, node)| **node == index)
            .map(|(vip, _)| *vip)
            .collect();
        let node = self.world.lab.nodes.get(index).context("no such node")?;
        self.tap.forget();
        let began = now();
        node.cut()?;
        let speaker = self
            .world
            .speakers
            .get_mut(index)
            .context("no such speaker")?;
        speaker.kill()?;
        let times = retry_until(
            SOON,
            "every address to be announced by another node",
            async || {
                let announced = self.first_announcements(index);
                let left = orphans
                    .iter()
                    .filter(|vip| !announced.contains_key(vip))
                    .count();
                ensure!(left == 0, "{left} of {} are not", orphans.len());
                Ok(announced)
            },
        )
        .await?;
        tokio::time::sleep(BURST).await;
        let after = |vip: &IpAddr| times.get(vip).map(|at| at.saturating_sub(began));
        let seen = self.tap.seen();
        let announced = seen
            .iter()
            .filter(|it| it.way == Way::In && it.port.contains('-'));
        let announced = announced.filter_map(|it| match it.meaning {
            Meaning::Announces(vip, _) => before.get(&vip),
            _ => None,
        });
        let (mine, others): (Vec<usize>, Vec<usize>) = announced.partition(|node| **node == index);
        Ok(Taken {
            count: orphans.len(),
            first: orphans.iter().filter_map(after).min().unwrap_or_default(),
            last: orphans.iter().filter_map(after).max().unwrap_or_default(),
            announcements: mine.len() + others.len(),
            idle: others.len(),
        })
    }

    /// The node is back, with a speaker that knows the cluster.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn power_returns(&mut self, index: usize) -> Result<()> {
        self.world
            .lab
            .nodes
            .get(index)
            .context("no such node")?
            .heal()?;
        self.world
            .speakers
            .get_mut(index)
            .context("no such speaker")?
            .restart()?;
        super::fault::ready(&self.world, index).await?;
        tokio::time::sleep(super::AT_LEAST * 2).await; // for what it might take back
        Ok(())
    }

    /// The first node of each placement, by address.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn placed(&self) -> Result<BTreeMap<IpAddr, usize>> {
        let services: Api<Service> = Api::default_namespaced(self.world.cluster.client());
        let services = services.list(&ListParams::default()).await?;
        let entries = services.iter().filter_map(|service| {
            let first = service.annotations().get(L2_NODES)?.split(',').next()?;
            let node = self
                .world
                .lab
                .nodes
                .iter()
                .position(|node| node.name() == first)?;
            let ingress = service
                .status
                .as_ref()?
                .load_balancer
                .as_ref()?
                .ingress
                .as_ref()?;
            Some((ingress.first()?.ip.as_ref()?.parse().ok()?, node))
        });
        Ok(entries.collect())
    }

    /// Nodes that answered for each address since the tap was told to forget.
    fn answering(&self) -> Result<BTreeMap<IpAddr, Vec<usize>>> {
        let mut answering: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
        for frame in self.tap.seen() {
            if let (Way::In, Meaning::Answers(vip, mac)) = (frame.way, frame.meaning)
                && frame.port.starts_with("node-")
            {
                let node = self
                    .macs
                    .iter()
                    .position(|own| *own == mac)
                    .context("a station that is no node")?;
                let nodes = answering.entry(vip).or_default();
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
        }
        Ok(answering)
    }

    /// When each address was first announced by another node than this one, since the tap was told to forget.
    fn first_announcements(&self, dead: usize) -> BTreeMap<IpAddr, Duration> {
        let mut first = BTreeMap::new();
        for frame in self.tap.seen() {
            if let (Way::In, Meaning::Announces(vip, mac)) = (frame.way, frame.meaning)
                && self.macs.get(dead) != Some(&mac)
            {
                first.entry(vip).or_insert(frame.at);
            }
        }
        first
    }
}

/// Waits for the first report of every node: on a busy machine one may come later than the controller waits.
async fn all_report(world: &World) -> Result<()> {
    let reports: Api<NodeReport> = Api::all(world.cluster.client());
    retry_until(SOON, "a report of every node", async || {
        let known = reports.list(&ListParams::default()).await?.items;
        let links = known.iter().filter(|report| {
            let status = report.status.as_ref();
            status.is_some_and(|status| !status.interfaces.is_empty())
        });
        let (known, all) = (links.count(), world.lab.nodes.len());
        ensure!(known == all, "{known} of {all}");
        Ok(())
    })
    .await
}

/// One Service with one endpoint, IPv4 and IPv6 in turn.
async fn make(world: &World, number: usize) -> Result<()> {
    let name = format!("s-{number}");
    let family = if number.is_multiple_of(2) {
        "IPv4"
    } else {
        "IPv6"
    };
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    let object = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "type": "LoadBalancer", "ipFamilies": [family], "allocateLoadBalancerNodePorts": false,
            "ports": [{ "port": 80 }],
        },
    }))?;
    services
        .create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("creating {name}"))?;
    let node = world.lab.nodes.last().context("no node")?;
    let endpoint = Endpoint::at(node.host.address(), node.name());
    world
        .cluster
        .set_endpoints("default", &name, &[endpoint])
        .await
}
