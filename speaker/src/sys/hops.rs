//! How far away the sender of a packet may be (RFC 5082).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::libc;

use super::{get, set};

const TCP_SAVE_SYN: libc::c_int = 27;
const TCP_SAVED_SYN: libc::c_int = 28;

/// Headers of a SYN: IPv6 without extensions and TCP with all options.
const SYN_MAX: usize = 128;

/// Lets the kernel drop packets that arrive with a smaller TTL or hop limit; 0 lets all in. `local` is any address of
/// the socket's own family: the two have different options, and the one of IPv4 says yes on an IPv6 socket and does
/// nothing.
///
/// # Errors
/// If the kernel refuses.
pub fn set_min_ttl(socket: &impl AsFd, local: IpAddr, min: u8) -> io::Result<()> {
    let (level, name) = match local {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket, level, name, &libc::c_int::from(min))
}

/// Lets a listener keep the headers of the SYN of each connection, for [`saved_syn_ttl`].
///
/// # Errors
/// If the kernel refuses.
pub fn save_syn(listener: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(listener, libc::IPPROTO_TCP, TCP_SAVE_SYN, &on)
}

/// The TTL or hop limit that the SYN of an accepted connection came with. Asking once forgets it.
///
/// # Errors
/// If the kernel refuses, or has saved none.
pub fn saved_syn_ttl(socket: &impl AsFd) -> io::Result<u8> {
    let mut headers = [0; SYN_MAX];
    let length = get(socket, libc::IPPROTO_TCP, TCP_SAVED_SYN, &mut headers)?;
    let at = match headers.first().map(|octet| octet >> 4) {
        Some(4) => 8,
        _ => 7,
    };
    let headers = headers.get(..length).unwrap_or_default();
    let ttl = headers.get(at).copied();
    ttl.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_packet_from_afar_does_not_open_a_connection() {
        for address in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ] {
            for (ttl, opens) in [(255, true), (254, false)] {
                let listener = std::net::TcpListener::bind((address, 0)).unwrap();
                save_syn(&listener).unwrap();
                let to = listener.local_addr().unwrap();
                set_min_ttl(&listener, address, 255).unwrap();
                let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
                if address.is_ipv4() {
                    socket.set_ttl_v4(ttl).unwrap();
                } else {
                    socket.set_unicast_hops_v6(ttl).unwrap();
                }
                let patience = std::time::Duration::from_millis(300);
                let result = socket.connect_timeout(&to.into(), patience);
                assert_eq!(result.is_ok(), opens, "{address} ttl {ttl}: {result:?}");
                if opens {
                    let (accepted, _): (_, SocketAddr) = listener.accept().unwrap();
                    assert_eq!(saved_syn_ttl(&accepted).unwrap(), 255, "{address}");
                }
            }
        }
    }
}
