//! What the wire tells: witnesses, checks, and stations that use our addresses.

use super::*;

#[test]
fn a_holder_that_nobody_answers_is_isolated_and_stops() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.gateway = false;
    bench.bfd("b", PathState::Down);
    bench.wait(299);
    assert!(bench.holds());
    bench.wait(1);
    assert_eq!(bench.state(), State::Isolated);
    bench.with(|machine, now| machine.witnessed(2, now));
    assert!(
        !bench.holds(),
        "others may have it now: they are asked first"
    );
    bench.says("b", &[mk_entry(VIP, 1, 1, true)]);
    bench.wait(2000);
    assert!(!bench.holds());
}

#[test]
fn a_stand_by_that_nobody_answers_takes_nothing_over() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.gateway = false;
    bench.bfd("b", PathState::Down);
    assert!(!bench.holds(), "in doubt");
    bench.wait(5000);
    assert_eq!(bench.state(), State::Isolated);
}

#[test]
fn without_any_witness_a_node_counts_as_connected() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.gateway = false;
    bench.with(|machine, now| machine.set_witnesses(2, BTreeSet::new(), now));
    bench.bfd("b", PathState::Down);
    assert!(bench.holds());
    bench.wait(5000);
    assert!(bench.holds());
}

#[test]
fn a_witness_counts_for_a_second() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.bfd("b", PathState::Down);
    bench.wait(5000);
    assert!(bench.holds(), "the gateway answers each time");
    bench.gateway = false;
    bench.wait(1100);
    assert!(!bench.holds());
}

#[test]
fn what_was_ours_before_a_flap_is_ours_after_it_when_nobody_took_it() {
    let mut bench = Bench::holding(&["a", "b"]);
    let exclude = Exclude::usual().unwrap();
    let down = mk_links(mk_mac("a"), "192.0.2.1/24", false, 1);
    bench.with(|machine, now| machine.set_links(&down, &exclude, now));
    assert!(!bench.holds(), "no carrier");
    bench.wait(100);
    let up = mk_links(mk_mac("a"), "192.0.2.1/24", true, 2);
    bench.take();
    bench.with(|machine, now| machine.set_links(&up, &exclude, now));
    assert!(!bench.holds(), "b has not been asked");
    bench.says("b", &[]);
    assert!(bench.holds() && !bench.looks());
}

#[test]
fn an_address_that_a_stranger_uses_is_a_conflict_and_looked_for_again_later() {
    let mut bench = Bench::settled(&["a", "b"]);
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    let taken = Checked::Taken { mac, interface: 2 };
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), taken, now));
    assert_eq!(bench.state(), State::Conflict { mac, interface: 2 });
    bench.take();
    bench.wait(29_999);
    assert!(!bench.looks());
    bench.wait(1);
    assert!(bench.looks());
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
}

#[test]
fn a_node_that_a_firewall_hides_keeps_what_it_holds() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "b"]);
    bench.wait(500);
    assert!(bench.looks());
    let taken = Checked::Taken {
        mac: mk_mac("b"),
        interface: 2,
    };
    for _ in 0..5 {
        bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), taken, now));
        assert_eq!(bench.state(), State::StandingBy);
        bench.take();
        bench.wait(40_000);
        assert!(bench.looks() && !bench.holds());
    }
}

#[test]
fn a_node_that_was_never_seen_is_waited_for_and_then_looked_for() {
    let mut bench = Bench::new();
    bench.place(1, &["b", "a"]);
    bench.wait(4999);
    assert!(!bench.looks());
    bench.wait(1);
    assert!(bench.looks() && !bench.holds());
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
}

#[test]
fn a_node_that_lives_but_does_not_answer_is_passed_over_after_a_look() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.wait(3000);
    assert!(!bench.looks());
    bench.wait(2000);
    assert!(bench.looks());
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert_eq!(bench.state(), State::Holding { acting: true });
}

#[test]
fn of_two_that_know_each_other_only_from_the_wire_the_later_one_stays() {
    for (nodes, stays) in [(["a", "b"], false), (["b", "a"], true)] {
        let mut bench = Bench::holding(&["a"]);
        bench.place(2, &nodes);
        bench.with(|machine, now| {
            let rival = machine.heard_on_wire(2, VIP.parse().unwrap(), mk_mac("b"), now);
            assert_eq!(rival, Rival::Node("b".to_owned()));
        });
        bench.wait(999);
        assert!(bench.holds(), "{nodes:?}: it may still say something");
        bench.wait(1);
        assert_eq!(bench.holds(), stays, "{nodes:?}");
    }
}

#[test]
fn a_stranger_on_the_wire_is_told_apart_from_nodes_and_from_ourselves() {
    let mut bench = Bench::holding(&["a", "b"]);
    let rows = [
        (mk_mac("a"), Rival::Node("a".to_owned())),
        (mk_mac("c"), Rival::Node("c".to_owned())),
        (MacAddr([2, 9, 9, 9, 9, 9]), Rival::Stranger),
    ];
    for (mac, expected) in rows {
        bench.with(|machine, now| {
            let rival = machine.heard_on_wire(2, VIP.parse().unwrap(), mac, now);
            assert_eq!(rival, expected, "{mac}");
        });
    }
    assert!(bench.holds());
}
