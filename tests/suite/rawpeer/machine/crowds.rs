//! Several connections from one peer, in every order, and floods of them (RFC 4271 §6.8, §8.2.1). The speaker's
//! identifier is 172.30.0.11 and its AS 4200000001.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::future::try_join_all;
use portolan_tests::rawpeer::bytes::{Open, end_of_rib, header, keepalive, kind, notification};
use portolan_tests::rawpeer::{Connection, Heard, Message, RawPeer, Row, Settings};
use tokio::time::{Instant, sleep};

use super::good;

fn both() -> Settings {
    Settings::with("listen: both")
}

fn passive() -> Settings {
    Settings::with("listen: passive")
}

/// A peer that the speaker knows, so that it is no stranger.
fn waiting<F, T>(name: &'static str, script: F) -> Row
where
    F: FnOnce(RawPeer) -> T + Clone + 'static,
    T: Future<Output = Result<()>> + 'static,
{
    Row::new(name, passive(), |peer| async move {
        peer.known().await?;
        script(peer).await
    })
}

fn from(id: [u8; 4]) -> Open {
    Open {
        id: id.into(),
        ..good()
    }
}

/// OPEN and KEEPALIVE at once, as the eager do.
async fn rush(session: &mut Connection, open: &Open) -> Result<()> {
    session.send(&[open.bytes(), keepalive()].concat()).await
}

/// How a connection ends: with a NOTIFICATION or without one.
async fn ending(session: &mut Connection) -> Result<Option<Vec<u8>>> {
    let mut told = None;
    loop {
        match session.next().await? {
            Heard::Message(Message { kind, body, .. }) if kind == kind::NOTIFICATION => {
                told = Some(body);
            }
            Heard::Message(_) => {}
            Heard::Fin | Heard::Reset => return Ok(told),
        }
    }
}

/// Both connections are offered in full at the same time: exactly one goes on, and which one the identifiers say.
fn rushed(name: &'static str, asn: u32, id: [u8; 4], ours_stays: bool) -> Row {
    let settings = Settings { asn, ..both() };
    Row::new(name, settings, move |peer| async move {
        let open = Open {
            id: id.into(),
            ..Open::good(asn)
        };
        let mut ours = peer.accept().await?;
        let mut theirs = peer.connect().await?;
        let (first, second) = tokio::join!(rush(&mut ours, &open), rush(&mut theirs, &open));
        first?;
        second?;
        let (mut winner, mut loser) = if ours_stays {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        let told = ending(&mut loser).await?;
        ensure!(told.is_none_or(|told| told == [6, 7]), "the loser");
        winner.expect(kind::OPEN).await?;
        winner.expect(kind::KEEPALIVE).await?;
        winner.alive().await
    })
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        rushed(
            "B16 all at once, our identifier is higher",
            65_001,
            [172, 30, 0, 10],
            true,
        ),
        rushed(
            "B15 all at once, our identifier is lower",
            65_001,
            [172, 30, 0, 12],
            false,
        ),
        rushed(
            "B16 all at once, equal identifiers, our AS is larger",
            65_001,
            [172, 30, 0, 11],
            true,
        ),
        rushed(
            "B15 all at once, equal identifiers, their AS is larger",
            4_294_967_295,
            [172, 30, 0, 11],
            false,
        ),
        rushed(
            "B15 identifiers are numbers without a sign",
            65_001,
            [255, 0, 0, 1],
            false,
        ),
        rushed(
            "B16 identifiers are compared from the first octet on",
            65_001,
            [172, 29, 255, 255],
            true,
        ),
    ];
    rows.extend(two());
    rows.extend(callers());
    rows
}

/// One of two does something that the other must not feel.
fn two() -> Vec<Row> {
    let higher = || from([172, 30, 0, 12]);
    let lower = || from([172, 30, 0, 10]);
    let spared = |name: &'static str, words: Vec<u8>, on_ours: bool| {
        Row::new(name, both(), move |peer| async move {
            let mut ours = peer.accept().await?;
            let mut theirs = peer.connect().await?;
            ours.expect(kind::OPEN).await?;
            theirs.expect(kind::OPEN).await?;
            let (mut guilty, mut other) = if on_ours {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            guilty.send(&words).await?;
            ending(&mut guilty).await?;
            rush(&mut other, &good()).await?;
            other.expect(kind::KEEPALIVE).await?;
            other.alive().await
        })
    };
    let bad = || from([0, 0, 0, 0]).bytes();
    vec![
        spared("B17 a bad OPEN on ours spares theirs", bad(), true),
        spared("B17 a bad OPEN on theirs spares ours", bad(), false),
        spared(
            "B17 a NOTIFICATION on ours spares theirs",
            notification(6, 7, &[]),
            true,
        ),
        spared(
            "B17 a NOTIFICATION on theirs spares ours",
            notification(6, 5, &[]),
            false,
        ),
        spared("B17 garbage on ours spares theirs", vec![7; 19], true),
        spared("B17 garbage on theirs spares ours", vec![7; 19], false),
        spared(
            "B17 a KEEPALIVE before the OPEN on theirs spares ours",
            keepalive(),
            false,
        ),
        Row::new(
            "B16 what the loser says behind its end is not heard",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                rush(&mut ours, &lower()).await?;
                ours.expect(kind::OPEN).await?;
                ours.expect(kind::KEEPALIVE).await?;
                let late = [lower().bytes(), keepalive(), end_of_rib(), header(19, 77)];
                theirs.send(&late.concat()).await?;
                let told = ending(&mut theirs).await?;
                ensure!(told.is_none_or(|told| told == [6, 7]), "not 6/7");
                ours.alive().await
            },
        ),
        Row::new(
            "B17 the winner is reset before it is confirmed: somebody comes again",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                ours.expect(kind::OPEN).await?;
                ours.send(&higher().bytes()).await?;
                theirs.expect(kind::OPEN).await?;
                theirs.send(&higher().bytes()).await?;
                ending(&mut ours).await?;
                theirs.reset()?;
                peer.establish().await?.alive().await
            },
        ),
        Row::new(
            "B20 our connection is never answered: theirs goes on, ours is closed",
            both(),
            |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                theirs.establish(&good()).await?;
                let begin = Instant::now();
                loop {
                    match ours.next_within(Duration::from_secs(12)).await? {
                        Some(Heard::Fin | Heard::Reset) => break,
                        Some(Heard::Message(_)) => {}
                        None => bail!("open after {:?}", begin.elapsed()),
                    }
                }
                theirs.alive().await
            },
        ),
    ]
}

