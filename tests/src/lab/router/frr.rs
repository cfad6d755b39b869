//! `FRRouting`: zebra, bgpd, bfdd and staticd, asked through vtysh.
//!
//! The daemons are started one by one in the foreground, without the `watchfrr` of the package, so that each is a
//! process of the lab with its own log.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

use super::frr_json::{FrrNeighbour, FrrPath, Table};
use super::{Neighbour, Path, Remote, Router, RouterConfig, Session, sorted};
use crate::lab::{Host, Netns, Process, Program, Tool, require, retry_until};

/// zebra first: the others connect to it.
const DAEMONS: [Tool; 4] = [
    Tool {
        program: "/usr/lib/frr/zebra",
        package: "frr",
    },
    Tool {
        program: "/usr/lib/frr/staticd",
        package: "frr",
    },
    Tool {
        program: "/usr/lib/frr/bfdd",
        package: "frr",
    },
    Tool {
        program: "/usr/lib/frr/bgpd",
        package: "frr",
    },
];
const VTYSH: Tool = Tool {
    program: "vtysh",
    package: "frr",
};

/// A running FRR.
pub struct Frr {
    daemons: Vec<Process>,
    netns: Netns,
    directory: PathBuf,
}

impl Frr {
    /// Starts FRR on a host.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(host: &Host, config: &RouterConfig) -> Result<Self> {
        let user = nix::unistd::User::from_name("frr").context("looking up the user frr")?;
        let user = user.context("no user frr: run hack/setup.sh, or apt-get install frr")?;
        let directory = host.directory().join("frr");
        let own = |path: &FilePath| {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .with_context(|| format!("giving {} to the user frr", path.display()))
        };
        // Sockets of an earlier start would look like those of a daemon that listens.
        let _first_start = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).context("creating the directory of FRR")?;
        own(&directory)?;
        let mut frr = Self {
            daemons: Vec::new(),
            netns: host.netns().clone(),
            directory,
        };
        for daemon in DAEMONS {
            let program = require(daemon)?;
            let name = program
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let file = frr.directory.join(format!("{name}.conf"));
            let text = if name == "bgpd" {
                render(config)
            } else {
                String::new()
            };
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            own(&file)?;
            frr.start_daemon(host, program, &name).await?;
        }
        Ok(frr)
    }

    /// Types commands at the vty, as at a terminal: `configure terminal` first to change something.
    ///
    /// # Errors
    /// When a command is refused; the error carries FRR's words.
    pub fn vty<S: AsRef<str>>(&self, commands: &[S]) -> Result<String> {
        let vtysh = require(VTYSH)?;
        let socket_directory = self.directory.to_string_lossy();
        let vtysh = vtysh.to_string_lossy();
        let mut argv = vec![&*vtysh, "--vty_socket", &*socket_directory];
        for command in commands {
            argv.extend(["-c", command.as_ref()]);
        }
        let output = self.netns.exec(&argv)?;
        let refused = output.lines().find(|line| line.starts_with('%'));
        ensure!(refused.is_none(), "vtysh: {output}");
        Ok(output)
    }

    /// The process of bgpd, to kill or to measure.
    #[must_use]
    pub fn bgpd(&mut self) -> Option<&mut Process> {
        self.daemons.last_mut()
    }

    /// The process of bfdd, to stop or to kill.
    #[must_use]
    pub fn bfdd(&mut self) -> Option<&mut Process> {
        let position = DAEMONS.iter().position(|it| it.program.ends_with("bfdd"));
        self.daemons.get_mut(position?)
    }

    async fn start_daemon(&mut self, host: &Host, program: PathBuf, name: &str) -> Result<()> {
        let directory = &self.directory;
        let mut arguments = vec!["--log".into(), "stdout".into()];
        for (option, file) in [
            ("-f", format!("{name}.conf")),
            ("-i", format!("{name}.pid")),
            ("-z", "zserv.api".into()),
            ("--vty_socket", String::new()),
        ] {
            arguments.extend([
                option.to_owned(),
                directory.join(file).to_string_lossy().into_owned(),
            ]);
        }
        arguments.extend(["-P", "0"].map(str::to_owned));
        if name == "bfdd" {
            let control = directory.join("bfdd.sock");
            arguments.extend(["--bfdctl".into(), control.to_string_lossy().into_owned()]);
        }
        if name == "zebra" {
            // A changed IPv6 route is replaced, as IPv4 routes are. Otherwise it is deleted and added: packets between find none.
            arguments.push("--v6-rr-semantics".into());
        }
        let mut daemon = host.spawn(Program::new(program).args(arguments))?;
        let socket = directory.join(format!("{name}.vty"));
        retry_until(
            Duration::from_secs(10),
            &format!("{name} to listen on its vty"),
            async || {
                daemon.ensure_running()?;
                ensure!(socket.exists(), "no socket {}", socket.display());
                Ok(())
            },
        )
        .await?;
        self.daemons.push(daemon);
        Ok(())
    }

    fn ask<T: for<'de> Deserialize<'de>>(&self, command: &str) -> Result<T> {
        let answer = self.vty(&[command])?;
        serde_json::from_str(&answer).with_context(|| format!("`{command}` answered {answer}"))
    }
}

