//! The rules by which an address is begun, held on to, and let go. Pure: what is known goes in, one [`Move`] comes out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_proto::claim::Claim;

use super::api::Cause;
use super::claims::Claims;
use super::peer::{Absence, Peer};
use super::segment::{Contact, Segment};
use super::vip::{Phase, Vip, rank};

/// How long a node that comes before us may leave an address unanswered before we look for it on the wire.
pub(super) const VACANT: Duration = Duration::from_secs(5);
/// Most that this is doubled, when the address was found in use each time.
const DOUBLINGS: u32 = 4;
/// A check that has no result by then is lost.
const CHECK_MAX: Duration = Duration::from_secs(2);
/// How long a check is good for.
const FREE: Duration = Duration::from_secs(1);
/// How long a node may be silent after we asked it because it was heard on the wire.
const DUEL: Duration = Duration::from_secs(1);
/// An address that was ours so recently, and that nobody claims, needs no check.
const OURS: Duration = Duration::from_secs(30);
/// Longest time to go on answering after we said that we stop.
pub(super) const HANDOVER: Duration = Duration::from_secs(3);

/// What is known, for the rules.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) node: &'a str,
    pub(super) segments: &'a BTreeMap<u32, Segment>,
    pub(super) peers: &'a BTreeMap<Arc<str>, Peer>,
    pub(super) claims: &'a Claims,
    /// Since when we are about to stop.
    pub(super) leaving: Option<Instant>,
    pub(super) now: Instant,
}

/// What is to be done about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Everything stays as it is until something happens, or until then.
    Wait(Option<Instant>),
    /// It is not ours now. To be looked at again then.
    StandBy(Option<Instant>),
    /// It is to be looked for on the wire.
    Check,
    /// It is ours from now on, after that node.
    Begin(Claim, Option<(Arc<str>, Cause)>),
    /// It stays ours, by a newer right.
    Renew(Claim),
    /// It is that node's.
    Yield(Arc<str>),
    /// Nobody can reach us, or we have stopped.
    Stop,
}

/// A claim of another node that counts.
type Rival<'a> = (Claim, &'a Arc<str>);

/// Whether a claim keeps us from beginning: one of our term or a newer one. But a node that the placement does not name any
/// more makes way for the one that it names first. For that one alone, because all placements of a term name the same node
/// first, and may differ in the others: two that each know only themselves must not take turns.
fn stands_against(vip: &Vip, (claim, node): Rival<'_>) -> bool {
    let ours = vip.duty.term;
    let named = rank(&vip.duty.nodes, node).is_some();
    claim.term > ours || (claim.term == ours && (named || vip.rank != Some(0)))
}

impl<'a> View<'a> {
    pub(super) fn judge(&self, ip: IpAddr, vip: &Vip) -> Move {
        let rival = self.strongest(ip, vip);
        match vip.phase {
            Phase::Holding { claim } => self.hold(vip, claim, rival),
            _ => self.seek(ip, vip, rival),
        }
    }

    fn hold(&self, vip: &Vip, claim: Claim, rival: Option<Rival<'_>>) -> Move {
        if self.contact(vip) == Contact::Isolated {
            return Move::Stop;
        }
        if let Some((theirs, node)) = rival
            && (self.leaving.is_some() || beats((theirs, node.as_ref()), (claim, self.node)))
        {
            return Move::Yield(node.clone());
        }
        let end = self.leaving.map(|since| since + HANDOVER);
        if end.is_some_and(|end| end <= self.now) {
            return Move::Stop;
        }
        if self.has_lost_duel(vip)
            && let Some(duel) = &vip.duel
        {
            return Move::Yield(duel.node.clone());
        }
        if vip.duty.term > claim.term && vip.rank == Some(0) && end.is_none() {
            let term = vip.duty.term;
            return Move::Renew(Claim { term, turn: 0 });
        }
        let duel = vip.duel.as_ref().map(|duel| duel.asked + DUEL);
        Move::Wait(
            end.into_iter()
                .chain(duel.filter(|at| *at > self.now))
                .min(),
        )
    }

    /// Nothing but the wire tells of the other: then the later one in the placement stays, because the earlier one can
    /// only have come after it.
    fn has_lost_duel(&self, vip: &Vip) -> bool {
        let Some(duel) = vip
            .duel
            .as_ref()
            .filter(|duel| duel.asked + DUEL <= self.now)
        else {
            return false;
        };
        let spoke = self
            .peers
            .get(&duel.node)
            .is_some_and(|peer| peer.spoke_since(duel.asked));
        let theirs = rank(&vip.duty.nodes, &duel.node);
        !spoke && theirs.is_some() && (vip.rank.is_none() || theirs > vip.rank)
    }

