//! Placement in a large cluster: 5000 VIPs on 100 nodes, placed one by one, kept, and moved when a node dies.

#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use portolan_controller::alloc::{Holding, ServiceId};
use portolan_controller::place::{Board, Candidate, Wish, place};

const VIPS: u32 = 5000;
const NODES: usize = 100;

fn mk_names() -> Vec<Arc<str>> {
    let name = |number| Arc::from(format!("node-{number}"));
    (0..NODES).map(name).collect()
}

fn mk_candidates(names: &[Arc<str>]) -> Vec<Candidate<'_>> {
    let candidate = |name| Candidate {
        name,
        zone: None,
        score: 0,
        draining: false,
        unreported: false,
        unseen: false,
    };
    names.iter().map(candidate).collect()
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Places every group once.
fn pass(board: &mut Board, candidates: &[Candidate<'_>], now: Instant) {
    for id in 0..VIPS {
        let service = ServiceId(id);
        let members = BTreeMap::from([(service, Holding::default())]);
        let (seat, _) = board.gather(service, &members);
        let key = format!("shop/web-{id}");
        board.place(seat, 0, now, |current, load| {
            let wish = Wish {
                key: &key,
                current,
                acting: None,
                review: false,
            };
            place(wish, candidates, load)
        });
    }
}

fn mk_board(candidates: &[Candidate<'_>]) -> Board {
    let mut board = Board::default();
    pass(&mut board, candidates, now());
    board
}

fn placements(c: &mut Criterion) {
    let names = mk_names();
    let all = mk_candidates(&names);
    let survivors = all.get(1..).unwrap_or_default();
    let mut group = c.benchmark_group("5000 VIPs on 100 nodes");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(VIPS)));
    group.bench_function("all are new", |b| b.iter(|| mk_board(&all)));
    for (name, candidates) in [("nothing changed", &*all), ("a node died", survivors)] {
        group.bench_function(name, |b| {
            let step = |mut board: Board| {
                pass(&mut board, candidates, now());
                board
            };
            b.iter_batched(|| mk_board(&all), step, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, placements);
criterion_main!(benches);
