//! The BFD sessions that the machine wants, and what they say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portolan_proto::bfd::auth::Authentication;
use portolan_proto::bfd::{Diag, State};
use tokio::sync::watch;

use super::super::{PathState, SessionKey, SessionWish};
use super::news::Watched;
use crate::bfd::{Engine, Liveness, SessionHandle, SessionSpec, Timers};

/// How long a session that is not wanted any more is kept. The peer may follow an older placement for a moment, and would
/// take our farewell for that of a node that stops.
const LINGER: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Debug)]
pub(super) struct Paths {
    engine: Engine,
    changes: watch::Receiver<()>,
    wishes: BTreeMap<SessionKey, SessionWish>,
    sessions: BTreeMap<SessionKey, Path>,
    /// Those of addresses that a node, or this one, has no longer.
    parting: Vec<Path>,
}

#[derive(Debug)]
struct Path {
    wish: SessionWish,
    spec: SessionSpec,
    handle: SessionHandle,
    live: watch::Receiver<Liveness>,
    /// What the machine was told.
    told: Told,
    /// When it goes, as nobody wants it any more.
    ends: Option<Instant>,
}

/// What was told of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    state: Option<PathState>,
    failures: u64,
}

impl Paths {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            changes: engine.changes(),
            engine,
            wishes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            parting: Vec::new(),
        }
    }

    /// Waits until some session may be different.
    pub(super) async fn changed(&mut self) {
        // The engine is ours as well, so its side never goes first.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Makes the sessions those that are wanted. Without a key there are none: what nobody signs nobody can believe.
    pub(super) fn follow(
        &mut self,
        wishes: &BTreeMap<SessionKey, SessionWish>,
        authentication: Option<&Authentication>,
        now: Instant,
    ) {
        self.wishes.clone_from(wishes);
        let Some(authentication) = authentication else {
            return self.close();
        };
        for (key, wish) in wishes {
            let spec = spec(wish, authentication);
            let known = self.sessions.get_mut(key);
            if let Some(path) = known.filter(|path| path.leads_as(wish)) {
                path.follow(wish, spec);
                continue;
            }
            let path = Path::open(&self.engine, wish, spec);
            if let Some(mut other) = self.sessions.insert(key.clone(), path) {
                other.ends = Some(now + LINGER);
                self.parting.push(other);
            }
        }
        for (key, path) in &mut self.sessions {
            if !wishes.contains_key(key) {
                path.ends.get_or_insert(now + LINGER);
            }
        }
    }

    /// Whether these are the ones that were asked for last.
    pub(super) fn are(&self, wishes: &BTreeMap<SessionKey, SessionWish>) -> bool {
        self.wishes == *wishes
    }

    /// Gives all of them up: peers hear AdminDown.
    pub(super) fn close(&mut self) {
        self.sessions.clear();
        self.parting.clear();
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let paths = self.sessions.values().chain(&self.parting);
        paths.filter_map(|path| path.ends).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let stays = |path: &Path| path.ends.is_none_or(|ends| now < ends);
        self.sessions.retain(|_, path| stays(path));
        self.parting.retain(stays);
    }

    /// What the machine has not been told yet.
    pub(super) fn news(&mut self) -> Vec<(SessionKey, PathState)> {
        self.changes.mark_unchanged();
        let mut news = Vec::new();
        for (key, path) in &mut self.sessions {
            let live = *path.live.borrow_and_update();
            if path.ends.is_none() {
                let states = path.told.follow(&live);
                news.extend(states.into_iter().map(|state| (key.clone(), state)));
            }
        }
        news
    }

    /// The last packet of a node that is not heard any more.
    pub(super) fn last_heard(&self, node: &str) -> Option<Instant> {
        let of_node = self.sessions.iter().filter(|(key, _)| key.node == node);
        let down = of_node.filter(|(_, path)| path.told.state == Some(PathState::Down));
        down.filter_map(|(_, path)| path.live.borrow().last_heard)
            .max()
    }

    /// Whether BFD sees another node on this interface, or has nobody to look for there.
    pub(super) fn see_somebody(&self, interface: u32) -> bool {
        let here =
            |(key, path): &(&SessionKey, &Path)| key.interface == interface && path.ends.is_none();
        let mut here = self.sessions.iter().filter(here).peekable();
        here.peek().is_none() || here.any(|(_, path)| path.told.state == Some(PathState::Up))
    }

    /// For the report.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let wanted = self.sessions.iter().filter(|(_, path)| path.ends.is_none());
        let watched = wanted.map(|(key, path)| Watched {
            key: key.clone(),
            wish: path.wish.clone(),
            status: path.handle.status(),
        });
        watched.collect()
    }
}

