//! How pools choose and how they say that they stand: strategy, addresses of nodes, conditions, metrics.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::json;

use super::{
    LOAD_BALANCER_IPS, ask, edit_pool, events, has, mk_asking, mk_namespace, mk_pool, mk_ranges,
    mk_service, mk_world, pool_says, put, refused, remove, remove_pool, served, verdict,
};

/// Balanced fills ranges alike, FirstFit one after the other.
async fn strategies_choose_between_ranges(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    let spec = |strategy: &str| {
        json!({
            "addresses": ["192.0.2.0/29", "198.51.100.0/30"], "strategy": strategy,
        })
    };
    for (strategy, expected) in [("Balanced", (4, 2)), ("FirstFit", (6, 0))] {
        put(&world, &[mk_pool("pool", &spec(strategy))]).await?;
        pool_says(&world, "pool", "Accepted", "True", None).await?;
        let names: Vec<String> = (0..6)
            .map(|n| format!("{}-{n}", strategy.to_lowercase()))
            .collect();
        let mut given = Vec::new();
        for name in &names {
            put(&world, &[mk_service(name, &json!({}))]).await?;
            given.extend(served(&world, name, 1).await?);
        }
        let first = given.iter().filter(|ip| ip.starts_with("192.0.2.")).count();
        assert_eq!(
            (first, given.len() - first),
            expected,
            "{strategy}: {given:?}"
        );
        for name in &names {
            remove(&world, name).await?;
        }
        remove_pool(&world, "pool").await?;
    }
    Ok(())
}

/// An address that a node has itself is nobody's, not even for those who ask for it; a holder is warned and keeps it.
async fn addresses_of_nodes_are_never_given(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    let node = world.lab.nodes[0].host.address().v4.to_string();
    let after = u32::from(world.lab.nodes[0].host.address().v4) + 1;
    let last = std::net::Ipv4Addr::from(after + 2).to_string();
    let next = |n: u32| std::net::Ipv4Addr::from(after + n).to_string();
    put(&world, &[mk_ranges("pool", &[&format!("{node}-{last}")])]).await?;
    put(&world, &[mk_service("auto", &json!({}))]).await?;
    has(&world, "auto", &[&next(0)]).await?;
    put(&world, &[mk_asking("asks", LOAD_BALANCER_IPS, &node)]).await?;
    refused(&world, "asks", "AddressUsedByNode", &[&node, "node-1"]).await?;

    // A node comes up with an address that a Service has already, and with the one that is next.
    let addresses = [next(0).parse()?, next(1).parse()?];
    world
        .cluster
        .create_node_at("late", &addresses, &[])
        .await?;
    put(&world, &[mk_service("later", &json!({}))]).await?;
    has(&world, "later", &[&next(2)]).await?;
    retry_until(SOON, "the holder to be warned", async || {
        let told = verdict(&world, "auto").await?;
        ensure!(
            told.status == "True" && told.message.contains("late"),
            "it is told {told:?}"
        );
        Ok(())
    })
    .await?;
    has(&world, "auto", &[&next(0)]).await?;
    put(&world, &[mk_service("waits", &json!({}))]).await?;
    refused(&world, "waits", "Exhausted", &[]).await?;
    world
        .cluster
        .create_node_at("late", &["198.51.100.1".parse()?], &[])
        .await?;
    has(&world, "waits", &[&next(1)]).await
}

