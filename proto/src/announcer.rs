//! When virtual addresses are announced unasked, as data: no clock, no frames, no sockets.
//!
//! A burst starts when an address is taken up on a port, and again when something may have made
//! neighbours forget or disbelieve it (link up, new MAC). Its first announcement is the one that
//! moves traffic; the others are for lossy links. Then follow refreshes for ever, more often than
//! switches forget where a quiet address lives.
//!
//! ```text
//! hold ──► now   +1.1 s   +2.2 s   +3.3 s   +4.4 s ──► refresh ──► refresh ──► …
//! ```
//!
//! Announcements are paced over all addresses ([`crate::pace`]); what begins a burst goes before
//! what repeats.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::ethernet::MacAddr;
use crate::pace::Pace;

pub use crate::pace::{PACE, PACE_BURST};

/// Time between two announcements of a burst. A Linux neighbour ignores a change within its
/// `locktime` of 1 s after the last one; a repetition that comes sooner would be lost.
pub const REPEAT: Duration = Duration::from_millis(1100);

/// Announcements in one burst: at 0 and then each [`REPEAT`] for nearly 5 s.
pub const ROUNDS: u8 = 5;

/// An address is defended against another's claim at most once in this time (RFC 5227 §1.1,
/// `DEFEND_INTERVAL`): two stubborn owners must not fill the link.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// After the claim of another node of ours: time for the nodes to agree who answers. Whoever still
/// does then announces again, once more after [`REPEAT`] for those who had just believed the other.
pub const AGREE: Duration = Duration::from_millis(100);

/// Claims of other nodes start the wait of [`AGREE`] at most once in this time.
pub const AGREE_INTERVAL: Duration = Duration::from_secs(1);

/// Claimants remembered for one address; beyond that the one heard longest ago is forgotten.
pub const CLAIMANTS_MAX: usize = 8;

/// The schedule of one node: addresses on ports, where a port is whatever the caller announces on
/// (an interface index).
#[derive(Debug)]
pub struct Announcer<P> {
    held: BTreeMap<(P, IpAddr), Held>,
    /// What begins a burst.
    first: BTreeSet<(Instant, P, IpAddr)>,
    /// What repeats.
    later: BTreeSet<(Instant, P, IpAddr)>,
    pace: Pace,
}

#[derive(Debug, Default)]
struct Held {
    next: Option<(Urgency, Instant)>,
    rounds_left: u8,
    /// Zero for never.
    refresh: Duration,
    /// Announcements so far.
    said: u64,
    defended: Option<Instant>,
    agreed: Option<Instant>,
    claimants: Vec<Claimant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    First,
    Later,
}

/// Another station that says it has an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Who it is.
    pub mac: MacAddr,
    /// How often it was heard.
    pub count: u64,
    /// When it was heard last.
    pub last: Instant,
}

/// Whom another's claim comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another node of the cluster: the nodes agree among themselves, then one of them yields.
    Node,
    /// Anybody else.
    Stranger,
}

/// What came of hearing another's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// We do not hold that address there (any more).
    NotHeld,
    /// Counted only: defended less than [`DEFEND_INTERVAL`] ago.
    Counted,
    /// Counted, and an announcement is due now.
    Defend,
    /// Counted, and announcements are due when the nodes had time to agree.
    Agree,
}

impl<P: Copy + Ord> Default for Announcer<P> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            first: BTreeSet::new(),
            later: BTreeSet::new(),
            pace: Pace::default(),
        }
    }
}

impl<P: Copy + Ord + Hash> Announcer<P> {
    /// Takes up an address on a port and starts a burst; `false` when already held. `refresh` is
    /// the longest time between two announcements after that, zero for none; a new value counts
    /// from the next announcement on.
    pub fn hold(&mut self, port: P, vip: IpAddr, refresh: Duration, now: Instant) -> bool {
        if let Some(held) = self.held.get_mut(&(port, vip)) {
            let begin = held.refresh.is_zero() && held.next.is_none();
            held.refresh = refresh;
            if begin {
                self.schedule_refresh(port, vip, now);
            }
            return false;
        }
        let held = Held {
            refresh,
            ..Held::default()
        };
        self.held.insert((port, vip), held);
        self.schedule(port, vip, Urgency::First, now, ROUNDS);
        true
    }

    /// Lets go of one address on a port. Nothing is sent: there is no frame that takes an
    /// announcement back.
    pub fn release(&mut self, port: P, vip: IpAddr) {
        self.unschedule(port, vip);
        self.held.remove(&(port, vip));
    }

