//! Bad input is refused alone, with words that name object, field and remedy; everything else goes on.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{Layout, retry_until};
use portolan_tests::world::{BGP, L2, POOL, SOON, Shape, World, peer_yaml};
use serde_json::Value;

async fn mk_world(face: Face) -> Result<World> {
    let layout = Layout {
        nodes: 1,
        routers: 1,
    };
    World::start(Shape {
        layout,
        data_path: false,
        ..Shape::of(face)
    })
    .await
}

/// Waits for condition Accepted of one of our objects and returns status, reason and message.
async fn accepted(world: &World, kind: &str, name: &str) -> Result<(String, String, String)> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("portolan.dev", "v1alpha1", kind));
    let api: Api<DynamicObject> = Api::all_with(world.cluster.client(), &resource);
    retry_until(SOON, &format!("a verdict on {kind} {name}"), async || {
        let object = api.get(name).await?;
        let generation = object.metadata.generation;
        let conditions = object.data["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions
            .iter()
            .find(|condition| condition["type"] == "Accepted");
        let condition = found.with_context(|| format!("conditions are {conditions:?}"))?;
        ensure!(
            condition["observedGeneration"].as_i64() == generation,
            "the verdict is on an older version"
        );
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("reason"), text("message")))
    })
    .await
}

fn pool(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: portolan.dev/v1alpha1\nkind: IPAddressPool\nmetadata: {{ name: {name} }}\nspec: {spec}\n"
    )
}

fn service(name: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: default, annotations: {{ {annotations} }} }}\nspec: {{ type: LoadBalancer, ports: [{{ port: 80 }}] }}\n"
    )
}

/// Issue row 6: each is refused by its own condition, and a good pool serves all the while.
async fn each_bad_object_is_refused_alone(face: Face) -> Result<()> {
    let world = mk_world(face).await?;
    world.apply(POOL).await?;
    let table = [
        ("IPAddressPool", "reversed", pool("reversed", "{ addresses: [10.0.0.9-10.0.0.1] }"), "Invalid", vec!["spec.addresses", "10.0.0.9-10.0.0.1", "smaller address first"]),
        ("IPAddressPool", "overlapping", pool("overlapping", "{ addresses: [192.0.2.128/25] }"), "Conflict", vec!["spec.addresses", "192.0.2.128", "IPAddressPool pool"]),
("IPAddressPool", "quota", pool("quota", "{ addresses: [10.1.0.0/24], retain: 10m, quota: { addressesPerNamespace: 3 }, reservations: [{ namespace: a, name: b, address: 10.2.0.1 }] }"), "Invalid", vec!["spec.reservations[0].address", "10.2.0.1", "spec.addresses"]),
        ("IPAddressPool", "twice", pool("twice", "{ addresses: [10.1.0.0/24], reservations: [{ namespace: a, name: b, address: 10.1.0.1 }, { namespace: a, name: b, address: 10.1.0.2 }] }"), "Invalid", vec!["spec.reservations", "a/b", "one address of each"]),
        ("IPAddressPool", "kept-back", pool("kept-back", "{ addresses: [10.1.0.0/24], excludedAddresses: [10.1.0.1/32], reservations: [{ namespace: a, name: b, address: 10.1.0.1 }] }"), "Invalid", vec!["spec.reservations[0].address", "10.1.0.1", "spec.excludedAddresses"]),
        ("IPAddressPool", "no-address", pool("no-address", "{ addresses: [10.1.0.0/24], reservations: [{ namespace: a, name: b, address: 10.1.0.256 }] }"), "Invalid", vec!["spec.reservations[0].address", "10.1.0.256"]),
        ("BGPPeer", "hold", "apiVersion: portolan.dev/v1alpha1\nkind: BGPPeer\nmetadata: { name: hold }\nspec: { myASN: 65000, peerASN: 65001, peerAddress: 10.0.0.1, holdTime: 2s }\n".to_owned(), "Invalid", vec!["spec.holdTime", "3s"]),
        ("BGPAdvertisement", "community", "apiVersion: portolan.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: { name: community }\nspec: { communities: [nobody-knows] }\n".to_owned(), "Invalid", vec!["spec.communities", "nobody-knows", "create it"]),
        ("BFDProfile", "fast", "apiVersion: portolan.dev/v1alpha1\nkind: BFDProfile\nmetadata: { name: fast }\nspec: { authentication: { type: KeyedSHA1, keyID: 1, keySecret: { name: key, namespace: default } } }\n".to_owned(), "Invalid", vec!["spec.authentication.keySecret", "default", "put the Secret there"]),
    ];
    for (kind, name, yaml, reason, words) in table {
        world.apply(&yaml).await.with_context(|| name.to_owned())?;
        let (status, why, message) = accepted(&world, kind, name).await?;
        assert_eq!(
            (status.as_str(), why.as_str()),
            ("False", reason),
            "{name}: {message}"
        );
        for word in words {
            assert!(message.contains(word), "{name}: {message}");
        }
    }
    let (status, ..) = accepted(&world, "IPAddressPool", "pool").await?;
    assert_eq!(status, "True", "the good pool");
    world.apply(&service("served", "")).await?;
    world.vips("served", 1).await?;
    Ok(())
}

