//! Peers that send too much, or take too little: memory stays where it was, and nobody else notices (cases C30 to C32,
//! D7, D8, D30, E10, E12).

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use kube::Api;
use kube::api::{Patch, PatchParams};
use portolan_api::crd::SpeakerConfig;
use portolan_tests::lab::retry_until;
use portolan_tests::rawpeer::bytes::{Open, Update, end_of_rib, keepalive, mandatory, update};
use portolan_tests::rawpeer::{Connection, Heard, Message, PEER_AS, RawPeer, Settings, Stage};
use portolan_tests::world::SOON;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// What a speaker may grow by, whatever its peers send: its buffers, and what the allocator rounds up.
const GROWTH: u64 = 5 << 20;
/// Routes that are enough to fill every buffer between two daemons several times over.
const MANY: u32 = 10_000;

/// Memory of the speaker.
fn memory(stage: &Stage) -> Result<u64> {
    stage
        .world
        .speakers
        .first()
        .context("no speaker")?
        .resident_memory()
}

/// Time that the speaker has used of the processors.
fn work(stage: &Stage) -> Result<Duration> {
    let pid = stage.world.speakers.first().context("no speaker")?.pid();
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ran = text.split(' ').next().context("half a line of proc(5)")?;
    Ok(Duration::from_nanos(
        ran.parse().context("a line of proc(5)")?,
    ))
}

fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// A million routes: 2 048 messages of 489 prefixes, a little less than 4 kB each.
fn table(withdraw: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in 0..2048_u32 {
        let route = |place: u32| {
            let [a, b, c, _] = (0x0a00_0000 + ((message * 489 + place) << 8)).to_be_bytes();
            [24, a, b, c]
        };
        let routes: Vec<u8> = (0..489).flat_map(route).collect();
        bytes.extend(if withdraw {
            update(&routes, &[], &[])
        } else {
            update(&[], &mandatory(PEER_AS), &routes)
        });
    }
    bytes
}

/// C30, C31, C32: what comes is read, judged and forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_routes_leave_no_trace() -> Result<()> {
    let mut stage = Stage::set().await?;
    let sentinel = stage.sentinel().await?;
    let peer = stage
        .peers(&[Settings::default()])
        .await?
        .pop()
        .context("no peer")?;
    let mut session = peer.establish().await?;
    session.alive().await?;
    let (before, worked, begin) = (memory(&stage)?, work(&stage)?, Instant::now());
    let (announced, withdrawn) = (table(false), table(true));
    session.flood(&announced).await?;
    session.alive().await.context("after a million routes")?;
    let (took, used) = (begin.elapsed(), work(&stage)?.saturating_sub(worked));
    let first = memory(&stage)?.saturating_sub(before);
    println!(
        "1 000 000 routes in {took:.2?}, {used:.2?} of processor time, memory +{:.2} MiB",
        mib(first)
    );
    ensure!(first < GROWTH, "a million routes cost {first} bytes");

    for _ in 0..3 {
        session.flood(&withdrawn).await?;
        session.flood(&announced).await?;
    }
    session.alive().await.context("after millions of routes")?;
    let growth = memory(&stage)?.saturating_sub(before);
    ensure!(growth < GROWTH, "coming and going cost {growth} bytes");

    let (worked, begin) = (work(&stage)?, Instant::now());
    let tiny = [end_of_rib(), keepalive()].concat().repeat(500);
    for _ in 0..100 {
        session.flood(&tiny).await?;
    }
    session.alive().await.context("after tiny messages")?;
    let (took, used) = (begin.elapsed(), work(&stage)?.saturating_sub(worked));
    println!("100 000 tiny messages in {took:.2?}, {used:.2?} of processor time");
    let growth = memory(&stage)?.saturating_sub(before);
    ensure!(growth < GROWTH, "tiny messages cost {growth} bytes");
    let (_, silent) = sentinel.relieve().await?;
    println!("longest silence towards the sentinel {silent:.2?}");
    Ok(())
}

