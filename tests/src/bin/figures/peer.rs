//! A BGP router that does nothing but write down when it heard of which route: what FRR or GoBGP can be asked for is too
//! coarse for figures below a millisecond.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portolan_proto::bgp::session::{Config, Listen, Offer, PeerAs};
use portolan_proto::bgp::{
    Asn, Families, Family, Frame, HoldTime, Kind, Open, PORT, Peek, Prefix, PrefixError,
    write_keepalive,
};
use portolan_proto::read::Reader;
use portolan_tests::lab::Host;
use portolan_tests::world::{NODE_AS, ROUTER_AS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A third of the shortest hold time that the scenarios use.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// What the present session has said.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Which session since the start; 0 before the first.
    pub(crate) session: usize,
    /// IPv4 routes that are announced, and since when.
    pub(crate) routes: HashMap<IpAddr, Instant>,
    /// Routes that were withdrawn, and when.
    pub(crate) withdrawn: HashMap<IpAddr, Instant>,
    /// UPDATE messages, End-of-RIB included.
    pub(crate) updates: usize,
    /// Octets of all messages.
    pub(crate) octets: usize,
    /// When the last UPDATE with a route in it came.
    pub(crate) last: Option<Instant>,
    /// End-of-RIB for IPv4 has come.
    pub(crate) complete: bool,
}

/// The listening router. It ends with the program.
pub(crate) struct Peer {
    heard: watch::Receiver<Heard>,
}

impl Peer {
    /// Listens on a router of the lab for one speaker.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let address = SocketAddr::new(host.address().v4.into(), PORT);
        let listener = host
            .netns()
            .enter(|| std::net::TcpListener::bind(address))?;
        let listener = listener.with_context(|| format!("listening on {address}"))?;
        listener
            .set_nonblocking(true)
            .context("the listener of the router")?;
        let listener = TcpListener::from_std(listener).context("the listener of the router")?;
        let hello = hello(&host.address().v4.to_string())?;
        let (sender, heard) = watch::channel(Heard::default());
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                sender.send_modify(|heard| {
                    *heard = Heard {
                        session: heard.session + 1,
                        ..Heard::default()
                    };
                });
                if let Err(error) = session(stream, &hello, &sender).await {
                    eprintln!("the router that listens: {error:#}");
                }
            }
        });
        Ok(Self { heard })
    }

    /// What was heard so far, to look at and to wait on.
    pub(crate) fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }
}

/// OPEN and the KEEPALIVE that confirms the other side's.
pub(crate) fn hello(id: &str) -> Result<Vec<u8>> {
    let config = Config {
        local_as: Asn::new(ROUTER_AS).context("the AS of the router")?,
        peer_as: PeerAs::Exactly(Asn::new(NODE_AS).context("the AS of the nodes")?),
        router_id: id.parse().context("the identifier of the router")?,
        hold_time: HoldTime::DEFAULT,
        keepalive: None,
        connect_retry: None,
        families: Families::only(Family::V4Unicast),
        listen: Listen::Passive,
        extended_next_hop: false,
        role: None,
        graceful_restart: None,
        authenticated: false,
        single_hop: true,
    };
    let capabilities = Offer::FULL.capabilities(&config);
    let mut bytes = Vec::new();
    Open::ours(
        config.local_as,
        config.hold_time,
        config.router_id,
        capabilities,
    )
    .encode(&mut bytes);
    write_keepalive(&mut bytes);
    Ok(bytes)
}

async fn session(mut stream: TcpStream, hello: &[u8], heard: &watch::Sender<Heard>) -> Result<()> {
    stream.set_nodelay(true).context("TCP_NODELAY")?;
    stream.write_all(hello).await.context("sending OPEN")?;
    let mut keepalive = Vec::new();
    write_keepalive(&mut keepalive);
    let mut pace = tokio::time::interval(KEEPALIVE);
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        tokio::select! {
            // A speaker that is killed resets the connection: an end like any other.
            read = stream.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => take_in(&mut buffer, heard)?,
            },
            _ = pace.tick() => stream.write_all(&keepalive).await.context("sending KEEPALIVE")?,
        }
    }
}

fn take_in(buffer: &mut Vec<u8>, heard: &watch::Sender<Heard>) -> Result<()> {
    let now = tokio::time::Instant::now().into_std();
    let mut done = 0;
    while let Peek::Whole(frame, length) =
        Frame::peek(buffer.get(done..).unwrap_or_default()).context("reading a message")?
    {
        if frame.kind == Kind::Update {
            let (withdrawn, announced) = routes(frame.body).context("reading an UPDATE")?;
            heard.send_modify(|heard| heard.note(now, &withdrawn, &announced));
        }
        done += length;
    }
    buffer.drain(..done);
    heard.send_modify(|heard| heard.octets += done);
    Ok(())
}

impl Heard {
    fn note(&mut self, now: Instant, withdrawn: &[IpAddr], announced: &[IpAddr]) {
        self.updates += 1;
        if withdrawn.is_empty() && announced.is_empty() {
            self.complete = true;
            return;
        }
        self.last = Some(now);
        for address in withdrawn {
            self.routes.remove(address);
            self.withdrawn.insert(*address, now);
        }
        for address in announced {
            self.withdrawn.remove(address);
            self.routes.insert(*address, now);
        }
    }
}

/// The IPv4 routes of an UPDATE, withdrawn and announced (RFC 4271 §4.3).
fn routes(body: &[u8]) -> Result<(Vec<IpAddr>, Vec<IpAddr>), PrefixError> {
    let mut reader = Reader::new(body);
    let length = reader.u16()?;
    let withdrawn = addresses(reader.within(length.into())?)?;
    let attributes = reader.u16()?;
    reader.take(attributes.into())?;
    Ok((withdrawn, addresses(reader)?))
}

fn addresses(mut reader: Reader<'_>) -> Result<Vec<IpAddr>, PrefixError> {
    let mut found = Vec::new();
    while !reader.is_empty() {
        let prefix = Prefix::decode(Family::V4Unicast, &mut reader)?;
        found.push(prefix.network().ip());
    }
    Ok(found)
}
