//! Placement of Services on nodes, where a layer-2 rule covers them.
//!
//! ```text
//! annotations ─► board ◄── gather: who shares an address
//!                  │
//! ground ─► need ──┴─► place ─► nodes, term ─► annotations of every member
//! reports ─► acting ─────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_api::annotation::{L2_NODES, L2_TERM};
use portolan_api::crd::{L2Rule, NodeInterface, NodeRule};
use portolan_api::view::TrafficPolicy;

use super::{Core, Moment};
use crate::alloc::{Holding, ServiceId};
use crate::model::{Model, Service};
use crate::place::{self, Candidate, Ground, Load, Nodes, Seat, SeatId, Site, Wish};

/// After a placement was changed, how long a node that answers otherwise may not have heard of it.
const GRACE: Duration = Duration::from_secs(5);

/// What stands in the annotations of a Service about its placement.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Written {
    pub(super) nodes: Option<String>,
    pub(super) term: Option<String>,
}

impl Written {
    pub(super) fn of(service: &Service) -> Self {
        Self {
            nodes: service.annotation(L2_NODES).map(str::to_owned),
            term: service.annotation(L2_TERM).map(str::to_owned),
        }
    }

    /// The nodes in order.
    pub(super) fn nodes(&self) -> Nodes {
        let text = self.nodes.as_deref().unwrap_or_default();
        let names = text.split(',').map(str::trim);
        names
            .filter(|name| !name.is_empty())
            .map(Arc::from)
            .collect()
    }

    /// The term; 0 for none that can be read.
    pub(super) fn term(&self) -> u64 {
        let term = self.term.as_deref().and_then(|text| text.parse().ok());
        term.unwrap_or_default()
    }
}

/// Who may answer for a group, by the spots of the ground, and whose wishes count.
#[derive(Debug)]
pub(super) struct Need {
    able: Vec<bool>,
    rules: Vec<usize>,
}

impl Core {
    /// Looks at nodes and links anew, and tells speakers where to find each other.
    pub(super) fn survey(&mut self) {
        let Model {
            nodes,
            speakers,
            reports,
            ..
        } = &self.model;
        let able = nodes
            .iter()
            .filter(|(name, node)| !node.excluded && speakers.live(name));
        let sites = able.map(|(name, node)| Site {
            name,
            labels: &node.labels,
            draining: node.draining,
            links: reports.links(name),
            unseen: !speakers.seen(name),
        });
        self.ground = Ground::new(sites, &self.config.l2);
        self.config.nodes = self.neighbours();
    }

    /// The nodes that may take part, excluded or not: whoever gives its addresses away is still listened to. A report that is
    /// not there takes nothing back.
    fn neighbours(&self) -> Vec<NodeRule> {
        let rules = &self.config.l2;
        let nodes = self.model.nodes.iter();
        let nodes = nodes.filter(|(_, node)| rules.iter().any(|rule| rule.is_on(&node.labels)));
        let known = |name: &str| self.config.nodes.iter().find(|rule| rule.name == *name);
        let rule = |(name, _): (&String, _)| {
            let reported = self.model.reports.interfaces(name).iter();
            let interface = |interface: &portolan_api::crd::InterfaceReport| NodeInterface {
                mac: interface.mac.clone(),
                addresses: interface
                    .addresses
                    .iter()
                    .filter_map(|text| text.parse().ok())
                    .collect(),
            };
            let interfaces = reported.map(interface);
            let interfaces: Vec<NodeInterface> =
                interfaces.filter(|one| !one.addresses.is_empty()).collect();
            if interfaces.is_empty() {
                return known(name).cloned();
            }
            let name = name.clone();
            Some(NodeRule { name, interfaces })
        };
        nodes.filter_map(rule).collect()
    }

    /// Makes every Service sit where its annotations say, and those that share an address together.
    pub(super) fn adopt_placements(&mut self, services: &[ServiceId], now: Instant) {
        for id in services {
            let service = self.model.services.get(*id);
            let service = service.and_then(|entry| entry.service.as_deref());
            let written = service.map(Written::of).unwrap_or_default();
            let holding = self.alloc.holding(*id);
            if written != Written::default() {
                self.board
                    .adopt(*id, holding, written.nodes(), written.term(), now);
            }
        }
        for id in services {
            let members = self.members(*id);
            if members.len() > 1 && members.contains_key(id) {
                self.board.gather(*id, &members);
            }
        }
    }

