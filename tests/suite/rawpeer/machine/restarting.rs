//! Graceful restart as seen by a router: which last words end the routes, whose new connection replaces the old one, and
//! what our OPEN says of our own restart (RFC 4724, RFC 8538, RFC 9494).

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{
    Open, capability, end_of_rib, four_octets, header, ipv4, keepalive, kind, message, notification,
};
use portolan_tests::rawpeer::{Connection, PEER_AS, RawPeer, Row, Settings};
use tokio::time::sleep;

use super::good;

const GRACEFUL: &str = "enableGracefulRestart: true";
const GRACEFUL_BOTH: &str = "listen: both\n  enableGracefulRestart: true";
const GRACEFUL_PASSIVE: &str = "listen: passive\n  enableGracefulRestart: true";

/// Capability 64: N, 120 s, IPv4 unicast.
const WITH_N: &[u8] = &[0x40, 120, 0, 1, 1, 0];
/// Without N.
const WITHOUT_N: &[u8] = &[0, 120, 0, 1, 1, 0];
/// Of a router that keeps routes of others, and not its own.
const HELPER: &[u8] = &[0x40, 120];

fn open_with(values: &[&[u8]]) -> Open {
    let restart: Vec<u8> = values
        .iter()
        .flat_map(|value| capability(64, value))
        .collect();
    Open::offering(
        PEER_AS,
        &[
            ipv4(),
            capability(2, &[]),
            capability(70, &[]),
            four_octets(PEER_AS),
            restart,
        ]
        .concat(),
    )
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = last_words();
    rows.extend(second_connections());
    rows.extend(our_own());
    rows
}

/// What goes wrong on a session where NOTIFICATIONs keep routes, and what is said then.
fn last_words() -> Vec<Row> {
    let ends = |name: &str,
                value: &'static [u8],
                bytes: Vec<u8>,
                (code, subcode, data): (u8, u8, &[u8])| {
        let data = data.to_vec();
        Row::on_connection(
            format!("B31 {name}"),
            Settings::with(GRACEFUL),
            move |_peer, mut session| async move {
                session.establish(&open_with(&[value])).await?;
                session.alive().await?;
                session.send(&bytes).await?;
                session.refused(code, subcode, &data).await
            },
        )
    };
    let odd = message(kind::REFRESH, &[0, 1, 0]);
    let quoted = [&[7, 1][..], &odd].concat();
    vec![
        ends(
            "an unknown type ends the routes",
            WITH_N,
            header(19, 9),
            (6, 9, &[1, 3, 9]),
        ),
        ends(
            "a bad length ends the routes",
            WITH_N,
            header(18, 4),
            (6, 9, &[1, 2, 0, 18]),
        ),
        ends(
            "a lost marker ends the routes",
            WITH_N,
            vec![0; 19],
            (6, 9, &[1, 1]),
        ),
        ends(
            "a second OPEN ends the routes",
            WITH_N,
            good().bytes(),
            (6, 9, &[5, 3, 1]),
        ),
        ends(
            "a broken UPDATE ends the routes",
            WITH_N,
            message(kind::UPDATE, &[0, 3, 0, 0]),
            (6, 9, &[3, 1]),
        ),
        ends(
            "a broken ROUTE-REFRESH ends the routes",
            WITH_N,
            odd,
            (6, 9, &quoted),
        ),
        ends(
            "without N there is nothing to wrap",
            WITHOUT_N,
            header(19, 9),
            (1, 3, &[9]),
        ),
        ends(
            "a helper with N is told as well",
            HELPER,
            header(19, 9),
            (6, 9, &[1, 3, 9]),
        ),
        Row::on_connection(
            "B31 before Established there are no routes to end",
            Settings::with(GRACEFUL),
            |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session
                    .send(&[open_with(&[WITH_N]).bytes(), end_of_rib()].concat())
                    .await?;
                session.refused(5, 2, &[2]).await
            },
        ),
        Row::on_connection(
            "B31 the hold time ends the session and not the routes",
            Settings::with(GRACEFUL),
            |_peer, mut session| async move {
                let open = Open {
                    hold: 3,
                    ..open_with(&[WITH_N])
                };
                session.establish(&open).await?;
                session.refused(4, 0, &[]).await
            },
        ),
        Row::on_connection(
            "B31 a changed configuration ends the session and not the routes",
            Settings::with(GRACEFUL),
            |peer, mut session| async move {
                session.establish(&open_with(&[WITH_N])).await?;
                session.alive().await?;
                peer.reconfigure(serde_json::json!({ "holdTime": "12s" }))
                    .await?;
                session.refused(6, 6, &[]).await
            },
        ),
        Row::on_connection(
            "B31 a peer that is removed loses its routes",
            Settings::with(GRACEFUL),
            |peer, mut session| async move {
                session.establish(&open_with(&[WITH_N])).await?;
                session.alive().await?;
                peer.deconfigure().await?;
                session.refused(6, 9, &[6, 3]).await
            },
        ),
        Row::on_connection(
            "B31 a hard reset that says why, and what is not told to who does not know it",
            Settings::default(),
            |peer, mut session| async move {
                session.establish(&open_with(&[WITH_N])).await?;
                session.alive().await?;
                session
                    .send(&notification(6, 9, &[6, 2, 3, b'b', b'y', b'e']))
                    .await?;
                session.dropped().await?;
                let words = peer.last_error().await?;
                ensure!(words.contains("bye"), "it says {words:?}");
                Ok(())
            },
        ),
    ]
}

