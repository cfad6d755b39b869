//! One Service: what it gets, keeps, or loses, and why.

use std::net::IpAddr;
use std::time::Instant;

use portolan_api::annotation::{ASSIGNED, CLASS, HELD, L2_NODES, L2_TERM, POOL};
use portolan_api::condition::Verdict;
use portolan_api::range::Family;

use super::contest::Part;
use super::patch::{
    ADDRESS_CONFLICT, Annotations, MARKS_CONTESTED, PARTIALLY_ASSIGNED, STATUS_CONTESTED, Spared,
    USED_BY_NODE, Wanted, difference, marks, shows, texts, wanted_marks,
};
use super::standing::{Help, Lack};
use super::{Core, Moment};
use crate::alloc::{Allocator, Collision, Families, Holding, Refusal, Request, ServiceId};
use crate::model::{Ingress, Service};
use crate::write::Write;

/// Addresses in the status that no pool has, of a Service that never had one from us: another load balancer gave them,
/// before us or beside us. `known` is what we remember to have given.
pub(super) fn strange(alloc: &Allocator, service: &Service, known: Holding) -> Vec<IpAddr> {
    let mut shown = service.vips();
    shown.retain(|address| alloc.pool_of(*address).is_none());
    // Whoever synchronizes the Service may have dropped our annotation: memory and the condition tell as well.
    let is_served = !shown.is_empty()
        && (service.annotation(POOL).is_some() || !known.is_empty() || {
            let told = told_to_hold(service);
            shown.iter().any(|address| told.contains(*address))
        });
    if is_served {
        return Vec::new();
    }
    shown
}

/// The addresses that our condition in the status says the Service has from us.
fn told_to_hold(service: &Service) -> Holding {
    let Some(message) = service.told() else {
        return Holding::default();
    };
    let held = match message.split_once(MEANWHILE) {
        Some((_, held)) => held,
        None => message,
    };
    let Some((held, _)) = held.split_once(FROM_POOL) else {
        return Holding::default();
    };
    parsed(held)
}

/// The addresses of a list as [`texts`] writes it; nothing if it is none.
pub(super) fn parsed(list: &str) -> Holding {
    let addresses = list.split(',').map(|address| address.trim().parse());
    let addresses: Result<Vec<IpAddr>, _> = addresses.collect();
    addresses.unwrap_or_default().into_iter().collect()
}

/// The families of which an address would help a Service that was refused one.
fn open(request: Option<&Request<'_>>, has: Holding, refusal: Option<&Refusal>) -> Vec<Family> {
    let wanted = [Family::V4, Family::V6].into_iter();
    let mut open: Vec<Family> = wanted
        .filter(|family| request.is_some_and(|request| request.families.contains(*family)))
        .collect();
    // Whoever has an address of a family that is asked about keeps it provisionally.
    if refusal
        .and_then(Refusal::lacks)
        .is_some_and(|family| has.of(family).is_none())
    {
        open.retain(|family| has.of(*family).is_none());
    }
    if let Some(Refusal::NoPool(none)) = refusal {
        open.retain(|family| family != none);
    }
    open
}

/// What stands in the status as addresses, whatever it is.
pub(super) fn found(service: &Service) -> String {
    let found: Vec<String> = service.ingress.iter().filter_map(Ingress::text).collect();
    found.join(", ")
}

/// What is said when somebody keeps rewriting annotations.
const OF_ANNOTATIONS: &str = "another program removes or rewrites the annotations that Portolan writes (portolan.dev/pool and \
    others), so Portolan leaves them alone and tries again every 10 minutes: let that program keep annotations that it does not \
    know. Without portolan.dev/l2-nodes no node answers for the addresses on layer 2";
/// What is said when somebody keeps rewriting our condition.
const OF_CONDITION: &str = "another program removes or rewrites condition portolan.dev/Assigned, so Portolan leaves it alone \
    and tries again every 10 minutes; the addresses are served all the same";

