//! Restarts, ours and theirs (RFC 4724, RFC 8538, RFC 9494).

use super::*;

fn mk_ours() -> Config {
    Config {
        graceful_restart: Some(GracefulRestart {
            time: 120 * SECOND,
            restarting: true,
            forwarding: true,
            long_lived: None,
        }),
        ..mk_config(65000, 65001, "10.0.0.1")
    }
}

/// The peer's OPEN, with this in capability 64.
fn mk_open_with(restart: Option<Restart>) -> Vec<u8> {
    let config = mk_config(65001, 65000, "10.0.0.9");
    let capabilities = Capabilities {
        restart,
        ..Offer::FULL.capabilities(&config)
    };
    let mut out = Vec::new();
    config.open(capabilities).encode(&mut out);
    out
}

const WITH_N: Option<Restart> = Some(Restart {
    restarted: false,
    notification: true,
    time: 90,
    families: Families::NONE.with(Family::V4Unicast),
    forwarding: Families::NONE,
});
const WITHOUT_N: Option<Restart> = Some(Restart {
    restarted: false,
    notification: false,
    time: 90,
    families: Families::NONE.with(Family::V4Unicast),
    forwarding: Families::NONE,
});

fn mk_session(ours: Config, theirs: Option<Restart>) -> Bench {
    let mut bench = Bench::with(ours);
    bench.give(Input::Start);
    let id = bench.ours();
    bench.give(Input::Connected(id, LOCAL));
    bench.receive(id, &mk_open_with(theirs));
    bench.receive(id, &mk_keepalive());
    assert_eq!(bench.peer.state(), SessionState::Established);
    bench
}

#[test]
fn what_the_peer_says_about_restarts_is_negotiated() {
    let view = |ours, theirs| {
        mk_session(ours, theirs)
            .peer
            .negotiated()
            .unwrap()
            .graceful_restart
    };
    let plain = mk_config(65000, 65001, "10.0.0.1");
    assert_eq!(view(plain, WITH_N), None, "we did not offer it");
    assert_eq!(view(mk_ours(), None), None, "they did not");
    let agreed = view(mk_ours(), WITH_N).unwrap();
    assert!(agreed.notification && !agreed.restarted && !agreed.long_lived);
    assert_eq!(agreed.time, 90 * SECOND);
    assert!(!view(mk_ours(), WITHOUT_N).unwrap().notification);
}

#[test]
fn the_first_opens_say_that_we_restarted_until_one_leads_to_a_session() {
    let said = |bench: &mut Bench| {
        let id = bench.ours();
        bench.give(Input::Connected(id, LOCAL));
        let Some(Effect::Send(_, open)) = bench.out.first() else {
            panic!("no OPEN")
        };
        let open = Open::decode(&open[HEADER..]).unwrap();
        (id, open.capabilities.restart.unwrap().restarted)
    };
    let mut bench = Bench::with(mk_ours());
    bench.give(Input::Start);
    for attempt in 0..3 {
        let (id, restarted) = said(&mut bench);
        assert!(restarted, "attempt {attempt}");
        bench.receive(id, &mk_notification(Code::CONNECTION_REJECTED));
        bench.advance();
    }
    let (id, restarted) = said(&mut bench);
    assert!(restarted);
    bench.receive(id, &mk_open_with(WITH_N));
    bench.receive(id, &mk_keepalive());
    bench.give(Input::Lost(id, "gone".into()));
    bench.advance();
    assert!(!said(&mut bench).1, "the process did not restart again");
}

#[test]
fn each_reason_to_stop_has_the_words_that_leave_or_end_the_routes() {
    let restart = || StopReason::Restart("upgrade".into());
    let shutdown = || StopReason::Shutdown("bye".into());
    let hard = |code: Code| Some(code.bare().hard_reset());
    let reset = Code::ADMINISTRATIVE_RESET;
    for (reason, theirs, want) in [
        (restart(), WITH_N, Some(reset.saying("upgrade"))),
        (restart(), WITHOUT_N, None),
        (restart(), None, Some(reset.saying("upgrade"))),
        (
            shutdown(),
            WITH_N,
            Some(Code::ADMINISTRATIVE_SHUTDOWN.saying("bye").hard_reset()),
        ),
        (
            shutdown(),
            WITHOUT_N,
            Some(Code::ADMINISTRATIVE_SHUTDOWN.saying("bye")),
        ),
        (
            StopReason::Deconfigured,
            WITH_N,
            hard(Code::PEER_DECONFIGURED),
        ),
        (
            StopReason::Deconfigured,
            None,
            Some(Code::PEER_DECONFIGURED.bare()),
        ),
        (
            StopReason::ConfigChange,
            WITH_N,
            Some(Code::CONFIGURATION_CHANGE.bare()),
        ),
        (StopReason::Reset(String::new()), WITH_N, Some(reset.bare())),
    ] {
        let mut bench = mk_session(mk_ours(), theirs);
        let id = bench.ours();
        bench.give(Input::Stop(reason.clone()));
        assert_eq!(bench.answer(), want, "{reason:?} towards {theirs:?}");
        assert_eq!(bench.how_closed(id), Some(Close::Drain), "{reason:?}");
    }
}

