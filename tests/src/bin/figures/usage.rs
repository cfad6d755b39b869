//! What a program used up: memory and processor time as the kernel counts them, and what its own metrics say.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portolan_tests::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::load::{PATIENCE, now};

/// The kernel counts the time of processes in these (`USER_HZ`, 100 on every architecture of ours).
const TICK: Duration = Duration::from_millis(10);
/// Between two questions whether a program is ready: the error of the answer.
const PAUSE: Duration = Duration::from_millis(2);

/// Processor time of a process since it began, in the kernel and outside (proc(5), fields 14 and 15).
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name in field 2 may hold blanks; what follows its bracket does not.
    let (_, rest) = text.rsplit_once(')').context("a line of proc(5)")?;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u32>).sum::<Result<u32, _>>();
    Ok(TICK * ticks.context("a line of proc(5)")?)
}

/// The most resident memory that a process had since it began, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib
        .context("it has no memory any more")?
        .parse()
        .context("reading VmHWM")?;
    Ok(kib * 1024)
}

/// How many threads wanted to run, on average over the last minute (proc(5), loadavg): with more than there are processors,
/// times say as much about the other programs as about ours.
pub(crate) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
    let minute = text.split(' ').next();
    Ok(minute.context("an empty /proc/loadavg")?.to_owned())
}

/// Where a controller of [`World::start_controller`] serves its metrics.
pub(crate) fn listens(world: &World, number: u8) -> SocketAddr {
    SocketAddr::new(world.lab.management().into(), 7472 + u16::from(number))
}

/// Waits until `/readyz` of a program says yes; returns when it did.
pub(crate) async fn ready(program: SocketAddr) -> Result<Instant> {
    let ready = async {
        while ask(program, "/readyz").await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        now()
    };
    let ready = tokio::time::timeout(PATIENCE, ready).await;
    ready.with_context(|| format!("{program} does not get ready"))
}

/// The metrics of a program.
pub(crate) async fn metrics(program: SocketAddr) -> Result<Metrics> {
    Ok(Metrics(ask(program, "/metrics").await?))
}

/// Metrics in the text format of Prometheus.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum over all series of a metric; zero without any.
    pub(crate) fn sum(&self, metric: &str) -> f64 {
        let series = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let value = rest.rsplit(' ').next()?;
            rest.starts_with(['{', ' '])
                .then(|| value.parse::<f64>().ok())?
        });
        series.sum::<f64>()
    }
}

/// The body of the answer of a program, if its status is 200.
async fn ask(program: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(program).await.context("connecting")?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .context("asking")?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .await
        .context("reading the answer")?;
    let (head, body) = text.split_once("\r\n\r\n").context("half an answer")?;
    let status = head.split(' ').nth(1);
    ensure!(status == Some("200"), "{path} says {head}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_metric_takes_all_its_series_and_no_other_metric() {
        let text = "# TYPE writes counter\n\
            writes_total{target=\"service\",result=\"ok\"} 7\n\
            writes_total{target=\"object\",result=\"ok\"} 2\n\
            writes_totals 100\n\
            seconds_sum 0.25\n";
        let metrics = Metrics(text.to_owned());
        for (metric, sum) in [("writes_total", 9.0), ("seconds_sum", 0.25), ("none", 0.0)] {
            assert!((metrics.sum(metric) - sum).abs() < 1e-9, "{metric}");
        }
    }
}
