//! Allocation alone: thousands of Services, one controller, no speaker, and nobody else at the API server.
//!
//! ```text
//! cluster 1   controller runs ─► N Services are created ─► controller killed and started
//! cluster 2   N Services are created ─► controller starts
//! cluster 3   2 N Services are created ─► controller starts ─► plain loop over the same Services ─► killed and started
//!             ─► a stand-by starts ─► whoever leads is killed
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::Layout;
use portolan_tests::world::{Shape, World};

use crate::bound::Statuses;
use crate::load::{CONCURRENCY, Load, now};
use crate::requests::Requests;
use crate::sheet::{Samples, Sheet, context, in_mib, in_ms};
use crate::usage::{self, Metrics, listens};
use crate::{CONFIGURATION, controller};

/// How long the server is watched while nothing runs: what it asks of itself.
const IDLE: Duration = Duration::from_secs(5);
/// One status in so many is written one after the other as well.
const ONE_IN: usize = 10;
/// What each plain loop adds to the words of a condition: there and back, so that afterwards everything is as it was.
const MARKS: [&str; 4] = [" (measured)", "", " (measured)", ""];

/// Everything about allocation, with `services` Services and with twice as many.
pub(crate) async fn measure(sheet: &mut Sheet, services: usize, kills: usize) -> Result<()> {
    running(sheet, services).await?;
    {
        let (mut world, load) = cluster().await?;
        cold(sheet, &mut world, &load, services).await?;
    }
    let (mut world, load) = cluster().await?;
    let took = cold(sheet, &mut world, &load, 2 * services).await?;
    plain_loop(&mut world, took).await?;
    controller::restart(sheet, &load, &mut world).await?;
    leader_killed(&mut world, &load, kills).await
}

/// An API server with a pool, and nobody who uses it.
async fn cluster() -> Result<(World, Load)> {
    let layout = Layout {
        nodes: 1,
        routers: 1,
    };
    let mut world = World::start(Shape {
        layout,
        controllers: 0,
        data_path: false,
        ..Shape::of(Face::Real)
    })
    .await?;
    world.speakers.clear();
    world.apply(CONFIGURATION).await?;
    let load = Load::new(&world.cluster.client(), "nobody");
    Ok((world, load))
}

/// The controller is there when they are created.
async fn running(sheet: &mut Sheet, count: usize) -> Result<()> {
    let (mut world, load) = cluster().await?;
    let controller = world.start_controller(0)?;
    world.controllers.push(controller);
    load.create("first", "Cluster").await?;
    load.address("first").await?;
    controller::at_once(sheet, &load, &names(count)).await?;
    controller::memory(sheet, &world, count, "before that start")?;
    controller::restart(sheet, &load, &mut world).await
}

/// It is not there when they are created, and starts then: nothing but allocation and writing. Returns how long that took.
async fn cold(sheet: &mut Sheet, world: &mut World, load: &Load, count: usize) -> Result<Duration> {
    let client = world.cluster.client();
    let names = names(count);
    load.create_all(&names).await?;
    let idle = Requests::at_rest(&client).await?;
    tokio::time::sleep(IDLE).await;
    let before = Requests::so_far(&client).await?;
    context("load of the machine in the last minute", usage::load()?);
    let own = usage::processor_time(std::process::id())?;
    let begin = now();
    let controller = world.start_controller(0)?;
    let ready = usage::ready(listens(world, 0)).await?;
    let last = load.all_addresses(&names).await?;
    let used = usage::processor_time(controller.pid())?;
    let watching = usage::processor_time(std::process::id())?.saturating_sub(own);
    let pid = controller.pid();
    world.controllers.push(controller);

    let start = format!("{count} waiting, controller start");
    context(&format!("{start} → ready"), in_ms(ready - begin));
    let first = load.first_address()?;
    context(&format!("{start} → first address"), in_ms(first - begin));
    context(&format!("{start} → last address"), in_ms(last - begin));
    context("processor time of the controller until then", in_ms(used));
    context("processor time of the watch that looks on", in_ms(watching));
    let made = Requests::at_rest(&client).await?.since(&before);
    context("API requests, watches apart", &made);
    context("watches", made.watches());
    context(
        &format!("API requests in {} s before that", IDLE.as_secs()),
        before.since(&idle),
    );
    told(&usage::metrics(listens(world, 0)).await?);
    let peak = usage::peak_memory(pid)?;
    sheet.figure(
        &format!("controller peak memory, {count} waiting"),
        "≤ 64 MB",
        peak <= 64_000_000,
        in_mib(peak),
    );
    Ok(last - begin)
}

