//! What runs: the world of the scenarios, FRR on its router, and the power cord of every node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use portolan_tests::kubernetes::Cluster;
use portolan_tests::lab::router::{Frr, Neighbour, RouterConfig};
use portolan_tests::lab::{Host, Lab, Layout, Node};
use portolan_tests::world::{NODE_AS, ROUTER_AS, Shape, World};

use crate::endpoints::Endpoints;

/// Three nodes, so that two are left.
pub(crate) const LAYOUT: Layout = Layout {
    nodes: 3,
    routers: 1,
};
/// Of the router's sessions; the same as in objects.yaml.
pub(crate) const HOLD_TIME: Duration = Duration::from_secs(3);

/// Everything, in the order in which it is taken down.
pub(crate) struct Stage {
    pub(crate) frr: Frr,
    pub(crate) endpoints: Endpoints,
    pub(crate) world: World,
}

impl Stage {
    /// Nodes, pods, controller and speakers around a network and an API server.
    pub(crate) async fn populate(lab: Lab, cluster: Cluster) -> Result<World> {
        let shape = Shape {
            layout: LAYOUT,
            ..Shape::of(cluster.face())
        };
        World::around(lab, cluster, shape).await
    }

    /// The router waits for two sessions from every node, one per family.
    pub(crate) async fn start_router(lab: &Lab) -> Result<Frr> {
        let router = lab.routers.first().context("the lab has no router")?;
        let addresses = lab.nodes.iter().flat_map(|node| node.host.address().both());
        let neighbours = addresses.map(|address| Neighbour::at(address, NODE_AS).passive());
        let mut config = RouterConfig::new(ROUTER_AS, router.address().v4, neighbours.collect());
        config.hold_time = u16::try_from(HOLD_TIME.as_secs())?;
        Frr::start(router, &config).await
    }

    /// The router, for what its kernel knows.
    pub(crate) fn router(&self) -> Result<&Host> {
        let router = self.world.lab.routers.first();
        router.context("the lab has no router")
    }

    /// The client behind the router.
    pub(crate) fn client(&self) -> Result<&Host> {
        let client = self.world.lab.clients.first();
        client.context("the lab has no client")
    }

    /// The client on the nodes' own LAN.
    pub(crate) fn lan_client(&self) -> &Host {
        &self.world.lab.lan_client
    }

    /// Name of the node that has this address on the LAN.
    pub(crate) fn node_at(&self, address: IpAddr) -> Option<&str> {
        let mut nodes = self.world.lab.nodes.iter();
        let node = nodes.find(|node| node.host.address().of_family(address) == address);
        node.map(Node::name)
    }

    /// Name of the node whose `eth0` has this hardware address.
    pub(crate) fn node_with_mac(&self, mac: &str) -> Result<Option<&str>> {
        for node in &self.world.lab.nodes {
            if node.host.mac("eth0")? == mac {
                return Ok(Some(node.name()));
            }
        }
        Ok(None)
    }

    /// The node that the client on the LAN sends packets for this address to, as its kernel believes.
    pub(crate) fn believed_answerer(&self, vip: IpAddr) -> Result<Option<&str>> {
        let neighbours = self.lan_client().neighbours()?;
        let entry = neighbours.into_iter().find(|entry| entry.address == vip);
        match entry.and_then(|entry| entry.mac) {
            Some(mac) => self.node_with_mac(&mac),
            None => Ok(None),
        }
    }

    /// Addresses of the nodes with power, in the family of `like`, sorted.
    pub(crate) fn hops(&self, like: IpAddr, nodes: &[&str]) -> BTreeSet<IpAddr> {
        let nodes = self
            .world
            .lab
            .nodes
            .iter()
            .filter(|node| nodes.contains(&node.name()));
        nodes
            .map(|node| node.host.address().of_family(like))
            .collect()
    }

    /// Power loss: cables dead, then everything on the node killed. What follows by itself in a real cluster, after 40 to
    /// 50 seconds, is written at once: node not ready, its endpoints neither.
    pub(crate) async fn cut(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let world = &mut self.world;
        world.lab.nodes.get(index).context("no such node")?.cut()?;
        let speaker = world.speakers.get_mut(index);
        speaker.context("no such speaker")?.kill()?;
        self.endpoints.lost.insert(name.to_owned());
        self.endpoints.sync(&self.world).await?;
        self.world.cluster.mark_node_lost(name).await
    }

    /// Power comes back: cables, speaker, pods.
    pub(crate) async fn heal(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let world = &mut self.world;
        let node = world.lab.nodes.get(index).context("no such node")?;
        node.heal()?;
        world.cluster.create_node(node).await?;
        let speaker = world.speakers.get_mut(index);
        speaker.context("no such speaker")?.restart()?;
        self.endpoints.lost.remove(name);
        self.endpoints.sync(&self.world).await?;
        Ok(())
    }

    fn index(&self, name: &str) -> Result<usize> {
        let nodes = &self.world.lab.nodes;
        let index = nodes.iter().position(|node| node.name() == name);
        index.with_context(|| format!("no node {name}"))
    }
}
