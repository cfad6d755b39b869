//! Communities: labels that ride on routes (RFC 1997) and their wide form (RFC 8092).

use std::fmt;
use std::str::FromStr;

/// A community: AS and value, 16 bits each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(u32);

/// A large community: three numbers of 32 bits, of which the first is an AS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// The AS whose meaning it has.
    pub global: u32,
    /// First number of that AS's choosing.
    pub local1: u32,
    /// Second number of that AS's choosing.
    pub local2: u32,
}

/// An extended community (RFC 4360): type and subtype, then six octets whose meaning those give.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity([u8; 8]);

/// Why text is not a community.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommunityError {
    /// Not `a:b` with two 16-bit numbers, nor a well-known name.
    #[error(
        "{0:?} is not a community: write 65000:100, two numbers up to 65535, or a name such as no-export"
    )]
    Standard(String),
    /// Not `large:a:b:c`.
    #[error("{0:?} is not a large community: write large:4200000001:1:2, three 32-bit numbers")]
    Large(String),
}

/// Names that operators know (IANA registry "BGP Well-known Communities").
const WELL_KNOWN: [(&str, Community); 9] = [
    ("graceful-shutdown", Community::new(65535, 0)),
    ("accept-own", Community::new(65535, 1)),
    ("llgr-stale", Community::new(65535, 6)),
    ("no-llgr", Community::new(65535, 7)),
    ("blackhole", Community::new(65535, 666)),
    ("no-export", Community::new(65535, 65281)),
    ("no-advertise", Community::new(65535, 65282)),
    ("no-export-subconfed", Community::new(65535, 65283)),
    ("no-peer", Community::new(65535, 65284)),
];

impl Community {
    /// The community `asn:value`.
    #[must_use]
    pub const fn new(asn: u16, value: u16) -> Self {
        Self((asn as u32) << 16 | value as u32)
    }

    /// The four octets of the wire as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Community {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        let error = || CommunityError::Standard(text.to_owned());
        if let Some((_, community)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(*community);
        }
        let (asn, value) = text.split_once(':').ok_or_else(error)?;
        Ok(Self::new(
            decimal(asn).ok_or_else(error)?,
            decimal(value).ok_or_else(error)?,
        ))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl fmt::Debug for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl LargeCommunity {
    /// The large community `global:local1:local2`.
    #[must_use]
    pub const fn new(global: u32, local1: u32, local2: u32) -> Self {
        Self {
            global,
            local1,
            local2,
        }
    }
}

impl FromStr for LargeCommunity {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        let parse = || {
            let mut parts = text.strip_prefix("large:")?.split(':');
            let large = Self::new(
                decimal(parts.next()?)?,
                decimal(parts.next()?)?,
                decimal(parts.next()?)?,
            );
            parts.next().is_none().then_some(large)
        };
        parse().ok_or_else(|| CommunityError::Large(text.to_owned()))
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "large:{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl fmt::Debug for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ExtendedCommunity {
    /// The extended community with these octets on the wire.
    #[must_use]
    pub const fn new(octets: [u8; 8]) -> Self {
        Self(octets)
    }

    /// The octets of the wire.
    #[must_use]
    pub const fn octets(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ext:{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Digits only: `str::parse` alone would also take a plus sign.
pub(super) fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_communities_read_and_write_alike() {
        for (text, want) in [
            ("65000:100", Some("65000:100")),
            ("0:0", Some("0:0")),
            ("no-export", Some("65535:65281")),
            ("blackhole", Some("65535:666")),
            ("65536:1", None),
            ("+1:1", None),
            ("1", None),
            ("1:2:3", None),
            ("", None),
        ] {
            let got = text
                .parse::<Community>()
                .ok()
                .map(|community| community.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn large_communities_read_and_write_alike() {
        for (text, good) in [
            ("large:4200000001:1:2", true),
            ("large:0:0:0", true),
            ("4200000001:1:2", false),
            ("large:1:2", false),
            ("large:1:2:3:4", false),
            ("large:4294967296:1:2", false),
            ("large:1::3", false),
        ] {
            let got = text
                .parse::<LargeCommunity>()
                .ok()
                .map(|large| large.to_string());
            assert_eq!(got.as_deref(), good.then_some(text), "{text:?}");
        }
    }
}
