//! Watches peers by BFD, without Kubernetes: `bfd 192.0.2.1 fe80::1@eth0,tx=50,rx=50,mult=3`.
//!
//! After the address: `@INTERFACE`, and by commas `tx=` and `rx=` (milliseconds), `mult=`, `local=`, `ttl=`, `multihop`,
//! `passive`. Prints a line whenever a session changes: peer, state, failures, diagnostic, the peer's state. A line of input
//! is `set PEER…` with new words for a peer, `drop PEER` to give one up, `count` for the metrics, or anything else for the
//! status. Ends with the end of input, after AdminDown to all.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use portolan_speaker::bfd::{Engine, SessionHandle, SessionSpec, Timers};
use prometheus_client::registry::Registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::start().context("start BFD")?;
    let mut registry = Registry::default();
    engine.register(&mut registry);
    let mut sessions = BTreeMap::new();
    for word in std::env::args().skip(1) {
        put(&engine, &mut sessions, &word)?;
    }
    let (typed, mut input) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let typing = std::io::stdin().lines().map_while(Result::ok);
        typing
            .map_while(|line| typed.blocking_send(line).ok())
            .for_each(drop);
    });
    while let Some(line) = input.recv().await {
        match line.split_once(' ') {
            Some(("set", word)) => put(&engine, &mut sessions, word)?,
            Some(("drop", peer)) => drop(sessions.remove(&peer.parse::<IpAddr>()?)),
            _ if line == "count" => {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &registry)?;
                say(&text)?;
            }
            _ => say(&format!("{:#?}", engine.status()))?,
        }
    }
    engine.shutdown().await;
    Ok(())
}

fn put(
    engine: &Engine,
    sessions: &mut BTreeMap<IpAddr, SessionHandle>,
    word: &str,
) -> anyhow::Result<()> {
    let spec = parse(word)?;
    let peer = spec.peer;
    if let Some(session) = sessions.get(&peer) {
        session.set(spec);
        return Ok(());
    }
    let session = engine.session(spec);
    let mut watch = session.watch();
    sessions.insert(peer, session);
    tokio::spawn(async move {
        while watch.changed().await.is_ok() {
            let now = *watch.borrow_and_update();
            let line = format!(
                "{peer} {} failures {} diag {:?} remote {}",
                now.state, now.failures, now.diag, now.remote_state
            );
            if say(&line).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn parse(word: &str) -> anyhow::Result<SessionSpec> {
    let mut words = word.split(',');
    let first = words.next().unwrap_or_default();
    let (peer, interface) = match first.split_once('@') {
        Some((peer, interface)) => (peer, Some(interface.to_owned())),
        None => (first, None),
    };
    let mut spec = SessionSpec {
        peer: peer.parse().with_context(|| format!("address {peer}"))?,
        local: None,
        interface,
        multihop: false,
        timers: Timers {
            transmit: Duration::from_millis(300),
            receive: Duration::from_millis(300),
            multiplier: 3,
        },
        passive: false,
        minimum_ttl: 254,
    };
    for option in words {
        match option.split_once('=') {
            Some(("tx", ms)) => spec.timers.transmit = Duration::from_millis(ms.parse()?),
            Some(("rx", ms)) => spec.timers.receive = Duration::from_millis(ms.parse()?),
            Some(("mult", number)) => spec.timers.multiplier = number.parse()?,
            Some(("ttl", number)) => spec.minimum_ttl = number.parse()?,
            Some(("local", address)) => spec.local = Some(address.parse()?),
            None if option == "multihop" => spec.multihop = true,
            None if option == "passive" => spec.passive = true,
            _ => bail!("option {option}"),
        }
    }
    Ok(spec)
}
