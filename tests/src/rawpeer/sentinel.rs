//! The neighbour that has done nothing wrong: its session must not notice what others do to the speaker.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bytes::{self, kind};
use super::connection::{Connection, Heard, Message};
use super::peer::RawPeer;

/// How the speaker knows it: a KEEPALIVE every second gives a close watch.
pub(super) const PACE: &str = "keepaliveTime: 1s";
/// A second and a half, beside the time that the machine takes from either side.
const LATE: Duration = Duration::from_millis(1500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A session that is watched in the background.
pub struct Sentinel {
    watch: JoinHandle<Result<(Connection, Duration)>>,
    enough: CancellationToken,
}

impl Sentinel {
    /// `speaker` is the process that is watched.
    pub(super) async fn post(peer: RawPeer, speaker: u32) -> Result<Self> {
        let connection = peer.establish().await.context("the sentinel")?;
        let enough = CancellationToken::new();
        let watch = tokio::spawn(watch(peer, connection, speaker, enough.clone()));
        Ok(Self { watch, enough })
    }

    /// Ends the watch; returns the connection and the longest time that the speaker was silent while it
    /// could have spoken.
    ///
    /// # Errors
    /// When the session was not Established all along with a KEEPALIVE every second.
    pub async fn relieve(self) -> Result<(Connection, Duration)> {
        self.enough.cancel();
        self.watch
            .await
            .context("the sentinel's task")?
            .context("the sentinel")
    }
}

/// The peer is kept with its listener, so that another connection of the speaker would be seen.
async fn watch(
    peer: RawPeer,
    mut connection: Connection,
    speaker: u32,
    enough: CancellationToken,
) -> Result<(Connection, Duration)> {
    let mut due = Instant::now();
    let mut look = due;
    let (mut last, mut longest) = (due, Duration::ZERO);
    let (mut stolen, mut late) = (taken_away(speaker)?, Duration::ZERO);
    while !enough.is_cancelled() {
        if Instant::now() >= due {
            connection.send(&bytes::keepalive()).await?;
            due = Instant::now() + Duration::from_secs(1);
        }
        let heard = connection.next_within(LOOK).await?;
        // What we were late ourselves is not the speaker's fault, nor is what others took from it.
        late += look.elapsed().saturating_sub(LOOK);
        look = Instant::now();
        let excuse = taken_away(speaker)?.saturating_sub(stolen) + late;
        let silent = last.elapsed().saturating_sub(excuse);
        longest = longest.max(silent);
        ensure!(longest < LATE, "the speaker was silent for {longest:?}");
        match heard {
            None => {}
            Some(Heard::Message(Message {
                kind: kind::KEEPALIVE | kind::UPDATE | kind::REFRESH,
                at,
                ..
            })) => {
                (last, stolen, late) = (at, taken_away(speaker)?, Duration::ZERO);
            }
            Some(other) => bail!("its session broke: {other:?}"),
        }
    }
    peer.left_alone(Duration::ZERO).await?;
    Ok((connection, longest))
}

/// How long a process was ready to run, and others ran (proc(5), schedstat).
fn taken_away(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let waited = text.split(' ').nth(1).context("half a line of proc(5)")?;
    Ok(Duration::from_nanos(
        waited.parse().context("a line of proc(5)")?,
    ))
}
