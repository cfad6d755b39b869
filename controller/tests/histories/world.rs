//! The cluster in motion: applies steps, and has each write of a controller judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use portolan_controller::decide::{Core, Moment};
use portolan_controller::write::{Body, Failure, Outcome, Write};

use super::controller::{self, Controller};
use super::oracle::Promises;
use super::server::{self, Kind, Object, Server};
use super::step::Step;
use super::user::{self, PoolEdit, User};

/// A write on its way.
struct Flight {
    /// Which controller, and which of its terms.
    from: usize,
    term: u64,
    write: Write,
}

/// How many addresses each namespace has of each pool.
pub(crate) type Usage = BTreeMap<(String, String), usize>;

/// See the module.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) controllers: [Controller; 2],
    flights: Vec<Flight>,
    /// Given up by their senders; they happen later or never.
    stragglers: Vec<Flight>,
    /// Who holds the Lease.
    pub(crate) leader: Option<usize>,
    /// Number of the present term.
    pub(crate) term: u64,
    pub(crate) now: Instant,
    pub(crate) wall: Timestamp,
    pub(crate) promises: Promises,
    /// Version at which a controller was last started, elected, killed, or made to list: deletions may be lost then.
    pub(crate) upset: u64,
    /// Version and addresses per pool and namespace when everything rested last.
    pub(crate) rested: Option<(u64, u64, Usage)>,
    /// What was seen at rest: reasons of conditions, and whether anything was shared or retained.
    pub(crate) seen: BTreeSet<String>,
    /// What happened, a line each.
    pub(crate) journal: Vec<String>,
}

impl World {
    pub(crate) fn new(first: &[PoolEdit]) -> Self {
        let mut world = Self {
            server: Server::default(),
            controllers: Default::default(),
            flights: Vec::new(),
            stragglers: Vec::new(),
            leader: None,
            term: 0,
            now: tokio::time::Instant::now().into_std(),
            wall: Timestamp::from_second(1_800_000_000).unwrap(),
            promises: Promises::default(),
            upset: 0,
            rested: None,
            seen: BTreeSet::new(),
            journal: Vec::new(),
        };
        user::begin(&mut world.server, first, world.wall);
        world.say(format!("pool a         {first:?}"));
        for who in 0..2 {
            world.controllers[who].start(who, world.now);
        }
        world
    }

    fn say(&mut self, line: String) {
        self.journal.push(line);
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Step::Relist { .. } | Step::Elect { .. } | Step::Kill { .. } | Step::Start { .. } =
            step
        {
            self.upset = self.server.head();
        }
        match step {
            Step::User(change) => {
                if change.act(&mut self.server, self.wall) {
                    let head = self.server.head();
                    self.say(format!("user           {change:?} (version {head})"));
                }
                Ok(())
            }
            Step::Work => self.work(),
            Step::Rest => self.rest(),
            Step::Fight { over, addresses } => {
                for _ in 0..3 {
                    self.work()?;
                    self.step(&Step::User(User::Show(*over, addresses.clone())))?;
                }
                self.work()
            }
            Step::Wait { how_long } => {
                let lengths = [50, 150, 1_000, 4_000, 11_000, 61_000];
                self.wait(Duration::from_millis(
                    lengths[usize::from(*how_long) % lengths.len()],
                ));
                Ok(())
            }
            Step::Deliver { .. }
            | Step::CatchUp { .. }
            | Step::Relist { .. }
            | Step::Repeat { .. }
            | Step::Answer { .. } => {
                self.tell(step);
                Ok(())
            }
            Step::Elect { .. }
            | Step::Notice { .. }
            | Step::Read { .. }
            | Step::Decide { .. }
            | Step::Kill { .. }
            | Step::Start { .. } => self.run(step),
            Step::Land { .. }
            | Step::LoseAnswer { .. }
            | Step::Fail { .. }
            | Step::GiveUp { .. }
            | Step::Straggle { .. } => self.carry(step),
        }
    }

    pub(crate) fn wait(&mut self, how_long: Duration) {
        self.now += how_long;
        let signed = SignedDuration::try_from(how_long).unwrap();
        self.wall = self.wall.checked_add(signed).unwrap();
        self.say(format!("clock          +{how_long:?}"));
    }

