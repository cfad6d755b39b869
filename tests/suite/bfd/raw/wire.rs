//! Packets as bytes, and a socket on each side of the port.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::lab::Netns;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Longest time of a script.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
/// Longest time that a single packet is waited for: the slow pace, and a busy machine.
const SOON: Duration = Duration::from_secs(4);
const PORT: u16 = 3784;

/// States as numbers.
pub(super) const ADMIN_DOWN: u8 = 0;
pub(super) const DOWN: u8 = 1;
pub(super) const INIT: u8 = 2;
pub(super) const UP: u8 = 3;

pub(super) const POLL: u8 = 0x20;
pub(super) const FINAL: u8 = 0x10;
pub(super) const AUTHENTICATED: u8 = 0x04;
pub(super) const DEMAND: u8 = 0x02;
pub(super) const MULTIPOINT: u8 = 0x01;

/// A control packet, field by field, right or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) version: u8,
    pub(super) diag: u8,
    pub(super) state: u8,
    pub(super) flags: u8,
    pub(super) multiplier: u8,
    pub(super) length: u8,
    pub(super) mine: u32,
    pub(super) yours: u32,
    /// Microseconds: desired transmit, required receive, required echo receive.
    pub(super) times: [u32; 3],
    /// What follows.
    pub(super) rest: Vec<u8>,
}

impl Said {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![
            self.version << 5 | self.diag,
            self.state << 6 | self.flags,
            self.multiplier,
            self.length,
        ];
        let [transmit, receive, echo] = self.times;
        for word in [self.mine, self.yours, transmit, receive, echo] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(&self.rest);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() >= 24, "{} bytes", bytes.len());
        let word = |at: usize| {
            let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            u32::from_be_bytes(word)
        };
        Ok(Self {
            version: bytes[0] >> 5,
            diag: bytes[0] & 0x1f,
            state: bytes[1] >> 6,
            flags: bytes[1] & 0x3f,
            multiplier: bytes[2],
            length: bytes[3],
            mine: word(4),
            yours: word(8),
            times: [word(12), word(16), word(20)],
            rest: bytes[24..].to_vec(),
        })
    }
}

/// One peer.
pub(super) struct Raw {
    hears: UdpSocket,
    speaks: UdpSocket,
    node: SocketAddrV4,
    /// Where the engine sends from; must never change (RFC 5881 §4).
    port: Option<u16>,
    /// What the engine calls the session.
    pub(super) yours: u32,
    /// The last that was said, for repetition.
    pub(super) says: Said,
}

impl Raw {
    /// A peer at an address of this host.
    pub(super) fn open(netns: &Netns, address: Ipv4Addr, node: Ipv4Addr) -> Result<Self> {
        let bind = |port: u16| {
            let socket = netns.enter(|| std::net::UdpSocket::bind((address, port)))??;
            socket.set_nonblocking(true)?;
            socket.set_ttl(255)?;
            UdpSocket::from_std(socket).context("a socket")
        };
        Ok(Self {
            hears: bind(PORT)?,
            speaks: bind(50_000)?,
            node: SocketAddrV4::new(node, PORT),
            port: None,
            yours: 0,
            says: Said {
                version: 1,
                diag: 0,
                state: DOWN,
                flags: 0,
                multiplier: 3,
                length: 24,
                mine: 0xcafe_0000 | u32::from(address.octets()[3]),
                yours: 0,
                times: [1_000_000, 1_000_000, 0],
                rest: Vec::new(),
            },
        })
    }

    /// The TTL of what is sent from now on.
    pub(super) fn set_ttl(&self, ttl: u32) -> Result<()> {
        self.speaks.set_ttl(ttl).context("TTL")
    }

    pub(super) async fn send(&self, said: &Said) -> Result<()> {
        self.send_bytes(&said.bytes()).await
    }

