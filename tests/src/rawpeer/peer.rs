//! A raw peer: an address with a listener, the configuration that points at it, and the way back to the node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use nix::sys::socket::{setsockopt, sockopt};
use portolan_api::crd::{BGPAdvertisement, BGPPeer, NodeReport, SessionReport};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, timeout};

use super::bytes::Open;
use super::connection::{Connection, Heard, PATIENCE};
use crate::lab::{Netns, retry_until};

/// The port of BGP on both sides.
const PORT: u16 = 179;

/// One neighbour of the speaker under test.
pub struct RawPeer {
    /// Name of its BGPPeer.
    pub name: String,
    /// Its AS.
    pub asn: u32,
    /// Its own address.
    pub address: IpAddr,
    /// The speaker's.
    pub node: IpAddr,
    /// Addresses that the stage's Service holds, IPv4 first.
    pub vips: Vec<IpAddr>,
    /// Name of the Node.
    pub node_name: String,
    /// The API server.
    pub client: Client,
    pub(super) netns: Netns,
    pub(super) listener: TcpListener,
}

impl RawPeer {
    pub(super) fn listen(netns: &Netns, address: IpAddr) -> Result<TcpListener> {
        Self::listen_on(netns, SocketAddr::new(address, PORT))
    }

    fn listen_on(netns: &Netns, at: SocketAddr) -> Result<TcpListener> {
        let listener = netns.enter(|| std::net::TcpListener::bind(at))?;
        let listener = listener.with_context(|| format!("listening on {at}"))?;
        listener.set_nonblocking(true).context("O_NONBLOCK")?;
        TcpListener::from_std(listener).context("the listener of a raw peer")
    }

    /// The same peer on another port.
    ///
    /// # Errors
    /// When somebody listens there.
    pub fn on_port(self, port: u16) -> Result<Self> {
        let listener = Self::listen_on(&self.netns, SocketAddr::new(self.address, port))?;
        Ok(Self { listener, ..self })
    }

