//! What the edit of a pool does to those who hold its addresses: nothing, unless it takes the address itself away.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::{Value, json};

use super::judge::violations;
use super::witness::Witness;
use super::{
    ADDRESS_POOL, LOAD_BALANCER_IPS, edit_pool, has, ips, mk_asking, mk_namespace, mk_pool,
    mk_ranges, mk_service, mk_world, pool_says, put, refused, remove_pool, served,
};

/// Three Services with one address each, from a pool of its own for each scenario.
///
/// Pools and Services come by two watches in any order, so the pool is seen to be in force first: before that another pool
/// would serve them.
async fn mk_holders(world: &World, ranges: &[&str]) -> Result<()> {
    put(world, &[mk_ranges("pool", ranges)]).await?;
    pool_says(world, "pool", "Accepted", "True", None).await?;
    for (name, address) in HOLDERS {
        put(world, &[mk_service(name, &json!({}))]).await?;
        has(world, name, &[address]).await?;
    }
    Ok(())
}

const HOLDERS: [(&str, &str); 3] = [
    ("one", "192.0.2.1"),
    ("two", "192.0.2.2"),
    ("three", "192.0.2.3"),
];

/// Nobody lost an address, however briefly.
async fn ensure_unmoved(witness: &mut Witness, names: &[&str], row: &str) -> Result<()> {
    for name in names {
        let history = witness.history(name).await?;
        let own = HOLDERS.iter().find(|(holder, _)| holder == name);
        let own = own.context("no such holder")?.1;
        assert_eq!(history, [ips(&[own])], "{row}: {name}");
    }
    Ok(())
}

