//! Authentication of control packets (RFC 5880 §4.2–4.4, §6.7).
//!
//! ```text
//!  simple password  1 │ Len │ Key ID │ password, 1 to 16 bytes
//!  keyed MD5      2,3 │ Len │ Key ID │ reserved │ sequence number │ digest, 16 bytes
//!  keyed SHA1     4,5 │ Len │ Key ID │ reserved │ sequence number │ digest, 20 bytes
//! ```
//!
//! The digest covers the whole packet, with the key (zeros behind it) in the place of the digest. The meticulous
//! variants raise the sequence number with every packet, so that none can be replayed; the others when the contents
//! change. MD5 and SHA1 in this form are what routers speak, not what one would design today.

mod authenticator;
#[cfg(test)]
mod tests;

use std::fmt;

pub(super) use authenticator::Authenticator;

use crate::read::{Reader, Short};
use crate::write::Writer;

/// Longest secret of all methods (SHA1).
const SECRET_MAX: usize = 20;

/// How packets are authenticated; the number is the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The password itself, for everyone to read.
    SimplePassword = 1,
    /// MD5; the sequence number rises when contents change.
    KeyedMd5 = 2,
    /// MD5; the sequence number rises with every packet.
    MeticulousMd5 = 3,
    /// SHA1; the sequence number rises when contents change.
    KeyedSha1 = 4,
    /// SHA1; the sequence number rises with every packet.
    MeticulousSha1 = 5,
}

impl Method {
    const fn new(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::SimplePassword,
            2 => Self::KeyedMd5,
            3 => Self::MeticulousMd5,
            4 => Self::KeyedSha1,
            5 => Self::MeticulousSha1,
            _ => return None,
        })
    }

    /// Longest secret.
    #[must_use]
    pub const fn secret_max(self) -> usize {
        match self {
            Self::SimplePassword | Self::KeyedMd5 | Self::MeticulousMd5 => 16,
            Self::KeyedSha1 | Self::MeticulousSha1 => SECRET_MAX,
        }
    }

    /// Bytes of the digest.
    const fn digest_length(self) -> u8 {
        match self {
            Self::SimplePassword => 0,
            Self::KeyedMd5 | Self::MeticulousMd5 => 16,
            Self::KeyedSha1 | Self::MeticulousSha1 => 20,
        }
    }

    const fn is_meticulous(self) -> bool {
        matches!(self, Self::MeticulousMd5 | Self::MeticulousSha1)
    }
}

/// Up to 20 bytes: a password, a key, a digest. The rest is zeros, as the digests want their keys.
#[derive(Clone, Copy, Default, Eq)]
pub struct Bytes {
    bytes: [u8; SECRET_MAX],
    length: u8,
}

impl Bytes {
    /// None if there are more than 20.
    #[must_use]
    pub fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; SECRET_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        let length = u8::try_from(from.len()).ok()?;
        Some(Self { bytes, length })
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// With zeros behind, or cut off.
    fn resized(self, length: u8) -> Self {
        Self { length, ..self }
    }
}

/// In constant time: how long a comparison takes must not tell how much of a digest was right.
impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.bytes.iter().zip(&other.bytes);
        let differences = pairs.fold(self.length ^ other.length, |all, (a, b)| all | (a ^ b));
        differences == 0
    }
}

/// Secrets stay out of logs.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.length)
    }
}

/// The section at the end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// How.
    pub method: Method,
    /// Which of several keys.
    pub key_id: u8,
    /// Zero on sending; kept on receipt, because the digest covers it.
    pub reserved: u8,
    /// Against replay; not in simple passwords.
    pub sequence: u32,
    /// The password or the digest.
    pub proof: Bytes,
}

/// Why a section can not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// It ends too early.
    #[error(transparent)]
    Short(#[from] Short),
    /// A method that nobody defined.
    #[error("method {0}")]
    Method(u8),
    /// A length that its method can not have, or that is not that of the rest of the packet.
    #[error("length {0}")]
    Length(u8),
}

impl Section {
    /// Reads the rest of a packet.
    pub(super) fn decode(mut body: Reader<'_>) -> Result<Self, SectionError> {
        let whole = body.remaining();
        let [number, length] = body.array()?;
        let method = Method::new(number).ok_or(SectionError::Method(number))?;
        if usize::from(length) != whole {
            return Err(SectionError::Length(length));
        }
        let key_id = body.u8()?;
        let (reserved, sequence) = match method {
            Method::SimplePassword => (0, 0),
            _ => (body.u8()?, body.u32()?),
        };
        let rest = body.rest();
        let fits = match method {
            Method::SimplePassword => (1..=method.secret_max()).contains(&rest.len()),
            _ => rest.len() == usize::from(method.digest_length()),
        };
        let proof = Bytes::new(rest).filter(|_| fits);
        Ok(Self {
            method,
            key_id,
            reserved,
            sequence,
            proof: proof.ok_or(SectionError::Length(length))?,
        })
    }

    /// Bytes on the wire.
    pub(super) fn length(&self) -> u8 {
        let header = match self.method {
            Method::SimplePassword => 3,
            _ => 8,
        };
        header + self.proof.length
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        writer.u8(self.method as u8);
        writer.u8(self.length());
        writer.u8(self.key_id);
        if self.method != Method::SimplePassword {
            writer.u8(self.reserved);
            writer.u32(self.sequence);
        }
        writer.bytes(self.proof.as_slice());
    }
}

/// A secret and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// What packets call it.
    pub id: u8,
    /// 1 to 16 bytes, to 20 with SHA1.
    pub secret: Bytes,
}

/// What both sides of a session must have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    method: Method,
    sending: Key,
    accepted: Vec<Key>,
}

/// A secret that its method can not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {id} has {length} bytes: must have 1 to {max}")]
pub struct KeyError {
    /// Number of the key.
    pub id: u8,
    /// Its length.
    pub length: u8,
    /// Longest key of the method.
    pub max: usize,
}

impl Authentication {
    /// Packets are sent with one key; it and the others are accepted, so that keys can be replaced one side at a time.
    pub fn new(
        method: Method,
        sending: Key,
        others: impl IntoIterator<Item = Key>,
    ) -> Result<Self, KeyError> {
        let accepted: Vec<Key> = std::iter::once(sending).chain(others).collect();
        let max = method.secret_max();
        let wrong = accepted
            .iter()
            .find(|key| !(1..=max).contains(&usize::from(key.secret.length)));
        match wrong {
            Some(key) => Err(KeyError {
                id: key.id,
                length: key.secret.length,
                max,
            }),
            None => Ok(Self {
                method,
                sending,
                accepted,
            }),
        }
    }
}

/// Why a packet is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It is authenticated, and should not be.
    #[error("authenticated, but no authentication is configured")]
    Unexpected,
    /// It is not authenticated, and should be.
    #[error("not authenticated")]
    Missing,
    /// By another method.
    #[error("authenticated by {0:?}")]
    Method(Method),
    /// With a key that we do not have.
    #[error("key {0} is not known")]
    Key(u8),
    /// The password or the digest is wrong.
    #[error("the secret differs")]
    Proof,
    /// Replayed, or too many were lost.
    #[error("sequence number {got} is not within {window} of {last}")]
    Sequence {
        /// The last one that was accepted.
        last: u32,
        /// The one in the packet.
        got: u32,
        /// How far ahead it may be.
        window: u32,
    },
}
