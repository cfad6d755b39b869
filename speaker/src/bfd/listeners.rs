//! The sockets that packets come in by: one for each port, family and VRF, opened while a session needs it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use portolan_proto::bfd::{MULTIHOP_PORT, Path, SINGLE_HOP_PORT};
use socket2::{Domain, Protocol, Socket, Type};

/// Control packets have at most 52 bytes; what is longer is cut off, and its end ignored.
const PACKET_MAX: usize = 64;
/// Room for the two control messages that are asked for: address and interface (40 bytes), TTL (24).
const CONTROL_MAX: usize = 96;
/// So that packets of many sessions wait for us through a stall, and do not look like silence.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Which packets a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) v6: bool,
    pub(super) multihop: bool,
    /// Index of the VRF device: what arrives in a VRF reaches only sockets that are bound to it.
    pub(super) vrf: Option<u32>,
}

impl Kind {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            v6: path.peer.is_ipv6(),
            multihop: path.multihop,
            vrf: path.vrf,
        }
    }

    fn address(self) -> SocketAddr {
        let port = if self.multihop {
            MULTIHOP_PORT
        } else {
            SINGLE_HOP_PORT
        };
        if self.v6 {
            (Ipv6Addr::UNSPECIFIED, port).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, port).into()
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UDP {}", self.address())?;
        self.vrf
            .map_or(Ok(()), |vrf| write!(f, " in the VRF of device {vrf}"))
    }
}

/// A packet that came.
#[derive(Debug)]
pub(super) struct Arrival {
    bytes: [u8; PACKET_MAX],
    length: usize,
    /// By which path, with its interface.
    pub(super) path: Path,
    /// TTL or hop limit.
    pub(super) ttl: u8,
}

impl Arrival {
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// A non-blocking UDP socket on a BFD port, which tells of every packet how it came.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    kind: Kind,
}

impl Listener {
    /// Listens on all addresses of the node, or on one. No other program can share the port: it would take packets from us
    /// without a word.
    pub(super) fn open(kind: Kind, on: Option<IpAddr>) -> io::Result<Self> {
        let mut address = kind.address();
        if let Some(on) = on {
            address.set_ip(on);
        }
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking(),
            Some(Protocol::UDP),
        )?;
        if let Some(vrf) = kind.vrf {
            let device = if_indextoname(vrf)?;
            socket.bind_device(Some(device.to_bytes()))?;
        }
        if kind.v6 {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        // The forced form goes past the limit of the system, with CAP_NET_ADMIN.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind(&address.into())?;
        Ok(Self { socket, kind })
    }

    /// The next packet that waits. One whose way is not known counts as having come with TTL 0.
    pub(super) fn receive(&self) -> io::Result<Option<Arrival>> {
        let mut bytes = [0; PACKET_MAX];
        let mut control = Control([0; CONTROL_MAX]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control.0),
            MsgFlags::empty(),
        );
        let received = match received {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut way = Way::default();
        if let Ok(messages) = received.cmsgs() {
            messages.for_each(|message| way.read(&message));
        }
        let length = received.bytes;
        let peer = received.address.as_ref().and_then(address);
        let nowhere = self.kind.address().ip();
        Ok(Some(Arrival {
            path: Path {
                peer: peer.unwrap_or(nowhere),
                local: way.local.unwrap_or(nowhere),
                interface: way.interface,
                multihop: self.kind.multihop,
                vrf: self.kind.vrf,
            },
            ttl: way.ttl,
            bytes,
            length,
        }))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A buffer for control messages, aligned as their headers want it.
#[repr(C, align(8))]
struct Control([u8; CONTROL_MAX]);

/// How a packet came.
#[derive(Default)]
struct Way {
    local: Option<IpAddr>,
    interface: Option<u32>,
    ttl: u8,
}

impl Way {
    fn read(&mut self, message: &ControlMessageOwned) {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                self.local = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                self.interface = u32::try_from(info.ipi_ifindex).ok();
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                self.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                self.interface = Some(info.ipi6_ifindex);
            }
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                self.ttl = u8::try_from(*ttl).unwrap_or(0);
            }
            _ => {}
        }
    }
}

fn address(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}
