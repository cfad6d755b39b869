//! Where addresses live, who watches whom, and many addresses at once.

use super::*;

#[test]
fn an_address_is_answered_for_in_its_own_subnet_even_when_that_is_down() {
    let mk = |carrier: bool, up: bool| {
        let mut links = Links::default();
        add_link(
            &mut links,
            (2, "eth0"),
            mk_mac("a"),
            &["192.0.2.1/24"],
            carrier,
            1,
        );
        add_link(
            &mut links,
            (3, "eth1"),
            mk_mac("x"),
            &["198.51.100.1/24"],
            true,
            1,
        );
        if !up {
            let mut message = LinkMessage::default();
            message.header.index = 2;
            message.header.flags = LinkFlags::Broadcast;
            message.attributes = vec![
                LinkAttribute::IfName("eth0".into()),
                LinkAttribute::Address(mk_mac("a").0.to_vec()),
            ];
            links.apply(&RouteNetlinkMessage::NewLink(message));
        }
        links
    };
    let exclude = Exclude::usual().unwrap();
    let mut bench = Bench::holding(&["a"]);
    bench.with(|machine, now| machine.set_links(&mk(true, true), &exclude, now));
    let on =
        |names: &[&str]| Interfaces::Named(names.iter().map(|name| (*name).to_owned()).collect());
    let vip = VIP.parse::<IpAddr>().unwrap();
    assert_eq!(bench.machine.held().get(&vip), Some(&on(&["eth0"])));
    bench.with(|machine, now| machine.set_links(&mk(true, false), &exclude, now));
    assert_eq!(bench.state(), State::Nowhere);
    let elsewhere = "203.0.113.9".parse::<IpAddr>().unwrap();
    let duty = mk_placed(1, &["a"]);
    bench.with(|machine, now| machine.set_links(&mk(true, true), &exclude, now));
    bench.with(|machine, now| machine.set_duties([(elsewhere, duty)].into(), now));
    bench.wait(600);
    bench.with(|machine, now| machine.checked(elsewhere, Checked::Free, now));
    assert_eq!(
        bench.machine.held().get(&elsewhere),
        Some(&on(&["eth0", "eth1"])),
        "no subnet has it"
    );
}

#[test]
fn nodes_watch_each_other_with_the_quickest_detection_that_they_share() {
    let mut bench = Bench::new();
    let mut quick = mk_placed(1, &["b", "a"]);
    quick.detection = DetectionRule {
        interval_milliseconds: 50,
        multiplier: 3,
    };
    let duties = [
        (VIP.parse().unwrap(), mk_placed(1, &["a", "b", "c"])),
        ("192.0.2.101".parse().unwrap(), quick),
    ];
    bench.with(|machine, now| machine.set_duties(duties.into(), now));
    let wishes: Vec<_> = bench
        .machine
        .sessions()
        .iter()
        .map(|(key, wish)| {
            (
                key.node.as_str(),
                wish.peer.to_string(),
                wish.interval.as_millis(),
            )
        })
        .collect();
    let expected = [
        ("b", "192.0.2.2".to_owned(), 50),
        ("c", "192.0.2.3".to_owned(), 100),
    ];
    assert_eq!(wishes, expected);
}

#[test]
fn a_session_that_is_up_outlives_its_use_and_one_that_is_not_does_not() {
    let mut bench = Bench::settled(&["a", "b", "c"]);
    bench.bfd("c", PathState::Down);
    bench.place(2, &["a"]);
    let peers = |bench: &Bench| -> Vec<String> {
        bench
            .machine
            .sessions()
            .keys()
            .map(|key| key.node.clone())
            .collect()
    };
    assert_eq!(peers(&bench), ["b"]);
    bench.wait(59_000);
    assert_eq!(peers(&bench), ["b"]);
    bench.wait(1000);
    assert!(peers(&bench).is_empty());
}

#[test]
fn four_hundred_addresses_are_taken_over_in_one_call_with_one_statement() {
    let vips: Vec<IpAddr> = (0..400)
        .map(|n| format!("192.0.2.{}", n % 250).parse::<IpAddr>().unwrap())
        .collect();
    let vips: BTreeSet<IpAddr> = vips
        .into_iter()
        .chain((0..150).map(|n| format!("fd00::{n}").parse().unwrap()))
        .collect();
    let mut bench = Bench::settled(&["b", "a"]);
    let duties = vips.iter().map(|vip| (*vip, mk_placed(1, &["b", "a"])));
    bench.with(|machine, now| machine.set_duties(duties.collect(), now));
    let claim = Claim { term: 1, turn: 0 };
    let entries: Vec<Entry> = vips
        .iter()
        .map(|vip| Entry {
            vip: *vip,
            claim,
            held: true,
        })
        .collect();
    bench.says("b", &entries);
    bench.take();
    bench.bfd("b", PathState::Down);
    assert_eq!(bench.machine.held().len(), 400);
    let sends = bench
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Send { .. }));
    assert!(sends.count() <= 2, "news, and a hello that says everything");
    let answers = bench
        .effects
        .iter()
        .filter(|effect| **effect == Effect::Answers);
    assert_eq!(answers.count(), 1);
}
