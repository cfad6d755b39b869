//! Waiting for the outside world: try again until it is as it should be, or say what it was like at last.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::process::Ended;

/// Pause between two attempts: short against the protocol timers that scenarios wait for.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `attempt` until it succeeds, at most for `limit`. Write the value that was seen into the error of the
/// attempt (`ensure!(hops.len() == 2, "next hops {hops:?}")`): the last one becomes the message of the failure. A program that [ended](Ended) will not come back: that one fails at once.
///
/// # Errors
/// The last error of `attempt`, with `what` was waited for and how long.
pub async fn retry_until<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let last = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if last.is::<Ended>() || Instant::now() >= deadline {
            return Err(last).with_context(|| format!("waited up to {limit:?} for {what}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[tokio::test]
    async fn the_failure_shows_the_last_value() {
        let mut count = 0;
        let error = retry_until(Duration::from_millis(120), "a million", async || {
            count += 1;
            ensure!(count == 1_000_000, "count is {count}");
            Ok(())
        })
        .await
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("for a million") && text.contains(&format!("count is {count}")),
            "{text}"
        );
        assert!(count > 1, "tried again");
    }
}
