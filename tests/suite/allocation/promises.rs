//! Who has an address keeps it, and who waits for one gets it as soon as it is free: the places where MetalLB 0.16 does
//! otherwise.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use portolan_api::SPEAKER_CONFIG;
use portolan_api::crd::SpeakerConfig;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::json;

use super::witness::Witness;
use super::{
    ADDRESS_POOL, LOAD_BALANCER_IPS, and, annotated, edit, edit_pool, edit_status, has, ips,
    mk_asking, mk_dual, mk_ranges, mk_service, mk_world, pool_says, put, refused, remove,
    remove_pool, served, shown, verdict,
};

/// From a release to the next owner, on a machine that does many other things. MetalLB: never.
const AT_ONCE: Duration = Duration::from_secs(5);

/// MetalLB gives it the lower address that is free.
async fn a_wiped_status_gets_its_own_address_back(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    let ranges = ["192.0.2.0/28", "2001:db8::/124"];
    put(&world, &[mk_ranges("pool", &ranges), mk_dual("lower")]).await?;
    has(&world, "lower", &["192.0.2.0", "2001:db8::"]).await?;
    let v4 = |number: usize| json!({ "ip": format!("192.0.2.{number}") });
    let v6 = |number: usize| json!({ "ip": format!("2001:db8::{number}") });
    // One Service for each: whoever does it again and again to the same one is a program, see `rivals`.
    let rows = [
        ("all", json!(null)),
        ("an empty list", json!([])),
        ("the second family", json!([v4(3)])),
        ("the first family", json!([v6(4)])),
        ("an address of no pool", json!([{ "ip": "203.0.113.1" }])),
        ("somebody else's address", json!([v4(1), v6(6)])),
    ];
    for (number, (row, _)) in (1..).zip(&rows) {
        let (name, v4, v6) = own(number);
        put(&world, &[mk_dual(&name)]).await?;
        has(&world, &name, &[&v4, &v6]).await.context(*row)?;
    }
    remove(&world, "lower").await?;
    let mut witness = Witness::start(&world).await?;
    for (number, (row, ingress)) in (1..).zip(&rows) {
        let (name, v4, v6) = own(number);
        edit_status(&world, &name, ingress).await?;
        has(&world, &name, &[&v4, &v6]).await.context(*row)?;
        let own = ips(&[&v4, &v6]);
        let history = witness.history(&name).await?;
        // What it had, what the row wrote, what it has.
        let others = history.iter().filter(|list| **list != own).count();
        assert_eq!(others, 1, "{row}: it had {history:?}");
        assert_eq!(verdict(&world, &name).await?.reason, "Assigned", "{row}");
    }
    Ok(())
}

/// The Services of [`a_wiped_status_gets_its_own_address_back`], with what each has.
fn own(number: usize) -> (String, String, String) {
    (
        format!("wiped-{number}"),
        format!("192.0.2.{number}"),
        format!("2001:db8::{number}"),
    )
}

/// MetalLB turns it over with every pass.
async fn a_dual_stack_status_keeps_its_order(face: Face) -> Result<()> {
    let mut world = mk_world(face, 2).await?;
    put(
        &world,
        &[mk_ranges("pool", &["192.0.2.0/24", "2001:db8::/120"])],
    )
    .await?;
    let names = ["plain", "v6-first", "exact", "exact-v6-first"];
    let v6_first = json!({ "spec": { "ipFamilies": ["IPv6", "IPv4"] } });
    put(
        &world,
        &[
            mk_dual("plain"),
            and(mk_dual("v6-first"), &v6_first),
            and(
                mk_dual("exact"),
                &annotated(LOAD_BALANCER_IPS, "2001:db8::80,192.0.2.80"),
            ),
            and(
                and(mk_dual("exact-v6-first"), &v6_first),
                &annotated(LOAD_BALANCER_IPS, "192.0.2.81,2001:db8::81"),
            ),
        ],
    )
    .await?;
    for name in names {
        served(&world, name, 2).await?;
    }
    let mut witness = Witness::start(&world).await?;
    for round in 0..4 {
        let controller = &mut world.controllers[round % 2];
        controller.kill()?;
        controller.restart()?;
        for name in names {
            let labels = json!({ "metadata": { "labels": { "round": round.to_string() } } });
            edit(&world, name, &labels).await?;
        }
        let grown = format!("198.51.100.{round}/32");
        let ranges = ["192.0.2.0/24", "2001:db8::/120", &grown];
        edit_pool(&world, "pool", &json!({ "addresses": ranges })).await?;
        put(&world, &[mk_service(&format!("next-{round}"), &json!({}))]).await?;
        served(&world, &format!("next-{round}"), 1).await?;
    }
    for name in names {
        let history = witness.history(name).await?;
        assert_eq!(history.len(), 1, "{name} had {history:?}");
    }
    Ok(())
}

