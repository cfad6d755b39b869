//! The netlink socket behind [`super::Links`].
//!
//! Netlink loses messages: when a burst overruns the socket, the kernel drops what does not fit and
//! says so once (`ENOBUFS`). The only remedy is to ask for everything again, which is what
//! happens, at most once in [`REDUMP_PAUSE`]. The socket is read here directly, without
//! rtnetlink's connection task, because that one hands messages on through an unbounded queue.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Links;

/// Asked of the kernel, which grants up to `net.core.rmem_max`; larger bursts mean a new dump.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel builds dump parts of up to 32 KiB; twice that is never truncated.
const DATAGRAM_MAX: usize = 64 << 10;
/// A dump that takes longer has lost its end.
const DUMP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before everything is asked again after loss or failure.
const REDUMP_PAUSE: Duration = Duration::from_millis(200);

const ENOBUFS: i32 = nix::libc::ENOBUFS;

/// Why the node's links are not known.
#[derive(Debug, Error)]
pub enum Error {
    /// The netlink socket could not be made.
    #[error("open netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The kernel did not take a request.
    #[error("send netlink request: {0}")]
    Request(#[source] io::Error),
    /// Reading failed.
    #[error("receive from netlink: {0}")]
    Receive(#[source] io::Error),
    /// Messages were lost, or the tables changed while they were read; ask again.
    #[error("netlink lost messages")]
    Lost,
    /// The kernel refused a request.
    #[error("kernel refused the netlink request with code {0}")]
    Refused(i32),
    /// The answer did not come to its end in time.
    #[error("no complete netlink answer within {DUMP_TIMEOUT:?}")]
    Timeout,
}

/// Reads all links, then follows their changes until `stop` is cancelled.
///
/// The returned receiver has a complete picture from the start. It keeps its last value through
/// every failure of the socket, which is reopened for as long as it takes.
pub async fn watch(stop: CancellationToken) -> Result<watch::Receiver<Arc<Links>>, Error> {
    let (socket, links) = Socket::open_and_dump().await?;
    let (sender, receiver) = watch::channel(Arc::new(links));
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow(socket, &sender) => {}
            () = sender.closed() => {}
        }
    });
    Ok(receiver)
}

/// Publishes changes for ever.
async fn follow(mut socket: Socket, sender: &watch::Sender<Arc<Links>>) {
    loop {
        let error = match socket.publish_events(sender).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        tracing::warn!(%error, "links are read again");
        socket = loop {
            sleep(REDUMP_PAUSE).await;
            match Socket::open_and_dump().await {
                Ok((socket, mut links)) => {
                    links.succeed(&sender.borrow());
                    publish(sender, links);
                    break socket;
                }
                Err(error) => tracing::warn!(%error, "links cannot be read"),
            }
        };
    }
}

fn publish(sender: &watch::Sender<Arc<Links>>, links: Links) {
    sender.send_if_modified(|current| {
        let changed = **current != links;
        if changed {
            *current = Arc::new(links);
        }
        changed
    });
}

/// A netlink socket that is subscribed to link and address changes.
struct Socket {
    inner: TokioSocket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// What to dump. Links come first: an address belongs to a link that is known.
#[derive(Clone, Copy)]
enum Table {
    Links,
    Addresses,
}

impl Socket {
    /// Subscribes before it asks, so no change falls between the answer and the first event.
    async fn open_and_dump() -> Result<(Self, Links), Error> {
        let mut socket = Self::open().map_err(Error::Open)?;
        let mut links = Links::default();
        for table in [Table::Links, Table::Addresses] {
            socket.request(table).await?;
            timeout(DUMP_TIMEOUT, socket.read_dump(&mut links))
                .await
                .map_err(|_elapsed| Error::Timeout)??;
        }
        Ok((socket, links))
    }

    fn open() -> io::Result<Self> {
        let mut inner = TokioSocket::new(NETLINK_ROUTE)?;
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ]
        .iter()
        .fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        inner.socket_mut().bind(&SocketAddr::new(0, groups))?;
        inner.socket_mut().set_rx_buf_sz(RECEIVE_BUFFER)?;
        Ok(Self {
            inner,
            buffer: Vec::with_capacity(DATAGRAM_MAX),
            sequence: 0,
        })
    }

