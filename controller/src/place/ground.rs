//! Which nodes can answer for an address: what rules and links allow.
//!
//! ```text
//!            rule 1          rule 2
//! node a     10.0.0.0/24     -            a link that the rule means, in this subnet
//! node b     (any)           10.1.0.0/24  nothing reported yet: able until it is known better
//! node c     -               -            not selected, or no such link that runs
//! ```
//!
//! Made anew when nodes, their reports or the rules change, and asked for every group.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use portolan_api::annotation::ZONE;
use portolan_api::crd::L2Rule;
use portolan_api::interfaces::Interfaces;
use portolan_api::selector::Labels;

use super::Candidate;

/// A node that may announce.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a dyn Labels,
    /// It is about to go.
    pub draining: bool,
    /// Its links that work, as its speaker reported them; `None` before that.
    pub links: Option<&'a [Link]>,
    /// Nobody knows yet whether its speaker is there.
    pub unseen: bool,
}

/// A link of a node on which layer 2 is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Name of the interface.
    pub name: Box<str>,
    /// Its addresses with the length of their subnet.
    pub addresses: Vec<IpNetwork>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ground {
    spots: Vec<Spot>,
    rules: Vec<Reach>,
}

#[derive(Debug)]
struct Spot {
    name: Arc<str>,
    zone: Option<Box<str>>,
    draining: bool,
    reported: bool,
    unseen: bool,
}

/// What one rule means for each spot.
#[derive(Debug)]
struct Reach {
    /// The subnets of the links that it means; `None` where it does not let the node announce.
    subnets: Vec<Option<Box<[IpNetwork]>>>,
    /// How much it prefers the node.
    score: Vec<u32>,
}

impl Ground {
    /// Looks at every node with the eyes of every rule, in their order.
    #[must_use]
    pub fn new<'a>(sites: impl Iterator<Item = Site<'a>>, rules: &[L2Rule]) -> Self {
        let sites: Vec<Site<'_>> = sites.collect();
        let spot = |site: &Site<'_>| Spot {
            name: site.name.into(),
            zone: site.labels.value(ZONE).map(Into::into),
            draining: site.draining,
            reported: site.links.is_some(),
            unseen: site.unseen,
        };
        Self {
            spots: sites.iter().map(spot).collect(),
            rules: rules.iter().map(|rule| Reach::new(rule, &sites)).collect(),
        }
    }

    /// Names of all nodes that are there and do not drain.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        let stays = |spot: &&Spot| !spot.draining && !spot.unseen;
        let stay = self.spots.iter().filter(stays);
        stay.map(|spot| Arc::clone(&spot.name)).collect()
    }

    /// The nodes that can answer for an address that these rules cover: where one of them has a link into the subnet of the
    /// address, only those that have one too. `serves` tells of further needs.
    #[must_use]
    pub fn able(&self, vip: IpAddr, rules: &[usize], serves: impl Fn(&str) -> bool) -> Vec<bool> {
        let reach = |spot: usize| {
            let rules = rules.iter().filter_map(|rule| self.rules.get(*rule));
            let links = rules.filter_map(move |rule| rule.subnets.get(spot)?.as_deref());
            links.fold(None, |near: Option<bool>, subnets| {
                let in_subnet = subnets.iter().any(|subnet| subnet.contains(vip));
                Some(near.unwrap_or_default() || in_subnet)
            })
        };
        let spots = self.spots.iter().enumerate();
        let near = spots.map(|(at, spot)| reach(at).filter(|_| serves(&spot.name)));
        let near: Vec<Option<bool>> = near.collect();
        let known = near.contains(&Some(true));
        let spots = self.spots.iter().zip(near);
        spots
            .map(|(spot, near)| near.is_some_and(|near| near || !known || !spot.reported))
            .collect()
    }

    /// Those nodes as candidates; these rules say who is preferred.
    #[must_use]
    pub fn candidates(&self, able: &[bool], rules: &[usize]) -> Vec<Candidate<'_>> {
        let score = |spot: usize| {
            let rules = rules.iter().filter_map(|rule| self.rules.get(*rule));
            rules.filter_map(|rule| rule.score.get(spot)).sum()
        };
        let spots = self.spots.iter().zip(able).enumerate();
        let able = spots.filter(|(_, (_, able))| **able);
        able.map(|(at, (spot, _))| Candidate {
            name: &spot.name,
            zone: spot.zone.as_deref(),
            score: score(at),
            draining: spot.draining,
            unreported: !spot.reported,
            unseen: spot.unseen,
        })
        .collect()
    }
}

impl Reach {
    fn new(rule: &L2Rule, sites: &[Site<'_>]) -> Self {
        // What does not compile was refused before it came into a rule: such a rule means no interface.
        let meant = Interfaces::new(&rule.interfaces, &rule.interface_expressions).ok();
        let subnets = |site: &Site<'_>| {
            let meant = meant.as_ref().filter(|_| rule.is_on(site.labels))?;
            let Some(links) = site.links else {
                return Some(Box::default());
            };
            let mut links = links
                .iter()
                .filter(|link| meant.matches(&link.name))
                .peekable();
            links.peek()?;
            Some(links.flat_map(|link| &link.addresses).copied().collect())
        };
        let score = |site: &Site<'_>| {
            let preferred = rule.preferred_nodes.iter();
            let matching = preferred.filter(|one| one.preference.matches(site.labels));
            matching
                .filter_map(|one| u32::try_from(one.weight).ok())
                .sum()
        };
        Self {
            subnets: sites.iter().map(subnets).collect(),
            score: sites.iter().map(score).collect(),
        }
    }
}
