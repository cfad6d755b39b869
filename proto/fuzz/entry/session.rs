//! The session machine: anything in any order, and then a peer that does everything right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_proto::bgp::session::{
    Close, Config, ConnId, ConnectFailure, Effect, GracefulRestart, Input, Listen, Out, Output,
    Peer, PeerAs, SessionState, StopReason,
};
use portolan_proto::bgp::{
    Asn, Audience, Families, Family, Frame, HoldTime, Kind, NextHops, Peek, Prefix, Rib,
    RouteAttrs, write_keepalive,
};

use super::Source;

/// The name of the peer.
const PEER: &str = "tor";
const LOCAL: NextHops = NextHops {
    v4: Some(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    v6: None,
    link_local: None,
};

/// The start of virtual time.
#[expect(
    clippy::disallowed_methods,
    reason = "the start of virtual time; nothing depends on which"
)]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// The OPEN of the right peer: AS 65001, hold time 9, identifier 10.0.0.9, IPv4.
const OPEN: [u8; 37] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0, 37, 1, // header
    4, 0xfd, 0xe9, 0, 9, 10, 0, 0, 9, 8, 2, 6, 65, 4, 0, 0, 0xfd, 0xe9,
];

struct World {
    peer: Peer,
    now: Instant,
    out: Out,
    rib: Rib,
    started: bool,
    active: bool,
    /// Connections that live, and whether TCP is there.
    open: BTreeMap<ConnId, bool>,
    closed: BTreeSet<ConnId>,
    /// What came out on a connection since it was last looked at.
    said: Vec<(ConnId, Kind)>,
}

impl World {
    fn new(mode: u8) -> Self {
        let asn = |number| Asn::new(number).expect("not 0");
        let peer_as = if mode & 1 == 0 {
            PeerAs::Exactly(asn(65_001))
        } else {
            PeerAs::External
        };
        let router_id = if mode & 2 == 0 {
            "10.0.0.1"
        } else {
            "10.0.0.200"
        };
        let router_id = router_id.parse().expect("an identifier");
        let config = Config {
            hold_time: HoldTime::new([0, 3, 9, 90][usize::from(mode >> 2 & 3)])
                .expect("0 or at least 3"),
            families: Families::only(Family::V4Unicast).with(Family::V6Unicast),
            listen: [
                Listen::Active,
                Listen::Both,
                Listen::Passive,
                Listen::Active,
            ][usize::from(mode >> 4 & 3)],
            graceful_restart: (mode & 0x40 != 0).then_some(GracefulRestart {
                time: Duration::from_secs(120),
                restarting: mode & 0x80 != 0,
                forwarding: true,
                long_lived: None,
            }),
            ..Config::new(asn(65_000), peer_as, router_id)
        };
        Self {
            active: config.listen != Listen::Passive,
            peer: Peer::new(config, u64::from(mode)),
            now: start(),
            out: Out::new(),
            rib: Rib::default(),
            started: false,
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            said: Vec::new(),
        }
    }

    fn give(&mut self, input: Input<'_>) {
        match &input {
            Input::Start => self.started = true,
            Input::Stop(_) => self.started = false,
            _ => {}
        }
        self.peer.handle(input, self.now, &mut self.out);
        self.settle();
    }

    /// Does what the machine asked for, and holds it to its promises.
    fn settle(&mut self) {
        assert!(
            self.out.len() <= 24,
            "{} effects of one input",
            self.out.len()
        );
        for effect in std::mem::take(&mut self.out) {
            match effect {
                Effect::Connect(id) => {
                    assert!(self.active, "a passive peer connects");
                    assert!(
                        self.open.insert(id, false).is_none() && !self.closed.contains(&id),
                        "{id:?} twice"
                    );
                }
                Effect::Send(id, bytes) => {
                    assert_eq!(self.open.get(&id), Some(&true), "sent on {id:?}");
                    self.hear(id, &bytes);
                }
                Effect::Close(id, close) => {
                    let there = self.open.remove(&id);
                    assert!(there.is_some(), "{id:?} closed twice, or never opened");
                    assert!(self.closed.insert(id), "{id:?} closed twice");
                    assert!(!self.peer.knows(id), "{id:?} is closed and known");
                    assert!(
                        there == Some(true) || close == Close::Abort,
                        "last words without TCP"
                    );
                }
                Effect::Event(event) => {
                    let words = event.to_string();
                    assert!(
                        !words.chars().any(char::is_control) && words.len() < 4096,
                        "{words:?}"
                    );
                }
            }
        }
        assert!(self.open.len() <= 2, "{} connections", self.open.len());
        for id in self.open.keys() {
            assert!(self.peer.knows(*id), "{id:?} is open and forgotten");
        }
        assert!(
            self.started || self.open.is_empty(),
            "stopped with connections"
        );
        // Without a hold time, Established waits for ever (RFC 4271 §4.4).
        let waits = self.started && self.active && self.peer.state() < SessionState::Established;
        assert!(
            !waits || self.peer.next_deadline().is_some(),
            "nothing will ever happen again"
        );
    }

