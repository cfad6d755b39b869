//! How labs and their programs live and end.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::lab::router::{Frr, RouterConfig};
use portolan_tests::lab::{Lab, Layout, Process, Program, retry_until, run};

const SOON: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_killed_restarted_stopped_and_measured() -> Result<()> {
    let lab = Lab::start(Layout {
        nodes: 1,
        routers: 1,
    })?;
    let script = "trap 'echo bye; exit 7' TERM; echo hello $WORD; while :; do sleep 0.01; done";
    let program = Program::new("sh").args(["-c", script]).env("WORD", "lab");
    let mut process = lab.nodes[0].host.spawn(program)?;
    let wait_for_greetings = async |process: &Process, count: usize| {
        retry_until(SOON, "greetings in the log", async || {
            let log = process.log()?;
            ensure!(log.matches("hello lab").count() == count, "{log}");
            Ok(())
        })
        .await
    };
    wait_for_greetings(&process, 1).await?;
    assert!(process.resident_memory()? > 100_000);
    process.kill()?;
    assert!(process.ensure_running().is_err(), "and it says so");
    process.restart()?;
    wait_for_greetings(&process, 2).await?;
    assert_eq!(process.stop(SECOND).await?.code(), Some(7));
    assert!(process.log()?.contains("bye"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn labs_run_side_by_side_and_leave_nothing() -> Result<()> {
    let (first, second) = (
        Lab::start(Layout::default())?,
        Lab::start(Layout::default())?,
    );
    assert_ne!(first.management(), second.management());
    let own = [&first, &second].map(|lab| lab.nodes[0].host.management().unwrap().to_string());
    for address in &own {
        run(&["ping", "-c", "1", "-W", "2", address])?;
    }
    let namespaces =
        [&first, &second].map(|lab| lab.nodes[0].host.netns().name().unwrap().to_owned());
    let mut process = first.nodes[0]
        .host
        .spawn(Program::new("sleep").arg("600"))?;
    drop((first, second));
    assert!(
        process.ended()?.is_some(),
        "what ran in the lab went with it"
    );
    for namespace in namespaces {
        assert!(!netns_file(&namespace).exists(), "{namespace}");
    }
    Ok(())
}

/// Not a test by itself: the one below runs it in a process of its own, and kills that.
#[tokio::test]
#[ignore = "run by what_a_killed_lab_left_behind_is_swept_by_the_next"]
async fn a_lab_that_waits_to_be_killed() -> Result<()> {
    let lab = Lab::start(Layout::default())?;
    let router = &lab.routers[0];
    let mut frr = Frr::start(
        router,
        &RouterConfig::new(64500, router.address().v4, Vec::new()),
    )
    .await?;
    router.netns().ip(&["link add leftover type bridge"])?;
    let (namespace, bgpd) = (router.netns().name().unwrap(), frr.bgpd().unwrap().pid());
    println!("left behind: {bgpd} {namespace}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(())
}

/// bgpd has changed its user, so it survives its parent: only the sweep ends it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_lab_left_behind_is_swept_by_the_next() -> Result<()> {
    let mut victim = Command::new(std::env::current_exe()?)
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "lab_life::a_lab_that_waits_to_be_killed",
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut said =
        lines.filter_map(|line| Some(line.ok()?.split_once("left behind: ")?.1.to_owned()));
    let said = said.next().expect("the lab started");
    let Some((bgpd, namespace)) = said.split_once(' ') else {
        panic!("{said}")
    };
    victim.kill()?;
    victim.wait()?;

    // A lab of another test may be sweeping it at this moment; then ours does not wait for that.
    let _lab = Lab::start(Layout {
        nodes: 1,
        routers: 1,
    })?;
    retry_until(SOON, "the killed lab to be swept", async || {
        let name = std::fs::read_to_string(format!("/proc/{bgpd}/comm")).unwrap_or_default();
        ensure!(name.trim() != "bgpd", "its bgpd runs");
        // The name may be in use again by now, but for another namespace.
        let link = run(&["ip", "-n", namespace, "link", "show", "leftover"]);
        ensure!(link.is_err(), "its namespace is there with {link:?}");
        Ok(())
    })
    .await
}

fn netns_file(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}
