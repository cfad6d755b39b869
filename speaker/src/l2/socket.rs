//! Packet sockets: raw Ethernet on one interface, no promiscuous mode.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind, setsockopt, sockopt};
use portolan_proto::ethernet;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use thiserror::Error;

use super::{filter, group};
use crate::sys;

/// As the kernel does for its own ARP: the band of the queue that is sent first. 6 is the highest
/// that needs no privilege, and in the same band as 7 (`TC_PRIO_CONTROL`).
const PRIORITY: u32 = 6;

/// Room for what comes in while the thread is not running: 5000 questions of a router that looks for all its
/// neighbours at once take some 4 MiB, as the kernel counts them.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Why an interface cannot be served.
#[derive(Debug, Error)]
pub enum Error {
    /// No packet socket: `CAP_NET_RAW` is missing, as a rule.
    #[error("open packet socket: {0}")]
    Open(#[source] io::Error),
    /// The kernel's list of interfaces could not be read.
    #[error("list interfaces: {0}")]
    List(#[source] nix::Error),
    /// The interface disappeared meanwhile.
    #[error("no interface {0} with index {1}")]
    Gone(String, u32),
    /// The filter was refused.
    #[error("attach filter: {0}")]
    Filter(#[source] io::Error),
    /// The socket could not be bound to the interface.
    #[error("bind packet socket: {0}")]
    Bind(#[source] nix::Error),
    /// An option was refused.
    #[error("set packet socket option: {0}")]
    Option(#[source] io::Error),
    /// The pipe that stops the thread could not be made.
    #[error("make pipe: {0}")]
    Pipe(#[source] io::Error),
    /// The thread could not be started.
    #[error("start responder thread: {0}")]
    Thread(#[source] io::Error),
    /// A multicast group could not be joined or left.
    #[error(transparent)]
    Group(#[from] group::Error),
    /// The thread ended by itself; the log tells why.
    #[error("responder thread ended")]
    Ended,
}

/// Whether packet sockets are permitted at all.
pub(super) fn probe() -> Result<(), Error> {
    Socket::new(Domain::PACKET, Type::RAW, None)
        .map(drop)
        .map_err(Error::Open)
}

/// The two sockets of one interface.
///
/// One for each protocol rather than one for everything: a socket for all protocols would be shown
/// every frame that the node sends, too.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) arp: PacketSocket,
    pub(super) ndp: PacketSocket,
}

impl Sockets {
    pub(super) fn open(name: &str, index: u32) -> Result<Self, Error> {
        let address = link_address(name, index)?;
        Ok(Self {
            arp: PacketSocket::open(ethernet::ARP, &filter::arp(index), &address)?,
            ndp: PacketSocket::open(ethernet::IPV6, &filter::ndp(index), &address)?,
        })
    }
}

impl Sockets {
    /// Adds the frames that the kernel dropped since it was last asked.
    pub(super) fn take_drops(&self, total: &AtomicU64) {
        for socket in [&self.arp, &self.ndp] {
            // A socket of an interface that is gone has nothing to tell.
            let drops = sys::packet_drops(&socket.0).unwrap_or_default();
            total.fetch_add(drops.into(), Ordering::Relaxed);
        }
    }
}

/// The address of an interface that `bind` wants. It is taken from the kernel's own list, because
/// no safe interface builds one from an index.
pub(super) fn link_address(name: &str, index: u32) -> Result<LinkAddr, Error> {
    getifaddrs()
        .map_err(Error::List)?
        .filter(|entry| entry.interface_name == name)
        .filter_map(|entry| {
            entry
                .address
                .as_ref()
                .and_then(|it| it.as_link_addr().copied())
        })
        .find(|address| u32::try_from(address.ifindex()) == Ok(index))
        .ok_or_else(|| Error::Gone(name.to_owned(), index))
}

/// A non-blocking packet socket for one protocol on one interface.
#[derive(Debug)]
pub(super) struct PacketSocket(Socket);

impl PacketSocket {
    fn open(ethertype: u16, filter: &[SockFilter], address: &LinkAddr) -> Result<Self, Error> {
        let protocol = Protocol::from(i32::from(ethertype.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))
            .map_err(Error::Open)?;
        socket.attach_filter(filter).map_err(Error::Filter)?;
        bind(socket.as_raw_fd(), address).map_err(Error::Bind)?;
        socket.set_priority(PRIORITY).map_err(Error::Option)?;
        // Beyond the node's limit with CAP_NET_ADMIN; without it, up to the limit.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket
                .set_recv_buffer_size(RECEIVE_BUFFER)
                .map_err(Error::Option)?;
        }
        let socket = Self(socket);
        socket.drain();
        Ok(socket)
    }

    /// Throws away what came in before the filter was in place.
    fn drain(&self) {
        while self.receive(&mut [0; 1]).is_ok() {}
    }

    /// Reads one frame; what does not fit is cut off.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Sends one frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(|_whole| ())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
