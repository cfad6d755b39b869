//! One TCP connection with its two bounded buffers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan_proto::bgp::session::Output;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// A few messages of the largest size; what is left after cutting is always less than one.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// How long a closing connection may take to say its last words.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How much is read and thrown away while closing: more than the kernel has taken from the peer before it learns that we
/// are done (`tcp_rmem` ends at 6 MiB).
const DRAIN_BYTES: u64 = 8 << 20;

/// A connection to a peer.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Filled up by the task to its high-water mark, plus control messages.
    queue: Vec<u8>,
    /// How much of the queue has been written.
    written: usize,
    local: IpAddr,
    remote: IpAddr,
    /// Of a connection that the peer opened: its place among those of its source.
    place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Takes over a stream that is connected.
    pub(super) fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>) -> io::Result<Self> {
        let plain = |address: SocketAddr| address.ip().to_canonical();
        let (local, remote) = (plain(stream.local_addr()?), plain(stream.peer_addr()?));
        Ok(Self {
            stream,
            received: Vec::with_capacity(RECEIVE_BUFFER),
            queue: Vec::new(),
            written: 0,
            local,
            remote,
            place,
        })
    }

    /// Our address on it.
    pub(super) const fn local(&self) -> IpAddr {
        self.local
    }

    /// The peer's.
    pub(super) const fn remote(&self) -> IpAddr {
        self.remote
    }

    /// The output queue, to append to.
    pub(super) const fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.queue
    }

    /// How many bytes wait to be written.
    pub(super) const fn backlog(&self) -> usize {
        self.queue.len() - self.written
    }

    /// Waits until something can be read, or written if anything waits.
    pub(super) async fn ready(&self) -> io::Result<Ready> {
        let interest = match self.backlog() {
            0 => Interest::READABLE,
            _ => Interest::READABLE | Interest::WRITABLE,
        };
        self.stream.ready(interest).await
    }

    /// Writes what the kernel takes; counts it in `sent`.
    pub(super) fn write(&mut self, sent: &mut usize) -> io::Result<Output> {
        let mut moved = false;
        while let Some(rest) = self
            .queue
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match self.stream.try_write(rest) {
                Ok(count) => {
                    self.written += count;
                    *sent += count;
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(if moved { Output::Moving } else { Output::Stuck });
                }
                Err(error) => return Err(error),
            }
        }
        self.queue.clear();
        self.written = 0;
        Ok(Output::Drained)
    }

    /// Moves what waits to the front, so that appending does not grow the queue for ever.
    pub(super) fn compact(&mut self) {
        self.queue.drain(..self.written);
        self.written = 0;
    }

    /// Reads what is there, up to the size of the buffer; says how much, 0 for nothing right now.
    pub(super) fn read(&mut self) -> io::Result<usize> {
        match self.stream.try_read_buf(&mut self.received) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed by the peer",
            )),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// What was read and not yet consumed.
    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Drops `count` bytes from the front of what was read.
    pub(super) fn consume(&mut self, count: usize) {
        self.received.drain(..count.min(self.received.len()));
    }

    /// Says the last words and closes: flush, half-close, read and discard until the peer has closed too. Closing
    /// with unread input would make the kernel send a reset, and the peer might never see our NOTIFICATION.
    pub(super) async fn drain(self) {
        let Self {
            mut stream,
            queue,
            written,
            place,
            ..
        } = self;
        let last_words = async {
            stream
                .write_all(queue.get(written..).unwrap_or_default())
                .await?;
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(DRAIN_BYTES), &mut tokio::io::sink()).await
        };
        match timeout(DRAIN_TIME, last_words).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "connection broke while closing"),
            Err(_) => tracing::debug!("the peer did not close in time"),
        }
        drop(place);
    }
}
