//! What is kept for somebody: quotas of namespaces, addresses of deleted Services, addresses of Services to come.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::json;

use super::witness::Witness;
use super::{
    LOAD_BALANCER_IPS, edit, edit_pool, has, ips, mk_asking, mk_namespace, mk_pool, mk_ranges,
    mk_service, mk_sharing, mk_world, pool_says, pools, put, refused, remove, served, shown,
};

/// So many addresses a namespace may have; a shared one counts once.
async fn a_quota_limits_a_namespace_and_takes_nothing_away(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    let quota = |n: u64| json!({ "quota": { "addressesPerNamespace": n } });
    let spec = json!({ "addresses": ["192.0.2.0/28"] });
    put(
        &world,
        &[
            mk_namespace("team", &json!({})),
            mk_namespace("other", &json!({})),
            mk_pool("pool", &spec),
        ],
    )
    .await?;
    edit_pool(&world, "pool", &quota(2)).await?;
    pool_says(&world, "pool", "Accepted", "True", None).await?;
    put(&world, &[mk_sharing("team/one", "k", "TCP", 80)]).await?;
    has(&world, "team/one", &["192.0.2.0"]).await?;
    put(&world, &[mk_service("team/two", &json!({}))]).await?;
    has(&world, "team/two", &["192.0.2.1"]).await?;
    put(
        &world,
        &[
            mk_service("team/three", &json!({})),
            mk_asking("team/exact", LOAD_BALANCER_IPS, "192.0.2.9"),
            mk_sharing("team/shares", "k", "TCP", 443),
            mk_service("other/one", &json!({})),
        ],
    )
    .await?;
    has(&world, "team/shares", &["192.0.2.0"]).await?;
    has(&world, "other/one", &["192.0.2.2"]).await?;
    for name in ["team/three", "team/exact"] {
        let words = ["IPAddressPool pool", "addressesPerNamespace", "2"];
        refused(&world, name, "QuotaReached", &words).await?;
    }
    // A pool without a quota helps whoever asks for nothing.
    let mut witness = Witness::start(&world).await?;
    put(&world, &[mk_ranges("z-free", &["198.51.100.0/32"])]).await?;
    has(&world, "team/three", &["198.51.100.0"]).await?;
    edit_pool(&world, "pool", &quota(1)).await?;
    pool_says(&world, "pool", "Accepted", "True", None).await?;
    put(&world, &[mk_service("other/two", &json!({}))]).await?;
    refused(&world, "other/two", "QuotaReached", &["1"]).await?;
    for (name, address) in [("team/one", "192.0.2.0"), ("team/two", "192.0.2.1")] {
        assert_eq!(witness.history(name).await?, [ips(&[address])], "{name}");
    }
    edit_pool(&world, "pool", &quota(3)).await?;
    has(&world, "team/exact", &["192.0.2.9"]).await?;
    has(&world, "other/two", &["192.0.2.3"]).await
}

/// The names for which a pool retains addresses.
async fn retained(world: &World) -> Result<Vec<String>> {
    let pool = pools(world).get("pool").await?;
    let list = pool.data["status"]["retained"].as_array().cloned();
    let text = |one: serde_json::Value| {
        let field = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        format!(
            "{}/{} {}",
            field("namespace"),
            field("name"),
            field("address")
        )
    };
    Ok(list.unwrap_or_default().into_iter().map(text).collect())
}

async fn retains(world: &World, names: &[&str]) -> Result<()> {
    retry_until(SOON, &format!("the pool to retain {names:?}"), async || {
        let found = retained(world).await?;
        ensure!(found == names, "it retains {found:?}");
        Ok(())
    })
    .await
}

