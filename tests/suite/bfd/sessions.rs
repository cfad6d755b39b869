//! Sessions with routers: how they come up, change and end (RFC 5880 §6.8, RFC 5881, RFC 5883).

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portolan_tests::lab::{Host, Link, retry_until};
use portolan_tests::world::SOON;

use super::engine::Engine;
use super::pace::seconds_now;
use super::{SECOND, ends, mk_bird, mk_frr, mk_lab, mk_lines};

/// F1: single hop and multihop, both families, both routers, up within three seconds.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_come_up_by_every_path_within_three_seconds() -> Result<()> {
    let lab = mk_lab(1, 2)?;
    let node = &lab.nodes[0].host;
    let nodes = node.address().both();
    let direct = nodes.map(|peer| (peer, "interface eth0".to_owned()));
    let far = nodes.map(|peer| {
        let local = lab.clients[0].address().of_family(peer);
        (peer, format!("multihop local-address {local}"))
    });
    let _near_frr = mk_frr(&lab.routers[0], &direct, 300).await?;
    let _far_frr = mk_frr(&lab.clients[0], &far, 300).await?;
    let [v4, v6] = nodes;
    let near = format!("neighbor {v4}; neighbor {v6};");
    let _near_bird = mk_bird(&lab.routers[1], &near, 300).await?;
    let [c4, c6] = lab.clients[1].address().both();
    let far = format!("neighbor {v4} local {c4} multihop; neighbor {v6} local {c6} multihop;");
    let _far_bird = mk_bird(&lab.clients[1], &far, 300).await?;

    let single = lab.routers.iter().flat_map(|host| host.address().both());
    let single: Vec<IpAddr> = single.collect();
    let multi = lab.clients.iter().flat_map(|host| host.address().both());
    let multi: Vec<IpAddr> = multi.collect();
    let mut sessions: Vec<String> = single.iter().map(ToString::to_string).collect();
    // BIRD sends to far peers with the usual TTL of 64.
    let multihop = |(host, ttl): (&Host, u8)| {
        host.address()
            .both()
            .map(|peer| format!("{peer},multihop,ttl={ttl}"))
    };
    sessions.extend(lab.clients.iter().zip([254, 63]).flat_map(multihop));
    let engine = Engine::start(node, &sessions).await?;
    for peer in single.iter().chain(&multi) {
        let up = engine
            .wait(*peer, &["Up", "failures 0", "remote Up"])
            .await?;
        let began = engine.lines()?.first().context("it began")?.0;
        ensure!(up - began < 3.0, "{peer} took {} s", up - began);
        engine
            .wait_for_status(
                *peer,
                &[
                    "transmit Some(300ms)",
                    "detection Some(900ms)",
                    "problem None",
                ],
            )
            .await?;
    }
    tokio::time::sleep(3 * SECOND).await;
    for peer in single.iter().chain(&multi) {
        engine
            .wait_for_status(*peer, &["Up", "ups 1", "flaps 0"])
            .await?;
    }
    Ok(())
}

/// F9, both ways: AdminDown is a decision, not a failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_told_and_is_no_failure() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let [(node, us), (router, peer)] = ends(&lab);
    let frr = mk_frr(router, &[(us, "interface eth0".into())], 300).await?;
    let mut engine = Engine::start(node, &[peer.to_string()]).await?;
    engine.wait(peer, &["Up"]).await?;

    let session = format!("peer {us} interface eth0");
    frr.vty(&["configure terminal", "bfd", &session, "shutdown"])?;
    engine
        .wait(
            peer,
            &[
                "Down",
                "failures 0",
                "remote AdminDown",
                "neighbor signaled",
            ],
        )
        .await?;
    frr.vty(&["configure terminal", "bfd", &session, "no shutdown"])?;
    engine
        .wait(peer, &["Up", "failures 0", "no diagnostic"])
        .await?;

    engine.process.signal(Signal::SIGTERM)?;
    retry_until(SOON, "an orderly end", async || {
        let ended = engine.process.ended()?.context("it runs")?;
        ensure!(ended.success(), "{ended}");
        Ok(())
    })
    .await?;
    let seen = frr.vty(&["show bfd peers json"])?;
    ensure!(
        seen.contains("Administratively down") || seen.contains("administratively down"),
        "{seen}"
    );
    Ok(())
}

