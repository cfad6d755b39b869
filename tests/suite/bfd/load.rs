//! Two of our engines with each other, on machines that are busy or have many sessions.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::lab::{Host, Lab, Process, Program, retry_until};
use portolan_tests::world::SOON;

use super::engine::Engine;
use super::stalls::Stalls;
use super::{SECOND, mk_lab};

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

/// Failures of all sessions since the start, as the engines count them.
async fn failures(engines: &[Engine; 2]) -> Result<u64> {
    let [one, other] = engines;
    Ok(one.number("bfd_failures_total").await? + other.number("bfd_failures_total").await?)
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

/// How a session fared while all CPUs were busy.
struct UnderLoad {
    flaps: u64,
    /// The longest time that a CPU of this machine stood still; None when BFD got no real-time priority.
    stall: Option<Duration>,
}

impl UnderLoad {
    async fn play(wrap: &[&str], times: &str, loops: usize, seconds: u32) -> Result<Self> {
        let lab = mk_lab(2, 1)?;
        let engines = mk_pairs(&lab, 1, wrap, times).await?;
        let status = engines[0].status().await?;
        let real_time = status.iter().any(|line| line.ends_with("real_time 1"));
        let stalls = real_time.then(Stalls::watch).transpose()?;
        let load = mk_load(&lab.lan_client, loops)?;
        tokio::time::sleep(seconds * SECOND).await;
        drop(load);
        Ok(Self {
            flaps: failures(&engines).await?,
            stall: stalls.map(Stalls::longest).transpose()?,
        })
    }
}

/// F13 in short: a node that is busy with other things. Three packets of 50 ms; a machine that stands still for almost as long
/// says nothing about BFD.
#[tokio::test(flavor = "multi_thread")]
async fn busy_loops_do_not_bring_a_session_down() -> Result<()> {
    const STANDSTILL: Duration = Duration::from_millis(80);
    let mut stalls = Vec::new();
    for _ in 0..5 {
        let UnderLoad { flaps, stall } = UnderLoad::play(&[], "tx=50,rx=50", 4, 5).await?;
        let Some(stall) = stall else {
            return skip("BFD gets no real-time priority here");
        };
        if flaps == 0 {
            return Ok(());
        }
        ensure!(
            stall >= STANDSTILL,
            "{flaps} flaps, and no CPU stood still for longer than {stall:?}"
        );
        stalls.push(stall);
    }
    skip(&format!("this machine stands still for {stalls:?}"))
}

/// Says so past the harness, which keeps what a test that succeeds prints.
fn skip(why: &str) -> Result<()> {
    let name = "busy_loops_do_not_bring_a_session_down";
    writeln!(std::io::stderr(), "SKIPPED {name}: {why}").context("standard error")
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
        let UnderLoad { flaps, .. } = UnderLoad::play(wrap, times, loops, 10).await?;
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

/// F15, and what a node of a large cluster does: a session with every other node for layer 2.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: a debug build says little"]
async fn figures_of_many_sessions() -> Result<()> {
    for (what, sessions, times) in [
        ("256 sessions at 300 ms x 3", 256, "tx=300,rx=300"),
        ("64 sessions at 50 ms x 3", 64, "tx=50,rx=50"),
        (
            "99 sessions at 100 ms x 3 with SHA1",
            99,
            "tx=100,rx=100,auth=meticulous-sha1:1:secret",
        ),
    ] {
        let lab = mk_lab(2, 1)?;
        let engines = mk_pairs(&lab, sessions, &[], times).await?;
        tokio::time::sleep(3 * SECOND).await;
        let before = cpu_time(&engines[0].process)?;
        tokio::time::sleep(20 * SECOND).await;
        let percent = (cpu_time(&engines[0].process)? - before) * 5.0;
        let memory = engines[0].process.resident_memory()? / 1024;
        let flaps = failures(&engines).await?;
        println!(
            "figure: BFD {what}: {percent:.1} % of a CPU, {memory} KiB resident, {flaps} flaps"
        );
        ensure!(flaps == 0, "{what}: {flaps} flaps");
    }
    Ok(())
}
