//! The fixture itself: both API servers serve our kinds, keep their data, and their proxies bring clients to pods.
//!
//! Addresses and routes are set by hand here, so that a failure is the fixture's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Node as NodeObject, Service};
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use portolan_api::crd::IPAddressPool;
use portolan_tests::kubernetes::{Cluster, Endpoint, Face};
use portolan_tests::lab::{Host, Lab, Layout, Pod, retry_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);
const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8:aa::10"];

fn mk_service(name: &str, policy: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: {name} }}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: {policy}
  ports: [{{ name: http, port: 80, targetPort: {} }}]
",
        Pod::PORT
    )
}

/// Routes by both nodes on the router, as a speaker would have announced them.
fn mk_route(lab: &Lab, prefix: &str) -> Result<()> {
    let mut line = format!("route replace {prefix}");
    for node in lab.nodes.iter().map(|node| node.host.address()) {
        let hop: IpAddr = if prefix.contains(':') {
            node.v6.into()
        } else {
            node.v4.into()
        };
        line = format!("{line} nexthop via {hop}");
    }
    lab.routers[0].netns().ip(&[line])
}

async fn mk_cluster(face: Face, lab: &Lab) -> Result<Cluster> {
    let cluster = Cluster::start(face, lab).await?;
    for node in &lab.nodes {
        cluster.create_node(node).await?;
    }
    Ok(cluster)
}

async fn set_vips(cluster: &Cluster, name: &str) -> Result<()> {
    let ingress: Vec<_> = VIPS.iter().map(|vip| json!({ "ip": vip })).collect();
    let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
    let api: Api<Service> = Api::default_namespaced(cluster.client());
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

async fn answers_from(client: &Host, to: SocketAddr, nodes: &[&str]) -> Result<()> {
    let prober = client.probe(to, Duration::from_millis(20), SECOND)?;
    retry_until(
        SOON,
        &format!("answers of {to} from exactly {nodes:?}"),
        async || {
            let report = prober.report();
            let last: Vec<_> = report.attempts.iter().rev().take(20).collect();
            ensure!(
                last.len() == 20 && last.iter().all(|it| it.outcome.is_ok()),
                "{report}"
            );
            let seen: std::collections::BTreeSet<&str> = last
                .iter()
                .filter_map(|it| it.outcome.as_ref().ok())
                .map(|it| &*it.node)
                .collect();
            ensure!(seen.iter().eq(nodes), "the last ones came from {seen:?}");
            Ok(())
        },
    )
    .await
}

async fn clients_reach_pods(face: Face) -> Result<()> {
    let lab = Lab::start(Layout::default())?;
    let cluster = mk_cluster(face, &lab).await?;
    let mut proxies = Vec::new();
    for node in &lab.nodes {
        proxies.push(cluster.start_proxy(node).await?);
    }
    let pods = [lab.nodes[0].add_pod("a")?, lab.nodes[1].add_pod("b")?];
    let endpoints = pods.each_ref().map(Endpoint::ready);
    cluster.apply(&mk_service("web", "Cluster")).await?;
    cluster.set_endpoints("default", "web", &endpoints).await?;
    set_vips(&cluster, "web").await?;
    for prefix in [VIPS[0], VIPS[1], "10.96.0.0/12", "fd00:96::/112"] {
        mk_route(&lab, prefix)?;
    }

    let services: Api<Service> = Api::default_namespaced(cluster.client());
    let spec = services.get("web").await?.spec.unwrap_or_default();
    let cluster_ips = spec.cluster_ips.unwrap_or_default();
    assert_eq!(cluster_ips.len(), 2, "dual stack");
    for address in VIPS
        .iter()
        .copied()
        .chain(cluster_ips.iter().map(String::as_str))
    {
        let to = SocketAddr::new(address.parse::<IpAddr>()?, 80);
        answers_from(&lab.clients[0], to, &["node-1", "node-2"]).await?;
    }

    // Policy Local: a node without a ready endpoint answers nobody, so all connections go to the other one.
    cluster.apply(&mk_service("web", "Local")).await?;
    let [first, second] = endpoints;
    cluster
        .set_endpoints("default", "web", &[first.unready(), second.terminating()])
        .await?;
    for vip in VIPS {
        let hop = lab.nodes[1].host.address().of_family(vip.parse()?);
        lab.routers[0]
            .netns()
            .ip(&[format!("route replace {vip} via {hop}")])?;
        let to = SocketAddr::new(vip.parse()?, 80);
        answers_from(&lab.clients[0], to, &["node-2"]).await?;
        let answer = lab.clients[0].get(to, SECOND).await?;
        assert_eq!(
            answer.client,
            lab.clients[0].address().of_family(to.ip()),
            "the client's own address"
        );
    }
    Ok(())
}

async fn an_outage_keeps_data_and_port(face: Face) -> Result<()> {
    let lab = Lab::start(Layout::default())?;
    let mut cluster = mk_cluster(face, &lab).await?;
    cluster.apply(&mk_service("kept", "Cluster")).await?;
    cluster.stop_api().await?;
    let nodes: Api<NodeObject> = Api::all(cluster.client());
    assert!(
        nodes.list(&ListParams::default()).await.is_err(),
        "an outage is one"
    );
    cluster.start_api().await?;
    let node = nodes.get("node-1").await?;
    assert_eq!(
        node.spec.unwrap_or_default().taints.unwrap_or_default(),
        [],
        "ready to be used"
    );
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    assert_eq!(services.get("kept").await?.name_any(), "kept");
    Ok(())
}

async fn the_own_kinds_are_served_to_nodes(face: Face) -> Result<()> {
    let lab = Lab::start(Layout {
        nodes: 1,
        routers: 1,
    })?;
    let cluster = mk_cluster(face, &lab).await?;
    let pool = "apiVersion: portolan.dev/v1alpha1
kind: IPAddressPool
metadata: { name: public }
spec: { addresses: [192.0.2.0/24] }
";
    cluster.apply(pool).await?;
    let shown = cluster
        .kubectl(&["get", "ipaddresspools.portolan.dev", "-o", "name"])
        .await?;
    assert_eq!(shown.trim(), "ipaddresspool.portolan.dev/public");

    // From the node, the same file leads to the same server.
    let read = Kubeconfig::read_from(cluster.kubeconfig())?;
    let pools = lab.nodes[0].host.netns().block_on(async move || {
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let pools: Api<IPAddressPool> = Api::all(Client::try_from(config)?);
        anyhow::Ok(pools.list(&ListParams::default()).await?.items)
    });
    assert_eq!(pools.await??.len(), 1);
    Ok(())
}

on_both_faces!(
    clients_reach_pods,
    an_outage_keeps_data_and_port,
    the_own_kinds_are_served_to_nodes
);
