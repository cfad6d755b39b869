//! The NodeReport: what this node really does, for users and tools.
//!
//! Written at most once a second and only on change, and seldom when only details are new; nobody watches it in the way
//! of a decision.

pub(crate) mod layer2;
mod pace;
mod session;

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use portolan_api::crd::{
    InterfaceReport, NodeReport, NodeReportStatus, SessionReport, SessionState, TakeoverReport,
};
use portolan_daemon::http::Page;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bgp::{Board, SessionStatus};
use crate::core::{Plan, PlannedPeer};
use crate::l2::{Inspector, L2Status};
use crate::takeover::shell::Picture;
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

/// All that a report is made from.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    /// What is planned.
    pub(crate) plan: &'a Plan,
    /// What BGP sessions say.
    pub(crate) sessions: &'a [SessionStatus],
    /// What the sockets of layer 2 say.
    pub(crate) layer2: &'a L2Status,
    /// What the takeover machine says.
    pub(crate) picture: &'a Picture,
    /// Interfaces on which layer 2 can be spoken.
    pub(crate) interfaces: Vec<InterfaceReport>,
    /// The last takeover.
    pub(crate) last_takeover: Option<TakeoverReport>,
    /// Generation of the configuration.
    pub(crate) config_generation: i64,
}

/// Makes the report.
#[must_use]
pub(crate) fn make(node: Findings<'_>) -> NodeReportStatus {
    let Findings {
        plan,
        sessions,
        layer2,
        picture,
        ..
    } = &node;
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
    let answered = layer2::answered(layer2);
    NodeReportStatus {
        config_generation: node.config_generation,
        excluded: plan.excluded.clone(),
        draining: plan.draining.map(str::to_owned),
        sessions_summary: format!("{up}/{}", reports.len()),
        sessions: reports,
        routes: count(plan.routes.len()),
        l2_vip_count: count(answered.len()),
        l2_vips: answered.into_iter().take(LISTED).collect(),
        acting: layer2::acting(picture),
        neighbours: layer2::neighbours(picture),
        conflicts: layer2::conflicts(picture),
        problems: problems(&node),
        interfaces: node.interfaces,
        last_takeover: node.last_takeover,
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

/// How it stands with each VIP, and with the nodes that share them, at `/debug/layer2`.
pub(crate) fn layer2_page(picture: watch::Receiver<Arc<Picture>>, inspector: Inspector) -> Page {
    let json = move || {
        let picture = Arc::clone(&picture.borrow());
        let page = layer2::in_full(&picture, &inspector);
        serde_json::to_string_pretty(&page).unwrap_or_else(|error| error.to_string())
    };
    Page {
        path: "/debug/layer2",
        json: Arc::new(json),
    }
}

/// What stands in the way, in words that change only when the matter does.
fn problems(node: &Findings<'_>) -> Vec<String> {
    let mut problems = node.plan.problems.clone();
    for status in node.sessions {
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
    problems.extend(layer2::problems(node.picture, node.layer2));
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
