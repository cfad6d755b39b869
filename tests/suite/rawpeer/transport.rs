//! Table E: addresses, ports, TTLs, and a node that loses what a session stands on (RFC 4271 §8, RFC 5082). TCP MD5 and
//! multihop are shown with real routers elsewhere in the suite; they need options of the kernel on both sides.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::lab::Netns;
use portolan_tests::rawpeer::bytes::{Open, keepalive, kind};
use portolan_tests::rawpeer::{Connection, PEER_AS, RawPeer, Row, Settings, Stage, Table};
use serde_json::json;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stands_on_the_addresses_that_it_was_given() -> Result<()> {
    let mut stage = Stage::set().await?;
    let node = stage.world.lab.nodes[0].host.netns().clone();
    node.ip(&[
        "addr add 172.30.200.1/16 dev eth0",
        "addr add 172.30.200.2/16 dev eth0",
    ])?;
    let mut rows = addresses();
    rows.extend(hops());
    rows.push(taken_from(node));
    Table::new("E, transport", rows).run_on(&mut stage).await
}

/// A speaker that is told to go says so to everyone, with words, and takes its routes along.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_is_told_to_everyone_within_a_second() -> Result<()> {
    let mut stage = Stage::set().await?;
    let settings = vec![Settings::default(); 3];
    let peers = stage.peers(&settings).await?;
    let mut sessions = Vec::new();
    for peer in &peers {
        sessions.push(peer.establish().await?);
    }
    sessions[0].alive().await?;
    // One waits for our KEEPALIVE, one for our OPEN: they are told as well.
    let halfway = stage.peers(&settings).await?;
    for (peer, says_open) in halfway.iter().zip([true, false]) {
        let mut session = peer.accept().await?;
        session.expect(kind::OPEN).await?;
        if says_open {
            session.send(&Open::good(PEER_AS).bytes()).await?;
            session.expect(kind::KEEPALIVE).await?;
        }
        sessions.push(session);
    }
    let begin = Instant::now();
    stage.world.speakers[0].stop(Duration::from_secs(5)).await?;
    let took = begin.elapsed();
    for session in &mut sessions {
        let told = session.expect(kind::NOTIFICATION).await?;
        let words = String::from_utf8_lossy(told.body.get(3..).unwrap_or_default()).into_owned();
        ensure!(
            told.body[..2] == [6, 2] && words.contains("stopping"),
            "it says {told:?}"
        );
        ensure!(
            usize::from(told.body[2]) == words.len(),
            "its length octet says {}",
            told.body[2]
        );
    }
    ensure!(took < Duration::from_secs(3), "its end took {took:?}");
    Ok(())
}

/// Stopped for five seconds with a hold time of three, as a debugger or a frozen node does: whoever wakes up looks at the
/// sockets before it looks at the clock (E17).
#[tokio::test(flavor = "multi_thread")]
async fn a_speaker_that_was_frozen_does_not_blame_its_peers() -> Result<()> {
    let mut stage = Stage::set().await?;
    let peers = stage
        .peers(&[Settings {
            hold: 3,
            ..Settings::default()
        }])
        .await?;
    let mut session = peers[0].establish().await?;
    // The speaker is done with everything, and waits.
    session.hush().await?;
    let speaker = &stage.world.speakers[0];
    speaker.signal(nix::sys::signal::Signal::SIGSTOP)?;
    for _ in 0..10 {
        sleep(Duration::from_millis(500)).await;
        session.send(&keepalive()).await?;
    }
    speaker.signal(nix::sys::signal::Signal::SIGCONT)?;
    session.alive().await
}

fn good() -> Open {
    Open::good(PEER_AS)
}

