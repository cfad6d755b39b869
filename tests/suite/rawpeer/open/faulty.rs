//! What is no OPEN, and OPENs that are refused whoever the peer is (RFC 4271 §6.1, §6.2; RFC 5492 §5; RFC 9072 §2).

use portolan_tests::rawpeer::PEER_AS;
use portolan_tests::rawpeer::bytes::{
    Open, extended, four_octets, header, ipv4, keepalive, kind, long_parameter, message, parameter,
};
use portolan_tests::world::NODE_AS;

use super::{Faulty, good};

fn marked(octet: usize, value: u8) -> Vec<u8> {
    let mut bytes = keepalive();
    bytes[octet] = value;
    bytes
}

pub(super) fn headers() -> Vec<Faulty> {
    let mut bad_marker_and_length = header(7, 9);
    bad_marker_and_length[3] = 0x7f;
    vec![
        ("A1 marker: first octet wrong", marked(0, 0), (1, 1, &[])),
        (
            "A1 marker: one bit wrong in the last octet",
            marked(15, 0xfe),
            (1, 1, &[]),
        ),
        (
            "A2 marker all zero",
            [vec![0; 16], vec![0, 19, 4]].concat(),
            (1, 1, &[]),
        ),
        (
            "A2 a web browser",
            b"GET / HTTP/1.1\r\nHost: router\r\n\r\n".to_vec(),
            (1, 1, &[]),
        ),
        (
            "A2 marker before length before type",
            bad_marker_and_length,
            (1, 1, &[]),
        ),
        ("A3 length 0", header(0, kind::OPEN), (1, 2, &[0, 0])),
        (
            "A4 length 18",
            header(18, kind::KEEPALIVE),
            (1, 2, &[0, 18]),
        ),
        (
            "A4 length 18 of an unknown type",
            header(18, 77),
            (1, 2, &[0, 18]),
        ),
        ("A5 OPEN of 19", header(19, kind::OPEN), (1, 2, &[0, 19])),
        (
            "A5 OPEN of 28",
            message(kind::OPEN, &[4; 9]),
            (1, 2, &[0, 28]),
        ),
        (
            "A5 KEEPALIVE of 20",
            message(kind::KEEPALIVE, &[0]),
            (1, 2, &[0, 20]),
        ),
        (
            "A5 KEEPALIVE of 4096",
            header(4096, kind::KEEPALIVE),
            (1, 2, &[16, 0]),
        ),
        (
            "A5 UPDATE of 22",
            message(kind::UPDATE, &[0; 3]),
            (1, 2, &[0, 22]),
        ),
        (
            "A5 ROUTE-REFRESH of 22 before capabilities are known",
            message(kind::REFRESH, &[0; 3]),
            (1, 2, &[0, 22]),
        ),
        (
            "A6 length 4097 without a body",
            header(4097, kind::UPDATE),
            (1, 2, &[16, 1]),
        ),
        (
            "A6 OPEN of 4097",
            header(4097, kind::OPEN),
            (1, 2, &[16, 1]),
        ),
        (
            "A7 length 65535 without a body",
            header(65535, kind::UPDATE),
            (1, 2, &[255, 255]),
        ),
        ("A8 type 0", header(19, 0), (1, 3, &[0])),
        ("A8 type 6", header(19, 6), (1, 3, &[6])),
        (
            "A8 type 128, the refresh of old",
            message(128, &[0, 1, 0, 1]),
            (1, 3, &[128]),
        ),
        ("A8 type 255 of 4096", header(4096, 255), (1, 3, &[255])),
    ]
}