    /// Lets go of all addresses that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(P, IpAddr) -> bool) {
        self.held.retain(|(port, vip), _| keep(*port, *vip));
        let held = &self.held;
        self.first
            .retain(|(_, port, vip)| held.contains_key(&(*port, *vip)));
        self.later
            .retain(|(_, port, vip)| held.contains_key(&(*port, *vip)));
    }

    /// Starts a new burst for all addresses of a port.
    pub fn repeat(&mut self, port: P, now: Instant) {
        self.again(now, |on, _| on == port);
    }

    /// Starts a new burst for these addresses wherever they are held.
    pub fn announce(&mut self, vips: &BTreeSet<IpAddr>, now: Instant) {
        self.again(now, |_, vip| vips.contains(&vip));
    }

    fn again(&mut self, now: Instant, which: impl Fn(P, IpAddr) -> bool) {
        let keys = self.held.keys().filter(|(port, vip)| which(*port, *vip));
        for (port, vip) in keys.copied().collect::<Vec<_>>() {
            self.schedule(port, vip, Urgency::First, now, ROUNDS);
        }
    }

    /// Another station claims an address that we hold.
    pub fn claimed(
        &mut self,
        port: P,
        vip: IpAddr,
        mac: MacAddr,
        origin: Origin,
        now: Instant,
    ) -> Verdict {
        let Some(held) = self.held.get_mut(&(port, vip)) else {
            return Verdict::NotHeld;
        };
        held.count(mac, now);
        let (last, interval) = match origin {
            Origin::Stranger => (&mut held.defended, DEFEND_INTERVAL),
            Origin::Node => (&mut held.agreed, AGREE_INTERVAL),
        };
        if last.is_some_and(|last| now.saturating_duration_since(last) < interval) {
            return Verdict::Counted;
        }
        *last = Some(now);
        let rounds = held.rounds_left;
        match origin {
            Origin::Stranger => {
                self.schedule(port, vip, Urgency::First, now, rounds.max(1));
                Verdict::Defend
            }
            Origin::Node => {
                self.schedule(port, vip, Urgency::First, now + AGREE, rounds.max(2));
                Verdict::Agree
            }
        }
    }

    /// The next announcement that is due, to be sent by the caller at once. Call until `None`.
    pub fn next(&mut self, now: Instant) -> Option<(P, IpAddr)> {
        let due = |set: &BTreeSet<(Instant, P, IpAddr)>| {
            set.first().copied().filter(|(at, ..)| *at <= now)
        };
        let (_, port, vip) = due(&self.first).or_else(|| due(&self.later))?;
        if !self.pace.admit(now) {
            return None;
        }
        let held = self.held.get_mut(&(port, vip));
        let rounds = held.map_or(0, |held| {
            held.said += 1;
            held.rounds_left.saturating_sub(1)
        });
        if rounds > 0 {
            self.schedule(port, vip, Urgency::Later, now + REPEAT, rounds);
        } else {
            self.schedule_refresh(port, vip, now);
        }
        Some((port, vip))
    }

    /// When [`Self::next`] will have something; `None` when nothing is scheduled.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let ends = [self.first.first(), self.later.first()];
        let due = ends.into_iter().flatten().map(|(at, ..)| *at).min()?;
        Some(self.pace.not_before(due))
    }

    /// Everything held, with those who claim it too.
    pub fn held(&self) -> impl Iterator<Item = (P, IpAddr, &[Claimant])> {
        self.held
            .iter()
            .map(|((port, vip), held)| (*port, *vip, held.claimants.as_slice()))
    }

    /// (Re)places the next announcement of a burst.
    fn schedule(&mut self, port: P, vip: IpAddr, urgency: Urgency, at: Instant, rounds: u8) {
        self.unschedule(port, vip);
        if let Some(held) = self.held.get_mut(&(port, vip)) {
            held.rounds_left = rounds;
            held.next = Some((urgency, at));
            self.due(urgency).insert((at, port, vip));
        }
    }

    /// After a burst: the next refresh, if there is one.
    fn schedule_refresh(&mut self, port: P, vip: IpAddr, now: Instant) {
        self.unschedule(port, vip);
        if let Some(held) = self.held.get_mut(&(port, vip)) {
            held.rounds_left = 0;
            if !held.refresh.is_zero() {
                let share = jitter(&(port, vip, held.said));
                let at = now + held.refresh.max(REPEAT) * share / 1024;
                held.next = Some((Urgency::Later, at));
                self.later.insert((at, port, vip));
            }
        }
    }

    fn unschedule(&mut self, port: P, vip: IpAddr) {
        let held = self.held.get_mut(&(port, vip));
        if let Some((urgency, at)) = held.and_then(|held| held.next.take()) {
            self.due(urgency).remove(&(at, port, vip));
        }
    }

    fn due(&mut self, urgency: Urgency) -> &mut BTreeSet<(Instant, P, IpAddr)> {
        match urgency {
            Urgency::First => &mut self.first,
            Urgency::Later => &mut self.later,
        }
    }
}

/// Three quarters to the whole, in 1024ths: thousands of addresses that were taken up in one moment drift apart. Nobody
/// gains by foreseeing it, so it is made from what is announced and not drawn.
fn jitter(what: &impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    let [low, high, ..] = hasher.finish().to_le_bytes();
    768 + u32::from(u16::from_le_bytes([low, high])) % 257
}

impl Held {
    fn count(&mut self, mac: MacAddr, now: Instant) {
        if let Some(known) = self.claimants.iter_mut().find(|known| known.mac == mac) {
            known.count += 1;
            known.last = now;
            return;
        }
        if self.claimants.len() >= CLAIMANTS_MAX {
            let oldest = self.claimants.iter().map(|known| known.last).min();
            self.claimants.retain(|known| Some(known.last) != oldest);
        }
        self.claimants.push(Claimant {
            mac,
            count: 1,
            last: now,
        });
    }
}

#[cfg(test)]
mod tests;
