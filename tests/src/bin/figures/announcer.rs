//! The four that announce the same host routes to the same routers: Portolan, GoBGP, BIRD and ExaBGP, each as its own
//! documents would have it.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portolan_tests::lab::{Host, Process, Program, retry_until};
use portolan_tests::world::{NODE_AS, ROUTER_AS, binary};

use crate::load::{PATIENCE, now};
use crate::mrt;
use crate::usage::processor_time;

/// Who announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announcer {
    Portolan,
    Gobgp,
    Bird,
    Exabgp,
}

/// Less processor time than this in [`QUIET`] is idling.
const BUSY: Duration = Duration::from_millis(30);
const QUIET: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

/// Routes that `gobgp mrt inject` may leave behind in its stream.
const LOST_AT_MOST: u32 = 5000;

impl Announcer {
    pub(crate) const ALL: [Self; 4] = [Self::Portolan, Self::Gobgp, Self::Bird, Self::Exabgp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portolan => "Portolan",
            Self::Gobgp => "GoBGP",
            Self::Bird => "BIRD",
            Self::Exabgp => "ExaBGP",
        }
    }

    /// Starts it on a node with `count` host routes from 198.18.0.0 on, and returns once it has them all and idles.
    pub(crate) async fn start(
        self,
        node: &Host,
        routers: &[Ipv4Addr],
        count: u32,
    ) -> Result<Process> {
        let directory = node.directory().join(self.name());
        let _left_by_the_last_one = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).context("the directory of the announcer")?;
        let place = Place {
            node,
            own: node.address().v4,
            directory: &directory,
            routers,
            count,
        };
        let process = match self {
            Self::Portolan => place.portolan()?,
            Self::Gobgp => place.gobgp().await?,
            Self::Bird => place.bird()?,
            Self::Exabgp => place.exabgp()?,
        };
        idle(process.pid()).await?;
        Ok(process)
    }
}

/// Waits until a process idles; returns when it began to.
pub(crate) async fn idle(pid: u32) -> Result<Instant> {
    let deadline = now() + PATIENCE * 4;
    let (mut used, mut since) = (processor_time(pid)?, now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(LOOK).await;
        let more = processor_time(pid)?;
        if more.saturating_sub(used) > BUSY {
            (used, since) = (more, now());
        }
        ensure!(now() < deadline, "process {pid} does not come to rest");
    }
    Ok(since)
}

/// The host routes that everybody announces.
pub(crate) fn prefixes(count: u32) -> impl Iterator<Item = Ipv4Addr> {
    (0..count).map(|host| Ipv4Addr::from_bits(0xc612_0000 + host))
}

struct Place<'a> {
    node: &'a Host,
    own: Ipv4Addr,
    directory: &'a Path,
    routers: &'a [Ipv4Addr],
    count: u32,
}