/// What the schema can say is said at `kubectl apply`, by the API server itself.
async fn what_the_schema_knows_is_refused_at_once(face: Face) -> Result<()> {
    let world = mk_world(face).await?;
    let peer = |spec: &str| {
        format!(
            "apiVersion: portolan.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{ name: bad }}\nspec: {spec}\n"
        )
    };
    let mut table = vec![
        ("AS 0", peer("{ myASN: 0, peerASN: 65001, peerAddress: 10.0.0.1 }"), "spec.myASN"),
        ("AS too large", peer("{ myASN: 65000, peerASN: 4294967296, peerAddress: 10.0.0.1 }"), "spec.peerASN"),
        ("no addresses", pool("bad", "{ addresses: [] }"), "spec.addresses"),
        ("a quota of nothing", pool("bad", "{ addresses: [10.0.0.0/24], quota: { addressesPerNamespace: 0 } }"), "spec.quota.addressesPerNamespace"),
        ("unknown strategy", pool("bad", "{ addresses: [10.0.0.0/24], strategy: BestFit }"), "spec.strategy"),
        ("a reservation for nobody", pool("bad", "{ addresses: [10.0.0.0/24], reservations: [{ namespace: a, address: 10.0.0.1 }] }"), "spec.reservations[0].name"),
        ("wrong type", pool("bad", "{ addresses: 10.0.0.0/24 }"), "spec.addresses"),
        ("unknown route", "apiVersion: portolan.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: { name: bad }\nspec: { routes: [Everything] }\n".to_owned(), "spec.routes"),
    ];
    // Rules in CEL.
    table.extend([
            ("malformed range", pool("bad", "{ addresses: [10.0.0.300-10.0.0.301] }"), "192.0.2.10-192.0.2.20"),
            ("retention of no unit", pool("bad", "{ addresses: [10.0.0.0/24], retain: '600' }"), "must be a duration such as 90s, 10m or 1h30m"),
            ("no peer AS", peer("{ myASN: 65000, peerAddress: 10.0.0.1 }"), "exactly one of peerASN and dynamicASN"),
            ("two keys", peer("{ myASN: 65000, peerASN: 65001, peerAddress: 10.0.0.1, password: x, passwordSecret: { name: y } }"), "at most one of"),
            ("a link-local address on no link", peer("{ myASN: 65000, peerASN: 65001, peerAddress: 'fe80::1' }"), "needs interface"),
            ("an address on a link that it does not need", peer("{ myASN: 65000, peerASN: 65001, peerAddress: 10.0.0.1, interface: eth0 }"), "needs interface"),
            ("no neighbour", peer("{ myASN: 65000, peerASN: 65001 }"), "peerAddress or interface"),
            ("address", peer("{ myASN: 65000, peerASN: 65001, peerAddress: router }"), "must be an IPv4 or IPv6 address"),
    ]);
    for (row, yaml, words) in table {
        let error = world
            .apply(&yaml)
            .await
            .err()
            .with_context(|| format!("{row} was accepted"))?;
        let text = format!("{error:#}");
        assert!(text.contains(words), "{row}: {text}");
    }
    Ok(())
}

