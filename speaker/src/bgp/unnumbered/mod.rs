//! Neighbours without addresses: who is at the other end of a link (RFC 4861, as unnumbered BGP uses it).
//!
//! ```text
//!   link ──► raw ICMPv6 socket ──► Sighting ──► watch channel ──► task of the peer
//!                ▲
//!                └── our own advertisements: every 3 s until the session is up, then every 30 s, and at once when asked
//! ```
//!
//! Where several routers share a link, each is named by its link-local address, and all that is looked for is the link. It
//! hears our advertisements all the same: FRR learns from them how to send IPv4 to an IPv6 next hop.
//!
//! Both ends advertise themselves as routers of lifetime 0, nobody's default. Only what can have been sent on the link
//! itself is believed: hop limit 255, link-local source. The socket is made anew whenever the link is.

mod sighting;

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt::Ipv6RecvHopLimit,
};
use portolan_proto::ethernet::MacAddr;
use portolan_proto::ndp::ALL_NODES;
use portolan_proto::router_advertisement::{
    ADVERTISEMENT, ALL_ROUTERS, HOP_LIMIT, Message, SOLICITATION,
};
use sighting::Sighting;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::link::{Link, Links};
use crate::sys;

/// Time between advertisements until the session is up.
const EAGER: Duration = Duration::from_secs(3);
/// And from then on.
const CALM: Duration = Duration::from_secs(30);
/// Answers to solicitations are not closer to each other than this (RFC 4861 §10 says 3 s, for links with many hosts).
const ANSWER_PAUSE: Duration = Duration::from_millis(500);
/// Time between attempts to make a socket.
const RETRY: Duration = Duration::from_secs(1);
/// A message with all options that anybody sends.
const MESSAGE_MAX: usize = 1500;

/// What is known of the other end of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Its link-local address, with the link as scope.
    pub(super) address: Option<SocketAddrV6>,
    /// What stands in the way, in words.
    pub(super) problem: Option<String>,
}

/// The search for the neighbour on one link; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Search {
    /// The neighbour as it is known now.
    pub(super) neighbour: watch::Receiver<Neighbour>,
    calm: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Search {
    /// Begins to search, for this router or for the one that advertises itself. Needs a tokio runtime around it.
    pub(super) fn start(
        interface: String,
        router: Option<Ipv6Addr>,
        links: watch::Receiver<Arc<Links>>,
    ) -> Self {
        let (found, neighbour) = watch::channel(Neighbour::default());
        let (calm, is_calm) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(search(interface, router, links, is_calm, found));
        Self {
            neighbour,
            calm,
            _task: task,
        }
    }

    /// Says whether the session is up.
    pub(super) fn set_calm(&self, calm: bool) {
        self.calm
            .send_if_modified(|now| std::mem::replace(now, calm) != calm);
    }
}

async fn search(
    interface: String,
    router: Option<Ipv6Addr>,
    mut links: watch::Receiver<Arc<Links>>,
    mut calm: watch::Receiver<bool>,
    found: watch::Sender<Neighbour>,
) {
    loop {
        let link = present(&interface, &mut links).await;
        // Whoever is named is there as soon as its link is, whether we can advertise ourselves or not.
        let named = router.map(|router| SocketAddrV6::new(router, 0, 0, link.index));
        found.send_if_modified(|known| std::mem::replace(&mut known.address, named) != named);
        let (address, problem) = match Speaker::open(&link, router) {
            Ok(speaker) => {
                let speaking = speaker.run(&mut calm, &found);
                let gone = changed(&link, &mut links);
                tokio::select! {
                    error = speaking => (named, error.to_string()),
                    () = gone => (None, "the link is gone".to_owned()),
                }
            }
            Err(error) => (named, error.to_string()),
        };
        found.send_replace(Neighbour {
            address,
            problem: Some(format!(
                "no router advertisements on {interface}: {problem}"
            )),
        });
        sleep(RETRY).await;
    }
}

