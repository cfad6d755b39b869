//! MP_REACH_NLRI and MP_UNREACH_NLRI that can be cut, whatever they speak of (RFC 4760; RFC 7606 §5).

use portolan_tests::rawpeer::PEER_AS;
use portolan_tests::rawpeer::bytes::{attribute, mandatory, update};

use super::{Endured, ROUTE, reach, unreach};

pub(super) fn cases() -> Vec<Endured> {
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
            "C24 EVPN routes with flags of a well-known attribute",
            attributes(attribute(0x40, 14, &[0, 25, 70, 0, 0, 1, 2, 3])),
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