impl Place<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The example of the speaker: its sessions and nothing else, as the others are without Kubernetes too.
    fn portolan(&self) -> Result<Process> {
        let example = binary("examples/bgp_announce")
            .context("cargo build --release -p portolan-speaker --examples")?;
        let mut line = format!(
            "mkfifo {0}; exec {1} --local-as {NODE_AS} --peer-as {ROUTER_AS} --router-id {2} --many {3}",
            self.file("commands").display(),
            example.display(),
            self.own,
            self.count
        );
        for router in self.routers {
            let _infallible = write!(line, " --peer {router}");
        }
        let _infallible = write!(line, " <>{}", self.file("commands").display());
        let shell = Program::new("/bin/sh")
            .named("portolan")
            .args(["-c", &line]);
        self.node.spawn(shell)
    }

    /// Its client takes one route at a time, or a dump of a table in the format of RFC 6396.
    async fn gobgp(&self) -> Result<Process> {
        let mut text = format!(
            "[global.config]\n  as = {NODE_AS}\n  router-id = \"{}\"\n  port = -1\n",
            self.own
        );
        for router in self.routers {
            let _infallible = write!(
                text,
                "[[neighbors]]\n[neighbors.config]\n  neighbor-address = \"{router}\"\n  peer-as = {ROUTER_AS}\n\
                 [neighbors.timers.config]\n  connect-retry = 1\n  idle-hold-time-after-reset = 1\n"
            );
        }
        let file = self.file("gobgpd.toml");
        fs::write(&file, text).context("writing gobgpd.toml")?;
        let gobgpd = Program::new("gobgpd").args(["-t", "toml", "--pprof-disable", "-f"]);
        let process = self.node.spawn(gobgpd.arg(file))?;
        retry_until(PATIENCE, "gobgpd to answer", async || {
            self.node.exec(&["gobgp", "global"]).map(drop)
        })
        .await?;
        let dump = self.file("table.mrt");
        // The client ends before the daemon has read all of it, and what was under way is lost: some routes once more.
        let table = prefixes(self.count).chain(prefixes(self.count.min(LOST_AT_MOST)));
        fs::write(&dump, mrt::table(self.own, table)).context("writing a dump")?;
        let dump = dump.to_string_lossy();
        let hop = self.own.to_string();
        let all = format!("Destination: {},", self.count);
        retry_until(PATIENCE, "all routes in the table of GoBGP", async || {
            let inject = ["mrt", "inject", "global", &*dump, "--nexthop", &hop];
            self.node.exec(&[&["gobgp"], &inject[..]].concat())?;
            let has = self.node.exec(&["gobgp", "global", "rib", "summary"])?;
            ensure!(has.contains(&all), "{has}");
            Ok(())
        })
        .await?;
        Ok(process)
    }

    fn bird(&self) -> Result<Process> {
        let mut text = format!(
            "log stderr {{ warning, error, fatal, bug }};\nrouter id {};\nprotocol device {{}}\nprotocol static vips {{\n  ipv4;\n",
            self.own
        );
        for prefix in prefixes(self.count) {
            let _infallible = writeln!(text, "  route {prefix}/32 unreachable;");
        }
        text.push_str("}\n");
        for (number, router) in self.routers.iter().enumerate() {
            let _infallible = write!(
                text,
                "protocol bgp peer{number} {{\n  local as {NODE_AS}; neighbor {router} as {ROUTER_AS};\n  \
                 connect retry time 1; connect delay time 1; error wait time 1, 1;\n  \
                 ipv4 {{ import all; export where proto = \"vips\"; next hop self; }};\n}}\n"
            );
        }
        let file = self.file("bird.conf");
        fs::write(&file, text).context("writing bird.conf")?;
        let bird = Program::new("/usr/sbin/bird").named("bird-announcer");
        let bird = bird.args(["-f", "-c"]).arg(file).arg("-s");
        self.node.spawn(bird.arg(self.file("bird.ctl")))
    }

    fn exabgp(&self) -> Result<Process> {
        let mut routes = String::new();
        for prefix in prefixes(self.count) {
            let _infallible = writeln!(routes, "    route {prefix}/32 next-hop self;");
        }
        let mut text = String::new();
        for router in self.routers {
            let _infallible = write!(
                text,
                "neighbor {router} {{\n  router-id {0}; local-address {0}; local-as {NODE_AS}; peer-as {ROUTER_AS};\n  \
                 family {{ ipv4 unicast; }}\n  static {{\n{routes}  }}\n}}\n",
                self.own
            );
        }
        let file = self.file("exabgp.conf");
        fs::write(&file, text).context("writing exabgp.conf")?;
        let exabgp = Program::new("exabgp").named("exabgp-announcer");
        let quiet = [
            ("exabgp.daemon.user", "root"),
            ("exabgp.daemon.daemonize", "false"),
            ("exabgp.api.cli", "false"),
            ("exabgp.log.level", "WARNING"),
        ];
        let exabgp = quiet
            .into_iter()
            .fold(exabgp, |program, (name, value)| program.env(name, value));
        self.node.spawn(exabgp.arg(file))
    }
}
