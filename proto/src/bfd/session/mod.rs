//! One session: what both sides say of each other, and when (RFC 5880 §6).
//!
//! ```text
//!                 Down heard                    Init, Up heard
//!   ┌────── Down ───────────► Init ──────────────────────► Up ──────┐
//!   │        ▲ │                │  detection time,          ▲ │     │ detection time,
//!   │        │ └── Init heard ──┼──────────────────────────►┘ │     │ Down or AdminDown heard
//!   │        └──────────────────┘  AdminDown heard            │     │
//!   │        ◄────────────────────────────────────────────────┴─────┘
//!   └─► AdminDown, by decision, from and to Down
//! ```
//!
//! The caller brings packets and the time, and after each of them asks [`Session::poll_tx`] until it has nothing more to
//! send. What a packet says of times is the *offer*; what is gone by is *in force*. The two differ while a Poll Sequence
//! runs: a slower transmission or a quicker detection must wait until the peer has heard of it (§6.8.3).

mod receive;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod transmit;

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

pub use receive::transition;

use super::auth::{Authentication, Authenticator};
use super::dice::Dice;
use super::packet::{Diag, Discriminator, Micros, State};

/// Nobody sends faster while not Up (RFC 5880 §6.8.3).
const SLOW: Micros = Micros(1_000_000);

/// The two times that packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Desired Min TX Interval: shortest time between two packets that we would like to send.
    pub transmit: Micros,
    /// Required Min RX Interval: shortest time between two packets that we can receive.
    pub receive: Micros,
}

/// What the operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Times while Up.
    pub timing: Timing,
    /// Of our packets, how many the peer may miss.
    pub multiplier: NonZeroU8,
    /// Wait for the peer to begin (RFC 5880 §6.1).
    pub passive: bool,
    /// The C bit: this program goes on when the control plane restarts.
    pub control_plane_independent: bool,
    /// How packets are authenticated, on both sides.
    pub authentication: Option<Authentication>,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why it went down; [`Diag::NONE`] when it did not.
    pub diag: Diag,
    /// What the peer says of itself.
    pub remote_state: State,
}

impl Change {
    /// Whether a path that worked has failed. A peer that says AdminDown tells nothing of the path (RFC 5882 §3.2), and
    /// our own decision is no failure.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.from == State::Up
            && self.to == State::Down
            && !(self.diag == Diag::NEIGHBOR_DOWN && self.remote_state == State::AdminDown)
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// Time between two of our packets, before jitter; None while nothing is sent periodically.
    pub transmit: Option<Duration>,
    /// Longest silence of the peer; None while it was not heard.
    pub detection: Option<Duration>,
}

/// What the peer's last packet said.
#[derive(Clone, Copy, Debug)]
struct Remote {
    discriminator: Option<Discriminator>,
    state: State,
    diag: Diag,
    min_tx: Micros,
    min_rx: Micros,
    multiplier: u8,
    demand: bool,
}

/// As RFC 5880 §6.8.1 begins.
impl Default for Remote {
    fn default() -> Self {
        Self {
            discriminator: None,
            state: State::Down,
            diag: Diag::NONE,
            min_tx: Micros(0),
            min_rx: Micros(1),
            multiplier: 0,
            demand: false,
        }
    }
}

/// A session with one peer.
#[derive(Clone, Debug)]
pub struct Session {
    local: Discriminator,
    config: Config,
    state: State,
    diag: Diag,
    remote: Remote,
    /// What our packets say.
    offer: Timing,
    /// What we go by.
    in_force: Timing,
    /// A Poll Sequence runs: packets carry P until F comes.
    polling: bool,
    /// The peer polled: F is owed.
    owes_final: bool,
    /// The contents changed: one packet goes out of turn (§6.8.7).
    owes_news: bool,
    /// When the last packet in turn left; the next one is counted from here.
    last_tx: Option<Instant>,
    /// Which part of the interval passes before the next packet, in thousandths.
    spread: u32,
    started: Instant,
    /// When the peer was last heard; None once a detection time has passed.
    heard: Option<Instant>,
    /// When the peer's sequence number is forgotten.
    forget_at: Option<Instant>,
    authenticator: Option<Authenticator>,
    dice: Dice,
}

impl Session {
    /// A session that is Down and begins to send at once, if it is not passive. `seed` decides the jitter.
    #[must_use]
    pub fn new(local: Discriminator, config: Config, seed: u64, now: Instant) -> Self {
        let mut dice = Dice::new(seed);
        let first_sequence = dice.roll();
        let authentication = config.authentication.clone();
        let offer = wanted(&config, State::Down);
        Self {
            local,
            config,
            state: State::Down,
            diag: Diag::NONE,
            remote: Remote::default(),
            offer,
            in_force: offer,
            polling: false,
            owes_final: false,
            owes_news: false,
            last_tx: None,
            spread: 1000,
            started: now,
            heard: None,
            forget_at: None,
            authenticator: authentication.map(|it| Authenticator::new(it, first_sequence)),
            dice,
        }
    }

    /// Our discriminator.
    #[must_use]
    pub const fn discriminator(&self) -> Discriminator {
        self.local
    }

    /// Our state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why the session was last brought down; none while Up.
    #[must_use]
    pub const fn diag(&self) -> Diag {
        self.diag
    }

    /// What the peer last said of itself; Down while it is not heard.
    #[must_use]
    pub const fn remote_state(&self) -> State {
        self.remote.state
    }

    /// Why the peer's side was last brought down, as it says.
    #[must_use]
    pub const fn remote_diag(&self) -> Diag {
        self.remote.diag
    }

    /// What the peer calls the session, while it is heard.
    #[must_use]
    pub const fn remote_discriminator(&self) -> Option<Discriminator> {
        self.remote.discriminator
    }