    /// Places the Service on nodes if a layer-2 rule covers it. Returns what the annotations shall say.
    pub(super) fn place_on_nodes(&mut self, id: ServiceId, moment: Moment) -> Written {
        let members = self.members(id);
        if !members.contains_key(&id) {
            self.board.leave(id);
            return Written::default();
        }
        let (seat, moved) = self.board.gather(id, &members);
        let outbid = self.outbid(id, seat, moment);
        let placed = self.arrange(seat, false, moment);
        if moved || outbid || placed {
            let others = members.into_keys().filter(|other| *other != id);
            self.wait(others);
        }
        let Some(Seat { nodes, term, .. }) = self.board.get(seat) else {
            return Written::default();
        };
        let answered = !nodes.is_empty() && self.is_served(id);
        Written {
            nodes: answered.then(|| nodes.join(",")),
            term: (*term > 0).then(|| term.to_string()),
        }
    }

    /// Whoever wrote another first node with our term, or a later one, may have been read by speakers: ours has to be newer.
    fn outbid(&mut self, id: ServiceId, seat: SeatId, moment: Moment) -> bool {
        let service = self.model.services.get(id);
        let service = service.and_then(|entry| entry.service.as_deref());
        let (Some(service), Some(held)) = (service, self.board.get(seat)) else {
            return false;
        };
        let found = Written::of(service);
        let (nodes, term) = (found.nodes(), found.term());
        let foreign =
            term > held.term || (term == held.term && nodes.first() != held.nodes.first());
        foreign && !nodes.is_empty() && self.board.outbid(seat, term, unix(moment))
    }

    /// Places a group anew, its stand-bys included if that is asked for. Returns whether anything changed.
    pub(super) fn arrange(&mut self, seat: SeatId, review: bool, moment: Moment) -> bool {
        self.seat(seat, moment, |wish, candidates, load| {
            place::place(Wish { review, ..wish }, candidates, load)
        })
    }

