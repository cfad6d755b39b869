//! What the NodeReport and `/debug/sessions` say about one session.

use jiff::Timestamp;
use portolan_api::crd::{BfdReport, SessionAgreement, SessionEvent, SessionReport, SessionState};
use portolan_proto::bfd::Diag;
use portolan_proto::bgp::Family;
use portolan_proto::bgp::session::SessionState as Wire;

use super::count;
use crate::bfd::BfdStatus;
use crate::bgp::{Agreed, Entry, SessionStatus};

/// Events in the report; the debug page has all.
const EVENTS: usize = 8;

/// The session as the NodeReport shows it.
pub(super) fn report(status: &SessionStatus) -> SessionReport {
    let old = status.history.len().saturating_sub(EVENTS);
    SessionReport {
        peer: status.name.clone(),
        address: status.address.clone(),
        state: state(status.state),
        since: Some(time(status.since)),
        established_count: number(status.established),
        agreed: status.agreed.as_ref().map(agreement),
        prefixes: count(status.advertised),
        unsent: count(status.unsent),
        unsent_reasons: status.unsent_why.clone(),
        withheld_capabilities: status.left_out.clone(),
        last_error: status.last_error.clone(),
        last_error_time: status.last_error_at.map(time),
        bfd: status.bfd.as_ref().map(bfd),
        history: status.history.iter().skip(old).map(event).collect(),
    }
}

/// The session as the debug page shows it: with its whole history.
pub(crate) fn in_full(status: &SessionStatus) -> SessionReport {
    SessionReport {
        history: status.history.iter().map(event).collect(),
        ..report(status)
    }
}

fn agreement(agreed: &Agreed) -> SessionAgreement {
    let families = Family::ALL
        .into_iter()
        .filter(|family| agreed.families.has(*family));
    SessionAgreement {
        peer_asn: i64::from(agreed.peer_as.get()),
        peer_router_id: agreed.peer_id.to_string(),
        hold_time_seconds: i64::from(agreed.hold.seconds()),
        families: families.map(|family| family.to_string()).collect(),
        graceful_restart: agreed.graceful_restart,
    }
}

pub(super) fn bfd(status: &BfdStatus) -> BfdReport {
    let milliseconds =
        |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    BfdReport {
        state: format!("{:?}", status.state),
        since: time(status.since),
        remote_state: format!("{:?}", status.remote_state),
        diagnostic: (status.diag != Diag::NONE).then(|| status.diag.to_string()),
        transmit_milliseconds: status.transmit.map(milliseconds),
        detection_milliseconds: status.detection.map(milliseconds),
        flaps: number(status.flaps),
    }
}

fn event(entry: &Entry) -> SessionEvent {
    SessionEvent {
        time: time(entry.at),
        state: state(entry.state),
        event: entry.event.clone(),
        times: i64::from(entry.times),
    }
}

fn state(state: Wire) -> SessionState {
    match state {
        Wire::Idle => SessionState::Idle,
        Wire::Connect => SessionState::Connect,
        Wire::Active => SessionState::Active,
        Wire::OpenSent => SessionState::OpenSent,
        Wire::OpenConfirm => SessionState::OpenConfirm,
        Wire::Established => SessionState::Established,
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// As Kubernetes writes times: whole seconds (RFC 3339).
pub(super) fn time(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}
