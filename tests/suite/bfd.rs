//! BFD as routers see it: our engine alone (`speaker/examples/bfd.rs`) against bfdd and BIRD.

mod engine;
mod keys;
mod load;
mod pace;
mod raw;
mod sessions;
mod stalls;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use portolan_tests::lab::router::{Bird, Frr, RouterConfig};
use portolan_tests::lab::{Host, Lab, Layout};
use portolan_tests::world::ROUTER_AS;

const SECOND: Duration = Duration::from_secs(1);

fn mk_lab(nodes: u8, routers: u8) -> Result<Lab> {
    Lab::start(Layout { nodes, routers })
}

/// The node and the router, each with its IPv4 address.
fn ends(lab: &Lab) -> [(&Host, IpAddr); 2] {
    let hosts = [&lab.nodes[0].host, &lab.routers[0]];
    hosts.map(|host| (host, host.address().v4.into()))
}

fn mk_idle(router: &Host) -> RouterConfig {
    RouterConfig::new(ROUTER_AS, router.address().v4, Vec::new())
}

fn mk_lines(peer: IpAddr, times: u32) -> String {
    format!("{peer},tx={times},rx={times}")
}

/// FRR with a session to each address, by this time both ways; `how` is `interface eth0` or `multihop local-address X`.
async fn mk_frr(host: &Host, peers: &[(IpAddr, String)], times: u32) -> Result<Frr> {
    let frr = Frr::start(host, &mk_idle(host)).await?;
    let mut words = vec!["configure terminal".to_owned(), "bfd".to_owned()];
    for (peer, how) in peers {
        words.extend([
            format!("peer {peer} {how}"),
            format!("receive-interval {times}"),
            format!("transmit-interval {times}"),
            "exit".to_owned(),
        ]);
    }
    frr.vty(&words)?;
    Ok(frr)
}

async fn mk_bird(host: &Host, neighbours: &str, times: u32) -> Result<Bird> {
    let mut config = mk_idle(host);
    let block =
        format!("{{ min rx interval {times} ms; min tx interval {times} ms; multiplier 3; }};");
    config.extra =
        format!("protocol bfd {{ interface \"*\" {block} multihop {block} {neighbours} }}");
    Bird::start(host, &config).await
}
