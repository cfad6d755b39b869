//! All sessions of the node, and who wants them.
//!
//! A user whose path is not known yet (no route, no interface, no address) waits here and is looked at again every second.
//! A session that is not Up is looked at as well, less often: the node's address towards the peer may have changed.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use portolan_proto::bfd::{Demux, Diag, Dice, Negotiated, Packet, Path, Session, State, TTL};

use super::herald::{Event, Note, Told};
use super::lane::{Lane, Tally, config};
use super::listeners::{Arrival, Kind};
use super::outlet::{Outlet, OutletError, resolve};
use super::status::{Numbers, Refused};
use super::{Carriers, Liveness, SessionSpec, UserId};

/// Time between two looks at users without a session.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Every so many looks the paths of sessions that are not Up are found anew.
const RARELY: u32 = 5;

/// Longest time to wait for a peer to acknowledge AdminDown: it is repeated twice, a second apart.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Log entries that wait for the herald.
const EVENTS: usize = 256;

/// A session on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneId(u64);

#[derive(Debug)]
struct User {
    spec: SessionSpec,
    lane: Option<LaneId>,
    problem: Option<String>,
    /// What it counted on the sessions that it had before. A session may be older than its user: what happened to others
    /// is no failure of this one.
    before: Tally,
    /// What the session had counted when the user came.
    joined: Tally,
    /// What it was told last.
    told: Option<Told>,
}

/// Sessions, users, and deadlines.
#[derive(Debug)]
pub(super) struct Roster {
    users: BTreeMap<UserId, User>,
    lanes: BTreeMap<LaneId, Lane>,
    demux: Demux<LaneId>,
    /// Deadlines in order, and the same by lane.
    queue: BTreeSet<(Instant, LaneId)>,
    queued: BTreeMap<LaneId, Instant>,
    /// Users who may have something to be told.
    stale: BTreeSet<UserId>,
    /// What is to be logged.
    events: VecDeque<Event>,
    dice: Dice,
    numbers: Numbers,
    lane_count: u64,
    looks: u32,
    ending: bool,
    carriers: Carriers,
}

impl Roster {
    pub(super) fn new(seed: u64, numbers: Numbers) -> Self {
        Self {
            users: BTreeMap::new(),
            lanes: BTreeMap::new(),
            demux: Demux::default(),
            queue: BTreeSet::new(),
            queued: BTreeMap::new(),
            stale: BTreeSet::new(),
            events: VecDeque::new(),
            dice: Dice::new(seed),
            numbers,
            lane_count: 0,
            looks: 0,
            ending: false,
            carriers: Carriers::new(),
        }
    }

    /// Takes in a user, or what it wants now.
    pub(super) fn put(&mut self, user: UserId, spec: SessionSpec, now: Instant) {
        if self.ending {
            return;
        }
        let fresh = User {
            spec: spec.clone(),
            lane: None,
            problem: None,
            before: Tally::default(),
            joined: Tally::default(),
            told: None,
        };
        self.users.entry(user).or_insert(fresh).spec = spec;
        self.seat(user, now);
    }

    pub(super) fn leave(&mut self, user: UserId, now: Instant) {
        let lane = self.users.remove(&user).and_then(|user| user.lane);
        if let Some(lane) = lane {
            self.touch(lane, now, |lane| lane.part(user, now, PATIENCE));
            self.sweep(now);
        }
    }

    /// Gives a user its place on the session of its path, and takes it from another one.
    fn seat(&mut self, user: UserId, now: Instant) {
        let Some(User { spec, lane, .. }) = self.users.get(&user) else {
            return;
        };
        let (spec, before) = (spec.clone(), *lane);
        let place = resolve(&spec).and_then(|path| self.lane_on(path, &spec, now));
        let problem = place.as_ref().err().map(ToString::to_string);
        // A path that is not found now may be there again soon; the session goes on, and notices by itself.
        let after = place.ok().or(before);
        if before != after {
            self.count(user, after);
        }
        if let Some(before) = before.filter(|before| Some(*before) != after) {
            self.touch(before, now, |lane| lane.part(user, now, PATIENCE));
        }
        if let Some(after) = after {
            self.touch(after, now, |lane| lane.join(user, spec, now));
        }
        if let Some(entry) = self.users.get_mut(&user) {
            entry.lane = after.filter(|lane| self.lanes.contains_key(lane));
            entry.problem = problem;
        }
        self.stale.insert(user);
    }

    /// Closes the account of a user with one session, and opens that with another one.
    fn count(&mut self, user: UserId, after: Option<LaneId>) {
        let Some(entry) = self.users.get_mut(&user) else {
            return;
        };
        entry.before = tally(entry, &self.lanes);
        entry.lane = after;
        let lane = after.and_then(|lane| self.lanes.get(&lane));
        entry.joined = lane.map(|lane| lane.tally).unwrap_or_default();
    }

