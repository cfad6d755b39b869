//! What a session of ours sends.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnetwork::IpNetwork;
use netgauze_bgp_pkt::path_attribute::{MpReach, MpUnreach, PathAttribute, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::{BgpMessage, nlri};
use netgauze_parse_utils::WritablePdu;
use portolan_proto::bgp::{
    AdjOut, Asn, Audience, Capabilities, Code, Export, Families, HoldTime, LongLived, Notification,
    Open, Prefix, Refresh, Restart, Rib, RoleClaim, RouteAttrs, write_keepalive,
};
use proptest::prelude::*;

use super::wanted::{Seen, Wanted, any_export, any_history, expected, expected_extended};
use super::{BOTH, both, read};

/// The name of the peer.
const PEER: &str = "tor";

/// The table of a peer that listens to us.
#[derive(Debug, Default)]
struct Peer {
    routes: BTreeMap<Prefix, Seen>,
    ends: Vec<String>,
}

impl Peer {
    fn hear(&mut self, messages: &[BgpMessage]) {
        for message in messages {
            match message {
                BgpMessage::Update(update) => self.update(update),
                other => panic!("{other:?} is no UPDATE"),
            }
        }
    }

    fn update(&mut self, update: &BgpUpdateMessage) {
        in_order(update.path_attributes());
        if let Some(family) = update.end_of_rib() {
            self.ends.push(family.to_string());
            return;
        }
        let mut gone: Vec<Prefix> = update.withdraw_routes().iter().map(v4).collect();
        let mut came: Vec<Prefix> = update.nlri().iter().map(v4).collect();
        let mut seen = Seen::default();
        for attribute in update.path_attributes() {
            match attribute.value() {
                PathAttributeValue::MpReach(MpReach::Ipv4Unicast {
                    next_hop,
                    next_hop_local,
                    nlri,
                }) => {
                    seen.next_hop.push(*next_hop);
                    seen.next_hop.extend(next_hop_local.map(IpAddr::V6));
                    came.extend(nlri.iter().map(v4));
                }
                PathAttributeValue::MpReach(MpReach::Ipv6Unicast {
                    next_hop_global,
                    next_hop_local,
                    nlri,
                }) => {
                    seen.next_hop.push((*next_hop_global).into());
                    seen.next_hop.extend(next_hop_local.map(IpAddr::V6));
                    came.extend(nlri.iter().map(v6));
                }
                PathAttributeValue::MpUnreach(MpUnreach::Ipv4Unicast { nlri }) => {
                    gone.extend(nlri.iter().map(v4));
                }
                PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                    gone.extend(nlri.iter().map(v6));
                }
                PathAttributeValue::NextHop(hop) => seen.next_hop.push(hop.next_hop().into()),
                value => {
                    let replaced = seen.attributes.insert(type_of(attribute), value.clone());
                    assert_eq!(replaced, None, "an attribute twice");
                }
            }
        }
        assert!(
            gone.is_empty() != came.is_empty(),
            "announces or withdraws: {update:?}"
        );
        for prefix in gone {
            assert!(
                self.routes.remove(&prefix).is_some(),
                "{prefix} was not there"
            );
        }
        for prefix in came {
            self.routes.insert(prefix, seen.clone());
        }
    }
}

fn type_of(attribute: &PathAttribute) -> u8 {
    attribute
        .path_attribute_type()
        .map_or_else(|unknown| unknown, Into::into)
}

/// Routes first (RFC 7606 §5.1), then by type, each once; the extended length where it is needed, or holds routes.
fn in_order(attributes: &[PathAttribute]) {
    let types: Vec<u8> = attributes.iter().map(type_of).collect();
    let rank = |kind: &u8| if [14, 15].contains(kind) { 0 } else { *kind };
    assert!(types.is_sorted_by(|a, b| rank(a) < rank(b)), "{types:?}");
    for attribute in attributes {
        assert!(!attribute.partial(), "partial: {attribute:?}");
        let long = attribute.len() > 3 + 255;
        let may = [14, 15].contains(&type_of(attribute));
        assert!(
            attribute.extended_length() == long || may,
            "{} bytes: {attribute:?}",
            attribute.len()
        );
    }
}

