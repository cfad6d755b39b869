//! One session by itself: the tables of the RFC, row by row.

use proptest::prelude::*;

use super::super::auth::{Bytes, Key, Method};
use super::super::packet::Packet;
use super::super::packet::tests::mk_packet;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

pub(super) fn mk_config(transmit: u32, receive: u32, multiplier: u8) -> Config {
    Config {
        timing: Timing {
            transmit: Micros::from_millis(transmit),
            receive: Micros::from_millis(receive),
        },
        multiplier: NonZeroU8::new(multiplier).unwrap(),
        passive: false,
        control_plane_independent: false,
        authentication: None,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a beginning for the virtual clock"
)]
pub(super) fn mk_start() -> Instant {
    Instant::now()
}

pub(super) fn mk_session(config: Config, seed: u64, now: Instant) -> Session {
    Session::new(Discriminator::new(9).unwrap(), config, seed, now)
}

/// What a peer named 7 says.
fn mk_heard(state: State) -> Packet {
    Packet {
        state,
        poll: false,
        ..mk_packet()
    }
}

fn mk_in(state: State, now: Instant) -> Session {
    let mut session = mk_session(mk_config(300, 300, 3), 1, now);
    let words: &[State] = match state {
        State::AdminDown => {
            session.admin_down(Diag::ADMINISTRATIVELY_DOWN);
            &[]
        }
        State::Down => &[],
        State::Init => &[State::Down],
        State::Up => &[State::Down, State::Up],
    };
    for word in words {
        session.on_packet(&mk_heard(*word), now).unwrap();
    }
    drain(&mut session, now);
    assert_eq!(session.state(), state);
    session
}

fn drain(session: &mut Session, now: Instant) -> Vec<Packet> {
    std::iter::from_fn(|| session.poll_tx(now)).collect()
}

/// Packets sent until `end` if nothing is heard, with their times.
fn run(session: &mut Session, from: Instant, end: Instant) -> Vec<(Instant, Packet)> {
    let mut sent = Vec::new();
    let mut now = from;
    while let Some(next) = session.next_deadline() {
        now = now.max(next);
        if now > end {
            break;
        }
        session.on_timeout(now);
        while let Some(packet) = session.poll_tx(now) {
            sent.push((now, packet));
        }
    }
    sent
}

#[test]
fn the_sixteen_rows_of_the_transition_table() {
    use State::{AdminDown, Down, Init, Up};
    let table = [
        (AdminDown, [AdminDown, AdminDown, AdminDown, AdminDown]),
        (Down, [Down, Init, Up, Down]),
        (Init, [Down, Init, Up, Up]),
        (Up, [Down, Down, Up, Up]),
    ];
    let now = mk_start();
    for (local, row) in table {
        for (received, want) in State::ALL.into_iter().zip(row) {
            let name = format!("{local} hears {received}");
            assert_eq!(transition(local, received), want, "{name}");
            let mut session = mk_in(local, now);
            let change = session.on_packet(&mk_heard(received), now).unwrap();
            assert_eq!(session.state(), want, "{name}");
            assert_eq!(
                change.map(|it| it.to),
                (local != want).then_some(want),
                "{name}"
            );
            let diag = match (local, want) {
                (AdminDown, _) => Diag::ADMINISTRATIVELY_DOWN,
                (Init | Up, Down) => Diag::NEIGHBOR_DOWN,
                _ => Diag::NONE,
            };
            assert_eq!(session.diag(), diag, "{name}");
        }
    }
}

#[test]
fn silence_brings_down_what_is_up_or_nearly_and_nothing_else() {
    use State::{AdminDown, Down, Init, Up};
    for (state, want, diag) in [
        (AdminDown, AdminDown, Diag::ADMINISTRATIVELY_DOWN),
        (Down, Down, Diag::NONE),
        (Init, Down, Diag::DETECTION_TIME_EXPIRED),
        (Up, Down, Diag::DETECTION_TIME_EXPIRED),
    ] {
        let now = mk_start();
        let mut session = mk_in(state, now);
        run(&mut session, now, now + 10 * SECOND);
        assert_eq!((session.state(), session.diag()), (want, diag), "{state}");
        assert_eq!(session.remote_discriminator(), None, "{state}");
    }
}

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
    for (multiplier, longest) in [(3, 300), (1, 270)] {
        let now = mk_start();
        let mut session = mk_session(mk_config(300, 300, multiplier), 5, now);
        let mut clock = now;
        session.on_packet(&mk_heard(State::Down), now).unwrap();
        session
            .on_packet(
                &Packet {
                    is_final: true,
                    ..mk_heard(State::Up)
                },
                now,
            )
            .unwrap();
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

#[test]
fn a_poll_is_answered_at_once_each_time_and_without_p() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    for _ in 0..5 {
        let poll = Packet {
            poll: true,
            ..mk_heard(State::Up)
        };
        session.on_packet(&poll, now).unwrap();
        let answer = drain(&mut session, now);
        assert_eq!(answer.len(), 1);
        assert!(answer[0].is_final && !answer[0].poll);
    }
}

