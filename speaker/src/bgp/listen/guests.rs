//! The guest list: who may connect to us, and what each of them asks of the listener.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::super::Signature;
use super::Visit;
use crate::sys;

/// A source that is nobody's is named in the log once in this time.
const SAID: Duration = Duration::from_secs(60);
/// Sources that are remembered for that; a flood from more is one line for all of them.
const STRANGERS: usize = 1024;

/// Where a peer comes from. The link matters for link-local addresses only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub(super) address: IpAddr,
    link: u32,
}

/// All of a VRF, and who came without being one.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) expected: HashMap<Source, Guest>,
    strangers: HashMap<IpAddr, Instant>,
}

/// A peer that may come.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) visits: mpsc::Sender<Visit>,
    pub(super) places: Arc<Semaphore>,
    pub(super) min_ttl: u8,
    pub(super) tcp_mss: Option<u16>,
    pub(super) signature: Option<Signature>,
}

impl Source {
    pub(super) fn of(from: SocketAddr) -> Self {
        let link = match from {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
            _ => 0,
        };
        Self {
            address: from.ip(),
            link,
        }
    }
}

impl Guests {
    /// Guests from this address, whatever the link.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Guest> {
        let at = self
            .expected
            .iter()
            .filter(move |(source, _)| source.address == address);
        at.map(|(_, guest)| guest)
    }

    pub(super) fn has(&self, family: IpAddr) -> bool {
        let mut sources = self.expected.keys();
        sources.any(|source| source.address.is_ipv4() == family.is_ipv4())
    }

    /// What all guests of a family want of TTLs is on the listener; what only some want is checked at the door. The smallest
    /// segment that one wants is for all of them: it is said before we know who has come.
    pub(super) fn fit(&self, socket: &TcpListener, family: IpAddr) {
        let same = |source: &&Source| source.address.is_ipv4() == family.is_ipv4();
        let guests = self.expected.iter().filter(|(source, _)| same(source));
        let guests = guests.map(|(_, guest)| guest);
        let min = guests.clone().map(|guest| guest.min_ttl).min().unwrap_or(0);
        if let Err(error) = sys::set_min_ttl(socket, family, min) {
            tracing::warn!(%error, "bgp: TTL security is not on the listener, but on each connection");
        }
        let mss = guests.filter_map(|guest| guest.tcp_mss).min().unwrap_or(0);
        if let Err(error) = SockRef::from(socket).set_tcp_mss(mss.into()) {
            tracing::warn!(%error, "bgp: tcpMSS is not on the listener");
        }
    }

    /// Whether the log has heard of this stranger lately; notes that it does now.
    pub(super) fn is_news(&mut self, stranger: IpAddr) -> bool {
        let now = Instant::now();
        if self.strangers.len() >= STRANGERS {
            self.strangers
                .retain(|_, said| now.duration_since(*said) < SAID);
        }
        if self.strangers.len() >= STRANGERS {
            return false;
        }
        let said = self.strangers.insert(stranger, now);
        said.is_none_or(|said| now.duration_since(said) >= SAID)
    }
}
