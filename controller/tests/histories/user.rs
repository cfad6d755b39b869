//! What users do. A small universe, so that everything collides.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portolan_api::ObjectKey;
use portolan_api::annotation::{ADDRESS_POOL, ALLOW_SHARED_IP, LOAD_BALANCER_IPS};
use portolan_api::crd::{
    ConflictReport, IPAddressPool, IPAddressPoolSpec, Quota, Reservation, ServiceAllocation,
    Sharing, Strategy,
};
use portolan_api::selector::LabelSelector;
use portolan_api::view::{
    AnsweredVip, Ingress, Namespace, Node, NodeAddress, NodeReport, Port, Service, ServiceStatus,
    TrafficPolicy,
};

use super::server::{Author, Kind, Object, Server};

pub(crate) const NAMESPACES: [&str; 2] = ["red", "blue"];
const SERVICES: [&str; 3] = ["s0", "s1", "s2"];
pub(crate) const POOLS: [&str; 3] = ["a", "b", "c"];
pub(crate) const NODES: [&str; 2] = ["n0", "n1"];
/// Every address that any pool can have.
pub(crate) const ADDRESSES: [&str; 10] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "2001:db8::",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8::3",
];
/// No pool has it.
const STRANGE: &str = "192.0.2.1";
const RANGES: [&str; 10] = [
    "10.0.0.0/31",
    "10.0.0.2/31",
    "10.0.0.4/31",
    "10.0.0.0/30",
    "10.0.0.1-10.0.0.3",
    "10.0.0.3-10.0.0.5",
    "2001:db8::/127",
    "2001:db8::2/127",
    "2001:db8::/126",
    "10.0.0.1/32",
];
const BAD_RANGE: &str = "10.0.0.9-10.0.0.1";
const KEYS: [&str; 2] = ["k1", "k2"];
const RETENTIONS: [&str; 3] = ["5s", "20s", "1h"];

/// A user's change.
#[derive(Debug, Clone)]
pub(crate) enum User {
    /// With a sharing key and a port of its own, or as plain as can be.
    Create(u8, Option<u8>, Vec<Edit>),
    Change(u8, Edit),
    Delete(u8),
    /// Deleted and created again before anybody looks.
    Recreate(u8),
    CreatePool(u8, Vec<PoolEdit>),
    ChangePool(u8, PoolEdit),
    DeletePool(u8),
    RenamePool(u8, u8),
    /// The second half of the ranges goes to another pool, that pool first or last.
    SplitPool(u8, u8, bool),
    LabelNamespace(u8, bool),
    NodeAddress(u8, Option<u8>),
    /// The speaker of a node reports strangers, each heard before the address was used or later; and what it answers for.
    Report(u8, Vec<(u8, bool)>, Vec<u8>),
    /// Somebody writes addresses into a status.
    Show(u8, Vec<u8>),
    Wipe(u8),
}

/// A change of a Service.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Families(u8),
    Exact(Option<u8>, Option<u8>),
    Legacy(Option<u8>),
    Pool(Option<u8>),
    Key(Option<u8>),
    Ports(u8),
    Local(Option<u8>),
    Class(bool),
    Balancer(bool),
    Gold(bool),
}

/// A change of a pool.
#[derive(Debug, Clone)]
pub(crate) enum PoolEdit {
    Ranges(Vec<u8>),
    Invalid,
    Exclude(Option<u8>),
    AvoidBuggy(bool),
    Auto(bool),
    Restrict(Option<Restriction>),
    Across(bool),
    Quota(Option<u8>),
    Retain(Option<u8>),
    Reserve(Vec<(u8, u8)>),
    Balanced(bool),
}

/// Who may use a pool.
#[derive(Debug, Clone)]
pub(crate) struct Restriction {
    pub(crate) priority: u8,
    pub(crate) namespace: Option<u8>,
    pub(crate) gold_namespaces: bool,
    pub(crate) gold_services: bool,
}

fn nth<'a>(list: &[&'a str], index: u8) -> &'a str {
    list[usize::from(index) % list.len()]
}

pub(crate) fn service_key(index: u8) -> ObjectKey {
    let name = nth(&SERVICES, index);
    ObjectKey::new(nth(&NAMESPACES, index / 3), name)
}

fn cluster_key(name: &str) -> ObjectKey {
    ObjectKey::new("", name)
}

