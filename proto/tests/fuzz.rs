//! The fuzz targets for a few seconds, on stable: the committed corpus, random bytes, and mutations of the corpus. What
//! libFuzzer has ever found stays found.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an entry point panics where a promise is broken"
)]

#[path = "../fuzz/entry/mod.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzz targets, which are crates of their own"
)]
mod entry;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// The committed corpus of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{target}: {error}"));
    let mut inputs: Vec<Vec<u8>> = entries
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    inputs.sort_unstable();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    inputs
}

/// A change of one place, as a fuzzer makes it.
#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Double(Index, u8),
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let octet = prop_oneof![Just(0_u8), Just(0xff), Just(1), any::<u8>()];
    prop_oneof![
        4 => (any::<Index>(), octet).prop_map(|(at, octet)| Mutation::Set(at, octet)),
        1 => (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => (any::<Index>(), 1_u8..16).prop_map(|(at, count)| Mutation::Remove(at, count)),
        1 => (any::<Index>(), 1_u8..64).prop_map(|(at, count)| Mutation::Double(at, count)),
    ]
}

fn mutate(input: &mut Vec<u8>, mutation: &Mutation) {
    let size = input.len();
    let part = |at: &Index, count: u8| {
        let begin = at.index(size + 1);
        begin..size.min(begin + usize::from(count))
    };
    match mutation {
        Mutation::Set(at, octet) if size > 0 => input[at.index(size)] = *octet,
        Mutation::Set(..) => {}
        Mutation::Insert(at, bytes) => drop(input.splice(part(at, 0), bytes.iter().copied())),
        Mutation::Remove(at, count) => drop(input.drain(part(at, *count))),
        Mutation::Double(at, count) => {
            let range = part(at, *count);
            let copy = input[range.clone()].to_vec();
            drop(input.splice(range.start..range.start, copy));
        }
    }
}

#[test]
fn nothing_of_the_corpus_breaks_a_promise() {
    for (target, run) in entry::ALL {
        for input in corpus(target) {
            run(&input);
        }
    }
}

#[test]
fn the_corpus_stays_small() {
    let size = |(target, _): &(&str, fn(&[u8]))| corpus(target).iter().map(Vec::len).sum::<usize>();
    let all: usize = entry::ALL.iter().map(size).sum();
    assert!(all < 200_000, "{all} bytes of corpus");
}

#[test]
fn mutations_of_the_corpus_break_no_promise() {
    for (target, run) in entry::ALL {
        let inputs = corpus(target);
        let mutations = proptest::collection::vec(any_mutation(), 1..12);
        let config = ProptestConfig {
            cases: 2000,
            ..ProptestConfig::default()
        };
        proptest!(config, |(which: Index, mutations in mutations)| {
            let mut input = which.get(&inputs).clone();
            for mutation in &mutations {
                mutate(&mut input, mutation);
            }
            run(&input);
        });
    }
}

#[test]
fn random_bytes_break_no_promise() {
    for (_, run) in entry::ALL {
        let config = ProptestConfig {
            cases: 500,
            ..ProptestConfig::default()
        };
        proptest!(config, |(input in proptest::collection::vec(any::<u8>(), 0..300))| run(&input));
    }
}
