//! A segment: a local interface on which addresses are answered for.
//!
//! A segment leads somewhere as long as one BFD session on it is Up. When the last one goes Down it is in *doubt*: either
//! the others died, or we are cut off. Then stations are asked by ARP or NDP, the nodes and those that the shell names
//! (gateways, neighbours). An answer ends the doubt for a second; when there is none, and there was somebody beside the
//! nodes to give one, we are *isolated*: nobody could reach us anyway, and whoever is with the others shall answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;

use super::speech::Speech;
use crate::link::Link;

/// Time between two questions to witnesses, and after an answer.
const ASK: Duration = Duration::from_millis(50);
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Isolated, when nobody has answered for so long.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long an answer counts.
const ANSWER: Duration = Duration::from_secs(1);
/// Stations that are asked at a time.
const WITNESSES: usize = 8;
/// How long others have to tell their claims after a segment came into use.
const SETTLE: Duration = Duration::from_millis(500);

/// Whether a segment leads anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contact {
    /// It does not.
    Isolated,
    /// Asking. Whoever holds goes on; nobody begins.
    Doubtful,
    /// It does, as far as we know.
    Connected,
}

#[derive(Debug)]
struct Doubt {
    since: Instant,
    answered: Option<Instant>,
    ask_at: Instant,
    /// Questions so far: of many stations, some are asked each time, in turn.
    asked: usize,
}

/// An interface.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they come in all combinations"
)]
pub(super) struct Segment {
    pub(super) name: String,
    /// ARP and NDP can be spoken on it, were there a carrier.
    usable: bool,
    /// IPv6 is on; where it is off, nobody answers for an IPv6 address.
    ipv6: bool,
    running: bool,
    ups: u64,
    subnets: Vec<IpNetwork>,
    /// Our addresses that packets can be sent from.
    pub(super) locals: Vec<IpNetwork>,
    /// The nodes that share addresses with us here, and whether there is a session.
    pub(super) peers: BTreeMap<Arc<str>, bool>,
    /// Their addresses.
    pub(super) nodes: BTreeSet<IpAddr>,
    pub(super) stations: BTreeSet<IpAddr>,
    /// It is home to some address.
    pub(super) used: bool,
    doubt: Option<Doubt>,
    isolated: bool,
    /// Until when the others are asked what they hold, before anything is claimed.
    settling: Option<Instant>,
    /// Those who have told it since then.
    told: BTreeSet<Arc<str>>,
    /// It settles since the last review.
    began: bool,
    /// What the addresses were judged by.
    judged: Option<(Contact, bool)>,
    pub(super) speech: Speech,
}

impl Segment {
    pub(super) fn new(link: &Link) -> Self {
        let mut segment = Self {
            name: String::new(),
            usable: false,
            ipv6: false,
            running: false,
            ups: link.ups,
            subnets: Vec::new(),
            locals: Vec::new(),
            peers: BTreeMap::new(),
            nodes: BTreeSet::new(),
            stations: BTreeSet::new(),
            used: false,
            doubt: None,
            isolated: false,
            settling: None,
            told: BTreeSet::new(),
            began: false,
            judged: None,
            speech: Speech::default(),
        };
        segment.name.clone_from(&link.name);
        segment
    }

    /// Follows the link.
    pub(super) fn follow(&mut self, link: &Link, now: Instant) {
        self.name.clone_from(&link.name);
        let running = link.is_broadcast_segment() && link.is_running();
        let began = running && (!self.running || self.ups != link.ups);
        self.usable = link.is_broadcast_segment();
        self.ipv6 = link.ipv6;
        self.running = running;
        self.ups = link.ups;
        let networks = link.addresses.iter().filter_map(|(ip, address)| {
            let network = IpNetwork::new(*ip, address.prefix_len).ok()?;
            Some((network, address.ready && !address.deprecated))
        });
        let networks: Vec<(IpNetwork, bool)> =
            networks.filter(|(it, _)| !is_link_local(it)).collect();
        self.locals = networks
            .iter()
            .filter(|(_, ready)| *ready)
            .map(|(it, _)| *it)
            .collect();
        // The kernel takes IPv6 addresses off a link that is set down. It does not lead elsewhere for that.
        for v6 in [false, true] {
            let mut current = networks
                .iter()
                .map(|(it, _)| *it)
                .filter(|it| it.is_ipv6() == v6)
                .peekable();
            if current.peek().is_some() {
                self.subnets.retain(|it| it.is_ipv6() != v6);
                self.subnets.extend(current);
            }
        }
        if began && self.used {
            self.settle(now);
        }
    }

    /// Whether the address can be answered for here.
    pub(super) fn speaks_for(&self, vip: IpAddr) -> bool {
        self.usable && (vip.is_ipv4() || self.ipv6)
    }

