//! The speaker's Lease: how the controller knows that this speaker lives.
//!
//! The controller places layer-2 VIPs only on nodes whose Lease is fresh. The Lease is renewed while the process works, and
//! given up in an orderly stop, so that VIPs move at once. A speaker never reads it: losing contact with the API server
//! changes nothing about what it announces.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use portolan_api::annotation::{COMPONENT, SPEAKER_LEASE_PREFIX};
use tokio_util::sync::CancellationToken;

/// Time between two renewals.
const INTERVAL: Duration = Duration::from_secs(2);
/// Time without renewal after which the controller takes the speaker for dead: three renewals.
const LEASE_SECONDS: i32 = 6;
/// Longest time that one renewal may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Renews the Lease until the token is cancelled, then gives it up.
pub(crate) async fn run(
    client: Client,
    namespace: String,
    node: String,
    shutdown: CancellationToken,
) {
    let leases: Api<Lease> = Api::namespaced(client, &namespace);
    let mut failing = false;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let result = write(&leases, &node, &node).await;
        match (&result, failing) {
            (Err(error), false) => tracing::warn!(%error, "Lease not renewed; going on"),
            (Ok(()), true) => tracing::info!("Lease renewed again"),
            _ => {}
        }
        failing = result.is_err();
    }
    // Given up: the controller need not wait for it to run out.
    if let Err(error) = write(&leases, &node, "").await {
        tracing::warn!(%error, "Lease not given up; it runs out by itself");
    }
}

async fn write(leases: &Api<Lease>, node: &str, holder: &str) -> Result<(), Error> {
    let name = format!("{SPEAKER_LEASE_PREFIX}{node}");
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some([(COMPONENT.to_owned(), "speaker".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(jiff::Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    let params = PatchParams::apply("portolan-speaker").force();
    let patch = Patch::Apply(&lease);
    let request = leases.patch(&name, &params, &patch);
    tokio::time::timeout(TIMEOUT, request)
        .await
        .map_err(|_| Error::Timeout)??;
    Ok(())
}

/// Why a Lease could not be written.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// No answer in time.
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
    /// The API server refused.
    #[error(transparent)]
    Api(#[from] kube::Error),
}
