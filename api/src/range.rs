//! Address ranges as integers. All allocation arithmetic happens on these; text exists only at the edges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Length of an address in bits: 32 or 128.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address with this integer value; for IPv4 the low 32 bits count.
    #[must_use]
    pub fn address(self, value: u128) -> IpAddr {
        match self {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an IPv4 range never leaves 32 bits"
            )]
            Self::V4 => IpAddr::V4(Ipv4Addr::from_bits(value as u32)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(value)),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The integer value of an address.
#[must_use]
pub fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// An inclusive, never empty range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    family: Family,
    first: u128,
    last: u128,
}

/// Why a text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither a CIDR nor `start-end`.
    #[error(
        "{0:?} is not a range: write a CIDR such as 192.0.2.0/24 or first-last such as 192.0.2.10-192.0.2.20"
    )]
    Malformed(String),
    /// `start-end` with the larger address first.
    #[error("{0:?} ends before it starts: write the smaller address first")]
    Reversed(String),
    /// `start-end` over two families.
    #[error("{0:?} mixes IPv4 and IPv6: write one range per family")]
    MixedFamilies(String),
}

impl IpRange {
    /// The range from `first` to `last`, both included.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        let text = || format!("{first}-{last}");
        if Family::of(first) != Family::of(last) {
            return Err(RangeError::MixedFamilies(text()));
        }
        if value(first) > value(last) {
            return Err(RangeError::Reversed(text()));
        }
        Ok(Self {
            family: Family::of(first),
            first: value(first),
            last: value(last),
        })
    }

    /// The smallest range that contains both; they must be of one family.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        debug_assert_eq!(self.family, other.family);
        Self {
            family: self.family,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// The range of all addresses of a prefix.
    #[must_use]
    pub fn of_prefix(prefix: IpNetwork) -> Self {
        let family = Family::of(prefix.ip());
        let host_bits = u32::from(family.bits() - prefix.prefix());
        let mask = 1_u128
            .checked_shl(host_bits)
            .map_or(u128::MAX, |size| size - 1);
        let first = value(prefix.ip()) & !mask;
        Self {
            family,
            first,
            last: first | mask,
        }
    }

    /// IPv4 or IPv6.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// First address as an integer.
    #[must_use]
    pub fn first(&self) -> u128 {
        self.first
    }

    /// Last address as an integer.
    #[must_use]
    pub fn last(&self) -> u128 {
        self.last
    }

    /// Number of addresses; saturates for `::/0`.
    #[must_use]
    pub fn count(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether the address lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && (self.first..=self.last).contains(&value(address))
    }

    /// Whether the ranges have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family == other.family && self.first <= other.last && other.first <= self.last
    }

    /// Length of the longest prefix that covers the whole range. An aggregate of the range must not be shorter than
    /// the shortest prefix that fits inside it, see [`Self::largest_prefix`].
    #[must_use]
    pub fn largest_prefix(&self) -> u8 {
        // Walk the minimal CIDR cover: each step takes the largest aligned block that still fits.
        let mut at = self.first;
        let mut shortest = self.family.bits();
        loop {
            let aligned = if at == 0 {
                u32::from(self.family.bits())
            } else {
                at.trailing_zeros()
            };
            let room = (self.last - at)
                .checked_add(1)
                .map_or(u32::from(self.family.bits()), u128::ilog2);
            let host_bits = aligned.min(room).min(u32::from(self.family.bits()));
            #[expect(clippy::cast_possible_truncation, reason = "at most 128")]
            let length = self.family.bits() - host_bits as u8;
            shortest = shortest.min(length);
            let step = 1_u128.checked_shl(host_bits).unwrap_or(0);
            match at.checked_add(step) {
                Some(next) if step != 0 && next <= self.last => at = next,
                _ => return shortest,
            }
        }
    }
}

impl FromStr for IpRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let malformed = || RangeError::Malformed(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let first = first.trim().parse().map_err(|_| malformed())?;
            let last = last.trim().parse().map_err(|_| malformed())?;
            return Self::new(first, last);
        }
        if !text.contains('/') {
            return Err(malformed());
        }
        Ok(Self::of_prefix(
            text.trim().parse().map_err(|_| malformed())?,
        ))
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}",
            self.family.address(self.first),
            self.family.address(self.last)
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mk_range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn cidr_and_dash_forms_name_the_same_range() {
        for (a, b) in [
            ("10.0.0.0/30", "10.0.0.0-10.0.0.3"),
            ("10.0.0.1/30", "10.0.0.0 - 10.0.0.3"),
            ("0.0.0.0/0", "0.0.0.0-255.255.255.255"),
            ("2001:db8::/126", "2001:db8::-2001:db8::3"),
            ("192.0.2.7/32", "192.0.2.7-192.0.2.7"),
        ] {
            assert_eq!(mk_range(a), mk_range(b), "{a} and {b}");
        }
    }

    #[test]
    fn each_mistake_has_its_own_words() {
        for (text, words) in [
            ("10.0.0.0/33", "is not a range"),
            ("10.0.0.1", "is not a range"),
            ("", "is not a range"),
            ("10.0.0.300-10.0.0.301", "is not a range"),
            ("10.0.0.9-10.0.0.1", "smaller address first"),
            ("10.0.0.1-2001:db8::1", "one range per family"),
        ] {
            let error = text.parse::<IpRange>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn largest_prefix_is_that_of_the_minimal_cover() {
        for (text, length) in [
            ("10.0.0.0/24", 24),
            ("10.0.0.1-10.0.0.1", 32),
            ("10.0.0.1-10.0.0.8", 30),
            ("0.0.0.0/0", 0),
            ("::/0", 0),
            ("2001:db8::1-2001:db8::ffff", 113),
        ] {
            assert_eq!(mk_range(text).largest_prefix(), length, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_form_reads_back_as_the_same_range(a: u32, b: u32) {
            let range = IpRange::new(
                Family::V4.address(a.min(b).into()),
                Family::V4.address(a.max(b).into()),
            ).unwrap();
            prop_assert_eq!(range.to_string().parse::<IpRange>().unwrap(), range);
        }
    }
}
