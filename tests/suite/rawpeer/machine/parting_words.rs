//! NOTIFICATIONs of the peer: never answered, in no state, whatever they say (RFC 4271 §6.4; RFC 4486, 9003).

use std::time::Duration;

use anyhow::ensure;
use portolan_tests::rawpeer::Row;
use portolan_tests::rawpeer::bytes::{header, kind, message, notification};
use tokio::time::Instant;

use super::{BACK_OFF, STATES, State, good, in_state};

pub(super) fn rows() -> Vec<Row> {
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
