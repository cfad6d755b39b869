//! The sockets of one VRF: a listener per family, what the kernel checks on it, and who comes through.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::{PeerSpec, socket};
use super::guests::{Guest, Guests, Source};
use super::{Counts, ListenError, Visit};
use crate::sys;

/// Connections that the kernel completes before we take them.
const BACKLOG: i32 = 128;
/// Connections of one source that may be in our hands at once, those that are being closed included.
const PLACES: usize = 4;
/// How long to wait when there is no file descriptor left: connections that exist give theirs back.
const PAUSE: Duration = Duration::from_millis(250);
/// SYN-ACKs must satisfy peers with TTL security too.
const TTL: u8 = 255;

/// The listeners of one VRF.
#[derive(Debug)]
pub(super) struct Door {
    vrf: Option<String>,
    port: u16,
    v4: Option<Wing>,
    v6: Option<Wing>,
    guests: Arc<Mutex<Guests>>,
    counts: Arc<Counts>,
}

/// The listener of one family.
#[derive(Debug)]
struct Wing {
    socket: Arc<TcpListener>,
    /// Ended with it.
    _accepting: JoinSet<()>,
}

impl Door {
    /// Nothing is open yet.
    pub(super) fn new(vrf: Option<String>, port: u16, counts: Arc<Counts>) -> Self {
        Self {
            vrf,
            port,
            v4: None,
            v6: None,
            guests: Arc::default(),
            counts,
        }
    }

    /// Whether nobody is expected.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.guests).expected.is_empty()
    }

    const fn wing(&mut self, family: IpAddr) -> &mut Option<Wing> {
        match family {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }

    /// The listener of a family, opened if it is not. Whoever had the port before may have given it back.
    fn open(&mut self, family: IpAddr) -> Result<Arc<TcpListener>, ListenError> {
        if let Some(wing) = self.wing(family) {
            return Ok(Arc::clone(&wing.socket));
        }
        let any = match family {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let address = SocketAddr::new(any, self.port);
        let socket = Arc::new(listener(self.vrf.as_deref(), address)?);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(
            Arc::clone(&socket),
            Arc::clone(&self.guests),
            Arc::clone(&self.counts),
        ));
        *self.wing(family) = Some(Wing {
            socket: Arc::clone(&socket),
            _accepting: accepting,
        });
        Ok(socket)
    }

    /// Closes the listener of a family that nobody is expected from.
    pub(super) fn close(&mut self, family: IpAddr) {
        let wanted = lock(&self.guests).has(family);
        self.wing(family).take_if(|_| !wanted);
    }

    /// Lets a peer in. The key is on the listener before the source is on the list.
    pub(super) fn expect(
        &mut self,
        spec: &PeerSpec,
        source: Source,
    ) -> Result<mpsc::Receiver<Visit>, ListenError> {
        let socket = self.open(source.address)?;
        let mut guests = lock(&self.guests);
        if guests.expected.contains_key(&source) {
            return Err(ListenError::Taken);
        }
        // The kernel knows keys on a listener by address alone, and link-local ones are often the same on every link.
        if guests
            .at(source.address)
            .any(|guest| guest.signature != spec.signature)
        {
            return Err(ListenError::Key(source.address));
        }
        let shared = guests.at(source.address).next().is_some();
        if let Some(signature) = spec.signature.as_ref().filter(|_| !shared) {
            signature.put_on(&socket, source.address)?;
        }
        let (sender, receiver) = mpsc::channel(PLACES);
        let guest = Guest {
            visits: sender,
            places: Arc::new(Semaphore::new(PLACES)),
            min_ttl: spec.min_ttl(),
            tcp_mss: spec.tcp_mss,
            signature: spec.signature.clone(),
        };
        guests.expected.insert(source, guest);
        guests.fit(&socket, source.address);
        Ok(receiver)
    }

    /// The peer may come no longer; the listener stays until it is closed.
    pub(super) fn forget(&mut self, source: Source) {
        let socket = self.wing(source.address).as_ref();
        let socket = socket.map(|wing| Arc::clone(&wing.socket));
        let mut guests = lock(&self.guests);
        let Some((guest, socket)) = guests.expected.remove(&source).zip(socket) else {
            return;
        };
        let shared = guests.at(source.address).next().is_some();
        if let Some(signature) = guest.signature.as_ref().filter(|_| !shared)
            && let Err(error) = signature.take_off(&socket, source.address)
        {
            tracing::warn!(source = %source.address, %error, "bgp: a key stays on the listener");
        }
        guests.fit(&socket, source.address);
    }
}