#[test]
fn going_up_polls_for_the_quick_times_until_the_peer_answers() {
    let now = mk_start();
    let mut session = mk_session(mk_config(300, 300, 3), 1, now);
    session.on_packet(&mk_heard(State::Init), now).unwrap();
    let sent = drain(&mut session, now);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].poll && sent[0].state == State::Up);
    assert_eq!(sent[0].desired_min_tx, Micros::from_millis(300));
    session
        .on_packet(&mk_heard(State::Up), now + 10 * MILLI)
        .unwrap();
    assert!(session.is_polling(), "an ordinary packet is no answer");
    let later = run(&mut session, now, now + 800 * MILLI);
    assert!(
        later.len() >= 2 && later.iter().all(|(_, it)| it.poll),
        "{later:?}"
    );
    let answer = Packet {
        is_final: true,
        ..mk_heard(State::Up)
    };
    session.on_packet(&answer, now + 800 * MILLI).unwrap();
    assert!(!session.is_polling());
}

/// A slower transmission and a quicker detection wait for F; the other directions count at once (§6.8.3).
#[test]
fn changed_times_come_into_force_when_the_rfc_says() {
    let now = mk_start();
    let mk_polled = || {
        let mut session = mk_in(State::Up, now);
        let answer = Packet {
            is_final: true,
            desired_min_tx: Micros::from_millis(10),
            required_min_rx: Micros::from_millis(10),
            ..mk_heard(State::Up)
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
fn a_change_during_a_poll_waits_for_its_answer() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    assert!(session.is_polling());
    session.set_config(mk_config(600, 300, 3));
    assert!(
        drain(&mut session, now).is_empty(),
        "nothing new is offered"
    );
    let answer = Packet {
        is_final: true,
        ..mk_heard(State::Up)
    };
    session.on_packet(&answer, now).unwrap();
    assert!(session.is_polling(), "now the next one");
    assert_eq!(
        drain(&mut session, now)[0].desired_min_tx,
        Micros::from_millis(600)
    );
    session.on_packet(&answer, now).unwrap();
    assert_eq!(session.negotiated().transmit, Some(600 * MILLI));
}

#[test]
fn a_peer_that_wants_nothing_gets_nothing_but_answers() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    let quiet = Packet {
        required_min_rx: Micros(0),
        is_final: true,
        ..mk_heard(State::Up)
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
        is_final: true,
        ..mk_heard(State::Up)
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
fn the_passive_side_waits_to_be_spoken_to() {
    let now = mk_start();
    let passive = Config {
        passive: true,
        ..mk_config(300, 300, 3)
    };
    let mut session = mk_session(passive, 1, now);
    assert_eq!(session.next_deadline(), None);
    session.admin_down(Diag::ADMINISTRATIVELY_DOWN);
    session.admin_up();
    assert_eq!(drain(&mut session, now), []);
    session.on_packet(&mk_heard(State::Down), now).unwrap();
    assert_eq!(drain(&mut session, now)[0].state, State::Init);
    run(&mut session, now, now + 10 * SECOND);
    assert_eq!(
        session.next_deadline(),
        None,
        "silent again when the peer is gone"
    );
}

#[test]
fn the_peers_discriminator_outlives_down_until_it_is_silent() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    session.on_packet(&mk_heard(State::Down), now).unwrap();
    assert_eq!(session.state(), State::Down);
    let sent = drain(&mut session, now);
    assert_eq!(sent[0].your_discriminator, Discriminator::new(7));
    assert_eq!(sent[0].diag, Diag::NEIGHBOR_DOWN);
    let silent = run(&mut session, now, now + 3 * SECOND);
    assert_eq!(silent.last().unwrap().1.your_discriminator, None);
}

#[test]
fn up_clears_the_diagnostic() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    session.on_packet(&mk_heard(State::Down), now).unwrap();
    session.on_packet(&mk_heard(State::Down), now).unwrap();
    assert_eq!(
        (session.state(), session.diag()),
        (State::Init, Diag::NEIGHBOR_DOWN)
    );
    session.on_packet(&mk_heard(State::Init), now).unwrap();
    assert_eq!((session.state(), session.diag()), (State::Up, Diag::NONE));
    assert_eq!(drain(&mut session, now)[0].diag, Diag::NONE);
}

#[test]
fn admin_down_is_said_and_lasts_until_it_is_ended() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    let change = session.admin_down(Diag::ADMINISTRATIVELY_DOWN).unwrap();
    assert!(!change.is_failure());
    let sent = drain(&mut session, now);
    assert_eq!(
        (sent[0].state, sent[0].diag, sent[0].your_discriminator),
        (
            State::AdminDown,
            Diag::ADMINISTRATIVELY_DOWN,
            Discriminator::new(7)
        )
    );
    session
        .on_packet(
            &Packet {
                poll: true,
                ..mk_heard(State::Up)
            },
            now,
        )
        .unwrap();
    assert_eq!(drain(&mut session, now), [], "discarded, so not answered");
    assert!(
        run(&mut session, now, now + 5 * SECOND).len() >= 4,
        "and repeated, slowly"
    );
    assert_eq!(session.admin_up().map(|it| it.to), Some(State::Down));
    session
        .on_packet(&mk_heard(State::Down), now + 5 * SECOND)
        .unwrap();
    assert_eq!(session.state(), State::Init);
}

