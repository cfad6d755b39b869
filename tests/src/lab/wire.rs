//! Every frame at every port of the switch that a filter lets through, with the kernel's own time stamps.
//!
//! A frame that comes in is seen before a [fault](super::Loss) of the port can swallow it, one that goes out only if no
//! fault has.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nameindex;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::netns::Netns;

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

/// The beginning of a frame at a port.
pub(super) struct Frame<'a> {
    /// When, since 1970.
    pub(super) at: Duration,
    /// The port, as `node-1-lan`.
    pub(super) port: &'a Arc<str>,
    /// Which way.
    pub(super) way: Way,
    /// From its Ethernet header on.
    pub(super) bytes: &'a [u8],
}

/// A running thread that keeps what `read` makes of each frame. Dropping it ends it.
pub(super) struct Wire<T> {
    seen: Arc<Mutex<Vec<T>>>,
    stop: Arc<AtomicBool>,
}

impl<T: Send + 'static> Wire<T> {
    pub(super) fn start(
        switch: &Netns,
        filter: &[SockFilter],
        read: fn(&Frame<'_>) -> Option<T>,
    ) -> Result<Self> {
        let (socket, names) = switch.enter(|| anyhow::Ok((open(filter)?, port_names()?)))??;
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (log, until): (Arc<Mutex<Vec<T>>>, _) = (Arc::clone(&seen), Arc::clone(&stop));
        let listen = move || {
            while !until.load(Ordering::Relaxed) {
                match receive(&socket, &names, read) {
                    Ok(frame) => lock(&log).extend(frame),
                    Err(error) => return eprintln!("the tap on the switch ended: {error:#}"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("tap".into()).spawn(listen);
        thread.context("starting the tap")?;
        Ok(Self { seen, stop })
    }

    /// Everything since the start, or since somebody cleared it, in order.
    pub(super) fn seen(&self) -> MutexGuard<'_, Vec<T>> {
        lock(&self.seen)
    }
}

impl<T> Drop for Wire<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(seen: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bound to no link: it sees all of the namespace.
fn open(filter: &[SockFilter]) -> Result<Socket> {
    let protocol = Protocol::from(i32::from(EVERYTHING.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("packet socket")?;
    socket.attach_filter(filter).context("filter of the tap")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("buffer of the tap")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("time stamps of the tap")?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .context("patience of the tap")?;
    Ok(socket)
}

fn port_names() -> Result<BTreeMap<usize, Arc<str>>> {
    let links = if_nameindex().context("listing the ports of the switch")?;
    let names = links.iter().map(|link| {
        let index = usize::try_from(link.index()).unwrap_or_default();
        (index, link.name().to_string_lossy().into())
    });
    Ok(names.collect())
}

/// What one frame means, if one comes within [`PATIENCE`] and crosses a port that was there when the tap began.
fn receive<T>(
    socket: &Socket,
    names: &BTreeMap<usize, Arc<str>>,
    read: fn(&Frame<'_>) -> Option<T>,
) -> Result<Option<T>> {
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
    let (Some((port, kind)), Some(at), Some(bytes)) = (port, at, buffer.get(..length)) else {
        return Ok(None);
    };
    Ok(read(&Frame {
        at,
        port,
        way: if kind == OUTGOING { Way::Out } else { Way::In },
        bytes,
    }))
}

fn time_stamp(message: &ControlMessageOwned) -> Option<Duration> {
    match message {
        ControlMessageOwned::ScmTimestampns(time) => Some((*time).into()),
        _ => None,
    }
}