/// D30: what a session costs that carries nothing much.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sessions_fit_into_a_few_megabytes() -> Result<()> {
    let mut stage = Stage::set().await?;
    let sentinel = stage.sentinel().await?;
    let before = memory(&stage)?;
    let peers = stage
        .peers(&vec![
            Settings {
                hold: 90,
                ..Settings::default()
            };
            200
        ])
        .await?;
    let mut sessions = Vec::new();
    let open = Open {
        hold: 90,
        ..Open::good(PEER_AS)
    };
    for peer in &peers {
        sessions.push(peer.establish_with(&open).await?);
    }
    try_join_all(sessions.iter_mut().map(Connection::alive)).await?;
    let each = memory(&stage)?.saturating_sub(before) / 200;
    println!("memory of a session: {each} bytes");
    ensure!(each < 200_000, "a session costs {each} bytes");
    sentinel.relieve().await.map(drop)
}

/// Makes these the routes that everybody is told, in place of the controller, which must not run any more.
async fn tell(stage: &Stage, mark: u32, count: u32) -> Result<()> {
    let api: Api<SpeakerConfig> = Api::all(stage.world.cluster.client());
    let config = api
        .get("default")
        .await
        .context("the compiled configuration")?;
    let mut rule = serde_json::to_value(config.spec.bgp.first().context("no advertisement")?)?;
    rule["name"] = json!("many");
    rule["routes"] = json!(["ClusterIPRange"]);
    rule["communities"] = json!([mark]);
    rule["serviceSelectors"] = json!([]);
    let range = |number: u32| format!("{}/32", Ipv4Addr::from(0x0a64_0000 + number));
    let ranges: Vec<String> = (0..count).map(range).collect();
    let mut rules: Vec<_> = config
        .spec
        .bgp
        .iter()
        .filter(|rule| rule.name != "many")
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()?;
    rules.push(rule);
    let patch = Patch::Merge(json!({ "spec": { "bgp": rules, "clusterIPRanges": ranges } }));
    let patched = api.patch("default", &PatchParams::default(), &patch).await;
    patched
        .map(drop)
        .context("changing the compiled configuration")
}

/// D1, D7, D8: a peer that does not read costs one buffer, and hears the present when it reads again. (That it is left
/// after the send hold time, 90 s at least, is told by simulations.)
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_reading_costs_nothing_and_hears_the_present() -> Result<()> {
    const CHANGES: u32 = 33;
    let mut stage = Stage::set().await?;
    let sentinel = stage.sentinel().await?;
    let settings = Settings {
        hold: 0,
        ..Settings::default()
    };
    let mut peers = stage.peers(&[settings.clone(), settings]).await?;
    let (deaf, listening) = (peers.remove(0), peers.remove(0));
    deaf.take_little()?;
    drop(deaf.accept().await?);
    let (mut session, mut attentive) = (deaf.accept().await?, listening.establish().await?);
    stage.world.controllers.clear();
    tell(&stage, 1, MANY).await?;

    let mut messages = 0_u32;
    let mut known = 0;
    while known < MANY as usize {
        let update = attentive.update().await?;
        let count = update.announced().len();
        known += count.saturating_sub(usize::from(count == 1));
        messages += 1;
    }
    ensure!(messages <= 16, "{MANY} routes came in {messages} messages");

    // Changes of this size cost something by themselves, at first.
    let mut change = async |number: u32| {
        tell(&stage, number, MANY).await?;
        let has = |update: &Update| update.attribute(8) == Some(&number.to_be_bytes());
        attentive.update_where(has).await
    };
    for number in 2..=CHANGES / 3 {
        change(number).await?;
    }
    session.establish(&Open::good(PEER_AS)).await?;
    let before = memory(&stage)?;
    for number in CHANGES / 3 + 1..=CHANGES {
        change(number).await?;
    }
    let growth = memory(&stage)?.saturating_sub(before);
    println!(
        "{CHANGES} changes of {MANY} routes towards a peer that does not read: memory +{:.2} MiB",
        mib(growth)
    );
    ensure!(growth < GROWTH, "not to be heard cost {growth} bytes");

    let (mut held, mut bytes) = (BTreeMap::new(), 0_usize);
    let present = CHANGES.to_be_bytes();
    let begin = Instant::now();
    while held.values().filter(|mark| **mark == present).count() < MANY as usize {
        ensure!(
            begin.elapsed() < SOON,
            "only {} routes, {bytes} bytes",
            held.len()
        );
        let heard = session.next().await.with_context(|| {
            let current = held.values().filter(|mark| **mark == present).count();
            format!(
                "after {bytes} bytes it holds {} routes, {current} of them as they are",
                held.len()
            )
        })?;
        let Heard::Message(Message { body, .. }) = heard else {
            bail!("the session ended");
        };
        bytes += body.len() + 19;
        let Some(update) = Update::cut(&body) else {
            continue;
        };
        for prefix in update.gone() {
            held.remove(&prefix);
        }
        let mark = update.attribute(8).unwrap_or_default().to_vec();
        held.extend(
            update
                .announced()
                .into_iter()
                .map(|prefix| (prefix, mark.clone())),
        );
    }
    println!("it caught up by {bytes} bytes");
    // All of it would be 1.1 MB. What the kernels hold of the past is theirs.
    ensure!(bytes < 900_000, "it heard history: {bytes} bytes");
    sentinel.relieve().await.map(drop)
}

