//! The socket that one session sends from, and how its addresses are found.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use nix::net::if_::if_nametoindex;
use portolan_proto::bfd::{Dice, FIRST_SOURCE_PORT, MULTIHOP_PORT, Path, SINGLE_HOP_PORT, TTL};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::SessionSpec;

/// Class selector 6, "network control" (RFC 4594 §3.1), in the upper six bits of the octet.
const DSCP_CS6: u32 = 48 << 2;
/// As the kernel does for its own control packets; 6 is the highest that needs no privilege.
const PRIORITY: u32 = 6;
/// Nothing is ever read from it.
const RECEIVE_BUFFER: usize = 1;

/// Why a session has no socket, by the step that failed.
#[derive(Debug, Error)]
pub(super) enum OutletError {
    #[error("no interface {0}")]
    Interface(String),
    #[error("no VRF {0}")]
    Vrf(String),
    #[error("peer {0} is link-local, and no interface is named")]
    LinkLocal(IpAddr),
    #[error("peer {peer} and local address {local} are of different families")]
    Family { peer: IpAddr, local: IpAddr },
    #[error("no route to {0}: {1}")]
    Route(IpAddr, #[source] io::Error),
    #[error("no socket: {0}")]
    Create(#[source] io::Error),
    #[error("socket options: {0}")]
    Options(#[source] io::Error),
    #[error("local address {0}: {1}")]
    Bind(IpAddr, #[source] io::Error),
    #[error("no free source port")]
    Ports,
}

/// The path that a specification means on this node now.
pub(super) fn resolve(spec: &SessionSpec) -> Result<Path, OutletError> {
    let find = |name: &Option<String>, absent: fn(String) -> OutletError| {
        let index = name
            .as_ref()
            .map(|name| if_nametoindex(name.as_str()).map_err(|_absent| absent(name.clone())));
        index.transpose()
    };
    let index = find(&spec.interface, OutletError::Interface)?;
    let vrf = find(&spec.vrf, OutletError::Vrf)?;
    if index.is_none() && is_link_local(spec.peer) {
        return Err(OutletError::LinkLocal(spec.peer));
    }
    let path = Path {
        peer: spec.peer,
        local: unspecified(spec.peer),
        interface: index.filter(|_| !spec.multihop),
        multihop: spec.multihop,
        vrf,
    };
    let local = match spec.local {
        Some(local) if local.is_ipv4() != spec.peer.is_ipv4() => {
            let peer = spec.peer;
            return Err(OutletError::Family { peer, local });
        }
        Some(local) => local,
        None => source(&path, spec).map_err(|error| OutletError::Route(spec.peer, error))?,
    };
    Ok(Path { local, ..path })
}

/// The device that a socket of the session is bound to: its interface, else its VRF, whose routes it then goes by.
fn device<'a>(path: &Path, spec: &'a SessionSpec) -> Option<&'a str> {
    let interface = spec.interface.as_deref().filter(|_| !path.multihop);
    interface.or(spec.vrf.as_deref())
}

/// The address that the kernel would send from. Nothing is sent.
fn source(path: &Path, spec: &SessionSpec) -> io::Result<IpAddr> {
    let to = destination(path);
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    let device = spec.interface.as_ref().or(spec.vrf.as_ref());
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.connect(&to.into())?;
    UdpSocket::from(socket)
        .local_addr()
        .map(|address| address.ip())
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// An address with a port, and the interface if it makes no sense without.
fn scoped(path: &Path, address: IpAddr, port: u16) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, path.interface.unwrap_or(0)).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

fn destination(path: &Path) -> SocketAddr {
    let port = if path.multihop {
        MULTIHOP_PORT
    } else {
        SINGLE_HOP_PORT
    };
    scoped(path, path.peer, port)
}

/// A socket that sends to one peer, from one address and port for its whole life (RFC 5881 §4).
#[derive(Debug)]
pub(super) struct Outlet {
    socket: Socket,
    to: SocketAddr,
    pub(super) port: u16,
}

impl Outlet {
    /// Opens it with a source port that is in use neither by another session nor by anybody else.
    pub(super) fn open(
        path: &Path,
        spec: &SessionSpec,
        used: &HashSet<u16>,
        dice: &mut Dice,
    ) -> Result<Self, OutletError> {
        let to = destination(path);
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))
            .map_err(OutletError::Create)?;
        set_options(&socket, path, device(path, spec)).map_err(OutletError::Options)?;
        let first = dice.between(FIRST_SOURCE_PORT.into(), u16::MAX.into());
        let first = u16::try_from(first).unwrap_or(FIRST_SOURCE_PORT);
        let ports = (first..=u16::MAX).chain(FIRST_SOURCE_PORT..first);
        for port in ports.filter(|port| !used.contains(port)) {
            match socket.bind(&scoped(path, path.local, port).into()) {
                Ok(()) => return Ok(Self { socket, to, port }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(OutletError::Bind(path.local, error)),
            }
        }
        Err(OutletError::Ports)
    }

    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket
            .send_to(packet, &self.to.into())
            .map(|_whole| ())
    }
}

fn set_options(socket: &Socket, path: &Path, device: Option<&str>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_priority(PRIORITY)?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    match path.peer {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(TTL.into())?;
            socket.set_tos_v4(DSCP_CS6)
        }
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(TTL.into())?;
            socket.set_tclass_v6(DSCP_CS6)
        }
    }
}
