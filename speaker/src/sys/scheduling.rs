//! What keeps a thread punctual on a busy node.

use std::io;
use std::time::Duration;

use nix::libc;

/// Processor time that the calling thread has used.
///
/// # Errors
/// If the kernel has no such clock.
pub fn thread_cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to `time`, which the kernel fills; any content of it is valid.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Ok(Duration::new(seconds, nanos))
}

/// Gives the calling thread a real-time priority (`SCHED_FIFO`), which threads that it starts do not inherit.
///
/// # Errors
/// Without `CAP_SYS_NICE`, as a rule.
pub fn set_real_time(priority: i32) -> io::Result<()> {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // The C library's own function is a stub in musl.
    // SAFETY: the pointer is to a `struct sched_param` of the kernel, which is this one integer and only read; 0 means the
    // calling thread.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps all memory of the process, now and later, from being paged out once it was used.
///
/// # Errors
/// Without `CAP_IPC_LOCK`, if the limit on locked memory is smaller than the process.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: takes flags only, and changes nothing that the program can see.
    let result =
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
