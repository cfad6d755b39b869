//! Every event of RFC 4271 §8.1 in every state, a cell each: what is answered, and where the peer stands then.
//!
//! Events 4 to 7, 12, 14, 15 and 20 belong to options that we do not have: damping by timer, a delayed OPEN, and TCP
//! connections that are judged before they are there. Event 13, the end of a back-off, is that of event 9 here.

use super::*;

/// Where a peer may be. The first two are the RFC's Idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Stopped,
    BackOff,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

const ALL: [At; 7] = [
    At::Stopped,
    At::BackOff,
    At::Connect,
    At::Active,
    At::OpenSent,
    At::OpenConfirm,
    At::Established,
];

/// What is answered, and the state then.
type Cell = (Option<Code>, SessionState);

const fn to(state: SessionState) -> Cell {
    (None, state)
}

const fn dies(code: Code) -> Cell {
    (Some(code), SessionState::Idle)
}

const IDLE: Cell = to(SessionState::Idle);
const CONNECT: Cell = to(SessionState::Connect);
const ACTIVE: Cell = to(SessionState::Active);
const SENT: Cell = to(SessionState::OpenSent);
const CONFIRM: Cell = to(SessionState::OpenConfirm);
const UP: Cell = to(SessionState::Established);

/// A peer in that place, and its connection: a dead one where there is none.
fn mk_bench(at: At) -> (Bench, ConnId) {
    let mut bench = match at {
        At::Stopped => Bench::new(),
        At::BackOff => {
            let mut bench = Bench::reach(SessionState::Connect);
            let id = bench.ours();
            let refused = ConnectFailure::Refused("no".into());
            bench.give(Input::ConnectFailed(id, refused));
            bench
        }
        At::Connect => Bench::reach(SessionState::Connect),
        At::Active => {
            let mut bench = Bench::with(Config {
                listen: Listen::Passive,
                ..mk_config(65000, 65001, "10.0.0.1")
            });
            bench.give(Input::Start);
            bench
        }
        At::OpenSent => Bench::reach(SessionState::OpenSent),
        At::OpenConfirm => Bench::reach(SessionState::OpenConfirm),
        At::Established => Bench::reach(SessionState::Established),
    };
    let dead = bench.peer.mint();
    let id = bench.peer.ours.as_ref().map_or(dead, |slot| slot.id);
    (bench, id)
}

fn wait(bench: &mut Bench, seconds: u32) {
    bench.now += seconds * SECOND;
    bench.give(Input::Timer);
}

fn say(bench: &mut Bench, id: ConnId, message: &[u8]) {
    bench.receive(id, message);
}

fn mk_bad_open() -> Vec<u8> {
    let mut open = mk_open();
    open[HEADER] = 3;
    open
}

fn mk_bad_update() -> Vec<u8> {
    let mut update = mk_update();
    update[HEADER] = 9;
    update
}

/// Nothing goes out for three minutes, while the peer goes on talking.
fn starve(bench: &mut Bench, id: ConnId) {
    bench.give(Input::Output(id, Output::Stuck));
    for _ in 0..3 {
        if bench.peer.state() == SessionState::Established {
            bench.now += 60 * SECOND;
            bench.receive(id, &mk_keepalive());
            bench.give(Input::Timer);
        }
    }
}

