//! A pod: a namespace behind a node whose one server says who it is and who it thinks is asking.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::address::Dual;
use super::netns::Netns;
use super::node::Node;
use super::probe::{Answer, REQUEST_LIMIT};
use super::wiring;

/// Room for datagrams that wait to be sent back.
const ECHO_BUFFER: usize = 4 << 20;

/// A running pod. Dropping it stops the server; the addresses stay until the lab ends.
pub struct Pod {
    name: String,
    node: String,
    address: Dual,
    netns: Netns,
    _server: DropGuard,
}

impl Pod {
    /// Where its server listens, in both families: TCP for questions, UDP for [pulses](super::Pulse).
    pub const PORT: u16 = 8080;

    pub(super) fn start(node: &Node, name: &str, place: u8) -> Result<Self> {
        let site = node.host.site();
        let (netns, address) = wiring::mk_pod(site, node, name, place)?;
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), Self::PORT); // IPv4 arrives there as well
        let listener = netns
            .enter(|| std::net::TcpListener::bind(any))?
            .context("listening in the pod")?;
        listener
            .set_nonblocking(true)
            .context("handing the listener to tokio")?;
        let echo = netns
            .enter(|| std::net::UdpSocket::bind(any))?
            .context("listening for datagrams in the pod")?;
        // One thread serves all pods of a lab: what waits for it is late, not lost.
        setsockopt(&echo, sockopt::RcvBufForce, &ECHO_BUFFER).context("room for datagrams")?;
        echo.set_nonblocking(true)
            .context("handing the socket to tokio")?;
        let stop = CancellationToken::new();
        let until = stop.clone();
        site.spawn(async move {
            until.run_until_cancelled(send_back(echo)).await;
        });
        let (until, who) = (stop.clone(), (name.to_owned(), node.name().to_owned()));
        site.spawn(async move {
            until.run_until_cancelled(serve(listener, who)).await;
        });
        let (name, node) = (name.to_owned(), node.name().to_owned());
        Ok(Self {
            name,
            node,
            address,
            netns,
            _server: stop.drop_guard(),
        })
    }

    /// The name it was given, and answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its addresses.
    #[must_use]
    pub fn address(&self) -> Dual {
        self.address
    }

    /// Its namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where to reach its server in the family of `like`.
    #[must_use]
    pub fn socket(&self, like: IpAddr) -> SocketAddr {
        SocketAddr::new(self.address.of_family(like), Self::PORT)
    }
}

/// Datagrams go back as they came.
async fn send_back(socket: std::net::UdpSocket) {
    let Ok(socket) = UdpSocket::from_std(socket) else {
        return eprintln!("a pod cannot listen for datagrams");
    };
    let mut buffer = [0; 64];
    loop {
        // An error is that of one sender, who is gone.
        if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let datagram = buffer.get(..length).unwrap_or_default();
            let _gone = socket.send_to(datagram, from).await;
        }
    }
}

async fn serve(listener: std::net::TcpListener, (pod, node): (String, String)) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("pod {pod} on {node} cannot listen: {error}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let client = client.ip().to_canonical();
                let answer = Answer {
                    pod: pod.clone(),
                    node: node.clone(),
                    client,
                };
                tokio::spawn(async move {
                    // The client sees a failed exchange itself and reports it.
                    let _client_knows = timeout(REQUEST_LIMIT, reply(stream, &answer)).await;
                });
            }
            Err(error) => eprintln!("pod {pod} on {node} cannot accept: {error}"),
        }
    }
}

/// HTTP/1.0, as much of it as a probe needs: one request, one answer, end of connection.
async fn reply(mut stream: TcpStream, answer: &Answer) -> Result<()> {
    let mut request = [0; 2048];
    let mut length = 0;
    while !request
        .get(..length)
        .is_some_and(|read| read.ends_with(b"\r\n\r\n"))
    {
        let rest = request.get_mut(length..).unwrap_or_default();
        let read = stream.read(rest).await.context("reading the request")?;
        anyhow::ensure!(read > 0, "the request ends before its headers do");
        length += read;
    }
    let body = serde_json::to_string(answer).context("writing the answer")?;
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len() + 1
    );
    stream
        .write_all(format!("{head}{body}\n").as_bytes())
        .await
        .context("answering")?;
    stream.shutdown().await.context("ending the answer")
}