/// The cluster at the beginning: two namespaces, two nodes, one pool.
pub(crate) fn begin(server: &mut Server, first: &[PoolEdit], wall: Timestamp) {
    for name in NAMESPACES {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        server.put(Object::Namespace(namespace), Author::User, wall);
    }
    for name in NODES {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        server.put(Object::Node(node), Author::User, wall);
    }
    let mut pool = mk_pool("a");
    for edit in first {
        edit.apply(&mut pool.spec);
    }
    server.put(Object::Pool(pool), Author::User, wall);
}

fn mk_pool(name: &str) -> IPAddressPool {
    let first = POOLS.iter().position(|pool| *pool == name).unwrap_or(0);
    let spec = IPAddressPoolSpec {
        addresses: vec![RANGES[first].to_owned()],
        auto_assign: true,
        ..IPAddressPoolSpec::default()
    };
    IPAddressPool::new(name, spec)
}

fn mk_service(key: &ObjectKey) -> Service {
    let mut service = Service::default();
    service.metadata.namespace = Some(key.namespace.clone());
    service.metadata.name = Some(key.name.clone());
    service.spec.kind = Some("LoadBalancer".to_owned());
    service.spec.ip_families = vec!["IPv4".to_owned()];
    Edit::Ports(1).apply(&mut service);
    service
}

impl User {
    /// Makes the change. Returns `false` if there is nothing to change.
    pub(crate) fn act(&self, server: &mut Server, wall: Timestamp) -> bool {
        match self {
            Self::Create(index, key, edits) => {
                // Of the three of a namespace each has another port.
                let shares = [Edit::Key(*key), Edit::Ports(1 << (index % 3))];
                let shares = shares.into_iter().filter(|_| key.is_some());
                let edits: Vec<Edit> = shares.chain(edits.iter().cloned()).collect();
                create(server, *index, &edits, wall)
            }
            Self::Change(index, edit) => change(server, *index, wall, |s| edit.apply(s)),
            Self::Delete(index) => server
                .delete(Kind::Service, &service_key(*index), wall)
                .is_some(),
            Self::Recreate(index) => {
                let key = service_key(*index);
                let Some(Object::Service(old)) = server.delete(Kind::Service, &key, wall) else {
                    return false;
                };
                let mut service = mk_service(&key);
                service.spec = old.spec;
                server.put(Object::Service(service), Author::User, wall);
                true
            }
            Self::Show(index, addresses) => change(server, *index, wall, |s| show(s, addresses)),
            Self::Wipe(index) => change(server, *index, wall, |s| {
                s.status = ServiceStatus::default();
            }),
            Self::LabelNamespace(index, gold) => {
                let key = cluster_key(nth(&NAMESPACES, *index));
                let Some(Object::Namespace(mut namespace)) =
                    server.get(Kind::Namespace, &key).cloned()
                else {
                    return false;
                };
                namespace.metadata.labels = Some(labels(*gold));
                server.put(Object::Namespace(namespace), Author::User, wall);
                true
            }
            Self::NodeAddress(index, address) => {
                let mut node = Node::default();
                node.metadata.name = Some(nth(&NODES, *index).to_owned());
                let own = |a: u8| NodeAddress {
                    kind: "InternalIP".to_owned(),
                    address: nth(&ADDRESSES, a).to_owned(),
                };
                node.status.addresses = address.map(own).into_iter().collect();
                server.put(Object::Node(node), Author::User, wall);
                true
            }
            Self::Report(index, strangers, answered) => {
                report(server, *index, strangers, answered, wall);
                true
            }
            Self::CreatePool(..)
            | Self::ChangePool(..)
            | Self::DeletePool(_)
            | Self::RenamePool(..)
            | Self::SplitPool(..) => self.act_on_pools(server, wall),
        }
    }

    fn act_on_pools(&self, server: &mut Server, wall: Timestamp) -> bool {
        let key = |index: &u8| cluster_key(nth(&POOLS, *index));
        let held = |server: &Server, index: &u8| match server.get(Kind::Pool, &key(index)) {
            Some(Object::Pool(pool)) => Some(pool.clone()),
            _ => None,
        };
        match self {
            Self::CreatePool(index, edits) => {
                if held(server, index).is_some() {
                    return false;
                }
                let mut pool = mk_pool(nth(&POOLS, *index));
                for edit in edits {
                    edit.apply(&mut pool.spec);
                }
                server.put(Object::Pool(pool), Author::User, wall);
                true
            }
            Self::ChangePool(index, edit) => {
                let Some(mut pool) = held(server, index) else {
                    return false;
                };
                edit.apply(&mut pool.spec);
                server.put(Object::Pool(pool), Author::User, wall);
                true
            }
            Self::DeletePool(index) => server.delete(Kind::Pool, &key(index), wall).is_some(),
            Self::RenamePool(from, to) => {
                if held(server, to).is_some() {
                    return false;
                }
                let Some(Object::Pool(old)) = server.delete(Kind::Pool, &key(from), wall) else {
                    return false;
                };
                let pool = IPAddressPool::new(nth(&POOLS, *to), old.spec);
                server.put(Object::Pool(pool), Author::User, wall);
                true
            }
            Self::SplitPool(from, to, new_first) => {
                let Some(mut old) = held(server, from) else {
                    return false;
                };
                if held(server, to).is_some() || old.spec.addresses.len() < 2 {
                    return false;
                }
                let mut new = IPAddressPool::new(nth(&POOLS, *to), old.spec.clone());
                new.spec.reservations.clear();
                old.spec.reservations.clear();
                let half = old.spec.addresses.len() / 2;
                new.spec.addresses = old.spec.addresses.split_off(half);
                let mut both = [Object::Pool(old), Object::Pool(new)];
                if *new_first {
                    both.reverse();
                }
                for pool in both {
                    server.put(pool, Author::User, wall);
                }
                true
            }
            _ => false,
        }
    }
}

