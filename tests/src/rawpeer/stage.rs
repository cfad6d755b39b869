//! One node with one speaker, and a router with an address for every raw peer.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::peer::RawPeer;
use super::sentinel::{self, Sentinel};
use super::table::Settings;
use crate::kubernetes::{Endpoint, Face};
use crate::lab::{Dual, Layout};
use crate::world::{NODE_AS, POOL, Shape, World, service_yaml};

/// The AS of raw peers, unless their settings say otherwise.
pub const PEER_AS: u32 = 65_001;
/// The community on the route that every peer is told.
pub const COMMUNITY: (u16, u16) = (65_000, 100);

const ADVERTISEMENT: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BGPAdvertisement
metadata: { name: stage }
spec:
  communities: ['65000:100']
  serviceSelectors: [{ matchLabels: { stage: 'true' } }]
";

/// A running speaker whose neighbours are raw peers.
pub struct Stage {
    /// The cluster; dropping it ends everything.
    pub world: World,
    /// Addresses of the Service that every peer is told, IPv4 first.
    pub vips: Vec<IpAddr>,
    peers: u16,
}

impl Stage {
    /// Starts a speaker that announces one dual-stack Service and has no neighbour yet.
    ///
    /// # Errors
    /// When the world does not start.
    pub async fn set() -> Result<Self> {
        let layout = Layout {
            nodes: 1,
            routers: 1,
        };
        let world = World::start(Shape {
            layout,
            data_path: false,
            ..Shape::of(Face::Embedded)
        })
        .await?;
        let service = service_yaml("stage", "Cluster")
            .replace("name: stage,", "name: stage, labels: { stage: 'true' },");
        world
            .apply(&format!("{POOL}---{ADVERTISEMENT}---{service}"))
            .await?;
        let mut stage = Self {
            world,
            vips: Vec::new(),
            peers: 0,
        };
        stage.endpoint("stage").await?;
        stage.vips = stage.world.vips("stage", 2).await?;
        stage.vips.sort_unstable();
        Ok(stage)
    }

    /// Gives a Service a ready endpoint on the node; no traffic will reach it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn endpoint(&self, service: &str) -> Result<()> {
        let node = self.world.lab.nodes.first().context("no node")?;
        let endpoints = [Endpoint::without_pod(node.name())];
        self.world
            .cluster
            .set_endpoints("default", service, &endpoints)
            .await
    }

    /// Adds neighbours: their addresses and listeners first, then all BGPPeers at once.
    ///
    /// # Errors
    /// When the kernel or the API server refuses.
    pub async fn peers(&mut self, settings: &[Settings]) -> Result<Vec<RawPeer>> {
        let (mut peers, mut lines, mut yaml) = (Vec::new(), Vec::new(), String::new());
        let router = self.world.lab.routers.first().context("no router")?;
        let node = self.world.lab.nodes.first().context("no node")?;
        let places: Vec<(IpAddr, IpAddr)> = settings
            .iter()
            .zip(self.peers..)
            .map(|(setting, place)| place_of(setting.v6, place, node.host.address()))
            .collect();
        self.peers += u16::try_from(settings.len()).context("too many peers")?;
        for (address, _) in &places {
            let length = if address.is_ipv4() { "16" } else { "64 nodad" };
            lines.push(format!("addr add {address}/{length} dev eth0"));
        }
        router.netns().ip(&lines)?;
        for (setting, (address, speaker)) in settings.iter().zip(places) {
            let name = format!("raw-{address}").replace([':', '.'], "-");
            let listener = RawPeer::listen(router.netns(), address)?;
            write!(yaml, "---{}", setting.yaml(&name, address, NODE_AS))?;
            peers.push(RawPeer {
                name,
                asn: setting.asn,
                address,
                node: speaker,
                vips: self.vips.clone(),
                node_name: node.name().to_owned(),
                client: self.world.cluster.client(),
                netns: router.netns().clone(),
                listener,
            });
        }
        self.world.apply(&yaml).await?;
        Ok(peers)
    }

    /// Posts a sentinel.
    ///
    /// # Errors
    /// When its session does not come up.
    pub async fn sentinel(&mut self) -> Result<Sentinel> {
        let settings = Settings::with(sentinel::PACE);
        let peer = self
            .peers(&[settings])
            .await?
            .pop()
            .context("no sentinel")?;
        let speaker = self.world.speakers.first().context("no speaker")?;
        Sentinel::post(peer, speaker.pid()).await
    }
}

/// The address of the peer with this number, and the speaker's of the same family.
fn place_of(v6: bool, number: u16, node: Dual) -> (IpAddr, IpAddr) {
    if v6 {
        let address = Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0x100, number);
        (address.into(), node.v6.into())
    } else {
        let [high, low] = number.to_be_bytes();
        (
            Ipv4Addr::new(172, 30, 100 + high, low).into(),
            node.v4.into(),
        )
    }
}
