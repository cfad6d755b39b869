//! Stations outside the cluster that use addresses of pools, as a speaker reports them: who moves, who stays, who is told.
//!
//! The reports are written by hand, for a node that does not exist; that speakers write them is shown on the wire elsewhere.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use portolan_api::annotation::{COMPONENT, SPEAKER_LEASE_PREFIX};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::{Value, json};

use super::witness::Witness;
use super::{
    LOAD_BALANCER_IPS, and, annotated, events, has, ips, mk_asking, mk_dual, mk_pool, mk_ranges,
    mk_service, mk_sharing, mk_world, pools, put, refused, remove, verdict,
};

const NODE: &str = "watcher";
const MAC: &str = "02:00:00:00:00:66";

/// The speaker of a node that is alive for as long as the scenario lasts.
struct Watcher {
    reports: Api<DynamicObject>,
}

impl Watcher {
    async fn start(world: &World) -> Result<Self> {
        let client = world.cluster.client();
        let leases: Api<Lease> = Api::namespaced(client.clone(), "portolan-system");
        let lease = serde_json::from_value(json!({
            "metadata": {
                "name": format!("{SPEAKER_LEASE_PREFIX}{NODE}"),
                "labels": { COMPONENT: "speaker" },
            },
            "spec": { "holderIdentity": NODE, "leaseDurationSeconds": 3600 },
        }))?;
        leases.create(&PostParams::default(), &lease).await?;
        let kind = GroupVersionKind::gvk("portolan.dev", "v1alpha1", "NodeReport");
        let resource = ApiResource::from_gvk(&kind);
        let reports: Api<DynamicObject> = Api::all_with(client, &resource);
        let report = DynamicObject::new(NODE, &resource).data(json!({ "spec": {} }));
        reports.create(&PostParams::default(), &report).await?;
        Ok(Self { reports })
    }

    /// Reports strangers on these addresses, heard a moment ago.
    async fn report(&self, addresses: &[&str], before_use: bool) -> Result<()> {
        let conflict = |address: &&str| {
            json!({
                "address": address, "mac": MAC, "interface": "eth7",
                "last": Timestamp::now().to_string(), "beforeUse": before_use,
            })
        };
        let conflicts: Vec<Value> = addresses.iter().map(conflict).collect();
        let patch = Patch::Merge(json!({ "status": { "conflicts": conflicts } }));
        let patched = self
            .reports
            .patch_status(NODE, &PatchParams::default(), &patch)
            .await;
        patched.map(drop).context("changing the report")
    }
}

