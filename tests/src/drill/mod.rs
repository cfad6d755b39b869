//! Layer-2 drills: a Service, four clients, and everything that can happen to the node that answers for it.
//!
//! ```text
//! settled ─► pulses start ─► fault ─► somebody answers for good ─► pulses anew ─► heal ─► settled
//!            └──────────── phase `fault` ───────────────────────┘ └──────── phase `heal` ───────┘
//! ```
//!
//! Nodes 1 to 3 announce, node 4 has the pod: what is measured is who answers, not when a dead pod is noticed. Each
//! client sends a datagram every 2 ms and opens a connection every 20 ms, to both families. The switch asks for
//! both addresses every 10 ms, and its [tap](crate::lab::Tap) judges who answered when.

mod crowd;
mod fault;
mod outcome;
pub mod page;

pub use crowd::{Crowd, Taken};
pub use fault::Fault;
pub use outcome::{Outcome, Phase, Place, View, Wire};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::try_join;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use portolan_api::annotation::L2_NODES;
use portolan_api::crd::NodeReport;
use portolan_proto::ethernet::MacAddr;

use crate::kubernetes::{Endpoint, Face};
use crate::lab::{
    Claim, Half, Host, Layout, Pod, Prober, Pulse, Questioner, Tap, longest_overlap,
    longest_silence, now, retry_until, tenures,
};
use crate::world::{Shape, World};

/// Time for anything that should take less than a second, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);
/// Who is silent for longer has stopped to answer.
const PATIENCE: Duration = Duration::from_millis(200);
/// Between two questions on the wire.
const QUESTION: Duration = Duration::from_millis(10);
/// Between two datagrams of a client.
const BEAT: Duration = Duration::from_millis(2);
/// Between two connections of a client, and the longest that one may take.
const PACE: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(1);
/// How long clients ask before the fault.
const BEFORE: Duration = Duration::from_millis(200);
/// How long a fault lasts at least: reports of the survivors, one a second, have told of it then.
const AT_LEAST: Duration = Duration::from_millis(1500);
/// Nodes that announce; one more has the pod.
const ANNOUNCERS: usize = 3;

/// Addresses of the LAN itself: layer 2 serves those who look for them on their own link.
pub const LAN_POOL: &str = "
apiVersion: portolan.dev/v1alpha1
kind: IPAddressPool
metadata: { name: lan }
spec: { addresses: [172.30.200.0/24, 'fd00:30::aa00/120'] }
";

/// A running cluster to play faults in.
pub struct Drill {
    /// The cluster.
    pub world: World,
    /// The two addresses of Service `web`, IPv4 first.
    pub vips: Vec<IpAddr>,
    /// All ARP and NDP on the switch.
    pub tap: Tap,
    macs: Vec<MacAddr>,
    _questions: Questioner,
}

/// What the clients of one phase run.
struct Clients {
    since: Duration,
    running: Vec<Client>,
}

type Client = (IpAddr, Place, Pulse, Prober);

impl Drill {
    /// Starts a cluster and waits until it is settled. `more` are further lines of the L2Advertisement's specification, two
    /// spaces deep.
    ///
    /// # Errors
    /// When it does not settle in time.
    pub async fn start(face: Face, more: &str) -> Result<Self> {
        let layout = Layout {
            nodes: u8::try_from(ANNOUNCERS)? + 1,
            routers: 1,
        };
        let world = World::start(Shape {
            layout,
            ..Shape::of(face)
        })
        .await?;
        world
            .apply(&format!(
                "{LAN_POOL}---{}---{}",
                advertisement(more),
                service()
            ))
            .await?;
        let pod = world.pods.last().context("a pod on the last node")?;
        let endpoints = [Endpoint::ready(pod)];
        world
            .cluster
            .set_endpoints("default", "web", &endpoints)
            .await?;
        let mut vips = world.vips("web", 2).await?;
        vips.sort_unstable();
        let nodes = world.lab.nodes.iter();
        let macs = nodes
            .map(|node| node.host.hardware_address("eth0"))
            .collect::<Result<_>>()?;
        let tap = world.lab.tap()?;
        let questions = world.lab.question(Half::Main, &vips, QUESTION)?;
        let drill = Self {
            world,
            vips,
            tap,
            macs,
            _questions: questions,
        };
        drill.settled().await?;
        for vip in &drill.vips {
            let to = SocketAddr::new(*vip, 80);
            for (_, client) in drill.clients() {
                drill
                    .world
                    .answers(client, to, &[pod_node(&drill.world)?])
                    .await?;
            }
        }
        Ok(drill)
    }

    /// Plays one fault from beginning to end.
    ///
    /// # Errors
    /// When nobody takes over in time, or it does not settle afterwards.
    pub async fn run(&mut self, fault: Fault) -> Result<Outcome> {
        let before = self.settled().await?;
        self.tap.forget();
        fault.prepare(&mut self.world).await?;
        let clients = self.start_clients()?;
        tokio::time::sleep(BEFORE).await;
        let began = now();
        fault.strike(&mut self.world, before).await?;
        tokio::time::sleep(AT_LEAST.saturating_sub(now().saturating_sub(began))).await;
        let answering = async || {
            let holder = self.holder()?;
            ensure!(
                !fault.moves() || holder != before,
                "node-{} still does",
                before + 1
            );
            Ok(holder)
        };
        let holder = retry_until(SOON, "somebody else to answer", answering).await?;
        let fault_phase = self.judge(clients, holder).await?;
        let clients = self.start_clients()?;
        fault.heal(&mut self.world, before).await?;
        let holder = self.settled().await?;
        let heal = self.judge(clients, holder).await?;
        Ok(Outcome {
            before,
            fault: fault_phase,
            heal,
        })
    }

