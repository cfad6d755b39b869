//! A router that floods whoever connects with a table of the size of the Internet's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portolan_proto::bgp::{Frame, Kind, PORT, Peek, write_keepalive};
use portolan_tests::lab::Host;
use portolan_tests::world::ROUTER_AS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::load::now;
use crate::peer;

/// Routes that share their attributes, and so a message: about what full tables have.
const PER_MESSAGE: u32 = 50;
/// Between KEEPALIVEs: far below every hold time here.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// When the last session was flooded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flooded {
    /// When it was established.
    pub(crate) begun: Option<Instant>,
    /// When the socket had taken everything.
    pub(crate) sent: Option<Instant>,
    /// Whether the peer has ended the session.
    pub(crate) broken: bool,
}

/// Listens on a router of the lab. It ends with the program.
pub(crate) fn start(host: &Host, routes: u32) -> Result<watch::Receiver<Flooded>> {
    let address = SocketAddr::new(host.address().v4.into(), PORT);
    let listener = host
        .netns()
        .enter(|| std::net::TcpListener::bind(address))?;
    let listener = listener.with_context(|| format!("listening on {address}"))?;
    listener
        .set_nonblocking(true)
        .context("the listener of the flood")?;
    let listener = TcpListener::from_std(listener).context("the listener of the flood")?;
    let hello = peer::hello(&host.address().v4.to_string())?;
    let water = messages(host.address().v4.octets(), routes);
    let (sender, receiver) = watch::channel(Flooded::default());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            sender.send_replace(Flooded::default());
            let ended = flood(stream, &hello, &water, &sender).await;
            sender.send_modify(|flooded| flooded.broken = true);
            if let Err(error) = ended {
                eprintln!("the flood: {error:#}");
            }
        }
    });
    Ok(receiver)
}

async fn flood(
    mut stream: TcpStream,
    hello: &[u8],
    water: &[u8],
    told: &watch::Sender<Flooded>,
) -> Result<()> {
    stream.write_all(hello).await.context("sending OPEN")?;
    confirmed(&mut stream).await?;
    told.send_modify(|flooded| flooded.begun = Some(now()));
    let (mut read, mut write) = stream.split();
    let deaf = async {
        let mut sink = vec![0; 4096];
        while read.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    };
    let pour = async {
        write.write_all(water).await.context("flooding")?;
        told.send_modify(|flooded| flooded.sent = Some(now()));
        let mut keepalive = Vec::new();
        write_keepalive(&mut keepalive);
        loop {
            tokio::time::sleep(KEEPALIVE).await;
            write.write_all(&keepalive).await.context("KEEPALIVE")?;
        }
    };
    tokio::select! {
        () = deaf => Ok(()),
        ended = pour => ended,
    }
}

/// Reads until the other side's KEEPALIVE.
async fn confirmed(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let read = stream.read_buf(&mut buffer).await.context("reading OPEN")?;
        anyhow::ensure!(read > 0, "closed before the session was established");
        while let Peek::Whole(frame, length) = Frame::peek(&buffer).context("reading OPEN")? {
            let kind = frame.kind;
            buffer.drain(..length);
            if kind == Kind::Keepalive {
                return Ok(());
            }
        }
    }
}

/// UPDATEs for that many /24 from 1.0.0.0 on, with paths of three.
fn messages(hop: [u8; 4], routes: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for first in (0..routes).step_by(PER_MESSAGE as usize) {
        let path = [ROUTER_AS, 3_000_000 + first / PER_MESSAGE, 64_496];
        let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 14, 2, 3];
        attributes.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
        attributes.extend([0x40, 3, 4]);
        attributes.extend(hop);
        let last = (first + PER_MESSAGE).min(routes);
        let nlri = (first..last).flat_map(|route| {
            let [_, high, mid, low] = route.to_be_bytes();
            [24, 1 + high, mid, low]
        });
        let mut body = vec![0, 0];
        body.extend(
            u16::try_from(attributes.len())
                .unwrap_or_default()
                .to_be_bytes(),
        );
        body.extend(attributes);
        body.extend(nlri);
        bytes.extend([0xff; 16]);
        bytes.extend(
            u16::try_from(19 + body.len())
                .unwrap_or_default()
                .to_be_bytes(),
        );
        bytes.push(2);
        bytes.extend(body);
    }
    bytes
}
