//! How the bytes of a perfect peer may come.

use std::time::Duration;

use portolan_tests::rawpeer::bytes::{end_of_rib, keepalive, kind, refresh};
use portolan_tests::rawpeer::{Row, Settings};

use super::good;

pub(super) fn rows() -> Vec<Row> {
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
