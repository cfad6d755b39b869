//! A steady beat of small datagrams to a Service and back: cheap enough for one every 2 ms on several clients at once.
//!
//! A beat is sent whatever became of the ones before. What counts for a client is how long it waited for anything: the gap
//! is the longest time without an arrival, so datagrams that wait in a queue and come in a burst at its end do not hide it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::netns::Netns;
use super::tap::now;

/// How long the last beats are waited for.
const LAST: Duration = Duration::from_millis(300);

/// A running pulse. Dropping it stops it.
pub struct Pulse {
    stop: Arc<AtomicBool>,
    every: Duration,
    thread: Option<JoinHandle<Vec<Beat>>>,
}

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When it was sent, since 1970.
    pub sent: Duration,
    /// When it came back.
    pub back: Option<Duration>,
}

impl Pulse {
    pub(super) fn start(netns: &Netns, to: SocketAddr, every: Duration) -> Result<Self> {
        let socket = netns.enter(|| {
            let any: SocketAddr = if to.is_ipv4() {
                ([0; 4], 0).into()
            } else {
                ([0; 16], 0).into()
            };
            let socket = UdpSocket::bind(any).context("a socket for the pulse")?;
            socket
                .connect(to)
                .with_context(|| format!("connecting to {to}"))?;
            socket
                .set_nonblocking(true)
                .context("a socket that does not wait")?;
            anyhow::Ok(socket)
        })??;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("pulse".into());
        let thread = thread.spawn(move || beat(&socket, every, &until));
        let thread = Some(thread.context("starting the pulse")?);
        Ok(Self {
            stop,
            every,
            thread,
        })
    }

    /// Stops, waits a moment for what is under way, and reports.
    ///
    /// # Errors
    /// When the pulse panicked.
    pub async fn finish(mut self) -> Result<Rhythm> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a pulse ends once")?;
        let joined = tokio::task::spawn_blocking(|| thread.join()).await;
        let beats = joined
            .context("waiting for the pulse")?
            .map_err(|_| anyhow!("the pulse panicked"))?;
        Ok(Rhythm {
            beats,
            every: self.every,
        })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn beat(socket: &UdpSocket, every: Duration, stop: &AtomicBool) -> Vec<Beat> {
    let mut beats: Vec<Beat> = Vec::new();
    let mut next = now();
    while !stop.load(Ordering::Relaxed) {
        let number = u64::try_from(beats.len()).unwrap_or(u64::MAX);
        let sent = now();
        beats.push(Beat { sent, back: None });
        // Nobody may have the address in this moment: the beat is lost, as it should be.
        let _lost = socket.send(&number.to_be_bytes());
        // A thread that had to wait for a processor leaves beats out rather than send them in a burst.
        next = (next + every).max(sent);
        listen(socket, &mut beats, next);
    }
    listen(socket, &mut beats, now() + LAST);
    beats
}

/// Notes what comes back until `until`, on the clock of [`now`], and in any case what is there already.
fn listen(socket: &UdpSocket, beats: &mut [Beat], until: Duration) {
    loop {
        let mut bytes = [0; 8];
        match socket.recv(&mut bytes) {
            Ok(8) => {
                let number = usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX);
                if let Some(beat) = beats.get_mut(number) {
                    beat.back.get_or_insert_with(now);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = until.saturating_sub(now());
                if left.is_zero() {
                    return;
                }
                wait(socket, left);
            }
            // A refusal by ICMP: the beat stays lost.
            Ok(_) | Err(_) => {}
        }
    }
}

/// By `ppoll`, because the timeouts of sockets are as coarse as the kernel's tick.
fn wait(socket: &UdpSocket, at_most: Duration) {
    let mut set = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    // Interrupted or not: the caller looks at the socket and the clock.
    let _ready = ppoll(&mut set, Some(TimeSpec::from_duration(at_most)), None);
}

/// What a pulse saw.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// Every datagram, by time of sending.
    pub beats: Vec<Beat>,
    every: Duration,
}

impl Rhythm {
    /// Datagrams that never came back.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.beats.iter().filter(|beat| beat.back.is_none()).count()
    }

    /// The longest time without an arrival, less the interval that would pass anyhow. It runs from the first beat to the
    /// last.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.gap().1
    }

    /// When the longest gap began, since the first beat, and how long it was.
    fn gap(&self) -> (Duration, Duration) {
        let mut times: Vec<Duration> = self.beats.iter().filter_map(|beat| beat.back).collect();
        let first = self.beats.first().map(|beat| beat.sent);
        times.extend(first);
        times.extend(self.beats.last().map(|beat| beat.sent));
        times.sort_unstable();
        let gaps = times.windows(2).filter_map(|pair| match pair {
            [one, next] => Some((*one, next.saturating_sub(*one))),
            _ => None,
        });
        let (began, gap) = gaps.max_by_key(|(_, gap)| *gap).unwrap_or_default();
        let began = began.saturating_sub(first.unwrap_or_default());
        (began, gap.saturating_sub(self.every))
    }
}

impl fmt::Display for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, all, (began, gap)) = (self.lost(), self.beats.len(), self.gap());
        write!(
            f,
            "{lost} of {all} datagrams lost, longest gap {gap:?} after {began:?}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sign per 10 ms: `+` comes back at once, `-` never, a digit so many intervals later.
    fn mk_rhythm(signs: &str) -> Rhythm {
        let every = Duration::from_millis(10);
        let beats = (0..).zip(signs.chars()).map(|(number, sign)| {
            let sent = Duration::from_secs(1) + every * number;
            let late = |digit: char| digit.to_digit(10).map(|late| sent + every * late);
            Beat {
                sent,
                back: if sign == '+' { Some(sent) } else { late(sign) },
            }
        });
        Rhythm {
            beats: beats.collect(),
            every,
        }
    }

    #[test]
    fn the_gap_is_the_longest_wait_for_anything() {
        for (signs, millis, lost) in [
            ("", 0, 0),
            ("++++", 0, 0),
            ("+-+", 10, 1),
            ("+---+-+", 30, 4),
            ("--+", 10, 2),
            ("+--", 10, 2),
            ("---", 10, 3),
            // Three wait in a queue and come together with the next one.
            ("+321++", 30, 0),
        ] {
            let rhythm = mk_rhythm(signs);
            assert_eq!(
                rhythm.longest_gap(),
                Duration::from_millis(millis),
                "row {signs}"
            );
            assert_eq!(rhythm.lost(), lost, "row {signs}");
        }
    }
}
