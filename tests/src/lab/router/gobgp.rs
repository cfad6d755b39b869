//! `GoBGP`: a table without a FIB, and a handy speaker that announces what a test tells it to.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

use super::{Neighbour, Path, Remote, Router, RouterConfig, Session, community, sorted};
use crate::lab::{Host, Netns, Process, Program, Tool, require, retry_until};

const GOBGPD: Tool = Tool {
    program: "gobgpd",
    package: "gobgpd",
};
const GOBGP: Tool = Tool {
    program: "gobgp",
    package: "gobgpd",
};

/// A running `GoBGP`.
pub struct Gobgp {
    process: Process,
    netns: Netns,
}

impl Gobgp {
    /// Starts `GoBGP` on a host.
    ///
    /// # Errors
    /// When it is missing or does not come up.
    pub async fn start(host: &Host, config: &RouterConfig) -> Result<Self> {
        let file = host.directory().join("gobgpd.toml");
        fs::write(&file, render(config)).context("writing gobgpd.toml")?;
        let program = Program::new(require(GOBGPD)?)
            .args([
                "-t",
                "toml",
                "--api-hosts",
                "127.0.0.1:50051",
                "--pprof-disable",
                "-f",
            ])
            .arg(file);
        let process = host.spawn(program)?;
        let mut gobgp = Self {
            process,
            netns: host.netns().clone(),
        };
        retry_until(Duration::from_secs(10), "gobgpd to answer", async || {
            gobgp.process.ensure_running()?;
            gobgp.ask("global").map(drop)
        })
        .await?;
        Ok(gobgp)
    }

    /// Announces a prefix, to play a speaker in smoke tests; `attributes` as in `gobgp global rib add`, such as
    /// `nexthop 172.30.0.11 community 64512:1`.
    ///
    /// # Errors
    /// When `gobgp` refuses it.
    pub fn announce(&self, prefix: IpNetwork, attributes: &str) -> Result<()> {
        self.ask(&format!(
            "global rib add {prefix} -a {} {attributes}",
            family(prefix)
        ))
        .map(drop)
    }

    /// Takes an announced prefix back.
    ///
    /// # Errors
    /// When `gobgp` refuses.
    pub fn withdraw(&self, prefix: IpNetwork) -> Result<()> {
        self.ask(&format!("global rib del {prefix} -a {}", family(prefix)))
            .map(drop)
    }

    /// The process, to kill or to measure.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// One command of the `gobgp` client.
    ///
    /// # Errors
    /// When it fails.
    pub fn ask(&self, command: &str) -> Result<String> {
        let gobgp = require(GOBGP)?;
        let gobgp = gobgp.to_string_lossy();
        let argv: Vec<&str> = std::iter::once(&*gobgp)
            .chain(command.split_whitespace())
            .collect();
        self.netns.exec(&argv)
    }

    fn table(&self, family: &str) -> Result<BTreeMap<String, Vec<GobgpPath>>> {
        let text = self.ask(&format!("global rib -a {family} -j"))?;
        serde_json::from_str(&text).with_context(|| format!("`gobgp global rib` answered {text}"))
    }
}

impl Router for Gobgp {
    fn name(&self) -> &'static str {
        "GoBGP"
    }

    fn has_fib(&self) -> bool {
        false
    }

    fn rib(&self, prefix: IpNetwork) -> Result<Vec<Path>> {
        let mut table = self.table(family(prefix))?;
        let paths = table.remove(&prefix.to_string()).unwrap_or_default();
        Ok(sorted(paths.into_iter().map(Path::from).collect()))
    }

    fn prefixes(&self) -> Result<Vec<IpNetwork>> {
        let mut prefixes = Vec::new();
        for family in ["ipv4", "ipv6"] {
            for prefix in self.table(family)?.into_keys() {
                prefixes.push(
                    prefix
                        .parse()
                        .with_context(|| format!("reading prefix {prefix}"))?,
                );
            }
        }
        prefixes.sort_unstable();
        Ok(prefixes)
    }

    fn sessions(&self) -> Result<Vec<Session>> {
        let text = self.ask("neighbor -j")?;
        let neighbours: Option<Vec<GobgpNeighbour>> = serde_json::from_str(&text)
            .with_context(|| format!("`gobgp neighbor` answered {text}"))?;
        let sessions = neighbours.unwrap_or_default().into_iter().map(|neighbour| {
            let (address, state) = (
                neighbour.state.neighbor_address,
                neighbour.state.session_state,
            );
            let peer = address
                .parse()
                .with_context(|| format!("reading neighbour {address}"))?;
            Ok(Session {
                peer,
                state: state_name(&state),
                established_count: None,
                updates: neighbour.state.messages.received.update,
            })
        });
        let mut sessions = sessions.collect::<Result<Vec<_>>>()?;
        sessions.sort_by_key(|session| session.peer);
        Ok(sessions)
    }

    fn refresh(&self, _peer: IpAddr) -> Result<()> {
        bail!("GoBGP 3.10 asks nobody: its softresetin judges what it has kept")
    }

    fn log(&self) -> Result<String> {
        self.process.log()
    }
}

fn family(prefix: IpNetwork) -> &'static str {
    if prefix.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// Protobuf leaves the zero value out and numbers the rest (gobgp.proto, `PeerState.SessionState`).
fn state_name(state: &Value) -> String {
    let by_number = [
        "Unknown",
        "Idle",
        "Connect",
        "Active",
        "OpenSent",
        "OpenConfirm",
        "Established",
    ];
    if let Some(name) = state.as_str() {
        let known = by_number
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(&name.replace('_', "")));
        return known.unwrap_or(name).to_owned();
    }
    let number = state
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or_default();
    by_number
        .get(number)
        .copied()
        .unwrap_or("Unknown")
        .to_owned()
}

