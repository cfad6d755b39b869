//! How long the machine itself stands still: the host of a virtual machine gives its CPUs to somebody else whenever it likes,
//! and no priority within helps against that.
//!
//! A thread on each CPU sleeps and wakes, before everybody else in the queue. What it wakes late, all others do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use portolan_tests::lab::run;

/// Between two looks at the clock.
const BEAT: Duration = Duration::from_millis(2);
/// Before BFD (20), behind the kernel's interrupt threads (50).
const PRIORITY: &str = "40";

/// The calling thread, where a thread is asked for.
const SELF: Pid = Pid::from_raw(0);

/// Threads that watch. They end when this is dropped.
pub(super) struct Stalls {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Duration>>,
}

impl Stalls {
    pub(super) fn watch() -> Result<Self> {
        let mut stalls = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let allowed = sched_getaffinity(SELF)?;
        for cpu in (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true)) {
            stalls.watch_cpu(cpu)?;
        }
        Ok(stalls)
    }

    fn watch_cpu(&mut self, cpu: usize) -> Result<()> {
        let mut only = CpuSet::new();
        only.set(cpu)?;
        let stop = Arc::clone(&self.stop);
        let (tell, told) = mpsc::channel();
        let thread = Builder::new().name("stalls".into()).spawn(move || {
            let pinned = sched_setaffinity(SELF, &only).map(|()| gettid());
            match tell.send(pinned) {
                Ok(()) => longest_stall(&stop),
                Err(mpsc::SendError(_)) => Duration::ZERO, // nobody watches
            }
        });
        self.threads.push(thread.context("a thread")?);
        let thread = told.recv().context("the thread ended")??.to_string();
        run(&["chrt", "--fifo", "--pid", PRIORITY, &thread]).map(drop)
    }

    /// The longest stall of any CPU so far.
    pub(super) fn longest(mut self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads).into_iter();
        let of_each = threads.map(|thread| thread.join().map_err(|_| anyhow!("it panicked")));
        let of_each = of_each.collect::<Result<Vec<_>>>()?;
        of_each.into_iter().max().context("no CPU was watched")
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn longest_stall(stop: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        std::thread::sleep(BEAT);
        longest = longest.max(begin.elapsed().saturating_sub(BEAT));
    }
    longest
}
