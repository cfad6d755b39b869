//! Requests as the API server counts them: by verb and resource, whoever made them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;

use crate::load::{PATIENCE, now};

/// Requests that have ended (kube-apiserver's metric).
const ENDED: &str = "apiserver_request_total{";
/// Requests that are going on, watches among them, which may take minutes.
const OPEN: &str = "apiserver_longrunning_requests{";
/// Between two looks whether anybody still asks for something.
const PAUSE: Duration = Duration::from_secs(2);

/// How many requests there were, by verb and resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests(BTreeMap<(String, String), u64>);

impl Requests {
    /// All since the server began.
    pub(crate) async fn so_far(client: &Client) -> Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new());
        let request = request.context("asking the API server for its metrics")?;
        let text = client.request_text(request).await;
        Ok(Self::read(
            &text.context("asking the API server for its metrics")?,
        ))
    }

    /// As [`Self::so_far`], once nobody writes any more. Leases are renewed all the time and do not count.
    pub(crate) async fn at_rest(client: &Client) -> Result<Self> {
        let deadline = now() + PATIENCE;
        let mut before = Self::so_far(client).await?;
        while now() < deadline {
            tokio::time::sleep(PAUSE).await;
            let after = Self::so_far(client).await?;
            if after.since(&before).writes() == 0 {
                return Ok(after);
            }
            before = after;
        }
        bail!("the API server does not come to rest")
    }

    /// Those that came after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let more = self.0.iter().map(|(what, count)| {
            let known = before.0.get(what).copied().unwrap_or_default();
            (what.clone(), count.saturating_sub(known))
        });
        Self(more.filter(|(_, count)| *count > 0).collect())
    }

    /// Watches that were begun.
    pub(crate) fn watches(&self) -> u64 {
        self.count(|verb, _| verb == "WATCH")
    }

    fn writes(&self) -> u64 {
        self.count(|verb, what| !matches!(verb, "GET" | "LIST" | "WATCH") && what != "leases")
    }

    fn count(&self, counts: impl Fn(&str, &str) -> bool) -> u64 {
        let counted = self.0.iter().filter(|((verb, what), _)| counts(verb, what));
        counted.map(|(_, count)| count).sum()
    }

    fn read(text: &str) -> Self {
        let mut requests = Self::default();
        for line in text.lines() {
            let ended = line.strip_prefix(ENDED);
            let series = ended.or_else(|| line.strip_prefix(OPEN));
            let Some((labels, count)) = series.and_then(|series| series.rsplit_once("} ")) else {
                continue;
            };
            let label = |name: &str| {
                let mut labels = labels.split(',');
                let value = labels.find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
                value.unwrap_or_default().trim_matches('"')
            };
            // What is not about a resource is a probe or a question for metrics: ours.
            let (resource, subresource) = (label("resource"), label("subresource"));
            let (false, Ok(count)) = (resource.is_empty(), count.parse::<f64>()) else {
                continue;
            };
            let whole = match subresource {
                "" => resource.to_owned(),
                part => format!("{resource}/{part}"),
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count, written as a floating point number"
            )]
            let count = count as u64;
            *requests
                .0
                .entry((label("verb").to_owned(), whole))
                .or_default() += count;
        }
        requests
    }
}

/// All but watches.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.count(|verb, _| verb != "WATCH");
        let statuses = self.count(|verb, what| (verb, what) == ("PATCH", "services/status"));
        let events = self.count(|verb, what| (verb, what) == ("POST", "events"));
        let leases = self.count(|verb, what| verb != "WATCH" && what == "leases");
        let lists = self.count(|verb, what| verb == "LIST" && what != "leases");
        let others = all - statuses - events - leases - lists;
        write!(
            f,
            "{all}: statuses of Services {statuses}, Events {events}, "
        )?;
        write!(f, "Leases {leases}, lists {lists}, others {others}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_verb_and_resource_are_one_number_and_probes_are_none() {
        let text = r#"
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 1.2e+03
apiserver_request_total{code="409",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 5
apiserver_request_total{code="200",group="",resource="",scope="",subresource="/readyz",verb="GET",version=""} 9
apiserver_request_total{code="200",group="",resource="services",scope="cluster",subresource="",verb="WATCH",version="v1"} 1
apiserver_longrunning_requests{group="",resource="services",scope="cluster",subresource="",verb="WATCH",version="v1"} 2
apiserver_request_total{code="200",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 4
apiserver_request_total{code="200",group="",resource="nodes",scope="cluster",subresource="",verb="LIST",version="v1"} 2
apiserver_request_total{code="201",group="",resource="services",scope="resource",subresource="",verb="POST",version="v1"} 1
apiserver_request_duration_seconds_sum{resource="services",verb="PATCH"} 3
"#;
        let requests = Requests::read(text);
        assert_eq!(requests.watches(), 3);
        assert_eq!(
            requests.to_string(),
            "1212: statuses of Services 1205, Events 0, Leases 4, lists 2, others 1"
        );
        assert_eq!(requests.since(&requests), Requests::default());
    }
}
