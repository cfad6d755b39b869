//! The figures that the budgets of the design are held against, measured on a real kube-apiserver.
//!
//! ```text
//! main        flags, what runs, in which order
//! controller  Service ─► address
//! allocation  the same with thousands of Services and nothing else
//! speaker     address, endpoint, start ─► UPDATE
//! load        Services and endpoints, and a watch that notes when each got its address
//! peer        a BGP router that notes when it heard what
//! bound       the plain loop that no controller can be faster than
//! requests    what the API server was asked for
//! usage       memory, processor time and metrics of a program
//! bgp         Portolan's sessions beside those of GoBGP, BIRD and ExaBGP
//! announcer   how these four are started, mrt a table for GoBGP
//! fib         when a router's kernel got its routes
//! flood       a router with a million routes
//! failover    a node dies, found by BFD
//! layer2      all that can happen to the node that answers for an address
//! sheet       one line per figure, budget beside it
//! ```
//!
//! `cargo bench` measures what needs no cluster: the allocator and the speaker's way from event to message.

mod allocation;
mod announcer;
mod bgp;
mod bound;
mod controller;
mod failover;
mod fib;
mod flood;
mod layer2;
mod load;
mod mrt;
mod peer;
mod requests;
mod sheet;
mod speaker;
mod usage;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::{Bird, Frr, Neighbour, RouterConfig};
use portolan_tests::lab::{Host, Lab, Layout};
use portolan_tests::world::{NODE_AS, ROUTER_AS, Shape, World, binary, peer_yaml};

use crate::load::Load;
use crate::peer::Peer;
use crate::sheet::{Sheet, in_mib};

/// Room for every Service that a run may make.
const CONFIGURATION: &str = "
apiVersion: portolan.dev/v1alpha1
kind: IPAddressPool
metadata: { name: pool }
spec: { addresses: [10.64.0.0/14] }
---
apiVersion: portolan.dev/v1alpha1
kind: BGPAdvertisement
metadata: { name: bgp }
spec: {}
---
";

/// Measures what the budgets of the design are about: one line per figure.
///
/// It starts the programs beside it, or those in PORTOLAN_BIN_DIR, one node, FRR, BIRD, etcd and kube-apiserver in
/// network namespaces, and needs root.
#[derive(Debug, Parser)]
#[command(name = "figures")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
struct Flags {
    /// Few samples and few Services: shows that everything works
    #[arg(long)]
    quick: bool,

    /// Instead of everything else: allocation alone, without speakers and routers
    #[arg(long)]
    allocation: bool,

    /// Instead of everything else: announcing beside GoBGP, BIRD and ExaBGP, without Kubernetes
    #[arg(long)]
    bgp: bool,

    /// Instead of everything else: nodes that die, found by BFD, as clients see it
    #[arg(long)]
    failover: bool,

    /// With --failover: how many die, one after the other
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    kills: usize,

    /// Instead of everything else: the faults of a node that answers by ARP and NDP, as clients and the wire see them
    #[arg(long)]
    layer2: bool,

    /// With --layer2: repetitions of each fault
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    repeat: usize,

    /// With --layer2: only faults with these words in their names
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,

    /// Services that are created at once; with --allocation also twice as many
    #[arg(long, value_name = "COUNT", default_value_t = 5000)]
    services: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<()> {
    let (services, samples) = if flags.quick {
        (300, 30)
    } else {
        (flags.services, 200)
    };
    if flags.bgp {
        return if flags.quick {
            bgp::measure(&[10_000], 100_000).await
        } else {
            bgp::measure(&[10_000, 100_000], 1_000_000).await
        };
    }
    if flags.failover {
        return failover::measure(if flags.quick { 4 } else { flags.kills }).await;
    }
    if flags.layer2 {
        let repeat = if flags.quick { 1 } else { flags.repeat };
        return layer2::measure(repeat, flags.only.as_deref()).await;
    }
    let mut sheet = Sheet::begin();
    sizes(&mut sheet)?;
    if flags.allocation {
        let kills = if flags.quick { 1 } else { 4 };
        allocation::measure(&mut sheet, services, kills).await?;
    } else {
        measure(&mut sheet, services, samples).await?;
    }
    sheet.end();
    Ok(())
}

async fn measure(sheet: &mut Sheet, services: usize, samples: usize) -> Result<()> {
    let layout = Layout {
        nodes: 1,
        routers: 3,
    };
    let mut world = World::start(Shape {
        layout,
        data_path: false,
        ..Shape::of(Face::Real)
    })
    .await?;
    let [first, second, third] = &world.lab.routers[..] else {
        bail!("a lab of three routers has three")
    };
    let frr = Frr::start(first, &passive(&world.lab, first)).await?;
    let bird = Bird::start(second, &passive(&world.lab, second)).await?;
    let peer = Peer::start(third)?;
    let peers = [("frr", first), ("bird", second), ("bare", third)]
        .map(|(name, host)| peer_yaml(name, host.address().v4.into(), ""));
    world
        .apply(&format!("{CONFIGURATION}{}", peers.join("---")))
        .await?;
    let node = world
        .lab
        .nodes
        .first()
        .context("no node")?
        .name()
        .to_owned();
    let load = Load::new(&world.cluster.client(), &node);
    speaker::connected(&peer, &frr, &bird).await?;

    controller::lower_bound(&load, samples).await?;
    controller::one_at_a_time(sheet, &load, &peer, samples, 0).await?;
    speaker::endpoints(sheet, &load, &peer, samples, 0).await?;
    let names: Vec<String> = (0..services)
        .map(|number| format!("many-{number}"))
        .collect();
    load.give_endpoints(&names).await?;
    let assigned = controller::at_once(sheet, &load, &names).await?;
    controller::routes_of_all(&peer, services, assigned).await?;
    controller::one_at_a_time(sheet, &load, &peer, samples, services).await?;
    speaker::endpoints(sheet, &load, &peer, samples, services).await?;
    let held = load.versions().await?.len();
    controller::memory(sheet, &world, held, "before that start")?;
    controller::restart(sheet, &load, &mut world).await?;
    speaker::restart(sheet, &mut world, &peer, &frr, &bird).await
}

/// A router that waits for every node, by IPv4.
fn passive(lab: &Lab, router: &Host) -> RouterConfig {
    let nodes = lab.nodes.iter().map(|node| node.host.address().v4);
    let neighbours = nodes.map(|address| Neighbour::at(address, NODE_AS).passive());
    RouterConfig::new(ROUTER_AS, router.address().v4, neighbours.collect())
}

/// What is measured, and how large it is.
fn sizes(sheet: &mut Sheet) -> Result<()> {
    for name in ["portolan-controller", "portolan-speaker"] {
        let path = binary(name)?;
        if path.parent().and_then(Path::file_name) == Some("debug".as_ref()) {
            bail!(
                "{} is not optimized: cargo build --release, and PORTOLAN_BIN_DIR=target/release",
                path.display()
            );
        }
        let size = path.metadata().context("the size of a program")?.len();
        sheet.figure(
            &format!("size of {name}"),
            "≤ 8 MB",
            size <= 8_000_000,
            in_mib(size),
        );
    }
    Ok(())
}
