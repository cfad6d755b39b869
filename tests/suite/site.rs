//! What scenarios with routers share: every node speaks with every router, one session per family, and what is waited
//! for at the routers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use ipnetwork::IpNetwork;
use portolan_tests::lab::router::{Bird, Frr, Neighbour, Router, RouterConfig};
use portolan_tests::lab::{Host, Lab, Prober, retry_until};
use portolan_tests::world::{NODE_AS, ROUTER_AS, SOON};

/// Between two requests of a client, and how long it waits for an answer.
const PACE: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(2);

/// FRR on the first router, BIRD on the second.
pub(super) struct Routers {
    pub(super) frr: Frr,
    pub(super) bird: Bird,
}

impl Routers {
    pub(super) async fn start(lab: &Lab, adapt: fn(Neighbour) -> Neighbour) -> Result<Self> {
        Ok(Self {
            frr: Frr::start(&lab.routers[0], &config_with(lab, &lab.routers[0], adapt)).await?,
            bird: Bird::start(&lab.routers[1], &config_with(lab, &lab.routers[1], adapt)).await?,
        })
    }

    pub(super) fn both(&self) -> [&dyn Router; 2] {
        [&self.frr, &self.bird]
    }
}

/// A router that waits for a session from each node, one per family.
pub(super) fn config(lab: &Lab, router: &Host) -> RouterConfig {
    config_with(lab, router, |neighbour| neighbour)
}

/// As [`config`], with neighbours that say more.
pub(super) fn config_with(
    lab: &Lab,
    router: &Host,
    adapt: fn(Neighbour) -> Neighbour,
) -> RouterConfig {
    let addresses = lab.nodes.iter().flat_map(|node| node.host.address().both());
    let neighbours = addresses.map(|address| adapt(Neighbour::at(address, NODE_AS).passive()));
    RouterConfig::new(ROUTER_AS, router.address().v4, neighbours.collect())
}

/// A router that waits for an IPv4 session from each node.
pub(super) fn config_v4(lab: &Lab, router: &Host) -> RouterConfig {
    let nodes = lab.nodes.iter();
    let neighbours = nodes.map(|node| Neighbour::at(node.host.address().v4, NODE_AS).passive());
    RouterConfig::new(ROUTER_AS, router.address().v4, neighbours.collect())
}

/// BGPPeers for both families of every router; `more` are further lines.
pub(super) fn peers(lab: &Lab, more: &str) -> String {
    let of_router = |(index, router): (usize, &Host)| {
        router.address().both().map(|address| {
            let family = if address.is_ipv4() { 4 } else { 6 };
            let name = format!("router-{}-v{family}", index + 1);
            portolan_tests::world::peer_yaml(&name, address, more)
        })
    };
    let all: Vec<String> = lab.routers.iter().enumerate().flat_map(of_router).collect();
    all.join("---")
}

/// The addresses of nodes in the family of `like`.
pub(super) fn hops(lab: &Lab, like: IpAddr) -> Vec<IpAddr> {
    let nodes = lab.nodes.iter();
    nodes
        .map(|node| node.host.address().of_family(like))
        .collect()
}

/// Waits until a router knows a prefix by exactly these next hops.
pub(super) async fn wait_for_hops(
    router: &dyn Router,
    prefix: impl Into<IpNetwork>,
    hops: &[IpAddr],
) -> Result<()> {
    let prefix = prefix.into();
    let what = format!("{} to know {prefix} by {hops:?}", router.name());
    retry_until(SOON, &what, async || {
        let seen = router.next_hops(prefix)?;
        ensure!(seen == hops, "it knows {seen:?}");
        Ok(())
    })
    .await
}

/// Waits until a router's kernel forwards by exactly these next hops.
pub(super) async fn wait_for_kernel(
    lab: &Lab,
    host: &Host,
    prefix: impl Into<IpNetwork>,
    hops: &[IpAddr],
) -> Result<()> {
    let prefix = prefix.into();
    let what = format!("{prefix} by {hops:?} in the kernel of {}", host.name());
    retry_until(SOON, &what, async || {
        let seen = lab.kernel_hops(host, prefix)?;
        ensure!(seen == hops, "it has {seen:?}");
        Ok(())
    })
    .await
}

/// Waits until this many sessions of a router are established.
pub(super) async fn wait_for_sessions(router: &dyn Router, count: usize) -> Result<()> {
    let what = format!("{count} sessions of {}", router.name());
    retry_until(SOON, &what, async || {
        let sessions = router.sessions()?;
        let up = sessions.iter().filter(|it| it.is_established()).count();
        ensure!(up == count, "{sessions:?}");
        Ok(())
    })
    .await
}

/// Asks for all routes again, session by session: UPDATEs must come.
pub(super) async fn check_refresh(router: &dyn Router) -> Result<()> {
    let name = router.name();
    for before in router.sessions()? {
        router.refresh(before.peer)?;
        retry_until(SOON, &format!("UPDATEs anew at {name}"), async || {
            let sessions = router.sessions()?;
            let after = sessions.iter().find(|it| it.peer == before.peer);
            let more = after.is_some_and(|after| after.updates > before.updates);
            ensure!(more, "{before:?}, now {after:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A client behind each router that asks all the time.
pub(super) fn clients(lab: &Lab, vip: IpAddr) -> Result<Vec<Prober>> {
    let clients = lab.clients.iter();
    clients
        .map(|client| client.probe(SocketAddr::new(vip, 80), PACE, LIMIT))
        .collect()
}
