//! ExaBGP: no table and no FIB, but every message as JSON, and a face for telling it what to say.
//!
//! ```text
//! bgp ── exabgp ── stdin of the `process` ──► messages.json
//!                  its stdout ◄── commands (a named pipe)
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use nix::sys::stat::Mode;

use super::exabgp_json::Told;
use super::{Neighbour, Path, Remote, Router, RouterConfig, Session, sorted};
use crate::lab::{Dual, Host, Process, Program, Tool, require, retry_until};

const EXABGP: Tool = Tool {
    program: "exabgp",
    package: "exabgp",
};

/// A running `ExaBGP`.
pub struct Exabgp {
    process: Process,
    directory: PathBuf,
}

impl Exabgp {
    /// Starts `ExaBGP` on a host.
    ///
    /// # Errors
    /// When it is missing or does not come up.
    pub async fn start(host: &Host, config: &RouterConfig) -> Result<Self> {
        let directory = host.directory().join("exabgp");
        let _first_start = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).context("creating the directory of ExaBGP")?;
        let commands = directory.join("commands");
        nix::unistd::mkfifo(&commands, Mode::S_IRWXU).context("making the pipe for commands")?;
        // ExaBGP gives a process up whose standard output ends, and `cat` opens the pipe for both so that it never does.
        let script = format!(
            "exec 3<&0\ncat <&3 >>{0}/messages.json &\nexec cat <>{0}/commands\n",
            directory.display()
        );
        fs::write(directory.join("process.sh"), script).context("writing the process")?;
        let text = render(config, host.address(), &directory.join("process.sh"))?;
        let file = directory.join("exabgp.conf");
        fs::write(&file, text).context("writing exabgp.conf")?;
        let program = Program::new(require(EXABGP)?)
            .env("exabgp.daemon.user", "root")
            .env("exabgp.daemon.daemonize", "false")
            .env("exabgp.api.cli", "false")
            .env("exabgp.api.ack", "false")
            .env("exabgp.log.level", "INFO")
            .arg(file);
        let process = host.spawn(program)?;
        let mut exabgp = Self { process, directory };
        retry_until(Duration::from_secs(10), "ExaBGP to start", async || {
            exabgp.process.ensure_running()?;
            let log = exabgp.process.log()?;
            ensure!(log.contains("loaded new configuration"), "log {log}");
            Ok(())
        })
        .await?;
        Ok(exabgp)
    }

    /// The process, to kill or to measure.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// One command of its API, such as `announce route 192.0.2.1/32 next-hop self`.
    ///
    /// # Errors
    /// When the pipe to the daemon is gone.
    pub fn command(&self, command: &str) -> Result<()> {
        let mut pipe = OpenOptions::new();
        let pipe = pipe.write(true).open(self.directory.join("commands"));
        writeln!(pipe.context("opening the pipe for commands")?, "{command}")
            .context("writing a command")
    }

    fn told(&self) -> Result<Told> {
        let text = fs::read_to_string(self.directory.join("messages.json")).unwrap_or_default();
        let mut told = Told::default();
        // What follows the last line end is being written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().try_for_each(|line| told.line(line))?;
        Ok(told)
    }
}

impl Router for Exabgp {
    fn name(&self) -> &'static str {
        "ExaBGP"
    }

    fn has_fib(&self) -> bool {
        false
    }

    fn rib(&self, prefix: IpNetwork) -> Result<Vec<Path>> {
        let routes = self.told()?.routes.into_iter();
        let exact = routes.filter(|((found, _), _)| *found == prefix);
        Ok(sorted(exact.map(|(_, path)| path).collect()))
    }

    fn prefixes(&self) -> Result<Vec<IpNetwork>> {
        let prefixes: BTreeSet<IpNetwork> = self
            .told()?
            .routes
            .into_keys()
            .map(|(prefix, _)| prefix)
            .collect();
        Ok(prefixes.into_iter().collect())
    }

    fn sessions(&self) -> Result<Vec<Session>> {
        Ok(self.told()?.sessions.into_values().collect())
    }

    /// Its API sends the request to every neighbour.
    fn refresh(&self, _peer: IpAddr) -> Result<()> {
        self.command("announce route-refresh ipv4 unicast")?;
        self.command("announce route-refresh ipv6 unicast")
    }

    fn log(&self) -> Result<String> {
        self.process.log()
    }
}

fn render(config: &RouterConfig, own: Dual, process: &std::path::Path) -> Result<String> {
    let mut text = format!(
        "process log {{\n  run /bin/sh {};\n  encoder json;\n}}\n",
        process.display()
    );
    for neighbour in &config.neighbours {
        neighbour_lines(&mut text, config, own, neighbour)?;
    }
    text.push_str(&config.extra);
    text.push('\n');
    Ok(text)
}

fn neighbour_lines(
    text: &mut String,
    config: &RouterConfig,
    own: Dual,
    neighbour: &Neighbour,
) -> Result<()> {
    ensure!(neighbour.bfd.is_none(), "ExaBGP has no BFD");
    let (remote, like) = match neighbour.remote {
        Remote::Address(address) => (address.to_string(), address),
        Remote::Range(range) => (range.to_string(), range.ip()),
        Remote::Interface(link) => anyhow::bail!("ExaBGP finds no neighbours on {link}"),
    };
    let on = |wanted: bool| if wanted { "enable" } else { "disable" };
    let mut lines = vec![
        format!("local-address {}", own.of_family(like)),
        format!("router-id {}", config.id),
        format!("local-as {}", config.asn),
        format!("peer-as {}", neighbour.asn),
        format!("hold-time {}", config.hold_time),
    ];
    if neighbour.passive {
        lines.extend(["passive true".into(), "listen 179".into()]);
    }
    if let Some(key) = &neighbour.password {
        lines.push(format!("md5-password \"{key}\""));
    }
    if neighbour.ttl_security {
        lines.extend(["outgoing-ttl 255".into(), "incoming-ttl 255".into()]);
    }
    let _infallible = writeln!(text, "neighbor {remote} {{");
    for line in lines {
        let _infallible = writeln!(text, "  {line};");
    }
    let families: Vec<String> = neighbour
        .families()
        .map(|family| format!("{family} unicast;"))
        .collect();
    let _infallible = writeln!(
        text,
        "  family {{ {} }}\n  capability {{ route-refresh enable; asn4 enable; nexthop {}; graceful-restart {}; }}",
        families.join(" "),
        on(neighbour.extended_next_hop),
        if neighbour.graceful_restart {
            "120"
        } else {
            "disable"
        },
    );
    if neighbour.extended_next_hop {
        text.push_str("  nexthop { ipv4 unicast ipv6; }\n");
    }
    text.push_str("  api { processes [ log ]; neighbor-changes; receive { parsed; update; notification; } }\n}\n");
    Ok(())
}
