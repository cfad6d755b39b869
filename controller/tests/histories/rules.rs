//! The rules in their plainest form: lists, scans, no memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use portolan_api::ObjectKey;
use portolan_api::annotation::{
    ADDRESS_POOL, ALLOW_SHARED_IP, ASSIGNED, HELD, LOAD_BALANCER_IPS, POOL,
};
use portolan_api::compile;
use portolan_api::crd::IPAddressPoolSpec;
use portolan_api::range::Family;
use portolan_api::view::{Service, TrafficPolicy};

use super::controller::CLASS;
use super::server::{Kind, Object, State};

pub(crate) fn services(state: &State) -> impl Iterator<Item = (&ObjectKey, &Service)> {
    state.iter().filter_map(|((_, key), object)| match object {
        Object::Service(service) => Some((key, service)),
        _ => None,
    })
}

pub(crate) fn service<'a>(state: &'a State, key: &ObjectKey) -> Option<&'a Service> {
    match state.get(&(Kind::Service, key.clone())) {
        Some(Object::Service(service)) => Some(service),
        _ => None,
    }
}

/// The pools as users wrote them.
pub(crate) fn written(state: &State) -> Vec<(&str, &IPAddressPoolSpec)> {
    let pools = state.iter().filter_map(|((_, key), object)| match object {
        Object::Pool(pool) => Some((key.name.as_str(), &pool.spec)),
        _ => None,
    });
    pools.collect()
}

/// The pools in force.
pub(crate) fn in_force(state: &State) -> Vec<(&str, &IPAddressPoolSpec)> {
    let configs = state.values().filter_map(|object| match object {
        Object::Config(config) => Some(config),
        _ => None,
    });
    let rules = configs.flat_map(|config| &config.spec.pools);
    rules.map(|rule| (rule.name.as_str(), &rule.spec)).collect()
}

/// Labels of a namespace.
fn labels_of(state: &State, namespace: &str) -> BTreeMap<String, String> {
    match state.get(&(Kind::Namespace, ObjectKey::new("", namespace))) {
        Some(Object::Namespace(namespace)) => namespace.metadata.labels.clone().unwrap_or_default(),
        _ => BTreeMap::new(),
    }
}

/// Whether a node uses the address.
pub(crate) fn is_of_a_node(state: &State, address: IpAddr) -> bool {
    state.values().any(|object| match object {
        Object::Node(node) => {
            let own = node.status.addresses.iter();
            let mut own = own.map(|own| own.address.parse::<IpAddr>());
            own.any(|own| own == Ok(address))
        }
        _ => false,
    })
}

/// Whether the pool has the address and gives it out.
pub(crate) fn offers(spec: &IPAddressPoolSpec, address: IpAddr) -> bool {
    let ranges = compile::ranges(spec).unwrap_or_default();
    let excluded = compile::excluded_ranges(spec).unwrap_or_default();
    let buggy = spec.avoid_buggy_ips && compile::is_buggy(address);
    ranges.iter().any(|range| range.contains(address))
        && !excluded.iter().any(|range| range.contains(address))
        && !buggy
}

/// Whether the pool is open to the Service.
pub(crate) fn admits(state: &State, spec: &IPAddressPoolSpec, service: &Service) -> bool {
    let Some(allocation) = &spec.service_allocation else {
        return true;
    };
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let labels = labels_of(state, &namespace);
    let named = allocation.namespaces.contains(&namespace);
    let selected = allocation
        .namespace_selectors
        .iter()
        .any(|s| s.matches(&labels));
    let anywhere = allocation.namespaces.is_empty() && allocation.namespace_selectors.is_empty();
    let selectors = &allocation.service_selectors;
    let fits = selectors.is_empty() || selectors.iter().any(|s| s.matches(service.labels()));
    (anywhere || named || selected) && fits
}

/// Whether one of the pools offers the address to the Service.
pub(crate) fn is_open(
    state: &State,
    pools: &[(&str, &IPAddressPoolSpec)],
    service: &Service,
    address: IpAddr,
) -> bool {
    let mut pools = pools.iter();
    pools.any(|(_, spec)| offers(spec, address) && admits(state, spec, service))
}

