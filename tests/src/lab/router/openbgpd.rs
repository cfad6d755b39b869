//! OpenBGPD, portable: a table without a FIB, asked through bgpctl in JSON.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::{Neighbour, Path, Remote, Router, RouterConfig, Session, community_number, sorted};
use crate::lab::{Dual, Host, Netns, Process, Program, Tool, require, retry_until};

const BGPD: Tool = Tool {
    program: "/usr/sbin/bgpd",
    package: "openbgpd",
};
const BGPCTL: Tool = Tool {
    program: "bgpctl",
    package: "openbgpd",
};
/// It locks its parts up in here; systemd makes it for the service of the package.
const CHROOT: &str = "/run/openbgpd";

/// A running OpenBGPD.
pub struct Openbgpd {
    process: Process,
    netns: Netns,
    socket: PathBuf,
}

impl Openbgpd {
    /// Starts OpenBGPD on a host.
    ///
    /// # Errors
    /// When it is missing or does not come up.
    pub async fn start(host: &Host, config: &RouterConfig) -> Result<Self> {
        let bgpd = require(BGPD)?;
        fs::create_dir_all(CHROOT).with_context(|| format!("creating {CHROOT}"))?;
        let directory = host.directory().join("openbgpd");
        fs::create_dir_all(&directory).context("creating the directory of OpenBGPD")?;
        let socket = directory.join("bgpd.sock");
        let file = directory.join("bgpd.conf");
        let text = render(config, host.address(), &socket)?;
        fs::write(&file, text).context("writing bgpd.conf")?;
        // Anybody else's rights make it refuse the file: there may be keys in it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .context("setting the mode of bgpd.conf")?;
        let process = host.spawn(Program::new(bgpd).args(["-d", "-f"]).arg(file))?;
        let mut openbgpd = Self {
            process,
            netns: host.netns().clone(),
            socket,
        };
        retry_until(Duration::from_secs(10), "OpenBGPD to answer", async || {
            openbgpd.process.ensure_running()?;
            openbgpd.ask("show summary").map(drop)
        })
        .await?;
        Ok(openbgpd)
    }

    /// The parent process, to kill; its parts end with it.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// One command of bgpctl, answered in JSON.
    ///
    /// # Errors
    /// When it fails.
    pub fn ask(&self, command: &str) -> Result<String> {
        let (bgpctl, socket) = (require(BGPCTL)?, self.socket.to_string_lossy());
        let bgpctl = bgpctl.to_string_lossy();
        let mut argv = vec![&*bgpctl, "-j", "-s", &*socket];
        argv.extend(command.split(' '));
        self.netns.exec(&argv)
    }

    fn table(&self, command: &str) -> Result<Vec<Route>> {
        let text = self.ask(command)?;
        let table: Table =
            serde_json::from_str(&text).with_context(|| format!("`{command}` answered {text}"))?;
        Ok(table.rib)
    }
}

