//! What the allocator keeps of memory that was freed.

/// Lets the allocator give the free end of the heap back once it is 128 KiB. glibc's own limit begins there and grows with
/// the largest block that was ever freed (mallopt(3)): the pages of the first lists would stay for ever. With the limit fixed,
/// so is that of mmap(2): each block of 128 KiB or more, such as a full output queue, is a mapping of its own, and goes back
/// as soon as it is freed.
///
/// To be called before there are threads, as `mallopt` is not safe beside them ("MT-Unsafe init"). Returns whether the limit
/// is fixed: not if there are, and not if the allocator knows no such limit.
#[must_use]
pub fn return_freed_memory() -> bool {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc;
        if !is_alone() {
            return false;
        }
        // SAFETY: no other thread exists, and only this one could start one; takes two numbers, and changes nothing that
        // the program can see.
        unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        false
    }
}

/// Whether this thread is the only one of the process.
#[cfg(target_env = "gnu")]
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn beside_other_threads_the_allocator_is_left_alone() {
        // The one that runs the tests waits for this one.
        std::thread::scope(|scope| {
            let (rope, end) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || end.recv());
            assert!(!return_freed_memory());
            drop(rope);
        });
    }
}
