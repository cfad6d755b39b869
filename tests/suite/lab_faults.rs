//! What the judges of layer 2 rest on: the tap, the questions, losses in one direction and a switch that falls in two,
//! tried on addresses that kernels answer for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_proto::ethernet::MacAddr;
use portolan_tests::lab::proxy::{Backend, Proxy, ServiceRule};
use portolan_tests::lab::{
    Claim, Half, Host, Lab, Layout, Link, Loss, Tap, longest_overlap, longest_silence, now,
    retry_until, tenures,
};

const VIPS: [&str; 2] = ["172.30.200.1", "fd00:30::aa01"];
const EVERY: Duration = Duration::from_millis(10);
/// A few questions, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_millis(150);
/// How long two answer.
const PAUSE: Duration = Duration::from_millis(400);
const SOON: Duration = Duration::from_secs(10);

fn mk_vips() -> [IpAddr; 2] {
    VIPS.map(|vip| vip.parse().unwrap())
}

fn mk_lab() -> Result<Lab> {
    Lab::start(Layout {
        nodes: 2,
        routers: 1,
    })
}

/// The kernel of a host answers for both addresses, or stops to.
fn hold(host: &Host, verb: &str) -> Result<()> {
    let lines = mk_vips().map(|vip| {
        let (length, nodad) = if vip.is_ipv4() {
            (32, "")
        } else {
            (128, "nodad")
        };
        let nodad = if verb == "add" { nodad } else { "" };
        format!("addr {verb} {vip}/{length} dev eth0 {nodad}")
    });
    host.netns().ip(&lines)
}

/// Waits until exactly these have answered in the last moments.
async fn answerers(what: &str, claims: impl Fn() -> Vec<Claim>, wanted: &[MacAddr]) -> Result<()> {
    retry_until(SOON, what, async || {
        let since = now().saturating_sub(PATIENCE);
        let mut seen: Vec<MacAddr> = claims()
            .iter()
            .filter(|claim| claim.at >= since)
            .map(|claim| claim.mac)
            .collect();
        seen.sort_unstable();
        seen.dedup();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        ensure!(seen == wanted, "{seen:?} answer, not {wanted:?}");
        Ok(())
    })
    .await
}

async fn answered_by(tap: &Tap, wanted: &[MacAddr]) -> Result<()> {
    for vip in mk_vips() {
        let what = format!("{wanted:?} to say {vip}");
        answerers(&what, || tap.said(vip), wanted).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tap_sees_who_answers_and_for_how_long_two_do() -> Result<()> {
    let lab = mk_lab()?;
    let (tap, _questions) = (lab.tap()?, lab.question(Half::Main, &mk_vips(), EVERY)?);
    let [first, second] = [&lab.nodes[0].host, &lab.nodes[1].host];
    let macs = [
        first.hardware_address("eth0")?,
        second.hardware_address("eth0")?,
    ];
    answered_by(&tap, &[]).await?;
    hold(first, "add")?;
    answered_by(&tap, &macs[..1]).await?;
    let before = now();
    hold(second, "add")?;
    answered_by(&tap, &macs).await?;
    let both = now();
    tokio::time::sleep(PAUSE).await;
    hold(first, "del")?;
    let one = now();
    answered_by(&tap, &macs[1..]).await?;
    hold(second, "del")?;
    let none = now();
    answered_by(&tap, &[]).await?;
    for vip in mk_vips() {
        let claims = tap.said(vip);
        let overlap = longest_overlap(&tenures(&claims, PATIENCE));
        assert!(overlap >= PAUSE, "{vip}: {overlap:?}");
        assert!(overlap <= one.saturating_sub(before), "{vip}: {overlap:?}");
        let held = longest_silence(&claims, both, one);
        assert!(
            held < PATIENCE,
            "{vip}: silent for {held:?} while two held it"
        );
        let silence = longest_silence(&claims, none, now());
        assert!(
            silence > PATIENCE / 2,
            "{vip}: {silence:?} after both gave it up"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cable_loses_one_direction_and_a_switch_falls_in_two() -> Result<()> {
    let lab = mk_lab()?;
    let (tap, _questions) = (lab.tap()?, lab.question(Half::Main, &mk_vips(), EVERY)?);
    let [first, second] = [&lab.nodes[0].host, &lab.nodes[1].host];
    let (vip, own, other) = (
        mk_vips()[0],
        first.hardware_address("eth0")?,
        second.hardware_address("eth0")?,
    );
    hold(first, "add")?;
    let said = || tap.said(vip);
    let at_bridge = || tap.heard(Half::Main, vip);
    answerers("an answer", at_bridge, &[own]).await?;
    first.lose(Link::Lan, Loss::Sent)?;
    answerers("answers that the cable loses", said, &[own]).await?;
    answerers("no answer to arrive", at_bridge, &[]).await?;
    first.lose(Link::Lan, Loss::Received)?;
    answerers("no answer to questions that are lost", said, &[]).await?;
    first.deliver(Link::Lan)?;
    answerers("an answer again", at_bridge, &[own]).await?;
    lab.part(&[second])?;
    hold(second, "add")?;
    answerers("the main half to hear one", at_bridge, &[own]).await?;
    let _apart = lab.question(Half::Apart, &mk_vips(), EVERY)?;
    answerers("two, in halves of their own", said, &[own, other]).await?;
    answerers("still one", at_bridge, &[own]).await?;
    lab.join(&[second])?;
    answerers("both", at_bridge, &[own, other]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulse_counts_what_is_lost_and_how_long_it_waited() -> Result<()> {
    let lab = mk_lab()?;
    let [first, second] = [&lab.nodes[0], &lab.nodes[1]];
    let pod = second.add_pod("web")?;
    let backends = mk_vips().map(|vip| Backend {
        address: pod.socket(vip),
        node: pod.node().to_owned(),
    });
    let rule = ServiceRule {
        addresses: mk_vips().into(),
        udp: true,
        port: 80,
        local: false,
        backends: backends.into(),
    };
    Proxy::apply(first, &[rule])?;
    hold(&first.host, "add")?;
    for vip in mk_vips() {
        for client in [&lab.lan_client, &lab.clients[0]] {
            let pulse = client.pulse(SocketAddr::new(vip, 80), Duration::from_millis(2))?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            first.host.lose(Link::Lan, Loss::Both)?;
            tokio::time::sleep(Duration::from_millis(400)).await;
            first.host.deliver(Link::Lan)?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let rhythm = pulse.finish().await?;
            let gap = rhythm.longest_gap();
            let name = client.name();
            assert!(gap >= Duration::from_millis(390), "{name}, {vip}: {rhythm}");
            assert!(gap < SOON && rhythm.lost() >= 50, "{name}, {vip}: {rhythm}");
            assert!(
                rhythm.lost() < rhythm.beats.len() / 2,
                "{name}, {vip}: {rhythm}"
            );
        }
    }
    Ok(())
}