    fn seek(&self, ip: IpAddr, vip: &Vip, rival: Option<Rival<'_>>) -> Move {
        let Some(rank) = vip.rank.filter(|_| self.leaving.is_none()) else {
            return Move::StandBy(None);
        };
        let contact = self.contact(vip);
        if contact == Contact::Isolated || rival.is_some_and(|rival| stands_against(vip, rival)) {
            return Move::StandBy(None);
        }
        let expected = || {
            vip.before()
                .filter_map(|node| self.absence(vip, node).err())
        };
        let waiting_for = expected().count();
        if waiting_for > 0 && rival.is_some() {
            return Move::StandBy(None);
        }
        if contact == Contact::Doubtful || !self.is_settled(vip) {
            return Move::Wait(None);
        }
        let claim = self.next_claim(ip, vip, rank);
        if waiting_for == 0 {
            if let Some((_, node)) = rival {
                return Move::Begin(claim, Some((node.clone(), Cause::Placed)));
            }
            if let Some(gone) = self.gone(vip) {
                return Move::Begin(claim, Some(gone));
            }
            if self.was_ours(vip) {
                return Move::Begin(claim, None);
            }
        } else {
            let vacant = if vip.occupied { self.now } else { vip.vacant };
            let waiting_for = u32::try_from(waiting_for).unwrap_or(u32::MAX);
            let patience = VACANT * waiting_for.min(8) * (1 << vip.disappointments.min(DOUBLINGS));
            if vacant + patience > self.now {
                return Move::StandBy(expected().flatten().chain([vacant + patience]).min());
            }
        }
        self.check(vip, claim)
    }

    fn check(&self, vip: &Vip, claim: Claim) -> Move {
        match vip.phase {
            Phase::Checking { since } if since + CHECK_MAX > self.now => {
                Move::Wait(Some(since + CHECK_MAX))
            }
            Phase::Taken { again, .. } if again > self.now => Move::Wait(Some(again)),
            Phase::Free { at } if at + FREE > self.now => Move::Begin(claim, None),
            _ => Move::Check,
        }
    }

    /// The greatest claim of others that counts.
    pub(super) fn strongest(&self, ip: IpAddr, vip: &Vip) -> Option<(Claim, &'a Arc<str>)> {
        let claims = self.claims;
        let live = claims.of(ip).filter(|(node, known)| {
            let peer = self.peers.get(*node);
            peer.is_some_and(|peer| peer.vouches(&vip.homes, known, self.now))
        });
        let rivals = live.map(|(node, known)| (known.claim, node));
        rivals.reduce(|best, it| {
            if beats((it.0, it.1.as_ref()), (best.0, best.1.as_ref())) {
                it
            } else {
                best
            }
        })
    }

    /// A claim that is greater than all that we know of this placement.
    fn next_claim(&self, ip: IpAddr, vip: &Vip, rank: u16) -> Claim {
        let term = vip.duty.term;
        let known = self
            .claims
            .of(ip)
            .map(|(_, known)| known.claim)
            .chain(vip.last);
        let turns = known
            .filter(|claim| claim.term == term)
            .map(|claim| claim.turn.saturating_add(1));
        Claim {
            term,
            turn: turns.chain([rank.into()]).max().unwrap_or_default(),
        }
    }

    /// The best contact of its segments.
    pub(super) fn contact(&self, vip: &Vip) -> Contact {
        let homes = vip.homes.iter().filter_map(|home| self.segments.get(home));
        homes
            .map(Segment::contact)
            .max()
            .unwrap_or(Contact::Isolated)
    }

    /// Why nothing is to be expected of a node, or when to ask again.
    fn absence(&self, vip: &Vip, node: &str) -> Result<Absence, Option<Instant>> {
        let peer = self.peers.get(node).ok_or(None)?;
        peer.absence(&vip.homes, self.now)
    }

    /// The node that answered, or should have, and is dead or leaving for certain: its address needs no check.
    fn gone(&self, vip: &Vip) -> Option<(Arc<str>, Cause)> {
        let gone = |node: &str| match self.absence(vip, node) {
            Ok(Absence::Gone(cause)) => Some((Arc::from(node), cause)),
            Ok(Absence::Unseen) | Err(_) => None,
        };
        match &vip.holder {
            Some(holder) => gone(holder),
            None => vip.before().find_map(|node| gone(node)),
        }
    }

    /// We had to stop a moment ago, and everybody else who lives has told that he did not begin. Who is merely unseen may
    /// live behind a firewall.
    fn was_ours(&self, vip: &Vip) -> bool {
        let recently = vip.lost.is_some_and(|lost| lost + OURS > self.now);
        let is_gone = |node: &str| matches!(self.absence(vip, node), Ok(Absence::Gone(_)));
        recently
            && self
                .others(vip)
                .all(|node| is_gone(node) || self.has_told(vip, node))
    }

    /// Whether what others hold is known, as far as it ever will be. That BFD takes them for dead does not count here: a
    /// moment ago we may have been cut off.
    fn is_settled(&self, vip: &Vip) -> bool {
        let mut homes = vip.homes.iter().filter_map(|home| self.segments.get(home));
        !homes.any(Segment::is_settling) || self.others(vip).all(|node| self.has_told(vip, node))
    }

    fn others<'v>(&self, vip: &'v Vip) -> impl Iterator<Item = &'v String> + use<'v, 'a> {
        let me = self.node;
        vip.duty.nodes.iter().filter(move |node| *node != me)
    }

    fn has_told(&self, vip: &Vip, node: &str) -> bool {
        let mut homes = vip.homes.iter().filter_map(|home| self.segments.get(home));
        homes.any(|home| home.is_running() && home.has_told(node))
    }
}

/// Which of two claims wins. Equal ones are of nodes that did not know of each other.
pub(super) fn beats(one: (Claim, &str), other: (Claim, &str)) -> bool {
    one.0 > other.0 || one.0 == other.0 && one.1 < other.1
}
