//! What a peer should hear: random tables, and each route in the other implementation's terms.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netgauze_bgp_pkt::path_attribute::PathAttributeValue;
use netgauze_bgp_pkt::{community as nc, path_attribute as np};
use portolan_proto::bgp::{
    Asn, Community, Export, ExtendedCommunity, LargeCommunity, NextHop, NextHops, Prefix, Relation,
    RouteAttrs,
};
use proptest::prelude::*;

/// A route as the other side sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) next_hop: Vec<IpAddr>,
    /// All attributes but those that hold routes and next hops, by type.
    pub(super) attributes: BTreeMap<u8, PathAttributeValue>,
}

/// What the peer is to see of a route, told in the other implementation's terms.
pub(super) fn expected(export: &Export, prefix: Prefix, attrs: &RouteAttrs) -> Seen {
    let next_hop = match export.next_hop(prefix.family()).expect("it is carried") {
        NextHop::Classic(v4) => vec![v4.into()],
        NextHop::Single(one) => vec![one.into()],
        NextHop::Pair(global, local) => vec![global.into(), local.into()],
    };
    let external = export.relation == Relation::External;
    let number = export.local_as.get();
    let hops = if external {
        vec![number; usize::from(attrs.prepend.saturating_add(1))]
    } else {
        Vec::new()
    };
    let sequence = np::AsPathSegmentType::AsSequence;
    let four = || -> Vec<np::As4PathSegment> {
        let segments = [np::As4PathSegment::new(sequence, hops.clone())];
        segments.into_iter().filter(|_| external).collect()
    };
    let path = if export.as4 {
        np::AsPath::as4_path_segments(four())
    } else {
        let narrow = |hop: &u32| u16::try_from(*hop).unwrap_or(Asn::TRANS);
        let hops: Vec<u16> = hops.iter().map(narrow).collect();
        let segments = [np::As2PathSegment::new(sequence, hops)];
        np::AsPath::as2_path_segments(
            segments
                .into_iter()
                .filter(|_| external)
                .collect::<Vec<_>>(),
        )
    };
    let mut values = vec![
        (1, PathAttributeValue::Origin(np::Origin::IGP)),
        (2, PathAttributeValue::AsPath(path)),
    ];
    if let Some(med) = attrs.med {
        let med = np::MultiExitDiscriminator::new(med);
        values.push((4, PathAttributeValue::MultiExitDiscriminator(med)));
    }
    if !external {
        let preference = np::LocalPreference::new(attrs.local_pref.unwrap_or(100));
        values.push((5, PathAttributeValue::LocalPreference(preference)));
    }
    if !attrs.communities.is_empty() {
        let list = attrs
            .communities
            .iter()
            .map(|it| nc::Community::new(it.get()));
        let list = np::Communities::new(list.collect::<Vec<_>>());
        values.push((8, PathAttributeValue::Communities(list)));
    }
    if external && !export.as4 && number > 0xffff {
        values.push((17, PathAttributeValue::As4Path(np::As4Path::new(four()))));
    }
    if !attrs.large.is_empty() {
        let list = attrs
            .large
            .iter()
            .map(|it| nc::LargeCommunity::new(it.global, it.local1, it.local2));
        let list = np::LargeCommunities::new(list.collect::<Vec<_>>());
        values.push((32, PathAttributeValue::LargeCommunities(list)));
    }
    if export.only_to_customer {
        let marked = np::OnlyToCustomer::new(number);
        values.push((35, PathAttributeValue::OnlyToCustomer(marked)));
    }
    Seen {
        next_hop,
        attributes: values.into_iter().collect(),
    }
}

pub(super) fn expected_extended(export: &Export, attrs: &RouteAttrs) -> BTreeSet<[u8; 8]> {
    let bandwidth = attrs.bandwidth.map(|bytes_per_second| {
        let kind = match export.relation {
            Relation::External => 0x00,
            Relation::Internal => 0x40,
        };
        let asn = u16::try_from(export.local_as.get()).unwrap_or(Asn::TRANS);
        #[allow(clippy::cast_precision_loss, reason = "the wire has a single")]
        let [a, b, c, d] = (bytes_per_second as f32).to_be_bytes();
        let [high, low] = asn.to_be_bytes();
        [kind, 4, high, low, a, b, c, d]
    });
    let configured = attrs.extended.iter().map(|it| it.octets());
    let configured =
        configured.filter(|[kind, ..]| export.relation == Relation::Internal || kind & 0x40 == 0);
    configured.chain(bandwidth).collect()
}