fn listener(vrf: Option<&str>, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError::Bind {
        port: address.port(),
        source,
    };
    let socket = socket::create(address)?;
    if let Some(vrf) = vrf {
        socket::enter_vrf(&socket, vrf)?;
    }
    if address.is_ipv6() {
        // Keys and TTL rules of IPv4 do not work on a socket for both.
        socket.set_only_v6(true).map_err(failed)?;
    }
    socket.set_reuse_address(true).map_err(failed)?;
    socket::set_options(&socket, address.ip(), TTL).map_err(failed)?;
    sys::save_syn(&socket).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    TcpListener::from_std(socket.into()).map_err(failed)
}

async fn accept(listener: Arc<TcpListener>, guests: Arc<Mutex<Guests>>, counts: Arc<Counts>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => receive(stream, from, &guests, &counts),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                count(&counts.pauses);
                tracing::warn!(%error, "bgp: accepting pauses");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Hands a connection to its peer, or closes it by dropping it.
fn receive(stream: TcpStream, from: SocketAddr, guests: &Mutex<Guests>, counts: &Counts) {
    let mut guests = lock(guests);
    let Some(guest) = guests.expected.get(&Source::of(from)) else {
        count(&counts.strangers);
        if guests.is_news(from.ip()) {
            tracing::info!(source = %from.ip(), "bgp: closed a connection from an address that is no peer's");
        }
        return;
    };
    let Ok(place) = Arc::clone(&guest.places).try_acquire_owned() else {
        count(&counts.crowded);
        return;
    };
    let visit = Visit {
        stream,
        from,
        place,
    };
    match guest.visits.try_send(visit) {
        Ok(()) => count(&counts.accepted),
        Err(_) => count(&counts.crowded),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn lock(guests: &Mutex<Guests>) -> MutexGuard<'_, Guests> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use super::super::super::tests::mk_spec;
    use super::super::Listeners;
    use super::*;
    use crate::bgp::{Password, Signature};

    /// A router's usual address, on this link.
    fn gateway(link: u32) -> SocketAddr {
        SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, link).into()
    }

    fn mk_signed(key: Option<&str>) -> PeerSpec {
        let md5 = |key: &str| Signature::Md5(Password::new(key).unwrap());
        PeerSpec {
            signature: key.map(md5),
            ..mk_spec("tor", 179)
        }
    }

    #[tokio::test]
    async fn neighbours_of_one_address_on_two_links_share_the_key_on_the_listener() {
        let listeners = Listeners::new(0);
        let first = listeners.register(&mk_signed(Some("key")), gateway(2));
        let first = first.unwrap();
        for other in [Some("other"), None] {
            let error = listeners.register(&mk_signed(other), gateway(3));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("fe80::1"), "{other:?}: {error}");
        }
        let second = listeners.register(&mk_signed(Some("key")), gateway(3));
        drop(first);
        let socket = {
            let doors = listeners.doors();
            Arc::clone(&doors[""].v6.as_ref().unwrap().socket)
        };
        let key = sys::remove_md5_key(&socket, "fe80::1".parse().unwrap());
        assert!(key.is_ok(), "the second one's key went with the first one");
        drop(second);
    }
}
