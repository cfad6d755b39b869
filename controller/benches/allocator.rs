//! Budgets of the allocator (design section 9): a million placements a second, 100 000 holders adopted in 200 ms; the same
//! for a pool of any size.

#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use portolan_api::crd::{IPAddressPoolSpec, PoolRule};
use portolan_api::range::Family;
use portolan_controller::alloc::{Allocator, Families, Holding, Request, ServiceId};

const PLACEMENTS: u32 = 10_000;
const HOLDERS: u32 = 100_000;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

fn mk_rules(addresses: &str) -> Vec<PoolRule> {
    vec![PoolRule {
        name: "pool".to_owned(),
        spec: IPAddressPoolSpec {
            addresses: vec![addresses.to_owned()],
            auto_assign: true,
            ..IPAddressPoolSpec::default()
        },
    }]
}

fn mk_request(id: u32, family: Family) -> Request<'static> {
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

fn place(allocator: &mut Allocator, ids: std::ops::Range<u32>, family: Family) {
    for id in ids {
        let placed = allocator.place(&mk_request(id, family));
        assert!(placed.is_ok(), "Service {id}: {placed:?}");
    }
}

fn placements(c: &mut Criterion) {
    let mut group = c.benchmark_group("place");
    group.throughput(Throughput::Elements(u64::from(PLACEMENTS)));
    for (name, addresses, family) in [
        ("empty /16", "10.0.0.0/16", Family::V4),
        ("empty /8", "10.0.0.0/8", Family::V4),
        ("empty /64", "2001:db8::/64", Family::V6),
    ] {
        let empty = Allocator::new(&mk_rules(addresses));
        group.bench_function(name, |b| {
            let run = |mut allocator: Allocator| {
                place(&mut allocator, 0..PLACEMENTS, family);
                allocator
            };
            b.iter_batched(|| empty.clone(), run, BatchSize::LargeInput);
        });
    }
    // Nearly full, with holes: every other address of 200 000 is free again.
    let mut holes = Allocator::new(&mk_rules("10.0.0.0/8"));
    place(&mut holes, 0..2 * HOLDERS, Family::V4);
    for id in (0..2 * HOLDERS).step_by(2) {
        holes.release(ServiceId(id));
    }
    group.bench_function("/8 full of holes", |b| {
        let run = |mut allocator: Allocator| {
            place(
                &mut allocator,
                2 * HOLDERS..2 * HOLDERS + PLACEMENTS,
                Family::V4,
            );
            allocator
        };
        b.iter_batched(|| holes.clone(), run, BatchSize::LargeInput);
    });
    // Full: every placement is refused.
    let mut full = Allocator::new(&mk_rules("10.0.0.0/16"));
    place(&mut full, 0..65_536, Family::V4);
    group.bench_function("full /16", |b| {
        b.iter(|| {
            for id in HOLDERS..HOLDERS + PLACEMENTS {
                black_box(full.place(&mk_request(id, Family::V4)).is_err());
            }
        });
    });
    group.finish();
}

fn adoption(c: &mut Criterion) {
    let mut group = c.benchmark_group("adopt 100 000 holders");
    group.sample_size(10);
    for (name, addresses, family) in [
        ("/8", "10.0.0.0/8", Family::V4),
        ("/64", "2001:db8::/64", Family::V6),
    ] {
        let mut source = Allocator::new(&mk_rules(addresses));
        place(&mut source, 0..HOLDERS, family);
        let held: Vec<Vec<IpAddr>> = (0..HOLDERS)
            .map(|id| source.holding(ServiceId(id)).iter().collect())
            .collect();
        let rules = mk_rules(addresses);
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut allocator = Allocator::new(&rules);
                for (id, vips) in (0..HOLDERS).zip(&held) {
                    allocator.show(ServiceId(id), vips);
                    allocator.adopt(ServiceId(id), "shop", vips);
                }
                place(&mut allocator, 0..HOLDERS, family);
                allocator
            });
        });
    }
    group.finish();
}

criterion_group!(benches, placements, adoption);
criterion_main!(benches);
