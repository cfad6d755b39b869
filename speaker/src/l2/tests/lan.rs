//! A network namespace with a cable in it: layer 2 serves the end `lan0`, the test holds the end `far0` and reads and
//! writes frames there. Nobody has an address unless the test gives it one.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::bind;
use portolan_proto::arp;
use portolan_proto::ethernet::{Frame, Header};
use portolan_proto::ndp::Message;
use portolan_proto::responder::Identity;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::Instant;

use super::super::*;
use crate::link;

/// Everything here takes microseconds or a known time; the machine may be busy.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// Another station, as the test plays it.
pub(super) const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
/// The far end itself.
pub(super) const FAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x98]);
/// All frames, whatever they carry (linux/if_ether.h).
const ALL_FRAMES: u16 = 0x0003;

/// The cable with layer 2 at its end.
pub(super) struct Lan {
    pub(super) l2: Layer2,
    pub(super) far: Far,
    stop: CancellationToken,
}

/// Runs a test in a namespace of its own.
pub(super) fn on_a_lan(test: impl FnOnce(&mut Lan) + Send + 'static) {
    let ran = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("needs root, for a network namespace");
        ip("link add lan0 type veth peer name far0");
        ip("link set far0 address 02:00:00:00:00:98");
        ip("link set lan0 address 02:00:00:00:00:01");
        std::fs::write("/proc/sys/net/ipv6/conf/far0/disable_ipv6", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/lan0/accept_dad", "0").unwrap();
        ip("link set lan0 up");
        ip("link set far0 up");
        let stop = CancellationToken::new();
        let (sender, started) = mpsc::channel();
        let stopped = stop.clone();
        let runtime = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async move {
                let links = link::watch(stopped.clone()).await.unwrap();
                let l2 = Layer2::start(links, Exclude::new(["^far"]).unwrap()).unwrap();
                sender.send(l2).unwrap();
                stopped.cancelled().await;
            });
        });
        let l2 = started.recv().unwrap();
        let far = Far::open("far0");
        let mut lan = Lan { l2, far, stop };
        test(&mut lan);
        lan.stop.cancel();
        runtime.join().unwrap();
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says what was measured.
pub(super) fn figure(words: &str) {
    writeln!(std::io::stdout(), "figure: layer 2: {words}").unwrap();
}

/// Runs `ip` with these words.
pub(super) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {said}");
}

/// Asks again until it holds.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// The next event, which must come in time.
pub(super) fn next_event(events: &mut tokio::sync::mpsc::Receiver<Event>) -> Event {
    let mut event = None;
    until("an event", || {
        event = events.try_recv().ok();
        event.is_some()
    });
    event.unwrap()
}

impl Lan {
    /// Answers for these addresses on all interfaces, and waits until the first announcement is on the wire.
    pub(super) fn hold(&mut self, vips: &[IpAddr]) {
        self.apply(vips, &Interfaces::All, Duration::ZERO);
        for vip in vips {
            self.far.next(|heard| heard.announced() == Some(*vip));
        }
    }

    pub(super) fn apply(&mut self, vips: &[IpAddr], on: &Interfaces, refresh: Duration) {
        let answer = || Answer {
            interfaces: on.clone(),
            refresh,
        };
        self.l2
            .apply(vips.iter().map(|vip| (*vip, answer())).collect());
    }

    pub(super) fn interface(&self, name: &str) -> InterfaceStatus {
        self.l2
            .status()
            .interfaces
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    /// The kernel's number of an interface.
    pub(super) fn index(name: &str) -> u32 {
        nix::net::if_::if_nametoindex(name).unwrap()
    }
}

/// The other end of the cable.
pub(super) struct Far {
    socket: Socket,
}

/// A frame that came over the cable.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) at: Instant,
}

impl Frames {
    pub(super) fn arp(&self) -> Option<arp::Packet> {
        let is_arp = self.header.ethertype == portolan_proto::ethernet::ARP;
        is_arp.then(|| arp::Packet::parse(&self.payload).ok())?
    }

    pub(super) fn ndp(&self) -> Option<Message> {
        let is_ipv6 = self.header.ethertype == portolan_proto::ethernet::IPV6;
        is_ipv6.then(|| Message::parse(&self.payload).ok())?
    }

    /// The address that it announces to everyone.
    pub(super) fn announced(&self) -> Option<IpAddr> {
        if !self.header.destination.is_group() {
            return None;
        }
        let gratuitous = |it: &arp::Packet| it.sender_ip == it.target_ip;
        let arp = self.arp().filter(gratuitous).map(|it| it.sender_ip.into());
        let unsolicited =
            |it: &Message| *it == Message::unsolicited(it.target, it.mac().unwrap_or_default());
        let ndp = self.ndp().filter(unsolicited);
        arp.or(ndp.map(|it| it.target.into()))
    }
}

