//! Answers for addresses on the local network, without Kubernetes: `l2 192.0.2.10 2001:db8::10@eth0`.
//!
//! Prints its status whenever a line comes in; a line may also give a new set of addresses. Ends
//! with the end of input.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use portolan_speaker::l2::{Answer, Interfaces, Layer2};
use portolan_speaker::link::{self, Exclude};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let links = link::watch(stop.clone()).await.context("read links")?;
    let mut l2 = Layer2::start(links, Exclude::usual()?).context("start layer 2")?;
    l2.apply(parse(std::env::args().skip(1))?);
    let (typed, mut input) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let typing = std::io::stdin().lines().map_while(Result::ok);
        typing
            .map_while(|line| typed.blocking_send(line).ok())
            .for_each(drop);
    });
    while let Some(line) = input.recv().await {
        if !line.is_empty() {
            l2.apply(parse(line.split_whitespace().map(str::to_owned))?);
        }
        writeln!(std::io::stdout(), "{:#?}", l2.status())?;
    }
    l2.shutdown().await;
    stop.cancel();
    Ok(())
}

/// `address` on all interfaces, or `address@interface` on one; `-` alone is no address.
fn parse(words: impl Iterator<Item = String>) -> anyhow::Result<BTreeMap<IpAddr, Answer>> {
    words
        .filter(|word| word != "-")
        .map(|word| {
            let (ip, interfaces) = match word.split_once('@') {
                None => (word.as_str(), Interfaces::All),
                Some((ip, name)) => (ip, Interfaces::Named(BTreeSet::from([name.to_owned()]))),
            };
            let refresh = Duration::from_secs(60);
            let answer = Answer {
                interfaces,
                refresh,
            };
            Ok((ip.parse().with_context(|| format!("address {ip}"))?, answer))
        })
        .collect()
}