fn addresses() -> Vec<Row> {
    vec![
        Row::on_connection(
            "E8 the source address is the one that is configured",
            Settings::with("sourceAddress: 172.30.200.1"),
            |_peer, mut session| async move {
                ensure!(
                    session.from()? == "172.30.200.1".parse::<IpAddr>()?,
                    "it comes from {}",
                    session.from()?
                );
                session.establish(&good()).await?;
                // The next hop is the address of the session.
                let update = session
                    .update_where(|update| !update.nlri.is_empty())
                    .await?;
                ensure!(
                    update.attribute(3) == Some(&[172, 30, 200, 1]),
                    "{update:?}"
                );
                Ok(())
            },
        ),
        Row::new(
            "E8 a source address that the node does not have",
            Settings::with("sourceAddress: 172.30.222.1"),
            |peer| async move {
                let words = peer.last_error().await?;
                ensure!(words.contains("172.30.222.1"), "it says {words:?}");
                peer.left_alone(Duration::ZERO).await
            },
        ),
        Row::on_connection(
            "E8 the source address changes: one restart",
            Settings::default(),
            |peer, mut session| async move {
                session.establish(&good()).await?;
                peer.reconfigure(json!({ "sourceAddress": "172.30.200.1" }))
                    .await?;
                session.refused(6, 6, &[]).await?;
                let mut session = peer.establish().await?;
                ensure!(
                    session.from()? == "172.30.200.1".parse::<IpAddr>()?,
                    "it comes from {}",
                    session.from()?
                );
                session.alive().await
            },
        ),
        Row::new(
            "E8 another port",
            Settings::with("peerPort: 1790"),
            |peer| async move {
                peer.left_alone(Duration::from_secs(1)).await?;
                let elsewhere = peer.on_port(1790)?;
                elsewhere.establish().await?.alive().await
            },
        ),
        Row::new(
            "B24 nobody answers: our own patience, and words",
            Settings::default(),
            |peer| async move {
                peer.establish().await?.alive().await?;
                peer.swallow_packets()?;
                drop(peer.accept_within(Duration::from_millis(100)).await?);
                peer.reconfigure(json!({ "holdTime": "12s" })).await?;
                let report = peer
                    .reported(|session| {
                        session
                            .last_error
                            .as_ref()
                            .is_some_and(|words| words.contains("no answer"))
                    })
                    .await?;
                ensure!(report.established_count == 1, "{report:?}");
                Ok(())
            },
        ),
        Row::on_connection(
            "E5 a key is set while the session is up: it ends, and never goes on without",
            Settings::default(),
            |peer, mut session| async move {
                session.establish(&good()).await?;
                peer.reconfigure(json!({ "password": "secret" })).await?;
                session.refused(6, 6, &[]).await?;
                peer.left_alone(Duration::from_secs(4)).await?;
                peer.reconfigure(json!({ "password": null })).await?;
                peer.establish().await?.alive().await
            },
        ),
        Row::on_connection(
            "E9 urgent data in the middle of a message",
            Settings::default(),
            |_peer, mut session| async move {
                session.establish(&good()).await?;
                let message = keepalive();
                session.send(&message[..7]).await?;
                session.urgent(message[7])?;
                session.send(&[&message[8..], &message].concat()).await?;
                // The kernel takes the octet out of the stream: what is left is out of step, and must be told so.
                session.refused(1, 1, &[]).await
            },
        ),
    ]
}

fn hops() -> Vec<Row> {
    let ttl = |name: &'static str, v6: bool| {
        let settings = Settings {
            v6,
            ..Settings::with("ttlSecurity: true")
        };
        Row::new(name, settings, move |peer| async move {
            peer.set_ttl(254)?;
            peer.left_alone(Duration::from_secs(3)).await?;
            peer.set_ttl(255)?;
            let asn = peer.asn;
            let mut session = peer.accept().await?;
            session
                .establish(&Open::offering(
                    asn,
                    &[
                        portolan_tests::rawpeer::bytes::ipv4(),
                        portolan_tests::rawpeer::bytes::ipv6(),
                        portolan_tests::rawpeer::bytes::four_octets(asn),
                    ]
                    .concat(),
                ))
                .await?;
            session.expect(kind::KEEPALIVE).await.map(drop)
        })
    };
    vec![
        ttl("E6 GTSM: a TTL of 254 is no session, one of 255 is", false),
        ttl("E6 GTSM of IPv6", true),
    ]
}

/// E14: the session's own address goes, and comes back.
fn taken_from(node: Netns) -> Row {
    let settings = Settings::with("sourceAddress: 172.30.200.2");
    Row::new(
        "E14 the address of the session is removed from the node",
        settings,
        |peer: RawPeer| async move {
            let mut session: Connection = peer.establish().await?;
            session.alive().await?;
            node.ip(&["addr del 172.30.200.2/16 dev eth0"])?;
            let words = peer.last_error().await?;
            node.ip(&["addr add 172.30.200.2/16 dev eth0"])
                .context("giving it back")?;
            ensure!(!words.is_empty(), "no reason is given");
            peer.establish().await?.alive().await
        },
    )
}
