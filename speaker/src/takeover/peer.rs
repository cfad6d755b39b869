//! Another node: what BFD says of the paths to it, and what it says itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_proto::claim::{Message, Window};

use super::api::{Cause, PathState};
use super::claims::Known;

/// For so long after its last message a node counts as living, if BFD does not know better.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// A node that BFD has never seen is not waited for any longer after this, since it last gave a sign of life, if ever.
pub(super) const UNSEEN: Duration = Duration::from_secs(5);

/// Why nothing is to be expected of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// BFD saw it go, or it said so itself.
    Gone(Cause),
    /// It has not been seen for long. A firewall may hide it.
    Unseen,
}

/// What BFD says of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watch {
    /// No session, or one that was never Up in this process: the node may be dead, or a firewall may hide it.
    #[default]
    Unknown,
    Up,
    Down {
        since: Instant,
        /// When the last packet must have come.
        last_sign: Instant,
        cause: Cause,
    },
}

/// The way to the node over one segment.
#[derive(Debug, Default)]
pub(super) struct Path {
    pub(super) watch: Watch,
    /// It has told all its claims since the session came Up.
    pub(super) greeted: bool,
    /// Since when there is a session that was never Up.
    unseen: Option<Instant>,
    heard: Option<Instant>,
    window: Window,
    assembly: Option<Assembly>,
}

/// The parts of a complete statement that have come so far.
#[derive(Debug)]
struct Assembly {
    first: u64,
    parts: BTreeSet<u16>,
    named: BTreeSet<IpAddr>,
}

/// A complete statement: the addresses that it names, and the sequence of its first datagram.
pub(super) type Complete = (BTreeSet<IpAddr>, u64);

impl Path {
    /// The session changed its state. Returns whether that changes what we think.
    pub(super) fn watched(&mut self, state: PathState, detection: Duration, now: Instant) -> bool {
        let before = self.watch;
        let silent_since = now.checked_sub(detection).unwrap_or(now);
        self.watch = match (state, before) {
            (PathState::Up, _) => Watch::Up,
            (
                PathState::Leaving,
                Watch::Down {
                    cause: Cause::Stops,
                    ..
                },
            ) => before,
            (PathState::Leaving, _) => Watch::Down {
                since: now,
                last_sign: now,
                cause: Cause::Stops,
            },
            (PathState::Down, Watch::Up) => Watch::Down {
                since: now,
                last_sign: silent_since,
                cause: Cause::Silent,
            },
            (PathState::Down, _) => before,
        };
        if self.watch == Watch::Up && before != Watch::Up {
            self.greeted = false;
        }
        self.watch != before
    }

    /// We were cut off: that it went silent says nothing about the other side.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.unseen = self.unseen.map(|_| now);
        if matches!(
            self.watch,
            Watch::Down {
                cause: Cause::Silent,
                ..
            }
        ) {
            self.watch = Watch::Unknown;
        }
    }

    /// There is a session from now on, if there was none.
    pub(super) fn watch(&mut self, now: Instant) {
        self.unseen.get_or_insert(now);
    }

    /// The session is another one now, or there is none.
    pub(super) fn unwatch(&mut self) {
        self.unseen = None;
        self.watch = Watch::Unknown;
        self.greeted = false;
    }

    pub(super) fn is_up(&self) -> bool {
        self.watch == Watch::Up
    }

    fn speaks(&self, now: Instant) -> bool {
        self.heard
            .is_some_and(|heard| now.saturating_duration_since(heard) < SIGN_OF_LIFE)
    }

    /// Whether a claim counts that was heard at `at`. One from before the session went Down does not.
    fn vouches(&self, at: Instant, now: Instant) -> bool {
        match self.watch {
            Watch::Up => true,
            Watch::Unknown => self.speaks(now),
            Watch::Down { since, .. } => at > since && self.speaks(now),
        }
    }

    /// Takes in a part of a complete statement. Returns it when no part is missing.
    fn assemble(&mut self, message: &Message) -> Option<Complete> {
        let first = message.sequence.checked_sub(message.part.into())?;
        if self.assembly.as_ref().is_none_or(|it| it.first < first) {
            self.assembly = Some(Assembly {
                first,
                parts: BTreeSet::new(),
                named: BTreeSet::new(),
            });
        }
        let assembly = self.assembly.as_mut().filter(|it| it.first == first)?;
        assembly.parts.insert(message.part);
        let vips = message.statement.entries.iter().map(|entry| entry.vip);
        assembly.named.extend(vips);
        if assembly.parts.len() < message.parts.into() {
            return None;
        }
        self.assembly.take().map(|it| (it.named, it.first))
    }
}

