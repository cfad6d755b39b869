//! Does what the rules say, and says what has been done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_proto::claim::{Claim, Entry};

use super::Takeover;
use super::api::{Effect, Standing, State, Took};
use super::peer::{Path, Watch};
use super::rules::{Move, View};
use super::segment::Contact;
use super::vip::{Occupant, Phase, Vip};

/// Time between two hellos while a node that is watched is not there.
const HELLO: Duration = Duration::from_millis(250);
/// The same when all that is missing are nodes without a common subnet.
const HELLO_UNWATCHED: Duration = Duration::from_secs(1);

impl Takeover {
    /// Ends every call: looks at all that may have changed until nothing more follows, then says so.
    pub(super) fn finish(&mut self, now: Instant) {
        self.review_segments(now);
        while let Some(ip) = self.dirty.pop_first() {
            self.settle(ip, now);
        }
        if std::mem::take(&mut self.changed) {
            self.effects.push_back(Effect::Answers);
        }
        for ((from, cause), vips) in std::mem::take(&mut self.took) {
            let sign = self.peers.get(&from).and_then(|peer| peer.last_sign(now));
            self.effects.push_back(Effect::Took(Took {
                from: from.to_string(),
                cause,
                vips,
                since_last_sign: sign.map(|sign| now.saturating_duration_since(sign)),
            }));
        }
        self.greet(now);
        self.speak(now);
    }

    /// Finds out whether segments lead anywhere.
    fn review_segments(&mut self, now: Instant) {
        for (index, segment) in &mut self.segments {
            if segment.began() {
                let peers = self.peers.values_mut();
                peers
                    .filter_map(|peer| peer.paths.get_mut(index))
                    .for_each(|path| path.excuse(now));
            }
            let paths = self.peers.values().filter_map(|peer| peer.paths.get(index));
            let (mut up, mut was_up) = (false, false);
            for path in paths {
                up |= path.is_up();
                was_up |= path.watch != Watch::Unknown;
            }
            let witnesses = segment.review(up, was_up, now);
            if !witnesses.is_empty() {
                self.effects.push_back(Effect::Ask {
                    interface: *index,
                    witnesses,
                });
            }
            if segment.turned() {
                let here = self
                    .vips
                    .iter()
                    .filter(|(_, vip)| vip.homes.contains(index));
                self.dirty.extend(here.map(|(ip, _)| *ip));
            }
        }
    }

    /// Judges an address until nothing more follows.
    fn settle(&mut self, ip: IpAddr, now: Instant) {
        let Some(mut vip) = self.vips.remove(&ip) else {
            return;
        };
        let wake = loop {
            match self.view(now).judge(ip, &vip) {
                Move::Wait(wake) => break wake,
                Move::StandBy(wake) => {
                    stand_by(&mut vip);
                    break wake;
                }
                step => self.step(ip, &mut vip, step, now),
            }
        };
        let strongest = self
            .view(now)
            .strongest(ip, &vip)
            .map(|(_, node)| node.clone());
        if vip.occupied && strongest.is_none() {
            vip.vacant = now;
        }
        vip.occupied = strongest.is_some();
        if vip.occupied {
            vip.lost = None;
        }
        let holds = vip.claim().is_some();
        let contested = holds && vip.occupied;
        for home in &vip.homes {
            if let Some(segment) = self.segments.get_mut(home) {
                segment.speech.contest(ip, contested, now);
            }
        }
        if !holds && strongest.is_some() {
            vip.holder = strongest;
            vip.disappointments = 0;
        } else if !holds
            && vip
                .holder
                .as_ref()
                .is_some_and(|node| self.gave_up(ip, node))
        {
            vip.holder = None;
        }
        if holds && vip.rank.is_none() {
            self.strays.insert(ip);
        } else {
            self.strays.remove(&ip);
        }
        self.vips.insert(ip, vip);
        self.alarms.set(&ip, wake);
    }

    /// Whether the node said itself that it does not answer for the address.
    fn gave_up(&self, ip: IpAddr, node: &Arc<str>) -> bool {
        let known = self.claims.of(ip).find(|(by, _)| *by == node);
        known.is_some_and(|(_, known)| !known.held)
    }

    fn step(&mut self, ip: IpAddr, vip: &mut Vip, step: Move, now: Instant) {
        match step {
            Move::Wait(_) | Move::StandBy(_) => {}
            Move::Check => {
                vip.phase = Phase::Checking { since: now };
                self.ask_for(vip, now);
                let interfaces = self.interfaces(vip);
                self.effects.push_back(Effect::Check {
                    vip: ip,
                    interfaces,
                });
            }
            Move::Begin(claim, from) => {
                if let Some(from) = from {
                    self.took.entry(from).or_default().push(ip);
                }
                self.hold(ip, vip, claim, now);
            }
            Move::Renew(claim) => self.hold(ip, vip, claim, now),
            Move::Yield(to) => {
                self.let_go(ip, vip, now);
                vip.holder = Some(to.clone());
                self.effects.push_back(Effect::Yielded {
                    vip: ip,
                    to: to.to_string(),
                });
            }
            Move::Stop => {
                self.let_go(ip, vip, now);
                vip.lost = Some(now);
                vip.holder = None;
            }
        }
    }

