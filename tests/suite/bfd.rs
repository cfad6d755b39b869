//! BFD as routers see it: our engine alone (`speaker/examples/bfd.rs`) against bfdd and BIRD.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portolan_tests::lab::router::{Bird, Frr, RouterConfig};
use portolan_tests::lab::{Host, Lab, Layout, Process, Program, retry_until};
use portolan_tests::world::{ROUTER_AS, SOON, binary};

const SECOND: Duration = Duration::from_secs(1);

/// Our engine on a host, following a file.
struct Engine {
    process: Process,
    file: PathBuf,
}

impl Engine {
    async fn start(host: &Host, sessions: &[String]) -> Result<Self> {
        Self::start_as(host, "bfd", &[], sessions).await
    }

    /// `wrap` is a command that runs the engine, for example `setpriv`.
    async fn start_as(host: &Host, name: &str, wrap: &[&str], sessions: &[String]) -> Result<Self> {
        let file = host.directory().join(format!("{name}.sessions"));
        std::fs::write(&file, sessions.join("\n"))?;
        let example =
            binary("examples/bfd").context("cargo build -p portolan-speaker --examples")?;
        let program = match wrap.split_first() {
            Some((first, rest)) => Program::new(first).args(rest).arg(example),
            None => Program::new(example),
        };
        let process = host.spawn(program.named(name).arg(&file))?;
        let engine = Self { process, file };
        // Before that a signal would end it.
        retry_until(SOON, "the engine to read its file", async || {
            let lines = engine.lines()?;
            ensure!(lines.iter().any(|(_, words)| words == "read"), "{lines:?}");
            Ok(())
        })
        .await?;
        Ok(engine)
    }

    fn follow(&self, sessions: &[String]) -> Result<()> {
        std::fs::write(&self.file, sessions.join("\n"))?;
        self.process.signal(Signal::SIGHUP)
    }

    /// What it printed, with the time.
    fn lines(&self) -> Result<Vec<(f64, String)>> {
        let log = self.process.log()?;
        let timed = log.lines().filter_map(|line| {
            let (time, words) = line.split_once(' ')?;
            Some((time.parse().ok()?, words.to_owned()))
        });
        Ok(timed.collect())
    }

    /// Changes of one session: time, and state with what follows.
    fn changes(&self, peer: IpAddr) -> Result<Vec<(f64, String)>> {
        let prefix = format!("{peer} ");
        let lines = self.lines()?.into_iter();
        let of_peer = lines.filter_map(|(at, words)| {
            let rest = words.strip_prefix(&prefix)?.to_owned();
            Some((at, rest))
        });
        Ok(of_peer.collect())
    }

    /// Waits until the last change of a session begins and goes on like this.
    async fn wait(&self, peer: IpAddr, words: &[&str]) -> Result<f64> {
        let what = format!("the session with {peer} to be {words:?}");
        retry_until(SOON, &what, async || {
            let changes = self.changes(peer)?;
            let (at, last) = changes.last().context("nothing happened")?;
            let holds = words.iter().all(|word| last.contains(word)) && last.starts_with(words[0]);
            ensure!(holds, "it is {changes:?}");
            Ok(*at)
        })
        .await
    }

    /// The status lines of all sessions, asked for now.
    async fn status(&self) -> Result<Vec<String>> {
        let shown = |lines: &[(f64, String)]| lines.iter().filter(|it| it.1 == "shown").count();
        let before = shown(&self.lines()?);
        self.process.signal(Signal::SIGUSR1)?;
        let lines = retry_until(SOON, "the status", async || {
            let lines = self.lines()?;
            ensure!(shown(&lines) > before, "not yet");
            Ok(lines)
        })
        .await?;
        let last = lines[..lines.len() - 1].iter().rev();
        let last = last.take_while(|(_, words)| words != "shown");
        Ok(last.map(|(_, words)| words.clone()).collect())
    }

