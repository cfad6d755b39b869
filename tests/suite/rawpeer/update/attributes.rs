//! Paths, and attributes that a route may have, from good to absurd (RFC 7606 §7.2, §7.4 and following).

use portolan_tests::rawpeer::PEER_AS;
use portolan_tests::rawpeer::bytes::{attribute, mandatory, sequence, update};
use portolan_tests::world::NODE_AS;

use super::{Endured, ROUTE, along, beside, next_hop, origin};

pub(super) fn cases() -> Vec<Endured> {
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
