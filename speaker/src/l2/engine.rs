//! Keeps the interfaces in service in step with what is to be announced and with the links.
//!
//! Every change ends in one reconciliation that compares everything with everything, so there is
//! no order of events that leaves an address unanswered: an interface that comes late, gets another
//! MAC, or loses IPv6 is just another difference. Addresses come first in it: a takeover waits neither
//! for multicast groups nor for the sockets of another interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use portolan_proto::announcer::{Announcer, Origin, Verdict};
use portolan_proto::ethernet::MacAddr;
use portolan_proto::vacancy::Step;
use tokio::sync::mpsc;

use super::Error;
use super::event::{Answer, Checked, Event, Outbox};
use super::inquiry::Inquiries;
use super::interfaces::Interfaces;
use super::port::Note;
use super::served::{self, Served};
use super::status::{ForeignClaim, Sight};
use crate::link::{Exclude, Link, Links};

/// Pause before an interface that could not be served is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long an interface that nothing needs stays in service: what needed it may come back.
const LINGER: Duration = Duration::from_secs(60);
/// Pause before events that found no room are tried again.
const ROOM: Duration = Duration::from_millis(5);

/// All state of layer 2 on this node.
#[derive(Debug)]
pub(super) struct Engine {
    exclude: Exclude,
    notes: mpsc::Sender<Note>,
    events: Outbox,
    vips: Arc<BTreeMap<IpAddr, Answer>>,
    stand_by: BTreeMap<IpAddr, Interfaces>,
    inquiries: Inquiries,
    peers: BTreeSet<MacAddr>,
    links: Arc<Links>,
    served: BTreeMap<u32, Served>,
    announcer: Announcer<u32>,
    /// By interface name: what is wrong.
    troubles: BTreeMap<String, String>,
    /// When the next reconciliation is due without an event.
    again: Option<Instant>,
    /// When events that found no room are tried again.
    flush: Option<Instant>,
    /// One moment by both clocks, so that the same instant is always told as the same time.
    epoch: (Instant, Timestamp),
}

impl Engine {
    pub(super) fn new(exclude: Exclude, notes: mpsc::Sender<Note>, now: Instant) -> Self {
        Self {
            exclude,
            notes,
            events: Outbox::default(),
            vips: Arc::default(),
            stand_by: BTreeMap::new(),
            inquiries: Inquiries::default(),
            peers: BTreeSet::new(),
            links: Arc::default(),
            served: BTreeMap::new(),
            announcer: Announcer::default(),
            troubles: BTreeMap::new(),
            again: None,
            flush: None,
            epoch: (now, Timestamp::now()),
        }
    }

    /// Replaces the announced addresses; what is gone is not answered any more on return.
    pub(super) fn set_vips(&mut self, vips: BTreeMap<IpAddr, Answer>, now: Instant) {
        let old = std::mem::replace(&mut self.vips, Arc::new(vips));
        self.change_vips(&old, now);
        self.announce_due(now);
        self.reconcile(now);
        self.run_due(now);
    }

    /// What differs, and on interfaces that are in service: the first frame of a takeover waits for nothing else.
    fn change_vips(&mut self, old: &BTreeMap<IpAddr, Answer>, now: Instant) {
        let (vips, links) = (&self.vips, &self.links);
        let gone = old.keys().filter(|vip| !vips.contains_key(vip));
        let gone = gone.map(|vip| (*vip, None));
        let new = vips.iter().filter(|(vip, it)| old.get(vip) != Some(it));
        let new = new.map(|(vip, answer)| (*vip, Some(answer)));
        let changes: Vec<_> = gone.chain(new).collect();
        for (index, served) in &mut self.served {
            let link = links.get(*index);
            if let Some(link) = link.filter(|link| link.name == served.port.name) {
                let changes = changes.iter().copied();
                served.change_vips(link, changes, &mut self.announcer, now);
            }
        }
    }

