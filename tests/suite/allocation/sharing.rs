//! Services that share an address: who may, who may not and is told why, and that the others never notice.

use anyhow::{Context as _, Result};
use portolan_tests::kubernetes::Face;
use portolan_tests::world::World;
use serde_json::{Value, json};

use super::judge::violations;
use super::witness::Witness;
use super::{
    ALLOW_SHARED_IP, LOAD_BALANCER_IPS, and, annotated, edit, edit_pool, has, ips, mk_namespace,
    mk_ranges, mk_service, mk_sharing, mk_world, pool_says, put, refused, remove, served, shown,
};

/// The address that all of these fight for.
const SHARED: &str = "192.0.2.1";

fn mk_wanting(name: &str, key: &str, protocol: &str, port: u16) -> Value {
    let exactly = annotated(LOAD_BALANCER_IPS, SHARED);
    and(mk_sharing(name, key, protocol, port), &exactly)
}

fn mk_local(object: Value, app: &str) -> Value {
    let local = json!({ "spec": { "externalTrafficPolicy": "Local", "selector": { "app": app } } });
    and(object, &local)
}

/// A pool and a Service `first` that has its first address under key `k`, TCP port 80.
async fn mk_first(face: Face) -> Result<World> {
    let world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.1-192.0.2.9"])]).await?;
    put(&world, &[mk_sharing("first", "k", "TCP", 80)]).await?;
    has(&world, "first", &[SHARED]).await?;
    Ok(world)
}

