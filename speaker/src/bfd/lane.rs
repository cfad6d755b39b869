//! One session on this node: its state machine, its socket, its users.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use portolan_proto::bfd::auth::AuthError;
use portolan_proto::bfd::{
    Change, Config, Diag, Micros, Packet, Path, Session, State, TTL, Timing,
};

use super::herald::Told;
use super::outlet::Outlet;
use super::status::Numbers;
use super::{Liveness, SessionSpec, Timers, UserId};

/// Shortest interval that is ever used, whatever a user asks for: the thread must come to rest.
const SHORTEST: Duration = Duration::from_millis(1);
/// Packets sent at once: an answer and some news. More would be a defect, which must not hold up the other sessions.
const BURST: usize = 4;

/// What is counted of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Times that it came up.
    pub(super) ups: u64,
    /// Times that it failed after it had worked.
    pub(super) failures: u64,
}

impl Tally {
    /// This one, and what came to `now` since it was `then`.
    pub(super) fn plus(self, now: Self, then: Self) -> Self {
        Self {
            ups: self.ups + now.ups.saturating_sub(then.ups),
            failures: self.failures + now.failures.saturating_sub(then.failures),
        }
    }
}

/// A session and what belongs to it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) path: Path,
    pub(super) session: Session,
    outlet: Outlet,
    wishes: BTreeMap<UserId, SessionSpec>,
    /// See [`Self::is_too_far`].
    minimum_ttl: u8,
    pub(super) tally: Tally,
    problem: Option<String>,
    /// The TTL of the last packet, if it was too small.
    too_far: Option<u8>,
    /// Why the last packet was not believed.
    doubt: Option<&'static str>,
    /// The interface that the peer was last heard on.
    link: Option<u32>,
    /// When the peer was heard last, and when it had been when the session last went down.
    heard: Option<Instant>,
    last_heard: Option<Instant>,
    /// When it ends although the peer has not acknowledged AdminDown.
    leaving: Option<Instant>,
    /// What happened since it was last asked for; there is one at most for each packet.
    pub(super) changes: Vec<Change>,
    numbers: Numbers,
    buffer: Vec<u8>,
}

/// What the wishes of all users come to: the smallest times, passive only if all are, and the authentication of the user
/// who came first of those who want one.
pub(super) fn config<'a>(wishes: impl Iterator<Item = &'a SessionSpec>) -> Config {
    let mut least = Timers {
        transmit: Duration::MAX,
        receive: Duration::MAX,
        multiplier: u8::MAX,
    };
    let mut passive = true;
    let mut authentication = None;
    for SessionSpec {
        timers,
        passive: p,
        authentication: a,
        ..
    } in wishes
    {
        authentication = authentication.or(a.as_ref());
        least.transmit = least.transmit.min(timers.transmit);
        least.receive = least.receive.min(timers.receive);
        least.multiplier = least.multiplier.min(timers.multiplier);
        passive &= p;
    }
    let micros =
        |time: Duration| Micros(u32::try_from(time.max(SHORTEST).as_micros()).unwrap_or(u32::MAX));
    Config {
        timing: Timing {
            transmit: micros(least.transmit),
            receive: micros(least.receive),
        },
        multiplier: NonZeroU8::new(least.multiplier).unwrap_or(NonZeroU8::MIN),
        passive,
        // This thread ends with the speaker.
        control_plane_independent: false,
        authentication: authentication.cloned(),
    }
}

/// In words that are the same for every packet.
fn words(error: AuthError) -> &'static str {
    match error {
        AuthError::Unexpected => "they are authenticated, and no key is configured",
        AuthError::Missing => "they are not authenticated",
        AuthError::Method(_) => "they are authenticated by another method",
        AuthError::Key(_) => "they are authenticated with a key that is not known here",
        AuthError::Proof => "they are authenticated with another key",
        AuthError::Sequence { .. } => "they are repeated, or too many were lost",
    }
}

impl Lane {
    /// A lane without users.
    pub(super) fn new(path: Path, session: Session, outlet: Outlet, numbers: Numbers) -> Self {
        numbers.in_state(session.state()).inc();
        Self {
            path,
            session,
            outlet,
            wishes: BTreeMap::new(),
            minimum_ttl: u8::MAX,
            tally: Tally::default(),
            problem: None,
            too_far: None,
            doubt: None,
            link: None,
            heard: None,
            last_heard: None,
            leaving: None,
            changes: Vec::new(),
            numbers,
            buffer: Vec::new(),
        }
    }