    /// Steps that bring news to a controller.
    fn tell(&mut self, step: &Step) {
        let kinds = Kind::ALL;
        let kind = |kind: u8| kinds[usize::from(kind) % kinds.len()];
        let (server, now) = (&self.server, self.now);
        let line = match *step {
            Step::Deliver {
                to,
                kind: of,
                count,
            } => {
                let to = usize::from(to) % 2;
                let count = self.controllers[to].deliver(server, kind(of), count.into(), now);
                (count > 0).then(|| format!("c{to} sees         {count} × {:?}", kind(of)))
            }
            Step::CatchUp { to } => {
                let to = usize::from(to) % 2;
                self.catch_up(to);
                Some(format!("c{to} sees         everything"))
            }
            Step::Relist { to, kind: of, lag } => {
                let to = usize::from(to) % 2;
                let version = self.controllers[to].moment(server, kind(of), lag);
                self.controllers[to].list(server, kind(of), version, now);
                Some(format!(
                    "c{to} lists        {:?} of version {version}",
                    kind(of)
                ))
            }
            Step::Repeat { to, kind: of, back } => {
                let to = usize::from(to) % 2;
                let done = self.controllers[to].repeat(server, kind(of), back, now);
                done.then(|| format!("c{to} sees again   {:?}, {back} back", kind(of)))
            }
            Step::Answer { to } => {
                let to = usize::from(to) % 2;
                let count = self.answer(to);
                (count > 0).then(|| format!("c{to} is answered  {count} ×"))
            }
            _ => None,
        };
        if let Some(line) = line {
            self.say(line);
        }
    }

    pub(crate) fn catch_up(&mut self, to: usize) {
        for kind in Kind::ALL {
            self.controllers[to].deliver(&self.server, kind, usize::MAX, self.now);
        }
    }

    pub(crate) fn answer(&mut self, to: usize) -> usize {
        let answers = std::mem::take(&mut self.controllers[to].answers);
        let count = answers.len();
        if let Some(core) = &mut self.controllers[to].core {
            for outcome in answers {
                core.finish(outcome, self.now);
            }
        }
        count
    }