/// A Service that can not be served says why by condition and event, once, and is served when the reason goes away.
async fn a_service_that_asks_for_the_impossible_says_so(face: Face) -> Result<()> {
    let world = mk_world(face).await?;
    world.apply(POOL).await?;
    let table = [
        (
            "outside",
            service("outside", "portolan.dev/loadBalancerIPs: 203.0.113.99"),
            vec!["203.0.113.99", "pool"],
        ),
        (
            "no-pool",
            service("no-pool", "portolan.dev/address-pool: missing"),
            vec!["missing"],
        ),
        (
            "malformed",
            service("malformed", "portolan.dev/loadBalancerIPs: 203.0.113.999"),
            vec!["203.0.113.999", "loadBalancerIPs"],
        ),
    ];
    for (name, yaml, words) in table {
        world.apply(&yaml).await?;
        let message = refusal(&world, name).await?;
        let event = event(&world, name).await?;
        for word in words {
            assert!(message.contains(word), "condition of {name}: {message}");
            assert!(event.contains(word), "event of {name}: {event}");
        }
        assert!(world.held(name).await?.is_empty());
    }
    world.apply(&service("served", "")).await?;
    world.vips("served", 1).await?;
    // The remedy helps at once, without touching the Service.
    world
        .apply(&pool("more", "{ addresses: [203.0.113.0/24] }"))
        .await?;
    assert_eq!(
        world.vips("outside", 1).await?,
        ["203.0.113.99".parse::<std::net::IpAddr>()?]
    );
    Ok(())
}

/// The message of the Service's own condition.
async fn refusal(world: &World, name: &str) -> Result<String> {
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    retry_until(
        SOON,
        &format!("a condition on Service {name}"),
        async || {
            let status = services.get(name).await?.status.unwrap_or_default();
            let found = status
                .conditions
                .unwrap_or_default()
                .into_iter()
                .find(|it| it.type_ == "portolan.dev/Assigned");
            let condition = found.context("there is none")?;
            ensure!(condition.status == "False", "it is {}", condition.status);
            Ok(condition.message)
        },
    )
    .await
}

/// The note of the Service's event; there must be one only.
async fn event(world: &World, name: &str) -> Result<String> {
    let events: Api<Event> = Api::namespaced(world.cluster.client(), "default");
    retry_until(SOON, &format!("an event on Service {name}"), async || {
        let all = events.list(&ListParams::default()).await?;
        let of_service = |event: &&Event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|it| it.name.as_deref() == Some(name))
                && event.type_.as_deref() == Some("Warning")
        };
        let mut notes: Vec<String> = all
            .iter()
            .filter(of_service)
            .map(|event| event.note.clone().unwrap_or_default())
            .collect();
        ensure!(
            notes.len() == 1,
            "there are {notes:?} among {:?}",
            all.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        );
        Ok(notes.remove(0))
    })
    .await
}

/// A malformed edit leaves the last good version in force: nobody loses an address.
async fn a_bad_edit_keeps_what_was_good(face: Face) -> Result<()> {
    let world = mk_world(face).await?;
    world.apply(POOL).await?;
    world.apply(&service("held", "")).await?;
    let held = world.vips("held", 1).await?;
    world
        .apply(&pool("pool", "{ addresses: [192.0.2.9-192.0.2.1] }"))
        .await?;
    let (status, _, message) = accepted(&world, "IPAddressPool", "pool").await?;
    assert!(
        status == "False" && message.contains("last accepted version stays in force"),
        "{message}"
    );
    world.apply(&service("later", "")).await?;
    world.vips("later", 1).await?;
    assert_eq!(world.held("held").await?, held);
    Ok(())
}

