//! What happens, step by step. Every step looks at the result from outside: in the API, at the router, as a client.

use std::collections::BTreeSet;
use std::fs::File;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};
use portolan_tests::kubernetes::Cluster;
use portolan_tests::lab::router::Router as _;
use portolan_tests::lab::{Host, Lab, Tool, require, retry_until};
use portolan_tests::world::{ROUTER_AS, SOON, World, binary};

use crate::endpoints::Endpoints;
use crate::outage::Outage;
use crate::snapshot::{self, refusal};
use crate::stage::{HOLD_TIME, LAYOUT, Stage};
use crate::steps::Steps;
use crate::table::{self, Detail};

const OBJECTS: &str = include_str!("objects.yaml");
/// The nodes of the Service with policy Local, as its annotation says.
const LOCAL_NODES: [&str; 2] = ["node-1", "node-2"];
const ALL_NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// The exact address that one Service asks for.
const EXACT: [u8; 4] = [192, 0, 2, 80];
/// ClusterIP ranges of the embedded API server.
const RANGES: [&str; 2] = ["10.96.0.0/12", "fd00:96::/112"];

/// Brings everything up and shows what it does. The error is that of a step without which nothing goes on; the step has
/// printed it.
pub(crate) async fn tell(steps: &mut Steps) -> Result<Stage> {
    let mut stage = bring_up(steps).await?;
    let applied = steps.must(
        "Portolan's objects and Services applied (tests/src/bin/demo/objects.yaml)",
        apply(&mut stage),
    );
    applied.await?;
    let vips = steps
        .must("addresses assigned", assigned(&stage.world))
        .await?;
    steps
        .check(
            "the Service that asks for the impossible is refused, alone, with its reason",
            refused(&stage.world),
        )
        .await;
    steps
        .check("BGP sessions established", sessions(&stage))
        .await;
    check_routes(steps, &stage, &vips).await;
    check_clients(steps, &stage, &vips).await;
    show(&stage).await?;
    lose_power(steps, &mut stage, &vips).await;
    show(&stage).await?;
    Ok(stage)
}

/// Addresses of the Services of objects.yaml.
struct Vips {
    web: Vec<IpAddr>,
    local: Vec<IpAddr>,
    lan: Vec<IpAddr>,
    inside: Vec<IpAddr>,
}

async fn bring_up(steps: &mut Steps) -> Result<Stage> {
    let lab = steps
        .must(
            "network namespaces: three nodes, a router, two clients",
            ready(lab()),
        )
        .await?;
    let cluster = steps
        .must(
            "API server, in memory, a process of its own",
            api_server(&lab),
        )
        .await?;
    let router = steps.must("router: FRR", router(&lab)).await?;
    let world = steps
        .must(
            "a controller and three speakers, a process each",
            daemons(lab, cluster),
        )
        .await?;
    Ok(Stage {
        frr: router,
        endpoints: Endpoints::default(),
        world,
    })
}

fn lab() -> Result<(Lab, String)> {
    for tool in [Tool::NFT, Tool::ARPING] {
        require(tool)?;
    }
    let lab = Lab::start(LAYOUT)?;
    let log = File::create(lab.directory().join("demo.log")).context("opening the log")?;
    // What goes wrong in the stand-in proxies has to be found somewhere; the screen is for the table.
    tracing_subscriber::fmt().with_writer(Arc::new(log)).init();
    let seen = format!("files and logs in {}", lab.directory().display());
    Ok((lab, seen))
}

async fn api_server(lab: &Lab) -> Result<(Cluster, String)> {
    let cluster = Cluster::start_apart(lab, &binary("apiserver")?).await?;
    let seen = format!("KUBECONFIG={}", cluster.kubeconfig().display());
    Ok((cluster, seen))
}

async fn router(lab: &Lab) -> Result<(portolan_tests::lab::router::Frr, String)> {
    let frr = Stage::start_router(lab).await?;
    let address = lab.routers.first().map(Host::address);
    let address = address.context("the lab has no router")?;
    let seen = format!("AS {ROUTER_AS}, {address}, hold time {HOLD_TIME:?}");
    Ok((frr, seen))
}

async fn daemons(lab: Lab, cluster: Cluster) -> Result<(World, String)> {
    let mut world = Stage::populate(lab, cluster).await?;
    for process in world.controllers.iter_mut().chain(&mut world.speakers) {
        process.ensure_running()?;
    }
    let pids = |processes: &[portolan_tests::lab::Process]| {
        let pids = processes.iter().map(|process| process.pid().to_string());
        pids.collect::<Vec<_>>().join(", ")
    };
    let seen = format!(
        "controller: process {}; speakers: {}\n\
         stand-ins: pods are namespaces; nftables rules for kube-proxy; this program for the kubelets and the\n\
         controllers that write EndpointSlices and notice lost nodes",
        pids(&world.controllers),
        pids(&world.speakers)
    );
    Ok((world, seen))
}

