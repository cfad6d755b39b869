//! The engine on the loopback interface, against a peer made of the same state machine and a socket.
//!
//! Each test has two addresses of its own, of which nobody else uses the ports.

use std::net::Ipv4Addr;
use std::num::NonZeroU8;
use std::time::Instant;

use portolan_proto::bfd::auth::{Bytes, Key, Method};
use portolan_proto::bfd::{Config, Discriminator, Micros, Packet, SINGLE_HOP_PORT, Session, State};
use portolan_proto::bfd::{Diag, Timing};
use socket2::{Domain, Protocol, Socket, Type};

use super::*;

const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SOON: Duration = Duration::from_secs(5);

fn mk_timers(milliseconds: u64, multiplier: u8) -> Timers {
    Timers {
        transmit: Duration::from_millis(milliseconds),
        receive: Duration::from_millis(milliseconds),
        multiplier,
    }
}

fn mk_spec(peer: impl Into<IpAddr>, timers: Timers) -> SessionSpec {
    SessionSpec {
        peer: peer.into(),
        local: Some(Ipv4Addr::LOCALHOST.into()),
        interface: None,
        vrf: None,
        multihop: false,
        timers,
        passive: false,
        minimum_ttl: 254,
        authentication: None,
        follows_link: true,
    }
}