    pub(super) fn users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.wishes.keys().copied()
    }

    pub(super) fn source_port(&self) -> u16 {
        self.outlet.port
    }

    /// Takes in a user, or its new wish.
    pub(super) fn join(&mut self, user: UserId, spec: SessionSpec, now: Instant) {
        self.wishes.insert(user, spec);
        self.leaving = None;
        let change = self.session.admin_up();
        self.changed(change);
        self.follow(now);
    }

    /// Lets a user go; without users the session is to end.
    pub(super) fn part(&mut self, user: UserId, now: Instant, patience: Duration) {
        self.wishes.remove(&user);
        if self.wishes.is_empty() {
            self.end(now + patience);
        } else {
            self.follow(now);
        }
    }

    /// Says AdminDown, until the peer has heard it, at most until `patience`.
    pub(super) fn end(&mut self, patience: Instant) {
        self.leaving = Some(patience);
        let change = self.session.admin_down(Diag::ADMINISTRATIVELY_DOWN);
        self.changed(change);
    }

    /// Whether it may be removed: nobody wants it, and the peer does not count on it any more.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        let heard = !matches!(self.session.remote_state(), State::Init | State::Up);
        self.leaving
            .is_some_and(|patience| heard || patience <= now)
    }

    /// Does what the users want. A peer can not believe a packet with a key as well as one without: before a session gets
    /// its first key or loses its last, it says AdminDown, so that its interruption is no failure. It says so once, as what it
    /// says next is not believed before the peer has followed: if that packet is lost, the peer takes the silence for a failure.
    fn follow(&mut self, now: Instant) {
        let config = config(self.wishes.values());
        let becomes_another = self.session.is_authenticated() != config.authentication.is_some();
        let meets = matches!(self.session.state(), State::Init | State::Up);
        if becomes_another && meets {
            let down = self.session.admin_down(Diag::ADMINISTRATIVELY_DOWN);
            self.changed(down);
            self.flush(now);
        }
        self.session.set_config(config);
        if becomes_another && meets {
            let up = self.session.admin_up();
            self.changed(up);
        }
        let ttls = self.wishes.values().map(|wish| wish.minimum_ttl);
        self.minimum_ttl = ttls.min().unwrap_or(u8::MAX);
    }

    /// Whether a packet comes from further away than it may. Single hop means 255 (RFC 5881 §5). For multihop it is, of
    /// several users, the one whose peer may be furthest away, as all see the same packets. Whoever configured too large a
    /// TTL is told what came: BIRD, for one, sends with 64.
    pub(super) fn is_too_far(&mut self, ttl: u8) -> bool {
        let least = if self.path.multihop {
            self.minimum_ttl
        } else {
            TTL
        };
        self.too_far = Some(ttl).filter(|ttl| *ttl < least);
        self.too_far.is_some()
    }

    /// The link that the session stands and falls with.
    pub(super) fn link(&self) -> Option<u32> {
        let all = self.wishes.values().all(|wish| wish.follows_link);
        self.link.filter(|_| all && !self.path.multihop)
    }

    /// The link has lost its carrier, or has it again.
    pub(super) fn on_link(&mut self, up: bool) {
        if up {
            self.session.path_up();
        } else {
            let change = self.session.path_down();
            self.changed(change);
        }
    }

    pub(super) fn on_packet(
        &mut self,
        packet: &Packet,
        link: Option<u32>,
        now: Instant,
    ) -> Result<(), AuthError> {
        let verdict = self.session.on_packet(packet, now);
        self.doubt = verdict.err().map(words);
        let change = verdict?;
        self.heard = Some(now);
        self.link = link;
        self.numbers.received.inc();
        self.changed(change);
        Ok(())
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        let change = self.session.on_timeout(now);
        self.changed(change);
    }

    /// Sends what is due.
    pub(super) fn flush(&mut self, now: Instant) {
        for _ in 0..BURST {
            let Some(packet) = self.session.poll_tx(now) else {
                return;
            };
            self.buffer.clear();
            packet.encode(&mut self.buffer);
            match self.outlet.send(&self.buffer) {
                Ok(()) => {
                    self.numbers.sent.inc();
                    self.problem = None;
                }
                // The next interval tries again; until then the peer counts it as one lost.
                Err(error) => {
                    self.numbers.send_failures.inc();
                    self.problem = Some(format!("packets can not be sent: {error}"));
                }
            }
        }
    }

    fn changed(&mut self, change: Option<Change>) {
        let Some(change) = change else {
            return;
        };
        self.numbers.in_state(change.from).dec();
        self.numbers.in_state(change.to).inc();
        if change.from == State::Up {
            self.last_heard = self.heard;
        }
        self.tally.ups += u64::from(change.to == State::Up);
        if change.is_failure() {
            self.tally.failures += 1;
            self.numbers.failures.inc();
        }
        self.changes.push(change);
    }

    /// What keeps the session from coming up, or a user from getting what it wants.
    fn problem(&self, user: UserId) -> Option<String> {
        let far = self.too_far.map(|ttl| {
            let least = self.minimum_ttl;
            format!("packets arrive with TTL {ttl} and are dropped: minimumTtl is {least}")
        });
        // Once the session is up, a packet that is not believed is somebody else's.
        let doubt = self
            .doubt
            .filter(|_| self.session.state() != State::Up)
            .map(|doubt| format!("packets of the peer are not believed: {doubt}"));
        let others = || {
            let wanted = self.wishes.get(&user)?.authentication.as_ref();
            let differs = wanted
                != self
                    .wishes
                    .values()
                    .find_map(|it| it.authentication.as_ref());
            differs.then(|| "the session is authenticated as another user of it wants".to_owned())
        };
        let keys = || {
            let former = self.session.awaits_new_key();
            former.then(|| {
                "the peer goes by the former key, which stays good until the peer uses the new one".to_owned()
            })
        };
        self.problem
            .clone()
            .or(far)
            .or(doubt)
            .or_else(others)
            .or_else(keys)
    }

    /// All that a user is told, who has counted this much. `trouble` is what keeps packets from reaching us at all.
    pub(super) fn tell(&self, user: UserId, tally: Tally, trouble: Option<&String>) -> Told {
        Told {
            peer: self.path.peer,
            local: Some(self.path.local),
            multihop: self.path.multihop,
            live: Liveness {
                state: self.session.state(),
                failures: tally.failures,
                diag: self.session.diag(),
                remote_state: self.session.remote_state(),
                last_heard: self.last_heard,
            },
            remote_diag: self.session.remote_diag(),
            negotiated: self.session.negotiated(),
            ups: tally.ups,
            problem: trouble.cloned().or_else(|| self.problem(user)),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.numbers.in_state(self.session.state()).dec();
    }
}
