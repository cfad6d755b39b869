//! Raw ICMPv6 sockets that hear only what is wanted.

use std::io;
use std::os::fd::AsFd;

use nix::libc;
use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::set;

/// `ICMP6_FILTER` of linux/icmpv6.h.
const ICMP6_FILTER: libc::c_int = 1;

/// Lets messages of these types in, and no others.
///
/// # Errors
/// If the kernel refuses.
pub fn set_icmp6_filter(socket: &impl AsFd, types: &[u8]) -> io::Result<()> {
    // A bit per type, set where it is blocked.
    let mut blocked = [u32::MAX; 8];
    for kind in types {
        if let Some(word) = blocked.get_mut(usize::from(kind >> 5)) {
            *word &= !(1 << (kind & 31));
        }
    }
    set(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &blocked)
}

/// Lets tokio say when a non-blocking socket is ready. Needs a tokio runtime around it.
///
/// # Errors
/// If the runtime does not take it.
pub fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: `Socket` owns its descriptor, which stays open until the `AsyncFd` that owns the `Socket` is dropped.
    Ok(unsafe { AsyncFd::register(socket) }?)
}
