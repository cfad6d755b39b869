//! Authentication with BIRD (RFC 5880 §6.7), which is the one router here that has it.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use portolan_api::crd::{BFDProfile, NodeReport, SessionReport, SessionState};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::{Bird, Router, RouterConfig};
use portolan_tests::lab::{Host, Layout, retry_until};
use portolan_tests::world::{BGP, POOL, SOON, Shape, World, peer_yaml};

use super::engine::Engine;
use super::{SECOND, mk_idle, mk_lab};
use crate::site;

/// Name of a method: BIRD's and ours.
const METHODS: [[&str; 2]; 4] = [
    ["meticulous keyed sha1", "meticulous-sha1"],
    ["keyed md5", "md5"],
    ["keyed sha1", "sha1"],
    ["meticulous keyed md5", "meticulous-md5"],
];

/// BIRD's session with the node, by this method and this key.
fn mk_protocol(host: &Host, node: IpAddr, far: bool, method: &str, secret: &str) -> String {
    let block = format!(
        "{{ min rx interval 200 ms; min tx interval 200 ms; multiplier 3; authentication {method}; \
         password \"{secret}\" {{ id 7; }}; }};"
    );
    let local = IpAddr::from(host.address().v4);
    let neighbour = if far {
        format!("neighbor {node} local {local} multihop;")
    } else {
        format!("neighbor {node};")
    };
    format!("protocol bfd {{ interface \"*\" {block} multihop {block} {neighbour} }}")
}

fn mk_config(host: &Host, node: IpAddr, far: bool, method: &str, secret: &str) -> RouterConfig {
    let mut config = mk_idle(host);
    config.extra = mk_protocol(host, node, far, method, secret);
    config
}

fn mk_line(peer: IpAddr, far: bool, method: &str, id: u8, secret: &str) -> String {
    let far = if far { ",multihop,ttl=63" } else { "" };
    format!("{peer},tx=200,rx=200{far},auth={method}:{id}:{secret}")
}

/// Four methods, single hop and multihop: wrong keys keep a session down with the reason, right ones let it up, and a key
/// that is replaced interrupts nothing on our side.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_are_understood_by_bird_and_replaced_in_running_sessions() -> Result<()>
{
    let lab = mk_lab(1, 2)?;
    let node = &lab.nodes[0].host;
    let us = IpAddr::from(node.address().v4);
    let hosts: Vec<(&Host, bool)> = lab
        .routers
        .iter()
        .map(|host| (host, false))
        .chain(lab.clients.iter().map(|host| (host, true)))
        .collect();
    let peers: Vec<IpAddr> = hosts
        .iter()
        .map(|(host, _)| host.address().v4.into())
        .collect();
    let lines = |secrets: [&str; 4]| -> Vec<String> {
        let rows = hosts.iter().zip(&peers).zip(METHODS).zip(secrets);
        rows.map(|((((_, far), peer), [_, method]), secret)| {
            mk_line(*peer, *far, method, 7, secret)
        })
        .collect()
    };
    let mut birds = Vec::new();
    for ((host, far), [method, _]) in hosts.iter().zip(METHODS) {
        let config = mk_config(host, us, *far, method, "first key");
        birds.push(Bird::start(host, &config).await?);
    }
    let engine = Engine::start(node, &lines(["wrong"; 4])).await?;
    for peer in &peers {
        let words = ["Down", "ups 0", "authenticated with another key"];
        engine.wait_for_status(*peer, &words).await?;
    }
    for bird in &birds {
        let sessions = bird.ask("show bfd sessions")?;
        ensure!(!sessions.contains("Up"), "{sessions}");
    }
    engine.follow(&lines(["first key"; 4]))?;
    for peer in &peers {
        engine
            .wait_for_status(*peer, &["Up", "detection Some(600ms)", "problem None"])
            .await?;
    }
    let before = engine.number("bfd_failures_total").await?;

    // Ours first: both keys are good until BIRD has the new one.
    engine.follow(&lines(["second key"; 4]))?;
    for peer in &peers {
        engine.wait_for_status(*peer, &["Up", "former key"]).await?;
    }
    tokio::time::sleep(4 * SECOND).await;
    for peer in &peers {
        engine
            .wait_for_status(*peer, &["Up", "ups 1", "former key"])
            .await?;
    }
    for ((bird, (host, far)), [method, _]) in birds.iter().zip(&hosts).zip(METHODS) {
        bird.reconfigure(&mk_config(host, us, *far, method, "second key"))?;
    }
    for peer in &peers {
        engine
            .wait_for_status(*peer, &["Up", "problem None"])
            .await?;
    }
    tokio::time::sleep(2 * SECOND).await;
    for peer in &peers {
        engine
            .wait_for_status(*peer, &["Up", "ups 1", "flaps 0"])
            .await?;
    }
    ensure!(
        engine.number("bfd_failures_total").await? == before,
        "a failure"
    );
    Ok(())
}

