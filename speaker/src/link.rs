//! The node's links and addresses, as the kernel reports them by netlink.
//!
//! ```text
//! kernel ──► netlink socket ──► Links (this file, pure) ──► watch channel ──► layer 2, BGP, reports
//!             (watch.rs: dump at start, then events; a new dump whenever events were lost)
//! ```
//!
//! Nothing is polled. What readers get is always a complete picture, never a difference, so a slow
//! reader sees only the present.

mod exclude;
mod watch;

pub use exclude::Exclude;
pub use watch::{Error, watch};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;
use portolan_proto::ethernet::MacAddr;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkEvent, LinkFlags, LinkInfo, LinkMessage,
};

/// All links of this network namespace, by interface index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links(BTreeMap<u32, Link>);

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number; a device that is created again gets a new one.
    pub index: u32,
    /// Its name at present; names can change.
    pub name: String,
    /// Its hardware address, if it is Ethernet's.
    pub mac: Option<MacAddr>,
    /// What it is when it is virtual: `bridge`, `vlan`, `veth`, …
    pub kind: Option<String>,
    /// Index of the bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
    /// `IFF_*`.
    pub flags: LinkFlags,
    /// How often it came up, or moved to another place of the network: a bond failed over, the
    /// virtual machine migrated. A reader that was too slow to see a link go down still sees that
    /// this changed, and announces its addresses again.
    pub ups: u64,
    /// IPv6 is on. An address alone would tell too late: when a link comes up, its link-local one is
    /// reported only after duplicate detection, a second or two later.
    pub ipv6: bool,
    /// Its addresses.
    pub addresses: BTreeMap<IpAddr, Address>,
    carrier_ups: u32,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Length of the prefix of the subnet, in bits.
    pub prefix_len: u8,
    /// May be used: duplicate address detection is over and found none (RFC 4862 §5.4).
    pub ready: bool,
    /// About to go: good for what uses it already, not for new uses (RFC 4862 §5.5.4).
    pub deprecated: bool,
}

impl Link {
    /// Set up by the administrator.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// Up, and the other end is there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.flags.contains(LinkFlags::Up | LinkFlags::Running)
    }

    /// Whether it was down between an older picture and this one, be it only for a moment.
    fn came_up_since(&self, old: &Self) -> bool {
        let came_up = self.is_running() && !old.is_running();
        came_up || self.carrier_ups != old.carrier_ups
    }

    /// ARP and NDP can be spoken on it: an Ethernet segment of its own right that is up.
    ///
    /// A port of a bridge or bond is not: its master is. Addresses are not needed, so a VLAN
    /// without any will do.
    #[must_use]
    pub fn is_broadcast_segment(&self) -> bool {
        self.is_up()
            && self.master.is_none()
            && self.mac.is_some_and(MacAddr::is_station)
            && self.flags.contains(LinkFlags::Broadcast)
            && !self
                .flags
                .intersects(LinkFlags::Noarp | LinkFlags::Loopback)
    }

    /// An address of ours in a subnet of this link that contains `other`.
    #[must_use]
    pub fn neighbour_of(&self, other: IpAddr) -> Option<IpAddr> {
        let near = |(own, address): &(&IpAddr, &Address)| {
            let subnet = IpNetwork::new(**own, address.prefix_len);
            address.ready && subnet.is_ok_and(|subnet| subnet.contains(other))
        };
        self.addresses.iter().find(near).map(|(own, _)| *own)
    }

    /// The link-local IPv6 address that messages can be sent from.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|(ip, address)| match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() && address.ready => Some(*ip),
            _ => None,
        })
    }
}