#[test]
fn only_a_failure_is_a_failure() {
    let now = mk_start();
    let heard = |state| {
        mk_in(State::Up, now)
            .on_packet(&mk_heard(state), now)
            .unwrap()
            .unwrap()
    };
    assert!(heard(State::Down).is_failure());
    assert!(
        !heard(State::AdminDown).is_failure(),
        "the peer's own decision"
    );
    assert!(
        mk_in(State::Up, now)
            .on_timeout(now + SECOND)
            .unwrap()
            .is_failure()
    );
    assert!(
        !mk_in(State::Init, now)
            .on_timeout(now + 4 * SECOND)
            .unwrap()
            .is_failure()
    );
}

#[test]
fn a_changed_multiplier_is_told_without_a_poll() {
    let now = mk_start();
    let mut session = mk_in(State::Up, now);
    session
        .on_packet(
            &Packet {
                is_final: true,
                ..mk_heard(State::Up)
            },
            now,
        )
        .unwrap();
    session.set_config(mk_config(300, 300, 5));
    let sent = drain(&mut session, now);
    assert_eq!(
        (sent.len(), sent[0].poll, sent[0].detect_multiplier.get()),
        (1, false, 5)
    );
    session.set_config(mk_config(300, 300, 5));
    assert_eq!(drain(&mut session, now), [], "nothing new");
}

fn mk_keyed(secret: &str) -> Config {
    let secret = Bytes::new(secret.as_bytes()).unwrap();
    let authentication =
        Authentication::new(Method::MeticulousSha1, Key { id: 1, secret }, []).unwrap();
    Config {
        authentication: Some(authentication),
        ..mk_config(300, 300, 3)
    }
}

#[test]
fn a_packet_that_is_not_believed_changes_nothing() {
    let now = mk_start();
    let mut open = mk_in(State::Down, now);
    let mut stranger = mk_session(mk_keyed("other"), 2, now);
    let foreign = stranger.poll_tx(now).unwrap();
    assert!(open.on_packet(&foreign, now).is_err());
    let mut keyed = mk_session(mk_keyed("secret"), 1, now);
    for packet in [mk_heard(State::Down), mk_heard(State::Init), foreign] {
        let poll = Packet {
            poll: true,
            ..packet
        };
        assert!(keyed.on_packet(&poll, now).is_err());
        assert_eq!(
            (keyed.state(), keyed.remote_discriminator()),
            (State::Down, None)
        );
        assert!(drain(&mut keyed, now).iter().all(|it| !it.is_final));
    }
}

#[test]
fn sequence_numbers_are_forgotten_after_two_detection_times() {
    let now = mk_start();
    let mut keyed = mk_session(mk_keyed("secret"), 1, now);
    let mut before = mk_session(mk_keyed("secret"), 2, now);
    keyed.on_packet(&before.poll_tx(now).unwrap(), now).unwrap();
    let mut reborn = mk_session(mk_keyed("secret"), 3, now);
    let first = reborn.poll_tx(now).unwrap();
    keyed.on_timeout(now + 5 * SECOND);
    assert!(keyed.on_packet(&first, now).is_err(), "too early");
    keyed.on_timeout(now + 6 * SECOND);
    assert!(keyed.on_packet(&first, now).is_ok());
}

proptest! {
    /// F17: whatever comes, nothing panics, and what is not a valid packet leaves no trace.
    #[test]
    fn random_packets_never_break_a_session(
        datagrams in prop::collection::vec((prop::collection::vec(any::<u8>(), 20..60), 0u64..2000, any::<bool>()), 1..60),
        seed: u64,
    ) {
        let start = mk_start();
        let mut now = start;
        let mut session = mk_session(mk_config(50, 50, 3), seed, now);
        let mut sent = Vec::new();
        for (mut bytes, millis, mend) in datagrams {
            now += Duration::from_millis(millis);
            if mend {
                bytes.resize(24, 0);
                bytes[0] = 0x20 | bytes[0] & 0x1f;
                bytes[1] &= 0xfa;
                bytes[3] = 24;
            }
            session.on_timeout(now);
            if let Ok(packet) = Packet::decode(&bytes) {
                let _verdict = session.on_packet(&packet, now);
            }
            for _ in 0..4 {
                let Some(packet) = session.poll_tx(now) else { break };
                let mut wire = Vec::new();
                packet.encode(&mut wire);
                prop_assert_eq!(Packet::decode(&wire), Ok(packet));
                sent.push((now, packet));
            }
            prop_assert_eq!(session.poll_tx(now), None, "it has an end");
            prop_assert!(session.state() == State::Up || session.interval() >= SECOND);
            prop_assert!(session.state() != State::Up || session.diag() == Diag::NONE);
        }
        prop_assert!(sent.iter().all(|(_, packet)| packet.my_discriminator.get() == 9));
    }
}
