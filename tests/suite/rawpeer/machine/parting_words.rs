//! NOTIFICATIONs of the peer: never answered, in no state, whatever they say (RFC 4271 §6.4; RFC 4486, 9003).

use std::time::Duration;

use anyhow::ensure;
use portolan_tests::rawpeer::Row;
use portolan_tests::rawpeer::bytes::{
    header, keepalive, kind, message, notification, refresh, update,
};
use tokio::time::Instant;

use super::{BACK_OFF, STATES, State, good, in_state};

/// A Cease with a shutdown communication.
fn words_of(subcode: u8, text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    notification(6, subcode, &[&[length], text].concat())
}

pub(super) fn rows() -> Vec<Row> {
    let words = |text: &[u8]| words_of(2, text);
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
        ("B10 hard reset of nothing", notification(6, 9, &[])),
        (
            "B10 hard reset in a hard reset",
            notification(6, 9, &[6, 9, 6, 9, 6, 9]),
        ),
        ("B10 synchronization lost", notification(1, 1, &[])),
        ("B10 bad type", notification(1, 3, &[2])),
        ("B10 UPDATE error", notification(3, 1, &[0x40, 1, 1, 9])),
        ("B10 hold timer", notification(4, 0, &[])),
        ("B10 state machine", notification(5, 3, &[1])),
        ("B10 send hold timer", notification(8, 0, &[])),
        (
            "B10 ROUTE-REFRESH error that quotes",
            notification(7, 1, &refresh(1, 0, 1)),
        ),
        ("B10 rejected", notification(6, 5, &[])),
        ("B10 out of resources", notification(6, 8, &[])),
        ("B10 BFD down", notification(6, 10, &[])),
        (
            "B10 Cease of no known subcode",
            notification(6, 200, &[0; 9]),
        ),
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
                let words = peer.last_error().await?;
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
            "B28 words behind which more comes",
            notification(6, 2, &[2, b'h', b'i', b'd', b'd', b'e', b'n']),
            "\"hi\"",
        ),
        shown(
            "B28 a reset in bad UTF-8",
            words_of(4, b"good \xf0\x9f bad"),
            "good",
        ),
        shown(
            "B28 what turns the direction of text",
            words_of(2, "left \u{202e}right".as_bytes()),
            "left right",
        ),
        shown(
            "B28 nothing but NULs",
            words_of(2, &[0; 200]),
            "administrative shutdown",
        ),
        shown(
            "B28 in a hard reset, with a length octet that lies",
            notification(6, 9, &[6, 4, 255, b'o', b'h']),
            "oh",
        ),
        shown(
            "B28 a quotation mark in it",
            words_of(2, b"a \" b"),
            "a \\\" b",
        ),
        in_state(
            State::Established,
            "B30 a limit that stands behind a megabyte of routes, and a full close",
            |peer, mut session| async move {
                // What it has not read by then would make its kernel take everything back.
                session.hush().await?;
                let routes = update(&[8, 10].repeat(2000), &[], &[]).repeat(250);
                let limit = notification(6, 1, &[0, 1, 1, 0, 0, 0, 9]);
                session.send(&[routes, keepalive(), limit].concat()).await?;
                drop(session);
                let words = peer.last_error().await?;
                ensure!(words.contains("prefixes"), "it says {words:?}");
                Ok(())
            },
        ),
        in_state(
            State::Established,
            "B10 a refusal of capabilities on a session says nothing of the next OPEN",
            |peer, mut session| async move {
                session.send(&notification(2, 7, &[70, 0])).await?;
                session.dropped().await?;
                let body = peer.accept().await?.establish(&good()).await?;
                ensure!(body.ends_with(&[70, 0]), "its OPEN: {body:?}");
                Ok(())
            },
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
                let words = peer.last_error().await?;
                ensure!(words.contains("gone"), "it says {words:?}");
                Ok(())
            },
        ),
    ]);
    rows
}