    /// The status line of a session, once it holds all these words.
    async fn wait_for_status(&self, peer: IpAddr, words: &[&str]) -> Result<()> {
        let prefix = format!("status {peer} ");
        retry_until(SOON, &format!("{peer} to be {words:?}"), async || {
            let status = self.status().await?;
            let line = status.iter().find(|line| line.starts_with(&prefix));
            let line = line.context("no such session")?;
            ensure!(words.iter().all(|word| line.contains(word)), "it is {line}");
            Ok(())
        })
        .await
    }
}

fn mk_lab(nodes: u8, routers: u8) -> Result<Lab> {
    Lab::start(Layout { nodes, routers })
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

/// F1: single hop and multihop, both families, both routers, up within three seconds.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_come_up_by_every_path_within_three_seconds() -> Result<()> {
    let lab = mk_lab(1, 2)?;
    let node = &lab.nodes[0].host;
    let nodes = node.address().both();
    let direct = nodes.map(|peer| (peer, "interface eth0".to_owned()));
    let far = nodes.map(|peer| {
        let local = lab.clients[0].address().of_family(peer);
        (peer, format!("multihop local-address {local}"))
    });
    let _near_frr = mk_frr(&lab.routers[0], &direct, 300).await?;
    let _far_frr = mk_frr(&lab.clients[0], &far, 300).await?;
    let [v4, v6] = nodes;
    let near = format!("neighbor {v4}; neighbor {v6};");
    let _near_bird = mk_bird(&lab.routers[1], &near, 300).await?;
    let [c4, c6] = lab.clients[1].address().both();
    let far = format!("neighbor {v4} local {c4} multihop; neighbor {v6} local {c6} multihop;");
    let _far_bird = mk_bird(&lab.clients[1], &far, 300).await?;

    let single = lab.routers.iter().flat_map(|host| host.address().both());
    let single: Vec<IpAddr> = single.collect();
    let multi = lab.clients.iter().flat_map(|host| host.address().both());
    let multi: Vec<IpAddr> = multi.collect();
    let mut sessions: Vec<String> = single.iter().map(ToString::to_string).collect();
    // BIRD sends to far peers with the usual TTL of 64.
    let multihop = |(host, ttl): (&Host, u8)| {
        host.address()
            .both()
            .map(|peer| format!("{peer},multihop,ttl={ttl}"))
    };
    sessions.extend(lab.clients.iter().zip([254, 63]).flat_map(multihop));
    let engine = Engine::start(node, &sessions).await?;
    for peer in single.iter().chain(&multi) {
        let up = engine
            .wait(*peer, &["Up", "failures 0", "remote Up"])
            .await?;
        let began = engine.lines()?.first().context("it began")?.0;
        ensure!(up - began < 3.0, "{peer} took {} s", up - began);
        engine
            .wait_for_status(
                *peer,
                &[
                    "transmit Some(300ms)",
                    "detection Some(900ms)",
                    "problem None",
                ],
            )
            .await?;
    }
    tokio::time::sleep(3 * SECOND).await;
    for peer in single.iter().chain(&multi) {
        engine
            .wait_for_status(*peer, &["Up", "ups 1", "flaps 0"])
            .await?;
    }
    Ok(())
}

/// F9, both ways: AdminDown is a decision, not a failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_told_and_is_no_failure() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router) = (&lab.nodes[0].host, &lab.routers[0]);
    let (us, peer) = (
        IpAddr::from(node.address().v4),
        IpAddr::from(router.address().v4),
    );
    let frr = mk_frr(router, &[(us, "interface eth0".into())], 300).await?;
    let mut engine = Engine::start(node, &[peer.to_string()]).await?;
    engine.wait(peer, &["Up"]).await?;

    let session = format!("peer {us} interface eth0");
    frr.vty(&["configure terminal", "bfd", &session, "shutdown"])?;
    engine
        .wait(
            peer,
            &[
                "Down",
                "failures 0",
                "remote AdminDown",
                "neighbor signaled",
            ],
        )
        .await?;
    frr.vty(&["configure terminal", "bfd", &session, "no shutdown"])?;
    engine
        .wait(peer, &["Up", "failures 0", "no diagnostic"])
        .await?;

    engine.process.signal(Signal::SIGTERM)?;
    retry_until(SOON, "an orderly end", async || {
        let ended = engine.process.ended()?.context("it runs")?;
        ensure!(ended.success(), "{ended}");
        Ok(())
    })
    .await?;
    let seen = frr.vty(&["show bfd peers json"])?;
    ensure!(
        seen.contains("Administratively down") || seen.contains("administratively down"),
        "{seen}"
    );
    Ok(())
}

