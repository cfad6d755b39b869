//! How sessions end, and which changes end none.

use portolan_api::crd::BfdRule;
use portolan_proto::bgp::session::GracefulRestart;

use super::*;
use crate::bgp::RestartTimes;

const TIMES: RestartTimes = RestartTimes {
    time: Duration::from_secs(120),
    long_lived: None,
};

/// A router that keeps routes while we restart.
fn mk_helper() -> Config {
    Config {
        graceful_restart: Some(GracefulRestart {
            time: Duration::from_secs(60),
            restarting: false,
            forwarding: false,
            long_lived: None,
        }),
        ..mk_router()
    }
}

#[tokio::test]
async fn a_restart_is_told_as_one_only_to_a_router_that_bridges_it() {
    let bridged = Code::ADMINISTRATIVE_RESET.saying("upgrade");
    let plain = Code::ADMINISTRATIVE_SHUTDOWN.saying("upgrade");
    for (row, ours, theirs, want) in [
        ("both offer", Some(TIMES), mk_helper(), &bridged),
        ("the router does not", Some(TIMES), mk_router(), &plain),
        ("we do not", None, mk_helper(), &plain),
    ] {
        let router = Router::new().await;
        let mut sessions = Sessions::new("node");
        sessions.apply(vec![PeerSpec {
            graceful_restart: ours,
            ..mk_spec("tor", router.port())
        }]);
        let mut heard = establish_as(router.accept().await, &theirs).await;
        established(&sessions).await;
        let (words, ()) = tokio::join!(heard.last_words(), sessions.restart("upgrade"));
        assert_eq!(words, *want, "{row}");
    }
}

#[tokio::test]
async fn only_the_first_session_of_a_process_says_that_it_has_restarted() {
    let router = Router::new().await;
    let mut sessions = Sessions::new("node");
    let spec = PeerSpec {
        graceful_restart: Some(TIMES),
        ..mk_spec("tor", router.port())
    };
    sessions.apply(vec![spec.clone()]);
    let restarted = |body: &[u8]| {
        let open = Open::decode(body).unwrap();
        open.capabilities.restart.unwrap().restarted
    };
    let (first, mut heard) = introduce(router.accept().await, &mk_helper()).await;
    assert!(restarted(&first));
    heard.next().await.unwrap();
    established(&sessions).await;
    sessions.apply(vec![PeerSpec {
        keepalive: Some(Duration::from_secs(7)),
        ..spec
    }]);
    heard.last_words().await;
    drop(heard);
    let (second, _heard) = introduce(router.accept().await, &mk_helper()).await;
    assert!(!restarted(&second));
}

#[tokio::test]
async fn another_bfd_profile_is_no_reason_to_end_a_session() {
    let router = Router::new().await;
    let mut sessions = Sessions::new("node");
    let spec = mk_spec("tor", router.port());
    sessions.apply(vec![spec.clone()]);
    sessions.set_synced();
    let mut heard = router.establish().await;
    assert_eq!(heard.table().await, (0, 0, 0));
    sessions.apply(vec![PeerSpec {
        bfd: Some(Bfd {
            profile: BfdRule {
                name: "fast".into(),
                ..BfdRule::default()
            },
            authentication: None,
        }),
        ..spec
    }]);
    sessions.routes(&mk_routes("tor", 1));
    assert_eq!(heard.update().await, (1, 0), "nothing else came in between");
}
