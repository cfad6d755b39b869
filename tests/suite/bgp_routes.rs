//! What is announced, with what, and what becomes of a node that drains.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use portolan_api::crd::NodeReport;
use portolan_tests::kubernetes::{Endpoint, Face};
use portolan_tests::lab::router::{Bird, Frr, Neighbour, Path, Router};
use portolan_tests::lab::{Host, Lab, Layout, retry_until};
use portolan_tests::world::{NODE_AS, POOL, SOON, Shape, World, peer_yaml, service_yaml};
use serde_json::json;

use crate::site::{config_v4, wait_for_hops, wait_for_kernel};

/// What one ready endpoint counts for, in bytes per second.
const GBIT: u64 = 125_000_000;

fn mk_advertisement(name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: portolan.dev/v1alpha1
kind: BGPAdvertisement
metadata: {{ name: {name} }}
spec: {spec}
---"
    )
}

fn mk_peers(lab: &Lab) -> String {
    let peer = |router: &Host| {
        format!(
            "{}---",
            peer_yaml(router.name(), router.address().v4.into(), "")
        )
    };
    lab.routers.iter().map(peer).collect()
}

async fn wait_for_path(
    router: &dyn Router,
    prefix: IpNetwork,
    what: &str,
    holds: impl Fn(&[Path]) -> bool,
) -> Result<Vec<Path>> {
    let what = format!("{what}, at {}", router.name());
    retry_until(SOON, &what, async || {
        let paths = router.rib(prefix)?;
        ensure!(holds(&paths), "it has {paths:?}");
        Ok(paths)
    })
    .await
}

fn mk_hops(lab: &Lab) -> Vec<IpAddr> {
    let nodes = lab.nodes.iter();
    nodes.map(|node| node.host.address().v4.into()).collect()
}

/// MED, prepend, every form of community and link bandwidth, as FRR and BIRD show them; the weight follows endpoints.
async fn what_steers_traffic_arrives_as_it_is_written(face: Face) -> Result<()> {
    let world = World::start(Shape {
        layout: Layout {
            nodes: 1,
            routers: 2,
        },
        data_path: false,
        ..Shape::of(face)
    })
    .await?;
    let lab = &world.lab;
    let frr = Frr::start(&lab.routers[0], &config_v4(lab, &lab.routers[0])).await?;
    let bird = Bird::start(&lab.routers[1], &config_v4(lab, &lab.routers[1])).await?;
    let advertisement = mk_advertisement(
        "bgp",
        "{ med: 77, asPathPrepend: 2, bandwidth: LocalEndpoints, communities: \
         ['no-peer', '65000:1', 'large:4200000001:1:2', 'rt:65000:7', 'soo:192.0.2.9:8'] }",
    );
    world
        .apply(&format!(
            "{POOL}---{advertisement}{}{}",
            mk_peers(lab),
            service_yaml("web", "Local")
        ))
        .await?;
    let endpoint = |last: u8| -> Result<Endpoint> {
        let address = portolan_tests::lab::Dual {
            v4: [10, 244, 1, last].into(),
            v6: format!("fd00:244:0:1::{last}").parse()?,
        };
        Ok(Endpoint::at(address, "node-1"))
    };
    let endpoints = [endpoint(11)?, endpoint(12)?, endpoint(13)?];
    world
        .cluster
        .set_endpoints("default", "web", &endpoints[..1])
        .await?;
    let vips = world.vips("web", 2).await?;
    let vip = vips.into_iter().find(IpAddr::is_ipv4).context("IPv4")?;
    let prefix = IpNetwork::from(vip);
    let routers: [&dyn Router; 2] = [&frr, &bird];
    for router in routers {
        let name = router.name();
        let paths = wait_for_path(router, prefix, "the route", |paths| paths.len() == 1).await?;
        let path = &paths[0];
        assert_eq!(path.med, Some(77), "{name}");
        assert_eq!(path.as_path, [NODE_AS; 3], "{name}");
        assert_eq!(path.communities, ["65000:1", "65535:65284"], "{name}");
        assert_eq!(path.large_communities, ["4200000001:1:2"], "{name}");
        assert_eq!(path.link_bandwidth, Some(GBIT), "{name}");
    }
    let shown = frr.vty(&[format!("show bgp ipv4 unicast {prefix} json")])?;
    ensure!(
        shown.contains("RT:65000:7") && shown.contains("SoO:192.0.2.9:8"),
        "FRR: {shown}"
    );
    let shown = bird.ask(&format!("show route {prefix} all"))?;
    ensure!(
        shown.contains("(rt, 65000, 7)") && shown.contains("(ro, 192.0.2.9, 8)"),
        "BIRD: {shown}"
    );

    world
        .cluster
        .set_endpoints("default", "web", &endpoints)
        .await?;
    for router in routers {
        wait_for_path(router, prefix, "three endpoints' weight", |paths| {
            paths
                .first()
                .is_some_and(|path| path.link_bandwidth == Some(3 * GBIT))
        })
        .await?;
    }
    Ok(())
}

