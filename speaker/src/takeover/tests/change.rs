//! What changes around the machine: names of interfaces, families, stations, nodes that come and go.

use super::super::hearing::{FORGOTTEN, PEERS};
use super::*;

#[test]
fn an_interface_that_gets_another_name_is_answered_on_by_that_name() {
    let mut bench = Bench::holding(&["a", "b"]);
    bench.take();
    let mut links = Links::default();
    add_link(
        &mut links,
        (2, "lan0"),
        mk_mac("a"),
        &["192.0.2.1/24"],
        true,
        1,
    );
    bench.with(|machine, now| machine.set_links(&links, &Exclude::usual().unwrap(), now));
    assert!(bench.effects.contains(&Effect::Answers));
    let on = Interfaces::Named(["lan0".to_owned()].into());
    assert_eq!(bench.machine.held(), [(VIP.parse().unwrap(), on)].into());
}

#[test]
fn where_ipv6_is_off_an_ipv6_address_is_not_claimed() {
    let mut bench = Bench::new();
    let vip: IpAddr = "2001:db8::1".parse().unwrap();
    for (row, ipv6, state) in [
        ("on", true, State::Checking),
        ("off", false, State::Nowhere),
    ] {
        let mut links = mk_links(mk_mac("a"), "192.0.2.1/24", true, 1);
        if !ipv6 {
            let mut message = AddressMessage::default();
            message.header.index = 2;
            message.attributes = vec![AddressAttribute::Address("fe80::1".parse().unwrap())];
            links.apply(&RouteNetlinkMessage::DelAddress(message));
        }
        bench.with(|machine, now| {
            machine.set_links(&links, &Exclude::usual().unwrap(), now);
            machine.set_duties([(vip, mk_placed(1, &["a"]))].into(), now);
        });
        bench.wait(600);
        assert_eq!(bench.machine.standing()[&vip].state, state, "{row}");
    }
}

#[test]
fn of_many_stations_all_are_asked_in_turn() {
    let mut bench = Bench::holding(&["a", "b"]);
    let stations: BTreeSet<IpAddr> = (101..=120).map(|n| [192, 0, 2, n].into()).collect();
    bench.with(|machine, now| machine.set_witnesses(2, stations.clone(), now));
    bench.gateway = false;
    bench.bfd("c", PathState::Down);
    bench.bfd("b", PathState::Down);
    bench.wait(200);
    let asked: BTreeSet<IpAddr> = (bench.take().into_iter())
        .filter_map(|effect| match effect {
            Effect::Ask { witnesses, .. } => Some(witnesses),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(asked.is_superset(&stations), "{asked:?}");
}

#[test]
fn nodes_that_came_and_went_make_room_for_new_ones() {
    let mut bench = Bench::new();
    for node in 0..PEERS {
        bench.hears(&format!("old{node}"), Statement::default());
    }
    bench.place(1, &["a", "b"]);
    bench.says("late", &[mk_entry(VIP, 2, 9, true)]);
    assert!(!bench.machine.peers.contains_key("late"), "all others live");
    let before = bench.machine.peers.len();
    bench.now += FORGOTTEN + Duration::from_millis(1);
    bench.says("late", &[mk_entry(VIP, 2, 9, true)]);
    assert_eq!(bench.machine.peers.len(), before, "one for one");
    let holder = &bench.machine.standing()[&VIP.parse::<IpAddr>().unwrap()].holder;
    assert_eq!(holder.as_deref(), Some("late"));
}

#[test]
fn a_station_is_no_stranger_while_a_node_of_the_placement_has_not_reported() {
    let mut bench = Bench::new();
    bench.place(1, &["a", "new"]);
    bench.wait(500);
    assert!(bench.looks());
    let taken = Checked::Taken {
        mac: mk_mac("new"),
        interface: 2,
    };
    bench.with(|machine, now| machine.checked(VIP.parse().unwrap(), taken, now));
    assert_eq!(bench.state(), State::StandingBy, "no conflict");
    bench.take();
    bench.wait(2500);
    assert!(bench.looks(), "and looked for again soon");
}
