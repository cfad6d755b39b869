//! Rows: a neighbour's configuration and what it does. All rows of a table run at the same time against one speaker.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, join_all};
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::peer::RawPeer;
use super::stage::{PEER_AS, Stage};

/// Longest time for a row: what takes longer is a hang.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a row is tried again on a machine that is busy with other things.
const CHANCES: usize = 3;

/// What a row does.
pub type Script = Box<dyn Fn(RawPeer) -> LocalBoxFuture<'static, Result<()>>>;

/// How the speaker knows a peer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// AS of the peer.
    pub asn: u32,
    /// Our AS towards it, if not that of all.
    pub ours: Option<u32>,
    /// Hold time that the speaker proposes, in seconds.
    pub hold: u16,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Further lines of the specification.
    pub more: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            asn: PEER_AS,
            ours: None,
            hold: 9,
            v6: false,
            more: "",
        }
    }
}

impl Settings {
    /// With one more line of the specification.
    #[must_use]
    pub fn with(more: &'static str) -> Self {
        Self {
            more,
            ..Self::default()
        }
    }

    pub(super) fn yaml(&self, name: &str, address: IpAddr, ours: u32) -> String {
        let Self {
            asn, hold, more, ..
        } = self;
        let ours = self.ours.unwrap_or(ours);
        let peer = if more.contains("dynamicASN") {
            String::new()
        } else {
            format!("  peerASN: {asn}\n")
        };
        format!(
            "
apiVersion: portolan.dev/v1alpha1
kind: BGPPeer
metadata: {{ name: {name} }}
spec:
  myASN: {ours}
{peer}  peerAddress: '{address}'
  holdTime: {hold}s
  {more}
"
        )
    }
}

/// One case.
pub struct Row {
    name: String,
    gap: Option<&'static str>,
    settings: Settings,
    script: Script,
}

impl Row {
    /// A row that waits for the speaker's connection and goes on from there.
    pub fn on_connection<F, T>(name: impl Into<String>, settings: Settings, script: F) -> Self
    where
        F: FnOnce(RawPeer, Connection) -> T + Clone + 'static,
        T: Future<Output = Result<()>> + 'static,
    {
        Self::new(name, settings, |peer| async move {
            let connection = peer.accept().await?;
            script(peer, connection).await
        })
    }

    /// A row that begins with an Established session.
    pub fn established<F, T>(name: impl Into<String>, script: F) -> Self
    where
        F: FnOnce(RawPeer, Connection) -> T + Clone + 'static,
        T: Future<Output = Result<()>> + 'static,
    {
        Self::new(name, Settings::default(), |peer| async move {
            let connection = peer.establish().await?;
            script(peer, connection).await
        })
    }

    /// A row that does everything itself.
    pub fn new<F, T>(name: impl Into<String>, settings: Settings, script: F) -> Self
    where
        F: FnOnce(RawPeer) -> T + Clone + 'static,
        T: Future<Output = Result<()>> + 'static,
    {
        let script: Script = Box::new(move |peer| (script.clone())(peer).boxed_local());
        Self {
            name: name.into(),
            gap: None,
            settings,
            script,
        }
    }

    /// The speaker is known not to do this yet. The row has to fail: when it passes, this mark has to go.
    #[must_use]
    pub fn gap(self, why: &'static str) -> Self {
        Self {
            gap: Some(why),
            ..self
        }
    }
}

/// A scenario that the speaker is known not to master yet: it has to fail, as a [`Row::gap`] has to.
///
/// # Errors
/// When it passes.
pub fn known_gap(why: &str, result: Result<()>) -> Result<()> {
    match result {
        Ok(()) => bail!("it passes: its mark as a known gap has to go ({why})"),
        Err(error) => {
            println!("gap: {why} ({error:#})");
            Ok(())
        }
    }
}

/// How a row went.
struct Outcome {
    name: String,
    gap: Option<&'static str>,
    result: Result<()>,
    took: Duration,
}

/// Rows that share a speaker.
pub struct Table {
    name: &'static str,
    rows: Vec<Row>,
}

