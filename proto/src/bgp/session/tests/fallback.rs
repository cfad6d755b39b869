//! What the OPENs offer to a router that refuses.

use super::*;

/// How a router may answer an OPEN.
enum Reply {
    /// This NOTIFICATION, with data.
    Refuse(Code, &'static [u8]),
    /// Closes without a word.
    Hang,
    /// A session, which it resets after a minute.
    Accept,
    /// A session, which it ends by this after a minute.
    End(Code),
    /// A session, which breaks after so many minutes.
    Hold(u32),
    /// Its OPEN, and then a close without a word.
    Leave,
}

/// An answer, and what the next OPEN offers.
type Step = (Reply, &'static [u8]);

const REFUSED: Reply = Reply::Refuse(Code::UNSUPPORTED_CAPABILITY, &[]);

/// Connects, and returns what the OPEN offers: the codes of its capabilities.
fn offered(bench: &mut Bench) -> Vec<u8> {
    let id = bench.ours();
    bench.give(Input::Connected(id, LOCAL));
    let Some(Effect::Send(_, open)) = bench.out.first() else {
        panic!("no OPEN")
    };
    let seen = Open::decode(&open[HEADER..]).unwrap().capabilities;
    seen.codes().collect()
}

/// One answer of the router, and the wait after it.
fn reply(bench: &mut Bench, reply: &Reply) {
    let id = bench.ours();
    match reply {
        Reply::Refuse(code, data) => {
            let mut bytes = Vec::new();
            code.with(data).encode(&mut bytes);
            bench.receive(id, &bytes);
        }
        Reply::Hang => bench.give(Input::Lost(id, "gone".into())),
        Reply::Leave => {
            bench.receive(id, &mk_open());
            bench.give(Input::Lost(id, "gone".into()));
        }
        Reply::Hold(minutes) => {
            bench.receive(id, &mk_open());
            bench.receive(id, &mk_keepalive());
            hold(bench, *minutes);
        }
        Reply::Accept | Reply::End(_) => {
            let code = match reply {
                Reply::End(code) => *code,
                _ => Code::ADMINISTRATIVE_RESET,
            };
            bench.receive(id, &mk_open());
            bench.receive(id, &mk_keepalive());
            assert_eq!(bench.peer.state(), SessionState::Established);
            bench.now += 60 * SECOND;
            bench.receive(id, &mk_notification(code));
        }
    }
    bench.advance();
}

/// Keeps the session for so many minutes and breaks it.
fn hold(bench: &mut Bench, minutes: u32) {
    let id = bench.ours();
    for _ in 0..minutes {
        bench.now += 60 * SECOND;
        bench.receive(id, &mk_keepalive());
        bench.give(Input::Timer);
        assert_eq!(bench.peer.state(), SessionState::Established);
    }
    bench.give(Input::Lost(id, "gone".into()));
}

/// A router that offers graceful restart and IPv4 over IPv6 to a node in `local_as`.
fn mk_rich_config(local_as: u32) -> Config {
    Config {
        extended_next_hop: true,
        graceful_restart: Some(GracefulRestart {
            time: 120 * SECOND,
            restarting: false,
            forwarding: true,
            long_lived: Some(3600 * SECOND),
        }),
        ..mk_config(local_as, 65001, "10.0.0.1")
    }
}

/// What is offered at first.
const ALL: &[u8] = &[1, 2, 5, 64, 65, 70, 71];
/// What is left after the first step.
const OLD: &[u8] = &[1, 2, 5, 64, 65];
/// And after the second.
const LESS: &[u8] = &[1, 2, 5, 65];

fn listing(data: &'static [u8]) -> Reply {
    Reply::Refuse(Code::UNSUPPORTED_CAPABILITY, data)
}

/// Name, our AS, and what happens.
type Row = (&'static str, u32, Vec<Step>);

fn check(table: Vec<Row>) {
    for (name, local_as, answers) in table {
        let mut bench = Bench::with(mk_rich_config(local_as));
        bench.give(Input::Start);
        assert_eq!(offered(&mut bench), ALL, "{name}");
        for (step, (answer, want)) in answers.iter().enumerate() {
            reply(&mut bench, answer);
            assert_eq!(offered(&mut bench), *want, "{name}, answer {step}");
        }
    }
}

#[test]
fn each_refusal_shrinks_the_offer_and_everything_else_brings_it_back() {
    let parameter = || Reply::Refuse(Code::UNSUPPORTED_OPTIONAL_PARAMETER, &[]);
    check(vec![
        (
            "no parameters",
            65000,
            vec![
                (parameter(), OLD),
                (parameter(), &[1, 2, 5, 65]),
                (parameter(), &[1, 65]),
                (parameter(), &[]),
                (parameter(), ALL),
            ],
        ),
        (
            "a large AS keeps 65",
            70000,
            vec![
                (REFUSED, OLD),
                (REFUSED, &[1, 2, 5, 65]),
                (REFUSED, &[1, 65]),
                (REFUSED, &[65]),
                (REFUSED, ALL),
            ],
        ),
        (
            "closes without a word",
            65000,
            vec![
                (Reply::Hang, ALL),
                (Reply::Hang, OLD),
                (Reply::Hang, OLD),
                (Reply::Hang, &[1, 2, 5, 65]),
            ],
        ),
        (
            "one close is no refusal",
            65000,
            vec![
                (Reply::Hang, ALL),
                (Reply::Accept, ALL),
                (Reply::Hang, ALL),
                (Reply::Hang, OLD),
            ],
        ),
        (
            "another complaint",
            70000,
            vec![(REFUSED, OLD), (Reply::Refuse(Code::BAD_PEER_AS, &[]), ALL)],
        ),
    ]);
}

#[test]
fn what_a_router_took_is_offered_again_until_it_may_have_learned_more() {
    let climbed = || vec![(REFUSED, OLD), (REFUSED, LESS), (Reply::Accept, LESS)];
    let and = |steps: Vec<Step>| [climbed(), steps].into_iter().flatten().collect();
    let reconfigured = || Reply::End(Code::CONFIGURATION_CHANGE);
    check(vec![
        (
            "it flaps",
            65000,
            and(vec![(Reply::Accept, LESS), (Reply::Accept, LESS)]),
        ),
        (
            "another complaint in between",
            65000,
            and(vec![
                (Reply::Refuse(Code::CONNECTION_REJECTED, &[]), LESS),
                (Reply::Accept, LESS),
            ]),
        ),
        (
            "it was reconfigured, and is as it was",
            65000,
            and(vec![(reconfigured(), ALL), (REFUSED, LESS)]),
        ),
        (
            "it was reconfigured, and closes on all as before",
            65000,
            and(vec![(reconfigured(), ALL), (Reply::Hang, LESS)]),
        ),
        (
            "it was reconfigured, and takes all",
            65000,
            and(vec![
                (Reply::End(Code::PEER_DECONFIGURED), ALL),
                (Reply::Accept, ALL),
                (REFUSED, OLD),
            ]),
        ),
        (
            "it refuses what it took",
            65000,
            and(vec![
                (REFUSED, &[1, 65]),
                (REFUSED, &[]),
                (REFUSED, ALL),
                (REFUSED, OLD),
            ]),
        ),
        (
            "it closes on what it took, once",
            65000,
            and(vec![(Reply::Hang, LESS), (Reply::Accept, LESS)]),
        ),
        (
            "it closes on what it took again and again",
            65000,
            and(vec![(Reply::Hang, LESS), (Reply::Hang, &[1, 65])]),
        ),
        (
            "it closes on what it took again and again, and then complains",
            65000,
            and(vec![
                (Reply::Hang, LESS),
                (Reply::Hang, &[1, 65]),
                (Reply::Refuse(Code::CONNECTION_REJECTED, &[]), LESS),
                (Reply::Hold(50), LESS),
                (Reply::Hold(20), ALL),
            ]),
        ),
        (
            "it closes behind its own OPEN",
            65000,
            vec![
                (Reply::Leave, ALL),
                (Reply::Leave, OLD),
                (Reply::Accept, OLD),
            ],
        ),
    ]);
}

#[test]
fn all_is_offered_again_after_an_hour_and_only_where_there_is_no_session() {
    for (minutes, want) in [(50, OLD), (70, ALL)] {
        let mut bench = Bench::with(mk_rich_config(65000));
        bench.give(Input::Start);
        offered(&mut bench);
        reply(&mut bench, &REFUSED);
        assert_eq!(offered(&mut bench), OLD);
        let id = bench.ours();
        bench.receive(id, &mk_open());
        bench.receive(id, &mk_keepalive());
        assert_eq!(bench.peer.offer().left_out().len(), 2);
        hold(&mut bench, minutes);
        bench.advance();
        assert_eq!(offered(&mut bench), want, "{minutes} min");
        if want == ALL {
            reply(&mut bench, &REFUSED);
            assert_eq!(offered(&mut bench), OLD, "one refusal is enough");
        }
    }
}

#[test]
fn what_closes_made_us_guess_is_trusted_for_minutes_and_a_word_outweighs_it() {
    let guessed = || vec![(Reply::Hang, ALL), (Reply::Hang, OLD)];
    let and = |steps: Vec<Step>| [guessed(), steps].into_iter().flatten().collect();
    check(vec![
        ("four minutes", 65000, and(vec![(Reply::Hold(4), OLD)])),
        (
            "it flaps",
            65000,
            and(vec![(Reply::Accept, OLD), (Reply::Hold(5), ALL)]),
        ),
        (
            "six minutes, and it takes all",
            65000,
            and(vec![
                (Reply::Accept, OLD),
                (Reply::Hold(6), ALL),
                (Reply::Accept, ALL),
                (Reply::Hang, ALL),
            ]),
        ),
        (
            "it restarts once more",
            65000,
            and(vec![
                (Reply::Hold(6), ALL),
                (Reply::Hang, ALL),
                (Reply::Hang, OLD),
                (Reply::Hold(4), OLD),
                (Reply::Hold(2), ALL),
            ]),
        ),
        (
            "it says so now",
            65000,
            and(vec![
                (Reply::Hang, OLD),
                (Reply::Hang, LESS),
                (Reply::Hold(6), ALL),
                (REFUSED, OLD),
                (Reply::Hold(50), OLD),
                (Reply::Hold(20), ALL),
                (Reply::Hang, OLD),
            ]),
        ),
        (
            "the first step was said, the second is a guess",
            65000,
            vec![
                (REFUSED, OLD),
                (Reply::Hang, OLD),
                (Reply::Hang, LESS),
                (Reply::Hold(6), ALL),
                (REFUSED, OLD),
            ],
        ),
        (
            "the first step is a guess, the second was said",
            65000,
            and(vec![(REFUSED, LESS), (Reply::Hold(6), ALL)]),
        ),
    ]);
}

#[test]
fn a_stop_does_not_forget_what_the_router_took() {
    let mut bench = Bench::with(mk_rich_config(65000));
    bench.give(Input::Start);
    offered(&mut bench);
    reply(&mut bench, &REFUSED);
    offered(&mut bench);
    let id = bench.ours();
    bench.receive(id, &mk_open());
    bench.receive(id, &mk_keepalive());
    bench.give(Input::Stop(StopReason::Reset("new address".into())));
    bench.give(Input::Start);
    assert_eq!(offered(&mut bench), OLD);
}

#[test]
fn a_refusal_that_names_capabilities_costs_exactly_those() {
    const FAMILY: &[u8] = &[1, 4, 0, 1, 0, 1];
    check(vec![
        (
            "only what is named",
            65000,
            vec![
                (listing(FAMILY), &[2, 5, 64, 65, 70, 71]),
                (listing(&[2, 0]), &[5, 64, 65, 70, 71]),
                (listing(&[65, 4, 0, 0, 0xfd, 0xe8]), &[5, 64, 70, 71]),
            ],
        ),
        (
            "graceful restart takes the long-lived one with it",
            65000,
            vec![(listing(&[64, 2, 0, 0]), &[1, 2, 5, 65, 70])],
        ),
        (
            "just a code",
            65000,
            vec![(listing(&[64]), &[1, 2, 5, 65, 70])],
        ),
        (
            "two at once",
            65000,
            vec![(listing(&[70, 0, 5, 0]), &[1, 2, 64, 65, 71])],
        ),
        (
            "65 is named and needed",
            70000,
            vec![(listing(&[65, 4, 0, 1, 0x11, 0x70]), ALL)],
        ),
        (
            "a family that we lack",
            65000,
            vec![(listing(&[1, 4, 0, 2, 0, 1]), ALL)],
        ),
        (
            "a capability that we left out is missed",
            65000,
            vec![(REFUSED, OLD), (listing(&[70, 0]), ALL)],
        ),
        (
            "one that nobody knows",
            65000,
            vec![(listing(&[200, 0]), ALL)],
        ),
        (
            "data that cannot be read",
            65000,
            vec![(listing(&[1, 200, 0]), OLD)],
        ),
    ]);
}

#[test]
fn of_two_families_only_the_one_that_is_named_is_left_out() {
    for (named, kept) in [
        (Family::V4Unicast, Family::V6Unicast),
        (Family::V6Unicast, Family::V4Unicast),
    ] {
        let config = Config {
            families: Families::only(named).with(kept),
            ..mk_rich_config(65000)
        };
        let mut bench = Bench::with(config);
        bench.give(Input::Start);
        let said = |bench: &mut Bench| {
            let id = bench.ours();
            bench.give(Input::Connected(id, LOCAL));
            let Some(Effect::Send(_, open)) = bench.out.first() else {
                panic!("no OPEN")
            };
            Open::decode(&open[HEADER..]).unwrap().capabilities
        };
        said(&mut bench);
        let [_, afi] = named.afi().to_be_bytes();
        let mut refusal = Vec::new();
        Code::UNSUPPORTED_CAPABILITY
            .with(&[1, 4, 0, afi, 0, 1])
            .encode(&mut refusal);
        let id = bench.ours();
        bench.receive(id, &refusal);
        bench.advance();
        let next = said(&mut bench);
        assert_eq!(next.multiprotocol, Some(Families::only(kept)), "{named}");
        assert_eq!(next.restart.unwrap().families, Families::only(kept));
        for _ in 0..4 {
            let id = bench.ours();
            bench.receive(id, &mk_notification(Code::UNSUPPORTED_CAPABILITY));
            bench.advance();
            let next = said(&mut bench);
            let only_v4 = next.multiprotocol.is_none() && named == Family::V4Unicast;
            assert!(
                !only_v4,
                "without capability 1 there is nothing but {named}"
            );
        }
        let words = format!("the next OPEN offers all capabilities but {named}");
        let mut told = bench.peer.history().iter();
        assert!(told.any(|record| record.event.to_string() == words));
    }
}

#[test]
fn ipv6_is_never_given_up() {
    let config = Config {
        families: Families::only(Family::V6Unicast),
        ..mk_config(65000, 65001, "10.0.0.1")
    };
    let mut bench = Bench::with(config);
    bench.give(Input::Start);
    for want in [
        &[1, 2, 65, 70][..],
        &[1, 2, 65],
        &[1, 65],
        &[1],
        &[1, 2, 65, 70],
    ] {
        assert_eq!(offered(&mut bench), want);
        reply(&mut bench, &REFUSED);
    }
}

#[test]
fn a_refusal_is_forgotten_after_five_minutes_without_an_answer() {
    for (minutes, want) in [(4, &[1, 2, 65][..]), (6, &[1, 2, 65, 70])] {
        let mut bench = Bench::new();
        bench.give(Input::Start);
        offered(&mut bench);
        reply(&mut bench, &REFUSED);
        let end = bench.now + minutes * 60 * SECOND;
        while bench.now < end {
            let id = bench.ours();
            let refused = ConnectFailure::Refused("no".into());
            bench.give(Input::ConnectFailed(id, refused));
            bench.advance();
        }
        assert_eq!(offered(&mut bench), want, "{minutes} min");
    }
}

#[test]
fn a_router_that_always_resets_is_left_alone_for_ten_seconds_and_more() {
    let mut bench = Bench::new();
    bench.give(Input::Start);
    let mut waits = Vec::new();
    for _ in 0..1000 {
        let id = bench.ours();
        bench.give(Input::Connected(id, LOCAL));
        bench.give(Input::Lost(id, "connection reset".into()));
        waits.push(bench.advance());
    }
    assert!(waits[10..].iter().all(|wait| *wait >= 10 * SECOND));
    let error = bench.peer.last_error().unwrap();
    assert!(error.contains("is this node a neighbour there?"), "{error}");
}

#[test]
fn each_connection_is_judged_by_what_its_own_open_offered() {
    let mut bench = Bench::new();
    bench.give(Input::Start);
    offered(&mut bench);
    let theirs = bench.peer.mint();
    bench.give(Input::Accepted(theirs, LOCAL));
    let ours = bench.ours();
    let mut refusal = Vec::new();
    Code::UNSUPPORTED_CAPABILITY
        .with(&[65, 4, 0, 0, 0xfd, 0xe8])
        .encode(&mut refusal);
    bench.receive(ours, &refusal);
    bench.receive(theirs, &mk_open());
    bench.receive(theirs, &mk_keepalive());
    assert!(bench.peer.negotiated().unwrap().as4, "its OPEN had 65");
}

#[test]
fn what_changes_in_the_offer_is_told() {
    let mut bench = Bench::new();
    bench.give(Input::Start);
    offered(&mut bench);
    let id = bench.ours();
    bench.receive(id, &mk_notification(Code::UNSUPPORTED_CAPABILITY));
    let last = bench.peer.history().iter().last().unwrap();
    assert_eq!(
        last.event.to_string(),
        "the next OPEN offers all capabilities but enhanced route refresh"
    );
    let error = bench.peer.last_error().unwrap();
    assert!(error.contains("unsupported capability"), "{error}");
}
