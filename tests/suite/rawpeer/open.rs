//! Table A: what comes first. Headers and OPENs, from perfect to absurd (RFC 4271 §6.1, §6.2; RFC 5492, 9072, 6793,
//! 6286, 7607).

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{
    Open, capability, end_of_rib, extended, four_octets, header, ipv4, ipv6, keepalive, kind,
    long_parameter, message, notification, parameter, refresh,
};
use portolan_tests::rawpeer::{Connection, Heard, PEER_AS, RawPeer, Row, Settings, Table};
use portolan_tests::world::NODE_AS;

/// Long enough for two KEEPALIVEs of the shortest hold time.
const SILENCE: Duration = Duration::from_secs(3);

type Faulty = (&'static str, Vec<u8>, (u8, u8, &'static [u8]));

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_first_is_judged_by_the_letter() -> Result<()> {
    let mut rows = Vec::new();
    rows.extend(headers().into_iter().map(refused));
    rows.extend(faulty_opens().into_iter().map(refused));
    rows.extend(structures().into_iter().map(refused));
    rows.extend(
        odd_but_legal()
            .into_iter()
            .map(|(name, open)| taken(name, Settings::default(), open)),
    );
    rows.extend(by_configuration());
    rows.extend(hold_times());
    rows.extend(ways_to_arrive());
    rows.extend(refusals());
    Table::new("A, header and OPEN", rows).run().await
}

/// Sent instead of an OPEN, answered with this NOTIFICATION and an orderly end.
fn refused((name, bytes, (code, subcode, data)): Faulty) -> Row {
    Row::on_connection(
        name,
        Settings::default(),
        move |_peer, mut session| async move {
            session.expect(kind::OPEN).await?;
            session.send(&bytes).await?;
            session.refused(code, subcode, data).await
        },
    )
}

/// Leads to a session that carries routes.
fn taken(name: &'static str, settings: Settings, open: Open) -> Row {
    Row::on_connection(name, settings, move |_peer, mut session| async move {
        session.establish(&open).await?;
        session.alive().await
    })
}

fn good() -> Open {
    Open::good(PEER_AS)
}

fn marked(octet: usize, value: u8) -> Vec<u8> {
    let mut bytes = keepalive();
    bytes[octet] = value;
    bytes
}

