//! How sessions end: the connection is lost, or the operator changes his mind; and how soon the speaker is back
//! (RFC 4271 §8.1; RFC 4486 §4).

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{keepalive, kind, notification};
use portolan_tests::rawpeer::{RawPeer, Row, Settings};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{BACK_OFF, STATES, State, good, in_state};

/// Lost connections.
pub(super) fn lost() -> Vec<Row> {
    let mut rows = Vec::new();
    for state in STATES {
        rows.push(in_state(state, "B22 FIN", |peer, session| async move {
            let begin = Instant::now();
            drop(session);
            back_off(&peer, begin).await
        }));
        rows.push(in_state(
            state,
            "B22 half-close",
            |peer, mut session| async move {
                let begin = Instant::now();
                session.finish().await?;
                session.dropped().await?;
                back_off(&peer, begin).await
            },
        ));
        rows.push(in_state(state, "B23 RST", |peer, session| async move {
            let begin = Instant::now();
            session.reset()?;
            back_off(&peer, begin).await
        }));
    }
    rows.push(Row::new(
        "B23 RST right after the OPEN, for as long as it lasts",
        Settings::default(),
        |peer| async move {
            let begin = Instant::now();
            let mut attempts: u32 = 0;
            while begin.elapsed() < Duration::from_secs(15) {
                if let Some(mut session) = peer.accept_within(Duration::from_secs(1)).await? {
                    session.expect(kind::OPEN).await?;
                    session.reset()?;
                    attempts += 1;
                }
            }
            // 0, 1, 3, 7 and 15 s, each a quarter shorter at most.
            ensure!((4..=6).contains(&attempts), "{attempts} attempts in 15 s");
            Ok(())
        },
    ));
    rows.push(Row::new(
        "B22 a session that flaps backs off too",
        Settings::default(),
        |peer| async move {
            let begin = Instant::now();
            let mut attempts: u32 = 0;
            while begin.elapsed() < Duration::from_secs(10) {
                if let Some(mut session) = peer.accept_within(Duration::from_secs(1)).await? {
                    session.establish(&good()).await?;
                    attempts += 1;
                }
            }
            ensure!((3..=6).contains(&attempts), "{attempts} sessions in 10 s");
            Ok(())
        },
    ));
    rows.push(in_state(
        State::Established,
        "B22 a session of more than 10 s that breaks is back at once",
        |peer, mut session| async move {
            for _ in 0..22 {
                sleep(Duration::from_millis(500)).await;
                session.send(&keepalive()).await?;
            }
            drop(session);
            let back = peer.accept_within(BACK_OFF).await?;
            ensure!(back.is_some(), "not back within {BACK_OFF:?}");
            Ok(())
        },
    ));
    rows.push(in_state(
        State::Established,
        "B10 last words and RST in one go",
        |peer, mut session| async move {
            session
                .send(&notification(6, 2, &[5, b'h', b'e', b'l', b'l', b'o']))
                .await?;
            // The peer that resets behind its NOTIFICATION may take it back; it must not cost more than the session.
            sleep(Duration::from_millis(50)).await;
            session.reset()?;
            peer.establish().await?.alive().await
        },
    ));
    rows
}

/// The next attempts come, but none of them sooner than the back-off allows.
async fn back_off(peer: &RawPeer, begin: Instant) -> Result<()> {
    let session = peer.accept_after(begin, Duration::from_millis(120)).await?;
    let begin = Instant::now();
    drop(session);
    peer.accept_after(begin, BACK_OFF).await.map(drop)
}

/// The operator changes his mind.
pub(super) fn reconfigured() -> Vec<Row> {
    let mut rows = Vec::new();
    for state in STATES {
        rows.push(in_state(
            state,
            "B26 the peer is removed",
            |peer, mut session| async move {
                peer.deconfigure().await?;
                session.refused(6, 3, &[]).await?;
                peer.left_alone(2 * BACK_OFF).await
            },
        ));
        rows.push(in_state(
            state,
            "B26 the hold time is changed",
            |peer, mut session| async move {
                peer.reconfigure(json!({ "holdTime": "30s" })).await?;
                session.refused(6, 6, &[]).await?;
                let mut session = peer.accept().await?;
                let body = session.establish(&good()).await?;
                ensure!(body[3..5] == [0, 30], "its OPEN: {body:?}");
                session.alive().await
            },
        ));
    }
    rows.push(in_state(
        State::Established,
        "B27 a change that changes nothing",
        |peer, mut session| async move {
            peer.reconfigure(json!({ "holdTime": "9000ms", "peerPort": 179 }))
                .await?;
            sleep(Duration::from_secs(1)).await;
            session.alive().await?;
            peer.left_alone(Duration::ZERO).await
        },
    ));
    rows.push(in_state(
        State::Established,
        "B26 removed and added again",
        |peer, mut session| async move {
            let yaml = json!({ "nodeSelectors": [{ "matchLabels": { "no": "node" } }] });
            peer.reconfigure(yaml).await?;
            session.refused(6, 3, &[]).await?;
            peer.left_alone(BACK_OFF).await?;
            peer.reconfigure(json!({ "nodeSelectors": null })).await?;
            peer.establish().await?.alive().await
        },
    ));
    rows
}
