//! Budgets of the allocator (design section 9): a million placements a second, 100 000 holders adopted in 200 ms; the same
//! for a pool of any size and any number of holders.

#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

mod scenes;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use portolan_api::range::Family;
use portolan_controller::alloc::{Allocator, ServiceId};

use scenes::{
    MANY, adopt, churn, mk_holders, mk_laden, mk_rule, mk_spec, place, refuse, share, share_in_vain,
};

const PLACEMENTS: u32 = 10_000;

/// Times steps on a fresh copy of an allocator.
fn timed(
    c: &mut Criterion,
    group: &str,
    name: &str,
    count: u32,
    start: &Allocator,
    step: impl Fn(&mut Allocator),
) {
    let mut group = c.benchmark_group(group);
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(count)));
    group.bench_function(name, |b| {
        let run = |mut allocator: Allocator| {
            step(&mut allocator);
            allocator
        };
        b.iter_batched(|| start.clone(), run, BatchSize::LargeInput);
    });
    group.finish();
}

fn placements(c: &mut Criterion) {
    for (name, addresses, family) in [
        ("into an empty /16", "10.0.0.0/16", Family::V4),
        ("into an empty /8", "10.0.0.0/8", Family::V4),
        ("into an empty /64", "2001:db8::/64", Family::V6),
    ] {
        let empty = Allocator::new(&mk_rule(mk_spec(&[addresses])));
        let step = |a: &mut Allocator| place(a, 0..PLACEMENTS, family);
        timed(c, "place", name, PLACEMENTS, &empty, step);
    }
    for held in [1, 1_000, MANY] {
        let mut allocator = Allocator::new(&mk_rule(mk_spec(&["10.0.0.0/8"])));
        place(&mut allocator, 0..held, Family::V4);
        let name = format!("beside {held} holders");
        let step = |a: &mut Allocator| place(a, held..held + PLACEMENTS, Family::V4);
        timed(c, "place", &name, PLACEMENTS, &allocator, step);
    }
    let laden = Allocator::new(&mk_laden());
    let step = |a: &mut Allocator| place(a, 0..PLACEMENTS, Family::V4);
    timed(c, "place", "balanced, with quota", PLACEMENTS, &laden, step);
    // Nearly full, with holes: every other address of 200 000 is free again.
    let mut holes = Allocator::new(&mk_rule(mk_spec(&["10.0.0.0/8"])));
    place(&mut holes, 0..2 * MANY, Family::V4);
    for id in (0..2 * MANY).step_by(2) {
        holes.release(ServiceId(id));
    }
    let step = |a: &mut Allocator| place(a, 2 * MANY..2 * MANY + PLACEMENTS, Family::V4);
    timed(
        c,
        "place",
        "into a /8 full of holes",
        PLACEMENTS,
        &holes,
        step,
    );
    let empty = Allocator::new(&mk_rule(mk_spec(&["10.0.0.0/8"])));
    let step = |a: &mut Allocator| share(a, 0..PLACEMENTS);
    timed(c, "place", "sharing one key", PLACEMENTS, &empty, step);
    for count in [400, 4_000] {
        let name = format!("one key, one port, {count} Services");
        let step = |a: &mut Allocator| share_in_vain(a, 0..count);
        timed(c, "place", &name, count, &empty, step);
    }
    let mut full = Allocator::new(&mk_rule(mk_spec(&["10.0.0.0/16"])));
    place(&mut full, 0..65_536, Family::V4);
    let step = |a: &mut Allocator| refuse(a, MANY..MANY + PLACEMENTS);
    timed(c, "refuse", "full /16", PLACEMENTS, &full, step);
}

fn churning(c: &mut Criterion) {
    for (name, addresses, family) in [
        ("in a /8", "10.0.0.0/8", Family::V4),
        ("in a /64", "2001:db8::/64", Family::V6),
        ("in a full /18", "10.0.0.0/18", Family::V4),
    ] {
        let mut allocator = Allocator::new(&mk_rule(mk_spec(&[addresses])));
        place(&mut allocator, 0..16_384, family);
        let step = |a: &mut Allocator| churn(a, 0..16_384, family);
        timed(c, "release and place", name, 16_384, &allocator, step);
    }
}

fn adoption(c: &mut Criterion) {
    for count in [1, 1_000, MANY] {
        for (name, addresses, family) in [
            ("/8", "10.0.0.0/8", Family::V4),
            ("/64", "2001:db8::/64", Family::V6),
        ] {
            let rules = mk_rule(mk_spec(&[addresses]));
            let held = mk_holders(&rules, count, family);
            let mut group = c.benchmark_group("adopt");
            group.sample_size(10);
            group.bench_function(format!("{count} holders in a {name}"), |b| {
                b.iter(|| adopt(&rules, &held, family));
            });
            group.finish();
        }
    }
}

criterion_group!(benches, placements, churning, adoption);
criterion_main!(benches);
