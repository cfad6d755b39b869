//! Table B: messages in states where they do not belong, timers, closing, collisions, and what the peer's parting words
//! do (RFC 4271 §6.3 to §6.8, §8; RFC 4486, 6608, 9003).

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::rawpeer::bytes::{
    Open, end_of_rib, header, keepalive, kind, message, notification, refresh, update,
};
use portolan_tests::rawpeer::{Connection, Heard, Message, PEER_AS, RawPeer, Row, Settings, Table};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// The shortest hold time, which is also its KEEPALIVE interval in thirds.
const HOLD: Duration = Duration::from_secs(3);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(900);
/// A second, less the quarter that jitter may take, less a moment for the clock of the other side.
const BACK_OFF: Duration = Duration::from_millis(650);

#[tokio::test(flavor = "multi_thread")]
async fn every_state_answers_what_does_not_belong_there() -> Result<()> {
    let mut rows = misplaced();
    rows.extend(parting_words());
    rows.extend(silence());
    rows.extend(endings());
    rows.extend(reconfigured());
    Table::new("B, state machine", rows).run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_end_as_one() -> Result<()> {
    Table::new("B, collisions", collisions()).run().await
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    OpenSent,
    OpenConfirm,
    Established,
}

const STATES: [State; 3] = [State::OpenSent, State::OpenConfirm, State::Established];

fn good() -> Open {
    Open::good(PEER_AS)
}

/// Comes as far as this state and no further.
async fn come_to(state: State, session: &mut Connection) -> Result<()> {
    session.expect(kind::OPEN).await?;
    if state != State::OpenSent {
        session.send(&good().bytes()).await?;
        session.expect(kind::KEEPALIVE).await?;
    }
    if state == State::Established {
        session.send(&keepalive()).await?;
        session.alive().await?;
    }
    Ok(())
}

/// A row that begins in this state.
fn in_state<F, T>(state: State, name: &str, script: F) -> Row
where
    F: FnOnce(RawPeer, Connection) -> T + Clone + 'static,
    T: Future<Output = Result<()>> + 'static,
{
    let name = format!("{name} in {state:?}");
    Row::on_connection(
        name,
        Settings::default(),
        move |peer, mut session| async move {
            come_to(state, &mut session).await?;
            script(peer, session).await
        },
    )
}

fn misplaced() -> Vec<Row> {
    let refused =
        |state, name: &str, bytes: Vec<u8>, (code, subcode, data): (u8, u8, &'static [u8])| {
            in_state(state, name, move |_peer, mut session| async move {
                session.send(&bytes).await?;
                session.refused(code, subcode, data).await
            })
        };
    let mut rows = vec![
        refused(State::OpenSent, "B1 KEEPALIVE", keepalive(), (5, 1, &[4])),
        refused(State::OpenSent, "B2 UPDATE", end_of_rib(), (5, 1, &[2])),
        refused(
            State::OpenSent,
            "B2 malformed UPDATE",
            update(&[33], &[9], &[200]),
            (5, 1, &[2]),
        ),
        refused(
            State::OpenSent,
            "B3 ROUTE-REFRESH",
            refresh(1, 0, 1),
            (5, 1, &[5]),
        ),
        refused(
            State::OpenConfirm,
            "B4 second OPEN",
            good().bytes(),
            (5, 2, &[1]),
        ),
        refused(
            State::OpenConfirm,
            "B4 malformed second OPEN",
            message(kind::OPEN, &[9; 10]),
            (5, 2, &[1]),
        ),
        refused(State::OpenConfirm, "B5 UPDATE", end_of_rib(), (5, 2, &[2])),
        refused(
            State::OpenConfirm,
            "B6 ROUTE-REFRESH",
            refresh(1, 0, 1),
            (5, 2, &[5]),
        ),
        refused(
            State::Established,
            "B8 second OPEN",
            good().bytes(),
            (5, 3, &[1]),
        ),
        refused(
            State::Established,
            "B8 malformed second OPEN",
            message(kind::OPEN, &[9; 10]),
            (5, 3, &[1]),
        ),
        Row::on_connection(
            "B4 two OPENs in one segment",
            Settings::default(),
            |_peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&good().bytes().repeat(2)).await?;
                session.refused(5, 2, &[1]).await
            },
        ),
    ];
    for state in STATES {
        let cut = header(4097, kind::UPDATE);
        rows.push(refused(state, "B9 length 4097", cut, (1, 2, &[16, 1])));
        rows.push(refused(
            state,
            "B9 unknown type",
            header(19, 9),
            (1, 3, &[9]),
        ));
        rows.push(refused(state, "B9 marker", vec![0; 19], (1, 1, &[])));
        rows.push(refused(
            state,
            "B9 KEEPALIVE of 20",
            message(kind::KEEPALIVE, &[0]),
            (1, 2, &[0, 20]),
        ));
        // What the peer says after its mistake must not cost us our last words.
        let more = [header(19, 9), vec![0xff; 100_000]].concat();
        rows.push(refused(
            state,
            "B9 unknown type and 100 kB behind it",
            more,
            (1, 3, &[9]),
        ));
    }
    rows
}

