//! One address, as this node sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use portolan_proto::claim::Claim;
use portolan_proto::ethernet::MacAddr;

use super::api::Duty;

/// What we do about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Idle,
    /// It is looked for on the wire.
    Checking { since: Instant },
    /// Nobody used it a moment ago.
    Free { at: Instant },
    /// Somebody used it when it was looked for. It is looked for again.
    Taken { again: Instant, by: Occupant },
    /// We answer.
    Holding { claim: Claim },
}

/// Who was found to use an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    Node,
    Stranger { mac: MacAddr, interface: u32 },
}

/// Another node was heard on the wire to use what we hold, and we have asked it for its claim.
#[derive(Clone, Debug)]
pub(super) struct Duel {
    pub(super) node: Arc<str>,
    pub(super) asked: Instant,
}

/// An address that is a duty of ours.
#[derive(Debug)]
pub(super) struct Vip {
    pub(super) duty: Duty,
    pub(super) rank: Option<u16>,
    /// The segments where it is answered for.
    pub(super) homes: BTreeSet<u32>,
    pub(super) phase: Phase,
    /// The node that answers, or the last that did, as far as we know.
    pub(super) holder: Option<Arc<str>>,
    /// A claim of another node counts at present.
    pub(super) occupied: bool,
    /// Since when nobody is known to answer.
    pub(super) vacant: Instant,
    /// How often it was found in use after we had waited.
    pub(super) disappointments: u32,
    /// Our last claim.
    pub(super) last: Option<Claim>,
    /// When we had to stop although nobody else had claimed it.
    pub(super) lost: Option<Instant>,
    pub(super) duel: Option<Duel>,
}

impl Vip {
    pub(super) fn new(duty: Duty, node: &str, now: Instant) -> Self {
        Self {
            rank: rank(&duty.nodes, node),
            duty,
            homes: BTreeSet::new(),
            phase: Phase::Idle,
            holder: None,
            occupied: false,
            vacant: now,
            disappointments: 0,
            last: None,
            lost: None,
            duel: None,
        }
    }

    /// Takes in another placement or rule.
    pub(super) fn assign(&mut self, duty: Duty, node: &str, now: Instant) {
        self.rank = rank(&duty.nodes, node);
        if self.duty.term != duty.term || self.duty.nodes != duty.nodes {
            self.vacant = now;
            self.disappointments = 0;
        }
        self.duty = duty;
    }

    /// Our claim, while we hold it.
    pub(super) fn claim(&self) -> Option<Claim> {
        match self.phase {
            Phase::Holding { claim } => Some(claim),
            _ => None,
        }
    }

    /// The nodes that come before us.
    pub(super) fn before(&self) -> impl Iterator<Item = &String> {
        self.duty
            .nodes
            .iter()
            .take(self.rank.unwrap_or_default().into())
    }
}

/// The place of a node in a placement.
pub(super) fn rank(nodes: &[String], node: &str) -> Option<u16> {
    let at = nodes.iter().position(|it| it == node)?;
    u16::try_from(at).ok()
}
