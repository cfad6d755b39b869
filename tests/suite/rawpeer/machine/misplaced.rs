//! Messages in states where they do not belong (RFC 4271 §6.1, §6.6; RFC 6608).

use std::time::Duration;

use portolan_tests::rawpeer::bytes::{
    Open, end_of_rib, header, keepalive, kind, message, refresh, update,
};
use portolan_tests::rawpeer::{PEER_AS, Row, Settings};

use super::{STATES, State, good, in_state};

pub(super) fn rows() -> Vec<Row> {
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
    for (name, bytes, want) in [
        (
            "B6 ROUTE-REFRESH of 22",
            message(kind::REFRESH, &[0, 1, 0]),
            (1, 2, &[0, 22][..]),
        ),
        ("B6 begin of a refresh", refresh(1, 1, 1), (5, 2, &[5][..])),
        (
            "B5 an UPDATE that cannot be cut",
            message(kind::UPDATE, &[0, 9, 0, 0]),
            (5, 2, &[2]),
        ),
        (
            "B5 an UPDATE behind half of a handshake",
            [end_of_rib(), keepalive()].concat(),
            (5, 2, &[2]),
        ),
        (
            "B4 an OPEN of another AS",
            Open::good(7).bytes(),
            (5, 2, &[1]),
        ),
    ] {
        rows.push(refused(State::OpenConfirm, name, bytes, want));
    }
    rows.push(refused(
        State::Established,
        "B8 the handshake once more",
        [good().bytes(), keepalive()].concat(),
        (5, 3, &[1]),
    ));
    rows.push(refused(
        State::Established,
        "B8 a second OPEN full of nonsense",
        Open::with(PEER_AS, &[2; 255]).bytes(),
        (5, 3, &[1]),
    ));
    for state in STATES {
        // More than the kernel holds of it: the words must arrive although not all of that is ever read.
        let endless = [header(19, 9), vec![0xff; 6 << 20]].concat();
        rows.push(refused(
            state,
            "B9 unknown type and 6 MB behind it",
            endless,
            (1, 3, &[9]),
        ));
        rows.push(in_state(
            state,
            "B9 a bad length, octet by octet",
            move |_peer, mut session| async move {
                let bytes = header(18, kind::KEEPALIVE);
                session.dribble(&bytes, 1, Duration::from_millis(5)).await?;
                session.refused(1, 2, &[0, 18]).await
            },
        ));
    }
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