    fn lane_on(
        &mut self,
        path: Path,
        spec: &SessionSpec,
        now: Instant,
    ) -> Result<LaneId, OutletError> {
        if let Some(lane) = self.demux.on(&path) {
            return Ok(lane);
        }
        let used: HashSet<u16> = self.lanes.values().map(Lane::source_port).collect();
        let outlet = Outlet::open(&path, spec, &used, &mut self.dice)?;
        let discriminator = self.demux.mint(&mut self.dice);
        let seed = u64::from(self.dice.roll()) << 32 | u64::from(self.dice.roll());
        let config = config(std::iter::once(spec));
        let session = Session::new(discriminator, config, seed, now);
        let lane = LaneId(self.lane_count);
        self.lane_count += 1;
        self.demux.insert(discriminator, path, lane);
        let fresh = Lane::new(path, session, outlet, self.numbers.clone());
        self.lanes.insert(lane, fresh);
        Ok(lane)
    }

    /// Works on one session, sends what follows, and notes its next deadline. A panic costs that session alone: it is
    /// buried, and its users are given a new one.
    fn touch<T>(
        &mut self,
        id: LaneId,
        now: Instant,
        work: impl FnOnce(&mut Lane) -> T,
    ) -> Option<T> {
        let lane = self.lanes.get_mut(&id)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let result = work(lane);
            lane.flush(now);
            (result, lane.session.next_deadline())
        }));
        match outcome {
            Ok((result, deadline)) => {
                self.stale.extend(lane.users());
                let Path { peer, local, .. } = lane.path;
                let changes = std::mem::take(&mut lane.changes).into_iter();
                let events = changes.map(|change| Event::Changed {
                    peer,
                    local,
                    change,
                });
                self.events.extend(events);
                self.schedule(id, deadline);
                Some(result)
            }
            Err(panic) => {
                self.bury(id, panic.as_ref());
                None
            }
        }
    }

    fn schedule(&mut self, id: LaneId, deadline: Option<Instant>) {
        let before = self.queued.get(&id).copied();
        if before == deadline {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, id));
            self.queued.remove(&id);
        }
        if let Some(deadline) = deadline {
            self.queue.insert((deadline, id));
            self.queued.insert(id, deadline);
        }
    }

    fn bury(&mut self, id: LaneId, panic: &(dyn Any + Send)) {
        let words = panic.downcast_ref::<&str>().copied();
        let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        self.events
            .extend(self.lanes.get(&id).map(|lane| Event::Panicked {
                peer: lane.path.peer,
                words: words.unwrap_or_default().to_owned(),
            }));
        self.numbers.panics.inc();
        self.remove(id);
    }

    fn remove(&mut self, id: LaneId) {
        self.schedule(id, None);
        let Some(lane) = self.lanes.remove(&id) else {
            return;
        };
        self.demux.remove(lane.session.discriminator(), &lane.path);
        for user in lane.users() {
            if let Some(user) = self.users.get_mut(&user) {
                user.before = user.before.plus(lane.tally, user.joined);
                user.lane = None;
                user.problem = Some("the session broke and begins anew".into());
            }
            self.stale.insert(user);
        }
    }

    /// Removes sessions that are over.
    fn sweep(&mut self, now: Instant) {
        let ended = self.lanes.iter().filter(|(_, lane)| lane.has_ended(now));
        let ended: Vec<LaneId> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            if !self.ending {
                self.remove(id);
            }
        }
    }

    /// Looks again at what waits for the world to change.
    pub(super) fn look(&mut self, now: Instant) {
        self.sweep(now);
        if self.ending {
            return;
        }
        self.looks = self.looks.wrapping_add(1);
        let rarely = self.looks.is_multiple_of(RARELY);
        let waits = |user: &User| match user.lane.and_then(|lane| self.lanes.get(&lane)) {
            None => true,
            Some(lane) => rarely && lane.session.state() != State::Up,
        };
        let waiting = self.users.iter().filter(|(_, user)| waits(user));
        let waiting: Vec<UserId> = waiting.map(|(id, _)| *id).collect();
        for user in waiting {
            self.seat(user, now);
        }
    }

    /// Takes in a packet; says why it is dropped.
    pub(super) fn packet(&mut self, arrival: &Arrival, now: Instant) -> Result<(), Refused> {
        let Arrival { path, ttl, .. } = arrival;
        if !path.multihop && *ttl != TTL {
            return Err(Refused::Ttl);
        }
        let packet = Packet::decode(arrival.payload()).map_err(|_| Refused::Malformed)?;
        let found = self.demux.find(&packet, *path);
        let id = found.map_err(|_| Refused::Unknown)?;
        let take = |lane: &mut Lane| {
            if lane.is_too_far(*ttl) {
                return Err(Refused::Ttl);
            }
            let verdict = lane.on_packet(&packet, path.interface, now);
            verdict.map_err(|_| Refused::Authentication)
        };
        // A session that panicked took the packet with it.
        self.touch(id, now, take).unwrap_or(Ok(()))
    }

    /// When [`Self::run_due`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    fn due(&self, now: Instant) -> impl Iterator<Item = LaneId> + '_ {
        let due = self
            .queue
            .iter()
            .take_while(move |(deadline, _)| *deadline <= now);
        due.map(|(_, id)| *id)
    }

    /// Whether a peer would be declared dead now.
    pub(super) fn would_expire(&self, now: Instant) -> bool {
        let mut due = self.due(now).filter_map(|id| self.lanes.get(&id));
        due.any(|lane| lane.session.silence_ends().is_some_and(|end| end <= now))
    }

    /// Declares dead who is dead, and sends what is due. Returns how many sessions had something to do.
    pub(super) fn run_due(&mut self, now: Instant) -> usize {
        let due: Vec<LaneId> = self.due(now).collect();
        for id in &due {
            self.touch(*id, now, |lane| lane.on_timeout(now));
        }
        due.len()
    }

    /// Sessions whose links are down are down, and those whose links are back begin to speak.
    pub(super) fn follow_links(&mut self, carriers: Carriers, now: Instant) {
        let before = std::mem::replace(&mut self.carriers, carriers);
        let runs = |carriers: &Carriers, link: u32| carriers.get(&link).copied().unwrap_or(false);
        let on_links = self.lanes.iter().filter_map(|(id, lane)| {
            let link = lane.link()?;
            let change = (runs(&before, link), runs(&self.carriers, link));
            (change.0 != change.1).then_some((*id, change.1))
        });
        for (id, up) in on_links.collect::<Vec<_>>() {
            self.touch(id, now, |lane| lane.on_link(up));
        }
    }

    /// The shortest time that any user asks for between two packets.
    pub(super) fn shortest_interval(&self) -> Option<Duration> {
        let timers = self.users.values().map(|user| user.spec.timers);
        timers.map(|it| it.transmit.min(it.receive)).min()
    }

    /// Which packets are expected.
    pub(super) fn kinds(&self) -> BTreeSet<Kind> {
        let paths = self.lanes.values().map(|lane| Kind::of(&lane.path));
        paths.collect()
    }

    /// Says AdminDown to all peers; whoever comes later gets no session.
    pub(super) fn end(&mut self, now: Instant) {
        self.ending = true;
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in lanes {
            self.touch(id, now, |lane| lane.end(now + PATIENCE));
        }
    }

    /// Whether every peer has heard that this is the end.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        self.ending && self.lanes.values().all(|lane| lane.has_ended(now))
    }

    /// Whether somebody has not been told yet.
    pub(super) fn has_news(&self) -> bool {
        !self.stale.is_empty() || !self.events.is_empty()
    }

    /// Tells users what is new, as far as `send` takes it. `troubles` are those of listeners.
    pub(super) fn tell(&mut self, troubles: &BTreeMap<Kind, String>, send: impl Fn(Note) -> bool) {
        // Told first, logged second: a log that is not read must not keep users waiting.
        while let Some(user) = self.stale.first().copied() {
            if let Some(entry) = self.users.get_mut(&user) {
                let lane = entry.lane.and_then(|lane| self.lanes.get(&lane));
                let told = match lane {
                    Some(lane) => {
                        let trouble = troubles.get(&Kind::of(&lane.path));
                        let trouble = trouble.or(entry.problem.as_ref());
                        lane.tell(user, tally(entry, &self.lanes), trouble)
                    }
                    None => absent(entry),
                };
                if entry.told.as_ref() != Some(&told) {
                    if !send(Note::Told(user, told.clone())) {
                        return;
                    }
                    entry.told = Some(told);
                }
            }
            self.stale.remove(&user);
        }
        while let Some(event) = self.events.pop_front() {
            if !send(Note::Event(event.clone())) {
                self.events.push_front(event);
                self.events.truncate(EVENTS);
                return;
            }
        }
    }

    /// Something to be logged that concerns no session alone.
    pub(super) fn note(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Everybody may have something to be told.
    pub(super) fn tell_all(&mut self) {
        self.stale.extend(self.users.keys());
    }
}

/// What a user has counted so far.
fn tally(user: &User, lanes: &BTreeMap<LaneId, Lane>) -> Tally {
    let lane = user.lane.and_then(|lane| lanes.get(&lane));
    let now = lane.map_or(user.joined, |lane| lane.tally);
    user.before.plus(now, user.joined)
}

/// What a user without a session is told.
fn absent(user: &User) -> Told {
    Told {
        peer: user.spec.peer,
        local: user.spec.local,
        multihop: user.spec.multihop,
        live: Liveness {
            failures: user.before.failures,
            ..Liveness::default()
        },
        remote_diag: Diag::NONE,
        negotiated: Negotiated::default(),
        ups: user.before.ups,
        problem: user.problem.clone(),
    }
}

#[cfg(test)]
mod tests;