fn headers() -> Vec<Faulty> {
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

fn faulty_opens() -> Vec<Faulty> {
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

fn structures() -> Vec<Faulty> {
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

fn odd_but_legal() -> Vec<(&'static str, Open)> {
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

/// What depends on how the speaker knows the peer.
fn by_configuration() -> Vec<Row> {
    let big = Settings {
        asn: 4_200_000_099,
        ..Settings::default()
    };
    let own = Settings {
        asn: NODE_AS,
        ..Settings::default()
    };
    let id = |asn, id: [u8; 4]| Open {
        id: id.into(),
        ..Open::good(asn)
    };
    let refused =
        |name, settings: Settings, open: Open, (code, subcode, data): (u8, u8, &'static [u8])| {
            Row::on_connection(name, settings, move |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&open.bytes()).await?;
                session.refused(code, subcode, data).await
            })
        };
    let any = |more| Settings::with(more);
    vec![
        taken(
            "A15 a peer of a four-octet AS",
            big.clone(),
            Open::good(4_200_000_099),
        ),
        refused(
            "A15 a peer of a four-octet AS without capability 65",
            big.clone(),
            Open {
                my_as: 23_456,
                ..Open::offering(1, &ipv4())
            },
            (2, 2, &[]),
        ),
        refused(
            "A15 the AS cut to two octets",
            big,
            Open {
                my_as: 59_999,
                ..Open::good(4_200_000_099)
            },
            (2, 2, &[]),
        ),
        refused(
            "A23 our identifier from our own AS",
            own.clone(),
            id(NODE_AS, [172, 30, 0, 11]),
            (2, 3, &[172, 30, 0, 11]),
        ),
        taken(
            "A23 another identifier from our own AS",
            own.clone(),
            id(NODE_AS, [172, 30, 0, 12]),
        ),
        refused(
            "A23 identifier 0.0.0.0 from our own AS",
            own,
            id(NODE_AS, [0; 4]),
            (2, 3, &[0; 4]),
        ),
        taken(
            "A24 external means any other AS",
            any("dynamicASN: external"),
            Open::good(4_200_000_123),
        ),
        taken(
            "A24 external means any other AS of two octets",
            any("dynamicASN: external"),
            Open::good(7),
        ),
        refused(
            "A24 external is not ours",
            any("dynamicASN: external"),
            Open::good(NODE_AS),
            (2, 2, &[]),
        ),
        refused(
            "A24 external is not AS 0",
            any("dynamicASN: external"),
            Open {
                my_as: 0,
                ..Open::offering(1, &ipv4())
            },
            (2, 2, &[]),
        ),
        taken(
            "A24 internal means our AS",
            any("dynamicASN: internal"),
            Open::good(NODE_AS),
        ),
        refused(
            "A24 internal means no other AS",
            any("dynamicASN: internal"),
            Open::good(7),
            (2, 2, &[]),
        ),
        refused(
            "A23 our identifier from our own AS, any internal one",
            any("dynamicASN: internal"),
            id(NODE_AS, [172, 30, 0, 11]),
            (2, 3, &[172, 30, 0, 11]),
        ),
        Row::on_connection(
            "A10 what the speaker says of itself",
            Settings::default(),
            |_peer, mut session| async move {
                let body = session.establish(&good()).await?;
                let ours = [4_u8, 0x5b, 0xa0, 0, 9, 172, 30, 0, 11];
                ensure!(body.starts_with(&ours), "its OPEN begins {:?}", &body[..9]);
                let capabilities = body.get(12..).unwrap_or_default();
                ensure!(
                    body[10] == 2 && usize::from(body[11]) == capabilities.len(),
                    "one parameter for all, not {body:?}"
                );
                for wanted in [ipv4(), capability(2, &[]), four_octets(NODE_AS)] {
                    let found = tlvs(capabilities).any(|one| one == wanted);
                    ensure!(found, "{wanted:?} is not in {capabilities:?}");
                }
                Ok(())
            },
        ),
        Row::on_connection(
            "A10 enhanced refresh is offered",
            Settings::default(),
            |_peer, mut session| async move {
                let body = session.establish(&good()).await?;
                let found =
                    tlvs(body.get(12..).unwrap_or_default()).any(|one| one == capability(70, &[]));
                ensure!(found, "no capability 70 in {body:?}");
                Ok(())
            },
        ),
    ]
}

/// Capabilities cut apart.
fn tlvs(mut block: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let length = 2 + usize::from(*block.get(1)?);
        let (one, rest) = block.split_at_checked(length)?;
        block = rest;
        Some(one.to_vec())
    })
}

fn hold_times() -> Vec<Row> {
    let hold = |ours, theirs| {
        (
            Settings {
                hold: ours,
                ..Settings::default()
            },
            Open {
                hold: theirs,
                ..good()
            },
        )
    };
    let silent = |name, (settings, open): (Settings, Open)| {
        Row::on_connection(name, settings, move |_peer, mut session| async move {
            session.establish(&open).await?;
            session.hush().await?;
            let heard = session.next_within(2 * SILENCE).await?;
            ensure!(heard.is_none(), "hold time 0 means silence, not {heard:?}");
            session.alive().await
        })
    };
    let paced = |name, (settings, open): (Settings, Open), longest: Duration| {
        Row::on_connection(name, settings, move |_peer, mut session| async move {
            session.establish(&open).await?;
            session.end_of_rib().await?;
            let first = session.expect(kind::KEEPALIVE).await?.at;
            for _ in 0..3 {
                session.send(&keepalive()).await?;
                session.expect(kind::KEEPALIVE).await?;
            }
            let (took, slack) = (first.elapsed(), Duration::from_millis(700));
            ensure!(
                took <= 3 * longest + slack && took + slack >= longest * 9 / 4,
                "three KEEPALIVEs took {took:?}"
            );
            Ok(())
        })
    };
    vec![
        silent("A17 hold time 0: no KEEPALIVE, no expiry", hold(9, 0)),
        silent("A17 our own hold time 0 wins over 90", hold(0, 90)),
        paced(
            "A18 hold time 3: a KEEPALIVE each second",
            hold(9, 3),
            Duration::from_secs(1),
        ),
        paced(
            "A18 our own hold time 3 wins over 65535",
            hold(3, 65_535),
            Duration::from_secs(1),
        ),
        paced(
            "A19 hold time 65535 where ours is 9",
            hold(9, 65_535),
            Duration::from_secs(3),
        ),
    ]
}