impl Far {
    pub(super) fn open(name: &str) -> Self {
        let protocol = Protocol::from(i32::from(ALL_FRAMES.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
        let address = socket::link_address(name, Lan::index(name)).unwrap();
        bind(socket.as_raw_fd(), &address).unwrap();
        socket.set_recv_buffer_size(4 << 20).unwrap();
        Self { socket }
    }

    pub(super) fn send(&self, frame: &Frame) {
        self.send_bytes(frame.as_bytes());
    }

    pub(super) fn send_bytes(&self, frame: &[u8]) {
        self.socket.send(frame).unwrap();
    }

    /// The next frame of the other side, if one comes in time.
    pub(super) fn receive(&self, deadline: Instant) -> Option<Frames> {
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let left = left.max(Duration::from_micros(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = (&self.socket).read(&mut buffer) else {
                continue;
            };
            let (header, payload) = Header::split(&buffer[..length]).unwrap();
            // The socket is shown what it sends itself, too.
            if header.source != FAR && header.source.0[5] != OTHER.0[5] {
                return Some(Frames {
                    header,
                    payload: payload.to_vec(),
                    at: Instant::now(),
                });
            }
        }
    }

    /// Waits for such a frame.
    pub(super) fn next(&self, wanted: impl Fn(&Frames) -> bool) -> Frames {
        let deadline = Instant::now() + SOON;
        loop {
            let frame = self.receive(deadline).expect("such a frame in time");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// All such frames for a while.
    pub(super) fn all(&self, time: Duration, wanted: impl Fn(&Frames) -> bool) -> Vec<Frames> {
        let deadline = Instant::now() + time;
        let frames = std::iter::from_fn(|| self.receive(deadline));
        frames.filter(wanted).collect()
    }

    /// Asks for the address until it is answered for: frames are lost while an interface comes up.
    pub(super) fn finds(&self, known: std::net::Ipv4Addr) {
        let us = Identity {
            mac: OTHER,
            ipv6: true,
        };
        let answers = |frame: &Frames| {
            frame
                .arp()
                .is_some_and(|it| it.sender_ip == known && it.target_ip == LAST)
        };
        until("an answer", || {
            self.send(&us.ask4(LAST, known));
            !self.all(Duration::from_millis(200), answers).is_empty()
        });
    }

    /// What comes before the answer to a question for `known`, which is asked last: with it all questions before have
    /// been dealt with, as there is one thread and one queue for each protocol.
    pub(super) fn until_answered(&self, known: IpAddr) -> Vec<Frames> {
        let us = Identity {
            mac: OTHER,
            ipv6: true,
        };
        let asks = |frame: &Frames| match known {
            IpAddr::V4(known) => frame.arp().is_some_and(|it| {
                it.operation == arp::Operation::Reply
                    && it.sender_ip == known
                    && it.target_ip == LAST
            }),
            IpAddr::V6(known) => frame
                .ndp()
                .is_some_and(|it| it.target == known && it.destination == LAST6),
        };
        match known {
            IpAddr::V4(known) => self.send(&us.ask4(LAST, known)),
            IpAddr::V6(known) => self.send(&us.ask6(LAST6, known)),
        }
        let mut before = Vec::new();
        let deadline = Instant::now() + SOON;
        loop {
            let frame = self.receive(deadline).expect("an answer in time");
            if asks(&frame) {
                return before;
            }
            before.push(frame);
        }
    }
}

/// Who asks the last question.
const LAST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 250);
const LAST6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfa);

/// A host of its own at the far end, whose kernel has these addresses. Ends when it is dropped.
pub(super) struct Host {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

type Order = Box<dyn FnOnce() + Send>;

impl Host {
    pub(super) fn with(addresses: &'static [&'static str]) -> Self {
        let (orders, received) = mpsc::channel::<Order>();
        let (told, id) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            told.send(nix::unistd::gettid()).unwrap();
            for order in received {
                order();
            }
        });
        let (process, id) = (std::process::id(), id.recv().unwrap());
        ip(&format!(
            "link set far0 netns /proc/{process}/task/{id}/ns/net"
        ));
        let host = Self {
            orders: Some(orders),
            thread: Some(thread),
        };
        host.run(move || {
            std::fs::write("/proc/sys/net/ipv6/conf/far0/disable_ipv6", "0").unwrap();
            ip("link set far0 up");
            for address in addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                ip(&format!("address add {address} dev far0{nodad}"));
            }
        });
        host
    }

    /// Runs something there, and waits for it.
    pub(super) fn run<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let order = move || done.send(what()).unwrap();
        self.orders.as_ref().unwrap().send(Box::new(order)).unwrap();
        result.recv().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// What a command prints, and whether it is content.
pub(super) fn command(words: &str) -> (bool, String) {
    let mut split = words.split(' ');
    let program = split.next().unwrap();
    let output = Command::new(program).args(split).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said)
}
