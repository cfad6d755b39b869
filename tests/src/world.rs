//! A whole cluster in a lab: API server, nodes with proxies and pods, controllers and speakers as the processes that
//! users run. Scenarios and the demo start here.
//!
//! ```text
//! client ── router (FRR, BIRD, GoBGP) ── node-1 … node-N ── pods
//!                                        speaker, proxy          API server, controllers (root namespace)
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::DynamicObject;

use crate::kubernetes::{Cluster, Endpoint, Face, ServiceProxy};
use crate::lab::{Host, Lab, Layout, Pod, Process, Program, Report, retry_until};

/// Time for anything that should take less than a second, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(30);
/// Our AS in every scenario.
pub const NODE_AS: u32 = 4_200_000_001;
/// The routers' AS.
pub const ROUTER_AS: u32 = 65_001;
/// Addresses of [`POOL`].
pub const POOL_RANGES: [&str; 2] = ["192.0.2.0/24", "2001:db8:aa::/112"];
/// One pool with both families.
pub const POOL: &str = "
apiVersion: portolan.dev/v1alpha1
kind: IPAddressPool
metadata: { name: pool }
spec: { addresses: [192.0.2.0/24, 2001:db8:aa::/112] }
";
/// Announces all pools by ARP and NDP.
pub const L2: &str = "
apiVersion: portolan.dev/v1alpha1
kind: L2Advertisement
metadata: { name: l2 }
spec: { interfaces: [eth0] }
";
/// Announces all pools by BGP.
pub const BGP: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BGPAdvertisement
metadata: { name: bgp }
spec: { communities: ['65000:100', 'large:4200000001:1:2'] }
";

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Which API server.
    pub face: Face,
    /// Nodes and routers.
    pub layout: Layout,
    /// Controllers, started side by side.
    pub controllers: u8,
    /// Whether nodes forward to pods (kube-proxy, or its stand-in) and have a pod each.
    pub data_path: bool,
}

impl Shape {
    /// Two nodes, one router, one controller, with pods.
    #[must_use]
    pub fn of(face: Face) -> Self {
        Self {
            face,
            layout: Layout::default(),
            controllers: 1,
            data_path: true,
        }
    }
}

/// A running cluster. Dropping it ends and removes all of it.
pub struct World {
    /// Controllers, in the root namespace.
    pub controllers: Vec<Process>,
    /// Speakers, one per node in the order of the nodes.
    pub speakers: Vec<Process>,
    /// What brings connections to pods, one per node.
    pub proxies: Vec<ServiceProxy>,
    /// One pod per node in the order of the nodes.
    pub pods: Vec<Pod>,
    /// The API server.
    pub cluster: Cluster,
    /// The network.
    pub lab: Lab,
}

impl World {
    /// Starts everything, without any configuration. Returns when the controllers and speakers run, not when they
    /// are ready: scenarios wait for what they are about.
    pub async fn start(shape: Shape) -> Result<Self> {
        let lab = Lab::start(shape.layout)?;
        let cluster = Cluster::start(shape.face, &lab).await?;
        Self::around(lab, cluster, shape).await
    }

