//! Messages between speakers: one pair of multicast sockets on each segment.
//!
//! ```text
//!  shell ── send(segment, statement) ──► sign ──► 224.0.0.1 and ff02::1, hop limit 255 ──► the segment
//!    ▲                                                                                        │
//!    └── Heard (bounded) ◄── verify ◄── hop limit 255? ◄── one task for each socket ◄─────────┘
//! ```
//!
//! The same bytes go out over both families; whoever hears them twice takes one. All that anybody on the segment can do
//! with a flood is to fill a socket's buffer: a task takes a batch, and then rests.

mod numbers;
mod port;

pub(crate) use numbers::Numbers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use portolan_api::range::Family;
use portolan_proto::claim::{Author, Key, Message, Statement};
use tokio::sync::mpsc;

use crate::link::{Exclude, Link, Links};
use port::Port;

/// Messages that may wait for the shell, which takes them at once.
const HEARD: usize = 1024;
/// Pause before a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// An authentic message.
#[derive(Debug)]
pub(super) struct Heard {
    /// Where, by index.
    pub(super) interface: u32,
    /// What.
    pub(super) message: Message,
}

/// What all sockets share.
#[derive(Debug, Clone)]
struct Common {
    node: Arc<str>,
    keys: Arc<ArcSwap<Vec<Key>>>,
    heard: mpsc::Sender<Heard>,
    numbers: Numbers,
}

/// All sockets of this node. Its tasks end with it.
#[derive(Debug)]
pub(super) struct Wire {
    /// None for a name that no message can carry; see [`Self::problems`].
    author: Option<Author>,
    signing: Option<Key>,
    exclude: Exclude,
    ports: BTreeMap<(u32, Family), Port>,
    links: Arc<Links>,
    /// By interface and family: why there is no socket.
    troubles: BTreeMap<(String, Family), String>,
    retry: Option<Instant>,
    common: Common,
}

impl Wire {
    /// Without links, without keys. `boot`: nanoseconds since 1970 when the process started.
    pub(super) fn new(
        node: &str,
        boot: u64,
        exclude: Exclude,
        numbers: Numbers,
    ) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, to_hear) = mpsc::channel(HEARD);
        let wire = Self {
            author: Author::new(node, boot),
            signing: None,
            exclude,
            ports: BTreeMap::new(),
            links: Arc::default(),
            troubles: BTreeMap::new(),
            retry: None,
            common: Common {
                node: node.into(),
                keys: Arc::default(),
                heard,
                numbers,
            },
        };
        (wire, to_hear)
    }

    /// Signs with one key, and believes these. Without keys nothing is sent and nothing believed. Returns whether they are
    /// others than before.
    pub(super) fn set_keys(&mut self, signing: Option<Key>, believed: Vec<Key>) -> bool {
        if self.signing == signing && **self.common.keys.load() == believed {
            return false;
        }
        self.signing = signing;
        self.common.keys.store(Arc::new(believed));
        true
    }

    /// Follows the links.
    pub(super) fn set_links(&mut self, links: Arc<Links>, now: Instant) {
        self.links = links;
        self.follow(now);
    }

    /// Opens what is missing, closes what leads nowhere.
    fn follow(&mut self, now: Instant) {
        self.retry = None;
        let links = Arc::clone(&self.links);
        let exclude = &self.exclude;
        let usable = |link: &&Link| link.is_broadcast_segment() && !exclude.matches(&link.name);
        let wanted: BTreeMap<(u32, Family), &Link> = links
            .iter()
            .filter(usable)
            .flat_map(|link| families(link).map(move |family| ((link.index, family), link)))
            .collect();
        self.ports.retain(|key, port| {
            let link = wanted.get(key);
            link.is_some_and(|link| link.name == port.interface) && !port.has_ended()
        });
        let before = std::mem::take(&mut self.troubles);
        for ((index, family), link) in wanted {
            if self.ports.contains_key(&(index, family)) {
                continue;
            }
            match Port::open(link, family, self.common.clone()) {
                Ok(port) => {
                    self.ports.insert((index, family), port);
                }
                Err(error) => {
                    let words = error.to_string();
                    self.troubles.insert((link.name.clone(), family), words);
                    self.retry = Some(now + RETRY);
                }
            }
        }
        for (key, words) in &self.troubles {
            if before.get(key) != Some(words) {
                let (interface, family) = key;
                tracing::warn!(interface, %family, error = words, "no messages between speakers here");
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retry
    }

    /// Tries again what failed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.ports.values().any(Port::has_ended) {
            self.retry.get_or_insert(now + RETRY);
        }
        if self.retry.is_some_and(|retry| retry <= now) {
            self.follow(now);
        }
    }

    /// Tells all speakers of a segment. What the kernel does not take is lost, as on the wire.
    pub(super) fn send(&mut self, interface: u32, statement: &Statement) {
        let (Some(author), Some(key)) = (&mut self.author, &self.signing) else {
            return;
        };
        let first = (interface, Family::V4);
        let last = (interface, Family::V6);
        let ports: Vec<&Port> = self
            .ports
            .range(first..=last)
            .map(|(_, port)| port)
            .collect();
        for datagram in author.datagrams(statement, key) {
            for port in &ports {
                match port.send(&datagram) {
                    Ok(()) => self.common.numbers.sent.inc(),
                    Err(_) => self.common.numbers.send_failures.inc(),
                };
            }
        }
    }

    /// What stands in the way, in words.
    pub(super) fn problems(&self) -> Vec<String> {
        let nameless = self
            .author
            .is_none()
            .then(|| "the name of this node is too long for messages between speakers".to_owned());
        let troubles = self.troubles.iter().map(|((interface, family), words)| {
            format!("no messages between speakers on {interface} over {family}: {words}")
        });
        nameless.into_iter().chain(troubles).collect()
    }
}

/// By which families a link can be spoken on: each needs an address to send from.
fn families(link: &Link) -> impl Iterator<Item = Family> {
    let v4 = link
        .addresses
        .iter()
        .any(|(ip, address)| ip.is_ipv4() && address.ready);
    let v6 = link.link_local().is_some();
    let v4 = v4.then_some(Family::V4);
    v4.into_iter().chain(v6.then_some(Family::V6))
}
