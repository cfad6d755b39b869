//! The key that all speakers of a cluster have in common.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A secret of [`Key::MIN`] bytes at least.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Could be guessed.
    #[error("{0} bytes; a key has {min} at least", min = Key::MIN)]
    TooShort(usize),
}

impl Key {
    /// Fewest bytes that make a key.
    pub const MIN: usize = 16;
    /// Bytes of a signature.
    pub const SIGNATURE: usize = 32;

    /// Takes the bytes for a key.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < Self::MIN {
            return Err(KeyError::TooShort(secret.len()));
        }
        Ok(Self(secret.to_vec()))
    }

    /// What the BFD sessions between speakers are authenticated with (RFC 5880 §6.7.4: a SHA1 key has 20 bytes): never the
    /// secret itself, so that one protocol says nothing about the other.
    #[must_use]
    pub fn bfd(&self) -> [u8; 20] {
        let mut digest = Sha256::new();
        digest.update(b"bfd");
        digest.update(&self.0);
        let digest: [u8; 32] = digest.finalize().into();
        let mut key = [0; 20];
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        key
    }

    /// The content with its signature behind it.
    #[must_use]
    pub fn signed(&self, content: &[u8]) -> Vec<u8> {
        [content, &self.sign(content)].concat()
    }

    /// HMAC-SHA256 of the content (RFC 2104, FIPS 180-4).
    pub(super) fn sign(&self, content: &[u8]) -> [u8; Self::SIGNATURE] {
        self.mac(content).map_or([0; Self::SIGNATURE], |mac| {
            mac.finalize().into_bytes().into()
        })
    }

    /// Whether the signature is that of the content; in the same time wherever it differs.
    pub(super) fn verifies(&self, content: &[u8], signature: &[u8; Self::SIGNATURE]) -> bool {
        self.mac(content)
            .is_some_and(|mac| mac.verify(&(*signature).into()).is_ok())
    }

    /// `None` never happens: HMAC takes keys of any length.
    fn mac(&self, content: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(content);
        Some(mac)
    }
}

/// Says nothing about the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}
