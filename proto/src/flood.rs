//! What keeps a flood of frames from becoming a flood of answers, or of work: limits with bounded memory, and no clock.
//!
//! Each limit is one instant: until when what was admitted so far has used up the rate. It may lie in the future by as
//! much as a burst allows (the generic cell rate algorithm of ATM, ITU-T I.371).

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::ethernet::MacAddr;

/// A rate and how much of it may be used ahead of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time that one costs.
    pub cost: Duration,
    /// Time that may be used up in advance.
    pub ahead: Duration,
}

impl Rate {
    /// So many in a second, and so many at once.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let cost = Duration::from_nanos(1_000_000_000 / per_second as u64);
        Self {
            cost,
            ahead: cost.saturating_mul(burst - 1),
        }
    }
}

/// Answers to one requester. A router that asks again for 5000 addresses in one moment is served; one that asks more
/// than 2000 times a second for long is broken.
pub const PER_REQUESTER: Rate = Rate::new(2_000, 8_192);
/// Answers to all together: senders can be forged, a new one for each request. At about 5 µs for each answer this is a
/// tenth of one processor.
pub const IN_ALL: Rate = Rate::new(20_000, 16_384);
/// Claims and answers to our own questions that are passed on for a decision.
pub const PASSED_ON: Rate = Rate::new(2_000, 4_096);
/// The same station about the same address is passed on once in this time.
pub const SAME_AGAIN: Duration = Duration::from_millis(100);

/// Until when the rate is used up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket(Option<Instant>);

impl Bucket {
    /// Whether one more is within the rate.
    #[must_use]
    pub fn has_room(self, rate: Rate, now: Instant) -> bool {
        self.0.is_none_or(|used| used <= now + rate.ahead)
    }

    /// Uses up the cost of one.
    pub fn charge(&mut self, rate: Rate, now: Instant) {
        self.0 = Some(self.0.map_or(now, |used| used.max(now)) + rate.cost);
    }

    /// Whether one more is within the rate; it counts if so.
    pub fn admit(&mut self, rate: Rate, now: Instant) -> bool {
        let admitted = self.has_room(rate, now);
        if admitted {
            self.charge(rate, now);
        }
        admitted
    }
}

const SETS: usize = 256;
const WAYS: usize = 4;

/// Limits answers: to each requester ([`PER_REQUESTER`]) and to all ([`IN_ALL`]).
///
/// 1024 requesters are remembered. A new one takes the place of the one that has used least, which loses nothing
/// by being forgotten; so forged senders do not free one that has used up its own.
#[derive(Debug)]
pub struct Replies {
    hasher: RandomState,
    sets: Box<[[(MacAddr, Bucket); WAYS]]>,
    all: Bucket,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            sets: vec![[(MacAddr::ZERO, Bucket::default()); WAYS]; SETS].into(),
            all: Bucket::default(),
        }
    }
}

impl Replies {
    /// Whether this requester may be answered now; it counts if so.
    pub fn admit(&mut self, requester: MacAddr, now: Instant) -> bool {
        if !self.all.has_room(IN_ALL, now) {
            return false;
        }
        let admitted = self
            .bucket(requester)
            .is_none_or(|it| it.admit(PER_REQUESTER, now));
        if admitted {
            self.all.charge(IN_ALL, now);
        }
        admitted
    }

    fn bucket(&mut self, requester: MacAddr) -> Option<&mut Bucket> {
        let set = place(&self.hasher, requester, SETS);
        let set = self.sets.get_mut(set)?;
        let rank = |(mac, bucket): &(MacAddr, Bucket)| (*mac != requester, bucket.0);
        let slot = set.iter_mut().min_by_key(|slot| rank(slot))?;
        if slot.0 != requester {
            *slot = (requester, Bucket::default());
        }
        Some(&mut slot.1)
    }
}

/// Tells what was just said from what is new: a station about an address, once in [`SAME_AGAIN`].
#[derive(Debug)]
pub struct Repetitions {
    hasher: RandomState,
    slots: Box<[Option<(IpAddr, MacAddr, Instant)>]>,
    all: Bucket,
}

const SLOTS: usize = 1024;

impl Default for Repetitions {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: vec![None; SLOTS].into(),
            all: Bucket::default(),
        }
    }
}

/// What to do with something that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Pass it on.
    New,
    /// It was passed on a moment ago.
    Repeated,
    /// Too much is new ([`PASSED_ON`]).
    TooMuch,
}

impl Repetitions {
    /// Judges, and remembers what is to be passed on. Of two that share a place the later one is remembered.
    pub fn judge(&mut self, ip: IpAddr, mac: MacAddr, now: Instant) -> Novelty {
        let slot = place(&self.hasher, (ip, mac), SLOTS);
        let Some(slot) = self.slots.get_mut(slot) else {
            return Novelty::TooMuch;
        };
        let again = slot.is_some_and(|(known, by, last)| {
            (known, by) == (ip, mac) && now.saturating_duration_since(last) < SAME_AGAIN
        });
        if again {
            return Novelty::Repeated;
        }
        if !self.all.admit(PASSED_ON, now) {
            return Novelty::TooMuch;
        }
        *slot = Some((ip, mac, now));
        Novelty::New
    }
}

/// A place in a table of this size that nobody outside can foresee.
fn place(hasher: &RandomState, key: impl std::hash::Hash, size: usize) -> usize {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    usize::try_from(hasher.hash_one(key) % size).unwrap_or_default()
}

/// A thread that ordinary ones cannot interrupt works at most this part of the time: one in four.
pub const SHARE: u32 = 4;
/// Work that may be done at once, of which [`SHARE`] times as long is then made up for.
pub const WORK_BURST: Duration = Duration::from_millis(50);
/// A pause is at least this long: waking up costs, too.
pub const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Bounds the processor time of a thread.
#[derive(Debug, Default)]
pub struct WorkShare(Bucket);

impl WorkShare {
    /// The thread has worked. Returns how long it has to pause now, if so.
    pub fn worked(&mut self, worked: Duration, now: Instant) -> Option<Duration> {
        let rate = Rate {
            cost: worked * SHARE,
            ahead: WORK_BURST * SHARE,
        };
        self.0.charge(rate, now);
        if self.0.has_room(rate, now) {
            return None;
        }
        let over = self.0.0?.saturating_duration_since(now + rate.ahead);
        Some(over.max(PAUSE_MIN))
    }
}

#[cfg(test)]
mod tests;
