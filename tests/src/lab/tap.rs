//! A tap on the switch: every ARP and NDP frame at every port, with the kernel's own time stamps.
//!
//! What comes in at a node's port is what the node says, and what goes out at a client's port is what that client hears
//! (see [`wire`](super::wire)).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use portolan_proto::ethernet::MacAddr;
use socket2::SockFilter;

use super::fault::Half;
use super::frames::{self, Meaning};
use super::host::{Host, Link};
use super::netns::Netns;
use super::tenure::Claim;
use super::wire::{Frame, Way, Wire};

/// A frame at a port.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, since 1970: compare with [`now`].
    pub at: Duration,
    /// The port, as `node-1-lan`.
    pub port: Arc<str>,
    /// Which way.
    pub way: Way,
    /// The station that sent it.
    pub source: MacAddr,
    /// What it says.
    pub meaning: Meaning,
    /// IPv6 with a hop-by-hop header: an MLD report, as a rule.
    pub is_mld: bool,
}

/// Now, on the clock of [`Seen::at`].
#[must_use]
pub fn now() -> Duration {
    let since_1970 = jiff::Timestamp::now().as_duration();
    since_1970.try_into().unwrap_or_default()
}

/// A running tap. Dropping it ends it.
pub struct Tap(Wire<Seen>);

impl Tap {
    pub(super) fn start(switch: &Netns) -> Result<Self> {
        Wire::start(switch, &filter(), read).map(Self)
    }

    /// Everything seen since the start or the last [`Self::forget`], in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen().clone()
    }

    /// Starts anew.
    pub fn forget(&self) {
        self.0.seen().clear();
    }

    /// Who claimed an address, as the hosts behind all ports said it, heard or not.
    #[must_use]
    pub fn said(&self, vip: IpAddr) -> Vec<Claim> {
        self.claims(vip, |frame| {
            frame.way == Way::In && frame.port.contains('-')
        })
    }

    /// Who claimed an address, as a [questioner](super::Lab::question) on this half of the switch heard it.
    #[must_use]
    pub fn heard(&self, half: Half, vip: IpAddr) -> Vec<Claim> {
        let bridge = half.bridge();
        self.claims(vip, |frame| frame.way == Way::In && &*frame.port == bridge)
    }

    /// How long a host took for each answer about `target`: from the moment when a question went out at its port of the
    /// switch to the answer that came in there.
    #[must_use]
    pub fn answer_times(&self, host: &Host, target: IpAddr) -> Vec<Duration> {
        let port = host.port(Link::Lan);
        let mut asked = None;
        let mut times = Vec::new();
        for frame in self.0.seen().iter().filter(|frame| *frame.port == *port) {
            match (frame.way, frame.meaning) {
                (Way::Out, Meaning::Asks(wanted)) if wanted == target => asked = Some(frame.at),
                (Way::In, Meaning::Answers(who, _)) if who == target => {
                    times.extend(asked.take().map(|at| frame.at.saturating_sub(at)));
                }
                _ => {}
            }
        }
        times
    }

    /// How often a host was asked about `target` since then: the questions that went out at its port of the switch.
    #[must_use]
    pub fn asked(&self, host: &Host, target: IpAddr, since: Duration) -> usize {
        let port = host.port(Link::Lan);
        let is_question = |frame: &&Seen| {
            *frame.port == *port
                && (frame.way, frame.meaning) == (Way::Out, Meaning::Asks(target))
                && frame.at >= since
        };
        self.0.seen().iter().filter(is_question).count()
    }

    fn claims(&self, vip: IpAddr, wanted: impl Fn(&Seen) -> bool) -> Vec<Claim> {
        let seen = self.0.seen();
        let claims = seen
            .iter()
            .filter(|frame| wanted(frame))
            .filter_map(|frame| {
                let (_, mac) = frame.meaning.claim().filter(|(ip, _)| *ip == vip)?;
                Some(Claim { at: frame.at, mac })
            });
        claims.collect()
    }
}

/// ARP; ICMPv6 from router solicitation to redirect; IPv6 with a hop-by-hop header (MLD).
fn filter() -> [SockFilter; 11] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const GREATER: u16 = 0x25;
    const AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(EQUAL, 7, 0, 0x0806),
        SockFilter::new(EQUAL, 0, 7, 0x86dd),
        SockFilter::new(LOAD_BYTE, 0, 0, 20),
        SockFilter::new(EQUAL, 4, 0, 0),
        SockFilter::new(EQUAL, 0, 4, 58),
        SockFilter::new(LOAD_BYTE, 0, 0, 54),
        SockFilter::new(AT_LEAST, 0, 2, 133),
        SockFilter::new(GREATER, 1, 0, 137),
        SockFilter::new(RETURN, 0, 0, 0x0004_0000),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[expect(clippy::unnecessary_wraps, reason = "as the wire asks for it")]
fn read(frame: &Frame<'_>) -> Option<Seen> {
    let Frame {
        at,
        port,
        way,
        bytes,
    } = *frame;
    Some(Seen {
        at,
        port: Arc::clone(port),
        way,
        source: frames::source(bytes),
        meaning: frames::read(bytes),
        is_mld: bytes.get(12..14) == Some(&[0x86, 0xdd]) && bytes.get(20) == Some(&0),
    })
}
