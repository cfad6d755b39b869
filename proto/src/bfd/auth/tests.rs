//! What is signed, and what is believed.

use super::super::Packet;
use super::super::packet::tests::mk_packet;
use super::*;

const METHODS: [Method; 5] = [
    Method::SimplePassword,
    Method::KeyedMd5,
    Method::MeticulousMd5,
    Method::KeyedSha1,
    Method::MeticulousSha1,
];

fn mk_key(id: u8, secret: &str) -> Key {
    let secret = Bytes::new(secret.as_bytes()).unwrap();
    Key { id, secret }
}

fn mk_authenticator(method: Method, secret: &str) -> Authenticator {
    let config = Authentication::new(method, mk_key(1, secret), []).unwrap();
    Authenticator::new(config, u32::MAX)
}

fn mk_signed(by: &mut Authenticator) -> Packet {
    let mut packet = mk_packet();
    by.sign(&mut packet);
    packet
}

#[test]
fn what_one_side_signs_the_other_accepts_after_a_walk_over_the_wire() {
    for method in METHODS {
        let mut sender = mk_authenticator(method, "secret");
        let mut receiver = mk_authenticator(method, "secret");
        for round in 0..20 {
            let mut bytes = Vec::new();
            mk_signed(&mut sender).encode(&mut bytes);
            assert_eq!(usize::from(bytes[3]), bytes.len(), "{method:?}");
            let packet = Packet::decode(&bytes).unwrap();
            assert_eq!(receiver.check(&packet), Ok(()), "{method:?}, round {round}");
        }
    }
}

