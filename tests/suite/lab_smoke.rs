//! The lab itself: routers learn and spread, pods answer, cables and processes fail as they do in life.
//!
//! `GoBGP` plays the speaker here, so that a failure is the lab's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use ipnetwork::IpNetwork;
use portolan_tests::lab::proxy::{Backend, Proxy, ServiceRule};
use portolan_tests::lab::router::{
    Bird, Daemon, Exabgp, Frr, Gobgp, Neighbour, Router, RouterConfig, Session,
};
use portolan_tests::lab::{Host, Lab, Layout, Link, Node, Pod, retry_until};

use crate::site;

const SPEAKERS: u32 = 64512;
const ROUTERS: u32 = 64500;
const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8:aa::10"];
const SOON: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

fn mk_vips() -> [IpAddr; 2] {
    VIPS.map(|vip| vip.parse().unwrap())
}

/// A `GoBGP` on a node, connected to all routers, that announces both VIPs from itself.
async fn mk_speaker(lab: &Lab, node: &Node) -> Result<Gobgp> {
    let own = node.host.address();
    let neighbours = lab
        .routers
        .iter()
        .map(|router| Neighbour::at(router.address().v4, ROUTERS));
    let speaker = Gobgp::start(
        &node.host,
        &RouterConfig::new(SPEAKERS, own.v4, neighbours.collect()),
    )
    .await?;
    for vip in mk_vips() {
        let attributes = format!(
            "nexthop {} community 64512:7 large-community 64512:1:2",
            own.of_family(vip)
        );
        speaker.announce(vip.into(), &attributes)?;
    }
    Ok(speaker)
}

/// One pod per node, and rules that send the VIPs to the node's own pod: who answers shows which way was taken.
fn mk_pods(lab: &Lab) -> Result<Vec<Pod>> {
    let pods = lab
        .nodes
        .iter()
        .map(|node| node.add_pod("web"))
        .collect::<Result<Vec<_>>>()?;
    let backends = pods.iter().flat_map(|pod| {
        mk_vips().map(|vip| Backend {
            address: pod.socket(vip),
            node: pod.node().to_owned(),
        })
    });
    let rule = ServiceRule {
        addresses: mk_vips().into(),
        udp: false,
        port: 80,
        local: true,
        backends: backends.collect(),
    };
    for node in &lab.nodes {
        Proxy::apply(node, std::slice::from_ref(&rule))?;
    }
    Ok(pods)
}

/// Who accepts sessions from all nodes, by a range or one by one.
fn mk_config(router: &Host, neighbours: Vec<Neighbour>) -> RouterConfig {
    RouterConfig::new(ROUTERS, router.address().v4, neighbours)
}

fn mk_range() -> Vec<Neighbour> {
    vec![Neighbour::within(
        "172.30.0.0/16".parse().unwrap(),
        SPEAKERS,
    )]
}

