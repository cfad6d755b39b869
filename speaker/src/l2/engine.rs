//! Keeps the interfaces in service in step with what is to be announced and with the links.
//!
//! Every change ends in one reconciliation that compares everything with everything, so there is
//! no order of events that leaves an address unanswered: an interface that comes late, gets another
//! MAC, or loses IPv6 is just another difference.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use portolan_proto::announcer::{Announcer, Verdict};
use portolan_proto::ethernet::MacAddr;
use portolan_proto::ndp;
use portolan_proto::responder::Identity;
use tokio::sync::mpsc;

use super::event::{Answer, Event};
use super::group::Groups;
use super::interfaces::Interfaces;
use super::port::{Note, Port};
use super::status::{ForeignClaim, InterfaceStatus, L2Status, VipStatus};
use super::table::{Table, Vips};
use crate::link::{Exclude, Link, Links};

/// Pause before an interface that could not be served is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// All state of layer 2 on this node.
#[derive(Debug)]
pub(super) struct Engine {
    exclude: Exclude,
    notes: mpsc::Sender<Note>,
    events: Option<mpsc::Sender<Event>>,
    table: Table,
    links: Arc<Links>,
    served: BTreeMap<u32, Served>,
    announcer: Announcer<u32>,
    /// By interface name: what is wrong.
    troubles: BTreeMap<String, String>,
    retry: Option<Instant>,
    /// One moment by both clocks, so that the same instant is always told as the same time.
    epoch: (Instant, Timestamp),
}

/// An interface in service.
#[derive(Debug)]
struct Served {
    port: Port,
    groups: Groups,
    /// [`Link::ups`] when it was last looked at.
    ups: u64,
    since: BTreeMap<IpAddr, Timestamp>,
}

impl Engine {
    pub(super) fn new(exclude: Exclude, notes: mpsc::Sender<Note>, now: Instant) -> Self {
        Self {
            exclude,
            notes,
            events: None,
            table: Table::default(),
            links: Arc::default(),
            served: BTreeMap::new(),
            announcer: Announcer::default(),
            troubles: BTreeMap::new(),
            retry: None,
            epoch: (now, Timestamp::now()),
        }
    }

    /// Replaces the announced addresses; what is gone is not answered any more on return.
    pub(super) fn set_vips(&mut self, vips: BTreeMap<IpAddr, Answer>, now: Instant) {
        let vips = vips
            .into_iter()
            .map(|(vip, answer)| (vip, answer.interfaces));
        self.table.replace(Vips::new(vips.collect()));
        self.reconcile(now);
        self.run_due(now);
    }

    pub(super) fn set_stand_by(&mut self, _vips: BTreeMap<IpAddr, Interfaces>, _now: Instant) {}
    pub(super) fn check(&mut self, _vip: IpAddr, _on: Interfaces, _now: Instant) {}
    pub(super) fn ask(&mut self, _interface: u32, _witnesses: &[IpAddr], _now: Instant) {}
    pub(super) fn set_peers(&mut self, _peers: BTreeSet<MacAddr>) {}
    pub(super) fn announce(&mut self, _vips: &[IpAddr], _now: Instant) {}
    pub(super) fn set_events(&mut self, events: mpsc::Sender<Event>) {
        self.events = Some(events);
    }

    pub(super) fn set_links(&mut self, links: Arc<Links>, now: Instant) {
        self.links = links;
        self.reconcile(now);
    }

    pub(super) fn note(&mut self, note: Note, now: Instant) {
        match note {
            Note::Claim { port, vip, mac } => self.claimed(port, vip, mac, now),
            // Looked for in `run_due`, which follows every note.
            Note::Ended => {}
        }
    }

    /// When [`Self::run_due`] is to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.announcer.deadline(), self.retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends the announcements that are due and tries again what failed.
    pub(super) fn run_due(&mut self, now: Instant) {
        let ended = self.served.values().any(|served| served.port.has_ended());
        if ended || self.retry.is_some_and(|retry| retry <= now) {
            self.reconcile(now);
        }
        while let Some((index, vip)) = self.announcer.next(now) {
            if let Some(served) = self.served.get(&index) {
                served.port.announce(vip);
            }
        }
    }

    /// Stops everything and waits for the threads.
    pub(super) fn close(&mut self) {
        self.table.replace(Vips::default());
        self.announcer.retain(|_, _| false);
        self.served.clear();
    }

    fn claimed(&mut self, index: u32, vip: IpAddr, mac: MacAddr, now: Instant) {
        // With two interfaces on one segment we hear ourselves.
        if self.links.iter().any(|link| link.mac == Some(mac)) {
            return;
        }
        let verdict = self.announcer.claimed(index, vip, mac, now);
        let interface = self
            .served
            .get(&index)
            .map(|served| served.port.name.as_str());
        if verdict == Verdict::Defend {
            tracing::warn!(%vip, %mac, interface, "another station claims an announced address");
        }
    }