/// Issue row 7: useful columns.
async fn kubectl_shows_columns(face: Face) -> Result<()> {
    let world = mk_world(face).await?;
    world.apply(POOL).await?;
    let (.., message) = accepted(&world, "IPAddressPool", "pool").await?;
    ensure!(message == "in force", "{message}");
    let objects = format!(
        "{L2}---{BGP}---{}---
apiVersion: portolan.dev/v1alpha1
kind: Community
metadata: {{ name: names }}
spec: {{ communities: [{{ name: drain, value: '65000:7' }}] }}
---
apiVersion: portolan.dev/v1alpha1
kind: BFDProfile
metadata: {{ name: fast }}
spec: {{ transmitInterval: 50 }}
",
        peer_yaml("router", world.lab.routers[0].address().v4.into(), "")
    );
    world.apply(&objects).await?;
    for (kind, columns) in [
        (
            "ipaddresspools",
            vec![
                "NAME",
                "AUTO ASSIGN",
                "ADDRESSES",
                "192.0.2.0/24",
                "ASSIGNED V4",
                "AVAILABLE V4",
                "ACCEPTED",
                "True",
            ],
        ),
        (
            "l2advertisements",
            vec!["POOLS", "INTERFACES", "eth0", "ACCEPTED", "True"],
        ),
        (
            "bgpadvertisements",
            vec!["ROUTES", "LoadBalancerIP", "PEERS", "ACCEPTED", "True"],
        ),
        (
            "bgppeers",
            vec!["ADDRESS", "172.30.0.1", "ASN", "65001", "ACCEPTED", "True"],
        ),
        (
            "communities",
            vec!["NAMES", "drain", "VALUES", "65000:7", "ACCEPTED", "True"],
        ),
        (
            "bfdprofiles",
            vec!["TRANSMIT INTERVAL", "50", "ACCEPTED", "True"],
        ),
        ("speakerconfigs", vec!["POOLS", "pool", "PEERS", "router"]),
        ("nodereports", vec!["SESSIONS", "0/1", "ROUTES", "L2 VIPS"]),
    ] {
        let full = format!("{kind}.portolan.dev");
        retry_until(SOON, &format!("the columns of {kind}"), async || {
            let shown = world.cluster.kubectl(&["get", &full]).await?;
            let missing: Vec<_> = columns
                .iter()
                .filter(|column| !shown.contains(**column))
                .collect();
            ensure!(missing.is_empty(), "{missing:?} are missing in {shown}");
            Ok(())
        })
        .await?;
    }
    // Counters are written a second after the change.
    retry_until(SOON, "the counters of the pool", async || {
        let arguments = ["get", "ipaddresspool", "pool", "-o", "json"];
        let shown: Value = serde_json::from_str(&world.cluster.kubectl(&arguments).await?)?;
        ensure!(shown["status"]["availableIPv4"] == 256, "{shown}");
        Ok(())
    })
    .await?;
    Ok(())
}

/// Issue row 7: the docs of every kind.
async fn kubectl_explains_fields(face: Face) -> Result<()> {
    let world = mk_world(face).await?;
    for (path, words) in [
        ("ipaddresspool.spec.addresses", "first and last address"),
        ("bgppeer.spec.holdTime", "RFC 4271"),
        ("bgpadvertisement.spec.communities", "RFC 8092"),
        ("l2advertisement.spec.interfaces", "interfaces"),
        ("community.spec.communities", "names"),
        ("bfdprofile.spec.detectMultiplier", "missed"),
        ("speakerconfig.spec.pools", "pools"),
        ("nodereport.status.sessions", "sessions"),
    ] {
        // A server publishes the schema of a new kind some time after it serves the kind.
        retry_until(SOON, &format!("the docs of {path}"), async || {
            let arguments = ["explain", path, "--api-version", "portolan.dev/v1alpha1"];
            let text = world.cluster.kubectl(&arguments).await?;
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(text.contains(words), "{text}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

on_both_faces!(
    each_bad_object_is_refused_alone,
    what_the_schema_knows_is_refused_at_once,
    a_service_that_asks_for_the_impossible_says_so,
    a_bad_edit_keeps_what_was_good,
    kubectl_shows_columns,
    kubectl_explains_fields
);
