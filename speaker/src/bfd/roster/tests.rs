//! Sessions and users without a thread: who shares, who ends, who is told.

use std::net::Ipv4Addr;
use std::num::NonZeroU8;

use portolan_proto::bfd::{Discriminator, Micros};

use super::super::Timers;
use super::*;

fn mk_spec(last: u8) -> SessionSpec {
    let time = Duration::from_millis(300);
    SessionSpec {
        peer: Ipv4Addr::new(127, 0, 0, last).into(),
        local: Some(Ipv4Addr::LOCALHOST.into()),
        interface: None,
        vrf: None,
        multihop: false,
        timers: Timers {
            transmit: time,
            receive: time,
            multiplier: 3,
        },
        passive: true,
        minimum_ttl: 254,
        authentication: None,
        follows_link: true,
    }
}

fn mk_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn mk_roster(now: Instant) -> Roster {
    let mut roster = Roster::new(1, Numbers::default());
    roster.put(UserId(1), mk_spec(3), now);
    roster.put(UserId(2), mk_spec(4), now);
    roster
}

fn told(roster: &mut Roster) -> Vec<Note> {
    let notes = std::cell::RefCell::new(Vec::new());
    roster.tell(&BTreeMap::new(), |note| {
        notes.borrow_mut().push(note);
        true
    });
    notes.into_inner()
}

#[test]
fn a_panic_costs_its_own_session_only_and_that_one_begins_anew() {
    let now = mk_now();
    let mut roster = mk_roster(now);
    told(&mut roster);
    let [broken, sound] = [UserId(1), UserId(2)].map(|user| roster.users[&user].lane.unwrap());
    let name = roster.lanes[&broken].session.discriminator();
    let nothing = roster.touch(broken, now, |_| panic!("a defect"));
    assert_eq!(nothing, None::<()>);
    assert_eq!(roster.lanes.keys().collect::<Vec<_>>(), [&sound]);
    let notes = told(&mut roster);
    assert!(
        matches!(&notes[..], [
            Note::Told(UserId(1), Told { problem: Some(_), .. }),
            Note::Event(Event::Panicked { words, .. }),
        ] if words == "a defect"),
        "{notes:?}"
    );
    roster.look(now);
    let again = roster.users[&UserId(1)].lane.unwrap();
    assert_ne!(roster.lanes[&again].session.discriminator(), name);
    assert_eq!(roster.numbers.panics.get(), 1);
    assert_eq!(roster.numbers.in_state(State::Down).get(), 2);
}

#[test]
fn the_last_user_ends_a_session_and_the_others_do_not() {
    let now = mk_now();
    let mut roster = mk_roster(now);
    roster.put(UserId(3), mk_spec(3), now);
    assert_eq!(roster.lanes.len(), 2, "one session for two users");
    roster.leave(UserId(1), now);
    assert_eq!(roster.lanes.len(), 2);
    roster.leave(UserId(3), now);
    assert_eq!(
        roster.lanes.len(),
        1,
        "a peer that was never heard needs no farewell"
    );
    assert_eq!(roster.kinds().len(), 1);
    roster.leave(UserId(2), now);
    assert_eq!(roster.next_deadline(), None);
    assert_eq!(roster.numbers.in_state(State::Down).get(), 0);
}

#[test]
fn source_ports_are_in_their_range_and_differ() {
    let now = mk_now();
    let mut roster = Roster::new(7, Numbers::default());
    for user in 0..50 {
        let last = u8::try_from(user).unwrap();
        roster.put(UserId(user), mk_spec(last + 10), now);
    }
    let ports: BTreeSet<u16> = roster.lanes.values().map(Lane::source_port).collect();
    assert_eq!(ports.len(), 50);
    assert!(ports.iter().all(|port| *port >= 49152));
}

#[test]
fn a_link_that_goes_takes_its_sessions_down_unless_they_follow_links_themselves() {
    let now = mk_now();
    let mut roster = Roster::new(1, Numbers::default());
    roster.put(UserId(1), mk_spec(3), now);
    let own = SessionSpec {
        follows_link: false,
        ..mk_spec(4)
    };
    roster.put(UserId(2), own, now);
    let far = SessionSpec {
        multihop: true,
        ..mk_spec(5)
    };
    roster.put(UserId(3), far, now);
    roster.follow_links([(7, true), (8, true)].into(), now);
    let state = |roster: &Roster, user| {
        let lane = roster.users[&UserId(user)].lane.unwrap();
        roster.lanes[&lane].session.state()
    };
    for user in 1..=3 {
        let lane = roster.users[&UserId(user)].lane.unwrap();
        for heard in [State::Down, State::Up] {
            roster.touch(lane, now, |lane| {
                lane.on_packet(&mk_heard(heard), Some(7), now).unwrap();
            });
        }
        assert_eq!(state(&roster, user), State::Up);
    }
    roster.follow_links([(7, true), (8, false)].into(), now);
    assert_eq!(state(&roster, 1), State::Up, "another link");
    told(&mut roster);
    roster.follow_links([(7, false), (8, false)].into(), now);
    assert_eq!(
        [1, 2, 3].map(|user| state(&roster, user)),
        [State::Down, State::Up, State::Up]
    );
    let notes = told(&mut roster);
    let failed = |note: &Note| matches!(note, Note::Told(UserId(1), told) if told.live.failures == 1 && told.live.diag == Diag::PATH_DOWN);
    assert!(notes.iter().any(failed), "{notes:?}");
    // A device that is gone is down as well.
    roster.follow_links([(7, true)].into(), now);
    let lane = roster.users[&UserId(1)].lane.unwrap();
    for heard in [State::Down, State::Up] {
        roster.touch(lane, now, |lane| {
            lane.on_packet(&mk_heard(heard), Some(7), now).is_ok()
        });
    }
    assert_eq!(state(&roster, 1), State::Up);
    roster.follow_links(Carriers::new(), now);
    assert_eq!(state(&roster, 1), State::Down);
}

/// What a peer says, and expects to be answered by 127.0.0.1.
fn mk_heard(state: State) -> Packet {
    Packet {
        diag: Diag::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: NonZeroU8::new(3).unwrap(),
        my_discriminator: Discriminator::new(77).unwrap(),
        your_discriminator: None,
        desired_min_tx: Micros::from_millis(300),
        required_min_rx: Micros::from_millis(300),
        required_min_echo_rx: Micros(0),
        auth: None,
    }
}

#[test]
fn a_full_queue_loses_nothing() {
    let now = mk_now();
    let mut roster = mk_roster(now);
    roster.tell(&BTreeMap::new(), |_| false);
    assert!(roster.has_news());
    assert_eq!(told(&mut roster).len(), 2);
    assert!(!roster.has_news());
    assert_eq!(told(&mut roster).len(), 0, "and says nothing twice");
}

#[test]
fn after_the_end_nobody_gets_a_session() {
    let now = mk_now();
    let mut roster = mk_roster(now);
    roster.end(now);
    roster.put(UserId(9), mk_spec(9), now);
    assert_eq!(roster.lanes.len(), 2);
    assert!(roster.has_ended(now), "nobody was Up");
}
