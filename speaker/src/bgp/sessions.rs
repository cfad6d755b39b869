//! All sessions of the speaker, as its core sees them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use portolan_proto::bgp::session::StopReason;
use portolan_proto::bgp::{Audience, PORT, Prefix};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::listen::{Listeners, Visits};
use super::shared::{SessionStatus, Shared, Wanted};
use super::surroundings::Surroundings;
use super::task::{Profile, Task};
use super::{Bfd, Board, PeerSpec, Traffic};
use crate::bfd::Engine;
use crate::link::Links;

/// How long an orderly stop of everything may take: last words have one second, scheduling the rest.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// How long a task that panicked stays away.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// The sessions of this node.
#[derive(Debug)]
pub struct Sessions {
    seed: u64,
    surroundings: Surroundings,
    wanted: Arc<Wanted>,
    running: BTreeMap<String, Session>,
    /// Sessions that were removed and are still saying their last words.
    leaving: BTreeMap<String, JoinHandle<()>>,
    changes: watch::Sender<u64>,
    board: Board,
}

#[derive(Debug)]
struct Session {
    spec: PeerSpec,
    profile: watch::Sender<Option<Bfd>>,
    shared: Arc<Shared>,
    order: watch::Sender<Option<StopReason>>,
    task: JoinHandle<()>,
}

impl Sessions {
    /// No session yet. `node` only feeds the jitter, so that nodes do not act in step.
    #[must_use]
    pub fn new(node: &str) -> Self {
        // Nobody will send: the first picture, an empty one, stands for ever.
        let (_, links) = watch::channel(Arc::default());
        Self {
            seed: hash(node),
            surroundings: Surroundings {
                links,
                listeners: Listeners::new(PORT),
                bfd: None,
            },
            wanted: Arc::default(),
            running: BTreeMap::new(),
            leaving: BTreeMap::new(),
            changes: watch::Sender::new(0),
            board: Board::default(),
        }
    }

    /// The sessions, to be looked at from elsewhere.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Lets sessions follow the links of this node: without, next hops of the other family are unknown, and a link that
    /// goes down is noticed by the hold time. To be called before [`Sessions::apply`].
    #[must_use]
    pub fn with_links(mut self, links: watch::Receiver<Arc<Links>>) -> Self {
        self.surroundings.links = links;
        self
    }

    /// Listens on another port than BGP's own. To be called before [`Sessions::apply`].
    #[must_use]
    pub fn listening_on(mut self, port: u16) -> Self {
        self.surroundings.listeners = Listeners::new(port);
        self
    }

    /// Lets BFD watch the ways to peers that want it. To be called before [`Sessions::apply`].
    #[must_use]
    pub fn with_bfd(mut self, engine: Engine) -> Self {
        self.surroundings.bfd = Some(engine);
        self
    }

    /// How connections that peers opened fared.
    #[must_use]
    pub fn visits(&self) -> Visits {
        self.surroundings.listeners.visits()
    }