/// F4: times change on either side while the session is up: polled, answered, no flap.
#[tokio::test(flavor = "multi_thread")]
async fn times_change_by_a_poll_and_without_a_flap() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router) = (&lab.nodes[0].host, &lab.routers[0]);
    let (us, peer) = (
        IpAddr::from(node.address().v4),
        IpAddr::from(router.address().v4),
    );
    let frr = mk_frr(router, &[(us, "interface eth0".into())], 50).await?;
    let engine = Engine::start(node, &[mk_lines(peer, 300)]).await?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(300ms)", "detection Some(900ms)"],
        )
        .await?;
    let capture = node.capture("eth0", "udp port 3784").await?;
    engine.follow(&[mk_lines(peer, 100)])?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(100ms)", "detection Some(300ms)"],
        )
        .await?;
    engine.follow(&[mk_lines(peer, 400)])?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(400ms)", "detection Some(1.2s)"],
        )
        .await?;
    let session = format!("peer {us} interface eth0");
    frr.vty(&[
        "configure terminal",
        "bfd",
        &session,
        "receive-interval 500",
        "transmit-interval 600",
        "detect-multiplier 4",
    ])?;
    engine
        .wait_for_status(
            peer,
            &["Up", "transmit Some(500ms)", "detection Some(2.4s)"],
        )
        .await?;
    engine.wait_for_status(peer, &["ups 1", "flaps 0"]).await?;
    let frames = capture.finish().await?;
    // That ours were answered shows in the quicker detection, which had to wait for F. (Source port 49152, which FRR begins
    // with, makes tcpdump take its packets for another protocol.)
    for flag in ["Poll", "Final"] {
        let ours = format!(" {us}.");
        let found = frames.iter().any(|frame| {
            let (from, rest) = frame.split_once(" BFDv1").unwrap_or_default();
            from.split(" > ")
                .nth(1)
                .is_some_and(|from| from.contains(&ours))
                && rest.contains(&format!("Flags: [{flag}]"))
        });
        ensure!(found, "no {flag} of ours in {frames:#?}");
    }
    Ok(())
}

fn seconds_now() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

/// F5: a router that stops, and a cable that is pulled, are noticed in the detection time.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed_in_the_detection_time() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router) = (&lab.nodes[0].host, &lab.routers[0]);
    let direct = node
        .address()
        .both()
        .map(|peer| (peer, "interface eth0".to_owned()));
    let mut frr = mk_frr(router, &direct, 200).await?;
    let peers = router.address().both();
    let engine = Engine::start(node, &peers.map(|peer| mk_lines(peer, 200))).await?;
    for (what, failures) in [("a stopped daemon", 1), ("a pulled cable", 2)] {
        for peer in peers {
            engine
                .wait_for_status(
                    peer,
                    &["Up", "transmit Some(200ms)", "detection Some(600ms)"],
                )
                .await?;
        }
        let bfdd = frr.bfdd().context("bfdd")?;
        let at = seconds_now();
        match failures {
            1 => bfdd.signal(Signal::SIGSTOP)?,
            _ => router.unplug(portolan_tests::lab::Link::Lan)?,
        }
        for peer in peers {
            let words = [
                "Down",
                &format!("failures {failures}"),
                "detection time expired",
            ];
            let took = engine.wait(peer, &words).await? - at;
            // The last packet left up to an interval before.
            ensure!((0.39..0.8).contains(&took), "{what}: {peer} after {took} s");
            println!("figure: BFD 200 ms x 3: {what}: {peer} down after {took:.3} s");
        }
        match failures {
            1 => bfdd.signal(Signal::SIGCONT)?,
            _ => router.plug(portolan_tests::lab::Link::Lan)?,
        }
    }
    for peer in peers {
        engine
            .wait_for_status(peer, &["Up", "ups 3", "flaps 2"])
            .await?;
    }
    Ok(())
}

