//! Authentication with BIRD (RFC 5880 §6.7), which is the one router here that has it.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use portolan_tests::lab::Host;
use portolan_tests::lab::router::{Bird, RouterConfig};

use super::engine::Engine;
use super::{SECOND, mk_idle, mk_lab};

/// Name of a method: BIRD's and ours.
const METHODS: [[&str; 2]; 4] = [
    ["meticulous keyed sha1", "meticulous-sha1"],
    ["keyed md5", "md5"],
    ["keyed sha1", "sha1"],
    ["meticulous keyed md5", "meticulous-md5"],
];

/// BIRD with a session to the node, by this method and these keys; the first is the one that it sends with.
fn mk_config(
    host: &Host,
    node: IpAddr,
    far: bool,
    method: &str,
    keys: &[(u8, &str)],
) -> RouterConfig {
    let keys = keys
        .iter()
        .map(|(id, secret)| format!("password \"{secret}\" {{ id {id}; }};"));
    let block = format!(
        "{{ min rx interval 200 ms; min tx interval 200 ms; multiplier 3; authentication {method}; {} }};",
        keys.collect::<String>()
    );
    let local = IpAddr::from(host.address().v4);
    let neighbour = if far {
        format!("neighbor {node} local {local} multihop;")
    } else {
        format!("neighbor {node};")
    };
    let mut config = mk_idle(host);
    config.extra =
        format!("protocol bfd {{ interface \"*\" {block} multihop {block} {neighbour} }}");
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
        let config = mk_config(host, us, *far, method, &[(7, "first key")]);
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
        bird.reconfigure(&mk_config(host, us, *far, method, &[(7, "second key")]))?;
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
