//! What placement does without being asked: a second look at who answers, and at who stands by, a little at a time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::spread::Spreading;
use super::{Core, Moment};
use crate::alloc::ServiceId;
use crate::place::SeatId;

/// Time from a change to the next look at all stand-bys.
const REVIEW_DELAY: Duration = Duration::from_secs(1);
/// Groups that get other stand-bys in one look: each is a write.
const REVIEWED: usize = 16;
/// Groups that are looked at in one look.
const LOOKED_AT: usize = 256;

/// What placement has yet to do, and when.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// When stand-bys are looked at again.
    review: Option<Instant>,
    /// Where the next look begins.
    cursor: usize,
    /// Services to decide again.
    later: BTreeSet<(Instant, ServiceId)>,
    /// What users asked to spread evenly.
    pub(super) spreading: Spreading,
}

impl Agenda {
    /// A Service is to be decided again then.
    pub(super) fn decide_later(&mut self, service: ServiceId, due: Instant) {
        self.later.insert((due, service));
    }

    /// A placement has changed: what others inherit may be uneven now.
    pub(super) fn review_soon(&mut self, now: Instant) {
        self.review.get_or_insert(now + REVIEW_DELAY);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let later = self.later.first().map(|(due, _)| *due);
        let due = later.into_iter().chain(self.review);
        due.chain(self.spreading.deadline()).min()
    }
}

impl Core {
    /// Wakes those whose time has come, and looks at stand-bys after changes: whoever inherits much more than others is
    /// replaced, a few at a time.
    pub(super) fn follow_agenda(&mut self, moment: Moment) {
        while let Some((due, id)) = self.agenda.later.pop_first() {
            if due > moment.now {
                self.agenda.later.insert((due, id));
                break;
            }
            self.model.dirty.services.insert(id);
        }
        if self.agenda.review.is_some_and(|due| due <= moment.now) {
            self.agenda.review = None;
            self.review(moment);
        }
        self.spread_evenly(moment);
    }

    fn review(&mut self, moment: Moment) {
        let mut uneven = self.board.uneven(&self.ground.names());
        if uneven.is_empty() {
            return;
        }
        let begin = self.agenda.cursor % uneven.len();
        uneven.rotate_left(begin);
        self.agenda.cursor = begin + LOOKED_AT;
        let mut changed = 0;
        for seat in uneven.into_iter().take(LOOKED_AT) {
            if self.arrange(seat, true, moment) {
                self.wake(seat);
                changed += 1;
            }
            if changed == REVIEWED {
                break;
            }
        }
    }

    /// Every member of a group is to be decided again.
    pub(super) fn wake(&mut self, seat: SeatId) {
        let members = self.board.get(seat).map(|seat| &seat.members);
        let members = members.into_iter().flatten();
        self.model.dirty.services.extend(members.copied());
    }
}
