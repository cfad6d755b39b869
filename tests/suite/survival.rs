//! What must not change an address or withdraw a route: restarts, relists, outages, a second controller, kills.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::{Frr, Router};
use portolan_tests::lab::{Layout, retry_until};
use portolan_tests::world::{BGP, POOL, SOON, Shape, World, peer_yaml};
use serde_json::json;

use crate::site::config_v4;

/// How long the API server stays away. The issue asks for a minute.
const OUTAGE: Duration = Duration::from_secs(60);

/// Watches a router for prefixes that go away, however briefly.
struct Watchman {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Watchman {
    fn start(frr: Arc<Frr>, vips: Vec<IpAddr>, paths: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut lost = Vec::new();
            while !until.load(Ordering::Relaxed) {
                for vip in &vips {
                    match frr.next_hops((*vip).into()) {
                        Ok(hops) if hops.len() == paths => {}
                        Ok(hops) => lost.push(format!("{vip} by {hops:?}")),
                        Err(error) => lost.push(format!("{vip}: {error:#}")),
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            lost
        });
        Self { stop, thread }
    }

    fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn all_held(world: &World) -> Result<BTreeMap<String, Vec<String>>> {
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    let list = services.list(&ListParams::default()).await?;
    let held = |service: &Service| {
        let status = service
            .status
            .clone()
            .unwrap_or_default()
            .load_balancer
            .unwrap_or_default();
        let ips = status
            .ingress
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| entry.ip);
        (service.name_any(), ips.collect())
    };
    Ok(list
        .iter()
        .map(held)
        .filter(|(name, _)| name != "kubernetes")
        .collect())
}

/// Issue row 5, without the kills: nothing changes and nothing is withdrawn.
async fn restarts_relists_and_outages_change_nothing(face: Face) -> Result<()> {
    let shape = Shape {
        controllers: 2,
        ..Shape::of(face)
    };
    let mut world = World::start(shape).await?;
    let router = &world.lab.routers[0];
    let frr = Arc::new(Frr::start(router, &config_v4(&world.lab, router)).await?);
    world
        .apply(&format!(
            "{POOL}---{BGP}---{}",
            peer_yaml("router", router.address().v4.into(), "")
        ))
        .await?;
    let mut vips = Vec::new();
    for number in 0..5 {
        let pods: Vec<_> = world.pods.iter().collect();
        vips.extend(
            world
                .service(&format!("web-{number}"), "Cluster", &pods)
                .await?,
        );
    }
    vips.retain(IpAddr::is_ipv4);
    for vip in &vips {
        retry_until(SOON, "both nodes to announce", async || {
            let hops = frr.next_hops((*vip).into())?;
            ensure!(hops.len() == 2, "{vip} by {hops:?}");
            Ok(())
        })
        .await?;
    }
    let before = all_held(&world).await?;
    let watchman = Watchman::start(Arc::clone(&frr), vips, 2);

    for controller in &mut world.controllers {
        controller.kill()?;
        controller.restart()?;
    }
    if let Some(server) = world.cluster.embedded() {
        server.compact();
        server.sever();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        all_held(&world).await?,
        before,
        "after a restart of the controllers and a relist"
    );

    world.cluster.stop_api().await?;
    // A controller that comes up into the outage must wait, not start from nothing.
    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    tokio::time::sleep(OUTAGE).await;
    world.cluster.start_api().await?;
    let back = tokio::time::Instant::now();
    let pods: Vec<_> = world.pods.iter().collect();
    let fresh = world.service("after", "Cluster", &pods).await?;
    println!(
        "figure: {face}: API server back, next Service served after {:?}",
        back.elapsed()
    );
    let mut after = all_held(&world).await?;
    after.remove("after");
    assert_eq!(after, before, "after an outage");
    let holders = before
        .values()
        .flatten()
        .filter(|ip| fresh.iter().any(|new| new.to_string() == **ip));
    assert_eq!(
        holders.count(),
        0,
        "the new Service got an address of its own"
    );
    let lost = watchman.finish();
    assert!(lost.is_empty(), "withdrawn meanwhile: {lost:?}");
    Ok(())
}

/// Issue row 5: 1000 Services while controllers are killed at random; no address is given twice, all are served.
async fn a_thousand_services_under_random_kills_never_share_an_address(face: Face) -> Result<()> {
    let shape = Shape {
        layout: Layout {
            nodes: 1,
            routers: 1,
        },
        controllers: 2,
        data_path: false,
        ..Shape::of(face)
    };
    let mut world = World::start(shape).await?;
    let count = 1000;
    world
        .apply(&POOL.replace("192.0.2.0/24", "10.100.0.0/21"))
        .await?;
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    let creating = tokio::spawn({
        let services = services.clone();
        async move {
            for number in 0..count {
                let object = serde_json::from_value(json!({
                    "metadata": { "name": format!("s-{number}") },
                    "spec": { "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{ "port": 80 }] },
                }))?;
                services.create(&PostParams::default(), &object).await?;
            }
            anyhow::Ok(())
        }
    });
    let mut kills = 0;
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    while !creating.is_finished() || kills < 6 {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let victim = usize::from(seed >> 63 == 1);
        tokio::time::sleep(Duration::from_millis(300 + (seed >> 33) % 1500)).await;
        world.controllers[victim].kill()?;
        world.controllers[victim].restart()?;
        kills += 1;
    }
    creating.await??;
    let held = retry_until(SOON * 4, "every Service to hold an address", async || {
        let held = all_held(&world).await?;
        let waiting = held.values().filter(|ips| ips.is_empty()).count();
        ensure!(
            held.len() == count && waiting == 0,
            "{waiting} of {} wait",
            held.len()
        );
        Ok(held)
    })
    .await?;
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, ips) in &held {
        for ip in ips {
            if let Some(other) = owners.insert(ip, name) {
                panic!("{ip} is held by {other} and {name} after {kills} kills");
            }
        }
    }
    println!(
        "figure: {face}: {count} Services under {kills} kills, {} addresses, none twice",
        owners.len()
    );
    Ok(())
}

/// A Service keeps its address when its controller starts with other Services waiting for it.
async fn an_address_in_a_status_is_taken_before_anyone_new_is_served(face: Face) -> Result<()> {
    let shape = Shape {
        layout: Layout {
            nodes: 1,
            routers: 1,
        },
        data_path: false,
        controllers: 0,
        ..Shape::of(face)
    };
    let mut world = World::start(shape).await?;
    world
        .apply(&POOL.replace("192.0.2.0/24", "192.0.2.1-192.0.2.2"))
        .await?;
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    for name in ["a-waits", "z-holds"] {
        let object = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
        }))?;
        services.create(&PostParams::default(), &object).await?;
    }
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
    let patch = kube::api::Patch::Merge(status);
    services
        .patch_status("z-holds", &PatchParams::default(), &patch)
        .await?;
    let controller = world.start_controller(0)?;
    world.controllers.push(controller);
    let fresh = world.vips("a-waits", 1).await?;
    assert_eq!(fresh, ["192.0.2.2".parse::<IpAddr>()?]);
    assert_eq!(
        world.held("z-holds").await?,
        ["192.0.2.1".parse::<IpAddr>()?]
    );
    retry_until(SOON, "the holder to be adopted", async || {
        let adopted = services.get("z-holds").await?;
        let pool = adopted.annotations().get("portolan.dev/pool");
        ensure!(
            pool.is_some_and(|pool| pool == "pool"),
            "its pool is {pool:?}"
        );
        Ok(())
    })
    .await?;
    assert_eq!(
        world.held("z-holds").await?,
        ["192.0.2.1".parse::<IpAddr>()?]
    );
    Ok(())
}

on_both_faces!(
    restarts_relists_and_outages_change_nothing,
    a_thousand_services_under_random_kills_never_share_an_address,
    an_address_in_a_status_is_taken_before_anyone_new_is_served
);