/// Each node announces its own pods, every node the single addresses that it can deliver to, and a changed rule is
/// followed without a restart.
async fn external_cluster_and_pod_addresses_are_announced_when_a_rule_asks(
    face: Face,
) -> Result<()> {
    let world = World::start(Shape {
        data_path: false,
        ..Shape::of(face)
    })
    .await?;
    let lab = &world.lab;
    let frr = Frr::start(&lab.routers[0], &config_v4(lab, &lab.routers[0])).await?;
    let pods = mk_advertisement("pods", "{ routes: [PodCIDR] }");
    let service = |more: &str| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{ name: inside, namespace: default, labels: {{ announce: 'yes' }} }}
spec:
  ports: [{{ name: http, port: 80, targetPort: 8080 }}]
  externalIPs: [198.51.100.7]
{more}
---"
        )
    };
    world
        .apply(&format!("{POOL}---{pods}{}{}", service(""), mk_peers(lab)))
        .await?;
    for node in &lab.nodes {
        let range: IpNetwork = node.pod_networks()[0].parse()?;
        wait_for_hops(&frr, range, &[node.host.address().v4.into()]).await?;
    }

    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    let spec = services.get("inside").await?.spec.unwrap_or_default();
    let cluster_ip: IpAddr = spec.cluster_ip.context("a ClusterIP")?.parse()?;
    let external_ip: IpAddr = "198.51.100.7".parse()?;
    assert!(frr.rib(cluster_ip.into())?.is_empty());
    let single = mk_advertisement(
        "single",
        "{ routes: [ExternalIP, ClusterIP], serviceSelectors: [{ matchLabels: { announce: 'yes' } }] }",
    );
    world.apply(&single).await?;
    let endpoint = Endpoint::without_pod("node-1");
    world
        .cluster
        .set_endpoints("default", "inside", &[endpoint])
        .await?;
    let hops = mk_hops(lab);
    for address in [cluster_ip, external_ip] {
        wait_for_hops(&frr, address, &hops).await?;
    }
    world
        .apply(&service("  internalTrafficPolicy: Local"))
        .await?;
    wait_for_hops(&frr, cluster_ip, &hops[..1]).await?;
    wait_for_hops(&frr, external_ip, &hops).await?;
    services
        .delete("inside", &kube::api::DeleteParams::default())
        .await?;
    for address in [cluster_ip, external_ip] {
        wait_for_hops(&frr, address, &[]).await?;
    }
    Ok(())
}

