//! The neighbour that has done nothing wrong: its session must not notice what others do to the speaker.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bytes::{self, Open, kind};
use super::connection::{Connection, Heard, Message};
use super::peer::RawPeer;

/// Seconds: the shortest hold time there is gives the closest watch.
pub(super) const HOLD: u16 = 3;
/// A KEEPALIVE is due after a second at most; the rest is for a machine that runs other tests.
const LATE: Duration = Duration::from_millis(2500);

/// A session that is watched in the background.
pub struct Sentinel {
    watch: JoinHandle<Result<(Connection, Duration)>>,
    enough: CancellationToken,
}

impl Sentinel {
    pub(super) async fn post(peer: RawPeer) -> Result<Self> {
        let open = Open {
            hold: HOLD,
            ..Open::good(peer.asn)
        };
        let connection = peer.establish_with(&open).await.context("the sentinel")?;
        let enough = CancellationToken::new();
        let watch = tokio::spawn(watch(peer, connection, enough.clone()));
        Ok(Self { watch, enough })
    }

    /// Ends the watch; returns the connection and the longest time that the speaker was silent.
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
    enough: CancellationToken,
) -> Result<(Connection, Duration)> {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let mut due = last;
    while !enough.is_cancelled() {
        if Instant::now() >= due {
            connection.send(&bytes::keepalive()).await?;
            due = Instant::now() + Duration::from_millis(700);
        }
        match connection.next_within(Duration::from_millis(100)).await? {
            None => {}
            Some(Heard::Message(Message {
                kind: kind::KEEPALIVE | kind::UPDATE | kind::REFRESH,
                at,
                ..
            })) => {
                longest = longest.max(at - last);
                last = at;
            }
            Some(other) => bail!("its session broke: {other:?}"),
        }
        longest = longest.max(last.elapsed());
        ensure!(longest < LATE, "the speaker was silent for {longest:?}");
    }
    peer.left_alone(Duration::ZERO).await?;
    Ok((connection, longest))
}
