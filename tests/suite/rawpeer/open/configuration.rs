//! What depends on how the speaker knows the peer: its AS, and the hold time that both agree on (RFC 4271 §4.2, §6.2;
//! RFC 6793 §4.1; RFC 6286 §2.2).

use std::time::Duration;

use anyhow::ensure;
use portolan_tests::rawpeer::bytes::{Open, capability, four_octets, ipv4, keepalive, kind};
use portolan_tests::rawpeer::{Row, Settings};
use portolan_tests::world::NODE_AS;

use super::{good, taken, tlvs};

pub(super) fn by_configuration() -> Vec<Row> {
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

/// Long enough for two KEEPALIVEs of the shortest hold time.
const SILENCE: Duration = Duration::from_secs(3);

pub(super) fn hold_times() -> Vec<Row> {
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
