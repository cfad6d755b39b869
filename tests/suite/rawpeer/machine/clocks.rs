//! Timers at their edges: odd hold times, bytes that are no message, a peer that does not read, and what comes after
//! (RFC 4271 §4.2, §4.4, §6.5, §8.2.2; RFC 9687).

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{
    Open, end_of_rib, header, keepalive, kind, notification, update,
};
use portolan_tests::rawpeer::{Row, Settings};
use tokio::time::{Instant, sleep};

use super::{BACK_OFF, good};

const HOLD: Duration = Duration::from_secs(3);
/// How long after the last sign of life bytes come that are none. Would they count, the session would end as much later.
const LATER: Duration = Duration::from_secs(2);

fn quick() -> Open {
    Open { hold: 3, ..good() }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = agreed();
    rows.extend(silent());
    rows.extend([
        Row::on_connection(
            "B12 a session that expired is begun again, and not at once",
            Settings::default(),
            |peer, mut session| async move {
                session.establish(&quick()).await?;
                session.refused(4, 0, &[]).await?;
                let begin = Instant::now();
                let mut session = peer.accept_after(begin, BACK_OFF / 2).await?;
                session.establish(&good()).await?;
                session.alive().await
            },
        ),
        Row::on_connection(
            "B12 a peer that expired us is not answered",
            Settings::default(),
            |peer, mut session| async move {
                session.establish(&good()).await?;
                session.send(&notification(4, 0, &[])).await?;
                session.dropped().await?;
                let words = peer.last_error().await?;
                ensure!(words.contains("hold timer"), "it says {words:?}");
                Ok(())
            },
        ),
        Row::on_connection(
            "D7 a peer that does not read, but lives, is borne beyond the hold time",
            Settings::default(),
            |_peer, mut session| async move {
                session.establish(&quick()).await?;
                for _ in 0..9 {
                    sleep(Duration::from_secs(1)).await;
                    session.send(&keepalive()).await?;
                }
                session.alive().await
            },
        ),
        Row::on_connection(
            "B14 KEEPALIVEs go on while the peer talks without a pause",
            Settings::default(),
            |_peer, mut session| async move {
                session.establish(&quick()).await?;
                session.end_of_rib().await?;
                let (begin, mut heard) = (Instant::now(), 0);
                let talk = update(&[8, 10], &[], &[]).repeat(500);
                while begin.elapsed() < 2 * HOLD {
                    session.send(&talk).await?;
                    while let Some(said) = session.next_within(Duration::from_millis(5)).await? {
                        let text = format!("{said:?}");
                        ensure!(text.starts_with("Message"), "it ended: {text}");
                        heard += 1;
                    }
                }
                ensure!(
                    (4..=10).contains(&heard),
                    "{heard} KEEPALIVEs in six seconds"
                );
                Ok(())
            },
        ),
    ]);
    rows
}