/// Unicast, as the other side counts no other prefix as a route.
pub(super) fn any_prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (1_u8..224, any::<[u8; 3]>(), 8_u8..=32)
        .prop_map(|(first, [b, c, d], length)| (IpAddr::from([first, b, c, d]), length));
    let v6 = (0_u8..0xfe, any::<u128>(), 8_u8..=128).prop_map(|(first, rest, length)| {
        let bits = rest >> 8 | u128::from(first) << 120;
        (IpAddr::from(Ipv6Addr::from_bits(bits)), length)
    });
    prop_oneof![v4, v6].prop_map(|(address, length)| {
        Prefix::from(IpNetwork::new(address, length).expect("a legal length"))
    })
}

fn any_attrs() -> impl Strategy<Value = RouteAttrs> {
    let communities = proptest::collection::btree_set(any::<(u16, u16)>(), 0..80);
    let large = proptest::collection::btree_set(any::<(u32, u32, u32)>(), 0..30);
    // Route targets and origins of the three forms, and an opaque one.
    let form = prop_oneof![
        Just([0, 2]),
        Just([1, 3]),
        Just([2, 2]),
        Just([3, 0x0c]),
        Just([0x43, 9])
    ];
    let extended = proptest::collection::btree_set((form, any::<[u8; 6]>()), 0..40);
    (
        any::<(Option<u32>, Option<u32>, u8, Option<u32>)>(),
        communities,
        large,
        extended,
    )
        .prop_map(
            |((local_pref, med, prepend, bandwidth), communities, large, extended)| RouteAttrs {
                local_pref,
                communities: communities
                    .into_iter()
                    .map(|(asn, value)| Community::new(asn, value))
                    .collect(),
                large: large
                    .into_iter()
                    .map(|(global, one, two)| LargeCommunity::new(global, one, two))
                    .collect(),
                extended: extended
                    .into_iter()
                    .map(|([kind, subtype], [a, b, c, d, e, f])| {
                        ExtendedCommunity::new([kind, subtype, a, b, c, d, e, f])
                    })
                    .collect(),
                med,
                prepend: prepend % 8,
                bandwidth: bandwidth.map(u64::from),
            },
        )
}

pub(super) fn any_export() -> impl Strategy<Value = Export> {
    any::<(bool, bool, bool, [bool; 3], bool, bool)>().prop_map(
        |(external, wide, as4, [has_v4, has_v6, has_local], extended_next_hop, marked)| Export {
            relation: if external {
                Relation::External
            } else {
                Relation::Internal
            },
            local_as: Asn::new(if wide { 4_200_000_001 } else { 65_000 }).expect("not 0"),
            as4,
            next_hops: NextHops {
                v4: has_v4.then_some(Ipv4Addr::new(192, 0, 2, 1)),
                v6: has_v6.then(|| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
                link_local: has_local.then(|| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
            },
            extended_next_hop,
            only_to_customer: external && marked,
        },
    )
}

pub(super) type Wanted = BTreeMap<Prefix, RouteAttrs>;

/// Two states of a table with few attribute sets, which many prefixes share.
pub(super) fn any_history() -> impl Strategy<Value = [Wanted; 2]> {
    let sets = proptest::collection::vec(any_attrs(), 1..5);
    let routes = || proptest::collection::btree_map(any_prefix(), any::<[Option<u8>; 2]>(), 0..300);
    (sets, routes()).prop_map(|(sets, routes)| {
        [0, 1].map(|step: usize| {
            let chosen = routes.iter().filter_map(|(prefix, which)| {
                let which = usize::from(which[step]?) % sets.len();
                Some((*prefix, sets[which].clone()))
            });
            chosen.collect()
        })
    })
}
