//! A tap on the switch: every ARP and NDP frame at every port, with the kernel's own time stamps.
//!
//! A frame that comes in is seen before a [fault](super::Loss) of the port can swallow it, one that goes out only if no
//! fault has: so what comes in at a node's port is what the node says, and what goes out at a client's port is what that
//! client hears.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nameindex;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use portolan_proto::ethernet::MacAddr;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::fault::Half;
use super::frames::{self, Meaning};
use super::host::{Host, Link};
use super::netns::Netns;
use super::tenure::Claim;

/// `ETH_P_ALL`: what the host sends as well.
const EVERYTHING: u16 = 3;
/// `PACKET_OUTGOING` (packet(7)).
const OUTGOING: u8 = 4;
/// Room for what comes while the reading thread waits for a processor.
const BUFFER: usize = 16 << 20;
/// How long the reading thread waits before it looks whether anybody still listens.
const PATIENCE: Duration = Duration::from_millis(100);

/// Which way a frame crosses a port, as the switch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the host.
    In,
    /// To the host.
    Out,
}

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
pub struct Tap {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl Tap {
    pub(super) fn start(switch: &Netns) -> Result<Self> {
        let (socket, names) = switch.enter(|| anyhow::Ok((open()?, port_names()?)))??;
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (log, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let read = move || {
            while !until.load(Ordering::Relaxed) {
                match receive(&socket, &names) {
                    Ok(Some(frame)) => lock(&log).push(frame),
                    Ok(None) => {}
                    Err(error) => return eprintln!("the tap on the switch ended: {error:#}"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("tap".into()).spawn(read);
        thread.context("starting the tap")?;
        Ok(Self { seen, stop })
    }

    /// Everything seen since the start or the last [`Self::forget`], in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// Starts anew.
    pub fn forget(&self) {
        lock(&self.seen).clear();
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
        for frame in lock(&self.seen).iter().filter(|frame| *frame.port == *port) {
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
        lock(&self.seen).iter().filter(is_question).count()
    }

    fn claims(&self, vip: IpAddr, wanted: impl Fn(&Seen) -> bool) -> Vec<Claim> {
        let seen = lock(&self.seen);
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

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> std::sync::MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bound to no link: it sees all of the namespace.
fn open() -> Result<Socket> {
    let protocol = Protocol::from(i32::from(EVERYTHING.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("packet socket")?;
    socket
        .attach_filter(&filter())
        .context("filter of the tap")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("buffer of the tap")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("time stamps of the tap")?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .context("patience of the tap")?;
    Ok(socket)
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

fn port_names() -> Result<BTreeMap<usize, Arc<str>>> {
    let links = if_nameindex().context("listing the ports of the switch")?;
    let names = links.iter().map(|link| {
        let index = usize::try_from(link.index()).unwrap_or_default();
        (index, link.name().to_string_lossy().into())
    });
    Ok(names.collect())
}

/// One frame, if one comes within [`PATIENCE`] and crosses a port that was there when the tap began.
fn receive(socket: &Socket, names: &BTreeMap<usize, Arc<str>>) -> Result<Option<Seen>> {
    let mut buffer = [0; 256];
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::empty();
    let received = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags);
    let (length, from, at) = match received {
        Ok(message) => {
            let at = message
                .cmsgs()
                .ok()
                .and_then(|mut all| all.find_map(|it| time_stamp(&it)));
            (message.bytes, message.address, at)
        }
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(io::Error::from(error)).context("reading from the tap"),
    };
    let port = from.and_then(|from| Some((names.get(&from.ifindex())?, from.pkttype())));
    let (Some((port, kind)), Some(at), Some(frame)) = (port, at, buffer.get(..length)) else {
        return Ok(None);
    };
    Ok(Some(Seen {
        at,
        port: Arc::clone(port),
        way: if kind == OUTGOING { Way::Out } else { Way::In },
        source: frames::source(frame),
        meaning: frames::read(frame),
        is_mld: frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&0),
    }))
}

fn time_stamp(message: &ControlMessageOwned) -> Option<Duration> {
    match message {
        ControlMessageOwned::ScmTimestampns(time) => Some((*time).into()),
        _ => None,
    }
}
