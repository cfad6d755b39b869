//! An interface in service: its port, its multicast groups, and what is announced there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use portolan_proto::announcer::Announcer;
use portolan_proto::ndp;
use portolan_proto::responder::Identity;
use tokio::sync::mpsc;

use super::event::Answer;
use super::group::{self, Groups};
use super::inquiry::Inquiries;
use super::port::{Note, Port};
use super::socket::Error;
use super::status::{Announced, InterfaceStatus, PortSight};
use crate::link::Link;

/// See the module.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) port: Port,
    groups: Groups,
    /// [`Link::ups`] when it was last looked at.
    ups: u64,
    /// What is announced, how often, and since when.
    announced: Arc<Announced>,
    pub(super) conflicts: u64,
    /// Since when nothing needs it.
    pub(super) idle: Option<Instant>,
}

/// Who we are on a link; nobody where there is no hardware address.
pub(super) fn identity(link: &Link) -> Option<Identity> {
    link.mac.map(|mac| Identity {
        mac,
        ipv6: link.ipv6,
    })
}

impl Served {
    pub(super) fn open(
        link: &Link,
        identity: Identity,
        notes: mpsc::Sender<Note>,
    ) -> Result<Self, Error> {
        Ok(Self {
            port: Port::open(&link.name, link.index, identity, notes)?,
            groups: Groups::new(link.index),
            ups: link.ups,
            announced: Arc::default(),
            conflicts: 0,
            idle: None,
        })
    }

    /// Whatever may have made neighbours forget us or look elsewhere starts a new burst.
    pub(super) fn follow_link(
        &mut self,
        link: &Link,
        identity: Identity,
        announcer: &mut Announcer<u32>,
        now: Instant,
    ) {
        let before = self.port.identity();
        if before != identity {
            self.port.set_identity(identity);
        }
        if before.mac != identity.mac || self.ups != link.ups {
            self.ups = link.ups;
            announcer.repeat(link.index, now);
        }
    }

    /// Answers for just these addresses, and announces those that can be.
    pub(super) fn follow_vips(
        &mut self,
        link: &Link,
        vips: &BTreeMap<IpAddr, Answer>,
        announcer: &mut Announcer<u32>,
        now: Instant,
    ) {
        let held = self.port.table.held();
        let gone = held.iter().filter(|vip| !vips.contains_key(vip));
        let changes: Vec<_> = gone.map(|vip| (*vip, None)).collect();
        let wanted = vips.iter().map(|(vip, answer)| (*vip, Some(answer)));
        drop(held);
        let changes = changes.into_iter().chain(wanted);
        self.change_vips(link, changes, announcer, now);
    }

    /// Answers for some addresses or does not any more, whatever is true of the others.
    pub(super) fn change_vips<'a>(
        &mut self,
        link: &Link,
        changes: impl Iterator<Item = (IpAddr, Option<&'a Answer>)>,
        announcer: &mut Announcer<u32>,
        now: Instant,
    ) {
        let identity = self.port.identity();
        let began = Timestamp::now();
        let before = self.port.table.held();
        let mut held = None;
        for (vip, answer) in changes {
            let answer = answer.filter(|answer| answer.interfaces.covers(&link.name));
            if answer.is_some() != before.contains(&vip) {
                let held: &mut HashSet<IpAddr> = held.get_or_insert_with(|| (**before).clone());
                match answer {
                    Some(_) => held.insert(vip),
                    None => held.remove(&vip),
                };
            }
            let able = link.is_running() && identity.speaks_for(vip);
            let refresh = answer.filter(|_| able).map(|answer| answer.refresh);
            let known = self.announced.get(&vip).map(|(refresh, _)| *refresh);
            match refresh {
                Some(refresh) if known != Some(refresh) => {
                    announcer.hold(link.index, vip, refresh, now);
                    let known = Arc::make_mut(&mut self.announced);
                    known.entry(vip).or_insert((refresh, began)).0 = refresh;
                }
                None if known.is_some() => {
                    announcer.release(link.index, vip);
                    Arc::make_mut(&mut self.announced).remove(&vip);
                }
                _ => {}
            }
        }
        // Whoever replaces the table waits for its readers.
        drop(before);
        if let Some(held) = held {
            self.port.table.hold(held);
        }
    }

    /// Joins the groups in which these addresses are looked for, and leaves all others.
    pub(super) fn join(&mut self, vips: impl Iterator<Item = IpAddr>) -> Result<(), group::Error> {
        let speaks = self.port.identity().ipv6;
        let groups: BTreeSet<Ipv6Addr> = vips
            .filter_map(|vip| match vip {
                IpAddr::V6(vip) if speaks => Some(ndp::solicited_node(vip)),
                _ => None,
            })
            .collect();
        self.groups.set(&groups)
    }

    /// Lets the thread know what is asked.
    pub(super) fn follow_inquiries(&self, index: u32, inquiries: &Inquiries) {
        self.port.table.check(inquiries.checked(index));
        self.port.table.ask(inquiries.asked(index));
    }

    /// Asks a witness, from an address that it can answer.
    pub(super) fn ask(&self, link: &Link, witness: IpAddr) {
        match witness {
            IpAddr::V4(witness) => {
                // Without an address of its subnet, a probe: answered, too, and learnt by nobody.
                let own = link.neighbour_of(witness.into());
                let own = own.and_then(|own| match own {
                    IpAddr::V4(own) => Some(own),
                    IpAddr::V6(_) => None,
                });
                self.port.ask4(own.unwrap_or([0; 4].into()), witness);
            }
            IpAddr::V6(witness) => {
                if let Some(own) = link.link_local() {
                    self.port.ask6(own, witness);
                }
            }
        }
    }

    /// What a status is made from.
    pub(super) fn sight(&self) -> PortSight {
        PortSight {
            name: self.port.name.clone(),
            announced: Arc::clone(&self.announced),
            status: self.status(),
        }
    }

    fn status(&self) -> InterfaceStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.port.counters;
        let Identity { mac, ipv6 } = self.port.identity();
        InterfaceStatus {
            mac,
            ipv6,
            requests: read(&counters.requests),
            replies: read(&counters.replies),
            rate_limited: read(&counters.rate_limited),
            dropped: self.port.dropped(),
            pauses: read(&counters.pauses),
            announcements: read(&counters.announcements),
            probes: read(&counters.probes),
            conflicts: self.conflicts,
            malformed: read(&counters.malformed),
            send_failures: read(&counters.send_failures),
            claims_missed: read(&counters.claims_missed),
            real_time: counters.real_time.load(Ordering::Relaxed),
            foreign_claims: Vec::new(),
            error: None,
        }
    }
}
