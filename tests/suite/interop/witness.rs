//! A router's kernel, that notes every route which comes and goes: `ip monitor route`. What was gone for a millisecond
//! is in its book as well.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use portolan_tests::lab::{Host, Process, Program, retry_until};
use portolan_tests::world::SOON;

/// A route that is nobody's: the first entry of the book shows that it is being written.
const FIRST: &str = "198.51.100.1";

/// A running `ip monitor route`.
pub(super) struct Witness {
    monitor: Process,
}

impl Witness {
    pub(super) async fn start(host: &Host) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let monitor = Program::new("ip")
            .named(format!("witness-{number}")) // a book of its own
            .args(["monitor", "route"]);
        let witness = Self {
            monitor: host.spawn(monitor)?,
        };
        retry_until(SOON, "the witness to write", async || {
            host.exec(&["ip", "route", "replace", FIRST, "dev", "lo"])?;
            host.exec(&["ip", "route", "del", FIRST, "dev", "lo"])?;
            ensure!(witness.monitor.log()?.contains(FIRST), "nothing yet");
            Ok(())
        })
        .await?;
        Ok(witness)
    }

    /// Entries about a route to this address, in order; one of several next hops has a line for each of them below it.
    pub(super) fn entries(&self, vip: IpAddr) -> Result<Vec<String>> {
        let book = self.monitor.log()?;
        let vip = vip.to_string();
        let of_vip = book.lines().filter(|line| {
            let mut words = line.split_whitespace();
            words.any(|word| word == vip) && !line.starts_with(char::is_whitespace)
        });
        Ok(of_vip.map(str::to_owned).collect())
    }

    /// Those that say that the route went.
    pub(super) fn gone(&self, vip: IpAddr) -> Result<Vec<String>> {
        let mut entries = self.entries(vip)?;
        entries.retain(|entry| entry.starts_with("Deleted"));
        Ok(entries)
    }
}