/// NOTIFICATIONs of the peer: never answered, in no state, whatever they say.
fn parting_words() -> Vec<Row> {
    let words =
        |text: &[u8]| notification(6, 2, &[&[u8::try_from(text.len()).unwrap()], text].concat());
    let kinds = [
        ("B10 Cease", notification(6, 2, &[])),
        (
            "B10 NOTIFICATION of no known code",
            notification(99, 99, &[1, 2, 3]),
        ),
        ("B10 NOTIFICATION 0/0", notification(0, 0, &[])),
        (
            "B10 NOTIFICATION of 4096",
            notification(6, 2, &[200; 4096 - 21]),
        ),
        ("B10 NOTIFICATION of 20", message(kind::NOTIFICATION, &[6])),
        ("B10 NOTIFICATION of 19", header(19, kind::NOTIFICATION)),
        (
            "B10 header of a NOTIFICATION of 4097",
            header(4097, kind::NOTIFICATION),
        ),
        ("B10 two NOTIFICATIONs", notification(6, 2, &[]).repeat(2)),
        ("B10 hard reset with half a code", notification(6, 9, &[6])),
    ];
    let mut rows = Vec::new();
    for state in STATES {
        for (name, bytes) in &kinds {
            let bytes = bytes.clone();
            rows.push(in_state(state, name, |peer, mut session| async move {
                let begin = Instant::now();
                session.send(&bytes).await?;
                session.dropped().await?;
                // It comes back, but not at once.
                let mut session = peer.accept_after(begin, BACK_OFF / 2).await?;
                session.establish(&good()).await.map(drop)
            }));
        }
    }
    let shown = |name: &str, bytes: Vec<u8>, wanted: &'static str| {
        in_state(
            State::Established,
            name,
            move |peer, mut session| async move {
                session.send(&bytes).await?;
                session.dropped().await?;
                let report = peer
                    .reported(|session| session.last_error.is_some())
                    .await?;
                let words = report.last_error.unwrap_or_default();
                ensure!(words.contains(wanted), "it says {words:?}");
                ensure!(
                    !words.chars().any(char::is_control) && words.len() < 1000,
                    "it says {words:?}"
                );
                Ok(())
            },
        )
    };
    let long = [b"the end of the text is here".to_vec(), vec![b'.'; 228]].concat();
    rows.extend([
        shown(
            "B28 shutdown communication",
            words(b"maintenance until noon"),
            "maintenance until noon",
        ),
        shown(
            "B28 control characters in it",
            words(b"one\n\x1b[31mtwo\0three"),
            "three",
        ),
        shown(
            "B28 255 octets of it",
            words(&long),
            "the end of the text is here",
        ),
        shown(
            "B28 no UTF-8",
            words(&[b'a', 0xff, 0xfe, b'b']),
            "administrative shutdown",
        ),
        shown(
            "B28 with a reset",
            notification(6, 4, &[3, b'a', b'b', b'c']),
            "abc",
        ),
        shown(
            "B29 its length octet lies",
            notification(6, 2, &[200, b'h', b'i']),
            "hi",
        ),
        shown(
            "B29 its length octet is 0",
            notification(6, 2, &[0, b'h', b'i']),
            "administrative shutdown",
        ),
        shown(
            "B30 too many prefixes",
            notification(6, 1, &[0, 1, 1, 0, 0, 0, 9]),
            "maximum number of prefixes",
        ),
        in_state(
            State::Established,
            "B30 too many prefixes: no hurry",
            |peer, mut session| async move {
                session
                    .send(&notification(6, 1, &[0, 1, 1, 0, 0, 0, 9]))
                    .await?;
                session.dropped().await?;
                // A minute, by the simulations; here that it is not the usual second.
                peer.left_alone(Duration::from_secs(12)).await
            },
        ),
        in_state(
            State::Established,
            "B28 hard reset shows what it wraps",
            |peer, mut session| async move {
                session
                    .send(&notification(6, 9, &[6, 2, 4, b'g', b'o', b'n', b'e']))
                    .await?;
                session.dropped().await?;
                let report = peer
                    .reported(|session| session.last_error.is_some())
                    .await?;
                let words = report.last_error.unwrap_or_default();
                ensure!(words.contains("gone"), "it says {words:?}");
                Ok(())
            },
        ),
    ]);
    rows
}