    /// Whether a subnet of the interface contains the address.
    pub(super) fn contains(&self, vip: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(vip))
    }

    /// Whether it is home to some address from now on. Returns whether that is new.
    pub(super) fn set_used(&mut self, used: bool, now: Instant) {
        if used && !std::mem::replace(&mut self.used, used) && self.running {
            self.settle(now);
        }
        self.used = used;
    }

    /// The others are to say what they hold before we claim anything.
    fn settle(&mut self, now: Instant) {
        self.settling = Some(now + SETTLE);
        self.told.clear();
        self.began = true;
        self.speech.ask_until(now, now + SETTLE);
    }

    /// The node has told all its claims. Returns whether somebody waits for that.
    pub(super) fn told_all(&mut self, node: &Arc<str>) -> bool {
        let new = self.told.insert(node.clone());
        if self.peers.keys().all(|peer| self.told.contains(peer)) {
            self.speech.stop_asking();
        }
        new
    }

    /// Whether the node has told all its claims since the segment came into use.
    pub(super) fn has_told(&self, node: &str) -> bool {
        self.told.contains(node)
    }

    pub(super) fn contact(&self) -> Contact {
        match &self.doubt {
            _ if !self.running || self.isolated => Contact::Isolated,
            Some(doubt) if doubt.answered.is_none() && !self.stations.is_empty() => {
                Contact::Doubtful
            }
            _ => Contact::Connected,
        }
    }

    /// Whether it began to settle since this was asked last: what BFD said before is void.
    pub(super) fn began(&mut self) -> bool {
        std::mem::take(&mut self.began)
    }

    /// Whether its addresses are to be judged again, since this was asked last.
    pub(super) fn turned(&mut self) -> bool {
        let current = Some((self.contact(), self.is_settling()));
        std::mem::replace(&mut self.judged, current) != current
    }

    /// A station answered.
    pub(super) fn answered(&mut self, now: Instant) {
        if let Some(doubt) = &mut self.doubt {
            doubt.answered = Some(now);
            doubt.ask_at = doubt.ask_at.max(now + ASK_AGAIN);
        }
    }

    /// A node said that it stops: until now, packets arrived.
    pub(super) fn left_in_order(&mut self, now: Instant) {
        self.doubt.get_or_insert(Doubt {
            since: now,
            answered: Some(now),
            ask_at: now + ASK_AGAIN,
            asked: 0,
        });
    }

    /// Looks at the doubt again. `up`: some session is Up; `was_up`: some was. Returns the stations to ask now.
    pub(super) fn review(&mut self, up: bool, was_up: bool, now: Instant) -> Vec<IpAddr> {
        if self.settling.is_some_and(|until| until <= now) {
            self.settling = None;
        }
        let was_isolated = self.isolated;
        let asked = self.review_doubt(up, was_up, now);
        if was_isolated && !self.isolated && self.running {
            self.settle(now);
        }
        asked
    }

    fn review_doubt(&mut self, up: bool, was_up: bool, now: Instant) -> Vec<IpAddr> {
        if up || !was_up || !self.running {
            self.doubt = None;
            self.isolated = false;
            return Vec::new();
        }
        let doubt = self.doubt.get_or_insert(Doubt {
            since: now,
            answered: None,
            ask_at: now,
            asked: 0,
        });
        if doubt
            .answered
            .is_some_and(|answered| answered + ANSWER <= now)
        {
            doubt.since = now;
            doubt.answered = None;
            self.isolated = !self.stations.is_empty();
        }
        let silent = doubt.answered.is_none() && doubt.since + PATIENCE <= now;
        self.isolated =
            !self.stations.is_empty() && (silent || self.isolated && doubt.answered.is_none());
        if self.stations.is_empty() || doubt.ask_at > now {
            return Vec::new();
        }
        doubt.ask_at = now + ASK;
        let witnesses: Vec<IpAddr> = self.stations.iter().chain(&self.nodes).copied().collect();
        let turn = doubt.asked % witnesses.len();
        let asked = witnesses.iter().cycle().skip(turn);
        let asked: Vec<IpAddr> = asked
            .take(witnesses.len().min(WITNESSES))
            .copied()
            .collect();
        doubt.asked = turn + asked.len();
        asked
    }

    /// When [`Self::review`] has something to do.
    pub(super) fn next_review(&self) -> Option<Instant> {
        let doubt = self
            .doubt
            .as_ref()
            .filter(|_| !self.stations.is_empty() && self.running);
        let doubted = doubt.map(|doubt| match doubt.answered {
            Some(answered) => doubt.ask_at.min(answered + ANSWER),
            None if self.isolated => doubt.ask_at,
            None => doubt.ask_at.min(doubt.since + PATIENCE),
        });
        self.settling.into_iter().chain(doubted).min()
    }

    pub(super) fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }
}

fn is_link_local(network: &IpNetwork) -> bool {
    matches!(network.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local())
}
