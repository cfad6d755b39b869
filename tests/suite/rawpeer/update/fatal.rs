//! UPDATEs that can not be cut into blocks and prefixes: they cost the session (RFC 7606 §3, §5.3; RFC 4760 §7).

use portolan_tests::rawpeer::PEER_AS;
use portolan_tests::rawpeer::bytes::{attribute, end_of_rib, header, kind, mandatory, update};

use super::{Fatal, ROUTE, beside, raw, reach, unreach};

pub(super) fn cases() -> Vec<Fatal> {
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
            "C23 MP_REACH with flags of a well-known attribute",
            update(
                &[],
                &[
                    attribute(0x40, 14, &[0, 1, 1, 4, 1, 2, 3, 4, 0, 8, 10]),
                    mandatory(PEER_AS),
                ]
                .concat(),
                &[],
            ),
            (3, 9, &[]),
        ),
        (
            "C23 MP_UNREACH overruns the block",
            update(&[], &[0x80, 15, 5, 0, 1, 1, 8], ROUTE),
            (3, 1, &[]),
        ),
        (
            "C18 faulty attributes and no route that they could be of",
            update(
                &[],
                &[mandatory(PEER_AS), attribute(0xc0, 8, &[1])].concat(),
                &[],
            ),
            (3, 1, &[]),
        ),
        (
            "C18 faulty attributes beside withdrawn routes",
            update(ROUTE, &attribute(0x40, 1, &[9]), &[]),
            (3, 1, &[]),
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
