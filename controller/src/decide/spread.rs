//! Spreading VIPs evenly because a user asked for it: the one way in which an address moves that nothing has happened to.
//!
//! A new value of annotation `portolan.dev/rebalance` on an L2Advertisement begins it, for the groups that the rule covers.
//! One group moves each second, from the node that answers for the most, until no move makes it more even.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use portolan_api::annotation::REBALANCE;
use portolan_api::compile::Kind;

use super::{Core, Moment};
use crate::place::{self, SeatId};

/// Time between two moves.
const PACE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    /// The last value of the annotation, by L2Advertisement.
    asked: BTreeMap<String, Option<String>>,
    /// The rules whose VIPs are being spread.
    rules: BTreeSet<String>,
    /// When the next one moves.
    due: Option<Instant>,
}

impl Spreading {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

impl Core {
    /// Notes what users have asked for before this term: that is done, or was given up.
    pub(super) fn note_requests(&mut self) {
        let names = self.model.sources.l2.keys();
        let asked = names.map(|name| (name.clone(), self.request_on(name)));
        self.agenda.spreading.asked = asked.collect();
    }

    fn request_on(&self, name: &str) -> Option<String> {
        let object = self.model.sources.l2.get(name)?;
        object
            .metadata
            .annotations
            .as_ref()?
            .get(REBALANCE)
            .cloned()
    }

    /// Notices new requests among the objects that changed.
    pub(super) fn notice_requests(&mut self, now: Instant) {
        let changed = self.model.dirty.objects.iter();
        let changed = changed.filter(|(kind, _)| *kind == Kind::L2);
        let requests: Vec<_> = changed
            .map(|(_, name)| (name.clone(), self.request_on(name)))
            .collect();
        let spreading = &mut self.agenda.spreading;
        for (name, request) in requests {
            let before = spreading.asked.insert(name.clone(), request.clone());
            if request.is_some() && before.is_some_and(|before| before != request) {
                spreading.rules.insert(name);
                spreading.due.get_or_insert(now);
            }
        }
        let sources = &self.model.sources.l2;
        spreading.asked.retain(|name, _| sources.contains_key(name));
    }

    /// Moves one group, if it is time.
    pub(super) fn spread_evenly(&mut self, moment: Moment) {
        if self.agenda.spreading.due.is_none_or(|due| due > moment.now) {
            return;
        }
        let moved = self.by_burden().into_iter().find(|seat| {
            self.seat(*seat, moment, |wish, candidates, load| {
                let better = place::rebalance(wish, candidates, load);
                better.unwrap_or_else(|| wish.current.to_vec())
            })
        });
        if let Some(seat) = moved {
            self.wake(seat);
            self.agenda.spreading.due = Some(moment.now + PACE);
        } else {
            self.agenda.spreading.due = None;
            self.agenda.spreading.rules.clear();
        }
    }

    /// The groups that are to be spread, those of the busiest node first.
    fn by_burden(&self) -> Vec<SeatId> {
        let rules = self.config.l2.iter().enumerate();
        let asked = rules.filter(|(_, rule)| self.agenda.spreading.rules.contains(&rule.name));
        let asked: BTreeSet<usize> = asked.map(|(at, _)| at).collect();
        let seats = self.board.iter().filter(|(_, seat)| {
            let covered = self.rules_of_group(seat);
            !covered.is_disjoint(&asked)
        });
        let burden = seats.filter_map(|(id, seat)| {
            let load = self.board.load().answering(seat.nodes.first()?);
            Some((Reverse(load), id))
        });
        let mut seats: Vec<_> = burden.collect();
        seats.sort_unstable();
        seats.into_iter().map(|(_, id)| id).collect()
    }
}
