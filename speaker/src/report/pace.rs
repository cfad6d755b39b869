//! When a report is worth a write. A router that is away makes every node of the cluster try, fail and note it, again and
//! again: that must not become the API server's load.

use std::time::Duration;

use portolan_api::crd::{BfdReport, NodeReportStatus, SessionState};
use tokio::time::Instant;

/// The report is written again after this time even if nothing changed: somebody may have deleted it.
const REFRESH: Duration = Duration::from_secs(300);
/// Shortest time between two writes that tell nothing but details.
const DETAILS: Duration = Duration::from_secs(60);

/// The state of a BFD session that works.
const UP: &str = "Up";

/// What was written last, and when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    written: Option<(NodeReportStatus, Instant)>,
    /// Details wait to be told.
    waiting: bool,
}

impl Pace {
    /// When to look again if nothing changes until then.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let pause = if self.waiting { DETAILS } else { REFRESH };
        self.written.as_ref().map_or(now, |(_, at)| *at) + pause
    }

    /// Whether the report is to be written now.
    pub(super) fn lets(&mut self, status: &NodeReportStatus, now: Instant) -> bool {
        let Some((written, _)) = &self.written else {
            return true;
        };
        self.waiting = written != status;
        now >= self.next(now) || (self.waiting && matter(written) != matter(status))
    }

    /// It was.
    pub(super) fn wrote(&mut self, status: NodeReportStatus, now: Instant) {
        self.written = Some((status, now));
        self.waiting = false;
    }
}

/// A report without details: times, histories, and how far an attempt has come.
fn matter(status: &NodeReportStatus) -> NodeReportStatus {
    let mut matter = status.clone();
    for session in &mut matter.sessions {
        session.history.clear();
        session.since = None;
        session.last_error_time = None;
        if session.state != SessionState::Established {
            session.state = SessionState::Idle;
        }
    }
    for neighbour in &mut matter.neighbours {
        let state = std::mem::take(&mut neighbour.bfd.state);
        // Between two attempts to reach a node that is away.
        let state = if state == UP { state } else { String::new() };
        neighbour.bfd = BfdReport {
            state,
            ..BfdReport::default()
        };
    }
    for conflict in &mut matter.conflicts {
        conflict.last.clear();
    }
    matter
}

#[cfg(test)]
mod tests {
    use portolan_api::crd::{SessionEvent, SessionReport};

    use super::*;

    /// After this many attempts to reach a router that is away.
    fn mk_report(attempts: i64) -> NodeReportStatus {
        let state = if attempts % 2 == 0 {
            SessionState::Active
        } else {
            SessionState::Connect
        };
        let failed = SessionEvent {
            time: format!("at {attempts}"),
            state,
            event: "no answer".into(),
            times: attempts,
        };
        NodeReportStatus {
            sessions: vec![SessionReport {
                peer: "tor".into(),
                state,
                since: Some(format!("at {attempts}")),
                last_error: Some("no answer".into()),
                last_error_time: Some(format!("at {attempts}")),
                history: vec![failed],
                ..SessionReport::default()
            }],
            ..NodeReportStatus::default()
        }
    }

    #[test]
    fn attempts_to_reach_a_router_that_is_away_are_told_once_a_minute() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut writes = Vec::new();
        for second in 0..130 {
            let now = start + Duration::from_secs(second);
            let report = mk_report(i64::try_from(second).unwrap() / 5);
            if pace.lets(&report, now) {
                pace.wrote(report, now);
                writes.push(second);
            }
        }
        assert_eq!(writes, [0, 60, 120]);
        assert_eq!(pace.next(start), start + Duration::from_secs(180));
    }

    #[test]
    fn news_are_told_at_once_and_nothing_new_seldom() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        pace.wrote(mk_report(0), start);
        let mut up = mk_report(1);
        up.sessions[0].state = SessionState::Established;
        let mut other = mk_report(1);
        other.sessions[0].last_error = Some("bad peer AS".into());
        for (row, report, seconds, lets) in [
            ("the same", mk_report(0), 100, false),
            ("the same, long after", mk_report(0), 300, true),
            ("up", up, 1, true),
            ("another fault", other, 1, true),
            ("one more attempt", mk_report(1), 1, false),
        ] {
            assert_eq!(pace.lets(&report, after(seconds)), lets, "{row}");
        }
    }
}
