//! Which input leads where, in every state.

use super::*;

/// Answer and state after each kind of message.
type Row = [(Option<Code>, SessionState); 5];

#[test]
fn every_message_in_every_state_has_its_answer() {
    use SessionState::{Established, Idle, OpenConfirm, OpenSent};
    let cease = mk_notification(Code::ADMINISTRATIVE_SHUTDOWN);
    let messages = [mk_open(), mk_update(), cease, mk_keepalive(), mk_refresh()];
    // Rows: OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH; answer and state after.
    let table: [(SessionState, Row); 3] = [
        (
            OpenSent,
            [
                (None, OpenConfirm),
                (Some(Code::UNEXPECTED_IN_OPEN_SENT), Idle),
                (None, Idle),
                (Some(Code::UNEXPECTED_IN_OPEN_SENT), Idle),
                (Some(Code::UNEXPECTED_IN_OPEN_SENT), Idle),
            ],
        ),
        (
            OpenConfirm,
            [
                (Some(Code::UNEXPECTED_IN_OPEN_CONFIRM), Idle),
                (Some(Code::UNEXPECTED_IN_OPEN_CONFIRM), Idle),
                (None, Idle),
                (None, Established),
                (Some(Code::UNEXPECTED_IN_OPEN_CONFIRM), Idle),
            ],
        ),
        (
            Established,
            [
                (Some(Code::UNEXPECTED_IN_ESTABLISHED), Idle),
                (None, Established),
                (None, Idle),
                (None, Established),
                (None, Established),
            ],
        ),
    ];
    for (state, row) in table {
        for (message, (answer, after)) in messages.iter().zip(row) {
            let mut bench = Bench::reach(state);
            let id = bench.ours();
            bench.receive(id, message);
            let name = format!("message type {} in {state}", message[18]);
            assert_eq!(bench.answer().map(|sent| sent.code), answer, "{name}");
            assert_eq!(bench.peer.state(), after, "{name}");
            assert_eq!(bench.closed(), after == Idle, "{name}");
            if answer.is_some() {
                assert_eq!(bench.answer().unwrap().data, [message[18]], "{name}");
            }
        }
    }
}

#[test]
fn words_from_a_closed_connection_change_nothing() {
    let mut bench = Bench::reach(SessionState::Established);
    let old = bench.ours();
    bench.give(Input::Lost(old, "gone".into()));
    bench.advance();
    let new = bench.ours();
    assert_ne!(old, new);
    bench.give(Input::Connected(new, LOCAL));
    for input in [
        Input::Connected(old, LOCAL),
        Input::ConnectFailed(old, ConnectFailure::Refused("no".into())),
        Input::Lost(old, "gone".into()),
        Input::Garbled(old, HeaderError::Marker),
        Input::Output(old, Output::Stuck),
    ] {
        bench.give(input.clone());
        assert_eq!(bench.out, [], "{input:?}");
    }
    bench.receive(old, &mk_notification(Code::BAD_PEER_AS));
    assert_eq!(bench.peer.state(), SessionState::OpenSent);
}

#[test]
fn stopping_says_why_and_schedules_nothing() {
    for (reason, code) in [
        (
            StopReason::Shutdown("bye".into()),
            Code::ADMINISTRATIVE_SHUTDOWN,
        ),
        (StopReason::Deconfigured, Code::PEER_DECONFIGURED),
        (StopReason::Reset(String::new()), Code::ADMINISTRATIVE_RESET),
        (StopReason::ConfigChange, Code::CONFIGURATION_CHANGE),
    ] {
        let mut bench = Bench::reach(SessionState::Established);
        bench.give(Input::Stop(reason.clone()));
        assert_eq!(bench.answer().unwrap().code, code, "{reason:?}");
        let drained = |effect: &Effect| matches!(effect, Effect::Close(_, Close::Drain));
        assert!(bench.out.iter().any(drained), "{reason:?}");
        assert_eq!(bench.peer.next_deadline(), None, "{reason:?}");
        assert_eq!(bench.peer.state(), SessionState::Idle, "{reason:?}");
    }
}

#[test]
fn a_wrong_as_is_named() {
    let mut bench = Bench::reach(SessionState::OpenSent);
    let id = bench.ours();
    bench.receive(id, &mk_open_of(&mk_config(65009, 65000, "10.0.0.9")));
    assert_eq!(bench.answer(), Some(Code::BAD_PEER_AS.bare()));
    let error = bench.peer.last_error().unwrap();
    assert!(
        error.contains("65009") && error.contains("65001"),
        "{error}"
    );
}

