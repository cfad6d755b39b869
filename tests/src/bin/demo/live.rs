//! The table kept up to date until Ctrl-C. Enter cuts the power of a node, and gives it back.
//!
//! On a terminal it has a screen of its own and is drawn in place; elsewhere it is printed again when it changes.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use portolan_tests::lab::{Tool, require};
use portolan_tests::world::binary;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::outage::Outage;
use crate::snapshot;
use crate::stage::Stage;
use crate::story::v4;
use crate::table::{self, Detail};

/// Another screen, so that the story is still there afterwards (xterm's control sequences, DECSET 1049).
const ENTER_SCREEN: &str = "\x1b[?1049h";
const LEAVE_SCREEN: &str = "\x1b[?1049l";
/// Lines that are too long end at the edge.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
/// What is right of the cursor is gone; what is below.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// The power of the nodes.
enum Power {
    /// On everywhere; what the last outage was like, if there was one.
    On(String),
    /// A node is without, and clients are still asking.
    Failing(Outage),
    /// A node is without, and clients have been served again for a while: this is what they noticed.
    Survived { node: String, figures: String },
}

/// Runs until `stop` is cancelled or the input says `q`.
pub(crate) async fn run(stage: &mut Stage, stop: &CancellationToken) -> Result<()> {
    let mut screen = Screen::open()?;
    let mut lines = input();
    let mut listening = true;
    let mut power = Power::On(String::new());
    let mut notice = String::new();
    let help = help(stage)?;
    let (mut table, mut problems) = (String::new(), String::new());
    loop {
        screen.show(&format!(
            "{table}{problems}\n{}\n{notice}\n{help}",
            power.told()
        ))?;
        problems = match stage.endpoints.sync(&stage.world).await {
            Ok(problems) => problems.join("\n"),
            Err(error) => format!("{error:#}"),
        };
        let moment = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            line = lines.recv(), if listening => {
                match line.as_deref().map(str::trim) {
                    Some("q") => return Ok(()),
                    Some(_) => notice = told(power.switch(stage).await),
                    None => listening = false,
                }
                continue;
            }
            moment = snapshot::take(stage) => moment,
        };
        power = power.observed();
        table = match &moment {
            Ok(snapshot) => table::render(snapshot, screen.detail()),
            Err(error) => format!("nothing to show: {error:#}\n"),
        };
    }
}

fn told(outcome: Result<()>) -> String {
    outcome.map_or_else(|error| format!("{error:#}\n"), |()| String::new())
}

impl Power {
    /// Off where it is on, and the other way round. After an error it is as it was.
    async fn switch(&mut self, stage: &mut Stage) -> Result<()> {
        *self = match self {
            Self::On(_) => Self::Failing(cut(stage).await?),
            Self::Failing(_) | Self::Survived { .. } => Self::On(self.heal(stage).await?),
        };
        Ok(())
    }

    async fn heal(&self, stage: &mut Stage) -> Result<String> {
        let node = match self {
            Self::Failing(outage) => outage.node(),
            Self::Survived { node, .. } => node,
            Self::On(told) => return Ok(told.clone()),
        };
        stage.heal(node).await?;
        Ok(format!("{}\n{node} has power again", self.told()))
    }

    /// Clients need not ask for ever.
    fn observed(self) -> Self {
        match self {
            Self::Failing(outage) if outage.is_over() => Self::Survived {
                node: outage.node().to_owned(),
                figures: outage.figures(),
            },
            other => other,
        }
    }

    fn told(&self) -> String {
        match self {
            Self::On(told) => told.clone(),
            Self::Failing(outage) => format!("{} lost power\n{}", outage.node(), outage.figures()),
            Self::Survived { node, figures } => format!("{node} lost power\n{figures}"),
        }
    }
}

/// The node that answers ARP for on-lan loses power.
async fn cut(stage: &mut Stage) -> Result<Outage> {
    let (routed, local) = (vip(stage, "web").await?, vip(stage, "on-lan").await?);
    // The client has just asked it, for the table.
    let node = stage.believed_answerer(local)?;
    let node = node.with_context(|| format!("no node answers ARP for {local}"))?;
    let node = node.to_owned();
    Outage::begin(stage, &node, routed, local).await
}

/// The IPv4 address of a Service.
async fn vip(stage: &Stage, service: &str) -> Result<IpAddr> {
    let services: Api<Service> = Api::default_namespaced(stage.world.cluster.client());
    let status = services.get(service).await?.status.unwrap_or_default();
    v4(&snapshot::vips(status)).with_context(|| format!("Service {service}"))
}

fn help(stage: &Stage) -> Result<String> {
    let kubectl = match require(Tool::KUBECTL) {
        Ok(_) => String::new(),
        Err(error) => format!(" ({error})"),
    };
    let plugin = binary("kubectl-portolan")?;
    let plugin = plugin.display();
    Ok(format!(
        "In another terminal{kubectl}:\n\
         \x20 export KUBECONFIG={}\n\
         \x20 kubectl get services,ipaddresspools,bgppeers,bgpadvertisements,l2advertisements,nodereports\n\
         \x20 kubectl create service loadbalancer mine --tcp=80:8080\n\
         \x20 kubectl annotate service mine portolan.dev/loadBalancerIPs=192.0.2.42\n\
         \x20 {plugin} status\n\
         \x20 {plugin} explain service impossible\n\
         Enter cuts the power of a node, and gives it back. Ctrl-C, or q and Enter, ends and removes everything.\n",
        stage.world.cluster.kubeconfig().display()
    ))
}

/// Lines of the standard input. The thread ends with the program: reading cannot be interrupted.
fn input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Where the table goes.
struct Screen {
    is_terminal: bool,
    last: String,
}

impl Screen {
    fn open() -> Result<Self> {
        let screen = Self {
            is_terminal: std::io::stdout().is_terminal(),
            last: String::new(),
        };
        if screen.is_terminal {
            write(&format!("{ENTER_SCREEN}{NO_WRAP}"))?;
        }
        Ok(screen)
    }

    /// Counts differ every second: on paper they would be news all the time.
    fn detail(&self) -> Detail {
        if self.is_terminal {
            Detail::Counts
        } else {
            Detail::Nodes
        }
    }

    fn show(&mut self, text: &str) -> Result<()> {
        if self.is_terminal {
            return write(&placed(text));
        }
        if self.last != text {
            write(&format!("\n{text}"))?;
            text.clone_into(&mut self.last);
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal && write(&format!("{WRAP}{LEAVE_SCREEN}")).is_err() {
            // The terminal is gone, and its screen with it.
        }
    }
}

/// Every line at its place: nothing flickers, and on a terminal that is too low the table does not scroll away (places
/// below the last line are the last line).
fn placed(text: &str) -> String {
    let lines = (1..).zip(text.lines());
    let lines = lines.map(|(row, line)| format!("\x1b[{row};1H{line}{CLEAR_LINE}"));
    lines
        .chain([CLEAR_BELOW.to_owned()])
        .collect::<Vec<_>>()
        .concat()
}

fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("writing to the terminal")
}