fn v4(address: &nlri::Ipv4UnicastAddress) -> Prefix {
    assert_eq!(address.path_id(), None, "add-path was not agreed on");
    let net = address.network().address();
    prefix(net.addr().into(), net.prefix_len())
}

fn v6(address: &nlri::Ipv6UnicastAddress) -> Prefix {
    assert_eq!(address.path_id(), None, "add-path was not agreed on");
    let net = address.network().address();
    prefix(net.addr().into(), net.prefix_len())
}

fn prefix(address: IpAddr, length: u8) -> Prefix {
    let network = IpNetwork::new(address, length).expect("a legal length");
    let prefix = Prefix::from(network);
    assert_eq!(prefix.network(), network, "host bits on the wire");
    prefix
}

/// Extended communities have a type for each kind over there; their bytes are ours.
fn extended_of(seen: &mut Seen) -> Vec<[u8; 8]> {
    match seen.attributes.remove(&16) {
        None => Vec::new(),
        Some(PathAttributeValue::ExtendedCommunities(list)) => {
            let bytes = list.communities().iter().map(|community| {
                let mut bytes = Vec::new();
                community.write(&mut bytes).expect("it was read");
                bytes.try_into().expect("eight octets")
            });
            bytes.collect()
        }
        Some(other) => panic!("{other:?} of type 16"),
    }
}

fn agrees(peer: &Peer, export: &Export, wanted: &Wanted) {
    let carried = |prefix: &Prefix| export.next_hop(prefix.family()).is_some();
    let wanted: Wanted = wanted
        .iter()
        .filter(|(prefix, _)| carried(prefix))
        .map(|(prefix, attrs)| (*prefix, attrs.clone()))
        .collect();
    assert!(
        peer.routes.keys().eq(wanted.keys()),
        "the peer has other prefixes"
    );
    for (prefix, attrs) in &wanted {
        let mut seen = peer.routes[prefix].clone();
        let extended = extended_of(&mut seen);
        assert!(
            extended.iter().eq(&expected_extended(export, attrs)),
            "{extended:?} of {prefix}"
        );
        assert_eq!(seen, expected(export, *prefix, attrs), "{prefix}");
    }
}

/// The table, told to one peer.
fn audiences(wanted: &Wanted) -> BTreeMap<Prefix, Arc<Audience>> {
    let told = |attrs: &RouteAttrs| [(PEER, attrs.clone())].into_iter().collect();
    let routes = wanted.iter();
    routes
        .map(|(prefix, attrs)| (*prefix, Arc::new(told(attrs))))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_a_session_sends_is_what_another_implementation_hears(
        history in any_history(), export in any_export(), room in 1_usize..20_000,
    ) {
        let mut rib = Rib::default();
        let mut adj = AdjOut::new(export, both());
        let mut peer = Peer::default();
        for wanted in &history {
            rib.replace(&audiences(wanted));
            rib.set_synced();
            loop {
                let mut out = Vec::new();
                if adj.pull(rib.follower(PEER), room, &mut out).messages == 0 {
                    break;
                }
                peer.hear(&read(&out, export.as4));
            }
            agrees(&peer, &export, wanted);
        }
        prop_assert_eq!(peer.ends.len(), 2, "End-of-RIB: {:?}", peer.ends);
    }

    #[test]
    fn our_opens_are_read_alike(
        // Identifiers like 224.0.0.1 are legal (RFC 6286), but not over there.
        asn in 1_u32.., hold in 3_u16.., id in 1_u32..0xe000_0000, flags: [bool; 8], time in 0_u16..4096, stale in 0_u32..0x0100_0000,
        v4: bool, v6: bool, role in proptest::option::of(0_u8..5),
    ) {
        let mut families = Families::NONE;
        for (family, _) in BOTH.into_iter().zip([v4, v6]).filter(|(_, there)| *there) {
            families = families.with(family);
        }
        let restart = Restart { restarted: flags[0], notification: flags[1], time, families, forwarding: families };
        let long_lived = LongLived { time: stale, families, forwarding: Families::NONE };
        let capabilities = Capabilities {
            multiprotocol: (v4 || v6).then_some(families),
            route_refresh: flags[2],
            extended_next_hop: flags[3],
            restart: flags[4].then_some(restart),
            four_octet_as: flags[5].then_some(asn),
            enhanced_refresh: flags[6],
            role: role.map(RoleClaim::One),
            long_lived: (flags[7] && !families.is_empty()).then_some(long_lived),
            ..Capabilities::default()
        };
        let open = Open::ours(
            Asn::new(asn).unwrap(),
            HoldTime::new(hold).unwrap(),
            Ipv4Addr::from_bits(id).try_into().unwrap(),
            capabilities.clone(),
        );
        let mut out = Vec::new();
        open.encode(&mut out);
        let messages = read(&out, true);
        let [BgpMessage::Open(heard)] = &messages[..] else {
            panic!("{messages:?} is no OPEN");
        };
        prop_assert_eq!((heard.my_as(), heard.hold_time(), heard.bgp_id().to_bits()), (open.my_as, hold, id));
        let codes = heard.capabilities().into_iter().map(|it| it.code().map_or_else(|code| code, Into::into));
        let mut codes: Vec<u8> = codes.collect();
        codes.dedup();
        prop_assert!(capabilities.codes().eq(codes), "{:?}", heard);
    }
}

