//! TCP MD5 signatures (RFC 2385).

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::libc;

use super::{is_unknown, set, storage};

/// Longest key of TCP MD5 and of TCP-AO (`TCP_MD5SIG_MAXKEYLEN`, `TCP_AO_MAXKEYLEN`).
pub const KEY_MAX: usize = 80;

const TCP_MD5SIG: libc::c_int = 14;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C, align(8))]
struct Md5Sig {
    address: [u8; 128],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: i32,
    key: [u8; KEY_MAX],
}

impl Md5Sig {
    fn new(peer: IpAddr, key: &[u8]) -> io::Result<Self> {
        let too_long = || io::Error::from(io::ErrorKind::InvalidInput);
        let mut sig = Self {
            address: storage(peer)?,
            flags: 0,
            prefix_length: 0,
            key_length: u16::try_from(key.len()).map_err(|_| too_long())?,
            interface: 0,
            key: [0; KEY_MAX],
        };
        sig.key
            .get_mut(..key.len())
            .ok_or_else(too_long)?
            .copy_from_slice(key);
        Ok(sig)
    }
}

/// Signs all segments to and from `peer` on this socket: one that is not connected yet, or a listener, whose
/// connections get the key too. A connection that began with another key, or without one, dies of it.
///
/// # Errors
/// If the key is empty or longer than [`KEY_MAX`], or the kernel has no TCP MD5. The caller must not go on without the
/// signature.
pub fn set_md5_key(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    // An empty key would mean "delete the key" to the kernel.
    if key.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set(
        socket,
        libc::IPPROTO_TCP,
        TCP_MD5SIG,
        &Md5Sig::new(peer, key)?,
    )
}

/// Takes the key for `peer` off a listener.
///
/// # Errors
/// If there was none, or the kernel has no TCP MD5.
pub fn remove_md5_key(listener: &impl AsFd, peer: IpAddr) -> io::Result<()> {
    set(
        listener,
        libc::IPPROTO_TCP,
        TCP_MD5SIG,
        &Md5Sig::new(peer, b"")?,
    )
}

/// Whether the kernel has TCP MD5, asked with an unconnected TCP socket.
pub fn has_md5(socket: &impl AsFd, any: IpAddr) -> bool {
    // Deleting a key that is not there fails in any case; how, tells.
    !remove_md5_key(socket, any).is_err_and(|error| is_unknown(&error))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    #[test]
    fn the_structure_is_laid_out_as_the_kernel_reads_it() {
        assert_eq!(size_of::<Md5Sig>(), 216);
        let v4 = Md5Sig::new(Ipv4Addr::new(192, 0, 2, 1).into(), b"key").unwrap();
        assert_eq!(v4.address[..8], [2, 0, 0, 0, 192, 0, 2, 1]);
        assert_eq!((v4.key_length, &v4.key[..4]), (3, b"key\0".as_slice()));
        let v6 = Md5Sig::new(Ipv6Addr::LOCALHOST.into(), b"key").unwrap();
        assert_eq!((v6.address[0], v6.address[23]), (10, 1));
    }

    #[test]
    fn impossible_keys_are_refused() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Ipv4Addr::LOCALHOST.into();
        assert!(set_md5_key(&socket, peer, b"").is_err());
        assert!(set_md5_key(&socket, peer, &[b'x'; KEY_MAX + 1]).is_err());
    }

    #[test]
    fn a_key_can_be_taken_off_again() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Ipv4Addr::LOCALHOST.into();
        assert!(has_md5(&socket, peer));
        set_md5_key(&socket, peer, b"key").unwrap();
        remove_md5_key(&socket, peer).unwrap();
        assert!(remove_md5_key(&socket, peer).is_err(), "it is gone");
    }
}
