//! Filling UPDATE messages to the brim (RFC 4271 §4.3, RFC 4760 §3, §4).
//!
//! Routes with the same attribute bytes share messages: 810 IPv4 or 237 IPv6 host routes fit into one. The next hop
//! decides the form: IPv4 behind an IPv4 one goes as classic NLRI, which every router takes; all else as
//! `MP_REACH_NLRI` and `MP_UNREACH_NLRI`, which come first in the attribute list so that the other side finds the
//! routes whatever follows (RFC 7606 §5.1). A message holds one family, and either announces or withdraws.

use std::iter::Peekable;

use super::family::UNICAST;
use super::frame::{Kind, begin};
use super::{Family, MAX_MESSAGE, NextHop, Prefix};
use crate::write::Writer;

/// The attributes leave no room for a route in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes of attributes leave no room for a route in a message of {MAX_MESSAGE} bytes")]
pub struct Oversized(pub usize);

/// Header, withdrawn length, attributes length.
const FIXED: usize = 23;
/// `MP_REACH_NLRI` beside its next hop and its routes: attribute header 4, family 3, reserved 1.
const MP_REACH_FIXED: usize = 8;

/// Appends UPDATEs that announce `prefixes` of `family`, all with `attributes`; returns how many.
///
/// A classic next hop stands inside of `attributes`; any other is written here.
pub fn announce(
    family: Family,
    next_hop: NextHop,
    attributes: &[u8],
    prefixes: &[Prefix],
    out: &mut Vec<u8>,
) -> Result<usize, Oversized> {
    let fixed = if next_hop.is_classic() {
        FIXED
    } else {
        FIXED + MP_REACH_FIXED + next_hop.wire_len()
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
        if next_hop.is_classic() {
            writer.bytes(attributes);
            writer.fill(&block);
            fill_up(&mut writer, start + MAX_MESSAGE, &mut rest);
        } else {
            writer.bytes(&[0x90, 14]);
            let value = writer.hole();
            writer.u16(family.afi());
            writer.u8(UNICAST);
            next_hop.encode(&mut writer);
            writer.u8(0);
            let end = start + MAX_MESSAGE - attributes.len();
            fill_up(&mut writer, end, &mut rest);
            writer.fill(&value);
            writer.bytes(attributes);
            writer.fill(&block);
        }
        writer.fill(&message);
        messages += 1;
    }
    Ok(messages)
}