/// Waits until there is a link of this name that is up and has an address to speak from.
async fn present(interface: &str, links: &mut watch::Receiver<Arc<Links>>) -> Link {
    loop {
        let picture = Arc::clone(&links.borrow_and_update());
        let link = picture.named(interface);
        if let Some(link) = link.filter(|link| link.is_running() && link.link_local().is_some()) {
            return link.clone();
        }
        if links.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until the link is not what it was: down, another one of the same name, or with other addresses to speak from.
async fn changed(link: &Link, links: &mut watch::Receiver<Arc<Links>>) {
    let same = |links: &Arc<Links>| {
        links.named(&link.name).is_some_and(|now| {
            now.index == link.index
                && now.is_running()
                && now.mac == link.mac
                && now.link_local() == link.link_local()
        })
    };
    if links.wait_for(|links| !same(links)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The socket of a link.
struct Speaker {
    socket: AsyncFd<Socket>,
    index: u32,
    mac: Option<MacAddr>,
    name: String,
    /// The router that is named, if one is: others are none of our business.
    router: Option<Ipv6Addr>,
    seen: Sighting,
}

impl Speaker {
    fn open(link: &Link, router: Option<Ipv6Addr>) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking();
        let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?;
        sys::set_icmp6_filter(&socket, &[SOLICITATION, ADVERTISEMENT])?;
        socket.bind_device(Some(link.name.as_bytes()))?;
        socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_unicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(link.index)?;
        socket.join_multicast_v6(&ALL_ROUTERS, link.index)?;
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
        Ok(Self {
            socket: sys::watched(socket)?,
            index: link.index,
            mac: link.mac,
            name: link.name.clone(),
            router,
            seen: Sighting::default(),
        })
    }

    /// Speaks and listens until the socket fails.
    async fn run(
        mut self,
        calm: &mut watch::Receiver<bool>,
        found: &watch::Sender<Neighbour>,
    ) -> io::Error {
        self.publish(found);
        self.say(Message::Solicitation, ALL_ROUTERS);
        let mut last = Instant::now()
            .checked_sub(CALM)
            .unwrap_or_else(Instant::now);
        let mut asked = true;
        loop {
            let interval = if *calm.borrow() { CALM } else { EAGER };
            let due = if asked {
                last + ANSWER_PAUSE
            } else {
                last + interval
            };
            tokio::select! {
                () = sleep_until(due) => {
                    self.say(Message::Advertisement, ALL_NODES);
                    if self.found().is_none() {
                        self.say(Message::Solicitation, ALL_ROUTERS);
                    }
                    (last, asked) = (Instant::now(), false);
                }
                Ok(()) = calm.changed() => {}
                ready = self.socket.readable() => {
                    match ready {
                        Ok(mut ready) => ready.clear_ready(),
                        Err(error) => return error,
                    }
                    match self.hear() {
                        Ok(solicited) => asked |= solicited,
                        Err(error) => return error,
                    }
                    self.publish(found);
                }
            }
        }
    }

    /// Reads all messages that wait; says whether one was a solicitation.
    fn hear(&mut self) -> io::Result<bool> {
        let mut solicited = false;
        let mut buffer = [0; MESSAGE_MAX];
        while let Some((length, source, hop_limit)) =
            receive(self.socket.get_ref().as_fd(), &mut buffer)?
        {
            let payload = buffer.get(..length).unwrap_or_default();
            match Message::parse(payload, source, hop_limit) {
                Ok(Message::Solicitation) => solicited = true,
                Ok(Message::Advertisement) => {
                    self.seen.hear(source, Instant::now().into_std());
                }
                Err(error) => {
                    tracing::debug!(interface = %self.name, %source, %error, "router discovery");
                }
            }
        }
        Ok(solicited)
    }

    fn found(&self) -> Option<Ipv6Addr> {
        self.router.or(self.seen.router())
    }

    fn publish(&self, found: &watch::Sender<Neighbour>) {
        let scoped = |router| SocketAddrV6::new(router, 0, 0, self.index);
        let two = |rival| {
            format!(
                "a second router, {rival}, advertises itself on {}: name the one that is meant in peerAddress",
                self.name
            )
        };
        let fresh = Neighbour {
            address: self.found().map(scoped),
            problem: self.seen.rival().filter(|_| self.router.is_none()).map(two),
        };
        found.send_if_modified(|known| {
            let differs = *known != fresh;
            *known = fresh;
            differs
        });
    }

    /// What is lost now is said again in some seconds.
    fn say(&self, message: Message, group: Ipv6Addr) {
        let to = SocketAddrV6::new(group, 0, 0, self.index);
        let bytes = message.encode(self.mac);
        if let Err(error) = self.socket.get_ref().send_to(&bytes, &to.into()) {
            tracing::debug!(interface = %self.name, %error, "router discovery: not sent");
        }
    }
}

/// One message with its source and hop limit, if one waits.
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<(usize, Ipv6Addr, u8)>> {
    let mut control = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_raw_fd();
    let message = match recvmsg::<SockaddrIn6>(fd, &mut parts, Some(&mut control), flags) {
        Ok(message) => message,
        Err(nix::Error::EAGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let hops = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv6HopLimit(hops) => u8::try_from(hops).ok(),
        _ => None,
    });
    let source = message.address.map(|address| address.ip());
    // Without either it is believed in nothing.
    let source = source.unwrap_or(Ipv6Addr::UNSPECIFIED);
    Ok(Some((message.bytes, source, hops.unwrap_or(0))))
}
