//! Where the controller's memory goes: N Services and their endpoints, as a kube-apiserver sends them, through the real
//! watches into the real core, with every allocation counted.
//!
//! ```sh
//! cargo run --release -p portolan-controller --example memory -- 5000              # the table
//! cargo run --release -p portolan-controller --example memory -- 5000 dhat.json    # and who allocated it: for DHAT's viewer
//! ```
//!
//! Counted are the bytes that were asked for; the allocator's own overhead and free blocks between used ones come on top
//! (`cargo run -p portolan-tests --bin memory` measures those, from outside).

#![expect(clippy::disallowed_macros, reason = "a table is what this is for")]

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use kube::client::Body;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use portolan_api::view::Service;
use portolan_controller::decide::{Core, Moment};
use portolan_controller::model::{Event, Watch};
use portolan_controller::snapshot;
use portolan_daemon::watch::{Change, watch};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

mod cluster;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let count = args.next().map_or(Ok(5000), |text| text.parse())?;
    let builder = dhat::Profiler::builder();
    let _profiler = match args.next() {
        Some(file) => builder.file_name(file).build(),
        // Frames cost time, and nobody looks at these.
        None => builder.testing().trim_backtraces(Some(4)).build(),
    };
    let client = Client::new(
        tower::service_fn(move |request: http::Request<Body>| answer(count, request)),
        "default",
    );
    let mut sheet = Sheet::new(count);
    let mut core = Core::new("me", "portolan-system", None);
    let namespaces = feed(&mut core, &client, Event::Namespace, Watch::Namespaces).await?;
    let services = feed(&mut core, &client, Event::Service, Watch::Services).await?;
    sheet.line("Services, watched and in the model");
    let slices = feed(&mut core, &client, Event::Slice, Watch::EndpointSlices).await?;
    sheet.line("EndpointSlices, watched and in the model");
    lead(&mut core, &client).await?;
    sheet.line("a term begun: allocator and what was decided");
    for task in [namespaces, services, slices] {
        task.abort();
        // It was cancelled just now.
        drop(task.await);
    }
    sheet.line("less the watches' own list of names");
    println!("{:52} {:8} bytes", "size of Event", size_of::<Event>());
    println!("{:52} {:8} bytes", "size of Service", size_of::<Service>());
    Ok(())
}

/// Answers as the API server does: lists in pages, watches that stay silent.
async fn answer(
    count: usize,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch=true") {
        return std::future::pending().await;
    }
    let (status, text) = cluster::answer(request.uri().path(), query, count);
    let mut response = http::Response::new(Body::from(text.into_bytes()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

/// Runs one watch into the core until everything has been listed. The watch goes on.
async fn feed<K>(
    core: &mut Core,
    client: &Client,
    wrap: fn(Change<K>) -> Event,
    until: Watch,
) -> Result<JoinHandle<()>>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let (tx, mut events) = mpsc::channel(64);
    let api = Api::<K>::all(client.clone());
    let task = tokio::spawn(watch(api, Config::default(), 0.0, tx, wrap));
    while let Some(event) = events.recv().await {
        if core.observe(event, now()) == Some(until) {
            // Read by nobody from here on; the watch is silent.
            tokio::spawn(async move { while events.recv().await.is_some() {} });
            return Ok(task);
        }
        core.decide(moment());
    }
    bail!("the watch ended")
}

/// Begins a term as the controller does.
async fn lead(core: &mut Core, client: &Client) -> Result<()> {
    for synced in [
        Event::Pool(Change::Synced),
        Event::L2(Change::Synced),
        Event::Bgp(Change::Synced),
        Event::Peer(Box::new(Change::Synced)),
        Event::BfdProfile(Change::Synced),
        Event::Community(Change::Synced),
        Event::ServiceCidr(Change::Synced),
        Event::Config(Change::Synced),
        Event::Node(Change::Synced),
        Event::Report(Change::Synced),
        Event::Lease(Change::Synced),
    ] {
        core.observe(synced, now());
    }
    core.prepare_lead();
    let (tx, mut pages) = mpsc::channel(1);
    let take_in = async {
        while let Some(page) = pages.recv().await {
            core.observe(Event::Page(page), now());
        }
    };
    let (snapshot, ()) = tokio::join!(snapshot::read(client, tx), take_in);
    core.lead(snapshot.context("reading the cluster")?, now());
    let writes = core.decide(moment());
    println!(
        "{} writes of the first decision (the configuration, the pool)",
        writes.len()
    );
    Ok(())
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn moment() -> Moment {
    Moment {
        now: now(),
        wall: Timestamp::now(),
    }
}

/// Prints what the heap has gained since the line before.
struct Sheet {
    count: usize,
    before: usize,
}

impl Sheet {
    fn new(count: usize) -> Self {
        println!(
            "{:52} {:>8} {:>12} {:>12}",
            "", "each", "live", "peak so far"
        );
        let before = dhat::HeapStats::get().curr_bytes;
        Self { count, before }
    }

    fn line(&mut self, what: impl Display) {
        let heap = dhat::HeapStats::get();
        let gained = heap.curr_bytes.cast_signed() - self.before.cast_signed();
        let each = gained / self.count.max(1).cast_signed();
        println!(
            "{what:52} {each:8} {:12} {:12}",
            heap.curr_bytes, heap.max_bytes
        );
        self.before = heap.curr_bytes;
    }
}