/// What stands in a condition before the addresses that a Service keeps without being content.
const MEANWHILE: &str = "; meanwhile it keeps ";
/// What stands in a condition behind the addresses that a Service has.
const FROM_POOL: &str = " from IPAddressPool ";

impl Core {
    /// Decides one Service. Returns what has to be written, if anything.
    pub(super) fn settle_one(&mut self, id: ServiceId, moment: Moment) -> Option<Write> {
        let entry = self.model.services.get(id)?;
        let Some(service) = entry.service.as_deref() else {
            self.forget(id);
            return None;
        };
        let ours = service.wants(self.class.as_deref());
        let wanted = if ours {
            let news = self.notice(id, moment.now);
            let wanted = self.serve(id, moment)?;
            self.spare(id, wanted, news, moment.now)
        } else {
            self.let_go(id)?
        };
        let entry = self.model.services.get(id)?;
        let service = entry.service.as_deref()?;
        let landed = wanted.addresses.filter(|all| shows(service, *all));
        self.standings.land(id, landed);
        let marks = wanted_marks(service, &wanted);
        let write = difference(entry, service, &wanted, moment.wall);
        self.standings.mark(id, marks, write.is_none());
        write
    }

    /// Notices that somebody has changed what we wrote beside the addresses. Returns what the user is told if that has
    /// happened too often.
    fn notice(&mut self, id: ServiceId, now: Instant) -> Vec<String> {
        let mut news = Vec::new();
        let service = self.model.services.get(id);
        let service = service.and_then(|entry| entry.service.as_deref());
        let (Some(service), Some(written)) = (service, self.standings.marks(id)) else {
            return news;
        };
        let found = marks(service);
        let landed = self.standings.landed(id);
        // Whoever writes addresses as well is noticed by those.
        let beside = landed.is_none_or(|landed| shows(service, landed))
            && self.contests.yields(id, now).is_none();
        if found == written {
            return news;
        }
        self.standings.set_marked(id, false);
        for (part, is, was, what) in [
            (
                Part::Annotations,
                found.annotations,
                written.annotations,
                OF_ANNOTATIONS,
            ),
            (
                Part::Condition,
                found.condition,
                written.condition,
                OF_CONDITION,
            ),
        ] {
            if beside && is != was && self.contests.rewritten(id, part, "", now) {
                news.push(what.to_owned());
            }
        }
        news
    }

    /// Leaves alone what others keep rewriting, and says so where they do not.
    fn spare(&self, id: ServiceId, mut wanted: Wanted, news: Vec<String>, now: Instant) -> Wanted {
        if self.contests.yields(id, now).is_some() {
            return wanted;
        }
        wanted.spared = Spared {
            annotations: self.contests.spares(id, Part::Annotations, now),
            condition: self.contests.spares(id, Part::Condition, now),
        };
        if let Some(verdict) = wanted
            .verdict
            .as_mut()
            .filter(|_| wanted.spared.annotations)
        {
            verdict.message = format!("{}; {OF_ANNOTATIONS}", verdict.message);
        }
        let news = news.into_iter().map(|what| (true, MARKS_CONTESTED, what));
        wanted.notes.extend(news);
        wanted
    }