/// Appends UPDATEs that withdraw `prefixes` of `family`; returns how many. `classic` as they were announced.
pub fn withdraw(family: Family, classic: bool, prefixes: &[Prefix], out: &mut Vec<u8>) -> usize {
    let mut rest = prefixes.iter().copied().peekable();
    let mut messages = 0;
    while rest.peek().is_some() {
        let start = out.len();
        let mut writer = Writer::new(out);
        let message = begin(&mut writer, Kind::Update);
        if classic {
            let block = writer.hole();
            // Two bytes stay free for the attributes length.
            fill_up(&mut writer, start + MAX_MESSAGE - 2, &mut rest);
            writer.fill(&block);
            writer.u16(0);
        } else {
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

    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::{
        Asn, Examined, Export, Frame, NextHops, Peek, Relation, RouteAttrs, Verdict, examine,
    };
    use super::*;

    const GLOBAL: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const CLASSIC: NextHop = NextHop::Classic(Ipv4Addr::new(192, 0, 2, 1));
    const SINGLE: NextHop = NextHop::Single(GLOBAL);
    const PAIR: NextHop = NextHop::Pair(GLOBAL, LINK_LOCAL);
    const V4: Family = Family::V4Unicast;
    const V6: Family = Family::V6Unicast;

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

    fn mk_attributes(next_hop: NextHop) -> Vec<u8> {
        let export = Export {
            relation: Relation::External,
            local_as: Asn::new(65000).unwrap(),
            as4: true,
            next_hops: NextHops::default(),
            extended_next_hop: true,
            only_to_customer: false,
        };
        export.attributes(&RouteAttrs::default(), next_hop)
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
        for (family, next_hop, count, messages, per_message) in [
            (V4, CLASSIC, 5000, 7, 810),
            (V4, CLASSIC, 10_000, 13, 810),
            (V4, SINGLE, 10_000, 13, 807),
            (V4, PAIR, 10_000, 13, 803),
            (V6, SINGLE, 10_000, 43, 237),
            (V6, PAIR, 10_000, 43, 236),
        ] {
            let name = format!("{count} {family} behind {next_hop:?}");
            let attributes = mk_attributes(next_hop);
            let mut out = Vec::new();
            let sent = announce(
                family,
                next_hop,
                &attributes,
                &mk_hosts(family, count),
                &mut out,
            );
            let (lengths, sum) = read_back(&out);
            assert_eq!(sent, Ok(messages), "{name}");
            assert_eq!(lengths.len(), messages, "{name}");
            assert_eq!(sum.announced, count as usize, "{name}");
            for (hosts, want) in [(per_message, 1), (per_message + 1, 2)] {
                let hosts = mk_hosts(family, hosts);
                let sent = announce(family, next_hop, &attributes, &hosts, &mut out);
                assert_eq!(sent, Ok(want), "{name}, {}", hosts.len());
            }
        }
    }

    #[test]
    fn withdrawals_reach_the_physical_limit() {
        for (family, classic, per_message) in [(V4, true, 814), (V4, false, 813), (V6, false, 239)]
        {
            let mut out = Vec::new();
            let sent = withdraw(
                family,
                classic,
                &mk_hosts(family, per_message + 1),
                &mut out,
            );
            let (lengths, sum) = read_back(&out);
            assert_eq!((sent, lengths.len()), (2, 2), "{family}");
            assert_eq!(sum.withdrawn, per_message as usize + 1, "{family}");
            let one = withdraw(family, classic, &mk_hosts(family, per_message), &mut out);
            assert_eq!(one, 1, "{family}");
        }
    }

    #[test]
    fn ipv4_behind_an_ipv6_next_hop_has_golden_bytes() {
        let prefix = ["192.0.2.0/24".parse().unwrap()];
        let mut out = Vec::new();
        announce(V4, PAIR, &[0x40, 1, 1, 0], &prefix, &mut out).unwrap();
        let want: &[u8] = &[
            0, 0, 0, 49, // no withdrawn routes, 49 bytes of attributes
            0x90, 14, 0, 41, 0, 1, 1, 32, // MP_REACH of IPv4 unicast
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // global
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // link-local
            0, 24, 192, 0, 2, //
            0x40, 1, 1, 0,
        ];
        assert_eq!(&out[19..], want);
        let mut out = Vec::new();
        withdraw(V4, false, &prefix, &mut out);
        let want: &[u8] = &[0, 0, 0, 11, 0x90, 15, 0, 7, 0, 1, 1, 24, 192, 0, 2];
        assert_eq!(&out[19..], want);
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
            SINGLE,
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
        assert_eq!(announce(V4, CLASSIC, &full, &hosts, &mut out), Ok(1));
        assert_eq!(out.len(), MAX_MESSAGE);
        let over = vec![0; full.len() + 1];
        let refused = announce(V4, CLASSIC, &over, &hosts, &mut out);
        assert_eq!(refused, Err(Oversized(over.len())));
        assert_eq!(out.len(), MAX_MESSAGE, "nothing was written");
    }

    proptest! {
        #[test]
        fn whatever_is_packed_is_read_back(v6: bool, extended: bool, lengths in proptest::collection::vec(0u8..=32, 0..2000)) {
            let family = if v6 { V6 } else { V4 };
            let next_hop = if v6 { SINGLE } else if extended { PAIR } else { CLASSIC };
            let prefixes: Vec<Prefix> = mk_hosts(family, 2000)
                .into_iter()
                .zip(&lengths)
                .map(|(host, length)| IpNetwork::new(host.network().ip(), *length).unwrap().into())
                .collect();
            let mut out = Vec::new();
            announce(family, next_hop, &mk_attributes(next_hop), &prefixes, &mut out).unwrap();
            withdraw(family, next_hop.is_classic(), &prefixes, &mut out);
            let (lengths, sum) = read_back(&out);
            prop_assert!(lengths.iter().all(|length| *length <= MAX_MESSAGE));
            prop_assert_eq!((sum.announced, sum.withdrawn), (prefixes.len(), prefixes.len()));
        }
    }
}
