//! The shell of the takeover machine: one task on a thread that nothing else keeps busy.
//!
//! ```text
//!            Orders (newest only)                    News (bounded), Picture (newest only)
//!   core ───────────────────────────► ┌────────────┐ ───────────────────────────► log, report, metrics, events
//!   BFD ── Liveness ── paths ───────► │            │
//!   segment ── Heard ── wire ───────► │  Takeover  │ ──► Layer2::apply, check, ask
//!   Layer2 ── claims, checks ───────► │   (pure)   │ ──► wire ──► segment
//!   netlink ── Links, stations ─────► └────────────┘ ──► paths ──► BFD
//! ```
//!
//! From BFD's word that a node is dead to the first frame that says who has its addresses now, nothing waits: no log, no
//! report, no API call, no lock that the core holds for long. Those come after it, by [`News`], on the core's own time.

mod keyring;
mod news;
mod paths;
mod stations;

pub(crate) use news::{Conflict, News, Picture, Watched};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portolan_api::crd::NodeRule;
use portolan_proto::claim::{Key, Message};
use portolan_proto::ethernet::MacAddr;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::wire::{Heard, Numbers, Wire};
use super::{Checked, Duty, Effect, Rival, Takeover};
use crate::bfd;
use crate::l2::{self, Answer, Layer2};
use crate::link::{Exclude, Links};
use keyring::Keyring;
use news::Digest;
use paths::Paths;
use stations::{Stations, Witnesses};

/// News that may wait for the core. What does not fit is counted with the next that does.
const NEWS: usize = 64;
/// From a change to the picture of it.
const PICTURE_PAUSE: Duration = Duration::from_millis(50);
/// Shortest time between two more announcements of an address that another node has given up.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

/// What the core wants. Nothing is done before it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    /// See `Plan::l2`.
    pub(crate) duties: Arc<BTreeMap<IpAddr, Duty>>,
    /// See `SpeakerConfigSpec::nodes`.
    pub(crate) nodes: Arc<[NodeRule]>,
    /// What speakers authenticate each other by.
    pub(crate) key: Option<Key>,
    /// The node is to answer for nothing: hand everything over.
    pub(crate) leaving: bool,
}

/// What the shell works with.
pub(crate) struct Surroundings {
    pub(crate) node: String,
    pub(crate) links: watch::Receiver<Arc<Links>>,
    pub(crate) exclude: Exclude,
    pub(crate) layer2: Layer2,
    pub(crate) bfd: bfd::Engine,
    pub(crate) numbers: Numbers,
}

/// The core's hold on the shell.
#[derive(Debug)]
pub(crate) struct Shell {
    orders: watch::Sender<Orders>,
    picture: watch::Receiver<Arc<Picture>>,
    held: watch::Receiver<usize>,
    news: mpsc::Receiver<News>,
    inspector: l2::Inspector,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Shell {
    /// Starts on `prompt`, a runtime that nothing keeps busy; what may wait runs on the one around.
    pub(crate) fn start(prompt: &Handle, surroundings: Surroundings) -> Self {
        let (orders, to_follow) = watch::channel(Orders::default());
        let (pictures, picture) = watch::channel(Arc::default());
        let (count, held) = watch::channel(0);
        let (news_out, news) = mpsc::channel(NEWS);
        let inspector = surroundings.layer2.inspector();
        let stations = stations::follow();
        let stop = CancellationToken::new();
        let outward = Outward {
            pictures,
            held: count,
            news: Digest::new(news_out),
        };
        let _on_prompt = prompt.enter();
        let task = Task::new(surroundings, to_follow, stations, outward);
        let stopped = stop.clone();
        let task = prompt.spawn(task.run(stopped));
        Self {
            orders,
            picture,
            held,
            news,
            inspector,
            stop,
            task,
        }
    }

    /// Changes what is wanted.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    /// How things stand, as the report shows them.
    pub(crate) fn picture(&self) -> watch::Receiver<Arc<Picture>> {
        self.picture.clone()
    }

    /// The next news; none once the task has ended, which it never does by itself.
    pub(crate) async fn news(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Looks at layer 2.
    pub(crate) fn layer2(&self) -> &l2::Inspector {
        &self.inspector
    }

    /// How many addresses are answered for.
    pub(crate) fn held(&self) -> watch::Receiver<usize> {
        self.held.clone()
    }

    /// Stops answering, and waits until all threads are gone.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "takeover task failed");
        }
    }
}

/// What leaves the task towards the core.
struct Outward {
    pictures: watch::Sender<Arc<Picture>>,
    held: watch::Sender<usize>,
    news: Digest,
}

