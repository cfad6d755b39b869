//! How often the allocator asks for memory, for each step of a kind: a count, so it is the same on every machine.

#![expect(clippy::disallowed_macros, reason = "a bench prints its figures")]

mod scenes;

use portolan_api::range::Family;
use portolan_controller::alloc::Allocator;

use scenes::{
    MANY, adopt, churn, mk_holders, mk_laden, mk_rule, mk_spec, place, refuse, share, share_in_vain,
};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// Says how many blocks and bytes each of `count` steps took.
fn count(name: &str, count: u32, step: impl FnOnce()) {
    let before = dhat::HeapStats::get();
    step();
    let after = dhat::HeapStats::get();
    let each = |total: u64| {
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let total = total as f64;
        total / f64::from(count)
    };
    println!(
        "{name:<36} {:>6.2} blocks {:>8.1} bytes",
        each(after.total_blocks - before.total_blocks),
        each(after.total_bytes - before.total_bytes)
    );
}

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    println!("memory asked for, each step");
    for (name, rules, family) in [
        ("place, /8", mk_rule(mk_spec(&["10.0.0.0/8"])), Family::V4),
        (
            "place, /64",
            mk_rule(mk_spec(&["2001:db8::/64"])),
            Family::V6,
        ),
        ("place, balanced, with quota", mk_laden(), Family::V4),
    ] {
        let mut allocator = Allocator::new(&rules);
        count(name, MANY, || place(&mut allocator, 0..MANY, family));
        // What is held is looked at again and again: whenever anything about the Service changes.
        let again = format!("{name}, again");
        count(&again, MANY, || place(&mut allocator, 0..MANY, family));
        let churning = format!("{name}, release and place");
        count(&churning, MANY, || churn(&mut allocator, 0..MANY, family));
    }
    let rules = mk_rule(mk_spec(&["10.0.0.0/16"]));
    let mut full = Allocator::new(&rules);
    place(&mut full, 0..65_536, Family::V4);
    count("refuse, full /16", MANY, || {
        refuse(&mut full, MANY..2 * MANY);
    });
    let mut sharing = Allocator::new(&rules);
    count("share one key, ten ports each", 6_000, || {
        share(&mut sharing, 0..6_000);
    });
    let mut sharing = Allocator::new(&rules);
    count("one key, one port", 4_000, || {
        share_in_vain(&mut sharing, 0..4_000);
    });
    let rules = mk_rule(mk_spec(&["10.0.0.0/8"]));
    let held = mk_holders(&rules, MANY, Family::V4);
    count("adopt and place", MANY, || {
        drop(adopt(&rules, &held, Family::V4));
    });
}