    /// Waits until one node answers for both addresses, the placement names it first, and all that announce watch each other.
    /// Returns its index.
    ///
    /// # Errors
    /// When that takes too long; the error says what is missing.
    pub async fn settled(&self) -> Result<usize> {
        for index in 0..ANNOUNCERS {
            fault::ready(&self.world, index).await?;
        }
        retry_until(SOON, "the cluster to settle", async || {
            let holder = self.holder()?;
            let placed = self.placed().await?;
            ensure!(
                placed.first() == Some(&holder),
                "node-{} answers, placed are {placed:?}",
                holder + 1
            );
            ensure!(placed.len() == ANNOUNCERS, "only {placed:?} are placed");
            self.all_watched().await?;
            Ok(holder)
        })
        .await
    }

    /// The one node that answered for both addresses in the last moments.
    ///
    /// # Errors
    /// When it was none, or several.
    pub fn holder(&self) -> Result<usize> {
        let since = now().saturating_sub(PATIENCE);
        let mut holders = Vec::new();
        for vip in &self.vips {
            let claims = self.tap.heard(Half::Main, *vip);
            let mut macs: Vec<MacAddr> = recent(&claims, since).collect();
            macs.sort_unstable();
            macs.dedup();
            ensure!(macs.len() == 1, "for {vip} answer {macs:?}");
            let index = self.macs.iter().position(|mac| macs.contains(mac));
            holders.push(index.with_context(|| format!("{macs:?} is no node"))?);
        }
        ensure!(
            holders.iter().all(|it| holders.first() == Some(it)),
            "different nodes: {holders:?}"
        );
        holders.first().copied().context("no address")
    }

    /// Indices of the nodes that the placement names, in its order.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn placed(&self) -> Result<Vec<usize>> {
        let services: Api<Service> = Api::default_namespaced(self.world.cluster.client());
        let service = services.get("web").await?;
        let list = service
            .annotations()
            .get(L2_NODES)
            .cloned()
            .unwrap_or_default();
        let nodes = &self.world.lab.nodes;
        let index = |name: &str| nodes.iter().position(|node| node.name() == name);
        Ok(list.split(',').filter_map(index).collect())
    }

    async fn all_watched(&self) -> Result<()> {
        let reports: Api<NodeReport> = Api::all(self.world.cluster.client());
        let reports = reports.list(&ListParams::default()).await?;
        for node in self.world.lab.nodes.iter().take(ANNOUNCERS) {
            let report = reports
                .iter()
                .find(|report| report.name_any() == node.name());
            let status = report.and_then(|report| report.status.as_ref());
            let watched = status
                .map(|status| &status.neighbours[..])
                .unwrap_or_default();
            let up = watched.iter().filter(|it| it.bfd.state == "Up").count();
            ensure!(
                up == ANNOUNCERS - 1,
                "{} sees {up} others: {watched:?}",
                node.name()
            );
        }
        Ok(())
    }

    fn clients(&self) -> [(Place, &Host); 2] {
        let lab = &self.world.lab;
        let behind = lab.clients.first().unwrap_or(&lab.lan_client);
        [
            (Place::OnLink, &lab.lan_client),
            (Place::BehindRouter, behind),
        ]
    }

    fn start_clients(&self) -> Result<Clients> {
        let mut running = Vec::new();
        for vip in &self.vips {
            let to = SocketAddr::new(*vip, 80);
            for (place, client) in self.clients() {
                running.push((
                    *vip,
                    place,
                    client.pulse(to, BEAT)?,
                    client.probe(to, PACE, LIMIT)?,
                ));
            }
        }
        Ok(Clients {
            since: now(),
            running,
        })
    }

    async fn judge(&self, clients: Clients, holder: usize) -> Result<Phase> {
        let until = now();
        let ended = clients.running.into_iter().map(end);
        let views = try_join_all(ended).await?;
        let wire = self.vips.iter().map(|vip| {
            let mut claims = self.tap.heard(Half::Main, *vip);
            claims.retain(|claim| claim.at >= clients.since && claim.at <= until);
            Wire {
                vip: *vip,
                overlap: longest_overlap(&tenures(&claims, PATIENCE)),
                silence: longest_silence(&claims, clients.since, until),
            }
        });
        Ok(Phase {
            views,
            wire: wire.collect(),
            holder,
        })
    }
}

async fn end((vip, place, pulse, prober): Client) -> Result<View> {
    let (rhythm, requests) = try_join!(pulse.finish(), prober.finish())?;
    Ok(View {
        vip,
        place,
        rhythm,
        requests,
    })
}

fn recent(claims: &[Claim], since: Duration) -> impl Iterator<Item = MacAddr> {
    claims
        .iter()
        .filter(move |claim| claim.at >= since)
        .map(|claim| claim.mac)
}

fn pod_node(world: &World) -> Result<&str> {
    Ok(world.pods.last().context("a pod")?.node())
}

/// All nodes but the one with the pod.
fn advertisement(more: &str) -> String {
    let pod_node = ANNOUNCERS + 1;
    format!(
        "
apiVersion: portolan.dev/v1alpha1
kind: L2Advertisement
metadata: {{ name: l2 }}
spec:
  interfaces: [eth0]
  nodeSelectors:
  - matchExpressions: [{{ key: kubernetes.io/hostname, operator: NotIn, values: [node-{pod_node}] }}]
{more}
"
    )
}

/// One port for connections, one for datagrams.
fn service() -> String {
    let port = Pod::PORT;
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{ name: web, namespace: default }}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ports:
  - {{ name: http, port: 80, targetPort: {port} }}
  - {{ name: pulse, port: 80, targetPort: {port}, protocol: UDP }}
"
    )
}