fn mk_each(lab: &Lab) -> Vec<Neighbour> {
    let addresses = lab.nodes.iter().map(|node| node.host.address().v4);
    addresses
        .map(|address| Neighbour::at(address, SPEAKERS).passive())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_daemon_learns_two_next_hops_and_clients_reach_both_nodes() -> Result<()> {
    let lab = Lab::start(Layout {
        nodes: 2,
        routers: 5,
    })?;
    let mut routers = Vec::new();
    for (daemon, host) in Daemon::ALL.into_iter().zip(&lab.routers) {
        let neighbours = match daemon {
            Daemon::Bird | Daemon::Exabgp => mk_each(&lab),
            Daemon::Frr | Daemon::Gobgp | Daemon::Openbgpd => mk_range(),
        };
        routers.push(daemon.start(host, &mk_config(host, neighbours)).await?);
    }
    let _pods = mk_pods(&lab)?;
    let mut speakers = Vec::new();
    for node in &lab.nodes {
        speakers.push(mk_speaker(&lab, node).await?);
    }
    for (router, (host, client)) in routers.iter().zip(lab.routers.iter().zip(&lab.clients)) {
        let name = router.name();
        for vip in mk_vips() {
            let nodes: Vec<IpAddr> = lab
                .nodes
                .iter()
                .map(|node| node.host.address().of_family(vip))
                .collect();
            check_rib(&**router, vip, &nodes).await?;
            if router.has_fib() {
                check_ways(name, host, client, vip, &nodes).await?;
            }
        }
        let sessions = router.sessions()?;
        assert_eq!(sessions.len(), 2, "{name}: {sessions:?}");
        assert!(
            sessions.iter().all(Session::is_established),
            "{name}: {sessions:?}"
        );
        assert_eq!(router.prefixes()?, mk_vips().map(IpNetwork::from), "{name}");
        if name != "GoBGP" {
            site::check_refresh(&**router).await?;
        }
    }
    Ok(())
}

/// Asked for its routes again, a neighbour sends them again.
/// `ExaBGP` can say what `GoBGP` can not.
#[tokio::test(flavor = "multi_thread")]
async fn every_daemon_shows_link_bandwidth_that_has_a_way_to() -> Result<()> {
    let lab = Lab::start(Layout {
        nodes: 1,
        routers: 5,
    })?;
    let mut routers = Vec::new();
    for (daemon, host) in Daemon::ALL.into_iter().zip(&lab.routers) {
        routers.push(daemon.start(host, &mk_config(host, mk_each(&lab))).await?);
    }
    let node = &lab.nodes[0].host;
    let neighbours = lab
        .routers
        .iter()
        .map(|router| Neighbour::at(router.address().v4, ROUTERS));
    let config = RouterConfig::new(SPEAKERS, node.address().v4, neighbours.collect());
    let speaker = Exabgp::start(node, &config).await?;
    let vip = mk_vips()[0];
    // 125 MB/s, transitive (draft-ietf-idr-link-bandwidth §3).
    speaker.command(&format!(
        "announce route {vip}/32 next-hop self extended-community [ 0x0004FC004CEE6B28 ]"
    ))?;
    for router in &routers {
        let what = format!("{} to show the bandwidth", router.name());
        retry_until(SOON, &what, async || {
            let paths = router.rib(vip.into())?;
            let shown = paths.first().map(|path| path.link_bandwidth);
            let wanted = (router.name() != "OpenBGPD").then_some(125_000_000);
            ensure!(shown == Some(wanted), "{paths:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn check_rib(router: &dyn Router, vip: IpAddr, nodes: &[IpAddr]) -> Result<()> {
    let what = format!("{} to have two paths to {vip}", router.name());
    retry_until(SOON, &what, async || {
        let paths = router.rib(vip.into())?;
        let hops = router.next_hops(vip.into())?;
        ensure!(hops == nodes, "paths {paths:#?}, log {}", router.log()?);
        for path in paths {
            ensure!(path.as_path == [SPEAKERS], "{path:?}");
            ensure!(path.communities == ["64512:7"], "{path:?}");
            ensure!(path.large_communities == ["64512:1:2"], "{path:?}");
        }
        Ok(())
    })
    .await
}

/// Both next hops are in the kernel, and the client's connections spread over both.
async fn check_ways(
    name: &str,
    router: &Host,
    client: &Host,
    vip: IpAddr,
    nodes: &[IpAddr],
) -> Result<()> {
    retry_until(
        SOON,
        &format!("{name} to install both next hops to {vip}"),
        async || {
            let hops = router.kernel_route(vip.into())?;
            ensure!(hops == nodes, "next hops {hops:?}");
            Ok(())
        },
    )
    .await?;
    let prober = client.probe(SocketAddr::new(vip, 80), Duration::from_millis(10), SECOND)?;
    retry_until(
        SOON,
        &format!("answers by way of both nodes and {name}"),
        async || {
            let report = prober.report();
            ensure!(
                report.nodes().len() == 2,
                "{report}, nodes {:?}",
                report.nodes()
            );
            Ok(())
        },
    )
    .await?;
    let report = prober.finish().await?;
    assert_eq!(report.failures().count(), 0, "{name}, {vip}: {report}");
    let own = client.address().of_family(vip);
    assert!(
        report.answers().all(|answer| answer.client == own),
        "policy Local keeps {own}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_key_establishes_a_session_with_any_router() -> Result<()> {
    let lab = Lab::start(Layout {
        nodes: 2,
        routers: 3,
    })?;
    let [first, second, third] = &lab.routers[..] else {
        panic!("three routers")
    };
    let with_key = |router: &Host| {
        let keyed = mk_each(&lab)
            .into_iter()
            .map(|neighbour| neighbour.password("right"));
        mk_config(router, keyed.collect())
    };
    let frr = Frr::start(first, &with_key(first)).await?;
    let bird = Bird::start(second, &with_key(second)).await?;
    let gobgp = Gobgp::start(third, &with_key(third)).await?;
    let mut speakers = Vec::new();
    for (node, key) in lab.nodes.iter().zip(["right", "wrong"]) {
        let routers = lab.routers.iter().map(|router| router.address().v4);
        let peers = routers
            .map(|address| Neighbour::at(address, ROUTERS).password(key))
            .collect();
        let config = RouterConfig::new(SPEAKERS, node.host.address().v4, peers);
        speakers.push(Gobgp::start(&node.host, &config).await?);
    }
    let routers: [&dyn Router; 3] = [&frr, &bird, &gobgp];
    let right = lab.nodes[0].host.address().v4;
    for router in routers {
        retry_until(
            SOON,
            &format!("{} to accept the right key", router.name()),
            async || {
                let sessions = router.sessions()?;
                let up: Vec<IpAddr> = sessions
                    .iter()
                    .filter(|it| it.is_established())
                    .map(|it| it.peer)
                    .collect();
                ensure!(up == [right], "established with {up:?}: {sessions:?}");
                Ok(())
            },
        )
        .await?;
    }
    // Both tried for as long as it took the right one.
    for router in routers {
        let up = router
            .sessions()?
            .into_iter()
            .filter(Session::is_established)
            .count();
        assert_eq!(up, 1, "{}", router.name());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_power_loses_its_traffic_to_the_other() -> Result<()> {
    let lab = Lab::start(Layout::default())?;
    let mut config = mk_config(&lab.routers[0], mk_range());
    config.hold_time = 3;
    let frr = Frr::start(&lab.routers[0], &config).await?;
    let _pods = mk_pods(&lab)?;
    let _speaker = mk_speaker(&lab, &lab.nodes[0]).await?;
    let _other = mk_speaker(&lab, &lab.nodes[1]).await?;
    let vip = mk_vips()[0];
    retry_until(SOON, "two next hops", async || {
        let hops = lab.routers[0].kernel_route(vip.into())?;
        ensure!(hops.len() == 2, "next hops {hops:?}");
        Ok(())
    })
    .await?;

    let to = SocketAddr::new(vip, 80);
    let prober = lab.clients[0].probe(to, Duration::from_millis(20), SECOND)?;
    tokio::time::sleep(SECOND).await;
    lab.nodes[0].cut()?;
    retry_until(SOON, "the route by the dead node to go", async || {
        let sessions = frr.sessions()?;
        let hops = lab.routers[0].kernel_route(vip.into())?;
        ensure!(
            hops == [lab.nodes[1].host.address().of_family(vip)],
            "{hops:?}, {sessions:?}"
        );
        Ok(())
    })
    .await?;
    tokio::time::sleep(SECOND).await;
    let report = prober.finish().await?;
    assert!(
        report.failures().count() > 0,
        "half of the traffic was lost for a while: {report}"
    );
    let last = report
        .attempts
        .last()
        .map(|attempt| attempt.outcome.is_ok());
    assert_eq!(last, Some(true), "and then none: {report}");

    lab.nodes[0].heal()?;
    for host in [&lab.routers[0], &lab.lan_client] {
        let node = lab.nodes[0].host.address();
        host.exec(&["ping", "-c", "1", "-w", "5", &node.v4.to_string()])?;
        host.exec(&["ping", "-c", "1", "-w", "5", &node.v6.to_string()])?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lan_client_sees_arp_and_the_capture_records_it() -> Result<()> {
    let lab = Lab::start(Layout {
        nodes: 1,
        routers: 1,
    })?;
    let (node, client) = (&lab.nodes[0].host, &lab.lan_client);
    let capture = client.capture("eth0", "arp or icmp6").await?;
    let address = node.address();
    client.exec(&[
        "arping",
        "-c",
        "1",
        "-w",
        "2",
        "-I",
        "eth0",
        &address.v4.to_string(),
    ])?;
    client.exec(&["ndisc6", "-1", "-r", "1", &address.v6.to_string(), "eth0"])?;
    client.exec(&["ping", "-c", "1", "-W", "2", &address.v4.to_string()])?;
    let neighbours = client.neighbours()?;
    let entry = neighbours.iter().find(|entry| entry.address == address.v4);
    assert_eq!(
        entry.and_then(|entry| entry.mac.clone()),
        Some(node.mac("eth0")?),
        "{neighbours:?}"
    );
    retry_until(SOON, "both answers in the capture", async || {
        let frames = capture.frames()?;
        let has = |words: &str| frames.iter().any(|frame| frame.contains(words));
        ensure!(has(&format!("Reply {}", address.v4)), "{frames:#?}");
        ensure!(has(&format!("tgt is {}", address.v6)), "{frames:#?}");
        Ok(())
    })
    .await?;
    node.unplug(Link::Lan)?;
    assert!(
        client
            .exec(&[
                "arping",
                "-c",
                "1",
                "-w",
                "1",
                "-I",
                "eth0",
                &address.v4.to_string()
            ])
            .is_err()
    );
    node.plug(Link::Lan)?;
    client.exec(&[
        "arping",
        "-c",
        "1",
        "-w",
        "5",
        "-I",
        "eth0",
        &address.v4.to_string(),
    ])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_answer_from_everywhere_with_their_name() -> Result<()> {
    let lab = Lab::start(Layout::default())?;
    let pods = [lab.nodes[0].add_pod("a")?, lab.nodes[1].add_pod("b")?];
    for pod in &pods {
        for address in pod.address().both() {
            for host in lab.nodes.iter().map(|node| &node.host) {
                let answer = host.get(pod.socket(address), 2 * SECOND).await?;
                assert_eq!(
                    (&*answer.pod, &*answer.node),
                    (pod.name(), pod.node()),
                    "{address}"
                );
            }
        }
    }
    Ok(())
}