    /// Lets `choose` place a group. Returns whether anything changed.
    pub(super) fn seat(
        &mut self,
        id: SeatId,
        moment: Moment,
        choose: impl FnOnce(Wish<'_>, &[Candidate<'_>], &Load) -> Nodes,
    ) -> bool {
        let Some(seat) = self.board.get(id) else {
            return false;
        };
        let Some(&first) = seat.members.first() else {
            return false;
        };
        let key = self.key_of(seat);
        let need = self.need(&seat.members);
        let acting = self.acting(seat);
        let settled = seat.since.is_none_or(|since| since + GRACE <= moment.now);
        let since = seat.since.filter(|_| !settled && acting.is_some());
        if let Some(since) = since {
            self.agenda.decide_later(first, since + GRACE);
        }
        let acting = acting.filter(|_| settled);
        if need.is_some() && acting.is_none() && self.awaits(seat) {
            return false;
        }
        let (ground, answering) = (&self.ground, acting.as_deref());
        let changed = self
            .board
            .place(id, answering, unix(moment), moment.now, |current, load| {
                let Some(Need { able, rules }) = need else {
                    return Nodes::new();
                };
                let wish = Wish {
                    key: &key,
                    current,
                    acting: answering,
                    review: false,
                };
                let mut candidates = ground.candidates(&able, &rules);
                candidates.retain(|node| !node.unseen || current.contains(node.name));
                choose(wish, &candidates, load)
            });
        if changed {
            if let Some(Seat { nodes, term, .. }) = self.board.get(id) {
                tracing::debug!(group = key, ?nodes, term, acting, "placed");
            }
            self.agenda.review_soon(moment.now);
        }
        changed
    }

    /// What decides among nodes that are equal for a group: the name of its oldest Service, which stays the same after a
    /// restart.
    fn key_of(&self, seat: &Seat) -> String {
        let oldest = self.by_age(&seat.members).next();
        oldest.map_or_else(String::new, |(id, _)| self.model.services.name(id))
    }

    /// The Services with what they are, the oldest first.
    fn by_age(&self, members: &BTreeSet<ServiceId>) -> impl Iterator<Item = (ServiceId, &Service)> {
        let services = members.iter().filter_map(|id| {
            let entry = self.model.services.get(*id)?;
            Some((*id, entry.service.as_deref()?))
        });
        let mut services: Vec<(ServiceId, &Service)> = services.collect();
        services.sort_unstable_by(|(_, a), (_, b)| (a.created, &a.key).cmp(&(b.created, &b.key)));
        services.into_iter()
    }

    /// The Services that have an address together with this one and that a rule covers, each with its addresses.
    fn members(&self, id: ServiceId) -> BTreeMap<ServiceId, Holding> {
        let company = self.alloc.company(id).into_iter();
        let covered = company.filter(|other| !self.rules_of(*other).is_empty());
        covered.map(|one| (one, self.alloc.holding(one))).collect()
    }

    /// The addresses of a Service that a rule covers, each with the numbers of the rules.
    fn rules_of(&self, id: ServiceId) -> Vec<(IpAddr, Vec<usize>)> {
        let entry = self.model.services.get(id);
        let Some(service) = entry.and_then(|entry| entry.service.as_deref()) else {
            return Vec::new();
        };
        let rules = |address: IpAddr| {
            let pool = self.alloc.pool_of(address)?;
            let rules = self.config.l2.iter().enumerate();
            let covers = |(_, rule): &(usize, &L2Rule)| rule.covers(pool, &service.labels);
            let rules: Vec<usize> = rules.filter(covers).map(|(at, _)| at).collect();
            (!rules.is_empty()).then_some((address, rules))
        };
        self.alloc.holding(id).iter().filter_map(rules).collect()
    }

    /// Whether the Service has somebody to deliver to.
    pub(super) fn is_served(&self, id: ServiceId) -> bool {
        let endpoints = &self.model.endpoints;
        self.model.services.get(id).is_some_and(|entry| {
            let service = entry.service.as_deref();
            match service.map(|service| service.external_traffic_policy) {
                Some(TrafficPolicy::Local) => endpoints.on_any_node(&entry.key),
                Some(TrafficPolicy::Cluster) => endpoints.any(&entry.key),
                None => false,
            }
        })
    }

    /// Who may answer for all of them; where nobody may, for the oldest of them. `None` when nobody shall: none has anybody
    /// to deliver to.
    fn need(&self, members: &BTreeSet<ServiceId>) -> Option<Need> {
        let mut need: Option<Need> = None;
        for (id, service) in self.by_age(members) {
            if !self.is_served(id) {
                continue;
            }
            let local = service.external_traffic_policy == TrafficPolicy::Local;
            let serves = |node: &str| !local || self.model.endpoints.on(&service.key, node);
            for (address, rules) in self.rules_of(id) {
                let able = self.ground.able(address, &rules, serves);
                need = Some(Need::both(need, Need { able, rules }));
            }
        }
        need
    }

    /// The node that answers for the group although its placement names another one first.
    fn acting(&self, seat: &Seat) -> Option<String> {
        let holdings = seat.members.iter().map(|id| self.alloc.holding(*id));
        let addresses = holdings.flat_map(|holding| holding.iter());
        let acting = addresses.flat_map(|address| self.model.reports.acting(address));
        let acting: BTreeSet<&str> = acting.collect();
        let live = acting.iter().filter(|node| self.model.speakers.seen(node));
        let rank = |node: &&&str| {
            let rank = seat.nodes.iter().position(|name| **name == ***node);
            rank.unwrap_or(usize::MAX)
        };
        let node = live.min_by_key(rank)?;
        let known = seat.nodes.first().is_some_and(|first| **first == **node);
        (!known).then(|| (*node).to_owned())
    }

    /// The numbers of the rules that cover any Service of a group.
    pub(super) fn rules_of_group(&self, seat: &Seat) -> BTreeSet<usize> {
        let rules = seat.members.iter().flat_map(|id| self.rules_of(*id));
        rules.flat_map(|(_, rules)| rules).collect()
    }
}

impl Need {
    /// The need of both; that of the first where there is no node for both.
    fn both(first: Option<Self>, second: Self) -> Self {
        let Some(mut first) = first else {
            return second;
        };
        let both = first.able.iter().zip(&second.able);
        let both: Vec<bool> = both.map(|(one, other)| *one && *other).collect();
        if both.contains(&true) {
            first.able = both;
        } else if !first.able.contains(&true) {
            first.able = second.able;
        }
        first.rules.extend(second.rules);
        first.rules.sort_unstable();
        first.rules.dedup();
        first
    }
}

fn unix(moment: Moment) -> u64 {
    u64::try_from(moment.wall.as_second()).unwrap_or_default()
}