pub(crate) fn is_ours(service: &Service) -> bool {
    service.spec.kind.as_deref() == Some("LoadBalancer")
        && service.spec.load_balancer_class.as_deref() == CLASS
}

/// Families that the Service wants.
pub(crate) fn families(service: &Service) -> Vec<Family> {
    let names = service.spec.ip_families.iter();
    let families = names.map(|name| match name.as_str() {
        "IPv4" => Family::V4,
        _ => Family::V6,
    });
    let count = match service.spec.ip_family_policy.as_deref() {
        Some("SingleStack") => 1,
        _ => 2,
    };
    families.take(count).collect()
}

/// Whether one family of two will do.
pub(crate) fn one_will_do(service: &Service) -> bool {
    service.spec.ip_family_policy.as_deref() == Some("PreferDualStack")
}

/// The exact addresses that the Service asks for; `Err` if nobody can make sense of it.
pub(crate) fn exact(service: &Service) -> Result<Vec<IpAddr>, ()> {
    let annotation = service.annotation(LOAD_BALANCER_IPS);
    let legacy = service.spec.load_balancer_ip.as_deref();
    let text = match (annotation, legacy) {
        (Some(_), Some(_)) => return Err(()),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => return Ok(Vec::new()),
    };
    let addresses: Vec<IpAddr> = text.split(',').map(|a| a.parse().unwrap()).collect();
    let mut asked: Vec<Family> = addresses.iter().map(|a| Family::of(*a)).collect();
    let mut wanted = families(service);
    asked.sort_unstable();
    wanted.sort_unstable();
    (asked == wanted).then_some(addresses).ok_or(())
}

/// The pool that the Service names.
pub(crate) fn named_pool(service: &Service) -> Option<&str> {
    service.annotation(ADDRESS_POOL)
}

/// Whether the address is one that the Service asks for, as far as it asks.
pub(crate) fn is_asked(
    pools: &[(&str, &IPAddressPoolSpec)],
    service: &Service,
    address: IpAddr,
) -> bool {
    let exact = exact(service).unwrap_or_default();
    let named = named_pool(service);
    let mut homes = pools.iter().filter(|(_, spec)| offers(spec, address));
    (exact.is_empty() || exact.contains(&address))
        && named.is_none_or(|named| homes.any(|(name, _)| *name == named))
}

/// Which pods answer behind an address: Services that share one must agree.
fn backend(service: &Service) -> Vec<(&String, &String)> {
    match service.spec.external_traffic_policy {
        TrafficPolicy::Cluster => Vec::new(),
        TrafficPolicy::Local => service.spec.selector.iter().collect(),
    }
}

fn ports(service: &Service) -> BTreeSet<(String, i32)> {
    let ports = service.spec.ports.iter();
    let port = |port: &portolan_api::view::Port| {
        (
            port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port.port,
        )
    };
    ports.map(port).collect()
}

/// Whether two Services may share an address of a pool.
pub(crate) fn may_share(one: &Service, other: &Service, across_namespaces: bool) -> bool {
    let key = |service: &Service| service.annotation(ALLOW_SHARED_IP).map(str::to_owned);
    key(one).is_some()
        && key(one) == key(other)
        && backend(one) == backend(other)
        && ports(one).is_disjoint(&ports(other))
        && (across_namespaces || one.metadata.namespace == other.metadata.namespace)
}

/// Whether a pool that offers the address lets namespaces share it.
pub(crate) fn crosses(pools: &[(&str, &IPAddressPoolSpec)], address: IpAddr) -> bool {
    let mut homes = pools.iter().filter(|(_, spec)| offers(spec, address));
    homes.any(|(_, spec)| spec.sharing.as_ref().is_some_and(|s| s.across_namespaces))
}