impl Links {
    /// All links, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.values()
    }

    /// The link with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Link> {
        self.0.get(&index)
    }

    /// The link with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Link> {
        self.iter().find(|link| link.name == name)
    }

    /// The link that has this address. An announced address should be on none: the kernel of every
    /// node that has it would answer for it too.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Option<&Link> {
        self.iter()
            .find(|link| link.addresses.contains_key(&address))
    }

    /// Takes in one message of the kernel; messages about other things change nothing.
    pub fn apply(&mut self, message: &RouteNetlinkMessage) {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.insert(link),
            // A port that leaves a bridge is reported as a deleted link of family BRIDGE.
            RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family == AddressFamily::Unspec =>
            {
                self.0.remove(&link.header.index);
            }
            RouteNetlinkMessage::NewAddress(address) => self.change_address(address, true),
            RouteNetlinkMessage::DelAddress(address) => self.change_address(address, false),
            _ => {}
        }
    }

    fn insert(&mut self, message: &LinkMessage) {
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let Some(mut link) = read_link(message) else {
            return;
        };
        if let Some(old) = self.0.remove(&link.index) {
            let moved = message.attributes.iter().any(tells_neighbours);
            link.ups = old.ups + u64::from(moved || link.came_up_since(&old));
            link.addresses = old.addresses;
        }
        self.0.insert(link.index, link);
    }

    fn change_address(&mut self, message: &AddressMessage, present: bool) {
        let Some(link) = self.0.get_mut(&message.header.index) else {
            return;
        };
        // On a point-to-point link ADDRESS is the other end and LOCAL ours.
        let mut attributes = message.attributes.iter();
        let local = attributes.clone().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) => Some(*ip),
            _ => None,
        });
        let ip = local.or_else(|| {
            attributes.find_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            })
        });
        let Some(ip) = ip else {
            return;
        };
        let local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if present {
            link.ipv6 |= local;
            let address = Address {
                prefix_len: message.header.prefix_len,
                ready: is_ready(message),
                deprecated: flags(message).contains(AddressFlags::Deprecated),
            };
            link.addresses.insert(ip, address);
        } else {
            link.addresses.remove(&ip);
            // This is how IPv6 is switched off, which nothing else of what we hear tells.
            link.ipv6 &= !local;
        }
    }

    /// Continues the counters of an older picture that was lost track of: what is running now may
    /// have been down meanwhile.
    fn succeed(&mut self, old: &Self) {
        for link in self.0.values_mut() {
            if let Some(old) = old.get(link.index) {
                link.ups += old.ups + u64::from(link.came_up_since(old));
            }
        }
    }
}

/// `None` when the message has no name: it is not a description of a link.
fn read_link(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        kind: None,
        master: None,
        flags: message.header.flags,
        ups: 0,
        ipv6: false,
        addresses: BTreeMap::new(),
        carrier_ups: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr);
            }
            LinkAttribute::Controller(index) if *index != 0 => link.master = Some(*index),
            LinkAttribute::CarrierUpCount(count) => link.carrier_ups = *count,
            LinkAttribute::AfSpecUnspec(families) => link.ipv6 = families.iter().any(has_ipv6_on),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// The kernel asks for gratuitous announcements; it sends those for its own addresses.
fn tells_neighbours(attribute: &LinkAttribute) -> bool {
    use LinkEvent::{BondingFailover, NotifyPeers};
    matches!(
        attribute,
        LinkAttribute::Event(NotifyPeers | BondingFailover)
    )
}

fn has_ipv6_on(family: &AfSpecUnspec) -> bool {
    let AfSpecUnspec::Inet6(attributes) = family else {
        return false;
    };
    let on = |it: &AfSpecInet6| matches!(it, AfSpecInet6::DevConf(conf) if conf.disable_ipv6 == 0);
    attributes.iter().any(on)
}

fn flags(message: &AddressMessage) -> AddressFlags {
    let long = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
    // Kernels before 3.14 have only the eight bits of the header.
    long.unwrap_or_else(|| AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())))
}

fn is_ready(message: &AddressMessage) -> bool {
    let flags = flags(message);
    let checking =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    !checking && !flags.contains(AddressFlags::Dadfailed)
}

#[cfg(test)]
mod tests;
