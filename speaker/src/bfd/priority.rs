//! Before everybody else in the queue for a CPU, and never waiting for memory to come back from disk.

use std::io;

use prometheus_client::metrics::gauge::Gauge;

use crate::sys;

/// Real-time priority: before all ordinary threads, behind the kernel's interrupt threads (50).
const PRIORITY: i32 = 20;
/// `CAP_IPC_LOCK` of linux/capability.h.
const CAP_IPC_LOCK: u32 = 14;

/// Asks for what the calling thread needs, and says what it got.
pub(super) fn claim(real_time: &Gauge) {
    let scheduled = sys::set_real_time(PRIORITY);
    let locked = lock_memory();
    real_time.set(i64::from(scheduled.is_ok()));
    match scheduled {
        Ok(()) => {
            let locked = locked.is_ok();
            tracing::info!(
                priority = PRIORITY,
                memory_locked = locked,
                "BFD runs with real-time priority"
            );
        }
        Err(error) => tracing::warn!(
            %error,
            "BFD runs without real-time priority (CAP_SYS_NICE): on a busy node keep its intervals at 100 ms or more"
        ),
    }
}

/// Without the capability the limit on locked memory would make later allocations fail, so nothing is locked then.
fn lock_memory() -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    if has_capability(&status, CAP_IPC_LOCK) {
        sys::lock_memory()
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Whether `/proc/self/status` shows an effective capability.
fn has_capability(status: &str, number: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_read_from_the_effective_set() {
        let status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000004000\n";
        assert!(has_capability(status, CAP_IPC_LOCK));
        assert!(!has_capability(status, 13));
        assert!(!has_capability("CapEff:\tnonsense", 0));
        assert!(!has_capability("", 0));
    }
}
