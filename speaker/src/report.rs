//! The NodeReport: what this node really does, for users and tools.
//!
//! Written at most once a second and only on change, and seldom when only details are new; nobody watches it in the way
//! of a decision.

mod pace;
mod session;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use portolan_api::crd::{AnnouncedVip, NodeReport, NodeReportStatus, SessionReport, SessionState};
use portolan_daemon::http::Page;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bgp::{Board, SessionStatus};
use crate::core::{Plan, PlannedPeer};
use crate::l2::{L2Status, VipStatus};
use pace::Pace;

/// Shortest time between two writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time that one write may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// VIPs listed by name; all of them are counted.
const LISTED: usize = 100;

/// The owner of a report: its Node, so that the report goes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Name of the Node.
    pub(crate) name: String,
    /// UID of the Node.
    pub(crate) uid: String,
}

/// Makes the report from what is planned and what sessions and sockets say.
#[must_use]
pub(crate) fn make(
    plan: &Plan,
    sessions: &[SessionStatus],
    layer2: &L2Status,
    config_generation: i64,
) -> NodeReportStatus {
    let mut reports: Vec<SessionReport> = sessions.iter().map(session::report).collect();
    for peer in &plan.peers {
        if let PlannedPeer::Wait(name, address, why) = peer {
            reports.push(SessionReport {
                peer: name.clone(),
                address: address.clone(),
                last_error: Some(why.clone()),
                ..SessionReport::default()
            });
        }
    }
    reports.sort_by(|a, b| a.peer.cmp(&b.peer));
    let up = reports
        .iter()
        .filter(|s| s.state == SessionState::Established)
        .count();
    let prefixes: BTreeSet<_> = plan.routes.values().flat_map(|r| r.keys()).collect();
    let answered = answered(layer2);
    NodeReportStatus {
        config_generation,
        excluded: plan.excluded.clone(),
        draining: plan.draining.map(str::to_owned),
        sessions_summary: format!("{up}/{}", reports.len()),
        sessions: reports,
        routes: count(prefixes.len()),
        l2_vip_count: count(answered.len()),
        l2_vips: answered.into_iter().take(LISTED).collect(),
        problems: problems(plan, sessions, layer2),
        ..NodeReportStatus::default()
    }
}

/// The sessions with their whole history, at `/debug/sessions`.
pub(crate) fn page(board: Board) -> Page {
    let json = move || {
        let sessions = board.status();
        let reports: Vec<SessionReport> = sessions.iter().map(session::in_full).collect();
        serde_json::to_string_pretty(&reports).unwrap_or_else(|error| error.to_string())
    };
    Page {
        path: "/debug/sessions",
        json: Arc::new(json),
    }
}

/// Addresses that are really answered: on at least one interface.
pub(crate) fn answered(layer2: &L2Status) -> Vec<AnnouncedVip> {
    let on_some = layer2
        .vips
        .iter()
        .filter(|(_, vip)| !vip.interfaces.is_empty());
    let vip = |(address, vip): (&std::net::IpAddr, &VipStatus)| AnnouncedVip {
        address: address.to_string(),
        interfaces: vip.interfaces.keys().cloned().collect(),
        since: vip.interfaces.values().min().map(ToString::to_string),
    };
    on_some.map(vip).collect()
}

/// What stands in the way, in words that change only when the matter does.
fn problems(plan: &Plan, sessions: &[SessionStatus], layer2: &L2Status) -> Vec<String> {
    let mut problems = plan.problems.clone();
    for status in sessions {
        let said = |why: &String| format!("BGPPeer {}: {why}", status.name);
        problems.extend(status.problem.iter().map(said));
        let unsent = status.unsent_why.iter();
        problems.extend(unsent.map(|why| {
            format!(
                "BGPPeer {}: some routes can not be told: {why}",
                status.name
            )
        }));
    }
    for (address, vip) in &layer2.vips {
        if vip.interfaces.is_empty() {
            problems.push(format!(
                "{address} is placed here, but no interface of its L2Advertisement is usable"
            ));
        }
        if let Some(interface) = &vip.bound_to {
            problems.push(format!(
                "{address} is also an address of interface {interface}: the kernel may answer for it on every such node (set arp_ignore=1)"
            ));
        }
    }
    for (name, interface) in &layer2.interfaces {
        problems.extend(
            interface
                .error
                .as_ref()
                .map(|error| format!("interface {name}: {error}")),
        );
        let claims = interface.foreign_claims.iter();
        problems.extend(claims.map(|claim| {
            format!(
                "{} is also claimed by {} on {name}: find out who has the address",
                claim.vip, claim.mac
            )
        }));
    }
    problems.truncate(LISTED);
    problems
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Writes the newest report, for ever. Never the reason for anything else to wait.
pub(crate) async fn write(client: Client, mut reports: watch::Receiver<(Owner, NodeReportStatus)>) {
    let api: Api<NodeReport> = Api::all(client);
    let mut pace = Pace::default();
    loop {
        let changed = tokio::time::timeout_at(pace.next(Instant::now()), reports.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        let (owner, status) = reports.borrow_and_update().clone();
        if owner.name.is_empty() || !pace.lets(&status, Instant::now()) {
            continue;
        }
        match tokio::time::timeout(TIMEOUT, put(&api, &owner, &status)).await {
            Ok(Ok(())) => pace.wrote(status, Instant::now()),
            Ok(Err(error)) => {
                tracing::debug!(%error, "NodeReport not written");
                reports.mark_changed();
            }
            Err(_) => {
                tracing::debug!("NodeReport not written: no answer within {TIMEOUT:?}");
                reports.mark_changed();
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn put(api: &Api<NodeReport>, owner: &Owner, status: &NodeReportStatus) -> kube::Result<()> {
    const VERSION: &str = "portolan.dev/v1alpha1";
    let params = PatchParams::apply("portolan-speaker").force();
    let body = Patch::Apply(json!({"apiVersion": VERSION, "kind": "NodeReport", "status": status}));
    match api.patch_status(&owner.name, &params, &body).await {
        Err(kube::Error::Api(answer)) if answer.is_not_found() => {
            let node =
                json!({"apiVersion": "v1", "kind": "Node", "name": owner.name, "uid": owner.uid});
            let object = Patch::Apply(json!({
                "apiVersion": VERSION,
                "kind": "NodeReport",
                "metadata": {"name": owner.name, "ownerReferences": [node]},
                "spec": {},
            }));
            api.patch(&owner.name, &params, &object).await?;
            api.patch_status(&owner.name, &params, &body)
                .await
                .map(drop)
        }
        result => result.map(drop),
    }
}
