//! BIRD 2, asked through its control socket; the kernel protocol merges equal paths into one route.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;

use super::{Neighbour, Path, Remote, Router, RouterConfig, Session, link_bandwidth, sorted};
use crate::lab::{Host, Netns, Process, Program, Tool, require, retry_until};

const BIRD: Tool = Tool {
    program: "bird",
    package: "bird2",
};
const BIRDC: Tool = Tool {
    program: "birdc",
    package: "bird2",
};

/// A running BIRD.
pub struct Bird {
    process: Process,
    netns: Netns,
    directory: PathBuf,
}

impl Bird {
    /// Starts BIRD on a host.
    ///
    /// # Errors
    /// When it is missing or does not come up.
    pub async fn start(host: &Host, config: &RouterConfig) -> Result<Self> {
        let directory = host.directory().join("bird");
        fs::create_dir_all(&directory).context("creating the directory of BIRD")?;
        fs::write(directory.join("bird.conf"), render(config)).context("writing bird.conf")?;
        let program = Program::new(require(BIRD)?)
            .args(["-f", "-c"])
            .arg(directory.join("bird.conf"))
            .arg("-s")
            .arg(directory.join("bird.ctl"));
        let process = host.spawn(program)?;
        let mut bird = Self {
            process,
            netns: host.netns().clone(),
            directory,
        };
        retry_until(Duration::from_secs(10), "BIRD to answer", async || {
            bird.process.ensure_running()?;
            bird.ask("show status").map(drop)
        })
        .await?;
        Ok(bird)
    }

    /// Writes a new configuration and has BIRD take it.
    ///
    /// # Errors
    /// When BIRD refuses it.
    pub fn reconfigure(&self, config: &RouterConfig) -> Result<()> {
        fs::write(self.directory.join("bird.conf"), render(config)).context("writing bird.conf")?;
        let answer = self.ask("configure")?;
        ensure!(
            answer.to_lowercase().contains("reconfig"),
            "BIRD answered {answer}"
        );
        Ok(())
    }

    /// The process, to kill or to measure.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// One command of birdc.
    ///
    /// # Errors
    /// When BIRD does not answer, or with a syntax error.
    pub fn ask(&self, command: &str) -> Result<String> {
        let (birdc, socket) = (require(BIRDC)?, self.directory.join("bird.ctl"));
        let (birdc, socket) = (birdc.to_string_lossy(), socket.to_string_lossy());
        let mut argv = vec![&*birdc, "-s", &*socket];
        argv.extend(command.split(' '));
        let answer = self.netns.exec(&argv)?;
        ensure!(!answer.contains("syntax error"), "`{command}`: {answer}");
        Ok(answer)
    }
}

impl Router for Bird {
    fn name(&self) -> &'static str {
        "BIRD"
    }

    fn has_fib(&self) -> bool {
        true
    }

    fn rib(&self, prefix: IpNetwork) -> Result<Vec<Path>> {
        let all = parse_paths(&self.ask(&format!("show route {prefix} all"))?);
        let exact = all.into_iter().filter(|(found, _)| *found == prefix);
        Ok(sorted(exact.map(|(_, path)| path).collect()))
    }

    fn prefixes(&self) -> Result<Vec<IpNetwork>> {
        let mut prefixes: Vec<IpNetwork> = parse_paths(&self.ask("show route all")?)
            .into_iter()
            .map(|(prefix, _)| prefix)
            .collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(prefixes)
    }

    fn sessions(&self) -> Result<Vec<Session>> {
        let sessions = parse_sessions(&self.ask("show protocols all")?).into_iter();
        let mut sessions: Vec<Session> = sessions.map(|(_, session)| session).collect();
        sessions.sort_by_key(|session| session.peer);
        Ok(sessions)
    }

    fn refresh(&self, peer: IpAddr) -> Result<()> {
        let sessions = parse_sessions(&self.ask("show protocols all")?);
        let found = sessions.into_iter().find(|(_, it)| it.peer == peer);
        let (protocol, _) = found.with_context(|| format!("no session with {peer}"))?;
        self.ask(&format!("reload in {protocol}")).map(drop)
    }

    /// `172.30.0.11   eth0       Up         10:00:00.000    0.100    0.300`
    fn bfd_up(&self) -> Result<usize> {
        let answer = self.ask("show bfd sessions")?;
        let states = answer
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2));
        Ok(states.filter(|state| *state == "Up").count())
    }

    fn log(&self) -> Result<String> {
        self.process.log()
    }
}

