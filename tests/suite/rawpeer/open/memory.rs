//! What the speaker remembers of a peer that did not take all of its OPEN (RFC 5492 §3).

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{kind, notification};
use portolan_tests::rawpeer::{Connection, RawPeer, Row, Settings};
use serde_json::json;

use super::{good, tlvs};

/// Two classes of capabilities that can be refused one after the other.
fn settings() -> Settings {
    Settings::with("enableGracefulRestart: true")
}

/// The codes that an OPEN offers.
fn codes(body: &[u8]) -> Vec<u8> {
    tlvs(body.get(12..).unwrap_or_default())
        .map(|one| one[0])
        .collect()
}

/// Refuses the OPEN without a reason in the data; returns what it offered.
async fn refuse(peer: &RawPeer) -> Result<Vec<u8>> {
    let mut session = peer.accept().await?;
    let body = session.expect(kind::OPEN).await?.body;
    session.send(&notification(2, 7, &[])).await?;
    session.dropped().await?;
    Ok(codes(&body))
}

/// Takes the next OPEN; returns the session and what was offered.
async fn take(peer: &RawPeer) -> Result<(Connection, Vec<u8>)> {
    let mut session = peer.accept().await?;
    let body = session.establish(&good()).await?;
    session.alive().await?;
    Ok((session, codes(&body)))
}

/// Refuses twice, and takes the third OPEN.
async fn climb(peer: &RawPeer) -> Result<(Connection, Vec<u8>)> {
    let first = refuse(peer).await?;
    let second = refuse(peer).await?;
    let (session, third) = take(peer).await?;
    ensure!(
        first == FULL && second == [1, 2, 64, 65] && third == LESS,
        "offered {first:?}, {second:?}, {third:?}"
    );
    Ok((session, third))
}

const FULL: &[u8] = &[1, 2, 64, 65, 70];
const LESS: &[u8] = &[1, 2, 65];

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            "A43 a router that flaps is not climbed down to again",
            settings(),
            |peer| async move {
                let (mut session, _) = climb(&peer).await?;
                for _ in 0..2 {
                    drop(session);
                    let (next, offered) = take(&peer).await?;
                    ensure!(offered == LESS, "offered {offered:?}");
                    session = next;
                }
                session.reset()?;
                let (_, offered) = take(&peer).await?;
                ensure!(offered == LESS, "after a reset {offered:?}");
                Ok(())
            },
        ),
        Row::new(
            "A43 what is left out is reported",
            settings(),
            |peer| async move {
                let (mut session, _) = climb(&peer).await?;
                let report = peer
                    .reported(|session| !session.withheld_capabilities.is_empty())
                    .await?;
                let mut names = report.withheld_capabilities;
                names.sort_unstable();
                ensure!(
                    names
                        == [
                            "enhanced route refresh",
                            "graceful restart",
                            "long-lived graceful restart"
                        ]
                        || names == ["enhanced route refresh", "graceful restart"],
                    "{names:?}"
                );
                session.alive().await
            },
        ),
        Row::new(
            "A43 a router that says that it was reconfigured is offered all, once",
            settings(),
            |peer| async move {
                let (mut session, _) = climb(&peer).await?;
                session.send(&notification(6, 6, &[])).await?;
                session.dropped().await?;
                let again = refuse(&peer).await?;
                ensure!(again == FULL, "offered {again:?}");
                let (_, offered) = take(&peer).await?;
                ensure!(offered == LESS, "then {offered:?}");
                Ok(())
            },
        ),
        Row::new(
            "A43 a router that was reconfigured and takes all now",
            settings(),
            |peer| async move {
                let (mut session, _) = climb(&peer).await?;
                session.send(&notification(6, 3, &[])).await?;
                session.dropped().await?;
                let (session, offered) = take(&peer).await?;
                ensure!(offered == FULL, "offered {offered:?}");
                let report = peer
                    .reported(|session| session.withheld_capabilities.is_empty())
                    .await?;
                ensure!(report.established_count == 2, "{report:?}");
                drop(session);
                let (_, offered) = take(&peer).await?;
                ensure!(offered == FULL, "then {offered:?}");
                Ok(())
            },
        ),
        Row::new(
            "A43 a peer whose configuration changes is offered all",
            settings(),
            |peer| async move {
                let (mut session, _) = climb(&peer).await?;
                peer.reconfigure(json!({ "holdTime": "12s" })).await?;
                session.refused(6, 6, &[]).await?;
                let (_, offered) = take(&peer).await?;
                ensure!(offered == FULL, "offered {offered:?}");
                Ok(())
            },
        ),
        Row::new(
            "A43 another complaint does not change what was taken",
            settings(),
            |peer| async move {
                let (mut session, _) = climb(&peer).await?;
                session.send(&notification(6, 5, &[])).await?;
                session.dropped().await?;
                let mut session = peer.accept().await?;
                session.expect(kind::OPEN).await?;
                session.send(&notification(6, 8, &[])).await?;
                session.dropped().await?;
                let (_, offered) = take(&peer).await?;
                ensure!(offered == LESS, "offered {offered:?}");
                Ok(())
            },
        ),
        Row::new(
            "A41 closed behind its own OPEN: less is offered at the third time",
            settings(),
            |peer| async move {
                let mut offers = Vec::new();
                for _ in 0..3 {
                    let mut session = peer.accept().await?;
                    offers.push(codes(&session.expect(kind::OPEN).await?.body));
                    session.send(&good().bytes()).await?;
                    session.expect(kind::KEEPALIVE).await?;
                }
                ensure!(
                    offers[0] == FULL && offers[1] == FULL && offers[2].len() < FULL.len(),
                    "{offers:?}"
                );
                Ok(())
            },
        ),
    ]
}
