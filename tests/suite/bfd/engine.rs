//! Our engine on a host: `speaker/examples/bfd.rs`, told by a file and by signals, and what it prints.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portolan_tests::lab::{Host, Process, Program, retry_until};
use portolan_tests::world::{SOON, binary};

/// Our engine on a host, following a file.
pub(super) struct Engine {
    pub(super) process: Process,
    file: PathBuf,
}

impl Engine {
    pub(super) async fn start(host: &Host, sessions: &[String]) -> Result<Self> {
        Self::start_as(host, "bfd", &[], sessions).await
    }

    /// `wrap` is a command that runs the engine, for example `setpriv`.
    pub(super) async fn start_as(
        host: &Host,
        name: &str,
        wrap: &[&str],
        sessions: &[String],
    ) -> Result<Self> {
        let file = host.directory().join(format!("{name}.sessions"));
        std::fs::write(&file, sessions.join("\n"))?;
        let example =
            binary("examples/bfd").context("cargo build -p portolan-speaker --examples")?;
        let program = match wrap.split_first() {
            Some((first, rest)) => Program::new(first).args(rest).arg(example),
            None => Program::new(example),
        };
        let process = host.spawn(program.named(name).arg(&file))?;
        let engine = Self { process, file };
        // Before that a signal would end it.
        retry_until(SOON, "the engine to read its file", async || {
            let lines = engine.lines()?;
            ensure!(lines.iter().any(|(_, words)| words == "read"), "{lines:?}");
            Ok(())
        })
        .await?;
        Ok(engine)
    }

    pub(super) fn follow(&self, sessions: &[String]) -> Result<()> {
        std::fs::write(&self.file, sessions.join("\n"))?;
        self.process.signal(Signal::SIGHUP)
    }

    /// What it printed, with the time.
    pub(super) fn lines(&self) -> Result<Vec<(f64, String)>> {
        let log = self.process.log()?;
        let timed = log.lines().filter_map(|line| {
            let (time, words) = line.split_once(' ')?;
            Some((time.parse().ok()?, words.to_owned()))
        });
        Ok(timed.collect())
    }

    /// Changes of one session: time, and state with what follows.
    fn changes(&self, peer: IpAddr) -> Result<Vec<(f64, String)>> {
        let prefix = format!("{peer} ");
        let lines = self.lines()?.into_iter();
        let of_peer = lines.filter_map(|(at, words)| {
            let rest = words.strip_prefix(&prefix)?.to_owned();
            Some((at, rest))
        });
        Ok(of_peer.collect())
    }

    /// Waits until the last change of a session begins and goes on like this.
    pub(super) async fn wait(&self, peer: IpAddr, words: &[&str]) -> Result<f64> {
        let what = format!("the session with {peer} to be {words:?}");
        retry_until(SOON, &what, async || {
            let changes = self.changes(peer)?;
            let (at, last) = changes.last().context("nothing happened")?;
            let holds = words.iter().all(|word| last.contains(word)) && last.starts_with(words[0]);
            ensure!(holds, "it is {changes:?}");
            Ok(*at)
        })
        .await
    }

    /// The status lines of all sessions, asked for now.
    pub(super) async fn status(&self) -> Result<Vec<String>> {
        let shown = |lines: &[(f64, String)]| lines.iter().filter(|it| it.1 == "shown").count();
        let before = shown(&self.lines()?);
        self.process.signal(Signal::SIGUSR1)?;
        let lines = retry_until(SOON, "the status", async || {
            let lines = self.lines()?;
            ensure!(shown(&lines) > before, "not yet");
            Ok(lines)
        })
        .await?;
        let last = lines[..lines.len() - 1].iter().rev();
        let last = last.take_while(|(_, words)| words != "shown");
        Ok(last.map(|(_, words)| words.clone()).collect())
    }

    /// The status line of a session, once it holds all these words.
    pub(super) async fn wait_for_status(&self, peer: IpAddr, words: &[&str]) -> Result<()> {
        let prefix = format!("status {peer} ");
        retry_until(SOON, &format!("{peer} to be {words:?}"), async || {
            let status = self.status().await?;
            let line = status.iter().find(|line| line.starts_with(&prefix));
            let line = line.context("no such session")?;
            ensure!(words.iter().all(|word| line.contains(word)), "it is {line}");
            Ok(())
        })
        .await
    }

    /// A number of its metrics, by words of its line.
    pub(super) async fn number(&self, words: &str) -> Result<u64> {
        let status = self.status().await?;
        let line = status.iter().find(|line| line.contains(words));
        let line = line.context("no such number")?;
        Ok(line.split(' ').next_back().unwrap_or_default().parse()?)
    }
}
