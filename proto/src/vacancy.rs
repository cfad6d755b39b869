//! Whether somebody uses an address already, asked of the links before it is answered for: the probes of RFC 5227 §2.1.1
//! for IPv4 and of RFC 4862 §5.4 for IPv6, as data: no clock, no frames, no sockets.
//!
//! ```text
//! start ──► probe   +100 ms probe   +200 ms probe   +300 ms ──► free
//!             └──────────────┴── somebody objects ─────┴──────► taken, at once
//! ```
//!
//! RFC 5227 waits seconds between probes, for hosts that appear one by one on slow links; a load balancer cannot. What
//! the short times miss is heard later, when both announce.
//!
//! Probes are paced ([`crate::pace`]): of thousands of checks that begin at once, each still has its full time after
//! each of its probes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::ndp::Nonce;
use crate::pace::Pace;

/// Probes on each port (RFC 5227 §1.1, `PROBE_NUM`).
pub const PROBES: u8 = 3;
/// From one probe to the next, and from the last to the verdict.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// The checks of one node, where a port is whatever the caller probes on (an interface index).
#[derive(Debug)]
pub struct Checks<P> {
    running: BTreeMap<IpAddr, Check<P>>,
    due: BTreeSet<(Instant, IpAddr)>,
    pace: Pace,
}

#[derive(Debug)]
struct Check<P> {
    ports: Vec<P>,
    nonce: Nonce,
    /// Complete rounds.
    rounds: u8,
    /// Ports probed in the present round.
    probed: usize,
    next: Instant,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<P> {
    /// Send a probe.
    Probe {
        /// On which port.
        port: P,
        /// For which address.
        vip: IpAddr,
        /// What tells our own probes from those of others (RFC 7527).
        nonce: Nonce,
    },
    /// The check is over: nobody objected.
    Free {
        /// The address.
        vip: IpAddr,
    },
}

impl<P> Default for Checks<P> {
    fn default() -> Self {
        Self {
            running: BTreeMap::new(),
            due: BTreeSet::new(),
            pace: Pace::default(),
        }
    }
}

impl<P: Copy + Ord> Checks<P> {
    /// Begins a check; `false` and no change when one of the same ports runs. One of other ports begins anew.
    pub fn start(&mut self, vip: IpAddr, ports: Vec<P>, nonce: Nonce, now: Instant) -> bool {
        if self.running.get(&vip).is_some_and(|it| it.ports == ports) {
            return false;
        }
        self.stop(vip);
        let check = Check {
            ports,
            nonce,
            rounds: 0,
            probed: 0,
            next: now,
        };
        self.running.insert(vip, check);
        self.due.insert((now, vip));
        true
    }

    /// Ends a check without a verdict, or because somebody objects; whether it was running.
    pub fn stop(&mut self, vip: IpAddr) -> bool {
        let check = self.running.remove(&vip);
        check.is_some_and(|check| self.due.remove(&(check.next, vip)))
    }

    /// What is due, to be done by the caller at once. Call until `None`.
    pub fn next(&mut self, now: Instant) -> Option<Step<P>> {
        loop {
            let &(at, vip) = self.due.first().filter(|(at, _)| *at <= now)?;
            let Some(check) = self.running.get_mut(&vip) else {
                self.due.remove(&(at, vip));
                continue;
            };
            if check.rounds >= PROBES {
                self.stop(vip);
                return Some(Step::Free { vip });
            }
            let probe = match check.ports.get(check.probed) {
                Some(_) if !self.pace.admit(now) => return None,
                Some(port) => Some(Step::Probe {
                    port: *port,
                    vip,
                    nonce: check.nonce,
                }),
                // No port at all: it only takes its time.
                None => None,
            };
            check.probed += 1;
            if check.probed >= check.ports.len() {
                (check.probed, check.rounds) = (0, check.rounds + 1);
                check.next = now + PROBE_INTERVAL;
                self.due.remove(&(at, vip));
                self.due.insert((check.next, vip));
            }
            if probe.is_some() {
                return probe;
            }
        }
    }

    /// When [`Self::next`] will have something; `None` when no check runs.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let &(due, _) = self.due.first()?;
        Some(self.pace.not_before(due))
    }

    /// The addresses under check on a port, and what our probes for them carry.
    pub fn on(&self, port: P) -> impl Iterator<Item = (IpAddr, Nonce)> {
        let here = move |(_, check): &(&IpAddr, &Check<P>)| check.ports.contains(&port);
        let running = self.running.iter().filter(here);
        running.map(|(vip, check)| (*vip, check.nonce))
    }

    /// How many checks run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether no check runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

#[cfg(test)]
mod tests;
