//! A prefix and its form in UPDATE messages (RFC 4271 §4.3: length in bits, then as few octets as hold them).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::Family;
use crate::read::{Reader, Short};
use crate::write::Writer;

/// A network prefix whose host bits are zero by construction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNetwork);

/// Why bytes or text are not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The octets of the prefix are not there.
    #[error("prefix cut short")]
    Short(#[from] Short),
    /// More bits than an address has.
    #[error("prefix length {0} is longer than an address")]
    TooLong(u8),
    /// Not an address with a length.
    #[error("{0:?} is not a prefix such as 192.0.2.0/24")]
    Syntax(String),
}

impl Prefix {
    /// The prefix as a network.
    #[must_use]
    pub const fn network(self) -> IpNetwork {
        self.0
    }

    /// Its family.
    #[must_use]
    pub const fn family(self) -> Family {
        match self.0 {
            IpNetwork::V4(_) => Family::V4Unicast,
            IpNetwork::V6(_) => Family::V6Unicast,
        }
    }

    /// How many octets [`Prefix::encode`] writes.
    #[must_use]
    pub fn wire_len(self) -> usize {
        1 + octets(self.0.prefix())
    }

    /// Appends the NLRI form.
    pub fn encode(self, writer: &mut Writer<'_>) {
        let length = self.0.prefix();
        writer.u8(length);
        let put = |writer: &mut Writer<'_>, address: &[u8]| {
            writer.bytes(address.get(..octets(length)).unwrap_or(address));
        };
        match self.0 {
            IpNetwork::V4(network) => put(writer, &network.ip().octets()),
            IpNetwork::V6(network) => put(writer, &network.ip().octets()),
        }
    }

    /// Reads one NLRI entry; host bits are masked, as RFC 4271 §4.3 calls them irrelevant.
    pub fn decode(family: Family, reader: &mut Reader<'_>) -> Result<Self, PrefixError> {
        let length = reader.u8()?;
        if length > family.bits() {
            return Err(PrefixError::TooLong(length));
        }
        let significant = reader.take(octets(length))?;
        let address = match family {
            Family::V4Unicast => IpAddr::V4(Ipv4Addr::from(padded::<4>(significant))),
            Family::V6Unicast => IpAddr::V6(Ipv6Addr::from(padded::<16>(significant))),
        };
        let network = IpNetwork::new(address, length).map_err(|_| PrefixError::TooLong(length))?;
        Ok(Self::from(network))
    }
}

/// Octets that hold `bits` bits.
fn octets(bits: u8) -> usize {
    usize::from(bits).div_ceil(8)
}

/// `bytes` from the left, zeros after them.
fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut address = [0; N];
    for (to, from) in address.iter_mut().zip(bytes) {
        *to = *from;
    }
    address
}

/// `length` is legal already: it comes out of a network of the same family.
fn masked(network: IpNetwork) -> Option<IpNetwork> {
    Some(match network {
        IpNetwork::V4(net) => IpNetwork::V4(Ipv4Network::new(net.network(), net.prefix()).ok()?),
        IpNetwork::V6(net) => IpNetwork::V6(Ipv6Network::new(net.network(), net.prefix()).ok()?),
    })
}

impl From<IpNetwork> for Prefix {
    fn from(network: IpNetwork) -> Self {
        Self(masked(network).unwrap_or(network))
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        text.parse::<IpNetwork>()
            .map(Self::from)
            .map_err(|_| PrefixError::Syntax(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(family: Family, bytes: &[u8]) -> Result<Prefix, PrefixError> {
        Prefix::decode(family, &mut Reader::new(bytes))
    }

    #[test]
    fn carries_only_significant_octets_in_both_directions() {
        for (text, family, bytes) in [
            ("0.0.0.0/0", Family::V4Unicast, &[0][..]),
            ("10.0.0.0/8", Family::V4Unicast, &[8, 10]),
            ("192.0.2.0/25", Family::V4Unicast, &[25, 192, 0, 2, 0]),
            ("192.0.2.1/32", Family::V4Unicast, &[32, 192, 0, 2, 1]),
            ("fd00::/8", Family::V6Unicast, &[8, 0xfd]),
        ] {
            let prefix: Prefix = text.parse().unwrap();
            let mut out = Vec::new();
            prefix.encode(&mut Writer::new(&mut out));
            assert_eq!(out, bytes, "{text}");
            assert_eq!(out.len(), prefix.wire_len(), "{text}");
            assert_eq!(decode(family, bytes), Ok(prefix), "{text}");
        }
    }

    #[test]
    fn host_bits_vanish() {
        assert_eq!(
            "10.1.2.3/8".parse::<Prefix>().unwrap().to_string(),
            "10.0.0.0/8"
        );
        assert_eq!(
            decode(Family::V4Unicast, &[9, 10, 0xff])
                .unwrap()
                .to_string(),
            "10.128.0.0/9"
        );
    }

    #[test]
    fn impossible_lengths_are_refused() {
        assert_eq!(
            decode(Family::V4Unicast, &[33, 1, 2, 3, 4, 5]),
            Err(PrefixError::TooLong(33))
        );
        assert_eq!(
            decode(Family::V4Unicast, &[24, 1, 2]),
            Err(Short { missing: 1 }.into())
        );
        assert!(decode(Family::V6Unicast, &[129]).is_err());
    }

    proptest! {
        #[test]
        fn any_prefix_survives_the_wire(v6: bool, bits: u128, length in 0u8..=128) {
            let (family, address) = if v6 {
                (Family::V6Unicast, IpAddr::V6(Ipv6Addr::from(bits)))
            } else {
                let low = u32::try_from(bits & u128::from(u32::MAX)).unwrap();
                (Family::V4Unicast, IpAddr::V4(Ipv4Addr::from(low)))
            };
            let length = length.min(family.bits());
            let prefix = Prefix::from(IpNetwork::new(address, length).unwrap());
            let mut out = Vec::new();
            prefix.encode(&mut Writer::new(&mut out));
            prop_assert_eq!(decode(family, &out), Ok(prefix));
        }
    }
}