pub(super) fn fields() -> Vec<Faulty> {
    let with_as = |my_as, capabilities: &[u8]| {
        Open {
            my_as,
            ..Open::offering(PEER_AS, capabilities)
        }
        .bytes()
    };
    let both = |asn| [ipv4(), four_octets(asn)].concat();
    let id = |id: [u8; 4]| {
        Open {
            id: id.into(),
            ..good()
        }
        .bytes()
    };
    vec![
        (
            "A11 version 3",
            Open {
                version: 3,
                ..good()
            }
            .bytes(),
            (2, 1, &[0, 4]),
        ),
        (
            "A11 version 5",
            Open {
                version: 5,
                ..good()
            }
            .bytes(),
            (2, 1, &[0, 4]),
        ),
        (
            "A11 version 0",
            Open {
                version: 0,
                ..good()
            }
            .bytes(),
            (2, 1, &[0, 4]),
        ),
        (
            "A11 version 255 and everything else wrong",
            message(kind::OPEN, &[255; 10]),
            (2, 1, &[0, 4]),
        ),
        ("A12 another AS", Open::good(65_002).bytes(), (2, 2, &[])),
        (
            "A12 another AS of four octets",
            Open::good(4_200_000_007).bytes(),
            (2, 2, &[]),
        ),
        ("A12 our own AS", Open::good(NODE_AS).bytes(), (2, 2, &[])),
        (
            "A12 right in the field, wrong in the capability",
            with_as(65_001, &both(65_002)),
            (2, 2, &[]),
        ),
        (
            "A12 wrong in the field, right in the capability",
            with_as(65_002, &both(65_001)),
            (2, 2, &[]),
        ),
        ("A13 AS 0", with_as(0, &ipv4()), (2, 2, &[])),
        (
            "A13 AS 0 in the capability",
            with_as(65_001, &both(0)),
            (2, 2, &[]),
        ),
        (
            "A13 AS 0 in the field, right in the capability",
            with_as(0, &both(65_001)),
            (2, 2, &[]),
        ),
        (
            "A14 AS_TRANS without capability 65",
            with_as(23_456, &ipv4()),
            (2, 2, &[]),
        ),
        (
            "A14 AS_TRANS in field and capability",
            with_as(23_456, &both(23_456)),
            (2, 2, &[]),
        ),
        (
            "A16 hold time 1",
            Open { hold: 1, ..good() }.bytes(),
            (2, 6, &[0, 1]),
        ),
        (
            "A16 hold time 2",
            Open { hold: 2, ..good() }.bytes(),
            (2, 6, &[0, 2]),
        ),
        ("A20 identifier 0.0.0.0", id([0; 4]), (2, 3, &[0, 0, 0, 0])),
        (
            "A25 parameter 1, authentication of old",
            Open::with(PEER_AS, &parameter(1, &[0; 4])).bytes(),
            (2, 4, &[]),
        ),
        (
            "A25 parameter 3",
            Open::with(PEER_AS, &parameter(3, &[])).bytes(),
            (2, 4, &[]),
        ),
        (
            "A25 parameter 254 behind good ones",
            Open::with(
                PEER_AS,
                &[parameter(2, &both(PEER_AS)), parameter(254, &[1])].concat(),
            )
            .bytes(),
            (2, 4, &[]),
        ),
    ]
}

pub(super) fn structures() -> Vec<Faulty> {
    let with = |parameters: &[u8]| Open::with(PEER_AS, parameters).bytes();
    let claiming = |claimed, parameters: &[u8]| {
        Open {
            claimed: Some(claimed),
            ..Open::with(PEER_AS, parameters)
        }
        .bytes()
    };
    let ordinary = parameter(2, &four_octets(PEER_AS));
    let long = long_parameter(2, &four_octets(PEER_AS));
    vec![
        (
            "A26 parameters longer than the message",
            claiming(9, &ordinary),
            (2, 0, &[]),
        ),
        (
            "A26 parameters claimed where none are",
            claiming(1, &[]),
            (2, 0, &[]),
        ),
        (
            "A26 bytes behind the parameters",
            claiming(8, &[&ordinary[..], &[0]].concat()),
            (2, 0, &[]),
        ),
        (
            "A26 bytes behind no parameters",
            claiming(0, &[0]),
            (2, 0, &[]),
        ),
        ("A27 half a parameter", with(&[2]), (2, 0, &[])),
        (
            "A27 a parameter longer than the block",
            with(&[2, 7, 65, 4, 0, 0, 253, 233]),
            (2, 0, &[]),
        ),
        (
            "A27 half a parameter behind a good one",
            with(&[&ordinary[..], &[2]].concat()),
            (2, 0, &[]),
        ),
        (
            "A28 half a capability",
            with(&parameter(2, &[65])),
            (2, 0, &[]),
        ),
        (
            "A28 a capability longer than its parameter",
            with(&parameter(2, &[65, 5, 0, 0, 253, 233])),
            (2, 0, &[]),
        ),
        (
            "A28 a capability that reaches into the next parameter",
            with(&[&[2, 3][..], &[65, 4, 0], &ordinary].concat()),
            (2, 0, &[]),
        ),
        (
            "A36 extended: length beyond the message",
            claiming(255, &[&[255, 0, 11][..], &long].concat()),
            (2, 0, &[]),
        ),
        (
            "A36 extended: length of 65535",
            claiming(255, &[&[255, 255, 255][..], &long].concat()),
            (2, 0, &[]),
        ),
        (
            "A36 extended: length cut off",
            claiming(255, &[255, 0]),
            (2, 0, &[]),
        ),
        (
            "A36 extended: only the marker",
            claiming(255, &[255]),
            (2, 0, &[]),
        ),
        (
            "A36 extended: a parameter beyond the block",
            claiming(255, &extended(&[2, 0, 7, 65, 4, 0, 0, 253, 233])),
            (2, 0, &[]),
        ),
        (
            "A36 extended: a parameter of 65535",
            claiming(255, &extended(&[2, 255, 255, 65, 4])),
            (2, 0, &[]),
        ),
        (
            "A36 extended: a parameter with half a length",
            claiming(255, &extended(&[2, 0])),
            (2, 0, &[]),
        ),
        (
            "A36 extended: bytes behind the block",
            claiming(255, &[extended(&long), vec![0]].concat()),
            (2, 0, &[]),
        ),
        (
            "A36 extended: an unknown parameter",
            claiming(255, &extended(&long_parameter(9, &[1, 2]))),
            (2, 4, &[]),
        ),
    ]
}
