//! In the place of BFD: what a session between two processes would say, and when.

use super::super::{PathState, SessionKey};
use super::events::Event;
use super::world::World;

/// One side of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    /// Processes of both ends while it is Up.
    pub(super) up: Option<(u64, u64)>,
    /// What was told last.
    generation: u64,
    /// Packets arrive and come back, as far as the oracle saw.
    works: bool,
}

/// What a session is about to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) node: usize,
    pub(super) peer: usize,
    boots: (u64, u64),
    generation: u64,
    state: PathState,
}

impl World {
    /// Looks at all paths again: to be called after whatever may change one.
    pub(super) fn consult(&mut self) {
        let count = self.nodes.len();
        for (node, peer) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
            if node < peer {
                self.consult_pair(node, peer);
            }
        }
    }

    fn consult_pair(&mut self, one: usize, other: usize) {
        let works = self.wants(one, other) && self.wants(other, one) && self.both_ways(one, other);
        let boots = (self.nodes[one].boot, self.nodes[other].boot);
        // A new process says so in its first packet.
        let stale = self.sides[one][other].up.is_some_and(|up| up != boots);
        if works == self.sides[one][other].works && !stale {
            return;
        }
        let millis = if works {
            self.dice.between(300, 2500)
        } else {
            self.dice.between(200, 330)
        };
        for (node, peer) in [(one, other), (other, one)] {
            let boots = if node == one {
                boots
            } else {
                (boots.1, boots.0)
            };
            let side = &mut self.sides[node][peer];
            side.works = works;
            side.generation += 1;
            let generation = side.generation;
            if side.up.is_some() {
                let verdict = Verdict {
                    node,
                    peer,
                    boots: side.up.unwrap_or_default(),
                    generation,
                    state: PathState::Down,
                };
                let soon = if stale && works {
                    1000
                } else {
                    u64::from(self.dice.between(200, 330)) * 1000
                };
                self.after(soon, Event::Bfd(verdict));
            }
            if works {
                let verdict = Verdict {
                    node,
                    peer,
                    boots,
                    generation,
                    state: PathState::Up,
                };
                let slack = u64::from(self.dice.between(340, 360)) * 1000;
                self.after(u64::from(millis) * 1000 + slack, Event::Bfd(verdict));
            }
        }
    }

    /// Whether BFD of the node sees another one.
    pub(super) fn sees_anybody(&self, node: usize) -> bool {
        self.sides[node].iter().any(|side| side.up.is_some())
    }

    fn wants(&self, node: usize, peer: usize) -> bool {
        let key = self.key(peer);
        self.nodes[node]
            .machine
            .as_ref()
            .is_some_and(|machine| machine.sessions().contains_key(&key))
    }

    fn key(&self, peer: usize) -> SessionKey {
        SessionKey {
            node: self.nodes[peer].name.clone(),
            interface: 2,
        }
    }

    /// A session says what it was about to say, unless that is no longer true.
    pub(super) fn pronounce(&mut self, verdict: Verdict) {
        let Verdict {
            node,
            peer,
            boots,
            generation,
            state,
        } = verdict;
        let current = (self.nodes[node].boot, self.nodes[peer].boot);
        let side = &mut self.sides[node][peer];
        match state {
            PathState::Up if generation == side.generation && boots == current => {
                side.up = Some(boots);
            }
            PathState::Down | PathState::Leaving if side.up == Some(boots) => {
                // A path that came back before anybody noticed, between the same processes.
                if state == PathState::Down && side.works && boots == current {
                    return;
                }
                side.up = None;
            }
            _ => return,
        }
        if boots.0 != current.0 || self.nodes[node].machine.is_none() {
            return;
        }
        let (key, now) = (self.key(peer), self.instant());
        self.tell(|| format!("bfd of n{node} says n{peer} is {state:?}"));
        self.with(node, |machine| machine.path(&key, state, now));
    }

    /// A process says to all that it stops.
    pub(super) fn say_goodbye(&mut self, leaver: usize) {
        for node in 0..self.nodes.len() {
            if let Some(boots) = self.sides[node][leaver].up
                && self.hears(node, leaver)
            {
                let generation = self.sides[node][leaver].generation;
                let verdict = Verdict {
                    node,
                    peer: leaver,
                    boots,
                    generation,
                    state: PathState::Leaving,
                };
                let delay = self.delay();
                self.after(delay, Event::Bfd(verdict));
            }
        }
    }
}
