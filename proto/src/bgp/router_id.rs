//! The BGP identifier (RFC 6286).

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::str::FromStr;

/// A BGP identifier: any non-zero 32-bit value, unique within the AS; written like an IPv4 address.
/// Compared as an unsigned number, as collision detection wants it (RFC 4271 §6.8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(NonZeroU32);

/// Why something is not a BGP identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterIdError {
    /// RFC 6286 §2.1.
    #[error("the router id 0.0.0.0 is not allowed (RFC 6286)")]
    Zero,
    /// Not four octets with dots.
    #[error("{0:?} is not a router id: it is written like an IPv4 address")]
    Syntax(String),
}

impl RouterId {
    /// Accepts everything but 0.
    pub fn new(bits: u32) -> Result<Self, RouterIdError> {
        NonZeroU32::new(bits).map(Self).ok_or(RouterIdError::Zero)
    }

    /// The identifier as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<Ipv4Addr> for RouterId {
    type Error = RouterIdError;

    fn try_from(address: Ipv4Addr) -> Result<Self, RouterIdError> {
        Self::new(address.to_bits())
    }
}

impl FromStr for RouterId {
    type Err = RouterIdError;

    fn from_str(text: &str) -> Result<Self, RouterIdError> {
        let address: Ipv4Addr = text
            .parse()
            .map_err(|_| RouterIdError::Syntax(text.to_owned()))?;
        Self::try_from(address)
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from_bits(self.get()).fmt(f)
    }
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouterId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_like_an_address_and_ordered_like_a_number() {
        let low: RouterId = "10.0.0.2".parse().unwrap();
        let high: RouterId = "192.0.2.1".parse().unwrap();
        assert!(low < high);
        assert_eq!(high.to_string(), "192.0.2.1");
        assert_eq!("0.0.0.0".parse::<RouterId>(), Err(RouterIdError::Zero));
        assert!(matches!(
            "::1".parse::<RouterId>(),
            Err(RouterIdError::Syntax(_))
        ));
    }
}
