//! The BGP codec.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use portolan_proto::bgp::session::{Config, GracefulRestart, Listen, Offer, PeerAs, validate_open};
use portolan_proto::bgp::{
    Asn, Capabilities, Code, Examined, Families, Family, Frame, HEADER, HoldTime, Kind,
    MAX_MESSAGE, NextHop, Notification, Open, Peek, Prefix, Refresh, RefreshKind, Relation,
    RoleClaim, Terms, Verdict, announce, end_of_rib, examine_within, withdraw,
};
use portolan_proto::read::Reader;

use super::Source;

const BOTH: [Family; 2] = Family::ALL;

/// A whole message that we wrote: cut by our own reader, nothing left.
fn body_of(message: &[u8], kind: Kind) -> Vec<u8> {
    match Frame::peek(message) {
        Ok(Peek::Whole(frame, length)) => {
            assert_eq!(
                (frame.kind, length),
                (kind, message.len()),
                "our own message"
            );
            frame.body.to_vec()
        }
        other => panic!("our own message is {other:?}: {message:02x?}"),
    }
}

/// An answer to a fault is itself a sound message that survives the way.
fn sound(answer: &Notification) {
    let mut bytes = Vec::new();
    answer.encode(&mut bytes);
    let read = Notification::decode(&body_of(&bytes, Kind::Notification));
    assert_eq!(read.as_ref(), Ok(answer), "a NOTIFICATION of ours");
}

/// A stream of bytes: cut into messages as it comes, never beyond its end, and the same however it is cut.
pub fn bgp_frame(data: &[u8]) {
    let Some((&mode, stream)) = data.split_first() else {
        return;
    };
    // Random bytes seldom begin with sixteen ones.
    let marked: Vec<u8> = if mode & 1 == 0 {
        stream.to_vec()
    } else {
        [&[0xff; 16][..], stream].concat()
    };
    let mut rest = &marked[..];
    loop {
        match Frame::peek(rest) {
            Ok(Peek::Partial) => {
                assert!(rest.len() < MAX_MESSAGE, "a whole message and no verdict");
                return;
            }
            Ok(Peek::Whole(frame, length)) => {
                assert!(
                    (HEADER..=MAX_MESSAGE).contains(&length),
                    "a message of {length}"
                );
                assert_eq!(frame.body, &rest[HEADER..length], "its body");
                assert_eq!(frame.kind.octet(), rest[18], "its type");
                for cut in [0, 16, 18, 19, usize::from(mode), length - 1] {
                    let partial = Frame::peek(&rest[..cut.min(length - 1)]);
                    assert!(
                        matches!(partial, Ok(Peek::Partial)),
                        "cut at {cut}: {partial:?}"
                    );
                }
                rest = &rest[length..];
            }
            Err(error) => {
                assert!(rest.len() >= 16, "a verdict without a header");
                if let Some(answer) = error.notification() {
                    assert_eq!(answer.code.0, 1, "{error}");
                    sound(&answer);
                }
                // More bytes change nothing.
                let mut longer = rest.to_vec();
                longer.extend([0; 40]);
                assert_eq!(Frame::peek(&longer).err(), Some(error), "with more bytes");
                return;
            }
        }
    }
}

fn mk_config(mode: u8) -> Config {
    let asn = |number| Asn::new(number).expect("not 0");
    let local_as = asn(if mode & 1 == 0 { 65_000 } else { 4_200_000_001 });
    let peer_as = match mode >> 1 & 3 {
        0 => PeerAs::Exactly(asn(65_001)),
        1 => PeerAs::Internal,
        2 => PeerAs::External,
        _ => PeerAs::Exactly(asn(4_200_000_002)),
    };
    let router_id = "10.0.0.1".parse().expect("an identifier");
    Config {
        hold_time: HoldTime::new(9).expect("at least 3"),
        families: Families::only(Family::V4Unicast).with(Family::V6Unicast),
        listen: Listen::Both,
        extended_next_hop: mode & 8 != 0,
        graceful_restart: (mode & 16 != 0).then_some(GracefulRestart {
            time: std::time::Duration::from_secs(120),
            restarting: true,
            forwarding: true,
            long_lived: Some(std::time::Duration::from_secs(3600)),
        }),
        ..Config::new(local_as, peer_as, router_id)
    }
}

