//! The task: everything comes in here, one thing after the other, and each is done with before the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portolan_proto::claim::Message;
use portolan_proto::ethernet::MacAddr;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::super::wire::{Heard, Wire};
use super::super::{Cause, Checked, Duty, Effect, Rival, Takeover};
use super::keyring::Keyring;
use super::news::{self, Conflict, Digest, Picture};
use super::paths::Paths;
use super::stations::{AllWitnesses, Stations};
use super::{Orders, Surroundings};
use crate::l2::{self, Answer, Layer2};
use crate::link::{Exclude, Links};

/// From a change to the picture of it.
const PICTURE_PAUSE: Duration = Duration::from_millis(50);
/// Time between two pictures when nothing is known to have changed: who stands by for whom changes by the clock, too.
const PICTURE_REFRESH: Duration = Duration::from_secs(5);
/// Shortest time between two more announcements of an address that another node has given up.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

/// What leaves the task towards the core.
pub(super) struct Outward {
    pub(super) pictures: watch::Sender<Arc<Picture>>,
    pub(super) held: watch::Sender<usize>,
    pub(super) news: Digest,
}

/// The side of the task.
pub(super) struct Task {
    node: String,
    machine: Takeover,
    layer2: Layer2,
    wire: Wire,
    paths: Paths,
    keyring: Keyring,
    links: watch::Receiver<Arc<Links>>,
    exclude: Exclude,
    stations: watch::Receiver<Arc<Stations>>,
    witnesses: AllWitnesses,
    orders: watch::Receiver<Orders>,
    /// What is followed of the orders.
    followed: Orders,
    heard: mpsc::Receiver<Heard>,
    events: mpsc::Receiver<l2::Event>,
    held: BTreeSet<IpAddr>,
    /// When each was announced once more.
    announced: BTreeMap<IpAddr, Instant>,
    /// With the time when each was heard last: the clock on the wall may be set.
    conflicts: BTreeMap<(IpAddr, MacAddr), (Conflict, Instant)>,
    outward: Outward,
    picture_at: Option<Instant>,
}

/// The edge: the one place of this task that reads a clock.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

