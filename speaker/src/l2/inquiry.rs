//! Own questions to the links: checks whether an address is in use, and witnesses that are asked whether they are there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_proto::ndp::Nonce;
use portolan_proto::vacancy::{Checks, Step};

use super::interfaces::Interfaces;

/// An answer that comes later than this after the question is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Witnesses remembered at a time on one interface.
pub(super) const WITNESSES_MAX: usize = 64;

/// All questions of this node.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    checks: Checks<u32>,
    /// Where each address is checked, from the wish to the verdict.
    wanted: BTreeMap<IpAddr, Interfaces>,
    /// Those that wait for their interfaces to be in service.
    fresh: Vec<IpAddr>,
    asked: BTreeMap<(u32, IpAddr), Instant>,
    nonces: RandomState,
    drawn: u64,
}

impl Inquiries {
    /// Wants a check; whether there is something new to begin.
    pub(super) fn want(&mut self, vip: IpAddr, interfaces: Interfaces) -> bool {
        if self.wanted.get(&vip) == Some(&interfaces) {
            return false;
        }
        self.wanted.insert(vip, interfaces);
        self.fresh.push(vip);
        true
    }

    /// Begins what is wanted and waits; `ports` tells on which interfaces that is.
    pub(super) fn begin(&mut self, now: Instant, ports: impl Fn(IpAddr, &Interfaces) -> Vec<u32>) {
        for vip in std::mem::take(&mut self.fresh) {
            if let Some(interfaces) = self.wanted.get(&vip) {
                let ports = ports(vip, interfaces);
                let nonce = self.draw();
                self.checks.start(vip, ports, nonce, now);
            }
        }
    }

    fn draw(&mut self) -> Nonce {
        self.drawn += 1;
        let [nonce @ .., _, _] = self.nonces.hash_one(self.drawn).to_ne_bytes();
        nonce
    }

    /// Somebody objects: whether that ends a check.
    pub(super) fn object(&mut self, vip: IpAddr) -> bool {
        let ended = self.checks.stop(vip);
        if ended {
            self.wanted.remove(&vip);
        }
        ended
    }

    pub(super) fn next(&mut self, now: Instant) -> Option<Step<u32>> {
        let step = self.checks.next(now);
        if let Some(Step::Free { vip }) = step {
            self.wanted.remove(&vip);
        }
        step
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.checks.deadline()
    }

    /// Addresses that are checked, or will be, on the interface with this name.
    pub(super) fn on(&self, name: &str) -> impl Iterator<Item = IpAddr> {
        let here = self.wanted.iter().filter(move |(_, on)| on.covers(name));
        here.map(|(vip, _)| *vip)
    }

    /// Addresses under check on a port, and what our probes for them carry.
    pub(super) fn checked(&self, port: u32) -> HashMap<IpAddr, Nonce> {
        self.checks.on(port).collect()
    }

    /// Forgets witnesses that had their time.
    pub(super) fn expire(&mut self, now: Instant) {
        self.asked.retain(|_, until| *until > now);
    }

    /// Notes that a witness is asked. Returns `false` when too many are.
    pub(super) fn ask(&mut self, port: u32, ip: IpAddr, now: Instant) -> bool {
        self.expire(now);
        let room = self.asked(port).len() < WITNESSES_MAX || self.asked.contains_key(&(port, ip));
        if room {
            self.asked.insert((port, ip), now + ANSWER_WITHIN);
        }
        room
    }

    /// Witnesses that were asked on a port a moment ago.
    pub(super) fn asked(&self, port: u32) -> HashSet<IpAddr> {
        let on_port = self.asked.keys().filter(|(on, _)| *on == port);
        on_port.map(|(_, ip)| *ip).collect()
    }

    /// Whether the answer of a witness is still waited for.
    pub(super) fn awaits(&self, port: u32, ip: IpAddr, now: Instant) -> bool {
        let until = self.asked.get(&(port, ip));
        until.is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_ip(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    fn mk_now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn a_witness_has_a_second_to_answer_and_there_is_room_for_so_many() {
        let (now, mut inquiries) = (mk_now(), Inquiries::default());
        for number in 0..64 {
            assert!(inquiries.ask(1, mk_ip(number), now), "{number}");
        }
        assert!(!inquiries.ask(1, mk_ip(64), now), "no more room");
        assert!(inquiries.ask(1, mk_ip(0), now), "it is known");
        assert!(inquiries.ask(2, mk_ip(64), now), "another interface");
        let later = now + Duration::from_millis(999);
        assert!(inquiries.awaits(1, mk_ip(0), later) && !inquiries.awaits(2, mk_ip(0), later));
        let late = now + ANSWER_WITHIN;
        assert!(!inquiries.awaits(1, mk_ip(0), late));
        assert!(
            inquiries.ask(1, mk_ip(64), late),
            "the others had their time"
        );
    }

    #[test]
    fn a_check_is_wanted_once_and_each_has_a_nonce_of_its_own() {
        let (now, mut inquiries) = (mk_now(), Inquiries::default());
        assert!(inquiries.want(mk_ip(1), Interfaces::All));
        assert!(!inquiries.want(mk_ip(1), Interfaces::All));
        assert!(inquiries.want(mk_ip(2), Interfaces::All));
        inquiries.begin(now, |_, _| vec![7]);
        let checked = inquiries.checked(7);
        assert_eq!(checked.len(), 2);
        assert_ne!(checked.get(&mk_ip(1)), checked.get(&mk_ip(2)));
        assert!(inquiries.object(mk_ip(1)) && !inquiries.object(mk_ip(1)));
        assert_eq!(inquiries.on("eth0").collect::<Vec<_>>(), [mk_ip(2)]);
        assert!(
            inquiries.want(mk_ip(1), Interfaces::All),
            "it may be checked again"
        );
    }
}
