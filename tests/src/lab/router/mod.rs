//! Real routers behind one face: what to configure, and what they learned.
//!
//! The same scenario runs against every [`Router`]. What one of them can do beyond the others (FRR's vty, BIRD's
//! reload) stays on its own type.

mod bird;
mod config;
mod exabgp;
mod exabgp_json;
mod frr;
mod frr_json;
mod gobgp;
mod openbgpd;

pub use bird::Bird;
pub use config::{Bfd, Neighbour, Remote, RouterConfig};
pub use exabgp::Exabgp;
pub use frr::Frr;
pub use gobgp::Gobgp;
pub use openbgpd::Openbgpd;

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::lab::Host;

/// One way to a prefix in a router's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Where to send packets: the global address for IPv6.
    pub next_hop: Option<IpAddr>,
    /// Who announced it.
    pub peer: Option<IpAddr>,
    /// `AS_PATH`, flat.
    pub as_path: Vec<u32>,
    /// Standard communities as `65000:1` (well-known ones in numbers as well), sorted.
    pub communities: Vec<String>,
    /// Large communities as `65000:1:2`, sorted.
    pub large_communities: Vec<String>,
    /// `LOCAL_PREF`; routers show their default for eBGP, or nothing.
    pub local_pref: Option<u32>,
    /// `MULTI_EXIT_DISC`; OpenBGPD shows 0 for none.
    pub med: Option<u32>,
    /// Bytes per second of the link bandwidth community (draft-ietf-idr-link-bandwidth).
    pub link_bandwidth: Option<u64>,
}

/// One BGP session as the router sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The neighbour.
    pub peer: IpAddr,
    /// In the words of RFC 4271 §8.2.2: `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm`, `Established`.
    pub state: String,
    /// How often it was established; None where the router does not count.
    pub established_count: Option<u64>,
    /// UPDATE messages received on this session, or since the router started.
    pub updates: u64,
}

impl Session {
    /// Whether routes flow.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == "Established"
    }
}

/// The daemons that the lab has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Daemon {
    /// `FRRouting`
    Frr,
    /// BIRD 2
    Bird,
    /// `GoBGP`
    Gobgp,
    /// `ExaBGP`
    Exabgp,
    /// `OpenBGPD`
    Openbgpd,
}

impl Daemon {
    /// All of them, FRR first.
    pub const ALL: [Self; 5] = [
        Self::Frr,
        Self::Bird,
        Self::Gobgp,
        Self::Exabgp,
        Self::Openbgpd,
    ];

    /// As [`Router::name`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frr => "FRR",
            Self::Bird => "BIRD",
            Self::Gobgp => "GoBGP",
            Self::Exabgp => "ExaBGP",
            Self::Openbgpd => "OpenBGPD",
        }
    }

    /// Starts this daemon on a host.
    ///
    /// # Errors
    /// When it is missing or does not come up.
    pub async fn start(self, host: &Host, config: &RouterConfig) -> Result<Box<dyn Router>> {
        Ok(match self {
            Self::Frr => Box::new(Frr::start(host, config).await?),
            Self::Bird => Box::new(Bird::start(host, config).await?),
            Self::Gobgp => Box::new(Gobgp::start(host, config).await?),
            Self::Exabgp => Box::new(Exabgp::start(host, config).await?),
            Self::Openbgpd => Box::new(Openbgpd::start(host, config).await?),
        })
    }
}

/// A routing daemon that speaks BGP.
pub trait Router {
    /// `FRR`, `BIRD`, `GoBGP`, `ExaBGP`, `OpenBGPD`.
    fn name(&self) -> &'static str;

    /// Whether it writes what it learns into the kernel; FRR and BIRD do, the others only keep it.
    fn has_fib(&self) -> bool;

    /// All paths to exactly this prefix, by next hop. Empty when it knows none.
    ///
    /// # Errors
    /// When the daemon does not answer, or in words that we do not understand.
    fn rib(&self, prefix: IpNetwork) -> Result<Vec<Path>>;

    /// All prefixes learned by BGP, both families, sorted.
    ///
    /// # Errors
    /// As [`Self::rib`].
    fn prefixes(&self) -> Result<Vec<IpNetwork>>;

    /// All its neighbours, configured or accepted, by address.
    ///
    /// # Errors
    /// As [`Self::rib`].
    fn sessions(&self) -> Result<Vec<Session>>;

    /// Asks a neighbour to send all its routes again (RFC 2918).
    ///
    /// # Errors
    /// When the daemon does not take the command.
    fn refresh(&self, peer: IpAddr) -> Result<()>;

    /// How many of its BFD sessions are up; FRR and BIRD have some.
    ///
    /// # Errors
    /// As [`Self::rib`].
    fn bfd_up(&self) -> Result<usize> {
        Ok(0)
    }

    /// What the daemon logged.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn log(&self) -> Result<String>;

    /// Next hops of the paths to a prefix, sorted.
    ///
    /// # Errors
    /// As [`Self::rib`].
    fn next_hops(&self, prefix: IpNetwork) -> Result<Vec<IpAddr>> {
        let mut hops: Vec<IpAddr> = self
            .rib(prefix)?
            .into_iter()
            .filter_map(|path| path.next_hop)
            .collect();
        hops.sort_unstable();
        Ok(hops)
    }
}

/// In an order that does not depend on who announced first.
fn sorted(mut paths: Vec<Path>) -> Vec<Path> {
    paths.sort_by_key(|path| path.next_hop);
    paths
}

/// The standard community of a number, as `65000:1`.
fn community(number: u32) -> String {
    format!("{}:{}", number >> 16, number & 0xffff)
}

/// Well-known communities have names in the output of FRR and BIRD; tests compare numbers (IANA registry).
fn community_number(name: &str) -> String {
    match name {
        "graceful-shutdown" | "gracefulShutdown" | "graceful_shutdown" | "GRACEFUL_SHUTDOWN" => {
            community(0xffff_0000)
        }
        "blackhole" | "BLACKHOLE" => community(0xffff_029a),
        "no-export" | "noExport" | "no_export" | "NO_EXPORT" => community(0xffff_ff01),
        "no-advertise" | "noAdvertise" | "no_advertise" | "NO_ADVERTISE" => community(0xffff_ff02),
        "local-AS" | "localAs" | "no_export_subconfed" | "NO_EXPORT_SUBCONFED" => {
            community(0xffff_ff03)
        }
        "no-peer" | "noPeer" | "NO_PEER" => community(0xffff_ff04),
        other => other.to_owned(),
    }
}

/// The value of a link bandwidth community from its eight octets (draft-ietf-idr-link-bandwidth §3); None for others.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole bytes per second are precise enough"
)]
fn link_bandwidth(octets: u64) -> Option<u64> {
    let [kind, subtype, _, _, value @ ..] = octets.to_be_bytes();
    matches!((kind, subtype), (0x00 | 0x40, 0x04))
        .then(|| f32::from_be_bytes(value).round().max(0.0) as u64)
}
