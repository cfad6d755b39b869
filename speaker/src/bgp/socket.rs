//! What must hold for a connection before its first packet leaves, or before its first byte is read.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan_proto::bgp::session::ConnectFailure;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::PeerSpec;
use super::signature::SignatureError;
use crate::link::Links;
use crate::sys;

/// Class selector 6, "network control" (RFC 4594 §3.1), in the upper six bits of the octet.
const DSCP_CS6: u32 = 48 << 2;

/// What the kernel holds of our output beside our own queue: a peer that stops reading sees old routes at most
/// to this extent.
const SEND_BUFFER: usize = 256 * 1024;

/// How much longer than the send hold time the kernel waits, so that the state machine speaks first.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(30);

/// Why there is no connection, by the step that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("no socket: {0}")]
    Create(#[source] io::Error),
    #[error("socket options: {0}")]
    Options(#[source] io::Error),
    #[error("{0}")]
    Sign(#[from] SignatureError),
    #[error("TTL security cannot be set: {0}; the session stays down rather than run without it")]
    Secure(#[source] io::Error),
    #[error("VRF {vrf}: {source}")]
    Vrf { vrf: String, source: VrfError },
    #[error("source address {address}: {source}")]
    Bind { address: IpAddr, source: io::Error },
    #[error("no router has advertised itself on {0} yet (Router Advertisement, RFC 4861)")]
    Unseen(String),
    #[error("interface {0} is not there, not up, or without a link-local address")]
    NoLink(String),
    #[error("{0}")]
    Connect(#[source] io::Error),
}

/// Why a socket is not in its VRF.
#[derive(Debug, thiserror::Error)]
pub(super) enum VrfError {
    #[error("this node has no such device")]
    Missing,
    #[error("the device of this name is no VRF")]
    OtherKind,
    #[error("{0}")]
    Refused(#[source] io::Error),
}

impl From<SocketError> for ConnectFailure {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Connect(_) => Self::Refused(error.to_string()),
            SocketError::Create(_)
            | SocketError::Options(_)
            | SocketError::Sign(_)
            | SocketError::Secure(_)
            | SocketError::Vrf { .. }
            | SocketError::Unseen(_)
            | SocketError::NoLink(_)
            | SocketError::Bind { .. } => Self::Local(error.to_string()),
        }
    }
}

/// Connects to the peer at `remote`. Waits as long as the kernel does; the state machine has the shorter patience.
pub(super) async fn connect(spec: PeerSpec, remote: SocketAddr) -> Result<TcpStream, SocketError> {
    let socket = create(remote)?;
    if let Some(vrf) = &spec.vrf {
        enter_vrf(&socket, vrf)?;
    }
    set_options(&socket, remote.ip(), spec.ttl()).map_err(SocketError::Options)?;
    secure(&socket, remote.ip(), &spec)?;
    if let Some(mss) = spec.tcp_mss {
        // Before the SYN, which says it.
        socket
            .set_tcp_mss(mss.into())
            .map_err(SocketError::Options)?;
    }
    if let Some(signature) = &spec.signature {
        signature.put_on(&socket, remote.ip())?;
    }
    if let Some(address) = spec.source {
        socket
            .bind(&SocketAddr::new(address, 0).into())
            .map_err(|source| SocketError::Bind { address, source })?;
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    let stream = socket.connect(remote).await.map_err(SocketError::Connect)?;
    be_patient(&stream, &spec)?;
    Ok(stream)
}

/// Makes an accepted connection one of this peer.
pub(super) fn adopt(
    stream: &TcpStream,
    remote: IpAddr,
    spec: &PeerSpec,
) -> Result<(), SocketError> {
    let socket = SockRef::from(stream);
    if spec.min_ttl() > 0 {
        let came_with = sys::saved_syn_ttl(stream).map_err(SocketError::Secure)?;
        if came_with < spec.min_ttl() {
            let far = format!("the peer is far away: its packets arrive with TTL {came_with}");
            return Err(SocketError::Secure(io::Error::other(far)));
        }
    }
    secure(stream, remote, spec)?;
    if let Some(signature) = &spec.signature {
        signature.confirm(stream, remote)?;
    }
    set_options(&socket, remote, spec.ttl()).map_err(SocketError::Options)?;
    be_patient(stream, spec)
}

/// A socket for a peer at this address.
pub(super) fn create(address: SocketAddr) -> Result<Socket, SocketError> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(SocketError::Create)
}

/// Whether the device of the VRF is there and is one; the kernel would bind to any device.
pub(super) fn check_vrf(vrf: Option<&str>, links: &Links) -> Result<(), SocketError> {
    let Some(vrf) = vrf else { return Ok(()) };
    let wrong = |source| SocketError::Vrf {
        vrf: vrf.to_owned(),
        source,
    };
    match links.named(vrf) {
        None => Err(wrong(VrfError::Missing)),
        Some(link) if link.kind.as_deref() != Some("vrf") => Err(wrong(VrfError::OtherKind)),
        Some(_) => Ok(()),
    }
}

/// Puts a socket into a VRF.
pub(super) fn enter_vrf(socket: &Socket, vrf: &str) -> Result<(), SocketError> {
    let bound = socket.bind_device(Some(vrf.as_bytes()));
    bound.map_err(|error| SocketError::Vrf {
        vrf: vrf.to_owned(),
        source: VrfError::Refused(error),
    })
}

fn secure(
    socket: &impl std::os::fd::AsFd,
    remote: IpAddr,
    spec: &PeerSpec,
) -> Result<(), SocketError> {
    match spec.min_ttl() {
        0 => Ok(()),
        min => sys::set_min_ttl(socket, remote, min).map_err(SocketError::Secure),
    }
}

/// The last resort for unacknowledged data on a dead path, and without a hold time the only one. It also cuts peers
/// that shut their window, so it leaves them the send hold time. Not before the connection exists: the SYN would count
/// as unacknowledged too, and the state machine has better words for a peer that does not answer one.
fn be_patient(stream: &TcpStream, spec: &PeerSpec) -> Result<(), SocketError> {
    let patience = spec.hold_time.send_hold() + USER_TIMEOUT_MARGIN;
    SockRef::from(stream)
        .set_tcp_user_timeout(Some(patience))
        .map_err(SocketError::Options)
}

/// What every socket of a session has, and every listener: what it sends first is of the session too.
pub(super) fn set_options(socket: &Socket, family: IpAddr, ttl: u8) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    match family {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(ttl.into())?;
            socket.set_tos_v4(DSCP_CS6)
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(ttl.into())?;
            socket.set_tclass_v6(DSCP_CS6)
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_proto::bgp::HoldTime;
    use tokio::net::TcpListener;

    use super::super::tests::mk_spec;
    use super::super::{Distance, Password, Signature};
    use super::*;

    async fn dial(spec: PeerSpec, port: u16) -> Result<TcpStream, SocketError> {
        connect(spec, (IpAddr::from([127, 0, 0, 1]), port).into()).await
    }

    #[tokio::test]
    async fn the_kernel_is_more_patient_than_the_send_hold_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (seconds, want) in [(0, 120), (9, 120), (90, 210)] {
            let spec = PeerSpec {
                hold_time: HoldTime::new(seconds).unwrap(),
                ..mk_spec("tor", port)
            };
            let stream = dial(spec, port).await.unwrap();
            let got = SockRef::from(&stream).tcp_user_timeout().unwrap();
            assert_eq!(got, Some(Duration::from_secs(want)), "hold {seconds} s");
        }
    }

    #[tokio::test]
    async fn a_secured_connection_sends_with_full_ttl_and_the_listener_sees_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.set_ttl(255).unwrap();
        sys::save_syn(&listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        for (distance, ttl) in [(Distance::Secured, 255), (Distance::Usual, 1)] {
            let spec = PeerSpec {
                distance,
                ..mk_spec("tor", port)
            };
            let _stream = dial(spec.clone(), port).await.unwrap();
            let (accepted, from) = listener.accept().await.unwrap();
            assert_eq!(sys::saved_syn_ttl(&accepted).unwrap(), ttl, "{distance:?}");
            drop((accepted, from));
        }
    }

    #[tokio::test]
    async fn a_connection_from_afar_is_not_taken_for_a_secured_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        sys::save_syn(&listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        let usual = mk_spec("tor", port);
        let secured = PeerSpec {
            distance: Distance::Secured,
            ..usual.clone()
        };
        let _stream = dial(usual, port).await.unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        let error = adopt(&accepted, from.ip(), &secured).unwrap_err();
        assert!(error.to_string().contains("TTL 1"), "{error}");
    }

    #[tokio::test]
    async fn segments_are_as_small_as_asked_for_in_both_directions() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (tcp_mss, small) in [(None, false), (Some(536), true)] {
            let spec = PeerSpec {
                tcp_mss,
                ..mk_spec("tor", port)
            };
            let ours = dial(spec, port).await.unwrap();
            let (theirs, _) = listener.accept().await.unwrap();
            for stream in [ours, theirs] {
                let segment = SockRef::from(&stream).tcp_mss().unwrap();
                assert_eq!(segment <= 536, small, "{tcp_mss:?}: {segment}");
            }
        }
    }

    #[test]
    fn a_vrf_that_is_not_there_is_named() {
        let error = check_vrf(Some("red"), &Links::default()).unwrap_err();
        assert!(error.to_string().contains("VRF red"), "{error}");
        assert!(check_vrf(None, &Links::default()).is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_began_without_its_key_dies_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let unsigned = mk_spec("tor", port);
        let signed = PeerSpec {
            signature: Some(Signature::Md5(Password::new("key").unwrap())),
            ..unsigned.clone()
        };
        let stream = dial(unsigned, port).await.unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        adopt(&accepted, from.ip(), &signed).unwrap();
        stream.try_write(b"unsigned").unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(300), accepted.peek(&mut [0])).await;
        assert!(heard.is_err(), "an unsigned segment was let in: {heard:?}");
    }
}
