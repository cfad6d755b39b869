//! When a router's kernel got its routes: the kernel tells by netlink, so that nobody has to ask it and slow it down.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use portolan_tests::lab::Host;
use tokio::sync::watch;

use crate::load::now;

/// `RTMGRP_IPV4_ROUTE` (rtnetlink(7)).
const IPV4_ROUTES: u32 = 0x40;
/// `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTA_DST` (rtnetlink(7)).
const NEW_ROUTE: u16 = 24;
const DELETED_ROUTE: u16 = 25;
const DESTINATION: u16 = 1;
/// Room for a hundred thousand messages that nobody has read yet.
const BUFFER: usize = 256 << 20;
/// How long the reading thread waits before it looks whether anybody still listens.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the kernel has told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fib {
    /// Host routes that came, less those that went.
    pub(crate) routes: usize,
    /// When the last one came or went.
    pub(crate) last: Option<Instant>,
}

/// Watches the host routes of a router's kernel below 198.18.0.0/15 until the receiver is dropped.
pub(crate) fn watch(host: &Host) -> Result<watch::Receiver<Fib>> {
    let socket = host.netns().enter(listen)??;
    let (sender, receiver) = watch::channel(Fib::default());
    std::thread::Builder::new()
        .name("fib".into())
        .spawn(move || {
            if let Err(error) = read(&socket, &sender) {
                eprintln!("the watch on a kernel's routes: {error:#}");
            }
        })
        .context("starting the thread that reads routes")?;
    Ok(receiver)
}

fn listen() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )
    .context("opening a netlink socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("the buffer of netlink")?;
    let patience = nix::sys::time::TimeVal::new(0, i64::from(PATIENCE.subsec_micros()));
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).context("the patience of netlink")?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, IPV4_ROUTES)).context("listening to routes")?;
    Ok(socket)
}

fn read(socket: &OwnedFd, told: &watch::Sender<Fib>) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    while told.receiver_count() > 0 {
        let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(error) => return Err(io::Error::from(error)).context("reading netlink"),
        };
        let (came, went) = count(buffer.get(..length).unwrap_or_default());
        if came + went > 0 {
            told.send_modify(|fib| {
                fib.routes = (fib.routes + came).saturating_sub(went);
                fib.last = Some(now());
            });
        }
    }
    Ok(())
}

/// Messages of one read: `nlmsghdr` (length, type, flags, sequence, port), `rtmsg`, attributes; each padded to 4.
fn count(mut bytes: &[u8]) -> (usize, usize) {
    let (mut came, mut went) = (0, 0);
    while let Some((kind, body, rest)) = message(bytes) {
        if is_ours(body) {
            came += usize::from(kind == NEW_ROUTE);
            went += usize::from(kind == DELETED_ROUTE);
        }
        bytes = rest;
    }
    (came, went)
}

fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, rest))
}

/// `rtmsg` begins with family and length of the destination; a replaced route is a new one once more, which is why only
/// what nobody replaces is counted.
fn is_ours(body: &[u8]) -> bool {
    let Some(mut attributes) = body.get(12..) else {
        return false;
    };
    if body.get(1) != Some(&32) {
        return false;
    }
    while let Some((kind, value, rest)) = attribute(attributes) {
        if kind == DESTINATION {
            return matches!(value, [198, 18 | 19, _, _]);
        }
        attributes = rest;
    }
    false
}

fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
    let value = bytes.get(4..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value, rest))
}