impl Router for Frr {
    fn name(&self) -> &'static str {
        "FRR"
    }

    fn has_fib(&self) -> bool {
        true
    }

    fn rib(&self, prefix: IpNetwork) -> Result<Vec<Path>> {
        let family = if prefix.is_ipv4() { "ipv4" } else { "ipv6" };
        let answer: Value = self.ask(&format!("show bgp {family} unicast {prefix} json"))?;
        // The daemon answers with the longest match when it does not know the prefix itself.
        let exact = answer.get("prefix").and_then(Value::as_str) == Some(&prefix.to_string());
        let paths = answer
            .get("paths")
            .filter(|_| exact)
            .cloned()
            .unwrap_or_default();
        let paths: Option<Vec<FrrPath>> =
            serde_json::from_value(paths).context("reading the paths")?;
        Ok(sorted(
            paths
                .unwrap_or_default()
                .into_iter()
                .map(Path::from)
                .collect(),
        ))
    }

    fn prefixes(&self) -> Result<Vec<IpNetwork>> {
        let mut prefixes = Vec::new();
        for family in ["ipv4", "ipv6"] {
            let table: Table = self.ask(&format!("show bgp {family} unicast json"))?;
            for prefix in table.routes.keys() {
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
        let neighbours: BTreeMap<String, Value> = self.ask("show bgp neighbors json")?;
        let mut sessions = Vec::new();
        for (peer, value) in neighbours {
            // Facts about bgpd itself stand among the neighbours; one on a link has the name of that.
            let is_neighbour = value.get("bgpState").is_some();
            if !is_neighbour {
                continue;
            }
            let facts: FrrNeighbour =
                serde_json::from_value(value).context("reading a neighbour")?;
            let Ok(peer) = peer.parse().or_else(|_| facts.address.parse()) else {
                continue; // nobody has been found on the link yet
            };
            sessions.push(Session {
                peer,
                state: facts.state,
                established_count: Some(facts.established_count),
                updates: facts.messages.updates,
            });
        }
        sessions.sort_by_key(|session| session.peer);
        Ok(sessions)
    }

    fn refresh(&self, peer: IpAddr) -> Result<()> {
        self.vty(&[format!("clear bgp {peer} soft in")]).map(drop)
    }

    fn bfd_up(&self) -> Result<usize> {
        let peers: Vec<Value> = self.ask("show bfd peers json")?;
        let status = |peer: &Value| peer.get("status").and_then(Value::as_str) == Some("up");
        Ok(peers.iter().filter(|peer| status(peer)).count())
    }

    fn log(&self) -> Result<String> {
        let logs = self
            .daemons
            .iter()
            .map(Process::log)
            .collect::<Result<Vec<_>>>()?;
        Ok(logs.concat())
    }
}

/// `bgp ebgp-requires-policy` and the like are turned off: the lab's routers take what they are given.
fn render(config: &RouterConfig) -> String {
    let (hold, keepalive) = (config.hold_time, config.hold_time / 3);
    let mut lines = vec![
        format!("router bgp {}", config.asn),
        format!(" bgp router-id {}", config.id),
        " no bgp ebgp-requires-policy".into(),
        " no bgp default ipv4-unicast".into(),
        " bgp log-neighbor-changes".into(),
        format!(" timers bgp {keepalive} {hold}"),
    ];
    let named: Vec<(String, &Neighbour)> = config
        .neighbours
        .iter()
        .enumerate()
        .map(|(number, neighbour)| (name(number, neighbour.remote), neighbour))
        .collect();
    lines.extend(
        named
            .iter()
            .flat_map(|(name, neighbour)| neighbour_lines(name, neighbour)),
    );
    for (family, is_wanted) in families() {
        lines.push(format!(" address-family {family} unicast"));
        lines.push("  maximum-paths 64".into());
        lines.push("  maximum-paths ibgp 64".into());
        let wanted = named.iter().filter(|(_, neighbour)| is_wanted(neighbour));
        lines.extend(wanted.map(|(name, _)| format!("  neighbor {name} activate")));
        lines.push(" exit-address-family".into());
    }
    lines.extend(["exit".into(), config.extra.clone(), String::new()]);
    lines.join("\n")
}

type FamilyFilter = fn(&Neighbour) -> bool;

fn families() -> [(&'static str, FamilyFilter); 2] {
    [
        ("ipv4", |neighbour| neighbour.ipv4),
        ("ipv6", |neighbour| neighbour.ipv6),
    ]
}

/// Whoever connects from a range falls into a peer group.
fn name(number: usize, remote: Remote) -> String {
    match remote {
        Remote::Address(address) => address.to_string(),
        Remote::Range(_) => format!("range{number}"),
        Remote::Interface(link) => link.to_owned(),
    }
}

fn neighbour_lines(name: &str, neighbour: &Neighbour) -> Vec<String> {
    let asn = neighbour.asn;
    let mut lines = match neighbour.remote {
        Remote::Address(_) => vec![format!(" neighbor {name} remote-as {asn}")],
        Remote::Range(_) => vec![
            format!(" neighbor {name} peer-group"),
            format!(" neighbor {name} remote-as {asn}"),
        ],
        Remote::Interface(_) => vec![format!(" neighbor {name} interface remote-as {asn}")],
    };
    if let Some(key) = &neighbour.password {
        lines.push(format!(" neighbor {name} password {key}"));
    }
    if neighbour.ttl_security {
        lines.push(format!(" neighbor {name} ttl-security hops 1"));
    }
    if neighbour.extended_next_hop && !matches!(neighbour.remote, Remote::Interface(_)) {
        lines.push(format!(" neighbor {name} capability extended-nexthop"));
    }
    if let Some(bfd) = neighbour.bfd {
        lines.push(format!(
            " neighbor {name} bfd {} {} {}",
            bfd.multiplier, bfd.interval, bfd.interval
        ));
        if bfd.restart_aware {
            lines.push(format!(" neighbor {name} bfd check-control-plane-failure"));
        }
    }
    match neighbour.remote {
        Remote::Range(range) => {
            lines.push(format!(" bgp listen range {range} peer-group {name}"));
        }
        Remote::Address(_) if neighbour.passive => lines.push(format!(" neighbor {name} passive")),
        Remote::Address(_) | Remote::Interface(_) => {
            lines.push(format!(" neighbor {name} timers connect 1"));
        }
    }
    lines
}
