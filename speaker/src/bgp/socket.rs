//! Opening a connection: all that must hold before the first packet leaves.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan_proto::bgp::session::ConnectFailure;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::PeerSpec;
use crate::sys::set_md5_key;

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
    #[error(
        "TCP MD5 password cannot be set: {0}; the session stays down rather than run without it"
    )]
    Md5(#[source] io::Error),
    #[error("source address {address}: {source}")]
    Bind { address: IpAddr, source: io::Error },
    #[error("{0}")]
    Connect(#[source] io::Error),
}

impl From<SocketError> for ConnectFailure {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Connect(_) => Self::Refused(error.to_string()),
            SocketError::Create(_)
            | SocketError::Options(_)
            | SocketError::Md5(_)
            | SocketError::Bind { .. } => Self::Local(error.to_string()),
        }
    }
}

/// Connects to the peer. Waits as long as the kernel does; the state machine has the shorter patience.
pub(super) async fn connect(spec: PeerSpec) -> Result<TcpStream, SocketError> {
    let socket = Socket::new(
        Domain::for_address(spec.remote()),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .map_err(SocketError::Create)?;
    set_options(&socket, &spec).map_err(SocketError::Options)?;
    if let Some(password) = &spec.password {
        set_md5_key(&socket, spec.address, password.key()).map_err(SocketError::Md5)?;
    }
    if let Some(address) = spec.source {
        socket
            .bind(&SocketAddr::new(address, 0).into())
            .map_err(|source| SocketError::Bind { address, source })?;
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    let stream = socket
        .connect(spec.remote())
        .await
        .map_err(SocketError::Connect)?;
    // The last resort for unacknowledged data on a dead path, and without a hold time the only one. It also cuts peers
    // that shut their window, so it leaves them the send hold time. Not before: the SYN would count as unacknowledged
    // too, and the state machine has better words for a peer that does not answer one.
    let patience = spec.hold_time.send_hold() + USER_TIMEOUT_MARGIN;
    SockRef::from(&stream)
        .set_tcp_user_timeout(Some(patience))
        .map_err(SocketError::Options)?;
    Ok(stream)
}

fn set_options(socket: &Socket, spec: &PeerSpec) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    let ttl = u32::from(spec.ttl());
    match spec.address {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(ttl)?;
            socket.set_tos_v4(DSCP_CS6)
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(ttl)?;
            socket.set_tclass_v6(DSCP_CS6)
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_proto::bgp::HoldTime;
    use tokio::net::TcpListener;

    use super::super::tests::mk_spec;
    use super::*;

    #[tokio::test]
    async fn the_kernel_is_more_patient_than_the_send_hold_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (seconds, want) in [(0, 120), (9, 120), (90, 210)] {
            let spec = PeerSpec {
                hold_time: HoldTime::new(seconds).unwrap(),
                ..mk_spec("tor", port)
            };
            let stream = connect(spec).await.unwrap();
            let got = SockRef::from(&stream).tcp_user_timeout().unwrap();
            assert_eq!(got, Some(Duration::from_secs(want)), "hold {seconds} s");
        }
    }
}