/// F2, F3: times between our packets, as the wire sees them.
fn gaps(frames: &[String], from: IpAddr, to: IpAddr) -> Vec<f64> {
    let direction = (format!("{from}."), format!("> {to}."));
    let times: Vec<f64> = frames
        .iter()
        .filter(|frame| frame.contains(&direction.0) && frame.contains(&direction.1))
        .filter(|frame| !frame.contains("[Final]"))
        .filter_map(|frame| frame.split(' ').next()?.parse().ok())
        .collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_keep_their_pace_and_jitter_on_the_wire() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router) = (&lab.nodes[0].host, &lab.routers[0]);
    let (us, peer) = (
        IpAddr::from(node.address().v4),
        IpAddr::from(router.address().v4),
    );
    let before = node.capture("eth0", "udp port 3784").await?;
    // Both sides are patient: it is the pace that is looked at, on a machine that does other things as well.
    let engine = Engine::start(node, &[format!("{peer},tx=20,rx=20,mult=50")]).await?;
    tokio::time::sleep(6 * SECOND).await;
    let frames = before.finish().await?;
    let slow = gaps(&frames, us, peer);
    ensure!(slow.len() >= 5, "{} packets in 6 s", slow.len() + 1);
    ensure!(
        slow.iter().all(|gap| (0.749..1.1).contains(gap)),
        "{slow:?}"
    );
    let all = frames.iter().all(|frame| {
        !frame.contains(&format!("{us}."))
            || (frame.contains("ttl 255") && frame.contains("tos 0xc0"))
    });
    ensure!(all, "TTL 255 and CS6: {frames:#?}");

    let frr = mk_frr(router, &[(us, "interface eth0".into())], 20).await?;
    let session = format!("peer {us} interface eth0");
    frr.vty(&[
        "configure terminal",
        "bfd",
        &session,
        "detect-multiplier 50",
    ])?;
    engine
        .wait_for_status(peer, &["Up", "transmit Some(20ms)", "detection Some(1s)"])
        .await?;
    let capture = node.capture("eth0", "udp port 3784").await?;
    tokio::time::sleep(8 * SECOND).await;
    let quick = gaps(&capture.finish().await?, us, peer);
    ensure!(quick.len() > 300, "{} packets in 8 s", quick.len());
    let shortest = quick.iter().copied().fold(f64::MAX, f64::min);
    ensure!(shortest > 0.0145, "{shortest}");
    let within = quick.iter().filter(|gap| **gap < 0.0205).count();
    ensure!(
        within * 10 > quick.len() * 9,
        "{within} of {} in time",
        quick.len()
    );
    let mean = quick.iter().take(300).sum::<f64>() / 300.0;
    ensure!(
        (0.0165..0.019).contains(&mean),
        "mean {mean}: 17.5 ms is the middle"
    );
    let low = quick.iter().filter(|gap| **gap < 0.0165).count();
    ensure!(
        low * 5 > quick.len(),
        "{low} of {} in the lower part",
        quick.len()
    );
    Ok(())
}

