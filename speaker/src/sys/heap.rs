//! What the allocator keeps of memory that was freed.

/// Lets the allocator give the free end of the heap back once it is 128 KiB. glibc's own limit begins there and grows with
/// the largest block that was ever freed (mallopt(3)): the pages of the first lists would stay for ever. Returns whether
/// the allocator knows such a limit.
#[must_use]
pub fn return_freed_memory() -> bool {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc;
        // SAFETY: takes two numbers, and changes nothing that the program can see.
        unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        false
    }
}
