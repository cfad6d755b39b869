//! Why a Service has the address it has, or none, and who announces it or does not: a snapshot in, findings out.

mod announce;
mod answer;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use portolan_api::ObjectKey;
use portolan_api::annotation::{ADDRESS_POOL, POOL};
use portolan_api::crd::{IPAddressPool, RouteKind};
use portolan_api::view::{Service, TrafficPolicy};

use crate::reach::Vip;
use crate::snapshot::{CONTROLLER_LEASE, Snapshot, complaints, condition};
use portolan_api::annotation::ASSIGNED;

/// Nodes listed by name in one line.
const LISTED: usize = 8;

/// What a finding is about; also the heading that it stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Whether Portolan serves the Service at all.
    Service,
    /// Addresses and pools.
    Address,
    /// Where traffic can be delivered.
    Endpoints,
    /// ARP and NDP.
    Layer2,
    /// BGP.
    Bgp,
    /// Objects that do not count as they are written.
    Refused,
}

/// How a finding bears on the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// In the way.
    Bad,
}

/// One line of the explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What it is about.
    pub(crate) topic: Topic,
    /// How it bears on the Service.
    pub(crate) mark: Mark,
    /// In words.
    pub(crate) text: String,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "Service",
            Self::Address => "Address",
            Self::Endpoints => "Endpoints",
            Self::Layer2 => "Layer 2",
            Self::Bgp => "BGP",
            Self::Refused => "Refused or incomplete objects",
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "ok",
            Self::Note => "--",
            Self::Bad => "!!",
        })
    }
}

/// Findings about a Service, topic by topic.
pub(crate) fn explain(snapshot: &Snapshot, key: &ObjectKey) -> Vec<Finding> {
    let mut report = Report {
        snapshot,
        key,
        findings: Vec::new(),
    };
    if let Some(service) = snapshot.services.get(key) {
        report.service(service);
    } else {
        let words = format!("there is no Service {key}: check the namespace (-n) and the name");
        report.add(Topic::Service, Mark::Bad, words);
    }
    report.findings
}

/// The findings as text, under one heading for each topic.
pub(crate) fn render(key: &ObjectKey, findings: &[Finding]) -> String {
    let mut text = format!("Service {key}\n");
    let mut topic = Topic::Service;
    for finding in findings {
        if finding.topic != topic {
            topic = finding.topic;
            let _ = writeln!(text, "{topic}");
        }
        let _ = writeln!(text, "  {} {}", finding.mark, finding.text);
    }
    text
}

struct Report<'a> {
    snapshot: &'a Snapshot,
    key: &'a ObjectKey,
    findings: Vec<Finding>,
}

impl<'a> Report<'a> {
    fn add(&mut self, topic: Topic, mark: Mark, text: impl Into<String>) {
        self.findings.push(Finding {
            topic,
            mark,
            text: text.into(),
        });
    }

    fn service(&mut self, service: &'a Service) {
        let own = self.own_addresses(service);
        if !self.served(service, !own.is_empty()) {
            return;
        }
        self.controller();
        if service.wants(self.snapshot.lb_class.as_deref()) {
            self.addresses(service);
        }
        self.endpoints(service);
        for address in service.vips() {
            let vip = Vip {
                snapshot: self.snapshot,
                key: self.key,
                service,
                address,
                kind: RouteKind::LoadBalancerIP,
            };
            if vip.pool().is_some() {
                self.layer2(vip);
                self.bgp(vip);
                self.coverage(vip);
            }
        }
        for vip in own {
            self.bgp(vip);
        }
        self.hindrances();
        self.findings.sort_by_key(|finding| finding.topic);
        self.refused();
    }