/// How the bytes of a perfect peer may come.
fn ways_to_arrive() -> Vec<Row> {
    let arriving = |name: String, pieces: Vec<Vec<u8>>| {
        Row::on_connection(
            name,
            Settings::default(),
            move |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                for piece in pieces {
                    session.send(&piece).await?;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                session.alive().await
            },
        )
    };
    let all = [good().bytes(), keepalive()].concat();
    let halves = |at: usize| vec![all[..at].to_vec(), all[at..].to_vec()];
    // Every cut that falls between two fields, and one inside of each.
    let mut rows: Vec<Row> = [
        1,
        15,
        16,
        17,
        18,
        19,
        20,
        22,
        24,
        28,
        29,
        30,
        31,
        40,
        all.len() - 20,
        all.len() - 19,
        all.len() - 18,
        all.len() - 1,
    ]
    .into_iter()
    .map(|at| arriving(format!("A39 the handshake cut at byte {at}"), halves(at)))
    .collect();
    let eager = [
        all.clone(),
        end_of_rib(),
        keepalive(),
        refresh(1, 0, 1),
        keepalive(),
    ]
    .concat();
    rows.push(arriving(
        "A39 the whole handshake and more in one segment".into(),
        vec![eager],
    ));
    rows.push(arriving(
        "A39 the handshake byte by byte".into(),
        all.chunks(1).map(<[u8]>::to_vec).collect(),
    ));
    rows.push(Row::new(
        "A39 everything said before the speaker's OPEN is read",
        Settings::default(),
        |peer| async move {
            let mut session = peer.accept().await?;
            session
                .send(&[good().bytes(), keepalive()].concat())
                .await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            session.expect(kind::OPEN).await?;
            session.alive().await
        },
    ));
    rows
}