impl Task {
    pub(super) fn new(
        surroundings: Surroundings,
        orders: watch::Receiver<Orders>,
        stations: watch::Receiver<Arc<Stations>>,
        outward: Outward,
    ) -> Self {
        let Surroundings {
            node,
            mut links,
            exclude,
            mut layer2,
            bfd,
            numbers,
        } = surroundings;
        let boot = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        let (wire, heard) = Wire::new(&node, boot, exclude.clone(), numbers);
        links.mark_changed();
        Self {
            machine: Takeover::new(node.clone()),
            node,
            events: layer2.events(),
            layer2,
            wire,
            paths: Paths::new(bfd),
            keyring: Keyring::default(),
            links,
            exclude,
            stations,
            witnesses: AllWitnesses::default(),
            orders,
            followed: Orders::default(),
            heard,
            held: BTreeSet::new(),
            announced: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            outward,
            picture_at: None,
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        // Whoever watched stations and is gone leaves what was known last.
        let mut stations_known = true;
        loop {
            let deadline = self.next_deadline(clock());
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.paths.changed() => self.follow_paths(clock()),
                Some(heard) = self.heard.recv() => self.hear(&heard, clock()),
                Some(event) = self.events.recv() => self.hear_layer2(event, clock()),
                changed = self.links.changed() => match changed {
                    Ok(()) => self.follow_links(clock()),
                    Err(_ended) => {
                        tracing::error!("links are not followed any more");
                        break;
                    }
                },
                changed = self.stations.changed(), if stations_known => {
                    stations_known = changed.is_ok();
                    self.follow_stations(clock());
                }
                changed = self.orders.changed() => match changed {
                    Ok(()) => self.follow_orders(clock()),
                    Err(_nobody_left) => break,
                },
                () = until(deadline) => {}
            }
            self.handle_timeout(clock());
            // Blind, or with answers for what was true before: better to stop in order, and be started again.
            if self.layer2.has_ended() {
                tracing::error!("layer 2 does not follow its links any more");
                break;
            }
        }
        self.paths.close();
        self.layer2.shutdown().await;
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let deadlines = [
            self.machine.next_deadline(),
            self.wire.next_deadline(),
            self.keyring.next_deadline(now),
            self.paths.next_deadline(),
            self.picture_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
        self.act(now);
        // Sessions that nothing needs any more end after a while.
        if !self.paths.are(self.machine.sessions()) {
            self.follow_sessions(now);
        }
        self.wire.handle_timeout(now);
        self.paths.handle_timeout(now);
        self.keyring.handle_timeout(now);
        self.follow_keys(now);
        if self.picture_at.is_some_and(|at| at <= now) {
            self.picture_at = Some(now + PICTURE_REFRESH);
            self.show(now);
        }
    }

    /// Does what the machine asks for. Then, and only then, tells of it.
    fn act(&mut self, now: Instant) {
        let mut visible = false;
        while let Some(effect) = self.machine.poll() {
            // What is said and asked is no change of how things stand, and goes on for as long as a node is away.
            visible |= !matches!(effect, Effect::Send { .. } | Effect::Ask { .. });
            match effect {
                Effect::Answers => self.answer(),
                Effect::Send {
                    interface,
                    statement,
                } => self.wire.send(interface, &statement),
                Effect::Check { vip, interfaces } => self.layer2.check(vip, interfaces),
                Effect::Ask {
                    interface,
                    witnesses,
                } => self.layer2.ask(interface, &witnesses),
                Effect::Took(took) => {
                    // Of a node that lives, BFD heard the last packet just now.
                    let last_heard = match took.cause {
                        Cause::Silent => self.paths.last_heard(&took.from),
                        Cause::Stops | Cause::Placed => None,
                    };
                    self.outward.news.took(took, last_heard);
                }
                Effect::Yielded { vip, to } => self.outward.news.yielded(vip, to),
            }
        }
        if visible {
            self.outward.news.send(clock());
            self.changed(now);
        }
    }

    /// Answers for what is held, and for nothing else.
    fn answer(&mut self) {
        let held = self.machine.held();
        let vips = held.keys().copied().collect();
        let answer = |(vip, interfaces): (IpAddr, l2::Interfaces)| {
            let duty = self.followed.duties.get(&vip);
            let refresh = duty.map(|duty| duty.refresh).unwrap_or_default();
            let answer = Answer {
                interfaces,
                refresh,
            };
            (vip, answer)
        };
        self.layer2.apply(held.into_iter().map(answer).collect());
        self.held = vips;
        let count = self.held.len();
        self.outward
            .held
            .send_if_modified(|held| std::mem::replace(held, count) != count);
    }

    fn follow_paths(&mut self, now: Instant) {
        for (key, state) in self.paths.news() {
            self.machine.path(&key, state, now);
            self.act(now);
        }
        self.follow_stations(now);
        self.changed(now);
    }

    fn hear(&mut self, heard: &Heard, now: Instant) {
        self.machine.hear(heard.interface, &heard.message, now);
        self.act(now);
        self.announce_again(&heard.message, now);
        if !heard.message.statement.entries.is_empty() {
            self.changed(now);
        }
    }

    /// Whoever gave an address up has answered for it until now, and is believed still by those who asked last.
    fn announce_again(&mut self, message: &Message, now: Instant) {
        let given_up = message.statement.entries.iter().filter(|it| !it.held);
        let held = given_up.filter(|it| self.held.contains(&it.vip));
        let vips: Vec<IpAddr> = held.map(|it| it.vip).collect();
        if vips.is_empty() {
            return;
        }
        self.announced
            .retain(|_, at| now.saturating_duration_since(*at) < ANNOUNCE_PAUSE);
        let announced = &mut self.announced;
        let fresh = vips
            .into_iter()
            .filter(|vip| announced.insert(*vip, now).is_none());
        let fresh: Vec<IpAddr> = fresh.collect();
        self.layer2.announce(&fresh);
    }

    fn hear_layer2(&mut self, event: l2::Event, now: Instant) {
        match event {
            l2::Event::Checked { vip, verdict } => {
                let verdict = match verdict {
                    l2::Checked::Free => Checked::Free,
                    l2::Checked::Taken { mac, interface } => Checked::Taken { mac, interface },
                };
                self.machine.checked(vip, verdict, now);
                self.note_check(vip, verdict, now);
                self.changed(now);
            }
            l2::Event::Witness { interface, .. } => self.machine.witnessed(interface, now),
            l2::Event::Claim {
                interface,
                vip,
                mac,
            } => {
                let rival = self.machine.heard_on_wire(interface, vip, mac, now);
                if rival == Rival::Stranger {
                    self.note_conflict(interface, (vip, mac), false, now);
                    self.changed(now);
                }
            }
        }
        self.act(now);
    }

    /// An address that a stranger has is one conflict; that it is free ends what a check once found.
    fn note_check(&mut self, vip: IpAddr, verdict: Checked, now: Instant) {
        match verdict {
            Checked::Free => self
                .conflicts
                .retain(|(held, _), (conflict, _)| *held != vip || !conflict.before_use),
            Checked::Taken { mac, interface } => {
                let ours = self.links.borrow().iter().any(|link| link.mac == Some(mac));
                if !ours && !self.macs_of_others().contains(&mac) {
                    self.note_conflict(interface, (vip, mac), true, now);
                }
            }
        }
    }

    /// Whether a station that is no known node's can be none at all: a node whose speaker has not reported yet is unknown.
    fn knows_all(&self, vip: IpAddr) -> bool {
        let known = |name: &String| {
            *name == self.node || self.followed.nodes.iter().any(|node| node.name == *name)
        };
        let duty = self.followed.duties.get(&vip);
        duty.is_some_and(|duty| duty.nodes.iter().all(known))
    }

    fn note_conflict(
        &mut self,
        interface: u32,
        (vip, mac): (IpAddr, MacAddr),
        before_use: bool,
        now: Instant,
    ) {
        if !self.knows_all(vip) {
            return;
        }
        let links = self.links.borrow();
        let name = links.get(interface).map(|link| link.name.clone());
        drop(links);
        let conflict = Conflict {
            vip,
            mac,
            interface: name.unwrap_or_default(),
            last: Timestamp::now(),
            before_use,
        };
        if self.conflicts.len() < news::CONFLICTS || self.conflicts.contains_key(&(vip, mac)) {
            let known = self.conflicts.insert((vip, mac), (conflict.clone(), now));
            if known.is_none() {
                self.outward.news.conflict(conflict);
            }
        }
    }

    fn follow_links(&mut self, now: Instant) {
        let links = Arc::clone(&self.links.borrow_and_update());
        // Sockets first: the machine has something to say on a segment that is new.
        self.wire.set_links(Arc::clone(&links), now);
        self.machine.set_links(&links, &self.exclude, now);
        self.settle(now);
    }

    fn follow_stations(&mut self, now: Instant) {
        let stations = Arc::clone(&self.stations.borrow_and_update());
        let alive = |interface| self.paths.see_somebody(interface);
        for (interface, witnesses) in self.witnesses.follow(&stations, alive, now) {
            self.machine.set_witnesses(interface, witnesses, now);
            self.act(now);
        }
    }

    fn follow_orders(&mut self, now: Instant) {
        let orders = self.orders.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.followed, orders);
        if self.followed.key != before.key {
            self.keyring.set(self.followed.key.clone(), now);
            self.follow_keys(now);
        }
        if before.leaving && !self.followed.leaving {
            self.machine.stay(now);
            self.settle(now);
        }
        if before.nodes != self.followed.nodes {
            self.machine.set_nodes(&self.followed.nodes, now);
            self.layer2.set_peers(self.macs_of_others());
            self.settle(now);
        }
        if !Arc::ptr_eq(&before.duties, &self.followed.duties) {
            self.follow_duties(&before.duties, now);
        }
        if self.followed.leaving && !before.leaving {
            self.machine.leave(now);
            self.settle(now);
        }
    }

