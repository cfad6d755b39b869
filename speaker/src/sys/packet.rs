//! Packet sockets (packet(7)).

use std::io;
use std::os::fd::AsFd;

use nix::libc;

use super::get;

/// How many frames the kernel dropped, since it was last asked, because the socket's queue was full.
///
/// # Errors
/// If it is no packet socket.
pub fn packet_drops(socket: &impl AsFd) -> io::Result<u32> {
    // struct tpacket_stats: packets, drops.
    let mut stats = [0; 8];
    get(
        socket,
        libc::SOL_PACKET,
        libc::PACKET_STATISTICS,
        &mut stats,
    )?;
    let [.., a, b, c, d] = stats;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}