/// Edits after which the pool still has the addresses.
async fn edits_that_keep_an_address_keep_its_holder(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    mk_holders(&world, &["192.0.2.1-192.0.2.6"]).await?;
    let mut witness = Witness::start(&world).await?;
    let names = ["one", "two", "three"];
    let edits = [
        (
            "shrunk to what is held",
            json!({ "addresses": ["192.0.2.1-192.0.2.3"] }),
        ),
        (
            "written otherwise",
            json!({ "addresses": ["192.0.2.2/31", "192.0.2.1/32"] }),
        ),
        ("grown before", json!({ "addresses": ["192.0.2.0/29"] })),
        ("autoAssign off", json!({ "autoAssign": false })),
        (
            "excluded beside",
            json!({ "excludedAddresses": ["192.0.2.0/32", "192.0.2.4/30"] }),
        ),
        (
            "restricted to the holders",
            json!({ "serviceAllocation": { "namespaces": ["default"], "priority": 7 } }),
        ),
        (
            "autoAssign on",
            json!({ "autoAssign": true, "excludedAddresses": [] }),
        ),
    ];
    for (number, (row, spec)) in edits.into_iter().enumerate() {
        edit_pool(&world, "pool", &spec).await?;
        pool_says(&world, "pool", "Accepted", "True", None).await?;
        // Whoever is served after the edit shows that it was seen; every second time a controller starts with it.
        if number % 2 == 1 {
            world.controllers[0].kill()?;
            world.controllers[0].restart()?;
        }
        let beacon = format!("beacon-{number}");
        put(
            &world,
            &[mk_ranges(&beacon, &[&format!("198.51.100.{number}/32")])],
        )
        .await?;
        put(&world, &[mk_asking(&beacon, ADDRESS_POOL, &beacon)]).await?;
        served(&world, &beacon, 1).await?;
        ensure_unmoved(&mut witness, &names, row).await?;
    }
    let found = violations(&witness.log().await?);
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// With `autoAssign: false` only those get an address who name the pool or the address.
async fn a_pool_without_auto_assign_serves_those_who_name_it(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    mk_holders(&world, &["192.0.2.1-192.0.2.6"]).await?;
    edit_pool(&world, "pool", &json!({ "autoAssign": false })).await?;
    pool_says(&world, "pool", "Accepted", "True", None).await?;
    put(
        &world,
        &[
            mk_service("any", &json!({})),
            mk_asking("named", ADDRESS_POOL, "pool"),
            mk_asking("exact", LOAD_BALANCER_IPS, "192.0.2.6"),
        ],
    )
    .await?;
    has(&world, "named", &["192.0.2.4"]).await?;
    has(&world, "exact", &["192.0.2.6"]).await?;
    refused(&world, "any", "NoPool", &[]).await?;
    for (name, address) in HOLDERS {
        has(&world, name, &[address]).await?;
    }
    edit_pool(&world, "pool", &json!({ "autoAssign": true })).await?;
    has(&world, "any", &["192.0.2.5"]).await
}

/// Split and rename: the addresses go from one pool to another, and their holders never notice.
async fn addresses_that_change_their_pool_keep_their_holders(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    mk_holders(&world, &["192.0.2.1-192.0.2.6"]).await?;
    let mut witness = Witness::start(&world).await?;
    let names = ["one", "two", "three"];

    // The half that splits off is announced first, so nobody falls between the two.
    put(&world, &[mk_ranges("upper", &["192.0.2.3-192.0.2.6"])]).await?;
    pool_says(&world, "upper", "Accepted", "False", None).await?;
    edit_pool(
        &world,
        "pool",
        &json!({ "addresses": ["192.0.2.1-192.0.2.2"] }),
    )
    .await?;
    pool_says(&world, "upper", "Accepted", "True", None).await?;
    put(&world, &[mk_service("after-split", &json!({}))]).await?;
    has(&world, "after-split", &["192.0.2.4"]).await?;
    ensure_unmoved(&mut witness, &names, "split").await?;

    put(&world, &[mk_ranges("renamed", &["192.0.2.1-192.0.2.2"])]).await?;
    pool_says(&world, "renamed", "Accepted", "False", None).await?;
    remove_pool(&world, "pool").await?;
    pool_says(&world, "renamed", "Accepted", "True", None).await?;
    put(&world, &[mk_service("after-rename", &json!({}))]).await?;
    has(&world, "after-rename", &["192.0.2.5"]).await?;
    ensure_unmoved(&mut witness, &names, "renamed").await?;
    for (name, pool) in [("one", "renamed"), ("two", "renamed"), ("three", "upper")] {
        pool_of(&world, name, pool).await?;
    }
    let found = violations(&witness.log().await?);
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// Waits until the annotation of a Service names its pool.
async fn pool_of(world: &World, name: &str, pool: &str) -> Result<()> {
    let services = super::services(world, name);
    let what = format!("Service {name} to be told of pool {pool}");
    retry_until(SOON, &what, async || {
        let service = services.get(name).await?;
        let annotations = service.metadata.annotations.unwrap_or_default();
        let told = annotations.get("portolan.dev/pool");
        ensure!(told.is_some_and(|it| it == pool), "it is told {told:?}");
        Ok(())
    })
    .await
}

/// Edits that take an address away: its holder gets another one if there is one, the others stay.
async fn an_edit_that_takes_an_address_moves_its_holder_alone(face: Face) -> Result<()> {
    let table: [(&str, Value); 4] = [
        ("shrunk", json!({ "addresses": ["192.0.2.1-192.0.2.2"] })),
        ("excluded", json!({ "excludedAddresses": ["192.0.2.3/32"] })),
        (
            "excluded by a range",
            json!({ "excludedAddresses": ["192.0.2.3-192.0.2.6"] }),
        ),
        (
            "replaced",
            json!({ "addresses": ["192.0.2.1-192.0.2.2", "203.0.113.0/28"] }),
        ),
    ];
    let world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("z-spare", &["198.51.100.1/32"])]).await?;
    for (row, spec) in table {
        let context = || row.to_owned();
        mk_holders(&world, &["192.0.2.1-192.0.2.6"])
            .await
            .with_context(context)?;
        let mut witness = Witness::start(&world).await?;
        edit_pool(&world, "pool", &spec).await?;
        let expected = match row {
            "excluded" => "192.0.2.4",
            "replaced" => "203.0.113.0",
            _ => "198.51.100.1",
        };
        has(&world, "three", &[expected])
            .await
            .with_context(context)?;
        ensure_unmoved(&mut witness, &["one", "two"], row).await?;
        let history = witness.history("three").await?;
        assert_eq!(
            history.last(),
            Some(&ips(&[expected])),
            "{row}: {history:?}"
        );
        for (name, _) in HOLDERS {
            super::remove(&world, name).await?;
        }
        remove_pool(&world, "pool").await?;
    }
    Ok(())
}

