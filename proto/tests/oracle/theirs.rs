//! What another implementation sends: none of it is a fault to us, and we count the same routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use ipnetwork::IpNetwork;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::community::{
    Community, ExtendedCommunity, LargeCommunity, UnknownExtendedCommunity,
};
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress};
use netgauze_bgp_pkt::path_attribute::{
    Aggregator, Aigp, As2Aggregator, As2PathSegment, As4Aggregator, As4Path, As4PathSegment,
    AsPath, AsPathSegmentType, AtomicAggregate, ClusterId, ClusterList, Communities,
    ExtendedCommunities, LargeCommunities, LocalPreference, MpReach, MpUnreach,
    MultiExitDiscriminator, NextHop, OnlyToCustomer, Origin, Originator, PathAttribute,
    PathAttributeValue, UnknownAttribute,
};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use portolan_proto::bgp::{
    Examined, Frame, HEADER, Kind, MAX_MESSAGE, Peek, Prefix, Relation, Terms, Verdict,
    examine_within,
};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::wanted::any_prefix;
use super::{both, written};

/// An UPDATE of theirs, and the session that it is for.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) terms: Terms,
    pub(super) message: BgpMessage,
    pub(super) announced: usize,
    pub(super) withdrawn: usize,
}

impl Said {
    pub(super) fn body(&self) -> Vec<u8> {
        let bytes = written(&self.message);
        match Frame::peek(&bytes) {
            Ok(Peek::Whole(frame, length)) => {
                assert_eq!((frame.kind, length), (Kind::Update, bytes.len()));
                frame.body.to_vec()
            }
            other => panic!("{other:?} of {} bytes", bytes.len()),
        }
    }
}

fn v4(prefix: Prefix) -> Option<Ipv4UnicastAddress> {
    let IpNetwork::V4(network) = prefix.network() else {
        return None;
    };
    let net = Ipv4Net::new(network.ip(), network.prefix()).expect("a legal length");
    let unicast = Ipv4Unicast::from_net(net).expect("unicast");
    Some(Ipv4UnicastAddress::new_no_path_id(unicast))
}

fn v6(prefix: Prefix) -> Option<Ipv6UnicastAddress> {
    let IpNetwork::V6(network) = prefix.network() else {
        return None;
    };
    let net = Ipv6Net::new(network.ip(), network.prefix()).expect("a legal length");
    let unicast = Ipv6Unicast::from_net(net).expect("unicast");
    Some(Ipv6UnicastAddress::new(None, unicast))
}

fn path(as4: bool, numbers: &[u32]) -> AsPath {
    use AsPathSegmentType::{AsSequence, AsSet};
    let kinds = [AsSequence, AsSet, AsSequence];
    let parts = numbers.chunks(3).zip(kinds.into_iter().cycle());
    if as4 {
        let parts = parts.map(|(part, kind)| As4PathSegment::new(kind, part));
        AsPath::as4_path_segments(parts.collect::<Vec<_>>())
    } else {
        let parts = parts.map(|(part, kind)| {
            let narrow: Vec<u16> = part
                .iter()
                .map(|number| u16::try_from(*number).unwrap_or(23_456))
                .collect();
            As2PathSegment::new(kind, narrow)
        });
        AsPath::as2_path_segments(parts.collect::<Vec<_>>())
    }
}

/// Everything that a route may have beside what it must have.
fn extras(terms: Terms, number: u32) -> Vec<PathAttributeValue> {
    use PathAttributeValue as Value;
    let address = Ipv4Addr::from_bits(number);
    let [a, b, c, d] = number.to_be_bytes();
    let mut values = vec![
        Value::MultiExitDiscriminator(MultiExitDiscriminator::new(number)),
        Value::AtomicAggregate(AtomicAggregate),
        Value::Aggregator(if terms.as4 {
            Aggregator::As4Aggregator(As4Aggregator::new(number, address))
        } else {
            Aggregator::As2Aggregator(As2Aggregator::new(65_001, address))
        }),
        Value::Communities(Communities::new([
            Community::new(number),
            Community::new(0xffff_ff01),
        ])),
        Value::ExtendedCommunities(ExtendedCommunities::new([ExtendedCommunity::Unknown(
            UnknownExtendedCommunity::new(0x9a, a, [b, c, d, 0, 0, 0]),
        )])),
        Value::LargeCommunities(LargeCommunities::new([LargeCommunity::new(
            number, number, 0,
        )])),
        Value::OnlyToCustomer(OnlyToCustomer::new(number)),
        Value::Aigp(Aigp::AccumulatedIgpMetric(u64::from(number))),
        Value::UnknownAttribute(UnknownAttribute::new(211, [a, b, c])),
        Value::UnknownAttribute(UnknownAttribute::new(212, [])),
    ];
    if !terms.as4 {
        let segment = As4PathSegment::new(AsPathSegmentType::AsSequence, [number, 1]);
        values.push(Value::As4Path(As4Path::new([segment])));
        values.push(Value::Aggregator(Aggregator::As2Aggregator(
            As2Aggregator::new(23_456, address),
        )));
    }
    if terms.relation == Relation::Internal {
        values.push(Value::Originator(Originator::new(address)));
        values.push(Value::ClusterList(ClusterList::new([
            ClusterId::new(address),
            ClusterId::new(Ipv4Addr::LOCALHOST),
        ])));
    }
    values
}