    /// The TTL or hop limit of what the peer sends from now on, of answers to a SYN too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_ttl(&self, hops: u32) -> Result<()> {
        match self.address {
            IpAddr::V4(_) => self.listener.set_ttl(hops).context("IP_TTL"),
            IpAddr::V6(_) => {
                let hops = i32::try_from(hops).context("a hop limit")?;
                setsockopt(&self.listener, sockopt::Ipv6Ttl, &hops).context("IPV6_UNICAST_HOPS")
            }
        }
    }

    /// On connections that come from now on, the kernel holds little of what is not read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_little(&self) -> Result<()> {
        setsockopt(&self.listener, sockopt::RcvBuf, &8192).context("SO_RCVBUF")
    }

    /// From now on nothing reaches the peer, as if the cable led nowhere.
    ///
    /// # Errors
    /// When nftables refuses.
    pub fn swallow_packets(&self) -> Result<()> {
        let family = if self.address.is_ipv4() { "ip" } else { "ip6" };
        let table = self.name.replace('-', "_");
        let rules = format!(
            "table inet {table} {{\nchain input {{\ntype filter hook input priority 0\n{family} daddr {} drop\n}}\n}}",
            self.address
        );
        self.netns.exec(&["nft", &rules]).map(drop)
    }

    /// The next connection of the speaker, within `limit`; `None` if there is none.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub async fn accept_within(&self, limit: Duration) -> Result<Option<Connection>> {
        match timeout(limit, self.listener.accept()).await {
            Err(_) => Ok(None),
            Ok(accepted) => Connection::new(accepted.context("accepting")?.0).map(Some),
        }
    }

    /// The next connection of the speaker. It may have to sit out a back-off first.
    ///
    /// # Errors
    /// When there is none.
    pub async fn accept(&self) -> Result<Connection> {
        let limit = 2 * PATIENCE;
        let accepted = self.accept_within(limit).await?;
        accepted.with_context(|| format!("the speaker did not connect within {limit:?}"))
    }

    /// Connects to the speaker from the peer's own address.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(&self) -> Result<Connection> {
        self.connect_from(self.address).await
    }

    /// Connects to the speaker from any address of the router; again while it does not listen yet.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect_from(&self, address: IpAddr) -> Result<Connection> {
        let to = SocketAddr::new(self.node, PORT);
        retry_until(PATIENCE, "a connection to the speaker", async || {
            let socket = self.netns.enter(|| match address {
                IpAddr::V4(_) => TcpSocket::new_v4(),
                IpAddr::V6(_) => TcpSocket::new_v6(),
            })?;
            let socket = socket.context("a socket")?;
            socket
                .bind(SocketAddr::new(address, 0))
                .context("binding")?;
            let connected = timeout(PATIENCE, socket.connect(to)).await;
            let stream = connected.context("no answer to our SYN")?;
            Connection::new(stream.context("connecting to the speaker")?)
        })
        .await
    }

    /// Accepts and establishes with an ordinary OPEN.
    ///
    /// # Errors
    /// When the speaker does not come or does not agree.
    pub async fn establish(&self) -> Result<Connection> {
        self.establish_with(&Open::good(self.asn)).await
    }

    /// Accepts and establishes with this OPEN.
    ///
    /// # Errors
    /// When the speaker does not come or does not agree.
    pub async fn establish_with(&self, open: &Open) -> Result<Connection> {
        let mut connection = self.accept().await?;
        connection.establish(open).await?;
        Ok(connection)
    }

    /// No connection comes for this long.
    ///
    /// # Errors
    /// When one comes.
    pub async fn left_alone(&self, time: Duration) -> Result<()> {
        let came = self.accept_within(time).await?;
        ensure!(
            came.is_none(),
            "the speaker connected again within {time:?}"
        );
        Ok(())
    }

    /// The next connection comes, and not before that much time has passed since `begin`.
    ///
    /// # Errors
    /// When it is too early or does not come.
    pub async fn accept_after(&self, begin: Instant, least: Duration) -> Result<Connection> {
        let connection = self.accept().await?;
        let waited = begin.elapsed();
        ensure!(
            waited >= least,
            "the speaker connected again after {waited:?}"
        );
        Ok(connection)
    }

    /// Waits until the speaker knows this peer: who connects before that is a stranger.
    ///
    /// # Errors
    /// When it never does.
    pub async fn known(&self) -> Result<()> {
        self.reported(|_| true).await.map(drop)
    }

    /// What the speaker reports about this session, as soon as `wish` likes it.
    ///
    /// # Errors
    /// When it never does.
    pub async fn reported(&self, wish: impl Fn(&SessionReport) -> bool) -> Result<SessionReport> {
        let reports: Api<NodeReport> = Api::all(self.client.clone());
        retry_until(2 * PATIENCE, "the report of the session", async || {
            let status = reports
                .get(&self.node_name)
                .await?
                .status
                .unwrap_or_default();
            let ours = status
                .sessions
                .into_iter()
                .find(|session| session.peer == self.name);
            let ours = ours.context("the session is not reported")?;
            ensure!(wish(&ours), "it is {ours:?}");
            Ok(ours)
        })
        .await
    }

    /// What went wrong with this session last, in the speaker's words, as soon as it reports something.
    ///
    /// # Errors
    /// When it never does.
    pub async fn last_error(&self) -> Result<String> {
        let report = self
            .reported(|session| session.last_error.is_some())
            .await?;
        Ok(report.last_error.unwrap_or_default())
    }

    /// Changes fields of the BGPPeer's specification.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn reconfigure(&self, spec: Value) -> Result<()> {
        let peers: Api<BGPPeer> = Api::all(self.client.clone());
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        let patched = peers
            .patch(&self.name, &PatchParams::default(), &patch)
            .await;
        patched
            .map(drop)
            .with_context(|| format!("changing BGPPeer {}", self.name))
    }

    /// Deletes the BGPPeer.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn deconfigure(&self) -> Result<()> {
        let peers: Api<BGPPeer> = Api::all(self.client.clone());
        let deleted = peers.delete(&self.name, &DeleteParams::default()).await;
        deleted
            .map(drop)
            .with_context(|| format!("deleting BGPPeer {}", self.name))
    }

    /// Makes the endpoints of a Service ready or not.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn turn(&self, service: &str, ready: bool) -> Result<()> {
        let slices: Api<EndpointSlice> = Api::default_namespaced(self.client.clone());
        let of = format!("kubernetes.io/service-name={service}");
        for mut slice in slices.list(&ListParams::default().labels(&of)).await? {
            for endpoint in &mut slice.endpoints {
                let conditions = endpoint.conditions.get_or_insert_default();
                (conditions.ready, conditions.serving) = (Some(ready), Some(ready));
            }
            let name = slice.metadata.name.clone().unwrap_or_default();
            let patch = Patch::Merge(serde_json::json!({ "endpoints": slice.endpoints }));
            let patched = slices.patch(&name, &PatchParams::default(), &patch).await;
            patched.with_context(|| format!("changing EndpointSlice {name}"))?;
        }
        Ok(())
    }

    /// Changes fields of a BGPAdvertisement's specification.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn advertise(&self, advertisement: &str, spec: Value) -> Result<()> {
        let api: Api<BGPAdvertisement> = Api::all(self.client.clone());
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        let patched = api
            .patch(advertisement, &PatchParams::default(), &patch)
            .await;
        patched
            .map(drop)
            .with_context(|| format!("changing BGPAdvertisement {advertisement}"))
    }

    /// The IPv4 address that a Service holds, as a prefix on the wire.
    ///
    /// # Errors
    /// When it has none.
    pub async fn vip_of(&self, service: &str) -> Result<(u8, Vec<u8>)> {
        let services: Api<Service> = Api::default_namespaced(self.client.clone());
        let status = services.get(service).await?.status.unwrap_or_default();
        let ingress = status
            .load_balancer
            .unwrap_or_default()
            .ingress
            .unwrap_or_default();
        let v4 = ingress
            .into_iter()
            .find_map(|entry| entry.ip?.parse::<Ipv4Addr>().ok());
        let v4 = v4.with_context(|| format!("Service {service} has no address"))?;
        Ok((32, v4.octets().to_vec()))
    }

    /// Whether the next thing on a fresh connection is the speaker closing it without a byte.
    ///
    /// # Errors
    /// When it says something, or stays.
    pub async fn turned_away(mut connection: Connection) -> Result<()> {
        match connection.next().await? {
            Heard::Fin | Heard::Reset => Ok(()),
            Heard::Message(message) => anyhow::bail!("wanted to be turned away, heard {message:?}"),
        }
    }
}
