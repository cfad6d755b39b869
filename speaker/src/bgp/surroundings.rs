//! What all sessions of a node have around them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::listen::Listeners;
use super::socket::{self, SocketError};
use crate::bfd::Engine;
use crate::link::Links;

/// Where the kernel says for how long it has been up, in seconds.
const UPTIME: &str = "/proc/uptime";

/// What all sessions of a node have around them.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// No links at all: nobody watches them.
    pub(super) links: watch::Receiver<Arc<Links>>,
    pub(super) listeners: Listeners,
    /// Watches the ways to peers that want it.
    pub(super) bfd: Option<Engine>,
}

impl Surroundings {
    pub(super) fn links(&self) -> Arc<Links> {
        Arc::clone(&self.links.borrow())
    }

    /// Whether a session can be in this VRF.
    pub(super) fn check_vrf(&self, vrf: Option<&str>) -> Result<(), SocketError> {
        let links = self.links();
        if links.iter().next().is_none() {
            return Ok(());
        }
        socket::check_vrf(vrf, &links)
    }

    /// Time since the node booted; none if the kernel does not say, which is the careful answer.
    #[expect(clippy::unused_self, reason = "it is a property of the surroundings")]
    pub(super) fn uptime(&self) -> Duration {
        let text = std::fs::read_to_string(UPTIME).unwrap_or_default();
        let seconds = text.split(['.', ' ']).next().and_then(|s| s.parse().ok());
        Duration::from_secs(seconds.unwrap_or(0))
    }
}