    async fn request(&mut self, table: Table) -> Result<(), Error> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let payload = match table {
            Table::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
            Table::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        };
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(payload));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.inner
            .send_to(&bytes, &SocketAddr::new(0, 0))
            .await
            .map_err(Error::Request)?;
        Ok(())
    }

    /// Takes in everything up to the end of the dump, events in between included: they arrive in
    /// the order in which the kernel made them.
    async fn read_dump(&mut self, links: &mut Links) -> Result<(), Error> {
        loop {
            self.receive().await?;
            let mut rest = self.buffer.as_slice();
            while let Some(message) = next_message(&mut rest) {
                let ours = message.header.sequence_number == self.sequence;
                if ours && message.header.flags & NLM_F_DUMP_INTR != 0 {
                    return Err(Error::Lost);
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => links.apply(&inner),
                    NetlinkPayload::Done(_) if ours => return Ok(()),
                    NetlinkPayload::Error(error) if ours => {
                        return Err(Error::Refused(error.code.map_or(0, std::num::NonZero::get)));
                    }
                    NetlinkPayload::Overrun(_) => return Err(Error::Lost),
                    _ => {}
                }
            }
        }
    }

    async fn publish_events(
        &mut self,
        sender: &watch::Sender<Arc<Links>>,
    ) -> Result<std::convert::Infallible, Error> {
        loop {
            self.receive().await?;
            let mut links = Links::clone(&sender.borrow());
            let mut rest = self.buffer.as_slice();
            while let Some(message) = next_message(&mut rest) {
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => links.apply(&inner),
                    NetlinkPayload::Overrun(_) => return Err(Error::Lost),
                    _ => {}
                }
            }
            publish(sender, links);
        }
    }

    async fn receive(&mut self) -> Result<(), Error> {
        self.buffer.clear();
        match self.inner.recv_from(&mut self.buffer).await {
            Ok(_kernel) => Ok(()),
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => Err(Error::Lost),
            Err(error) => Err(Error::Receive(error)),
        }
    }
}

/// Cuts the next message off a datagram. A message that cannot be read costs only itself.
fn next_message(rest: &mut &[u8]) -> Option<NetlinkMessage<RouteNetlinkMessage>> {
    loop {
        let length = rest
            .get(..4)
            .and_then(|head| <[u8; 4]>::try_from(head).ok())?;
        let length = usize::try_from(u32::from_ne_bytes(length)).ok()?;
        let bytes = rest.get(..length).filter(|bytes| bytes.len() >= 16)?;
        // Messages start at multiples of four.
        *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        match NetlinkMessage::deserialize(bytes) {
            Ok(message) => return Some(message),
            Err(error) => tracing::debug!(%error, "netlink message not understood"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_message_costs_only_itself_and_nonsense_ends_the_datagram() {
        let mut link = LinkMessage::default();
        link.header.index = 7;
        let payload = NetlinkPayload::from(RouteNetlinkMessage::NewLink(link));
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut good = vec![0; message.buffer_len()];
        message.serialize(&mut good);
        let mut broken = good[..20].to_vec();
        broken[..4].copy_from_slice(&20u32.to_ne_bytes());
        let datagram = [broken.as_slice(), &good, &[0; 7]].concat();
        let mut rest = datagram.as_slice();
        assert_eq!(next_message(&mut rest), Some(message));
        assert_eq!(next_message(&mut rest), None);
        for length in [0u32, 3, 15, 4000, u32::MAX] {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(next_message(&mut bytes.as_slice()), None, "length {length}");
        }
    }

    #[tokio::test]
    async fn the_first_picture_has_the_loopback_with_its_address() {
        let stop = CancellationToken::new();
        let links = watch(stop.clone()).await.unwrap();
        let links = links.borrow().clone();
        let loopback = links.named("lo").unwrap();
        assert_eq!(loopback.index, 1);
        assert!(!loopback.is_broadcast_segment());
        assert_eq!(links.holder("127.0.0.1".parse().unwrap()), Some(loopback));
        stop.cancel();
    }
}