    /// What a Service of ours gets.
    fn serve(&mut self, id: ServiceId, moment: Moment) -> Option<Wanted> {
        let entry = self.model.services.get(id)?;
        let key = entry.key.clone();
        let service = entry.service.as_deref()?;
        // Which pools are open to it is known with the labels of its namespace only, whose event wakes it.
        let labels = &self.model.namespaces.get(&key.namespace)?.labels;
        let landed = self.standings.landed(id);
        let known = self
            .alloc
            .holding(id)
            .iter()
            .chain(landed.unwrap_or_default().iter());
        let strange = strange(&self.alloc, service, known.collect());
        if !strange.is_empty() {
            return Some(self.leave(id, &Refusal::Strange(strange)));
        }
        let shown = service.vips();
        let request = Request::of(id, service, Some(labels));
        let known = Request::known(id, service, Some(labels));
        let mut notes = self.quarantine.farewell(id, &shown);
        // What another program writes there is not ours to adopt.
        let contested = self.contests.yields(id, moment.now).is_some();
        if landed.is_none() && self.alloc.holding(id).is_empty() && !contested {
            let services = &self.model.services;
            let peer = |other| {
                let other = services
                    .get(other)
                    .and_then(|other| other.service.as_deref());
                other.is_some_and(|other| other.wants(self.class.as_deref()))
            };
            let basis = request.as_ref().unwrap_or(&known);
            for (address, owner) in self.alloc.take_over(basis, &shown, peer) {
                let owner = self.model.services.name(owner);
                let why = format!(
                    "{address} in the status belongs to Service {owner}: this one gets another address"
                );
                notes.push((true, ADDRESS_CONFLICT, why));
            }
        }
        if landed.is_some_and(|landed| !shows(service, landed)) {
            if let Ok(request) = &request {
                self.alloc.follow_edit(request, &shown);
            }
            if !shows(service, self.alloc.holding(id)) {
                self.contests
                    .rewritten(id, Part::Addresses, &found(service), moment.now);
            }
        }
        let (addresses, refusal) = match &request {
            Ok(request) => match self.quarantine.place(&mut self.alloc, request, moment.now) {
                Ok(assignment) => (assignment.addresses, assignment.missing),
                Err(refusal) => (Holding::default(), Some(refusal)),
            },
            Err(refusal) => (self.alloc.keep(&known), Some(refusal.clone())),
        };
        let content = request.as_ref().is_ok_and(|request| {
            let fits = |a| request.pool.is_none() || request.pool == self.alloc.pool_of(a);
            matches!(request.families, Families::Prefer(..))
                && request.exact.is_empty()
                && addresses.iter().all(fits)
        });
        let words = refusal
            .as_ref()
            .map(|why| self.words(why, request.as_ref().ok()));
        let pools = self.pools_of(addresses);
        let verdict = self.verdict(
            addresses,
            pools.as_deref(),
            refusal.as_ref().zip(words),
            content,
        );
        let open = open(request.as_ref().ok(), addresses, refusal.as_ref());
        let help = Help::of(refusal.as_ref(), &open);
        self.lack(id, refusal.as_ref().map(Refusal::reason), help, refusal);
        for address in addresses.iter() {
            self.give_back(&key, address);
        }
        if let Some(found) = self.contests.yields(id, moment.now).map(str::to_owned) {
            return self.yields(id, addresses, &found);
        }
        let placed = self.place_on_nodes(id, moment);
        let verdict = self.mention_muster(id, verdict);
        Some(Wanted {
            addresses: Some(addresses),
            annotations: Annotations(vec![
                (POOL, pools),
                (L2_NODES, placed.nodes),
                (L2_TERM, placed.term),
                (CLASS, self.class.clone()),
                (HELD, self.promise(id, addresses)),
            ]),
            spared: Spared::default(),
            verdict: Some(verdict),
            notes,
        })
    }

    /// What is said of a Service whose status another program rewrites: its address stays taken, and nothing else changes.
    fn yields(&mut self, id: ServiceId, held: Holding, found: &str) -> Option<Wanted> {
        let found = if found.is_empty() { "nothing" } else { found };
        let message = format!(
            "another program rewrites status.loadBalancer (it wrote {found}), so Portolan leaves it alone, keeps {} for this \
             Service, and tries again every 10 minutes: let only one load balancer serve the Service, for example by \
             spec.loadBalancerClass",
            texts(held)
        );
        self.lack(id, Some(STATUS_CONTESTED), Help::Nobody, None);
        // Whoever rewrites the status may remove the condition as well: that is no reason to go on writing.
        let service = self.model.services.get(id)?.service.as_deref()?;
        let promise = self.promise(id, held);
        let told =
            service.told() == Some(&*message) && service.annotated(HELD) == promise.as_deref();
        (told || self.contests.may_tell(id)).then(|| Wanted {
            addresses: None,
            annotations: Annotations(vec![(HELD, promise)]),
            spared: Spared::default(),
            verdict: Some(Verdict::no(ASSIGNED, STATUS_CONTESTED, message)),
            notes: Vec::new(),
        })
    }

