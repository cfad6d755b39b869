//! Compilation of user objects into the speakers' configuration.
//!
//! ```text
//! IPAddressPool ──┐ parse ┌─ accepted ──► rule in the new SpeakerConfig
//! …Advertisement ─┼──────►┤
//! BGPPeer, … ─────┘       └─ refused ───► verdict on the object; the rule made from its last good version stays
//! ```
//!
//! Every object is judged alone: a refusal never touches another object. The last good version of a refused object is
//! taken from the configuration compiled before, so this is a function of its arguments and survives restarts. An object
//! that can not even be decoded is as one that is refused, but nothing can be said on it.

mod advertisements;
mod bfd;
mod communities;
mod layer2;
mod overlaps;
mod peers;
mod pools;
mod rivals;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;

use crate::condition::{ACCEPTED, RESOLVED_REFS, Verdict};
use crate::crd::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement,
    SpeakerConfigSpec,
};
use crate::view::ServiceCIDR;

pub use communities::{CommunityValue, parse_community};
pub use pools::{excluded_ranges, is_buggy, ranges, reservations, retention};

/// Everything that configuration is made from, by name.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    /// Pools.
    pub pools: BTreeMap<String, IPAddressPool>,
    /// Layer-2 advertisements.
    pub l2: BTreeMap<String, L2Advertisement>,
    /// BGP advertisements.
    pub bgp: BTreeMap<String, BGPAdvertisement>,
    /// Peers.
    pub peers: BTreeMap<String, BGPPeer>,
    /// BFD profiles.
    pub bfd_profiles: BTreeMap<String, BFDProfile>,
    /// Community aliases.
    pub communities: BTreeMap<String, Community>,
    /// Ranges that ClusterIPs come from.
    pub service_cidrs: BTreeMap<String, ServiceCIDR>,
    /// Objects that are there and can not be decoded. None of them stands in a table above.
    pub unreadable: BTreeSet<(Kind, String)>,
    /// Portolan's own namespace, the only one that Secrets are read from. `None` where it is not known.
    pub namespace: Option<String>,
}

impl Sources {
    /// Names of the objects of a kind that can not be decoded.
    fn unreadable(&self, kind: Kind) -> impl Iterator<Item = &String> {
        let of_kind = self.unreadable.iter().filter(move |(of, _)| *of == kind);
        of_kind.map(|(_, name)| name)
    }

    /// Whether there is such a pool, readable or not.
    fn has_pool(&self, name: &str) -> bool {
        self.pools.contains_key(name) || self.unreadable(Kind::Pool).any(|other| other == name)
    }
}

/// Which object a judgement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `IPAddressPool`.
    Pool,
    /// `L2Advertisement`.
    L2,
    /// `BGPAdvertisement`.
    Bgp,
    /// `BGPPeer`.
    Peer,
    /// `BFDProfile`.
    BfdProfile,
    /// `Community`.
    Community,
}

/// What is said about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: String,
    /// One verdict per condition.
    pub verdicts: Vec<Verdict>,
}

/// The result: a configuration in which only valid things stand, and a judgement for every object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compiled {
    /// The new configuration.
    pub config: SpeakerConfigSpec,
    /// What is said about each object, accepted or not.
    pub judgements: Vec<Judgement>,
}

/// Why an object is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    reason: &'static str,
    message: String,
}

impl Refusal {
    /// A value that can not be read or makes no sense.
    fn invalid(field: &str, why: impl std::fmt::Display) -> Self {
        Self {
            reason: "Invalid",
            message: format!("{field}: {why}"),
        }
    }

    /// A value that fights with another object.
    fn conflict(field: &str, why: impl std::fmt::Display) -> Self {
        Self {
            reason: "Conflict",
            message: format!("{field}: {why}"),
        }
    }
}

/// Compiles the objects. `last` is the configuration compiled before, for the last good version of refused objects.
#[must_use]
pub fn compile(sources: &Sources, last: Option<&SpeakerConfigSpec>) -> Compiled {
    let empty = SpeakerConfigSpec::default();
    let last = last.unwrap_or(&empty);
    let mut judgements = Vec::new();
    let aliases = communities::compile(sources, &mut judgements);
    let pools = pools::compile(sources, last, &mut judgements);
    let bfd = bfd::compile(sources, last, &mut judgements);
    let profiles: Vec<&str> = bfd.iter().map(|rule| rule.name.as_str()).collect();
    let peers = peers::compile(sources, last, &profiles, &mut judgements);
    let l2 = layer2::compile(sources, &pools, last, &mut judgements);
    let bgp = advertisements::compile(sources, &pools, &peers, &aliases, last, &mut judgements);
    let cluster_ip_ranges = cluster_ip_ranges(sources, last);
    Compiled {
        config: SpeakerConfigSpec {
            pools,
            l2,
            bgp,
            peers,
            bfd,
            nodes: last.nodes.clone(),
            cluster_ip_ranges,
        },
        judgements,
    }
}

/// Ranges of all ServiceCIDR objects. No object at all (an old API server, or a watch that has not begun) is no reason to
/// withdraw what was announced before.
fn cluster_ip_ranges(sources: &Sources, last: &SpeakerConfigSpec) -> Vec<IpNetwork> {
    if sources.service_cidrs.is_empty() {
        return last.cluster_ip_ranges.clone();
    }
    let texts = sources
        .service_cidrs
        .values()
        .flat_map(|object| &object.spec.cidrs);
    let mut ranges: Vec<IpNetwork> = texts.filter_map(|text| text.parse().ok()).collect();
    ranges.sort();
    ranges.dedup();
    ranges
}

fn accepted(kind: Kind, name: &str, refs: Option<Result<(), String>>) -> Judgement {
    let mut verdicts = vec![Verdict::yes(ACCEPTED, "Accepted", "in force")];
    match refs {
        Some(Ok(())) => verdicts.push(Verdict::yes(RESOLVED_REFS, "Resolved", "every name exists")),
        Some(Err(message)) => verdicts.push(Verdict::no(RESOLVED_REFS, "NotFound", message)),
        None => {}
    }
    Judgement {
        kind,
        name: name.to_owned(),
        verdicts,
    }
}

fn refused(kind: Kind, name: &str, refusal: &Refusal, last_good: bool) -> Judgement {
    let suffix = if last_good {
        " (the last accepted version stays in force)"
    } else {
        ""
    };
    let message = format!("{}{suffix}", refusal.message);
    let mut verdicts = vec![Verdict::no(ACCEPTED, refusal.reason, message)];
    if matches!(kind, Kind::L2 | Kind::Bgp | Kind::Peer) {
        // What was said of a former version must not stand beside the refusal.
        let why = "not looked up, because the object is refused: see condition Accepted";
        verdicts.push(Verdict::no(RESOLVED_REFS, "NotAccepted", why));
    }
    Judgement {
        kind,
        name: name.to_owned(),
        verdicts,
    }
}

/// The rules of the objects that can not be decoded.
fn unread<'a, R>(
    sources: &'a Sources,
    kind: Kind,
    last: &'a [R],
    name_of: fn(&R) -> &str,
) -> impl Iterator<Item = &'a R> {
    let unreadable = sources.unreadable(kind);
    unreadable.filter_map(move |name| last.iter().find(|rule| name_of(rule) == name))
}

/// Checks every selector of a list.
fn check_selectors(
    field: &str,
    selectors: &[crate::selector::LabelSelector],
) -> Result<(), Refusal> {
    for selector in selectors {
        selector
            .validate()
            .map_err(|why| Refusal::invalid(field, why))?;
    }
    Ok(())
}
