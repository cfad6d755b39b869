//! Whose turn it is.

use super::*;

#[test]
fn the_first_node_asks_and_looks_before_it_answers() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b"]);
    assert!(
        !bench.looks() && !bench.holds(),
        "nobody has been asked yet"
    );
    bench.wait(499);
    let asks = bench
        .take()
        .into_iter()
        .filter(|effect| matches!(effect, Effect::Send { statement, .. } if statement.ask));
    assert_eq!(asks.count(), 5, "a question each 100 ms");
    bench.wait(1);
    assert!(bench.looks() && !bench.holds());
    assert_eq!(bench.state(), State::Checking);
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
    assert_eq!(bench.state(), State::Holding { acting: false });
    assert!(bench.said().contains(&mk_entry(VIP, 1, 0, true)));
}

#[test]
fn an_answer_of_everybody_ends_the_waiting() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b", "c"]);
    bench.says("b", &[]);
    assert!(!bench.looks(), "c has not answered");
    bench.says("c", &[]);
    assert!(bench.looks());
}

#[test]
fn a_stand_by_takes_over_in_the_moment_when_bfd_sees_the_first_die() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.says("b", &[mk_entry(VIP, 1, 0, true)]);
    assert_eq!(bench.state(), State::StandingBy);
    bench.wait(2000);
    bench.take();
    bench.bfd("b", PathState::Down);
    assert!(bench.holds() && !bench.looks());
    let took = bench.effects.iter().find_map(|effect| match effect {
        Effect::Took(took) => Some((took.from.as_str(), took.cause, took.since_last_sign)),
        _ => None,
    });
    let sign = Some(Duration::from_millis(300));
    assert_eq!(took, Some(("b", Cause::Silent, sign)));
    assert!(
        bench.said().contains(&mk_entry(VIP, 1, 1, true)),
        "a turn more than b"
    );
    let answers = bench
        .effects
        .iter()
        .position(|effect| *effect == Effect::Answers);
    let says = |effect: &Effect| matches!(effect, Effect::Send { statement, .. } if !statement.entries.is_empty());
    let sends = bench.effects.iter().position(says);
    assert!(answers < sends, "answering comes before saying so");
}

#[test]
fn only_the_first_living_stand_by_takes_over() {
    let mut bench = Bench::settled(&["c", "b", "a"]);
    bench.says("c", &[mk_entry(VIP, 1, 0, true)]);
    bench.bfd("c", PathState::Down);
    assert!(!bench.holds(), "b is alive");
    bench.bfd("b", PathState::Down);
    assert!(bench.holds());
}

#[test]
fn a_node_that_comes_back_leaves_the_address_where_it_is() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b"]);
    bench.says("b", &[mk_entry(VIP, 1, 1, true)]);
    bench.bfd("b", PathState::Up);
    bench.wait(20_000);
    assert!(!bench.holds() && !bench.looks());
    bench.bfd("b", PathState::Down);
    assert!(bench.holds(), "until the other dies");
    assert!(bench.said().contains(&mk_entry(VIP, 1, 2, true)));
}
