//! Two connections at once, and connections that the peer opens (RFC 4271 §6.8). The speaker's identifier is
//! 172.30.0.11.

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{Open, keepalive, kind};
use portolan_tests::rawpeer::{Connection, Heard, Message, PEER_AS, RawPeer, Row, Settings};
use tokio::time::{Instant, sleep};

use super::good;

fn both() -> Settings {
    Settings::with("listen: both")
}

fn passive() -> Settings {
    Settings::with("listen: passive")
}

/// Says KEEPALIVE and OPEN on a connection whose OPEN from the speaker was read.
async fn introduce(session: &mut Connection, open: &Open) -> Result<()> {
    session.expect(kind::OPEN).await?;
    session.send(&open.bytes()).await
}

pub(super) fn rows() -> Vec<Row> {
    let higher = || Open {
        id: [172, 30, 0, 12].into(),
        ..good()
    };
    let lower = || Open {
        id: [172, 30, 0, 10].into(),
        ..good()
    };
    let equal = || Open {
        id: [172, 30, 0, 11].into(),
        ..good()
    };
    vec![
        Row::new(
            "B15 our identifier is lower: our connection goes",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &higher()).await?;
                ours.expect(kind::KEEPALIVE).await?;
                introduce(&mut theirs, &higher()).await?;
                ours.refused(6, 7, &[]).await?;
                theirs.confirm().await?;
                theirs.alive().await
            },
        ),
        Row::new(
            "B16 our identifier is higher: their connection goes",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &lower()).await?;
                ours.expect(kind::KEEPALIVE).await?;
                introduce(&mut theirs, &lower()).await?;
                theirs.refused(6, 7, &[]).await?;
                ours.send(&keepalive()).await?;
                ours.alive().await
            },
        ),
        Row::new(
            "B15 our identifier is lower, OPENs in the other order",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut theirs, &higher()).await?;
                theirs.expect(kind::KEEPALIVE).await?;
                introduce(&mut ours, &higher()).await?;
                ours.refused(6, 7, &[]).await?;
                theirs.send(&keepalive()).await?;
                theirs.alive().await
            },
        ),
        Row::new(
            "B16 equal identifiers: the larger AS wins, which is ours",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &equal()).await?;
                ours.expect(kind::KEEPALIVE).await?;
                introduce(&mut theirs, &equal()).await?;
                theirs.refused(6, 7, &[]).await?;
                ours.send(&keepalive()).await?;
                ours.alive().await
            },
        ),
        Row::new(
            "B15 a bad OPEN on one connection spares the other",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &higher()).await?;
                introduce(
                    &mut theirs,
                    &Open {
                        hold: 1,
                        ..higher()
                    },
                )
                .await?;
                theirs.refused(2, 6, &[0, 1]).await?;
                ours.confirm().await?;
                ours.alive().await
            },
        ),
        Row::new(
            "B17 the connection that says nothing may be the one that goes on",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                ours.expect(kind::OPEN).await?;
                introduce(&mut theirs, &higher()).await?;
                drop(ours);
                theirs.confirm().await?;
                theirs.alive().await
            },
        ),
        Row::new(
            "B18 a second connection while Established",
            both(),
            move |peer| async move {
                let mut first = peer.establish().await?;
                let mut second = peer.connect().await?;
                sleep(Duration::from_millis(100)).await;
                drop(second.send(&good().bytes()).await);
                // 6/7 or closed at once; with or without an OPEN first.
                loop {
                    match second.next().await? {
                        Heard::Fin | Heard::Reset => break,
                        Heard::Message(Message {
                            kind: kind::OPEN, ..
                        }) => {}
                        Heard::Message(told) => {
                            ensure!(
                                told.kind == kind::NOTIFICATION && told.body == [6, 7],
                                "it says {told:?}"
                            );
                        }
                    }
                }
                first.alive().await
            },
        ),
        Row::new(
            "B20 a second connection that says nothing is closed within 10 s",
            both(),
            move |peer| async move {
                let mut first = peer.establish().await?;
                let mut second = peer.connect().await?;
                let begin = Instant::now();
                loop {
                    match second.next_within(Duration::from_secs(12)).await? {
                        Some(Heard::Fin | Heard::Reset) => break,
                        Some(Heard::Message(_)) => {}
                        None => anyhow::bail!("open after {:?}", begin.elapsed()),
                    }
                    first.send(&keepalive()).await?;
                }
                first.alive().await
            },
        ),
        Row::new(
            "B19 a second connection while Established, with graceful restart: the new one goes on",
            Settings::with("listen: both\n  enableGracefulRestart: true"),
            move |peer| async move {
                let restarting = Open::offering(
                    PEER_AS,
                    &[
                        &portolan_tests::rawpeer::bytes::ipv4()[..],
                        &portolan_tests::rawpeer::bytes::four_octets(PEER_AS),
                        &[2, 0, 64, 6, 0x40, 120, 0, 1, 1, 0],
                    ]
                    .concat(),
                );
                let mut first = peer.establish_with(&restarting).await?;
                first.alive().await?;
                let mut second = peer.connect().await?;
                // At the SYN or at the OPEN behind it: RFC 4724 §4.2 speaks of both.
                introduce(&mut second, &restarting).await?;
                first.dropped().await?;
                second.confirm().await?;
                second.alive().await
            },
        ),
        Row::new(
            "B21 passive: the speaker waits, then answers",
            passive(),
            |peer| async move {
                peer.left_alone(Duration::from_secs(2)).await?;
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                session.alive().await?;
                peer.left_alone(Duration::from_secs(1)).await
            },
        ),
        Row::new("B21 passive: lost and back", passive(), |peer| async move {
            peer.known().await?;
            for _ in 0..3 {
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                session.alive().await?;
            }
            Ok(())
        }),
        Row::new("B21 passive: bad OPEN", passive(), |peer| async move {
            peer.known().await?;
            let mut session = peer.connect().await?;
            session.expect(kind::OPEN).await?;
            session.send(&Open { hold: 2, ..good() }.bytes()).await?;
            session.refused(2, 6, &[0, 2]).await
        }),
        Row::new(
            "B21 passive: the peer is removed",
            passive(),
            |peer| async move {
                peer.known().await?;
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                peer.deconfigure().await?;
                session.refused(6, 3, &[]).await?;
                RawPeer::turned_away(peer.connect().await?).await
            },
        ),
        Row::new(
            "B21 an active peer's address that connects is turned away or judged",
            Settings::default(),
            |peer| async move {
                let mut session = peer.establish().await?;
                let _judged = peer.connect().await?;
                session.alive().await
            },
        ),
        Row::new(
            "B21 an unconfigured source is turned away without a byte",
            passive(),
            |peer| async move {
                let stranger = "172.30.0.1".parse()?;
                RawPeer::turned_away(peer.connect_from(stranger).await?).await
            },
        ),
    ]
}