    /// Whether a Poll Sequence runs.
    #[must_use]
    pub const fn is_polling(&self) -> bool {
        self.polling
    }

    /// Whether packets are authenticated.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        self.authenticator.is_some()
    }

    /// Whether a key was replaced and the peer goes by the former one still, and so do we.
    #[must_use]
    pub fn awaits_new_key(&self) -> bool {
        let authenticator = self.authenticator.as_ref();
        authenticator.is_some_and(Authenticator::awaits_new_key)
    }

    /// What both sides agreed on so far.
    #[must_use]
    pub fn negotiated(&self) -> Negotiated {
        Negotiated {
            transmit: self.transmits().then(|| self.interval()),
            detection: self.heard.map(|_| self.detection_time()),
        }
    }

    /// When [`Self::on_timeout`] or [`Self::poll_tx`] has something to do, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.due(), self.silence_ends(), self.forget_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Follows another configuration. While Up the peer is asked to take note of other times before they are relied on;
    /// the session does not go down. Nor does it when keys are replaced: the former one is good until the peer uses the new
    /// one. Packets that were not authenticated and are to be, or the other way round, are not believed from now on: tell the
    /// peer by [`Self::admin_down`] before.
    pub fn set_config(&mut self, config: Config) {
        self.authenticator = match (self.authenticator.take(), config.authentication.clone()) {
            (Some(known), Some(keys)) => Some(known.rekeyed(keys)),
            (None, Some(keys)) => Some(Authenticator::new(keys, self.dice.roll())),
            (_, None) => None,
        };
        let quiet = self.last_tx.is_none();
        self.owes_news |= !quiet && self.config.multiplier != config.multiplier;
        self.config = config;
        self.retime();
    }

    /// Holds the session down by decision, and tells the peer so. Returns the change, if it is one.
    pub fn admin_down(&mut self, diag: Diag) -> Option<Change> {
        let before = self.state;
        self.enter(State::AdminDown, diag);
        self.change_from(before)
    }

    /// Ends [`Self::admin_down`].
    pub fn admin_up(&mut self) -> Option<Change> {
        if self.state != State::AdminDown {
            return None;
        }
        self.enter(State::Down, Diag::NONE);
        self.change_from(State::AdminDown)
    }

    /// The link to the peer is known to be down (RFC 5880 §6.8.16): there is no need to wait for silence. Down, not AdminDown,
    /// so that a session whose link was only said to be down comes back by itself. Returns the change, if it is one.
    pub fn path_down(&mut self) -> Option<Change> {
        if !matches!(self.state, State::Init | State::Up) {
            return None;
        }
        let before = self.state;
        self.heard = None;
        self.remote = Remote::default();
        self.enter(State::Down, Diag::PATH_DOWN);
        self.change_from(before)
    }

    /// The link to the peer has come up: one packet goes out of turn, so that a session that is not Up does not wait for its
    /// slow turn.
    pub fn path_up(&mut self) {
        self.owes_news |= !matches!(self.state, State::Up | State::AdminDown);
    }

    /// Lets time pass: a peer that was silent for the detection time is down. To be called after every packet that
    /// arrived before `now` was given to [`Self::on_packet`].
    pub fn on_timeout(&mut self, now: Instant) -> Option<Change> {
        if self.forget_at.is_some_and(|at| at <= now) {
            self.forget_at = None;
            if let Some(authenticator) = &mut self.authenticator {
                authenticator.forget();
            }
        }
        if self.silence_ends().is_none_or(|end| now < end) {
            return None;
        }
        let before = self.state;
        self.heard = None;
        self.remote = Remote::default();
        if matches!(before, State::Init | State::Up) {
            self.enter(State::Down, Diag::DETECTION_TIME_EXPIRED);
        }
        self.change_from(before)
    }

    fn change_from(&self, from: State) -> Option<Change> {
        (from != self.state).then_some(Change {
            from,
            to: self.state,
            diag: self.diag,
            remote_state: self.remote.state,
        })
    }

    /// Longest silence: the peer's multiplier times what it really may take between two packets (§6.8.4).
    fn detection_time(&self) -> Duration {
        let interval = self.in_force.receive.max(self.remote.min_tx);
        interval.duration() * u32::from(self.remote.multiplier)
    }

    /// When the peer is down if nothing is heard of it until then.
    #[must_use]
    pub fn silence_ends(&self) -> Option<Instant> {
        self.heard.map(|heard| heard + self.detection_time())
    }

    /// Takes a state, and the times that belong to it.
    fn enter(&mut self, state: State, diag: Diag) {
        self.owes_news |= (self.state, self.diag) != (state, diag);
        if self.state != state {
            self.polling = false;
        }
        self.state = state;
        self.diag = diag;
        self.retime();
    }

    /// Offers the times that we want now, if they are others (§6.8.3). One Poll Sequence at a time: an F must say which
    /// times it answers for, so later wishes wait until it has come.
    fn retime(&mut self) {
        let wanted = wanted(&self.config, self.state);
        if self.state != State::Up {
            self.owes_news |= self.last_tx.is_some() && self.offer != wanted;
            self.offer = wanted;
            self.in_force = wanted;
        } else if !self.polling && self.offer != wanted {
            self.offer = wanted;
            self.polling = true;
            self.owes_news = true;
            self.in_force.transmit = self.in_force.transmit.min(wanted.transmit);
            self.in_force.receive = self.in_force.receive.max(wanted.receive);
        }
    }
}

fn wanted(config: &Config, state: State) -> Timing {
    let Timing { transmit, receive } = config.timing;
    let transmit = if state == State::Up {
        transmit
    } else {
        transmit.max(SLOW)
    };
    Timing { transmit, receive }
}
