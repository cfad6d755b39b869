//! What the benches of the allocator do: the same steps are timed by one and counted by the other.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::ops::Range;

use portolan_api::annotation::ALLOW_SHARED_IP;
use portolan_api::crd::{IPAddressPoolSpec, PoolRule, Quota, Strategy};
use portolan_api::range::Family;
use portolan_api::view::{Port, Service};
use portolan_controller::alloc::{Allocator, Families, Holding, Request, ServiceId, Sharing};

/// Services of a large cluster.
pub(crate) const MANY: u32 = 100_000;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

pub(crate) fn mk_spec(addresses: &[&str]) -> IPAddressPoolSpec {
    IPAddressPoolSpec {
        addresses: addresses.iter().map(|range| (*range).to_owned()).collect(),
        auto_assign: true,
        ..IPAddressPoolSpec::default()
    }
}

pub(crate) fn mk_rule(spec: IPAddressPoolSpec) -> Vec<PoolRule> {
    let name = "pool".to_owned();
    vec![PoolRule { name, spec }]
}

/// A pool with everything that can be asked of one.
pub(crate) fn mk_laden() -> Vec<PoolRule> {
    let mut spec = mk_spec(&["10.0.0.0/9", "10.128.0.0/9"]);
    spec.strategy = Strategy::Balanced;
    spec.avoid_buggy_ips = true;
    spec.quota = Some(Quota {
        addresses_per_namespace: 1_000_000,
    });
    mk_rule(spec)
}

pub(crate) fn mk_request(id: u32, family: Family) -> Request<'static> {
    Request {
        holder: ServiceId(id),
        families: Families::One(family),
        exact: Holding::default(),
        pool: None,
        namespace: "shop",
        name: "web",
        namespace_labels: &NO_LABELS,
        labels: &NO_LABELS,
    }
}

/// Gives each Service an address; panics if one gets none.
pub(crate) fn place(allocator: &mut Allocator, ids: Range<u32>, family: Family) {
    for id in ids {
        let placed = allocator.place(&mk_request(id, family));
        assert!(placed.is_ok(), "Service {id}: {placed:?}");
    }
}

/// Asks for an address that no pool has left.
pub(crate) fn refuse(allocator: &mut Allocator, ids: Range<u32>) {
    for id in ids {
        assert!(black_box(allocator.place(&mk_request(id, Family::V4))).is_err());
    }
}

/// Each Service goes, and another one comes.
pub(crate) fn churn(allocator: &mut Allocator, ids: Range<u32>, family: Family) {
    let count = ids.end - ids.start;
    for id in ids {
        allocator.forget(ServiceId(id));
        place(allocator, id + count..id + count + 1, family);
    }
}

/// Services that share addresses by one key: ten ports each.
pub(crate) fn share(allocator: &mut Allocator, ids: Range<u32>) {
    share_ports(allocator, ids, |id| {
        let first = i32::try_from(id % 6_000).unwrap_or_default() * 10;
        first..first + 10
    });
}

/// Services with one key and one port, as the defaults of a chart make them: each needs an address of its own.
pub(crate) fn share_in_vain(allocator: &mut Allocator, ids: Range<u32>) {
    share_ports(allocator, ids, |_| 80..81);
}

fn share_ports(allocator: &mut Allocator, ids: Range<u32>, ports: impl Fn(u32) -> Range<i32>) {
    for id in ids {
        let mut service = Service::default();
        let key = [(ALLOW_SHARED_IP.to_owned(), "key".to_owned())];
        service.metadata.annotations = Some(BTreeMap::from(key));
        service.metadata.namespace = Some("shop".to_owned());
        let port = |number| Port {
            protocol: None,
            port: number,
        };
        service.spec.ports = ports(id).map(port).collect();
        allocator.describe(ServiceId(id), Sharing::of(&service));
        place(allocator, id..id + 1, Family::V4);
    }
}

/// What a cluster's Services hold at the start of a controller.
pub(crate) fn mk_holders(rules: &[PoolRule], count: u32, family: Family) -> Vec<Vec<IpAddr>> {
    let mut source = Allocator::new(rules);
    place(&mut source, 0..count, family);
    let held = |id| source.holding(ServiceId(id)).iter().collect();
    (0..count).map(held).collect()
}

/// A controller starts: it adopts what is held, and finds that nothing has to change.
pub(crate) fn adopt(rules: &[PoolRule], held: &[Vec<IpAddr>], family: Family) -> Allocator {
    let mut allocator = Allocator::new(rules);
    for (id, vips) in (0..).zip(held) {
        allocator.show(ServiceId(id), vips);
        allocator.adopt(ServiceId(id), "shop", None, vips);
    }
    let count = u32::try_from(held.len()).unwrap_or(u32::MAX);
    place(&mut allocator, 0..count, family);
    allocator
}