/// Reads `show route all`:
///
/// ```text
/// Table master4:
/// 192.0.2.1/32         unicast [peer1 10:00:00.000] * (100) [AS64512i]
///  via 172.30.0.11 on eth0
///  Type: BGP univ
///  BGP.as_path: 64512
///  BGP.next_hop: 172.30.0.11
///                      unicast [peer2 10:00:00.000] (100) [AS64512i]
/// ```
fn parse_paths(text: &str) -> Vec<(IpNetwork, Path)> {
    let mut paths: Vec<(IpNetwork, Path)> = Vec::new();
    let mut prefix = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(found) = first
            .parse()
            .ok()
            .filter(|_| !line.starts_with([' ', '\t']) && first.contains('/'))
        {
            prefix = Some(found);
        }
        let is_path = first == "unicast" || words.next() == Some("unicast");
        match (prefix, paths.last_mut()) {
            (Some(prefix), _) if is_path => paths.push((prefix, Path::default())),
            (_, Some((_, path))) => read_attribute(path, line.trim()),
            _ => {}
        }
    }
    // Routes that are not BGP's, such as the router's own, carry no BGP next hop.
    paths.retain(|(_, path)| path.next_hop.is_some());
    paths
}

fn read_attribute(path: &mut Path, line: &str) {
    let Some((name, value)) = line.split_once(": ") else {
        return;
    };
    match name {
        "BGP.as_path" => {
            path.as_path = value
                .split(' ')
                .filter_map(|asn| asn.parse().ok())
                .collect();
        }
        "BGP.next_hop" => path.next_hop = value.split(' ').next().and_then(|hop| hop.parse().ok()),
        "BGP.local_pref" => path.local_pref = value.parse().ok(),
        "BGP.med" => path.med = value.parse().ok(),
        "BGP.community" => path.communities = read_tuples(value),
        "BGP.ext_community" => path.link_bandwidth = read_link_bandwidth(value),
        "BGP.large_community" => path.large_communities = read_tuples(value),
        _ => {}
    }
}

/// `(65000,1) (65000,2)`, `(65000, 1, 2)`
fn read_tuples(text: &str) -> Vec<String> {
    let tuples = text.split(')').map(|tuple| {
        tuple
            .trim_matches([' ', '('])
            .replace(", ", ":")
            .replace(',', ":")
    });
    let mut tuples: Vec<String> = tuples.filter(|tuple| !tuple.is_empty()).collect();
    tuples.sort_unstable();
    tuples
}

/// `(unknown 0x4, 64512, 1290693416) (rt, 1, 2)`: BIRD has no name for link bandwidth, and shows it as an AS-specific
/// community of that type and subtype.
fn read_link_bandwidth(text: &str) -> Option<u64> {
    text.split(')').find_map(|tuple| {
        let parts = tuple.trim_matches([' ', '(']).strip_prefix("unknown 0x")?;
        let mut parts = parts.split(", ");
        let kind = u64::from_str_radix(parts.next()?, 16).ok()?;
        let value: u64 = parts.nth(1)?.parse().ok()?;
        link_bandwidth(kind << 48 | value)
    })
}

/// Reads `show protocols all`, with the name of each session's protocol. BIRD does not count sessions; it counts routes,
/// not messages: what came for each channel, `Import updates` the first column.
fn parse_sessions(text: &str) -> Vec<(String, Session)> {
    let mut sessions: Vec<(String, Session)> = Vec::new();
    let (mut protocol, mut state) = (String::new(), None);
    for line in text.lines() {
        if !line.starts_with([' ', '\t']) {
            line.split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut protocol);
            continue;
        }
        let Some((name, value)) = line.trim().split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name {
            "BGP state" => state = Some(value.to_owned()),
            "Neighbor address" => {
                // Those of dynamic templates are ranges, and no sessions.
                let peer = value
                    .split('%')
                    .next()
                    .and_then(|address| address.parse().ok());
                if let (Some(peer), Some(state)) = (peer, state.take()) {
                    let session = Session {
                        peer,
                        state,
                        established_count: None,
                        updates: 0,
                    };
                    sessions.push((protocol.clone(), session));
                }
            }
            "Import updates" => {
                let count = value
                    .split(' ')
                    .next()
                    .and_then(|count| count.parse::<u64>().ok());
                if let (Some((of, session)), Some(count)) = (sessions.last_mut(), count)
                    && *of == protocol
                {
                    session.updates += count;
                }
            }
            _ => {}
        }
    }
    sessions
}

fn render(config: &RouterConfig) -> String {
    let mut lines = vec![
        "log stderr all;".into(),
        format!("router id {};", config.id),
        "debug protocols { states, events };".into(),
        "protocol device { scan time 1; }".into(),
        // Next hops of internal routes are looked up in the table, which has to know the LAN for that.
        "protocol direct { ipv4; ipv6; }".into(),
    ];
    for family in ["ipv4", "ipv6"] {
        let channel = format!("{family} {{ import none; export where source = RTS_BGP; }};");
        lines.push(format!(
            "protocol kernel {{ {channel} merge paths on; scan time 2; }}"
        ));
    }
    if config.neighbours.iter().any(|it| it.bfd.is_some()) {
        lines.push("protocol bfd {}".into());
    }
    for (number, neighbour) in config.neighbours.iter().enumerate() {
        lines.extend(neighbour_lines(config, number, neighbour));
    }
    lines.extend([config.extra.clone(), String::new()]);
    lines.join("\n")
}