/// The side of the task.
struct Task {
    node: String,
    machine: Takeover,
    layer2: Layer2,
    wire: Wire,
    paths: Paths,
    keyring: Keyring,
    links: watch::Receiver<Arc<Links>>,
    exclude: Exclude,
    stations: watch::Receiver<Arc<Stations>>,
    witnesses: BTreeMap<u32, Witnesses>,
    orders: watch::Receiver<Orders>,
    /// What is followed of the orders.
    followed: Orders,
    heard: mpsc::Receiver<Heard>,
    events: mpsc::Receiver<l2::Event>,
    held: BTreeMap<IpAddr, l2::Interfaces>,
    /// When each was announced once more.
    announced: BTreeMap<IpAddr, Instant>,
    conflicts: BTreeMap<(IpAddr, MacAddr), Conflict>,
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
    fn new(
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
            witnesses: BTreeMap::new(),
            orders,
            followed: Orders::default(),
            heard,
            held: BTreeMap::new(),
            announced: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            outward,
            picture_at: None,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        // Whoever watched links or stations and is gone leaves what was known last.
        let (mut links_known, mut stations_known) = (true, true);
        loop {
            let deadline = self.next_deadline(clock());
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.paths.changed() => self.follow_paths(clock()),
                Some(heard) = self.heard.recv() => self.hear(&heard, clock()),
                Some(event) = self.events.recv() => self.hear_layer2(event, clock()),
                changed = self.links.changed(), if links_known => {
                    links_known = changed.is_ok();
                    self.follow_links(clock());
                }
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
        self.follow_sessions(now);
        self.wire.handle_timeout(now);
        self.paths.handle_timeout(now);
        self.keyring.handle_timeout(now);
        self.follow_keys(now);
        if self.picture_at.is_some_and(|at| at <= now) {
            self.picture_at = None;
            self.show(now);
        }
    }

    /// Does what the machine asks for. Then, and only then, tells of it.
    fn act(&mut self, now: Instant) {
        let mut acted = false;
        while let Some(effect) = self.machine.poll() {
            acted = true;
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
                    let last_heard = self.paths.last_heard(&took.from);
                    self.outward.news.took(took, last_heard);
                }
                Effect::Yielded { vip, to } => self.outward.news.yielded(vip, to),
            }
        }
        if acted {
            self.outward.news.send(clock());
            self.changed(now);
        }
    }

    /// Answers for what is held, and for nothing else.
    fn answer(&mut self) {
        self.held = self.machine.held();
        let answer = |(vip, interfaces): (&IpAddr, &l2::Interfaces)| {
            let duty = self.followed.duties.get(vip);
            let answer = Answer {
                interfaces: interfaces.clone(),
                refresh: duty.map(|duty| duty.refresh).unwrap_or_default(),
            };
            (*vip, answer)
        };
        self.layer2.apply(self.held.iter().map(answer).collect());
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
    }

    /// Whoever gave an address up has answered for it until now, and is believed still by those who asked last.
    fn announce_again(&mut self, message: &Message, now: Instant) {
        let given_up = message.statement.entries.iter().filter(|it| !it.held);
        let held = given_up.filter(|it| self.held.contains_key(&it.vip));
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
            }
            l2::Event::Witness { interface, .. } => self.machine.witnessed(interface, now),
            l2::Event::Claim {
                interface,
                vip,
                mac,
            } => {
                let rival = self.machine.heard_on_wire(interface, vip, mac, now);
                if rival == Rival::Stranger {
                    self.note_conflict(interface, vip, mac);
                    self.changed(now);
                }
            }
        }
        self.act(now);
    }

    fn note_conflict(&mut self, interface: u32, vip: IpAddr, mac: MacAddr) {
        let links = self.links.borrow();
        let name = links.get(interface).map(|link| link.name.clone());
        drop(links);
        let conflict = Conflict {
            vip,
            mac,
            interface: name.unwrap_or_default(),
            last: Timestamp::now(),
            before_use: false,
        };
        if self.conflicts.len() < news::CONFLICTS || self.conflicts.contains_key(&(vip, mac)) {
            let known = self.conflicts.insert((vip, mac), conflict.clone());
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
        self.act(now);
        self.follow_sessions(now);
        self.stand_by();
    }

    fn follow_stations(&mut self, now: Instant) {
        let stations = Arc::clone(&self.stations.borrow_and_update());
        for (interface, heard) in stations.iter() {
            let witnesses = self.witnesses.entry(*interface).or_default();
            let alive = self.paths.see_somebody(*interface);
            if witnesses.follow(heard, alive, now) {
                let all = witnesses.all();
                self.machine.set_witnesses(*interface, all, now);
                self.act(now);
            }
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
            self.begin_anew(now);
        }
        if before.nodes != self.followed.nodes {
            self.machine.set_nodes(&self.followed.nodes, now);
            self.layer2.set_peers(self.macs_of_others());
            self.act(now);
        }
        // Even if they are the same: those that are held no longer fall out.
        self.machine.set_duties(self.duties(), now);
        self.act(now);
        // The interval between announcements may be another one.
        self.answer();
        if self.followed.leaving && !before.leaving {
            self.machine.leave(now);
            self.act(now);
        }
        self.follow_sessions(now);
        self.stand_by();
        self.changed(now);
    }

    /// The duties of this node, and of those that are others' now the ones that it still holds.
    fn duties(&self) -> BTreeMap<IpAddr, Duty> {
        let ours = |duty: &Duty| duty.nodes.contains(&self.node);
        let duties = self.followed.duties.iter();
        let kept = duties.filter(|(vip, duty)| ours(duty) || self.held.contains_key(vip));
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

    /// A node that was excluded takes part again.
    fn begin_anew(&mut self, now: Instant) {
        self.machine = Takeover::new(self.node.clone());
        self.answer();
        self.paths.forget();
        let links = Arc::clone(&self.links.borrow());
        self.machine.set_links(&links, &self.exclude, now);
        self.machine.set_nodes(&self.followed.nodes, now);
        self.witnesses.clear();
        self.follow_stations(now);
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
            return self.paths.close();
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
        self.picture_at.get_or_insert(now + PICTURE_PAUSE);
    }

    fn show(&mut self, now: Instant) {
        let recent = Timestamp::now() - news::CONFLICT_MEMORY;
        self.conflicts.retain(|_, conflict| conflict.last > recent);
        let picture = Picture {
            duties: Arc::clone(&self.followed.duties),
            standing: self.machine.standing(),
            watched: self.paths.watched(),
            conflicts: self.conflicts.values().cloned().collect(),
            problems: self.wire.problems(),
            signs: self.keyring.signing(now).is_some(),
        };
        self.outward.pictures.send_replace(Arc::new(picture));
    }
}
