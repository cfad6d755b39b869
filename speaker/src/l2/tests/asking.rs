//! Checks before an address is taken, and witnesses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portolan_proto::arp::Packet;
use portolan_proto::ndp::Message;
use tokio::time::Instant;

use super::super::*;
use super::lan::{FAR, Frames, Host, Lan, OTHER, SOON, figure, ip, next_event, on_a_lan, until};

const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);

/// The next end of a check.
fn verdict(events: &mut mpsc::Receiver<Event>) -> (IpAddr, Checked) {
    loop {
        if let Event::Checked { vip, verdict } = next_event(events) {
            return (vip, verdict);
        }
    }
}

#[test]
fn an_address_that_nobody_has_is_free_after_three_probes_on_the_wire() {
    on_a_lan(|lan| {
        let mut events = lan.l2.events();
        let begin = Instant::now();
        lan.l2.check(VIP4.into(), Interfaces::All);
        lan.l2.check(VIP6.into(), Interfaces::All);
        let mut verdicts = [verdict(&mut events), verdict(&mut events)];
        verdicts.sort_by_key(|(vip, _)| *vip);
        let free = [
            (IpAddr::from(VIP4), Checked::Free),
            (VIP6.into(), Checked::Free),
        ];
        assert_eq!(verdicts, free);
        let took = begin.elapsed();
        assert!(
            (Duration::from_millis(300)..SOON).contains(&took),
            "{took:?}"
        );
        let heard = lan.far.all(Duration::from_millis(50), |_| true);
        let own = Packet::request(Ipv4Addr::UNSPECIFIED, VIP4, MacAddr([2, 0, 0, 0, 0, 1]));
        let arp = heard.iter().filter(|it| it.arp() == Some(own)).count();
        let ndp: Vec<_> = heard
            .iter()
            .filter_map(Frames::ndp)
            .filter(|it| it.target == VIP6 && it.source.is_unspecified())
            .collect();
        assert_eq!((arp, ndp.len()), (3, 3));
        assert!(
            ndp.iter().all(|it| *it == ndp[0]),
            "one nonce for one check"
        );
        assert_eq!(lan.interface("lan0").probes, 6);
    });
}

#[test]
fn an_address_of_another_host_is_taken_as_soon_as_its_kernel_answers() {
    on_a_lan(|lan| {
        let mut events = lan.l2.events();
        let _host = Host::with(&["192.0.2.10/24", "2001:db8::10/64"]);
        let interface = Lan::index("lan0");
        for vip in [IpAddr::from(VIP4), VIP6.into()] {
            // The first may fall into the moment in which the link comes up, and be asked of nobody.
            let deadline = Instant::now() + SOON;
            loop {
                lan.l2.check(vip, Interfaces::All);
                let verdict = verdict(&mut events);
                let taken = Checked::Taken {
                    mac: FAR,
                    interface,
                };
                if verdict == (vip, taken) {
                    break;
                }
                assert!(Instant::now() < deadline, "{verdict:?}");
            }
        }
        assert!(lan.interface("lan0").conflicts >= 2);
    });
}

#[test]
fn two_that_want_an_address_in_the_same_moment_both_hear_of_it() {
    on_a_lan(|lan| {
        let mut events = lan.l2.events();
        let group = MacAddr::of_group(portolan_proto::ndp::solicited_node(VIP6));
        let probe4 = Packet::request(Ipv4Addr::UNSPECIFIED, VIP4, OTHER).frame(MacAddr::BROADCAST);
        let probe6 = Message::probe(VIP6, [7; 6]).frame(OTHER, group);
        for (vip, probe) in [(IpAddr::from(VIP4), probe4), (VIP6.into(), probe6)] {
            lan.l2.check(vip, Interfaces::All);
            lan.far.next(|it| match vip {
                IpAddr::V4(vip) => it.arp().is_some_and(|it| it.target_ip == vip),
                IpAddr::V6(vip) => it.ndp().is_some_and(|it| it.target == vip),
            });
            lan.far.send(&probe);
            let (checked, verdict) = verdict(&mut events);
            assert_eq!(checked, vip);
            assert!(
                matches!(verdict, Checked::Taken { mac: OTHER, .. }),
                "{vip}: {verdict:?}"
            );
        }
    });
}

#[test]
fn two_thousand_checks_at_once_all_come_to_their_end() {
    on_a_lan(|lan| {
        let mut events = lan.l2.events();
        let vip = |number: u16| -> IpAddr {
            let [high, low] = number.to_be_bytes();
            Ipv4Addr::new(10, 0, high, low).into()
        };
        let begin = Instant::now();
        for number in 0..2000 {
            lan.l2.check(vip(number), Interfaces::All);
        }
        let ends: BTreeSet<IpAddr> = (0..2000).map(|_| verdict(&mut events).0).collect();
        assert_eq!(ends.len(), 2000);
        figure(&format!("2000 checks took {:?}", begin.elapsed()));
    });
}

#[test]
fn a_witness_that_answers_is_told_and_one_that_is_silent_is_not() {
    on_a_lan(|lan| {
        let mut events = lan.l2.events();
        ip("address add 192.0.2.1/24 dev lan0");
        let _host = Host::with(&["192.0.2.20/24", "198.51.100.20/24", "fe80::20/64"]);
        let witnesses = ["192.0.2.20", "198.51.100.20", "fe80::20", "192.0.2.21"];
        let witnesses = witnesses.map(|ip| ip.parse::<IpAddr>().unwrap());
        let interface = Lan::index("lan0");
        let mut heard = BTreeSet::new();
        until("three witnesses", || {
            lan.l2.ask(interface, &witnesses);
            std::thread::park_timeout(Duration::from_millis(100));
            while let Ok(event) = events.try_recv() {
                assert!(matches!(event, Event::Witness { .. }), "{event:?}");
                if let Event::Witness { interface: on, ip } = event {
                    assert_eq!(on, interface);
                    heard.insert(ip);
                }
            }
            heard.len() >= 3
        });
        assert_eq!(
            heard,
            BTreeSet::from([witnesses[0], witnesses[1], witnesses[2]])
        );
    });
}
