//! Numbers at their edges, on both sides, and capabilities of every code and length (RFC 4271 §4.2, RFC 5492 §4, RFC 6793).

use anyhow::ensure;
use portolan_tests::rawpeer::bytes::{
    Open, capability, extended, four_octets, ipv4, ipv6, kind, long_parameter, parameter,
};
use portolan_tests::rawpeer::{PEER_AS, Row, Settings};

use super::{good, taken, tlvs};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = numbers();
    rows.extend(capabilities());
    rows.extend(contradictions());
    rows
}

fn numbers() -> Vec<Row> {
    let mut rows = Vec::new();
    for asn in [1, 23_455, 23_457, 65_535, 65_536, 4_294_967_295] {
        let settings = Settings {
            asn,
            ..Settings::default()
        };
        rows.push(Row::on_connection(
            format!("A15 a peer of AS {asn}"),
            settings,
            move |_peer, mut session| async move {
                session.establish(&Open::good(asn)).await?;
                session.alive().await
            },
        ));
    }
    for ours in [1, 65_535, 65_536, 4_294_967_295_u32] {
        let settings = Settings {
            ours: Some(ours),
            ..Settings::default()
        };
        rows.push(Row::on_connection(
            format!("A15 our AS {ours} in field, capability and path"),
            settings,
            move |_peer, mut session| async move {
                let body = session.establish(&good()).await?;
                let field = u16::try_from(ours).unwrap_or(23_456).to_be_bytes();
                ensure!(body[1..3] == field, "its OPEN: {body:?}");
                let said = tlvs(&body[12..]).any(|one| one == four_octets(ours));
                ensure!(said, "its OPEN: {body:?}");
                let route = session
                    .update_where(|update| !update.nlri.is_empty())
                    .await?;
                let path = [&[2, 1][..], &ours.to_be_bytes()].concat();
                ensure!(route.attribute(2) == Some(&path), "{route:?}");
                Ok(())
            },
        ));
    }
    for id in [[1, 0, 0, 0], [127, 0, 0, 1], [128, 0, 0, 0], [0, 0, 1, 0]] {
        let open = Open {
            id: id.into(),
            ..good()
        };
        rows.push(Row::on_connection(
            format!("A21 identifier {}", open.id),
            Settings::default(),
            move |_peer, mut session| async move {
                session.establish(&open).await?;
                session.alive().await
            },
        ));
    }
    rows
}

fn capabilities() -> Vec<Row> {
    let mut rows = Vec::new();
    for length in 0..=8_u8 {
        // Beside what has to be right: all others, known or not, each with so many octets.
        let all = (0..=255)
            .filter(|code| ![1, 65].contains(code))
            .flat_map(|code| capability(code, &vec![0xa5; length.into()]));
        let all = [ipv4(), four_octets(PEER_AS), all.collect()].concat();
        let open = Open {
            claimed: Some(255),
            ..Open::with(PEER_AS, &extended(&long_parameter(2, &all)))
        };
        rows.push(Row::on_connection(
            format!("A31 every capability with {length} octets"),
            Settings::with("enableGracefulRestart: true\n  role: Customer"),
            move |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&open.bytes()).await?;
                // One octet is a role, and no good one.
                if length == 1 {
                    return session.refused(2, 11, &[]).await;
                }
                session.confirm().await?;
                session.alive().await
            },
        ));
    }
    let block = [ipv4(), capability(2, &[]), four_octets(PEER_AS)].concat();
    // Cut anywhere, but behind a whole capability.
    let whole = [6, 8];
    for length in (1..block.len()).filter(|length| !whole.contains(length)) {
        let open = Open::with(PEER_AS, &parameter(2, &block[..length]));
        rows.push(Row::on_connection(
            format!("A28 capabilities cut behind octet {length}"),
            Settings::default(),
            move |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&open.bytes()).await?;
                session.refused(2, 0, &[]).await
            },
        ));
    }
    rows
}

fn contradictions() -> Vec<Row> {
    let offering = |all: &[Vec<u8>]| Open::offering(PEER_AS, &all.concat());
    vec![
        taken(
            "A34 capability 65 twice",
            Settings::default(),
            offering(&[ipv4(), four_octets(PEER_AS), four_octets(PEER_AS)]),
        ),
        taken(
            "A34 capability 2 twenty times",
            Settings::default(),
            offering(&[ipv4(), capability(2, &[]).repeat(20), four_octets(PEER_AS)]),
        ),
        taken(
            "A34 capability 65 that can not be read behind one that can",
            Settings::default(),
            offering(&[ipv4(), four_octets(PEER_AS), capability(65, &[1, 2])]),
        ),
        Row::on_connection(
            "A34 capability 65 with another AS behind the right one",
            Settings::default(),
            move |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                let open = Open::offering(
                    PEER_AS,
                    &[ipv4(), four_octets(PEER_AS), four_octets(7)].concat(),
                );
                session.send(&open.bytes()).await?;
                session.refused(2, 2, &[]).await
            },
        ),
        taken(
            "A34 capability 65 with another AS before the right one: the last counts",
            Settings::default(),
            offering(&[ipv4(), four_octets(7), four_octets(PEER_AS)]),
        ),
        taken(
            "A30 families in another order, and each in a parameter of its own",
            Settings::with("dualStackAddressFamily: true"),
            Open::with(
                PEER_AS,
                &[
                    parameter(2, &ipv6()),
                    parameter(2, &[]),
                    parameter(2, &four_octets(PEER_AS)),
                    parameter(2, &[capability(2, &[]), ipv4()].concat()),
                ]
                .concat(),
            ),
        ),
    ]
}