async fn apply(stage: &mut Stage) -> Result<((), String)> {
    let applied = stage.world.apply(OBJECTS).await?;
    let problems = stage.endpoints.sync(&stage.world).await?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    let names = applied.iter().map(|object| {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        format!("{} {}", kind.unwrap_or_default(), object.name_any())
    });
    let names: Vec<String> = names.collect();
    let lines = names.chunks(4).map(|line| line.join(", "));
    Ok(((), lines.collect::<Vec<_>>().join(",\n")))
}

async fn assigned(world: &World) -> Result<(Vips, String)> {
    let web = world.vips("web", 2).await?;
    let local = world.vips("local", 1).await?;
    let exact = world.vips("exact", 1).await?;
    ensure!(
        exact == [IpAddr::from(EXACT)],
        "Service exact got {exact:?}"
    );
    let lan = world.vips("on-lan", 2).await?;
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    let spec = services.get("inside").await?.spec.unwrap_or_default();
    let inside = spec.cluster_ips.unwrap_or_default();
    let inside = inside.iter().map(|ip| Ok(ip.parse()?));
    let inside = inside.collect::<Result<Vec<IpAddr>>>()?;
    let seen = format!(
        "web {}; local {}; exact {}; on-lan {}",
        listed(&web),
        listed(&local),
        listed(&exact),
        listed(&lan)
    );
    let vips = Vips {
        web,
        local,
        lan,
        inside,
    };
    Ok((vips, seen))
}

async fn refused(world: &World) -> Result<String> {
    let services: Api<Service> = Api::default_namespaced(world.cluster.client());
    retry_until(SOON, "the refusal", async || {
        let service = services.get("impossible").await?;
        let held = snapshot::vips(service.status.clone().unwrap_or_default());
        ensure!(held.is_empty(), "it got {held:?}");
        let (reason, message) = refusal(&service).context("no condition says so")?;
        Ok(format!("{reason}: {message}"))
    })
    .await
}

async fn sessions(stage: &Stage) -> Result<String> {
    let wanted = stage.world.lab.nodes.len() * 2;
    retry_until(SOON, "a session per node and family", async || {
        let sessions = stage.frr.sessions()?;
        let up = sessions.iter().filter(|it| it.is_established()).count();
        ensure!(up == wanted, "{up} of {wanted} are");
        Ok(format!("{up} of {wanted}: every node, IPv4 and IPv6"))
    })
    .await
}

async fn check_routes(steps: &mut Steps, stage: &Stage, vips: &Vips) {
    let hosts = |vips: &[IpAddr]| {
        vips.iter()
            .copied()
            .map(IpNetwork::from)
            .collect::<Vec<_>>()
    };
    let ranges: Vec<IpNetwork> = RANGES.iter().filter_map(|it| it.parse().ok()).collect();
    for (what, prefixes, nodes) in [
        (
            "routes to web by all three nodes",
            hosts(&vips.web),
            &ALL_NODES[..],
        ),
        (
            "routes to local (externalTrafficPolicy Local) by the two nodes with a pod of it",
            hosts(&vips.local),
            &LOCAL_NODES[..],
        ),
        (
            "routes to the ClusterIP ranges by all three nodes",
            ranges,
            &ALL_NODES[..],
        ),
    ] {
        steps.check(what, routes(stage, prefixes, nodes)).await;
    }
}

/// In the router's kernel: what packets follow.
async fn routes(stage: &Stage, prefixes: Vec<IpNetwork>, nodes: &[&str]) -> Result<String> {
    let mut seen = Vec::new();
    for prefix in prefixes {
        let wanted = stage.hops(prefix.ip(), nodes);
        let what = format!("{prefix} by {nodes:?} in the router's kernel");
        retry_until(SOON, &what, async || {
            let hops = stage.world.lab.kernel_hops(stage.router()?, prefix)?;
            let hops: BTreeSet<IpAddr> = hops.into_iter().collect();
            ensure!(hops == wanted, "it has {hops:?}");
            Ok(())
        })
        .await?;
        seen.push(format!("{prefix} via {}", listed(&wanted)));
    }
    Ok(seen.join("\n"))
}

async fn check_clients(steps: &mut Steps, stage: &Stage, vips: &Vips) {
    steps
        .check(
            "the client behind the router is answered by web, from pods of all nodes",
            answers(stage, &vips.web, &ALL_NODES),
        )
        .await;
    steps
        .check(
            "by local too, and the pods see the client's own address",
            own_address(stage, &vips.local),
        )
        .await;
    steps
        .check(
            "by the exact address",
            answers(stage, &[IpAddr::from(EXACT)], &ALL_NODES),
        )
        .await;
    steps
        .check(
            "by the ClusterIPs of a Service inside the cluster",
            answers(stage, &vips.inside, &ALL_NODES),
        )
        .await;
    steps
        .check(
            "the client on the LAN is answered by on-lan: one node answers its ARP",
            on_lan(stage, &vips.lan),
        )
        .await;
}

async fn answers(stage: &Stage, addresses: &[IpAddr], nodes: &[&str]) -> Result<String> {
    let client = stage.client()?;
    for address in addresses {
        let to = SocketAddr::new(*address, 80);
        stage.world.answers(client, to, nodes).await?;
    }
    let from = nodes.join(", ");
    Ok(format!(
        "{}: the last twenty answers came from {from}",
        listed(addresses)
    ))
}