/// MetalLB wakes nobody when a holder moves; here who waits is served in the same breath, by whatever it waits for.
async fn a_holder_that_moves_serves_who_waits(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(
        &world,
        &[
            mk_ranges("small", &["192.0.2.1/32"]),
            mk_ranges("z-other", &["198.51.100.0/29"]),
        ],
    )
    .await?;
    edit_pool(&world, "z-other", &json!({ "autoAssign": false })).await?;
    pool_says(&world, "z-other", "Accepted", "True", None).await?;
    put(&world, &[mk_service("holder", &json!({}))]).await?;
    has(&world, "holder", &["192.0.2.1"]).await?;
    let waiting = [
        mk_asking("asks-for-it", LOAD_BALANCER_IPS, "192.0.2.1"),
        mk_asking("asks-for-the-pool", ADDRESS_POOL, "small"),
        mk_service("asks-for-any", &json!({})),
    ];
    put(&world, &waiting).await?;
    refused(
        &world,
        "asks-for-it",
        "AddressTaken",
        &["192.0.2.1", "default/holder"],
    )
    .await?;
    refused(&world, "asks-for-the-pool", "Exhausted", &["small"]).await?;
    refused(&world, "asks-for-any", "Exhausted", &[]).await?;

    // Each mover makes room for the next one: by a wish for an exact address, by a wish for a pool, by deletion.
    let mut witness = Witness::start(&world).await?;
    edit(
        &world,
        "holder",
        &annotated(LOAD_BALANCER_IPS, "198.51.100.7"),
    )
    .await?;
    has(&world, "asks-for-it", &["192.0.2.1"]).await?;
    has(&world, "holder", &["198.51.100.7"]).await?;
    let left = witness.given("holder", "198.51.100.7").await?;
    let took = witness.given("asks-for-it", "192.0.2.1").await? - left;
    println!("figure: {face}: a holder moved, the one that waited was served {took:?} later");
    ensure!(took < AT_ONCE, "it waited {took:?}");

    let moves = json!({ "metadata": { "annotations": { LOAD_BALANCER_IPS: null, ADDRESS_POOL: "z-other" } } });
    edit(&world, "asks-for-it", &moves).await?;
    has(&world, "asks-for-the-pool", &["192.0.2.1"]).await?;
    assert_eq!(served(&world, "asks-for-it", 1).await?, ["198.51.100.0"]);
    remove(&world, "asks-for-the-pool").await?;
    has(&world, "asks-for-any", &["192.0.2.1"]).await
}

/// A holder whose wish can not be fulfilled stays where it is, and is still there when it can.
async fn a_wish_that_fails_costs_nothing(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.1-192.0.2.4"])]).await?;
    for name in ["first", "second"] {
        put(&world, &[mk_service(name, &json!({}))]).await?;
        served(&world, name, 1).await?;
    }
    let mut witness = Witness::start(&world).await?;
    edit(&world, "second", &annotated(LOAD_BALANCER_IPS, "192.0.2.1")).await?;
    let words = ["192.0.2.1 is held by Service default/first", "192.0.2.2"];
    refused(&world, "second", "AddressTaken", &words).await?;
    assert_eq!(shown(&world, "second").await?, ["192.0.2.2"]);
    remove(&world, "first").await?;
    has(&world, "second", &["192.0.2.1"]).await?;
    let history = witness.history("second").await?;
    assert_eq!(history, [ips(&["192.0.2.2"]), ips(&["192.0.2.1"])]);
    Ok(())
}