fn create(server: &mut Server, index: u8, edits: &[Edit], wall: Timestamp) -> bool {
    let key = service_key(index);
    if server.get(Kind::Service, &key).is_some() {
        return false;
    }
    let mut service = mk_service(&key);
    for edit in edits {
        edit.apply(&mut service);
    }
    server.put(Object::Service(service), Author::User, wall);
    true
}

fn change(
    server: &mut Server,
    index: u8,
    wall: Timestamp,
    edit: impl FnOnce(&mut Service),
) -> bool {
    let Some(Object::Service(held)) = server.get(Kind::Service, &service_key(index)) else {
        return false;
    };
    let mut service = held.clone();
    edit(&mut service);
    if service == *held {
        return false;
    }
    server.put(Object::Service(service), Author::User, wall);
    true
}

fn report(
    server: &mut Server,
    index: u8,
    strangers: &[(u8, bool)],
    answered: &[u8],
    wall: Timestamp,
) {
    let conflict = |(address, before_use): &(u8, bool)| ConflictReport {
        address: nth(&ADDRESSES, *address).to_owned(),
        mac: "02:00:00:00:00:66".to_owned(),
        interface: "eth0".to_owned(),
        last: wall.to_string(),
        before_use: *before_use,
    };
    let vip = |address: &u8| AnsweredVip {
        address: nth(&ADDRESSES, *address).to_owned(),
    };
    let mut report = NodeReport::default();
    report.metadata.name = Some(nth(&NODES, index).to_owned());
    report.status.conflicts = strangers.iter().map(conflict).collect();
    report.status.l2_vips = answered.iter().map(vip).collect();
    server.put(Object::Report(report), Author::User, wall);
}

fn show(service: &mut Service, addresses: &[u8]) {
    let text = |index: &u8| match usize::from(*index) {
        index if index < ADDRESSES.len() => ADDRESSES[index],
        _ => STRANGE,
    };
    let mut texts: Vec<&str> = addresses.iter().map(text).collect();
    texts.dedup();
    let entry = |ip: &str| Ingress {
        ip: Some(ip.to_owned()),
        ..Ingress::default()
    };
    service.status.load_balancer.ingress = texts.into_iter().map(entry).collect();
}

fn labels(gold: bool) -> BTreeMap<String, String> {
    let tier = if gold { "gold" } else { "tin" };
    BTreeMap::from([("tier".to_owned(), tier.to_owned())])
}