/// With the flags of its type.
fn flagged(value: PathAttributeValue, extended: bool) -> PathAttribute {
    let optional = value.can_be_optional().unwrap_or(true);
    let transitive = value.can_be_transitive().unwrap_or(true);
    let partial = value.can_be_partial().unwrap_or(false);
    PathAttribute::from(optional, transitive, partial, extended, value).expect("its own flags")
}

pub(super) fn any_update() -> impl Strategy<Value = Said> {
    let prefixes = || proptest::collection::vec(any_prefix(), 0..40);
    let terms = any::<(bool, bool)>().prop_map(|(external, as4)| Terms {
        relation: if external {
            Relation::External
        } else {
            Relation::Internal
        },
        as4,
        families: both(),
    });
    let seed = (
        terms,
        proptest::collection::vec(1_u32.., 0..9),
        1_u32..,
        any::<[bool; 4]>(),
    );
    (seed, prefixes(), prefixes(), any::<u16>())
        .prop_flat_map(|((terms, numbers, number, flags), came, gone, mask)| {
            let extras = extras(terms, number);
            let count = extras.len();
            let picked = subsequence(extras, 0..=count);
            (Just((terms, numbers, flags, came, gone, mask)), picked)
        })
        .prop_flat_map(|((terms, numbers, flags, came, gone, mask), extras)| {
            build(terms, &numbers, flags, &came, &gone, mask, extras)
        })
}

fn build(
    terms: Terms,
    numbers: &[u32],
    [classic, v6_too, local, v4_lost]: [bool; 4],
    reached: &[Prefix],
    lost: &[Prefix],
    mask: u16,
    extras: Vec<PathAttributeValue>,
) -> impl Strategy<Value = Said> + use<> {
    use PathAttributeValue as Value;
    let told = |wanted: bool| reached.iter().copied().filter(move |_| wanted);
    let ended = |wanted: bool| lost.iter().copied().filter(move |_| wanted);
    let nlri: Vec<_> = told(classic).filter_map(v4).collect();
    let six: Vec<_> = told(v6_too).filter_map(v6).collect();
    let withdrawn: Vec<_> = ended(v4_lost).filter_map(v4).collect();
    let six_lost: Vec<_> = ended(true).filter_map(v6).collect();
    let said = (nlri.len() + six.len(), withdrawn.len() + six_lost.len());
    let mut values = Vec::new();
    if said.0 > 0 {
        values.push(Value::Origin(Origin::EGP));
        values.push(Value::AsPath(path(terms.as4, numbers)));
        if !nlri.is_empty() {
            values.push(Value::NextHop(NextHop::new(Ipv4Addr::new(192, 0, 2, 9))));
        }
        if terms.relation == Relation::Internal {
            values.push(Value::LocalPreference(LocalPreference::new(7)));
        }
        if !six.is_empty() {
            values.push(Value::MpReach(MpReach::Ipv6Unicast {
                next_hop_global: Ipv6Addr::LOCALHOST,
                next_hop_local: local.then_some(Ipv6Addr::LOCALHOST),
                nlri: six.into(),
            }));
        }
        values.extend(extras);
    }
    if !six_lost.is_empty() {
        let nlri = six_lost.into();
        values.push(Value::MpUnreach(MpUnreach::Ipv6Unicast { nlri }));
    }
    let mut seen = [false; 256];
    values.retain(|value| {
        let kind: u8 = value.path_attribute_type().map_or_else(|it| it, Into::into);
        !std::mem::replace(&mut seen[usize::from(kind)], true)
    });
    Just(values).prop_shuffle().prop_map(move |values| {
        let attributes = values.into_iter().enumerate().map(|(index, value)| {
            let long = value_len(&value) > 255;
            flagged(value, long || mask >> (index % 16) & 1 == 1)
        });
        let update = BgpUpdateMessage::new(
            withdrawn.clone(),
            attributes.collect::<Vec<_>>(),
            nlri.clone(),
        );
        Said {
            terms,
            message: BgpMessage::Update(update),
            announced: said.0,
            withdrawn: said.1,
        }
    })
}

/// Only those that hold routes can be long here.
fn value_len(value: &PathAttributeValue) -> usize {
    match value {
        PathAttributeValue::MpReach(MpReach::Ipv6Unicast { nlri, .. })
        | PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => 38 + 17 * nlri.len(),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_another_implementation_sends_is_no_fault_and_counts_alike(said in any_update()) {
        let body = said.body();
        prop_assert!(body.len() + HEADER <= MAX_MESSAGE);
        let got = examine_within(said.terms, &body);
        let want = Examined {
            verdict: Verdict::Fine,
            announced: said.announced,
            withdrawn: said.withdrawn,
            end_of_rib: got.end_of_rib,
        };
        prop_assert_eq!(got.clone(), want, "{:?}", said.message);
        prop_assert_eq!(got.end_of_rib.is_some(), said.announced + said.withdrawn == 0);
    }
}

#[test]
fn addresses_are_of_both_families() {
    // Keeps the strategy honest: a table of one family would hide half of the packer.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let families: Vec<bool> = (0..64)
        .map(|_| {
            let tree = any_prefix().new_tree(&mut runner).expect("no filter");
            let prefix = proptest::strategy::ValueTree::current(&tree);
            matches!(prefix.network().ip(), IpAddr::V4(_))
        })
        .collect();
    assert!(families.contains(&true) && families.contains(&false));
}