    fn hold(&mut self, ip: IpAddr, vip: &mut Vip, claim: Claim, now: Instant) {
        self.changed |= vip.claim().is_none();
        vip.phase = Phase::Holding { claim };
        vip.last = Some(claim);
        vip.holder = Some(self.node.clone());
        vip.lost = None;
        vip.duel = None;
        vip.disappointments = 0;
        self.tell(
            vip,
            Entry {
                vip: ip,
                claim,
                held: true,
            },
            now,
        );
    }

    fn let_go(&mut self, ip: IpAddr, vip: &mut Vip, now: Instant) {
        let Some(claim) = vip.claim() else {
            return;
        };
        self.changed = true;
        vip.phase = Phase::Idle;
        vip.duel = None;
        vip.vacant = now;
        self.tell(
            vip,
            Entry {
                vip: ip,
                claim,
                held: false,
            },
            now,
        );
    }

    /// The address is no more: nothing is answered for it from now on.
    pub(super) fn release(&mut self, ip: IpAddr, now: Instant) {
        if let Some(mut vip) = self.vips.remove(&ip) {
            self.strays.remove(&ip);
            self.let_go(ip, &mut vip, now);
            for segment in self.segments.values_mut() {
                segment.speech.contest(ip, false, now);
            }
        }
    }

    fn tell(&mut self, vip: &Vip, entry: Entry, now: Instant) {
        for home in &vip.homes {
            if let Some(segment) = self.segments.get_mut(home) {
                segment.speech.tell(entry, now);
            }
        }
    }

    /// Asks the others what they hold, in the moment when an address is looked for: whoever has it can say so.
    fn ask_for(&mut self, vip: &Vip, now: Instant) {
        for home in &vip.homes {
            if let Some(segment) = self.segments.get_mut(home) {
                segment.speech.ask_once(now);
            }
        }
    }

    /// Sees to it that hellos are said where somebody is missing.
    fn greet(&mut self, now: Instant) {
        for (index, segment) in &mut self.segments {
            let (mut missing, mut silent, mut ask) = (false, false, false);
            for (node, watched) in &segment.peers {
                let path = self.peers.get(node).and_then(|peer| peer.paths.get(index));
                let up = path.is_some_and(Path::is_up);
                let greeted = path.is_some_and(|path| path.greeted);
                silent |= !up;
                missing |= *watched && !(up && greeted);
                ask |= up && !greeted;
            }
            let strays = self.strays.iter().filter_map(|ip| self.vips.get(ip));
            let stray = strays.into_iter().any(|vip| vip.homes.contains(index));
            if stray {
                segment.speech.be_loud(now + super::LOUD);
            }
            let every = match (missing || stray || self.leaving.is_some(), silent) {
                _ if !segment.used || !segment.is_running() => None,
                (true, _) => Some(HELLO),
                (false, true) => Some(HELLO_UNWATCHED),
                (false, false) => None,
            };
            segment.speech.greet(every, ask, now);
        }
    }

    fn speak(&mut self, now: Instant) {
        let (vips, leaving) = (&self.vips, self.leaving.is_some());
        for (index, segment) in &mut self.segments {
            if segment.speech.next().is_none_or(|at| at > now) {
                continue;
            }
            let held = || {
                let here = vips.iter().filter(|(_, vip)| vip.homes.contains(index));
                let entry = |(ip, vip): (&IpAddr, &Vip)| {
                    vip.claim().map(|claim| Entry {
                        vip: *ip,
                        claim,
                        held: true,
                    })
                };
                here.filter_map(entry).collect()
            };
            for statement in segment.speech.due(leaving, held, now) {
                let interface = *index;
                self.effects.push_back(Effect::Send {
                    interface,
                    statement,
                });
            }
        }
    }

    /// Tells everybody that we leave, or that we do not.
    pub(super) fn say_whether_we_leave(&mut self, now: Instant) {
        for segment in self.segments.values_mut().filter(|segment| segment.used) {
            segment.speech.tell_all(Duration::ZERO, now);
            segment.speech.be_loud(now + super::LOUD);
        }
        self.arrange(now);
        self.dirty.extend(self.vips.keys());
        self.finish(now);
    }

    fn view(&self, now: Instant) -> View<'_> {
        View {
            node: &self.node,
            segments: &self.segments,
            peers: &self.peers,
            claims: &self.claims,
            leaving: self.leaving,
            now,
        }
    }

    /// How it stands with one address.
    pub(super) fn stand(&self, vip: &Vip) -> Standing {
        let homes = vip.homes.iter().filter_map(|home| self.segments.get(home));
        let contact = homes.map(super::Segment::contact).max();
        let state = match (&vip.phase, contact) {
            (Phase::Holding { .. }, _) => State::Holding {
                acting: vip.rank != Some(0),
            },
            (_, None) => State::Nowhere,
            (_, Some(Contact::Isolated)) => State::Isolated,
            (
                Phase::Taken {
                    by: Occupant::Stranger { mac, interface },
                    ..
                },
                _,
            ) => State::Conflict {
                mac: *mac,
                interface: *interface,
            },
            (Phase::Checking { .. } | Phase::Free { .. }, _) => State::Checking,
            (Phase::Idle | Phase::Taken { .. }, _) => State::StandingBy,
        };
        Standing {
            state,
            rank: vip.rank,
            holder: vip.holder.as_ref().map(ToString::to_string),
        }
    }
}

/// What was found on the wire counts no more: somebody else's turn.
fn stand_by(vip: &mut Vip) {
    let cause_remains = matches!(vip.phase, Phase::Taken { .. });
    if !cause_remains || vip.occupied {
        vip.phase = Phase::Idle;
    }
}
