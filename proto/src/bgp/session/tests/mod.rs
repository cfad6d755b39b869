//! One peer on a bench: messages by hand, time by hand.

mod chaos;
mod collision;
mod fallback;
mod listen;
mod matrix;
mod refresh;
mod restart;
mod table;
mod timing;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{
    Asn, Audience, Capabilities, Code, Families, Family, Frame, HEADER, HeaderError, HoldTime,
    Kind, NextHops, Notification, Open, Peek, Prefix, Refresh, Restart, Rib, RouteAttrs,
    write_keepalive,
};
use super::slot::Slot;
use super::*;

/// The peer, in ribs.
const PEER: &str = "the peer";

fn mk_audience() -> Arc<Audience> {
    let audience = [(PEER, RouteAttrs::default())];
    Arc::new(audience.into_iter().collect())
}

pub(super) fn mk_config(local_as: u32, peer_as: u32, router_id: &str) -> Config {
    let peer_as = PeerAs::Exactly(Asn::new(peer_as).unwrap());
    Config::new(
        Asn::new(local_as).unwrap(),
        peer_as,
        router_id.parse().unwrap(),
    )
}

#[expect(clippy::disallowed_methods, reason = "the start of virtual time")]
pub(super) fn mk_start() -> Instant {
    Instant::now()
}

pub(super) const LOCAL: NextHops = NextHops {
    v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
    v6: None,
    link_local: None,
};
const SECOND: Duration = Duration::from_secs(1);

/// One peer of AS 65000 towards AS 65001, with its clock and what came out last.
struct Bench {
    peer: Peer,
    now: Instant,
    out: Out,
}

impl Bench {
    fn new() -> Self {
        Self::with(mk_config(65000, 65001, "10.0.0.1"))
    }

    fn with(config: Config) -> Self {
        Self {
            peer: Peer::new(config, 1),
            now: mk_start(),
            out: Out::new(),
        }
    }

    fn give(&mut self, input: Input<'_>) {
        self.out.clear();
        self.peer.handle(input, self.now, &mut self.out);
    }

    fn receive(&mut self, id: ConnId, message: &[u8]) {
        let Ok(Peek::Whole(frame, _)) = Frame::peek(message) else {
            panic!("{message:?}")
        };
        self.give(Input::Received(id, frame));
    }

    /// The id of our connection.
    fn ours(&self) -> ConnId {
        self.peer.ours.as_ref().unwrap().id
    }

    fn reach(state: SessionState) -> Self {
        let mut bench = Self::new();
        if state == SessionState::Idle {
            return bench;
        }
        bench.give(Input::Start);
        let id = bench.ours();
        if state >= SessionState::OpenSent {
            bench.give(Input::Connected(id, LOCAL));
        }
        if state >= SessionState::OpenConfirm {
            bench.receive(id, &mk_open());
        }
        if state >= SessionState::Established {
            bench.receive(id, &mk_keepalive());
        }
        assert_eq!(bench.peer.state(), state);
        bench
    }

    /// The peer connects.
    fn accept(&mut self) -> ConnId {
        let id = self.peer.mint();
        self.give(Input::Accepted(id, LOCAL));
        id
    }

    /// The connection that is to be opened.
    fn connecting(&self) -> bool {
        let is = |effect: &Effect| matches!(effect, Effect::Connect(_));
        self.out.iter().any(is)
    }

    fn how_closed(&self, id: ConnId) -> Option<Close> {
        self.out.iter().find_map(|effect| match effect {
            Effect::Close(closed, how) if *closed == id => Some(*how),
            _ => None,
        })
    }

    /// The NOTIFICATION that was sent last.
    fn answer(&self) -> Option<Notification> {
        self.out.iter().find_map(|effect| match effect {
            Effect::Send(_, bytes) if bytes.get(18) == Some(&Kind::Notification.octet()) => {
                Some(Notification::decode(&bytes[HEADER..]).unwrap())
            }
            _ => None,
        })
    }

    fn sent(&self, kind: Kind) -> usize {
        let is = |effect: &&Effect| matches!(effect, Effect::Send(_, bytes) if bytes.get(18) == Some(&kind.octet()));
        self.out.iter().filter(is).count()
    }

    fn closed(&self) -> bool {
        self.out
            .iter()
            .any(|effect| matches!(effect, Effect::Close(..)))
    }

    /// Lets time pass to the next deadline.
    fn advance(&mut self) -> Duration {
        let next = self.peer.next_deadline().unwrap();
        let passed = next.saturating_duration_since(self.now);
        self.now = self.now.max(next);
        self.give(Input::Timer);
        passed
    }
}

fn mk_open_of(config: &Config) -> Vec<u8> {
    let mut out = Vec::new();
    let capabilities = Offer::FULL.capabilities(config);
    config.open(capabilities).encode(&mut out);
    out
}

fn mk_open() -> Vec<u8> {
    mk_open_of(&mk_config(65001, 65000, "10.0.0.9"))
}

fn mk_keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    write_keepalive(&mut out);
    out
}

fn mk_update() -> Vec<u8> {
    let mut out = Vec::new();
    super::super::end_of_rib(Family::V4Unicast, &mut out);
    out
}

fn mk_refresh() -> Vec<u8> {
    let mut out = Vec::new();
    Refresh::request(Family::V4Unicast, &mut out);
    out
}

fn mk_notification(code: Code) -> Vec<u8> {
    let mut out = Vec::new();
    code.bare().encode(&mut out);
    out
}
