//! What happens to the node that answers, and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::SOON;
use crate::lab::{Link, Loss, retry_until};
use crate::world::World;

/// How long a port that flaps has no carrier.
const FLAP: Duration = Duration::from_millis(500);

/// What happens to the node that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; the node goes on forwarding.
    SpeakerKilled,
    /// Both cables and all programs.
    PowerLost,
    /// The LAN cable; the node sees its carrier go, and reaches the API server.
    CableLost,
    /// The LAN delivers nothing in either direction, with carrier.
    SilentlyCut,
    /// Nobody hears the node on the LAN, it hears everybody.
    SentLost,
    /// The node hears nobody on the LAN, everybody hears it.
    ReceivedLost,
    /// The switch's port goes down for half a second.
    PortFlap,
    /// Power, while nobody reaches the API server.
    PowerLostWithoutApi,
    /// Power, while no controller runs.
    PowerLostWithoutController,
    /// Cordoned, as `kubectl drain` does first.
    Drained,
    /// SIGTERM.
    Stopped,
    /// All speakers are stopped and started, one after the other, each when the one before is ready.
    Upgrade,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SpeakerKilled,
        Self::PowerLost,
        Self::CableLost,
        Self::SilentlyCut,
        Self::SentLost,
        Self::ReceivedLost,
        Self::PortFlap,
        Self::PowerLostWithoutApi,
        Self::PowerLostWithoutController,
        Self::Drained,
        Self::Stopped,
        Self::Upgrade,
    ];

    /// In the words of a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SpeakerKilled => "speaker SIGKILL",
            Self::PowerLost => "power loss",
            Self::CableLost => "LAN cable only",
            Self::SilentlyCut => "LAN lost, with carrier",
            Self::SentLost => "what it sends is lost",
            Self::ReceivedLost => "what it should hear is lost",
            Self::PortFlap => "switch port down for 500 ms",
            Self::PowerLostWithoutApi => "power loss, API server down",
            Self::PowerLostWithoutController => "power loss, no controller",
            Self::Drained => "drain",
            Self::Stopped => "orderly stop",
            Self::Upgrade => "upgrade of all speakers",
        }
    }

    /// Whether somebody else must answer after it.
    #[must_use]
    pub fn moves(self) -> bool {
        !matches!(self, Self::PortFlap | Self::Upgrade)
    }

    /// Whether the node is told before: nothing need be lost then.
    #[must_use]
    pub fn is_orderly(self) -> bool {
        matches!(self, Self::Drained | Self::Stopped | Self::Upgrade)
    }

    /// What has to be so before it happens.
    pub(super) async fn prepare(self, world: &mut World) -> Result<()> {
        match self {
            Self::PowerLostWithoutApi => world.cluster.stop_api().await,
            Self::PowerLostWithoutController => {
                for controller in &mut world.controllers {
                    controller.kill()?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// It happens.
    pub(super) async fn strike(self, world: &mut World, index: usize) -> Result<()> {
        let node = world.lab.nodes.get(index).context("no such node")?;
        let speaker = world.speakers.get_mut(index).context("no such speaker")?;
        match self {
            Self::SpeakerKilled => speaker.kill().map(drop),
            Self::PowerLost | Self::PowerLostWithoutApi | Self::PowerLostWithoutController => {
                node.cut()?;
                speaker.kill().map(drop)
            }
            Self::CableLost => node.host.unplug(Link::Lan),
            Self::SilentlyCut => node.host.lose(Link::Lan, Loss::Both),
            Self::SentLost => node.host.lose(Link::Lan, Loss::Sent),
            Self::ReceivedLost => node.host.lose(Link::Lan, Loss::Received),
            Self::PortFlap => {
                node.host.unplug(Link::Lan)?;
                tokio::time::sleep(FLAP).await;
                node.host.plug(Link::Lan)
            }
            Self::Drained => cordon(world, index, true).await,
            Self::Stopped => speaker.stop(SOON).await.map(drop),
            Self::Upgrade => upgrade(world).await,
        }
    }

    /// It is over.
    pub(super) async fn heal(self, world: &mut World, index: usize) -> Result<()> {
        match self {
            Self::PowerLostWithoutApi => world.cluster.start_api().await?,
            Self::PowerLostWithoutController => {
                for controller in &mut world.controllers {
                    controller.restart()?;
                }
            }
            _ => {}
        }
        let node = world.lab.nodes.get(index).context("no such node")?;
        let speaker = world.speakers.get_mut(index).context("no such speaker")?;
        match self {
            Self::SpeakerKilled | Self::Stopped => speaker.restart(),
            Self::PowerLost | Self::PowerLostWithoutApi | Self::PowerLostWithoutController => {
                node.heal()?;
                speaker.restart()
            }
            Self::CableLost => node.host.plug(Link::Lan),
            Self::SilentlyCut | Self::SentLost | Self::ReceivedLost => node.host.deliver(Link::Lan),
            Self::Drained => cordon(world, index, false).await,
            Self::PortFlap | Self::Upgrade => Ok(()),
        }
    }
}

async fn cordon(world: &World, index: usize, unschedulable: bool) -> Result<()> {
    let name = world.lab.nodes.get(index).context("no such node")?.name();
    let nodes: Api<Node> = Api::all(world.cluster.client());
    let patch = Patch::Merge(json!({ "spec": { "unschedulable": unschedulable } }));
    let patched = nodes.patch(name, &PatchParams::default(), &patch).await;
    patched
        .map(drop)
        .with_context(|| format!("cordoning {name}"))
}

/// As a DaemonSet with `maxUnavailable: 1` is rolled.
async fn upgrade(world: &mut World) -> Result<()> {
    for index in 0..world.speakers.len() {
        let speaker = world.speakers.get_mut(index).context("no such speaker")?;
        speaker.stop(SOON).await?;
        speaker.restart()?;
        ready(world, index).await?;
    }
    Ok(())
}

/// Waits until the speaker of a node says that it is ready.
pub(super) async fn ready(world: &World, index: usize) -> Result<()> {
    let node = world.lab.nodes.get(index).context("no such node")?;
    let address = node.host.management().context("a node is managed")?;
    let at = SocketAddr::new(address.into(), 7472);
    retry_until(
        SOON,
        &format!("the speaker of {} to be ready", node.name()),
        async || {
            let (status, body) = super::page::get(at, "/readyz").await?;
            ensure!(status == 200, "it says {status}: {body}");
            Ok(())
        },
    )
    .await
}
