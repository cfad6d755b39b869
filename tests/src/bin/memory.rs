//! Resident memory of the controller as the kernel counts it: the release binary against the in-memory API server.
//!
//! ```sh
//! cargo build --release -p portolan-controller
//! cargo run -p portolan-tests --bin memory -- 5000 20000
//! ```
//!
//! For each number of Services: none, all created while it runs, and a start that finds them all. "Now" is when the
//! next Service has been served, "later" ten seconds after, "peak" the most there ever was.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use portolan_api::crd::{IPAddressPool, IPAddressPoolSpec};
use portolan_api::view;
use portolan_tests::apiserver::ApiServer;
use portolan_tests::kubernetes::definitions;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// Requests on their way at the same time.
const CONCURRENCY: usize = 16;
/// Services are spread over these.
const NAMESPACES: usize = 50;
/// Longest time until everybody has an address.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures the controller's resident memory.
#[derive(Debug, Parser)]
struct Flags {
    /// Numbers of Services.
    #[arg(default_values_t = [5000, 20_000])]
    services: Vec<usize>,
    /// Directory of the program.
    #[arg(long, env = "PORTOLAN_BIN_DIR", default_value = "target/release")]
    programs: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let program = flags.programs.join("portolan-controller");
    println!("| Services | moment | resident | of it the program's file | peak |");
    println!("|---|---|---|---|---|");
    for count in flags.services {
        measure(&program, count).await?;
    }
    Ok(())
}

async fn measure(program: &PathBuf, count: usize) -> Result<()> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = ApiServer::start(listen, definitions()?).await?;
    let kubeconfig = std::env::temp_dir().join(format!("portolan-memory-{}", std::process::id()));
    std::fs::write(&kubeconfig, server.kubeconfig()).context("writing the kubeconfig")?;
    let client = client(&server).await?;
    prepare(&client).await?;

    let mut controller = Controller::start(program, &kubeconfig)?;
    create(&client, "first", 0).await?;
    served(&client, 1).await?;
    controller.line(0, "started")?;
    futures::stream::iter(1..count)
        .map(|index| create(&client, "web", index))
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    served(&client, count).await?;
    controller.line(count, "all created, now")?;
    sleep(Duration::from_secs(10)).await;
    controller.line(count, "all created, later")?;
    controller.kill().await?;

    let mut controller = Controller::start(program, &kubeconfig)?;
    create(&client, "next", count).await?;
    served(&client, count + 1).await?;
    controller.line(count, "started again, now")?;
    sleep(Duration::from_secs(10)).await;
    controller.line(count, "started again, later")?;
    controller.kill().await?;
    std::fs::remove_file(&kubeconfig).context("removing the kubeconfig")
}

async fn client(server: &ApiServer) -> Result<Client> {
    let config = Kubeconfig::from_yaml(&server.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("a client")
}

/// Namespaces and a pool that is large enough.
async fn prepare(client: &Client) -> Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let names = (0..NAMESPACES).map(namespace);
    for name in names.chain(["portolan-system".to_owned()]) {
        let object = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        let made = namespaces.create(&PostParams::default(), &object).await;
        made.with_context(|| format!("creating Namespace {name}"))?;
    }
    let spec: IPAddressPoolSpec = serde_json::from_value(json!({ "addresses": ["10.0.0.0/8"] }))?;
    let pools = Api::<IPAddressPool>::all(client.clone());
    let pool = IPAddressPool::new("default", spec);
    pools.create(&PostParams::default(), &pool).await?;
    Ok(())
}

fn namespace(index: usize) -> String {
    format!("team-{:02}", index % NAMESPACES)
}

/// A Service as a Helm chart makes it, with endpoints.
async fn create(client: &Client, name: &str, index: usize) -> Result<()> {
    let namespace = namespace(index);
    let name = format!("storefront-{index}-{name}");
    let labels = json!({
        "app.kubernetes.io/name": "storefront", "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "web", "app.kubernetes.io/version": "4.18.2",
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "storefront-4.18.2",
        "kubernetes.io/service-name": name,
    });
    let applied =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "labels": labels } });
    let annotations = json!({
        "kubectl.kubernetes.io/last-applied-configuration": applied.to_string(),
        "meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace,
    });
    let endpoint = |node: usize| {
        json!({
            "addresses": [Ipv4Addr::from(0x0af4_0000 + u32::try_from(index * 3 + node).unwrap_or_default()).to_string()],
            "nodeName": format!("worker-{:03}", (index + node) % 100),
            "conditions": { "ready": true, "serving": true, "terminating": false },
        })
    };
    let slice = serde_json::from_value(json!({
        "metadata": { "name": format!("{name}-x7k2p"), "labels": labels },
        "addressType": "IPv4", "endpoints": [endpoint(0), endpoint(1), endpoint(2)],
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    }))?;
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), &namespace);
    let made = slices.create(&PostParams::default(), &slice).await;
    made.with_context(|| format!("creating EndpointSlice {name}"))?;
    let service = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels, "annotations": annotations },
        "spec": {
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "selector": { "app.kubernetes.io/instance": name },
            "ports": [{ "name": "http", "port": 80 }, { "name": "https", "port": 443 }],
        },
    }))?;
    let services = Api::<Service>::namespaced(client.clone(), &namespace);
    let made = services.create(&PostParams::default(), &service).await;
    made.with_context(|| format!("creating Service {name}"))?;
    Ok(())
}

/// Waits until that many Services have an address.
async fn served(client: &Client, count: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let served = leading_served(client).await?;
        if served >= count {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{served} of {count} have an address"
        );
        sleep(Duration::from_millis(500)).await;
    }
}

/// Number of Services with an address before the first one without, in the order of the list. Small pages: the server
/// has others to answer.
async fn leading_served(client: &Client) -> Result<usize> {
    let services = Api::<view::Service>::all(client.clone());
    let mut parameters = ListParams::default().limit(250);
    let mut served = 0;
    loop {
        let page = services.list(&parameters).await?;
        // The API server has a Service of its own.
        let mut ours = page.items.iter().filter(|service| service.wants(None));
        served += ours
            .by_ref()
            .take_while(|service| !service.vips().is_empty())
            .count();
        let token = page.metadata.continue_.filter(|token| !token.is_empty());
        match token.filter(|_| ours.next().is_none()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(served),
        }
    }
}

/// The program that is measured.
struct Controller {
    child: Child,
}

impl Controller {
    fn start(program: &PathBuf, kubeconfig: &PathBuf) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.args(["--namespace", "portolan-system", "--identity", "measured"]);
        command.args(["--listen", "127.0.0.1:0", "--log", "warn"]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let child = command.spawn();
        let child = child.with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child })
    }

    async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("killing the controller")
    }

    fn line(&mut self, count: usize, moment: &str) -> Result<()> {
        let Some(pid) = self.child.id() else {
            bail!("the controller has ended");
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |name: &str| -> Result<f64> {
            let mut fields = status.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = fields
                .find(|(key, _)| *key == name)
                .context("no such field")?;
            let kib: f64 = value.trim().trim_end_matches(" kB").parse()?;
            Ok(kib / 1024.0)
        };
        println!(
            "| {count} | {moment} | {:.1} MiB | {:.1} MiB | {:.1} MiB |",
            mib("VmRSS")?,
            mib("RssFile")?,
            mib("VmHWM")?,
        );
        Ok(())
    }
}