impl Path {
    fn open(engine: &Engine, wish: &SessionWish, spec: SessionSpec) -> Self {
        let handle = engine.session(spec.clone());
        Self {
            wish: wish.clone(),
            live: handle.watch(),
            handle,
            spec,
            told: Told::default(),
            ends: None,
        }
    }

    /// Whether it is the path that is wanted, whatever its times.
    fn leads_as(&self, wish: &SessionWish) -> bool {
        let way = |wish: &SessionWish| (wish.peer, wish.local, wish.interface.clone());
        way(&self.wish) == way(wish)
    }

    fn follow(&mut self, wish: &SessionWish, spec: SessionSpec) {
        self.wish.clone_from(wish);
        // The machine has forgotten what it knew of a path that it did not want any more.
        if self.ends.take().is_some() {
            self.told = Told {
                state: None,
                failures: self.live.borrow().failures,
            };
        }
        if self.spec != spec {
            self.handle.set(spec.clone());
            self.spec = spec;
        }
    }
}

impl Told {
    /// What is to be told of a session that is so now. A path that failed and works again is told as both: whoever looks
    /// only at how it is would never know.
    fn follow(&mut self, live: &Liveness) -> Vec<PathState> {
        let failed = live.failures > self.failures;
        self.failures = live.failures;
        let Some(state) = state(live) else {
            return Vec::new();
        };
        let missed = failed && state == PathState::Up && self.state == Some(PathState::Up);
        // A path that never worked is nothing but unknown.
        let known = self.state.is_some() || state == PathState::Up;
        let differs = known && self.state != Some(state);
        if differs {
            self.state = Some(state);
        }
        let states = missed.then_some(PathState::Down).into_iter();
        states.chain((differs || missed).then_some(state)).collect()
    }
}

/// What BFD says, in the machine's words; nothing while BFD itself does not run, which says nothing of any path.
fn state(live: &Liveness) -> Option<PathState> {
    let leaves = live.diag == Diag::NEIGHBOR_DOWN && live.remote_state == State::AdminDown;
    match live.state {
        State::AdminDown => None,
        State::Up => Some(PathState::Up),
        State::Down if leaves => Some(PathState::Leaving),
        State::Down | State::Init => Some(PathState::Down),
    }
}

fn spec(wish: &SessionWish, authentication: &Authentication) -> SessionSpec {
    SessionSpec {
        peer: wish.peer,
        local: Some(wish.local),
        interface: Some(wish.interface.clone()),
        vrf: None,
        multihop: false,
        timers: Timers {
            transmit: wish.interval,
            receive: wish.interval,
            multiplier: wish.multiplier,
        },
        passive: false,
        minimum_ttl: portolan_proto::bfd::TTL,
        authentication: Some(authentication.clone()),
        // The machine follows links itself, and must know that a silence is its own before it hears of it.
        follows_link: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_live(state: State, failures: u64) -> Liveness {
        Liveness {
            state,
            failures,
            ..Liveness::default()
        }
    }

    #[test]
    fn the_machine_hears_of_each_change_once() {
        use PathState::{Down, Leaving, Up};
        let leaving = Liveness {
            diag: Diag::NEIGHBOR_DOWN,
            remote_state: State::AdminDown,
            ..mk_live(State::Down, 1)
        };
        let mut told = Told::default();
        for (row, live, expected) in [
            ("at first", mk_live(State::Down, 0), vec![]),
            ("not yet", mk_live(State::Init, 0), vec![]),
            ("up", mk_live(State::Up, 0), vec![Up]),
            ("still up", mk_live(State::Up, 0), vec![]),
            ("silent", mk_live(State::Down, 1), vec![Down]),
            ("coming back", mk_live(State::Init, 1), vec![]),
            ("back", mk_live(State::Up, 1), vec![Up]),
            ("leaves", leaving, vec![Leaving]),
            ("gone", mk_live(State::Down, 1), vec![Down]),
            ("back again", mk_live(State::Up, 1), vec![Up]),
            ("failed meanwhile", mk_live(State::Up, 2), vec![Down, Up]),
            ("BFD ends", mk_live(State::AdminDown, 2), vec![]),
        ] {
            assert_eq!(told.follow(&live), expected, "{row}");
        }
    }
}