#[test]
fn a_restart_before_the_session_is_up_says_nothing_to_who_may_hold_older_routes() {
    for state in [SessionState::OpenSent, SessionState::OpenConfirm] {
        let mut bench = Bench::with(mk_ours());
        bench.give(Input::Start);
        let id = bench.ours();
        bench.give(Input::Connected(id, LOCAL));
        if state == SessionState::OpenConfirm {
            bench.receive(id, &mk_open_with(WITH_N));
        }
        bench.give(Input::Stop(StopReason::Restart("upgrade".into())));
        assert_eq!(bench.answer(), None, "{state}");
        assert_eq!(bench.how_closed(id), Some(Close::Drain), "{state}");
    }
}

/// Something that ends a session from our side.
type Fault = fn(&mut Bench, ConnId);

#[test]
fn what_is_wrong_with_messages_or_path_ends_the_routes_and_silence_does_not() {
    let faults: [(&str, Code, bool, Fault); 5] = [
        (
            "an UPDATE that cannot be cut",
            Code::MALFORMED_ATTRIBUTE_LIST,
            true,
            |bench, id| {
                let mut broken = mk_update();
                broken[HEADER] = 9;
                bench.receive(id, &broken);
            },
        ),
        (
            "a second OPEN",
            Code::UNEXPECTED_IN_ESTABLISHED,
            true,
            |bench, id| bench.receive(id, &mk_open()),
        ),
        (
            "a header",
            Code::CONNECTION_NOT_SYNCHRONIZED,
            true,
            |bench, id| bench.give(Input::Garbled(id, HeaderError::Marker)),
        ),
        ("BFD", Code::BFD_DOWN, true, |bench, _| {
            bench.give(Input::BfdDown);
        }),
        ("silence", Code::HOLD_TIMER_EXPIRED, false, |bench, _| {
            while bench.answer().is_none() {
                bench.advance();
            }
        }),
    ];
    for (name, code, ends, fault) in faults {
        for (theirs, wraps) in [(WITH_N, ends), (WITHOUT_N, false), (None, false)] {
            let mut bench = mk_session(mk_ours(), theirs);
            let id = bench.ours();
            fault(&mut bench, id);
            let answer = bench.answer().unwrap();
            assert_eq!(answer.code == Code::HARD_RESET, wraps, "{name}, {theirs:?}");
            assert_eq!(answer.cause().code, code, "{name}, {theirs:?}");
        }
    }
}

#[test]
fn a_peer_that_comes_back_replaces_its_old_connection_without_a_word() {
    for listen in [Listen::Passive, Listen::Both] {
        let mut bench = Bench::with(Config {
            listen,
            ..mk_ours()
        });
        bench.give(Input::Start);
        let old = if listen == Listen::Passive {
            bench.accept()
        } else {
            let id = bench.ours();
            bench.give(Input::Connected(id, LOCAL));
            id
        };
        bench.receive(old, &mk_open_with(WITH_N));
        bench.receive(old, &mk_keepalive());
        bench.now += SECOND;
        let new = bench.accept();
        assert_eq!(bench.answer(), None, "{listen:?}");
        assert_eq!(bench.how_closed(old), Some(Close::Abort), "{listen:?}");
        bench.receive(new, &mk_open_with(WITH_N));
        bench.receive(new, &mk_keepalive());
        assert_eq!(bench.peer.state(), SessionState::Established, "{listen:?}");
        assert_eq!(bench.peer.established_count(), 2, "{listen:?}");
    }
}