fn mk_key(secret: &str) -> Authentication {
    let secret = Bytes::new(secret.as_bytes()).unwrap();
    Authentication::new(Method::MeticulousSha1, Key { id: 1, secret }, []).unwrap()
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[test]
fn several_users_get_the_smallest_times_and_passive_only_together() {
    let mut wishes = [
        mk_spec(PEER, mk_timers(300, 5)),
        mk_spec(PEER, mk_timers(50, 7)),
        mk_spec(PEER, mk_timers(0, 9)),
    ];
    wishes[0].passive = true;
    wishes[1].timers.receive = Duration::from_millis(20);
    let merged = lane::config(wishes[..2].iter());
    assert_eq!(merged.timing.transmit, Micros::from_millis(50));
    assert_eq!(merged.timing.receive, Micros::from_millis(20));
    assert_eq!((merged.multiplier.get(), merged.passive), (5, false));
    assert!(lane::config(wishes[..1].iter()).passive);
    let restless = lane::config(wishes[2..].iter());
    assert_eq!(
        restless.timing.transmit,
        Micros::from_millis(1),
        "no busy loop"
    );
}

#[test]
fn a_path_that_can_not_be_is_refused_in_words() {
    let v6: IpAddr = "fe80::1".parse().unwrap();
    let link_local = mk_spec(v6, mk_timers(300, 3));
    let other_family = mk_spec(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), mk_timers(300, 3));
    let no_vrf = SessionSpec {
        vrf: Some("nosuch1".into()),
        ..mk_spec(PEER, mk_timers(300, 3))
    };
    let no_interface = SessionSpec {
        interface: Some("nosuch0".into()),
        ..mk_spec(PEER, mk_timers(300, 3))
    };
    for (spec, words) in [
        (link_local, "link-local"),
        (other_family, "different families"),
        (no_interface, "no interface nosuch0"),
        (no_vrf, "no VRF nosuch1"),
    ] {
        let error = outlet::resolve(&spec).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// As the other end would have it.
fn mk_config() -> Config {
    Config {
        timing: Timing {
            transmit: Micros::from_millis(50),
            receive: Micros::from_millis(50),
        },
        multiplier: NonZeroU8::new(3).unwrap(),
        passive: false,
        control_plane_independent: false,
        authentication: None,
    }
}

/// The other end: receives on the peer's address, sends to ours.
struct Peer {
    socket: tokio::net::UdpSocket,
    session: Session,
    to: Ipv4Addr,
}

impl Peer {
    fn start() -> io::Result<Self> {
        Self::start_at(PEER, Ipv4Addr::LOCALHOST, None)
    }

    fn start_at(
        at: Ipv4Addr,
        to: Ipv4Addr,
        authentication: Option<Authentication>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.set_ttl_v4(255)?;
        socket.bind(&std::net::SocketAddr::from((at, SINGLE_HOP_PORT)).into())?;
        let config = Config {
            authentication,
            ..mk_config()
        };
        let name = Discriminator::new(77).unwrap();
        Ok(Self {
            socket: tokio::net::UdpSocket::from_std(socket.into())?,
            session: Session::new(name, config, 1, now()),
            to,
        })
    }

    fn rekey(&mut self, authentication: Option<Authentication>) {
        let mut config = mk_config();
        config.authentication = authentication;
        self.session.set_config(config);
    }

    async fn flush(&mut self) {
        while let Some(packet) = self.session.poll_tx(now()) {
            let mut bytes = Vec::new();
            packet.encode(&mut bytes);
            let to = (self.to, SINGLE_HOP_PORT);
            self.socket.send_to(&bytes, to).await.unwrap();
        }
    }

    /// Speaks and listens until `done`.
    async fn run(&mut self, what: &str, mut done: impl FnMut(&Session) -> bool) {
        let end = now() + SOON;
        while !done(&self.session) {
            assert!(now() < end, "{what}: {:?}", self.session);
            let mut bytes = [0; 100];
            let wait =
                tokio::time::timeout(Duration::from_millis(5), self.socket.recv_from(&mut bytes));
            if let Ok(Ok((length, from))) = wait.await {
                assert!(from.port() >= 49152, "{from}");
                let packet = Packet::decode(&bytes[..length]).unwrap();
                let _refused = self.session.on_packet(&packet, now());
            }
            self.session.on_timeout(now());
            self.flush().await;
        }
    }
}

#[tokio::test]
async fn the_life_of_sessions_on_one_engine() {
    let engine = Engine::start_with(&Handle::current(), Some(Ipv4Addr::LOCALHOST.into())).unwrap();
    let nowhere = engine.session(SessionSpec {
        interface: Some("nosuch0".into()),
        ..mk_spec(PEER, mk_timers(50, 3))
    });
    let mut watch = nowhere.watch();
    for _ in 0..500 {
        if nowhere.status().unwrap().problem.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let problem = nowhere.status().unwrap().problem.unwrap();
    assert!(problem.contains("nosuch0"), "{problem}");
    assert_eq!(watch.borrow_and_update().state, State::Down);

    let first = engine.session(mk_spec(PEER, mk_timers(300, 3)));
    let mut live = first.watch();
    let mut peer = Peer::start().expect("port 3784 of 127.0.0.2");
    peer.run("both up", |peer| {
        peer.state() == State::Up
            && !peer.is_polling()
            && first.status().unwrap().state == State::Up
    })
    .await;
    assert_eq!(live.borrow_and_update().failures, 0);

    // A second user of the same path: the same session, quicker.
    let second = engine.session(mk_spec(PEER, mk_timers(50, 3)));
    let quick = Some(Duration::from_millis(150));
    peer.run("the quicker wish", |_| {
        first.status().unwrap().detection == quick && second.status().unwrap().detection == quick
    })
    .await;
    assert_eq!(first.status().unwrap().flaps, 0);
    assert_eq!(second.watch().borrow().state, State::Up);
    drop(second);
    peer.run("the slower wish again", |peer| {
        peer.negotiated().detection == Some(Duration::from_millis(900))
    })
    .await;
    first.set(mk_spec(PEER, mk_timers(50, 3)));
    peer.run("quick again", |_| {
        first.status().unwrap().detection == quick
    })
    .await;

    // Silence is failure; so is the peer's Down.
    tokio::time::timeout(SOON, live.wait_for(|live| live.failures == 1))
        .await
        .expect("a silent peer is down")
        .unwrap();
    assert_eq!(live.borrow().diag, Diag::DETECTION_TIME_EXPIRED);
    let silent = live.borrow().last_heard.unwrap().elapsed();
    assert!(silent >= Duration::from_millis(150), "{silent:?}");
    peer.run("up again", |_| first.status().unwrap().state == State::Up)
        .await;

    let third = engine.session(mk_spec(PEER, mk_timers(50, 3)));
    peer.run("a user who comes late", |_| {
        third.status().unwrap().state == State::Up
    })
    .await;
    assert_eq!(third.status().unwrap().flaps, 0, "it has seen no failure");
    drop(third);

    // AdminDown of the peer is not.
    peer.session.admin_down(Diag::ADMINISTRATIVELY_DOWN);
    peer.run("the peer's decision", |_| {
        let status = first.status().unwrap();
        (status.state, status.remote_state) == (State::Down, State::AdminDown)
    })
    .await;
    assert_eq!(live.borrow_and_update().failures, 1);
    peer.session.admin_up();
    peer.run("up once more", |_| first.status().unwrap().ups == 3)
        .await;

    let stop = engine.clone();
    let stopping = tokio::spawn(async move { stop.shutdown().await });
    peer.run("our decision", |peer| {
        peer.remote_state() == State::AdminDown
    })
    .await;
    tokio::time::timeout(Duration::from_secs(1), stopping)
        .await
        .expect("it was acknowledged")
        .unwrap();
    tokio::time::timeout(SOON, live.wait_for(|live| live.state == State::AdminDown))
        .await
        .expect("users are told")
        .unwrap();
    assert_eq!(live.borrow().failures, 1);
    let late = engine.session(mk_spec(PEER, mk_timers(50, 3)));
    assert_eq!(late.watch().borrow().state, State::AdminDown);
}

/// This kernel has no VRFs. But a VRF is a device that sockets are bound to, as are others: the loopback interface stands
/// in for one, in which both ends are.
#[tokio::test]
async fn a_session_in_a_vrf_speaks_and_listens_there() {
    let [ours, theirs] = [5, 6].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let engine = Engine::start_with(&Handle::current(), Some(ours.into())).unwrap();
    let session = engine.session(SessionSpec {
        local: Some(ours.into()),
        vrf: Some("lo".into()),
        ..mk_spec(theirs, mk_timers(50, 3))
    });
    let mut peer = Peer::start_at(theirs, ours, None).expect("port 3784 of 127.0.0.6");
    peer.run("both up", |peer| {
        peer.state() == State::Up && session.status().unwrap().state == State::Up
    })
    .await;
    // The same addresses without the VRF are another session, of which this peer knows nothing.
    let elsewhere = engine.session(SessionSpec {
        local: Some(ours.into()),
        ..mk_spec(theirs, mk_timers(50, 3))
    });
    assert_eq!(elsewhere.status().unwrap().state, State::Down);
    let spec = |vrf| SessionSpec {
        vrf,
        ..mk_spec(theirs, mk_timers(50, 3))
    };
    let paths = [None, Some("lo".to_owned())].map(|vrf| outlet::resolve(&spec(vrf)).unwrap());
    assert_eq!([paths[0].vrf, paths[1].vrf], [None, Some(1)]);
    assert_ne!(
        listeners::Kind::of(&paths[0]),
        listeners::Kind::of(&paths[1])
    );
}

#[tokio::test]
async fn keys_come_go_and_change_without_a_failure() {
    let [ours, theirs] = [7, 8].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let engine = Engine::start_with(&Handle::current(), Some(ours.into())).unwrap();
    let spec = |secret: Option<&str>| SessionSpec {
        local: Some(ours.into()),
        authentication: secret.map(mk_key),
        ..mk_spec(theirs, mk_timers(50, 3))
    };
    let session = engine.session(spec(None));
    let mut peer = Peer::start_at(theirs, ours, None).expect("port 3784 of 127.0.0.8");
    let up = |session: &SessionHandle| session.status().unwrap().state == State::Up;
    peer.run("open", |peer| up(&session) && peer.state() == State::Up)
        .await;

    // The first key: the peer is told that this is a decision, and comes when it has the key, too.
    session.set(spec(Some("one")));
    peer.run("AdminDown", |peer| peer.state() == State::Down)
        .await;
    assert_eq!(peer.session.remote_state(), State::AdminDown);
    peer.rekey(Some(mk_key("one")));
    peer.run("with a key", |peer| {
        up(&session) && peer.state() == State::Up
    })
    .await;

    session.set(spec(Some("two")));
    let words = "former key";
    peer.run(words, |_| {
        let problem = session.status().unwrap().problem;
        problem.is_some_and(|problem| problem.contains(words))
    })
    .await;
    let begin = now();
    peer.run("some time", |_| {
        begin.elapsed() > Duration::from_millis(500)
    })
    .await;
    peer.rekey(Some(mk_key("two")));
    peer.run("the new key", |_| {
        session.status().unwrap().problem.is_none()
    })
    .await;
    let live = *session.watch().borrow();
    assert_eq!((live.state, live.failures), (State::Up, 0));
    assert_eq!(session.status().unwrap().ups, 2);
}

#[tokio::test]
async fn a_session_needs_the_key_that_its_first_user_asks_for() {
    let [ours, theirs] = [3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let engine = Engine::start_with(&Handle::current(), Some(ours.into())).unwrap();
    let keyed = |authentication| SessionSpec {
        local: Some(ours.into()),
        authentication,
        ..mk_spec(theirs, mk_timers(50, 3))
    };
    let session = engine.session(keyed(Some(mk_key("right"))));
    let refused = |words: &'static str| {
        let session = &session;
        move |_: &Session| {
            let status = session.status().unwrap();
            status.ups == 0
                && status
                    .problem
                    .is_some_and(|problem| problem.contains(words))
        }
    };
    for (authentication, words) in [
        (None, "not authenticated"),
        (Some(mk_key("wrong")), "another key"),
    ] {
        let mut peer =
            Peer::start_at(theirs, ours, authentication).expect("port 3784 of 127.0.0.4");
        peer.run(words, refused(words)).await;
    }
    assert!(engine.0.numbers.refusals() >= 2);
    let mut peer = Peer::start_at(theirs, ours, Some(mk_key("right"))).unwrap();
    peer.run("the right key", |_| {
        session.status().unwrap().state == State::Up
    })
    .await;
    assert_eq!(session.status().unwrap().problem, None);

    // Whoever wants the same path otherwise shares it as it is, and is told.
    let other = engine.session(keyed(Some(mk_key("other"))));
    peer.run("a user with another key", |_| {
        other.status().unwrap().state == State::Up
    })
    .await;
    let problem = other.status().unwrap().problem.unwrap();
    assert!(problem.contains("another user"), "{problem}");
}