    /// Fires when any session's status changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes `peers` the sessions of this node: new ones start, missing ones stop (Cease 6/3), changed ones restart
    /// with their routes (Cease 6/6), the others notice nothing. Needs a tokio runtime around it.
    pub fn apply(&mut self, peers: Vec<PeerSpec>) {
        let mut peers: BTreeMap<String, PeerSpec> = peers
            .into_iter()
            .map(|spec| (spec.name.clone(), spec))
            .collect();
        let mut changed = false;
        for (name, session) in std::mem::take(&mut self.running) {
            match peers.remove(&name) {
                Some(spec) if spec.is_same_session(&session.spec) => {
                    self.running.insert(name, session.following(spec));
                }
                Some(spec) => {
                    changed = true;
                    let shared = Arc::clone(&session.shared);
                    let before = session.stop(StopReason::ConfigChange);
                    self.start(spec, shared, Some(before));
                }
                None => {
                    changed = true;
                    self.leaving
                        .insert(name, session.stop(StopReason::Deconfigured));
                }
            }
        }
        self.leaving.retain(|_, task| !task.is_finished());
        for (name, spec) in peers {
            let shared = Arc::new(Shared::new(
                &spec,
                Arc::clone(&self.wanted),
                self.changes.clone(),
            ));
            let before = self.leaving.remove(&name);
            self.start(spec, shared, before);
            changed = true;
        }
        self.show();
        if changed {
            self.changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Makes `desired` all that peers are to be told. Only differences go out.
    pub fn routes(&mut self, desired: &BTreeMap<Prefix, Arc<Audience>>) {
        if self.wanted.rib().replace(desired) > 0 {
            self.wake();
        }
    }

    /// Changes one route, `None` to withdraw it: the short way when a single Service changed.
    pub fn route(&mut self, prefix: Prefix, audience: Option<&Arc<Audience>>) {
        if self.wanted.rib().set(prefix, audience) {
            self.wake();
        }
    }

    /// The wanted routes are complete: the cluster's state is known, and [`Sessions::routes`] was called since. From now
    /// on End-of-RIB goes out after them.
    pub fn set_synced(&mut self) {
        self.wanted.rib().set_synced();
        self.wake();
    }

    fn wake(&self) {
        for session in self.running.values() {
            session.shared.wake.notify_one();
        }
    }

    /// How all sessions fare, by name.
    #[must_use]
    pub fn status(&self) -> Vec<SessionStatus> {
        self.running
            .values()
            .map(|session| session.shared.status())
            .collect()
    }

    /// What went over the connections of each peer.
    #[must_use]
    pub fn traffic(&self) -> Vec<(String, Traffic)> {
        let running = self.running.iter();
        let traffic = running.map(|(name, session)| (name.clone(), session.shared.traffic()));
        traffic.collect()
    }

    /// Ends all sessions in order (Cease 6/2 with `words`), within two seconds. Routers drop the routes.
    pub async fn shutdown(&mut self, words: &str) {
        self.end(&StopReason::Shutdown(words.to_owned())).await;
    }

    /// Ends all sessions, within two seconds, so that routers which agreed to it keep the routes until we are back
    /// (RFC 4724, RFC 8538). To others it is a shutdown.
    pub async fn restart(&mut self, words: &str) {
        self.end(&StopReason::Restart(words.to_owned())).await;
    }

    async fn end(&mut self, reason: &StopReason) {
        let running = std::mem::take(&mut self.running).into_values();
        let stopping = running.map(|session| session.stop(reason.clone()));
        let leaving = std::mem::take(&mut self.leaving).into_values();
        let all = futures::future::join_all(stopping.chain(leaving).collect::<Vec<_>>());
        if timeout(SHUTDOWN_TIME, all).await.is_err() {
            tracing::warn!("bgp: some sessions did not close in time");
        }
    }

    fn show(&self) {
        let running = self.running.iter();
        let shared = running.map(|(name, session)| (name.clone(), Arc::clone(&session.shared)));
        self.board.show(shared.collect());
    }

    fn start(&mut self, spec: PeerSpec, shared: Arc<Shared>, before: Option<JoinHandle<()>>) {
        let (order, ordered) = watch::channel(None);
        let (profile, followed) = watch::channel(spec.bfd.clone());
        let seed = self.seed ^ hash(&spec.name);
        let task = tokio::spawn(supervise(
            before,
            spec.clone(),
            Arc::clone(&shared),
            self.surroundings.clone(),
            followed,
            ordered,
            seed,
        ));
        self.running.insert(
            spec.name.clone(),
            Session {
                spec,
                profile,
                shared,
                order,
                task,
            },
        );
    }
}

impl Session {
    /// The session goes on, and BFD may be another one.
    fn following(mut self, spec: PeerSpec) -> Self {
        if spec.bfd != self.spec.bfd {
            self.profile.send_replace(spec.bfd.clone());
        }
        self.spec = spec;
        self
    }

    /// Orders the end; the handle ends when the last words are said.
    fn stop(self, reason: StopReason) -> JoinHandle<()> {
        self.order.send_replace(Some(reason));
        self.task
    }
}

/// Runs the task of a peer after the one before it has ended.
async fn supervise(
    before: Option<JoinHandle<()>>,
    spec: PeerSpec,
    shared: Arc<Shared>,
    surroundings: Surroundings,
    profile: Profile,
    order: watch::Receiver<Option<StopReason>>,
    seed: u64,
) {
    if let Some(before) = before {
        // Its end matters, not how it came about: it was supervised too.
        drop(before.await);
    }
    until_it_ends(&spec.name, &shared, || {
        let (surroundings, profile) = (surroundings.clone(), profile.clone());
        Task::new(
            spec.clone(),
            Arc::clone(&shared),
            surroundings,
            profile,
            seed,
        )
        .run(order.clone())
    })
    .await;
}

/// Runs `task`, and again if it panics: a defect may cost one session for a moment, and nothing else.
async fn until_it_ends<F>(peer: &str, shared: &Shared, mut task: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(panic) = tokio::spawn(task()).await {
        tracing::error!(%peer, %panic, "bgp: session task failed, starting it again");
        shared.crashed(format!("internal error: {panic}"));
        sleep(AFTER_PANIC).await;
    }
}

/// Stable within a build, which is all that jitter needs.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use portolan_proto::bgp::session::SessionState;

    use super::super::tests::mk_spec;
    use super::*;

    #[tokio::test]
    async fn a_session_whose_task_panicked_is_down_and_keeps_its_count() {
        let changes = watch::Sender::new(0);
        let mut watcher = changes.subscribe();
        let shared = Shared::new(&mk_spec("tor", 179), Arc::default(), changes);
        shared.report(|status| {
            status.state = SessionState::Established;
            status.established = 3;
            status.advertised = 7;
        });
        watcher.mark_unchanged();
        let run = until_it_ends("tor", &shared, || async { panic!("a defect") });
        tokio::select! {
            () = run => panic!("it came to an end"),
            seen = watcher.changed() => seen.unwrap(),
        }
        let status = shared.status();
        assert_eq!(status.state, SessionState::Idle);
        assert_eq!((status.established, status.advertised), (3, 0));
        let error = status.last_error.unwrap();
        assert!(error.contains("internal error"), "{error}");
    }
}
