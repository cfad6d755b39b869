//! What others say: claims, placements that follow each other, and leaving.

use super::*;

#[test]
fn the_greater_claim_wins_and_equal_ones_by_name() {
    let rows = [
        (1, 0, "c", true, "equal, and a comes before c"),
        (1, 1, "c", false, "a later turn"),
        (2, 0, "c", false, "a newer placement"),
        (0, 9, "c", true, "an older placement"),
    ];
    for (term, turn, node, stays, row) in rows {
        let mut bench = Bench::holding(&["a", "b", "c"]);
        bench.take();
        bench.says(node, &[mk_entry(VIP, term, turn, true)]);
        assert_eq!(bench.holds(), stays, "{row}");
        let yields = bench
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Yielded { .. }));
        assert_eq!(yields, !stays, "{row}");
        bench.take();
        bench.wait(150);
        let said = bench.said().iter().any(|entry| entry.held);
        assert_eq!(said, stays, "{row}: a lesser claim is contested");
    }
}

#[test]
fn a_claim_of_a_node_that_is_gone_does_not_count() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.bfd("b", PathState::Down);
    bench.wait(10);
    bench.says("b", &[mk_entry(VIP, 1, 1, true)]);
    assert!(!bench.holds(), "it speaks, so it lives");
    bench.wait(900);
    assert!(!bench.holds(), "heard less than a second ago");
    bench.wait(100);
    assert!(bench.holds(), "silent, and BFD saw it go");
}

#[test]
fn a_claim_that_was_known_before_bfd_lost_its_node_counts_when_it_is_said_again() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.says("b", &[mk_entry(VIP, 2, 0, true)]);
    bench.bfd("b", PathState::Down);
    assert!(bench.holds());
    bench.wait(10);
    bench.hears("b", Statement::default());
    assert!(bench.holds(), "it lives, and claims nothing");
    bench.says("b", &[mk_entry(VIP, 2, 0, true)]);
    assert!(!bench.holds());
}

#[test]
fn a_message_that_was_overtaken_changes_nothing() {
    let mut bench = Bench::settled(&["a", "b"]);
    let entry = mk_entry(VIP, 1, 1, false);
    bench.hears(
        "b",
        Statement {
            entries: vec![entry],
            ..Statement::default()
        },
    );
    bench.sequence -= 2;
    let entry = mk_entry(VIP, 1, 1, true);
    bench.hears(
        "b",
        Statement {
            entries: vec![entry],
            ..Statement::default()
        },
    );
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), Checked::Free, now));
    assert!(bench.holds());
}

#[test]
fn a_planned_move_is_claimed_while_the_old_holder_still_answers() {
    let mut bench = Bench::settled(&["b", "a"]);
    bench.says("b", &[mk_entry(VIP, 1, 0, true)]);
    bench.take();
    bench.place(2, &["a", "b"]);
    assert!(bench.holds() && !bench.looks());
    assert!(bench.said().contains(&mk_entry(VIP, 2, 0, true)));
}

#[test]
fn a_holder_keeps_its_claim_until_a_newer_placement_names_it_first() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.take();
    bench.place(2, &["b", "a"]);
    bench.place(3, &["b", "c"]);
    let same = |entry: &Entry| *entry == mk_entry(VIP, 1, 0, true);
    assert!(
        bench.holds() && bench.said().iter().all(same),
        "nobody else has claimed it"
    );
    bench.place(4, &["a", "c"]);
    assert!(bench.said().contains(&mk_entry(VIP, 4, 0, true)));
    bench.says("b", &[mk_entry(VIP, 3, 0, true)]);
    assert!(bench.holds());
}

#[test]
fn an_address_that_is_no_more_is_let_go_at_once() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.take();
    bench.with(|machine, now| machine.set_duties(BTreeMap::new(), now));
    assert!(bench.machine.held().is_empty() && bench.effects.contains(&Effect::Answers));
    assert_eq!(bench.said(), [mk_entry(VIP, 1, 0, false)]);
}

#[test]
fn a_leaving_node_answers_until_another_claims_and_three_seconds_at_most() {
    for claimed in [true, false] {
        let mut bench = Bench::holding(&["a", "b"]);
        bench.with(Takeover::leave);
        assert!(bench.machine.sessions().is_empty());
        bench.wait(2900);
        assert!(bench.holds());
        if claimed {
            // Even by a claim that is not greater: that node knew nothing of ours.
            bench.says("b", &[mk_entry(VIP, 1, 0, true)]);
        } else {
            bench.wait(100);
        }
        assert!(!bench.holds(), "claimed: {claimed}");
        bench.bfd("b", PathState::Down);
        bench.wait(10_000);
        assert!(!bench.holds(), "it takes nothing any more");
    }
}

#[test]
fn a_node_that_says_that_it_leaves_is_followed_at_once() {
    for by_bfd in [true, false] {
        let mut bench = Bench::settled(&["b", "a"]);
        let entry = mk_entry(VIP, 1, 0, true);
        bench.says("b", &[entry]);
        if by_bfd {
            bench.bfd("b", PathState::Leaving);
        } else {
            let entries = vec![entry];
            bench.hears(
                "b",
                Statement {
                    all: true,
                    leaving: true,
                    entries,
                    ..Statement::default()
                },
            );
        }
        assert!(bench.holds(), "by BFD: {by_bfd}");
        let took =
            |effect: &Effect| matches!(effect, Effect::Took(took) if took.cause == Cause::Stops);
        assert!(bench.effects.iter().any(took), "by BFD: {by_bfd}");
    }
}

#[test]
fn a_node_that_said_that_it_leaves_is_waited_for_again_when_it_has_been_silent_for_a_second() {
    for (silent, passed_over) in [(0, true), (999, true), (1000, false), (60_000, false)] {
        // While it shared nothing with us: if it came back meanwhile, nobody told us.
        let mut bench = Bench::settled(&["c", "a"]);
        bench.says("c", &[mk_entry(VIP, 1, 0, true)]);
        bench.hears(
            "b",
            Statement {
                leaving: true,
                ..Statement::default()
            },
        );
        bench.wait(silent);
        bench.place(2, &["b", "a"]);
        assert_eq!(bench.holds(), passed_over, "silent for {silent} ms");
    }
}

#[test]
fn who_is_named_no_more_makes_way_for_the_first_node_and_for_nobody_else() {
    for (row, nodes, takes) in [
        ("first", &["a", "c"][..], true),
        ("not first", &["c", "a"], false),
        ("the holder is named", &["a", "b"], false),
    ] {
        let mut bench = Bench::settled(nodes);
        bench.says("b", &[mk_entry(VIP, 1, 7, true)]);
        bench.bfd("c", PathState::Down);
        bench.wait(600);
        assert_eq!(bench.holds(), takes, "{row}");
    }
}