    /// Steps of the life of a controller.
    fn run(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Elect { who, noticed } => self.elect(usize::from(who) % 2, noticed),
            Step::Notice { who } => {
                let who = usize::from(who) % 2;
                self.notice(who);
                Ok(())
            }
            Step::Read { who, lag } => {
                self.read(usize::from(who) % 2, lag);
                Ok(())
            }
            Step::Decide { who } => {
                self.decide(usize::from(who) % 2);
                Ok(())
            }
            Step::Kill { who } => {
                self.kill(usize::from(who) % 2);
                Ok(())
            }
            Step::Start { who } => {
                let who = usize::from(who) % 2;
                if self.controllers[who].core.is_none() {
                    self.controllers[who].start(who, self.now);
                    self.say(format!("c{who} starts"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Somebody takes the Lease, for another term or instead of the other one. Nothing of a former term happens after the
    /// lists that the new leader reads: what is on its way happens now or never.
    pub(crate) fn elect(&mut self, who: usize, noticed: bool) -> Result<(), String> {
        if self.controllers[who].core.is_none() {
            return Ok(());
        }
        self.leader = Some(who);
        self.upset = self.server.head();
        self.term += 1;
        self.say(format!("c{who} is elected   (term {})", self.term));
        let late: Vec<_> = std::mem::take(&mut self.flights);
        for (index, flight) in late.into_iter().enumerate() {
            if index % 2 == 0 {
                self.happen(flight, true)?;
            } else {
                self.refuse(flight, Failure::NotLeader);
            }
        }
        for (index, flight) in std::mem::take(&mut self.stragglers).into_iter().enumerate() {
            if index % 2 == 0 {
                self.happen(flight, false)?;
            }
        }
        for (index, controller) in self.controllers.iter_mut().enumerate() {
            controller.reading = None;
            let follows = (index == who || noticed).then_some(controller.core.as_mut());
            if let Some(core) = follows.flatten().filter(|_| controller.term.is_some()) {
                core.follow();
                controller.term = None;
            }
        }
        Ok(())
    }

    pub(crate) fn notice(&mut self, who: usize) {
        let controller = &mut self.controllers[who];
        let stale = controller.term.is_some()
            && (self.leader != Some(who) || controller.term != Some(self.term));
        if let Some(core) = controller.core.as_mut().filter(|_| stale) {
            core.follow();
            controller.term = None;
            self.say(format!("c{who} notices      that it leads no more"));
        }
    }

    /// Begins the reading of the cluster, or ends the one that has begun.
    pub(crate) fn read(&mut self, who: usize, lag: u8) {
        let controller = &mut self.controllers[who];
        let leads = self.leader == Some(who) && controller.term != Some(self.term);
        if !leads || !controller.is_synced() {
            return;
        }
        let Some(core) = controller.core.as_mut() else {
            return;
        };
        let head = self.server.head();
        match controller.reading.take() {
            Some((term, began)) if term == self.term => {
                core.lead(controller::snapshot(&self.server, began, lag), self.now);
                controller.term = Some(term);
                self.promises.begin(term, &self.server);
                self.say(format!(
                    "c{who} leads        (read from version {began} on, now {head}, lag {lag})"
                ));
            }
            _ => {
                core.prepare_lead();
                controller.reading = Some((self.term, head));
                self.say(format!("c{who} reads        from version {head} on"));
            }
        }
    }

    /// Returns how many writes it decided.
    pub(crate) fn decide(&mut self, who: usize) -> usize {
        let moment = Moment {
            now: self.now,
            wall: self.wall,
        };
        let controller = &mut self.controllers[who];
        let Some(core) = &mut controller.core else {
            return 0;
        };
        let writes = core.decide(moment);
        let term = controller.term.unwrap_or(0);
        let count = writes.len();
        for write in writes {
            self.say(format!("c{who} decides      {}", words(&write)));
            let flight = Flight {
                from: who,
                term,
                write,
            };
            if self.leader == Some(who) && term == self.term {
                self.flights.push(flight);
            } else {
                self.refuse(flight, Failure::NotLeader);
            }
        }
        count
    }

    pub(crate) fn kill(&mut self, who: usize) {
        if self.controllers[who].core.is_none() {
            return;
        }
        self.controllers[who] = Controller::default();
        if self.leader == Some(who) {
            self.leader = None;
        }
        // What it had sent goes on without it.
        let (sent, rest) = std::mem::take(&mut self.flights)
            .into_iter()
            .partition(|flight| flight.from == who);
        self.flights = rest;
        self.stragglers.extend::<Vec<_>>(sent);
        self.say(format!("c{who} dies"));
    }

    /// Steps that a write can take.
    fn carry(&mut self, step: &Step) -> Result<(), String> {
        let list = if let Step::Straggle { .. } = step {
            &mut self.stragglers
        } else {
            &mut self.flights
        };
        let (Step::Land { which, .. }
        | Step::LoseAnswer { which }
        | Step::Fail { which, .. }
        | Step::GiveUp { which }
        | Step::Straggle { which, .. }) = *step
        else {
            return Ok(());
        };
        if list.is_empty() {
            return Ok(());
        }
        let flight = list.remove(usize::from(which) % list.len());
        match *step {
            Step::Land { answered, .. } => {
                let from = flight.from;
                self.happen(flight, true)?;
                if answered {
                    self.answer(from);
                }
                Ok(())
            }
            Step::LoseAnswer { .. } => {
                let copy = Flight {
                    from: flight.from,
                    term: flight.term,
                    write: flight.write.clone(),
                };
                self.happen(flight, false)?;
                self.refuse(copy, Failure::TimedOut);
                Ok(())
            }
            Step::GiveUp { .. } => {
                let copy = Flight {
                    from: flight.from,
                    term: flight.term,
                    write: flight.write.clone(),
                };
                self.refuse(copy, Failure::TimedOut);
                self.stragglers.push(flight);
                Ok(())
            }
            Step::Straggle { happens: true, .. } => self.happen(flight, false),
            Step::Fail { why, .. } => {
                let why = match why % 4 {
                    0 => Failure::Conflict,
                    1 => Failure::NotLeader,
                    2 => Failure::TimedOut,
                    _ => Failure::Failed("503".to_owned()),
                };
                self.refuse(flight, why);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The write arrives at the API server.
    fn happen(&mut self, flight: Flight, answered: bool) -> Result<(), String> {
        let Flight { from, term, write } = flight;
        let (kind, key) = server::place(&write.target);
        let before = self.server.get(kind, &key).cloned();
        let result = self.server.write(&write, self.wall);
        let said = match &result {
            Ok(_) => format!("is done (version {})", self.server.head()),
            Err(why) => format!("fails: {why}"),
        };
        self.say(format!("  write of c{from}  {} {said}", words(&write)));
        let done = result.is_ok();
        let moves = |note: &portolan_controller::write::Note| note.message.contains(" instead, ");
        if done && write.notes.iter().any(moves) {
            self.seen.insert("moved".to_owned());
        }
        if answered {
            let target = write.target.clone();
            self.controllers[from]
                .answers
                .push(Outcome { target, result });
        }
        if !done {
            return Ok(());
        }
        match (before, self.server.get(kind, &key).cloned()) {
            (Some(Object::Service(before)), Some(Object::Service(after))) => {
                self.promises
                    .judge(&self.server, term, self.wall, &before, &after)
            }
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, flight: Flight, why: Failure) {
        let Flight { from, write, .. } = flight;
        self.say(format!(
            "  write of c{from}  {} is answered: {why}",
            words(&write)
        ));
        let target = write.target;
        let result = Err(why);
        self.controllers[from]
            .answers
            .push(Outcome { target, result });
    }

    /// A controller leads if nobody does, catches up, decides, and everything that it writes happens.
    fn work(&mut self) -> Result<(), String> {
        let who = self.take_office()?;
        self.catch_up(who);
        self.answer(who);
        self.decide(who);
        self.land_all()?;
        // As every answer makes it do.
        self.decide(who);
        self.land_all()
    }

    /// Makes sure that somebody leads and knows it. Returns who.
    pub(crate) fn take_office(&mut self) -> Result<usize, String> {
        let who = if let Some(who) = self.leader {
            who
        } else {
            let who = usize::from(self.controllers[0].core.is_none());
            if self.controllers[who].core.is_none() {
                self.controllers[who].start(who, self.now);
                self.say(format!("c{who} starts"));
            }
            self.elect(who, true)?;
            who
        };
        if self.controllers[who].term != Some(self.term) {
            if !self.controllers[who].is_synced() {
                self.catch_up(who);
            }
            self.notice(who);
            while self.controllers[who].term != Some(self.term) {
                self.read(who, 0);
            }
        }
        Ok(who)
    }

    pub(crate) fn land_all(&mut self) -> Result<(), String> {
        for flight in std::mem::take(&mut self.flights) {
            self.happen(flight, true)?;
        }
        for who in 0..2 {
            self.answer(who);
        }
        Ok(())
    }

    /// Writes that nobody waits for any more are lost.
    pub(crate) fn lose_stragglers(&mut self) {
        self.stragglers.clear();
    }

    pub(crate) fn deadline(&self, who: usize) -> Option<Instant> {
        self.controllers[who].core.as_ref().and_then(Core::deadline)
    }
}

/// A write in few words.
fn words(write: &Write) -> String {
    let (kind, key) = server::place(&write.target);
    match &write.body {
        Body::Config(config) => {
            let pool = |rule: &portolan_api::crd::PoolRule| {
                format!("{} {}", rule.name, rule.spec.addresses.join(" "))
            };
            let pools: Vec<String> = config.spec.pools.iter().map(pool).collect();
            format!("SpeakerConfig [{}]", pools.join(", "))
        }
        Body::Status(patch) if kind == Kind::Pool => {
            let fields = patch["status"].as_object().map(|status| {
                let retained = status.get("retained").map(ToString::to_string);
                let names: Vec<&str> = status.keys().map(String::as_str).collect();
                format!("{} {}", names.join(" "), retained.unwrap_or_default())
            });
            format!("pool {key}: {}", fields.unwrap_or_default())
        }
        Body::Status(patch) => {
            let status = &patch["status"];
            let ingress = status["loadBalancer"]["ingress"].as_array();
            let ips = ingress.map(|list| {
                let ip = |entry: &serde_json::Value| entry["ip"].as_str().map(str::to_owned);
                list.iter().filter_map(ip).collect::<Vec<_>>().join(",")
            });
            let ips = if status.get("loadBalancer").is_some() {
                format!("[{}]", ips.unwrap_or_default())
            } else {
                "(same addresses)".to_owned()
            };
            let reason = status["conditions"].as_array().and_then(|list| {
                let ours = list
                    .iter()
                    .find(|c| c["type"] == portolan_api::annotation::ASSIGNED)?;
                Some(format!("{} {}", ours["reason"], ours["message"]))
            });
            let version = &patch["metadata"]["resourceVersion"];
            format!("{key}@{version} {ips} {}", reason.unwrap_or_default())
        }
    }
}
