//! Real routers behind one face: what to configure, and what they learned.
//!
//! The same scenario runs against every [`Router`]. What one of them can do beyond the others (FRR's vty, BIRD's
//! reload) stays on its own type.

mod bird;
mod config;
mod frr;
mod frr_json;
mod gobgp;

pub use bird::Bird;
pub use config::{Neighbour, Remote, RouterConfig};
pub use frr::Frr;
pub use gobgp::Gobgp;

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

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
    /// `MULTI_EXIT_DISC`
    pub med: Option<u32>,
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
}

impl Session {
    /// Whether routes flow.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == "Established"
    }
}

/// A routing daemon that speaks BGP.
pub trait Router {
    /// `FRR`, `BIRD`, `GoBGP`.
    fn name(&self) -> &'static str;

    /// Whether it writes what it learns into the kernel; GoBGP alone only keeps it.
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
        "graceful-shutdown" | "gracefulShutdown" | "graceful_shutdown" => community(0xffff_0000),
        "blackhole" => community(0xffff_029a),
        "no-export" | "noExport" | "no_export" => community(0xffff_ff01),
        "no-advertise" | "noAdvertise" | "no_advertise" => community(0xffff_ff02),
        "local-AS" | "localAs" | "no_export_subconfed" => community(0xffff_ff03),
        "no-peer" | "noPeer" => community(0xffff_ff04),
        other => other.to_owned(),
    }
}
