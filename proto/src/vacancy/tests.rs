use std::net::Ipv4Addr;

use super::*;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const NONCE: Nonce = [1, 2, 3, 4, 5, 6];

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

/// Lets time jump from deadline to deadline; what is done when, in milliseconds.
fn run(checks: &mut Checks<u32>, start: Instant) -> Vec<(u128, Step<u32>)> {
    let (mut steps, mut now) = (Vec::new(), start);
    loop {
        while let Some(step) = checks.next(now) {
            steps.push(((now - start).as_millis(), step));
        }
        match checks.deadline() {
            Some(next) => {
                assert!(next > now, "a deadline in the past spins the caller");
                now = next;
            }
            None => return steps,
        }
    }
}

fn mk_probe(port: u32) -> Step<u32> {
    Step::Probe {
        port,
        vip: VIP,
        nonce: NONCE,
    }
}

#[test]
fn an_address_is_free_after_three_probes_on_each_port_in_300_ms() {
    let (start, mut checks) = (mk_start(), Checks::default());
    assert!(checks.start(VIP, vec![1, 2], NONCE, start));
    let both = |at| [(at, mk_probe(1)), (at, mk_probe(2))];
    let probes = [0, 100, 200].into_iter().flat_map(both);
    let expected: Vec<_> = probes.chain([(300, Step::Free { vip: VIP })]).collect();
    assert_eq!(run(&mut checks, start), expected);
    assert!(checks.is_empty());
}

#[test]
fn an_objection_ends_a_check_at_once_and_only_one_that_runs() {
    let (start, mut checks) = (mk_start(), Checks::default());
    checks.start(VIP, vec![1], NONCE, start);
    assert_eq!(checks.next(start), Some(mk_probe(1)));
    assert!(checks.stop(VIP), "it runs");
    assert!(!checks.stop(VIP), "it ran");
    assert_eq!(run(&mut checks, start), []);
}

#[test]
fn a_check_goes_on_when_it_is_asked_for_again_and_begins_anew_on_other_ports() {
    let (start, mut checks) = (mk_start(), Checks::default());
    checks.start(VIP, vec![1], NONCE, start);
    checks.next(start);
    let later = start + Duration::from_millis(50);
    assert!(!checks.start(VIP, vec![1], [0; 6], later));
    assert_eq!(checks.next(later), None);
    assert!(checks.start(VIP, vec![1, 2], NONCE, later));
    let steps = run(&mut checks, later);
    assert_eq!(
        (steps.len(), steps.last()),
        (7, Some(&(300, Step::Free { vip: VIP })))
    );
    assert_eq!(checks.on(1).count(), 0);
}

#[test]
fn without_a_port_a_check_takes_its_time_all_the_same() {
    let (start, mut checks) = (mk_start(), Checks::default());
    checks.start(VIP, Vec::new(), NONCE, start);
    assert_eq!(run(&mut checks, start), [(300, Step::Free { vip: VIP })]);
}

#[test]
fn two_thousand_checks_at_once_are_paced_and_each_has_its_full_time() {
    let (start, mut checks) = (mk_start(), Checks::default());
    for number in 0..2000 {
        checks.start(mk_vip(number), vec![1], NONCE, start);
    }
    assert_eq!(checks.on(1).count(), 2000);
    let steps = run(&mut checks, start);
    let mut last: BTreeMap<IpAddr, Vec<u128>> = BTreeMap::new();
    let mut windows: BTreeMap<u128, u32> = BTreeMap::new();
    for (at, step) in steps {
        match step {
            Step::Probe { vip, .. } => {
                last.entry(vip).or_default().push(at);
                *windows.entry(at).or_default() += 1;
            }
            Step::Free { vip } => {
                let probes = last.get(&vip).unwrap();
                assert_eq!(probes.len(), 3, "{vip}");
                let gaps = probes.iter().zip(probes.iter().skip(1).chain([&at]));
                for (from, to) in gaps {
                    assert!(to - from >= 100, "{vip}: {from} to {to}");
                }
                assert!(at < 1500, "{vip} took {at} ms");
            }
        }
    }
    assert_eq!(last.len(), 2000);
    assert!(
        windows
            .values()
            .all(|sent| *sent <= crate::pace::PACE_BURST)
    );
}