/// A process that was not let run must not take its own absence for that of the peer.
#[tokio::test(flavor = "multi_thread")]
async fn packets_that_wait_are_read_before_a_peer_is_declared_dead() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router) = (&lab.nodes[0].host, &lab.routers[0]);
    let (us, peer) = (
        IpAddr::from(node.address().v4),
        IpAddr::from(router.address().v4),
    );
    let _frr = mk_frr(router, &[(us, "interface eth0".into())], 100).await?;
    // The router is patient with us (50 × 100 ms), we are not with it (3 × 100 ms).
    let engine = Engine::start(node, &[format!("{peer},tx=100,rx=100,mult=50")]).await?;
    engine
        .wait_for_status(peer, &["Up", "detection Some(300ms)"])
        .await?;
    for _ in 0..3 {
        engine.process.signal(Signal::SIGSTOP)?;
        tokio::time::sleep(SECOND).await;
        engine.process.signal(Signal::SIGCONT)?;
        tokio::time::sleep(SECOND).await;
    }
    engine
        .wait_for_status(peer, &["Up", "ups 1", "flaps 0"])
        .await
}

/// What comes from further away than the next hop, and what belongs to no session, is dropped and counted.
#[tokio::test(flavor = "multi_thread")]
async fn packets_from_afar_are_dropped() -> Result<()> {
    let lab = mk_lab(1, 1)?;
    let (node, router, far) = (&lab.nodes[0].host, &lab.routers[0], &lab.clients[0]);
    let (us, peer) = (
        IpAddr::from(node.address().v4),
        IpAddr::from(router.address().v4),
    );
    let _frr = mk_frr(router, &[(us, "interface eth0".into())], 300).await?;
    let way = IpAddr::from(far.address().v4);
    let engine =
        Engine::start(node, &[peer.to_string(), format!("{way},multihop,ttl=255")]).await?;
    engine.wait_for_status(peer, &["Up"]).await?;
    // One router in between leaves 254, and 255 is asked for.
    let _far = mk_frr(far, &[(us, format!("multihop local-address {way}"))], 300).await?;
    let send = |host: &Host, port: u16| {
        let shell = format!("printf '\\040\\100\\003\\030' > /dev/udp/{us}/{port}");
        host.exec(&["bash", "-c", &shell]).map(drop)
    };
    send(far, 3784)?;
    retry_until(SOON, "both to be dropped by their TTL", async || {
        let status = engine.status().await?;
        let line = status.iter().find(|line| line.contains("reason=\"ttl\""));
        let line = line.context("no such number")?;
        let count: u64 = line.split(' ').next_back().unwrap_or_default().parse()?;
        ensure!(count >= 3, "{line}");
        Ok(())
    })
    .await?;
    let problem = "TTL 254 and are dropped: minimumTtl is 255";
    engine
        .wait_for_status(way, &["Down", "ups 0", problem])
        .await?;
    engine.follow(&[peer.to_string(), format!("{way},multihop,ttl=254")])?;
    engine
        .wait_for_status(way, &["Up", "flaps 0", "problem None"])
        .await?;
    engine.wait_for_status(peer, &["Up", "flaps 0"]).await
}

/// Two of our engines with many sessions between them, each on a pair of addresses of its own.
async fn mk_pairs(lab: &Lab, pairs: u16, wrap: &[&str], times: &str) -> Result<[Engine; 2]> {
    let [left, right] = [98, 99].map(|second: u8| {
        (0..pairs).map(move |pair| {
            let [third, fourth] = (pair + 1).to_be_bytes();
            IpAddr::from([10, second, third, fourth])
        })
    });
    let hosts = [&lab.nodes[0].host, &lab.nodes[1].host];
    let mut engines = Vec::new();
    for (host, mine, theirs) in [
        (hosts[0], left.clone(), right.clone()),
        (hosts[1], right, left),
    ] {
        let addresses = mine.clone().map(|it| format!("addr add {it}/15 dev eth0"));
        host.netns().ip(&addresses.collect::<Vec<_>>())?;
        let lines = mine
            .zip(theirs)
            .map(|(mine, theirs)| format!("{theirs},local={mine},{times}"));
        engines.push(Engine::start_as(host, "pairs", wrap, &lines.collect::<Vec<_>>()).await?);
    }
    let engines: [Engine; 2] = engines.try_into().ok().context("two engines")?;
    let up = format!("sessions{{state=\"up\"}} {pairs}");
    for engine in &engines {
        retry_until(SOON, "all sessions to be up", async || {
            let status = engine.status().await?;
            ensure!(status.iter().any(|line| line.contains(&up)), "{status:#?}");
            Ok(())
        })
        .await?;
    }
    Ok(engines)
}