    pub(super) fn set_stand_by(&mut self, vips: BTreeMap<IpAddr, Interfaces>, now: Instant) {
        if self.stand_by != vips {
            self.stand_by = vips;
            self.again = Some(now);
        }
    }

    pub(super) fn set_links(&mut self, links: Arc<Links>, now: Instant) {
        self.links = links;
        self.reconcile(now);
    }

    pub(super) fn set_peers(&mut self, peers: BTreeSet<MacAddr>) {
        self.peers = peers;
    }

    pub(super) fn set_events(&mut self, events: mpsc::Sender<Event>) {
        self.events.set(events);
    }

    /// Begins with the next reconciliation, which takes many wishes together.
    pub(super) fn check(&mut self, vip: IpAddr, on: Interfaces, now: Instant) {
        if self.inquiries.want(vip, on) {
            self.again = Some(now);
        }
    }

    pub(super) fn ask(&mut self, interface: u32, witnesses: &[IpAddr], now: Instant) {
        let links = self.links.clone();
        let Some(link) = links.get(interface) else {
            return;
        };
        let room = |ip: &&IpAddr| self.inquiries.ask(interface, **ip, now);
        let asked: Vec<IpAddr> = witnesses.iter().filter(room).copied().collect();
        if !self.served.contains_key(&interface) {
            self.reconcile(now);
        }
        if let Some(served) = self.served.get(&interface) {
            served.follow_inquiries(interface, &self.inquiries);
            for witness in asked {
                served.ask(link, witness);
            }
        }
    }

    pub(super) fn announce(&mut self, vips: &[IpAddr], now: Instant) {
        let vips: BTreeSet<IpAddr> = vips.iter().copied().collect();
        self.announcer.announce(&vips, now);
        self.announce_due(now);
    }

    pub(super) fn note(&mut self, note: Note, now: Instant) {
        match note {
            Note::Claim { port, vip, mac } if !self.is_ours(mac) => {
                self.claimed(port, vip, mac, now);
                self.taken(port, vip, mac);
            }
            Note::Rival { port, vip, mac } if !self.is_ours(mac) => self.taken(port, vip, mac),
            Note::Witness { port, ip } if self.inquiries.awaits(port, ip, now) => {
                self.tell(
                    port,
                    Event::Witness {
                        interface: port,
                        ip,
                    },
                );
            }
            // An end is looked for in `run_due`, which follows every note.
            Note::Claim { .. } | Note::Rival { .. } | Note::Witness { .. } | Note::Ended => {}
        }
    }

    /// With two interfaces on one segment we hear ourselves.
    fn is_ours(&self, mac: MacAddr) -> bool {
        self.links.iter().any(|link| link.mac == Some(mac))
    }

    fn claimed(&mut self, index: u32, vip: IpAddr, mac: MacAddr, now: Instant) {
        let origin = if self.peers.contains(&mac) {
            Origin::Node
        } else {
            Origin::Stranger
        };
        let verdict = self.announcer.claimed(index, vip, mac, origin, now);
        if verdict == Verdict::NotHeld {
            return;
        }
        if let Some(served) = self.served.get_mut(&index) {
            served.conflicts += u64::from(origin == Origin::Stranger);
            if verdict == Verdict::Defend {
                let interface = &served.port.name;
                // Whoever is told says so aloud: here, a log that is read slowly would keep answers waiting.
                tracing::debug!(%vip, %mac, interface, "another station claims an announced address");
            }
        }
        let interface = index;
        self.tell(
            index,
            Event::Claim {
                interface,
                vip,
                mac,
            },
        );
    }

    fn taken(&mut self, interface: u32, vip: IpAddr, mac: MacAddr) {
        if self.inquiries.object(vip) {
            let stranger = !self.peers.contains(&mac);
            if let Some(served) = self.served.get_mut(&interface) {
                served.conflicts += u64::from(stranger);
            }
            let verdict = Checked::Taken { mac, interface };
            self.tell(interface, Event::Checked { vip, verdict });
        }
    }

