//! Peers that connect to us.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpSocket;

use super::*;
use crate::bgp::{Distance, Listen, Visits};

/// A port that is free now, on the loopback interface.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A peer at `address` that connects to us; we would find nobody there.
fn mk_waiting(name: &str, address: [u8; 4]) -> PeerSpec {
    PeerSpec {
        remote: Remote::Address(address.into()),
        listen: Listen::Passive,
        ..mk_spec(name, free_port())
    }
}

async fn mk_sessions(specs: Vec<PeerSpec>) -> (Sessions, u16) {
    let port = free_port();
    let mut sessions = Sessions::new("node").listening_on(port);
    sessions.apply(specs);
    let open = async {
        // A stranger is let in and closed as soon as someone listens.
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, open).await.unwrap();
    (sessions, port)
}

/// Connects to us from `address` with this TTL.
async fn dial(address: [u8; 4], port: u16, ttl: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket2::SockRef::from(&socket).set_ttl_v4(ttl).unwrap();
    socket
        .bind(SocketAddr::new(IpAddr::from(address), 0))
        .unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    timeout(PATIENCE, socket.connect(to))
        .await
        .unwrap()
        .unwrap()
}

/// Waits for the end of a stream on which nothing comes.
async fn closed_without_a_byte(mut stream: TcpStream) {
    let mut byte = [0];
    let read = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

async fn visits(sessions: &Sessions, wish: impl Fn(Visits) -> bool) {
    let seen = async {
        while !wish(sessions.visits()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let late = timeout(PATIENCE, seen).await;
    assert!(late.is_ok(), "{:?}", sessions.visits());
}

#[tokio::test]
async fn a_peer_that_connects_gets_its_session_and_routes() {
    let (mut sessions, port) = mk_sessions(vec![mk_waiting("tor", [127, 0, 0, 9])]).await;
    sessions.routes(&mk_routes("tor", 3));
    sessions.set_synced();
    let mut heard = establish(dial([127, 0, 0, 9], port, 255).await).await;
    assert_eq!(heard.table().await, (1, 3, 0));
    established(&sessions).await;
    assert_eq!(sessions.visits().accepted, 1);
    sessions.apply(vec![]);
    assert_eq!(heard.last_words().await, Code::PEER_DECONFIGURED.bare());
}

#[tokio::test]
async fn an_address_that_is_no_peers_is_closed_without_a_byte() {
    let (sessions, port) = mk_sessions(vec![mk_waiting("tor", [127, 0, 0, 9])]).await;
    closed_without_a_byte(dial([127, 0, 0, 8], port, 255).await).await;
    visits(&sessions, |visits| {
        visits.strangers >= 2 && visits.accepted == 0
    })
    .await;
}

#[tokio::test]
async fn nobody_listens_when_no_peer_may_come() {
    let port = free_port();
    let router = Router::new().await;
    let mut sessions = Sessions::new("node").listening_on(port);
    sessions.apply(vec![mk_spec("tor", router.port())]);
    let _heard = router.establish().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn the_listener_asks_for_the_smallest_segments_of_its_peers_and_no_longer() {
    let small = PeerSpec {
        tcp_mss: Some(536),
        ..mk_waiting("small", [127, 0, 0, 9])
    };
    let usual = mk_waiting("usual", [127, 0, 0, 8]);
    let (mut sessions, port) = mk_sessions(vec![small, usual.clone()]).await;
    let segments = async |small: bool| {
        loop {
            let stream = dial([127, 0, 0, 8], port, 255).await;
            let segment = socket2::SockRef::from(&stream).tcp_mss().unwrap();
            if (segment <= 536) == small {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, segments(true)).await.unwrap();
    sessions.apply(vec![usual]);
    timeout(PATIENCE, segments(false)).await.unwrap();
}

#[tokio::test]
async fn the_listener_is_closed_with_its_last_peer() {
    let (mut sessions, port) = mk_sessions(vec![mk_waiting("tor", [127, 0, 0, 9])]).await;
    sessions.apply(vec![]);
    let closed = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test]
async fn a_port_that_another_program_has_for_one_family_is_named_and_taken_once_it_is_free() {
    let other = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let other = mk_holder(other);
    let mut sessions = Sessions::new("node").listening_on(port);
    let six = PeerSpec {
        remote: Remote::Address("::1".parse().unwrap()),
        source: None,
        listen: Listen::Passive,
        ..mk_spec("six", free_port())
    };
    sessions.apply(vec![six, mk_waiting("tor", [127, 0, 0, 9])]);
    let status = wait_for(&sessions, |status| {
        status.name == "tor" && status.problem.is_some()
    })
    .await;
    let error = status.last_error.unwrap();
    let occupant = format!("process {} (sleep) has it", other.id());
    for words in [&format!("port {port}"), &occupant] {
        assert!(error.contains(words), "{error}");
    }
    // It stays said for as long as it is so, whatever else goes wrong.
    assert_eq!(status.problem.as_ref(), Some(&error));
    drop(other);
    let free = async {
        while sessions.visits().accepted == 0 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
            let _ = socket.connect(([127, 0, 0, 1], port).into()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test]
async fn a_source_has_four_connections_at_most() {
    let (sessions, port) = mk_sessions(vec![mk_waiting("tor", [127, 0, 0, 9])]).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut stream = dial([127, 0, 0, 9], port, 255).await;
        stream.write_all(&[0xff]).await.unwrap();
        held.push(stream);
    }
    visits(&sessions, |visits| visits.crowded + visits.accepted == 50).await;
    assert!(sessions.visits().crowded > 0, "{:?}", sessions.visits());
}

#[tokio::test]
async fn a_secured_peer_is_heard_from_its_link_only() {
    let secured = PeerSpec {
        distance: Distance::Secured,
        ..mk_waiting("secured", [127, 0, 0, 9])
    };
    // Another peer without the rule keeps the rule off the listener: it is checked at the door.
    let usual = mk_waiting("usual", [127, 0, 0, 10]);
    for specs in [vec![secured.clone(), usual], vec![secured]] {
        let alone = specs.len() == 1;
        let port = free_port();
        let mut sessions = Sessions::new("node").listening_on(port);
        sessions.apply(specs);
        let good = async {
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                socket2::SockRef::from(&socket).set_ttl_v4(255).unwrap();
                socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
                let to = SocketAddr::from(([127, 0, 0, 1], port));
                if let Ok(stream) = socket.connect(to).await {
                    return stream;
                }
            }
        };
        let near = timeout(PATIENCE, good).await.unwrap();
        let _heard = establish(near).await;
        if alone {
            let socket = TcpSocket::new_v4().unwrap();
            socket2::SockRef::from(&socket).set_ttl_v4(254).unwrap();
            socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
            let far = socket.connect(SocketAddr::from(([127, 0, 0, 1], port)));
            let answer = timeout(Duration::from_millis(300), far).await;
            assert!(answer.is_err(), "the SYN of a far one is answered");
        } else {
            closed_without_a_byte(dial([127, 0, 0, 9], port, 254).await).await;
        }
    }
}

#[tokio::test]
async fn the_listener_signs_for_each_peer_with_its_own_key() {
    let key = |text: &str| Some(Signature::Md5(Password::new(text).unwrap()));
    let signed = PeerSpec {
        signature: key("right"),
        ..mk_waiting("signed", [127, 0, 0, 9])
    };
    let (mut sessions, port) =
        mk_sessions(vec![signed.clone(), mk_waiting("plain", [127, 0, 0, 10])]).await;
    let dial_with = async |from: [u8; 4], password: Option<&str>| {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(password) = password {
            let peer = IpAddr::from([127, 0, 0, 1]);
            crate::sys::set_md5_key(&socket, peer, password.as_bytes()).unwrap();
        }
        socket.bind((from, 0).into()).unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        timeout(Duration::from_millis(400), socket.connect(to)).await
    };
    for (row, password, opens) in [
        ("right", Some("right"), true),
        ("wrong", Some("wrong"), false),
        ("none", None, false),
    ] {
        let answer = dial_with([127, 0, 0, 9], password).await;
        assert_eq!(matches!(answer, Ok(Ok(_))), opens, "{row}: {answer:?}");
        if let Ok(Ok(stream)) = answer {
            establish(stream).await;
        }
    }
    let plain = dial_with([127, 0, 0, 10], None).await.unwrap().unwrap();
    let _heard = establish(plain).await;

    let changed = PeerSpec {
        signature: key("new"),
        ..signed
    };
    sessions.apply(vec![changed, mk_waiting("plain", [127, 0, 0, 10])]);
    let turned = async {
        loop {
            if let Ok(Ok(stream)) = dial_with([127, 0, 0, 9], Some("new")).await {
                return stream;
            }
        }
    };
    let stream = timeout(PATIENCE, turned).await.unwrap();
    let _heard = establish(stream).await;
    let old = dial_with([127, 0, 0, 9], Some("right")).await;
    assert!(!matches!(old, Ok(Ok(_))), "the old key still opens");
}

#[tokio::test]
async fn of_two_connections_at_once_the_one_of_the_higher_identifier_stays() {
    let (router, port) = (Router::new().await, free_port());
    let mut sessions = Sessions::new("node").listening_on(port);
    sessions.apply(vec![PeerSpec {
        listen: Listen::Both,
        ..mk_spec("tor", router.port())
    }]);
    // Ours is 192.0.2.10, the router's 192.0.2.1.
    let ours = router.accept().await;
    let theirs = dial([127, 0, 0, 1], port, 255).await;
    visits(&sessions, |visits| visits.accepted == 1).await;
    let (kept, mut lost) = tokio::join!(establish(ours), async {
        introduce(theirs, &mk_router()).await.1
    });
    let words = loop {
        let (kind, body) = lost.next().await.unwrap();
        if kind == Kind::Notification {
            break Notification::decode(&body).unwrap();
        }
    };
    assert_eq!(words, Code::CONNECTION_COLLISION.bare());
    let status = established(&sessions).await;
    assert_eq!(status.established, 1);
    drop(kept);
}