    /// Whether Portolan serves the Service at all; `announced` if a rule announces addresses that it has anyway.
    fn served(&mut self, service: &Service, announced: bool) -> bool {
        let kind = service.spec.kind.as_deref().unwrap_or("ClusterIP");
        if announced && !service.wants(self.snapshot.lb_class.as_deref()) {
            let words = format!(
                "type {kind}: gets no address from Portolan, which announces some that it has"
            );
            self.add(Topic::Service, Mark::Good, words);
            return true;
        }
        if kind != "LoadBalancer" {
            let words =
                format!("type is {kind}: only Services of type LoadBalancer get an address");
            self.add(Topic::Service, Mark::Bad, words);
            return false;
        }
        let class = service.spec.load_balancer_class.as_deref();
        if service.wants(self.snapshot.lb_class.as_deref()) {
            let class = class.map_or("no class".to_owned(), |class| format!("class {class}"));
            self.add(
                Topic::Service,
                Mark::Good,
                format!("type LoadBalancer, {class}: served by Portolan"),
            );
            return true;
        }
        let ours = self.snapshot.lb_class.as_deref();
        let served = ours.map_or("Services without a class".to_owned(), |c| {
            format!("class {c}")
        });
        let held = class.map_or("no loadBalancerClass".to_owned(), |c| {
            format!("loadBalancerClass {c}")
        });
        let words = format!(
            "the Service has {held}, Portolan serves {served}: change the class, or the --lb-class of Portolan \
             and of this command"
        );
        self.add(Topic::Service, Mark::Bad, words);
        false
    }

    fn controller(&mut self) {
        let Some(leases) = &self.snapshot.leases else {
            let words =
                "Leases of Portolan's namespace can not be read: whether daemons live is not known";
            return self.add(Topic::Service, Mark::Note, words);
        };
        match leases.get(CONTROLLER_LEASE) {
            Some(lease) if lease.fresh && !lease.holder.is_empty() => {
                self.add(Topic::Service, Mark::Good, format!("controller {} leads", lease.holder));
            }
            _ => self.add(
                Topic::Service,
                Mark::Bad,
                "no controller leads, so nothing new is decided: is portolan-controller running? (--system-namespace \
                 says where this command looks)",
            ),
        }
    }

    fn addresses(&mut self, service: &'a Service) {
        let verdict = condition(&service.status.conditions, ASSIGNED);
        for address in service.vips() {
            match self.snapshot.pool_of(address) {
                Some(pool) => {
                    let company = self.company(address);
                    let shared = match company.as_slice() {
                        [] => String::new(),
                        others => format!(", shared with {}", listed(others)),
                    };
                    self.add(
                        Topic::Address,
                        Mark::Good,
                        format!("{address} from pool {pool}{shared}"),
                    );
                }
                None => self.add(
                    Topic::Address,
                    Mark::Bad,
                    format!("{address} is in no accepted IPAddressPool, so no node announces it"),
                ),
            }
        }
        match verdict {
            // It has an address, and so has somebody else.
            Some(verdict) if verdict.status == "True" && verdict.reason != "AddressConflict" => {}
            Some(verdict) => {
                self.add(
                    Topic::Address,
                    Mark::Bad,
                    format!("{}: {}", verdict.reason, verdict.message),
                );
            }
            None if service.vips().is_empty() => {
                self.add(
                    Topic::Address,
                    Mark::Bad,
                    "no address, and the controller has not judged the Service yet",
                );
            }
            None => {}
        }
        if service.vips().is_empty() {
            self.pools(service);
        }
    }

    /// Other Services that have the address.
    fn company(&self, address: IpAddr) -> Vec<String> {
        let others = self.snapshot.services.iter();
        let others =
            others.filter(|(key, other)| *key != self.key && other.vips().contains(&address));
        others.map(|(key, _)| key.to_string()).collect()
    }

    /// What there was to choose from.
    fn pools(&mut self, service: &'a Service) {
        let named = service.annotation(ADDRESS_POOL);
        if self.snapshot.pools.is_empty() {
            self.add(
                Topic::Address,
                Mark::Bad,
                "there is no IPAddressPool: create one",
            );
        }
        for (name, pool) in &self.snapshot.pools {
            if named.is_none_or(|named| named == name) {
                self.add(
                    Topic::Address,
                    Mark::Note,
                    format!("pool {name}: {}", offer(pool)),
                );
                for words in promises(pool, self.key).into_iter().chain(shut(pool)) {
                    self.add(Topic::Address, Mark::Note, format!("pool {name}: {words}"));
                }
            }
        }
        if let Some(named) = named.filter(|named| !self.snapshot.pools.contains_key(*named)) {
            let words =
                format!("annotation {ADDRESS_POOL} names pool {named}, which does not exist");
            self.add(Topic::Address, Mark::Bad, words);
        }
        if let Some(pool) = service.annotation(POOL) {
            self.add(
                Topic::Address,
                Mark::Note,
                format!("annotation {POOL} still says {pool}"),
            );
        }
    }