    fn reconcile(&mut self, now: Instant) {
        self.retry = None;
        let troubles = std::mem::take(&mut self.troubles);
        let links = self.links.clone();
        let table = self.table.clone();
        let vips = table.load();
        let serving: BTreeMap<u32, &Link> = links
            .iter()
            .filter(|link| link.is_broadcast_segment() && !self.exclude.matches(&link.name))
            .filter(|link| vips.on(&link.name).next().is_some())
            .map(|link| (link.index, link))
            .collect();
        let served = std::mem::take(&mut self.served);
        let (failed, rest) = served
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, it)| it.port.has_ended());
        self.served = rest;
        self.served.retain(|index, served| {
            serving
                .get(index)
                .is_some_and(|link| link.name == served.port.name)
        });
        let served = &self.served;
        self.announcer
            .retain(|index, _| served.contains_key(&index));
        for (index, link) in serving {
            let result = match failed.get(&index) {
                Some(_) => Err(super::Error::Ended),
                None => self.serve(link, &vips, now),
            };
            if let Err(error) = result {
                self.trouble(&link.name, &error, now);
            }
        }
        // Each trouble is logged when it begins or changes, not whenever it is met again.
        for (interface, error) in &self.troubles {
            if troubles.get(interface) != Some(error) {
                tracing::warn!(interface, error, "interface not fully served");
            }
        }
    }

    /// Brings one interface into service, or in step.
    fn serve(&mut self, link: &Link, vips: &Vips, now: Instant) -> Result<(), super::Error> {
        let Some(mac) = link.mac else {
            return Ok(());
        };
        let identity = Identity {
            mac,
            ipv6: link.ipv6,
        };
        if !self.served.contains_key(&link.index) {
            let (table, notes) = (self.table.clone(), self.notes.clone());
            let port = Port::open(&link.name, link.index, identity, table, notes)?;
            let groups = Groups::new(link.index);
            let served = Served {
                port,
                groups,
                ups: link.ups,
                since: BTreeMap::new(),
            };
            self.served.insert(link.index, served);
        }
        self.follow_link(link, identity, now);
        self.follow_vips(link, identity, vips, now);
        Ok(())
    }

    /// Whatever may have made neighbours forget us or look elsewhere starts a new burst.
    fn follow_link(&mut self, link: &Link, identity: Identity, now: Instant) {
        let Some(served) = self.served.get_mut(&link.index) else {
            return;
        };
        let before = served.port.identity();
        if before != identity {
            served.port.set_identity(identity);
        }
        if before.mac != identity.mac || served.ups != link.ups {
            served.ups = link.ups;
            self.announcer.repeat(link.index, now);
        }
    }

    fn follow_vips(&mut self, link: &Link, identity: Identity, vips: &Vips, now: Instant) {
        let Some(served) = self.served.get_mut(&link.index) else {
            return;
        };
        let able = |vip| link.is_running() && identity.speaks_for(vip);
        let here: BTreeSet<IpAddr> = vips.on(&link.name).filter(|vip| able(*vip)).collect();
        let groups = here.iter().filter_map(|vip| match vip {
            IpAddr::V6(vip) => Some(ndp::solicited_node(*vip)),
            IpAddr::V4(_) => None,
        });
        let joined = served.groups.set(&groups.collect());
        served.since.retain(|vip, _| here.contains(vip));
        for vip in &here {
            served.since.entry(*vip).or_insert_with(Timestamp::now);
        }
        self.announcer
            .retain(|index, vip| index != link.index || here.contains(&vip));
        for vip in here {
            self.announcer.hold(link.index, vip, now);
        }
        if let Err(error) = joined {
            self.trouble(&link.name, &error, now);
        }
    }

    fn trouble(&mut self, interface: &str, error: &dyn std::error::Error, now: Instant) {
        self.troubles
            .insert(interface.to_owned(), error.to_string());
        self.retry = Some(now + RETRY);
    }

    pub(super) fn status(&self) -> L2Status {
        let mut status = L2Status::default();
        for vip in self.table.load().iter() {
            let bound_to = self.links.holder(vip).map(|link| link.name.clone());
            status.vips.insert(
                vip,
                VipStatus {
                    interfaces: BTreeMap::new(),
                    bound_to,
                },
            );
        }
        for served in self.served.values() {
            for (vip, since) in &served.since {
                let vip = status.vips.entry(*vip).or_default();
                vip.interfaces.insert(served.port.name.clone(), *since);
            }
            status
                .interfaces
                .insert(served.port.name.clone(), served.status());
        }
        for (index, vip, claimants) in self.announcer.held() {
            let name = self.served.get(&index).map(|served| &served.port.name);
            let Some(interface) = name.and_then(|name| status.interfaces.get_mut(name)) else {
                continue;
            };
            interface
                .foreign_claims
                .extend(claimants.iter().map(|claimant| ForeignClaim {
                    vip,
                    mac: claimant.mac,
                    count: claimant.count,
                    last: self.time_of_day(claimant.last),
                }));
        }
        for (name, error) in &self.troubles {
            status.interfaces.entry(name.clone()).or_default().error = Some(error.clone());
        }
        status
    }

    fn time_of_day(&self, instant: Instant) -> Timestamp {
        let (start, time) = self.epoch;
        let age = SignedDuration::try_from(instant.saturating_duration_since(start));
        age.ok()
            .and_then(|age| time.checked_add(age).ok())
            .unwrap_or(time)
    }
}

impl Served {
    fn status(&self) -> InterfaceStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.port.counters;
        let Identity { mac, ipv6 } = self.port.identity();
        InterfaceStatus {
            mac,
            ipv6,
            requests: read(&counters.requests),
            replies: read(&counters.replies),
            announcements: read(&counters.announcements),
            malformed: read(&counters.malformed),
            send_failures: read(&counters.send_failures),
            claims_missed: read(&counters.claims_missed),
            foreign_claims: Vec::new(),
            error: None,
        }
    }
}