/// The body of an OPEN: read, judged, written and read again.
pub fn bgp_open(data: &[u8]) {
    let Some((&mode, body)) = data.split_first() else {
        return;
    };
    let open = match Open::decode(body) {
        Ok(open) => open,
        Err(error) => {
            assert_eq!(error.notification().code.0, 2, "{error}");
            return sound(&error.notification());
        }
    };
    // What is not known is counted, not kept; no family at all and contradicting roles are not written.
    let families = open
        .capabilities
        .multiprotocol
        .filter(|families| !families.is_empty());
    let capabilities = Capabilities {
        others: 0,
        multiprotocol: families,
        role: open
            .capabilities
            .role
            .filter(|role| *role != RoleClaim::Several),
        ..open.capabilities.clone()
    };
    let known = Open {
        capabilities,
        ..open.clone()
    };
    let mut bytes = Vec::new();
    known.encode(&mut bytes);
    let again = Open::decode(&body_of(&bytes, Kind::Open));
    assert_eq!(again.as_ref(), Ok(&known), "written and read");

    let config = mk_config(mode);
    let offered = Offer::FULL.capabilities(&config);
    match validate_open(&config, &offered, &open) {
        Ok(agreed) => {
            assert!(![1, 2].contains(&agreed.hold.seconds()), "{agreed:?}");
            assert!(agreed.hold <= config.hold_time, "{agreed:?}");
            assert_eq!(
                agreed.keepalive.is_none(),
                agreed.hold.seconds() == 0,
                "{agreed:?}"
            );
            for family in agreed.families.iter() {
                assert!(
                    open.capabilities.families().has(family),
                    "{family:?} was not offered"
                );
            }
            assert!(
                agreed.as4 <= open.capabilities.four_octet_as.is_some(),
                "{agreed:?}"
            );
        }
        Err(answer) => {
            assert_eq!(answer.code.0, 2, "{answer:?}");
            sound(&answer);
        }
    }
}

/// The body of an UPDATE, whose verdict on its blocks is checked by a second reading.
pub fn bgp_update(data: &[u8]) {
    let Some((&mode, body)) = data.split_first() else {
        return;
    };
    let terms = Terms {
        relation: if mode & 1 == 0 {
            Relation::External
        } else {
            Relation::Internal
        },
        as4: mode & 2 == 0,
        families: match mode >> 2 & 3 {
            0 => Families::only(Family::V4Unicast),
            1 => Families::only(Family::V6Unicast),
            2 => Families::NONE,
            _ => Families::only(Family::V4Unicast).with(Family::V6Unicast),
        },
    };
    let body = &body[..body.len().min(MAX_MESSAGE - HEADER)];
    let examined = examine_within(terms, body);
    judged_rightly(&examined, body);
    // A good message stays good, and a fatal one fatal, behind any session.
    assert_eq!(examined, examine_within(terms, body), "the second time");
}

