//! How fast ARP is answered, beside the kernel's own answers in the same run, and how fast many addresses are taken over.
//! As root, for a network namespace: `cargo bench -p portolan-speaker --bench layer2`.
//!
//! One end of a veth pair is served; the other asks, one question at a time, and waits for the answer. The client has
//! real-time priority like the responder, so that what is measured on a busy machine is not its own wait for a processor.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{LinkAddr, bind};
use portolan_proto::arp::{Operation, Packet};
use portolan_proto::ethernet::{ARP, Header, MacAddr};
use portolan_speaker::l2::{Answer, Interfaces, Layer2};
use portolan_speaker::link::{self, Exclude};
use portolan_speaker::sys;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const KERNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const QUESTIONS: usize = 10_000;
const TAKEN: usize = 400;
const HELD: usize = 5000;

fn main() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("needs root, for a network namespace")?;
    ip("link add lan0 type veth peer name far0")?;
    ip("link set lan0 up")?;
    ip("link set far0 up")?;
    ip(&format!("address add {KERNEL}/24 dev lan0"))?;
    let stop = CancellationToken::new();
    let (sender, started) = mpsc::channel();
    let stopped = stop.clone();
    let runtime = thread::spawn(move || -> Result<()> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build()?.block_on(async move {
            let links = link::watch(stopped.clone()).await?;
            sender.send(Layer2::start(links, Exclude::new(["^far"])?)?)?;
            stopped.cancelled().await;
            Ok(())
        })
    });
    let mut l2 = started.recv().context("layer 2 does not start")?;
    l2.apply(mk_answers(&[VIP.into()]));
    latencies()?;
    takeover(&mut l2)?;
    stop.cancel();
    runtime.join().map_err(|_| anyhow::anyhow!("panic"))?
}

fn ip(words: &str) -> Result<()> {
    let status = Command::new("ip").args(words.split(' ')).status()?;
    ensure!(status.success(), "ip {words}: {status}");
    Ok(())
}

fn say(words: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{words}")?)
}

fn mk_answers(vips: &[IpAddr]) -> BTreeMap<IpAddr, Answer> {
    let answer = Answer {
        interfaces: Interfaces::All,
        refresh: Duration::from_secs(60),
    };
    vips.iter().map(|vip| (*vip, answer.clone())).collect()
}

/// A socket on the far end that sees ARP.
fn open() -> Result<Socket> {
    let protocol = Protocol::from(i32::from(ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    let mut far = getifaddrs()?.filter(|it| it.interface_name == "far0");
    let link = |it: nix::ifaddrs::InterfaceAddress| -> Option<LinkAddr> {
        it.address.as_ref()?.as_link_addr().copied()
    };
    let far = far.find_map(link).context("no far0")?;
    bind(socket.as_raw_fd(), &far)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

/// The next ARP packet of the other side.
fn receive(socket: &Socket) -> Result<Packet> {
    let mut buffer = [0; 128];
    loop {
        let length = (&*socket).read(&mut buffer)?;
        let frame = buffer.get(..length).and_then(Header::split);
        let packet = frame.and_then(|(_, payload)| Packet::parse(payload).ok());
        if let Some(packet) = packet.filter(|it| it.sender_mac != CLIENT) {
            return Ok(packet);
        }
    }
}

fn latencies() -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    say(&format!(
        "{QUESTIONS} ARP questions, one at a time; {cores} processors. From question to answer:\n\n\
         who answers            p50        p99      p99.9        max"
    ))?;
    for busy in [0, cores * 4] {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..busy {
            let stop = stop.clone();
            thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
        }
        for (who, address) in [("kernel", KERNEL), ("portolan", VIP)] {
            let measured = thread::spawn(move || ask(address)).join();
            let times = measured.map_err(|_| anyhow::anyhow!("panic"))??;
            let state = if busy == 0 { "idle" } else { "busy" };
            let part = |parts: usize| {
                let at = (times.len() * parts / 1000).min(times.len() - 1);
                times.get(at).copied().unwrap_or_default()
            };
            let columns = [500, 990, 999, 1000].map(|it| format!("{:>9.1?}", part(it)));
            say(&format!("{who:<9} {state:<8} {}", columns.join("  ")))?;
        }
        stop.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Times from question to answer, sorted.
fn ask(address: Ipv4Addr) -> Result<Vec<Duration>> {
    let socket = open()?;
    if sys::set_real_time(5).is_err() {
        say("(without real-time priority)")?;
    }
    let question = Packet::request(Ipv4Addr::UNSPECIFIED, address, CLIENT);
    let frame = question.frame(MacAddr::BROADCAST);
    let mut times = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let begin = Instant::now();
        socket.send(frame.as_bytes())?;
        while receive(&socket)?.target_mac != CLIENT {}
        times.push(begin.elapsed());
        // Questions come one at a time; this also keeps below the limit of one requester.
        thread::park_timeout(Duration::from_micros(500));
    }
    times.sort_unstable();
    Ok(times)
}

/// A node that holds 5000 addresses takes over 400 of another.
fn takeover(l2: &mut Layer2) -> Result<()> {
    let vips: Vec<IpAddr> = (0..u32::try_from(HELD + TAKEN)?)
        .map(|number| Ipv4Addr::from_bits(0x0a00_0000 + number).into())
        .collect();
    let (held, taken) = vips.split_at(HELD);
    l2.apply(mk_answers(held));
    let quiet = open()?;
    quiet.set_recv_buffer_size(8 << 20)?;
    while receive(&quiet).is_ok() {}
    let first = *taken.first().context("none to take")?;
    let reader = thread::spawn(move || -> Result<(Instant, Instant)> {
        let mut seen = std::collections::BTreeSet::new();
        let mut begin = None;
        loop {
            let packet = receive(&quiet)?;
            let vip = IpAddr::from(packet.sender_ip);
            if packet.operation == Operation::Request && vip >= first {
                begin.get_or_insert_with(Instant::now);
                seen.insert(vip);
            }
            if let Some(begin) = begin.filter(|_| seen.len() == TAKEN) {
                return Ok((begin, Instant::now()));
            }
        }
    });
    let answers = mk_answers(&vips);
    let decided = Instant::now();
    l2.apply(answers);
    let returned = decided.elapsed();
    let (begin, end) = reader.join().map_err(|_| anyhow::anyhow!("panic"))??;
    let looked = Instant::now();
    let status = l2.status();
    say(&format!(
        "\n{TAKEN} addresses taken over beside {HELD} held: first announced after {:.1?}, apply() returned after {returned:.1?}, \
         last announced after {:.1?}; status of {} addresses in {:.1?}",
        begin.saturating_duration_since(decided),
        end.saturating_duration_since(decided),
        status.vips.len(),
        looked.elapsed()
    ))
}
