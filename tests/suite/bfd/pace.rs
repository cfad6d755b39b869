//! Times on the wire: when packets go, and when their absence is noticed (RFC 5880 §6.8.4, §6.8.7).

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portolan_tests::lab::Link;

use super::engine::Engine;
use super::{SECOND, ends, mk_frr, mk_lab, mk_lines};

pub(super) fn seconds_now() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

/// F5: a router that stops, and a cable that is pulled, are noticed in the detection time.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed_in_the_detection_time() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router) = (&lab.nodes[0].host, &lab.routers[0]);
    let direct = node
        .address()
        .both()
        .map(|peer| (peer, "interface eth0".to_owned()));
    let mut frr = mk_frr(router, &direct, 200).await?;
    let peers = router.address().both();
    let engine = Engine::start(node, &peers.map(|peer| mk_lines(peer, 200))).await?;
    for (what, failures) in [("a stopped daemon", 1), ("a pulled cable", 2)] {
        for peer in peers {
            engine
                .wait_for_status(
                    peer,
                    &["Up", "transmit Some(200ms)", "detection Some(600ms)"],
                )
                .await?;
        }
        let bfdd = frr.bfdd().context("bfdd")?;
        let at = seconds_now();
        match failures {
            1 => bfdd.signal(Signal::SIGSTOP)?,
            _ => router.unplug(Link::Lan)?,
        }
        for peer in peers {
            let words = [
                "Down",
                &format!("failures {failures}"),
                "detection time expired",
            ];
            let took = engine.wait(peer, &words).await? - at;
            // The last packet left up to an interval before.
            ensure!((0.39..0.8).contains(&took), "{what}: {peer} after {took} s");
            println!("figure: BFD 200 ms x 3: {what}: {peer} down after {took:.3} s");
        }
        match failures {
            1 => bfdd.signal(Signal::SIGCONT)?,
            _ => router.plug(Link::Lan)?,
        }
    }
    for peer in peers {
        engine
            .wait_for_status(peer, &["Up", "ups 3", "flaps 2"])
            .await?;
    }
    Ok(())
}

/// F2, F3: times between our packets, as the wire sees them.
fn gaps(frames: &[String], from: IpAddr, to: IpAddr) -> Vec<f64> {
    let direction = (format!("{from}."), format!("> {to}."));
    let times: Vec<f64> = frames
        .iter()
        .filter(|frame| frame.contains(&direction.0) && frame.contains(&direction.1))
        .filter(|frame| !frame.contains("[Final]"))
        .filter_map(|frame| frame.split(' ').next()?.parse().ok())
        .collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_keep_their_pace_and_jitter_on_the_wire() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let [(node, us), (router, peer)] = ends(&lab);
    let before = node.capture("eth0", "udp port 3784").await?;
    // Both sides are patient: it is the pace that is looked at, on a machine that does other things as well.
    let engine = Engine::start(node, &[format!("{peer},tx=20,rx=20,mult=50")]).await?;
    tokio::time::sleep(6 * SECOND).await;
    let frames = before.finish().await?;
    let slow = gaps(&frames, us, peer);
    ensure!(slow.len() >= 5, "{} packets in 6 s", slow.len() + 1);
    ensure!(
        slow.iter().all(|gap| (0.749..1.1).contains(gap)),
        "{slow:?}"
    );
    let all = frames.iter().all(|frame| {
        !frame.contains(&format!("{us}."))
            || (frame.contains("ttl 255") && frame.contains("tos 0xc0"))
    });
    ensure!(all, "TTL 255 and CS6: {frames:#?}");

    let frr = mk_frr(router, &[(us, "interface eth0".into())], 20).await?;
    let session = format!("peer {us} interface eth0");
    frr.vty(&[
        "configure terminal",
        "bfd",
        &session,
        "detect-multiplier 50",
    ])?;
    engine
        .wait_for_status(peer, &["Up", "transmit Some(20ms)", "detection Some(1s)"])
        .await?;
    let capture = node.capture("eth0", "udp port 3784").await?;
    tokio::time::sleep(8 * SECOND).await;
    let quick = gaps(&capture.finish().await?, us, peer);
    ensure!(quick.len() > 300, "{} packets in 8 s", quick.len());
    let shortest = quick.iter().copied().fold(f64::MAX, f64::min);
    ensure!(shortest > 0.0145, "{shortest}");
    let within = quick.iter().filter(|gap| **gap < 0.0205).count();
    ensure!(
        within * 10 > quick.len() * 9,
        "{within} of {} in time",
        quick.len()
    );
    let mean = quick.iter().take(300).sum::<f64>() / 300.0;
    ensure!(
        (0.0165..0.019).contains(&mean),
        "mean {mean}: 17.5 ms is the middle"
    );
    let low = quick.iter().filter(|gap| **gap < 0.0165).count();
    ensure!(
        low * 5 > quick.len(),
        "{low} of {} in the lower part",
        quick.len()
    );
    Ok(())
}

/// A process that was not let run must not take its own absence for that of the peer.
#[tokio::test(flavor = "multi_thread")]
async fn packets_that_wait_are_read_before_a_peer_is_declared_dead() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let [(node, us), (router, peer)] = ends(&lab);
    let _frr = mk_frr(router, &[(us, "interface eth0".into())], 100).await?;
    // The router is patient with us (50 × 100 ms), we are not with it (3 × 100 ms).
    let engine = Engine::start(node, &[format!("{peer},tx=100,rx=100,mult=50")]).await?;
    engine
        .wait_for_status(peer, &["Up", "detection Some(300ms)"])
        .await?;
    for _ in 0..3 {
        engine.process.signal(Signal::SIGSTOP)?;
        tokio::time::sleep(SECOND).await;
        engine.process.signal(Signal::SIGCONT)?;
        tokio::time::sleep(SECOND).await;
    }
    engine
        .wait_for_status(peer, &["Up", "ups 1", "flaps 0"])
        .await
}
