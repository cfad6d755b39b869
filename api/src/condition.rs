//! Conditions: how every verdict reaches the user (`kubectl get`, `kubectl describe`, `kubectl wait`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The object is valid and in force.
pub const ACCEPTED: &str = "Accepted";
/// Every name that the object refers to exists.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// On a BFDProfile: every field of the object has its effect.
pub const EFFECTIVE: &str = "Effective";
/// On a pool: another pool has some of its addresses.
pub const OVERLAPPING: &str = "Overlapping";
/// On a pool: a Service can get an address from it now.
pub const READY: &str = "Ready";
/// On a pool: most of its addresses are taken.
pub const EXHAUSTED_SOON: &str = "ExhaustedSoon";
/// On a pool: another one is used first by every Service that may use it without naming it.
pub const SHADOWED: &str = "Shadowed";
/// On a pool with reservations: no reserved address is held by somebody else.
pub const RESERVATIONS_HELD: &str = "ReservationsHeld";

/// A condition before it has a time: what a pure function can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Condition type, for example [`ACCEPTED`].
    pub kind: &'static str,
    /// `True` or `False`.
    pub status: bool,
    /// Stable, label-safe reason.
    pub reason: &'static str,
    /// Words for a human: object, field, remedy.
    pub message: String,
}

impl Verdict {
    /// A condition that holds.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: true,
            reason,
            message: message.into(),
        }
    }

    /// A condition that does not hold.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: false,
            reason,
            message: message.into(),
        }
    }

    /// Whether it tells of something that somebody has to look at.
    #[must_use]
    pub fn is_complaint(&self) -> bool {
        good(self.kind).is_some_and(|good| self.status != good)
    }
}

/// Whether a condition tells of something that somebody has to look at.
#[must_use]
pub fn is_complaint(condition: &Condition) -> bool {
    match good(&condition.type_) {
        Some(good) => condition.status != if good { "True" } else { "False" },
        None => false,
    }
}

/// The status that is good; `None` for a condition that only explains.
fn good(kind: &str) -> Option<bool> {
    match kind {
        OVERLAPPING | EXHAUSTED_SOON => Some(false),
        SHADOWED => None,
        _ => Some(true),
    }
}

/// Lays verdicts over the conditions that an object carries. Returns `None` when nothing would change, so that an
/// unchanged verdict is never written again; `lastTransitionTime` moves only with the status.
#[must_use]
pub fn merge(
    current: &[Condition],
    verdicts: &[Verdict],
    observed_generation: Option<i64>,
    now: &Time,
) -> Option<Vec<Condition>> {
    let mut merged = current.to_vec();
    for verdict in verdicts {
        let status = if verdict.status { "True" } else { "False" };
        let mut next = Condition {
            last_transition_time: now.clone(),
            message: verdict.message.clone(),
            observed_generation,
            reason: verdict.reason.to_owned(),
            status: status.to_owned(),
            type_: verdict.kind.to_owned(),
        };
        match merged.iter_mut().find(|c| c.type_ == verdict.kind) {
            Some(held) => {
                if held.status == next.status {
                    next.last_transition_time = held.last_transition_time.clone();
                }
                *held = next;
            }
            None => merged.push(next),
        }
    }
    (merged != current).then_some(merged)
}
