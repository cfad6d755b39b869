//! Path attributes of the routes that we announce (RFC 4271 §5).
//!
//! Routers form an ECMP group only from routes whose attributes are equal but for the next hop, so nothing
//! here depends on the node: ORIGIN is always IGP, the path holds our AS once or nothing, lists are sorted and
//! free of duplicates. Equal sets therefore give equal bytes, and packing groups routes by those bytes.

use std::collections::BTreeSet;

use super::{
    Asn, Community, ExtendedCommunity, Family, LargeCommunity, NextHop, NextHops, Relation,
};
use crate::write::Writer;

/// What is configured about a route beside its prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteAttrs {
    /// `LOCAL_PREF` towards peers in our own AS; [`RouteAttrs::DEFAULT_LOCAL_PREF`] when unset.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997).
    pub communities: BTreeSet<Community>,
    /// `LARGE_COMMUNITY` (RFC 8092).
    pub large: BTreeSet<LargeCommunity>,
    /// `EXTENDED_COMMUNITIES` (RFC 4360), beside that of `bandwidth`.
    pub extended: BTreeSet<ExtendedCommunity>,
    /// `MULTI_EXIT_DISC` (RFC 4271 §5.1.4); none unless asked for, as routers make no ECMP group of unequal ones.
    pub med: Option<u32>,
    /// How many times our AS stands in the path beside the once that it must, towards other ASes.
    pub prepend: u8,
    /// Link bandwidth in bytes per second, as an extended community (draft-ietf-idr-link-bandwidth).
    pub bandwidth: Option<u64>,
}

impl RouteAttrs {
    /// What routers assume of a route without `LOCAL_PREF`.
    pub const DEFAULT_LOCAL_PREF: u32 = 100;

    /// About how many bytes they take on the wire.
    pub(super) fn wire_estimate(&self) -> usize {
        let lists = 4 * self.communities.len() + 12 * self.large.len() + 8 * self.extended.len();
        79 + lists + 4 * usize::from(self.prepend)
    }
}

/// How one session writes routes: everything about attributes that the peer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    /// eBGP or iBGP.
    pub relation: Relation,
    /// The AS that is prepended towards other ones.
    pub local_as: Asn,
    /// Both sides write AS numbers in four octets (RFC 6793).
    pub as4: bool,
    /// Who to send the traffic to.
    pub next_hops: NextHops,
    /// IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Routes are marked Only-to-Customer with our AS (RFC 9234 §5).
    pub only_to_customer: bool,
}

const ORIGIN: (u8, u8) = (0x40, 1);
const AS_PATH: (u8, u8) = (0x40, 2);
const NEXT_HOP: (u8, u8) = (0x40, 3);
const MULTI_EXIT_DISC: (u8, u8) = (0x80, 4);
const LOCAL_PREF: (u8, u8) = (0x40, 5);
const COMMUNITIES: (u8, u8) = (0xc0, 8);
const EXTENDED_COMMUNITIES: (u8, u8) = (0xc0, 16);
const AS4_PATH: (u8, u8) = (0xc0, 17);
const LARGE_COMMUNITIES: (u8, u8) = (0xc0, 32);
const ONLY_TO_CUSTOMER: (u8, u8) = (0xc0, 35);

const AS_SEQUENCE: u8 = 2;

/// Link bandwidth: type "two-octet AS specific", then its subtype.
const LINK_BANDWIDTH: (u8, u8) = (0x00, 0x04);
/// The bit of the type that keeps an extended community within one AS (RFC 4360 §2).
const NON_TRANSITIVE: u8 = 0x40;

impl Export {
    /// The next hop for routes of `family`, which decides their form too.
    #[must_use]
    pub fn next_hop(&self, family: Family) -> Option<NextHop> {
        self.next_hops.of(family, self.extended_next_hop)
    }

