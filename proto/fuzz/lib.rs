//! What libFuzzer runs: the entry points of [`entry`], under an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

pub mod entry;

/// Counts what is asked for; libFuzzer runs one input at a time.
pub struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs an entry; what it asks of the allocator, in sum, must be a small multiple of what came from the wire;
/// the checks around it ask for most of that.
pub fn bounded(entry: fn(&[u8]), data: &[u8]) {
    let before = ASKED.load(Ordering::Relaxed);
    entry(data);
    let asked = ASKED.load(Ordering::Relaxed) - before;
    assert!(asked <= 64 * data.len() + 16_384, "{asked} bytes allocated for {} from the wire", data.len());
}

/// The `main` of a target whose allocations are bounded by its input.
#[macro_export]
macro_rules! bounded {
    ($entry:path) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::bounded($entry, data));
    };
}

/// The `main` of a target that runs many steps.
#[macro_export]
macro_rules! free {
    ($entry:path) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $entry(data));
    };
}