#[test]
fn a_session_that_the_router_has_with_someone_else_is_told_and_a_collision_is_not() {
    for (second, told) in [(false, true), (true, false)] {
        let mut bench = Bench::reach(SessionState::OpenSent);
        let ours = bench.ours();
        if second {
            let theirs = bench.peer.mint();
            bench.give(Input::Accepted(theirs, LOCAL));
        }
        bench.receive(ours, &mk_notification(Code::CONNECTION_COLLISION));
        let error = bench.peer.last_error();
        let words = |error: &str| error.contains("has another session with this node already");
        assert_eq!(error.is_some_and(words), told, "{error:?}");
        assert_eq!(error.is_some(), told, "{error:?}");
    }
}

#[test]
fn a_second_connection_never_touches_an_established_one() {
    let mut bench = Bench::reach(SessionState::Established);
    let id = bench.peer.mint();
    bench.give(Input::Accepted(id, LOCAL));
    assert_eq!(bench.answer(), Some(Code::CONNECTION_COLLISION.bare()));
    assert_eq!(bench.peer.state(), SessionState::Established);
    assert!(!bench.peer.knows(id));
}

#[test]
fn the_higher_identifier_keeps_its_own_connection() {
    for (our_id, survivor) in [
        ("10.0.0.1", Direction::Theirs),
        ("10.0.0.200", Direction::Ours),
    ] {
        let mut bench = Bench::with(mk_config(65000, 65001, our_id));
        bench.give(Input::Start);
        let ours = bench.ours();
        bench.give(Input::Connected(ours, LOCAL));
        let theirs = bench.peer.mint();
        bench.give(Input::Accepted(theirs, LOCAL));
        bench.receive(ours, &mk_open());
        assert!(
            bench.peer.knows(theirs),
            "nobody dies before the second OPEN"
        );
        bench.receive(theirs, &mk_open());
        assert_eq!(
            bench.answer(),
            Some(Code::CONNECTION_COLLISION.bare()),
            "{our_id}"
        );
        assert_eq!(
            bench.peer.knows(ours),
            survivor == Direction::Ours,
            "{our_id}"
        );
        assert_eq!(
            bench.peer.knows(theirs),
            survivor == Direction::Theirs,
            "{our_id}"
        );
    }
}

#[test]
fn routes_flow_only_when_established_and_again_on_refresh() {
    let mut rib = Rib::default();
    let prefix: Prefix = "192.0.2.7/32".parse().unwrap();
    rib.set(prefix, Some(&mk_audience()));
    let mut bench = Bench::reach(SessionState::OpenConfirm);
    let mut bytes = Vec::new();
    assert_eq!(
        bench
            .peer
            .pull(rib.follower(PEER), 4096, bench.now, &mut bytes),
        None
    );
    let id = bench.ours();
    bench.receive(id, &mk_keepalive());
    for round in ["first", "after refresh"] {
        let (conn, pulled) = bench
            .peer
            .pull(rib.follower(PEER), 4096, bench.now, &mut bytes)
            .unwrap();
        assert_eq!((conn, pulled.announced), (id, 1), "{round}");
        bench.receive(id, &mk_refresh());
    }
}

#[test]
fn the_history_is_bounded_and_repeats_are_counted() {
    let mut bench = Bench::new();
    bench.give(Input::Start);
    for _ in 0..100 {
        let id = bench.ours();
        bench.give(Input::ConnectFailed(
            id,
            ConnectFailure::Refused("no".into()),
        ));
        bench.advance();
    }
    assert_eq!(
        bench.peer.history().iter().map(|record| record.times).max(),
        Some(100)
    );
    for _ in 0..100 {
        let id = bench.ours();
        bench.give(Input::Connected(id, LOCAL));
        bench.give(Input::Lost(id, "gone".into()));
        bench.advance();
    }
    assert_eq!(bench.peer.history().iter().count(), History::CAPACITY);
}

#[test]
fn a_new_inbound_connection_replaces_one_that_got_nowhere() {
    let mut bench = Bench::new();
    bench.give(Input::Start);
    let first = bench.peer.mint();
    bench.give(Input::Accepted(first, LOCAL));
    let second = bench.peer.mint();
    bench.give(Input::Accepted(second, LOCAL));
    assert!(!bench.peer.knows(first) && bench.peer.knows(second));
    bench.receive(second, &mk_open());
    let third = bench.peer.mint();
    bench.give(Input::Accepted(third, LOCAL));
    assert!(bench.peer.knows(second) && !bench.peer.knows(third));
}

#[test]
fn a_stopped_peer_rejects_connections() {
    let mut bench = Bench::new();
    let id = bench.peer.mint();
    bench.give(Input::Accepted(id, LOCAL));
    assert_eq!(bench.answer(), Some(Code::CONNECTION_REJECTED.bare()));
    assert!(!bench.peer.knows(id));
}
