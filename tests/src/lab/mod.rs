//! A data centre made of network namespaces: nodes, routers, clients and the switch between them.
//!
//! ```text
//!   client-1 ───── router-1 ──┐                        203.0.113.0/28, 2001:db8:1::/64
//!   client-2 ───── router-2 ──┤
//!                             │ lan  172.30.0.0/16, fd00:30::/64
//!   lan-client ───────────────┼──────┬──────┐          (`eth0` everywhere)
//!                             │      │      │
//!                          node-1  node-2  node-3      pods behind each: 10.244.N.0/24, fd00:244:0:N::/64
//!                             │      │      │          (`mgmt0`)
//!   root namespace ───────────┴──────┴──────┘ mgmt 198.18.S.0/24
//! ```
//!
//! Both bridges live in a namespace of their own, `switch`; a cable is cut there, so that the host at its other
//! end sees its carrier go. API servers and controllers run in the root namespace and listen on
//! [`Lab::management`]. The subnets on the inside are the same in every lab; only the management network is
//! visible outside of it and takes the number S of the [slot](slot) that the lab holds. So any number of labs run
//! side by side, and what a crashed one left behind is swept when the next one starts.

mod address;
mod capture;
mod command;
mod fault;
mod flows;
pub mod frames;
mod host;
mod netns;
mod node;
mod observe;
mod pod;
mod probe;
mod process;
pub mod proxy;
mod pulse;
mod retry;
pub mod router;
mod slot;
mod station;
mod tap;
mod tenure;
mod wire;
mod wiring;

pub use address::Dual;
pub use capture::Capture;
pub use command::{Tool, require, run};
pub use fault::{Half, Loss};
pub use flows::{Flows, Passage};
pub use host::{Host, Link};
pub use netns::Netns;
pub use node::Node;
pub use observe::Neighbour;
pub use pod::Pod;
pub use probe::{Answer, Attempt, Prober, Report, get};
pub use process::{Ended, Process, Program};
pub use pulse::{Beat, Pulse, Rhythm};
pub use retry::retry_until;
pub use station::{Questioner, Station};
pub use tap::{Seen, Tap, now};
pub use tenure::{Claim, Tenure, last_claimant, longest_overlap, longest_silence, tenures};
pub use wire::Way;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use slot::Slot;

/// How many of each kind a lab has.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Nodes on the LAN, 1 to 100.
    pub nodes: u8,
    /// Routers on the LAN, 1 to 8, each with a client of its own behind it. Nodes use the first as default gateway.
    pub routers: u8,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            nodes: 2,
            routers: 1,
        }
    }
}

/// A running lab. Dropping it ends every process inside and removes every trace; when the drop happens because
/// a test panics, or when `PORTOLAN_LAB_KEEP` is set, the files are kept and their directory is printed.
pub struct Lab {
    /// `node-1`, `node-2`, …: where speakers run.
    pub nodes: Vec<Node>,
    /// `router-1`, …: where FRR, BIRD and GoBGP run.
    pub routers: Vec<Host>,
    /// `client-1`, …: outside the cluster, behind the router of the same number.
    pub clients: Vec<Host>,
    /// A client on the nodes' own LAN, for layer 2.
    pub lan_client: Host,
    /// The root namespace, where API servers and controllers run.
    pub outside: Host,
    switch: Netns,
    site: Arc<Site>,
}

/// What all hosts of one lab share; the last one to go removes it.
pub(crate) struct Site {
    pub(crate) slot: Slot,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Site {
    /// Where the lab's own small servers run, so that a test that blocks its thread does not stop them.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // the plain drop would panic inside another runtime
        }
    }
}