    /// What the next leader has to know: the addresses of a Service whose status another program rewrites, or did until a
    /// moment ago.
    fn promise(&self, id: ServiceId, held: Holding) -> Option<String> {
        (self.contests.is_tense(id) && !held.is_empty()).then(|| texts(held))
    }

    /// A Service has been decided; without a reason it lacks nothing.
    fn lack(
        &mut self,
        id: ServiceId,
        reason: Option<&'static str>,
        help: Help,
        refusal: Option<Refusal>,
    ) {
        let entry = self.model.services.get(id);
        let service = entry.and_then(|entry| entry.service.as_deref());
        let lack = reason.map(|reason| Lack {
            reason,
            help,
            refusal,
            created: service.and_then(|service| service.created),
        });
        self.standings.decide(id, lack);
    }

    /// Says why a Service is not served, and changes nothing else about it.
    fn leave(&mut self, id: ServiceId, refusal: &Refusal) -> Wanted {
        self.alloc.release(id);
        self.board.leave(id);
        self.lack(id, Some(refusal.reason()), Help::Nobody, None);
        let words = self.words(refusal, None);
        Wanted {
            addresses: None,
            annotations: Annotations(vec![
                (POOL, None),
                (L2_NODES, None),
                (L2_TERM, None),
                (CLASS, self.class.clone()),
                (HELD, None),
            ]),
            spared: Spared::default(),
            verdict: Some(Verdict::no(ASSIGNED, refusal.reason(), words)),
            notes: Vec::new(),
        }
    }

    /// What a Service that is not ours, or not any more, must lose of what we once wrote. Another controller may serve
    /// another class: without a proof that it was we who wrote, nothing is touched.
    fn let_go(&mut self, id: ServiceId) -> Option<Wanted> {
        let held = self.alloc.release(id);
        let served = self.standings.has(id);
        self.standings.remove(id);
        self.contests.forget(id);
        self.quarantine.forget(id);
        self.board.leave(id);
        let service = self.model.services.get(id)?.service.as_deref()?;
        let by = service.annotation(CLASS);
        let is_of_our_class = by == self.class.as_deref();
        let marked = by.is_some() || service.annotation(POOL).is_some();
        // Of no use to anybody on a Service of another type.
        let left = !service.is_balancer() && service.told().is_some();
        let ours = if by.is_some() {
            is_of_our_class
        } else {
            served || (is_of_our_class && (marked || left))
        };
        if !ours {
            return None;
        }
        // Another load balancer may have written its own addresses before or since.
        let shown = service.vips();
        let is_ours =
            |address: &IpAddr| held.contains(*address) || self.alloc.pool_of(*address).is_some();
        let theirs = shown.iter().copied().filter(|address| !is_ours(address));
        let changes = shown.iter().any(is_ours);
        Some(Wanted {
            addresses: changes.then(|| theirs.collect()),
            annotations: Annotations::gone(),
            spared: Spared::default(),
            verdict: None,
            notes: Vec::new(),
        })
    }

