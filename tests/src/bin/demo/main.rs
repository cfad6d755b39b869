//! The demo: a cluster without a cluster. Three nodes, a router, two clients, the embedded API server, a controller and
//! three speakers, on this machine and gone when it ends.
//!
//! ```text
//! main       flags, signals, exit status
//! story      what happens, step by step; every step looks at the result from outside
//! steps      one line per step: `ok` or `FAILED`, with what was seen
//! stage      what runs, and the power cord of a node
//! endpoints  stands in for the controllers of Kubernetes that do not run here
//! outage     a power loss as clients see it
//! snapshot   Services, announcers, routes and answers, as one value
//! table      Snapshot ─► text
//! live       the table kept up to date, until Ctrl-C
//! ```

mod endpoints;
mod live;
mod outage;
mod snapshot;
mod stage;
mod steps;
mod story;
mod table;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::steps::Steps;

/// Exit status of a program that SIGINT ended (the shell's convention).
const INTERRUPTED: u8 = 130;

/// A load balancer at work: three nodes, a router, clients, in network namespaces of this machine.
#[derive(Debug, Parser)]
#[command(name = "demo", bin_name = "hack/demo.sh")]
struct Flags {
    /// End after the last step, with exit status 0 only if every step saw what it should
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<ExitCode> {
    let stop = cancelled_by_signals()?;
    let mut steps = Steps::new();
    let story = Box::pin(story::tell(&mut steps));
    let Some(told) = stop.run_until_cancelled(story).await else {
        println!("interrupted; everything is removed");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let mut stage = match told {
        Ok(stage) => stage,
        Err(_told_by_its_step) => {
            println!(
                "\nThe rest depends on that step. PORTOLAN_LAB_KEEP=1 keeps the logs of another try."
            );
            return Ok(ExitCode::FAILURE);
        }
    };
    println!("\n{}", steps.verdict());
    if !flags.once {
        live::run(&mut stage, &stop).await?;
    }
    drop(stage);
    println!("Everything is removed.");
    Ok(if steps.all_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Ctrl-C, `kill`, and the end of the terminal: all of them clean up.
fn cancelled_by_signals() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind).context("listening for signals")?;
        let token = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            token.cancel();
        });
    }
    Ok(stop)
}
