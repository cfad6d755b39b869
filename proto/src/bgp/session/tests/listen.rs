//! Who opens the connection, and who waits for it.

use super::*;

fn mk_listener(listen: Listen) -> Bench {
    let mut bench = Bench::with(Config {
        listen,
        ..mk_config(65000, 65001, "10.0.0.1")
    });
    bench.give(Input::Start);
    bench
}

#[test]
fn only_who_is_passive_does_not_connect() {
    for (listen, connects, state) in [
        (Listen::Active, true, SessionState::Connect),
        (Listen::Both, true, SessionState::Connect),
        (Listen::Passive, false, SessionState::Active),
    ] {
        let bench = mk_listener(listen);
        assert_eq!(bench.connecting(), connects, "{listen:?}");
        assert_eq!(bench.peer.state(), state, "{listen:?}");
    }
}

#[test]
fn between_attempts_only_who_listens_is_active() {
    for (listen, state) in [
        (Listen::Active, SessionState::Idle),
        (Listen::Both, SessionState::Active),
    ] {
        let mut bench = mk_listener(listen);
        let id = bench.ours();
        let refused = ConnectFailure::Refused("no".into());
        bench.give(Input::ConnectFailed(id, refused));
        assert_eq!(bench.peer.state(), state, "{listen:?}");
        bench.advance();
        assert!(bench.connecting(), "{listen:?}");
    }
}

#[test]
fn a_passive_peer_waits_for_ever_and_takes_who_comes_however_often() {
    let mut bench = mk_listener(Listen::Passive);
    for round in 0..5 {
        assert_eq!(bench.peer.state(), SessionState::Active, "round {round}");
        assert_eq!(bench.peer.next_deadline(), None, "round {round}");
        let id = bench.accept();
        bench.receive(id, &mk_open());
        bench.receive(id, &mk_keepalive());
        assert_eq!(bench.peer.state(), SessionState::Established);
        match round % 2 {
            0 => bench.give(Input::Lost(id, "gone".into())),
            _ => bench.receive(id, &mk_open()),
        }
        assert!(!bench.connecting(), "round {round}");
    }
    bench.give(Input::Stop(StopReason::Deconfigured));
    assert_eq!(bench.peer.state(), SessionState::Idle);
}

#[test]
fn a_silent_caller_does_not_keep_us_from_trying() {
    let mut bench = mk_listener(Listen::Both);
    let silent = bench.accept();
    let mut attempts = 0;
    while bench.peer.knows(silent) {
        if let Some(slot) = &bench.peer.ours {
            let (id, refused) = (slot.id, ConnectFailure::Refused("no".into()));
            bench.give(Input::ConnectFailed(id, refused));
            attempts += 1;
        }
        bench.advance();
    }
    assert!(attempts > 10, "{attempts} attempts in four minutes");
}

#[test]
fn callers_that_come_and_go_do_not_put_off_our_attempts() {
    let mut bench = mk_listener(Listen::Both);
    let mut attempts = 0;
    for _ in 0..600 {
        if let Some(slot) = &bench.peer.ours {
            let (id, refused) = (slot.id, ConnectFailure::Refused("no".into()));
            bench.give(Input::ConnectFailed(id, refused));
            attempts += 1;
        }
        let id = bench.accept();
        bench.give(Input::Lost(id, "gone".into()));
        bench.now += SECOND;
        bench.give(Input::Timer);
    }
    assert!(attempts >= 10, "{attempts} attempts in ten minutes");
}

#[test]
fn a_caller_is_taken_at_any_time_while_we_seek_the_peer() {
    for listen in [Listen::Active, Listen::Both] {
        for failed in [false, true] {
            let mut bench = mk_listener(listen);
            if failed {
                let id = bench.ours();
                let refused = ConnectFailure::Refused("no".into());
                bench.give(Input::ConnectFailed(id, refused));
            }
            let id = bench.accept();
            bench.receive(id, &mk_open());
            bench.receive(id, &mk_keepalive());
            let name = format!("{listen:?}, failed {failed}");
            assert_eq!(bench.peer.state(), SessionState::Established, "{name}");
            assert!(bench.peer.ours.is_none(), "{name}: the attempt is over");
            assert_eq!(bench.peer.retry, None, "{name}");
        }
    }
}

#[test]
fn the_as_of_a_peer_that_may_have_any_is_told() {
    for (peer_as, claimed, taken) in [
        (PeerAs::External, 65009, true),
        (PeerAs::External, 4_200_000_001, true),
        (PeerAs::External, 65000, false),
        (PeerAs::Internal, 65000, true),
        (PeerAs::Internal, 65009, false),
    ] {
        let mut bench = Bench::with(Config {
            peer_as,
            ..mk_config(65000, 65001, "10.0.0.1")
        });
        bench.give(Input::Start);
        let id = bench.ours();
        bench.give(Input::Connected(id, LOCAL));
        bench.receive(id, &mk_open_of(&mk_config(claimed, 65000, "10.0.0.9")));
        let told = bench.out.iter().any(|effect| {
            matches!(effect, Effect::Event(Event::Opened { asn, .. }) if asn.get() == claimed)
        });
        assert_eq!(told, taken, "{peer_as:?} meets {claimed}");
        let answer = bench.answer().map(|answer| answer.code);
        let refused = (!taken).then_some(Code::BAD_PEER_AS);
        assert_eq!(answer, refused, "{peer_as:?} meets {claimed}");
    }
}

#[test]
fn a_second_connection_that_goes_away_is_no_trouble_worth_showing() {
    type End = fn(&mut Bench, ConnId);
    let ends: [(&str, End); 2] = [
        ("closed", |bench, id| {
            bench.give(Input::Lost(id, "gone".into()));
        }),
        ("silent", |bench, id| {
            while bench.peer.knows(id) {
                bench.advance();
            }
        }),
    ];
    for (name, end) in ends {
        let mut bench = mk_listener(Listen::Both);
        let ours = bench.ours();
        bench.give(Input::Connected(ours, LOCAL));
        let second = bench.accept();
        bench.receive(ours, &mk_open());
        bench.advance();
        bench.receive(ours, &mk_keepalive());
        assert_eq!(bench.peer.state(), SessionState::Established, "{name}");
        end(&mut bench, second);
        assert_eq!(bench.peer.state(), SessionState::Established, "{name}");
        assert_eq!(bench.peer.last_error(), None, "{name}");
    }
}
