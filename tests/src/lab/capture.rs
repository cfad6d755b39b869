//! Frames as tcpdump prints them, one line each.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::command::{Tool, require};
use super::host::Host;
use super::process::{Process, Program};
use super::retry::retry_until;

/// A running tcpdump.
pub struct Capture {
    tcpdump: Process,
}

impl Capture {
    pub(super) async fn start(host: &Host, link: &str, filter: &str) -> Result<Self> {
        let program = Program::new(require(Tool::TCPDUMP)?)
            .named(format!("capture-{link}-{}", next_number()))
            // Time stamps as seconds, link headers, no names; every line at once; no change of user, for the
            // file and for `setpriv`.
            .args([
                "-tt",
                "-e",
                "-nn",
                "-v",
                "-l",
                "--immediate-mode",
                "-Z",
                "root",
                "-i",
                link,
            ])
            .arg(filter);
        let mut tcpdump = host.spawn(program)?;
        retry_until(Duration::from_secs(10), "tcpdump to listen", async || {
            tcpdump.ensure_running()?;
            ensure!(
                tcpdump.log()?.contains("listening on"),
                "it says {:?}",
                tcpdump.log()?
            );
            Ok(())
        })
        .await?;
        Ok(Self { tcpdump })
    }

    /// One entry per frame: `SECONDS SOURCE > DESTINATION, ethertype …: …`; continuation lines are joined.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn frames(&self) -> Result<Vec<String>> {
        Ok(join_lines(&self.tcpdump.log()?))
    }

    /// Stops recording and returns all frames.
    ///
    /// # Errors
    /// When tcpdump does not end, or the file cannot be read.
    pub async fn finish(mut self) -> Result<Vec<String>> {
        self.tcpdump.stop(Duration::from_secs(5)).await?;
        self.frames()
    }
}

/// A frame starts with its time; what is indented belongs to the frame above; the rest is tcpdump on itself.
fn join_lines(log: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in log.lines() {
        if line.starts_with(|first: char| first.is_ascii_digit()) && line.contains(" > ") {
            frames.push(line.to_owned());
        } else if let (true, Some(frame)) = (line.starts_with([' ', '\t']), frames.last_mut()) {
            frame.push(' ');
            frame.push_str(line.trim());
        }
    }
    frames
}

fn next_number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_keeps_its_continuation_lines_and_nothing_else() {
        let log = "tcpdump: listening on eth0, link-type EN10MB (Ethernet)\n\
                   1700000000.1 02:00 > 33:33, ethertype IPv6: (hlim 255)\n\
                   \t  destination link-address option\n\
                   1700000000.2 02:00 > ff:ff, ethertype ARP: Request\n\
                   2 packets captured\n";
        let frames = join_lines(log);
        assert_eq!(frames.len(), 2, "{frames:?}");
        assert!(
            frames[0].ends_with("(hlim 255) destination link-address option"),
            "{frames:?}"
        );
    }
}
