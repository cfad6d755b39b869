//! Which packets are believed: keys, sequence numbers, and bytes at random (§6.7, §6.8.6).

use proptest::prelude::*;

use super::super::super::auth::{Bytes, Key, Method};
use super::*;

fn mk_keyed(secret: &str) -> Config {
    let secret = Bytes::new(secret.as_bytes()).unwrap();
    let authentication =
        Authentication::new(Method::MeticulousSha1, Key { id: 1, secret }, []).unwrap();
    Config {
        authentication: Some(authentication),
        ..mk_config(300, 300, 3)
    }
}

#[test]
fn a_packet_that_is_not_believed_changes_nothing() {
    let now = mk_start();
    let mut open = mk_in(State::Down, now);
    let mut stranger = mk_session(mk_keyed("other"), 2, now);
    let foreign = stranger.poll_tx(now).unwrap();
    assert!(open.on_packet(&foreign, now).is_err());
    let mut keyed = mk_session(mk_keyed("secret"), 1, now);
    for packet in [mk_heard(State::Down), mk_heard(State::Init), foreign] {
        let poll = Packet {
            poll: true,
            ..packet
        };
        assert!(keyed.on_packet(&poll, now).is_err());
        assert_eq!(
            (keyed.state(), keyed.remote_discriminator()),
            (State::Down, None)
        );
        assert!(drain(&mut keyed, now).iter().all(|it| !it.is_final));
    }
}

#[test]
fn sequence_numbers_are_forgotten_after_two_detection_times() {
    let now = mk_start();
    let mut keyed = mk_session(mk_keyed("secret"), 1, now);
    let mut before = mk_session(mk_keyed("secret"), 2, now);
    keyed.on_packet(&before.poll_tx(now).unwrap(), now).unwrap();
    let mut reborn = mk_session(mk_keyed("secret"), 3, now);
    let first = reborn.poll_tx(now).unwrap();
    keyed.on_timeout(now + 5 * SECOND);
    assert!(keyed.on_packet(&first, now).is_err(), "too early");
    keyed.on_timeout(now + 6 * SECOND);
    assert!(keyed.on_packet(&first, now).is_ok());
}

proptest! {
    /// F17: whatever comes, nothing panics, and what is not a valid packet leaves no trace.
    #[test]
    fn random_packets_never_break_a_session(
        datagrams in prop::collection::vec((prop::collection::vec(any::<u8>(), 20..60), 0u64..2000, any::<bool>()), 1..60),
        seed: u64,
    ) {
        let start = mk_start();
        let mut now = start;
        let mut session = mk_session(mk_config(50, 50, 3), seed, now);
        let mut sent = Vec::new();
        for (mut bytes, millis, mend) in datagrams {
            now += Duration::from_millis(millis);
            if mend {
                bytes.resize(24, 0);
                bytes[0] = 0x20 | bytes[0] & 0x1f;
                bytes[1] &= 0xfa;
                bytes[3] = 24;
            }
            session.on_timeout(now);
            if let Ok(packet) = Packet::decode(&bytes) {
                let _verdict = session.on_packet(&packet, now);
            }
            for _ in 0..4 {
                let Some(packet) = session.poll_tx(now) else { break };
                let mut wire = Vec::new();
                packet.encode(&mut wire);
                prop_assert_eq!(Packet::decode(&wire), Ok(packet));
                sent.push((now, packet));
            }
            prop_assert_eq!(session.poll_tx(now), None, "it has an end");
            prop_assert!(session.state() == State::Up || session.interval() >= SECOND);
            prop_assert!(session.state() != State::Up || session.diag() == Diag::NONE);
        }
        prop_assert!(sent.iter().all(|(_, packet)| packet.my_discriminator.get() == 9));
    }
}
