//! What the speaker is measured by: how soon routers know, how much it says and needs to say it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portolan_tests::lab::retry_until;
use portolan_tests::lab::router::{Bird, Frr};
use portolan_tests::world::World;

use crate::load::{Load, PATIENCE, now};
use crate::peer::Peer;
use crate::sheet::{Samples, Sheet, context, in_mib, in_ms};
use crate::usage::processor_time;

/// Changes of one endpoint, before the next Service takes its turn.
const TURNS: usize = 4;

/// An endpoint of a Service with policy Local becomes unready and ready in turn.
pub(crate) async fn endpoints(
    sheet: &mut Sheet,
    load: &Load,
    peer: &Peer,
    samples: usize,
    held: usize,
) -> Result<()> {
    let (mut trips, mut told) = (Samples::default(), Samples::default());
    // An endpoint that flaps more often is announced with patience, which is not what is measured here.
    for number in 0..samples.div_ceil(TURNS) {
        let name = format!("local-{held}-{number}");
        load.give_endpoint(&name).await?;
        load.create(&name, "Local").await?;
        let (address, _) = load.address(&name).await?;
        let mut heard = peer.heard();
        let first = heard.wait_for(|heard| heard.routes.contains_key(&address));
        let first = tokio::time::timeout(PATIENCE, first).await;
        drop(first.context("no route")??);
        for turn in 0..TURNS {
            let ready = turn % 2 == 1;
            let changed = load.turn(&name, ready).await?;
            let seen = heard.wait_for(|heard| heard.routes.contains_key(&address) == ready);
            let seen = tokio::time::timeout(PATIENCE, seen).await;
            let seen = seen.context("no UPDATE after an endpoint changed")??;
            let table = if ready { &seen.routes } else { &seen.withdrawn };
            let arrived = *table.get(&address).context("it was there")?;
            trips.push(changed.answered - changed.sent);
            told.push(arrived - changed.sent);
            drop(seen);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let among = format!("with {held} Services");
    context(
        &format!("a PATCH of an EndpointSlice, there and back, {among}"),
        trips,
    );
    let within = told.percentile(50) < Duration::from_millis(5);
    sheet.figure(
        &format!("endpoint change sent → UPDATE at the router, {among}"),
        "p50 < 5 ms",
        within,
        told,
    );
    Ok(())
}

/// The speaker is stopped and started with everything there.
pub(crate) async fn restart(
    sheet: &mut Sheet,
    world: &mut World,
    peer: &Peer,
    frr: &Frr,
    bird: &Bird,
) -> Result<()> {
    let mut heard = peer.heard();
    let (count, session) = {
        let heard = heard.borrow();
        (heard.routes.len(), heard.session)
    };
    let speaker = world.speakers.first_mut().context("no speaker runs")?;
    let before = speaker.resident_memory()?;
    speaker.stop(Duration::from_secs(10)).await?;
    retry_until(PATIENCE, "routers without routes", async || {
        ensure!(
            (routes_of_frr(frr)?, routes_of_bird(bird)?) == (0, 0),
            "some are left"
        );
        Ok(())
    })
    .await?;
    let begin = now();
    speaker.restart()?;
    let all = heard
        .wait_for(|heard| heard.session > session && heard.complete && heard.routes.len() >= count);
    let all = tokio::time::timeout(PATIENCE, all).await;
    let all = all.context("routes are missing")??;
    let used = processor_time(speaker.pid())?;
    let (last, updates) = (all.last.context("there are routes")?, all.updates);
    drop(all);
    let [at_frr, at_bird] = routers(frr, bird, count, begin).await?;
    let within = |took: Duration| took < Duration::from_secs(1);
    let start = |router: &str| format!("speaker start with {count} VIPs → last prefix at {router}");
    for (router, took) in [
        ("a bare peer", last - begin),
        ("BIRD", at_bird),
        ("FRR", at_frr),
    ] {
        sheet.figure(&start(router), "< 1 s", within(took), in_ms(took));
    }
    sheet.figure(
        "UPDATE messages of that start to one peer, End-of-RIB included",
        "≤ 10",
        updates <= 10,
        updates,
    );
    sheet.figure(
        "processor time of that start, three peers",
        "< 0.5 s",
        used < Duration::from_millis(500),
        in_ms(used),
    );
    let after = speaker.resident_memory()?;
    for (when, memory) in [("before", before), ("after", after)] {
        sheet.figure(
            &format!("speaker resident memory, {count} VIPs, {when} that start"),
            "≤ 16 MB",
            memory <= 16_000_000,
            in_mib(memory),
        );
    }
    Ok(())
}

/// How long after `begin` FRR and BIRD have that many routes, as far as asking them can tell.
async fn routers(frr: &Frr, bird: &Bird, count: usize, begin: Instant) -> Result<[Duration; 2]> {
    let [mut at_frr, mut at_bird] = [None; 2];
    retry_until(PATIENCE, "all routes at FRR and BIRD", async || {
        if at_bird.is_none() && routes_of_bird(bird)? >= count {
            at_bird = Some(now() - begin);
        }
        if at_frr.is_none() && routes_of_frr(frr)? >= count {
            at_frr = Some(now() - begin);
        }
        ensure!(at_frr.is_some() && at_bird.is_some(), "some are missing");
        Ok(())
    })
    .await?;
    Ok([at_frr.unwrap_or_default(), at_bird.unwrap_or_default()])
}

/// Whether both routers and the peer have a session with the speaker.
pub(crate) async fn connected(peer: &Peer, frr: &Frr, bird: &Bird) -> Result<()> {
    use portolan_tests::lab::router::Router as _;
    let mut heard = peer.heard();
    let complete = heard.wait_for(|heard| heard.complete);
    drop(
        tokio::time::timeout(PATIENCE, complete)
            .await
            .context("no session")??,
    );
    retry_until(PATIENCE, "sessions with FRR and BIRD", async || {
        let sessions = [frr.sessions()?, bird.sessions()?].concat();
        let established = sessions.iter().filter(|session| session.is_established());
        ensure!(established.count() == 2, "{sessions:?}");
        Ok(())
    })
    .await
}

fn routes_of_frr(frr: &Frr) -> Result<usize> {
    let text = frr.vty(&["show bgp ipv4 unicast summary json"])?;
    let summary: serde_json::Value =
        serde_json::from_str(&text).context("reading FRR's summary")?;
    let peers = summary.get("peers").and_then(serde_json::Value::as_object);
    let counts = peers.into_iter().flat_map(|peers| peers.values());
    let received = counts
        .filter_map(|peer| peer.get("pfxRcd")?.as_u64())
        .sum::<u64>();
    usize::try_from(received).context("FRR's count")
}

/// `5000 of 5000 routes for 5000 networks in table master4`
fn routes_of_bird(bird: &Bird) -> Result<usize> {
    let text = bird.ask("show route count where source = RTS_BGP")?;
    let line = text.lines().find(|line| line.contains("in table master4"));
    let count = line.and_then(|line| line.split_whitespace().next());
    let count = count.with_context(|| format!("BIRD answered {text}"))?;
    count
        .parse()
        .with_context(|| format!("BIRD answered {text}"))
}
