//! Watches peers by BFD, without Kubernetes: `bfd FILE`, with a session on each line of the file:
//!
//! ```text
//! 192.0.2.1
//! fe80::1@eth0,tx=50,rx=50,mult=3
//! 203.0.113.1,multihop,ttl=250,local=192.0.2.7,passive
//! 192.0.2.2,auth=meticulous-sha1:1:secret,vrf=red
//! ```
//!
//! Prints a line whenever a session changes. SIGHUP reads the file again, SIGUSR1 prints the status of all sessions and the
//! metrics, SIGTERM says AdminDown to all and ends.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use portolan_proto::bfd::auth::{Authentication, Bytes, Key, Method};
use portolan_speaker::bfd::{BfdStatus, Engine, SessionHandle, SessionSpec, Timers};
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

type Sessions = BTreeMap<IpAddr, SessionHandle>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).context("which file?")?;
    let engine = Engine::start().context("start BFD")?;
    let links = portolan_speaker::link::watch(CancellationToken::new()).await?;
    engine.follow_links(&Handle::current(), links);
    let mut registry = Registry::default();
    engine.register(&mut registry);
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut user = signal(SignalKind::user_defined1())?;
    let mut end = signal(SignalKind::terminate())?;
    let mut sessions = Sessions::new();
    follow(&engine, &mut sessions, &file)?;
    loop {
        tokio::select! {
            _ = hang_up.recv() => follow(&engine, &mut sessions, &file)?,
            _ = user.recv() => show(&engine, &registry)?,
            _ = end.recv() => break,
        }
    }
    engine.shutdown().await;
    say("ended")?;
    Ok(())
}

fn follow(engine: &Engine, sessions: &mut Sessions, file: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    let specs = text.lines().filter(|line| !line.is_empty()).map(parse);
    let specs = specs.collect::<anyhow::Result<Vec<_>>>()?;
    sessions.retain(|peer, _| specs.iter().any(|spec| spec.peer == *peer));
    for spec in specs {
        match sessions.get(&spec.peer) {
            Some(session) => session.set(spec),
            None => drop(sessions.insert(spec.peer, start(engine, spec))),
        }
    }
    say("read")?;
    Ok(())
}

fn start(engine: &Engine, spec: SessionSpec) -> SessionHandle {
    let peer = spec.peer;
    let session = engine.session(spec);
    let mut watch = session.watch();
    tokio::spawn(async move {
        while watch.changed().await.is_ok() {
            let now = *watch.borrow_and_update();
            let words = format!(
                "{peer} {} failures {} remote {} diag {}",
                now.state, now.failures, now.remote_state, now.diag
            );
            if say(&words).is_err() {
                return;
            }
        }
    });
    session
}

fn show(engine: &Engine, registry: &Registry) -> anyhow::Result<()> {
    for status in engine.status() {
        let BfdStatus {
            peer,
            state,
            transmit,
            detection,
            ups,
            flaps,
            remote_diag,
            problem,
            ..
        } = status;
        say(&format!(
            "status {peer} {state} transmit {transmit:?} detection {detection:?} ups {ups} flaps {flaps} \
             remote {remote_diag} problem {problem:?}"
        ))?;
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    text.lines().try_for_each(say)?;
    say("shown")?;
    Ok(())
}

fn say(words: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let seconds = Timestamp::now().as_duration().as_secs_f64();
    writeln!(out, "{seconds:.6} {words}")?;
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
        vrf: None,
        multihop: false,
        timers: Timers {
            transmit: Duration::from_millis(300),
            receive: Duration::from_millis(300),
            multiplier: 3,
        },
        passive: false,
        minimum_ttl: 254,
        authentication: None,
        follows_link: true,
    };
    for option in words {
        match option.split_once('=') {
            Some(("tx", ms)) => spec.timers.transmit = Duration::from_millis(ms.parse()?),
            Some(("rx", ms)) => spec.timers.receive = Duration::from_millis(ms.parse()?),
            Some(("mult", number)) => spec.timers.multiplier = number.parse()?,
            Some(("ttl", number)) => spec.minimum_ttl = number.parse()?,
            Some(("vrf", name)) => spec.vrf = Some(name.to_owned()),
            Some(("auth", words)) => spec.authentication = Some(parse_key(words)?),
            Some(("local", address)) => spec.local = Some(address.parse()?),
            None if option == "multihop" => spec.multihop = true,
            None if option == "passive" => spec.passive = true,
            _ => bail!("option {option}"),
        }
    }
    Ok(spec)
}

/// `METHOD:ID:SECRET`
fn parse_key(words: &str) -> anyhow::Result<Authentication> {
    let mut words = words.splitn(3, ':');
    let method = match words.next().unwrap_or_default() {
        "simple" => Method::SimplePassword,
        "md5" => Method::KeyedMd5,
        "meticulous-md5" => Method::MeticulousMd5,
        "sha1" => Method::KeyedSha1,
        "meticulous-sha1" => Method::MeticulousSha1,
        other => bail!("authentication {other}"),
    };
    let id = words.next().context("which key?")?.parse()?;
    let secret = words.next().context("which secret?")?;
    let secret = Bytes::new(secret.as_bytes()).context("a long secret")?;
    Ok(Authentication::new(method, Key { id, secret }, [])?)
}
