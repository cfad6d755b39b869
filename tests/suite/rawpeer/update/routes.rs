//! Faults that cost at most the routes of the message: prefixes, attributes every route has, and the block that holds
//! them (RFC 7606 §2, §7.1 to §7.3).

use portolan_tests::rawpeer::PEER_AS;
use portolan_tests::rawpeer::bytes::{MAX, attribute, end_of_rib, mandatory, sequence, update};

use super::{Endured, ROUTE, beside, exactly, next_hop, origin, path};

pub(super) fn cases() -> Vec<Endured> {
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