#[test]
fn any_changed_bit_is_noticed() {
    for method in &METHODS[1..] {
        let mut bytes = Vec::new();
        mk_signed(&mut mk_authenticator(*method, "secret")).encode(&mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(packet) = Packet::decode(&bytes) {
                let verdict = mk_authenticator(*method, "secret").check(&packet);
                assert!(verdict.is_err(), "{method:?}, bit {bit}");
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_refusal_has_its_reason() {
    let mut receiver = mk_authenticator(Method::KeyedSha1, "secret");
    assert_eq!(receiver.check(&mk_packet()), Err(AuthError::Missing));
    let md5 = mk_signed(&mut mk_authenticator(Method::KeyedMd5, "secret"));
    assert_eq!(
        receiver.check(&md5),
        Err(AuthError::Method(Method::KeyedMd5))
    );
    let wrong = mk_signed(&mut mk_authenticator(Method::KeyedSha1, "Secret"));
    assert_eq!(receiver.check(&wrong), Err(AuthError::Proof));
    let mut other = mk_signed(&mut mk_authenticator(Method::KeyedSha1, "secret"));
    if let Some(section) = &mut other.auth {
        section.key_id = 2;
    }
    assert_eq!(receiver.check(&other), Err(AuthError::Key(2)));
    let right = mk_signed(&mut mk_authenticator(Method::KeyedSha1, "secret"));
    assert_eq!(
        receiver.check(&right),
        Ok(()),
        "and none of them left a trace"
    );
}

#[test]
fn a_packet_replayed_is_refused_by_the_meticulous_and_an_old_one_by_all() {
    for method in &METHODS[1..] {
        let mut sender = mk_authenticator(*method, "secret");
        let mut receiver = mk_authenticator(*method, "secret");
        let first = mk_signed(&mut sender);
        assert_eq!(receiver.check(&first), Ok(()));
        assert_eq!(
            receiver.check(&first).is_err(),
            method.is_meticulous(),
            "{method:?}: the same again"
        );
        let mut second = mk_packet();
        second.diag = super::super::Diag::PATH_DOWN;
        sender.sign(&mut second);
        assert_eq!(receiver.check(&second), Ok(()), "{method:?}");
        assert!(
            receiver.check(&first).is_err(),
            "{method:?}: the one before"
        );
        receiver.forget();
        assert_eq!(
            receiver.check(&first),
            Ok(()),
            "{method:?}: a peer begins anew"
        );
    }
}

#[test]
fn the_window_is_three_times_the_multiplier_on_a_circle() {
    let mut receiver = mk_authenticator(Method::MeticulousSha1, "secret");
    let mut sender = mk_authenticator(Method::MeticulousSha1, "secret");
    sender.sending = u32::MAX - 4;
    assert_eq!(receiver.check(&mk_signed(&mut sender)), Ok(()));
    sender.sending = sender.sending.wrapping_add(8);
    assert_eq!(receiver.check(&mk_signed(&mut sender)), Ok(()), "9 ahead");
    sender.sending = sender.sending.wrapping_add(9);
    let verdict = receiver.check(&mk_signed(&mut sender));
    assert!(
        matches!(verdict, Err(AuthError::Sequence { window: 9, .. })),
        "{verdict:?}"
    );
}

#[test]
fn unchanged_contents_keep_their_number_unless_meticulous() {
    for (method, want) in [(Method::KeyedSha1, 0), (Method::MeticulousSha1, 1)] {
        let mut sender = mk_authenticator(method, "secret");
        let [first, second] = [(); 2].map(|()| mk_signed(&mut sender).auth.map(|it| it.sequence));
        let rise = second.unwrap().wrapping_sub(first.unwrap());
        assert_eq!(rise, want, "{method:?}");
    }
}

#[test]
fn keys_can_be_replaced_one_side_at_a_time() {
    let (old, new) = (mk_key(1, "old"), mk_key(2, "new"));
    let both = Authentication::new(Method::KeyedSha1, old, [new]).unwrap();
    let mut receiver = Authenticator::new(both, 0);
    for key in [old, new] {
        let one = Authentication::new(Method::KeyedSha1, key, []).unwrap();
        let packet = mk_signed(&mut Authenticator::new(one, 5));
        assert_eq!(receiver.check(&packet), Ok(()), "key {}", key.id);
    }
}

/// A peer as routers are: with the new key it knows the former one no more.
fn mk_strict(from: Authenticator, config: Authentication) -> Authenticator {
    let mut strict = from.rekeyed(config);
    strict.former = None;
    strict
}

fn mk_only(method: Method, key: Key) -> Authentication {
    Authentication::new(method, key, []).unwrap()
}

#[test]
fn a_new_key_costs_a_strict_peer_one_packet_whoever_of_both_is_first() {
    for method in METHODS {
        // The same number for both: the digest alone tells them apart.
        let configs = ["old", "new"].map(|secret| mk_only(method, mk_key(1, secret)));
        let mut ours = Authenticator::new(configs[0].clone(), 7);
        let mut theirs = Authenticator::new(configs[0].clone(), 70);
        assert_eq!(ours.check(&mk_signed(&mut theirs)), Ok(()));
        assert_eq!(theirs.check(&mk_signed(&mut ours)), Ok(()));
        ours = ours.rekeyed(configs[1].clone());
        assert!(ours.awaits_new_key());
        let sent: Vec<Packet> = (0..48).map(|_| mk_signed(&mut ours)).collect();
        let verdicts = sent.iter().map(|packet| theirs.check(packet).is_ok());
        let missed: Vec<usize> = verdicts
            .enumerate()
            .filter(|it| !it.1)
            .map(|it| it.0)
            .collect();
        assert_eq!(missed, [0, 16, 32], "{method:?}: what offers the new key");
        assert_eq!(
            ours.check(&mk_signed(&mut theirs)),
            Ok(()),
            "{method:?}: the old key"
        );
        assert!(ours.awaits_new_key());
        theirs = mk_strict(theirs, configs[1].clone());
        assert_eq!(
            ours.check(&mk_signed(&mut theirs)),
            Ok(()),
            "{method:?}: the new key"
        );
        assert!(!ours.awaits_new_key());
        assert_eq!(theirs.check(&mk_signed(&mut ours)), Ok(()), "{method:?}");
        let mut late = Authenticator::new(configs[0].clone(), 99);
        assert!(
            ours.check(&mk_signed(&mut late)).is_err(),
            "{method:?}: the old key is out"
        );
    }
}

#[test]
fn two_sides_that_wait_for_each_other_find_the_new_key_all_the_same() {
    let configs = ["old", "new"].map(|secret| mk_only(Method::MeticulousSha1, mk_key(1, secret)));
    let mut sides = [7, 70].map(|first| Authenticator::new(configs[0].clone(), first));
    let exchange = |[one, other]: &mut [Authenticator; 2]| {
        assert_eq!(other.check(&mk_signed(one)), Ok(()));
        assert_eq!(one.check(&mk_signed(other)), Ok(()));
    };
    exchange(&mut sides);
    sides = sides.map(|side| side.rekeyed(configs[1].clone()));
    for _ in 0..3 {
        exchange(&mut sides);
    }
    assert!(sides.iter().all(|side| !side.awaits_new_key()));
}

#[test]
fn a_key_that_was_never_used_is_not_kept_and_a_silent_peer_gets_the_new_one_only() {
    let [first, second, third] =
        ["a", "b", "c"].map(|secret| mk_only(Method::KeyedSha1, mk_key(1, secret)));
    let fresh = Authenticator::new(first.clone(), 1).rekeyed(second.clone());
    assert!(!fresh.awaits_new_key(), "nobody was heard with it");
    let mut ours = Authenticator::new(first.clone(), 1);
    let mut theirs = Authenticator::new(first.clone(), 9);
    ours.check(&mk_signed(&mut theirs)).unwrap();
    ours = ours.rekeyed(second).rekeyed(third);
    assert_eq!(
        ours.check(&mk_signed(&mut theirs)),
        Ok(()),
        "the one that is used"
    );
    assert!(
        !ours.clone().rekeyed(first).awaits_new_key(),
        "and back again"
    );
    ours.forget();
    assert!(!ours.awaits_new_key());
    assert_eq!(ours.check(&mk_signed(&mut theirs)), Err(AuthError::Proof));
}

#[test]
fn secrets_of_impossible_length_are_refused_and_none_is_shown() {
    assert!(Authentication::new(Method::KeyedMd5, mk_key(1, ""), []).is_err());
    assert!(Authentication::new(Method::KeyedMd5, mk_key(1, "seventeen bytes!!"), []).is_err());
    assert!(Authentication::new(Method::KeyedSha1, mk_key(1, "seventeen bytes!!"), []).is_ok());
    assert!(!format!("{:?}", mk_key(1, "hunter2")).contains("hunter2"));
    assert!(Bytes::new(&[0; 21]).is_none());
}

/// Computed with another implementation (Python's hashlib) from RFC 5880 §4.4.
#[test]
fn the_digest_is_that_of_the_rfc() {
    let config = Authentication::new(Method::KeyedSha1, mk_key(1, "secret"), []).unwrap();
    let mut sha1 = Authenticator::new(config, 41);
    let section = mk_signed(&mut sha1).auth.unwrap();
    assert_eq!(section.sequence, 42);
    assert_eq!(section.proof.as_slice(), SHA1_GOLDEN);
    let config = Authentication::new(Method::KeyedMd5, mk_key(1, "secret"), []).unwrap();
    let section = mk_signed(&mut Authenticator::new(config, 41)).auth.unwrap();
    assert_eq!(section.proof.as_slice(), MD5_GOLDEN);
}

const SHA1_GOLDEN: [u8; 20] = [
    0xca, 0xdb, 0x76, 0x5c, 0x4e, 0x61, 0x6a, 0xbf, 0xe5, 0xa9, 0x36, 0xbe, 0x69, 0xd7, 0x9f, 0xe5,
    0x31, 0x7b, 0xdc, 0xd2,
];
const MD5_GOLDEN: [u8; 16] = [
    0x02, 0xc6, 0x5e, 0x36, 0x52, 0x7c, 0x48, 0x82, 0xa1, 0x2f, 0xde, 0x2a, 0xfc, 0x0e, 0xd1, 0xa6,
];
