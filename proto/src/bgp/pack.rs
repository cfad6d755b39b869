//! Filling UPDATE messages to the brim (RFC 4271 §4.3, RFC 4760 §3, §4).
//!
//! Routes with the same attribute bytes share messages: 810 IPv4 or 237 IPv6 host routes fit into one. IPv4
//! goes as classic NLRI, which every router takes; IPv6 as `MP_REACH_NLRI` and `MP_UNREACH_NLRI`, which come first
//! in the attribute list so that the other side finds the routes whatever follows (RFC 7606 §5.1). A message
//! holds one family, and either announces or withdraws.

use std::iter::Peekable;
use std::net::Ipv6Addr;

use super::family::UNICAST;
use super::frame::{Kind, begin};
use super::{Family, MAX_MESSAGE, Prefix};
use crate::write::Writer;

/// The attributes leave no room for a route in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes of attributes leave no room for a route in a message of {MAX_MESSAGE} bytes")]
pub struct Oversized(pub usize);

/// Header, withdrawn length, attributes length.
const FIXED: usize = 23;
/// `MP_REACH_NLRI` with one global next hop: attribute header 4, family 3, length 1, address 16, reserved 1.
const MP_REACH_FIXED: usize = 25;

/// Appends UPDATEs that announce `prefixes` of `family`, all with `attributes`; returns how many.
///
/// `next_hop` is the IPv6 next hop; classic IPv4 has its own inside of `attributes`.
pub fn announce(
    family: Family,
    next_hop: Option<Ipv6Addr>,
    attributes: &[u8],
    prefixes: &[Prefix],
    out: &mut Vec<u8>,
) -> Result<usize, Oversized> {
    let fixed = match family {
        Family::V4Unicast => FIXED,
        Family::V6Unicast => FIXED + MP_REACH_FIXED,
    };
    let longest = 1 + usize::from(family.bits() / 8);
    if fixed + attributes.len() + longest > MAX_MESSAGE {
        return Err(Oversized(attributes.len()));
    }
    let mut rest = prefixes.iter().copied().peekable();
    let mut messages = 0;
    while rest.peek().is_some() {
        let start = out.len();
        let mut writer = Writer::new(out);
        let message = begin(&mut writer, Kind::Update);
        writer.u16(0);
        let block = writer.hole();
        match family {
            Family::V4Unicast => {
                writer.bytes(attributes);
                writer.fill(&block);
                fill_up(&mut writer, start + MAX_MESSAGE, &mut rest);
            }
            Family::V6Unicast => {
                writer.bytes(&[0x90, 14]);
                let value = writer.hole();
                writer.u16(family.afi());
                writer.bytes(&[UNICAST, 16]);
                writer.bytes(&next_hop.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
                writer.u8(0);
                fill_up(
                    &mut writer,
                    start + MAX_MESSAGE - attributes.len(),
                    &mut rest,
                );
                writer.fill(&value);
                writer.bytes(attributes);
                writer.fill(&block);
            }
        }
        writer.fill(&message);
        messages += 1;
    }
    Ok(messages)
}

/// Appends UPDATEs that withdraw `prefixes` of `family`; returns how many.
pub fn withdraw(family: Family, prefixes: &[Prefix], out: &mut Vec<u8>) -> usize {
    let mut rest = prefixes.iter().copied().peekable();
    let mut messages = 0;
    while rest.peek().is_some() {
        let start = out.len();
        let mut writer = Writer::new(out);
        let message = begin(&mut writer, Kind::Update);
        match family {
            Family::V4Unicast => {
                let block = writer.hole();
                // Two bytes stay free for the attributes length.
                fill_up(&mut writer, start + MAX_MESSAGE - 2, &mut rest);
                writer.fill(&block);
                writer.u16(0);
            }
            Family::V6Unicast => {
                writer.u16(0);
                let block = writer.hole();
                writer.bytes(&[0x90, 15]);
                let value = writer.hole();
                writer.u16(family.afi());
                writer.u8(UNICAST);
                fill_up(&mut writer, start + MAX_MESSAGE, &mut rest);
                writer.fill(&value);
                writer.fill(&block);
            }
        }
        writer.fill(&message);
        messages += 1;
    }
    messages
}

/// Appends End-of-RIB: all routes of `family` have been sent (RFC 4724 §2).
pub fn end_of_rib(family: Family, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    let message = begin(&mut writer, Kind::Update);
    writer.u16(0);
    match family {
        Family::V4Unicast => writer.u16(0),
        Family::V6Unicast => {
            writer.bytes(&[0, 6, 0x80, 15, 3]);
            writer.u16(family.afi());
            writer.u8(UNICAST);
        }
    }
    writer.fill(&message);
}

/// Writes prefixes as long as they end at or before position `end`.
fn fill_up(
    writer: &mut Writer<'_>,
    end: usize,
    prefixes: &mut Peekable<impl Iterator<Item = Prefix>>,
) {
    while let Some(prefix) = prefixes.next_if(|prefix| writer.position() + prefix.wire_len() <= end)
    {
        prefix.encode(writer);
    }
}

#[cfg(test)]
mod tests {
    use ipnetwork::IpNetwork;
    use proptest::prelude::*;

    use super::super::{
        Asn, Examined, Export, Frame, NextHops, Peek, Relation, RouteAttrs, Verdict, examine,
    };
    use super::*;

    const NEXT_HOP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

    fn mk_hosts(family: Family, count: u32) -> Vec<Prefix> {
        let host = |number: u32| match family {
            Family::V4Unicast => IpNetwork::from(std::net::IpAddr::from(number.to_be_bytes())),
            Family::V6Unicast => IpNetwork::from(std::net::IpAddr::from(Ipv6Addr::from_bits(
                u128::from(number),
            ))),
        };
        (0..count)
            .map(|number| Prefix::from(host(0x0a00_0000 + number)))
            .collect()
    }

    fn mk_attributes(family: Family) -> Vec<u8> {
        let export = Export {
            relation: Relation::External,
            local_as: Asn::new(65000).unwrap(),
            as4: true,
            next_hops: NextHops::from(std::net::IpAddr::from([192, 0, 2, 1])),
        };
        export.attributes(&RouteAttrs::default(), family)
    }

    /// Lengths of the messages, and the sum of what they say.
    fn read_back(mut bytes: &[u8]) -> (Vec<usize>, Examined) {
        let mut lengths = Vec::new();
        let mut sum = Examined::default();
        while let Ok(Peek::Whole(frame, taken)) = Frame::peek(bytes) {
            let one = examine(frame.body, Relation::External, true);
            assert_eq!(one.verdict, Verdict::Fine);
            sum.announced += one.announced;
            sum.withdrawn += one.withdrawn;
            lengths.push(taken);
            bytes = &bytes[taken..];
        }
        assert_eq!(bytes, &[] as &[u8], "nothing but whole messages");
        (lengths, sum)
    }

    #[test]
    fn announcements_reach_the_physical_limit() {
        for (family, count, messages, first) in [
            (Family::V4Unicast, 5000, 7, 4093),
            (Family::V4Unicast, 10_000, 13, 4093),
            (Family::V6Unicast, 10_000, 43, 4090),
        ] {
            let mut out = Vec::new();
            let attributes = mk_attributes(family);
            let hosts = mk_hosts(family, count);
            let sent = announce(family, Some(NEXT_HOP), &attributes, &hosts, &mut out);
            let (lengths, sum) = read_back(&out);
            assert_eq!(sent, Ok(messages), "{count} {family}");
            assert_eq!(lengths.len(), messages, "{count} {family}");
            assert_eq!(lengths[0], first, "{count} {family}");
            assert_eq!(sum.announced, count as usize, "{count} {family}");
        }
    }

    #[test]
    fn withdrawals_reach_the_physical_limit() {
        for (family, per_message) in [(Family::V4Unicast, 814), (Family::V6Unicast, 239)] {
            let mut out = Vec::new();
            let sent = withdraw(family, &mk_hosts(family, per_message + 1), &mut out);
            let (lengths, sum) = read_back(&out);
            assert_eq!((sent, lengths.len()), (2, 2), "{family}");
            assert_eq!(sum.withdrawn, per_message as usize + 1, "{family}");
        }
    }

    #[test]
    fn end_of_rib_has_golden_bytes() {
        for (family, body) in [
            (Family::V4Unicast, &[0, 0, 0, 0][..]),
            (Family::V6Unicast, &[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1]),
        ] {
            let mut out = Vec::new();
            end_of_rib(family, &mut out);
            assert_eq!(&out[19..], body, "{family}");
            assert_eq!(
                examine(body, Relation::External, true).end_of_rib,
                Some(family)
            );
        }
    }

    #[test]
    fn an_ipv6_announcement_has_golden_bytes() {
        let mut out = Vec::new();
        let prefix = "fd00:1::/32".parse().unwrap();
        announce(
            Family::V6Unicast,
            Some(NEXT_HOP),
            &[0x40, 1, 1, 0],
            &[prefix],
            &mut out,
        )
        .unwrap();
        let want: &[u8] = &[
            0, 0, 0, 34, // no withdrawn routes, 34 bytes of attributes
            0x90, 14, 0, 26, 0, 2, 1, // MP_REACH first
            16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, //
            32, 0xfd, 0, 0, 1, //
            0x40, 1, 1, 0,
        ];
        assert_eq!(&out[19..], want);
    }

    #[test]
    fn attributes_that_fill_a_message_are_refused() {
        let mut out = Vec::new();
        let hosts = mk_hosts(Family::V4Unicast, 1);
        let full = vec![0; MAX_MESSAGE - FIXED - 5];
        assert_eq!(
            announce(Family::V4Unicast, None, &full, &hosts, &mut out),
            Ok(1)
        );
        assert_eq!(out.len(), MAX_MESSAGE);
        let over = vec![0; full.len() + 1];
        let refused = announce(Family::V4Unicast, None, &over, &hosts, &mut out);
        assert_eq!(refused, Err(Oversized(over.len())));
        assert_eq!(out.len(), MAX_MESSAGE, "nothing was written");
    }

    proptest! {
        #[test]
        fn whatever_is_packed_is_read_back(v6: bool, lengths in proptest::collection::vec(0u8..=32, 0..2000)) {
            let family = if v6 { Family::V6Unicast } else { Family::V4Unicast };
            let prefixes: Vec<Prefix> = mk_hosts(family, 2000)
                .into_iter()
                .zip(&lengths)
                .map(|(host, length)| IpNetwork::new(host.network().ip(), *length).unwrap().into())
                .collect();
            let mut out = Vec::new();
            announce(family, Some(NEXT_HOP), &mk_attributes(family), &prefixes, &mut out).unwrap();
            withdraw(family, &prefixes, &mut out);
            let (lengths, sum) = read_back(&out);
            prop_assert!(lengths.iter().all(|length| *length <= MAX_MESSAGE));
            prop_assert_eq!((sum.announced, sum.withdrawn), (prefixes.len(), prefixes.len()));
        }
    }
}
