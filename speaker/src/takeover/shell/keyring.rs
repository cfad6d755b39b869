//! The key of the speakers, and how it is replaced while all of them work.
//!
//! ```text
//!            new key seen        + 10 s                        + 5 min
//! sign       old ───────────────► new ──────────────────────────────────►
//! believe    old ──► old and new ─────────────────────────────► new ─────►
//! ```
//!
//! Speakers see a new key within seconds of each other. Whoever sees it first goes on signing with the old one, so that the
//! others believe it; whoever sees it late is still believed.

use std::time::{Duration, Instant};

use portolan_proto::bfd::auth::{Authentication, Bytes, Key as BfdKey, Method};
use portolan_proto::claim::Key;

/// How long the old key is still signed with.
const SIGN_OLD: Duration = Duration::from_secs(10);
/// How long it is still believed.
const BELIEVE_OLD: Duration = Duration::from_secs(300);
/// Old keys that are believed at once: nobody needs more, and each costs time with every forged message.
const OLD_KEYS: usize = 3;
/// What BFD packets call the key. All have the same number: a receiver tries each key of that number.
const KEY_ID: u8 = 1;

/// The key in use and those before it.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    current: Option<Key>,
    /// With the time when they were replaced, newest first.
    old: Vec<(Key, Instant)>,
    /// What is signed with until then, as everybody knows it.
    held_on: Option<(Key, Instant)>,
}

impl Keyring {
    /// Takes a key; none leaves everything as it was.
    pub(super) fn set(&mut self, key: Option<Key>, now: Instant) {
        self.handle_timeout(now);
        let Some(key) = key.filter(|key| self.current.as_ref() != Some(key)) else {
            return;
        };
        let signing = self.signing(now).cloned();
        self.held_on = signing
            .filter(|signing| *signing != key)
            .map(|signing| (signing, now + SIGN_OLD));
        self.old.retain(|(old, _)| *old != key);
        if let Some(before) = self.current.replace(key) {
            self.old.insert(0, (before, now));
            self.old.truncate(OLD_KEYS);
        }
    }

    /// Forgets what is not believed any more.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.old
            .retain(|(_, replaced)| now.saturating_duration_since(*replaced) < BELIEVE_OLD);
    }

    /// When signing or believing changes next.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let ends = self.old.iter().map(|(_, replaced)| *replaced + BELIEVE_OLD);
        let held_on = self.held_on.iter().map(|(_, until)| *until);
        ends.chain(held_on).filter(|at| *at > now).min()
    }

    /// What is signed with now.
    pub(super) fn signing(&self, now: Instant) -> Option<&Key> {
        let old = self.held_on.as_ref().filter(|(_, until)| now < *until);
        old.map(|(key, _)| key).or(self.current.as_ref())
    }

    /// All that are believed.
    pub(super) fn believed(&self) -> Vec<Key> {
        let old = self.old.iter().map(|(key, _)| key);
        self.current.iter().chain(old).cloned().collect()
    }

    /// The same for BFD; none without a key.
    pub(super) fn authentication(&self, now: Instant) -> Option<Authentication> {
        let signing = bfd(self.signing(now)?)?;
        let believed = self.believed();
        let others = believed.iter().filter_map(bfd);
        let others = others.filter(|key| *key != signing);
        Authentication::new(Method::MeticulousSha1, signing, others).ok()
    }
}

fn bfd(key: &Key) -> Option<BfdKey> {
    let secret = Bytes::new(&key.bfd())?;
    Some(BfdKey { id: KEY_ID, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_key(name: &str) -> Key {
        Key::new(format!("the key of name {name}").as_bytes()).unwrap()
    }

    fn mk_start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn the_old_key_signs_for_ten_seconds_and_is_believed_for_five_minutes() {
        let start = mk_start();
        let mut keyring = Keyring::default();
        assert_eq!(keyring.signing(start), None);
        assert_eq!(keyring.authentication(start), None);
        let [a, b] = ["a", "b"].map(mk_key);
        keyring.set(Some(a.clone()), start);
        assert_eq!(keyring.signing(start), Some(&a), "the first key at once");
        assert_eq!(keyring.next_deadline(start), None);
        keyring.set(Some(b.clone()), start);
        for (seconds, signs, believes) in [
            (0, &a, vec![&b, &a]),
            (9, &a, vec![&b, &a]),
            (10, &b, vec![&b, &a]),
            (299, &b, vec![&b, &a]),
            (300, &b, vec![&b]),
        ] {
            let now = start + Duration::from_secs(seconds);
            keyring.handle_timeout(now);
            assert_eq!(keyring.signing(now), Some(signs), "after {seconds} s");
            let believed = keyring.believed();
            assert_eq!(
                believed.iter().collect::<Vec<_>>(),
                believes,
                "after {seconds} s"
            );
        }
    }

    #[test]
    fn deadlines_are_those_of_both_changes() {
        let start = mk_start();
        let mut keyring = Keyring::default();
        keyring.set(Some(mk_key("a")), start);
        keyring.set(Some(mk_key("b")), start);
        let signs = start + SIGN_OLD;
        assert_eq!(keyring.next_deadline(start), Some(signs));
        assert_eq!(keyring.next_deadline(signs), Some(start + BELIEVE_OLD));
        assert_eq!(keyring.next_deadline(start + BELIEVE_OLD), None);
    }

    #[test]
    fn a_secret_that_is_lost_or_taken_back_changes_little() {
        let start = mk_start();
        let mut keyring = Keyring::default();
        let [a, b] = ["a", "b"].map(mk_key);
        keyring.set(Some(a.clone()), start);
        keyring.set(None, start);
        assert_eq!(keyring.signing(start), Some(&a), "the last key stays");
        keyring.set(Some(b.clone()), start);
        keyring.set(Some(a.clone()), start);
        assert_eq!(keyring.believed(), [a, b], "no key twice");
    }

    #[test]
    fn whoever_has_missed_a_key_that_was_soon_replaced_still_believes_us() {
        let start = mk_start();
        let [a, b, c] = ["a", "b", "c"].map(mk_key);
        for (row, last) in [("taken back", &a), ("replaced", &c)] {
            let mut keyring = Keyring::default();
            keyring.set(Some(a.clone()), start);
            keyring.set(Some(b.clone()), start);
            let soon = start + Duration::from_secs(1);
            keyring.set(Some(last.clone()), soon);
            assert_eq!(keyring.signing(soon), Some(&a), "{row}");
            assert_eq!(keyring.signing(soon + SIGN_OLD), Some(last), "{row}");
        }
    }

    #[test]
    fn bfd_believes_what_messages_are_believed_by() {
        let start = mk_start();
        let mut keyring = Keyring::default();
        keyring.set(Some(mk_key("a")), start);
        let before = keyring.authentication(start);
        keyring.set(Some(mk_key("b")), start);
        let during = keyring.authentication(start);
        let after = keyring.authentication(start + SIGN_OLD);
        assert!(before != during && during != after && before.is_some());
    }
}
