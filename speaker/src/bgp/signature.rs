//! How the segments of a session are signed. Keys are never printed.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::libc;
use socket2::{Domain, Socket, Type};

use crate::sys::{self, AoAlgorithm, KEY_MAX};

/// A key: 1 to 80 bytes. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing to sign with.
    #[error("the key is empty")]
    Empty,
    /// More than the kernel takes.
    #[error("the key has {0} bytes, the kernel takes at most {KEY_MAX}")]
    TooLong(usize),
}

impl Password {
    /// Accepts 1 to 80 bytes.
    pub fn new(key: impl Into<Vec<u8>>) -> Result<Self, PasswordError> {
        let key = key.into();
        match key.len() {
            0 => Err(PasswordError::Empty),
            1..=KEY_MAX => Ok(Self(key)),
            length => Err(PasswordError::TooLong(length)),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How segments are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// TCP MD5 (RFC 2385).
    Md5(Password),
    /// TCP-AO (RFC 5925).
    Ao {
        /// The master key.
        key: Password,
        /// Its identifier in both directions.
        id: u8,
        /// How it is used.
        algorithm: AoAlgorithm,
    },
}

/// Why a connection can not be signed. The session stays down rather than run without.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignatureError {
    /// The kernel refused the key of TCP MD5.
    #[error(
        "TCP MD5 password cannot be set: {0}{hint}; the session stays down rather than run without it",
        hint = hint(.0)
    )]
    Md5(#[source] io::Error),
    /// The kernel does not know TCP-AO.
    #[error(
        "this kernel has no TCP-AO (needs Linux 6.7 with CONFIG_TCP_AO); the session stays down rather than run without it"
    )]
    NoAo,
    /// The kernel refused the key of TCP-AO.
    #[error(
        "TCP-AO key cannot be set: {0}{hint}; the session stays down rather than run without it",
        hint = hint(.0)
    )]
    Ao(#[source] io::Error),
    /// The connection began before the key was known.
    #[error("the connection is not signed")]
    Unsigned,
}

/// A listener holds the keys of all peers that it waits for, in memory that the kernel bounds.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => " (net.core.optmem_max bounds the keys of a listener)",
        _ => "",
    }
}

impl Signature {
    /// Signs a socket that is not connected yet, or a listener for connections of `peer`.
    pub(super) fn put_on(&self, socket: &impl AsFd, peer: IpAddr) -> Result<(), SignatureError> {
        match self {
            Self::Md5(key) => sys::set_md5_key(socket, peer, &key.0).map_err(SignatureError::Md5),
            Self::Ao { key, id, algorithm } => {
                if !sys::has_tcp_ao(socket) {
                    return Err(SignatureError::NoAo);
                }
                let key = sys::AoKey {
                    id: *id,
                    algorithm: *algorithm,
                    master: &key.0,
                };
                sys::set_ao_key(socket, peer, key).map_err(SignatureError::Ao)
            }
        }
    }

    /// Makes sure that an accepted connection is signed: its SYN may have come before the listener had the key.
    pub(super) fn confirm(&self, socket: &impl AsFd, peer: IpAddr) -> Result<(), SignatureError> {
        match self {
            // The same key once more changes nothing, and kills a connection that began without.
            Self::Md5(_) => self.put_on(socket, peer),
            Self::Ao { .. } if sys::is_ao_signed(socket) => Ok(()),
            Self::Ao { .. } => Err(SignatureError::Unsigned),
        }
    }

    /// Takes the key for `peer` off a listener.
    pub(super) fn take_off(&self, listener: &impl AsFd, peer: IpAddr) -> io::Result<()> {
        match self {
            Self::Md5(_) => sys::remove_md5_key(listener, peer),
            Self::Ao { id, .. } => sys::remove_ao_key(listener, peer, *id),
        }
    }
}

/// Ways to sign that the kernel of this node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelFeatures {
    /// TCP MD5 (RFC 2385).
    pub tcp_md5: bool,
    /// TCP-AO (RFC 5925).
    pub tcp_ao: bool,
}

impl KernelFeatures {
    /// Asks the kernel.
    pub fn probe() -> io::Result<Self> {
        let any = IpAddr::from([127, 0, 0, 1]);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        Ok(Self {
            tcp_md5: sys::has_md5(&socket, any),
            tcp_ao: sys::has_tcp_ao(&socket),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_keys_than_the_kernel_holds_for_a_listener_are_refused_with_the_bound() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let key = Signature::Md5(Password::new("key").unwrap());
        let mut peers = (0..1 << 16).map(|number: u32| IpAddr::from(number.to_be_bytes()));
        let refused = peers.find_map(|peer| key.put_on(&listener, peer).err());
        let words = refused.unwrap().to_string();
        assert!(words.contains("net.core.optmem_max"), "{words}");
    }

    #[test]
    fn a_password_is_bounded_and_never_printed() {
        assert_eq!(Password::new(""), Err(PasswordError::Empty));
        assert_eq!(
            Password::new(vec![b'x'; 81]),
            Err(PasswordError::TooLong(81))
        );
        let password = Password::new("s3cret").unwrap();
        assert_eq!(
            format!("{:?}", Signature::Md5(password)),
            "Md5(Password(…))"
        );
    }
}
