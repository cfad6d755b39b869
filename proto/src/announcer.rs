//! When virtual addresses are announced unasked, as data: no clock, no frames, no sockets.
//!
//! A burst starts when an address is taken up on a port, and again when something may have made
//! neighbours forget or disbelieve it (link up, new MAC). Its first announcement is the one that
//! moves traffic; the others are for lossy links.
//!
//! ```text
//! hold ──► now   +1.1 s   +2.2 s   +3.3 s   +4.4 s ──► silent until repeat() or defend()
//! ```
//!
//! Announcements are paced over all addresses, so that a node that takes over thousands does not
//! flood the switches' own processors, which read every broadcast.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::ethernet::MacAddr;

/// Time between two announcements of a burst. A Linux neighbour ignores a change within its
/// `locktime` of 1 s after the last one; a repetition that comes sooner would be lost.
pub const REPEAT: Duration = Duration::from_millis(1100);

/// Announcements in one burst: at 0 and then each [`REPEAT`] for nearly 5 s.
pub const ROUNDS: u8 = 5;

/// An address is defended against another's claim at most once in this time (RFC 5227 §1.1,
/// `DEFEND_INTERVAL`): two stubborn owners must not fill the link.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// At most [`PACE_BURST`] announcements in each [`PACE`]: 6400 a second, so that 400 addresses of a
/// dead node are all announced in 65 ms, and 5000 within one [`REPEAT`].
pub const PACE: Duration = Duration::from_millis(5);
/// See [`PACE`].
pub const PACE_BURST: u32 = 32;

/// Claimants remembered for one address; beyond that the one heard longest ago is forgotten.
pub const CLAIMANTS_MAX: usize = 8;

/// The schedule of one node: addresses on ports, where a port is whatever the caller announces on
/// (an interface index).
#[derive(Debug)]
pub struct Announcer<P> {
    held: BTreeMap<(P, IpAddr), Held>,
    due: BTreeSet<(Instant, P, IpAddr)>,
    pace: Option<Pace>,
}

#[derive(Debug, Default)]
struct Held {
    next: Option<Instant>,
    rounds_left: u8,
    defended: Option<Instant>,
    claimants: Vec<Claimant>,
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

/// What came of hearing another's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// We do not hold that address there (any more).
    NotHeld,
    /// Counted only: defended less than [`DEFEND_INTERVAL`] ago.
    Counted,
    /// Counted, and an announcement is due now.
    Defend,
}

#[derive(Debug)]
struct Pace {
    since: Instant,
    sent: u32,
}

impl<P: Copy + Ord> Default for Announcer<P> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            pace: None,
        }
    }
}

impl<P: Copy + Ord> Announcer<P> {
    /// Takes up an address on a port and starts a burst; `false` and no change when already held.
    pub fn hold(&mut self, port: P, vip: IpAddr, now: Instant) -> bool {
        if self.held.contains_key(&(port, vip)) {
            return false;
        }
        self.held.insert((port, vip), Held::default());
        self.schedule(port, vip, now, ROUNDS);
        true
    }

    /// Lets go of all addresses that `keep` does not want. Nothing is sent: there is no frame that
    /// takes an announcement back.
    pub fn retain(&mut self, mut keep: impl FnMut(P, IpAddr) -> bool) {
        self.held.retain(|(port, vip), _| keep(*port, *vip));
        let held = &self.held;
        self.due
            .retain(|(_, port, vip)| held.contains_key(&(*port, *vip)));
    }

    /// Starts a new burst for all addresses of a port.
    pub fn repeat(&mut self, port: P, now: Instant) {
        let vips: Vec<_> = self
            .held
            .keys()
            .filter(|key| key.0 == port)
            .copied()
            .collect();
        for (port, vip) in vips {
            self.schedule(port, vip, now, ROUNDS);
        }
    }

    /// Another station claims an address that we hold.
    pub fn claimed(&mut self, port: P, vip: IpAddr, mac: MacAddr, now: Instant) -> Verdict {
        let Some(held) = self.held.get_mut(&(port, vip)) else {
            return Verdict::NotHeld;
        };
        held.count(mac, now);
        if held
            .defended
            .is_some_and(|last| now.saturating_duration_since(last) < DEFEND_INTERVAL)
        {
            return Verdict::Counted;
        }
        held.defended = Some(now);
        let rounds = held.rounds_left.max(1);
        self.schedule(port, vip, now, rounds);
        Verdict::Defend
    }

    /// The next announcement that is due, to be sent by the caller at once. Call until `None`.
    pub fn next(&mut self, now: Instant) -> Option<(P, IpAddr)> {
        let &(at, port, vip) = self.due.first()?;
        if at > now || !self.admit(now) {
            return None;
        }
        let rounds = self
            .held
            .get(&(port, vip))
            .map_or(0, |held| held.rounds_left);
        self.schedule(port, vip, now + REPEAT, rounds.saturating_sub(1));
        Some((port, vip))
    }

    /// When [`Self::next`] will have something; `None` when nothing is scheduled.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let &(due, ..) = self.due.first()?;
        let resume = self
            .pace
            .as_ref()
            .filter(|pace| pace.sent >= PACE_BURST)
            .map(|pace| pace.since + PACE);
        Some(resume.map_or(due, |resume| resume.max(due)))
    }

    /// Everything held, with those who claim it too.
    pub fn held(&self) -> impl Iterator<Item = (P, IpAddr, &[Claimant])> {
        self.held
            .iter()
            .map(|((port, vip), held)| (*port, *vip, held.claimants.as_slice()))
    }

    /// (Re)places the next announcement; none when no rounds are left.
    fn schedule(&mut self, port: P, vip: IpAddr, at: Instant, rounds: u8) {
        let Some(held) = self.held.get_mut(&(port, vip)) else {
            return;
        };
        if let Some(old) = held.next.take() {
            self.due.remove(&(old, port, vip));
        }
        held.rounds_left = rounds;
        if rounds > 0 {
            held.next = Some(at);
            self.due.insert((at, port, vip));
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        match &mut self.pace {
            Some(pace) if now.saturating_duration_since(pace.since) < PACE => {
                let admitted = pace.sent < PACE_BURST;
                pace.sent += u32::from(admitted);
                admitted
            }
            _ => {
                self.pace = Some(Pace {
                    since: now,
                    sent: 1,
                });
                true
            }
        }
    }
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