impl Router for Openbgpd {
    fn name(&self) -> &'static str {
        "OpenBGPD"
    }

    fn has_fib(&self) -> bool {
        false
    }

    fn rib(&self, prefix: IpNetwork) -> Result<Vec<Path>> {
        let routes = self.table(&format!("show rib detail {prefix}"))?;
        Ok(sorted(routes.into_iter().map(Path::from).collect()))
    }

    fn prefixes(&self) -> Result<Vec<IpNetwork>> {
        let routes = self.table("show rib")?.into_iter();
        let mut prefixes: Vec<IpNetwork> = routes.map(|route| route.prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(prefixes)
    }

    fn sessions(&self) -> Result<Vec<Session>> {
        let text = self.ask("show neighbor")?;
        let all: Neighbours = serde_json::from_str(&text)
            .with_context(|| format!("`show neighbor` answered {text}"))?;
        // Templates have a range where others have an address.
        let sessions = all.neighbors.into_iter().filter_map(|neighbour| {
            Some(Session {
                peer: neighbour.remote_addr.parse().ok()?,
                state: neighbour.state,
                established_count: None,
                updates: neighbour.stats.message.received.updates,
            })
        });
        let mut sessions: Vec<Session> = sessions.collect();
        sessions.sort_by_key(|session| session.peer);
        Ok(sessions)
    }

    fn refresh(&self, peer: IpAddr) -> Result<()> {
        let answer = self.ask(&format!("neighbor {peer} refresh"))?;
        ensure!(answer.contains("OK"), "bgpctl answered {answer}");
        Ok(())
    }

    fn log(&self) -> Result<String> {
        self.process.log()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Table {
    rib: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    prefix: IpNetwork,
    #[serde(default)]
    aspath: String,
    exit_nexthop: Option<IpAddr>,
    neighbor: Source,
    localpref: Option<u32>,
    metric: Option<u32>,
    #[serde(default)]
    communities: Vec<String>,
    #[serde(default)]
    large_communities: Vec<String>,
}

#[derive(Deserialize)]
struct Source {
    remote_addr: Option<IpAddr>,
}

impl From<Route> for Path {
    fn from(route: Route) -> Self {
        let mut communities: Vec<String> = route
            .communities
            .iter()
            .map(|name| community_number(name))
            .collect();
        communities.sort_unstable();
        let mut large_communities = route.large_communities;
        large_communities.sort_unstable();
        Self {
            next_hop: route.exit_nexthop,
            peer: route.neighbor.remote_addr,
            as_path: route
                .aspath
                .split(' ')
                .filter_map(|asn| asn.parse().ok())
                .collect(),
            communities,
            large_communities,
            local_pref: route.localpref,
            med: route.metric,
            link_bandwidth: None,
        }
    }
}

#[derive(Deserialize)]
struct Neighbours {
    neighbors: Vec<NeighbourState>,
}

#[derive(Deserialize)]
struct NeighbourState {
    remote_addr: String,
    state: String,
    stats: Stats,
}

#[derive(Deserialize)]
struct Stats {
    message: Messages,
}

#[derive(Deserialize)]
struct Messages {
    received: Received,
}

#[derive(Deserialize)]
struct Received {
    updates: u64,
}

fn render(config: &RouterConfig, own: Dual, socket: &std::path::Path) -> Result<String> {
    let mut lines = vec![
        format!("AS {}", config.asn),
        format!("router-id {}", config.id),
        "fib-update no".into(),
        format!("holdtime {}", config.hold_time),
        "connect-retry 1".into(),
        format!("socket \"{}\"", socket.display()),
    ];
    lines.extend(own.both().map(|address| format!("listen on {address}")));
    for (number, neighbour) in config.neighbours.iter().enumerate() {
        lines.extend(neighbour_lines(number, neighbour)?);
    }
    lines.extend([
        "allow from any".into(),
        "deny to any".into(),
        config.extra.clone(),
        String::new(),
    ]);
    Ok(lines.join("\n"))
}

fn neighbour_lines(number: usize, neighbour: &Neighbour) -> Result<Vec<String>> {
    ensure!(neighbour.bfd.is_none(), "OpenBGPD has no BFD");
    ensure!(
        !neighbour.extended_next_hop,
        "OpenBGPD 7.7 knows no IPv6 next hops of IPv4 routes"
    );
    let remote = match neighbour.remote {
        Remote::Address(address) => address.to_string(),
        Remote::Range(range) => range.to_string(),
        Remote::Interface(link) => anyhow::bail!("OpenBGPD finds no neighbours on {link}"),
    };
    let mut lines = vec![
        format!("neighbor {remote} {{"),
        format!("  remote-as {}", neighbour.asn),
        format!("  descr \"peer{number}\""),
        "  announce enhanced refresh yes".into(),
    ];
    for (family, wanted) in [("IPv4", neighbour.ipv4), ("IPv6", neighbour.ipv6)] {
        let kind = if wanted { "unicast" } else { "none" };
        lines.push(format!("  announce {family} {kind}"));
    }
    if neighbour.passive {
        lines.push("  passive".into());
    }
    if let Some(key) = &neighbour.password {
        lines.push(format!("  tcp md5sig password \"{key}\""));
    }
    if neighbour.ttl_security {
        lines.push("  ttl-security yes".into());
    }
    if let Some(role) = neighbour.role {
        lines.push(format!("  announce policy {role} enforce"));
    }
    lines.push("}".into());
    Ok(lines)
}
