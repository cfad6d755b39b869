//! A runtime on a thread of its own, for what must not wait until the core has looked at five thousand Services: the
//! takeover machine, the messages between speakers, the links, and what carries BFD's word to them. Nor must it wait for
//! programs of others on a busy node, so it has real-time priority where that is permitted: behind BFD and the threads that
//! answer, which it depends on.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::sys;

/// Before all ordinary threads, behind those that answer (10) and BFD (20).
const PRIORITY: i32 = 5;

/// The thread. It ends with this value; what runs on it is dropped then.
#[derive(Debug)]
pub(crate) struct Prompt {
    handle: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Prompt {
    /// Starts the thread, with nothing to do.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("takeover".into())
            .spawn(move || run(&runtime, &stopped))?;
        Ok(Self {
            handle,
            stop,
            thread: Some(thread),
        })
    }

    /// Where to run things.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

fn run(runtime: &Runtime, stopped: &CancellationToken) {
    if let Err(error) = sys::set_real_time(PRIORITY) {
        tracing::warn!(
            %error,
            "takeovers run without real-time priority (CAP_SYS_NICE): on a busy node they take longer"
        );
    }
    runtime.block_on(stopped.cancelled());
}

impl Drop for Prompt {
    fn drop(&mut self) {
        self.stop.cancel();
        let panicked = self.thread.take().is_some_and(|it| it.join().is_err());
        if panicked {
            tracing::error!("takeover thread panicked");
        }
    }
}
