use super::*;
use std::net::Ipv4Addr;

const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the start of time"
)]
fn mk_start() -> Instant {
    Instant::now()
}

fn mk_vip(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 0, high, low).into()
}

/// Lets time jump from deadline to deadline and notes what is announced when.
fn run(announcer: &mut Announcer<u32>, start: Instant, end: Duration) -> Vec<(Duration, IpAddr)> {
    let mut sent = Vec::new();
    let mut now = start;
    loop {
        while let Some((_, vip)) = announcer.next(now) {
            sent.push((now - start, vip));
        }
        match announcer.deadline() {
            Some(next) if next <= start + end => {
                assert!(
                    next > now,
                    "a deadline that is not in the future spins the caller"
                );
                now = next;
            }
            _ => return sent,
        }
    }
}

fn times(sent: &[(Duration, IpAddr)]) -> Vec<u128> {
    sent.iter().map(|(at, _)| at.as_millis()).collect()
}

#[test]
fn a_burst_is_five_announcements_more_than_a_locktime_apart() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    assert!(announcer.hold(1, VIP, start));
    let sent = run(&mut announcer, start, Duration::from_secs(60));
    assert_eq!(times(&sent), [0, 1100, 2200, 3300, 4400]);
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn holding_again_changes_nothing_and_repeating_starts_over() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, start);
    assert_eq!(announcer.next(start), Some((1, VIP)));
    assert!(!announcer.hold(1, VIP, start));
    assert_eq!(announcer.next(start), None);
    let later = start + Duration::from_millis(500);
    announcer.repeat(1, later);
    announcer.repeat(2, later);
    let sent = run(&mut announcer, later, Duration::from_secs(60));
    assert_eq!(times(&sent), [0, 1100, 2200, 3300, 4400]);
}

#[test]
fn what_is_let_go_is_not_announced_any_more() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, start);
    announcer.hold(2, VIP, start);
    announcer.retain(|port, _| port == 2);
    assert_eq!(announcer.next(start), Some((2, VIP)));
    assert_eq!(announcer.next(start), None);
    announcer.retain(|_, _| false);
    assert_eq!(announcer.deadline(), None);
    assert_eq!(announcer.held().count(), 0);
}

#[test]
fn a_claim_is_answered_once_in_ten_seconds_and_always_counted() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, start);
    run(&mut announcer, start, Duration::from_secs(60));
    let at = |seconds| start + Duration::from_secs(seconds);
    let table = [
        (20, Verdict::Defend, 1),
        (21, Verdict::Counted, 0),
        (29, Verdict::Counted, 0),
        (30, Verdict::Defend, 1),
    ];
    for (second, verdict, announcements) in table {
        assert_eq!(
            announcer.claimed(1, VIP, OTHER, at(second)),
            verdict,
            "second {second}"
        );
        let sent = run(&mut announcer, at(second), Duration::from_millis(900));
        assert_eq!(sent.len(), announcements, "second {second}");
    }
    let (_, _, claimants) = announcer.held().next().unwrap();
    assert_eq!(
        claimants,
        [Claimant {
            mac: OTHER,
            count: 4,
            last: at(30)
        }]
    );
}

#[test]
fn a_claim_during_a_burst_does_not_shorten_it() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, start);
    announcer.next(start);
    let later = start + Duration::from_millis(200);
    assert_eq!(announcer.claimed(1, VIP, OTHER, later), Verdict::Defend);
    let sent = run(&mut announcer, later, Duration::from_secs(60));
    assert_eq!(times(&sent), [0, 1100, 2200, 3300]);
}

#[test]
fn a_claim_on_what_is_not_held_is_dropped() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, start);
    assert_eq!(announcer.claimed(2, VIP, OTHER, start), Verdict::NotHeld);
    assert_eq!(
        announcer.claimed(1, mk_vip(1), OTHER, start),
        Verdict::NotHeld
    );
}

#[test]
fn claimants_are_bounded_and_the_oldest_makes_room() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, start);
    for number in 0..200u8 {
        let now = start + Duration::from_secs(u64::from(number));
        announcer.claimed(1, VIP, MacAddr([2, 0, 0, 0, 0, number]), now);
    }
    let (_, _, claimants) = announcer.held().next().unwrap();
    let last: Vec<u8> = claimants.iter().map(|claimant| claimant.mac.0[5]).collect();
    assert_eq!(last, (192..200).collect::<Vec<u8>>());
}

#[test]
fn four_hundred_addresses_are_announced_in_65_ms_without_a_flood() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    for number in 0..400 {
        announcer.hold(1, mk_vip(number), start);
    }
    let sent = run(&mut announcer, start, Duration::from_secs(1));
    assert_eq!(sent.len(), 400);
    assert!(
        sent.last().unwrap().0 <= Duration::from_millis(65),
        "{:?}",
        sent.last()
    );
    for window in sent.windows(usize::try_from(PACE_BURST).unwrap() + 1) {
        assert!(
            window.last().unwrap().0 >= window[0].0 + PACE,
            "too many at {:?}",
            window[0].0
        );
    }
}

#[test]
fn five_thousand_addresses_all_get_their_rounds() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    for number in 0..5000 {
        announcer.hold(1, mk_vip(number), start);
    }
    let sent = run(&mut announcer, start, Duration::from_secs(60));
    assert_eq!(sent.len(), 5000 * usize::from(ROUNDS));
    assert!(
        sent.last().unwrap().0 < Duration::from_secs(6),
        "{:?}",
        sent.last()
    );
}
