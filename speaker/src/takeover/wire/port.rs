//! One socket: one segment, one family.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use portolan_api::range::Family;
use portolan_proto::claim::{DATAGRAM_MAX, GROUP_V4, GROUP_V6, HOPS, Message, PORT};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::sleep;

use super::numbers::Refused;
use super::{Common, Heard};
use crate::link::Link;

/// Datagrams taken at once.
const BATCH: usize = 64;
/// Rest after a full batch. 64 in 5 ms is more than 500 VIPs make each node say at once, and a few hundredths of a core.
const REST: Duration = Duration::from_millis(5);
/// Class selector 6, "network control" (RFC 4594 §3.1), in the upper six bits of the octet.
const DSCP_CS6: u32 = 48 << 2;
/// The highest that needs no privilege, as for other control packets.
const PRIORITY: u32 = 6;
/// Room for the control message with the hop limit.
const CONTROL_MAX: usize = 64;

/// Why there is no socket.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// It could not be made.
    #[error("open socket: {0}")]
    Open(#[source] io::Error),
    /// An option was refused.
    #[error("set socket option: {0}")]
    Option(#[source] io::Error),
    /// It could not be bound to the group.
    #[error("bind UDP port {PORT}: {0}")]
    Bind(#[source] io::Error),
}

/// A socket and the task that reads it. Both end with it.
#[derive(Debug)]
pub(super) struct Port {
    /// Name of the interface.
    pub(super) interface: String,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    task: JoinHandle<()>,
    _stop: AbortOnDrop,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Port {
    /// Opens the socket and begins to listen.
    pub(super) fn open(link: &Link, family: Family, common: Common) -> Result<Self, Error> {
        let to = group(link.index, family);
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket =
            Socket::new(Domain::for_address(to), kind, Some(Protocol::UDP)).map_err(Error::Open)?;
        set_options(&socket, link, family).map_err(Error::Option)?;
        socket.bind(&to.into()).map_err(Error::Bind)?;
        let socket = Arc::new(UdpSocket::from_std(socket.into()).map_err(Error::Open)?);
        let listener = Listener {
            socket: Arc::clone(&socket),
            index: link.index,
            interface: link.name.clone(),
            common,
        };
        let task = tokio::spawn(listener.run());
        Ok(Self {
            interface: link.name.clone(),
            socket,
            to,
            _stop: AbortOnDrop(task.abort_handle()),
            task,
        })
    }

    /// Whether nobody listens any more; then the socket is to be opened anew.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        // Not through the runtime, which knows only after a while that a new socket can be written to.
        SockRef::from(&*self.socket)
            .send_to(datagram, &self.to.into())
            .map(drop)
    }
}

/// The group that is sent to, and listened to: what is addressed to the node itself is nobody's message.
fn group(index: u32, family: Family) -> SocketAddr {
    match family {
        Family::V4 => (GROUP_V4, PORT).into(),
        Family::V6 => SocketAddrV6::new(GROUP_V6, PORT, 0, index).into(),
    }
}

fn set_options(socket: &Socket, link: &Link, family: Family) -> io::Result<()> {
    let hops = u32::from(HOPS);
    socket.bind_device(Some(link.name.as_bytes()))?;
    socket.set_priority(PRIORITY)?;
    match family {
        Family::V4 => {
            socket.set_multicast_ttl_v4(hops)?;
            socket.set_multicast_loop_v4(false)?;
            socket.set_tos_v4(DSCP_CS6)?;
            setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        }
        Family::V6 => {
            socket.set_only_v6(true)?;
            socket.set_multicast_hops_v6(hops)?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_if_v6(link.index)?;
            socket.set_tclass_v6(DSCP_CS6)?;
            setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?;
        }
    }
    Ok(())
}

/// The side of the task.
struct Listener {
    socket: Arc<UdpSocket>,
    index: u32,
    interface: String,
    common: Common,
}

impl Listener {
    async fn run(self) {
        let error = match self.listen().await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        tracing::warn!(interface = self.interface, %error, "socket for messages between speakers is opened anew");
    }

    async fn listen(&self) -> io::Result<std::convert::Infallible> {
        loop {
            self.socket.readable().await?;
            if self.take_batch()? {
                sleep(REST).await;
            }
        }
    }

    /// Takes what waits; returns whether there may be more.
    fn take_batch(&self) -> io::Result<bool> {
        for _ in 0..BATCH {
            let mut buffer = [0; DATAGRAM_MAX + 1];
            let receive = || Ok(receive(&self.socket, &mut buffer)?);
            match self.socket.try_io(Interest::READABLE, receive) {
                Ok((length, hops)) => {
                    self.take(buffer.get(..length).unwrap_or_default(), hops);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Said once when the link goes down; the socket works again when it is up.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn take(&self, datagram: &[u8], hops: u8) {
        let numbers = &self.common.numbers;
        if hops != HOPS {
            return numbers.refused(Refused::Hops);
        }
        let message = match Message::decode(datagram, self.common.keys.load().iter()) {
            Ok(message) => message,
            Err(error) => return numbers.refused(error.into()),
        };
        // With two interfaces on one segment we hear ourselves.
        if *message.sender == *self.common.node {
            return;
        }
        numbers.received.inc();
        let interface = self.index;
        if self
            .common
            .heard
            .try_send(Heard { interface, message })
            .is_err()
        {
            numbers.refused(Refused::Overrun);
        }
    }
}

/// One datagram, with its TTL or hop limit; 0 if that is not known.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Result<(usize, u8), Errno> {
    let mut control = Control([0; CONTROL_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::empty();
    let fd = socket.as_raw_fd();
    let received = recvmsg::<()>(fd, &mut parts, Some(&mut control.0), flags)?;
    let hops = received
        .cmsgs()
        .into_iter()
        .flatten()
        .find_map(|it| match it {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                u8::try_from(hops).ok()
            }
            _ => None,
        });
    Ok((received.bytes, hops.unwrap_or(0)))
}

/// A buffer for control messages, aligned as their headers want it.
#[repr(C, align(8))]
struct Control([u8; CONTROL_MAX]);
