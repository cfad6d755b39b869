//! A node: where a speaker runs, with pods behind it, and a power cord.

use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Result;

use super::address;
use super::host::{Host, Link};
use super::pod::Pod;

/// A host with pods.
pub struct Node {
    /// Its namespace, addresses and programs.
    pub host: Host,
    number: u8,
    pods: AtomicU8,
}

impl Node {
    pub(super) fn new(host: Host, number: u8) -> Self {
        Self {
            host,
            number,
            pods: AtomicU8::new(0),
        }
    }

    /// `node-1`: its name in Kubernetes too.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// 1 for `node-1`.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The networks of its pods, IPv4 and IPv6, in prefix notation.
    #[must_use]
    pub fn pod_networks(&self) -> [String; 2] {
        address::pod_network(self.number).into()
    }

    /// A new pod behind this node. Its server answers on TCP port [`Pod::PORT`] until the pod is dropped.
    ///
    /// # Errors
    /// When the name is in use on this node, or the kernel refuses.
    pub fn add_pod(&self, name: &str) -> Result<Pod> {
        let place = self.pods.fetch_add(1, Ordering::Relaxed) + 2; // place 1 is the gateway
        Pod::start(self, name, place)
    }

    /// Power loss: both cables go dead, then everything on the node ends without a word.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self) -> Result<()> {
        self.host.unplug_all()?;
        self.host.kill_all()
    }

    /// The cables carry again. What ran on the node has to be started anew.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&self) -> Result<()> {
        self.host.plug(Link::Management)?;
        self.host.plug(Link::Lan)
    }
}
