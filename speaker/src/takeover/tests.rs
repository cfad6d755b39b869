//! The rules, one by one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use portolan_api::crd::DetectionRule;
use portolan_proto::ethernet::MacAddr;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
pub(super) fn mk_now() -> Instant {
    Instant::now()
}

/// A duty on all interfaces.
pub(super) fn mk_duty(term: u64, nodes: Arc<[String]>) -> Duty {
    Duty {
        term,
        nodes,
        interfaces: Interfaces::All,
        detection: DetectionRule::default(),
        refresh: Duration::from_secs(60),
    }
}

/// One interface, `eth0` with index 2.
pub(super) fn mk_links(mac: MacAddr, address: &str, carrier: bool, ups: u32) -> Links {
    let mut links = Links::default();
    add_link(&mut links, (2, "eth0"), mac, &[address], carrier, ups);
    links
}

fn add_link(
    links: &mut Links,
    (index, name): (u32, &str),
    mac: MacAddr,
    addresses: &[&str],
    carrier: bool,
    ups: u32,
) {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up | LinkFlags::Broadcast | LinkFlags::Multicast;
    if carrier {
        message.header.flags |= LinkFlags::Running;
    }
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::CarrierUpCount(ups),
    ];
    links.apply(&RouteNetlinkMessage::NewLink(message));
    for address in addresses {
        let network: IpNetwork = address.parse().unwrap();
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = network.prefix();
        message.attributes = vec![AddressAttribute::Address(network.ip())];
        links.apply(&RouteNetlinkMessage::NewAddress(message));
    }
}