#[test]
fn a_connection_that_may_have_crossed_ours_has_to_show_itself() {
    let mut bench = mk_session(mk_ours(), WITH_N);
    let old = bench.ours();
    let crossed = bench.accept();
    assert!(bench.peer.knows(old), "a mere SYN ends nothing yet");
    assert_eq!(bench.sent(Kind::Open), 1);
    bench.give(Input::Lost(crossed, "closed".into()));
    assert_eq!(bench.peer.state(), SessionState::Established);

    let new = bench.accept();
    bench.now += SECOND;
    bench.receive(new, &mk_open_with(WITH_N));
    assert_eq!(bench.answer(), None);
    assert_eq!(bench.how_closed(old), Some(Close::Abort));
    assert_eq!(bench.sent(Kind::Keepalive), 1);
    bench.receive(new, &mk_keepalive());
    assert_eq!(bench.peer.state(), SessionState::Established);
}

/// The peer sends its OPEN with the connection, and closes that again as soon as it sees that ours goes further.
#[test]
fn the_open_of_a_connection_that_crossed_ours_ends_nothing() {
    let mut bench = mk_session(mk_ours(), WITH_N);
    let established = bench.ours();
    bench.now += SECOND / 100;
    let crossed = bench.accept();
    bench.receive(crossed, &mk_open_with(WITH_N));
    assert_eq!((bench.answer(), bench.sent(Kind::Keepalive)), (None, 0));
    bench.receive(crossed, &mk_notification(Code::CONNECTION_COLLISION));
    assert!(bench.peer.knows(established));
    assert_eq!(bench.peer.state(), SessionState::Established);
    assert!(bench.advance() > SECOND, "nothing is left of it");
}

#[test]
fn a_peer_that_restarts_right_after_it_came_up_is_met_a_moment_later() {
    for confirms in [true, false] {
        let mut bench = mk_session(mk_ours(), WITH_N);
        let old = bench.ours();
        let new = bench.accept();
        bench.receive(new, &mk_open_with(WITH_N));
        if confirms {
            bench.receive(new, &mk_keepalive());
        }
        assert!(bench.peer.knows(old));
        assert_eq!(bench.advance(), SECOND / 10);
        assert_eq!(bench.how_closed(old), Some(Close::Abort));
        assert_eq!((bench.answer(), bench.sent(Kind::Keepalive)), (None, 1));
        let want = if confirms {
            SessionState::Established
        } else {
            SessionState::OpenConfirm
        };
        assert_eq!(bench.peer.state(), want);
    }
}

/// FRR says so in its default mode: it keeps our routes, and forgets its own (RFC 4724 §3, §5).
#[test]
fn a_new_connection_of_a_peer_that_only_helps_is_a_collision() {
    let helper = WITH_N.map(|restart| Restart {
        families: Families::NONE,
        ..restart
    });
    let mut bench = mk_session(mk_ours(), helper);
    let old = bench.ours();
    bench.now += 60 * SECOND;
    let new = bench.accept();
    assert_eq!(bench.answer(), Some(Code::CONNECTION_COLLISION.bare()));
    assert!(bench.peer.knows(old) && !bench.peer.knows(new));
}

#[test]
fn a_hard_reset_is_understood_by_what_it_wraps() {
    let mut bench = mk_session(mk_ours(), WITH_N);
    let id = bench.ours();
    let mut bytes = Vec::new();
    let limit = Code::MAXIMUM_PREFIXES.with(&[0, 1, 1, 0, 0, 0, 5]);
    limit.hard_reset().encode(&mut bytes);
    bench.receive(id, &bytes);
    let limit = Event::PrefixLimit {
        family: Some(Family::V4Unicast),
        limit: Some(5),
    };
    assert!(bench.out.contains(&Effect::Event(limit)), "{:?}", bench.out);
    let error = bench.peer.last_error().unwrap();
    assert!(error.contains("at most 5 IPv4 unicast routes"), "{error}");
    assert!(
        bench.advance() >= 60 * SECOND,
        "it is left alone for a while"
    );
}

#[test]
fn a_caller_that_ends_a_session_and_then_says_nothing_does_not_keep_us_from_trying() {
    for old_is_ours in [true, false] {
        let mut bench = Bench::with(Config {
            listen: Listen::Both,
            ..mk_ours()
        });
        bench.give(Input::Start);
        let old = if old_is_ours {
            let id = bench.ours();
            bench.give(Input::Connected(id, LOCAL));
            id
        } else {
            bench.accept()
        };
        bench.receive(old, &mk_open_with(WITH_N));
        bench.receive(old, &mk_keepalive());
        bench.now += 60 * SECOND;
        let silent = bench.accept();
        assert!(!bench.peer.knows(old) && bench.peer.knows(silent));
        assert!(bench.advance() <= 2 * SECOND, "ours {old_is_ours}");
        assert!(bench.connecting(), "ours {old_is_ours}");
    }
}
