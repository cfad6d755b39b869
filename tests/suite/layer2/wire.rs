//! What other people's tools say of our answers, and what hostile frames do to us.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_proto::ethernet::MacAddr;
use portolan_tests::drill::{Drill, page};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::frames::{self, Meaning};
use portolan_tests::lab::{Way, now, retry_until};
use portolan_tests::world::{SOON, World};

use super::{mk_shape, mk_world, sole_answerer};

async fn metric(world: &World, node: usize, name: &str) -> Result<f64> {
    let address = world.lab.nodes[node]
        .host
        .management()
        .context("a managed node")?;
    let (_, text) = page::get(SocketAddr::new(address.into(), 7472), "/metrics").await?;
    let series = text.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    let values: Vec<f64> = series
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    ensure!(!values.is_empty(), "no metric {name} in:\n{text}");
    Ok(values.iter().sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_address_detection_of_others_finds_the_address_in_use() -> Result<()> {
    let (world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    for vip in &vips {
        sole_answerer(&world, *vip).await?;
    }
    let client = &world.lab.lan_client;
    let [v4, v6] = [
        vips.iter().find(|it| it.is_ipv4()),
        vips.iter().find(|it| it.is_ipv6()),
    ];
    let (v4, v6) = (
        v4.context("an IPv4 address")?,
        v6.context("an IPv6 address")?,
    );
    // -D exits with 1 when somebody has the address.
    let detected = client.exec(&[
        "sh",
        "-c",
        &format!("arping -D -c 2 -w 4 -I eth0 {v4}; echo $?"),
    ])?;
    assert!(detected.trim_end().ends_with('1'), "arping -D: {detected}");
    let free = client.exec(&[
        "sh",
        "-c",
        "arping -D -c 2 -w 4 -I eth0 172.30.200.250; echo $?",
    ])?;
    assert!(
        free.trim_end().ends_with('0'),
        "arping -D of a free address: {free}"
    );
    let shown = client.exec(&[
        "ndisc6",
        "-1",
        "-r",
        "2",
        "-w",
        "2000",
        &v6.to_string(),
        "eth0",
    ])?;
    assert!(
        shown.to_lowercase().contains("target link-layer address"),
        "ndisc6: {shown}"
    );
    // The kernel's own detection: it finds the address in use and never uses it.
    client
        .netns()
        .sysctl(&[("ipv6/conf/eth0/accept_dad", "1")])?;
    client
        .netns()
        .ip(&[format!("addr add {v6}/128 dev eth0")])?;
    retry_until(SOON, "the kernel to find the address in use", async || {
        let shown = client.exec(&["ip", "-6", "addr", "show", "dev", "eth0"])?;
        let line = shown
            .lines()
            .find(|line| line.contains(&format!("{v6}/128")));
        let line = line.context("the address is gone")?;
        ensure!(line.contains("dadfailed"), "{line}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_groups_of_our_addresses_are_joined() -> Result<()> {
    let world = World::start(mk_shape(Face::Embedded)).await?;
    let tap = world.lab.tap()?;
    world
        .apply(&format!("{}---{}", super::POOL, portolan_tests::world::L2))
        .await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Cluster", &pods).await?;
    let IpAddr::V6(vip) = *vips
        .iter()
        .find(|it| it.is_ipv6())
        .context("an IPv6 address")?
    else {
        unreachable!("just found");
    };
    let holder = sole_answerer(&world, vip.into()).await?;
    let node = &world.lab.nodes[holder];
    let groups = node
        .host
        .exec(&["ip", "-6", "maddr", "show", "dev", "eth0"])?;
    let group = frames::solicited_node(vip).to_string();
    assert!(groups.contains(&group), "{group} is not among {groups}");
    let port = format!("{}-lan", node.name());
    let reports = tap
        .seen()
        .into_iter()
        .filter(|it| it.is_mld && it.way == Way::In && *it.port == *port);
    assert!(reports.count() > 0, "no MLD report from {port}");
    Ok(())
}

/// Frames that are wrong in one way each: none is answered, and the answers to the right ones go on.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_questions_are_not_answered() -> Result<()> {
    let (world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    for vip in &vips {
        sole_answerer(&world, *vip).await?;
    }
    let tap = world.lab.tap()?;
    let station = world.lab.lan_client.station("eth0")?;
    let lan = world.lab.lan_client.address();
    for vip in &vips {
        let right = frames::question(station.mac(), lan.of_family(*vip), *vip);
        for (row, frame) in mk_malformed(&right, vip.is_ipv4()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            tap.forget();
            station.send(&frame)?;
            tokio::time::sleep(Duration::from_millis(150)).await;
            let seen = tap.seen();
            let answers: Vec<_> = answers_to(&seen, *vip).collect();
            assert!(answers.is_empty(), "{vip}, {row}: {answers:?}");
        }
        tap.forget();
        station.send(&right)?;
        retry_until(SOON, "an answer to a question that is right", async || {
            ensure!(answers_to(&tap.seen(), *vip).count() > 0, "none");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn answers_to(
    seen: &[portolan_tests::lab::Seen],
    vip: IpAddr,
) -> impl Iterator<Item = &portolan_tests::lab::Seen> {
    seen.iter().filter(move |it| {
        it.way == Way::In && matches!(it.meaning, Meaning::Answers(target, _) if target == vip)
    })
}

/// The right question with octets replaced, or cut.
fn mk_malformed(right: &[u8], is_arp: bool) -> Vec<(&'static str, Vec<u8>)> {
    let with = |at: usize, octets: &[u8]| {
        let mut frame = right.to_vec();
        frame.splice(at..at + octets.len(), octets.iter().copied());
        frame
    };
    let cut = |length: usize| right[..length].to_vec();
    if is_arp {
        return vec![
            ("hardware type 6", with(14, &[0, 6])),
            ("protocol type IPv6", with(16, &[0x86, 0xdd])),
            ("hardware length 8", with(18, &[8])),
            ("protocol length 16", with(19, &[16])),
            ("operation 3", with(20, &[0, 3])),
            ("a group as sender", with(22, &[1, 0, 0x5e, 0, 0, 1])),
            ("broadcast as sender", with(22, &[0xff; 6])),
            ("cut in the target", cut(40)),
            ("cut in the head", cut(20)),
        ];
    }
    vec![
        ("hop limit 64", with(21, &[64])),
        ("IP version 4", with(14, &[0x40])),
        ("a group as source", with(22, &[0xff, 2, 0, 0])),
        ("code 1", with(55, &[1])),
        ("a wrong checksum", with(56, &[0xde, 0xad])),
        ("a group as target", with(62, &[0xff, 2])),
        ("an option of length 0", with(79, &[0])),
        ("an option longer than the packet", with(79, &[9])),
        ("a length that is not there", with(18, &[1, 0])),
        ("cut in the target", cut(70)),
        ("cut in the option", cut(82)),
        ("cut in the head", cut(30)),
    ]
}

/// As many questions as a machine can send, for five seconds: others are answered within their time, and the speaker uses
/// at most a processor.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_costs_no_more_than_a_share_of_a_processor() -> Result<()> {
    let (world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    let vip = vips[0];
    let holder = sole_answerer(&world, vip).await?;
    let pid = world.speakers[holder].pid();
    let before = processor_time(pid)?;
    let station = world.lab.lan_client.station("eth0")?;
    let from = world.lab.lan_client.address();
    let began = now();
    let flood = tokio::task::spawn_blocking(move || {
        let mut sent = 0_u64;
        while now().saturating_sub(began) < Duration::from_secs(5) {
            let [.., low] = sent.to_be_bytes();
            let liar = MacAddr([2, 0xf1, 0, 0, 0, low]);
            let mut frame = frames::question(liar, from.of_family(vip), vip);
            frame.splice(6..12, station.mac().0);
            sent += u64::from(station.send(&frame).is_ok());
        }
        sent
    });
    let port = SocketAddr::new(vip, 80);
    let prober =
        world.lab.clients[0].probe(port, Duration::from_millis(50), Duration::from_secs(1))?;
    let sent = flood.await?;
    let used = processor_time(pid)?.saturating_sub(before);
    let report = prober.finish().await?;
    println!("figure: flood of {sent} questions in 5 s: {used:?} of processor time; {report}");
    assert!(sent > 10_000, "that was no flood: {sent}");
    assert!(used < Duration::from_secs(3), "{used:?} in 5 s");
    assert_eq!(report.failures().count(), 0, "{report}");
    assert_eq!(sole_answerer(&world, vip).await?, holder);
    assert!(metric(&world, holder, "portolan_l2_requests_total").await? > 0.0);
    Ok(())
}

fn processor_time(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("a line of proc(5)")?;
    let ticks = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u32>);
    Ok(Duration::from_millis(10) * ticks.sum::<Result<u32, _>>()?)
}

/// Datagrams tell the client's kernel nothing about who has the address, so it asks again and again: the entry is confirmed
/// each time, never lost. 40 s here, five minutes with `PORTOLAN_REACHABLE=300`.
#[tokio::test(flavor = "multi_thread")]
async fn neighbour_unreachability_detection_finds_the_address_reachable() -> Result<()> {
    let seconds = std::env::var("PORTOLAN_REACHABLE")
        .ok()
        .and_then(|it| it.parse().ok());
    let drill = Drill::start(Face::Embedded, "").await?;
    let client = &drill.world.lab.lan_client;
    // Entries age in a second or two instead of half a minute, and are probed at once.
    client.netns().sysctl(&[
        ("ipv4/neigh/eth0/base_reachable_time_ms", "2000"),
        ("ipv6/neigh/eth0/base_reachable_time_ms", "2000"),
        ("ipv4/neigh/eth0/delay_first_probe_time", "1"),
        ("ipv6/neigh/eth0/delay_first_probe_time", "1"),
    ])?;
    // Those that are there already go by the times before.
    client.exec(&["ip", "neigh", "flush", "dev", "eth0"])?;
    let pulse = |vip: &IpAddr| client.pulse(SocketAddr::new(*vip, 80), Duration::from_millis(50));
    let pulses = drill.vips.iter().map(pulse).collect::<Result<Vec<_>>>()?;
    drill.tap.forget();
    let end = now() + Duration::from_secs(seconds.unwrap_or(40));
    let mut reachable = BTreeMap::<IpAddr, usize>::new();
    tokio::time::sleep(Duration::from_secs(1)).await;
    while now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let entries = client.neighbours()?;
        for vip in &drill.vips {
            let entry = entries.iter().find(|entry| entry.address == *vip);
            let entry = entry.with_context(|| format!("no entry for {vip}"))?;
            let is = |states: &[&str]| entry.state.iter().any(|it| states.contains(&it.as_str()));
            assert!(
                entry.mac.is_some() && !is(&["FAILED", "INCOMPLETE", "NONE"]),
                "{entry:?}"
            );
            *reachable.entry(*vip).or_default() += usize::from(is(&["REACHABLE"]));
        }
    }
    let mut probes = 0;
    for (vip, pulse) in drill.vips.iter().zip(pulses) {
        let seen = drill.tap.seen();
        let asked = seen.iter().filter(|it| {
            &*it.port == "lan-client-lan" && it.way == Way::In && it.meaning == Meaning::Asks(*vip)
        });
        let (asked, rhythm) = (asked.count(), pulse.finish().await?);
        println!("figure: {vip}: the client's kernel asked {asked} times; {rhythm}");
        assert!(reachable[vip] > 0, "{vip} was never reachable");
        assert_eq!(rhythm.lost(), 0, "{rhythm}");
        probes += asked;
    }
    // When a kernel asks is its own affair; of one family alone it may not do so in 40 s.
    assert!(probes >= 2, "probed {probes} times: that proves nothing");
    Ok(())
}
