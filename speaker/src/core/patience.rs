//! Patience with endpoints that come and go.
//!
//! A route goes as soon as nothing stands behind it. It comes back at once as well, unless it went more than
//! [`FREE_LOSSES`] times within [`WINDOW`]: then it waits, longer from time to time, so that a pod that can not make up its
//! mind does not keep all routers busy. Where no other node can take the traffic meanwhile, the wait stays at its first
//! step: holding back the only announcer hurts more than the routers' work.
//!
//! A weight that changes is told after [`QUIET`] without another change: a rollout moves every count several times.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use portolan_api::ObjectKey;
use portolan_api::range::Family;

/// Time in which losses count together.
const WINDOW: Duration = Duration::from_secs(60);
/// Losses within the window after which a return is still believed at once.
const FREE_LOSSES: usize = 3;
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// From the last change of a weight to its announcement.
const QUIET: Duration = Duration::from_secs(1);

/// Whose endpoints are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Those of this node.
    Here,
    /// Those of the whole cluster.
    Anywhere,
}

/// What is watched: the endpoints of a Service in one family.
pub(super) type Side = (ObjectKey, Family, Scope);

#[derive(Debug, Default)]
struct Losses {
    /// The last ones, the oldest first.
    at: VecDeque<Instant>,
    /// How often a return had to wait since it was last quiet for a window.
    waits: u32,
    /// Until when a return waits, and for how long in all.
    held: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct Weight {
    /// What is announced.
    told: u32,
    /// When the present one is.
    due: Instant,
}

/// Everything that is waited for.
#[derive(Debug, Default)]
pub(super) struct Patience {
    losses: HashMap<Side, Losses>,
    weights: HashMap<(ObjectKey, Family), Weight>,
    /// Nothing is due before.
    next: Option<Instant>,
}

impl Patience {
    /// The last usable endpoint went.
    pub(super) fn lost(&mut self, side: Side, now: Instant) {
        let losses = self.losses.entry(side).or_default();
        losses.forget_before(now);
        if losses.at.is_empty() {
            losses.waits = 0;
        }
        losses.at.push_back(now);
        // Older ones change nothing any more.
        if losses.at.len() > FREE_LOSSES + 1 {
            losses.at.pop_front();
        }
        losses.held = None;
        self.wake_at(now + WINDOW);
    }

    /// There is a usable endpoint again. `alone`: no other node can take the traffic.
    pub(super) fn returned(&mut self, side: &Side, alone: bool, now: Instant) {
        let Some(losses) = self.losses.get_mut(side) else {
            return;
        };
        losses.forget_before(now);
        if losses.at.len() <= FREE_LOSSES {
            return;
        }
        let wait = if alone {
            FIRST_WAIT
        } else {
            let doubled = 2_u32.saturating_pow(losses.waits);
            FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT)
        };
        losses.waits = losses.waits.saturating_add(1);
        losses.held = Some((now + wait, wait));
        self.wake_at(now + wait);
    }

    /// Whether a return still waits.
    pub(super) fn holds(&self, service: &ObjectKey, family: Family, scope: Scope) -> bool {
        if self.losses.is_empty() {
            return false;
        }
        let losses = self.losses.get(&(service.clone(), family, scope));
        losses.is_some_and(|losses| losses.held.is_some())
    }

    /// What waits, and for how long in all.
    pub(super) fn held(&self) -> impl Iterator<Item = (&Side, Duration)> {
        let held = |(side, losses): (_, &Losses)| losses.held.map(|(_, wait)| (side, wait));
        self.losses.iter().filter_map(held)
    }

    /// The number of ready endpoints here went from `before` to `after`.
    pub(super) fn weighed(
        &mut self,
        service: &ObjectKey,
        family: Family,
        (before, after): (u32, u32),
        now: Instant,
    ) {
        let key = (service.clone(), family);
        let told = self.weights.get(&key).map_or(before, |weight| weight.told);
        if before == 0 || after == 0 || told == after {
            self.weights.remove(&key);
            return;
        }
        let due = now + QUIET;
        self.weights.insert(key, Weight { told, due });
        self.wake_at(due);
    }

    /// The weight to announce instead of the present one, if it has not been quiet for long enough.
    pub(super) fn weight(&self, service: &ObjectKey, family: Family) -> Option<u32> {
        if self.weights.is_empty() {
            return None;
        }
        let weight = self.weights.get(&(service.clone(), family))?;
        Some(weight.told)
    }

    /// Ends what has waited long enough. Returns the Services that it concerns.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<ObjectKey> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let mut concerned = Vec::new();
        let mut next: Option<Instant> = None;
        let mut at = |time: Instant| next = Some(next.map_or(time, |next| next.min(time)));
        self.losses.retain(|(service, ..), losses| {
            if losses.held.is_some_and(|(until, _)| until <= now) {
                losses.held = None;
                concerned.push(service.clone());
            }
            losses.forget_before(now);
            let times = losses.held.map(|(until, _)| until);
            let end = losses.at.back().map(|last| *last + WINDOW);
            times.into_iter().chain(end).for_each(&mut at);
            times.or(end).is_some()
        });
        self.weights.retain(|(service, _), weight| {
            if weight.due <= now {
                concerned.push(service.clone());
                return false;
            }
            at(weight.due);
            true
        });
        self.next = next;
        concerned
    }

    /// When [`Patience::handle_timeout`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    fn wake_at(&mut self, time: Instant) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }
}

impl Losses {
    fn forget_before(&mut self, now: Instant) {
        while self.at.front().is_some_and(|first| *first + WINDOW <= now) {
            self.at.pop_front();
        }
    }
}