/// MetalLB never frees the address of a Service that loses its class with its type.
async fn who_leaves_frees_its_address(face: Face) -> Result<()> {
    let mut world = mk_world(face, 0).await?;
    let flags = ["--lb-class", "example.com/ours"];
    let controller = world.start_controller_with(0, &flags)?;
    world.controllers.push(controller);
    put(&world, &[mk_ranges("pool", &["192.0.2.1/32"])]).await?;
    let class = json!({ "spec": { "loadBalancerClass": "example.com/ours" } });
    let of_type = |kind: &str| {
        json!({ "spec": {
            "type": kind, "loadBalancerClass": null, "allocateLoadBalancerNodePorts": null,
        }})
    };
    put(&world, &[mk_service("leaves-0", &class)]).await?;
    has(&world, "leaves-0", &["192.0.2.1"]).await?;
    for (round, (row, kind, dead)) in [
        ("to ClusterIP", Some("ClusterIP"), false),
        ("to NodePort", Some("NodePort"), false),
        (
            "to ClusterIP while no controller runs",
            Some("ClusterIP"),
            true,
        ),
        ("deleted while no controller runs", None, true),
    ]
    .into_iter()
    .enumerate()
    {
        let (leaves, waits) = (format!("leaves-{round}"), format!("leaves-{}", round + 1));
        put(&world, &[mk_service(&waits, &class)]).await?;
        refused(&world, &waits, "Exhausted", &[]).await?;
        if dead {
            world.controllers[0].kill()?;
        }
        match kind {
            Some(kind) => edit(&world, &leaves, &of_type(kind)).await?,
            None => remove(&world, &leaves).await?,
        }
        if dead {
            world.controllers[0].restart()?;
        }
        has(&world, &waits, &["192.0.2.1"]).await.context(row)?;
        if kind.is_some() {
            has(&world, &leaves, &[]).await?;
            retry_until(SOON, "our condition to go with the address", async || {
                let told = verdict(&world, &leaves).await;
                ensure!(told.is_err(), "{row}: {leaves} is told {told:?}");
                Ok(())
            })
            .await?;
        }
    }
    // Another class comes back to the type: not ours, though it was.
    let others =
        json!({ "spec": { "type": "LoadBalancer", "loadBalancerClass": "example.com/others" } });
    edit(&world, "leaves-0", &others).await?;
    let waits = mk_service("waits", &class);
    put(&world, &[waits]).await?;
    refused(&world, "waits", "Exhausted", &[]).await?;
    ensure!(verdict(&world, "leaves-0").await.is_err(), "it is not ours");
    Ok(())
}

/// MetalLB serves nothing new as long as one pool overlaps another.
async fn one_overlapping_pool_harms_nobody(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("good", &["192.0.2.0/28"])]).await?;
    put(&world, &[mk_service("before", &json!({}))]).await?;
    has(&world, "before", &["192.0.2.0"]).await?;
    remembered(&world, "good").await?;
    // Its name comes first, and it would be tried first.
    put(
        &world,
        &[mk_ranges("bad", &["192.0.2.0/30", "198.51.100.0/30"])],
    )
    .await?;
    let words = pool_says(&world, "bad", "Accepted", "False", None).await?;
    ensure!(
        words.contains("192.0.2.0") && words.contains("IPAddressPool good"),
        "{words}"
    );
    put(&world, &[mk_service("during", &json!({}))]).await?;
    has(&world, "during", &["192.0.2.1"]).await?;
    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    put(&world, &[mk_service("after-restart", &json!({}))]).await?;
    has(&world, "after-restart", &["192.0.2.2"]).await?;
    pool_says(&world, "bad", "Accepted", "False", None).await?;
    pool_says(&world, "good", "Accepted", "True", None).await?;
    assert_eq!(shown(&world, "before").await?, ["192.0.2.0"]);

    remove_pool(&world, "good").await?;
    pool_says(&world, "bad", "Accepted", "True", None).await?;
    for (name, address) in [
        ("before", "192.0.2.0"),
        ("during", "192.0.2.1"),
        ("after-restart", "192.0.2.2"),
    ] {
        has(&world, name, &[address]).await?;
    }
    put(&world, &[mk_service("last", &json!({}))]).await?;
    has(&world, "last", &["192.0.2.3"]).await
}

/// Waits until the configuration in force, which outlives controllers, has a pool: a fresh API server takes seconds to
/// create the first object of a kind.
async fn remembered(world: &World, pool: &str) -> Result<()> {
    let configs: Api<SpeakerConfig> = Api::all(world.cluster.client());
    let what = format!("pool {pool} in the configuration in force");
    retry_until(SOON, &what, async || {
        let config = configs.get(SPEAKER_CONFIG).await?;
        let names: Vec<String> = config.spec.pools.into_iter().map(|it| it.name).collect();
        ensure!(names.iter().any(|name| name == pool), "it has {names:?}");
        Ok(())
    })
    .await
}

on_both_faces!(
    a_wiped_status_gets_its_own_address_back,
    a_dual_stack_status_keeps_its_order,
    a_holder_that_moves_serves_who_waits,
    a_wish_that_fails_costs_nothing,
    who_leaves_frees_its_address,
    one_overlapping_pool_harms_nobody
);
