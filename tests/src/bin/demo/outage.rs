//! A power loss as clients see it: two steady streams of requests, one by way of the router (BGP), one on the LAN
//! (layer 2), and what became of them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use portolan_tests::lab::{Prober, Report};

use crate::stage::Stage;

/// Between two requests.
const INTERVAL: Duration = Duration::from_millis(20);
/// A later answer counts as none.
const LIMIT: Duration = Duration::from_secs(1);
/// Requests before the power goes, to show that all was well.
const CALM: Duration = Duration::from_millis(500);
/// Without a failure for so long, requests under way included, it is over.
const QUIET: Duration = Duration::from_secs(3);

/// Requests that go on while a node is without power.
pub(crate) struct Outage {
    node: String,
    routed: Stream,
    local: Stream,
}

struct Stream {
    prober: Prober,
    cut_at: Duration,
}

impl Outage {
    /// Starts to ask both addresses, then cuts the power of `node`.
    pub(crate) async fn begin(
        stage: &mut Stage,
        node: &str,
        routed: IpAddr,
        local: IpAddr,
    ) -> Result<Self> {
        let ask = |address| SocketAddr::new(address, 80);
        let routed = stage.client()?.probe(ask(routed), INTERVAL, LIMIT)?;
        let local = stage.lan_client().probe(ask(local), INTERVAL, LIMIT)?;
        tokio::time::sleep(CALM).await;
        let mark = |prober: Prober| Stream {
            cut_at: prober.elapsed(),
            prober,
        };
        let (routed, local) = (mark(routed), mark(local));
        stage.cut(node).await?;
        Ok(Self {
            node: node.to_owned(),
            routed,
            local,
        })
    }

    /// The node without power.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Whether both clients have been served without a failure for a while.
    pub(crate) fn is_over(&self) -> bool {
        self.routed.is_quiet() && self.local.is_quiet()
    }

    /// How long clients noticed, so far or in the end.
    pub(crate) fn figures(&self) -> String {
        format!(
            "client behind the router (BGP):  {}\nclient on the LAN (layer 2):     {}",
            self.routed.noticed(),
            self.local.noticed()
        )
    }
}

impl Stream {
    fn is_quiet(&self) -> bool {
        let report = self.prober.report();
        let last = report.failures().last().map_or(self.cut_at, |it| it.at);
        last.max(self.cut_at) + QUIET < self.prober.elapsed()
    }

    fn noticed(&self) -> String {
        noticed(&self.prober.report(), self.cut_at)
    }
}

/// By ECMP only the requests that meet the dead node fail, so the longest gap alone would flatter: the time until the last
/// failure stands beside it.
fn noticed(report: &Report, cut_at: Duration) -> String {
    let failures = report.failures().filter(|it| it.at + LIMIT >= cut_at);
    let Some(last) = failures.map(|it| it.at).max() else {
        return "no request failed".to_owned();
    };
    let asked = report.attempts.iter();
    let during: Vec<_> = asked
        .filter(|it| (cut_at.saturating_sub(LIMIT)..=last).contains(&it.at))
        .collect();
    let failed = during.iter().filter(|it| it.outcome.is_err()).count();
    format!(
        "{failed} requests failed, until {:.1} s after the power loss; longest gap {:.2} s",
        last.saturating_sub(cut_at).as_secs_f32(),
        report.longest_gap().as_secs_f32(),
    )
}