/// Without asking for an address: the one that may be shared comes before a free one.
async fn a_key_brings_services_together(face: Face) -> Result<()> {
    let world = mk_first(face).await?;
    let mut witness = Witness::start(&world).await?;
    for (row, service, address) in [
        ("another port", mk_sharing("https", "k", "TCP", 443), SHARED),
        (
            "another protocol",
            mk_sharing("udp", "k", "UDP", 80),
            SHARED,
        ),
        (
            "the same port",
            mk_sharing("again", "k", "TCP", 80),
            "192.0.2.2",
        ),
        (
            "another key",
            mk_sharing("stranger", "l", "TCP", 8080),
            "192.0.2.3",
        ),
        ("no key", mk_service("alone", &json!({})), "192.0.2.4"),
        (
            "behind the second",
            mk_sharing("again-udp", "k", "TCP", 443),
            "192.0.2.2",
        ),
    ] {
        let name = service["metadata"]["name"].as_str().context("a name")?;
        put(&world, std::slice::from_ref(&service)).await?;
        has(&world, name, &[address]).await.context(row)?;
    }
    // Whoever goes leaves it to the others.
    remove(&world, "first").await?;
    put(&world, &[mk_sharing("next", "k", "TCP", 80)]).await?;
    has(&world, "next", &[SHARED]).await?;
    for name in ["https", "udp"] {
        let history = witness.history(name).await?;
        assert_eq!(history, [ips(&[]), ips(&[SHARED])], "{name}");
    }
    let found = violations(&witness.log().await?);
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// Each collision by its name: key, port, policy, pods.
async fn whoever_may_not_share_is_told_why(face: Face) -> Result<()> {
    let world = mk_first(face).await?;
    let words: [(&str, Value, &[&str]); 6] = [
        (
            "no-key",
            mk_service("no-key", &annotated(LOAD_BALANCER_IPS, SHARED)),
            &["default/first"],
        ),
        (
            "other-key",
            mk_wanting("other-key", "l", "TCP", 443),
            &["default/first", ALLOW_SHARED_IP],
        ),
        (
            "same-port",
            mk_wanting("same-port", "k", "TCP", 80),
            &["default/first", "TCP port 80"],
        ),
        (
            "policy",
            mk_local(mk_wanting("policy", "k", "TCP", 443), "web"),
            &["default/first", "externalTrafficPolicy"],
        ),
        (
            "one-of-two",
            and(
                mk_wanting("one-of-two", "k", "UDP", 53),
                &json!({ "spec": { "ports": [
                    { "name": "dns", "port": 53, "protocol": "UDP" },
                    { "name": "http", "port": 80, "protocol": "TCP" },
                ]}}),
            ),
            &["default/first", "TCP port 80"],
        ),
        (
            "key-of-other-case",
            mk_wanting("key-of-other-case", "K", "TCP", 443),
            &["default/first", ALLOW_SHARED_IP],
        ),
    ];
    for (name, service, words) in words {
        put(&world, &[service]).await?;
        let reason = if name == "no-key" {
            "AddressTaken"
        } else {
            "SharingConflict"
        };
        refused(&world, name, reason, words).await?;
        assert!(shown(&world, name).await?.is_empty(), "{name}");
    }
    // Each remedy helps at once.
    edit(&world, "other-key", &annotated(ALLOW_SHARED_IP, "k")).await?;
    has(&world, "other-key", &[SHARED]).await?;
    let port =
        json!({ "spec": { "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }] } });
    edit(&world, "same-port", &port).await?;
    has(&world, "same-port", &[SHARED]).await?;
    let cluster = json!({ "spec": {
        "externalTrafficPolicy": "Cluster",
        "ports": [{ "name": "http", "port": 8443, "protocol": "TCP" }],
    }});
    edit(&world, "policy", &cluster).await?;
    has(&world, "policy", &[SHARED]).await?;
    // The holder of the port goes.
    remove(&world, "first").await?;
    has(&world, "one-of-two", &[SHARED]).await
}

/// With policy Local, traffic reaches only nodes that have the pods: those must be the same.
async fn local_services_share_with_the_same_pods_only(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.1-192.0.2.9"])]).await?;
    let web = mk_local(mk_sharing("web", "k", "TCP", 80), "web");
    put(&world, &[web]).await?;
    has(&world, "web", &[SHARED]).await?;
    put(
        &world,
        &[mk_local(mk_sharing("same", "k", "TCP", 443), "web")],
    )
    .await?;
    has(&world, "same", &[SHARED]).await?;
    put(
        &world,
        &[mk_local(mk_wanting("other", "k", "TCP", 8080), "other")],
    )
    .await?;
    refused(&world, "other", "SharingConflict", &["pods", "Local"]).await?;
    let selector = json!({ "spec": { "selector": { "app": "web" } } });
    edit(&world, "other", &selector).await?;
    has(&world, "other", &[SHARED]).await
}

/// A namespace is a border, unless the pool says otherwise.
async fn namespaces_share_only_where_the_pool_allows_it(face: Face) -> Result<()> {
    let world = mk_first(face).await?;
    put(&world, &[mk_namespace("other", &json!({}))]).await?;
    put(&world, &[mk_sharing("other/auto", "k", "TCP", 443)]).await?;
    has(&world, "other/auto", &["192.0.2.2"]).await?;
    put(&world, &[mk_wanting("other/exact", "k", "TCP", 8443)]).await?;
    let words = ["default/first", "namespace", "acrossNamespaces"];
    refused(&world, "other/exact", "SharingConflict", &words).await?;

    let across = |yes: bool| json!({ "sharing": { "acrossNamespaces": yes } });
    edit_pool(&world, "pool", &across(true)).await?;
    has(&world, "other/exact", &[SHARED]).await?;
    assert_eq!(
        shown(&world, "other/auto").await?,
        ["192.0.2.2"],
        "a holder stays"
    );
    // Who has it, has it.
    let mut witness = Witness::start(&world).await?;
    edit_pool(&world, "pool", &across(false)).await?;
    pool_says(&world, "pool", "Accepted", "True", None).await?;
    put(&world, &[mk_wanting("other/late", "k", "TCP", 9443)]).await?;
    refused(&world, "other/late", "SharingConflict", &words).await?;
    for name in ["other/exact", "first"] {
        assert_eq!(witness.history(name).await?, [ips(&[SHARED])], "{name}");
    }
    Ok(())
}

/// Of two who share, the one that changes has to go; alone it may change as it likes.
async fn the_one_that_changes_leaves(face: Face) -> Result<()> {
    let world = mk_first(face).await?;
    edit(&world, "first", &annotated(ALLOW_SHARED_IP, "m")).await?;
    put(&world, &[mk_sharing("second", "m", "TCP", 443)]).await?;
    has(&world, "second", &[SHARED]).await?;
    let mut witness = Witness::start(&world).await?;
    let port = json!({ "spec": { "ports": [{ "name": "http", "port": 443, "protocol": "TCP" }] } });
    edit(&world, "first", &port).await?;
    has(&world, "first", &["192.0.2.2"]).await?;
    put(&world, &[mk_sharing("third", "m", "UDP", 443)]).await?;
    has(&world, "third", &[SHARED]).await?;
    edit(
        &world,
        "third",
        &json!({ "metadata": { "annotations": { ALLOW_SHARED_IP: null } } }),
    )
    .await?;
    has(&world, "third", &["192.0.2.3"]).await?;
    assert_eq!(witness.history("second").await?, [ips(&[SHARED])]);
    served(&world, "second", 1).await.map(drop)
}

on_both_faces!(
    a_key_brings_services_together,
    whoever_may_not_share_is_told_why,
    local_services_share_with_the_same_pods_only,
    namespaces_share_only_where_the_pool_allows_it,
    the_one_that_changes_leaves
);