/// The peer calls, and calls again.
fn callers() -> Vec<Row> {
    vec![
        waiting(
            "B20 two calls, the first one silent: the second goes on",
            |peer| async move {
                let mut first = peer.connect().await?;
                first.expect(kind::OPEN).await?;
                let mut second = peer.connect().await?;
                second.establish(&good()).await?;
                first.refused(6, 7, &[]).await?;
                second.alive().await
            },
        ),
        waiting(
            "B18 a call while another waits for its KEEPALIVE",
            |peer| async move {
                let mut first = peer.connect().await?;
                first.expect(kind::OPEN).await?;
                first.send(&good().bytes()).await?;
                first.expect(kind::KEEPALIVE).await?;
                let mut second = peer.connect().await?;
                second.refused(6, 7, &[]).await?;
                first.send(&keepalive()).await?;
                first.alive().await
            },
        ),
        waiting(
            "E10 a hundred calls at once beside a session",
            |peer| async move {
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                session.alive().await?;
                let calls = (0..100).map(|_| peer.connect());
                let mut calls = try_join_all(calls).await?;
                for call in &mut calls {
                    let told = ending(call).await?;
                    ensure!(
                        told.as_deref().is_none_or(|told| told == [6, 7]),
                        "{told:?}"
                    );
                }
                session.alive().await
            },
        ),
        waiting(
            "E10 a hundred silent calls, then one that is meant",
            |peer| async move {
                let calls = (0..100).map(|_| peer.connect());
                let calls = try_join_all(calls).await?;
                // Those that are on their way out keep their places for a second.
                let begin = Instant::now();
                loop {
                    let mut meant = peer.connect().await?;
                    if meant.establish(&good()).await.is_ok() {
                        meant.alive().await?;
                        drop(calls);
                        return meant.alive().await;
                    }
                    ensure!(begin.elapsed() < Duration::from_secs(10), "kept out");
                    sleep(Duration::from_millis(200)).await;
                }
            },
        ),
        waiting(
            "E10 calls that are reset at once, three hundred times",
            |peer| async move {
                for _ in 0..300 {
                    peer.connect().await?.reset()?;
                }
                let begin = Instant::now();
                loop {
                    let mut session = peer.connect().await?;
                    if session.establish(&good()).await.is_ok() {
                        return session.alive().await;
                    }
                    ensure!(begin.elapsed() < Duration::from_secs(10), "kept out");
                    sleep(Duration::from_millis(200)).await;
                }
            },
        ),
        waiting(
            "A39 passive: everything is said before the speaker's OPEN",
            |peer| async move {
                let mut session = peer.connect().await?;
                rush(&mut session, &good()).await?;
                session.expect(kind::OPEN).await?;
                session.expect(kind::KEEPALIVE).await?;
                session.alive().await
            },
        ),
        waiting(
            "B22 passive: the caller half-closes behind its OPEN",
            |peer| async move {
                let mut session = peer.connect().await?;
                rush(&mut session, &good()).await?;
                session.finish().await?;
                session.dropped().await?;
                peer.connect().await?.establish(&good()).await.map(drop)
            },
        ),
        waiting(
            "B1 passive: a KEEPALIVE instead of an OPEN",
            |peer| async move {
                let mut session = peer.connect().await?;
                session.send(&keepalive()).await?;
                session.expect(kind::OPEN).await?;
                session.refused(5, 1, &[4]).await?;
                // Its own fault does not lock it out.
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                session.alive().await
            },
        ),
        Row::new(
            "B21 both: the peer calls while we wait out a back-off",
            both(),
            |peer| async move {
                for _ in 0..3 {
                    peer.accept().await?.reset()?;
                }
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                session.alive().await?;
                peer.left_alone(Duration::from_secs(2)).await
            },
        ),
    ]
}