/// Says OPEN and KEEPALIVE on a connection where the speaker speaks first, and shows that it carries routes.
async fn take_over(session: &mut Connection, open: &Open) -> Result<()> {
    session.establish(open).await?;
    session.alive().await
}

fn second_connections() -> Vec<Row> {
    // Long enough after the first one was Established that it did not cross it.
    let later = Duration::from_millis(400);
    let replaced = |name: &'static str, settings: &'static str, first: Open, second: Open| {
        Row::new(name, Settings::with(settings), move |peer| async move {
            let mut old = begin(&peer, settings).await?;
            take_over(&mut old, &first).await?;
            sleep(later).await;
            let mut new = peer.connect().await?;
            new.expect(kind::OPEN).await?;
            new.send(&second.bytes()).await?;
            old.dropped().await?;
            new.confirm().await?;
            new.alive().await
        })
    };
    let collides = |name: &'static str, settings: &'static str, first: Open| {
        Row::new(name, Settings::with(settings), move |peer| async move {
            let mut old = begin(&peer, settings).await?;
            take_over(&mut old, &first).await?;
            sleep(later).await;
            let mut new = peer.connect().await?;
            new.refused(6, 7, &[]).await?;
            old.alive().await
        })
    };
    let restarted = || open_with(&[&[0xc0, 120, 0, 1, 1, 0x80]]);
    vec![
        replaced(
            "B19 passive: the peer comes back while its session is up",
            GRACEFUL_PASSIVE,
            open_with(&[WITH_N]),
            restarted(),
        ),
        replaced(
            "B19 both: the peer comes back with bit R",
            GRACEFUL_BOTH,
            open_with(&[WITH_N]),
            restarted(),
        ),
        replaced(
            "B19 the peer comes back without bit R",
            GRACEFUL_BOTH,
            open_with(&[WITHOUT_N]),
            open_with(&[WITHOUT_N]),
        ),
        replaced(
            "B19 the peer comes back and knows of no restart any more",
            GRACEFUL_BOTH,
            open_with(&[WITH_N]),
            good(),
        ),
        replaced(
            "B19 of several capabilities the last counts: it restarts",
            GRACEFUL_BOTH,
            open_with(&[HELPER, WITH_N]),
            good(),
        ),
        collides(
            "B18 of several capabilities the last counts: it only helps",
            GRACEFUL_BOTH,
            open_with(&[WITH_N, HELPER]),
        ),
        collides(
            "B18 a helper's second connection is a collision",
            GRACEFUL_BOTH,
            open_with(&[HELPER]),
        ),
        collides(
            "B18 capability 64 for another family alone is a collision",
            GRACEFUL_BOTH,
            open_with(&[&[0x40, 120, 0, 25, 70, 0x80]]),
        ),
        collides(
            "B18 the peer would restart, and we do not",
            "listen: both",
            open_with(&[WITH_N]),
        ),
        collides(
            "B18 passive: a second connection of the same peer",
            "listen: passive",
            good(),
        ),
        Row::new(
            "B19 the peer comes back and leaves at once: we look for it ourselves",
            Settings::with(GRACEFUL_BOTH),
            move |peer| async move {
                let mut old = peer.accept().await?;
                take_over(&mut old, &open_with(&[WITH_N])).await?;
                sleep(later).await;
                let new = peer.connect().await?;
                old.dropped().await?;
                new.reset()?;
                peer.accept().await?.establish(&good()).await.map(drop)
            },
        ),
        Row::new(
            "B19 the peer comes back three times",
            Settings::with(GRACEFUL_PASSIVE),
            move |peer| async move {
                peer.known().await?;
                let mut old = peer.connect().await?;
                take_over(&mut old, &open_with(&[WITH_N])).await?;
                for _ in 0..3 {
                    let mut new = peer.connect().await?;
                    take_over(&mut new, &restarted()).await?;
                    old.dropped().await?;
                    old = new;
                }
                old.alive().await
            },
        ),
    ]
}