/// What a message brings.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// It is the first one of a new process: what the old one said is void.
    pub(super) reborn: bool,
    /// Claims that did not count may count now, or the other way round.
    pub(super) matters: bool,
    /// A complete statement ends with it.
    pub(super) complete: Option<Complete>,
}

/// Another node.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) paths: BTreeMap<u32, Path>,
    boot: u64,
    /// It said last that it is about to stop: see [`Self::leaves`].
    leaving: bool,
    heard: Option<Instant>,
    /// When its station was heard last to use an address.
    on_wire: Option<Instant>,
}

impl Peer {
    /// Its station was heard to use an address: then it is not dead, whatever BFD says.
    pub(super) fn seen_on_wire(&mut self, now: Instant) {
        self.on_wire = Some(now);
    }

    /// BFD sees it: it has come back.
    pub(super) fn stays(&mut self) {
        self.leaving = false;
    }

    /// Whether it is about to stop. It says so as long as it does; when it is silent, BFD knows whether it is gone, and it
    /// may have come back without a word if it shared nothing with us then.
    fn leaves(&self, now: Instant) -> bool {
        let heard = self.heard.map(|heard| now.saturating_duration_since(heard));
        self.leaving && heard.is_some_and(|ago| ago < SIGN_OF_LIFE)
    }

    /// Takes in a message; `None` if it was heard before.
    pub(super) fn hear(
        &mut self,
        interface: u32,
        message: &Message,
        now: Instant,
    ) -> Option<Heard> {
        let path = self.paths.entry(interface).or_default();
        if !path.window.take(message.boot, message.sequence, now) {
            return None;
        }
        let silent = !path.speaks(now);
        path.heard = Some(now);
        let complete = if message.statement.all {
            path.assemble(message)
        } else {
            None
        };
        if complete.is_some() && path.is_up() {
            path.greeted = true;
        }
        let reborn =
            self.boot != message.boot && std::mem::replace(&mut self.boot, message.boot) != 0;
        let leaving = message.statement.leaving;
        let matters = std::mem::replace(&mut self.leaving, leaving) != leaving || silent || reborn;
        self.heard = Some(now);
        Some(Heard {
            reborn,
            matters,
            complete,
        })
    }

    fn on<'a>(&'a self, homes: &'a BTreeSet<u32>) -> impl Iterator<Item = &'a Path> {
        self.paths
            .iter()
            .filter(|(interface, _)| homes.contains(interface))
            .map(|(_, path)| path)
    }

    /// Whether a claim of this node counts, for an address of these segments.
    pub(super) fn vouches(&self, homes: &BTreeSet<u32>, known: &Known, now: Instant) -> bool {
        !self.leaves(now) && known.held && self.on(homes).any(|path| path.vouches(known.at, now))
    }

    /// Why nothing is to be expected of the node on these segments; or when it is to be asked again.
    pub(super) fn absence(
        &self,
        homes: &BTreeSet<u32>,
        now: Instant,
    ) -> Result<Absence, Option<Instant>> {
        if self.leaves(now) {
            return Ok(Absence::Gone(Cause::Stops));
        }
        if self.on(homes).any(Path::is_up) {
            return Err(None);
        }
        let gone = self.on(homes).filter_map(|path| match path.watch {
            Watch::Down { since, cause, .. } => {
                let silent = self.on_wire.is_none_or(|heard| heard <= since);
                (silent || cause == Cause::Stops).then_some(cause)
            }
            Watch::Unknown | Watch::Up => None,
        });
        if let Some(cause) = gone.max() {
            return Ok(Absence::Gone(cause));
        }
        let unseen = self
            .on(homes)
            .filter_map(|path| path.unseen)
            .max()
            .ok_or(None)?;
        let signs = [self.heard, self.on_wire].into_iter().flatten();
        let until = signs.chain([unseen]).max().unwrap_or(unseen) + UNSEEN;
        if until <= now {
            Ok(Absence::Unseen)
        } else {
            Err(Some(until))
        }
    }

    /// When it was heard last, by whatever means: now, while BFD sees it.
    pub(super) fn last_sign(&self, now: Instant) -> Option<Instant> {
        if self.paths.values().any(Path::is_up) {
            return Some(now);
        }
        let watched = self.paths.values().filter_map(|path| match path.watch {
            Watch::Down { last_sign, .. } => Some(last_sign),
            Watch::Unknown | Watch::Up => None,
        });
        watched.chain(self.heard).chain(self.on_wire).max()
    }

    /// Whether it has said anything since then.
    pub(super) fn spoke_since(&self, then: Instant) -> bool {
        self.heard.is_some_and(|heard| heard > then)
    }
}
