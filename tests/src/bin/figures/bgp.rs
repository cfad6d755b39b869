//! Portolan's sessions beside those of GoBGP, BIRD and ExaBGP: the same host routes to the same FRR, the same BIRD and a
//! bare peer that counts; and a flood of routes into each.
//!
//! ```text
//!             ┌── router-1  FRR   ──► kernel ─┐
//! node-1 ─────┼── router-2  BIRD  ──► kernel ─┴─ netlink: when the last route was there
//! announcer   ├── router-3  bare peer: messages and octets
//!             └── router-4  flood
//! ```
//!
//! An announcer is started while its cable is unplugged and given time to take its routes in. Then the cable is plugged
//! in: time counts from the TCP connection of each router on, processor time from the plug.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use portolan_tests::lab::router::{Bird, Frr, Neighbour, RouterConfig};
use portolan_tests::lab::{Host, Lab, Layout, Link};
use portolan_tests::world::{NODE_AS, ROUTER_AS};
use tokio::sync::watch;

use crate::announcer::{Announcer, idle};
use crate::fib::{self, Fib};
use crate::flood;
use crate::load::now;
use crate::peer::Peer;
use crate::sheet::{in_mib, in_ms};
use crate::usage::{load, peak_memory, processor_time};

/// For whatever an interpreter does with a hundred thousand routes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Announces that many routes by each announcer, then floods each.
pub(crate) async fn measure(counts: &[u32], flood: u32) -> Result<()> {
    let lab = Lab::start(Layout {
        nodes: 1,
        routers: 4,
    })?;
    let [first, second, third, fourth] = &lab.routers[..] else {
        bail!("a lab of four routers has four")
    };
    let config = |host: &Host| {
        let node = lab.nodes.iter().map(|node| node.host.address().v4);
        let neighbours = node.map(|node| Neighbour::at(node, NODE_AS).passive());
        RouterConfig {
            hold_time: 90,
            ..RouterConfig::new(ROUTER_AS, host.address().v4, neighbours.collect())
        }
    };
    let _frr = Frr::start(first, &config(first)).await?;
    let _bird = Bird::start(second, &config(second)).await?;
    let site = Site {
        node: &lab.nodes.first().context("no node")?.host,
        routers: [first, second, third],
        kernels: [fib::watch(first)?, fib::watch(second)?],
        bare: Peer::start(third)?,
    };
    for count in counts {
        let mut rows = Vec::new();
        for announcer in Announcer::ALL {
            rows.push((announcer, site.announce(announcer, *count).await?));
            eprintln!(
                "{} has announced {count}, load {}",
                announcer.name(),
                load()?
            );
        }
        print_announced(*count, &rows);
    }
    let flooded = flood::start(fourth, flood)?;
    let mut rows = Vec::new();
    for announcer in Announcer::ALL {
        let row = into(announcer, site.node, fourth, flooded.clone()).await;
        rows.push((announcer, row?));
        eprintln!("{} was flooded, load {}", announcer.name(), load()?);
    }
    print_flooded(flood, &rows);
    Ok(())
}

struct Site<'a> {
    node: &'a Host,
    routers: [&'a Host; 3],
    kernels: [watch::Receiver<Fib>; 2],
    bare: Peer,
}

/// What one announcer took.
struct Announced {
    /// From the connection to the last route: FRR's kernel, BIRD's kernel, the bare peer.
    times: [Duration; 3],
    messages: usize,
    octets: usize,
    processor: Duration,
    resident: u64,
    peak: u64,
}

impl Site<'_> {
    async fn announce(&self, announcer: Announcer, count: u32) -> Result<Announced> {
        let routers = self.routers.map(|host| host.address().v4);
        self.node.unplug(Link::Lan)?;
        let mut process = announcer.start(self.node, &routers, count).await?;
        process.ensure_running()?;
        let before = processor_time(process.pid())?;
        let connections = self.routers.map(connection);
        self.node.plug(Link::Lan)?;
        let [first, second, third] = connections;
        let wanted = usize::try_from(count).context("a count")?;
        let ends = async {
            let begun = tokio::try_join!(first, second, third)?;
            let [frr, bird] = &self.kernels;
            let frr = at_least(frr.clone(), wanted).await?;
            let bird = at_least(bird.clone(), wanted).await?;
            let mut heard = self.bare.heard();
            let heard = heard.wait_for(|heard| heard.routes.len() >= wanted).await?;
            let last = heard.last.context("a route without a time")?;
            anyhow::Ok([
                frr - begun.0,
                bird - begun.1,
                last.saturating_duration_since(begun.2),
            ])
        };
        let times = tokio::time::timeout(PATIENCE, ends).await;
        let times =
            times.with_context(|| format!("{} does not get through", announcer.name()))??;
        idle(process.pid()).await?;
        let row = {
            let heard = self.bare.heard();
            let heard = heard.borrow();
            Announced {
                times,
                messages: heard.updates,
                octets: heard.octets,
                processor: processor_time(process.pid())?.saturating_sub(before),
                resident: process.resident_memory()?,
                peak: peak_memory(process.pid())?,
            }
        };
        process.kill()?;
        for kernel in &self.kernels {
            let mut kernel = kernel.clone();
            let gone = kernel.wait_for(|fib| fib.routes == 0);
            drop(
                tokio::time::timeout(PATIENCE, gone)
                    .await
                    .context("routes stay")??,
            );
        }
        Ok(row)
    }
}