/// The first connection, opened by whoever has to.
async fn begin(peer: &RawPeer, settings: &str) -> Result<Connection> {
    if settings.contains("passive") {
        peer.known().await?;
        peer.connect().await
    } else {
        peer.accept().await
    }
}

/// The value of a capability in the body of an OPEN.
fn value(body: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut block = body.get(12..)?;
    while let &[this, length, ref rest @ ..] = block {
        let (value, rest) = rest.split_at_checked(length.into())?;
        if this == code {
            return Some(value.to_vec());
        }
        block = rest;
    }
    None
}

fn our_own() -> Vec<Row> {
    vec![
        Row::new(
            "B32 bit R in OPENs until the peer has been met, and never again",
            Settings::with(GRACEFUL),
            |peer| async move {
                for (met, wanted) in [(false, 0xc0), (true, 0xc0), (true, 0x40), (true, 0x40)] {
                    let mut session = peer.accept().await?;
                    let body = session.expect(kind::OPEN).await?.body;
                    let said = value(&body, 64).unwrap_or_default();
                    ensure!(
                        said.len() == 6 && said[..5] == [wanted, 120, 0, 1, 1],
                        "capability 64 is {said:?}, not with {wanted:#x}"
                    );
                    if met {
                        session.send(&open_with(&[WITH_N]).bytes()).await?;
                        session.confirm().await?;
                        session.alive().await?;
                    }
                }
                Ok(())
            },
        ),
        Row::on_connection(
            "B32 without graceful restart nothing is said of it",
            Settings::default(),
            |_peer, mut session| async move {
                let body = session.establish(&open_with(&[WITH_N])).await?;
                let said = [64, 71].map(|code| value(&body, code));
                ensure!(said == [None, None], "{said:?}");
                session.alive().await
            },
        ),
        Row::on_connection(
            "B32 times: 4095 s and 24 bits of stale seconds",
            Settings::with(
                "enableGracefulRestart: true\n  gracefulRestartTime: 4095s\n  longLivedStaleTime: 16777215s",
            ),
            |_peer, mut session| async move {
                let body = session.establish(&open_with(&[WITH_N])).await?;
                let restart = value(&body, 64).unwrap_or_default();
                ensure!(
                    restart.len() == 6 && restart[0] & 0x4f == 0x4f && restart[1] == 0xff,
                    "capability 64 is {restart:?}"
                );
                let stale = value(&body, 71).unwrap_or_default();
                ensure!(
                    stale.len() == 7 && stale[..3] == [0, 1, 1] && stale[4..] == [0xff; 3],
                    "capability 71 is {stale:?}"
                );
                session.alive().await
            },
        ),
        Row::on_connection(
            "B32 End-of-RIB of the peer, early, late and twice",
            Settings::with(GRACEFUL),
            |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                let all = [
                    open_with(&[WITH_N]).bytes(),
                    keepalive(),
                    end_of_rib(),
                    end_of_rib(),
                ];
                session.send(&all.concat()).await?;
                session.expect(kind::KEEPALIVE).await?;
                session.alive().await?;
                session.send(&end_of_rib()).await?;
                session.alive().await
            },
        ),
    ]
}