    fn hear(&mut self, id: ConnId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Ok(Peek::Whole(frame, length)) = Frame::peek(bytes) else {
                panic!("it sent {bytes:02x?}");
            };
            self.said.push((id, frame.kind));
            bytes = &bytes[length..];
        }
    }

    fn pick(&self, choice: u8) -> Option<ConnId> {
        let count = self.open.len().max(1);
        self.open.keys().nth(usize::from(choice) % count).copied()
    }

    fn receive(&mut self, id: ConnId, bytes: &[u8]) {
        if self.open.get(&id) != Some(&true) {
            return;
        }
        match Frame::peek(bytes) {
            Ok(Peek::Whole(frame, _)) => self.give(Input::Received(id, frame)),
            Ok(Peek::Partial) => {}
            Err(error) => self.give(Input::Garbled(id, error)),
        }
    }

    fn accept(&mut self) {
        let id = self.peer.mint();
        self.open.insert(id, true);
        self.give(Input::Accepted(id, LOCAL));
    }

    fn connected(&mut self, id: ConnId) {
        if let Some(there @ false) = self.open.get_mut(&id) {
            *there = true;
            self.give(Input::Connected(id, LOCAL));
        }
    }

    fn lost(&mut self, id: ConnId) {
        self.give(if self.open.get(&id) == Some(&true) {
            Input::Lost(id, "gone".into())
        } else {
            Input::ConnectFailed(id, ConnectFailure::Refused("no".into()))
        });
    }

    fn pull(&mut self) {
        let mut bytes = Vec::new();
        if let Some((id, _)) = self
            .peer
            .pull(self.rib.follower(PEER), 4096, self.now, &mut bytes)
        {
            assert_eq!(self.open.get(&id), Some(&true), "routes on {id:?}");
            self.hear(id, &bytes);
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let (what, which) = (source.u8(), source.u8());
        let id = self.pick(which);
        match (what % 20, id) {
            (0, _) => self.give(Input::Start),
            (1, _) => {
                let words = String::from_utf8_lossy(source.bytes(4)).into_owned();
                self.give(Input::Stop(match which % 5 {
                    0 => StopReason::Deconfigured,
                    1 => StopReason::Shutdown(words),
                    2 => StopReason::Reset(words),
                    3 => StopReason::Restart(words),
                    _ => StopReason::ConfigChange,
                }));
            }
            (2 | 3, Some(id)) => self.connected(id),
            (4, Some(id)) => self.lost(id),
            (5, _) => self.accept(),
            (6 | 7, Some(id)) => self.receive(id, &OPEN),
            (8 | 9, Some(id)) => self.receive(id, &keepalive()),
            (10 | 11, Some(id)) => {
                let length = usize::from(source.u8());
                let body = source.bytes(length);
                let kind = Kind::ALL[usize::from(which >> 4) % 5];
                self.receive(id, &message(kind, body));
            }
            (12, Some(id)) => self.give(Input::Output(
                id,
                [Output::Drained, Output::Moving, Output::Stuck][usize::from(which >> 4) % 3],
            )),
            (13, _) => self.give(Input::BfdDown),
            (14, _) => self.give(Input::LinkDown("carrier lost".into())),
            (15, _) => {
                let prefix: Prefix = format!("10.0.{}.0/24", which % 8)
                    .parse()
                    .expect("a prefix");
                let audience: Audience = [(PEER, RouteAttrs::default())].into_iter().collect();
                let audience = (which & 8 == 0).then(|| Arc::new(audience));
                self.rib.set(prefix, audience.as_ref());
                self.rib.set_synced();
                self.pull();
            }
            (16, _) => {
                self.now += Duration::from_millis(u64::from(which) * 40);
                self.give(Input::Timer);
            }
            (17, _) => self.give(Input::Timer),
            (18, _) => self.give(Input::LinkUp),
            (_, _) => {
                self.now = self
                    .peer
                    .next_deadline()
                    .map_or(self.now, |deadline| deadline.max(self.now));
                self.give(Input::Timer);
            }
        }
    }

    /// A peer without fault: whatever was before, there is a session within a few minutes.
    fn peace(&mut self) {
        self.give(Input::Start);
        let began = self.now;
        for _ in 0..2000 {
            if self.peer.state() == SessionState::Established {
                self.pull();
                return;
            }
            if !self.active && self.open.is_empty() {
                self.accept();
            }
            let ids: Vec<ConnId> = self.open.keys().copied().collect();
            for id in ids {
                self.connected(id);
                self.answer(id);
            }
            if self.peer.state() == SessionState::Established {
                continue;
            }
            self.now = self
                .peer
                .next_deadline()
                .map_or(self.now + Duration::from_secs(1), |deadline| {
                    deadline.max(self.now)
                });
            self.give(Input::Timer);
            assert!(
                self.now - began < Duration::from_secs(1200),
                "no session with a perfect peer in {:?}",
                self.now - began
            );
        }
        panic!("no session with a perfect peer: {:?}", self.peer.history());
    }

    /// Says OPEN and KEEPALIVE where they are due; on a connection of unknown past the first is refused, and another
    /// one will come.
    fn answer(&mut self, id: ConnId) {
        if self.open.get(&id) == Some(&true) {
            self.receive(id, &OPEN);
        }
        if self.open.get(&id) == Some(&true) {
            self.receive(id, &keepalive());
        }
    }
}

fn keepalive() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_keepalive(&mut bytes);
    bytes
}

fn message(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend(u16::try_from(19 + body.len()).unwrap_or(19).to_be_bytes());
    bytes.push(kind.octet());
    bytes.extend(body);
    bytes
}

/// Steps from bytes, then peace.
pub fn bgp_session(data: &[u8]) {
    let mut source = Source(data);
    let mut world = World::new(source.u8());
    for _ in 0..300 {
        if source.is_empty() {
            break;
        }
        world.step(&mut source);
    }
    world.peace();
}
