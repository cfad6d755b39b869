//! The kernel's routing tables, by netlink.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use ipnetwork::IpNetwork;
use portolan_api::range::Family;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{Handle, IpVersion};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Routing, Step};

/// The table of our own: "PORT" in ASCII, out of the way of numbers that people choose.
const TABLE: u32 = 0x504f_5254;
/// Before the main table, which is 32766.
const PRIORITY: u32 = 32765;
/// By which we know our own again. None of `/etc/iproute2/rt_protos`.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(112);
/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why the tables are not as they should be.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// There is no netlink socket.
    #[error("open netlink socket: {0}")]
    Open(#[source] io::Error),
    /// What is there can not be read.
    #[error("read rules and routes: {0}")]
    Read(#[source] io::Error),
    /// The kernel did not take a change.
    #[error("change rules and routes: {}", with_remedy(.0))]
    Change(#[source] io::Error),
}

fn with_remedy(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{error} (portolan-speaker needs the capability NET_ADMIN)")
        }
        _ => error.to_string(),
    }
}

/// Rules and routes of this network namespace.
pub(super) struct Kernel {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Kernel {
    pub(super) fn open() -> Result<Self, Error> {
        // Strict, or the kernel would send every route of the node instead of those of our table.
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(Error::Open)?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// What of ours is there.
    pub(super) async fn read(&self) -> Result<Routing, Error> {
        let mut found = Routing::default();
        for (family, version) in [(Family::V4, IpVersion::V4), (Family::V6, IpVersion::V6)] {
            let rules = self.handle.rule().get(version).execute();
            let rules = match all(rules).await {
                Err(error) if is_switched_off(&error) => continue,
                rules => rules.map_err(Error::Read)?,
            };
            if rules.iter().any(is_ours) {
                found.rules.insert(family);
            }
            let mut query = RouteMessage::default();
            query.header.address_family = address_family(family);
            query.attributes.push(RouteAttribute::Table(TABLE));
            let routes = all(self.handle.route().get(query).execute()).await;
            found.prefixes.extend(match routes {
                Ok(routes) => routes.iter().filter_map(prefix).collect(),
                // The table comes to be with its first route.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => BTreeSet::new(),
                Err(error) => return Err(Error::Read(error)),
            });
        }
        Ok(found)
    }

    /// Takes one step. Somebody else may have taken it before, which is as good.
    pub(super) async fn take(&self, step: Step) -> Result<(), Error> {
        let done = match step {
            Step::AddRoute(prefix) => {
                in_time(self.handle.route().add(route(prefix)).execute()).await
            }
            Step::RemoveRoute(prefix) => {
                in_time(self.handle.route().del(route(prefix)).execute()).await
            }
            Step::AddRule(family) => {
                let mut request = self.handle.rule().add();
                *request.message_mut() = rule(family);
                in_time(request.execute()).await
            }
            Step::RemoveRule(family) => {
                in_time(self.handle.rule().del(rule(family)).execute()).await
            }
        };
        let idle = match step {
            Step::AddRoute(_) | Step::AddRule(_) => [nix::libc::EEXIST].as_slice(),
            Step::RemoveRoute(_) | Step::RemoveRule(_) => &[nix::libc::ESRCH, nix::libc::ENOENT],
        };
        match done {
            Err(error)
                if error
                    .raw_os_error()
                    .is_some_and(|code| idle.contains(&code)) =>
            {
                Ok(())
            }
            done => done.map_err(Error::Change),
        }
    }
}

/// The node does not speak this family at all.
fn is_switched_off(error: &io::Error) -> bool {
    let codes = [nix::libc::EAFNOSUPPORT, nix::libc::EOPNOTSUPP];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// What comes in from elsewhere is looked up in our table.
fn rule(family: Family) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(family);
    message.header.action = RuleAction::ToTable;
    message.header.flags = RuleFlags::Invert;
    message.attributes = vec![
        RuleAttribute::Iifname("lo".to_owned()),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Table(TABLE),
        RuleAttribute::Protocol(PROTOCOL),
    ];
    message
}

fn is_ours(message: &RuleMessage) -> bool {
    let wanted = rule(Family::V4).attributes;
    wanted.iter().all(|one| message.attributes.contains(one))
        && message.header.flags.contains(RuleFlags::Invert)
}

fn route(prefix: IpNetwork) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: address_family(Family::of(prefix.ip())),
        destination_prefix_length: prefix.prefix(),
        protocol: PROTOCOL,
        scope: RouteScope::Universe,
        kind: RouteType::Unreachable,
        ..RouteHeader::default()
    };
    let destination = match prefix.network() {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    message.attributes = vec![
        RouteAttribute::Destination(destination),
        RouteAttribute::Table(TABLE),
    ];
    message
}

/// The prefix of a route of ours; a default route has no destination and is not ours.
fn prefix(message: &RouteMessage) -> Option<IpNetwork> {
    let ours = message.header.protocol == PROTOCOL
        && message.attributes.contains(&RouteAttribute::Table(TABLE));
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                Some(IpAddr::from(*address))
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                Some(IpAddr::from(*address))
            }
            _ => None,
        })?;
    let network = IpNetwork::new(address, message.header.destination_prefix_length).ok()?;
    ours.then_some(network)
}

async fn all<T>(answers: impl Stream<Item = Result<T, rtnetlink::Error>>) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    in_time(async {
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            found.push(answer?);
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

async fn in_time(request: impl Future<Output = Result<(), rtnetlink::Error>>) -> io::Result<()> {
    match timeout(TIMEOUT, request).await {
        Ok(done) => done.map_err(|error| match error {
            rtnetlink::Error::NetlinkError(refusal) => refusal.to_io(),
            other => io::Error::other(other),
        }),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