    fn follow_duties(&mut self, before: &BTreeMap<IpAddr, Duty>, now: Instant) {
        self.machine.set_duties(self.duties(), now);
        self.settle(now);
        let refresh = |duties: &BTreeMap<IpAddr, Duty>, vip| duties.get(vip).map(|it| it.refresh);
        let differs = |vip| refresh(before, vip) != refresh(&self.followed.duties, vip);
        if self.held.iter().any(differs) {
            self.answer();
        }
        self.stand_by();
    }

    /// The machine knows something new: does what it asks for, and watches whom it wants to be watched.
    fn settle(&mut self, now: Instant) {
        self.act(now);
        self.follow_sessions(now);
        self.changed(now);
    }

    /// The duties of this node, and of those that are others' now the ones that it still holds.
    fn duties(&self) -> BTreeMap<IpAddr, Duty> {
        let ours = |duty: &Duty| duty.nodes.contains(&self.node);
        let duties = self.followed.duties.iter();
        let kept = duties.filter(|(vip, duty)| ours(duty) || self.held.contains(vip));
        kept.map(|(vip, duty)| (*vip, duty.clone())).collect()
    }

    fn macs_of_others(&self) -> BTreeSet<MacAddr> {
        let others = self
            .followed
            .nodes
            .iter()
            .filter(|node| node.name != self.node);
        let interfaces = others.flat_map(|node| &node.interfaces);
        interfaces.filter_map(|it| it.mac.parse().ok()).collect()
    }

