//! The one module with `unsafe`: what the kernel offers and no crate does.
#![expect(
    unsafe_code,
    reason = "system calls that no crate wraps; one SAFETY line per call"
)]

mod heap;
mod hops;
mod icmp;
mod md5;
mod packet;
mod scheduling;
mod tcp_ao;

pub use heap::return_freed_memory;
pub use hops::{save_syn, saved_syn_ttl, set_min_ttl};
pub use icmp::{set_icmp6_filter, watched};
pub use md5::{KEY_MAX, has_md5, remove_md5_key, set_md5_key};
pub use packet::packet_drops;
pub use scheduling::{lock_memory, set_real_time, thread_cpu_time};
pub use tcp_ao::{AoAlgorithm, AoKey, has_tcp_ao, is_ao_signed, remove_ao_key, set_ao_key};

use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// Sets an option to a plain structure.
fn set<T>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `fd` is open for the call as `socket` is borrowed; the pointer and length describe `value`, which the
    // kernel only reads.
    let result =
        unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reads an option into `value`; returns how many bytes of it the kernel wrote.
fn get(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `fd` is open for the call as `socket` is borrowed; the kernel writes at most `length` bytes, which is the
    // length of `value`, bytes that any content is valid for.
    let result =
        unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut length) };
    if result == 0 {
        usize::try_from(length).map_err(io::Error::other)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// An address as `sockaddr_storage`, whose layout for the two families is written out byte by byte: family, then port 0;
/// IPv6 has four octets of flow information before its address.
fn storage(address: IpAddr) -> io::Result<[u8; 128]> {
    let (family, offset, octets) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, 4, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, 8, v6.octets().to_vec()),
    };
    let family = u16::try_from(family).map_err(io::Error::other)?;
    let mut storage = [0; 128];
    let fields = family.to_ne_bytes().into_iter().enumerate();
    for (at, octet) in fields.chain((offset..).zip(octets)) {
        if let Some(place) = storage.get_mut(at) {
            *place = octet;
        }
    }
    Ok(storage)
}

/// Whether the kernel does not know the option at all.
fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP)
    )
}
