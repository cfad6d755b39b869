//! Table C: UPDATEs that come. The speaker wants no route, so the question is always whether the session goes on
//! (RFC 7606), and the answer depends on whether the message can be cut into its blocks and prefixes.

use std::time::Duration;

use anyhow::Result;
use portolan_tests::rawpeer::bytes::{
    MAX, Open, attribute, end_of_rib, four_octets, header, ipv4, ipv6, keepalive, kind, mandatory,
    message, notification, refresh, sequence, update,
};
use portolan_tests::rawpeer::{PEER_AS, Row, Settings, Table};
use portolan_tests::world::NODE_AS;

const ROUTE: &[u8] = &[32, 198, 51, 100, 1];
/// No prefix that an IPv6 family can have lacks this.
const MP: (u8, u8, u8) = (0x80, 14, 15);

type Fatal = (&'static str, Vec<u8>, (u8, u8, &'static [u8]));
type Endured = (&'static str, Vec<u8>);

#[tokio::test(flavor = "multi_thread")]
async fn only_what_cannot_be_cut_costs_the_session() -> Result<()> {
    let mut rows: Vec<Row> = fatal().into_iter().map(refused).collect();
    rows.extend(
        endured()
            .into_iter()
            .map(|(name, bytes)| taken(name, bytes)),
    );
    rows.extend(lists().into_iter().map(|(name, bytes)| taken(name, bytes)));
    rows.extend(
        multiprotocol()
            .into_iter()
            .map(|(name, bytes)| taken(name, bytes)),
    );
    rows.extend(other_peers());
    rows.extend(ways_to_arrive());
    Table::new("C, UPDATE", rows).run().await
}

fn refused((name, bytes, (code, subcode, data)): Fatal) -> Row {
    Row::established(name, move |_peer, mut session| async move {
        session.send(&bytes).await?;
        session.refused(code, subcode, data).await
    })
}

fn taken(name: &'static str, bytes: Vec<u8>) -> Row {
    Row::established(name, move |_peer, mut session| async move {
        session.send(&bytes).await?;
        session.alive().await
    })
}

/// A route with these attributes beside the mandatory ones.
fn beside(extra: &[Vec<u8>]) -> Vec<u8> {
    update(&[], &[mandatory(PEER_AS), extra.concat()].concat(), ROUTE)
}

/// A route with exactly these attributes.
fn exactly(attributes: &[Vec<u8>]) -> Vec<u8> {
    update(&[], &attributes.concat(), ROUTE)
}

fn origin() -> Vec<u8> {
    attribute(0x40, 1, &[0])
}

fn path(value: &[u8]) -> Vec<u8> {
    attribute(0x40, 2, value)
}

fn next_hop(value: &[u8]) -> Vec<u8> {
    attribute(0x40, 3, value)
}

/// A route with this AS_PATH.
fn along(value: &[u8]) -> Vec<u8> {
    exactly(&[origin(), path(value), next_hop(&[172, 30, 0, 1])])
}

fn reach(value: &[u8]) -> Vec<u8> {
    attribute(MP.0, MP.1, value)
}

fn unreach(value: &[u8]) -> Vec<u8> {
    attribute(MP.0, MP.2, value)
}

/// An UPDATE body with any lengths.
fn raw(body: &[u8]) -> Vec<u8> {
    message(kind::UPDATE, body)
}

fn fatal() -> Vec<Fatal> {
    let v6_route = [
        0, 2, 1, 16, 0xfd, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0x20,
    ];
    vec![
        (
            "C2 withdrawn routes overrun the message",
            raw(&[0, 3, 0, 0]),
            (3, 1, &[]),
        ),
        (
            "C2 withdrawn routes of 65535",
            raw(&[0xff, 0xff, 0, 0]),
            (3, 1, &[]),
        ),
        (
            "C2 withdrawn routes leave one octet for the length of attributes",
            raw(&[0, 1, 0, 0]),
            (3, 1, &[]),
        ),
        (
            "C3 attributes overrun the message",
            raw(&[0, 0, 0, 1]),
            (3, 1, &[]),
        ),
        (
            "C3 attributes of 65535",
            raw(&[0, 0, 0xff, 0xff]),
            (3, 1, &[]),
        ),
        (
            "C3 attributes overrun by one behind withdrawn routes",
            raw(&[0, 2, 8, 10, 0, 5, 0x40, 1, 1, 0]),
            (3, 1, &[]),
        ),
        (
            "C4 UPDATE of 22",
            header(22, kind::UPDATE),
            (1, 2, &[0, 22]),
        ),
        (
            "C4 UPDATE of 4097",
            header(4097, kind::UPDATE),
            (1, 2, &[16, 1]),
        ),
        (
            "C6 withdrawn /33",
            update(&[33, 10, 0, 0, 0, 0], &[], &[]),
            (3, 10, &[]),
        ),
        (
            "C6 withdrawn /255",
            update(&[255; 40], &[], &[]),
            (3, 10, &[]),
        ),
        (
            "C6 withdrawn prefix cut short",
            update(&[24, 10, 0], &[], &[]),
            (3, 10, &[]),
        ),
        (
            "C6 NLRI /33",
            update(&[], &mandatory(PEER_AS), &[33, 10, 0, 0, 0, 0]),
            (3, 10, &[]),
        ),
        (
            "C6 NLRI cut short",
            update(&[], &mandatory(PEER_AS), &[32, 10, 0, 0]),
            (3, 10, &[]),
        ),
        (
            "C6 NLRI that is only a length",
            update(&[], &mandatory(PEER_AS), &[1]),
            (3, 10, &[]),
        ),
        (
            "C6 good routes, then one cut short",
            update(&[], &mandatory(PEER_AS), &[ROUTE, ROUTE, &[9, 10]].concat()),
            (3, 10, &[]),
        ),
        (
            "C6 bad NLRI and no attributes at all",
            update(&[], &[], &[33, 1, 2, 3, 4, 5]),
            (3, 10, &[]),
        ),
        (
            "C22 MP_REACH twice",
            update(&[], &[reach(&v6_route), reach(&v6_route)].concat(), &[]),
            (3, 1, &[]),
        ),
        (
            "C22 MP_UNREACH twice",
            update(
                &[],
                &[unreach(&[0, 2, 1]), unreach(&[0, 2, 1])].concat(),
                &[],
            ),
            (3, 1, &[]),
        ),
        (
            "C22 MP_REACH twice, of two families",
            update(
                &[],
                &[reach(&v6_route), reach(&[0, 25, 70, 0, 0])].concat(),
                &[],
            ),
            (3, 1, &[]),
        ),
        (
            "C23 MP_REACH cut within the family",
            update(&[], &reach(&[0, 2]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH without a next hop length",
            update(&[], &reach(&[0, 1, 1]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH with a next hop beyond the attribute",
            update(&[], &reach(&[0, 1, 1, 5, 1, 2, 3, 4]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH without its reserved octet",
            update(&[], &reach(&[0, 1, 1, 4, 1, 2, 3, 4]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH with a prefix of /33",
            update(
                &[],
                &reach(&[0, 1, 1, 4, 1, 2, 3, 4, 0, 33, 1, 2, 3, 4, 5]),
                &[],
            ),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH with a prefix cut short",
            update(&[], &reach(&[0, 1, 1, 4, 1, 2, 3, 4, 0, 24, 1, 2]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH empty",
            update(&[], &reach(&[]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_UNREACH empty",
            update(&[], &unreach(&[]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_UNREACH with a prefix cut short",
            update(&[], &unreach(&[0, 1, 1, 24, 1, 2]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_UNREACH with a prefix of /200 of IPv4",
            update(
                &[],
                &unreach(&[&[0, 1, 1, 200][..], &[0; 25]].concat()),
                &[],
            ),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH of IPv4 with a next hop of 3 octets",
            update(&[], &reach(&[0, 1, 1, 3, 1, 2, 3, 0, 8, 10]), &[]),
            (3, 9, &[]),
        ),
        (
            "C23 MP_REACH of IPv4 without a next hop",
            update(&[], &reach(&[0, 1, 1, 0, 0, 8, 10]), &[]),
            (3, 9, &[]),
        ),
        (
            "C26 what is faulty in the middle of good ones",
            [end_of_rib(), beside(&[]), raw(&[0, 3, 0, 0]), beside(&[])].concat(),
            (3, 1, &[]),
        ),
        (
            "C26 the fatal fault wins over those that cost routes",
            update(
                &[],
                &[attribute(0x40, 1, &[9]), attribute(0xc0, 8, &[1])].concat(),
                &[33, 0, 0, 0, 0, 0],
            ),
            (3, 10, &[]),
        ),
    ]
}

fn endured() -> Vec<Endured> {
    let full = {
        let room = MAX - 23 - mandatory(PEER_AS).len();
        let mut nlri = ROUTE.repeat(room / ROUTE.len());
        nlri.extend(vec![0; room % ROUTE.len()]); // default routes, one octet each
        update(&[], &mandatory(PEER_AS), &nlri)
    };
    assert_eq!(
        full.len(),
        MAX,
        "the row is about a message of exactly this length"
    );
    vec![
        ("C1 End-of-RIB", end_of_rib()),
        ("C1 End-of-RIB a thousand times", end_of_rib().repeat(1000)),
        ("C7 a route", beside(&[])),
        (
            "C7 withdrawn and announced in one message",
            update(ROUTE, &mandatory(PEER_AS), &[24, 198, 51, 100]),
        ),
        (
            "C7 the same prefix withdrawn and announced in one message",
            update(ROUTE, &mandatory(PEER_AS), ROUTE),
        ),
        (
            "C7 the same prefix twice",
            update(&[], &mandatory(PEER_AS), &ROUTE.repeat(2)),
        ),
        ("C7 withdrawn without attributes", update(ROUTE, &[], &[])),
        (
            "C7 attributes without routes",
            update(&[], &mandatory(PEER_AS), &[]),
        ),
        ("C7 a message of 4096", full),
        (
            "C7 withdrawn routes to the brim",
            update(&[8, 10].repeat((MAX - 23) / 2), &[], &[]),
        ),
        ("C8 multicast", update(&[], &mandatory(PEER_AS), &[4, 0xe0])),
        ("C8 default route", update(&[], &mandatory(PEER_AS), &[0])),
        ("C8 loopback", update(&[], &mandatory(PEER_AS), &[8, 127])),
        (
            "C8 host bits set",
            update(&[], &mandatory(PEER_AS), &[9, 10, 0xff]),
        ),
        (
            "C9 ORIGIN 3",
            exactly(&[
                attribute(0x40, 1, &[3]),
                path(&sequence(&[PEER_AS])),
                next_hop(&[1, 2, 3, 4]),
            ]),
        ),
        (
            "C9 ORIGIN of 2 octets",
            exactly(&[
                attribute(0x40, 1, &[0, 0]),
                path(&sequence(&[PEER_AS])),
                next_hop(&[1, 2, 3, 4]),
            ]),
        ),
        (
            "C9 ORIGIN empty",
            exactly(&[
                attribute(0x40, 1, &[]),
                path(&sequence(&[PEER_AS])),
                next_hop(&[1, 2, 3, 4]),
            ]),
        ),
        (
            "C10 no ORIGIN",
            exactly(&[path(&sequence(&[PEER_AS])), next_hop(&[1, 2, 3, 4])]),
        ),
        (
            "C10 no AS_PATH",
            exactly(&[origin(), next_hop(&[1, 2, 3, 4])]),
        ),
        (
            "C10 no NEXT_HOP",
            exactly(&[origin(), path(&sequence(&[PEER_AS]))]),
        ),
        ("C10 no attributes", exactly(&[])),
        ("C11 ORIGIN twice", beside(&[origin()])),
        (
            "C11 every attribute three times",
            update(&[], &mandatory(PEER_AS).repeat(3), ROUTE),
        ),
        (
            "C12 ORIGIN optional",
            exactly(&[
                attribute(0xc0, 1, &[0]),
                path(&sequence(&[PEER_AS])),
                next_hop(&[1, 2, 3, 4]),
            ]),
        ),
        (
            "C12 AS_PATH not transitive",
            exactly(&[
                origin(),
                attribute(0, 2, &sequence(&[PEER_AS])),
                next_hop(&[1, 2, 3, 4]),
            ]),
        ),
        (
            "C12 ORIGIN partial",
            exactly(&[
                attribute(0x60, 1, &[0]),
                path(&sequence(&[PEER_AS])),
                next_hop(&[1, 2, 3, 4]),
            ]),
        ),
        (
            "C12 unused flag bits set",
            exactly(&[
                attribute(0x4f, 1, &[0]),
                path(&sequence(&[PEER_AS])),
                next_hop(&[1, 2, 3, 4]),
            ]),
        ),
        (
            "C12 extended length where none is needed",
            exactly(&[
                attribute(0x50, 1, &[0]),
                attribute(0x50, 2, &sequence(&[PEER_AS])),
                attribute(0x50, 3, &[1, 2, 3, 4]),
            ]),
        ),
        (
            "C12 attributes in descending order",
            exactly(&[
                next_hop(&[1, 2, 3, 4]),
                path(&sequence(&[PEER_AS])),
                origin(),
            ]),
        ),
        (
            "C13 unknown, optional and transitive",
            beside(&[attribute(0xc0, 199, &[1, 2, 3])]),
        ),
        (
            "C13 unknown, optional and not transitive",
            beside(&[attribute(0x80, 199, &[1, 2, 3])]),
        ),
        (
            "C13 unknown and well-known",
            beside(&[attribute(0x40, 199, &[1, 2, 3])]),
        ),
        (
            "C13 unknown and empty",
            beside(&[attribute(0xc0, 199, &[])]),
        ),
        ("C13 type 0", beside(&[attribute(0xc0, 0, &[])])),
        ("C13 type 255", beside(&[attribute(0xc0, 255, &[0; 255])])),
        (
            "C13 each type there is, empty",
            update(
                &[],
                &(0..=255)
                    .filter(|kind| ![14, 15].contains(kind))
                    .flat_map(|kind| attribute(0xc0, kind, &[]))
                    .collect::<Vec<_>>(),
                ROUTE,
            ),
        ),
        (
            "C14 an attribute that overruns the block",
            update(
                &[],
                &[&mandatory(PEER_AS)[..], &[0xc0, 8, 200, 1]].concat(),
                ROUTE,
            ),
        ),
        (
            "C14 half an attribute header",
            update(&[], &[&mandatory(PEER_AS)[..], &[0xc0]].concat(), ROUTE),
        ),
        (
            "C14 half an extended length",
            update(
                &[],
                &[&mandatory(PEER_AS)[..], &[0xd0, 8, 0]].concat(),
                ROUTE,
            ),
        ),
        (
            "C14 an extended length of 65535",
            update(
                &[],
                &[&mandatory(PEER_AS)[..], &[0xd0, 8, 0xff, 0xff]].concat(),
                ROUTE,
            ),
        ),
        (
            "C18 first attribute overruns: none can be read",
            update(&[], &[0x40, 1, 200], ROUTE),
        ),
        (
            "C19 NEXT_HOP 0.0.0.0",
            exactly(&[origin(), path(&sequence(&[PEER_AS])), next_hop(&[0; 4])]),
        ),
        (
            "C19 NEXT_HOP the speaker itself",
            exactly(&[
                origin(),
                path(&sequence(&[PEER_AS])),
                next_hop(&[172, 30, 0, 11]),
            ]),
        ),
        (
            "C19 NEXT_HOP of 3 octets",
            exactly(&[origin(), path(&sequence(&[PEER_AS])), next_hop(&[1, 2, 3])]),
        ),
        (
            "C19 NEXT_HOP of 16 octets",
            exactly(&[origin(), path(&sequence(&[PEER_AS])), next_hop(&[1; 16])]),
        ),
        (
            "C19 NEXT_HOP empty",
            exactly(&[origin(), path(&sequence(&[PEER_AS])), next_hop(&[])]),
        ),
        (
            "C26 everything wrong that costs only the routes",
            exactly(&[
                attribute(0x80, 1, &[7, 7]),
                path(&[9]),
                next_hop(&[1]),
                attribute(0x40, 8, &[1]),
                attribute(0, 99, &[]),
            ]),
        ),
        (
            "C33 our own prefix reflected",
            update(&[], &mandatory(PEER_AS), &[24, 192, 0, 2]),
        ),
    ]
}

fn lists() -> Vec<Endured> {
    let hops = |count: u32| {
        let numbers: Vec<u32> = (0..count).map(|hop| 64_512 + hop % 100).collect();
        numbers.chunks(255).flat_map(sequence).collect::<Vec<u8>>()
    };
    let one = sequence(&[PEER_AS]);
    vec![
        ("C16 AS_PATH segment of type 7", along(&[7, 1, 0, 0, 0, 1])),
        ("C16 AS_PATH segment of type 0", along(&[0, 1, 0, 0, 0, 1])),
        (
            "C16 AS_PATH with more hops claimed than there are",
            along(&[2, 9, 0, 0, 0, 1]),
        ),
        (
            "C16 AS_PATH with 255 hops claimed and none there",
            along(&[2, 255]),
        ),
        ("C16 AS_PATH segment without hops", along(&[2, 0])),
        ("C16 AS_PATH segment without a count", along(&[2])),
        (
            "C16 AS_PATH of two-octet numbers",
            along(&[2, 1, 0xfd, 0xe9]),
        ),
        (
            "C16 AS_PATH with a byte behind its segments",
            along(&[&one[..], &[0]].concat()),
        ),
        (
            "C16 AS_SET",
            along(&[&one[..], &[1, 2, 0, 0, 0, 7, 0, 0, 0, 8]].concat()),
        ),
        (
            "C16 AS_CONFED_SEQUENCE from outside",
            along(&[&[3, 1, 0, 0, 0, 7][..], &one].concat()),
        ),
        (
            "C16 AS_CONFED_SET from outside",
            along(&[&[4, 1, 0, 0, 0, 7][..], &one].concat()),
        ),
        ("C17 AS_PATH empty", along(&[])),
        (
            "C17 first AS not the peer's",
            along(&sequence(&[64_999, PEER_AS])),
        ),
        ("C17 AS 0 in the path", along(&sequence(&[PEER_AS, 0]))),
        (
            "C17 AS_TRANS in the path",
            along(&sequence(&[PEER_AS, 23_456])),
        ),
        (
            "C17 our own AS in the path",
            along(&sequence(&[PEER_AS, NODE_AS])),
        ),
        (
            "C17 AS 4294967295 in the path",
            along(&sequence(&[PEER_AS, u32::MAX])),
        ),
        ("C20 MED", beside(&[attribute(0x80, 4, &[0, 0, 0, 1])])),
        (
            "C20 MED of 3 octets",
            beside(&[attribute(0x80, 4, &[0, 0, 1])]),
        ),
        (
            "C21 LOCAL_PREF from outside",
            beside(&[attribute(0x40, 5, &[0, 0, 0, 100])]),
        ),
        (
            "C21 LOCAL_PREF of 3 octets from outside",
            beside(&[attribute(0x40, 5, &[0, 0, 100])]),
        ),
        ("C21 ATOMIC_AGGREGATE", beside(&[attribute(0x40, 6, &[])])),
        (
            "C21 ATOMIC_AGGREGATE of 1 octet",
            beside(&[attribute(0x40, 6, &[0])]),
        ),
        (
            "C21 AGGREGATOR of 5 octets",
            beside(&[attribute(0xc0, 7, &[0; 5])]),
        ),
        (
            "C21 AGGREGATOR of 6 octets with four-octet numbers",
            beside(&[attribute(0xc0, 7, &[0, 1, 10, 0, 0, 1])]),
        ),
        (
            "C21 AGGREGATOR of AS 0",
            beside(&[attribute(0xc0, 7, &[0; 8])]),
        ),
        (
            "C21 COMMUNITIES of 3 octets",
            beside(&[attribute(0xc0, 8, &[0, 0, 0])]),
        ),
        ("C21 COMMUNITIES empty", beside(&[attribute(0xc0, 8, &[])])),
        (
            "C21 COMMUNITIES not optional",
            beside(&[attribute(0x40, 8, &[0, 1, 0, 1])]),
        ),
        (
            "C21 ORIGINATOR_ID and CLUSTER_LIST from outside",
            beside(&[
                attribute(0x80, 9, &[1, 2, 3, 4]),
                attribute(0x80, 10, &[1, 2, 3, 4]),
            ]),
        ),
        (
            "C21 ORIGINATOR_ID of 3 octets from outside",
            beside(&[attribute(0x80, 9, &[1, 2, 3])]),
        ),
        (
            "C21 CLUSTER_LIST of 5 octets from outside",
            beside(&[attribute(0x80, 10, &[0; 5])]),
        ),
        (
            "C21 extended communities of 7 octets",
            beside(&[attribute(0xc0, 16, &[0; 7])]),
        ),
        (
            "C21 extended communities empty",
            beside(&[attribute(0xc0, 16, &[])]),
        ),
        (
            "C21 IPv6 extended communities of 19 octets",
            beside(&[attribute(0xc0, 25, &[0; 19])]),
        ),
        (
            "C21 large communities of 13 octets",
            beside(&[attribute(0xc0, 32, &[0; 13])]),
        ),
        (
            "C21 large communities empty",
            beside(&[attribute(0xc0, 32, &[])]),
        ),
        (
            "C21 large communities twice the same",
            beside(&[attribute(0xc0, 32, &[7; 24])]),
        ),
        (
            "C21 only-to-customer of 3 octets",
            beside(&[attribute(0xc0, 35, &[0; 3])]),
        ),
        (
            "C27 AS4_PATH from a peer of four-octet numbers",
            beside(&[attribute(0xc0, 17, &one)]),
        ),
        (
            "C27 AS4_PATH with a segment of type 9",
            beside(&[attribute(0xc0, 17, &[9, 1, 0, 0, 0, 1])]),
        ),
        (
            "C27 AS4_PATH of 3 octets",
            beside(&[attribute(0xc0, 17, &[2, 1, 0])]),
        ),
        (
            "C27 AS4_AGGREGATOR of 7 octets",
            beside(&[attribute(0xc0, 18, &[0; 7])]),
        ),
        ("C28 AIGP of nothing", beside(&[attribute(0x80, 26, &[])])),
        (
            "C28 a tunnel encapsulation of rubbish",
            beside(&[attribute(0xc0, 23, &[0xff; 30])]),
        ),
        (
            "C28 a prefix SID of rubbish",
            beside(&[attribute(0xc0, 40, &[0xff; 3])]),
        ),
        (
            "C28 an entropy label, of 2023",
            beside(&[attribute(0xc0, 28, &[])]),
        ),
        (
            "C28 BGPsec_PATH",
            beside(&[attribute(0x80, 33, &[0, 8, 0, 0])]),
        ),
        (
            "C28 ATTR_SET within itself",
            beside(&[attribute(
                0xc0,
                128,
                &[&[0, 0, 0, 1][..], &attribute(0xc0, 128, &[0, 0, 0, 1])].concat(),
            )]),
        ),
        (
            "C29 AS_PATH of 1000 hops",
            update(
                &[],
                &[
                    origin(),
                    attribute(0x50, 2, &hops(980)),
                    next_hop(&[1, 2, 3, 4]),
                ]
                .concat(),
                ROUTE,
            ),
        ),
        (
            "C29 4 kB of communities",
            beside(&[attribute(0xd0, 8, &[7; 4000])]),
        ),
        (
            "C29 4 kB of one unknown attribute",
            beside(&[attribute(0xd0, 222, &[7; 4000])]),
        ),
        (
            "C29 a thousand attributes of no octets",
            update(
                &[],
                &[mandatory(PEER_AS), attribute(0xc0, 222, &[]).repeat(1000)].concat(),
                ROUTE,
            ),
        ),
    ]
}

fn multiprotocol() -> Vec<Endured> {
    let v4_by_mp = |next_hop: &[u8]| {
        let length = u8::try_from(next_hop.len()).unwrap();
        reach(&[&[0, 1, 1, length][..], next_hop, &[0, 24, 198, 51, 100]].concat())
    };
    let attributes = |mp: Vec<u8>| update(&[], &[mp, mandatory(PEER_AS)].concat(), &[]);
    vec![
        (
            "C24 IPv4 by MP_REACH",
            attributes(v4_by_mp(&[172, 30, 0, 1])),
        ),
        (
            "C24 IPv4 by MP_REACH beside classic NLRI",
            update(
                &[],
                &[v4_by_mp(&[172, 30, 0, 1]), mandatory(PEER_AS)].concat(),
                ROUTE,
            ),
        ),
        (
            "C24 IPv4 by MP_REACH without mandatory attributes",
            update(&[], &v4_by_mp(&[172, 30, 0, 1]), &[]),
        ),
        (
            "C24 IPv4 by MP_REACH with an IPv6 next hop that was not agreed",
            attributes(v4_by_mp(&[0xfd; 16])),
        ),
        (
            "C24 IPv4 by MP_UNREACH",
            update(&[], &unreach(&[0, 1, 1, 24, 198, 51, 100]), &[]),
        ),
        (
            "C24 MP_REACH and MP_UNREACH in one message",
            attributes(
                [
                    v4_by_mp(&[1, 2, 3, 4]),
                    unreach(&[0, 1, 1, 24, 198, 51, 101]),
                ]
                .concat(),
            ),
        ),
        (
            "C24 reserved octet of MP_REACH set",
            attributes(reach(&[0, 1, 1, 4, 1, 2, 3, 4, 0xff, 24, 198, 51, 100])),
        ),
        (
            "C24 MP_REACH without prefixes",
            attributes(reach(&[0, 1, 1, 4, 1, 2, 3, 4, 0])),
        ),
        (
            "C24 MP_REACH with flags of a well-known attribute",
            attributes(attribute(0x40, 14, &[0, 1, 1, 4, 1, 2, 3, 4, 0])),
        ),
        (
            "C24 MP_REACH last",
            update(
                &[],
                &[mandatory(PEER_AS), v4_by_mp(&[1, 2, 3, 4])].concat(),
                &[],
            ),
        ),
        (
            "C24 IPv6, which was not agreed",
            attributes(reach(
                &[&[0, 2, 1, 16][..], &[0xfd; 16], &[0, 64], &[0x20; 8]].concat(),
            )),
        ),
        (
            "C24 IPv6 End-of-RIB, which was not agreed",
            update(&[], &unreach(&[0, 2, 1]), &[]),
        ),
        (
            "C24 VPN routes, which were not agreed",
            attributes(reach(
                &[&[0, 1, 128, 12][..], &[0; 12], &[0, 0xff, 1, 2, 3]].concat(),
            )),
        ),
        (
            "C24 EVPN routes with a next hop of 255",
            attributes(attribute(
                0x90,
                14,
                &[&[0, 25, 70, 255][..], &[0; 255], &[0, 1, 2, 3]].concat(),
            )),
        ),
        (
            "C24 flow specifications without a next hop",
            attributes(reach(&[0, 1, 133, 0, 0, 3, 1, 8, 10])),
        ),
        (
            "C24 a family that does not exist",
            attributes(reach(&[0xff, 0xff, 0xff, 0, 0, 1, 2, 3])),
        ),
        (
            "C24 withdrawals of a family that does not exist",
            update(&[], &unreach(&[0xff, 0xff, 0xff, 1, 2, 3]), &[]),
        ),
        (
            "C24 IPv4 multicast, which was not agreed",
            update(&[], &unreach(&[0, 1, 2, 24, 198, 51, 100]), &[]),
        ),
        (
            "C25 a NEXT_HOP beside MP_REACH of IPv4 without one",
            attributes(v4_by_mp(&[0, 0, 0, 0])),
        ),
    ]
}

/// Peers that agreed on something else: internal, of two octets, of IPv6.
fn other_peers() -> Vec<Row> {
    let row = |name: &'static str,
               settings: Settings,
               open: Open,
               bytes: Vec<u8>,
               answer: Option<(u8, u8)>| {
        Row::on_connection(name, settings, move |_peer, mut session| async move {
            session.establish(&open).await?;
            session.send(&bytes).await?;
            match answer {
                Some((code, subcode)) => session.refused(code, subcode, &[]).await,
                None => still_there(&mut session, 3).await,
            }
        })
    };
    let own = || Settings {
        asn: NODE_AS,
        ..Settings::default()
    };
    let inside = || Open {
        id: [10, 0, 0, 7].into(),
        ..Open::good(NODE_AS)
    };
    let old = || Open {
        hold: 3,
        ..Open::with(PEER_AS, &[])
    };
    let six = || Settings {
        v6: true,
        ..Settings::default()
    };
    let speaks_six = || Open {
        hold: 3,
        ..Open::offering(PEER_AS, &[ipv6(), four_octets(PEER_AS)].concat())
    };
    let two = |path: &[u8]| {
        update(
            &[],
            &[origin(), attribute(0x40, 2, path), next_hop(&[1, 2, 3, 4])].concat(),
            ROUTE,
        )
    };
    let two_with = |extra: Vec<u8>| {
        update(
            &[],
            &[
                origin(),
                attribute(0x40, 2, &[2, 1, 0xfd, 0xe9]),
                next_hop(&[1, 2, 3, 4]),
                extra,
            ]
            .concat(),
            ROUTE,
        )
    };
    let internal = |extra: &[Vec<u8>]| {
        update(
            &[],
            &[&[origin(), path(&[]), next_hop(&[1, 2, 3, 4])], extra]
                .concat()
                .concat(),
            ROUTE,
        )
    };
    let pref = || attribute(0x40, 5, &[0, 0, 0, 100]);
    let by_six = |next_hop: &[u8], nlri: &[u8]| {
        let length = u8::try_from(next_hop.len()).unwrap();
        let mp = reach(&[&[0, 2, 1, length][..], next_hop, &[0], nlri].concat());
        update(
            &[],
            &[mp, origin(), path(&sequence(&[PEER_AS]))].concat(),
            &[],
        )
    };
    let prefix = [&[64][..], &[0x20; 8]].concat();
    vec![
        row(
            "C10 internal: no LOCAL_PREF",
            own(),
            inside(),
            internal(&[]),
            None,
        ),
        row(
            "C21 internal: LOCAL_PREF of 3 octets",
            own(),
            inside(),
            internal(&[attribute(0x40, 5, &[0, 0, 9])]),
            None,
        ),
        row(
            "C21 internal: LOCAL_PREF twice",
            own(),
            inside(),
            internal(&[pref(), pref()]),
            None,
        ),
        row(
            "C21 internal: ORIGINATOR_ID is ours",
            own(),
            inside(),
            internal(&[pref(), attribute(0x80, 9, &[172, 30, 0, 11])]),
            None,
        ),
        row(
            "C21 internal: ORIGINATOR_ID of 5 octets",
            own(),
            inside(),
            internal(&[pref(), attribute(0x80, 9, &[0; 5])]),
            None,
        ),
        row(
            "C21 internal: CLUSTER_LIST empty",
            own(),
            inside(),
            internal(&[pref(), attribute(0x80, 10, &[])]),
            None,
        ),
        row(
            "C16 internal: a confederation's path",
            own(),
            inside(),
            update(
                &[],
                &[
                    origin(),
                    path(&[3, 1, 0, 0, 0, 7]),
                    next_hop(&[1, 2, 3, 4]),
                    pref(),
                ]
                .concat(),
                ROUTE,
            ),
            None,
        ),
        row(
            "C27 two octets: a path",
            Settings::default(),
            old(),
            two(&[2, 1, 0xfd, 0xe9]),
            None,
        ),
        row(
            "C27 two octets: a path of four octets",
            Settings::default(),
            old(),
            two(&[2, 1, 0, 0, 0xfd, 0xe9]),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &sequence(&[PEER_AS]))),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH longer than the path",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &sequence(&[1, 2, 3, 4]))),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH empty",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &[])),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH cut short",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &[2, 2, 0, 0, 0, 1])),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH of AS 0",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &sequence(&[0]))),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH with a confederation",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &[3, 1, 0, 0, 0, 7])),
            None,
        ),
        row(
            "C27 two octets: AGGREGATOR of 8 octets",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 7, &[0; 8])),
            None,
        ),
        row(
            "C27 two octets: AS4_AGGREGATOR of 8 octets",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 18, &[0; 8])),
            None,
        ),
        row(
            "C15 IPv6: a route",
            six(),
            speaks_six(),
            by_six(&[0xfd; 16], &prefix),
            None,
        ),
        row(
            "C15 IPv6: two next hops",
            six(),
            speaks_six(),
            by_six(&[0xfe; 32], &prefix),
            None,
        ),
        row(
            "C15 IPv6: a next hop of 24, as of VPNs",
            six(),
            speaks_six(),
            by_six(&[0xfe; 24], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 48, as of VPNs",
            six(),
            speaks_six(),
            by_six(&[0xfe; 48], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 0",
            six(),
            speaks_six(),
            by_six(&[], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 15",
            six(),
            speaks_six(),
            by_six(&[0; 15], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 33",
            six(),
            speaks_six(),
            by_six(&[0; 33], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 255",
            six(),
            speaks_six(),
            by_six(&[0; 255], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of zeros",
            six(),
            speaks_six(),
            by_six(&[0; 16], &prefix),
            None,
        ),
        row(
            "C15 IPv6: /129",
            six(),
            speaks_six(),
            by_six(&[0xfd; 16], &[&[129][..], &[0; 17]].concat()),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: /128 cut short",
            six(),
            speaks_six(),
            by_six(&[0xfd; 16], &[&[128][..], &[0; 15]].concat()),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: End-of-RIB",
            six(),
            speaks_six(),
            update(&[], &unreach(&[0, 2, 1]), &[]),
            None,
        ),
        row(
            "C15 IPv6: withdrawals to the brim",
            six(),
            speaks_six(),
            update(
                &[],
                &attribute(
                    0x90,
                    15,
                    &[vec![0, 2, 1], [16, 0x20, 1].repeat(1350)].concat(),
                ),
                &[],
            ),
            None,
        ),
        row(
            "C15 IPv6: classic NLRI on a session of IPv6",
            six(),
            speaks_six(),
            update(&[], &mandatory(PEER_AS), ROUTE),
            None,
        ),
    ]
}

/// As many KEEPALIVEs come as of a healthy session; for those that have no IPv4 routes to ask for.
async fn still_there(
    session: &mut portolan_tests::rawpeer::Connection,
    count: usize,
) -> Result<()> {
    for _ in 0..count {
        session.expect(kind::KEEPALIVE).await?;
        session.send(&keepalive()).await?;
    }
    Ok(())
}

fn ways_to_arrive() -> Vec<Row> {
    let all = [
        beside(&[attribute(0xc0, 8, &[0, 1, 0, 1])]),
        keepalive(),
        update(ROUTE, &[], &[]),
        refresh(1, 0, 1),
        end_of_rib(),
    ]
    .concat();
    let once = all.clone();
    let bytes = all.clone();
    vec![
        taken("C34 five messages in one segment", once),
        taken(
            "C34 ten thousand messages in one write",
            keepalive().repeat(10_000),
        ),
        Row::established(
            "C34 five messages byte by byte",
            move |_peer, mut session| async move {
                session.dribble(&bytes, 1, Duration::from_millis(2)).await?;
                session.alive().await
            },
        ),
        Row::established(
            "C34 one message cut at every byte",
            |_peer, mut session| async move {
                let message = beside(&[]);
                for at in 1..message.len() {
                    session.send(&message[..at]).await?;
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    session.send(&message[at..]).await?;
                }
                session.alive().await
            },
        ),
        Row::established(
            "C34 messages of 4096 in segments of 4095",
            |_peer, mut session| async move {
                let message = update(&[8, 10].repeat((MAX - 23) / 2), &[], &[]);
                session
                    .dribble(&message.repeat(50), 4095, Duration::from_millis(1))
                    .await?;
                session.alive().await
            },
        ),
        Row::established(
            "C34 NOTIFICATION behind a broken UPDATE in one segment",
            |_peer, mut session| async move {
                session
                    .send(&[raw(&[0, 3, 0, 0]), notification(6, 2, &[])].concat())
                    .await?;
                session.refused(3, 1, &[]).await
            },
        ),
        Row::established(
            "C34 a broken UPDATE behind a NOTIFICATION in one segment",
            |_peer, mut session| async move {
                session
                    .send(&[notification(6, 2, &[]), raw(&[0, 3, 0, 0])].concat())
                    .await?;
                session.dropped().await
            },
        ),
        Row::on_connection(
            "C30 a route from a peer that said nothing of families",
            Settings::default(),
            |_peer, mut session| async move {
                session
                    .establish(&Open::offering(
                        PEER_AS,
                        &[four_octets(PEER_AS), ipv4()].concat(),
                    ))
                    .await?;
                session.send(&beside(&[])).await?;
                session.alive().await
            },
        ),
    ]
}