    pub(super) async fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.speaks.send_to(bytes, self.node).await?;
        Ok(())
    }

    /// Says what it said before, with changes.
    pub(super) async fn say(&mut self, change: impl FnOnce(&mut Said)) -> Result<()> {
        change(&mut self.says);
        self.says.yours = self.yours;
        let said = self.says.clone();
        self.says.flags &= !(POLL | FINAL);
        self.send(&said).await
    }

    /// The next packet before `end`, if there is one.
    pub(super) async fn next(&mut self, end: Instant) -> Result<Option<(Instant, Said)>> {
        let mut bytes = [0; 128];
        let Ok(received) = timeout_at(end, self.hears.recv_from(&mut bytes)).await else {
            return Ok(None);
        };
        let (length, from) = received?;
        let SocketAddr::V4(from) = from else {
            anyhow::bail!("from {from}");
        };
        ensure!(from.port() >= 49152, "source port {}", from.port());
        let port = *self.port.get_or_insert(from.port());
        ensure!(
            from.port() == port,
            "source port {} was {port}",
            from.port()
        );
        let said = Said::read(&bytes[..length])?;
        ensure!(
            said.version == 1 && usize::from(said.length) == length,
            "{said:?}"
        );
        ensure!(said.mine != 0 && said.multiplier != 0, "{said:?}");
        ensure!(said.flags & (MULTIPOINT | DEMAND) == 0, "{said:?}");
        ensure!(said.flags & (POLL | FINAL) != POLL | FINAL, "{said:?}");
        ensure!(said.times[2] == 0, "it wants no echo: {said:?}");
        self.yours = said.mine;
        Ok(Some((Instant::now(), said)))
    }

    /// All packets of some time, each with the moment of its arrival.
    pub(super) async fn listen(&mut self, time: Duration) -> Result<Vec<(Instant, Said)>> {
        let end = Instant::now() + time;
        let mut heard = Vec::new();
        while let Some(packet) = self.next(end).await? {
            heard.push(packet);
        }
        Ok(heard)
    }

    /// Reads on until a packet is like this.
    pub(super) async fn wait(&mut self, what: &str, like: impl Fn(&Said) -> bool) -> Result<Said> {
        let end = Instant::now() + SOON;
        let mut last = None;
        while let Some((_, said)) = self.next(end).await? {
            if like(&said) {
                return Ok(said);
            }
            last = Some(said);
        }
        anyhow::bail!("{what}: nothing like it; the last was {last:?}")
    }

    /// Reads away what has arrived so far.
    pub(super) async fn forget(&mut self) -> Result<()> {
        self.listen(Duration::from_millis(1)).await.map(drop)
    }

    /// Comes Up with these times, in microseconds, and answers the Poll that follows.
    pub(super) async fn rise(&mut self, transmit: u32, receive: u32) -> Result<Said> {
        self.wait("a first packet", |said| said.state == DOWN)
            .await?;
        self.say(|said| (said.state, said.times) = (DOWN, [transmit, receive, 0]))
            .await?;
        let init = self.wait("Init", |said| said.state == INIT).await?;
        ensure!(init.yours == self.says.mine, "our discriminator: {init:?}");
        ensure!(init.times[0] >= 1_000_000, "slow until Up: {init:?}");
        self.say(|said| said.state = UP).await?;
        let up = self.wait("Up", |said| said.state == UP).await?;
        ensure!(up.diag == 0, "{up:?}");
        ensure!(up.flags & POLL != 0, "other times ask to be noted: {up:?}");
        self.say(|said| said.flags |= FINAL).await?;
        self.wait("the end of the poll", |said| said.flags & POLL == 0)
            .await
    }

    /// Listens until the packets of one whole window are like this: the first may still show what was before.
    pub(super) async fn settle(
        &mut self,
        what: &str,
        window: Duration,
        like: impl Fn(&[(Instant, Said)]) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + SOON + window;
        loop {
            let heard = self.listen(window).await?;
            if like(&heard) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{what}: {heard:?}");
        }
    }

    /// Whether a Poll, said now, is answered at once. For those that must not be: see [`Self::expect_answer`].
    pub(super) async fn is_answered(&mut self, poll: &[u8]) -> Result<bool> {
        self.forget().await?;
        self.send_bytes(poll).await?;
        let heard = self.listen(Duration::from_millis(150)).await?;
        Ok(heard.iter().any(|(_, said)| said.flags & FINAL != 0))
    }

    /// A Poll must be answered, soon: it is repeated, for a full receive buffer may lose one.
    pub(super) async fn expect_answer(&mut self, what: &str, poll: &[u8]) -> Result<()> {
        self.forget().await?;
        let end = Instant::now() + SOON;
        let mut unanswered = 0;
        while Instant::now() < end {
            self.send_bytes(poll).await?;
            unanswered += 1;
            if self.next_final(Duration::from_millis(200)).await? {
                // Nobody is to take the answers to repetitions for one to something else.
                for _ in 1..unanswered {
                    self.next_final(Duration::from_millis(200)).await?;
                }
                return Ok(());
            }
        }
        anyhow::bail!("{what}: {unanswered} polls, and no answer")
    }

    /// Reads on until the answer to a Poll; false if there is none in this time.
    async fn next_final(&mut self, time: Duration) -> Result<bool> {
        let end = Instant::now() + time;
        while let Some((_, said)) = self.next(end).await? {
            if said.flags & FINAL != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What it says, with P.
    pub(super) fn poll(&self) -> Said {
        Said {
            flags: self.says.flags | POLL,
            yours: self.yours,
            ..self.says.clone()
        }
    }
}

/// Whether packets kept this distance. All of them together: two alone may look near, since the first was read late.
pub(super) fn keep_distance(heard: &[(Instant, Said)], distance: Duration) -> bool {
    /// What the test may be late with the first.
    const LATE: Duration = Duration::from_millis(200);
    let mut moments = heard.iter().map(|(at, _)| *at);
    let Some(first) = moments.next() else {
        return true;
    };
    let (last, gaps) = moments.fold((first, 0), |(_, gaps), at| (at, gaps + 1));
    last - first + LATE >= distance * gaps
}
