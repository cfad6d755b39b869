//! What is told again to those who ask (RFC 2918; RFC 7313).

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{Open, capability, four_octets, ipv4, kind, message, refresh};
use portolan_tests::rawpeer::{Connection, Message, PEER_AS, RawPeer, Row, Settings};
use tokio::time::{Instant, sleep};

use super::{MOMENT, good, holds, six, speaks_six, vip};

/// In the row of marks: the route that every stage has.
const ROUTE: u8 = 100;
/// In the row of marks: something else.
const STRAY: u8 = 101;

/// How often the stage's route is told within a moment.
async fn tellings(peer: &RawPeer, session: &mut Connection, time: Duration) -> Result<usize> {
    let wanted = vip(peer, peer.address.is_ipv6());
    let messages = session.collect(time).await?;
    let tells = |message: &&Message| message.kind == kind::UPDATE && holds(&message.body, &wanted);
    Ok(messages.iter().filter(tells).count())
}

pub(super) fn plain() -> Vec<Row> {
    let asking = |name: &'static str,
                  settings: Settings,
                  open: Open,
                  bytes: Vec<u8>,
                  least: usize,
                  most: usize| {
        Row::on_connection(name, settings, move |peer, mut session| async move {
            session.establish(&open).await?;
            session.end_of_rib().await?;
            session.send(&bytes).await?;
            let count = tellings(&peer, &mut session, MOMENT).await?;
            ensure!((least..=most).contains(&count), "told {count} times");
            Ok(())
        })
    };
    let refused = |name: &'static str, bytes: Vec<u8>, length: u8| {
        Row::established(name, move |_peer, mut session| async move {
            session.send(&bytes).await?;
            session.refused(1, 2, &[0, length]).await
        })
    };
    let basic = Settings::default;
    vec![
        asking("D16 IPv4", basic(), good(), refresh(1, 0, 1), 1, 1),
        asking("D16 IPv6", six(), speaks_six(), refresh(2, 0, 1), 1, 1),
        asking(
            "D16 from a peer that did not offer to ask",
            basic(),
            Open::offering(PEER_AS, &[ipv4(), four_octets(PEER_AS)].concat()),
            refresh(1, 0, 1),
            1,
            1,
        ),
        asking(
            "D17 twenty in one segment",
            basic(),
            good(),
            refresh(1, 0, 1).repeat(20),
            1,
            2,
        ),
        asking(
            "D18 a family that does not exist",
            basic(),
            good(),
            refresh(99, 0, 1),
            0,
            0,
        ),
        asking("D18 multicast", basic(), good(), refresh(1, 0, 2), 0, 0),
        asking("D18 VPN", basic(), good(), refresh(1, 0, 128), 0, 0),
        asking("D18 zeros", basic(), good(), refresh(0, 0, 0), 0, 0),
        asking(
            "D18 IPv6, which was not agreed",
            basic(),
            good(),
            refresh(2, 0, 1),
            0,
            0,
        ),
        asking(
            "D20 begin and end from a peer without enhanced refresh",
            basic(),
            good(),
            [refresh(1, 1, 1), refresh(1, 2, 1)].concat(),
            0,
            0,
        ),
        asking("D20 subtype 3", basic(), good(), refresh(1, 3, 1), 0, 0),
        asking("D20 subtype 255", basic(), good(), refresh(1, 255, 1), 0, 0),
        refused("D19 length 22", message(kind::REFRESH, &[0, 1, 0]), 22),
        refused(
            "D19 length 24",
            message(kind::REFRESH, &[0, 1, 0, 1, 0]),
            24,
        ),
        refused("D19 length 19", message(kind::REFRESH, &[]), 19),
        Row::established(
            "D17 twenty in a second cost two tellings",
            |peer, mut session| async move {
                session.end_of_rib().await?;
                let begin = Instant::now();
                for _ in 0..20 {
                    session.send(&refresh(1, 0, 1)).await?;
                    sleep(Duration::from_millis(50)).await;
                }
                let most = 2 + usize::try_from(begin.elapsed().as_secs())?;
                let count = tellings(&peer, &mut session, MOMENT).await?;
                ensure!((1..=most).contains(&count), "told {count} times");
                Ok(())
            },
        ),
    ]
}

/// A row that begins with a session on which RFC 7313 is agreed on.
fn agreed<F, T>(name: &'static str, script: F) -> Row
where
    F: FnOnce(RawPeer, Connection) -> T + Clone + 'static,
    T: Future<Output = Result<()>> + 'static,
{
    let offered = [
        ipv4(),
        capability(2, &[]),
        capability(70, &[]),
        four_octets(PEER_AS),
    ];
    let open = Open::offering(PEER_AS, &offered.concat());
    Row::on_connection(
        name,
        Settings::default(),
        move |peer, mut session| async move {
            let theirs = session.establish(&open).await?;
            ensure!(holds(&theirs, &[70, 0]), "capability 70 is not offered");
            script(peer, session).await
        },
    )
}

/// RFC 7313 agreed on.
pub(super) fn enhanced() -> Vec<Row> {
    let row = |name: &'static str, bytes: Vec<u8>, wanted: &'static [u8]| {
        agreed(name, move |peer, mut session| async move {
            session.end_of_rib().await?;
            session.send(&bytes).await?;
            let (messages, stage) = (session.collect(MOMENT).await?, vip(&peer, false));
            // Routes of other rows may change at any time: what counts are marks, and the route that never changes.
            let marks = messages.iter().filter_map(|message| match message.kind {
                kind::REFRESH if message.body[..2] == [0, 1] && message.body[3] == 1 => {
                    Some(message.body[2])
                }
                kind::UPDATE => holds(&message.body, &stage).then_some(ROUTE),
                _ => Some(STRAY),
            });
            let marks: Vec<u8> = marks.collect();
            // Two requests of twenty may be answered, as long as they are answered one after the other.
            ensure!(marks == wanted || marks == wanted.repeat(2), "{marks:?}");
            Ok(())
        })
    };
    let refused = |name: &'static str, body: &'static [u8]| {
        agreed(name, move |_peer, mut session| async move {
            let bytes = message(kind::REFRESH, body);
            session.send(&bytes).await?;
            session.refused(7, 1, &bytes).await
        })
    };
    vec![
        row("D16 begin, routes, end", refresh(1, 0, 1), &[1, ROUTE, 2]),
        row(
            "D17 twenty at once where 7313 is agreed",
            refresh(1, 0, 1).repeat(20),
            &[1, ROUTE, 2],
        ),
        row(
            "D20 begin and end from the peer",
            [refresh(1, 1, 1), refresh(1, 2, 1)].concat(),
            &[],
        ),
        row("D20 begin without end", refresh(1, 1, 1), &[]),
        row(
            "D20 subtype 255 where 7313 is agreed",
            refresh(1, 255, 1),
            &[],
        ),
        row(
            "D18 another family where 7313 is agreed",
            refresh(2, 0, 1),
            &[],
        ),
        refused("D19 length 22 where 7313 is agreed", &[0, 1, 0]),
        refused("D19 length 24 where 7313 is agreed", &[0, 1, 0, 1, 0]),
        refused(
            "D19 begin of length 24 where 7313 is agreed",
            &[0, 1, 1, 1, 0],
        ),
    ]
}