/// Name, what happens, and a cell for each of [`ALL`].
type Row = (&'static str, fn(&mut Bench, ConnId), [Cell; 7]);

fn check(rows: &[Row]) {
    for (name, happen, cells) in rows {
        for (at, (answer, state)) in ALL.into_iter().zip(cells) {
            let (mut bench, id) = mk_bench(at);
            happen(&mut bench, id);
            let said = bench.answer().map(|answer| answer.code);
            assert_eq!(
                (said, bench.peer.state()),
                (*answer, *state),
                "{name} in {at:?}"
            );
            assert!(
                bench.sent(Kind::Notification) <= 1,
                "{name} in {at:?}: more than one answer"
            );
        }
    }
}

#[test]
fn operators_and_clocks() {
    let stop = dies(Code::ADMINISTRATIVE_SHUTDOWN);
    let hold = dies(Code::HOLD_TIMER_EXPIRED);
    let stuck = dies(Code::SEND_HOLD_TIMER_EXPIRED);
    check(&[
        (
            "1 ManualStart, 3 AutomaticStart",
            |bench, _| bench.give(Input::Start),
            [CONNECT, IDLE, CONNECT, ACTIVE, SENT, CONFIRM, UP],
        ),
        (
            "2 ManualStop, 8 AutomaticStop",
            |bench, _| bench.give(Input::Stop(StopReason::Shutdown(String::new()))),
            [IDLE, IDLE, IDLE, IDLE, stop, stop, stop],
        ),
        (
            "9 ConnectRetryTimer_Expires, 13 IdleHoldTimer_Expires",
            |bench, _| wait(bench, 15),
            [IDLE, CONNECT, IDLE, ACTIVE, SENT, CONFIRM, UP],
        ),
        (
            "10 HoldTimer_Expires",
            |bench, _| wait(bench, 240),
            [IDLE, CONNECT, IDLE, ACTIVE, hold, hold, hold],
        ),
        (
            "11 KeepaliveTimer_Expires",
            |bench, _| {
                wait(bench, 30);
                let says = bench.peer.state() >= SessionState::OpenConfirm;
                assert_eq!(bench.sent(Kind::Keepalive), usize::from(says));
            },
            [IDLE, CONNECT, IDLE, ACTIVE, SENT, CONFIRM, UP],
        ),
        (
            "29 SendHoldTimer_Expires",
            starve,
            [IDLE, IDLE, CONNECT, ACTIVE, SENT, CONFIRM, stuck],
        ),
    ]);
}

#[test]
fn connections_and_paths() {
    let bfd = dies(Code::BFD_DOWN);
    let collision = Some(Code::CONNECTION_COLLISION);
    let lost = (collision, SessionState::OpenConfirm);
    let second = (collision, SessionState::Established);
    check(&[
        (
            "16 Tcp_CR_Acked",
            |bench, id| bench.give(Input::Connected(id, LOCAL)),
            [IDLE, IDLE, SENT, ACTIVE, SENT, CONFIRM, UP],
        ),
        (
            "17 TcpConnectionConfirmed",
            |bench, _| {
                bench.accept();
            },
            [
                dies(Code::CONNECTION_REJECTED),
                SENT,
                SENT,
                SENT,
                SENT,
                CONFIRM,
                second,
            ],
        ),
        (
            "17 and 19, 23 OpenCollisionDump",
            |bench, _| {
                let id = bench.accept();
                if bench.peer.knows(id) {
                    bench.receive(id, &mk_open());
                }
            },
            [
                dies(Code::CONNECTION_REJECTED),
                CONFIRM,
                CONFIRM,
                CONFIRM,
                CONFIRM,
                lost,
                second,
            ],
        ),
        (
            "18 TcpConnectionFails, of an attempt",
            |bench, id| {
                let refused = ConnectFailure::Refused("no".into());
                bench.give(Input::ConnectFailed(id, refused));
            },
            [IDLE, IDLE, IDLE, ACTIVE, SENT, CONFIRM, UP],
        ),
        (
            "18 TcpConnectionFails",
            |bench, id| bench.give(Input::Lost(id, "gone".into())),
            [IDLE, IDLE, IDLE, ACTIVE, IDLE, IDLE, IDLE],
        ),
        (
            "BFD down (RFC 9384)",
            |bench, _| bench.give(Input::BfdDown),
            [IDLE, IDLE, CONNECT, ACTIVE, bfd, bfd, bfd],
        ),
        (
            "link down",
            |bench, _| bench.give(Input::LinkDown("eth0 is down".into())),
            [IDLE, IDLE, IDLE, ACTIVE, IDLE, IDLE, IDLE],
        ),
        (
            "link up",
            |bench, _| bench.give(Input::LinkUp),
            [IDLE, CONNECT, CONNECT, ACTIVE, SENT, CONFIRM, UP],
        ),
    ]);
}

#[test]
fn messages() {
    let early = dies(Code::UNEXPECTED_IN_OPEN_SENT);
    let confirm = dies(Code::UNEXPECTED_IN_OPEN_CONFIRM);
    let late = dies(Code::UNEXPECTED_IN_ESTABLISHED);
    let header = dies(Code::CONNECTION_NOT_SYNCHRONIZED);
    let version = dies(Code::UNSUPPORTED_VERSION);
    let broken = dies(Code::MALFORMED_ATTRIBUTE_LIST);
    check(&[
        (
            "19 BGPOpen",
            |bench, id| say(bench, id, &mk_open()),
            [IDLE, IDLE, CONNECT, ACTIVE, CONFIRM, confirm, late],
        ),
        (
            "21 BGPHeaderErr",
            |bench, id| bench.give(Input::Garbled(id, HeaderError::Marker)),
            [IDLE, IDLE, CONNECT, ACTIVE, header, header, header],
        ),
        (
            "22 BGPOpenMsgErr",
            |bench, id| say(bench, id, &mk_bad_open()),
            [IDLE, IDLE, CONNECT, ACTIVE, version, confirm, late],
        ),
        (
            "24 NotifMsgVerErr",
            |bench, id| say(bench, id, &mk_notification(Code::UNSUPPORTED_VERSION)),
            [IDLE, IDLE, CONNECT, ACTIVE, IDLE, IDLE, IDLE],
        ),
        (
            "25 NotifMsg",
            |bench, id| say(bench, id, &mk_notification(Code::ADMINISTRATIVE_RESET)),
            [IDLE, IDLE, CONNECT, ACTIVE, IDLE, IDLE, IDLE],
        ),
        (
            "26 KeepAliveMsg",
            |bench, id| say(bench, id, &mk_keepalive()),
            [IDLE, IDLE, CONNECT, ACTIVE, early, UP, UP],
        ),
        (
            "27 UpdateMsg",
            |bench, id| say(bench, id, &mk_update()),
            [IDLE, IDLE, CONNECT, ACTIVE, early, confirm, UP],
        ),
        (
            "28 UpdateMsgErr",
            |bench, id| say(bench, id, &mk_bad_update()),
            [IDLE, IDLE, CONNECT, ACTIVE, early, confirm, broken],
        ),
        (
            "ROUTE-REFRESH (RFC 2918)",
            |bench, id| say(bench, id, &mk_refresh()),
            [IDLE, IDLE, CONNECT, ACTIVE, early, confirm, UP],
        ),
    ]);
}