/// When the kernel had that many routes.
async fn at_least(mut kernel: watch::Receiver<Fib>, count: usize) -> Result<Instant> {
    let fib = kernel.wait_for(|fib| fib.routes >= count).await?;
    fib.last.context("a route without a time")
}

/// When a router's port 179 had a connection: local port 00B3, state 01 (proc(5), net/tcp).
async fn connection(host: &Host) -> Result<Instant> {
    let netns = host.netns().clone();
    let work = async || loop {
        let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
        let mut rows = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        let is_up = rows.any(|row| {
            let local = row.get(1).is_some_and(|local| local.ends_with(":00B3"));
            local && row.get(3) == Some(&"01")
        });
        if is_up {
            return now();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    netns.block_on(work).await
}

/// What a flood did to one.
struct Flooded {
    before: u64,
    after: u64,
    peak: u64,
    processor: Duration,
    /// Until it had come to rest.
    took: Duration,
    kept: bool,
}

async fn into(
    announcer: Announcer,
    node: &Host,
    router: &Host,
    mut told: watch::Receiver<flood::Flooded>,
) -> Result<Flooded> {
    node.unplug(Link::Lan)?;
    let mut process = announcer.start(node, &[router.address().v4], 1).await?;
    let pid = process.pid();
    let (before, used) = (process.resident_memory()?, processor_time(pid)?);
    told.mark_unchanged();
    node.plug(Link::Lan)?;
    let sent = told.wait_for(|told| told.sent.is_some_and(|_| !told.broken));
    let sent = tokio::time::timeout(PATIENCE, sent).await;
    let (begun, sent) = {
        let told = sent.context("the flood does not end")??;
        (told.begun, told.sent)
    };
    let rested = idle(pid).await?.max(sent.context("the flood was sent")?);
    let flooded = Flooded {
        before,
        after: process.resident_memory()?,
        peak: peak_memory(pid)?,
        processor: processor_time(pid)?.saturating_sub(used),
        took: rested.saturating_duration_since(begun.context("a session")?),
        kept: !told.borrow().broken,
    };
    process.kill()?;
    Ok(flooded)
}

fn print_announced(count: u32, rows: &[(Announcer, Announced)]) {
    let Some((_, ours)) = rows.first() else {
        return;
    };
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        &format!("{count} routes"),
        "→ FRR's kernel",
        "→ BIRD's kernel",
        "→ bare peer",
        "UPDATEs",
        "octets",
        "processor time",
        "resident",
        "peak",
    ]);
    for (announcer, row) in rows {
        let time = |index: usize| {
            let pick = |it: &Announced| it.times.get(index).copied().unwrap_or_default();
            with_ratio(
                in_ms(pick(row)),
                pick(row).as_secs_f64(),
                pick(ours).as_secs_f64(),
            )
        };
        table.add_row([
            announcer.name().to_owned(),
            time(0),
            time(1),
            time(2),
            with_ratio(
                row.messages.to_string(),
                number(row.messages),
                number(ours.messages),
            ),
            with_ratio(
                row.octets.to_string(),
                number(row.octets),
                number(ours.octets),
            ),
            with_ratio(
                in_ms(row.processor),
                row.processor.as_secs_f64(),
                ours.processor.as_secs_f64(),
            ),
            with_ratio(
                in_mib(row.resident),
                size(row.resident),
                size(ours.resident),
            ),
            with_ratio(in_mib(row.peak), size(row.peak), size(ours.peak)),
        ]);
    }
    println!("\n{table}");
}

fn print_flooded(count: u32, rows: &[(Announcer, Flooded)]) {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        &format!("{count} routes into"),
        "resident before",
        "after",
        "growth of the peak",
        "processor time",
        "until it rests",
        "session",
    ]);
    for (announcer, row) in rows {
        table.add_row([
            announcer.name().to_owned(),
            in_mib(row.before),
            in_mib(row.after),
            in_mib(row.peak.saturating_sub(row.before)),
            in_ms(row.processor),
            in_ms(row.took),
            if row.kept { "stays" } else { "is lost" }.to_owned(),
        ]);
    }
    println!("\n{table}");
}

fn with_ratio(shown: String, theirs: f64, ours: f64) -> String {
    if ours > 0.0 && (theirs - ours).abs() > f64::EPSILON {
        format!("{shown} (×{:.1})", theirs / ours)
    } else {
        shown
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a ratio")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "for a ratio")]
fn size(octets: u64) -> f64 {
    octets as f64
}
