//! What there is at one moment, seen from outside: addresses from the API server, announcers from the router's BGP table
//! and from the neighbour table of the client on the LAN, next hops from the router's kernel, answers from pods.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{Service, ServiceSpec, ServiceStatus};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use portolan_api::annotation::{ASSIGNED, L2_NODES};
use portolan_tests::lab::Prober;
use portolan_tests::lab::router::Router as _;

use crate::endpoints::services;
use crate::stage::Stage;

/// Addresses that are asked and shown; more are counted.
const SHOWN: usize = 24;
/// How long each address is asked.
const WINDOW: Duration = Duration::from_secs(1);
/// Between two requests to one address.
const INTERVAL: Duration = Duration::from_millis(50);
/// A later answer counts as none.
const LIMIT: Duration = Duration::from_millis(900);

/// One moment.
pub(crate) struct Snapshot {
    pub(crate) rows: Vec<Row>,
    /// Addresses beyond those in `rows`.
    pub(crate) more: usize,
    /// Sessions of the router: established, and all.
    pub(crate) sessions: (usize, usize),
}

/// One address of one Service, or a Service without any.
pub(crate) struct Row {
    pub(crate) service: String,
    pub(crate) address: Option<IpAddr>,
    /// Nodes that attract traffic for the address.
    pub(crate) announcers: Vec<String>,
    /// The prefix that brings packets here, if a router has it: the address alone, or the ClusterIP range.
    pub(crate) prefix: Option<IpNetwork>,
    /// Next hops of that prefix in the router's kernel.
    pub(crate) hops: Vec<IpAddr>,
    pub(crate) answers: Answers,
}

/// What a client got.
pub(crate) enum Answers {
    /// The Service has no address, for this reason and in these words.
    Refused { reason: String, message: String },
    /// No address yet, or no TCP port to ask.
    Nothing,
    /// Requests, and answers by node.
    Counted {
        asked: usize,
        by_node: BTreeMap<String, usize>,
    },
}

/// Where to look for an address.
struct Place {
    service: String,
    address: IpAddr,
    port: Option<u16>,
    prefix: Option<IpNetwork>,
    layer2: bool,
}

/// Looks once, for about a second.
pub(crate) async fn take(stage: &Stage) -> Result<Snapshot> {
    let ranges = service_ranges(stage).await?;
    let (mut places, mut rows) = (Vec::new(), Vec::new());
    for service in services(&stage.world).await? {
        let found = places_of(&service, &ranges);
        if found.is_empty() {
            rows.push(Row::without_address(&service));
        }
        places.extend(found);
    }
    let more = places.len().saturating_sub(SHOWN);
    places.truncate(SHOWN);
    let probers = places.iter().map(|place| ask(stage, place));
    let probers = probers.collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(WINDOW).await;
    for (place, prober) in places.into_iter().zip(probers) {
        rows.push(look(stage, place, prober).await?);
    }
    rows.sort_by(|a, b| (&a.service, a.address).cmp(&(&b.service, b.address)));
    let sessions = tokio::task::block_in_place(|| stage.frr.sessions())?;
    let established = sessions.iter().filter(|it| it.is_established()).count();
    Ok(Snapshot {
        rows,
        more,
        sessions: (established, sessions.len()),
    })
}

fn places_of(service: &Service, ranges: &[IpNetwork]) -> Vec<Place> {
    let spec = service.spec.clone().unwrap_or_default();
    let is_balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let addresses = if is_balanced {
        vips(service.status.clone().unwrap_or_default())
    } else {
        let ips = spec.cluster_ips.clone().unwrap_or_default();
        ips.iter().filter_map(|ip| ip.parse().ok()).collect() // headless Services say `None`
    };
    let layer2 = service.annotations().contains_key(L2_NODES);
    let place = |address: IpAddr| {
        let range = ranges.iter().copied().find(|it| it.contains(address));
        Place {
            service: service.name_any(),
            address,
            port: tcp_port(&spec),
            prefix: if is_balanced {
                Some(address.into())
            } else {
                range
            },
            layer2,
        }
    };
    addresses.into_iter().map(place).collect()
}

