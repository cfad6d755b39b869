//! Thousands of Services that come, go and change their minds, pools that are edited, two controllers that are killed at
//! random all the while; and a witness who sees every status.
//!
//! ```text
//! users    create all ─► delete, ask for an address that others want too, ask for another pool, take it back
//! admin    shrink and grow, exclude, autoAssign, priority
//! killer   SIGKILL to one of two controllers, for a moment or for longer than the Lease
//! ```

mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::judge::violations;
use super::witness::{Sighting, Witness};
use super::{ADDRESS_POOL, LOAD_BALANCER_IPS, edit_pool, mk_pool, mk_world, put};
use users::{Dice, Users};

fn mk_pools() -> Vec<Value> {
    vec![
        mk_pool(
            "wide",
            &json!({ "addresses": ["10.100.0.0/20", "2001:db8:a::/112"], "retain": "10s" }),
        ),
        mk_pool(
            "edge",
            &json!({ "addresses": EDGE, "serviceAllocation": { "priority": 5, "namespaces": ["default"] } }),
        ),
        mk_pool(
            "named",
            &json!({ "addresses": ["10.102.0.0/20"], "autoAssign": false }),
        ),
        mk_pool(
            "wanted",
            &json!({ "addresses": ["10.103.0.0/28"], "autoAssign": false }),
        ),
    ]
}

/// The pool that is edited: preferred, small, of two ranges.
const EDGE: [&str; 2] = ["10.101.0.0/25", "10.101.0.128/25"];

/// Edits of pool `edge`, each good by itself.
fn mk_edits() -> [Value; 8] {
    [
        json!({ "addresses": [EDGE[0]] }),
        json!({ "excludedAddresses": ["10.101.0.0/28"] }),
        json!({ "addresses": EDGE }),
        json!({ "autoAssign": false }),
        json!({ "excludedAddresses": [], "addresses": ["10.101.0.64-10.101.0.191"] }),
        json!({ "autoAssign": true, "serviceAllocation": { "priority": 1 } }),
        json!({ "avoidBuggyIPs": true, "addresses": EDGE }),
        json!({ "avoidBuggyIPs": false, "serviceAllocation": { "priority": 5 } }),
    ]
}

/// Issue: two thousand Services on the real API server under random kills of two controllers: zero violations.
async fn turmoil_breaks_no_promise(face: Face) -> Result<()> {
    let count = match face {
        Face::Embedded => 500,
        Face::Real => 2000,
    };
    let mut world = mk_world(face, 2).await?;
    put(&world, &mk_pools()).await?;
    let mut witness = Witness::start(&world).await?;
    let begin = Instant::now();
    let users = Users::new(world.cluster.client());
    let creating = tokio::spawn({
        let users = Arc::clone(&users);
        async move { users.create_all(count).await }
    });
    let changing = [0, 1].map(|odd| {
        let users = Arc::clone(&users);
        tokio::spawn(async move { users.change_minds(odd).await })
    });
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut kills = 0;
    let mut editing = mk_edits().into_iter().cycle();
    while !creating.is_finished() || kills < 16 {
        tokio::time::sleep(Duration::from_millis(
            150 + 10 * u64::try_from(dice.roll(100))?,
        ))
        .await;
        let edit = editing.next().context("edits go round")?;
        edit_pool(&world, "edge", &edit).await?;
        kill(&mut world, &mut dice).await?;
        kills += 1;
    }
    creating.await??;
    users.enough.store(true, Ordering::Relaxed);
    for user in changing {
        user.await??;
    }
    let storm = begin.elapsed();
    let all = json!({ "addresses": EDGE, "excludedAddresses": [], "avoidBuggyIPs": false, "autoAssign": true });
    edit_pool(&world, "edge", &all).await?;
    let still = Instant::now();
    let served = at_rest(&world, count).await?;
    let rest = still.elapsed();
    counters_agree(&world).await?;

    let log = witness.log().await?;
    let found = violations(&log);
    assert!(
        found.is_empty(),
        "{} violations, the first: {:#?}",
        found.len(),
        &found[..found.len().min(10)]
    );
    println!(
        "figure: {face}: {count} Services, {} created anew or changed, {kills} pool edits, {kills} kills of two controllers in \
         {storm:.1?}: {} events seen, {} addresses given, 0 violations, {served} addresses held at rest {rest:.1?} later",
        users.changes.load(Ordering::Relaxed),
        log.len(),
        given(&log),
    );
    Ok(())
}

