//! BFD: packets, and a session that gets them.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use portolan_proto::bfd::{Config, Discriminator, Micros, Packet, Session, State, Timing};

use super::Source;

/// A datagram: read, written and read again.
pub fn bfd_packet(data: &[u8]) {
    let Ok(packet) = Packet::decode(data) else {
        return;
    };
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    assert!(
        (24..=52).contains(&bytes.len()),
        "a packet of {}",
        bytes.len()
    );
    assert_eq!(
        Packet::decode(&bytes).as_ref(),
        Ok(&packet),
        "written and read"
    );
    let mut again = Vec::new();
    packet.encode(&mut again);
    assert_eq!(bytes, again, "written twice");
}

/// Packets, decisions and time in any order. The session never sends too fast, never claims more than it heard, and
/// falls silent only where the RFC wants it to.
pub fn bfd_session(data: &[u8]) {
    let mut source = Source(data);
    let mut now = super::session::start();
    let mine = Discriminator::new(7).expect("not 0");
    let config = |multiplier: u8, milliseconds: u8| Config {
        timing: Timing {
            transmit: Micros::from_millis(10 + u32::from(milliseconds)),
            receive: Micros::from_millis(10 + u32::from(milliseconds)),
        },
        multiplier: NonZeroU8::new(multiplier).unwrap_or(NonZeroU8::MIN),
        passive: milliseconds & 1 != 0,
        control_plane_independent: false,
        authentication: None,
    };
    let mut session = Session::new(
        mine,
        config(source.u8(), source.u8()),
        u64::from(source.u8()),
        now,
    );
    let mut steps = 0;
    while !source.is_empty() && steps < 400 {
        steps += 1;
        match source.u8() % 8 {
            0..=2 => {
                let mut bytes = source.bytes(24).to_vec();
                if bytes.len() == 24 {
                    // Packets that get past the decoder and the demultiplexer are what is of interest.
                    (bytes[0], bytes[3]) = (0x20 | bytes[0] & 0x1f, 24);
                    bytes[1] &= !0x05;
                }
                if let Ok(packet) = Packet::decode(&bytes) {
                    let change = session.on_packet(&packet, now);
                    let up = change
                        .ok()
                        .flatten()
                        .is_some_and(|change| change.to == State::Up);
                    assert!(
                        !up || matches!(packet.state, State::Init | State::Up),
                        "Up by {packet:?}"
                    );
                }
            }
            3 => drop(session.admin_down(portolan_proto::bfd::Diag::ADMINISTRATIVELY_DOWN)),
            4 => drop(session.admin_up()),
            5 => session.set_config(config(source.u8(), source.u8())),
            6 => now += Duration::from_millis(u64::from(source.u8())),
            _ => {
                now = session
                    .next_deadline()
                    .map_or(now, |deadline| deadline.max(now));
            }
        }
        tick(&mut session, now);
    }
}

fn tick(session: &mut Session, now: Instant) {
    let was = session.state();
    if let Some(change) = session.on_timeout(now) {
        assert_eq!(
            (change.from, change.to),
            (was, State::Down),
            "time can only take it down"
        );
    }
    // A final may go out beside the periodic packet; a third is a loop.
    let mut sent = 0;
    while let Some(packet) = session.poll_tx(now) {
        sent += 1;
        assert!(sent <= 2, "it does not stop sending");
        assert_eq!(packet.state, session.state(), "what it says of itself");
        assert!(!(packet.poll && packet.is_final), "poll and final at once");
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        assert_eq!(
            Packet::decode(&bytes).as_ref(),
            Ok(&packet),
            "what it sends"
        );
        let fast = packet.desired_min_tx.0 < 1_000_000;
        assert!(
            packet.state == State::Up || !fast,
            "{packet:?} while not Up"
        );
    }
}