/// Failures of all sessions since the start, as the engine counts them.
async fn failures(engine: &Engine) -> Result<u64> {
    let status = engine.status().await?;
    let line = status
        .iter()
        .find(|line| line.contains("bfd_failures_total"));
    let line = line.context("no such number")?;
    Ok(line.split(' ').next_back().unwrap_or_default().parse()?)
}

/// Takes the right to real-time priority away.
const ORDINARY: [&str; 3] = ["setpriv", "--bounding-set", "-sys_nice"];

/// Loops that do nothing else, this many for each CPU.
fn mk_load(host: &Host, for_each_cpu: usize) -> Result<Vec<Process>> {
    let cpus = std::thread::available_parallelism()?.get();
    let one = |number: usize| {
        let program = Program::new("sh").named(format!("busy-{number}"));
        host.spawn(program.args(["-c", "while :; do :; done"]))
    };
    (0..cpus * for_each_cpu).map(one).collect()
}

async fn flaps_under_load(wrap: &[&str], times: &str, loops: usize, seconds: u32) -> Result<u64> {
    let lab = mk_lab(2, 1)?;
    let engines = mk_pairs(&lab, 1, wrap, times).await?;
    let load = mk_load(&lab.lan_client, loops)?;
    tokio::time::sleep(seconds * SECOND).await;
    drop(load);
    Ok(failures(&engines[0]).await? + failures(&engines[1]).await?)
}

/// F13 in short: a node that is busy with other things.
#[tokio::test(flavor = "multi_thread")]
async fn busy_loops_do_not_bring_a_session_down() -> Result<()> {
    let flaps = flaps_under_load(&[], "tx=50,rx=50", 4, 5).await?;
    ensure!(flaps == 0, "{flaps} flaps");
    Ok(())
}

/// F13 and F14 in full, and what they are without real-time priority.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: takes minutes and all CPUs"]
async fn figures_under_load() -> Result<()> {
    for (priority, wrap, times, loops) in [
        ("real-time", &[][..], "tx=10,rx=10", 16),
        ("real-time", &[], "tx=50,rx=50", 16),
        ("ordinary", &ORDINARY, "tx=50,rx=50", 4),
        ("ordinary", &ORDINARY, "tx=10,rx=10", 16),
    ] {
        let flaps = flaps_under_load(wrap, times, loops, 10).await?;
        println!(
            "figure: BFD {times} x 3, {priority} priority, {loops} busy loops for each CPU, 10 s: {flaps} flaps"
        );
    }
    Ok(())
}

/// CPU time of a process so far, in seconds.
fn cpu_time(process: &Process) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields = after_name.split(' ').skip(11).take(2);
    let ticks: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    // USER_HZ is 100 everywhere.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// F15.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: a debug build says little"]
async fn figures_of_many_sessions() -> Result<()> {
    let lab = mk_lab(2, 1)?;
    let engines = mk_pairs(&lab, 256, &[], "tx=300,rx=300").await?;
    tokio::time::sleep(3 * SECOND).await;
    let before = cpu_time(&engines[0].process)?;
    tokio::time::sleep(20 * SECOND).await;
    let percent = (cpu_time(&engines[0].process)? - before) * 5.0;
    let memory = engines[0].process.resident_memory()? / 1024;
    let flaps = failures(&engines[0]).await? + failures(&engines[1]).await?;
    println!(
        "figure: BFD 256 sessions at 300 ms x 3: {percent:.1} % of a CPU, {memory} KiB resident, {flaps} flaps in 20 s"
    );
    ensure!(flaps == 0, "{flaps} flaps");
    Ok(())
}
