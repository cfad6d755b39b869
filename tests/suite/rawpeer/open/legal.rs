//! OPENs that look odd and lead to a session all the same (RFC 5492 §3; RFC 9072 §2).

use portolan_tests::rawpeer::PEER_AS;
use portolan_tests::rawpeer::bytes::{
    Open, capability, extended, four_octets, ipv4, long_parameter, parameter,
};

use super::good;

pub(super) fn cases() -> Vec<(&'static str, Open)> {
    let offering = |capabilities: &[&[u8]]| {
        Open::offering(
            PEER_AS,
            &[
                &[ipv4(), four_octets(PEER_AS)].concat()[..],
                &capabilities.concat(),
            ]
            .concat(),
        )
    };
    let id = |id: [u8; 4]| Open {
        id: id.into(),
        ..good()
    };
    let claiming = |claimed, parameters: &[u8]| Open {
        claimed: Some(claimed),
        ..Open::with(PEER_AS, parameters)
    };
    let all = [ipv4(), capability(2, &[]), four_octets(PEER_AS)];
    let many: Vec<u8> = (0..200)
        .flat_map(|number| long_parameter(2, &capability(130 + number % 100, &[number; 13])))
        .collect();
    // 29 octets before, 3 of the extended header, 3 of a parameter, 4097 is one too many.
    let fill = |size: usize| {
        let room = size - 29 - 3 - 3 - 14;
        let full = capability(200, &[7; 255]).repeat(room / 257);
        let rest = room - full.len();
        let rest = capability(201, &vec![7; rest - 2]);
        claiming(
            255,
            &extended(&long_parameter(
                2,
                &[ipv4(), four_octets(PEER_AS), capability(2, &[]), full, rest].concat(),
            )),
        )
    };
    let largest = fill(4096);
    assert_eq!(
        largest.bytes().len(),
        4096,
        "the row is about a message of exactly this length"
    );
    vec![
        ("A10 an ordinary OPEN", good()),
        (
            "A14 AS_TRANS with capability 65",
            Open {
                my_as: 23_456,
                ..good()
            },
        ),
        ("A21 identifier 224.0.0.1", id([224, 0, 0, 1])),
        ("A21 identifier 255.255.255.255", id([255; 4])),
        ("A21 identifier 0.0.0.1", id([0, 0, 0, 1])),
        ("A22 our identifier from another AS", id([172, 30, 0, 11])),
        (
            "A29 capability 1 of 3 octets",
            offering(&[&capability(1, &[0, 1, 0])]),
        ),
        (
            "A29 capability 1 of 5 octets",
            offering(&[&capability(1, &[0, 1, 0, 1, 0])]),
        ),
        (
            "A29 capability 1 of 0 octets",
            offering(&[&capability(1, &[])]),
        ),
        (
            "A29 capability 2 of 1 octet",
            offering(&[&capability(2, &[0])]),
        ),
        (
            "A29 capability 5 of 5 octets",
            offering(&[&capability(5, &[0, 1, 0, 1, 0])]),
        ),
        (
            "A29 capability 5 of 0 octets",
            offering(&[&capability(5, &[])]),
        ),
        (
            "A29 capability 6 of 1 octet",
            offering(&[&capability(6, &[0])]),
        ),
        (
            "A29 capability 9 of 0 octets",
            offering(&[&capability(9, &[])]),
        ),
        (
            "A29 capability 9 of a role that does not exist",
            offering(&[&capability(9, &[99])]),
        ),
        (
            "A29 capability 64 of 0 octets",
            offering(&[&capability(64, &[])]),
        ),
        (
            "A29 capability 64 of 1 octet",
            offering(&[&capability(64, &[0])]),
        ),
        (
            "A29 capability 64 with half a family",
            offering(&[&capability(64, &[0x40, 120, 0, 1, 1])]),
        ),
        (
            "A29 capability 64 with a family that does not exist",
            offering(&[&capability(64, &[0x4f, 255, 0xff, 0xff, 0xff, 0xff])]),
        ),
        (
            "A29 capability 65 of 3 octets",
            Open::offering(PEER_AS, &[ipv4(), capability(65, &[0, 0, 0])].concat()),
        ),
        (
            "A29 capability 65 of 0 octets",
            Open::offering(PEER_AS, &[ipv4(), capability(65, &[])].concat()),
        ),
        (
            "A29 capability 69 of 3 octets",
            offering(&[&capability(69, &[0, 1, 1])]),
        ),
        (
            "A29 capability 70 of 1 octet",
            offering(&[&capability(70, &[9])]),
        ),
        (
            "A29 capability 71 of 6 octets",
            offering(&[&capability(71, &[0, 1, 1, 0x80, 0, 0])]),
        ),
        (
            "A30 reserved octet of capability 1 set",
            Open::offering(
                PEER_AS,
                &[capability(1, &[0, 1, 0xff, 1]), four_octets(PEER_AS)].concat(),
            ),
        ),
        (
            "A30 families of every kind beside ours",
            offering(&[
                &capability(1, &[0, 25, 0, 70]),
                &capability(1, &[0x40, 4, 0, 71]),
                &capability(1, &[0, 1, 0, 128]),
            ]),
        ),
        (
            "A31 capability 200",
            offering(&[&capability(200, &[1, 2, 3])]),
        ),
        ("A31 capability 0", offering(&[&capability(0, &[])])),
        ("A31 capability 255", offering(&[&capability(255, &[0; 9])])),
        (
            "A31 capability 128, the refresh of old",
            offering(&[&capability(128, &[])]),
        ),
        (
            "A31 capability 73 with a name of 255 octets",
            offering(&[&capability(73, &[b'x'; 220])]),
        ),
        (
            "A31 capability 67, dynamic, as FRR 10 sends it",
            offering(&[&capability(67, &[])]),
        ),
        ("A32 no capabilities", Open::with(PEER_AS, &[])),
        (
            "A32 a parameter of no capabilities",
            Open::offering(PEER_AS, &[]),
        ),
        (
            "A32 many parameters of no capabilities",
            Open::with(PEER_AS, &parameter(2, &[]).repeat(100)),
        ),
        (
            "A33 capability 65 alone",
            Open::offering(PEER_AS, &four_octets(PEER_AS)),
        ),
        (
            "A34 everything twice",
            Open::offering(PEER_AS, &all.concat().repeat(2)),
        ),
        (
            "A34 a hundred times the same family",
            Open::with(PEER_AS, &parameter(2, &ipv4().repeat(20)).repeat(2)),
        ),
        (
            "A35 extended form",
            claiming(255, &extended(&long_parameter(2, &all.concat()))),
        ),
        (
            "A35 extended form, one parameter each",
            claiming(
                255,
                &extended(
                    &all.iter()
                        .flat_map(|one| long_parameter(2, one))
                        .collect::<Vec<_>>(),
                ),
            ),
        ),
        (
            "A35 extended form without parameters",
            claiming(255, &extended(&[])),
        ),
        (
            "A35 extended form, the length octet says 1",
            claiming(1, &extended(&long_parameter(2, &all.concat()))),
        ),
        (
            "A35 ordinary form of 255 octets",
            Open::with(
                PEER_AS,
                &parameter(
                    2,
                    &[ipv4(), four_octets(PEER_AS), capability(200, &[3; 239])].concat(),
                ),
            ),
        ),
        ("A36 the longest OPEN there is", largest),
        (
            "A37 one parameter per capability",
            Open::with(
                PEER_AS,
                &all.iter()
                    .flat_map(|one| parameter(2, one))
                    .collect::<Vec<_>>(),
            ),
        ),
        (
            "A38 200 capabilities in 4 kB",
            claiming(
                255,
                &extended(&[long_parameter(2, &all.concat()), many].concat()),
            ),
        ),
    ]
}
