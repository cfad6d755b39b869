//! The state machine: what is heard, what silence does, and decisions (§6.2, §6.8.1, §6.8.6, §6.8.16).

use super::*;

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
fn a_link_that_is_down_is_not_waited_for_and_one_that_is_back_is_used_at_once() {
    let now = mk_start();
    for state in State::ALL {
        let mut session = mk_in(state, now);
        let works = matches!(state, State::Init | State::Up);
        let change = session.path_down();
        assert_eq!(change.is_some(), works, "{state}");
        assert_eq!(change.is_some_and(|it| it.is_failure()), state == State::Up);
        if !works {
            assert_eq!(session.state(), state);
            continue;
        }
        let told = drain(&mut session, now);
        let [told] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((told.state, told.diag), (State::Down, Diag::PATH_DOWN));
        assert_eq!(session.remote_discriminator(), None);
        let soon = now + 10 * MILLI;
        assert_eq!(drain(&mut session, soon), []);
        session.path_up();
        assert_eq!(drain(&mut session, soon).len(), 1, "out of turn");
        let heard = session.on_packet(&mk_heard(State::Down), soon).unwrap();
        assert_eq!(heard.map(|it| it.to), Some(State::Init));
    }
    let mut up = mk_in(State::Up, now);
    up.path_up();
    assert_eq!(drain(&mut up, now), [], "one that works needs no help");
}
