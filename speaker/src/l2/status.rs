//! What layer 2 tells about itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_proto::ethernet::MacAddr;

use super::event::Answer;
use crate::link::Links;

/// What is announced on an interface, how often, and since when.
pub(super) type Announced = BTreeMap<IpAddr, (Duration, Timestamp)>;

/// All that a status is made from, as it was at one moment. What is large is shared, and replaced as a whole if it changes
/// meanwhile.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) vips: Arc<BTreeMap<IpAddr, Answer>>,
    pub(super) links: Arc<Links>,
    /// By index.
    pub(super) ports: BTreeMap<u32, PortSight>,
    /// By index of the interface where they were heard.
    pub(super) claims: Vec<(u32, ForeignClaim)>,
    pub(super) troubles: BTreeMap<String, String>,
}

/// The same of one interface.
#[derive(Debug)]
pub(super) struct PortSight {
    pub(super) name: String,
    pub(super) announced: Arc<Announced>,
    pub(super) status: InterfaceStatus,
}

impl Sight {
    pub(super) fn status(self) -> L2Status {
        let mut status = L2Status::default();
        let unheard = self.vips.keys().map(|vip| (*vip, VipStatus::default()));
        status.vips = unheard.collect();
        // Thousands of addresses, and hundreds of links of containers: looked up from the shorter side.
        for link in self.links.iter() {
            for own in link.addresses.keys() {
                if let Some(vip) = status.vips.get_mut(own) {
                    vip.bound_to.get_or_insert_with(|| link.name.clone());
                }
            }
        }
        let mut ports = self.ports;
        for (index, claim) in self.claims {
            if let Some(port) = ports.get_mut(&index) {
                port.status.foreign_claims.push(claim);
            }
        }
        for port in ports.into_values() {
            for (vip, (_, since)) in port.announced.iter() {
                let vip = status.vips.entry(*vip).or_default();
                vip.interfaces.insert(port.name.clone(), *since);
            }
            status.interfaces.insert(port.name, port.status);
        }
        for (name, error) in self.troubles {
            status.interfaces.entry(name).or_default().error = Some(error);
        }
        status
    }
}

/// The state of all announced addresses and of the interfaces that serve them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct L2Status {
    /// By address, those that are answered nowhere included.
    pub vips: BTreeMap<IpAddr, VipStatus>,
    /// By name, those that should serve but cannot included.
    pub interfaces: BTreeMap<String, InterfaceStatus>,
}

/// One announced address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipStatus {
    /// Names of the interfaces on which it is answered, and since when.
    pub interfaces: BTreeMap<String, Timestamp>,
    /// The local interface that has it as its own address. Unless `arp_ignore` forbids it, the
    /// kernel of each such node answers too, and the network sees several owners.
    pub bound_to: Option<String>,
}

/// One interface. Counts begin when it was last taken into service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its hardware address.
    pub mac: MacAddr,
    /// Whether it speaks IPv6; IPv6 addresses are not served where it does not.
    pub ipv6: bool,
    /// Questions about addresses that are held on it.
    pub requests: u64,
    /// Answers sent.
    pub replies: u64,
    /// Questions not answered because there were too many: of one station, or of all together.
    pub rate_limited: u64,
    /// Frames that the kernel dropped because they came faster than they were read.
    pub dropped: u64,
    /// Pauses made so that a flood does not take more than its share of a processor.
    pub pauses: u64,
    /// Own questions sent: probes of addresses under check, and questions to witnesses.
    pub probes: u64,
    /// Claims of strangers, on addresses that are answered here or under check.
    pub conflicts: u64,
    /// Whether the thread that answers runs before ordinary ones.
    pub real_time: bool,
    /// Unasked frames sent: gratuitous ARP (two for each announcement) and advertisements.
    pub announcements: u64,
    /// Frames that were ARP or NDP by type but not by content.
    pub malformed: u64,
    /// Frames that the kernel did not take.
    pub send_failures: u64,
    /// Claims of others, and answers to own questions, that came faster than they could be looked at.
    pub claims_missed: u64,
    /// Others who say that they have an address which is held here.
    pub foreign_claims: Vec<ForeignClaim>,
    /// Why it does not serve, or not fully. It is tried again every second.
    pub error: Option<String>,
}

/// Another station that claims one of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignClaim {
    /// The address.
    pub vip: IpAddr,
    /// The station.
    pub mac: MacAddr,
    /// How often it was heard.
    pub count: u64,
    /// When it was heard last.
    pub last: Timestamp,
}