async fn cordon(world: &World, node: &str, yes: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(world.cluster.client());
    let patch = Patch::Merge(json!({ "spec": { "unschedulable": yes } }));
    nodes.patch(node, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// A cordoned node is the last resort: routers leave it while another one is there, requests go on, and two cordoned nodes
/// share the traffic as before.
async fn a_cordoned_node_is_avoided_without_a_lost_request_and_comes_back(
    face: Face,
) -> Result<()> {
    let world = World::start(Shape::of(face)).await?;
    let lab = &world.lab;
    let router = &lab.routers[0];
    let frr = Frr::start(router, &config_v4(lab, router)).await?;
    let advertisement = mk_advertisement("bgp", "{ drainCommunity: '65000:99' }");
    world
        .apply(&format!("{POOL}---{advertisement}{}", mk_peers(lab)))
        .await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Cluster", &pods).await?;
    let vip = vips.into_iter().find(IpAddr::is_ipv4).context("IPv4")?;
    let hops = mk_hops(lab);
    wait_for_kernel(lab, router, vip, &hops).await?;
    let to = SocketAddr::new(vip, 80);
    world
        .answers(&lab.clients[0], to, &["node-1", "node-2"])
        .await?;
    let flows = lab.flows(80)?;
    let client = lab.clients[0].probe(to, Duration::from_millis(20), Duration::from_secs(2))?;

    cordon(&world, "node-1", true).await?;
    wait_for_kernel(lab, router, vip, &hops[1..]).await?;
    let paths = frr.rib(vip.into())?;
    let draining = paths.iter().find(|path| path.next_hop == Some(hops[0]));
    let draining = draining.context("a draining node goes on announcing")?;
    assert_eq!(draining.as_path, [NODE_AS; 2]);
    assert_eq!(draining.communities, ["65000:99", "65535:0"]);
    let reports: Api<NodeReport> = Api::all(world.cluster.client());
    retry_until(SOON, "the report to say why", async || {
        let status = reports.get("node-1").await?.status.unwrap_or_default();
        ensure!(
            status.draining.as_deref() == Some("unschedulable"),
            "{status:?}"
        );
        Ok(())
    })
    .await?;

    cordon(&world, "node-2", true).await?;
    wait_for_kernel(lab, router, vip, &hops).await?;
    cordon(&world, "node-1", false).await?;
    wait_for_kernel(lab, router, vip, &hops[..1]).await?;
    cordon(&world, "node-2", false).await?;
    wait_for_kernel(lab, router, vip, &hops).await?;

    let report = client.finish().await?;
    // Only connections that were open when the router changed its mind, and went on at the other node, are lost.
    let address = lab.clients[0].address().v4.into();
    for lost in report.failures() {
        let from = SocketAddr::new(address, lost.from.context("no port was left")?);
        let packets = flows.to_nodes().into_iter();
        let nodes: BTreeSet<_> = packets
            .filter(|packet| (packet.from, packet.to) == (from, to))
            .map(|packet| packet.port)
            .collect();
        ensure!(nodes.len() == 2, "{report}: {lost:?} by {nodes:?}");
    }
    Ok(())
}

/// What `ping` says of an address, in one line.
fn ping(client: &Host, to: IpAddr) -> Result<String> {
    client.exec(&["sh", "-c", &format!("ping -n -c 1 -W 1 {to} 2>&1 || true")])
}

fn own_rules(node: &Host) -> Result<usize> {
    let mut found = 0;
    for family in ["-4", "-6"] {
        let rules = node.exec(&["ip", family, "rule", "show"])?;
        found += rules
            .lines()
            .filter(|line| line.contains("1347375700"))
            .count();
    }
    Ok(found)
}

/// Packets for addresses of an announced aggregate or range that nobody has are answered, not sent back and forth.
/// Addresses that somebody has work from outside and from the node itself. Everything goes with an orderly stop, and stays
/// where the speaker is killed.
async fn unused_addresses_of_announced_ranges_are_unreachable(face: Face) -> Result<()> {
    let mut world = World::start(Shape {
        layout: Layout {
            nodes: 1,
            routers: 1,
        },
        ..Shape::of(face)
    })
    .await?;
    let lab = &world.lab;
    let router = &lab.routers[0];
    let mut config = config_v4(lab, router);
    config
        .neighbours
        .push(Neighbour::at(lab.nodes[0].host.address().v6, NODE_AS).passive());
    let frr = Frr::start(router, &config).await?;
    let advertisement = mk_advertisement(
        "bgp",
        "{ routes: [LoadBalancerIP, ClusterIPRange], aggregationLength: 24, aggregationLengthV6: 112 }",
    );
    let v6 = peer_yaml("v6", router.address().v6.into(), "");
    world
        .apply(&format!("{POOL}---{advertisement}{}{v6}", mk_peers(lab)))
        .await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let vips = world.service("web", "Cluster", &pods).await?;
    let used = world.cluster_ips("web").await?;
    let client = &lab.clients[0];
    let node = &lab.nodes[0].host;
    for prefix in [
        "192.0.2.0/24",
        "2001:db8:aa::/112",
        "10.96.0.0/12",
        "fd00:96::/112",
    ] {
        let prefix: IpNetwork = prefix.parse()?;
        let hop = node.address().of_family(prefix.ip());
        wait_for_hops(&frr, prefix, &[hop]).await?;
    }
    for unused in [
        "192.0.2.250",
        "2001:db8:aa::fff0",
        "10.97.98.99",
        "fd00:96::fff0",
    ] {
        let unused: IpAddr = unused.parse()?;
        let from = node.address().of_family(unused).to_string();
        retry_until(SOON, &format!("{unused} to be unreachable"), async || {
            let said = ping(client, unused)?;
            ensure!(
                said.contains("nreachable") && said.contains(&from),
                "ping: {said}"
            );
            Ok(())
        })
        .await?;
    }
    for address in vips.iter().chain(&used) {
        let to = SocketAddr::new(*address, 80);
        world.answers(client, to, &["node-1"]).await?;
        node.get(to, Duration::from_secs(2))
            .await
            .with_context(|| format!("{address} from the node itself"))?;
    }

    a_killed_speaker_leaves_them_and_an_orderly_one_does_not(&mut world).await
}

async fn a_killed_speaker_leaves_them_and_an_orderly_one_does_not(world: &mut World) -> Result<()> {
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    world.speakers.remove(0).kill()?;
    let left = own_rules(&world.lab.nodes[0].host)?;
    assert_eq!(left, 2, "what was announced still is");
    let mut next = world.start_speaker(0)?;
    services
        .delete("web", &kube::api::DeleteParams::default())
        .await?;
    let node = &world.lab.nodes[0].host;
    let show = "ip route show table 1347375700; ip -6 route show table 1347375700";
    let shown = || node.exec(&["sh", "-c", show]);
    let what = "the next speaker to remove the aggregates alone";
    retry_until(SOON, what, async || {
        let found = shown()?;
        ensure!(
            found.contains("10.96.0.0/12") && found.contains("fd00:96::/112"),
            "{found}"
        );
        ensure!(
            !found.contains("192.0.2.0") && !found.contains("2001:db8"),
            "{found}"
        );
        Ok(())
    })
    .await?;
    next.stop(Duration::from_secs(10)).await?;
    assert_eq!(own_rules(node)?, 0);
    assert_eq!(shown()?.trim(), "");
    Ok(())
}

on_both_faces!(
    what_steers_traffic_arrives_as_it_is_written,
    external_cluster_and_pod_addresses_are_announced_when_a_rule_asks,
    a_cordoned_node_is_avoided_without_a_lost_request_and_comes_back,
    unused_addresses_of_announced_ranges_are_unreachable,
);