#[test]
fn everything_else_that_we_say_is_read_alike() {
    let mut out = Vec::new();
    write_keepalive(&mut out);
    for family in BOTH {
        Refresh::request(family, &mut out);
        Refresh::begin(family, &mut out);
        Refresh::end(family, &mut out);
    }
    let limit = Code::MAXIMUM_PREFIXES.with(&[0, 1, 1, 0, 0, 0, 100]);
    for notification in [
        Code::CONNECTION_NOT_SYNCHRONIZED.bare(),
        Code::BAD_MESSAGE_LENGTH.with(&[0, 18]),
        Code::BAD_MESSAGE_TYPE.with(&[9]),
        Code::OPEN_UNSPECIFIC.bare(),
        Code::UNSUPPORTED_VERSION.with(&[0, 4]),
        Code::BAD_PEER_AS.bare(),
        Code::BAD_BGP_IDENTIFIER.with(&[0; 4]),
        Code::UNSUPPORTED_OPTIONAL_PARAMETER.bare(),
        Code::UNACCEPTABLE_HOLD_TIME.with(&[0, 1]),
        Code::UNSUPPORTED_CAPABILITY.with(&[2, 0]),
        Code::ROLE_MISMATCH.bare(),
        Code::MALFORMED_ATTRIBUTE_LIST.bare(),
        Code::OPTIONAL_ATTRIBUTE_ERROR.bare(),
        Code::INVALID_NETWORK_FIELD.bare(),
        Code::HOLD_TIMER_EXPIRED.bare(),
        Code::UNEXPECTED_IN_OPEN_SENT.with(&[4]),
        Code::UNEXPECTED_IN_OPEN_CONFIRM.with(&[2]),
        Code::UNEXPECTED_IN_ESTABLISHED.with(&[1]),
        limit.clone(),
        Code::ADMINISTRATIVE_SHUTDOWN.saying("bye"),
        Code::PEER_DECONFIGURED.bare(),
        Code::ADMINISTRATIVE_RESET.saying("soon back"),
        Code::CONNECTION_REJECTED.bare(),
        Code::CONFIGURATION_CHANGE.bare(),
        Code::CONNECTION_COLLISION.bare(),
        Code::OUT_OF_RESOURCES.bare(),
        limit.hard_reset(),
        Code::BFD_DOWN.bare(),
        Code::INVALID_REFRESH_LENGTH.with(&[0xff; 24]),
    ] {
        Notification::encode(&notification, &mut out);
    }
    // 8/0 (RFC 9687) is not known there.
    assert_eq!(read(&out, true).len(), 1 + 6 + 29);
}
