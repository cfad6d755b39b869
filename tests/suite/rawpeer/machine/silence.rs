//! Hold time and KEEPALIVEs: what counts as a sign of life, and how often one is given (RFC 4271 §4.4, §6.5).

use std::time::Duration;

use anyhow::ensure;
use portolan_tests::rawpeer::bytes::{Open, end_of_rib, header, keepalive, kind, refresh, update};
use portolan_tests::rawpeer::{Row, Settings};
use tokio::time::{Instant, sleep};

use super::good;

/// The shortest hold time, which is also its KEEPALIVE interval in thirds.
const HOLD: Duration = Duration::from_secs(3);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(900);

pub(super) fn rows() -> Vec<Row> {
    let quick = || Open { hold: 3, ..good() };
    vec![
        Row::on_connection(
            "B12 silence in Established ends at the hold time, not before",
            Settings::default(),
            move |_peer, mut session| async move {
                session.establish(&quick()).await?;
                let last = Instant::now();
                session.refused(4, 0, &[]).await?;
                ensure!(
                    last.elapsed() + SLACK / 9 >= HOLD,
                    "after {:?}",
                    last.elapsed()
                );
                ensure!(last.elapsed() <= HOLD + SLACK, "after {:?}", last.elapsed());
                Ok(())
            },
        ),
        Row::on_connection(
            "B12 silence in OpenConfirm ends at the hold time, with KEEPALIVEs before",
            Settings::default(),
            move |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&quick().bytes()).await?;
                let last = Instant::now();
                for _ in 0..3 {
                    session.expect(kind::KEEPALIVE).await?;
                }
                session.refused(4, 0, &[]).await?;
                ensure!(
                    last.elapsed() + SLACK / 9 >= HOLD && last.elapsed() <= HOLD + SLACK,
                    "after {:?}",
                    last.elapsed()
                );
                Ok(())
            },
        ),
        Row::on_connection(
            "B12 a message that never ends is silence",
            Settings::default(),
            move |_peer, mut session| async move {
                session.establish(&quick()).await?;
                let last = Instant::now();
                let unending = header(4096, kind::UPDATE);
                session.send(&unending).await?;
                while session.next_within(Duration::ZERO).await?.is_some() {}
                // Until it has had enough; what is sent behind that is lost.
                while last.elapsed() + SLACK < HOLD && session.send(&[0]).await.is_ok() {
                    sleep(Duration::from_millis(200)).await;
                }
                session.refused(4, 0, &[]).await?;
                ensure!(last.elapsed() <= HOLD + SLACK, "after {:?}", last.elapsed());
                Ok(())
            },
        ),
        Row::on_connection(
            "B12 a KEEPALIVE every 2.5 s is enough",
            Settings::default(),
            move |_peer, mut session| async move {
                session.establish(&quick()).await?;
                for _ in 0..3 {
                    sleep(Duration::from_millis(2500)).await;
                    session.send(&keepalive()).await?;
                }
                session.alive().await
            },
        ),
        fed("B13 only UPDATEs", end_of_rib()),
        fed(
            "B13 only UPDATEs that cost their routes",
            update(&[], &[0x40, 1, 1, 9], &[8, 10]),
        ),
        fed("B13 only ROUTE-REFRESHs", refresh(1, 0, 1)),
        Row::on_connection(
            "B14 KEEPALIVEs are spread by jitter",
            Settings::default(),
            move |_peer, mut session| async move {
                session.establish(&quick()).await?;
                let mut last = session.expect(kind::KEEPALIVE).await?.at;
                let mut gaps = Vec::new();
                while gaps.len() < 12 {
                    let at = session.expect(kind::KEEPALIVE).await?.at;
                    gaps.push(at - last);
                    last = at;
                    session.send(&keepalive()).await?;
                }
                // One by one they say as much about other programs as about the speaker; together they do not.
                let (third, mean) = (HOLD / 3, gaps.iter().sum::<Duration>() / 12);
                ensure!(
                    (third * 3 / 4..third + SLACK / 9).contains(&mean),
                    "{mean:?} on average: {gaps:?}"
                );
                let (shortest, longest) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
                ensure!(
                    *longest > *shortest + Duration::from_millis(40),
                    "no jitter: {gaps:?}"
                );
                Ok(())
            },
        ),
        // Not more often than each second, whatever is configured (RFC 4271 §4.4), less a quarter for jitter.
        paced("B14 keepaliveTime is kept", "keepaliveTime: 1s"),
        paced(
            "B14 keepaliveTime below a second is a second",
            "keepaliveTime: 100ms",
        ),
        Row::on_connection(
            "B11 a peer that never says OPEN is waited for",
            Settings::default(),
            |_peer, mut session| async move {
                // To the end of the four minutes in the simulations.
                session.expect(kind::OPEN).await?;
                ensure!(
                    session
                        .next_within(Duration::from_secs(12))
                        .await?
                        .is_none(),
                    "it did not wait"
                );
                session.send(&good().bytes()).await?;
                session.confirm().await?;
                session.alive().await
            },
        ),
    ]
}

/// Hears a KEEPALIVE each second.
fn paced(name: &'static str, more: &'static str) -> Row {
    Row::on_connection(
        name,
        Settings::with(more),
        |_peer, mut session| async move {
            session.establish(&good()).await?;
            let first = session.expect(kind::KEEPALIVE).await?.at;
            for _ in 0..5 {
                session.expect(kind::KEEPALIVE).await?;
            }
            let five = Duration::from_secs(5);
            let took = first.elapsed();
            ensure!(
                took + SLACK / 9 >= five * 3 / 4 && took <= five + SLACK,
                "five took {took:?}"
            );
            Ok(())
        },
    )
}

/// Sends only this for longer than the hold time.
fn fed(name: &'static str, bytes: Vec<u8>) -> Row {
    Row::on_connection(name, Settings::default(), |_peer, mut session| async move {
        session.establish(&Open { hold: 3, ..good() }).await?;
        for _ in 0..5 {
            sleep(Duration::from_millis(1500)).await;
            session.send(&bytes).await?;
        }
        session.alive().await
    })
}