    /// As [`Self::start`], around a lab and an API server that run already; the shape says the rest.
    ///
    /// # Errors
    /// When a program is not built or the API server refuses.
    pub async fn around(lab: Lab, cluster: Cluster, shape: Shape) -> Result<Self> {
        let mut world = Self {
            controllers: Vec::new(),
            speakers: Vec::new(),
            proxies: Vec::new(),
            pods: Vec::new(),
            cluster,
            lab,
        };
        world
            .cluster
            .apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: portolan-system }\n")
            .await?;
        for node in &world.lab.nodes {
            world.cluster.create_node(node).await?;
            if shape.data_path {
                world.proxies.push(world.cluster.start_proxy(node).await?);
                world
                    .pods
                    .push(node.add_pod(&format!("pod-{}", node.number()))?);
            }
        }
        for number in 0..shape.controllers {
            let controller = world.start_controller(number)?;
            world.controllers.push(controller);
        }
        for index in 0..world.lab.nodes.len() {
            let speaker = world.start_speaker(index)?;
            world.speakers.push(speaker);
        }
        Ok(world)
    }

    /// Starts a controller. Each number is an identity and a port of its own.
    pub fn start_controller(&self, number: u8) -> Result<Process> {
        self.start_controller_with(number, &[])
    }

    /// As [`Self::start_controller`], with more flags.
    ///
    /// # Errors
    /// When the program is not built or can not be started.
    pub fn start_controller_with(&self, number: u8, flags: &[&str]) -> Result<Process> {
        let name = format!("controller-{number}");
        let listen = SocketAddr::new(self.lab.management().into(), 7472 + u16::from(number));
        let program = Program::new(binary("portolan-controller")?)
            .named(&name)
            .args(["--identity", &name, "--namespace", "portolan-system"])
            .arg("--listen")
            .arg(listen.to_string())
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .args(["--log", &log_filter()])
            .args(flags);
        self.lab.outside.spawn(program)
    }

    /// Starts the speaker of a node.
    pub fn start_speaker(&self, index: usize) -> Result<Process> {
        let node = self.lab.nodes.get(index).context("no such node")?;
        let program = Program::new(binary("portolan-speaker")?)
            .named("speaker")
            .args(["--node-name", node.name(), "--namespace", "portolan-system"])
            .args(["--listen", "0.0.0.0:7472"])
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .args(["--log", &log_filter()]);
        node.host.spawn(program)
    }

    /// Applies manifests.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        self.cluster.apply(yaml).await
    }

    /// Creates a dual-stack Service of type LoadBalancer in namespace default whose endpoints are these pods, and waits
    /// for its two addresses.
    pub async fn service(&self, name: &str, policy: &str, pods: &[&Pod]) -> Result<Vec<IpAddr>> {
        self.apply(&service_yaml(name, policy)).await?;
        let endpoints: Vec<Endpoint> = pods.iter().map(|pod| Endpoint::ready(pod)).collect();
        self.cluster
            .set_endpoints("default", name, &endpoints)
            .await?;
        self.vips(name, 2).await
    }

    /// As [`Self::service`], with an endpoint on the first node that never answers.
    pub async fn service_without_pods(&self, name: &str) -> Result<Vec<IpAddr>> {
        self.apply(&service_yaml(name, "Cluster")).await?;
        self.cluster
            .set_endpoints("default", name, &[Endpoint::without_pod("node-1")])
            .await?;
        self.vips(name, 2).await
    }

    /// Waits for that many addresses of a Service in namespace default.
    pub async fn vips(&self, name: &str, count: usize) -> Result<Vec<IpAddr>> {
        let what = format!("{count} addresses of Service {name}");
        retry_until(SOON, &what, async || {
            let held = self.held(name).await?;
            ensure!(held.len() == count, "it has {held:?}");
            Ok(held)
        })
        .await
    }

    /// Addresses in the status of a Service in namespace default.
    pub async fn held(&self, name: &str) -> Result<Vec<IpAddr>> {
        let services: Api<Service> = Api::default_namespaced(self.cluster.client());
        let status = services.get(name).await?.status.unwrap_or_default();
        let entries = status
            .load_balancer
            .unwrap_or_default()
            .ingress
            .unwrap_or_default();
        let parse = |ip: String| ip.parse().with_context(|| format!("status holds {ip:?}"));
        entries
            .into_iter()
            .filter_map(|entry| entry.ip)
            .map(parse)
            .collect()
    }

    /// The addresses that a Service in namespace default has inside of the cluster.
    pub async fn cluster_ips(&self, name: &str) -> Result<Vec<IpAddr>> {
        let services: Api<Service> = Api::default_namespaced(self.cluster.client());
        let spec = services.get(name).await?.spec.unwrap_or_default();
        let addresses = spec.cluster_ips.unwrap_or_default();
        addresses.iter().map(|ip| Ok(ip.parse()?)).collect()
    }

    /// Waits until the last twenty answers that a client gets come from exactly these nodes, none missing.
    pub async fn answers(&self, client: &Host, to: SocketAddr, nodes: &[&str]) -> Result<()> {
        let prober = client.probe(to, Duration::from_millis(20), Duration::from_secs(1))?;
        let what = format!("answers of {to} from exactly {nodes:?}");
        retry_until(SOON, &what, async || only(&prober.report(), nodes)).await
    }
}

fn only(report: &Report, nodes: &[&str]) -> Result<()> {
    let last: Vec<_> = report.attempts.iter().rev().take(20).collect();
    ensure!(
        last.len() == 20 && last.iter().all(|it| it.outcome.is_ok()),
        "{report}"
    );
    let answers = last.iter().filter_map(|it| it.outcome.as_ref().ok());
    let seen: std::collections::BTreeSet<&str> = answers.map(|answer| &*answer.node).collect();
    ensure!(seen.iter().eq(nodes), "the last ones came from {seen:?}");
    Ok(())
}

/// A dual-stack Service of type LoadBalancer in namespace default.
#[must_use]
pub fn service_yaml(name: &str, policy: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: default }}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: {policy}
  ports: [{{ name: http, port: 80, targetPort: {} }}]
",
        Pod::PORT
    )
}

/// A BGPPeer at one address of a router; `more` are further lines of its specification, two spaces deep.
#[must_use]
pub fn peer_yaml(name: &str, address: IpAddr, more: &str) -> String {
    format!(
        "
apiVersion: portolan.dev/v1alpha1
kind: BGPPeer
metadata: {{ name: {name} }}
spec:
  myASN: {NODE_AS}
  peerASN: {ROUTER_AS}
  peerAddress: '{address}'
  holdTime: 9s
{more}
"
    )
}

/// A program of this workspace: from the directory that `PORTOLAN_BIN_DIR` names, else built beside the one that runs.
///
/// # Errors
/// When it is not there: the suite starts what `cargo build --workspace` built.
pub fn binary(name: &str) -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("PORTOLAN_BIN_DIR") {
        let path = PathBuf::from(directory).join(name);
        ensure!(path.is_file(), "PORTOLAN_BIN_DIR: no {}", path.display());
        return Ok(path);
    }
    let this = std::env::current_exe().context("where this program is")?;
    let folders = this.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run cargo build --workspace"))
}

fn log_filter() -> String {
    std::env::var("PORTOLAN_TEST_LOG").unwrap_or_else(|_| "info".to_owned())
}