    /// Other keys, for messages and BFD alike.
    fn follow_keys(&mut self, now: Instant) {
        let signing = self.keyring.signing(now).cloned();
        if self.wire.set_keys(signing, self.keyring.believed()) {
            self.follow_sessions(now);
        }
    }

    fn follow_sessions(&mut self, now: Instant) {
        if self.followed.leaving {
            return self.paths.follow(&BTreeMap::new(), None, now);
        }
        let authentication = self.keyring.authentication(now);
        self.paths
            .follow(self.machine.sessions(), authentication.as_ref(), now);
        self.follow_paths(now);
    }

    /// Everything that may have to be answered soon is made ready.
    fn stand_by(&mut self) {
        let duties = self.followed.duties.iter();
        let wanted = duties.map(|(vip, duty)| (*vip, duty.interfaces.clone()));
        self.layer2.stand_by(wanted.collect());
    }

    /// Something is different in the picture.
    fn changed(&mut self, now: Instant) {
        let soon = now + PICTURE_PAUSE;
        self.picture_at = Some(self.picture_at.map_or(soon, |at| at.min(soon)));
    }

    fn show(&mut self, now: Instant) {
        self.conflicts
            .retain(|_, (_, heard)| now.saturating_duration_since(*heard) < news::CONFLICT_MEMORY);
        let picture = Picture {
            duties: Arc::clone(&self.followed.duties),
            standing: self.machine.standing(),
            watched: self.paths.watched(),
            conflicts: self.conflicts.values().map(|it| it.0.clone()).collect(),
            problems: self.wire.problems(),
            signs: self.keyring.signing(now).is_some(),
        };
        self.outward.pictures.send_if_modified(|shown| {
            let differs = **shown != picture;
            if differs {
                *shown = Arc::new(picture);
            }
            differs
        });
    }
}
