//! What breaks between a host and the switch without either of them seeing its carrier go, and a switch that falls in two.
//!
//! Losses are nftables rules on the switch's end of a cable, on its way in or out (netem is not in every kernel). The
//! two halves of a switch are two bridges: a port that moves from one to the other keeps its carrier.

use anyhow::Result;

use super::host::{Host, Link};
use super::netns::Netns;
use super::station::Station;

/// Which frames of a host a cable loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Those that it sends: it hears everybody, nobody hears it.
    Sent,
    /// Those that it should receive: everybody hears it, it hears nobody.
    Received,
    /// All.
    Both,
}

/// Half of a switch that fell in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Where everybody is who was not taken away: the whole switch, while it is one.
    Main,
    /// Where [`Lab::part`](super::Lab::part) moves hosts.
    Apart,
}

impl Half {
    /// The bridge that it is.
    pub(super) fn bridge(self) -> &'static str {
        match self {
            Self::Main => "lan",
            Self::Apart => "island",
        }
    }
}

impl Host {
    /// The cable loses frames from now on; what it lost before is delivered again.
    ///
    /// # Errors
    /// When the host has no such cable, or `nft` is missing.
    pub fn lose(&self, link: Link, loss: Loss) -> Result<()> {
        let port = self.port(link);
        let chain = |hook: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} device \"{port}\" priority 0; policy drop; }}\n"
            )
        };
        let chains = match loss {
            Loss::Sent => chain("ingress"),
            Loss::Received => chain("egress"),
            Loss::Both => chain("ingress") + &chain("egress"),
        };
        self.set_losses(link, &chains)
    }

    /// The cable delivers everything again.
    ///
    /// # Errors
    /// When the host has no such cable, or `nft` is missing.
    pub fn deliver(&self, link: Link) -> Result<()> {
        self.set_losses(link, "")
    }

    /// Declared before it is deleted, because deleting what is not there fails.
    fn set_losses(&self, link: Link, chains: &str) -> Result<()> {
        let table = format!("netdev {}", self.port(link));
        let text = format!("table {table}\ndelete table {table}\ntable {table} {{\n{chains}}}\n");
        self.switch()
            .exec_with_input(&["nft", "-f", "-"], &text)
            .map(drop)
    }

    /// Sends frames as they are on a link of this host.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn station(&self, link: &str) -> Result<Station> {
        Station::open(self.netns(), link)
    }
}

/// Moves the LAN ports of hosts to the other half of the switch, or back.
pub(super) fn move_ports(switch: &Netns, hosts: &[&Host], half: Half) -> Result<()> {
    let bridge = half.bridge();
    let lines = hosts
        .iter()
        .map(|host| format!("link set {} master {bridge}", host.port(Link::Lan)));
    switch.ip(&lines.collect::<Vec<_>>())
}
