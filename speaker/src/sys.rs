//! The one module with `unsafe`: what the kernel offers and no crate does.
#![expect(
    unsafe_code,
    reason = "system calls that no crate wraps; one SAFETY line per call"
)]

use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// Longest key of TCP MD5 (`TCP_MD5SIG_MAXKEYLEN`).
pub const MD5_KEY_MAX: usize = 80;

/// `TCP_MD5SIG` of linux/tcp.h.
const TCP_MD5SIG: libc::c_int = 14;

/// `struct tcp_md5sig` of linux/tcp.h. The address comes as a `sockaddr_storage`, whose layout for the two
/// families is written out byte by byte.
#[repr(C, align(8))]
struct Md5Sig {
    address: [u8; 128],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: i32,
    key: [u8; MD5_KEY_MAX],
}

impl Md5Sig {
    fn new(peer: IpAddr, key: &[u8]) -> io::Result<Self> {
        let too_long = || io::Error::from(io::ErrorKind::InvalidInput);
        let mut sig = Self {
            address: [0; 128],
            flags: 0,
            prefix_length: 0,
            key_length: u16::try_from(key.len()).map_err(|_| too_long())?,
            interface: 0,
            key: [0; MD5_KEY_MAX],
        };
        sig.key
            .get_mut(..key.len())
            .ok_or_else(too_long)?
            .copy_from_slice(key);
        // Family, then port 0; IPv6 has four octets of flow information before its address.
        let (family, offset, octets) = match peer {
            IpAddr::V4(v4) => (libc::AF_INET, 4, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, 8, v6.octets().to_vec()),
        };
        let family = u16::try_from(family).map_err(|_| too_long())?;
        let fields = family.to_ne_bytes().into_iter().enumerate();
        for (at, octet) in fields.chain((offset..).zip(octets)) {
            if let Some(place) = sig.address.get_mut(at) {
                *place = octet;
            }
        }
        Ok(sig)
    }
}

/// Signs all segments to and from `peer` on this socket (RFC 2385). To be called before the connection exists.
///
/// # Errors
/// If the key is empty or longer than [`MD5_KEY_MAX`], or the kernel has no TCP MD5. The caller must not go on
/// without the signature.
pub fn set_md5_key(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    // An empty key would mean "delete the key" to the kernel.
    if key.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sig = Md5Sig::new(peer, key)?;
    let length = libc::socklen_t::try_from(size_of::<Md5Sig>()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `fd` is open for the call as `socket` is borrowed; the pointer and length describe `sig`, a
    // plain structure without padding that the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            TCP_MD5SIG,
            (&raw const sig).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives the calling thread a real-time priority (`SCHED_FIFO`), which threads that it starts do not inherit.
///
/// # Errors
/// Without `CAP_SYS_NICE`, as a rule.
pub fn set_real_time(priority: i32) -> io::Result<()> {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // The C library's own function is a stub in musl.
    // SAFETY: the pointer is to a `struct sched_param` of the kernel, which is this one integer and only read; 0 means the
    // calling thread.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps all memory of the process, now and later, from being paged out once it was used.
///
/// # Errors
/// Without `CAP_IPC_LOCK`, if the limit on locked memory is smaller than the process.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: takes flags only, and changes nothing that the program can see.
    let result =
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
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
        assert!(set_md5_key(&socket, peer, &[b'x'; MD5_KEY_MAX + 1]).is_err());
    }
}
