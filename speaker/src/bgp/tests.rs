//! Sessions against a scripted router on the loopback interface.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;
use portolan_proto::bgp::session::{Config, Offer, SessionState};
use portolan_proto::bgp::{
    Asn, Audience, Code, Frame, Kind, Notification, Open, Peek, Prefix, Relation, examine,
    write_keepalive,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

mod ending;
mod listening;

const PATIENCE: Duration = Duration::from_secs(10);

fn asn(number: u32) -> Asn {
    Asn::new(number).unwrap()
}

pub(super) fn mk_spec(name: &str, port: u16) -> PeerSpec {
    let peer_as = PeerAs::Exactly(asn(65000));
    let remote = Remote::Address(Ipv4Addr::LOCALHOST.into());
    let id = "192.0.2.10".parse().unwrap();
    PeerSpec {
        port,
        source: Some(Ipv4Addr::new(127, 0, 0, 2).into()),
        ..PeerSpec::new(name, remote, asn(65001), peer_as, id)
    }
}

/// Another process that has a socket.
pub(super) struct Holder(Child);

/// It has the socket as its standard input, and we have it no longer.
pub(super) fn mk_holder(socket: std::net::TcpListener) -> Holder {
    let mut sleep = Command::new("sleep");
    sleep.arg("600").stdin(OwnedFd::from(socket));
    Holder(sleep.spawn().unwrap())
}

impl Holder {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Whoever advertises itself on this link.
pub(super) fn mk_unnumbered(link: &str) -> Remote {
    Remote::Interface {
        name: link.to_owned(),
        router: None,
    }
}

fn mk_audience(peer: &str) -> Arc<Audience> {
    let told = [(peer, RouteAttrs::default())];
    Arc::new(told.into_iter().collect())
}

fn mk_routes(peer: &str, count: u32) -> BTreeMap<Prefix, Arc<Audience>> {
    let host = |number: u32| IpNetwork::from(IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
    let audience = mk_audience(peer);
    (0..count)
        .map(|number| (host(number).into(), Arc::clone(&audience)))
        .collect()
}

/// A router that accepts, says OPEN, and shows what it hears.
struct Router {
    listener: TcpListener,
}

struct Heard {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Router {
    async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    async fn accept(&self) -> TcpStream {
        let accepted = timeout(PATIENCE, self.listener.accept());
        accepted.await.unwrap().unwrap().0
    }

    /// Accepts and brings the session to Established.
    async fn establish(&self) -> Heard {
        establish(self.accept().await).await
    }
}

/// The router as it is configured.
fn mk_router() -> Config {
    let peer_as = PeerAs::Exactly(asn(65001));
    Config::new(asn(65000), peer_as, "192.0.2.1".parse().unwrap())
}

/// Brings a session to Established, as the router would.
async fn establish(stream: TcpStream) -> Heard {
    establish_as(stream, &mk_router()).await
}

async fn establish_as(stream: TcpStream, config: &Config) -> Heard {
    let (_, mut heard) = introduce(stream, config).await;
    assert_eq!(heard.next().await.unwrap().0, Kind::Keepalive);
    heard
}

/// Says OPEN and KEEPALIVE; returns the OPEN that came.
async fn introduce(stream: TcpStream, config: &Config) -> (Vec<u8>, Heard) {
    let capabilities = Offer::FULL.capabilities(config);
    let mut hello = Vec::new();
    config.open(capabilities).encode(&mut hello);
    write_keepalive(&mut hello);
    let mut heard = Heard {
        stream,
        bytes: Vec::new(),
    };
    heard.stream.write_all(&hello).await.unwrap();
    let (kind, open) = heard.next().await.unwrap();
    assert_eq!(kind, Kind::Open);
    (open, heard)
}

impl Heard {
    /// The next message; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(Kind, Vec<u8>)> {
        loop {
            if let Peek::Whole(frame, length) = Frame::peek(&self.bytes).unwrap() {
                let message = (frame.kind, frame.body.to_vec());
                self.bytes.drain(..length);
                return Some(message);
            }
            let read = self.stream.read_buf(&mut self.bytes);
            if timeout(PATIENCE, read).await.unwrap().unwrap() == 0 {
                return None;
            }
        }
    }

    /// Reads UPDATEs up to End-of-RIB; returns messages, announced and withdrawn routes.
    async fn table(&mut self) -> (usize, usize, usize) {
        let (mut messages, mut announced, mut withdrawn) = (0, 0, 0);
        loop {
            let (kind, body) = self.next().await.unwrap();
            assert_eq!(kind, Kind::Update);
            let seen = examine(&body, Relation::External, true);
            if seen.end_of_rib.is_some() {
                return (messages, announced, withdrawn);
            }
            messages += 1;
            announced += seen.announced;
            withdrawn += seen.withdrawn;
        }
    }

    async fn update(&mut self) -> (usize, usize) {
        let (kind, body) = self.next().await.unwrap();
        assert_eq!(kind, Kind::Update);
        let seen = examine(&body, Relation::External, true);
        (seen.announced, seen.withdrawn)
    }

    /// The last words, after which the stream must end.
    async fn last_words(&mut self) -> Notification {
        let (kind, body) = self.next().await.unwrap();
        assert_eq!(kind, Kind::Notification);
        assert_eq!(self.next().await, None, "orderly end of the stream");
        Notification::decode(&body).unwrap()
    }
}

/// A router, and a node with a session with it, `tor`, and no other.
async fn mk_sessions() -> (Router, Sessions) {
    let router = Router::new().await;
    let mut sessions = Sessions::new("node");
    sessions.apply(vec![mk_spec("tor", router.port())]);
    (router, sessions)
}

/// Waits until the only session is Established.
async fn established(sessions: &Sessions) -> SessionStatus {
    wait_for(sessions, |status| status.state == SessionState::Established).await
}

/// Waits until the status of the only session is as wished.
async fn wait_for(sessions: &Sessions, wish: impl Fn(&SessionStatus) -> bool) -> SessionStatus {
    let mut changes = sessions.changes();
    let seen = async {
        loop {
            if let Some(status) = sessions.status().into_iter().find(|status| wish(status)) {
                return status;
            }
            changes.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, seen)
        .await
        .unwrap_or_else(|_| panic!("{:?}", sessions.status()))
}

#[tokio::test]
async fn routes_go_out_packed_and_changes_alone_after_that() {
    let (router, mut sessions) = mk_sessions().await;
    sessions.routes(&mk_routes("tor", 5000));
    sessions.set_synced();
    let mut heard = router.establish().await;
    assert_eq!(heard.table().await, (7, 5000, 0));

    sessions.routes(&mk_routes("tor", 5000));
    sessions.routes(&mk_routes("tor", 4999));
    assert_eq!(heard.update().await, (0, 1), "the same again says nothing");
    let prefix = "10.9.9.9/32".parse().unwrap();
    sessions.route(prefix, Some(&mk_audience("tor")));
    assert_eq!(heard.update().await, (1, 0));

    let status = wait_for(&sessions, |status| status.updates_sent == 10).await;
    assert_eq!(
        (status.advertised, status.unsent, status.established),
        (5000, 0, 1)
    );
}

#[tokio::test]
async fn end_of_rib_waits_for_the_cluster_state() {
    let (router, mut sessions) = mk_sessions().await;
    let mut heard = router.establish().await;
    established(&sessions).await;
    sessions.routes(&mk_routes("tor", 1));
    assert_eq!(heard.update().await, (1, 0), "routes do not wait");
    sessions.set_synced();
    assert_eq!(heard.table().await, (0, 0, 0));
}

#[tokio::test]
async fn routes_of_a_family_that_was_not_agreed_are_counted() {
    let (router, mut sessions) = mk_sessions().await;
    let v6 = "2001:db8::1/128".parse().unwrap();
    sessions.route(v6, Some(&mk_audience("tor")));
    let _heard = router.establish().await;
    wait_for(&sessions, |status| {
        status.unsent == 1 && status.advertised == 0
    })
    .await;
}

#[tokio::test]
async fn only_the_changed_session_restarts_and_keeps_its_routes() {
    let (steady, changed) = (Router::new().await, Router::new().await);
    let specs = vec![
        mk_spec("steady", steady.port()),
        mk_spec("changed", changed.port()),
    ];
    let mut sessions = Sessions::new("node");
    sessions.apply(specs.clone());
    sessions.routes(&mk_routes("changed", 3));
    sessions.set_synced();
    let mut calm = steady.establish().await;
    assert_eq!(calm.table().await, (0, 0, 0));
    let mut old = changed.establish().await;
    assert_eq!(old.table().await, (1, 3, 0));

    let mut specs = specs;
    specs[1].keepalive = Some(Duration::from_secs(7));
    sessions.apply(specs);
    assert_eq!(old.last_words().await, Code::CONFIGURATION_CHANGE.bare());
    drop(old);
    let mut new = changed.establish().await;
    assert_eq!(new.table().await, (1, 3, 0));

    let of = |name: &str| {
        let status = sessions.status();
        let found = status.into_iter().find(|status| status.name == name);
        found.unwrap().established
    };
    assert_eq!((of("steady"), of("changed")), (1, 2), "one flap");

    sessions.route("10.9.9.9/32".parse().unwrap(), Some(&mk_audience("steady")));
    assert_eq!(calm.update().await, (1, 0), "nothing else came in between");
}

#[tokio::test]
async fn a_removed_peer_is_told_so() {
    let (router, mut sessions) = mk_sessions().await;
    let mut heard = router.establish().await;
    established(&sessions).await;
    sessions.apply(vec![]);
    assert_eq!(heard.last_words().await, Code::PEER_DECONFIGURED.bare());
    assert_eq!(sessions.status(), []);
}

#[tokio::test]
async fn shutdown_says_its_words_even_while_the_router_keeps_talking() {
    let (router, mut sessions) = mk_sessions().await;
    let mut heard = router.establish().await;
    established(&sessions).await;
    let mut chatter = Vec::new();
    (0..1000).for_each(|_| write_keepalive(&mut chatter));
    heard.stream.write_all(&chatter).await.unwrap();
    let (words, ()) = tokio::join!(heard.last_words(), sessions.shutdown("node is drained"));
    assert_eq!(
        words,
        Code::ADMINISTRATIVE_SHUTDOWN.saying("node is drained")
    );
}

#[tokio::test]
async fn a_router_that_reads_nothing_does_not_delay_the_end() {
    let (router, mut sessions) = mk_sessions().await;
    sessions.routes(&mk_routes("tor", 300_000));
    let _heard = router.establish().await;
    wait_for(&sessions, |status| status.advertised > 0).await;
    timeout(Duration::from_secs(4), sessions.shutdown("bye"))
        .await
        .unwrap();
}

#[tokio::test]
async fn failures_are_told_in_words() {
    let router = Router::new().await;
    let closed = Router::new().await.port();
    let mut wrong_source = mk_spec("tor", router.port());
    wrong_source.source = Some(Ipv4Addr::new(192, 0, 2, 77).into());
    for (name, spec, words) in [
        ("nobody listens", mk_spec("tor", closed), "refused"),
        ("not our address", wrong_source, "source address 192.0.2.77"),
    ] {
        let mut sessions = Sessions::new("node");
        sessions.apply(vec![spec]);
        let status = wait_for(&sessions, |status| status.last_error.is_some()).await;
        let error = status.last_error.unwrap();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[tokio::test]
async fn the_last_error_outlives_a_change_of_the_settings() {
    let (closed, router) = (Router::new().await.port(), Router::new().await);
    let mut sessions = Sessions::new("node");
    sessions.apply(vec![mk_spec("tor", closed)]);
    wait_for(&sessions, |status| status.last_error.is_some()).await;
    sessions.apply(vec![mk_spec("tor", router.port())]);
    let _heard = router.establish().await;
    let status = established(&sessions).await;
    assert!(status.last_error.unwrap().contains("refused"));
}

#[tokio::test]
async fn the_words_of_a_router_that_closes_are_kept() {
    let (router, sessions) = mk_sessions().await;
    let mut heard = router.establish().await;
    let mut bye = Vec::new();
    Code::ADMINISTRATIVE_SHUTDOWN
        .saying("upgrade at nine")
        .encode(&mut bye);
    heard.stream.write_all(&bye).await.unwrap();
    drop(heard);
    let status = wait_for(&sessions, |status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("upgrade at nine"));
}
