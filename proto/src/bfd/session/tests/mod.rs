//! One session by itself: the tables of the RFC, row by row.

mod belief;
mod poll;
mod states;
mod timing;

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

/// What a peer that is Up answers to a poll.
fn mk_final() -> Packet {
    Packet {
        is_final: true,
        ..mk_heard(State::Up)
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