fn silence() -> Vec<Row> {
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

/// How connections are lost, and how soon the speaker is back.
fn endings() -> Vec<Row> {
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
fn reconfigured() -> Vec<Row> {
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

fn both() -> Settings {
    Settings::with("listen: both")
}

fn passive() -> Settings {
    Settings::with("listen: passive")
}

/// Says KEEPALIVE and OPEN on a connection whose OPEN from the speaker was read.
async fn introduce(session: &mut Connection, open: &Open) -> Result<()> {
    session.expect(kind::OPEN).await?;
    session.send(&open.bytes()).await
}

/// Two connections at once. The speaker's identifier is 172.30.0.11.
fn collisions() -> Vec<Row> {
    let higher = || Open {
        id: [172, 30, 0, 12].into(),
        ..good()
    };
    let lower = || Open {
        id: [172, 30, 0, 10].into(),
        ..good()
    };
    let equal = || Open {
        id: [172, 30, 0, 11].into(),
        ..good()
    };
    vec![
        Row::new(
            "B15 our identifier is lower: our connection goes",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &higher()).await?;
                ours.expect(kind::KEEPALIVE).await?;
                introduce(&mut theirs, &higher()).await?;
                ours.refused(6, 7, &[]).await?;
                theirs.confirm().await?;
                theirs.alive().await
            },
        ),
        Row::new(
            "B16 our identifier is higher: their connection goes",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &lower()).await?;
                ours.expect(kind::KEEPALIVE).await?;
                introduce(&mut theirs, &lower()).await?;
                theirs.refused(6, 7, &[]).await?;
                ours.send(&keepalive()).await?;
                ours.alive().await
            },
        ),
        Row::new(
            "B15 our identifier is lower, OPENs in the other order",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut theirs, &higher()).await?;
                theirs.expect(kind::KEEPALIVE).await?;
                introduce(&mut ours, &higher()).await?;
                ours.refused(6, 7, &[]).await?;
                theirs.send(&keepalive()).await?;
                theirs.alive().await
            },
        ),
        Row::new(
            "B16 equal identifiers: the larger AS wins, which is ours",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &equal()).await?;
                ours.expect(kind::KEEPALIVE).await?;
                introduce(&mut theirs, &equal()).await?;
                theirs.refused(6, 7, &[]).await?;
                ours.send(&keepalive()).await?;
                ours.alive().await
            },
        ),
        Row::new(
            "B15 a bad OPEN on one connection spares the other",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                introduce(&mut ours, &higher()).await?;
                introduce(
                    &mut theirs,
                    &Open {
                        hold: 1,
                        ..higher()
                    },
                )
                .await?;
                theirs.refused(2, 6, &[0, 1]).await?;
                ours.confirm().await?;
                ours.alive().await
            },
        ),
        Row::new(
            "B17 the connection that says nothing may be the one that goes on",
            both(),
            move |peer| async move {
                let mut ours = peer.accept().await?;
                let mut theirs = peer.connect().await?;
                ours.expect(kind::OPEN).await?;
                introduce(&mut theirs, &higher()).await?;
                drop(ours);
                theirs.confirm().await?;
                theirs.alive().await
            },
        ),
        Row::new(
            "B18 a second connection while Established",
            both(),
            move |peer| async move {
                let mut first = peer.establish().await?;
                let mut second = peer.connect().await?;
                sleep(Duration::from_millis(100)).await;
                drop(second.send(&good().bytes()).await);
                // 6/7 or closed at once; with or without an OPEN first.
                loop {
                    match second.next().await? {
                        Heard::Fin | Heard::Reset => break,
                        Heard::Message(Message {
                            kind: kind::OPEN, ..
                        }) => {}
                        Heard::Message(told) => {
                            ensure!(
                                told.kind == kind::NOTIFICATION && told.body == [6, 7],
                                "it says {told:?}"
                            );
                        }
                    }
                }
                first.alive().await
            },
        ),
        Row::new(
            "B20 a second connection that says nothing is closed within 10 s",
            both(),
            move |peer| async move {
                let mut first = peer.establish().await?;
                let mut second = peer.connect().await?;
                let begin = Instant::now();
                loop {
                    match second.next_within(Duration::from_secs(12)).await? {
                        Some(Heard::Fin | Heard::Reset) => break,
                        Some(Heard::Message(_)) => {}
                        None => anyhow::bail!("open after {:?}", begin.elapsed()),
                    }
                    first.send(&keepalive()).await?;
                }
                first.alive().await
            },
        ),
        Row::new(
            "B19 a second connection while Established, with graceful restart: the new one goes on",
            Settings::with("listen: both\n  enableGracefulRestart: true"),
            move |peer| async move {
                let restarting = Open::offering(
                    PEER_AS,
                    &[
                        &portolan_tests::rawpeer::bytes::ipv4()[..],
                        &portolan_tests::rawpeer::bytes::four_octets(PEER_AS),
                        &[2, 0, 64, 6, 0x40, 120, 0, 1, 1, 0],
                    ]
                    .concat(),
                );
                let mut first = peer.establish_with(&restarting).await?;
                first.alive().await?;
                let mut second = peer.connect().await?;
                // At the SYN or at the OPEN behind it: RFC 4724 §4.2 speaks of both.
                introduce(&mut second, &restarting).await?;
                first.dropped().await?;
                second.confirm().await?;
                second.alive().await
            },
        ),
        Row::new(
            "B21 passive: the speaker waits, then answers",
            passive(),
            |peer| async move {
                peer.left_alone(Duration::from_secs(2)).await?;
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                session.alive().await?;
                peer.left_alone(Duration::from_secs(1)).await
            },
        ),
        Row::new("B21 passive: lost and back", passive(), |peer| async move {
            peer.known().await?;
            for _ in 0..3 {
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                session.alive().await?;
            }
            Ok(())
        }),
        Row::new("B21 passive: bad OPEN", passive(), |peer| async move {
            peer.known().await?;
            let mut session = peer.connect().await?;
            session.expect(kind::OPEN).await?;
            session.send(&Open { hold: 2, ..good() }.bytes()).await?;
            session.refused(2, 6, &[0, 2]).await
        }),
        Row::new(
            "B21 passive: the peer is removed",
            passive(),
            |peer| async move {
                peer.known().await?;
                let mut session = peer.connect().await?;
                session.establish(&good()).await?;
                peer.deconfigure().await?;
                session.refused(6, 3, &[]).await?;
                RawPeer::turned_away(peer.connect().await?).await
            },
        ),
        Row::new(
            "B21 an active peer's address that connects is turned away or judged",
            Settings::default(),
            |peer| async move {
                let mut session = peer.establish().await?;
                let _judged = peer.connect().await?;
                session.alive().await
            },
        ),
        Row::new(
            "B21 an unconfigured source is turned away without a byte",
            passive(),
            |peer| async move {
                let stranger = "172.30.0.1".parse()?;
                RawPeer::turned_away(peer.connect_from(stranger).await?).await
            },
        ),
    ]
}
