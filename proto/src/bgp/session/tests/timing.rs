//! What time does.

use super::*;

/// The peer's OPEN with a hold time of zero.
fn mk_timeless_open() -> Vec<u8> {
    mk_open_of(&Config {
        hold_time: HoldTime::new(0).unwrap(),
        ..mk_config(65001, 65000, "10.0.0.9")
    })
}

#[test]
fn silence_ends_a_session_at_the_hold_time_and_not_before() {
    let mut bench = Bench::reach(SessionState::Established);
    let start = bench.now;
    let mut keepalives = Vec::new();
    while bench.answer().is_none() {
        let passed = bench.advance();
        if bench.sent(Kind::Keepalive) > 0 {
            keepalives.push(passed);
        }
    }
    assert_eq!(bench.answer(), Some(Code::HOLD_TIMER_EXPIRED.bare()));
    assert_eq!(bench.now - start, 90 * SECOND);
    let legal = keepalives
        .iter()
        .all(|each| (22 * SECOND..=30 * SECOND).contains(each));
    assert!(legal && keepalives.len() >= 3, "{keepalives:?}");
}

#[test]
fn updates_alone_keep_a_session_up() {
    let mut bench = Bench::reach(SessionState::Established);
    let id = bench.ours();
    for _ in 0..20 {
        bench.advance();
        bench.receive(id, &mk_update());
    }
    assert_eq!(bench.peer.state(), SessionState::Established);
}

#[test]
fn a_hold_time_of_zero_stops_both_timers() {
    let mut bench = Bench::reach(SessionState::OpenSent);
    let id = bench.ours();
    bench.receive(id, &mk_timeless_open());
    bench.receive(id, &mk_keepalive());
    assert_eq!(bench.peer.state(), SessionState::Established);
    assert_eq!(bench.peer.next_deadline(), None);
}

#[test]
fn a_silent_acceptor_is_given_up_after_four_minutes() {
    let mut bench = Bench::reach(SessionState::OpenSent);
    assert_eq!(bench.advance(), 240 * SECOND);
    assert_eq!(bench.answer(), Some(Code::HOLD_TIMER_EXPIRED.bare()));
}

#[test]
fn an_unanswered_syn_names_its_likely_causes() {
    for (authenticated, words) in [(true, "wrong or missing"), (false, "expects a TCP MD5")] {
        let config = Config {
            authenticated,
            ..mk_config(65000, 65001, "10.0.0.1")
        };
        let mut bench = Bench::with(config);
        bench.give(Input::Start);
        assert_eq!(bench.advance(), 10 * SECOND);
        let error = bench.peer.last_error().unwrap();
        assert!(
            error.contains("no answer") && error.contains(words),
            "{error}"
        );
        assert_eq!(bench.peer.state(), SessionState::Idle);
    }
}

#[test]
fn refusals_back_off_and_a_cut_session_returns_at_once() {
    let mut bench = Bench::new();
    bench.give(Input::Start);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let id = bench.ours();
        bench.give(Input::Connected(id, LOCAL));
        bench.receive(id, &mk_notification(Code::CONNECTION_REJECTED));
        waits.push(bench.advance().as_secs_f32());
    }
    assert!(waits[0] >= 0.7 && waits[7] >= 45.0, "{waits:?}");
    let id = bench.ours();
    bench.give(Input::Connected(id, LOCAL));
    bench.receive(id, &mk_open());
    bench.receive(id, &mk_keepalive());
    bench.now += 20 * SECOND;
    bench.give(Input::Lost(id, "gone".into()));
    assert!(bench.advance() <= 200 * SECOND / 1000);
}

#[test]
fn output_that_does_not_move_ends_the_session() {
    let mut bench = Bench::reach(SessionState::Established);
    let id = bench.ours();
    bench.give(Input::Output(id, Output::Stuck));
    let start = bench.now;
    while bench.answer().is_none() {
        bench.receive(id, &mk_keepalive());
        bench.give(Input::Output(id, Output::Stuck));
        bench.advance();
    }
    assert_eq!(bench.answer(), Some(Code::SEND_HOLD_TIMER_EXPIRED.bare()));
    assert_eq!(bench.now - start, 180 * SECOND);
}

#[test]
fn who_never_confirms_is_given_up_even_with_a_hold_time_of_zero() {
    let mut bench = Bench::reach(SessionState::OpenSent);
    let (id, start) = (bench.ours(), bench.now);
    bench.receive(id, &mk_timeless_open());
    assert_eq!(bench.peer.state(), SessionState::OpenConfirm);
    while bench.peer.knows(id) {
        bench.advance();
    }
    assert_eq!(bench.now - start, 240 * SECOND);
    assert_eq!(bench.answer(), Some(Code::HOLD_TIMER_EXPIRED.bare()));
}