impl Lab {
    /// Sweeps what dead labs left behind, then builds this one. Takes a few hundred milliseconds.
    ///
    /// # Errors
    /// Without root, without a tool (the error names the Debian package), or when the kernel refuses a link.
    pub fn start(layout: Layout) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the lab makes network namespaces: run it as root"
        );
        ensure!(
            (1..=100).contains(&layout.nodes),
            "a lab has 1 to 100 nodes, not {}",
            layout.nodes
        );
        ensure!(
            (1..=8).contains(&layout.routers),
            "a lab has 1 to 8 routers, not {}",
            layout.routers
        );
        for tool in [Tool::IP, Tool::SETPRIV, Tool::TIMEOUT] {
            require(tool)?;
        }
        let slot = Slot::take()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab")
            .enable_all()
            .build()
            .context("starting the lab's runtime")?;
        wiring::build(
            Arc::new(Site {
                slot,
                runtime: Some(runtime),
            }),
            layout,
        )
    }

    /// This lab's address on the management network, reachable from the root namespace and from every node.
    #[must_use]
    pub fn management(&self) -> Ipv4Addr {
        address::management(self.site.slot.number(), 1)
    }

    /// The link of the root namespace on the management network.
    #[must_use]
    pub fn uplink(&self) -> String {
        self.site.slot.uplink()
    }

    /// Next hops of the kernel's route of a router for exactly this prefix, sorted. A router that was told both addresses of
    /// an IPv6 next hop may use the link-local one (RFC 2545 §3): here stands the address that its node has on the LAN.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn kernel_hops(&self, router: &Host, prefix: IpNetwork) -> Result<Vec<IpAddr>> {
        let hops = router.kernel_route(prefix)?.into_iter();
        let mut hops = hops
            .map(|hop| self.on_lan(hop))
            .collect::<Result<Vec<_>>>()?;
        hops.sort_unstable();
        Ok(hops)
    }

    /// As [`Self::kernel_hops`], with the weight of each; empty when there is only one.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn kernel_weights(&self, router: &Host, prefix: IpNetwork) -> Result<Vec<(IpAddr, u32)>> {
        let hops = observe::kernel_weights(router.netns(), prefix)?.into_iter();
        let hops = hops.map(|(hop, weight)| Ok((self.on_lan(hop)?, weight)));
        let mut hops = hops.collect::<Result<Vec<_>>>()?;
        hops.sort_unstable();
        Ok(hops)
    }

    /// The LAN address of the node that has this link-local one; others as they are.
    fn on_lan(&self, hop: IpAddr) -> Result<IpAddr> {
        let IpAddr::V6(local) = hop else {
            return Ok(hop);
        };
        for node in self.nodes.iter().filter(|_| local.is_unicast_link_local()) {
            if node.host.link_local()? == Some(local) {
                return Ok(node.host.address().v6.into());
            }
        }
        Ok(hop)
    }

    /// Records every ARP and NDP frame at every port of the switch.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn tap(&self) -> Result<Tap> {
        Tap::start(&self.switch)
    }

    /// Records which nodes the packets of each connection to this port are brought to.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn flows(&self, port: u16) -> Result<Flows> {
        Flows::start(&self.switch, port)
    }

    /// Asks everybody on this half of the LAN who has these addresses, `every` so often, until the questioner is dropped:
    /// from the switch itself, so that no host is told anything by the answers.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn question(&self, half: Half, vips: &[IpAddr], every: Duration) -> Result<Questioner> {
        let from = address::lan(address::QUESTIONER);
        Station::open(&self.switch, half.bridge())?.question(from, vips.to_vec(), every)
    }

    /// The switch falls in two: these hosts hear each other, and nobody else, on the LAN. No carrier goes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn part(&self, hosts: &[&Host]) -> Result<()> {
        fault::move_ports(&self.switch, hosts, Half::Apart)
    }

    /// The switch is one again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn join(&self, hosts: &[&Host]) -> Result<()> {
        fault::move_ports(&self.switch, hosts, Half::Main)
    }

    /// The directory of this lab's files: configurations, sockets and logs, one folder per host.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.site.slot.directory()
    }
}
