//! ROUTE-REFRESH in a session (RFC 2918, RFC 7313).

use super::*;

fn mk_rib() -> Rib {
    let mut rib = Rib::default();
    let prefix: Prefix = "192.0.2.7/32".parse().unwrap();
    rib.set(prefix, Some(&mk_audience()));
    rib.set_synced();
    rib
}

/// An Established session; `enhanced` if the peer offers capability 70.
fn mk_session(enhanced: bool) -> (Bench, ConnId) {
    let mut bench = Bench::reach(SessionState::OpenSent);
    let id = bench.ours();
    let config = mk_config(65001, 65000, "10.0.0.9");
    let capabilities = Capabilities {
        enhanced_refresh: enhanced,
        ..Offer::FULL.capabilities(&config)
    };
    let mut open = Vec::new();
    config.open(capabilities).encode(&mut open);
    bench.receive(id, &open);
    bench.receive(id, &mk_keepalive());
    (bench, id)
}

/// The kinds of messages that are pulled, markers by their subtype.
fn pull(bench: &mut Bench, rib: &mut Rib) -> Vec<&'static str> {
    let mut bytes = Vec::new();
    bench
        .peer
        .pull(rib.follower(PEER), 4096, bench.now, &mut bytes);
    let mut rest = &bytes[..];
    let mut seen = Vec::new();
    while let Ok(Peek::Whole(frame, length)) = Frame::peek(rest) {
        seen.push(match (frame.kind, frame.body) {
            (Kind::RouteRefresh, [0, 1, 1, 1]) => "BoRR",
            (Kind::RouteRefresh, [0, 1, 2, 1]) => "EoRR",
            (Kind::Update, [0, 0, 0, 0]) => "EoR",
            (Kind::Update, _) => "UPDATE",
            other => panic!("{other:?}"),
        });
        rest = &rest[length..];
    }
    seen
}

#[test]
fn markers_stand_around_what_is_sent_again_if_both_know_them() {
    let mut rib = mk_rib();
    for (enhanced, again) in [
        (true, &["BoRR", "UPDATE", "EoRR"][..]),
        (false, &["UPDATE"]),
    ] {
        let (mut bench, id) = mk_session(enhanced);
        assert_eq!(pull(&mut bench, &mut rib), ["UPDATE", "EoR"], "{enhanced}");
        bench.receive(id, &mk_refresh());
        bench.receive(id, &mk_refresh());
        assert_eq!(pull(&mut bench, &mut rib), again, "{enhanced}");
        assert_eq!(pull(&mut bench, &mut rib), [""; 0], "{enhanced}");
        bench.receive(id, &mk_refresh());
        assert_eq!(pull(&mut bench, &mut rib), [""; 0], "{enhanced}, too soon");
        assert_eq!(bench.advance(), SECOND, "it is owed");
        assert_eq!(pull(&mut bench, &mut rib), again, "{enhanced}");
        assert_ne!(bench.advance(), SECOND, "nothing more is owed");
    }
}

#[test]
fn a_request_before_the_end_of_the_first_table_needs_no_markers() {
    let (mut bench, id) = mk_session(true);
    bench.receive(id, &mk_refresh());
    assert_eq!(pull(&mut bench, &mut mk_rib()), ["UPDATE", "EoR"]);
}

#[test]
fn foreign_families_and_markers_from_the_peer_change_nothing() {
    let mut rib = mk_rib();
    for body in [
        [0, 99, 0, 1],
        [0, 2, 0, 1],
        [0, 1, 1, 1],
        [0, 1, 2, 1],
        [0, 1, 9, 1],
    ] {
        let (mut bench, id) = mk_session(true);
        pull(&mut bench, &mut rib);
        let frame = Frame {
            kind: Kind::RouteRefresh,
            body: &body,
        };
        bench.give(Input::Received(id, frame));
        assert_eq!(bench.out, [], "{body:?}");
        assert_eq!(pull(&mut bench, &mut rib), [""; 0], "{body:?}");
    }
}

#[test]
fn an_impossible_length_gets_the_answer_that_was_agreed() {
    for body in [&[0, 1, 0][..], &[0, 1, 0, 1, 0], &[]] {
        let length = u8::try_from(HEADER + body.len()).unwrap();
        let message = [&[0xff; 16][..], &[0, length, 5], body].concat();
        let plain = Code::BAD_MESSAGE_LENGTH.with(&[0, length]);
        for (enhanced, want) in [
            (true, Code::INVALID_REFRESH_LENGTH.with(&message)),
            (false, plain.clone()),
        ] {
            let (mut bench, id) = mk_session(enhanced);
            bench.receive(id, &message);
            assert_eq!(bench.answer(), Some(want), "{body:?}");
        }
        let mut early = Bench::reach(SessionState::OpenSent);
        let id = early.ours();
        early.receive(id, &message);
        assert_eq!(early.answer(), Some(plain), "{body:?} before OPEN");
    }
}

#[test]
fn a_later_subtype_is_ignored_whatever_its_length() {
    let mut rib = mk_rib();
    for body in [
        &[0, 1, 9, 1, 0][..],
        &[0, 1, 9],
        &[0, 1, 255, 1, 0, 0, 0, 0],
    ] {
        let length = u8::try_from(HEADER + body.len()).unwrap();
        let message = [&[0xff; 16][..], &[0, length, 5], body].concat();
        let (mut bench, id) = mk_session(true);
        pull(&mut bench, &mut rib);
        bench.receive(id, &message);
        assert_eq!(bench.out, [], "{body:?}");
        assert_eq!(pull(&mut bench, &mut rib), [""; 0], "{body:?}");
    }
}

#[test]
fn without_enhanced_refresh_only_a_plain_request_is_one() {
    let mut rib = mk_rib();
    for (subtype, again) in [(0, &["UPDATE"][..]), (1, &[]), (2, &[]), (9, &[])] {
        let (mut bench, id) = mk_session(false);
        pull(&mut bench, &mut rib);
        let frame = Frame {
            kind: Kind::RouteRefresh,
            body: &[0, 1, subtype, 1],
        };
        bench.give(Input::Received(id, frame));
        assert_eq!(pull(&mut bench, &mut rib), again, "{subtype}");
    }
}