    /// The attributes in ascending order of their types, without `MP_REACH_NLRI`, which belongs to the packer.
    /// `NEXT_HOP` is there for classic IPv4 NLRI only.
    pub(super) fn attributes(&self, attrs: &RouteAttrs, next_hop: NextHop) -> Vec<u8> {
        let mut out = Vec::with_capacity(attrs.wire_estimate());
        let mut writer = Writer::new(&mut out);
        put(&mut writer, ORIGIN, &[0]);
        put(&mut writer, AS_PATH, &self.path(attrs.prepend, self.as4));
        match next_hop {
            NextHop::Classic(v4) => put(&mut writer, NEXT_HOP, &v4.octets()),
            NextHop::Single(_) | NextHop::Pair(..) => {}
        }
        if let Some(med) = attrs.med {
            put(&mut writer, MULTI_EXIT_DISC, &med.to_be_bytes());
        }
        if self.relation == Relation::Internal {
            let preference = attrs.local_pref.unwrap_or(RouteAttrs::DEFAULT_LOCAL_PREF);
            put(&mut writer, LOCAL_PREF, &preference.to_be_bytes());
        }
        let communities: Vec<u8> = attrs
            .communities
            .iter()
            .flat_map(|community| community.get().to_be_bytes())
            .collect();
        put_list(&mut writer, COMMUNITIES, &communities);
        let bandwidth = attrs
            .bandwidth
            .map(|bandwidth| self.link_bandwidth(bandwidth));
        let configured = attrs
            .extended
            .iter()
            .copied()
            .filter(|it| self.may_see(*it));
        let extended: BTreeSet<_> = configured.chain(bandwidth).collect();
        let extended: Vec<u8> = extended
            .into_iter()
            .flat_map(ExtendedCommunity::octets)
            .collect();
        put_list(&mut writer, EXTENDED_COMMUNITIES, &extended);
        // RFC 6793 §4.2.2: the true path rides along where AS_TRANS stands in for us.
        let hidden = !self.as4 && self.local_as.two_byte().is_none();
        if hidden && self.relation == Relation::External {
            put(&mut writer, AS4_PATH, &self.path(attrs.prepend, true));
        }
        let large: Vec<u8> = attrs
            .large
            .iter()
            .flat_map(|large| [large.global, large.local1, large.local2])
            .flat_map(u32::to_be_bytes)
            .collect();
        put_list(&mut writer, LARGE_COMMUNITIES, &large);
        if self.only_to_customer {
            let marker = self.local_as.get().to_be_bytes();
            put(&mut writer, ONLY_TO_CUSTOMER, &marker);
        }
        out
    }

    /// Towards other ASes one segment with our AS, once and as often as it is prepended; else nothing.
    fn path(&self, prepend: u8, as4: bool) -> Vec<u8> {
        let mut segment = Vec::new();
        if self.relation == Relation::External {
            let times = prepend.saturating_add(1);
            segment.extend([AS_SEQUENCE, times]);
            for _ in 0..times {
                if as4 {
                    segment.extend(self.local_as.get().to_be_bytes());
                } else {
                    segment.extend(self.local_as.two_byte_or_trans().to_be_bytes());
                }
            }
        }
        segment
    }

    /// What is not transitive stays within the AS (RFC 4360 §6).
    fn may_see(&self, community: ExtendedCommunity) -> bool {
        let [kind, ..] = community.octets();
        self.relation == Relation::Internal || kind & NON_TRANSITIVE == 0
    }

    /// The draft's form keeps it within the AS, which would hide it from external peers: those get the transitive one,
    /// as FRR does.
    fn link_bandwidth(&self, bytes_per_second: u64) -> ExtendedCommunity {
        let (kind, subtype) = LINK_BANDWIDTH;
        let kind = match self.relation {
            Relation::Internal => kind | NON_TRANSITIVE,
            Relation::External => kind,
        };
        let [high, low] = self.local_as.two_byte_or_trans().to_be_bytes();
        #[expect(
            clippy::cast_precision_loss,
            reason = "the wire has an IEEE 754 single"
        )]
        let [a, b, c, d] = (bytes_per_second as f32).to_be_bytes();
        ExtendedCommunity::new([kind, subtype, high, low, a, b, c, d])
    }
}

/// One attribute, with the extended length bit when it needs it.
fn put(writer: &mut Writer<'_>, (flags, kind): (u8, u8), value: &[u8]) {
    if let Ok(length) = u8::try_from(value.len()) {
        writer.bytes(&[flags, kind, length]);
        writer.bytes(value);
    } else {
        writer.bytes(&[flags | 0x10, kind]);
        let length = writer.hole();
        writer.bytes(value);
        writer.fill(&length);
    }
}

