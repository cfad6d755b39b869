//! Unique ids and name suffixes, without a dependency on a random generator.

use std::hash::{BuildHasher, RandomState};

/// Letters that cannot spell a word (apimachinery/util/rand).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A source of ids: hashes of a counter under a random key.
#[derive(Debug, Default)]
pub(super) struct Uids {
    state: RandomState,
    counter: u64,
}

impl Uids {
    fn number(&mut self) -> u64 {
        self.counter += 1;
        self.state.hash_one(self.counter)
    }

    /// A version 4 UUID (RFC 9562 §5.4).
    pub(super) fn next(&mut self) -> String {
        let (a, b) = (self.number(), self.number());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff,
        )
    }

    /// Five letters that complete a generateName.
    pub(super) fn suffix(&mut self) -> String {
        let mut number = self.number();
        let radix = LETTERS.len() as u64;
        (0..5)
            .filter_map(|_| {
                let letter = usize::try_from(number % radix)
                    .ok()
                    .and_then(|i| LETTERS.get(i));
                number /= radix;
                letter.map(|l| char::from(*l))
            })
            .collect()
    }
}
