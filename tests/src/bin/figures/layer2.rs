//! Layer 2: everything that can happen to the node that answers, as four clients and the wire see it; hundreds of addresses
//! at once; how long an answer takes beside the kernel's own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use portolan_tests::drill::{Crowd, Drill, Fault, Outcome, Phase, Place};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{Half, Process, Program};

use crate::sheet::{Samples, in_ms};
use crate::usage::load;

/// Between two questions while answers are timed, and for how long they are.
const QUESTION: Duration = Duration::from_millis(5);
const TIMED: Duration = Duration::from_secs(10);
/// An error in the set-up of a drill is tried again so often in a row.
const PATIENCE: usize = 3;

/// What all repetitions of one fault showed.
#[derive(Default)]
struct Tally {
    rounds: usize,
    broken: usize,
    gaps: BTreeMap<(Place, bool), Samples>,
    failed: BTreeMap<(Place, bool), usize>,
    overlap: Duration,
    heal_overlap: Duration,
    heal_gap: Duration,
    heal_failed: usize,
    moved_back: usize,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.rounds += 1;
        for view in &outcome.fault.views {
            let row = (view.place, view.vip.is_ipv6());
            self.gaps
                .entry(row)
                .or_default()
                .push(view.rhythm.longest_gap());
            *self.failed.entry(row).or_default() += view.requests.failures().count();
        }
        let Phase { holder, .. } = outcome.heal;
        self.overlap = self.overlap.max(outcome.fault.overlap());
        self.heal_overlap = self.heal_overlap.max(outcome.heal.overlap());
        self.heal_gap = self.heal_gap.max(outcome.heal.gap());
        self.heal_failed += outcome.heal.failed();
        self.moved_back += usize::from(holder != outcome.fault.holder);
    }

    fn print(&self, fault: &str) {
        for ((place, is_v6), gaps) in &self.gaps {
            let family = if *is_v6 { "IPv6" } else { "IPv4" };
            let [p50, p99, max] = [50, 99, 100].map(|percent| in_ms(gaps.percentile(percent)));
            let failed = self
                .failed
                .get(&(*place, *is_v6))
                .copied()
                .unwrap_or_default();
            println!(
                "| {} | {family}, {place} | {} | {p50} | {p99} | {max} | {failed} |",
                fault, self.rounds
            );
        }
    }

    fn print_wire(&self, fault: &str) {
        let [during, after, gap] = [self.overlap, self.heal_overlap, self.heal_gap].map(in_ms);
        let (failed, back, broken) = (self.heal_failed, self.moved_back, self.broken);
        println!("| {fault} | {during} | {after} | {gap} | {failed} | {back} | {broken} |");
    }
}

/// What is measured beside the faults, by the names that `only` knows.
const TUNED: &str = "power loss, detection 50 ms × 3";
const CROWD: &str = "500 VIPs";
const ANSWERS: &str = "reply times";

/// Everything, every fault `repeat` times, or what has a name that contains `only`.
pub(crate) async fn measure(repeat: usize, only: Option<&str>) -> Result<()> {
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let faults = Fault::ALL.into_iter().filter(|it| wanted(it.name()));
    let mut tallies = Vec::new();
    for fault in faults {
        tallies.push((fault.name(), rounds(fault, "", repeat).await?));
    }
    if wanted(TUNED) {
        let tuned = rounds(
            Fault::PowerLost,
            "  detection: { interval: 50ms }\n",
            repeat,
        )
        .await?;
        tallies.push((TUNED, tuned));
    }
    println!(
        "| fault | client | repetitions | gap p50 | p99 | max | failed requests |\n|---|---|---|---|---|---|---|"
    );
    for (name, tally) in &tallies {
        tally.print(name);
    }
    println!(
        "\n| fault | two answer, at most | after its end | client gap at its end | failed requests then | moved back | did not settle |\n\
         |---|---|---|---|---|---|---|"
    );
    for (name, tally) in &tallies {
        tally.print_wire(name);
    }
    if wanted(CROWD) {
        crowd().await?;
    }
    if wanted(ANSWERS) {
        answers().await?;
    }
    Ok(())
}

/// `more`: further lines of the L2Advertisement.
async fn rounds(fault: Fault, more: &str, repeat: usize) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut drill = Drill::start(Face::Embedded, more).await?;
    while tally.rounds < repeat {
        match drill.run(fault).await {
            Ok(outcome) => {
                tally.add(&outcome);
                eprintln!(
                    "{}, {} of {repeat}, load {}: {outcome}",
                    fault.name(),
                    tally.rounds,
                    load()?
                );
            }
            Err(error) => {
                tally.broken += 1;
                eprintln!("{}: {error:#}", fault.name());
                if tally.broken >= PATIENCE {
                    return Err(error);
                }
                drill = Drill::start(Face::Embedded, more).await?;
            }
        }
    }
    Ok(tally)
}

/// 500 addresses on five nodes, one of which dies.
async fn crowd() -> Result<()> {
    let mut crowd = Crowd::start(Face::Embedded, 5, 500).await?;
    println!(
        "\n500 VIPs on five nodes: {}",
        spread(&crowd.holders().await?)
    );
    println!("node-1 loses power: {}", crowd.power_lost(0).await?);
    println!("after that: {}", spread(&crowd.holders().await?));
    crowd.power_returns(0).await?;
    println!("after its return: {}", spread(&crowd.holders().await?));
    Ok(())
}

fn spread(holders: &BTreeMap<IpAddr, usize>) -> String {
    let count = |node: usize| holders.values().filter(|holder| **holder == node).count();
    let counts: Vec<String> = (0..5).map(|node| count(node).to_string()).collect();
    counts.join(" / ")
}

/// From the question at the node's port to the answer there, for a VIP and for the node's own address, which its kernel
/// answers for; idle, and with a busy loop for each processor.
async fn answers() -> Result<()> {
    let drill = Drill::start(Face::Embedded, "").await?;
    let holder = drill.settled().await?;
    let node = drill.world.lab.nodes.get(holder).context("no such node")?;
    println!(
        "\n| answer | idle p50 | p99 | all processors busy p50 | p99 |\n|---|---|---|---|---|"
    );
    let mut targets = drill.vips.clone();
    targets.extend(node.host.address().both());
    let mut rows: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    let mut busy: Vec<Process> = Vec::new();
    for round in 0..2 {
        if round == 1 {
            let processors = std::thread::available_parallelism().context("how many processors")?;
            for number in 0..processors.get() {
                let program = Program::new("/bin/sh").named(format!("busy-{number}"));
                busy.push(
                    drill
                        .world
                        .lab
                        .outside
                        .spawn(program.args(["-c", "while :; do :; done"]))?,
                );
            }
        }
        drill.tap.forget();
        let questions = drill.world.lab.question(Half::Main, &targets, QUESTION)?;
        tokio::time::sleep(TIMED).await;
        drop(questions);
        for target in &targets {
            let mut samples = Samples::default();
            drill
                .tap
                .answer_times(&node.host, *target)
                .into_iter()
                .for_each(|time| samples.push(time));
            let cells = [50, 99].map(|percent| in_us(samples.percentile(percent)));
            rows.entry(*target).or_default().extend(cells);
        }
    }
    for target in &targets {
        let who = if drill.vips.contains(target) {
            "Portolan"
        } else {
            "kernel"
        };
        let how = if target.is_ipv4() { "ARP" } else { "NDP" };
        let cells = rows
            .get(target)
            .map(|cells| cells.join(" | "))
            .unwrap_or_default();
        println!("| {how}, {who} | {cells} |");
    }
    Ok(())
}

fn in_us(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}