#[derive(Deserialize)]
struct GobgpNeighbour {
    #[serde(default)]
    state: GobgpState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GobgpState {
    neighbor_address: String,
    session_state: Value,
    messages: GobgpMessages,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GobgpMessages {
    received: GobgpReceived,
}

/// Protobuf leaves zero out and writes 64 bits as numbers here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GobgpReceived {
    update: u64,
}

#[derive(Deserialize)]
struct GobgpPath {
    #[serde(default)]
    attrs: Vec<Value>,
    #[serde(rename = "neighbor-ip")]
    neighbour: Option<String>,
}

impl From<GobgpPath> for Path {
    fn from(path: GobgpPath) -> Self {
        let peer = path.neighbour.and_then(|address| address.parse().ok());
        let mut read = Self {
            peer,
            ..Self::default()
        };
        for attribute in &path.attrs {
            read_attribute(&mut read, attribute);
        }
        read
    }
}

/// Attributes carry their type code (RFC 4271 §4.3 and later ones).
fn read_attribute(path: &mut Path, attribute: &Value) {
    let number = |name: &str| {
        attribute
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
    };
    let list = |name: &str| {
        attribute
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let as_number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    let hop = || {
        attribute
            .get("nexthop")
            .and_then(Value::as_str)
            .and_then(|hop| hop.parse::<IpAddr>().ok())
    };
    match number("type") {
        Some(2) => {
            let segments = list("as_paths");
            let lists = segments
                .iter()
                .filter_map(|segment| segment.get("asns").and_then(Value::as_array));
            path.as_path = lists.flatten().filter_map(as_number).collect();
        }
        Some(3 | 14) => path.next_hop = hop().or(path.next_hop),
        Some(4) => path.med = number("metric"),
        Some(5) => path.local_pref = number("value"),
        Some(8) => {
            path.communities = list("communities")
                .iter()
                .filter_map(as_number)
                .map(community)
                .collect();
            path.communities.sort_unstable();
        }
        Some(16) => path.link_bandwidth = list("value").iter().find_map(bandwidth),
        Some(32) => {
            path.large_communities = list("value").iter().filter_map(large_community).collect();
            path.large_communities.sort_unstable();
        }
        _ => {}
    }
}

/// `{"type": 64, "subtype": 4, "asn": 64512, "bandwidth": 125000000}`, and the same for the transitive kind.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole bytes per second are precise enough"
)]
fn bandwidth(value: &Value) -> Option<u64> {
    let bandwidth = value.get("bandwidth").and_then(Value::as_f64);
    bandwidth.map(|bytes| bytes.max(0.0) as u64)
}

fn large_community(value: &Value) -> Option<String> {
    let part = |name: &str| value.get(name).and_then(Value::as_u64);
    Some(format!(
        "{}:{}:{}",
        part("ASN")?,
        part("LocalData1")?,
        part("LocalData2")?
    ))
}

fn render(config: &RouterConfig) -> String {
    let mut lines = vec![
        "[global.config]".into(),
        format!("  as = {}", config.asn),
        format!("  router-id = \"{}\"", config.id),
        "[global.use-multiple-paths.config]".into(),
        "  enabled = true".into(),
    ];
    for (number, neighbour) in config.neighbours.iter().enumerate() {
        lines.extend(neighbour_lines(config.hold_time, number, neighbour));
    }
    lines.extend([config.extra.clone(), String::new()]);
    lines.join("\n")
}

/// Whoever connects from a range falls into a peer group.
fn neighbour_lines(hold: u16, number: usize, neighbour: &Neighbour) -> Vec<String> {
    let (kind, name) = match neighbour.remote {
        Remote::Address(address) => ("neighbors", format!("  neighbor-address = \"{address}\"")),
        Remote::Range(_) => (
            "peer-groups",
            format!("  peer-group-name = \"range{number}\""),
        ),
        Remote::Interface(link) => ("neighbors", format!("  neighbor-interface = \"{link}\"")),
    };
    let mut lines = vec![
        format!("[[{kind}]]"),
        format!("[{kind}.config]"),
        name,
        format!("  peer-as = {}", neighbour.asn),
    ];
    if let Some(key) = &neighbour.password {
        lines.push(format!("  auth-password = \"{key}\""));
    }
    lines.extend([
        format!("[{kind}.timers.config]"),
        format!("  hold-time = {hold}"),
        format!("  keepalive-interval = {}", hold / 3),
        "  connect-retry = 1".into(),
        "  idle-hold-time-after-reset = 1".into(),
        format!("[{kind}.transport.config]"),
        format!("  passive-mode = {}", neighbour.passive),
    ]);
    if neighbour.ttl_security {
        lines.push(format!("[{kind}.ttl-security.config]"));
        lines.extend(["  enabled = true".into(), "  ttl-min = 255".into()]);
    }
    if neighbour.graceful_restart {
        lines.push(format!("[{kind}.graceful-restart.config]"));
        lines.extend(["enabled = true", "restart-time = 120"].map(|line| format!("  {line}")));
    }
    for family in neighbour.families() {
        lines.push(format!("[[{kind}.afi-safis]]"));
        lines.push(format!("[{kind}.afi-safis.config]"));
        lines.push(format!("  afi-safi-name = \"{family}-unicast\""));
        if neighbour.graceful_restart {
            lines.push(format!("[{kind}.afi-safis.mp-graceful-restart.config]"));
            lines.push("  enabled = true".into());
        }
    }
    if let Remote::Range(range) = neighbour.remote {
        lines.push("[[dynamic-neighbors]]".into());
        lines.push("[dynamic-neighbors.config]".into());
        lines.push(format!("  prefix = \"{range}\""));
        lines.push(format!("  peer-group = \"range{number}\""));
    }
    lines
}
