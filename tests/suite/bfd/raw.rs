//! A BFD peer made of bytes, against the engine: what no router can be made to say (RFC 5880 §6.8).
//!
//! ```text
//!   router-1                                    node-1
//!   raw peer of row 1  10.98.1.1:3784 ◄─────┐
//!   raw peer of row 2  10.98.1.2:3784 ◄─────┼── one engine, a session for each row
//!   …                                       │
//! ```
//!
//! [`wire`] writes and reads packets and shares no line with `portolan_proto`, whose opinions are what is tested. All rows run
//! side by side.

mod rows;
mod wire;

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail};
use futures::future::{BoxFuture, join_all};
use portolan_tests::lab::Host;

use super::engine::Engine;
use super::mk_lab;
use wire::Raw;

/// The address of the engine's host towards raw peers.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);

/// One session: what the engine is told of it, and what the peer does.
struct Row {
    name: &'static str,
    /// Options of the session, as `speaker/examples/bfd.rs` has them.
    options: &'static str,
    script: fn(Raw) -> BoxFuture<'static, Result<()>>,
    /// Words of the session's status in the end.
    end: &'static [&'static str],
}

fn address(row: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(10, 98, 1, u8::try_from(row + 1)?))
}

fn mk_addresses(node: &Host, router: &Host, rows: usize) -> Result<()> {
    node.netns().ip(&[format!("addr add {NODE}/15 dev eth0")])?;
    let lines = (0..rows).map(|row| Ok(format!("addr add {}/15 dev eth0", address(row)?)));
    router.netns().ip(&lines.collect::<Result<Vec<_>>>()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_peer_finds_the_engine_as_the_rfc_wants_it() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router) = (&lab.nodes[0].host, &lab.routers[0]);
    let rows = rows::all();
    mk_addresses(node, router, rows.len())?;
    let peers = (0..rows.len()).map(address).collect::<Result<Vec<_>>>()?;
    let sockets = peers
        .iter()
        .map(|peer| Raw::open(router.netns(), *peer, NODE))
        .collect::<Result<Vec<_>>>()?;
    let lines = rows.iter().zip(&peers);
    let lines: Vec<String> = lines
        .map(|(row, peer)| format!("{peer},local={NODE}{}", row.options))
        .collect();
    let engine = Engine::start(node, &lines).await?;
    let engine = &engine;
    let runs = rows
        .iter()
        .zip(&peers)
        .zip(sockets)
        .map(async |((row, peer), raw)| {
            let run = async {
                (row.script)(raw).await?;
                engine.wait_for_status(IpAddr::from(*peer), row.end).await
            };
            let run = tokio::time::timeout(wire::PATIENCE, run).await;
            let run = run.context("it takes too long").and_then(|run| run);
            run.err().map(|error| format!("{}: {error:#}", row.name))
        });
    let failures: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}
