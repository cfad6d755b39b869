//! Two connections at once, in every order.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Our attempt succeeds, or theirs comes.
    Begin(Direction),
    /// The peer's OPEN comes.
    Open(Direction),
    /// Its KEEPALIVE comes.
    Keepalive(Direction),
}

fn id_of(bench: &Bench, direction: Direction) -> Option<ConnId> {
    bench.peer.slot(direction).map(|slot| slot.id)
}

/// Does the steps that are possible, and returns the answers: which connections got a 6/7.
fn play(our_id: &str, steps: &[Step]) -> (Bench, Vec<ConnId>) {
    let mut bench = Bench::with(Config {
        listen: Listen::Both,
        ..mk_config(65000, 65001, our_id)
    });
    bench.give(Input::Start);
    let mut refused = Vec::new();
    for step in steps {
        match *step {
            Step::Begin(Direction::Ours) => {
                if let Some(id) = id_of(&bench, Direction::Ours) {
                    bench.give(Input::Connected(id, LOCAL));
                }
            }
            Step::Begin(Direction::Theirs) => {
                bench.accept();
            }
            Step::Open(direction) => {
                if let Some(id) = id_of(&bench, direction) {
                    bench.receive(id, &mk_open());
                }
            }
            Step::Keepalive(direction) => {
                if let Some(id) = id_of(&bench, direction) {
                    bench.receive(id, &mk_keepalive());
                }
            }
        }
        let collision = |effect: &Effect| match effect {
            Effect::Send(id, bytes) if bytes[18..] == [3, 6, 7] => Some(*id),
            _ => None,
        };
        refused.extend(bench.out.iter().filter_map(collision));
    }
    (bench, refused)
}

/// All orders in which each connection begins before its OPEN comes.
fn mk_orders() -> Vec<[Step; 4]> {
    use Direction::{Ours, Theirs};
    use Step::{Begin, Open};
    vec![
        [Begin(Ours), Open(Ours), Begin(Theirs), Open(Theirs)],
        [Begin(Ours), Begin(Theirs), Open(Ours), Open(Theirs)],
        [Begin(Ours), Begin(Theirs), Open(Theirs), Open(Ours)],
        [Begin(Theirs), Begin(Ours), Open(Ours), Open(Theirs)],
        [Begin(Theirs), Begin(Ours), Open(Theirs), Open(Ours)],
    ]
}

#[test]
fn the_higher_identifier_keeps_the_connection_that_it_opened_in_every_order() {
    for order in mk_orders() {
        for (our_id, winner) in [
            ("10.0.0.1", Direction::Theirs),
            ("10.0.0.200", Direction::Ours),
        ] {
            let (mut bench, refused) = play(our_id, &order);
            assert_eq!(refused.len(), 1, "{order:?} as {our_id}");
            let id = id_of(&bench, winner).unwrap();
            assert!(
                id_of(&bench, winner.other()).is_none(),
                "{order:?} as {our_id}"
            );
            bench.receive(id, &mk_keepalive());
            assert_eq!(bench.peer.state(), SessionState::Established, "{order:?}");
        }
    }
}

#[test]
fn of_equal_identifiers_the_higher_as_decides() {
    for (local_as, winner) in [(65000, Direction::Theirs), (65002, Direction::Ours)] {
        let mut bench = Bench::with(mk_config(local_as, 65001, "10.0.0.9"));
        bench.give(Input::Start);
        let ours = bench.ours();
        bench.give(Input::Connected(ours, LOCAL));
        let theirs = bench.accept();
        bench.receive(ours, &mk_open());
        bench.receive(theirs, &mk_open());
        assert_eq!(bench.peer.knows(ours), winner == Direction::Ours);
        assert_eq!(bench.peer.knows(theirs), winner == Direction::Theirs);
    }
}

#[test]
fn who_has_confirmed_theirs_does_not_begin_another() {
    use Direction::{Ours, Theirs};
    for our_id in ["10.0.0.1", "10.0.0.200"] {
        let steps = [Step::Begin(Theirs), Step::Open(Theirs), Step::Begin(Ours)];
        let (bench, refused) = play(our_id, &steps);
        assert_eq!(refused, [], "{our_id}");
        assert_eq!(bench.sent(Kind::Open), 0, "{our_id}");
        assert!(bench.peer.ours.is_none() && bench.peer.theirs.is_some());
    }
}

#[test]
fn a_connection_that_will_lose_is_confirmed_only_when_the_winner_fails() {
    use Direction::{Ours, Theirs};
    let steps = [
        Step::Begin(Ours),
        Step::Begin(Theirs),
        Step::Open(Ours),
        Step::Keepalive(Ours),
    ];
    // The lower identifier: the connection of the peer will win.
    let reach = || {
        let (bench, refused) = play("10.0.0.1", &steps);
        assert_eq!(refused, []);
        assert_eq!(
            bench.peer.state(),
            SessionState::OpenConfirm,
            "not confirmed"
        );
        let theirs = id_of(&bench, Theirs).unwrap();
        (bench, theirs)
    };
    let (mut lost, theirs) = reach();
    lost.give(Input::Lost(theirs, "gone".into()));
    assert_eq!(lost.sent(Kind::Keepalive), 1);
    assert_eq!(lost.peer.state(), SessionState::Established);

    let (mut late, _) = reach();
    assert_eq!(late.advance(), SECOND);
    assert_eq!(late.sent(Kind::Keepalive), 1);
    assert_eq!(late.peer.state(), SessionState::Established);

    let (mut won, theirs) = reach();
    won.receive(theirs, &mk_open());
    assert_eq!(won.answer(), Some(Code::CONNECTION_COLLISION.bare()));
    assert!(won.peer.ours.is_none() && won.peer.knows(theirs));
}

#[test]
fn a_second_connection_without_an_open_is_closed_within_ten_seconds() {
    let mut bench = Bench::new();
    bench.give(Input::Start);
    let ours = bench.ours();
    bench.give(Input::Connected(ours, LOCAL));
    let silent = bench.accept();
    bench.receive(ours, &mk_open());
    bench.advance();
    bench.receive(ours, &mk_keepalive());
    assert_eq!(bench.peer.state(), SessionState::Established);
    let start = bench.now;
    while bench.peer.knows(silent) {
        bench.advance();
    }
    assert!(bench.now - start <= 10 * SECOND, "{:?}", bench.now - start);
    assert!(bench.peer.knows(ours));
    assert_eq!(bench.peer.state(), SessionState::Established);
}
