//! One TCP connection of a raw peer: bytes out, messages in, and how it ends.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{MsgFlags, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::bytes::{self, HEADER, Open, Update, kind};

/// Time for anything that should come at once, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// A ROUTE-REFRESH for IPv4: the answer shows that everything before it was read and endured.
pub const PING: [u8; 4] = [0, 1, 0, 1];

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Type octet.
    pub kind: u8,
    /// What follows the header.
    pub body: Vec<u8>,
    /// When its last byte was read.
    pub at: Instant,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// An orderly end: everything that was said arrived.
    Fin,
    /// The connection was torn down; last words may be lost.
    Reset,
}

/// A connection to the speaker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    taken: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            taken: 0,
        })
    }

    /// Sends bytes in one write.
    ///
    /// # Errors
    /// When the speaker has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let written = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        written
            .context("the speaker does not read")?
            .context("sending")
    }

    /// Sends a flood, and reads meanwhile: a peer that only talks would make the speaker wait for it.
    ///
    /// # Errors
    /// When the speaker ends the session.
    pub async fn flood(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        let end = Instant::now() + 6 * PATIENCE;
        while !rest.is_empty() {
            ensure!(Instant::now() < end, "{} bytes are left", rest.len());
            let ready = self
                .stream
                .ready(Interest::READABLE | Interest::WRITABLE)
                .await?;
            if ready.is_readable()
                && let Some(heard) = self.next_within(Duration::from_millis(1)).await?
            {
                ensure!(
                    matches!(&heard, Heard::Message(message) if message.kind != kind::NOTIFICATION),
                    "the session did not go on: {heard:?}"
                );
            }
            match self.stream.try_write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("sending"),
            }
        }
        Ok(())
    }

    /// Sends bytes in segments of `size`, with a pause between them.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn dribble(&mut self, bytes: &[u8], size: usize, pause: Duration) -> Result<()> {
        for piece in bytes.chunks(size) {
            self.send(piece).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// What comes next within `limit`; `None` if nothing does.
    ///
    /// # Errors
    /// When what comes is no BGP: the speaker itself must never be malformed.
    pub async fn next_within(&mut self, limit: Duration) -> Result<Option<Heard>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(message) = self.cut()? {
                return Ok(Some(Heard::Message(message)));
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout_at(deadline, read).await {
                Err(_) => return Ok(None),
                Ok(Ok(0)) => return Ok(Some(Heard::Fin)),
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(Some(Heard::Reset));
                }
                Ok(Err(error)) => return Err(error).context("reading"),
            }
        }
    }

    /// What comes next, soon.
    ///
    /// # Errors
    /// When nothing does.
    pub async fn next(&mut self) -> Result<Heard> {
        let heard = self.next_within(PATIENCE).await?;
        heard.with_context(|| format!("nothing came for {PATIENCE:?}"))
    }

    /// The next message, which must be of this type. Others that a session may bring at any time are passed over:
    /// KEEPALIVE, and UPDATE unless it is asked for.
    ///
    /// # Errors
    /// When another one comes, or the end.
    pub async fn expect(&mut self, wanted: u8) -> Result<Message> {
        loop {
            match self.next().await? {
                Heard::Message(message) if message.kind == wanted => return Ok(message),
                Heard::Message(Message {
                    kind: kind::KEEPALIVE | kind::UPDATE,
                    ..
                }) if wanted != kind::OPEN => {}
                other => bail!("wanted a message of type {wanted}, got {other:?}"),
            }
        }
    }

    /// Exchanges OPEN and KEEPALIVE; returns the body of the speaker's OPEN.
    ///
    /// # Errors
    /// When the speaker does not take ours.
    pub async fn establish(&mut self, open: &Open) -> Result<Vec<u8>> {
        let theirs = self.expect(kind::OPEN).await.context("its OPEN")?;
        self.send(&open.bytes()).await?;
        self.confirm().await?;
        Ok(theirs.body)
    }

    /// Ends the handshake after both OPENs.
    ///
    /// # Errors
    /// When something else than a KEEPALIVE comes.
    pub async fn confirm(&mut self) -> Result<()> {
        match self.next().await.context("its first KEEPALIVE")? {
            Heard::Message(Message {
                kind: kind::KEEPALIVE,
                ..
            }) => {}
            other => bail!("wanted its first KEEPALIVE, got {other:?}"),
        }
        self.send(&bytes::keepalive()).await
    }

    /// The next UPDATE.
    ///
    /// # Errors
    /// When something else comes, KEEPALIVE and ROUTE-REFRESH aside, or what comes can not be cut.
    pub async fn update(&mut self) -> Result<Update> {
        loop {
            match self.next().await.context("an UPDATE")? {
                Heard::Message(Message {
                    kind: kind::KEEPALIVE | kind::REFRESH,
                    ..
                }) => {}
                Heard::Message(Message {
                    kind: kind::UPDATE,
                    body,
                    ..
                }) => {
                    return Update::cut(&body)
                        .with_context(|| format!("a malformed UPDATE: {body:?}"));
                }
                other => bail!("wanted an UPDATE, got {other:?}"),
            }
        }
    }

    /// The next UPDATE that is as wished; others are passed over.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn update_where(&mut self, wish: impl Fn(&Update) -> bool) -> Result<Update> {
        loop {
            let update = self.update().await?;
            if wish(&update) {
                return Ok(update);
            }
        }
    }

    /// Reads until the speaker has told everything.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn end_of_rib(&mut self) -> Result<()> {
        self.update_where(Update::ends_rib).await.map(drop)
    }

    /// All messages that come within `time`, KEEPALIVEs aside.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn collect(&mut self, time: Duration) -> Result<Vec<Message>> {
        let (end, mut messages) = (Instant::now() + time, Vec::new());
        while let Some(heard) = self.next_within(end - Instant::now()).await? {
            match heard {
                Heard::Message(Message {
                    kind: kind::KEEPALIVE,
                    ..
                }) => self.send(&bytes::keepalive()).await?,
                Heard::Message(message) if message.kind != kind::NOTIFICATION => {
                    messages.push(message);
                }
                other => bail!("the session did not go on: {other:?}"),
            }
        }
        Ok(messages)
    }

    /// Shows that the session is up and has digested all that was sent: asks for the IPv4 routes, which every stage
    /// has, and waits for the first.
    ///
    /// # Errors
    /// When the session ends instead.
    pub async fn alive(&mut self) -> Result<()> {
        self.hush().await?;
        self.send(&bytes::message(kind::REFRESH, &PING)).await?;
        loop {
            match self.next().await.context("the answer to a ROUTE-REFRESH")? {
                Heard::Message(Message {
                    kind: kind::UPDATE,
                    body,
                    ..
                }) if body.len() > 4 => return Ok(()),
                Heard::Message(Message {
                    kind: kind::UPDATE | kind::KEEPALIVE | kind::REFRESH,
                    ..
                }) => {}
                other => bail!("the session did not go on: {other:?}"),
            }
        }
    }

    /// Reads until nothing has come for a moment; keepalives are answered.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn hush(&mut self) -> Result<()> {
        while let Some(heard) = self.next_within(Duration::from_millis(150)).await? {
            match heard {
                Heard::Message(Message {
                    kind: kind::KEEPALIVE,
                    ..
                }) => {
                    self.send(&bytes::keepalive()).await?;
                }
                Heard::Message(Message {
                    kind: kind::UPDATE | kind::REFRESH,
                    ..
                }) => {}
                other => bail!("the session did not go on: {other:?}"),
            }
        }
        Ok(())
    }

    /// The speaker ends the session with this NOTIFICATION, and in order, so that it arrives.
    ///
    /// # Errors
    /// When it says something else or nothing, or resets the connection.
    pub async fn refused(&mut self, code: u8, subcode: u8, data: &[u8]) -> Result<()> {
        let told = self.expect(kind::NOTIFICATION).await?;
        let want = [&[code, subcode], data].concat();
        ensure!(
            told.body == want,
            "wanted NOTIFICATION {want:?}, got {:?}",
            told.body
        );
        let end = self
            .next()
            .await
            .context("the end after its NOTIFICATION")?;
        ensure!(end == Heard::Fin, "wanted an orderly end, got {end:?}");
        Ok(())
    }

    /// The speaker ends the session without a word.
    ///
    /// # Errors
    /// When it sends a NOTIFICATION or stays.
    pub async fn dropped(&mut self) -> Result<()> {
        loop {
            match self.next().await.context("the end of the connection")? {
                Heard::Fin | Heard::Reset => return Ok(()),
                Heard::Message(Message {
                    kind: kind::KEEPALIVE | kind::UPDATE | kind::OPEN,
                    ..
                }) => {}
                other @ Heard::Message(_) => bail!("wanted a silent end, got {other:?}"),
            }
        }
    }

    /// Where the speaker connects from.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn from(&self) -> Result<IpAddr> {
        let peer = self
            .stream
            .peer_addr()
            .context("the address of the speaker")?;
        Ok(peer.ip().to_canonical())
    }

    /// Sends one octet as urgent data (RFC 793).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn urgent(&self, octet: u8) -> Result<()> {
        let sent = send(self.stream.as_raw_fd(), &[octet], MsgFlags::MSG_OOB);
        sent.map(drop).context("sending urgent data")
    }

    /// Closes the sending half.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub async fn finish(&mut self) -> Result<()> {
        self.stream
            .shutdown()
            .await
            .context("closing the sending half")
    }

    /// Ends the connection with a RST.
    ///
    /// # Errors
    /// When the kernel refuses the option.
    pub fn reset(self) -> Result<()> {
        self.stream.set_zero_linger().context("SO_LINGER")
    }

    /// Cuts a message off the buffer.
    fn cut(&mut self) -> Result<Option<Message>> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((header, _)) = rest.split_at_checked(HEADER) else {
            return Ok(None);
        };
        let (marker, rest_of_header) = header.split_at(16);
        let &[high, low, kind] = rest_of_header else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        ensure!(
            marker == [0xff; 16] && (HEADER..=bytes::MAX).contains(&length),
            "the speaker is malformed: {header:?}"
        );
        let Some(body) = rest.get(HEADER..length) else {
            return Ok(None);
        };
        let message = Message {
            kind,
            body: body.to_vec(),
            at: Instant::now(),
        };
        self.taken += length;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        Ok(Some(message))
    }
}