fn judged_rightly(examined: &Examined, body: &[u8]) {
    assert!(
        examined.announced + examined.withdrawn <= body.len(),
        "more prefixes than octets"
    );
    if let Verdict::Reset(answer) = &examined.verdict {
        let known = [
            Code::MALFORMED_ATTRIBUTE_LIST,
            Code::OPTIONAL_ATTRIBUTE_ERROR,
            Code::INVALID_NETWORK_FIELD,
        ];
        assert!(known.contains(&answer.code), "{answer:?}");
        sound(answer);
    }
    let fatal =
        |code: Code| matches!(&examined.verdict, Verdict::Reset(answer) if answer.code == code);
    // RFC 7606 §3 b and §5.3, in a few lines of their own.
    let blocks = cut(body);
    let Some((withdrawn, attributes, nlri)) = blocks else {
        assert!(
            fatal(Code::MALFORMED_ATTRIBUTE_LIST),
            "{examined:?} of blocks that overrun"
        );
        return;
    };
    let (gone, came) = (prefixes(withdrawn), prefixes(nlri));
    let (Some(gone), Some(came)) = (gone, came) else {
        assert!(
            fatal(Code::INVALID_NETWORK_FIELD),
            "{examined:?} of prefixes that overrun"
        );
        return;
    };
    assert!(
        !fatal(Code::INVALID_NETWORK_FIELD),
        "{examined:?} of sound prefixes"
    );
    let types = types(attributes);
    if fatal(Code::OPTIONAL_ATTRIBUTE_ERROR) {
        assert!(
            types.iter().any(|kind| [14, 15].contains(kind)),
            "{examined:?} without a multiprotocol attribute"
        );
    }
    // RFC 7606 §5.2: faults that cost the routes need routes.
    if examined.verdict == Verdict::Withdraw {
        assert!(
            came > 0 || types.contains(&14) || types.iter().all(|kind| *kind == 15),
            "{examined:?} of no routes"
        );
    }
    if examined.end_of_rib.is_some() {
        assert!(
            gone + came == 0 && (types.is_empty() || types == [15]),
            "{examined:?} is no end"
        );
    }
    if attributes.is_empty() {
        assert_eq!(
            (examined.withdrawn, examined.announced),
            (gone, came),
            "counts"
        );
        assert!(
            !matches!(examined.verdict, Verdict::Reset(_)),
            "{examined:?} without attributes"
        );
        assert_eq!(
            examined.end_of_rib.is_some(),
            gone + came == 0,
            "{examined:?}"
        );
    }
}

fn cut(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let block = |bytes: &'_ [u8]| -> Option<usize> {
        Some(usize::from(u16::from_be_bytes([
            *bytes.first()?,
            *bytes.get(1)?,
        ])))
    };
    let (withdrawn, rest) = body.get(2..)?.split_at_checked(block(body)?)?;
    let (attributes, nlri) = rest.get(2..)?.split_at_checked(block(rest)?)?;
    Some((withdrawn, attributes, nlri))
}

/// The types of the path attributes, the last of which may be cut short.
fn types(mut block: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [flags, kind, rest @ ..] = block {
        types.push(*kind);
        let (length, value) = match (flags & 0x10, rest) {
            (0, [length, value @ ..]) => (usize::from(*length), value),
            (_, [high, low, value @ ..]) if flags & 0x10 != 0 => {
                (usize::from(u16::from_be_bytes([*high, *low])), value)
            }
            (_, _) => break,
        };
        block = value.get(length..).unwrap_or_default();
    }
    types
}

fn prefixes(mut block: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let Some((&bits, rest)) = block.split_first() {
        block = rest
            .get(usize::from(bits).div_ceil(8)..)
            .filter(|_| bits <= 32)?;
        count += 1;
    }
    Some(count)
}

/// The body of a NOTIFICATION: kept within bounds, written and read again, and fit for a log.
pub fn bgp_notification(data: &[u8]) {
    let Ok(told) = Notification::decode(data) else {
        assert!(data.len() < 2, "a NOTIFICATION of {}", data.len());
        return;
    };
    assert!(
        told.data.len() <= Notification::MAX_DATA,
        "{} octets kept",
        told.data.len()
    );
    sound(&told);
    // The words stand in it as they are.
    let shown = told.to_string();
    assert!(
        !shown.chars().any(char::is_control),
        "{shown:?} forges log lines"
    );
    assert!(shown.len() <= 4096, "{} octets to show", shown.len());
}

