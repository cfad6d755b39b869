//! Another program that writes the same statuses: noticed, told once, not fought.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{Patch, PatchParams};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::json;
use tokio::task::JoinHandle;

use super::witness::Witness;
use super::{
    LOAD_BALANCER_IPS, annotated, events, has, mk_ranges, mk_service, mk_world, put, refused, shown,
};

/// How often we may write our address back before we see what is going on.
const PATIENCE: usize = 3;

/// Somebody who writes an address into a status whenever it is not there.
struct Rival {
    enough: Arc<AtomicBool>,
    task: JoinHandle<Result<usize>>,
}

impl Rival {
    fn start(world: &World, service: &'static str, address: &'static str) -> Self {
        let services: Api<Service> = Api::default_namespaced(world.cluster.client());
        let enough = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&enough);
        let task = tokio::spawn(async move {
            let status =
                json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address }] } } });
            let mut wrote = 0;
            while !until.load(Ordering::Relaxed) {
                let now = services.get(service).await?.status.unwrap_or_default();
                let entries = now
                    .load_balancer
                    .unwrap_or_default()
                    .ingress
                    .unwrap_or_default();
                let theirs = entries.iter().map(|entry| entry.ip.as_deref());
                if !theirs.eq([Some(address)]) {
                    let patch = Patch::Merge(&status);
                    services
                        .patch_status(service, &PatchParams::default(), &patch)
                        .await?;
                    wrote += 1;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(wrote)
        });
        Self { enough, task }
    }

    async fn stop(self) -> Result<usize> {
        self.enough.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn a_rival_is_told_of_and_not_fought(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.1-192.0.2.3"])]).await?;
    put(&world, &[mk_service("contested", &json!({}))]).await?;
    has(&world, "contested", &["192.0.2.1"]).await?;
    let mut witness = Witness::start(&world).await?;
    let rival = Rival::start(&world, "contested", "203.0.113.9");
    refused(&world, "contested", "StatusContested", &["203.0.113.9"]).await?;
    retry_until(SOON, "an event that tells of it", async || {
        let told = events(&world, "contested", "StatusContested").await?;
        ensure!(told.len() == 1 && told[0].1 == 1, "there are {told:?}");
        ensure!(told[0].0.contains("203.0.113.9"), "it says {told:?}");
        Ok(())
    })
    .await?;
    // From here on there is peace.
    let log = witness.log().await?.len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let later = witness.log().await?;
    let since: Vec<_> = later[log..]
        .iter()
        .map(|it| (&it.name, &it.addresses))
        .collect();
    assert!(since.is_empty(), "writes after the truce: {since:?}");
    let own = [super::ips(&["192.0.2.1"])[0]];
    let history = witness.history("contested").await?;
    let ours = history.iter().skip(1).filter(|list| **list == own).count();
    let wrote = rival.stop().await?;
    println!(
        "figure: {face}: a rival wrote the status {wrote} times, we wrote it back {ours} times"
    );
    ensure!(
        ours <= PATIENCE,
        "we wrote it back {ours} times: {history:?}"
    );

    // Its address is nobody else's all the while, and others are served.
    let asks = mk_service("asks", &annotated(LOAD_BALANCER_IPS, "192.0.2.1"));
    put(&world, &[asks, mk_service("other", &json!({}))]).await?;
    refused(&world, "asks", "AddressTaken", &["default/contested"]).await?;
    has(&world, "other", &["192.0.2.2"]).await?;
    assert_eq!(
        events(&world, "contested", "StatusContested").await?.len(),
        1
    );
    assert_eq!(shown(&world, "contested").await?, ["203.0.113.9"]);

    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    put(&world, &[mk_service("after", &json!({}))]).await?;
    has(&world, "after", &["192.0.2.3"]).await
}

on_both_faces!(a_rival_is_told_of_and_not_fought);