    fn endpoints(&mut self, service: &Service) {
        let usable = self.snapshot.usable(self.key);
        let policy = match service.spec.external_traffic_policy {
            TrafficPolicy::Cluster => "Cluster: any node delivers to them",
            TrafficPolicy::Local => "Local: only these nodes announce",
        };
        if usable.is_empty() {
            let words = "no usable endpoint, so no node announces: is a pod ready, and does the selector match it?";
            return self.add(Topic::Endpoints, Mark::Bad, words);
        }
        let mut nodes: Vec<&str> = usable.into_iter().collect();
        if let Some(outside) = nodes.iter_mut().find(|name| name.is_empty()) {
            *outside = "(outside the cluster)";
        }
        let words = format!(
            "usable on {} (externalTrafficPolicy {policy})",
            listed(&nodes)
        );
        self.add(Topic::Endpoints, Mark::Good, words);
    }

    fn refused(&mut self) {
        let pools = self.snapshot.pools.iter().map(|(name, pool)| {
            let conditions = pool
                .status
                .as_ref()
                .map_or(&[][..], |status| &status.conditions);
            ("IPAddressPool", name, conditions)
        });
        let judged = self.snapshot.judged.iter();
        let judged = judged.map(|object| (object.kind, &object.name, object.conditions.as_slice()));
        let complaints = pools.chain(judged).flat_map(|(kind, name, conditions)| {
            let words = complaints(conditions);
            words
                .into_iter()
                .map(move |words| format!("{kind} {name}: {words}"))
        });
        for words in complaints.collect::<Vec<_>>() {
            self.add(Topic::Refused, Mark::Note, words);
        }
    }
}

/// What a pool has to give, and to whom.
fn offer(pool: &IPAddressPool) -> String {
    let status = pool.status.clone().unwrap_or_default();
    let mut words = format!(
        "{} IPv4 and {} IPv6 addresses free",
        status.available_ipv4, status.available_ipv6
    );
    if !pool.spec.auto_assign {
        words.push_str(", only for Services that name it (autoAssign false)");
    }
    if pool.spec.service_allocation.is_some() {
        words.push_str(", only for Services that serviceAllocation selects");
    }
    if let Some(quota) = &pool.spec.quota {
        let _ = write!(
            words,
            ", at most {} for a namespace (quota)",
            quota.addresses_per_namespace
        );
    }
    words
}

/// What a pool keeps for a Service by its name.
fn promises(pool: &IPAddressPool, service: &ObjectKey) -> Vec<String> {
    let reserved = pool.spec.reservations.iter();
    let reserved =
        reserved.filter(|one| (&one.namespace, &one.name) == (&service.namespace, &service.name));
    let reserved = reserved.map(|one| format!("{} is reserved for this Service", one.address));
    let retained = pool.status.iter().flat_map(|status| &status.retained);
    let retained =
        retained.filter(|one| (&one.namespace, &one.name) == (&service.namespace, &service.name));
    let retained = retained.map(|one| {
        format!(
            "{} is kept for this Service until {}, from before it was deleted",
            one.address, one.until.0
        )
    });
    reserved.chain(retained).collect()
}

/// Addresses of a pool that nobody gets, because stations outside the cluster use them.
fn shut(pool: &IPAddressPool) -> Vec<String> {
    let Some(status) = &pool.status else {
        return Vec::new();
    };
    let named = status.quarantined.iter().take(LISTED);
    let mut all: Vec<String> = named
        .map(|one| {
            let until = one
                .until
                .as_ref()
                .map(|until| format!(" until {}", until.0));
            format!(
                "{} is in quarantine{}: station {}, heard by {} on {}, uses it",
                one.address,
                until.unwrap_or_default(),
                one.mac,
                one.node,
                one.interface
            )
        })
        .collect();
    let count = usize::try_from(status.quarantined_count).unwrap_or_default();
    if let Some(more) = count.checked_sub(LISTED).filter(|more| *more > 0) {
        all.push(format!("{more} more addresses are in quarantine"));
    }
    all
}

/// Names in a line that stays readable in a large cluster.
fn listed(names: &[impl AsRef<str>]) -> String {
    let mut text = names
        .iter()
        .take(LISTED)
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more) = names.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = write!(text, " and {more} more");
    }
    text
}
