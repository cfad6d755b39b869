//! A host of the lab: a namespace with addresses, programs running in it, and cables that can be cut.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use portolan_proto::ethernet::MacAddr;

use super::address::Dual;
use super::capture::Capture;
use super::netns::Netns;
use super::observe::{self, Neighbour};
use super::probe::{self, Answer, Manner, Prober};
use super::process::{Process, Program};
use super::pulse::Pulse;
use super::wiring::switch_port;
use super::{Site, slot};

/// A cable between a host and a bridge of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// `eth0`: the LAN of nodes and routers.
    Lan,
    /// `mgmt0`: the way to the API server.
    Management,
}

impl Link {
    fn bridge(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Management => "mgmt",
        }
    }
}

/// A node, a router, a client, or the root namespace.
pub struct Host {
    name: String,
    netns: Netns,
    switch: Netns,
    lan: Option<Dual>,
    management: Option<Ipv4Addr>,
    directory: PathBuf,
    site: Arc<Site>,
}

impl Host {
    pub(super) fn new(
        site: &Arc<Site>,
        name: &str,
        netns: Netns,
        switch: &Netns,
        lan: Option<Dual>,
        management: Option<Ipv4Addr>,
    ) -> Result<Self> {
        let directory = site.slot.directory().join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let (name, site) = (name.to_owned(), Arc::clone(site));
        Ok(Self {
            name,
            netns,
            switch: switch.clone(),
            lan,
            management,
            directory,
            site,
        })
    }

    /// `node-1`, `router-1`, `client-1`, `lan-client`, `outside`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where its programs keep their files and logs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its addresses on `eth0`: the LAN, for a client the network behind its router. Unspecified for the root
    /// namespace, which is on no LAN.
    #[must_use]
    pub fn address(&self) -> Dual {
        self.lan.unwrap_or(Dual {
            v4: Ipv4Addr::UNSPECIFIED,
            v6: Ipv6Addr::UNSPECIFIED,
        })
    }

    /// Its address on the management network: nodes and the root namespace have one.
    #[must_use]
    pub fn management(&self) -> Option<Ipv4Addr> {
        self.management
    }

    pub(super) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Starts a program here; its log goes to [`Self::directory`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, program: Program) -> Result<Process> {
        Process::start(&self.netns, &self.directory, program)
    }

    /// Runs a command here and returns its standard output.
    ///
    /// # Errors
    /// As [`run`](super::run).
    pub fn exec<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<String> {
        self.netns.exec(argv)
    }

    /// Asks a pod's server at `to` from here: one request on a connection of its own.
    ///
    /// # Errors
    /// No connection, no answer, or not that of a [`Pod`](super::Pod), within `limit`.
    pub async fn get(&self, to: SocketAddr, limit: Duration) -> Result<Answer> {
        self.netns.block_on(move || probe::get(to, limit)).await?
    }

    /// Asks `to` every `interval` until told to stop; an answer later than `limit` counts as none.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn probe(&self, to: SocketAddr, interval: Duration, limit: Duration) -> Result<Prober> {
        let manner = Manner {
            every: interval,
            pause: Duration::ZERO,
            limit,
        };
        Prober::start(&self.netns, to, manner)
    }

    /// As [`Self::probe`], with a pause in the middle of each question.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn dawdle(
        &self,
        to: SocketAddr,
        interval: Duration,
        pause: Duration,
        limit: Duration,
    ) -> Result<Prober> {
        let manner = Manner {
            every: interval,
            pause,
            limit,
        };
        Prober::start(&self.netns, to, manner)
    }

    /// Sends a datagram to a pod's server at `to` every so often, until told to stop.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn pulse(&self, to: SocketAddr, every: Duration) -> Result<Pulse> {
        Pulse::start(&self.netns, to, every)
    }

    /// Next hops of the kernel's route for exactly this prefix, sorted; empty without a route.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn kernel_route(&self, prefix: IpNetwork) -> Result<Vec<IpAddr>> {
        observe::kernel_route(&self.netns, prefix)
    }

    /// Its link-local address on `eth0`.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn link_local(&self) -> Result<Option<Ipv6Addr>> {
        observe::link_local(&self.netns, "eth0")
    }

    /// The kernel's ARP and NDP entries.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn neighbours(&self) -> Result<Vec<Neighbour>> {
        observe::neighbours(&self.netns)
    }

    /// The hardware address of one of its links, as `ip` writes it.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn mac(&self, link: &str) -> Result<String> {
        observe::mac(&self.netns, link)
    }

    /// As [`Self::mac`], as the six octets that it is.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn hardware_address(&self, link: &str) -> Result<MacAddr> {
        let text = self.mac(link)?;
        let octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16));
        let octets = octets
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| text.clone())?;
        let octets = octets.try_into().ok();
        octets
            .map(MacAddr)
            .with_context(|| format!("{text} is no Ethernet address"))
    }

    /// Records frames on a link that match a tcpdump filter; returns once tcpdump listens.
    ///
    /// # Errors
    /// When tcpdump is missing or refuses the filter.
    pub async fn capture(&self, link: &str, filter: &str) -> Result<Capture> {
        Capture::start(self, link, filter).await
    }

    /// Pulls a cable: the host sees its carrier go.
    ///
    /// # Errors
    /// When the host has no such cable.
    pub fn unplug(&self, link: Link) -> Result<()> {
        self.set_port(link, "down")
    }

    /// Plugs a cable back in.
    ///
    /// # Errors
    /// When the host has no such cable.
    pub fn plug(&self, link: Link) -> Result<()> {
        self.set_port(link, "up")
    }

    /// Pulls all cables of a node at once.
    ///
    /// # Errors
    /// When the host has no cable to the management network.
    pub(super) fn unplug_all(&self) -> Result<()> {
        let ports = [Link::Lan, Link::Management].map(|link| self.port(link));
        self.switch
            .ip(&ports.map(|port| format!("link set {port} down")))
    }

    /// SIGKILL for everything that runs here, in-process servers of pods aside.
    ///
    /// # Errors
    /// When a process survives it.
    pub fn kill_all(&self) -> Result<()> {
        self.netns.name().map_or(Ok(()), slot::kill_all_in)
    }

    /// The switch's end of a cable.
    pub(super) fn port(&self, link: Link) -> String {
        switch_port(&self.name, link.bridge())
    }

    pub(super) fn switch(&self) -> &Netns {
        &self.switch
    }

    fn set_port(&self, link: Link, state: &str) -> Result<()> {
        let port = self.port(link);
        self.switch.ip(&[format!("link set {port} {state}")])
    }
}