/// What a network does that honours graceful shutdown (RFC 8326 §4.2); FRR does so by itself.
const IMPORT: &str =
    "import filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; };";

fn neighbour_lines(config: &RouterConfig, number: usize, neighbour: &Neighbour) -> Vec<String> {
    let mut lines = vec![
        format!("protocol bgp peer{number} {{"),
        format!("  local as {};", config.asn),
        format!("  hold time {};", config.hold_time),
        "  connect retry time 1; connect delay time 1; error wait time 1, 4;".into(),
    ];
    match neighbour.remote {
        Remote::Address(address) => {
            lines.push(format!("  neighbor {address} as {};", neighbour.asn));
        }
        Remote::Range(range) => lines.push(format!(
            "  neighbor range {range} as {}; dynamic name \"range{number}x\";",
            neighbour.asn
        )),
        Remote::Interface(link) => lines.push(format!(
            "  neighbor range fe80::/64 as {}; interface \"{link}\"; dynamic name \"{link}x\";",
            neighbour.asn
        )),
    }
    if neighbour.passive {
        lines.push("  passive on;".into());
    }
    if let Some(key) = &neighbour.password {
        lines.push(format!("  password \"{key}\";"));
    }
    if neighbour.ttl_security {
        lines.push("  direct; ttl security on;".into());
    }
    if let Some(bfd) = neighbour.bfd {
        lines.push(format!(
            "  bfd {{ interval {} ms; multiplier {}; }};",
            bfd.interval, bfd.multiplier
        ));
        if bfd.restart_aware {
            lines.push("  bfd graceful;".into());
        }
    }
    for family in neighbour.families() {
        let extended = if family == "ipv4" && neighbour.extended_next_hop {
            "extended next hop on; "
        } else {
            ""
        };
        lines.push(format!("  {family} {{ {extended}{IMPORT} export none; }};"));
    }
    lines.push("}".into());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "BIRD 2.0.12 ready.
Table master4:
192.0.2.1/32         unicast [peer0 10:00:00.000] * (100) [AS64512i]
\tvia 172.30.0.11 on eth0
\tType: BGP univ
\tBGP.origin: IGP
\tBGP.as_path: 64512
\tBGP.next_hop: 172.30.0.11
\tBGP.local_pref: 100
\tBGP.community: (64512,7) (65535,0)
\tBGP.large_community: (64512, 1, 2)
                     unicast [peer1 10:00:00.000] (100) [AS64512i]
\tvia 172.30.0.12 on eth0
\tBGP.as_path: 64512
\tBGP.next_hop: 172.30.0.12
Table master6:
2001:db8::1/128      unicast [peer0 10:00:00.000] * (100) [AS64512i]
\tvia fd00:30::11 on eth0
\tBGP.next_hop: fd00:30::11 fe80::1
";

    #[test]
    fn every_path_is_read_with_its_attributes() {
        let paths = parse_paths(ROUTES);
        let hops: Vec<String> = paths
            .iter()
            .map(|(prefix, path)| format!("{prefix} {}", path.next_hop.unwrap()))
            .collect();
        let want = [
            "192.0.2.1/32 172.30.0.11",
            "192.0.2.1/32 172.30.0.12",
            "2001:db8::1/128 fd00:30::11",
        ];
        assert_eq!(hops, want);
        let first = &paths[0].1;
        assert_eq!(first.communities, ["64512:7", "65535:0"]);
        assert_eq!(first.large_communities, ["64512:1:2"]);
        assert_eq!(
            (first.local_pref, &first.as_path[..]),
            (Some(100), &[64512][..])
        );
    }

    #[test]
    fn link_bandwidth_is_told_from_other_extended_communities() {
        for (text, bandwidth) in [
            (
                "(rt, 1, 2) (unknown 0x4, 64512, 1290693416)",
                Some(125_000_000),
            ),
            ("(unknown 0x4004, 64512, 1290693416)", Some(125_000_000)),
            ("(unknown 0x3, 64512, 1290693416)", None),
        ] {
            assert_eq!(read_link_bandwidth(text), bandwidth, "row {text}");
        }
    }

    #[test]
    fn a_dynamic_template_is_no_session() {
        let text = "peer0 BGP --- start\n  BGP state:  Passive\n    Neighbor range: 172.30.0.0/16\n\
                    range0x1 BGP --- up\n  BGP state:          Established\n    Neighbor address: 172.30.0.11\n";
        let sessions = parse_sessions(text);
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        assert!(sessions[0].1.is_established());
    }
}
