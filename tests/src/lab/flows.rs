//! Where the packets of each TCP connection go: seen at the switch's ports, on their way to the nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use socket2::SockFilter;

use super::netns::Netns;
use super::wire::{Frame, Way, Wire};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;

/// A packet of a connection that leaves the switch towards a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When, since 1970: compare with [`now`](super::now).
    pub at: Duration,
    /// The port of the switch, as `node-1-lan`.
    pub port: Arc<str>,
    /// The client's end of the connection.
    pub from: SocketAddr,
    /// The other one.
    pub to: SocketAddr,
}

/// A running record of passages. Dropping it ends it.
pub struct Flows(Wire<Passage>);

impl Flows {
    pub(super) fn start(switch: &Netns, port: u16) -> Result<Self> {
        Wire::start(switch, &filter(port), read).map(Self)
    }

    /// The packets that a host was given, in order; those of connections from it are not among them, as their
    /// destination port is another one.
    #[must_use]
    pub fn to_nodes(&self) -> Vec<Passage> {
        let seen = self.0.seen();
        let to_nodes = seen.iter().filter(|it| it.port.starts_with("node-"));
        to_nodes.cloned().collect()
    }
}

/// TCP to this port: IPv4 without options, IPv6 without extension headers.
fn filter(port: u16) -> [SockFilter; 13] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const JUMP: u16 = 0x05;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(EQUAL, 0, 4, IPV4.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, 23),
        SockFilter::new(EQUAL, 0, 8, TCP.into()),
        SockFilter::new(LOAD_HALF, 0, 0, 36),
        SockFilter::new(JUMP, 0, 0, 4),
        SockFilter::new(EQUAL, 0, 5, IPV6.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, 20),
        SockFilter::new(EQUAL, 0, 3, TCP.into()),
        SockFilter::new(LOAD_HALF, 0, 0, 56),
        SockFilter::new(EQUAL, 0, 1, port.into()),
        SockFilter::new(RETURN, 0, 0, 0x0004_0000),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn read(frame: &Frame<'_>) -> Option<Passage> {
    let (from, to) = match u16::from_be_bytes(octets(frame.bytes, 12)?) {
        IPV4 => {
            let address = |at| Some(IpAddr::from(Ipv4Addr::from(octets(frame.bytes, at)?)));
            ends((address(26)?, address(30)?), frame.bytes, 34)?
        }
        IPV6 => {
            let address = |at| Some(IpAddr::from(Ipv6Addr::from(octets::<16>(frame.bytes, at)?)));
            ends((address(22)?, address(38)?), frame.bytes, 54)?
        }
        _ => return None,
    };
    (frame.way == Way::Out).then(|| Passage {
        at: frame.at,
        port: Arc::clone(frame.port),
        from,
        to,
    })
}

/// The ends of a connection whose TCP header begins `at` there.
fn ends((from, to): (IpAddr, IpAddr), frame: &[u8], at: usize) -> Option<(SocketAddr, SocketAddr)> {
    let port = |at| octets(frame, at).map(u16::from_be_bytes);
    Some((
        SocketAddr::new(from, port(at)?),
        SocketAddr::new(to, port(at + 2)?),
    ))
}

fn octets<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}
