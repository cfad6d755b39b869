//! What the cluster does, as a peer hears it (RFC 4271 §3.1, §9.2).

use anyhow::{Context, Result, ensure};
use portolan_tests::rawpeer::bytes::{Update, kind, refresh};
use portolan_tests::rawpeer::{Connection, Message, Row};
use serde_json::json;

use super::{MOMENT, holds, vip};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::established(
            "D6 the last endpoint goes: a withdrawal, and nothing else",
            |peer, mut session| async move {
                let prefix = peer.vip_of("leave").await?;
                announced(&mut session, &prefix).await?;
                session.collect(MOMENT / 3).await?;
                peer.turn("leave", false).await?;
                let update = session
                    .update_where(|update| update.gone().contains(&prefix))
                    .await?;
                ensure!(
                    update.attributes.is_empty() && update.nlri.is_empty(),
                    "{update:?}"
                );
                peer.turn("leave", true).await?;
                announced(&mut session, &prefix).await.map(drop)
            },
        ),
        Row::established(
            "D5 an attribute changes: one announcement, no withdrawal",
            |peer, mut session| async move {
                let prefix = peer.vip_of("paint").await?;
                announced(&mut session, &prefix).await?;
                session.collect(MOMENT / 3).await?;
                peer.advertise(
                    "paint",
                    json!({ "communities": ["65000:7", "large:1:2:3", "65000:7"] }),
                )
                .await?;
                let update = announced(&mut session, &prefix).await?;
                ensure!(update.gone().is_empty(), "{update:?}");
                ensure!(
                    update.attribute(8) == Some(&[0xfd, 0xe8, 0, 7]),
                    "{update:?}"
                );
                ensure!(
                    update.attribute(32) == Some(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]),
                    "{update:?}"
                );
                let more = session.collect(MOMENT).await?;
                let again = |message: &Message| {
                    Update::cut(&message.body).is_some_and(|update| {
                        update.announced().contains(&prefix) || update.gone().contains(&prefix)
                    })
                };
                ensure!(!more.iter().any(again), "said again: {more:?}");
                Ok(())
            },
        ),
        Row::established(
            "D3 two sets of attributes never share a message",
            |peer, mut session| async move {
                let stage = vip(&peer, false);
                session.collect(MOMENT).await?;
                session.send(&refresh(1, 0, 1)).await?;
                for message in session
                    .collect(MOMENT)
                    .await?
                    .iter()
                    .filter(|message| message.kind == kind::UPDATE)
                {
                    let update = Update::cut(&message.body).context("a malformed UPDATE")?;
                    ensure!(
                        !holds(&update.nlri, &stage) || update.announced().len() == 1,
                        "{update:?}"
                    );
                }
                Ok(())
            },
        ),
        Row::established(
            "D4 a route that flaps ends where it ended",
            |peer, mut session| async move {
                let prefix = peer.vip_of("flap").await?;
                announced(&mut session, &prefix).await?;
                for _ in 0..2 {
                    peer.turn("flap", false).await?;
                    peer.turn("flap", true).await?;
                }
                // What it says last is what holds; a session that begins now hears the same.
                let mut holds = true;
                for message in session.collect(3 * MOMENT).await? {
                    let update = Update::cut(&message.body).context("a malformed UPDATE")?;
                    holds = update.announced().contains(&prefix)
                        || (holds && !update.gone().contains(&prefix));
                }
                ensure!(holds, "the last word was a withdrawal");
                Ok(())
            },
        ),
    ]
}

/// The next UPDATE that announces this prefix.
async fn announced(session: &mut Connection, prefix: &(u8, Vec<u8>)) -> Result<Update> {
    let wish = |update: &Update| update.announced().contains(prefix);
    session.update_where(wish).await
}
