//! The TCP Authentication Option (RFC 5925), in Linux since 6.7 if built with `CONFIG_TCP_AO`.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::libc;

use super::{KEY_MAX, get, is_unknown, set, storage};

const TCP_AO_ADD_KEY: libc::c_int = 38;
const TCP_AO_DEL_KEY: libc::c_int = 39;
const TCP_AO_INFO: libc::c_int = 40;

/// MAC algorithm (RFC 5926).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96.
    HmacSha1,
    /// AES-128-CMAC-96.
    AesCmac,
}

impl AoAlgorithm {
    /// The kernel's name.
    const fn name(self) -> &'static [u8] {
        match self {
            Self::HmacSha1 => b"hmac(sha1)",
            Self::AesCmac => b"cmac(aes128)",
        }
    }
}

/// A master key with its identifier, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub struct AoKey<'a> {
    /// `KeyID`.
    pub id: u8,
    /// How the key is used.
    pub algorithm: AoAlgorithm,
    /// 1 to [`KEY_MAX`] bytes.
    pub master: &'a [u8],
}

/// `struct tcp_ao_add` of linux/tcp.h.
#[repr(C, align(8))]
struct Add {
    address: [u8; 128],
    algorithm: [u8; 64],
    interface: i32,
    bits: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    receive_id: u8,
    mac_length: u8,
    flags: u8,
    key_length: u8,
    key: [u8; KEY_MAX],
}

/// `struct tcp_ao_del` of linux/tcp.h.
#[repr(C, align(8))]
struct Del {
    address: [u8; 128],
    interface: i32,
    bits: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    receive_id: u8,
    current: u8,
    next: u8,
    flags: u8,
}

/// Size of `struct tcp_ao_info_opt` of linux/tcp.h, of which only matters that there is one.
const INFO: usize = 48;

const fn prefix(peer: IpAddr) -> u8 {
    match peer {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl Add {
    fn new(peer: IpAddr, key: AoKey<'_>) -> io::Result<Self> {
        let bad = || io::Error::from(io::ErrorKind::InvalidInput);
        let mut add = Self {
            address: storage(peer)?,
            algorithm: [0; 64],
            interface: 0,
            bits: 0,
            reserved: 0,
            prefix: prefix(peer),
            send_id: key.id,
            receive_id: key.id,
            mac_length: 0, // the kernel's default: 12 octets
            flags: 0,
            key_length: u8::try_from(key.master.len()).map_err(|_| bad())?,
            key: [0; KEY_MAX],
        };
        let name = key.algorithm.name();
        let place = add.algorithm.get_mut(..name.len()).ok_or_else(bad)?;
        place.copy_from_slice(name);
        let place = add.key.get_mut(..key.master.len()).ok_or_else(bad)?;
        place.copy_from_slice(key.master);
        Ok(add)
    }
}

/// Signs all segments to and from `peer` on this socket: one that is not connected yet, or a listener, whose
/// connections get the key too. From then on unsigned segments of `peer` are dropped.
///
/// # Errors
/// If the key is too long, or the kernel has no TCP-AO or not the algorithm. The caller must not go on without the
/// signature.
pub fn set_ao_key(socket: &impl AsFd, peer: IpAddr, key: AoKey<'_>) -> io::Result<()> {
    set(
        socket,
        libc::IPPROTO_TCP,
        TCP_AO_ADD_KEY,
        &Add::new(peer, key)?,
    )
}

/// Takes the key for `peer` off a listener.
///
/// # Errors
/// If there was none, or the kernel has no TCP-AO.
pub fn remove_ao_key(listener: &impl AsFd, peer: IpAddr, id: u8) -> io::Result<()> {
    let del = Del {
        address: storage(peer)?,
        interface: 0,
        bits: 0,
        reserved: 0,
        prefix: prefix(peer),
        send_id: id,
        receive_id: id,
        current: 0,
        next: 0,
        flags: 0,
    };
    set(listener, libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &del)
}

/// Whether this connection is signed: one whose SYN was there before the listener had its key is not.
pub fn is_ao_signed(socket: &impl AsFd) -> bool {
    info(socket).is_ok()
}

/// Whether the kernel has TCP-AO, asked with an unconnected TCP socket.
pub fn has_tcp_ao(socket: &impl AsFd) -> bool {
    // A socket without keys has nothing to tell; how it says so, tells.
    !info(socket).is_err_and(|error| is_unknown(&error))
}

fn info(socket: &impl AsFd) -> io::Result<usize> {
    get(socket, libc::IPPROTO_TCP, TCP_AO_INFO, &mut [0; INFO])
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const KEY: AoKey<'_> = AoKey {
        id: 7,
        algorithm: AoAlgorithm::AesCmac,
        master: b"key",
    };

    #[test]
    fn the_structures_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!((size_of::<Add>(), size_of::<Del>()), (288, 144));
        let add = Add::new(Ipv4Addr::new(192, 0, 2, 1).into(), KEY).unwrap();
        assert_eq!(add.address[..8], [2, 0, 0, 0, 192, 0, 2, 1]);
        assert_eq!(&add.algorithm[..13], b"cmac(aes128)\0");
        assert_eq!((add.prefix, add.send_id, add.receive_id), (32, 7, 7));
        assert_eq!((add.key_length, &add.key[..4]), (3, b"key\0".as_slice()));
    }

    #[test]
    fn a_kernel_without_it_is_found_out_and_refuses_keys() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Ipv4Addr::LOCALHOST.into();
        let set = set_ao_key(&socket, peer, KEY);
        assert_eq!(set.is_ok(), has_tcp_ao(&socket), "{set:?}");
        assert_eq!(is_ao_signed(&socket), set.is_ok());
    }
}