/// The addresses in a Service's status.
pub(crate) fn vips(status: ServiceStatus) -> Vec<IpAddr> {
    let ingress = status.load_balancer.unwrap_or_default().ingress;
    let ips = ingress.into_iter().flatten().filter_map(|entry| entry.ip);
    ips.filter_map(|ip| ip.parse().ok()).collect()
}

fn tcp_port(spec: &ServiceSpec) -> Option<u16> {
    let mut ports = spec.ports.iter().flatten();
    let port = ports.find(|port| port.protocol.as_deref().is_none_or(|it| it == "TCP"))?;
    u16::try_from(port.port).ok()
}

async fn service_ranges(stage: &Stage) -> Result<Vec<IpNetwork>> {
    let api: Api<ServiceCIDR> = Api::all(stage.world.cluster.client());
    let objects = api.list(&ListParams::default()).await?;
    let cidrs = objects
        .into_iter()
        .filter_map(|it| it.spec?.cidrs)
        .flatten();
    cidrs
        .map(|cidr| cidr.parse().with_context(|| format!("ServiceCIDR {cidr}")))
        .collect()
}

/// Layer-2 addresses are asked on the LAN, all others through the router.
fn ask(stage: &Stage, place: &Place) -> Result<Option<Prober>> {
    let Some(port) = place.port else {
        return Ok(None);
    };
    let client = if place.layer2 {
        stage.lan_client()
    } else {
        stage.client()?
    };
    let to = SocketAddr::new(place.address, port);
    client.probe(to, INTERVAL, LIMIT).map(Some)
}

async fn look(stage: &Stage, place: Place, prober: Option<Prober>) -> Result<Row> {
    let (announcers, hops) = tokio::task::block_in_place(|| announced(stage, &place))?;
    let answers = match prober {
        Some(prober) => counted(&prober.finish().await?),
        None => Answers::Nothing,
    };
    Ok(Row {
        service: place.service,
        address: Some(place.address),
        announcers,
        prefix: place.prefix,
        hops,
        answers,
    })
}

fn announced(stage: &Stage, place: &Place) -> Result<(Vec<String>, Vec<IpAddr>)> {
    let mut announcers = Vec::new();
    let mut hops = Vec::new();
    if let Some(prefix) = place.prefix {
        let next = stage.frr.next_hops(prefix)?;
        announcers.extend(next.into_iter().filter_map(|hop| stage.node_at(hop)));
        hops = stage.world.lab.kernel_hops(stage.router()?, prefix)?;
    }
    if place.layer2 {
        announcers.extend(stage.believed_answerer(place.address)?);
    }
    announcers.sort_unstable();
    announcers.dedup();
    Ok((announcers.into_iter().map(str::to_owned).collect(), hops))
}

fn counted(report: &portolan_tests::lab::Report) -> Answers {
    let mut by_node = BTreeMap::new();
    for answer in report.answers() {
        *by_node.entry(answer.node.clone()).or_default() += 1;
    }
    Answers::Counted {
        asked: report.attempts.len(),
        by_node,
    }
}

impl Row {
    fn without_address(service: &Service) -> Self {
        let refused = |(reason, message)| Answers::Refused { reason, message };
        Self {
            service: service.name_any(),
            address: None,
            announcers: Vec::new(),
            prefix: None,
            hops: Vec::new(),
            answers: refusal(service).map_or(Answers::Nothing, refused),
        }
    }
}

/// Reason and message of a Service that was not given what it wants.
pub(crate) fn refusal(service: &Service) -> Option<(String, String)> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    let assigned = conditions.iter().find(|it| it.type_ == ASSIGNED)?;
    (assigned.status == "False").then(|| (assigned.reason.clone(), assigned.message.clone()))
}