/// Two Services of which the second one goes; its address is the lower one, so a newcomer would get it.
async fn mk_departed(world: &World, retain: &str) -> Result<()> {
    let spec = json!({ "addresses": ["192.0.2.0/29"], "retain": retain });
    put(world, &[mk_pool("pool", &spec)]).await?;
    for (name, address) in [("goes", "192.0.2.0"), ("stays", "192.0.2.1")] {
        put(world, &[mk_service(name, &json!({}))]).await?;
        has(world, name, &[address]).await?;
    }
    Ok(())
}

/// Deleted and created again: the same address, also when the controller died in between, and nobody else gets it.
async fn a_service_that_comes_back_gets_its_address_back(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    mk_departed(&world, "10m").await?;
    for round in 0..3 {
        remove(&world, "goes").await?;
        retains(&world, &["default/goes 192.0.2.0"]).await?;
        if round > 0 {
            world.controllers[0].kill()?;
            world.controllers[0].restart()?;
        }
        let newcomer = format!("new-{round}");
        put(&world, &[mk_service(&newcomer, &json!({}))]).await?;
        has(&world, &newcomer, &[&format!("192.0.2.{}", round + 2)]).await?;
        if round == 1 {
            put(
                &world,
                &[mk_asking("wants", LOAD_BALANCER_IPS, "192.0.2.0")],
            )
            .await?;
            refused(
                &world,
                "wants",
                "AddressReserved",
                &["192.0.2.0", "default/goes"],
            )
            .await?;
        }
        if round == 2 {
            // While no controller runs.
            world.controllers[0].kill()?;
        }
        put(&world, &[mk_service("goes", &json!({}))]).await?;
        if round == 2 {
            world.controllers[0].restart()?;
        }
        has(&world, "goes", &["192.0.2.0"]).await?;
        retains(&world, &[]).await?;
    }
    Ok(())
}

/// The end of the retention serves who waits, at its time.
async fn the_end_of_a_retention_serves_who_waits(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    let spec = json!({ "addresses": ["192.0.2.0/32"], "retain": "4s" });
    put(&world, &[mk_pool("pool", &spec)]).await?;
    put(&world, &[mk_service("goes", &json!({}))]).await?;
    has(&world, "goes", &["192.0.2.0"]).await?;
    put(&world, &[mk_service("waits", &json!({}))]).await?;
    refused(&world, "waits", "Exhausted", &[]).await?;
    let mut witness = Witness::start(&world).await?;
    let gone = tokio::time::Instant::now();
    remove(&world, "goes").await?;
    has(&world, "waits", &["192.0.2.0"]).await?;
    let took = witness.given("waits", "192.0.2.0").await? - gone;
    println!(
        "figure: {face}: retained for 4 s, the one that waited was served {took:?} after the deletion"
    );
    let due = Duration::from_millis(3900)..Duration::from_secs(8);
    ensure!(due.contains(&took), "it was served after {took:?}");
    retains(&world, &[]).await
}

/// The name of the controller that leads.
async fn leader(world: &World) -> Result<usize> {
    let leases: Api<Lease> = Api::namespaced(world.cluster.client(), "portolan-system");
    retry_until(SOON, "a leader", async || {
        let list = leases.list(&ListParams::default()).await?;
        let mut holders = list
            .items
            .into_iter()
            .filter_map(|lease| lease.spec?.holder_identity);
        let holder = holders.find_map(|name| name.strip_prefix("controller-")?.parse().ok());
        holder.context("there is none")
    })
    .await
}

/// The leader dies, then the Service goes: the one that takes over has seen it go.
async fn a_new_leader_retains_what_went_before_its_time(face: Face) -> Result<()> {
    let mut world = mk_world(face, 2).await?;
    mk_departed(&world, "10m").await?;
    let leader = leader(&world).await?;
    let other = u16::try_from(1 - leader)?;
    retry_until(SOON, "the other one to know the cluster", async || {
        let answer = super::ask(&world, other, "/readyz").await?;
        ensure!(answer.contains(" 200 "), "it says {answer}");
        Ok(())
    })
    .await?;
    world.controllers[leader].kill()?;
    remove(&world, "goes").await?;
    put(&world, &[mk_service("new", &json!({}))]).await?;
    has(&world, "new", &["192.0.2.2"]).await?;
    retains(&world, &["default/goes 192.0.2.0"]).await?;
    world.controllers[leader].restart()?;
    put(&world, &[mk_service("goes", &json!({}))]).await?;
    has(&world, "goes", &["192.0.2.0"]).await
}

