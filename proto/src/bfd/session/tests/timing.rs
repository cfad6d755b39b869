//! When packets go, when silence is too long, and when changed times count (§6.8.2 to §6.8.4, §6.8.7).

use super::*;

#[test]
fn the_detection_time_is_the_peers_multiplier_times_the_slower_of_both_sides() {
    for (own_rx, remote_tx, remote_mult, want) in [
        (300, 300, 3, 900),
        (300, 50, 5, 1500),
        (50, 300, 2, 600),
        (10, 10, 255, 2550),
    ] {
        let now = mk_start();
        // Our own multiplier and transmission have no part in it.
        let mut session = mk_session(mk_config(1000, own_rx, 77), 1, now);
        let heard = |state, is_final| Packet {
            desired_min_tx: Micros::from_millis(remote_tx),
            detect_multiplier: NonZeroU8::new(remote_mult).unwrap(),
            is_final,
            ..mk_heard(state)
        };
        session.on_packet(&heard(State::Down, false), now).unwrap();
        session.on_packet(&heard(State::Up, true), now).unwrap();
        let [before, want] = [want - 1, want].map(Duration::from_millis);
        assert_eq!(session.negotiated().detection, Some(want));
        assert_eq!(session.on_timeout(now + before), None, "{want:?}");
        let change = session.on_timeout(now + want).unwrap();
        assert!(change.is_failure(), "{want:?}");
    }
}

#[test]
fn packets_go_slowly_until_up() {
    let now = mk_start();
    let mut session = mk_session(mk_config(10, 10, 3), 1, now);
    let sent = run(&mut session, now, now + 60 * SECOND);
    assert_eq!(sent[0].0, now, "the first at once");
    assert!((60..=81).contains(&sent.len()), "{}", sent.len());
    for (_, packet) in &sent {
        assert_eq!(packet.desired_min_tx, Micros(1_000_000));
        assert_eq!(
            (packet.state, packet.your_discriminator),
            (State::Down, None)
        );
    }
}

#[test]
fn jitter_fills_its_range_and_only_that() {
    for (multiplier, longest) in [(3, 294), (1, 264)] {
        let now = mk_start();
        let mut session = mk_session(mk_config(300, 300, multiplier), 5, now);
        let mut clock = now;
        session.on_packet(&mk_heard(State::Down), now).unwrap();
        session.on_packet(&mk_final(), now).unwrap();
        let mut gaps = Vec::new();
        let mut last = None;
        while gaps.len() < 1000 {
            clock = clock.max(session.due().unwrap());
            session.on_packet(&mk_heard(State::Up), clock).unwrap();
            while session.poll_tx(clock).is_some() {
                gaps.extend(last.map(|last| clock - last));
                last = Some(clock);
            }
        }
        gaps.remove(0);
        let (shortest, widest) = (*gaps.iter().min().unwrap(), *gaps.iter().max().unwrap());
        assert!(
            shortest >= 225 * MILLI && widest <= longest * MILLI,
            "{shortest:?} {widest:?}"
        );
        assert!(
            shortest < 230 * MILLI && widest > (longest - 5) * MILLI,
            "{shortest:?} {widest:?}"
        );
    }
}

#[test]
fn packets_received_do_not_move_packets_sent() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    let due = session.due();
    for step in 1..200 {
        session
            .on_packet(&mk_heard(State::Up), now + step * MILLI)
            .unwrap();
    }
    assert_eq!(session.due(), due);
}

/// A slower transmission and a quicker detection wait for F; the other directions count at once (§6.8.3).
#[test]
fn changed_times_come_into_force_when_the_rfc_says() {
    let now = mk_start();
    let mk_polled = || {
        let mut session = mk_in(State::Up, now);
        let answer = Packet {
            desired_min_tx: Micros::from_millis(10),
            required_min_rx: Micros::from_millis(10),
            ..mk_final()
        };
        session.on_packet(&answer, now).unwrap();
        (session, answer)
    };
    // (new transmit, new receive), (interval, detection) before F, and after it
    for (row, times, before, after) in [
        ("slower", (600, 600), (300, 1800), (600, 1800)),
        ("quicker", (100, 100), (100, 900), (100, 300)),
        ("transmit slower", (600, 300), (300, 900), (600, 900)),
        ("receive quicker", (300, 100), (300, 900), (300, 300)),
    ] {
        let (mut session, answer) = mk_polled();
        session.set_config(mk_config(times.0, times.1, 3));
        let negotiated = |session: &Session| {
            let Negotiated {
                transmit,
                detection,
            } = session.negotiated();
            let millis = |it: Option<Duration>| it.unwrap().as_millis();
            (millis(transmit), millis(detection))
        };
        assert_eq!(negotiated(&session), before, "{row}");
        let sent = drain(&mut session, now);
        assert_eq!(sent.len(), 1, "{row}");
        assert!(sent[0].poll, "{row}");
        assert_eq!(
            sent[0].desired_min_tx,
            Micros::from_millis(times.0),
            "{row}"
        );
        assert_eq!(
            sent[0].required_min_rx,
            Micros::from_millis(times.1),
            "{row}"
        );
        session.on_packet(&answer, now).unwrap();
        assert_eq!(negotiated(&session), after, "{row}");
        assert_eq!(session.state(), State::Up, "{row}");
    }
}

#[test]
fn a_peer_that_wants_nothing_gets_nothing_but_answers() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    let quiet = Packet {
        required_min_rx: Micros(0),
        ..mk_final()
    };
    session.on_packet(&quiet, now).unwrap();
    let mut clock = now;
    for _ in 0..20 {
        clock += 100 * MILLI;
        session.on_packet(&quiet, clock).unwrap();
        assert_eq!(drain(&mut session, clock), []);
    }
    session
        .on_packet(
            &Packet {
                is_final: false,
                poll: true,
                ..quiet
            },
            clock,
        )
        .unwrap();
    assert_eq!(drain(&mut session, clock).len(), 1, "F");
    session.on_packet(&mk_heard(State::Up), clock).unwrap();
    assert_eq!(
        drain(&mut session, clock).len(),
        1,
        "and it goes on when it may"
    );
}

#[test]
fn demand_mode_of_the_peer_silences_us_while_both_are_up() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    let demand = Packet {
        demand: true,
        ..mk_final()
    };
    session.on_packet(&demand, now).unwrap();
    assert_eq!(session.due(), None);
    let poll = Packet {
        poll: true,
        is_final: false,
        ..demand
    };
    session.on_packet(&poll, now).unwrap();
    assert!(
        drain(&mut session, now)[0].is_final,
        "its polls are answered"
    );
    session.set_config(mk_config(500, 300, 3));
    assert!(drain(&mut session, now)[0].poll, "we may poll");
    assert!(session.due().is_some(), "until it is answered");
    session.on_packet(&demand, now).unwrap();
    assert_eq!(session.due(), None);
    assert!(
        session.on_timeout(now + 900 * MILLI).unwrap().is_failure(),
        "the peer is still watched"
    );
    assert!(session.due().is_some(), "and told");
}

#[test]
fn a_changed_multiplier_is_told_without_a_poll() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    session.on_packet(&mk_final(), now).unwrap();
    session.set_config(mk_config(300, 300, 5));
    let sent = drain(&mut session, now);
    assert_eq!(
        (sent.len(), sent[0].poll, sent[0].detect_multiplier.get()),
        (1, false, 5)
    );
    session.set_config(mk_config(300, 300, 5));
    assert_eq!(drain(&mut session, now), [], "nothing new");
}