/// F4: times change on either side while the session is up: polled, answered, no flap.
#[tokio::test(flavor = "multi_thread")]
async fn times_change_by_a_poll_and_without_a_flap() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let [(node, us), (router, peer)] = ends(&lab);
    let frr = mk_frr(router, &[(us, "interface eth0".into())], 50).await?;
    let engine = Engine::start(node, &[mk_lines(peer, 300)]).await?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(300ms)", "detection Some(900ms)"],
        )
        .await?;
    let capture = node.capture("eth0", "udp port 3784").await?;
    engine.follow(&[mk_lines(peer, 100)])?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(100ms)", "detection Some(300ms)"],
        )
        .await?;
    engine.follow(&[mk_lines(peer, 400)])?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(400ms)", "detection Some(1.2s)"],
        )
        .await?;
    let session = format!("peer {us} interface eth0");
    frr.vty(&[
        "configure terminal",
        "bfd",
        &session,
        "receive-interval 500",
        "transmit-interval 600",
        "detect-multiplier 4",
    ])?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(500ms)", "detection Some(2.4s)"],
        )
        .await?;
    engine.wait_for_status(peer, &["ups 1", "flaps 0"]).await?;
    let frames = capture.finish().await?;
    // That ours were answered shows in the quicker detection, which had to wait for F. (Source port 49152, which FRR begins
    // with, makes tcpdump take its packets for another protocol.)
    for flag in ["Poll", "Final"] {
        let ours = format!(" {us}.");
        let found = frames.iter().any(|frame| {
            let (from, rest) = frame.split_once(" BFDv1").unwrap_or_default();
            from.split(" > ")
                .nth(1)
                .is_some_and(|from| from.contains(&ours))
                && rest.contains(&format!("Flags: [{flag}]"))
        });
        ensure!(found, "no {flag} of ours in {frames:#?}");
    }
    Ok(())
}

/// Carrier lost: not after the detection time but at once, and back as soon as the cable is.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_and_comes_with_its_link() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let node = &lab.nodes[0].host;
    let direct = node.address().both();
    let direct = direct.map(|peer| (peer, "interface eth0".to_owned()));
    let _frr = mk_frr(&lab.routers[0], &direct, 1000).await?;
    let peers = lab.routers[0].address().both();
    let engine = Engine::start(node, &peers.map(|peer| mk_lines(peer, 1000))).await?;
    for failures in 1..=3 {
        for peer in peers {
            engine
                .wait_for_status(peer, &["Up", "detection Some(3s)"])
                .await?;
        }
        let at = seconds_now();
        node.unplug(Link::Lan)?;
        for peer in peers {
            let words = ["Down", &format!("failures {failures}"), "path down"];
            let took = engine.wait(peer, &words).await? - at;
            println!("figure: BFD 1 s x 3: carrier lost: {peer} down after {took:.4} s");
            ensure!(
                took < 1.0,
                "{peer} after {took} s, and silence would have taken 3"
            );
        }
        node.plug(Link::Lan)?;
        let at = seconds_now();
        for peer in peers {
            let took = engine.wait(peer, &["Up"]).await? - at;
            println!("figure: BFD 1 s x 3: carrier back: {peer} up after {took:.4} s");
        }
    }
    Ok(())
}

/// What comes from further away than the next hop, and what belongs to no session, is dropped and counted.
#[tokio::test(flavor = "multi_thread")]
async fn packets_from_afar_are_dropped() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let [(node, us), (router, peer)] = ends(&lab);
    let far = &lab.clients[0];
    let _frr = mk_frr(router, &[(us, "interface eth0".into())], 300).await?;
    let way = IpAddr::from(far.address().v4);
    let engine =
        Engine::start(node, &[peer.to_string(), format!("{way},multihop,ttl=255")]).await?;
    engine.wait_for_status(peer, &["Up"]).await?;
    // One router in between leaves 254, and 255 is asked for.
    let _far = mk_frr(far, &[(us, format!("multihop local-address {way}"))], 300).await?;
    let send = |host: &Host, port: u16| {
        let shell = format!("printf '\\040\\100\\003\\030' > /dev/udp/{us}/{port}");
        host.exec(&["bash", "-c", &shell]).map(drop)
    };
    send(far, 3784)?;
    retry_until(SOON, "both to be dropped by their TTL", async || {
        let count = engine.number("reason=\"ttl\"").await?;
        ensure!(count >= 3, "{count} were dropped");
        Ok(())
    })
    .await?;
    let problem = "TTL 254 and are dropped: minimumTtl is 255";
    engine
        .wait_for_status(way, &["Down", "ups 0", problem])
        .await?;
    engine.follow(&[peer.to_string(), format!("{way},multihop,ttl=254")])?;
    engine
        .wait_for_status(way, &["Up", "flaps 0", "problem None"])
        .await?;
    engine.wait_for_status(peer, &["Up", "flaps 0"]).await
}