/// Whether the address is reserved, and not for the Service.
pub(crate) fn is_reserved_for_others(
    pools: &[(&str, &IPAddressPoolSpec)],
    key: &ObjectKey,
    address: IpAddr,
) -> bool {
    let all = pools
        .iter()
        .flat_map(|(_, spec)| compile::reservations(spec));
    let of_it: Vec<_> = all.filter(|(at, _)| *at == address).collect();
    let mine = |(_, one): &(IpAddr, &portolan_api::crd::Reservation)| {
        one.namespace == key.namespace && one.name == key.name
    };
    !of_it.is_empty() && !of_it.iter().any(mine)
}

/// What is kept for Services that were deleted: address, for whom, until when.
pub(crate) fn retained(state: &State) -> Vec<(IpAddr, ObjectKey, Timestamp)> {
    let mut all = Vec::new();
    for object in state.values() {
        let Object::Pool(pool) = object else { continue };
        for one in pool.status.iter().flat_map(|status| &status.retained) {
            let key = ObjectKey::new(&one.namespace, &one.name);
            all.push((one.address.parse().unwrap(), key, one.until.0));
        }
    }
    all
}

pub(crate) fn is_retained_for_others(
    state: &State,
    wall: Timestamp,
    key: &ObjectKey,
    address: IpAddr,
) -> bool {
    let all = retained(state).into_iter();
    let of_it: Vec<_> = all
        .filter(|(at, _, until)| *at == address && *until > wall)
        .collect();
    !of_it.is_empty() && !of_it.iter().any(|(_, owner, _)| owner == key)
}

/// Whether a pool retains the address, as it is written and in force.
pub(crate) fn keeps_at_all(state: &State, address: IpAddr) -> bool {
    let keeps = |pools: &[(&str, &IPAddressPoolSpec)]| {
        let mut homes = pools.iter().filter(|(_, spec)| offers(spec, address));
        homes.any(|(_, spec)| compile::retention(spec).is_some())
    };
    keeps(&written(state)) && keeps(&in_force(state))
}

/// Addresses that are reserved or retained for the name.
pub(crate) fn kept_for(state: &State, wall: Timestamp, key: &ObjectKey) -> Vec<IpAddr> {
    let retained = retained(state).into_iter();
    let mine = retained
        .filter(|(at, owner, until)| owner == key && *until > wall && keeps_at_all(state, *at));
    let mut all: Vec<IpAddr> = mine.map(|(at, ..)| at).collect();
    let reserved = |pools: &[(&str, &IPAddressPoolSpec)]| -> Vec<IpAddr> {
        let all = pools
            .iter()
            .flat_map(|(_, spec)| compile::reservations(spec));
        let mine = all.filter(|(_, one)| one.namespace == key.namespace && one.name == key.name);
        mine.map(|(at, _)| at).collect()
    };
    let written = reserved(&written(state));
    all.extend(
        reserved(&in_force(state))
            .into_iter()
            .filter(|at| written.contains(at)),
    );
    all
}

/// Whether no quota can stand in the way of the address.
pub(crate) fn has_all_room(pools: &[(&str, &IPAddressPoolSpec)], address: IpAddr) -> bool {
    let mut homes = pools.iter().filter(|(_, spec)| offers(spec, address));
    homes.all(|(_, spec)| spec.quota.is_none())
}

/// Our condition of a Service: whether it holds, and the reason.
pub(crate) fn verdict(service: &Service) -> Option<(bool, &str)> {
    let ours = service
        .status
        .conditions
        .iter()
        .find(|c| c.type_ == ASSIGNED)?;
    Some((ours.status == "True", ours.reason.as_str()))
}

/// What stays taken for a Service whose status another program rewrites.
pub(crate) fn promised(service: &Service) -> Vec<IpAddr> {
    let list = service.annotation(HELD).into_iter();
    let list = list.flat_map(|list| list.split(", "));
    list.map(|address| address.parse().unwrap()).collect()
}

pub(crate) fn is_balancer(service: &Service) -> bool {
    service.spec.kind.as_deref() == Some("LoadBalancer")
}

pub(crate) fn is_marked(service: &Service) -> bool {
    verdict(service).is_some() || service.annotation(POOL).is_some()
}