    fn pools_of(&self, addresses: Holding) -> Option<String> {
        let mut names: Vec<&str> = addresses
            .iter()
            .filter_map(|a| self.alloc.pool_of(a))
            .collect();
        names.dedup();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// A refusal in words for the user, with what stands in the way and what would help.
    fn words(&self, refusal: &Refusal, request: Option<&Request<'_>>) -> String {
        let holder = self.holder(refusal);
        let words = refusal.message(holder.as_deref().unwrap_or_default());
        if let Refusal::PoolExhausted { pool, family } = refusal
            && let Some(quarantine) = self.alloc.quarantine_of(Some(pool), *family)
        {
            return format!("{words}; {quarantine}");
        }
        let obstacles = refusal
            .lacks()
            .zip(request)
            // Whoever names an address or a pool has no use for the others.
            .filter(|(_, request)| request.exact.is_empty() && request.pool.is_none())
            .map(|(family, request)| self.alloc.obstacles(request, family))
            .filter(|obstacles| !obstacles.is_empty());
        match obstacles {
            Some(obstacles) => format!("{words}; {obstacles}"),
            None => words,
        }
    }

    /// The name of the Service that stands in the way. Of several the oldest is named: numbers of Services change with every
    /// restart, and words must not.
    fn holder(&self, refusal: &Refusal) -> Option<String> {
        let first = refusal.holder()?;
        let services = &self.model.services;
        let others: Vec<ServiceId> = match refusal {
            // One Service alone has the port.
            Refusal::Sharing {
                collision: Collision::Port(_),
                ..
            } => Vec::new(),
            Refusal::Sharing {
                address,
                collision: Collision::Namespace,
                holder,
            } => {
                // The holder is of another namespace than whoever asks, and so are those beside it in its own.
                let namespace = |id: ServiceId| services.get(id).map(|entry| &entry.key.namespace);
                let owners = self.alloc.owners(*address);
                owners
                    .filter(|one| namespace(*one) == namespace(*holder))
                    .collect()
            }
            Refusal::Taken { address, .. } | Refusal::Sharing { address, .. } => {
                let owners: Vec<ServiceId> = self.alloc.owners(*address).collect();
                if owners.contains(&first) {
                    owners
                } else {
                    let shows = |service: &Service| service.vips().contains(address);
                    let all = services.iter().filter(|(id, _)| !owners.contains(id));
                    let strangers =
                        all.filter(|(_, entry)| entry.service.as_deref().is_some_and(shows));
                    strangers.map(|(id, _)| id).collect()
                }
            }
            _ => Vec::new(),
        };
        let age = |id: &ServiceId| {
            let entry = services.get(*id)?;
            let created = entry.service.as_deref().and_then(|service| service.created);
            Some((created, &entry.key))
        };
        let oldest = others.into_iter().min_by(|a, b| age(a).cmp(&age(b)));
        Some(services.name(oldest.unwrap_or(first)))
    }

    /// `content`: one address of two is as good as none missing.
    fn verdict(
        &self,
        addresses: Holding,
        pools: Option<&str>,
        refusal: Option<(&Refusal, String)>,
        content: bool,
    ) -> Verdict {
        let own = addresses
            .iter()
            .find_map(|a| Some((a, self.alloc.node_of(a)?)));
        let of_node = own.map(|(address, node)| {
            format!("Node {node} uses {address} itself: give one of the two another address")
        });
        let of_stranger = self.quarantine.words(addresses.iter());
        let contended = of_stranger.is_some();
        let warning = of_node.or(of_stranger).map(|words| format!("; {words}"));
        let held = format!(
            "{}{FROM_POOL}{}{}",
            texts(addresses),
            pools.unwrap_or_default(),
            warning.unwrap_or_default()
        );
        match refusal {
            None if own.is_some() => Verdict::yes(ASSIGNED, USED_BY_NODE, held),
            None if contended => Verdict::yes(ASSIGNED, ADDRESS_CONFLICT, held),
            None => Verdict::yes(ASSIGNED, "Assigned", held),
            Some((refusal, words)) if addresses.is_empty() => {
                Verdict::no(ASSIGNED, refusal.reason(), words)
            }
            Some((_, words)) if content => {
                Verdict::yes(ASSIGNED, PARTIALLY_ASSIGNED, format!("{held}; {words}"))
            }
            Some((refusal, words)) => {
                let message = format!("{words}{MEANWHILE}{held}");
                Verdict::no(ASSIGNED, refusal.reason(), message)
            }
        }
    }
}
