//! Addresses that another load balancer gave, or a person: taken over as they are where a pool has them, left alone where
//! none has.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::retry_until;
use portolan_tests::world::{SOON, World};
use serde_json::{Value, json};

use super::judge::violations;
use super::witness::Witness;
use super::{
    and, annotated, edit_status, has, ips, mk_dual, mk_ranges, mk_service, mk_world, put, refused,
    services, shown, verdict,
};

/// What a load balancer leaves behind: the Service, the entries of its status, and more of the status.
struct Estate {
    service: Value,
    status: Value,
}

fn mk_estate(service: Value, status: Value) -> Estate {
    Estate { service, status }
}

/// As MetalLB 0.16 leaves it.
fn mk_metallb(name: &str, address: &str) -> Estate {
    let annotation = annotated("metallb.io/ip-allocated-from-pool", "their-pool");
    let status = json!({ "loadBalancer": { "ingress": [{ "ip": address }] } });
    mk_estate(mk_service(name, &annotation), status)
}

/// As Cilium 1.18 leaves it.
fn mk_cilium(name: &str, address: &str) -> Estate {
    let condition = json!({
        "type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({
        "loadBalancer": { "ingress": [{ "ip": address, "ipMode": "VIP" }] }, "conditions": [condition],
    });
    mk_estate(mk_service(name, &json!({})), status)
}

/// As kube-vip 1.0 leaves it: it writes the wish as well.
fn mk_kube_vip(name: &str, address: &str) -> Estate {
    let wish = and(
        annotated("kube-vip.io/loadbalancerIPs", address),
        &json!({ "spec": { "loadBalancerIP": address } }),
    );
    let status = json!({ "loadBalancer": { "ingress": [{ "ip": address, "ipMode": "VIP" }] } });
    mk_estate(mk_service(name, &wish), status)
}

async fn leave(world: &World, name: &str, estate: &Estate) -> Result<()> {
    put(world, std::slice::from_ref(&estate.service)).await?;
    let patch = Patch::Merge(json!({ "status": estate.status }));
    let written = services(world, name)
        .patch_status(name, &PatchParams::default(), &patch)
        .await;
    written
        .map(drop)
        .with_context(|| format!("the status of {name}"))
}

/// Waits until a Service is told that it has what it has.
async fn adopted(world: &World, name: &str) -> Result<()> {
    let what = format!("Service {name} to be taken over");
    retry_until(SOON, &what, async || {
        let told = verdict(world, name).await?;
        ensure!(told.status == "True", "it is told {told:?}");
        Ok(())
    })
    .await
}