const PROFILES: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BFDProfile
metadata: { name: keyed }
spec:
  transmitInterval: 200
  receiveInterval: 200
  authentication: { type: MeticulousKeyedSHA1, keyID: 7, keySecret: { name: bfd } }
---
apiVersion: portolan.dev/v1alpha1
kind: BFDProfile
metadata: { name: echo }
spec: { echoMode: true }
";

fn secret(key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: bfd, namespace: portolan-system }}\n\
         type: kubernetes.io/basic-auth\nstringData: {{ username: '', password: {key} }}\n"
    )
}

/// What the node says of its session, and of itself.
async fn report(world: &World) -> Result<(SessionReport, Vec<String>)> {
    let reports: Api<NodeReport> = Api::all(world.cluster.client());
    let status = reports.get("node-1").await?.status.unwrap_or_default();
    let session = status.sessions.iter().find(|it| it.peer == "tor");
    let session = session.context("no session is reported")?.clone();
    let told = session.problem.iter().cloned();
    let problems = told.chain(status.problems).collect();
    Ok((session, problems))
}

/// Waits until BGP is Established, BFD is in this state (empty: there is none), it has not failed, and somebody says these
/// words (or, without words, nobody says anything).
async fn wait_for_report(world: &World, state: &str, words: &[&str]) -> Result<()> {
    retry_until(SOON, &format!("BFD {state:?} with {words:?}"), async || {
        let (session, problems) = report(world).await?;
        let bfd = session.bfd.clone().unwrap_or_default();
        let told = problems
            .iter()
            .any(|it| words.iter().all(|word| it.contains(word)));
        ensure!(
            session.state == SessionState::Established
                && bfd.state == state
                && bfd.flaps == 0
                && (told || words.is_empty() && problems.is_empty()),
            "{session:?}, {problems:?}"
        );
        Ok(())
    })
    .await
}

/// From the objects to the wire: without its Secret nothing is sent, with it BFD comes up, and neither its end nor another
/// key interrupts anything.
async fn a_profile_with_a_key_never_runs_without_it(face: Face) -> Result<()> {
    let layout = Layout {
        nodes: 1,
        routers: 1,
    };
    let shape = Shape {
        layout,
        data_path: false,
        ..Shape::of(face)
    };
    let world = World::start(shape).await?;
    let (node, router) = (&world.lab.nodes[0].host, &world.lab.routers[0]);
    let us = IpAddr::from(node.address().v4);
    let config = |secret: &str| {
        let mut config = site::config_v4(&world.lab, router);
        config.extra = mk_protocol(router, us, false, METHODS[0][0], secret);
        config
    };
    let bird = Bird::start(router, &config("first")).await?;
    let capture = node
        .capture("eth0", &format!("udp port 3784 and src {us}"))
        .await?;
    let peer = peer_yaml("tor", router.address().v4.into(), "  bfdProfile: keyed\n");
    world
        .apply(&format!("{POOL}---{BGP}---{PROFILES}---{peer}"))
        .await?;
    let missing = [
        "BFDProfile keyed",
        "portolan-system/bfd does not exist",
        "without BFD",
    ];
    wait_for_report(&world, "", &missing).await?;
    let said = capture.finish().await?;
    ensure!(said.is_empty(), "not a word without the key: {said:#?}");
    echo_is_told(&world).await?;

    world.apply(&secret("first")).await?;
    wait_for_report(&world, "Up", &[]).await?;
    ensure!(bird.bfd_up()? == 1, "{}", bird.ask("show bfd sessions")?);
    world.apply(&secret("second")).await?;
    wait_for_report(&world, "Up", &["former key"]).await?;
    bird.reconfigure(&config("second"))?;
    wait_for_report(&world, "Up", &[]).await?;
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client(), "portolan-system");
    secrets.delete("bfd", &DeleteParams::default()).await?;
    wait_for_report(
        &world,
        "Up",
        &["does not exist", "last usable key stays in use"],
    )
    .await
}

/// A profile that asks for echo is in force, and says that there is none.
async fn echo_is_told(world: &World) -> Result<()> {
    let profiles: Api<BFDProfile> = Api::all(world.cluster.client());
    retry_until(SOON, "conditions of the profile with echo", async || {
        let status = profiles.get("echo").await?.status.unwrap_or_default();
        let is = |kind: &str, status_is: &str| {
            let mut conditions = status.conditions.iter();
            conditions.any(|it| it.type_ == kind && it.status == status_is)
        };
        ensure!(
            is("Accepted", "True") && is("Effective", "False"),
            "{status:?}"
        );
        Ok(())
    })
    .await
}

on_both_faces!(a_profile_with_a_key_never_runs_without_it);