/// The body of a ROUTE-REFRESH.
pub fn bgp_refresh(data: &[u8]) {
    let Ok(refresh) = Refresh::decode(data) else {
        assert!(
            data.len() < Refresh::BODY,
            "a ROUTE-REFRESH of {}",
            data.len()
        );
        return;
    };
    let Some(family) = refresh.family else { return };
    let mut bytes = Vec::new();
    match refresh.kind {
        RefreshKind::Request => Refresh::request(family, &mut bytes),
        RefreshKind::Begin => Refresh::begin(family, &mut bytes),
        RefreshKind::End => Refresh::end(family, &mut bytes),
        RefreshKind::Unknown(octet) => return assert!(octet > 2, "subtype {octet} is known"),
    }
    let body = body_of(&bytes, Kind::RouteRefresh);
    assert_eq!(body, &data[..Refresh::BODY], "written again");
}

/// What we write ourselves: every message is sound to our own reader, and nothing is lost or added.
pub fn bgp_pack(data: &[u8]) {
    let mut source = Source(data);
    let mode = source.u8();
    let family = BOTH[usize::from(mode & 1)];
    let hop = match mode >> 1 & 3 {
        0 if family == Family::V4Unicast => NextHop::Classic(Ipv4Addr::new(192, 0, 2, 1)),
        1 => NextHop::Pair(Ipv6Addr::LOCALHOST, Ipv6Addr::from_bits(0xfe80 << 112)),
        _ => NextHop::Single(Ipv6Addr::LOCALHOST),
    };
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    if hop.is_classic() {
        attributes.extend([0x40, 3, 4, 192, 0, 2, 1]);
    }
    let filler = usize::from(source.u16() % 4200);
    attributes.extend([0xd0, 222]);
    attributes.extend(u16::try_from(filler).unwrap_or(0).to_be_bytes());
    attributes.extend(std::iter::repeat_n(7, filler));
    let mut reader = Reader::new(source.0);
    let mut routes = BTreeSet::new();
    while let Ok(prefix) = Prefix::decode(family, &mut reader) {
        routes.insert(prefix);
        if routes.len() >= 3000 {
            break;
        }
    }
    let routes: Vec<Prefix> = routes.into_iter().collect();
    let mut out = Vec::new();
    let written = announce(family, hop, &attributes, &routes, &mut out);
    if let Ok(messages) = written {
        assert_eq!(count(&out, messages, true), routes.len(), "announced");
    } else {
        assert!(
            attributes.len() > 3900 && out.is_empty(),
            "{} octets refused",
            attributes.len()
        );
    }
    let mut out = Vec::new();
    let messages = withdraw(family, hop.is_classic(), &routes, &mut out);
    assert_eq!(count(&out, messages, false), routes.len(), "withdrawn");
    let mut out = Vec::new();
    end_of_rib(family, &mut out);
    assert_eq!(count(&out, 1, false), 0, "End-of-RIB");
}

/// Prefixes in a row of UPDATEs of ours, all of them sound.
fn count(mut stream: &[u8], messages: usize, announced: bool) -> usize {
    let (mut sum, mut seen) = (0, 0);
    while !stream.is_empty() {
        let Ok(Peek::Whole(frame, length)) = Frame::peek(stream) else {
            panic!("our own UPDATE can not be cut");
        };
        let families = Families::only(Family::V4Unicast).with(Family::V6Unicast);
        let terms = Terms {
            relation: Relation::External,
            as4: true,
            families,
        };
        let examined = examine_within(terms, frame.body);
        assert_eq!(examined.verdict, Verdict::Fine, "our own UPDATE");
        let (wanted, other) = if announced {
            (examined.announced, examined.withdrawn)
        } else {
            (examined.withdrawn, examined.announced)
        };
        assert_eq!(other, 0, "announced and withdrawn in one message");
        sum += wanted;
        seen += 1;
        stream = &stream[length..];
    }
    assert_eq!(seen, messages, "messages");
    sum
}
