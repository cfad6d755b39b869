use super::*;
use std::net::Ipv4Addr;

const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const NEVER: Duration = Duration::ZERO;
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
    assert!(announcer.hold(1, VIP, NEVER, start));
    let sent = run(&mut announcer, start, Duration::from_secs(60));
    assert_eq!(times(&sent), [0, 1100, 2200, 3300, 4400]);
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn holding_again_changes_nothing_and_repeating_starts_over() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, NEVER, start);
    assert_eq!(announcer.next(start), Some((1, VIP)));
    assert!(!announcer.hold(1, VIP, NEVER, start));
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
    announcer.hold(1, VIP, NEVER, start);
    announcer.hold(2, VIP, NEVER, start);
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
    announcer.hold(1, VIP, NEVER, start);
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
            announcer.claimed(1, VIP, OTHER, Origin::Stranger, at(second)),
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
    announcer.hold(1, VIP, NEVER, start);
    announcer.next(start);
    let later = start + Duration::from_millis(200);
    assert_eq!(
        announcer.claimed(1, VIP, OTHER, Origin::Stranger, later),
        Verdict::Defend
    );
    let sent = run(&mut announcer, later, Duration::from_secs(60));
    assert_eq!(times(&sent), [0, 1100, 2200, 3300]);
}

#[test]
fn a_claim_on_what_is_not_held_is_dropped() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, NEVER, start);
    assert_eq!(
        announcer.claimed(2, VIP, OTHER, Origin::Stranger, start),
        Verdict::NotHeld
    );
    assert_eq!(
        announcer.claimed(1, mk_vip(1), OTHER, Origin::Stranger, start),
        Verdict::NotHeld
    );
}

#[test]
fn claimants_are_bounded_and_the_oldest_makes_room() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, NEVER, start);
    for number in 0..200u8 {
        let now = start + Duration::from_secs(u64::from(number));
        announcer.claimed(
            1,
            VIP,
            MacAddr([2, 0, 0, 0, 0, number]),
            Origin::Stranger,
            now,
        );
    }
    let (_, _, claimants) = announcer.held().next().unwrap();
    let last: Vec<u8> = claimants.iter().map(|claimant| claimant.mac.0[5]).collect();
    assert_eq!(last, (192..200).collect::<Vec<u8>>());
}

#[test]
fn four_hundred_addresses_are_announced_in_65_ms_without_a_flood() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    for number in 0..400 {
        announcer.hold(1, mk_vip(number), NEVER, start);
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
        announcer.hold(1, mk_vip(number), NEVER, start);
    }
    let sent = run(&mut announcer, start, Duration::from_secs(60));
    assert_eq!(sent.len(), 5000 * usize::from(ROUNDS));
    assert!(
        sent.last().unwrap().0 < Duration::from_secs(6),
        "{:?}",
        sent.last()
    );
}

#[test]
fn a_quiet_address_is_refreshed_for_ever_and_never_later_than_asked() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    let refresh = Duration::from_secs(60);
    announcer.hold(1, VIP, refresh, start);
    let sent = times(&run(&mut announcer, start, Duration::from_secs(3600)));
    assert_eq!(sent[..5], [0, 1100, 2200, 3300, 4400]);
    assert!((60..=80).contains(&(sent.len() - 5)), "{}", sent.len());
    for pair in sent[4..].windows(2) {
        let gap = pair[1] - pair[0];
        assert!((45_000..=60_000).contains(&gap), "{gap} ms");
    }
}

#[test]
fn five_thousand_refreshes_do_not_go_in_step() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    for number in 0..5000 {
        announcer.hold(1, mk_vip(number), Duration::from_secs(60), start);
    }
    let sent = run(&mut announcer, start, Duration::from_secs(600));
    let mut seconds = BTreeMap::<u64, usize>::new();
    for (at, _) in sent.iter().filter(|(at, _)| at.as_secs() > 10) {
        *seconds.entry(at.as_secs()).or_default() += 1;
    }
    let most = seconds.values().max().unwrap();
    assert!(*most < 500, "{most} in one second");
}

#[test]
fn a_refresh_is_taken_up_and_dropped_while_the_address_is_held() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, NEVER, start);
    run(&mut announcer, start, Duration::from_secs(60));
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(!announcer.hold(1, VIP, Duration::from_secs(10), at(60)));
    let sent = run(&mut announcer, at(60), Duration::from_secs(30));
    assert!((3..=4).contains(&sent.len()), "{sent:?}");
    announcer.hold(1, VIP, NEVER, at(90));
    let sent = run(&mut announcer, at(90), Duration::from_secs(60));
    assert!(sent.len() <= 1, "only what was due already: {sent:?}");
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn a_takeover_goes_before_the_repetitions_of_thousands() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    for number in 0..5000 {
        announcer.hold(1, mk_vip(number), NEVER, start);
    }
    run(&mut announcer, start, REPEAT);
    let now = start + REPEAT + Duration::from_millis(20);
    announcer.hold(1, VIP, NEVER, now);
    let sent = run(&mut announcer, now, Duration::from_millis(10));
    let own = sent.iter().position(|(_, vip)| *vip == VIP);
    assert_eq!(own, Some(0), "{} went before", own.unwrap_or(sent.len()));
}

#[test]
fn after_the_claim_of_another_node_the_one_who_stays_announces_twice() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    announcer.hold(1, VIP, NEVER, start);
    run(&mut announcer, start, Duration::from_secs(60));
    let now = start + Duration::from_secs(60);
    let mut claimed = |at| announcer.claimed(1, VIP, OTHER, Origin::Node, now + at);
    assert_eq!(claimed(Duration::ZERO), Verdict::Agree);
    assert_eq!(claimed(Duration::from_millis(999)), Verdict::Counted);
    let sent = run(&mut announcer, now, Duration::from_secs(60));
    assert_eq!(times(&sent), [100, 1200]);
    assert_eq!(
        announcer.claimed(1, VIP, OTHER, Origin::Node, now + AGREE_INTERVAL),
        Verdict::Agree
    );
}

#[test]
fn what_is_announced_anew_begins_a_burst_wherever_it_is_held() {
    let (start, mut announcer) = (mk_start(), Announcer::default());
    for (port, vip) in [(1, VIP), (2, VIP), (1, mk_vip(1))] {
        announcer.hold(port, vip, NEVER, start);
    }
    run(&mut announcer, start, Duration::from_secs(60));
    let now = start + Duration::from_secs(60);
    announcer.announce(&[VIP].into(), now);
    announcer.release(2, VIP);
    let sent = run(&mut announcer, now, Duration::from_secs(60));
    assert_eq!(times(&sent), [0, 1100, 2200, 3300, 4400]);
    assert!(sent.iter().all(|(_, vip)| *vip == VIP));
}
