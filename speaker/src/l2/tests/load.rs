//! Floods, and many addresses at once.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portolan_proto::arp::Packet;
use portolan_proto::flood::{IN_ALL, PER_REQUESTER};
use tokio::time::Instant;

use super::super::*;
use super::lan::{Far, OTHER, figure, on_a_lan, until};

const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const CLIENT4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

fn mk_vips(count: u16) -> Vec<IpAddr> {
    let vip = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 0, high, low).into()
    };
    (0..count).map(vip).collect()
}

/// Processor time of the thread with this name in this process, in clock ticks of 10 ms.
fn ticks(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let own = stats.filter(|stat| stat.contains(&format!("({name})")));
    // Fields behind the name: state is the third; user and system time are the 14th and 15th.
    let times = own.map(|stat| {
        let rest = stat.rsplit(')').next().unwrap_or_default().to_owned();
        let fields: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    });
    times.sum()
}

#[test]
fn a_flood_gets_its_rate_of_answers_and_its_share_of_a_processor() {
    // A name of its own: other tests have threads in this process, too.
    on_a_lan(|lan| {
        super::lan::ip("link set lan0 down");
        super::lan::ip("link set lan0 name flooded0");
        super::lan::ip("link set flooded0 up");
        lan.hold(&[VIP4.into()]);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let far = Far::open("far0");
        let before = (ticks("l2-flooded0"), Instant::now());
        let flood = std::thread::spawn(move || {
            let (mut sent, mut forged) = (0u64, 0u32);
            while !stopped.load(Ordering::Relaxed) {
                // One in two is of one station, the others of a new one each.
                forged += 1;
                let [a, b, c, d] = forged.to_be_bytes();
                let mac = if forged % 2 == 0 {
                    OTHER
                } else {
                    MacAddr([2, a, b, c, d, 0x99])
                };
                far.send(&Packet::request(CLIENT4, VIP4, mac).frame(MacAddr::BROADCAST));
                sent += 1;
            }
            sent
        });
        std::thread::park_timeout(Duration::from_secs(4));
        stop.store(true, Ordering::Relaxed);
        let requests = flood.join().unwrap();
        let (spent, time) = (ticks("l2-flooded0") - before.0, before.1.elapsed());
        let status = lan.interface("flooded0");
        let share = Duration::from_millis(spent * 10).as_secs_f64() / time.as_secs_f64();
        figure(&format!(
            "{:.0} requests/s for {time:?}: {} heard, {} answered, {} limited, {} dropped by the kernel, {} pauses, {:.0} % of a processor",
            f64::from(u32::try_from(requests).unwrap()) / time.as_secs_f64(),
            status.requests,
            status.replies,
            status.rate_limited,
            status.dropped,
            status.pauses,
            share * 100.0
        ));
        // A quarter, and what may be done in advance.
        assert!(share < 0.25 + 0.05, "{share}");
        let per_second = 1_000_000_000 / u32::try_from(IN_ALL.cost.as_nanos()).unwrap();
        let burst = u32::try_from(IN_ALL.ahead.as_nanos() / IN_ALL.cost.as_nanos()).unwrap();
        let most = f64::from(per_second) * (time.as_secs_f64() + 0.5) + f64::from(burst) + 1.0;
        let replies = f64::from(u32::try_from(status.replies).unwrap());
        assert!(replies <= most, "{replies} answers, {most} at most");
        assert!(status.rate_limited + status.dropped > 0, "{status:?}");
        assert!(PER_REQUESTER.cost > IN_ALL.cost);
        // When it is over, questions are answered as before.
        until("the backlog to be gone", || {
            let before = lan.interface("flooded0").requests;
            std::thread::park_timeout(Duration::from_millis(50));
            lan.interface("flooded0").requests == before
        });
        lan.far = Far::open("far0");
        let fresh = MacAddr([2, 0x77, 0, 0, 0, 0x99]);
        lan.far
            .send(&Packet::request(CLIENT4, VIP4, fresh).frame(MacAddr::BROADCAST));
        lan.far.next(|it| it.header.destination == fresh);
    });
}

#[test]
fn a_router_that_asks_for_5000_addresses_at_once_is_answered_for_each() {
    on_a_lan(|lan| {
        let vips = mk_vips(5000);
        lan.apply(&vips, &Interfaces::All, Duration::ZERO);
        until("the interface to be ready", || {
            lan.interface("lan0").announcements > 0
        });
        // So that announcements do not fill the test's own queue.
        until("the first announcements to be out", || {
            lan.interface("lan0").announcements >= 10_000
        });
        let far = Far::open("far0");
        let begin = Instant::now();
        let asked = vips.clone();
        let asking = std::thread::spawn(move || {
            let far = Far::open("far0");
            for vip in &asked {
                if let IpAddr::V4(vip) = vip {
                    far.send(
                        &Packet::request(CLIENT4, *vip, OTHER).frame(MacAddr([2, 0, 0, 0, 0, 1])),
                    );
                }
            }
        });
        let mut answered = BTreeSet::new();
        while answered.len() < vips.len() {
            let reply = far.next(|it| it.arp().is_some_and(|it| it.target_ip == CLIENT4));
            answered.insert(reply.arp().unwrap().sender_ip);
        }
        asking.join().unwrap();
        figure(&format!(
            "5000 questions answered within {:?}",
            begin.elapsed()
        ));
        assert_eq!(lan.interface("lan0").rate_limited, 0);
    });
}

#[test]
fn four_hundred_addresses_that_are_taken_are_announced_beside_5000_held() {
    on_a_lan(|lan| {
        let vips = mk_vips(5400);
        lan.l2
            .stand_by(vips.iter().map(|vip| (*vip, Interfaces::All)).collect());
        lan.apply(&vips[..5000], &Interfaces::All, Duration::from_secs(60));
        let still = |lan: &super::lan::Lan| {
            let second = Duration::from_secs(1);
            lan.far.all(second, |it| it.announced().is_some()).len()
        };
        while still(lan) > 0 {}
        let far = Far::open("far0");
        let begin = Instant::now();
        lan.apply(&vips, &Interfaces::All, Duration::from_secs(60));
        let returned = begin.elapsed();
        let (mut announced, mut first) = (BTreeSet::new(), None);
        while announced.len() < 400 {
            let frame = far.next(|it| it.announced().is_some());
            let vip = frame.announced().unwrap();
            if vips[5000..].contains(&vip) {
                first.get_or_insert(frame.at - begin);
                announced.insert(vip);
            }
        }
        // 65 ms by pace. How long it takes beside others is a figure, and promises nothing.
        figure(&format!(
            "400 taken: first frame {first:?}, returned after {returned:?}, all {:?}",
            begin.elapsed()
        ));
        let begin = Instant::now();
        let sight = lock(&lan.l2.engine).sight();
        let locked = begin.elapsed();
        let status = sight.status();
        figure(&format!(
            "status of {} addresses: {:?}, of which everything else waits {locked:?}",
            status.vips.len(),
            begin.elapsed()
        ));
    });
}