impl Edit {
    fn apply(&self, service: &mut Service) {
        let spec = &mut service.spec;
        match self {
            Self::Families(which) => {
                let (families, policy): (&[&str], _) = match which % 6 {
                    0 => (&["IPv4"], "SingleStack"),
                    1 => (&["IPv6"], "SingleStack"),
                    2 => (&["IPv4", "IPv6"], "PreferDualStack"),
                    3 => (&["IPv6", "IPv4"], "PreferDualStack"),
                    4 => (&["IPv4", "IPv6"], "RequireDualStack"),
                    _ => (&["IPv6", "IPv4"], "RequireDualStack"),
                };
                spec.ip_families = families.iter().map(|f| (*f).to_owned()).collect();
                spec.ip_family_policy = Some(policy.to_owned());
            }
            Self::Exact(v4, v6) => {
                let v4 = v4.map(|index| ADDRESSES[usize::from(index) % 6]);
                let v6 = v6.map(|index| ADDRESSES[6 + usize::from(index) % 4]);
                let texts: Vec<&str> = v4.into_iter().chain(v6).collect();
                annotate(service, LOAD_BALANCER_IPS, &texts.join(","));
            }
            Self::Legacy(index) => {
                spec.load_balancer_ip = index.map(|index| nth(&ADDRESSES, index).to_owned());
            }
            Self::Pool(index) => {
                let name = index.map_or("", |index| nth(&POOLS, index));
                annotate(service, ADDRESS_POOL, name);
            }
            Self::Key(index) => {
                let key = index.map_or("", |index| nth(&KEYS, index));
                annotate(service, ALLOW_SHARED_IP, key);
            }
            Self::Ports(mask) => {
                let all = [("TCP", 80), ("TCP", 443), ("UDP", 80)];
                let chosen = all.into_iter().enumerate();
                let chosen = chosen.filter(|(bit, _)| mask & (1 << bit) != 0);
                let port = |(_, (protocol, port)): (usize, (&str, i32))| Port {
                    protocol: Some(protocol.to_owned()),
                    port,
                };
                spec.ports = chosen.map(port).collect();
            }
            Self::Local(selector) => {
                spec.external_traffic_policy = match selector {
                    None => TrafficPolicy::Cluster,
                    Some(_) => TrafficPolicy::Local,
                };
                let app = selector.filter(|app| *app < 2);
                let pair = |app: u8| ("app".to_owned(), format!("p{app}"));
                spec.selector = app.map(pair).into_iter().collect();
            }
            Self::Class(ours) => {
                spec.load_balancer_class = (!ours).then(|| "other".to_owned());
            }
            Self::Balancer(yes) => {
                let kind = if *yes { "LoadBalancer" } else { "ClusterIP" };
                spec.kind = Some(kind.to_owned());
            }
            Self::Gold(gold) => service.metadata.labels = Some(labels(*gold)),
        }
    }
}

/// An empty value takes the annotation away.
fn annotate(service: &mut Service, name: &str, value: &str) {
    let annotations = service.metadata.annotations.get_or_insert_default();
    if value.is_empty() {
        annotations.remove(name);
    } else {
        annotations.insert(name.to_owned(), value.to_owned());
    }
}

impl PoolEdit {
    fn apply(&self, spec: &mut IPAddressPoolSpec) {
        match self {
            Self::Ranges(which) => {
                let mut texts: Vec<String> = Vec::new();
                for index in which {
                    let text = nth(&RANGES, *index).to_owned();
                    if !texts.contains(&text) {
                        texts.push(text);
                    }
                }
                spec.addresses = texts;
            }
            Self::Invalid => spec.addresses = vec![BAD_RANGE.to_owned()],
            Self::Exclude(index) => {
                let text = index.map(|index| nth(&ADDRESSES, index).to_owned());
                spec.excluded_addresses = text.into_iter().collect();
            }
            Self::AvoidBuggy(avoid) => spec.avoid_buggy_ips = *avoid,
            Self::Auto(auto) => spec.auto_assign = *auto,
            Self::Restrict(restriction) => {
                spec.service_allocation = restriction.as_ref().map(Restriction::allocation);
            }
            Self::Across(across_namespaces) => {
                spec.sharing = Some(Sharing {
                    across_namespaces: *across_namespaces,
                });
            }
            Self::Quota(most) => {
                spec.quota = most.map(|most| Quota {
                    addresses_per_namespace: i64::from(most),
                });
            }
            Self::Retain(index) => {
                spec.retain = index.map(|index| nth(&RETENTIONS, index).to_owned());
            }
            Self::Reserve(list) => {
                let one = |(service, address): &(u8, u8)| {
                    let key = service_key(*service);
                    Reservation {
                        namespace: key.namespace,
                        name: key.name,
                        address: nth(&ADDRESSES, *address).to_owned(),
                    }
                };
                spec.reservations = list.iter().map(one).collect();
            }
            Self::Balanced(balanced) => {
                spec.strategy = if *balanced {
                    Strategy::Balanced
                } else {
                    Strategy::FirstFit
                };
            }
        }
    }
}

impl Restriction {
    fn allocation(&self) -> ServiceAllocation {
        let gold = |wanted: bool| {
            let selector = LabelSelector {
                match_labels: labels(true),
                ..LabelSelector::default()
            };
            wanted.then_some(selector).into_iter().collect()
        };
        let namespace = self
            .namespace
            .map(|index| nth(&NAMESPACES, index).to_owned());
        ServiceAllocation {
            priority: i32::from(self.priority),
            namespaces: namespace.into_iter().collect(),
            namespace_selectors: gold(self.gold_namespaces),
            service_selectors: gold(self.gold_services),
        }
    }
}