/// Waits until a metric of a pool has a value, for IPv4.
async fn measures(world: &World, metric: &str, state: Option<&str>, value: f64) -> Result<()> {
    let what = format!("{metric} {state:?} to be {value}");
    retry_until(SOON, &what, async || {
        let text = ask(world, 0, "/metrics").await?;
        let mut lines = text.lines().filter(|line| {
            line.starts_with(&format!("portolan_controller_{metric}{{"))
                && line.contains(r#"pool="pool""#)
                && line.contains(r#"family="ipv4""#)
                && state.is_none_or(|state| line.contains(&format!(r#"state="{state}""#)))
        });
        let line = lines
            .next()
            .with_context(|| format!("there is none in {text}"))?;
        let found: f64 = line.rsplit(' ').next().context("a value")?.parse()?;
        ensure!((found - value).abs() < 1e-9, "{line}");
        Ok(())
    })
    .await
}

/// The end is announced before it comes, by condition and metric, and revoked when there is room again.
async fn a_pool_says_how_full_it_is(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.0-192.0.2.9"])]).await?;
    pool_says(&world, "pool", "Ready", "True", Some("Available")).await?;
    pool_says(&world, "pool", "ExhaustedSoon", "False", Some("Enough")).await?;
    pool_says(&world, "pool", "Overlapping", "False", None).await?;
    for (count, status, reason, ready) in [
        (7, "False", "Enough", "True"),
        (8, "True", "Above80Percent", "True"),
        (9, "True", "Above90Percent", "True"),
        (10, "True", "Exhausted", "False"),
    ] {
        for number in 0..count {
            put(&world, &[mk_service(&format!("s-{number}"), &json!({}))]).await?;
        }
        pool_says(&world, "pool", "ExhaustedSoon", status, Some(reason)).await?;
        pool_says(&world, "pool", "Ready", ready, None).await?;
        measures(&world, "addresses", Some("assigned"), f64::from(count)).await?;
        measures(&world, "pool_used_ratio", None, f64::from(count) / 10.0).await?;
    }
    for number in 6..10 {
        remove(&world, &format!("s-{number}")).await?;
    }
    pool_says(&world, "pool", "ExhaustedSoon", "False", Some("Enough")).await?;
    pool_says(&world, "pool", "Ready", "True", Some("Available")).await?;
    measures(&world, "addresses", Some("available"), 4.0).await
}

/// A pool that another one always precedes says so, and names it.
async fn a_shadowed_pool_says_by_which(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(
        &world,
        &[
            mk_ranges("a-first", &["192.0.2.0/30"]),
            mk_ranges("b-behind", &["198.51.100.0/30"]),
        ],
    )
    .await?;
    let words = pool_says(&world, "b-behind", "Shadowed", "True", None).await?;
    ensure!(words.contains("a-first"), "{words}");
    pool_says(&world, "a-first", "Shadowed", "False", None).await?;
    edit_pool(&world, "a-first", &json!({ "autoAssign": false })).await?;
    pool_says(&world, "b-behind", "Shadowed", "False", None).await?;
    edit_pool(&world, "a-first", &json!({ "autoAssign": true })).await?;
    pool_says(&world, "b-behind", "Shadowed", "True", None).await?;
    // A pool for some comes first for those, not for all.
    let some = json!({ "serviceAllocation": { "namespaces": ["default"] } });
    edit_pool(&world, "a-first", &some).await?;
    pool_says(&world, "b-behind", "Shadowed", "False", None)
        .await
        .map(drop)
}

/// Whoever is not served hears of every pool what it lacks, by condition and by event, and is served by any remedy.
async fn a_refusal_says_of_each_pool_what_it_lacks(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(
        &world,
        &[
            mk_namespace("others", &json!({})),
            mk_ranges("full", &["192.0.2.0/32"]),
            mk_pool("manual", &json!({ "addresses": ["192.0.2.1/32"], "autoAssign": false })),
            mk_pool("limited", &json!({
                "addresses": ["198.51.100.0/28"], "quota": { "addressesPerNamespace": 1 },
            })),
            mk_pool("private", &json!({
                "addresses": ["192.0.2.2/32"], "serviceAllocation": { "namespaces": ["others"] },
            })),
            mk_pool("reserved", &json!({
                "addresses": ["192.0.2.3/32"],
                "reservations": [{ "namespace": "others", "name": "web", "address": "192.0.2.3" }],
            })),
            mk_ranges("v6", &["2001:db8::/120"]),
        ],
    )
    .await?;
    for (name, address) in [("one", "192.0.2.0"), ("two", "198.51.100.0")] {
        put(&world, &[mk_service(name, &json!({}))]).await?;
        has(&world, name, &[address]).await?;
    }
    put(&world, &[mk_service("waits", &json!({}))]).await?;
    let words = [
        "full has no address left",
        "manual serves only who names it",
        "limited allows a namespace 1 addresses",
        "private is restricted",
        "reserved has no address left",
    ];
    let said = refused(&world, "waits", "QuotaReached", &words).await?;
    ensure!(
        !said.contains("v6"),
        "what no IPv4 address is in is no obstacle: {said}"
    );
    retry_until(SOON, "an event with the same words", async || {
        let told = events(&world, "waits", "AllocationFailed").await?;
        ensure!(
            told.iter().any(|(note, _)| *note == said),
            "there are {told:?}"
        );
        Ok(())
    })
    .await?;
    let remedies = [
        (
            "full",
            json!({ "addresses": ["192.0.2.0/32", "203.0.113.0/32"] }),
            "203.0.113.0",
        ),
        (
            "limited",
            json!({ "quota": { "addressesPerNamespace": 2 } }),
            "198.51.100.1",
        ),
        ("manual", json!({ "autoAssign": true }), "192.0.2.1"),
        (
            "private",
            json!({ "serviceAllocation": { "namespaces": ["default"] } }),
            "192.0.2.2",
        ),
        ("reserved", json!({ "reservations": [] }), "192.0.2.3"),
    ];
    for (pool, remedy, address) in remedies {
        edit_pool(&world, pool, &remedy).await?;
        has(&world, "waits", &[address]).await.context(pool)?;
        // Taken by another one, so that the next remedy is needed.
        let heir = mk_asking(&format!("heir-of-{pool}"), LOAD_BALANCER_IPS, address);
        put(&world, &[heir]).await?;
        remove(&world, "waits").await?;
        has(&world, &format!("heir-of-{pool}"), &[address]).await?;
        put(&world, &[mk_service("waits", &json!({}))]).await?;
        refused(&world, "waits", "QuotaReached", &[])
            .await
            .context(pool)?;
    }
    Ok(())
}

on_both_faces!(
    a_refusal_says_of_each_pool_what_it_lacks,
    strategies_choose_between_ranges,
    addresses_of_nodes_are_never_given,
    a_pool_says_how_full_it_is,
    a_shadowed_pool_says_by_which
);
