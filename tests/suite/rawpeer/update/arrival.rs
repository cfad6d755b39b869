//! How the bytes of messages may come.

use std::time::Duration;

use portolan_tests::rawpeer::bytes::{
    MAX, Open, attribute, end_of_rib, four_octets, ipv4, keepalive, notification, refresh, update,
};
use portolan_tests::rawpeer::{PEER_AS, Row, Settings};

use super::{ROUTE, beside, raw, taken};

pub(super) fn rows() -> Vec<Row> {
    let all = [
        beside(&[attribute(0xc0, 8, &[0, 1, 0, 1])]),
        keepalive(),
        update(ROUTE, &[], &[]),
        refresh(1, 0, 1),
        end_of_rib(),
    ]
    .concat();
    let once = all.clone();
    let bytes = all.clone();
    vec![
        taken(("C34 five messages in one segment", once)),
        taken((
            "C34 ten thousand messages in one write",
            keepalive().repeat(10_000),
        )),
        Row::established(
            "C34 five messages byte by byte",
            move |_peer, mut session| async move {
                session.dribble(&bytes, 1, Duration::from_millis(2)).await?;
                session.alive().await
            },
        ),
        Row::established(
            "C34 one message cut at every byte",
            |_peer, mut session| async move {
                let message = beside(&[]);
                for at in 1..message.len() {
                    session.send(&message[..at]).await?;
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    session.send(&message[at..]).await?;
                }
                session.alive().await
            },
        ),
        Row::established(
            "C34 messages of 4096 in segments of 4095",
            |_peer, mut session| async move {
                let message = update(&[8, 10].repeat((MAX - 23) / 2), &[], &[]);
                session
                    .dribble(&message.repeat(50), 4095, Duration::from_millis(1))
                    .await?;
                session.alive().await
            },
        ),
        Row::established(
            "C34 NOTIFICATION behind a broken UPDATE in one segment",
            |_peer, mut session| async move {
                session
                    .send(&[raw(&[0, 3, 0, 0]), notification(6, 2, &[])].concat())
                    .await?;
                session.refused(3, 1, &[]).await
            },
        ),
        Row::established(
            "C34 a broken UPDATE behind a NOTIFICATION in one segment",
            |_peer, mut session| async move {
                session
                    .send(&[notification(6, 2, &[]), raw(&[0, 3, 0, 0])].concat())
                    .await?;
                session.dropped().await
            },
        ),
        Row::on_connection(
            "C30 a route from a peer that said nothing of families",
            Settings::default(),
            |_peer, mut session| async move {
                session
                    .establish(&Open::offering(
                        PEER_AS,
                        &[four_octets(PEER_AS), ipv4()].concat(),
                    ))
                    .await?;
                session.send(&beside(&[])).await?;
                session.alive().await
            },
        ),
    ]
}
