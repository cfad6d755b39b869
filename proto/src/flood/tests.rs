use super::*;

const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the start of time"
)]
fn mk_start() -> Instant {
    Instant::now()
}

fn mk_mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 1, a, b, c, d])
}

/// How many of `requests`, spread evenly over `time`, are admitted.
fn admitted(
    time: Duration,
    requests: u32,
    start: Instant,
    mut admit: impl FnMut(u32, Instant) -> bool,
) -> u32 {
    let at = |number| start + time * number / requests;
    (0..requests)
        .map(|number| u32::from(admit(number, at(number))))
        .sum()
}

#[test]
fn a_router_that_asks_for_5000_addresses_in_one_moment_is_served() {
    let (start, mut replies) = (mk_start(), Replies::default());
    assert!((0..5000).all(|_| replies.admit(ROUTER, start)));
}

#[test]
fn one_requester_gets_its_burst_and_then_its_rate() {
    let (start, mut replies) = (mk_start(), Replies::default());
    let second = Duration::from_secs(1);
    let burst = admitted(second, 100_000, start, |_, now| replies.admit(ROUTER, now));
    assert!((8_192..8_192 + 2_100).contains(&burst), "{burst}");
    let later = start + second;
    let rate = admitted(second * 5, 500_000, later, |_, now| {
        replies.admit(ROUTER, now)
    });
    assert!((9_900..10_100).contains(&rate), "{rate}");
}

#[test]
fn a_flood_of_one_leaves_others_their_answers() {
    let (start, mut replies) = (mk_start(), Replies::default());
    let time = Duration::from_secs(10);
    let mut denied = 0;
    admitted(time, 1_000_000, start, |number, now| {
        if number % 1000 == 0 {
            denied += u32::from(!replies.admit(ROUTER, now));
        }
        replies.admit(mk_mac(1), now)
    });
    assert_eq!(denied, 0);
}

#[test]
fn forged_senders_share_one_limit() {
    let (start, mut replies) = (mk_start(), Replies::default());
    let second = Duration::from_secs(1);
    let all = admitted(second * 10, 1_000_000, start, |number, now| {
        replies.admit(mk_mac(number), now)
    });
    assert!((16_384 + 190_000..16_384 + 201_000).contains(&all), "{all}");
}

#[test]
fn forged_senders_do_not_make_a_flooder_forgotten() {
    let (start, mut replies) = (mk_start(), Replies::default());
    while replies.admit(ROUTER, start) {}
    for number in 0..8_000 {
        replies.admit(mk_mac(number), start);
    }
    let later = start + Duration::from_millis(100);
    let more = (0..8_000).filter(|_| replies.admit(ROUTER, later)).count();
    assert!(more <= 201, "{more} in 100 ms");
}

#[test]
fn what_was_said_a_moment_ago_is_not_passed_on_again() {
    let (start, mut said) = (mk_start(), Repetitions::default());
    let vip = IpAddr::from([192, 0, 2, 10]);
    let at = |ms| start + Duration::from_millis(ms);
    let table = [
        (0, ROUTER, Novelty::New),
        (50, ROUTER, Novelty::Repeated),
        (99, ROUTER, Novelty::Repeated),
        (100, ROUTER, Novelty::New),
        (150, ROUTER, Novelty::Repeated),
    ];
    for (ms, mac, expected) in table {
        assert_eq!(said.judge(vip, mac, at(ms)), expected, "{ms} ms");
    }
    let other = IpAddr::from([192, 0, 2, 11]);
    assert_eq!(said.judge(other, ROUTER, at(150)), Novelty::New);
    let new = (0..100_000)
        .filter(|number| said.judge(vip, mk_mac(*number), at(200)) == Novelty::New)
        .count();
    assert!(new <= 4_096, "{new} forged claims in one moment");
}

#[test]
fn work_beyond_a_quarter_is_followed_by_a_pause_that_makes_up_for_it() {
    let (start, mut share) = (mk_start(), WorkShare::default());
    let (mut now, mut worked) = (start, Duration::ZERO);
    let step = Duration::from_micros(300);
    while now < start + Duration::from_secs(10) {
        now += step;
        worked += step;
        if let Some(pause) = share.worked(step, now) {
            assert!(pause >= PAUSE_MIN);
            now += pause;
        }
    }
    let share = worked.as_secs_f64() / (now - start).as_secs_f64();
    assert!((0.23..0.26).contains(&share), "{share}");
}

#[test]
fn a_burst_of_work_is_done_without_a_pause() {
    let (start, mut share) = (mk_start(), WorkShare::default());
    let step = Duration::from_millis(1);
    let paused = (1..=50).find(|ms| share.worked(step, start + step * *ms).is_some());
    assert_eq!(paused, None);
}
