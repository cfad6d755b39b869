//! Poll sequences (§6.5).

use super::*;

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
    session.on_packet(&mk_final(), now + 800 * MILLI).unwrap();
    assert!(!session.is_polling());
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
    session.on_packet(&mk_final(), now).unwrap();
    assert!(session.is_polling(), "now the next one");
    assert_eq!(
        drain(&mut session, now)[0].desired_min_tx,
        Micros::from_millis(600)
    );
    session.on_packet(&mk_final(), now).unwrap();
    assert_eq!(session.negotiated().transmit, Some(600 * MILLI));
}