fn put_list(writer: &mut Writer<'_>, header: (u8, u8), value: &[u8]) {
    if !value.is_empty() {
        put(writer, header, value);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn mk_export(relation: Relation, asn: u32, as4: bool) -> Export {
        let next_hops = NextHops::from(IpAddr::from([192, 0, 2, 1]));
        Export {
            relation,
            local_as: Asn::new(asn).unwrap(),
            as4,
            next_hops,
            extended_next_hop: false,
            only_to_customer: false,
        }
    }

    fn mk_attrs() -> RouteAttrs {
        RouteAttrs {
            local_pref: Some(7),
            communities: BTreeSet::from([Community::new(2, 1), Community::new(1, 2)]),
            large: BTreeSet::from([LargeCommunity::new(1, 2, 3)]),
            ..RouteAttrs::default()
        }
    }

    const V4: NextHop = NextHop::Classic(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn ebgp_prepends_once_and_keeps_local_preference_to_itself() {
        let got = mk_export(Relation::External, 4_200_000_001, true).attributes(&mk_attrs(), V4);
        let want: &[u8] = &[
            0x40, 1, 1, 0, //
            0x40, 2, 6, 2, 1, 0xfa, 0x56, 0xea, 0x01, //
            0x40, 3, 4, 192, 0, 2, 1, //
            0xc0, 8, 8, 0, 1, 0, 2, 0, 2, 0, 1, // sorted
            0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3,
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn ibgp_has_an_empty_path_and_a_preference() {
        let export = mk_export(Relation::Internal, 65000, true);
        let plain = export.attributes(&RouteAttrs::default(), V4);
        let want: &[u8] = &[
            0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1, 0x40, 5, 4, 0, 0, 0, 100,
        ];
        assert_eq!(plain, want);
        let chosen = export.attributes(&mk_attrs(), V4);
        assert_eq!(chosen[14..21], [0x40, 5, 4, 0, 0, 0, 7]);
    }

    #[test]
    fn a_route_for_customers_only_is_marked_with_our_as_in_four_octets() {
        for as4 in [true, false] {
            let export = Export {
                only_to_customer: true,
                ..mk_export(Relation::External, 4_200_000_001, as4)
            };
            let got = export.attributes(&mk_attrs(), V4);
            assert!(
                got.ends_with(&[0xc0, 35, 4, 0xfa, 0x56, 0xea, 0x01]),
                "{got:?}"
            );
        }
    }

    #[test]
    fn an_old_peer_sees_as_trans_and_the_true_path_beside_it() {
        let got = mk_export(Relation::External, 4_200_000_001, false)
            .attributes(&RouteAttrs::default(), V4);
        assert_eq!(got[4..11], [0x40, 2, 4, 2, 1, 0x5b, 0xa0]);
        assert_eq!(got[18..], [0xc0, 17, 6, 2, 1, 0xfa, 0x56, 0xea, 0x01]);
        let small = mk_export(Relation::External, 65000, false);
        assert_eq!(
            small.attributes(&RouteAttrs::default(), V4)[4..],
            [0x40, 2, 4, 2, 1, 0xfd, 0xe8, 0x40, 3, 4, 192, 0, 2, 1]
        );
    }

    #[test]
    fn what_steers_traffic_stands_in_its_order() {
        let attrs = RouteAttrs {
            med: Some(5),
            prepend: 1,
            bandwidth: Some(125_000_000),
            ..RouteAttrs::default()
        };
        let got = mk_export(Relation::External, 65000, true).attributes(&attrs, V4);
        let want: &[u8] = &[
            0x40, 1, 1, 0, //
            0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe8, 0, 0, 0xfd, 0xe8, //
            0x40, 3, 4, 192, 0, 2, 1, //
            0x80, 4, 4, 0, 0, 0, 5, //
            0xc0, 16, 8, 0x00, 0x04, 0xfd, 0xe8, 0x4c, 0xee, 0x6b, 0x28,
        ];
        assert_eq!(got, want);
        let internal = mk_export(Relation::Internal, 65000, true).attributes(&attrs, V4);
        assert_eq!(
            internal[4..7],
            [0x40, 2, 0],
            "nobody prepends inside of an AS"
        );
        assert_eq!(internal[31..33], [0x40, 0x04], "within the AS");
    }

    #[test]
    fn extended_communities_are_sorted_with_the_bandwidth_among_them() {
        let target = ExtendedCommunity::new([0, 2, 0xfd, 0xe8, 0, 0, 0, 1]);
        let origin = ExtendedCommunity::new([1, 3, 192, 0, 2, 1, 0, 1]);
        let attrs = RouteAttrs {
            extended: BTreeSet::from([origin, target]),
            bandwidth: Some(0),
            ..RouteAttrs::default()
        };
        let got = mk_export(Relation::External, 65000, true).attributes(&attrs, V4);
        let want: &[u8] = &[
            0xc0, 16, 24, //
            0, 2, 0xfd, 0xe8, 0, 0, 0, 1, //
            0, 4, 0xfd, 0xe8, 0, 0, 0, 0, //
            1, 3, 192, 0, 2, 1, 0, 1,
        ];
        assert_eq!(got[20..], *want);
        assert_eq!(target.to_string(), "ext:0002fde800000001");
    }

    #[test]
    fn what_is_not_transitive_stays_within_the_as() {
        let ours = ExtendedCommunity::new([0x43, 9, 0, 0, 0, 0, 0, 1]);
        let attrs = RouteAttrs {
            extended: BTreeSet::from([ours]),
            ..RouteAttrs::default()
        };
        let plain = RouteAttrs::default();
        let external = mk_export(Relation::External, 65000, true);
        assert_eq!(
            external.attributes(&attrs, V4),
            external.attributes(&plain, V4)
        );
        let internal = mk_export(Relation::Internal, 65000, true);
        let got = internal.attributes(&attrs, V4);
        assert_eq!(got[21..], [0xc0, 16, 8, 0x43, 9, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn routes_in_mp_reach_carry_no_classic_next_hop() {
        let got = mk_export(Relation::External, 65000, true)
            .attributes(&RouteAttrs::default(), NextHop::Single(Ipv6Addr::LOCALHOST));
        assert_eq!(got.len(), 13);
    }

    #[test]
    fn a_long_list_uses_the_extended_length() {
        let communities = (0..100).map(|value| Community::new(1, value)).collect();
        let attrs = RouteAttrs {
            communities,
            ..RouteAttrs::default()
        };
        let got = mk_export(Relation::External, 65000, true).attributes(&attrs, V4);
        assert_eq!(got[20..24], [0xd0, 8, 1, 0x90]);
    }
}