/// What the controller tells of itself.
fn told(metrics: &Metrics) {
    let own = |metric: &str| metrics.sum(&format!("portolan_controller_{metric}"));
    let seconds = own("decide_seconds_sum");
    let decisions = own("decide_seconds_count");
    context(
        "time in decisions that led to writes",
        format!("{:.0} ms in {decisions}", seconds * 1000.0),
    );
    context("Events dropped", own("events_dropped_total"));
}

/// What no controller can go below, on the same Services; `took` is what ours needed, its start included.
async fn plain_loop(world: &mut World, took: Duration) -> Result<()> {
    let controller = world.controllers.first_mut();
    controller.context("no controller runs")?.kill()?;
    let mut statuses = Statuses::read(&world.cluster.client()).await?;
    let count = statuses.count();
    context("load of the machine in the last minute", usage::load()?);
    let own = usage::processor_time(std::process::id())?;
    let all = plain_loops(&mut statuses, count, CONCURRENCY).await?;
    let used = usage::processor_time(std::process::id())?.saturating_sub(own);
    let loops = u32::try_from(MARKS.len()).context("the number of loops")?;
    let some = count.div_ceil(ONE_IN);
    let alone = plain_loops(&mut statuses, some, 1).await?;
    context(
        &format!("plain loop: {count} statuses, {CONCURRENCY} at a time"),
        span(&all),
    );
    context(
        "processor time of one loop and the watch that looks on",
        in_ms(used / loops),
    );
    context(
        &format!("plain loop: {some} statuses, one by one"),
        span(&alone),
    );
    let bound = all.percentile(0).as_secs_f64();
    context(
        "controller start → last address, in fastest plain loops",
        format!("{:.2}", took.as_secs_f64() / bound),
    );
    Ok(())
}

/// The loop several times.
async fn plain_loops(statuses: &mut Statuses, count: usize, concurrency: usize) -> Result<Samples> {
    let mut loops = Samples::default();
    for mark in MARKS {
        loops.push(statuses.write(count, concurrency, mark).await?);
    }
    Ok(loops)
}

/// The fastest and the slowest.
fn span(samples: &Samples) -> String {
    let [fastest, slowest] = [0, 100].map(|percent| in_ms(samples.percentile(percent)));
    format!("{fastest} to {slowest}")
}

/// Of two controllers the one that leads is killed, again and again.
async fn leader_killed(world: &mut World, load: &Load, kills: usize) -> Result<()> {
    let stand_by = world.start_controller(1)?;
    world.controllers.push(stand_by);
    let mut waited = Samples::default();
    for round in 0..kills {
        for number in 0..2 {
            usage::ready(listens(world, number)).await?;
        }
        let leader = world.controllers.get_mut(round % 2);
        let leader = leader.context("two controllers")?;
        let begin = now();
        leader.kill()?;
        let name = format!("orphan-{round}");
        load.create(&name, "Cluster").await?;
        waited.push(load.address(&name).await?.1 - begin);
        // It comes back as the stand-by: the Lease names the other one.
        leader.restart()?;
    }
    context(
        "leader killed, stand-by ready → next Service served",
        span(&waited),
    );
    Ok(())
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("many-{number}")).collect()
}