    fn tell(&mut self, index: u32, event: Event) {
        if !self.events.tell(event)
            && let Some(served) = self.served.get(&index)
        {
            served.port.count_missed();
        }
    }

    /// When [`Self::run_due`] is to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (sending, asking) = (self.announcer.deadline(), self.inquiries.deadline());
        let deadlines = [sending, asking, self.again, self.flush];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due: announcements, probes, and again what failed.
    pub(super) fn run_due(&mut self, now: Instant) {
        let ended = self.served.values().any(|served| served.port.has_ended());
        if ended || self.again.is_some_and(|again| again <= now) {
            self.reconcile(now);
        }
        self.announce_due(now);
        while let Some(step) = self.inquiries.next(now) {
            match step {
                Step::Probe { port, vip, nonce } => {
                    if let Some(served) = self.served.get(&port) {
                        served.port.probe(vip, nonce);
                    }
                }
                Step::Free { vip } => {
                    let verdict = Checked::Free;
                    self.events.tell(Event::Checked { vip, verdict });
                }
            }
        }
        self.events.flush();
        self.flush = self.events.is_waiting().then(|| now + ROOM);
    }

    fn announce_due(&mut self, now: Instant) {
        while let Some((index, vip)) = self.announcer.next(now) {
            if let Some(served) = self.served.get(&index) {
                served.port.announce(vip);
            }
        }
    }

    /// Stops everything and waits for the threads.
    pub(super) fn close(&mut self) {
        self.vips = Arc::default();
        self.announcer.retain(|_, _| false);
        self.served.clear();
    }

    fn reconcile(&mut self, now: Instant) {
        self.again = None;
        self.inquiries.expire(now);
        let troubles = std::mem::take(&mut self.troubles);
        let links = self.links.clone();
        let usable: BTreeMap<u32, &Link> = links
            .iter()
            .filter(|link| link.is_broadcast_segment() && !self.exclude.matches(&link.name))
            .map(|link| (link.index, link))
            .collect();
        let failed = self.retire(&usable, now);
        for link in usable.values() {
            self.follow(link, now);
        }
        self.announce_due(now);
        for link in usable.values() {
            let result = if failed.contains(&link.index) {
                Err(Error::Ended)
            } else {
                self.serve(link, now)
            };
            if let Err(error) = result {
                self.trouble(&link.name, &error, now);
            }
        }
        self.begin_checks(&usable, now);
        // Each trouble is logged when it begins or changes, not whenever it is met again.
        for (interface, error) in &self.troubles {
            if troubles.get(interface) != Some(error) {
                tracing::warn!(interface, error, "interface not fully served");
            }
        }
    }

    /// Takes out of service what ended, is gone, has another name, or was long not needed. Returns what ended.
    fn retire(&mut self, usable: &BTreeMap<u32, &Link>, now: Instant) -> BTreeSet<u32> {
        let served = std::mem::take(&mut self.served);
        let (failed, rest): (BTreeMap<_, _>, _) = served
            .into_iter()
            .partition(|(_, served)| served.port.has_ended());
        self.served = rest;
        let needed: BTreeSet<u32> = usable
            .values()
            .filter(|link| self.needs(link))
            .map(|link| link.index)
            .collect();
        self.served.retain(|index, served| {
            let idle = !needed.contains(index);
            served.idle = idle.then(|| served.idle.unwrap_or(now));
            let link = usable.get(index);
            link.is_some_and(|link| link.name == served.port.name)
                && served.idle.is_none_or(|since| now < since + LINGER)
        });
        let ends = self.served.values().filter_map(|it| it.idle).min();
        self.again = ends.map(|since| since + LINGER);
        let served = &self.served;
        self.announcer
            .retain(|index, _| served.contains_key(&index));
        failed.into_keys().collect()
    }

