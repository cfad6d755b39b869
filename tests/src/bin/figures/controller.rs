//! What the controller is measured by: how soon a Service has its address, alone, among thousands, and after a restart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portolan_tests::world::World;

use crate::load::{Load, PATIENCE, now};
use crate::peer::Peer;
use crate::sheet::{Samples, Sheet, context, in_mib, in_ms};
use crate::usage::{self, listens};

/// Between two Services that are made one at a time: the Event about the first is out by then.
const PAUSE: Duration = Duration::from_millis(20);

/// A status PATCH and nothing else: the part of the figures that no controller can save.
pub(crate) async fn lower_bound(load: &Load, samples: usize) -> Result<()> {
    load.create_of_class("bound", "Cluster", Some("example.com/nobody"))
        .await?;
    let mut trips = Samples::default();
    for round in 0..samples {
        trips.push(load.patch_status("bound", round).await?);
        tokio::time::sleep(PAUSE).await;
    }
    context("a PATCH of a Service's status, there and back", trips);
    Ok(())
}

/// Services made one at a time, and their way to the router.
pub(crate) async fn one_at_a_time(
    sheet: &mut Sheet,
    load: &Load,
    peer: &Peer,
    samples: usize,
    held: usize,
) -> Result<()> {
    let [mut creating, mut assigned, mut sent, mut told]: [Samples; 4] = Default::default();
    let mut heard = peer.heard();
    for round in 0..samples {
        let name = format!("one-{held}-{round}");
        load.give_endpoint(&name).await?;
        tokio::time::sleep(PAUSE).await;
        let created = load.create(&name, "Cluster").await?;
        let (address, at) = load.address(&name).await?;
        let route = heard.wait_for(|heard| heard.routes.contains_key(&address));
        let route = tokio::time::timeout(PATIENCE, route).await;
        let route = route.with_context(|| format!("no route for {name}"))??;
        let arrived = *route.routes.get(&address).context("it was there")?;
        creating.push(created.answered - created.sent);
        assigned.push(at.saturating_duration_since(created.answered));
        sent.push(at - created.sent);
        told.push(arrived.saturating_duration_since(at));
    }
    let among = format!("with {held} Services");
    let (p50, p99) = (assigned.percentile(50), assigned.percentile(99));
    context(
        &format!("POST of a Service, there and back, {among}"),
        creating,
    );
    context(
        &format!("POST sent → address seen by a watch, {among}"),
        sent,
    );
    sheet.figure(
        &format!("Service created → address in status, {among}"),
        "p50 < 5, p99 < 15 ms",
        p50 < Duration::from_millis(5) && p99 < Duration::from_millis(15),
        assigned,
    );
    let (p50, p99) = (told.percentile(50), told.percentile(99));
    sheet.figure(
        &format!("address in status → UPDATE at the router, {among}"),
        "p50 < 1, p99 < 5 ms",
        p50 < Duration::from_millis(1) && p99 < Duration::from_millis(5),
        told,
    );
    Ok(())
}

/// Thousands at once. Returns when the last had its address.
pub(crate) async fn at_once(sheet: &mut Sheet, load: &Load, names: &[String]) -> Result<Instant> {
    let begin = now();
    let last = load.create_all(names).await?;
    let assigned = load.all_addresses(names).await?;
    let count = names.len();
    context(
        &format!("{count} Services created, 16 requests at a time"),
        in_ms(last - begin),
    );
    let after = assigned.saturating_duration_since(last);
    sheet.figure(
        &format!("{count} at once: last created → last has its address"),
        "< 1 s",
        after < Duration::from_secs(1),
        in_ms(after),
    );
    Ok(assigned)
}

/// The routes of those; the last had its address at `assigned`.
pub(crate) async fn routes_of_all(peer: &Peer, count: usize, assigned: Instant) -> Result<()> {
    let mut heard = peer.heard();
    let all = heard.wait_for(|heard| heard.routes.len() >= count);
    let all = tokio::time::timeout(PATIENCE, all).await;
    let all = all.context("routes are missing")??;
    let told = all.last.context("there are routes")?;
    context(
        &format!("{count} at once: last has its address → last UPDATE"),
        in_ms(told.saturating_duration_since(assigned)),
    );
    Ok(())
}

/// The controller is killed, if it still runs, and started; a new Service waits for it.
pub(crate) async fn restart(sheet: &mut Sheet, load: &Load, world: &mut World) -> Result<()> {
    let before = load.versions().await?;
    let count = before.len();
    let listens = listens(world, 0);
    let controller = world.controllers.first_mut();
    let controller = controller.context("no controller runs")?;
    controller.kill()?;
    load.create("next", "Cluster").await?;
    let begin = now();
    controller.restart()?;
    let ready = usage::ready(listens).await?;
    let (_, served) = load.address("next").await?;
    let start = format!("controller start with {count} held");
    context(&format!("{start} → ready"), in_ms(ready - begin));
    let took = served - begin;
    sheet.figure(
        &format!("{start} → next Service served"),
        "< 1.5 s",
        took < Duration::from_millis(1500),
        in_ms(took),
    );
    // Whatever it would write, it writes within moments of leading; a Service served after those shows that they passed.
    for round in 0..20 {
        let name = format!("after-{round}");
        load.create(&name, "Cluster").await?;
        load.address(&name).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = load.versions().await?;
    let written = before
        .iter()
        .filter(|(name, version)| after.get(*name) != Some(version))
        .count();
    sheet.figure("Services written by that start", "0", written == 0, written);
    memory(sheet, world, count, "after that start")
}

/// Resident memory of the controller with that many Services, now and at most.
pub(crate) fn memory(sheet: &mut Sheet, world: &World, count: usize, when: &str) -> Result<()> {
    let controller = world.controllers.first();
    let controller = controller.context("no controller runs")?;
    let (most, budget) = if count > 5500 {
        (64_000_000, "≤ 64 MB")
    } else {
        (32_000_000, "≤ 32 MB")
    };
    let resident = controller.resident_memory()?;
    let peak = usage::peak_memory(controller.pid())?;
    for (what, memory) in [("resident", resident), ("peak", peak)] {
        sheet.figure(
            &format!("controller {what} memory, {count} Services, {when}"),
            budget,
            memory <= most,
            in_mib(memory),
        );
    }
    Ok(())
}
