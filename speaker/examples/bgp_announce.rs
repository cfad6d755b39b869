//! Announces prefixes to routers without Kubernetes, to try out the router's side of a configuration.
//!
//! ```text
//! cargo run -p portolan-speaker --example bgp_announce -- \
//!     --peer 192.0.2.1 --local-as 65001 --peer-as 65000 --router-id 192.0.2.10
//! ```
//!
//! Then one command per line: `+192.0.2.80/32 65000:100 large:65000:1:2` announces, `-192.0.2.80/32` withdraws,
//! `quit some words` ends the session with these words in the router's log. Status changes are printed.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use ipnetwork::IpNetwork;
use portolan_proto::bgp::{
    Asn, Audience, Community, HoldTime, LargeCommunity, PORT, Prefix, RouteAttrs, RouterId,
};
use portolan_speaker::bgp::{
    Distance, Listen, Password, PeerAs, PeerSpec, Remote, SessionStatus, Sessions, Signature,
};
use portolan_speaker::link;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Args {
    /// Address of a router, or the interface of an unnumbered one; once for each.
    #[arg(long = "peer", required = true)]
    peers: Vec<String>,
    /// Its port.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Address to connect from.
    #[arg(long)]
    source: Option<IpAddr>,
    /// Our AS number.
    #[arg(long)]
    local_as: Asn,
    /// The router's AS number.
    #[arg(long)]
    peer_as: Asn,
    /// Our BGP identifier.
    #[arg(long)]
    router_id: RouterId,
    /// Hold time in seconds.
    #[arg(long, default_value_t = 90)]
    hold: u16,
    /// TCP MD5 password.
    #[arg(long)]
    password: Option<String>,
    /// The router is more than one hop away.
    #[arg(long)]
    multihop: bool,
    /// Carry IPv4 and IPv6 on the session.
    #[arg(long)]
    dual_stack: bool,
    /// Only wait for the router to connect.
    #[arg(long)]
    passive: bool,
    /// Announce this many IPv4 host routes from 198.18.0.0 on.
    #[arg(long, default_value_t = 0)]
    many: u32,
}

impl Args {
    fn spec(&self, peer: &str) -> anyhow::Result<PeerSpec> {
        let remote = match peer.parse() {
            Ok(address) => Remote::Address(address),
            Err(_) => Remote::Interface {
                name: peer.to_owned(),
                router: None,
            },
        };
        let peer_as = PeerAs::Exactly(self.peer_as);
        let password = self.password.clone().map(Password::new).transpose()?;
        Ok(PeerSpec {
            port: self.port,
            source: self.source,
            hold_time: HoldTime::new(self.hold)?,
            signature: password.map(Signature::Md5),
            distance: if self.multihop {
                Distance::Multihop
            } else {
                Distance::Usual
            },
            dual_stack: self.dual_stack,
            listen: if self.passive {
                Listen::Passive
            } else {
                Listen::Active
            },
            ..PeerSpec::new(peer, remote, self.local_as, peer_as, self.router_id)
        })
    }

    /// Everybody is told the same.
    fn told(&self, attrs: &RouteAttrs) -> Arc<Audience> {
        let peers = self.peers.iter();
        let audience = peers.map(|peer| (peer.as_str(), attrs.clone()));
        Arc::new(audience.collect())
    }

    fn obey(&self, line: &str, routes: &mut Routes) -> anyhow::Result<()> {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else {
            return Ok(());
        };
        if let Some(prefix) = first.strip_prefix('-') {
            routes.remove(&prefix.parse()?);
            return Ok(());
        }
        let prefix = first
            .strip_prefix('+')
            .context("a line starts with + or -")?;
        let (large, standard): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.starts_with("large:"));
        let communities = standard.iter().map(|word| word.parse::<Community>());
        let large = large.iter().map(|word| word.parse::<LargeCommunity>());
        let attrs = RouteAttrs {
            communities: communities.collect::<Result<_, _>>()?,
            large: large.collect::<Result<_, _>>()?,
            ..RouteAttrs::default()
        };
        routes.insert(prefix.parse()?, self.told(&attrs));
        Ok(())
    }
}

type Routes = BTreeMap<Prefix, Arc<Audience>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let plain = args.told(&RouteAttrs::default());
    let mut routes: Routes = (0..args.many)
        .map(|host| {
            let address = IpAddr::from((0xc612_0000 + host).to_be_bytes());
            (IpNetwork::from(address).into(), Arc::clone(&plain))
        })
        .collect();
    let links = link::watch(CancellationToken::new()).await?;
    let mut sessions = Sessions::new("example").with_links(links);
    let mut watch = sessions.changes();
    let specs = args.peers.iter().map(|peer| args.spec(peer));
    sessions.apply(specs.collect::<anyhow::Result<_>>()?);
    sessions.routes(&routes);
    sessions.set_synced();

    let mut input = tokio::net::unix::pipe::Receiver::from_owned_fd(
        std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned()?,
    )
    .context("standard input must be a pipe")?;
    let mut pending = String::new();
    let mut chunk = [0; 4096];
    loop {
        tokio::select! {
            fresh = watch.changed() => {
                fresh?;
                sessions.status().iter().try_for_each(show)?;
            }
            count = input.read(&mut chunk) => {
                let Some(read) = chunk.get(..count?).filter(|read| !read.is_empty()) else { break };
                pending.push_str(&String::from_utf8_lossy(read));
                while let Some((line, rest)) = pending.split_once('\n') {
                    if let Some(words) = line.strip_prefix("quit") {
                        sessions.shutdown(words.trim()).await;
                        return Ok(());
                    }
                    args.obey(line, &mut routes).with_context(|| line.to_owned())?;
                    sessions.routes(&routes);
                    pending = rest.to_owned();
                }
            }
        }
    }
    sessions.shutdown("end of input").await;
    Ok(())
}

fn show(status: &SessionStatus) -> std::io::Result<()> {
    let SessionStatus {
        state,
        advertised,
        unsent,
        updates_sent,
        established,
        ..
    } = status;
    let error = status.last_error.as_deref().unwrap_or("-");
    writeln!(
        stdout(),
        "{state}: {advertised} routes told, {unsent} not, {updates_sent} updates, established {established} times; last error: {error}"
    )
}