/// Waits until a pool says exactly this of its quarantine: the addresses, and how many IPv4 addresses are free.
async fn shut(world: &World, addresses: &[&str], free: i64) -> Result<()> {
    let what = format!("the pool to have {addresses:?} in quarantine, and {free} free");
    retry_until(SOON, &what, async || {
        let pool = pools(world).get("pool").await?;
        let status = &pool.data["status"];
        let records = status["quarantined"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found: Vec<&str> = records
            .iter()
            .filter_map(|one| one["address"].as_str())
            .collect();
        let told = records.iter().all(|one| {
            one["mac"] == MAC
                && one["node"] == NODE
                && one["interface"] == "eth7"
                && one["since"].is_string()
        });
        let count = status["quarantinedCount"].as_u64().unwrap_or_default();
        let same = found == addresses && usize::try_from(count)? == addresses.len();
        ensure!(
            same && told && status["availableIPv4"] == free,
            "it says {status}"
        );
        Ok(())
    })
    .await
}

/// Waits until a Service is served, and warned in words that contain all of these.
async fn warned(world: &World, name: &str, words: &[&str]) -> Result<()> {
    let what = format!("Service {name} to be warned with {words:?}");
    retry_until(SOON, &what, async || {
        let told = verdict(world, name).await?;
        let warned = told.status == "True" && told.reason == "AddressConflict";
        ensure!(
            warned && words.iter().all(|word| told.message.contains(word)),
            "it is told {told:?}"
        );
        Ok(())
    })
    .await
}

/// Waits for the one event about a conflict.
async fn told_once(world: &World, name: &str, words: &[&str]) -> Result<()> {
    let what = format!("one event for Service {name} with {words:?}");
    retry_until(SOON, &what, async || {
        let told = events(world, name, "AddressConflict").await?;
        let [(note, 1)] = told.as_slice() else {
            anyhow::bail!("it is told {told:?}");
        };
        ensure!(
            words.iter().all(|word| note.contains(word)),
            "it is told {note}"
        );
        Ok(())
    })
    .await
}

/// Nobody has used it yet: the Service gets the next one, nobody gets the first, and a restart forgets nothing.
async fn a_fresh_address_of_a_stranger_is_left_for_the_next_one(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    let watcher = Watcher::start(&world).await?;
    put(
        &world,
        &[mk_ranges("pool", &["192.0.2.0/29", "2001:db8::/125"])],
    )
    .await?;
    put(&world, &[mk_dual("fresh")]).await?;
    has(&world, "fresh", &["192.0.2.0", "2001:db8::"]).await?;
    let mut witness = Witness::start(&world).await?;
    let began = tokio::time::Instant::now();
    watcher.report(&["192.0.2.0"], true).await?;
    has(&world, "fresh", &["192.0.2.1", "2001:db8::"]).await?;
    let took = witness.given("fresh", "192.0.2.1").await? - began;
    println!("figure: {face}: the next address after the report of a stranger: {took:?}");
    told_once(
        &world,
        "fresh",
        &["192.0.2.0", "192.0.2.1", MAC, NODE, "eth7"],
    )
    .await?;
    shut(&world, &["192.0.2.0"], 6).await?;
    watcher.report(&[], true).await?;
    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    put(&world, &[mk_service("next", &json!({}))]).await?;
    has(&world, "next", &["192.0.2.2"]).await?;
    put(
        &world,
        &[mk_asking("wants", LOAD_BALANCER_IPS, "192.0.2.0")],
    )
    .await?;
    refused(
        &world,
        "wants",
        "AddressQuarantined",
        &["192.0.2.0", MAC, NODE, "eth7"],
    )
    .await?;
    shut(&world, &["192.0.2.0"], 5).await?;
    assert_eq!(
        witness.history("fresh").await?,
        [
            ips(&["192.0.2.0", "2001:db8::"]),
            ips(&["192.0.2.1", "2001:db8::"])
        ]
    );
    Ok(())
}

/// Those who share an address go together; with one among them who asked for it by name, they stay together.
async fn sharers_leave_a_stranger_together_or_not_at_all(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    let watcher = Watcher::start(&world).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.0/29"])]).await?;
    put(
        &world,
        &[
            mk_sharing("one", "k", "TCP", 80),
            mk_sharing("two", "k", "TCP", 443),
        ],
    )
    .await?;
    has(&world, "one", &["192.0.2.0"]).await?;
    has(&world, "two", &["192.0.2.0"]).await?;
    watcher.report(&["192.0.2.0"], true).await?;
    has(&world, "one", &["192.0.2.1"]).await?;
    has(&world, "two", &["192.0.2.1"]).await?;
    let by_name = annotated(LOAD_BALANCER_IPS, "192.0.2.1");
    put(
        &world,
        &[and(mk_sharing("three", "k", "TCP", 8080), &by_name)],
    )
    .await?;
    has(&world, "three", &["192.0.2.1"]).await?;
    watcher.report(&["192.0.2.0", "192.0.2.1"], true).await?;
    for name in ["one", "two", "three"] {
        warned(&world, name, &["192.0.2.1", MAC, NODE, "eth7"]).await?;
        has(&world, name, &["192.0.2.1"]).await?;
    }
    Ok(())
}

/// Asked for by name, or nowhere to go: the address stays, its user is told, and newcomers are told why there is none.
async fn whoever_can_not_move_is_told_and_so_is_whoever_gets_nothing(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    let watcher = Watcher::start(&world).await?;
    let spec = json!({ "addresses": ["192.0.2.0-192.0.2.2"] });
    put(&world, &[mk_pool("pool", &spec)]).await?;
    put(
        &world,
        &[mk_asking("named", LOAD_BALANCER_IPS, "192.0.2.0")],
    )
    .await?;
    has(&world, "named", &["192.0.2.0"]).await?;
    put(&world, &[mk_service("any", &json!({}))]).await?;
    has(&world, "any", &["192.0.2.1"]).await?;
    let mut witness = Witness::start(&world).await?;
    watcher
        .report(&["192.0.2.0", "192.0.2.1", "192.0.2.2"], true)
        .await?;
    for (name, address) in [("named", "192.0.2.0"), ("any", "192.0.2.1")] {
        warned(
            &world,
            name,
            &[address, MAC, NODE, "eth7", LOAD_BALANCER_IPS],
        )
        .await?;
        told_once(&world, name, &[address, MAC]).await?;
    }
    shut(&world, &["192.0.2.0", "192.0.2.1", "192.0.2.2"], 0).await?;
    put(&world, &[mk_service("late", &json!({}))]).await?;
    refused(
        &world,
        "late",
        "Exhausted",
        &["in quarantine", "excludedAddresses"],
    )
    .await?;
    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    put(&world, &[mk_asking("later", super::ADDRESS_POOL, "pool")]).await?;
    refused(&world, "later", "Exhausted", &["in quarantine"]).await?;
    for (name, address) in [("named", "192.0.2.0"), ("any", "192.0.2.1")] {
        assert_eq!(witness.history(name).await?, [ips(&[address])], "{name}");
    }
    // An address that its Service gives up stays shut.
    remove(&world, "any").await?;
    shut(&world, &["192.0.2.0", "192.0.2.1", "192.0.2.2"], 0).await?;
    refused(&world, "late", "Exhausted", &["in quarantine"])
        .await
        .map(drop)
}

/// Heard while the address is in use: nobody moves, nothing is shut, and the user is told for as long as it lasts.
async fn a_stranger_that_is_heard_later_is_told_and_moves_nobody(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    let watcher = Watcher::start(&world).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.0/29"])]).await?;
    put(&world, &[mk_service("used", &json!({}))]).await?;
    has(&world, "used", &["192.0.2.0"]).await?;
    let mut witness = Witness::start(&world).await?;
    watcher.report(&["192.0.2.0"], false).await?;
    warned(&world, "used", &["192.0.2.0", MAC, NODE, "eth7"]).await?;
    told_once(&world, "used", &["192.0.2.0", MAC]).await?;
    shut(&world, &[], 7).await?;
    put(&world, &[mk_service("next", &json!({}))]).await?;
    has(&world, "next", &["192.0.2.1"]).await?;
    assert_eq!(witness.history("used").await?, [ips(&["192.0.2.0"])]);
    Ok(())
}

on_both_faces!(
    a_fresh_address_of_a_stranger_is_left_for_the_next_one,
    sharers_leave_a_stranger_together_or_not_at_all,
    whoever_can_not_move_is_told_and_so_is_whoever_gets_nothing,
    a_stranger_that_is_heard_later_is_told_and_moves_nobody
);