/// No pool has the address any more, and there is no other: the holder is told, and served again with the pool.
async fn a_deleted_pool_takes_its_addresses_along(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    mk_holders(&world, &["192.0.2.1-192.0.2.3"]).await?;
    remove_pool(&world, "pool").await?;
    for (name, _) in HOLDERS {
        has(&world, name, &[]).await?;
        refused(&world, name, "NoPool", &[]).await?;
    }
    put(&world, &[mk_ranges("pool", &["192.0.2.1-192.0.2.3"])]).await?;
    for (name, _) in HOLDERS {
        served(&world, name, 1).await?;
    }
    Ok(())
}

/// Of those who wait, the one that was created first is served first, whatever their names.
async fn the_oldest_that_waits_is_served_first(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    let names = ["c-first", "a-second", "b-third"];
    for name in names {
        put(&world, &[mk_service(name, &json!({}))]).await?;
        refused(&world, name, "NoPool", &[]).await?;
        // Timestamps of Kubernetes have whole seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let mut ranges = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        ranges.push(format!("192.0.2.{number}/32"));
        let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
        put(&world, &[mk_ranges("pool", &ranges)]).await?;
        let address = format!("192.0.2.{number}");
        has(&world, name, &[&address]).await?;
        // Also by a controller that finds them waiting.
        world.controllers[0].kill()?;
        world.controllers[0].restart()?;
    }
    Ok(())
}

/// A pool that no longer admits a Service takes its address back; those whom it still admits keep theirs.
async fn a_tightened_restriction_moves_those_that_are_outside(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(
        &world,
        &[
            mk_namespace("inside", &json!({ "tier": "gold" })),
            mk_namespace("outside", &json!({ "tier": "gold" })),
            mk_ranges("pool", &["192.0.2.1-192.0.2.6"]),
        ],
    )
    .await?;
    let labelled = json!({ "metadata": { "labels": { "app": "web" } } });
    put(&world, &[mk_service("inside/web", &labelled)]).await?;
    has(&world, "inside/web", &["192.0.2.1"]).await?;
    put(&world, &[mk_service("outside/web", &labelled)]).await?;
    has(&world, "outside/web", &["192.0.2.2"]).await?;
    put(&world, &[mk_service("inside/other", &json!({}))]).await?;
    has(&world, "inside/other", &["192.0.2.3"]).await?;
    let mut witness = Witness::start(&world).await?;

    let allocation = |rules: Value| json!({ "serviceAllocation": rules });
    let gold = json!([{ "matchLabels": { "tier": "gold" } }]);
    let selectors = allocation(json!({ "namespaceSelectors": gold }));
    edit_pool(&world, "pool", &selectors).await?;
    pool_says(&world, "pool", "Accepted", "True", None).await?;
    // The namespace changes its label, not the pool.
    put(
        &world,
        &[mk_namespace("outside", &json!({ "tier": "tin" }))],
    )
    .await?;
    has(&world, "outside/web", &[]).await?;
    refused(&world, "outside/web", "NoPool", &[]).await?;
    put(
        &world,
        &[mk_namespace("outside", &json!({ "tier": "gold" }))],
    )
    .await?;
    has(&world, "outside/web", &["192.0.2.2"]).await?;

    let names = allocation(json!({ "namespaceSelectors": null, "namespaces": ["inside"] }));
    edit_pool(&world, "pool", &names).await?;
    has(&world, "outside/web", &[]).await?;

    let web = json!([{ "matchLabels": { "app": "web" } }]);
    edit_pool(
        &world,
        "pool",
        &allocation(json!({ "serviceSelectors": web })),
    )
    .await?;
    has(&world, "inside/other", &[]).await?;
    let rest = mk_pool("rest", &json!({ "addresses": ["198.51.100.0/30"] }));
    put(&world, &[rest]).await?;
    served(&world, "inside/other", 1).await?;
    served(&world, "outside/web", 1).await?;
    assert_eq!(
        witness.history("inside/web").await?,
        [ips(&["192.0.2.1"])],
        "whom the pool admitted all the time"
    );
    Ok(())
}

on_both_faces!(
    edits_that_keep_an_address_keep_its_holder,
    a_pool_without_auto_assign_serves_those_who_name_it,
    addresses_that_change_their_pool_keep_their_holders,
    an_edit_that_takes_an_address_moves_its_holder_alone,
    a_deleted_pool_takes_its_addresses_along,
    the_oldest_that_waits_is_served_first,
    a_tightened_restriction_moves_those_that_are_outside
);