/// What both sides make of two hold times.
fn agreed() -> Vec<Row> {
    let spaced = |ours: u16, theirs: u16, longest: Duration| {
        let settings = Settings {
            hold: ours,
            ..Settings::default()
        };
        Row::on_connection(
            format!("A19 hold time {theirs} where ours is {ours}"),
            settings,
            move |_peer, mut session| async move {
                let open = Open {
                    hold: theirs,
                    ..good()
                };
                let body = session.establish(&open).await?;
                ensure!(body[3..5] == ours.to_be_bytes(), "its OPEN: {body:?}");
                let first = session.expect(kind::KEEPALIVE).await?.at;
                session.send(&keepalive()).await?;
                session.expect(kind::KEEPALIVE).await?;
                session.send(&keepalive()).await?;
                let last = session.expect(kind::KEEPALIVE).await?.at;
                let took = last - first;
                // What a busy machine adds, and what it takes away by reading the first one late.
                let (busy, early) = (Duration::from_secs(2), Duration::from_millis(400));
                ensure!(
                    took <= 2 * longest + busy && took + early >= longest * 3 / 2,
                    "two of them took {took:?}"
                );
                Ok(())
            },
        )
    };
    let third = |hold: u64| Duration::from_secs(hold) / 3;
    let mut rows = vec![
        spaced(3, 3, third(3)),
        spaced(4, 3, third(3)),
        spaced(4, 5, third(4)),
        spaced(9, 7, third(7)),
        spaced(90, 6, third(6)),
        spaced(65_535, 4, third(4)),
        Row::on_connection(
            "A17 both hold times 0: nothing but routes, in OpenConfirm too",
            Settings {
                hold: 0,
                ..Settings::default()
            },
            |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&Open { hold: 0, ..good() }.bytes()).await?;
                session.expect(kind::KEEPALIVE).await?;
                let more = session.next_within(Duration::from_secs(5)).await?;
                ensure!(more.is_none(), "in OpenConfirm it says {more:?}");
                session.send(&keepalive()).await?;
                session.alive().await
            },
        ),
        Row::on_connection(
            "A17 KEEPALIVEs where there is no hold time are borne",
            Settings::default(),
            |_peer, mut session| async move {
                session.establish(&Open { hold: 0, ..good() }).await?;
                session.send(&keepalive().repeat(1000)).await?;
                session.alive().await
            },
        ),
    ];
    for hold in [1_u16, 2] {
        rows.push(Row::on_connection(
            format!("A16 hold time {hold} where ours is 0"),
            Settings {
                hold: 0,
                ..Settings::default()
            },
            move |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&Open { hold, ..good() }.bytes()).await?;
                session.refused(2, 6, &hold.to_be_bytes()).await
            },
        ));
    }
    rows
}

/// Bytes that are no message do not count as a sign of life.
fn silent() -> Vec<Row> {
    let expires = |name: &'static str, bytes: Vec<u8>| {
        Row::on_connection(name, Settings::default(), move |_peer, mut session| {
            let bytes = bytes.clone();
            async move {
                session.expect(kind::OPEN).await?;
                session.send(&quick().bytes()).await?;
                let last = Instant::now();
                session.confirm().await?;
                sleep(LATER).await;
                session.send(&bytes).await?;
                session.refused(4, 0, &[]).await?;
                on_time(last)
            }
        })
    };
    vec![
        expires("B12 half a header is silence", keepalive()[..10].to_vec()),
        expires("B12 one octet is silence", vec![0xff]),
        expires(
            "B12 a KEEPALIVE without its last octet is silence",
            keepalive()[..18].to_vec(),
        ),
        expires(
            "B12 an UPDATE without its last octet is silence",
            end_of_rib()[..22].to_vec(),
        ),
        expires(
            "B12 the header of a long UPDATE is silence",
            header(4096, kind::UPDATE),
        ),
        Row::on_connection(
            "B12 a KEEPALIVE and a half: the whole one counts",
            Settings::default(),
            |_peer, mut session| async move {
                session.establish(&quick()).await?;
                sleep(HOLD / 2).await;
                let half = &keepalive()[..9];
                let last = Instant::now();
                session.send(&[&keepalive()[..], half].concat()).await?;
                session.refused(4, 0, &[]).await?;
                on_time(last)
            },
        ),
        Row::on_connection(
            "B12 an OPEN that stays half is waited for",
            Settings::default(),
            |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                let open = good().bytes();
                session.send(&open[..25]).await?;
                let early = session.next_within(Duration::from_secs(10)).await?;
                ensure!(early.is_none(), "it says {early:?}");
                session.send(&open[25..]).await?;
                session.confirm().await?;
                session.alive().await
            },
        ),
    ]
}

/// `last` is a moment before the last sign of life.
fn on_time(last: Instant) -> Result<()> {
    let took = last.elapsed();
    ensure!((HOLD..HOLD + LATER).contains(&took), "after {took:?}");
    Ok(())
}