/// Peers that say no to our OPEN.
fn refusals() -> Vec<Row> {
    // Without a need for capability 65, so that in the end nothing is left to offer.
    let small = || Settings {
        ours: Some(64_999),
        ..Settings::default()
    };
    vec![
        Row::new(
            "A40 2/7 that names a capability: it is left out",
            small(),
            |peer| async move {
                let refused = refuse(&peer, &notification(2, 7, &capability(2, &[]))).await?;
                ensure!(
                    refused.windows(2).any(|one| one == [2, 0]),
                    "it was not offered: {refused:?}"
                );
                let mut session = peer.accept().await?;
                let next = session.establish(&good()).await?;
                let offered: Vec<_> = tlvs(next.get(12..).unwrap_or_default()).collect();
                ensure!(
                    !offered.contains(&capability(2, &[])),
                    "offered again: {offered:?}"
                );
                ensure!(
                    offered.contains(&four_octets(64_999)),
                    "given up without need: {offered:?}"
                );
                session.next().await.map(drop)
            },
        ),
        Row::new(
            "A40 2/7 that names graceful restart: it is left out",
            Settings::with("enableGracefulRestart: true"),
            |peer| async move {
                let refused = refuse(&peer, &notification(2, 7, &[64, 2, 0, 0])).await?;
                ensure!(
                    tlvs(&refused[12..]).any(|one| one[0] == 64),
                    "it was not offered: {refused:?}"
                );
                let next = peer.accept().await?.establish(&good()).await?;
                ensure!(
                    !tlvs(&next[12..]).any(|one| one[0] == 64),
                    "offered again: {next:?}"
                );
                Ok(())
            },
        ),
        Row::new(
            "A40 2/7 with data that is no capability",
            small(),
            |peer| async move {
                refuse(&peer, &notification(2, 7, &[65, 200, 1])).await?;
                peer.establish().await?.alive().await
            },
        ),
        Row::new(
            "A41 2/4 again and again: no parameters in the end",
            small(),
            |peer| async move {
                for _ in 0..4 {
                    let body = refuse(&peer, &notification(2, 4, &[])).await?;
                    if body.len() == 10 && body[9] == 0 {
                        return Ok(());
                    }
                }
                anyhow::bail!("still something in the fourth OPEN")
            },
        ),
        Row::new(
            "A41 closed right after our OPEN: less is offered at the third time",
            small(),
            |peer| async move {
                let mut lengths = Vec::new();
                for _ in 0..3 {
                    let mut session = peer.accept().await?;
                    lengths.push(session.expect(kind::OPEN).await?.body.len());
                }
                ensure!(lengths[2] < lengths[0], "lengths of OPENs: {lengths:?}");
                Ok(())
            },
        ),
        Row::new(
            "A42 2/6 is shown, and answered by patience",
            Settings::default(),
            |peer| async move {
                refuse(&peer, &notification(2, 6, &[0, 9])).await?;
                let report = peer
                    .reported(|session| session.last_error.is_some())
                    .await?;
                let words = report.last_error.unwrap_or_default();
                ensure!(words.contains("hold time"), "it says {words:?}");
                // No OPEN of ours can be another one before somebody changes something.
                peer.left_alone(Duration::from_secs(12)).await
            },
        ),
        Row::new(
            "A42 2/2 is shown with what it means",
            Settings::default(),
            |peer| async move {
                refuse(&peer, &notification(2, 2, &[])).await?;
                let report = peer
                    .reported(|session| session.last_error.is_some())
                    .await?;
                let words = report.last_error.unwrap_or_default();
                ensure!(words.contains("peer AS"), "it says {words:?}");
                Ok(())
            },
        ),
        Row::on_connection(
            "A12 the wrong AS is shown with both numbers",
            Settings::default(),
            |peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&Open::good(4_200_000_055).bytes()).await?;
                session.refused(2, 2, &[]).await?;
                let report = peer
                    .reported(|session| session.last_error.is_some())
                    .await?;
                let words = report.last_error.unwrap_or_default();
                ensure!(
                    words.contains("4200000055") && words.contains("65001"),
                    "it says {words:?}"
                );
                Ok(())
            },
        ),
        Row::on_connection(
            "A33 no common family: up, useless, and said so",
            Settings::default(),
            |peer, mut session| async move {
                let open = Open {
                    id: Ipv4Addr::new(10, 0, 0, 9),
                    ..Open::offering(PEER_AS, &[ipv6(), four_octets(PEER_AS)].concat())
                };
                session.establish(&open).await?;
                let report = peer
                    .reported(|session| session.last_error.is_some())
                    .await?;
                let words = report.last_error.unwrap_or_default();
                ensure!(words.contains("families"), "it says {words:?}");
                let next = session.next().await?;
                ensure!(
                    matches!(&next, Heard::Message(message) if message.kind == kind::KEEPALIVE),
                    "it sent {next:?}"
                );
                Ok(())
            },
        ),
    ]
}

/// Answers the speaker's OPEN with these bytes; returns the OPEN. The speaker must not answer a NOTIFICATION.
async fn refuse(peer: &RawPeer, answer: &[u8]) -> Result<Vec<u8>> {
    let mut session: Connection = peer.accept().await?;
    let open = session.expect(kind::OPEN).await?;
    session.send(answer).await?;
    session.dropped().await?;
    Ok(open.body)
}