    /// Whether anything is to be answered, awaited or asked there.
    fn needs(&self, link: &Link) -> bool {
        let answered = || {
            self.vips
                .values()
                .any(|it| it.interfaces.covers(&link.name))
        };
        let awaited = || self.stand_by.values().any(|on| on.covers(&link.name));
        let checked = || self.inquiries.on(&link.name).next().is_some();
        answered() || awaited() || checked() || !self.inquiries.asked(link.index).is_empty()
    }

    /// Brings an interface that is in service in step with its link and the addresses.
    fn follow(&mut self, link: &Link, now: Instant) {
        let (served, identity) = (self.served.get_mut(&link.index), served::identity(link));
        if let (Some(served), Some(identity)) = (served, identity) {
            served.follow_link(link, identity, &mut self.announcer, now);
            served.follow_vips(link, &self.vips, &mut self.announcer, now);
        }
    }

    /// Brings an interface into service if it is needed, and its groups in step.
    fn serve(&mut self, link: &Link, now: Instant) -> Result<(), Error> {
        if !self.served.contains_key(&link.index) {
            let identity = served::identity(link).filter(|_| self.needs(link));
            let Some(identity) = identity else {
                return Ok(());
            };
            let served = Served::open(link, identity, self.notes.clone())?;
            self.served.insert(link.index, served);
            self.follow(link, now);
            self.announce_due(now);
        }
        let here = |on: &Interfaces| on.covers(&link.name);
        let answered = self.vips.iter().filter(|(_, it)| here(&it.interfaces));
        let awaited = self.stand_by.iter().filter(|(_, on)| here(on));
        let vips = answered.map(|(vip, _)| *vip);
        let vips = vips.chain(awaited.map(|(vip, _)| *vip));
        let vips = vips.chain(self.inquiries.on(&link.name));
        let served = self.served.get_mut(&link.index);
        let joined = served.map_or(Ok(()), |served| served.join(vips));
        joined.map_err(Error::Group)
    }

    fn begin_checks(&mut self, usable: &BTreeMap<u32, &Link>, now: Instant) {
        let served = &self.served;
        self.inquiries.begin(now, |vip, interfaces| {
            let able = usable.values().filter(|link| {
                let speaks = |it: &Served| it.port.identity().speaks_for(vip);
                let here = link.is_running() && interfaces.covers(&link.name);
                here && served.get(&link.index).is_some_and(speaks)
            });
            able.map(|link| link.index).collect()
        });
        for (index, served) in served {
            served.follow_inquiries(*index, &self.inquiries);
        }
    }

    fn trouble(&mut self, interface: &str, error: &dyn std::error::Error, now: Instant) {
        self.troubles
            .insert(interface.to_owned(), error.to_string());
        let retry = now + RETRY;
        self.again = Some(self.again.map_or(retry, |again| again.min(retry)));
    }

    /// What a status is made from. Little is done here, as everything else waits for the lock meanwhile.
    pub(super) fn sight(&self) -> Sight {
        let claimed = self.announcer.held().filter(|(.., by)| !by.is_empty());
        let claims = claimed.flat_map(|(port, vip, claimants)| {
            claimants.iter().map(move |claimant| {
                let claim = ForeignClaim {
                    vip,
                    mac: claimant.mac,
                    count: claimant.count,
                    last: self.time_of_day(claimant.last),
                };
                (port, claim)
            })
        });
        Sight {
            vips: Arc::clone(&self.vips),
            links: Arc::clone(&self.links),
            ports: self
                .served
                .iter()
                .map(|(index, it)| (*index, it.sight()))
                .collect(),
            claims: claims.collect(),
            troubles: self.troubles.clone(),
        }
    }

    fn time_of_day(&self, instant: Instant) -> Timestamp {
        let (start, time) = self.epoch;
        let age = SignedDuration::try_from(instant.saturating_duration_since(start));
        age.ok()
            .and_then(|age| time.checked_add(age).ok())
            .unwrap_or(time)
    }
}