/// E12: no descriptors left. Sessions live, attempts fail with a reason, and nothing spins.
#[tokio::test(flavor = "multi_thread")]
async fn a_speaker_without_descriptors_keeps_what_it_has() -> Result<()> {
    let mut stage = Stage::set().await?;
    let sentinel = stage.sentinel().await?;
    let pid = stage.world.speakers[0].pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    limit(&stage, pid, open + 1)?;
    let peers = stage.peers(&vec![Settings::default(); 4]).await?;
    let mut refused = 0;
    for peer in &peers {
        let words = peer.last_error().await;
        refused += usize::from(words.is_ok_and(|words| words.contains("open files")));
    }
    ensure!(refused > 0, "nobody was told of the missing descriptors");
    let worked = work(&stage)?;
    sleep(Duration::from_secs(5)).await;
    let used = work(&stage)?.saturating_sub(worked);
    ensure!(
        used < Duration::from_millis(500),
        "{used:?} of processor time in 5 s: it spins"
    );
    limit(&stage, pid, 1024)?;
    for peer in &peers {
        peer.establish().await?.alive().await?;
    }
    sentinel.relieve().await.map(drop)
}

fn limit(stage: &Stage, pid: u32, files: usize) -> Result<()> {
    let words = [
        "prlimit".to_owned(),
        format!("--pid={pid}"),
        format!("--nofile={files}:1024"),
    ];
    stage.world.lab.outside.exec(&words).map(drop)
}

/// E10: connections that say one byte, or nothing, from strangers and from a peer.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_hold_no_descriptors() -> Result<()> {
    let mut stage = Stage::set().await?;
    let sentinel = stage.sentinel().await?;
    let peer = stage
        .peers(&[Settings::with("listen: passive")])
        .await?
        .pop()
        .context("no peer")?;
    peer.known().await?;
    idle(&stage, &peer).await?;
    sentinel.relieve().await.map(drop)
}

async fn idle(stage: &Stage, peer: &RawPeer) -> Result<()> {
    let pid = stage.world.speakers[0].pid();
    let descriptors = || Ok::<_, anyhow::Error>(fs::read_dir(format!("/proc/{pid}/fd"))?.count());
    let (before, memory_before) = (descriptors()?, memory(stage)?);
    let mut idle = Vec::new();
    for number in 0..1000 {
        let stranger = "172.30.0.1".parse()?;
        let from = if number % 2 == 0 {
            stranger
        } else {
            peer.address
        };
        let mut connection = peer.connect_from(from).await?;
        // Who was turned away already need not take it.
        drop(connection.send(&[0xff]).await);
        idle.push(connection);
    }
    retry_until(SOON, "descriptors to be few", async || {
        let more = descriptors()?.saturating_sub(before);
        ensure!(more <= 8, "{more} descriptors more than before");
        Ok(())
    })
    .await?;
    let growth = memory(stage)?.saturating_sub(memory_before);
    ensure!(
        growth < GROWTH,
        "a thousand connections cost {growth} bytes"
    );
    idle.clear();
    let mut session = retry_until(SOON, "the session of the peer", async || {
        let mut session = peer.connect().await?;
        session.establish(&Open::good(peer.asn)).await?;
        Ok(session)
    })
    .await?;
    session.alive().await
}