async fn own_address(stage: &Stage, addresses: &[IpAddr]) -> Result<String> {
    let mut seen = vec![answers(stage, addresses, &LOCAL_NODES).await?];
    let client = stage.client()?;
    for address in addresses {
        let to = SocketAddr::new(*address, 80);
        let answer = client.get(to, Duration::from_secs(1)).await?;
        let own = client.address().of_family(*address);
        ensure!(
            answer.client == own,
            "a pod saw {} instead of {own}",
            answer.client
        );
        seen.push(format!("they saw {own}"));
    }
    Ok(seen.join("; "))
}

async fn on_lan(stage: &Stage, addresses: &[IpAddr]) -> Result<String> {
    for address in addresses {
        let to = SocketAddr::new(*address, 80);
        let client = stage.lan_client();
        stage.world.answers(client, to, &ALL_NODES).await?;
    }
    let node = sole_answerer(stage, v4(addresses)?).await?;
    Ok(format!(
        "{}: {node} answers ARP, pods of all nodes the requests",
        listed(addresses)
    ))
}

/// The one node that answers ARP for an address, asked three times.
async fn sole_answerer(stage: &Stage, vip: IpAddr) -> Result<String> {
    // It fails when nobody answers; then it has printed no hardware address.
    let ask = format!("arping -c 3 -w 4 -I eth0 {vip} || true");
    retry_until(
        SOON,
        &format!("one node to answer ARP for {vip}"),
        async || {
            let text = stage.lan_client().exec(&["sh", "-c", &ask])?;
            let macs = text.split(['[', ']']).skip(1).step_by(2);
            let macs: BTreeSet<String> = macs.map(str::to_lowercase).collect();
            let [mac] = macs.iter().collect::<Vec<_>>()[..] else {
                anyhow::bail!("{macs:?} answer");
            };
            let node = stage.node_with_mac(mac)?;
            node.map(str::to_owned)
                .with_context(|| format!("{mac} is no node's"))
        },
    )
    .await
}

async fn lose_power(steps: &mut Steps, stage: &mut Stage, vips: &Vips) {
    let mut told = None;
    steps
        .check(
            "power loss of the node that answers ARP for on-lan: how long clients noticed",
            async {
                let (node, figures) = power_loss(stage, vips).await?;
                told = Some(node);
                Ok(figures)
            },
        )
        .await;
    if let Some(dead) = told {
        steps
            .check(
                "power is back: routes return, and on-lan stays where it is",
                async { power_back(stage, vips, &dead).await },
            )
            .await;
    }
}

async fn power_loss(stage: &mut Stage, vips: &Vips) -> Result<(String, String)> {
    let (routed, local) = (v4(&vips.web)?, v4(&vips.lan)?);
    let dead = sole_answerer(stage, local).await?;
    let outage = Outage::begin(stage, &dead, routed, local).await?;
    retry_until(SOON, "all clients to be served again", async || {
        ensure!(outage.is_over(), "so far:\n{}", outage.figures());
        Ok(())
    })
    .await?;
    let others: Vec<&str> = ALL_NODES.into_iter().filter(|node| *node != dead).collect();
    routes(stage, vec![routed.into()], &others).await?;
    answers(stage, &[routed], &others).await?;
    let taker = sole_answerer(stage, local).await?;
    ensure!(taker != dead, "{dead} still answers ARP for {local}");
    let figures = format!(
        "{dead} lost power; now {taker} answers ARP for {local}, and the router has {} for {routed}\n{}\n\
         simulated: the endpoints of {dead} are not ready at once; a real cluster takes 40 to 50 s to notice a lost\n\
         node, and until then a third of the requests end at its pods, whoever announces",
        others.join(" and "),
        outage.figures()
    );
    Ok((dead, figures))
}

async fn power_back(stage: &mut Stage, vips: &Vips, dead: &str) -> Result<String> {
    let (routed, local) = (v4(&vips.web)?, v4(&vips.lan)?);
    let before = sole_answerer(stage, local).await?;
    stage.heal(dead).await?;
    let seen = routes(stage, vec![routed.into()], &ALL_NODES).await?;
    answers(stage, &[routed], &ALL_NODES).await?;
    let after = sole_answerer(stage, local).await?;
    ensure!(before == after, "{local} moved from {before} to {after}");
    Ok(format!("{seen}; {after} still answers ARP for {local}"))
}

async fn show(stage: &Stage) -> Result<()> {
    let snapshot = snapshot::take(stage).await?;
    println!("\n{}", table::render(&snapshot, Detail::Counts));
    Ok(())
}

/// The IPv4 address among those of a Service.
pub(crate) fn v4(addresses: &[IpAddr]) -> Result<IpAddr> {
    let found = addresses.iter().copied().find(IpAddr::is_ipv4);
    found.context("it has no IPv4 address")
}

fn listed<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> String {
    let addresses = addresses.into_iter().map(IpAddr::to_string);
    addresses.collect::<Vec<_>>().join(", ")
}