/// Reserved before the Service exists, in a pool that gives nothing by itself; nobody else gets it.
async fn a_reservation_waits_for_its_service(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    let reserve = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(name, address)| {
            let (namespace, name) = super::parts(name);
            json!({ "namespace": namespace, "name": name, "address": address })
        });
        json!({ "reservations": entries.collect::<Vec<_>>() })
    };
    put(
        &world,
        &[
            mk_namespace("team", &json!({})),
            mk_ranges("pool", &["192.0.2.0-192.0.2.2"]),
            mk_ranges("manual", &["198.51.100.0/28"]),
        ],
    )
    .await?;
    edit_pool(&world, "manual", &json!({ "autoAssign": false })).await?;
    edit_pool(
        &world,
        "manual",
        &reserve(&[("team/later", "198.51.100.5")]),
    )
    .await?;
    edit_pool(&world, "pool", &reserve(&[("team/first", "192.0.2.0")])).await?;
    for name in ["pool", "manual"] {
        pool_says(&world, name, "Accepted", "True", None).await?;
        pool_says(&world, name, "ReservationsHeld", "True", None).await?;
    }
    put(&world, &[mk_service("default/auto", &json!({}))]).await?;
    has(&world, "auto", &["192.0.2.1"]).await?;
    for (name, address) in [("first", "192.0.2.0"), ("later", "198.51.100.5")] {
        // The same name in another namespace is another Service.
        put(&world, &[mk_asking(name, LOAD_BALANCER_IPS, address)]).await?;
        let keeper = format!("team/{name}");
        refused(&world, name, "AddressReserved", &[address, &keeper]).await?;
    }
    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    put(
        &world,
        &[
            mk_service("team/later", &json!({})),
            mk_service("team/first", &json!({})),
        ],
    )
    .await?;
    has(&world, "team/later", &["198.51.100.5"]).await?;
    has(&world, "team/first", &["192.0.2.0"]).await?;

    // Somebody has it already: he keeps it, and the pool says so, until he moves.
    edit_pool(&world, "pool", &reserve(&[("team/late", "192.0.2.1")])).await?;
    let words = pool_says(
        &world,
        "pool",
        "ReservationsHeld",
        "False",
        Some("HeldByAnother"),
    )
    .await?;
    ensure!(
        words.contains("default/auto") && words.contains("192.0.2.1"),
        "{words}"
    );
    put(&world, &[mk_service("team/late", &json!({}))]).await?;
    has(&world, "team/late", &["192.0.2.2"]).await?;
    assert_eq!(shown(&world, "auto").await?, ["192.0.2.1"]);
    edit(
        &world,
        "auto",
        &super::annotated(LOAD_BALANCER_IPS, "198.51.100.9"),
    )
    .await?;
    has(&world, "auto", &["198.51.100.9"]).await?;
    pool_says(&world, "pool", "ReservationsHeld", "True", None).await?;
    // Without a reservation it is an address like any other.
    edit_pool(&world, "manual", &reserve(&[])).await?;
    remove(&world, "team/later").await?;
    has(&world, "later", &["198.51.100.5"]).await?;
    served(&world, "team/late", 1).await.map(drop)
}

on_both_faces!(
    a_quota_limits_a_namespace_and_takes_nothing_away,
    a_service_that_comes_back_gets_its_address_back,
    the_end_of_a_retention_serves_who_waits,
    a_new_leader_retains_what_went_before_its_time,
    a_reservation_waits_for_its_service
);