/// The other load balancer is gone, our controller starts: nobody's address changes, and a newcomer gets none of them.
async fn what_others_gave_is_taken_over(face: Face) -> Result<()> {
    let mut world = mk_world(face, 0).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.0/28"])]).await?;
    let estates = [
        ("metallb", mk_metallb("metallb", "192.0.2.1"), "192.0.2.1"),
        ("cilium", mk_cilium("cilium", "192.0.2.3"), "192.0.2.3"),
        (
            "kube-vip",
            mk_kube_vip("kube-vip", "192.0.2.5"),
            "192.0.2.5",
        ),
    ];
    for (name, estate, _) in &estates {
        leave(&world, name, estate).await?;
    }
    let mut witness = Witness::start(&world).await?;
    world.controllers.push(world.start_controller(0)?);
    for (name, estate, address) in &estates {
        adopted(&world, name).await?;
        assert_eq!(witness.history(name).await?, [ips(&[address])], "{name}");
        let service = services(&world, name).get(name).await?;
        let annotations = service.metadata.annotations.unwrap_or_default();
        assert_eq!(
            annotations.get("portolan.dev/pool").map(String::as_str),
            Some("pool"),
            "{name}"
        );
        for (key, value) in estate.service["metadata"]["annotations"]
            .as_object()
            .into_iter()
            .flatten()
        {
            assert_eq!(
                annotations.get(key).map(String::as_str),
                value.as_str(),
                "{name} keeps {key}"
            );
        }
        let theirs = estate.status["conditions"].as_array().into_iter().flatten();
        let conditions = service
            .status
            .unwrap_or_default()
            .conditions
            .unwrap_or_default();
        for condition in theirs {
            let kept = conditions
                .iter()
                .any(|it| condition["type"] == it.type_.as_str());
            assert!(kept, "{name} keeps {condition}: {conditions:?}");
        }
    }
    for (name, address) in [
        ("new-0", "192.0.2.0"),
        ("new-1", "192.0.2.2"),
        ("new-2", "192.0.2.4"),
        ("new-3", "192.0.2.6"),
    ] {
        put(&world, &[mk_service(name, &json!({}))]).await?;
        has(&world, name, &[address]).await?;
    }
    let found = violations(&witness.log().await?);
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// No pool has the address: it is not ours to judge. As soon as a pool has it, it is.
async fn what_no_pool_has_is_left_alone(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.0/28"])]).await?;
    let estates = [
        (
            "metallb",
            mk_metallb("metallb", "203.0.113.1"),
            "203.0.113.1",
        ),
        ("cilium", mk_cilium("cilium", "203.0.113.2"), "203.0.113.2"),
        (
            "kube-vip",
            mk_kube_vip("kube-vip", "203.0.113.3"),
            "203.0.113.3",
        ),
    ];
    // Before we see the Service for the first time: to one without any address we give one.
    world.controllers[0].kill()?;
    for (name, estate, _) in &estates {
        leave(&world, name, estate).await?;
    }
    let mut witness = Witness::start(&world).await?;
    world.controllers[0].restart()?;
    for (name, _, address) in &estates {
        refused(&world, name, "AddressOutsidePools", &[address]).await?;
    }
    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    put(&world, &[mk_ranges("theirs", &["203.0.113.0/29"])]).await?;
    for (name, _, address) in &estates {
        adopted(&world, name).await?;
        assert_eq!(witness.history(name).await?, [ips(&[address])], "{name}");
    }
    Ok(())
}

/// The entries of a status, as they are.
async fn entries(world: &World, name: &str) -> Result<Vec<(Option<String>, Option<String>)>> {
    let status = services(world, name).get(name).await?.status;
    let entries = status
        .unwrap_or_default()
        .load_balancer
        .unwrap_or_default()
        .ingress;
    Ok(entries
        .unwrap_or_default()
        .into_iter()
        .map(|entry| (entry.ip, entry.hostname))
        .collect())
}

/// A host name is not an address: it stays where it is, beside ours.
async fn host_names_stay(face: Face) -> Result<()> {
    let world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.1-192.0.2.9"])]).await?;
    put(&world, &[mk_service("web", &json!({}))]).await?;
    has(&world, "web", &["192.0.2.1"]).await?;
    let host = json!({ "hostname": "web.example.com" });
    edit_status(&world, "web", &json!([host, { "ip": "192.0.2.1" }])).await?;
    put(&world, &[mk_service("beacon", &json!({}))]).await?;
    has(&world, "beacon", &["192.0.2.2"]).await?;
    let expected = |address: &str| {
        let mut entries = [
            (Some(address.to_owned()), None),
            (None, Some("web.example.com".to_owned())),
        ];
        entries.sort();
        entries
    };
    let sorted = async || -> Result<Vec<_>> {
        let mut entries = entries(&world, "web").await?;
        entries.sort();
        Ok(entries)
    };
    assert_eq!(sorted().await?, expected("192.0.2.1"));
    // The name alone: the address comes back beside it.
    edit_status(&world, "web", &json!([host])).await?;
    retry_until(SOON, "the address beside the name", async || {
        let entries = sorted().await?;
        ensure!(entries == expected("192.0.2.1"), "there are {entries:?}");
        Ok(())
    })
    .await?;
    super::edit(
        &world,
        "web",
        &annotated(super::LOAD_BALANCER_IPS, "192.0.2.7"),
    )
    .await?;
    retry_until(SOON, "another address beside the name", async || {
        let entries = sorted().await?;
        ensure!(entries == expected("192.0.2.7"), "there are {entries:?}");
        Ok(())
    })
    .await
}

/// The first lawful one of each family is kept, the rest goes and is free again.
async fn of_too_many_entries_the_first_lawful_ones_are_kept(face: Face) -> Result<()> {
    let mut world = mk_world(face, 0).await?;
    put(
        &world,
        &[mk_ranges("pool", &["192.0.2.0/28", "2001:db8::/124"])],
    )
    .await?;
    let list = |addresses: &[&str]| {
        let entries: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        json!({ "loadBalancer": { "ingress": entries } })
    };
    put(&world, &[mk_dual("three")]).await?;
    let three = list(&["192.0.2.4", "192.0.2.3", "2001:db8::7"]);
    leave(&world, "three", &mk_estate(mk_dual("three"), three)).await?;
    let two = list(&["192.0.2.6", "192.0.2.5"]);
    leave(
        &world,
        "two",
        &mk_estate(mk_service("two", &json!({})), two),
    )
    .await?;
    world.controllers.push(world.start_controller(0)?);
    has(&world, "three", &["192.0.2.4", "2001:db8::7"]).await?;
    has(&world, "two", &["192.0.2.6"]).await?;
    for address in ["192.0.2.3", "192.0.2.5"] {
        let name = format!("takes-{}", address.replace('.', "-"));
        put(
            &world,
            &[mk_service(
                &name,
                &annotated(super::LOAD_BALANCER_IPS, address),
            )],
        )
        .await?;
        has(&world, &name, &[address]).await?;
    }
    Ok(())
}

/// A person writes another address into the status: a free one of a pool is taken over, the former one is free.
async fn an_address_written_by_hand_is_taken_over(face: Face) -> Result<()> {
    let mut world = mk_world(face, 1).await?;
    put(&world, &[mk_ranges("pool", &["192.0.2.1-192.0.2.9"])]).await?;
    put(&world, &[mk_service("web", &json!({}))]).await?;
    has(&world, "web", &["192.0.2.1"]).await?;
    edit_status(&world, "web", &json!([{ "ip": "192.0.2.5" }])).await?;
    put(
        &world,
        &[mk_service(
            "next",
            &annotated(super::LOAD_BALANCER_IPS, "192.0.2.1"),
        )],
    )
    .await?;
    has(&world, "next", &["192.0.2.1"]).await?;
    world.controllers[0].kill()?;
    world.controllers[0].restart()?;
    put(&world, &[mk_service("beacon", &json!({}))]).await?;
    has(&world, "beacon", &["192.0.2.2"]).await?;
    assert_eq!(shown(&world, "web").await?, ["192.0.2.5"]);
    Ok(())
}

on_both_faces!(
    what_others_gave_is_taken_over,
    what_no_pool_has_is_left_alone,
    host_names_stay,
    of_too_many_entries_the_first_lawful_ones_are_kept,
    an_address_written_by_hand_is_taken_over
);
