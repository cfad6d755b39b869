//! Peers that say no to our OPEN, and what is reported of those that we refuse (RFC 4271 §6.2; RFC 5492 §3).

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{Open, capability, four_octets, ipv6, kind, notification};
use portolan_tests::rawpeer::{Connection, Heard, PEER_AS, RawPeer, Row, Settings};

use super::{good, tlvs};

pub(super) fn rows() -> Vec<Row> {
    // Without a need for capability 65, so that in the end nothing is left to offer.
    let small = || Settings {
        ours: Some(64_999),
        ..Settings::default()
    };
    vec![
        Row::new(
            "A40 2/7 that names a capability: it is left out",
            small(),
            |peer| async move {
                let refused = refuse(&peer, &notification(2, 7, &capability(2, &[]))).await?;
                ensure!(
                    refused.windows(2).any(|one| one == [2, 0]),
                    "it was not offered: {refused:?}"
                );
                let mut session = peer.accept().await?;
                let next = session.establish(&good()).await?;
                let offered: Vec<_> = tlvs(next.get(12..).unwrap_or_default()).collect();
                ensure!(
                    !offered.contains(&capability(2, &[])),
                    "offered again: {offered:?}"
                );
                ensure!(
                    offered.contains(&four_octets(64_999)),
                    "given up without need: {offered:?}"
                );
                session.next().await.map(drop)
            },
        ),
        Row::new(
            "A40 2/7 that names graceful restart: it is left out",
            Settings::with("enableGracefulRestart: true"),
            |peer| async move {
                let refused = refuse(&peer, &notification(2, 7, &[64, 2, 0, 0])).await?;
                ensure!(
                    tlvs(&refused[12..]).any(|one| one[0] == 64),
                    "it was not offered: {refused:?}"
                );
                let next = peer.accept().await?.establish(&good()).await?;
                ensure!(
                    !tlvs(&next[12..]).any(|one| one[0] == 64),
                    "offered again: {next:?}"
                );
                Ok(())
            },
        ),
        Row::new(
            "A40 2/7 with data that is no capability",
            small(),
            |peer| async move {
                refuse(&peer, &notification(2, 7, &[65, 200, 1])).await?;
                peer.establish().await?.alive().await
            },
        ),
        Row::new(
            "A41 2/4 again and again: no parameters in the end",
            small(),
            |peer| async move {
                for _ in 0..4 {
                    let body = refuse(&peer, &notification(2, 4, &[])).await?;
                    if body.len() == 10 && body[9] == 0 {
                        return Ok(());
                    }
                }
                anyhow::bail!("still something in the fourth OPEN")
            },
        ),
        Row::new(
            "A41 closed right after our OPEN: less is offered at the third time",
            small(),
            |peer| async move {
                let mut lengths = Vec::new();
                for _ in 0..3 {
                    let mut session = peer.accept().await?;
                    lengths.push(session.expect(kind::OPEN).await?.body.len());
                }
                ensure!(lengths[2] < lengths[0], "lengths of OPENs: {lengths:?}");
                Ok(())
            },
        ),
        Row::new(
            "A42 2/6 is shown, and answered by patience",
            Settings::default(),
            |peer| async move {
                refuse(&peer, &notification(2, 6, &[0, 9])).await?;
                let words = peer.last_error().await?;
                ensure!(words.contains("hold time"), "it says {words:?}");
                // No OPEN of ours can be another one before somebody changes something.
                peer.left_alone(Duration::from_secs(12)).await
            },
        ),
        Row::new(
            "A42 2/2 is shown with what it means",
            Settings::default(),
            |peer| async move {
                refuse(&peer, &notification(2, 2, &[])).await?;
                let words = peer.last_error().await?;
                ensure!(words.contains("peer AS"), "it says {words:?}");
                Ok(())
            },
        ),
        Row::on_connection(
            "A12 the wrong AS is shown with both numbers",
            Settings::default(),
            |peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&Open::good(4_200_000_055).bytes()).await?;
                session.refused(2, 2, &[]).await?;
                let words = peer.last_error().await?;
                ensure!(
                    words.contains("4200000055") && words.contains("65001"),
                    "it says {words:?}"
                );
                Ok(())
            },
        ),
        Row::on_connection(
            "A33 no common family: up, useless, and said so",
            Settings::default(),
            |peer, mut session| async move {
                let open = Open {
                    id: Ipv4Addr::new(10, 0, 0, 9),
                    ..Open::offering(PEER_AS, &[ipv6(), four_octets(PEER_AS)].concat())
                };
                session.establish(&open).await?;
                let words = peer.last_error().await?;
                ensure!(words.contains("families"), "it says {words:?}");
                let next = session.next().await?;
                ensure!(
                    matches!(&next, Heard::Message(message) if message.kind == kind::KEEPALIVE),
                    "it sent {next:?}"
                );
                Ok(())
            },
        ),
    ]
}

/// Answers the speaker's OPEN with these bytes; returns the OPEN. The speaker must not answer a NOTIFICATION.
async fn refuse(peer: &RawPeer, answer: &[u8]) -> Result<Vec<u8>> {
    let mut session: Connection = peer.accept().await?;
    let open = session.expect(kind::OPEN).await?;
    session.send(answer).await?;
    session.dropped().await?;
    Ok(open.body)
}