impl Table {
    /// A table. `PORTOLAN_ROWS` picks the rows whose name contains it.
    #[must_use]
    pub fn new(name: &'static str, rows: Vec<Row>) -> Self {
        let wanted = std::env::var("PORTOLAN_ROWS").unwrap_or_default();
        let rows = rows
            .into_iter()
            .filter(|row| row.name.contains(&wanted))
            .collect();
        Self { name, rows }
    }

    /// Runs all rows at the same time under the eyes of a sentinel.
    ///
    /// # Errors
    /// Names every row that failed, or passed in spite of its mark.
    pub async fn run(self) -> Result<()> {
        let mut stage = Stage::set().await?;
        self.run_on(&mut stage).await
    }

    /// As [`Self::run`], on a stage with more on it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_on(self, stage: &mut Stage) -> Result<()> {
        let begin = Instant::now();
        let sentinel = stage.sentinel().await?;
        let settings: Vec<Settings> = self.rows.iter().map(|row| row.settings.clone()).collect();
        let peers = stage.peers(&settings).await?;
        let (late, running) = (
            tokio::spawn(lateness()),
            self.rows.iter().zip(peers).map(|(row, peer)| row.run(peer)),
        );
        let mut outcomes = join_all(running).await;
        late.abort();
        let busy = BUSY.load(Ordering::Relaxed);
        // Rows measure time. On a machine that had none to give they get another chance, one by one.
        for (row, outcome) in self.rows.iter().zip(&mut outcomes) {
            let failed = outcome.result.is_err() && row.gap.is_none();
            for _ in 0..if failed && busy { CHANCES } else { 0 } {
                println!("again    {}: {:#}", row.name, outcome.words());
                let peer = stage.peers(slice::from_ref(&row.settings)).await?.pop();
                *outcome = row.run(peer.context("no peer")?).await;
                if outcome.result.is_ok() {
                    break;
                }
            }
        }
        let (_, silent) = sentinel.relieve().await?;
        for speaker in &mut stage.world.speakers {
            speaker.ensure_running()?;
        }
        report(self.name, &outcomes, begin.elapsed(), silent)
    }
}

impl Row {
    async fn run(&self, peer: RawPeer) -> Outcome {
        let began = Instant::now();
        let script = AssertUnwindSafe((self.script)(peer)).catch_unwind();
        let result = match timeout(LIMIT, script).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(anyhow!("the row panicked")),
            Err(_) => Err(anyhow!("it hangs")),
        };
        Outcome {
            name: self.name.clone(),
            gap: self.gap,
            result,
            took: began.elapsed(),
        }
    }
}

impl Outcome {
    fn words(&self) -> String {
        self.result
            .as_ref()
            .err()
            .map_or_else(String::new, |error| format!("{error:#}"))
    }
}

/// Whether this machine once took longer than a moment to wake us, since the program began.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Watches for that.
async fn lateness() {
    const NAP: Duration = Duration::from_millis(20);
    loop {
        let begin = Instant::now();
        tokio::time::sleep(NAP).await;
        if begin.elapsed() > 4 * NAP {
            BUSY.store(true, Ordering::Relaxed);
        }
    }
}

fn report(table: &str, outcomes: &[Outcome], took: Duration, silent: Duration) -> Result<()> {
    let (mut text, mut wrong) = (String::new(), 0_usize);
    for Outcome {
        name,
        gap,
        result,
        took,
    } in outcomes
    {
        let line = match (result, gap) {
            (Ok(()), None) => continue,
            (Ok(()), Some(why)) => {
                format!("PASSES   {name}: its mark as a known gap has to go ({why})")
            }
            (Err(error), None) => format!("FAILED   {name}: {error:#}"),
            (Err(error), Some(why)) => format!("gap      {name}: {why} ({error:#})"),
        };
        wrong += usize::from(result.is_ok() == gap.is_some());
        writeln!(text, "{line} [{:.1} s]", took.as_secs_f32())?;
    }
    let slowest = outcomes
        .iter()
        .max_by_key(|outcome| outcome.took)
        .map_or("", |outcome| &*outcome.name);
    let rows = outcomes.len();
    println!(
        "{text}{table}: {rows} rows in {:.1} s (slowest: {slowest}); longest silence towards the sentinel {silent:.2?}",
        took.as_secs_f32()
    );
    if wrong > 0 {
        bail!("{wrong} of {rows} rows of table {table} are not as they should be:\n{text}");
    }
    Ok(())
}