/// One of two goes, for a moment, or for longer than its Lease lasts so that the other takes over.
async fn kill(world: &mut World, dice: &mut Dice) -> Result<()> {
    let victim = dice.roll(2);
    world.controllers[victim].kill()?;
    if dice.roll(4) == 0 {
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    world.controllers[victim].restart()
}

/// How often a Service got an address.
fn given(log: &[Sighting]) -> usize {
    let mut before: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut given = 0;
    for it in log.iter().filter(|it| !it.pool) {
        let now: BTreeSet<IpAddr> = it.addresses.iter().copied().collect();
        let had = before.insert(&it.name, now.clone()).unwrap_or_default();
        given += now.difference(&had).count();
    }
    given
}

/// Waits until every Service has what it wants, or wants what another one has. Returns how many addresses are held.
async fn at_rest(world: &World, count: usize) -> Result<usize> {
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    retry_until(SOON * 4, "every Service to be served", async || {
        let list = services.list(&ListParams::default()).await?;
        let ours: Vec<&Service> = list
            .iter()
            .filter(|it| it.name_any() != "kubernetes")
            .collect();
        ensure!(ours.len() == count, "there are {} Services", ours.len());
        let mut holders: BTreeMap<String, String> = BTreeMap::new();
        for service in &ours {
            for ip in addresses(service) {
                holders.insert(ip, service.name_any());
            }
        }
        let discontent: Vec<String> = ours
            .iter()
            .filter_map(|service| complaint(service, &holders))
            .collect();
        ensure!(
            discontent.is_empty(),
            "{} of them: {:?}",
            discontent.len(),
            &discontent[..discontent.len().min(5)]
        );
        Ok(holders.len())
    })
    .await
}

fn addresses(service: &Service) -> Vec<String> {
    let status = service.status.clone().unwrap_or_default();
    let entries = status.load_balancer.unwrap_or_default().ingress;
    entries
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| entry.ip)
        .collect()
}

/// What a Service lacks that it could have.
fn complaint(service: &Service, holders: &BTreeMap<String, String>) -> Option<String> {
    let name = service.name_any();
    let held = addresses(service);
    let wish = |annotation: &str| {
        let value = service.annotations().get(annotation)?;
        (!value.is_empty()).then_some(value)
    };
    if let Some(address) = wish(LOAD_BALANCER_IPS) {
        let dual = service
            .spec
            .as_ref()
            .is_some_and(|spec| spec.ip_families.as_ref().is_some_and(|it| it.len() == 2));
        // Both families required and one asked for can not be fulfilled: it keeps what it has.
        let fine = held == [address.clone()] || dual || holders.contains_key(address);
        return (!fine)
            .then(|| format!("{name} asks for {address}, which is free, and has {held:?}"));
    }
    let families = service.spec.as_ref()?.ip_families.as_ref()?.len();
    if wish(ADDRESS_POOL).is_some_and(|pool| pool != "wide") && families == 2 {
        return None; // these pools have one family only
    }
    let in_edge = holders.keys().filter(|ip| ip.starts_with("10.101.0."));
    if wish(ADDRESS_POOL).is_some_and(|pool| pool == "edge") && in_edge.count() == 256 {
        return None;
    }
    (held.len() != families).then(|| {
        format!(
            "{name} has {held:?} and wants {families} of {:?}",
            wish(ADDRESS_POOL)
        )
    })
}

/// The counters in the status of pools say what statuses of Services say.
async fn counters_agree(world: &World) -> Result<()> {
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    retry_until(SOON, "counters that agree with the statuses", async || {
        let list = services.list(&ListParams::default()).await?;
        let held: BTreeSet<IpAddr> = list
            .iter()
            .flat_map(addresses)
            .map(|ip| ip.parse())
            .collect::<Result<_, _>>()?;
        let pools = super::pools(world).list(&ListParams::default()).await?;
        let sum = |field: &str| -> i64 {
            let counts = pools.iter().map(|pool| pool.data["status"][field].as_i64());
            counts.flatten().sum()
        };
        let v4 = held.iter().filter(|ip| ip.is_ipv4()).count();
        let told = (sum("assignedIPv4"), sum("assignedIPv6"));
        ensure!(
            told == (i64::try_from(v4)?, i64::try_from(held.len() - v4)?),
            "pools count {told:?}, statuses show {v4} and {}",
            held.len() - v4
        );
        Ok(())
    })
    .await
}

on_both_faces!(turmoil_breaks_no_promise);
